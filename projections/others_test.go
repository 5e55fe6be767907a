package projections_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
)

// another is a second world on the same log: a docket with views of its own.
func (w *world) another() *world {
	return &world{t: w.t, ctx: w.ctx, store: w.store, backend: projectionstest.NewReference(), spill: w.t.TempDir(), expected: w.expected}
}

// TestRebuildsBesideAnotherDocket: two that share a log and keep views of their
// own rebuild as often as they like, and find them again.
func TestRebuildsBesideAnotherDocket(t *testing.T) {
	a := newWorld(t, 31)
	b := a.another()
	a.feed("a", 10)
	ma, stopA := a.run()
	mb, stopB := b.run()
	a.check(ma)
	b.check(mb)
	for range 2 {
		a.must(ma.Rebuild(a.ctx, nil))
		_, switched := ma.Live()
		b.until(func() bool { _, n := mb.Live(); return n == switched }) // it makes its own, and follows
	}
	b.must(mb.Rebuild(b.ctx, nil))
	a.must(ma.Rebuild(a.ctx, nil))
	a.check(ma)
	b.check(mb)
	a.must(stopA())
	b.must(stopB())
	ma, _ = a.run()
	mb, _ = b.run()
	a.check(ma)
	b.check(mb)
}

// shut is a store of views that writes nothing before it is opened.
type shut struct {
	projections.Backend
	open <-chan struct{}
}

func (b shut) Open(ctx context.Context, n int) (projections.Sink, error) {
	sink, err := b.Backend.Open(ctx, n)
	return shutSink{sink, b.open}, err
}

type shutSink struct {
	projections.Sink
	open <-chan struct{}
}

func (s shutSink) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	select {
	case <-s.open:
		return s.Sink.Write(ctx, batch)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestHalfAGenerationIsNotShown: a docket that follows another's switch, keeps
// nothing to go back to, and is started again before it has made that generation,
// says that it lacks it.
func TestHalfAGenerationIsNotShown(t *testing.T) {
	a := newWorld(t, 36)
	b := a.another()
	a.feed("a", 10)
	ma, _ := a.run()
	mb, stopB := b.run()
	b.check(mb)
	b.must(stopB())
	a.must(ma.Rebuild(a.ctx, nil))
	open := make(chan struct{})
	slow := func(o *projections.Options) { o.Backend = shut{o.Backend, open} }
	for range 2 { // the first gives up what was in force before
		mb, stopB = b.run(slow)
		if err := mb.Incomplete(); err == nil {
			t.Error("a generation without any order is shown as if it were whole")
		}
		b.must(stopB())
	}
	mb, stopB = b.run(slow)
	close(open)
	b.must(mb.CaughtUp(b.ctx))
	if err := mb.Incomplete(); err != nil {
		t.Errorf("when it is whole: %v", err)
	}
	b.must(stopB())
	mb, _ = b.run()
	b.check(mb)
}

// TestAnotherEpochBesideAnotherDocket: both make their views anew.
func TestAnotherEpochBesideAnotherDocket(t *testing.T) {
	a := newWorld(t, 32)
	b := a.another()
	a.feed("a", 10)
	ma, stopA := a.run()
	mb, stopB := b.run()
	a.check(ma)
	b.check(mb)
	a.must(stopA())
	b.must(stopB())
	a.store = restored{a.store}
	b.store = a.store
	ma, _ = a.run()
	mb, _ = b.run()
	a.check(ma)
	b.check(mb)
}

// overtaken lets another docket make its generation live just before the first
// one of this docket is.
type overtaken struct {
	eventstore.Store
	done bool
}

func (s *overtaken) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	if !s.done && stream == "projection-orders" {
		s.done = true
		other := slices.Clone(events)
		other[0].ID = uuid.New()
		if _, err := s.Store.Append(ctx, stream, expected, other); err != nil {
			return eventstore.Appended{}, err
		}
	}
	return s.Store.Append(ctx, stream, expected, events)
}

// TestFirstStartsAtOnce: of two that start on an empty log, the slower one
// starts too.
func TestFirstStartsAtOnce(t *testing.T) {
	w := newWorld(t, 33)
	w.feed("a", 3)
	w.store = &overtaken{Store: w.store}
	m, _ := w.run()
	w.check(m)
}

// ofAnotherLog is a log that begins where the first one does, under another
// name.
type ofAnotherLog struct{ eventstore.Store }

func (s ofAnotherLog) Log(ctx context.Context) (eventstore.LogIdentity, error) {
	log, err := s.Store.Log(ctx)
	log.ID[0]++
	return log, err
}

// TestViewsOfAnotherLogAreNotShown: not even until there are others.
func TestViewsOfAnotherLogAreNotShown(t *testing.T) {
	w := newWorld(t, 34)
	w.feed("a", 10)
	m, stop := w.run()
	w.check(m)
	w.must(stop())
	other := newWorld(t, 35)
	other.backend = w.backend
	other.store = ofAnotherLog{other.store}
	m, _ = other.run()
	sink, _ := m.Live()
	docs, err := sink.Documents(other.ctx, []string{"a0", "a1"})
	other.must(err)
	if len(docs) > 0 {
		t.Errorf("%d orders of the other log are shown", len(docs))
	}
	other.feed("b", 5)
	other.check(m)
	s, err := m.Status(other.ctx)
	other.must(err)
	if len(s.Generations) != 1 || s.Generations[0].State != "live" {
		t.Errorf("generations %+v", s.Generations)
	}
}
