package projections_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// kept makes a process keep what was in force before a switch.
func kept(o *projections.Options) { o.Keep = time.Hour }

// edition is a version of the projection that writes its number where a city is.
func edition(version int) projections.Edition {
	return projections.Edition{Version: version, Fold: projections.Fold{Apply: func(doc view.Order, e codec.Recorded) view.Order {
		doc = projections.Apply(doc, e)
		if version != projections.Version {
			doc.City = fmt.Sprint("of version ", version)
		}
		return doc
	}}}
}

func of(editions ...projections.Edition) func(*projections.Options) {
	return func(o *projections.Options) { o.Editions = editions }
}

// states of a process's generations in a store: "2 live".
func (w *world) states(d *docket, store string) (all []string) {
	w.t.Helper()
	s, err := d.Status(w.ctx)
	w.must(err)
	for _, g := range s.Generations {
		if g.Store == store {
			all = append(all, fmt.Sprint(g.Generation, " ", g.State))
		}
	}
	return all
}

func (w *world) wantStates(d *docket, store string, want ...string) {
	w.t.Helper()
	var got []string
	deadline := time.Now().Add(20 * time.Second)
	w.until(func() bool {
		got = w.states(d, store)
		return slices.Equal(got, want) || time.Now().After(deadline)
	})
	if !slices.Equal(got, want) {
		w.t.Errorf("generations of %s are %q, not %q", store, got, want)
	}
}

// ready begins a rebuild, and waits until it waits.
func (w *world) readied(d *docket) int {
	w.t.Helper()
	n, err := d.Begin(w.ctx, projections.Request{Reason: "a test"})
	w.must(err)
	r, err := d.Await(w.ctx, n, nil)
	w.must(err)
	if r.Phase != projections.PhaseReady || r.Failure != nil {
		w.t.Fatalf("rebuild %+v", r)
	}
	return n
}

// TestRebuildWaitsAndGoesBack: what was rebuilt is kept beside what is served, is
// switched to and back, and is given up, in every store together.
func TestRebuildWaitsAndGoesBack(t *testing.T) {
	inVirtualTime(t, 60, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 20)
		d := w.docketWith(true, []func(*projections.Options){kept}, cache)
		w.live(d, 1)
		if _, err := d.Switch(w.ctx, 0); !errors.Is(err, projections.ErrNoCandidate) {
			t.Errorf("switch to nothing: %v", err)
		}
		if _, err := d.Rollback(w.ctx, false); !errors.Is(err, projections.ErrNoPrevious) {
			t.Errorf("back to nothing: %v", err)
		}
		w.readied(d)
		w.live(d, 1)
		w.wantStates(d, "cache", "1 live", "2 ready")
		w.wantStates(d, "sqlite", "1 live", "2 ready")
		if _, err := d.Begin(w.ctx, projections.Request{}); !errors.Is(err, projections.ErrRebuilding) {
			t.Errorf("another one: %v", err)
		}
		w.feed("b", 10) // reaches both
		if _, err := d.Switch(w.ctx, 3); !errors.Is(err, projections.ErrAnotherCandidate) {
			t.Errorf("a switch to another than what waits: %v", err)
		}
		n, err := d.Switch(w.ctx, 2)
		w.must(err)
		if n != 2 {
			t.Errorf("switched to %d", n)
		}
		w.live(d, 2)
		w.checkStores(d)
		w.wantStates(d, "cache", "2 live", "1 previous")
		if err := d.Cancel(w.ctx, 2); !errors.Is(err, projections.ErrServed) {
			t.Errorf("cancel: %v", err)
		}
		if err := d.Drop(w.ctx, 2); !errors.Is(err, projections.ErrServed) {
			t.Errorf("drop: %v", err)
		}
		w.feed("c", 10)
		n, err = d.Rollback(w.ctx, false)
		w.must(err)
		if n != 1 {
			t.Errorf("back to %d", n)
		}
		w.live(d, 1)
		w.checkStores(d)
		w.wantStates(d, "sqlite", "1 live", "2 previous")
		_, err = d.Rollback(w.ctx, false) // and there again
		w.must(err)
		w.live(d, 2)
		w.checkStores(d)
		w.must(d.Drop(w.ctx, 1))
		w.only(cache, 2)
		w.wantStates(d, "sqlite", "2 live")
		if err := d.Drop(w.ctx, 1); !errors.Is(err, projections.ErrNoGeneration) {
			t.Errorf("drop what is gone: %v", err)
		}
		w.readied(d)
		w.must(d.Cancel(w.ctx, 3))
		w.only(cache, 2)
		all, err := d.Rebuilds(w.ctx)
		w.must(err)
		if len(all) != 2 || all[0].Phase != projections.PhaseCancelled || all[1].Phase != projections.PhaseSwitched || all[1].Reason != "a test" {
			t.Errorf("rebuilds %+v", all)
		}
		w.must(d.stop())
	})
}

// TestKeptForAWhile: what nobody returned to is given up.
func TestKeptForAWhile(t *testing.T) {
	inVirtualTime(t, 61, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 10)
		d := w.docketWith(false, []func(*projections.Options){func(o *projections.Options) { o.Keep = time.Minute }}, cache)
		w.live(d, 1)
		w.must(d.Rebuild(w.ctx, nil))
		w.wantStates(d, "cache", "2 live", "1 previous")
		w.passes(50 * time.Second)
		w.wantStates(d, "cache", "2 live", "1 previous")
		w.passes(15 * time.Second)
		w.only(cache, 2)
		w.wantStates(d, "cache", "2 live")
		if _, err := d.Rollback(w.ctx, true); !errors.Is(err, projections.ErrNoPrevious) {
			t.Errorf("back: %v", err)
		}
		w.must(d.stop())
	})
}

// TestAskerIsGone: whoever runs makes what was asked for, and switches to it.
func TestAskerIsGone(t *testing.T) {
	inVirtualTime(t, 62, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 20)
		a, b := w.docket(false, cache), w.docket(false, cache)
		w.live(a, 1)
		w.live(b, 1)
		n, err := a.Begin(w.ctx, projections.Request{Then: projections.ThenSwitch})
		w.must(err)
		w.must(a.stop())
		w.live(b, n)
		w.checkStores(b)
		w.only(cache, n)
		w.must(b.stop())
		_, err = b.Begin(w.ctx, projections.Request{Then: projections.ThenSwitch}) // nobody runs
		w.must(err)
		c := w.docket(false, cache)
		w.live(c, 3)
		w.checkStores(c)
		w.must(c.stop())
	})
}

// TestRepairReachesTheWayBack: what is made anew in what is served is made anew in
// what may be switched to.
func TestRepairReachesTheWayBack(t *testing.T) {
	inVirtualTime(t, 63, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 10)
		d := w.docketWith(false, []func(*projections.Options){kept}, cache)
		w.live(d, 1)
		w.must(d.Rebuild(w.ctx, nil))
		w.wantStates(d, "cache", "2 live", "1 previous")
		for _, n := range []int{1, 2} {
			sink, err := cache.Open(w.ctx, n)
			w.must(err)
			w.must(sink.Replace(w.ctx, "a1", nil))
		}
		changed, err := d.Reproject(w.ctx, "a1")
		w.must(err)
		if len(changed["cache"]) == 0 {
			t.Errorf("changed %+v", changed)
		}
		w.checkStores(d)
		_, err = d.Rollback(w.ctx, false)
		w.must(err)
		w.checkStores(d)
		w.must(d.stop())
	})
}

// TestFirstErrorStops: a rebuild ends at the first order that it cannot apply and
// that is not parked already, tells which event it was, and leaves nothing.
func TestFirstErrorStops(t *testing.T) {
	for _, local := range []bool{true, false} {
		inVirtualTime(t, 64, func(t *testing.T, w *world) {
			cache := newStore("cache")
			w.feed("a", 10)
			w.appendTo("parked", placed)
			w.appendRaw(codec.Category, "parked", 1, poison())
			w.appendTo("bad", placed, order.Confirmed{At: later(1)})
			broken := projections.Edition{Version: projections.Version, Fold: projections.Fold{Apply: func(doc view.Order, e codec.Recorded) view.Order {
				if _, is := e.Event.(order.Confirmed); is && e.OrderID == "bad" {
					panic("no such status")
				}
				return projections.Apply(doc, e)
			}}}
			stores := []*store{cache}
			if local {
				stores = nil
			}
			backends := w.t.TempDir()
			d := w.docketIn(backends, local, nil, stores...)
			w.live(d, 1)
			w.must(d.CaughtUp(w.ctx))
			n, err := d.Begin(w.ctx, projections.Request{Then: projections.ThenSwitch}) // parks what is parked
			w.must(err)
			r, err := d.Await(w.ctx, n, nil)
			w.must(err)
			if r.Phase != projections.PhaseSwitched {
				t.Errorf("rebuild %+v", r)
			}
			w.live(d, n)
			w.must(d.stop())

			d = w.docketIn(backends, local, []func(*projections.Options){of(broken)}, stores...)
			w.live(d, n)
			w.must(d.CaughtUp(w.ctx))
			if n, err = d.Begin(w.ctx, projections.Request{Then: projections.ThenSwitch}); err != nil {
				t.Fatal(err)
			}
			r, err = d.Await(w.ctx, n, nil)
			w.must(err)
			if f := r.Failure; r.Phase != projections.PhaseFailed || f == nil || f.OrderID != "bad" || f.Revision != 1 || f.Type != "OrderConfirmed" || !strings.Contains(f.Message, "no such status") {
				t.Errorf("rebuild %+v, %+v", r, r.Failure)
			}
			w.live(d, n-1)
			if !local {
				w.only(cache, n-1)
			}
			w.must(d.stop())
		})
	}
}

// TestNewVersionBeginsByItself, once, and not where somebody has gone back.
func TestNewVersionBeginsByItself(t *testing.T) {
	inVirtualTime(t, 65, func(t *testing.T, w *world) {
		cache := newStore("cache")
		folder := w.t.TempDir()
		w.feed("a", 10)
		older, newer := edition(projections.Version), edition(projections.Version+1)
		d := w.docketIn(folder, true, []func(*projections.Options){kept}, cache)
		w.live(d, 1)
		w.must(d.CaughtUp(w.ctx))
		w.must(d.stop())

		both := []func(*projections.Options){kept, of(newer, older)}
		d = w.docketIn(folder, true, both, cache)
		w.live(d, 2)
		w.wantStates(d, "cache", "2 live", "1 previous")
		w.feed("b", 5)
		w.must(d.CaughtUp(w.ctx))
		for _, m := range d.Managers() {
			sink, _ := m.Live()
			docs, err := sink.Documents(w.ctx, []string{"a1", "b1"})
			w.must(err)
			if docs["a1"].City != "of version 2" || docs["b1"].City != "of version 2" {
				t.Errorf("%s: cities %q, %q", m.StoreName, docs["a1"].City, docs["b1"].City)
			}
		}
		_, err := d.Rollback(w.ctx, false) // its version is carried
		w.must(err)
		w.live(d, 1)
		w.checkStores(d)
		w.must(d.stop())

		d = w.docketIn(folder, true, both, cache)
		w.live(d, 1)
		w.passes(10 * brief)
		w.wantStates(d, "cache", "1 live", "2 previous")
		if got := w.registered(); len(got) != 4 {
			t.Errorf("the registry says %q", got)
		}
		w.must(d.stop())
	})
}

// TestTwoVersionsOnOneLog: in a rolling update each process feeds and reads what is
// of its version, or older; a way back to what nobody feeds wants a word.
func TestTwoVersionsOnOneLog(t *testing.T) {
	inVirtualTime(t, 66, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 20)
		old := w.docketWith(false, []func(*projections.Options){kept}, cache)
		w.live(old, 1)
		w.must(old.CaughtUp(w.ctx))
		asks := func(o *projections.Options) { o.Upgrade = projections.ThenAsk }
		next := w.docketWith(false, []func(*projections.Options){kept, asks, of(edition(projections.Version + 1))}, cache)
		w.wantStates(next, "cache", "1 live", "2 ready")
		if _, err := old.Diff(w.ctx, true, nil); !errors.Is(err, projections.ErrOlderProgram) {
			t.Errorf("a difference by the older of the two: %v", err)
		}
		if d, err := next.Diff(w.ctx, true, nil); err != nil || d.Empty() {
			t.Errorf("a difference by the newer of the two: %+v, %v", d, err)
		}
		_, err := next.Switch(w.ctx, 2)
		w.must(err)
		w.live(next, 2)
		w.live(old, 1)
		w.wantStates(old, "cache", "1 live", "2 newer")
		if _, err := old.Begin(w.ctx, projections.Request{}); !errors.Is(err, projections.ErrOlderProgram) {
			t.Errorf("a rebuild by the older of the two: %v", err)
		}
		w.feed("b", 10)
		w.checkStores(old) // goes on
		w.must(next.CaughtUp(w.ctx))
		sink, _ := next.Managers()[0].Live()
		docs, err := sink.Documents(w.ctx, []string{"b1"})
		w.must(err)
		if docs["b1"].City != "of version 2" {
			t.Errorf("city %q", docs["b1"].City)
		}
		w.wantStates(next, "cache", "2 live", "1 previous")

		w.must(old.stop())
		w.passes(5 * brief)
		w.feed("c", 5)
		w.wantStates(next, "cache", "2 live", "1 frozen")
		if _, err := next.Rollback(w.ctx, false); !errors.Is(err, projections.ErrStale) {
			t.Errorf("back to what nobody feeds: %v", err)
		}
		old = w.docketWith(false, []func(*projections.Options){kept}, cache) // the way back
		w.live(old, 1)
		w.checkStores(old)
		w.until(func() bool { n, err := next.Rollback(w.ctx, false); return err == nil && n == 1 })
		w.live(next, 1)
		w.live(old, 1)
		w.feed("d", 5)
		w.checkStores(old)
		w.must(next.stop())
		w.checkStores(old)
		w.must(old.stop())
	})
}

// TestReadyForAll: what one process has told to be ready can be compared and
// switched to by another at once, which has not seen yet that it is complete.
func TestReadyForAll(t *testing.T) {
	inVirtualTime(t, 67, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 20)
		both := []*docket{w.docketWith(false, []func(*projections.Options){kept}, cache), w.docketWith(false, []func(*projections.Options){kept}, cache)}
		for _, d := range both {
			w.live(d, 1)
		}
		for n := range 6 {
			generation := w.readied(both[n%2])
			d, err := both[(n+1)%2].Diff(w.ctx, true, nil)
			w.must(err)
			if !d.Empty() || d.To != generation {
				t.Errorf("difference of generation %d, not %d: %+v", d.To, generation, d)
			}
			w.feed(fmt.Sprint("b", n), 3)
			w.must(both[n%2].Cancel(w.ctx, generation))
			generation = w.readied(both[n%2])
			now, err := both[(n+1)%2].Switch(w.ctx, generation)
			w.must(err)
			if now != generation {
				t.Errorf("switched to %d, not %d", now, generation)
			}
		}
		for _, d := range both {
			w.checkStores(d)
			w.must(d.stop())
		}
	})
}
