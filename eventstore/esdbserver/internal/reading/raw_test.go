package reading_test

import (
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// An option changes a request that reads everything forwards.
type option func(*streams.ReadReq_Options)

var empty = &shared.Empty{}

func readAll(options ...option) *streams.ReadReq {
	return request(append([]option{fromStart}, options...))
}

func readStream(name string, options ...option) *streams.ReadReq {
	return request(append([]option{ofStream(name)}, options...))
}

func request(options []option) *streams.ReadReq {
	o := &streams.ReadReq_Options{
		CountOption:  &streams.ReadReq_Options_Count{Count: 1<<64 - 1},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: empty},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: empty}},
	}
	for _, option := range options {
		option(o)
	}
	return &streams.ReadReq{Options: o}
}

func ofStream(name string) option {
	return func(o *streams.ReadReq_Options) {
		o.StreamOption = &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: wire.Stream(name),
			RevisionOption:   &streams.ReadReq_Options_StreamOptions_Start{Start: empty},
		}}
	}
}

// fromStart, fromEnd, fromRevision and fromPosition say where to begin.
func fromStart(o *streams.ReadReq_Options) {
	if s := o.GetStream(); s != nil {
		s.RevisionOption = &streams.ReadReq_Options_StreamOptions_Start{Start: empty}
		return
	}
	o.StreamOption = &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{
		AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: empty},
	}}
}

func fromEnd(o *streams.ReadReq_Options) {
	if s := o.GetStream(); s != nil {
		s.RevisionOption = &streams.ReadReq_Options_StreamOptions_End{End: empty}
		return
	}
	o.GetAll().AllOption = &streams.ReadReq_Options_AllOptions_End{End: empty}
}

func fromRevision(r uint64) option {
	return func(o *streams.ReadReq_Options) {
		o.GetStream().RevisionOption = &streams.ReadReq_Options_StreamOptions_Revision{Revision: r}
	}
}

func fromPosition(commit, prepare uint64) option {
	return func(o *streams.ReadReq_Options) {
		o.GetAll().AllOption = &streams.ReadReq_Options_AllOptions_Position{
			Position: &streams.ReadReq_Options_Position{CommitPosition: commit, PreparePosition: prepare},
		}
	}
}

func backwards(o *streams.ReadReq_Options) { o.ReadDirection = streams.ReadReq_Options_Backwards }

func links(o *streams.ReadReq_Options) { o.ResolveLinks = true }

func textIDs(o *streams.ReadReq_Options) {
	o.UuidOption.Content = &streams.ReadReq_Options_UUIDOption_String_{String_: empty}
}

func count(n uint64) option {
	return func(o *streams.ReadReq_Options) { o.CountOption = &streams.ReadReq_Options_Count{Count: n} }
}

func subscription(o *streams.ReadReq_Options) {
	o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
}

// filtered selects by stream; window and multiplier are those of the protocol.
func filtered(window, multiplier uint32, e *streams.ReadReq_Options_FilterOptions_Expression) option {
	return func(o *streams.ReadReq_Options) {
		o.FilterOption = &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{
			Filter:                       &streams.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: e},
			Window:                       &streams.ReadReq_Options_FilterOptions_Max{Max: window},
			CheckpointIntervalMultiplier: multiplier,
		}}
	}
}

// byType makes the filter one of event types.
func byType(o *streams.ReadReq_Options) {
	f := o.GetFilter()
	f.Filter = &streams.ReadReq_Options_FilterOptions_EventType{EventType: f.GetStreamIdentifier()}
}

func regex(pattern string) *streams.ReadReq_Options_FilterOptions_Expression {
	return &streams.ReadReq_Options_FilterOptions_Expression{Regex: pattern}
}

func prefixes(p ...string) *streams.ReadReq_Options_FilterOptions_Expression {
	return &streams.ReadReq_Options_FilterOptions_Expression{Prefix: p}
}
