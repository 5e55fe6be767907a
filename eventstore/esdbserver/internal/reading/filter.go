package reading

import (
	"strings"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// defaultWindow is how many events a page examines when the client names no
// window.
const defaultWindow = 32

// filter selects records by stream name or by event type.
type filter struct {
	byType   bool
	prefixes []string
	// interval is after how many examined records a subscription tells how far
	// it came.
	interval uint64
}

func newFilter(o *streams.ReadReq_Options_FilterOptions, subscription bool) (*filter, error) {
	f := &filter{}
	var e *streams.ReadReq_Options_FilterOptions_Expression
	switch v := o.GetFilter().(type) {
	case *streams.ReadReq_Options_FilterOptions_StreamIdentifier:
		e = v.StreamIdentifier
	case *streams.ReadReq_Options_FilterOptions_EventType:
		e, f.byType = v.EventType, true
	default:
		return nil, wire.BadRequest("The filter names neither streams nor event types.")
	}
	f.prefixes = e.GetPrefix()
	var window uint64
	switch v := o.GetWindow().(type) {
	case *streams.ReadReq_Options_FilterOptions_Max:
		window = uint64(v.Max)
	case *streams.ReadReq_Options_FilterOptions_Count:
		window = defaultWindow
	default:
		return nil, wire.BadRequest("The window of the filter is missing.")
	}
	f.interval = window * uint64(o.GetCheckpointIntervalMultiplier())
	if subscription && f.interval == 0 {
		return nil, wire.BadRequest("The checkpoint interval of the filter is zero.")
	}
	return f, nil
}

// selects reports whether a record is delivered; a nil filter selects all.
func (f *filter) selects(r *eventstore.Record) (bool, error) {
	if f == nil {
		return true, nil
	}
	name := r.Stream
	if f.byType {
		name = r.Type
	}
	for _, p := range f.prefixes {
		if strings.HasPrefix(name, p) {
			return true, nil
		}
	}
	return false, nil
}
