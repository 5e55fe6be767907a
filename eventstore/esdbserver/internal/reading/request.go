package reading

import (
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// request is a ReadReq whose shape is one that the protocol allows.
type request struct {
	stream string // empty: the log
	place  place
	// revision of a read or subscription of a stream that begins at one.
	revision eventstore.Revision
	// position of one of the log.
	position eventstore.Position

	dir          eventstore.Direction
	subscription bool
	count        uint64 // of a read
	filter       *filter
	resolveLinks bool
	textIDs      bool
}

// place is where to begin.
type place uint8

const (
	atStart place = iota
	atEnd
	between // at a revision or position
)

// source names what is read, for the guard.
func (q request) source() string {
	if q.stream == "" {
		return wire.All
	}
	return q.stream
}

// decode judges by which members of the oneofs are present: clients leave the
// messages in them empty.
func decode(req *streams.ReadReq) (request, error) {
	o := req.GetOptions()
	var q request
	if err := q.decodeShape(o); err != nil {
		return q, err
	}
	switch o.GetUuidOption().GetContent().(type) {
	case *streams.ReadReq_Options_UUIDOption_Structured:
	case *streams.ReadReq_Options_UUIDOption_String_:
		q.textIDs = true
	default:
		return q, wire.BadRequest("The UUID option is missing.")
	}
	q.resolveLinks = o.GetResolveLinks()
	if q.stream == "" {
		if err := q.decodePosition(o.GetAll()); err != nil {
			return q, err
		}
	} else if err := q.decodeRevision(o.GetStream()); err != nil {
		return q, err
	}
	if f := o.GetFilter(); f != nil {
		var err error
		if q.filter, err = newFilter(f, q.subscription); err != nil {
			return q, err
		}
	}
	if !q.subscription && q.count == 0 {
		return q, wire.Unhandled("The count of a read is zero.")
	}
	return q, nil
}

// decodeShape allows the combinations that EventStoreDB does, and names any
// other as it does.
func (q *request) decodeShape(o *streams.ReadReq_Options) error {
	target, count, filter := "None", "None", "None"
	switch v := o.GetStreamOption().(type) {
	case *streams.ReadReq_Options_Stream:
		target, q.stream = "Stream", string(v.Stream.GetStreamIdentifier().GetStreamName())
	case *streams.ReadReq_Options_All:
		target = "All"
	}
	switch v := o.GetCountOption().(type) {
	case *streams.ReadReq_Options_Count:
		count, q.count = "Count", v.Count
	case *streams.ReadReq_Options_Subscription:
		count, q.subscription = "Subscription", true
	}
	switch o.GetFilterOption().(type) {
	case *streams.ReadReq_Options_Filter:
		filter = "Filter"
	case *streams.ReadReq_Options_NoFilter:
		filter = "NoFilter"
	}
	dir := o.GetReadDirection()
	q.dir = eventstore.Direction(dir == streams.ReadReq_Options_Backwards)

	known := target != "None" && count != "None" && filter != "None" &&
		(dir == streams.ReadReq_Options_Forwards || dir == streams.ReadReq_Options_Backwards)
	filteredStream := target == "Stream" && filter == "Filter"
	backwardsForever := q.subscription && q.dir == eventstore.Backwards
	if !known || filteredStream || backwardsForever {
		return wire.BadRequest("The combination of (%s, %s, %s, %s) is invalid.", target, count, dir, filter)
	}
	if target == "Stream" && q.stream == "" {
		return wire.BadRequest("The name of the stream is missing.")
	}
	return nil
}

func (q *request) decodeRevision(o *streams.ReadReq_Options_StreamOptions) error {
	switch v := o.GetRevisionOption().(type) {
	case *streams.ReadReq_Options_StreamOptions_Start:
		q.place = atStart
	case *streams.ReadReq_Options_StreamOptions_End:
		q.place = atEnd
	case *streams.ReadReq_Options_StreamOptions_Revision:
		q.place = between
		switch {
		case v.Revision == 1<<64-1:
			q.place = atEnd
		case v.Revision > uint64(eventstore.EndRevision):
			q.revision = eventstore.EndRevision
		default:
			q.revision = eventstore.Revision(v.Revision)
		}
	default:
		return wire.BadRequest("The revision to begin with is missing.")
	}
	return nil
}

func (q *request) decodePosition(o *streams.ReadReq_Options_AllOptions) error {
	switch v := o.GetAllOption().(type) {
	case *streams.ReadReq_Options_AllOptions_Start:
		q.place = atStart
	case *streams.ReadReq_Options_AllOptions_End:
		q.place = atEnd
	case *streams.ReadReq_Options_AllOptions_Position:
		q.place = between
		q.position = eventstore.Position{Commit: v.Position.GetCommitPosition(), Prepare: v.Position.GetPreparePosition()}
		switch {
		case q.position == eventstore.Start:
			q.place = atStart
		case q.position == eventstore.End:
			q.place = atEnd
		case q.position.Prepare > q.position.Commit:
			return wire.Unhandled("The commit position %d is before the prepare position %d.", q.position.Commit, q.position.Prepare)
		}
	default:
		return wire.BadRequest("The position to begin with is missing.")
	}
	return nil
}
