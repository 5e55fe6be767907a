package reading

import (
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/docket-orders/docket/eventstore"
	matcher "github.com/docket-orders/docket/eventstore/esdbserver/internal/filter"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// defaultWindow is how many events a page examines when the client names no
// window.
const defaultWindow = 32

// filter selects records by stream name or by event type. It is used by one
// goroutine.
type filter struct {
	matcher *matcher.Filter
	// interval is after how many examined records a subscription tells how far
	// it came.
	interval uint64
}

func newFilter(o *streams.ReadReq_Options_FilterOptions, subscription bool) (*filter, error) {
	var e *streams.ReadReq_Options_FilterOptions_Expression
	byType := false
	switch v := o.GetFilter().(type) {
	case *streams.ReadReq_Options_FilterOptions_StreamIdentifier:
		e = v.StreamIdentifier
	case *streams.ReadReq_Options_FilterOptions_EventType:
		e, byType = v.EventType, true
	default:
		return nil, wire.BadRequest("The filter names neither streams nor event types.")
	}
	window := uint64(defaultWindow)
	switch v := o.GetWindow().(type) {
	case *streams.ReadReq_Options_FilterOptions_Max:
		window = uint64(v.Max)
	case *streams.ReadReq_Options_FilterOptions_Count:
	default:
		return nil, wire.BadRequest("The window of the filter is missing.")
	}
	interval := window * uint64(o.GetCheckpointIntervalMultiplier())
	if subscription && interval == 0 {
		return nil, wire.BadRequest("The checkpoint interval of the filter is zero.")
	}
	made, err := matcher.New(matcher.Options{ByType: byType, Regex: e.GetRegex(), Prefixes: e.GetPrefix()})
	return &filter{matcher: made, interval: interval}, err
}

// selects reports whether a record is wanted; a nil filter selects all. It
// fails when the regular expression takes too long.
func (f *filter) selects(r *eventstore.Record) (bool, error) {
	if f == nil {
		return true, nil
	}
	return f.matcher.Match(r)
}
