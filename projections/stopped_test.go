package projections_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
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

// announced tells of every append to the stream of the projection, that is of a
// switch, and of every look for the end of the log, before they happen, and when all
// of the log was read.
type announced struct {
	eventstore.Store
	switching, looking, read func()
}

func (s announced) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	if stream == "projection-orders" {
		s.switching()
	}
	return s.Store.Append(ctx, stream, expected, events)
}

func (s announced) ReadAll(ctx context.Context, from eventstore.Position, dir eventstore.Direction, filter eventstore.Filter, limit int) iter.Seq2[eventstore.Record, error] {
	if dir == eventstore.Backwards {
		s.looking()
	}
	all := s.Store.ReadAll(ctx, from, dir, filter, limit)
	if dir == eventstore.Backwards || limit != 0 {
		return all
	}
	return func(yield func(eventstore.Record, error) bool) {
		all(yield)
		s.read()
	}
}

// held is a backend whose second generation writes no late document before release.
type held struct {
	projections.Backend
	release chan struct{}
}

type heldSink struct {
	projections.Sink
	*held
}

func (b *held) Open(ctx context.Context, n int) (projections.Sink, error) {
	s, err := b.Backend.Open(ctx, n)
	if err == nil && n == 2 {
		s = heldSink{s, b}
	}
	return s, err
}

func (s heldSink) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	if slices.ContainsFunc(batch.Changes, func(c projections.Change) bool { return strings.HasPrefix(c.Order.ID, "late") }) {
		select {
		case <-s.release:
		case <-ctx.Done():
		}
	}
	return s.Sink.Write(ctx, batch)
}

// TestRebuiltShowsWhatTheOldOneShowed: what readers saw before a switch they see
// after it, however much was written while the new generation was folded. It is
// all there when the switch is asked for: the new generation stands still until
// the rebuild looks how far the log is, or, were it not to look, asks for the
// switch.
func TestRebuiltShowsWhatTheOldOneShowed(t *testing.T) {
	const orders = 40
	w := newWorld(t, 15)
	w.feed("old", 4)
	ids := make([]string, orders)
	for i := range ids {
		ids[i] = fmt.Sprint("late", i)
	}
	b := &held{Backend: w.backend, release: make(chan struct{})}
	release := sync.OnceFunc(func() { close(b.release) })
	var written atomic.Bool // all of the late orders, which the old generation shows
	shown := -1             // by the new generation, when the switch was asked for first
	running := make(chan *projections.Manager, 1)
	late := sync.OnceFunc(func() { // what comes while the log was read for the new one
		for _, id := range ids {
			w.appendTo(id, placed)
		}
		m := <-running
		for _, id := range ids {
			w.must(m.Wait(w.ctx, id, 0))
		}
		written.Store(true)
	})
	m, _ := w.run(func(o *projections.Options) {
		o.Backend = b
		o.Store = announced{w.store, func() {
			if sink, n := w.newest(); n == 2 && shown < 0 {
				docs, err := sink.Documents(w.ctx, ids)
				w.must(err)
				shown = len(docs)
				release()
			}
		}, func() {
			if written.Load() {
				release()
			}
		}, late}
	})
	w.must(m.CaughtUp(w.ctx))
	running <- m
	w.must(m.Rebuild(w.ctx, nil))
	if shown != orders {
		t.Errorf("generation 2 showed %d of %d orders that generation 1 showed when it was switched to", shown, orders)
	}
	w.must(m.CaughtUp(w.ctx))
	sink, _ := w.newest()
	w.checkSink(sink)
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
