package projections

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// CompareOptions are compare's.
type CompareOptions = compareOptions

// Compare is compare.
func Compare(ctx context.Context, o CompareOptions) (StoreDifference, error) { return compare(ctx, o) }

// Followed is a sink that is fed from the log by a fold, without a Manager.
type Followed struct {
	feeder *feeder
	stop   func() error
}

// Follow feeds a sink until Stop.
func Follow(ctx context.Context, sink Sink, fold Fold, store eventstore.Store, ns eventstore.Namespace) (*Followed, error) {
	log, err := store.Log(ctx)
	if err != nil {
		return nil, err
	}
	a := &applier{sink: sink, store: store, namespace: ns, folding: fold.complete(), logger: slog.New(slog.DiscardHandler)}
	lanes, err := claim(ctx, sink, "test")
	if err := errors.Join(err, a.loadParked(ctx)); err != nil {
		return nil, err
	}
	f := newFeeder(a, lanes, log, time.Now)
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- f.run(running) }()
	return &Followed{f, sync.OnceValue(func() error { cancel(); return <-ended })}, nil
}

// Reach is feeding's.
func (f *Followed) Reach(ctx context.Context, upTo eventstore.Position) error {
	return f.feeder.reach(ctx, upTo)
}

// Stop ends the feeder.
func (f *Followed) Stop() error { return f.stop() }
