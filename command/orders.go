package command

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/google/uuid"
)

// Options of the write side. Store is needed, the rest has defaults.
type Options struct {
	Store     eventstore.Store
	Namespace eventstore.Namespace
	Snapshots Snapshots        // nil: none are kept
	Clock     func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: slog.Default()
	// CacheEntries bounds the folded orders kept in memory; 0: DefaultCacheEntries.
	CacheEntries int
	// SnapshotEvery so many events a snapshot is written; 0: DefaultSnapshotEvery.
	SnapshotEvery int
	// AuditEvery so many loads from a snapshot one is compared with a full
	// replay; 0: DefaultAuditEvery.
	AuditEvery int
	// Refused is told of every command that a rule refused, after its order is
	// free for others and before Handle returns; nil: nobody is. It is not told
	// of dry runs, of failures, and of ids that no order can have. It changes
	// nothing about the answer but when it comes.
	Refused func(context.Context, Refusal)
}

func (o *Options) complete() {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.CacheEntries <= 0 {
		o.CacheEntries = DefaultCacheEntries
	}
	if o.SnapshotEvery <= 0 {
		o.SnapshotEvery = DefaultSnapshotEvery
	}
	if o.AuditEvery <= 0 {
		o.AuditEvery = DefaultAuditEvery
	}
}

// Orders handles commands on orders. It may be used by many goroutines.
type Orders struct {
	loop    loop[order.State, order.Command, order.Event]
	refused func(context.Context, Refusal) // nil: nobody is told
}

// New starts the write side. Close it before the store.
func New(o Options) *Orders {
	o.complete()
	count := &counters{}
	ns := o.Namespace
	kept := &snapshots[order.State]{
		store: o.Snapshots, schema: order.StateSchema, every: o.SnapshotEvery,
		auditEvery: int64(o.AuditEvery), logger: o.Logger, count: count,
	}
	kept.start()
	return &Orders{refused: o.Refused, loop: loop[order.State, order.Command, order.Event]{
		decider: order.Decider, store: o.Store, namespace: ns,
		encode: codec.Encode,
		decode: func(r eventstore.Record) (order.Event, codec.Meta, error) {
			e, err := codec.Decode(r, ns)
			return e.Event, e.Meta, err
		},
		clock:     &clock{source: o.Clock},
		turns:     newTurns[*pending[order.State, order.Event]](),
		cache:     newCache[aggregate[order.State]](o.CacheEntries),
		snapshots: kept, count: count,
	}}
}

// Handle decides cmd on the order and records the outcome. What the command
// leaves open is filled in: its business time with that of the decision, the ids of new things
// from the command id, the order's number from its id.
//
// It answers a refusal of a rule as *domain.Rejection; ErrFuture, ErrKeyReused,
// ErrBusy and *PreconditionError as they say; failures of the store as the
// store's errors. After ErrOutcomeUnknown the same command id may be sent
// again; after every other error nothing was written.
func (o *Orders) Handle(ctx context.Context, orderID string, cmd order.Command, req Request) (Result, error) {
	o.loop.count.commands.Add(1)
	if !order.ValidID(orderID) {
		return Result{}, order.ErrID.At("/id")
	}
	if req.CommandID == uuid.Nil {
		id, err := uuid.NewV7()
		if err != nil {
			return Result{}, fmt.Errorf("make a command id: %w", err)
		}
		req.CommandID = id
	}
	stream := o.stream(orderID)
	cmd = order.WithNumber(order.WithIDs(cmd, entityID(stream, req.CommandID)), orderID)
	// The time that a command leaves open is that of its decision: while it
	// waited for its turn the order may have been placed.
	out, err := o.loop.handle(ctx, stream, cmd.Name(), req, func(s order.State, now time.Time) ([]order.Event, error) {
		cmd := order.WithTime(cmd, now)
		if at := order.BusinessTime(cmd); at.After(now) {
			return nil, fmt.Errorf("%w: %s, it is %s", ErrFuture, at.Format(time.RFC3339Nano), now.Format(time.RFC3339Nano))
		}
		return order.Decide(s, cmd)
	})
	if err != nil {
		o.tell(ctx, Refusal{
			OrderID: orderID, Revision: out.revision, Command: cmd.Name(), Target: targetOf(cmd),
			CommandID: req.CommandID, Fingerprint: req.Fingerprint, Actor: req.Actor,
			CorrelationID: req.CorrelationID, CausationID: req.CausationID, TraceParent: req.TraceParent, At: o.loop.clock.now(),
		}, req, err)
		return Result{}, err
	}
	return o.result(orderID, out), nil
}

func (o *Orders) result(orderID string, out outcome[order.State, order.Event]) Result {
	r := Result{
		ID: orderID, Revision: out.revision, Position: out.position, Replayed: out.replayed,
		State: out.state, Events: make([]codec.Recorded, len(out.facts)),
	}
	for i, f := range out.facts {
		r.Events[i] = codec.Recorded{
			OrderID: orderID, Revision: f.revision, Position: f.position, EventID: f.stored.ID,
			Type: f.stored.Type, Event: f.event, Meta: f.meta,
		}
	}
	return r
}

// Clock is now, as recordings are dated: nothing that is placed in the log after
// the call is recorded before it.
func (o *Orders) Clock() time.Time { return o.loop.clock.advance(time.Time{}) }

// Load folds the order as it is now; revision -1 when it does not exist.
func (o *Orders) Load(ctx context.Context, orderID string) (order.State, eventstore.Revision, error) {
	stream := o.stream(orderID)
	a, err := o.loop.catchUp(ctx, stream, o.loop.load(stream))
	return a.state, a.revision, err
}

func (o *Orders) stream(orderID string) string {
	return o.loop.namespace.Stream(codec.Category, orderID)
}

// Metrics counts what happened since the start.
func (o *Orders) Metrics() Metrics { return o.loop.count.metrics() }

// Close waits for the snapshots that are being written. Commands may still be
// handled afterwards, without new snapshots.
func (o *Orders) Close() error {
	o.loop.snapshots.close()
	return nil
}
