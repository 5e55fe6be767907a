// Package reading answers Streams.Read: reads of streams and of the log both
// ways, and catch-up subscriptions to either, with filters and links.
package reading

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// Options of a Reader. Store and Guard are required.
type Options struct {
	Store  eventstore.Store
	Guard  *access.Guard
	Logger *slog.Logger
}

// Reader answers reads. All methods may be called from many goroutines.
type Reader struct {
	Options
	closed chan struct{}
	once   sync.Once
}

// New makes a reader; Close ends its subscriptions.
func New(o Options) *Reader { return &Reader{Options: o, closed: make(chan struct{})} }

// Close ends all subscriptions with UNAVAILABLE.
func (r *Reader) Close() { r.once.Do(func() { close(r.closed) }) }

// Read is the handler of Streams.Read.
func (r *Reader) Read(req *streams.ReadReq, out streams.Streams_ReadServer) error {
	q, err := decode(req)
	if err != nil {
		return err
	}
	if err := r.Guard.Check(out.Context(), access.Read, q.source()); err != nil {
		return err
	}
	a := answer{Reader: r, request: q, out: out}
	switch {
	case q.subscription && q.stream == "":
		return a.followLog()
	case q.subscription:
		return a.followStream()
	case q.stream == "":
		return a.readLog()
	}
	return a.readStream()
}

// answer is one call of Read.
type answer struct {
	*Reader
	request
	out streams.Streams_ReadServer
}

func (a *answer) readStream() error {
	ctx := a.out.Context()
	from, limit := a.revision, limited(a.count)
	switch {
	case a.place == atStart:
		from = 0
	case a.place == atEnd:
		from = eventstore.EndRevision
	}
	for rec, err := range a.Store.ReadStream(ctx, a.stream, from, a.dir, limit) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			return a.out.Send(&streams.ReadResp{Content: &streams.ReadResp_StreamNotFound_{
				StreamNotFound: &streams.ReadResp_StreamNotFound{StreamIdentifier: wire.Stream(a.stream)},
			}})
		}
		if err != nil {
			return wire.OfStore(err, a.stream)
		}
		if err := a.deliver(ctx, rec); err != nil {
			return err
		}
	}
	return nil
}

// limited is a count as the store takes it: 0 is no limit.
func limited(count uint64) int {
	if count > math.MaxInt {
		return 0
	}
	return int(count)
}

func (a *answer) readLog() error {
	ctx := a.out.Context()
	head, err := a.Store.Head(ctx)
	if err != nil {
		return wire.OfStore(err, wire.All)
	}
	from := a.position
	switch {
	case a.place == atStart && a.dir == eventstore.Backwards, a.place == atEnd && a.dir == eventstore.Forwards:
		return nil
	case a.place == atStart:
		from = eventstore.Start
	case a.place == atEnd:
		from = eventstore.End
	case beyond(from, head):
		return wire.Unhandled("Unexpected ReadAllResult: InvalidPosition")
	}
	given := uint64(0)
	for rec, err := range a.Store.ReadAll(ctx, from, a.dir, eventstore.Filter{}, 0) {
		if err != nil {
			return wire.OfStore(err, wire.All)
		}
		wanted, err := a.wants(&rec)
		if err != nil {
			return err
		}
		if !wanted {
			continue
		}
		if err := a.deliver(ctx, rec); err != nil {
			return err
		}
		if given++; given == a.count {
			break
		}
	}
	return nil
}

func (a *answer) wants(rec *eventstore.Record) (bool, error) {
	if leftOut(rec.Stream) {
		return false, nil
	}
	return a.filter.selects(rec)
}

// leftOut names the streams that no read of the log shows: those in which the
// groups on the log keep their progress.
func leftOut(stream string) bool {
	if !strings.HasPrefix(stream, "$") {
		return false
	}
	return stream == "$epoch-information" || strings.HasPrefix(stream, "$persistentsubscription-$all::") &&
		(strings.HasSuffix(stream, "-checkpoint") || strings.HasSuffix(stream, "-parked"))
}

func (a *answer) deliver(ctx context.Context, rec eventstore.Record) error {
	event := &streams.ReadResp_ReadEvent{Position: &streams.ReadResp_ReadEvent_CommitPosition{CommitPosition: rec.Position.Commit}}
	event.Event = a.recorded(rec)
	if a.resolveLinks {
		target, isLink, err := wire.Resolve(ctx, a.Store, rec)
		if err != nil {
			return wire.OfStore(err, rec.Stream)
		}
		if isLink {
			event.Link, event.Event = event.Event, nil
			if target != nil {
				event.Event = a.recorded(*target)
			}
		}
	}
	return a.out.Send(&streams.ReadResp{Content: &streams.ReadResp_Event{Event: event}})
}

func (a *answer) recorded(r eventstore.Record) *streams.ReadResp_ReadEvent_RecordedEvent {
	return &streams.ReadResp_ReadEvent_RecordedEvent{
		Id:               wire.UUID(r.ID, a.textIDs),
		StreamIdentifier: wire.Stream(r.Stream),
		StreamRevision:   uint64(r.Revision),
		PreparePosition:  r.Position.Prepare,
		CommitPosition:   r.Position.Commit,
		Metadata:         wire.Metadata(r),
		CustomMetadata:   r.Metadata,
		Data:             r.Data,
	}
}

func (a *answer) confirm() error {
	return a.out.Send(&streams.ReadResp{Content: &streams.ReadResp_Confirmation{
		Confirmation: &streams.ReadResp_SubscriptionConfirmation{SubscriptionId: uuid.NewString()},
	}})
}

func (a *answer) caughtUp() error {
	return a.out.Send(&streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: &streams.ReadResp_CaughtUp{}}})
}

func (a *answer) checkpoint(p eventstore.Position) error {
	return a.out.Send(&streams.ReadResp{Content: &streams.ReadResp_Checkpoint_{
		Checkpoint: &streams.ReadResp_Checkpoint{CommitPosition: p.Commit, PreparePosition: p.Prepare},
	}})
}

// untilClosed is the context of the call, which also ends with the reader.
func (a *answer) untilClosed() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(a.out.Context())
	go func() {
		select {
		case <-a.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (a *answer) failed(err error) error {
	select {
	case <-a.closed:
		return wire.Unavailable("Server Is Shutting Down")
	default:
		return wire.OfStore(err, a.source())
	}
}

func (a *answer) followLog() error {
	ctx, cancel := a.untilClosed()
	defer cancel()
	head, err := a.Store.Head(ctx)
	if err != nil {
		return a.failed(err)
	}
	if err := a.confirm(); err != nil {
		return err
	}
	from := a.position
	switch {
	case a.place == atStart:
		from = eventstore.Start
	case a.place == atEnd:
		from = head
	case beyond(from, head):
		return wire.BadRequest("Trying to read from an invalid position.")
	}
	sub, err := a.Store.Subscribe(ctx, from, eventstore.Filter{})
	if err != nil {
		return a.failed(err)
	}
	defer sub.Close()
	examined, told := uint64(0), from
	for {
		n, err := sub.Next(ctx)
		if err != nil {
			return a.failed(err)
		}
		switch n.Kind {
		case eventstore.Delivered:
			examined++
			wanted, err := a.wants(&n.Record)
			if err == nil && wanted {
				err = a.deliver(ctx, n.Record)
			}
			if err != nil {
				return err
			}
			if a.filter != nil && examined >= a.filter.interval {
				examined, told = 0, n.Position
				if err := a.checkpoint(told); err != nil {
					return err
				}
			}
		case eventstore.CaughtUp:
			if a.filter != nil && told.Before(n.Position) {
				examined, told = 0, n.Position
				if err := a.checkpoint(told); err != nil {
					return err
				}
			}
			if err := a.caughtUp(); err != nil {
				return err
			}
		}
	}
}

func (a *answer) followStream() error {
	ctx, cancel := a.untilClosed()
	defer cancel()
	head, err := a.Store.Head(ctx)
	if err != nil {
		return a.failed(err)
	}
	next := eventstore.Revision(0)
	if a.place == between {
		next = a.revision + 1
	}
	for _, err := range a.Store.ReadStream(ctx, a.stream, eventstore.EndRevision, eventstore.Backwards, 1) {
		if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
			return a.failed(err)
		}
	}
	if err := a.confirm(); err != nil {
		return err
	}
	if a.place != atEnd {
		for rec, err := range a.Store.ReadStream(ctx, a.stream, next, eventstore.Forwards, 0) {
			if errors.Is(err, eventstore.ErrStreamNotFound) {
				break
			}
			if err != nil {
				return a.failed(err)
			}
			if err := a.deliver(ctx, rec); err != nil {
				return err
			}
			next = rec.Revision + 1
		}
	}
	if err := a.caughtUp(); err != nil {
		return err
	}
	sub, err := a.Store.Subscribe(ctx, head, eventstore.Filter{Prefixes: []string{a.stream}})
	if err != nil {
		return a.failed(err)
	}
	defer sub.Close()
	for {
		n, err := sub.Next(ctx)
		if err != nil {
			return a.failed(err)
		}
		rec := n.Record
		if n.Kind != eventstore.Delivered || rec.Stream != a.stream || rec.Revision < next {
			continue
		}
		if err := a.deliver(ctx, rec); err != nil {
			return err
		}
		if rec.Revision == eventstore.EndRevision {
			return wire.StreamDeleted(a.stream)
		}
		next = rec.Revision + 1
	}
}
