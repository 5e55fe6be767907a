package esdbserver

import (
	"context"
	"errors"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// Delete is the handler of Streams.Delete, the soft delete.
func (s streamsService) Delete(ctx context.Context, req *streams.DeleteReq) (*streams.DeleteResp, error) {
	p := proposal{}
	options := req.GetOptions()
	if options == nil {
		return nil, wire.Unhandled("The delete has no options.")
	}
	switch e := options.GetExpectedStreamRevision().(type) {
	case *streams.DeleteReq_Options_Revision:
		p.atRevision(e.Revision)
	case *streams.DeleteReq_Options_NoStream:
		p.expected = eventstore.NoStream
	case *streams.DeleteReq_Options_Any:
		p.expected = eventstore.Any
	case *streams.DeleteReq_Options_StreamExists:
		p.expected = eventstore.StreamExists
	default:
		return nil, wire.BadRequest("The expected stream revision is missing.")
	}
	position, err := s.end(ctx, p, options.GetStreamIdentifier(), s.server.options.Store.Delete)
	if err != nil {
		return nil, err
	}
	return &streams.DeleteResp{PositionOption: &streams.DeleteResp_Position_{Position: &streams.DeleteResp_Position{
		CommitPosition: position.Commit, PreparePosition: position.Prepare,
	}}}, nil
}

// Tombstone is the handler of Streams.Tombstone, the delete for good.
func (s streamsService) Tombstone(ctx context.Context, req *streams.TombstoneReq) (*streams.TombstoneResp, error) {
	p := proposal{}
	options := req.GetOptions()
	if options == nil {
		return nil, wire.Unhandled("The tombstone has no options.")
	}
	switch e := options.GetExpectedStreamRevision().(type) {
	case *streams.TombstoneReq_Options_Revision:
		p.atRevision(e.Revision)
	case *streams.TombstoneReq_Options_NoStream:
		p.expected = eventstore.NoStream
	case *streams.TombstoneReq_Options_Any:
		p.expected = eventstore.Any
	case *streams.TombstoneReq_Options_StreamExists:
		p.expected = eventstore.StreamExists
	default:
		return nil, wire.BadRequest("The expected stream revision is missing.")
	}
	position, err := s.end(ctx, p, options.GetStreamIdentifier(), s.server.options.Store.Tombstone)
	if err != nil {
		return nil, err
	}
	return &streams.TombstoneResp{PositionOption: &streams.TombstoneResp_Position_{Position: &streams.TombstoneResp_Position{
		CommitPosition: position.Commit, PreparePosition: position.Prepare,
	}}}, nil
}

// end deletes a stream in one of the two ways. The position is always told:
// Go's client panics without it.
func (s streamsService) end(ctx context.Context, p proposal, stream *shared.StreamIdentifier,
	end func(context.Context, string, eventstore.Expected) (eventstore.Position, error),
) (eventstore.Position, error) {
	p.stream = string(stream.GetStreamName())
	if err := s.server.guard.Check(ctx, access.Delete, p.stream); err != nil {
		return eventstore.Start, err
	}
	if err := p.complete(); err != nil {
		return eventstore.Start, err
	}
	position, err := end(ctx, p.stream, p.expected)
	s.server.guard.Written("$$" + p.stream)
	var conflict *eventstore.ConflictError
	if errors.As(err, &conflict) {
		return eventstore.Start, wire.DeleteConflict(conflict)
	}
	return position, wire.OfStore(err, p.stream)
}
