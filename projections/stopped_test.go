package projections_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/docket-orders/docket/domain/order"
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

// TestRebuiltShowsWhatTheOldOneShowed: what readers saw before a switch they see
// after it, however much was written while the new generation was folded.
func TestRebuiltShowsWhatTheOldOneShowed(t *testing.T) {
	const orders = 400
	w := newWorld(t, 15)
	w.feed("old", 4)
	m, _ := w.run()
	w.must(m.CaughtUp(w.ctx))
	ids := make([]string, orders)
	for i := range ids {
		ids[i] = fmt.Sprint("late", i)
	}
	w.must(m.Rebuild(w.ctx, func(p projections.Progress) {
		if p.Phase == "following" {
			for _, id := range ids {
				w.appendTo(id, placed)
			}
			w.must(m.CaughtUp(w.ctx)) // the old generation shows them all
		}
	}))
	sink, n := m.Live()
	docs, err := sink.Documents(w.ctx, ids)
	if err != nil || len(docs) != orders || n != 2 {
		t.Errorf("generation %d shows %d of %d orders that generation 1 showed (%v)", n, len(docs), orders, err)
	}
	w.check(m)
}
