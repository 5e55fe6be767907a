package projections_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
)

// unwritable is a backend that takes no document while it is full. Everything
// else is written.
type unwritable struct {
	projections.Backend
	full atomic.Bool
}

type unwritableSink struct {
	projections.Sink
	full *atomic.Bool
}

func (b *unwritable) Open(ctx context.Context, n int) (projections.Sink, error) {
	s, err := b.Backend.Open(ctx, n)
	return unwritableSink{s, &b.full}, err
}

func (s unwritableSink) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	if s.full.Load() && len(batch.Changes) > 0 {
		return nil, errors.New("no space")
	}
	return s.Sink.Write(ctx, batch)
}

// TestStoppedBeforeItWasWritten: a projection that ends while its store takes no
// documents goes on with them at the next start. A checkpoint never runs ahead
// of what is written.
func TestStoppedBeforeItWasWritten(t *testing.T) {
	w := newWorld(t, 14)
	b := &unwritable{Backend: w.backend}
	m, stop := w.run(func(o *projections.Options) { o.Backend = b })
	w.feed("before", 8)
	w.must(m.CaughtUp(w.ctx))
	b.full.Store(true)
	// The last event of its order: a later one would show the gap.
	w.appendTo("before0", order.NoteAdded{NoteID: "n", Text: "nobody has room for me", At: t0})
	w.until(func() bool {
		s, err := m.Status(w.ctx)
		w.must(err)
		return s.Generations[0].Problem != ""
	})
	w.feed("meanwhile", 8)
	w.must(stop())
	m, _ = w.run()
	w.check(m)
}

// announced tells of every append to the stream of the projection: of a switch.
type announced struct {
	eventstore.Store
	asked func()
}

func (s announced) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	if stream == "projection-orders" {
		s.asked()
	}
	return s.Store.Append(ctx, stream, expected, events)
}

// TestRebuiltShowsWhatTheOldOneShowed: what readers saw before a switch they see
// after it, however much was written while the new generation was folded. It is
// all there when the switch is asked for.
func TestRebuiltShowsWhatTheOldOneShowed(t *testing.T) {
	const orders = 400
	w := newWorld(t, 15)
	w.feed("old", 4)
	ids := make([]string, orders)
	for i := range ids {
		ids[i] = fmt.Sprint("late", i)
	}
	shown := -1 // by the new generation, when the switch was asked for first
	m, _ := w.run(func(o *projections.Options) {
		o.Store = announced{w.store, func() {
			sink, n := w.newest()
			if n != 2 || shown >= 0 {
				return
			}
			docs, err := sink.Documents(w.ctx, ids)
			w.must(err)
			shown = len(docs)
		}}
	})
	w.must(m.CaughtUp(w.ctx))
	w.must(m.Rebuild(w.ctx, func(p projections.Progress) {
		if p.Phase == "following" {
			for _, id := range ids {
				w.appendTo(id, placed)
			}
			w.must(m.CaughtUp(w.ctx)) // the old generation shows them all
		}
	}))
	if shown != orders {
		t.Errorf("generation 2 showed %d of %d orders that generation 1 showed when it was switched to", shown, orders)
	}
	w.check(m)
}

// newest opens the generation with the highest number.
func (w *world) newest() (projections.Sink, int) {
	w.t.Helper()
	generations, err := w.backend.Generations(w.ctx)
	w.must(err)
	if len(generations) == 0 {
		return nil, 0
	}
	n := generations[len(generations)-1]
	sink, err := w.backend.Open(w.ctx, n)
	w.must(err)
	return sink, n
}
