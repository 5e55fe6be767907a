package projections

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/spill"
)

const (
	// pageIDs are listed at once, of either side.
	pageIDs = 4096
	// printsAtOnce are compared at once, readAtOnce decoded.
	printsAtOnce, readAtOnce = 1024, 64
)

// compareOptions name two generations of one store, and what is needed to say
// how they differ. All are required but those that say otherwise.
type compareOptions struct {
	Store    string // its name
	Old, New Sink   // the generation in force, and the candidate
	// Fold of the candidate, and, where this program carries the version of the
	// generation in force, that one's; else nil.
	Fold    Fold
	OldFold *Fold

	Log       eventstore.Store
	Namespace eventstore.Namespace
	// Reach returns when both generations have applied or parked everything up to
	// a position, by whomever; with ErrStale when nobody feeds the one in force.
	Reach func(ctx context.Context, upTo eventstore.Position) error
	// Spills is where figures wait when too many differ to be held in memory.
	Spills spill.Place
	// Progress, which may be nil, is told how many orders are compared so far, one
	// call at a time.
	Progress func(compared int64)
	// Settled, which may be nil, is told at which revisions an order was compared,
	// -1 where it was not there. It may be called from many goroutines.
	Settled func(orderID string, old, new int64)
}

// compare says how two generations of a store differ. Both must have been filled;
// what live traffic does to them meanwhile makes no difference, for every order is
// compared at one revision on both sides, at or after the position that both had
// when compare was called. Figures are compared by what the orders contribute to
// them, each at that same revision: a sink keeps the sum of what is contributed,
// so that the difference of two sums is the sum of the differences. Figures that
// are not that sum are reconciliation's to find.
//
// Fingerprints are compared first; only what differs is decoded. Memory does not
// grow with the orders, nor with how many differ.
func compare(ctx context.Context, o compareOptions) (StoreDifference, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	o.Fold = o.Fold.complete()
	if o.OldFold != nil {
		complete := o.OldFold.complete()
		o.OldFold = &complete
	}
	c := &comparison{compareOptions: o, found: newFound(o.Store)}
	defer c.found.figures.close()
	chunks := make(chan []string)
	var working sync.WaitGroup
	for range max(2, runtime.GOMAXPROCS(0)) {
		working.Go(func() {
			for ids := range chunks {
				if ctx.Err() != nil {
					continue // drain
				}
				if err := c.chunk(ctx, ids); err != nil {
					stop(err)
				}
			}
		})
	}
	err := c.each(ctx, func(ids []string) error {
		select {
		case chunks <- ids:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(chunks)
	working.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err == nil {
		err = c.lookAgain(ctx, c.moved)
	}
	if err == nil {
		err = c.parked(ctx)
	}
	if err == nil {
		err = c.explain(ctx)
	}
	if err == nil {
		err = c.countFigures(ctx)
	}
	if err != nil {
		return StoreDifference{}, fmt.Errorf("compare the generations in %s: %w", o.Store, err)
	}
	return c.found.difference(), nil
}

type comparison struct {
	compareOptions
	found    *found
	mu       sync.Mutex // of what follows
	compared int64
	moved    []apart // to be looked at again
}

// both asks both sides at once.
func both[T any](c *comparison, ask func(Sink) (T, error)) (old, new T, err error) {
	var failed error
	var asking sync.WaitGroup
	asking.Go(func() { old, failed = ask(c.Old) })
	new, err = ask(c.New)
	asking.Wait()
	if failed != nil {
		err = failed
	}
	return old, new, err
}

// each hands over the ids that either side lists, each once, ascending.
func (c *comparison) each(ctx context.Context, yield func(ids []string) error) error {
	old, new := &listing{sink: c.Old}, &listing{sink: c.New}
	var merged []string
	for {
		var failed error
		var listing sync.WaitGroup
		listing.Go(func() { failed = old.fill(ctx) })
		err := new.fill(ctx)
		listing.Wait()
		if err == nil {
			err = failed
		}
		if err != nil {
			return err
		}
		if len(old.ids)+len(new.ids) == 0 {
			break
		}
		// Until one side has no more at hand: its next may be less than the other's.
		for (old.ended || len(old.ids) > 0) && (new.ended || len(new.ids) > 0) && len(old.ids)+len(new.ids) > 0 {
			id := old.least(new)
			old.pass(id)
			new.pass(id)
			if merged = append(merged, id); len(merged) == printsAtOnce {
				if err := yield(merged); err != nil {
					return err
				}
				merged = nil
			}
		}
	}
	if len(merged) == 0 {
		return nil
	}
	return yield(merged)
}

// listing is where one side's ids are.
type listing struct {
	sink  Sink
	after string
	ids   []string
	ended bool
}

func (l *listing) fill(ctx context.Context) (err error) {
	if len(l.ids) > 0 || l.ended {
		return nil
	}
	if l.ids, err = l.sink.IDs(ctx, l.after, pageIDs); err != nil {
		return fmt.Errorf("list orders: %w", err)
	}
	if l.ended = len(l.ids) < pageIDs; !l.ended {
		l.after = l.ids[len(l.ids)-1]
	}
	return nil
}

// least of the ids that are next on either side.
func (l *listing) least(other *listing) string {
	if len(l.ids) == 0 || len(other.ids) > 0 && other.ids[0] < l.ids[0] {
		return other.ids[0]
	}
	return l.ids[0]
}

func (l *listing) pass(id string) {
	if len(l.ids) > 0 && l.ids[0] == id {
		l.ids = l.ids[1:]
	}
}

// chunk compares orders by their fingerprints, and looks closer at those that are
// not the same.
func (c *comparison) chunk(ctx context.Context, ids []string) error {
	old, new, err := both(c, func(s Sink) ([]Print, error) { return s.Prints(ctx, ids) })
	if err != nil {
		return err
	}
	var suspects []string
	var equal int64
	for i, id := range ids {
		if old[i] != new[i] {
			suspects = append(suspects, id)
			continue
		}
		equal++
		c.settled(id, old[i].Revision, new[i].Revision)
	}
	c.found.equal(equal)
	for some := range slices.Chunk(suspects, readAtOnce) {
		if err := c.look(ctx, some); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.compared += int64(len(ids)); c.Progress != nil {
		c.Progress(c.compared)
	}
	return nil
}

func (c *comparison) settled(id string, old, new int64) {
	if c.Settled != nil {
		c.Settled(id, old, new)
	}
}
