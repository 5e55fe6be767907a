package groups

import (
	"context"
	"errors"
	"io"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// consumer is one call of Read.
type consumer struct {
	slots  int
	outbox *outbox

	from, user, connection string // for people

	// Only the group's goroutine touches what follows.
	id       competing.ConsumerID
	measured measure
}

// maxSlots bounds the messages in flight with one consumer, whatever it asks
// for: each costs some hundred bytes while it is not acknowledged.
const maxSlots = 10_000

// connectionName is the header by which clients name themselves.
const connectionName = "connection-name"

func newConsumer(ctx context.Context, slots int32) *consumer {
	c := &consumer{slots: min(int(slots), maxSlots), outbox: newOutbox(), user: access.Caller(ctx).Name, connection: "<unknown>"}
	if c.user == "" {
		c.user = "anonymous"
	}
	if p, ok := peer.FromContext(ctx); ok {
		c.from = p.Addr.String()
	}
	if names := metadata.ValueFromIncomingContext(ctx, connectionName); len(names) > 0 {
		c.connection = names[0]
	}
	return c
}

// Read makes the caller a consumer of a group until it leaves or is dropped.
func (s *Service) Read(stream persistent.PersistentSubscriptions_ReadServer) error {
	ctx := stream.Context()
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	o := first.GetOptions()
	if o == nil {
		return wire.Unhandled("The first message of a persistent subscription must be its options.")
	}
	k := key{stream: string(o.GetStreamIdentifier().GetStreamName()), group: o.GetGroupName()}
	if _, all := o.GetStreamOption().(*persistent.ReadReq_Options_All); all {
		k.stream = wire.All
	}
	if err := s.Guard.Check(ctx, access.Read, k.stream); err != nil {
		return err
	}
	r, err := s.find(k)
	if err != nil {
		return err
	}
	if o.GetBufferSize() < 1 {
		return wire.BadRequest("The buffer size %d of a consumer must be at least 1.", o.GetBufferSize())
	}
	c := newConsumer(ctx, o.GetBufferSize())
	if err := r.join(c); err != nil {
		return err
	}
	defer r.leave(c)
	go r.listen(stream, c)
	_, text := o.GetUuidOption().GetContent().(*persistent.ReadReq_Options_UUIDOption_String_)
	return r.talk(stream, c, text, s.Guard)
}

// talk sends what the consumer is given until its outbox is closed.
func (r *runner) talk(stream persistent.PersistentSubscriptions_ReadServer, c *consumer, text bool, guard *access.Guard) error {
	confirmation := &persistent.ReadResp_SubscriptionConfirmation{SubscriptionId: r.def.key().String()}
	if err := stream.Send(&persistent.ReadResp{Content: &persistent.ReadResp_SubscriptionConfirmation_{SubscriptionConfirmation: confirmation}}); err != nil {
		return err
	}
	ctx := stream.Context()
	for {
		d, ok, err := c.outbox.next(ctx)
		if !ok {
			return err
		}
		if d.body == nil {
			d.body, err = r.source.load(ctx, d.event)
		}
		switch {
		case errors.Is(err, errGone), errors.Is(err, eventstore.ErrCorrupt):
			// Nobody could be sent it. It must not go round for ever.
			if err := r.post(func() { r.group.Nack(competing.ActionPark, err.Error(), d.message.ID) }); err != nil {
				return err
			}
			continue
		case err != nil:
			return wire.OfStore(err, r.def.Stream)
		}
		// Who may read the log sees everything in it anyway.
		if t := d.body.target; t != nil && r.def.Stream != wire.All && !guard.Resolves(ctx, t.Stream) {
			d.body = &body{original: d.body.original}
		}
		if err := stream.Send(&persistent.ReadResp{Content: &persistent.ReadResp_Event{Event: d.wire(text)}}); err != nil {
			return err
		}
	}
}

// listen takes what the consumer answers, until it says no more. It ends with
// the call.
func (r *runner) listen(stream persistent.PersistentSubscriptions_ReadServer, c *consumer) {
	c.outbox.close(func() error {
		for {
			req, err := stream.Recv()
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
			answer, err := r.decode(req)
			if err != nil {
				return err
			}
			if err := r.post(answer); err != nil {
				return err
			}
		}
	}())
}

// decode answers what the group is to do about a message of a consumer.
func (r *runner) decode(req *persistent.ReadReq) (func(), error) {
	switch v := req.GetContent().(type) {
	case *persistent.ReadReq_Ack_:
		ids, err := decodeIDs(v.Ack.GetIds())
		return func() { r.group.Ack(r.now(), ids...) }, err
	case *persistent.ReadReq_Nack_:
		ids, err := decodeIDs(v.Nack.GetIds())
		action, reason := decodeAction(v.Nack)
		return func() { r.group.Nack(action, reason, ids...) }, err
	}
	return nil, wire.Unhandled("A consumer may only ack and nack.")
}

// decodeAction: what the client leaves to the server is tried again. Stop gives
// the event up, and does not end the subscription.
func decodeAction(n *persistent.ReadReq_Nack) (action competing.Action, reason string) {
	switch n.GetAction() {
	case persistent.ReadReq_Nack_Park:
		return competing.ActionPark, cut("Client explicitly NAK'ed message.\n" + n.GetReason())
	case persistent.ReadReq_Nack_Skip, persistent.ReadReq_Nack_Stop:
		return competing.ActionSkip, ""
	}
	return competing.ActionRetry, ""
}

func decodeIDs(ids []*shared.UUID) ([]competing.ID, error) {
	out := make([]competing.ID, len(ids))
	for i, u := range ids {
		id, err := wire.ParseUUID(u)
		if err != nil {
			return nil, wire.BadRequest("%v", err)
		}
		out[i] = competing.ID(id)
	}
	return out, nil
}

// wire is the delivery as clients get it. Both records carry the position of
// the original, and the count of retries is always there.
func (d *delivery) wire(text bool) *persistent.ReadResp_ReadEvent {
	out := &persistent.ReadResp_ReadEvent{
		Position: &persistent.ReadResp_ReadEvent_CommitPosition{CommitPosition: d.event.position.Commit},
		Count:    &persistent.ReadResp_ReadEvent_RetryCount{RetryCount: int32(d.retries)},
	}
	original := recorded(d.body.original, d.event.position, text)
	if !d.event.linked {
		out.Event = original
		return out
	}
	out.Link = original
	if d.body.target != nil {
		out.Event = recorded(d.body.target, d.event.position, text)
	}
	return out
}

func recorded(r *eventstore.Record, at eventstore.Position, text bool) *persistent.ReadResp_ReadEvent_RecordedEvent {
	return &persistent.ReadResp_ReadEvent_RecordedEvent{
		Id:               wire.UUID(uuid.UUID(r.ID), text),
		StreamIdentifier: wire.Stream(r.Stream),
		StreamRevision:   uint64(r.Revision),
		CommitPosition:   at.Commit,
		PreparePosition:  at.Prepare,
		Metadata:         wire.Metadata(*r),
		Data:             r.Data,
		CustomMetadata:   r.Metadata,
	}
}
