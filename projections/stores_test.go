package projections_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/sqlite"
	"github.com/google/uuid"
)

// brief is the lease of the shared stores here.
const brief = time.Second

// store is a store of views that processes share, in memory.
type store struct {
	*projectionstest.Reference
	name string
}

func newStore(name string) *store { return &store{projectionstest.NewReference(), name} }

// docket is a process: its stores, and the faults between it and the shared ones.
type docket struct {
	*projections.Stores
	stop   func() error
	stores map[string]*store
	faults map[string]*projectionstest.Faults // by store
}

// docket starts a process with these shared stores and, where local is set, with
// views of its own in SQLite as the first. It does not wait for the stores.
func (w *world) docket(local bool, stores ...*store) *docket {
	w.t.Helper()
	return w.docketWith(local, nil, stores...)
}

// docketWith is docket with options.
func (w *world) docketWith(local bool, change []func(*projections.Options), stores ...*store) *docket {
	w.t.Helper()
	return w.docketIn(w.t.TempDir(), local, change, stores...)
}

// docketIn is docketWith in a folder.
func (w *world) docketIn(folder string, local bool, change []func(*projections.Options), stores ...*store) *docket {
	w.t.Helper()
	with := func(o projections.Options) *projections.Manager {
		for _, c := range change {
			c(&o)
		}
		return projections.NewManager(o)
	}
	d := &docket{stores: map[string]*store{}, faults: map[string]*projectionstest.Faults{}}
	var managers []*projections.Manager
	if local {
		managers = append(managers, with(projections.Options{
			Store: w.store, Backend: sqlite.NewBackend(folder, sqlite.Options{}), SpillDir: w.t.TempDir(),
		}))
	}
	spill := w.t.TempDir()
	for _, s := range stores {
		f := projectionstest.NewFaults(1)
		d.stores[s.name], d.faults[s.name] = s, f
		managers = append(managers, with(projections.Options{
			Store: w.store, Backend: f.Link(s.Reference), SpillDir: spill, StoreName: s.name, Lease: brief,
		}))
	}
	d.Stores = projections.NewStores(managers...)
	ctx, cancel := context.WithCancel(w.ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	d.stop = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		for _, f := range d.faults {
			f.Counts() // waits for calls that are done late
		}
		return err
	})
	w.t.Cleanup(func() {
		if err := d.stop(); err != nil && !w.t.Failed() {
			w.t.Logf("run: %v", err)
		}
	})
	return d
}

// live waits until all stores of a process serve a generation.
func (w *world) live(d *docket, generation int) {
	w.t.Helper()
	w.until(func() bool {
		return !slices.ContainsFunc(d.Managers(), func(m *projections.Manager) bool {
			_, n := m.Live()
			return n != generation
		})
	})
}

// checkStores compares all stores of a process with what was appended.
func (w *world) checkStores(d *docket) {
	w.t.Helper()
	for _, m := range d.Managers() {
		w.checkStore(d, m)
	}
}

func (w *world) checkStore(d *docket, m *projections.Manager) {
	w.t.Helper()
	if m.Lease == 0 {
		w.check(m)
		return
	}
	w.must(m.CaughtUp(w.ctx))
	w.until(func() bool { return m.Incomplete() == nil })
	_, n := m.Live()
	sink, err := d.stores[m.StoreName].Open(w.ctx, n)
	w.must(err)
	defer sink.Close()
	w.checkSink(sink)
}

// registered is the registry as type and generation of each event.
func (w *world) registered() (all []string) {
	w.t.Helper()
	for r, err := range w.store.ReadStream(w.ctx, "projection-orders", 0, eventstore.Forwards, 0) {
		w.must(err)
		var e struct {
			Generation int
			Stores     []string
		}
		w.must(json.Unmarshal(r.Data, &e))
		all = append(all, strings.TrimSpace(fmt.Sprint(strings.TrimPrefix(r.Type, "Projection"), " ", e.Generation, " ", strings.Join(e.Stores, "+"))))
	}
	return all
}

// passes waits until so much time has passed.
func (w *world) passes(d time.Duration) {
	w.t.Helper()
	began := time.Now()
	w.until(func() bool { return time.Since(began) >= d })
}

// only waits until a generation is all that is in a store.
func (w *world) only(s *store, generation int) {
	w.t.Helper()
	w.until(func() bool {
		numbers, err := s.Generations(w.ctx)
		w.must(err)
		return slices.Equal(numbers, []int{generation})
	})
}

// inVirtualTime runs a test in a world of its own: a lease does not run out while
// the machine is busy, and no goroutine may be left at the end.
func inVirtualTime(t *testing.T, seed uint64, test func(t *testing.T, w *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		t.Cleanup(cancel)
		w := newWorld(t, seed)
		w.ctx, w.spill = ctx, dir
		test(t, w)
	})
}

// TestStoresAreRebuiltTogether: one number, one switch.
func TestStoresAreRebuiltTogether(t *testing.T) {
	inVirtualTime(t, 40, func(t *testing.T, w *world) {
		search, cache := newStore("search"), newStore("cache")
		w.feed("a", 20)
		d := w.docket(true, search, cache)
		w.live(d, 1)
		w.must(d.CaughtUp(w.ctx))
		var inside sync.Mutex
		var seen []string
		w.must(d.Rebuild(w.ctx, func(p projections.Progress) {
			if !inside.TryLock() {
				t.Error("two reports at a time")
				return
			}
			defer inside.Unlock()
			if p.Generation != 0 && p.Generation != 2 {
				t.Errorf("progress %+v", p)
			}
			seen = append(seen, p.Phase)
		}))
		if seen[len(seen)-1] != "switched" || slices.Index(seen, "switched") < len(seen)-1 {
			t.Errorf("phases %q", seen)
		}
		w.live(d, 2)
		w.feed("b", 10)
		w.checkStores(d)
		if got, want := w.registered(), []string{"Switched 1", "Building 2 sqlite+search+cache", "Switched 2 sqlite+search+cache"}; !slices.Equal(got, want) {
			t.Errorf("the registry says %q, not %q", got, want)
		}
		w.only(search, 2)
		w.only(cache, 2)
		s, err := d.Status(w.ctx)
		w.must(err)
		for i, name := range []string{"sqlite", "search", "cache"} {
			if g := s.Generations[i]; g.Store != name || g.Generation != 2 || g.State != "live" || g.Problem != "" || g.Wedged {
				t.Errorf("%d: %+v", i, g)
			}
		}
		if n := len(s.Generations[1].Lanes); n != projections.Lanes || s.Generations[0].Lanes != nil {
			t.Errorf("%d lanes", n)
		}
		w.must(d.stop())
	})
}

// TestRebuildOfSeveralIsAllOrNothing: one store loses what it has been given, and
// gets it again: no store is switched before all are. What is cancelled is gone from
// all.
func TestRebuildOfSeveralIsAllOrNothing(t *testing.T) {
	inVirtualTime(t, 41, func(t *testing.T, w *world) {
		search, cache := newStore("search"), newStore("cache")
		w.feed("a", 20)
		d := w.docket(true, search, cache)
		w.live(d, 1)
		w.must(d.CaughtUp(w.ctx))
		d.faults["search"].Stall(3 * time.Second) // so that it waits for search
		ended := make(chan error, 1)
		go func() { ended <- d.Rebuild(w.ctx, nil) }()
		w.until(func() bool { numbers, _ := cache.Generations(w.ctx); return slices.Contains(numbers, 2) })
		if err := d.Rebuild(w.ctx, nil); !errors.Is(err, projections.ErrRebuilding) {
			t.Errorf("a second rebuild: %v", err)
		}
		w.must(cache.Drop(w.ctx, 2))
		w.must(<-ended)
		w.live(d, 2)
		w.checkStores(d)
		w.only(search, 2)
		w.only(cache, 2)

		d.faults["search"].Stall(3 * time.Second)
		leaving, leave := context.WithCancel(w.ctx)
		go func() { ended <- d.Rebuild(leaving, nil) }()
		w.until(func() bool { numbers, _ := cache.Generations(w.ctx); return slices.Contains(numbers, 3) })
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a rebuild for somebody who left: %v", err)
		}
		w.live(d, 2)
		w.only(search, 2)
		w.only(cache, 2)
		w.checkStores(d)
		w.must(d.Rebuild(w.ctx, nil))
		w.live(d, 4) // no number is used twice
		w.checkStores(d)
		w.must(d.stop())
	})
}

// TestLeftWhileItBegins: who leaves before it is known whether a rebuild has begun
// leaves none behind.
func TestLeftWhileItBegins(t *testing.T) {
	inVirtualTime(t, 46, func(t *testing.T, w *world) {
		cache, log := newStore("cache"), &unheard{Store: w.store}
		w.feed("a", 20)
		d := w.docketWith(false, []func(*projections.Options){func(o *projections.Options) { o.Store = log }}, cache)
		w.live(d, 1)
		leaving, leave := context.WithCancel(w.ctx)
		log.next.Store(&leave)
		if err := d.Rebuild(leaving, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("a rebuild for somebody who left: %v", err)
		}
		w.only(cache, 1)
		if got, want := w.registered(), []string{"Switched 1", "Building 2 cache", "Dropped 2"}; !slices.Equal(got, want) {
			t.Errorf("the registry says %q, not %q", got, want)
		}
		w.must(d.stop())
	})
}

// unheard is a log of one append of which the outcome is not heard: next is called
// in its place.
type unheard struct {
	eventstore.Store
	next atomic.Pointer[context.CancelFunc]
}

func (u *unheard) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	for {
		done, err := u.Store.Append(ctx, stream, expected, events)
		if errors.Is(err, eventstore.ErrOutcomeUnknown) && ctx.Err() == nil {
			continue
		}
		if next := u.next.Swap(nil); next != nil && err == nil {
			(*next)()
			return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
		}
		return done, err
	}
}

// TestSwitchIsFollowed: other processes serve, and feed, what one has made, and make
// for themselves what each has of its own.
func TestSwitchIsFollowed(t *testing.T) {
	inVirtualTime(t, 42, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 20)
		a, b := w.docket(true, cache), w.docket(true, cache)
		w.live(a, 1)
		w.live(b, 1)
		w.checkStores(a)
		w.checkStores(b)
		former, _ := b.Managers()[1].Live()
		w.must(a.Rebuild(w.ctx, nil))
		w.live(a, 2)
		w.until(func() bool { _, n := b.Managers()[1].Live(); return n == 2 })
		w.live(b, 2)
		w.until(func() bool { _, err := former.Checkpoints(w.ctx); return errors.Is(err, projections.ErrClosed) })
		w.feed("b", 20)
		w.checkStores(a)
		w.checkStores(b)
		w.only(cache, 2)
		// Both feed it.
		w.until(func() bool {
			s, err := b.Status(w.ctx)
			w.must(err)
			ours := 0
			for _, l := range s.Generations[1].Lanes {
				if l.Ours {
					ours++
				}
			}
			return ours == projections.Lanes/2
		})
		w.must(a.stop())
		w.feed("c", 10)
		w.checkStores(b)
		w.must(b.stop())
	})
}

// TestRebuildsAtOnce in two processes: one at a time is done, under numbers of their
// own, and the other hears of it.
func TestRebuildsAtOnce(t *testing.T) {
	inVirtualTime(t, 43, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 20)
		a, b := w.docket(false, cache), w.docket(false, cache)
		w.live(a, 1)
		w.live(b, 1)
		var both sync.WaitGroup
		for _, d := range []*docket{a, b} {
			both.Go(func() {
				err := d.Rebuild(w.ctx, nil)
				for errors.Is(err, projections.ErrRebuilding) && w.ctx.Err() == nil {
					w.passes(brief / 10)
					err = d.Rebuild(w.ctx, nil)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		w.feed("b", 20)
		both.Wait()
		taken := map[int]bool{} // and nothing was switched to since then
		last := 0
		for _, e := range w.registered()[1:] {
			var n int
			if _, err := fmt.Sscanf(e, "Building %d", &n); err == nil {
				if taken[n] || n <= last {
					t.Errorf("number %d twice", n)
				}
				taken[n] = true
			} else if _, err := fmt.Sscanf(e, "Switched %d", &last); err != nil || !taken[last] {
				t.Errorf("%s: another was switched to while it was made", e)
			} else {
				clear(taken)
			}
		}
		w.live(a, last)
		w.live(b, last)
		w.checkStores(a)
		w.checkStores(b)
		w.only(cache, last)
		w.must(a.stop())
		w.must(b.stop())
	})
}

// TestLeftoversAreSwept, but not what another process makes; their numbers are not
// taken again.
func TestLeftoversAreSwept(t *testing.T) {
	inVirtualTime(t, 44, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 10)
		d := w.docket(false, cache)
		w.live(d, 1)
		// One crashed, and one lives: it beats.
		crashed, err := cache.Open(w.ctx, 8)
		w.must(err)
		_, err = crashed.Claim(w.ctx, 5, "who crashed", 0)
		w.must(err)
		living, err := cache.Open(w.ctx, 9)
		w.must(err)
		lane, err := living.Claim(w.ctx, 5, "who lives", 0)
		w.must(err)
		beating, stop := context.WithCancel(w.ctx)
		var beats sync.WaitGroup
		beats.Go(func() {
			tick := time.NewTicker(brief / 4)
			defer tick.Stop()
			for beating.Err() == nil {
				if _, err := living.Beat(w.ctx, []projections.Checkpoint{lane}); err != nil {
					t.Errorf("the living one: %v", err)
					return
				}
				<-tick.C
			}
		})
		w.must(d.Rebuild(w.ctx, nil))
		w.passes(8 * brief)
		numbers, err := cache.Generations(w.ctx)
		w.must(err)
		if !slices.Equal(numbers, []int{9, 10}) {
			t.Errorf("generations %v", numbers)
		}
		stop()
		beats.Wait()
		w.only(cache, 10)
		w.checkStores(d)
		w.must(d.stop())
	})
}

// TestStoreThatIsDown at the start, and later: the others answer, nothing ends,
// nothing is parked.
func TestStoreThatIsDown(t *testing.T) {
	inVirtualTime(t, 45, func(t *testing.T, w *world) {
		search, cache := newStore("search"), newStore("cache")
		w.feed("a", 10)
		d := w.docket(true, search, cache)
		w.live(d, 1)
		w.checkStores(d)
		w.must(d.stop())

		w.feed("b", 10)
		d = w.docket(true, search, cache)
		d.faults["cache"].Outage(true)
		w.must(d.Started(w.ctx))
		local, down := d.Managers()[0], d.Managers()[2]
		w.check(local)
		w.checkStore(d, d.Managers()[1])
		w.until(func() bool { return down.Incomplete() != nil })
		if sink, n := down.Live(); sink != nil || n != 0 {
			// It may have been quicker than the outage.
			t.Logf("generation %d was open before the outage", n)
		}
		away := func() projections.GenerationStatus {
			s, err := d.Status(w.ctx)
			w.must(err)
			return s.Generations[2]
		}
		w.until(func() bool { return strings.Contains(away().Problem, "does not answer") })
		if err := d.Rebuild(w.ctx, nil); !errors.Is(err, projections.ErrUnavailable) {
			t.Errorf("rebuild: %v", err)
		}
		if _, err := down.Lag(w.ctx); !errors.Is(err, projections.ErrUnavailable) {
			t.Errorf("lag: %v", err)
		}
		if err := down.Wait(w.ctx, "a0", 0); !errors.Is(err, projections.ErrUnavailable) {
			t.Errorf("wait: %v", err)
		}
		if _, err := d.Parked(w.ctx); err != nil {
			t.Errorf("parked: %v", err)
		}
		d.faults["cache"].Outage(false)
		w.live(d, 1)
		w.checkStores(d)

		// In the middle.
		d.faults["search"].Outage(true)
		w.feed("c", 10)
		w.check(local)
		w.checkStore(d, down)
		w.until(func() bool {
			s, err := d.Status(w.ctx)
			w.must(err)
			return strings.Contains(s.Generations[1].Problem, "outage") && s.Generations[0].CaughtUp
		})
		d.faults["search"].Outage(false)
		w.checkStores(d)
		parked, err := d.Parked(w.ctx)
		w.must(err)
		if len(parked) > 0 {
			t.Errorf("parked: %+v", parked)
		}
		w.must(d.stop())
	})
}

// TestLostStoreIsMadeAgain in place, by all its processes; meanwhile it says that
// it lacks something whenever it does.
func TestLostStoreIsMadeAgain(t *testing.T) {
	for _, orders := range []int{20, 700} { // followed, and spilled
		t.Run(fmt.Sprint(orders), func(t *testing.T) {
			inVirtualTime(t, 46, func(t *testing.T, w *world) {
				cache := newStore("cache")
				w.feed("a", orders)
				a, b := w.docket(true, cache), w.docket(false, cache)
				w.live(a, 1)
				w.live(b, 1)
				w.checkStores(a)
				w.checkStores(b)
				ids := []string{}
				for i := range orders {
					ids = append(ids, fmt.Sprint("a", i))
				}
				reading, stop := context.WithCancel(w.ctx)
				var readers sync.WaitGroup
				for _, m := range []*projections.Manager{a.Managers()[1], b.Managers()[0]} {
					readers.Go(func() {
						for tick := time.NewTicker(10 * time.Millisecond); reading.Err() == nil; <-tick.C {
							sink, _ := m.Live()
							if m.Incomplete() != nil {
								continue
							}
							docs, err := sink.Documents(w.ctx, ids)
							if err == nil && len(docs) < orders && m.Incomplete() == nil {
								t.Errorf("%d of %d orders, and nothing lacks", len(docs), orders)
								return
							}
						}
					})
				}
				for range 2 {
					w.must(cache.Drop(w.ctx, 1)) // a flush
					for _, m := range []*projections.Manager{a.Managers()[1], b.Managers()[0]} {
						// That it lacked something may be over before anybody looks.
						w.until(func() bool {
							sink, _ := m.Live()
							if sink == nil {
								return false
							}
							docs, err := sink.Documents(w.ctx, ids)
							return err == nil && len(docs) == orders
						})
					}
					w.appendTo(uuid.NewString(), placed)
					w.check(a.Managers()[0])
					w.until(func() bool { return a.Managers()[1].Incomplete() == nil && b.Managers()[0].Incomplete() == nil })
				}
				stop()
				readers.Wait()
				w.live(a, 1)
				w.live(b, 1)
				w.checkStores(a)
				w.checkStores(b)
				w.must(a.stop())
				w.must(b.stop())
			})
		})
	}
}

// TestElsewhere: what another process does is waited for, told of, and undone.
func TestElsewhere(t *testing.T) {
	inVirtualTime(t, 47, func(t *testing.T, w *world) {
		cache := newStore("cache")
		a, b := w.docket(false, cache), w.docket(false, cache)
		w.live(a, 1)
		w.live(b, 1)
		for i := range 20 {
			id := fmt.Sprint("o", i)
			w.appendTo(id, placed)
			for _, d := range []*docket{a, b} {
				w.must(d.Wait(w.ctx, id, 0))
			}
		}
		for i := range 8 {
			w.appendTo(fmt.Sprint("bad", i), placed)
		}
		w.must(a.CaughtUp(w.ctx))
		cache.Refuse("bad3", errors.New("not this one"))
		for i := range 8 {
			w.appendTo(fmt.Sprint("bad", i), order.Confirmed{At: later(1)})
		}
		for _, d := range []*docket{a, b} {
			if err := d.Wait(w.ctx, "bad3", 1); !errors.Is(err, projections.ErrParked) {
				t.Errorf("wait: %v", err)
			}
			w.until(func() bool { _, parked := d.Managers()[0].ParkedOrder("bad3"); return parked })
		}
		cache.Refuse("bad3", nil)
		w.until(func() bool { return b.Retry(w.ctx, "bad3") == nil })
		for _, d := range []*docket{a, b} {
			w.must(d.Wait(w.ctx, "bad3", 1))
			w.until(func() bool { list, err := d.Parked(w.ctx); return err == nil && len(list) == 0 })
			w.checkStores(d)
			lag, err := d.Managers()[0].Lag(w.ctx)
			w.must(err)
			if lag != (projections.Lag{}) {
				t.Errorf("lag %+v", lag)
			}
		}
		w.must(a.stop())
		w.must(b.stop())
	})
}

// TestLagIsOfEachLane: what is applied in a lane does not lag because another lane
// is behind.
func TestLagIsOfEachLane(t *testing.T) {
	inVirtualTime(t, 48, func(t *testing.T, w *world) {
		cache := newStore("cache")
		d := w.docket(false, cache)
		w.live(d, 1)
		w.feed("a", 30)
		w.checkStores(d)
		m := d.Managers()[0]
		// Another takes a lane, and does nothing in it for as long as it lives.
		lane := projections.LaneOf("late")
		sink, err := cache.Open(w.ctx, 1)
		w.must(err)
		var mine projections.Checkpoint
		w.until(func() bool {
			lanes, err := sink.Checkpoints(w.ctx)
			w.must(err)
			mine, err = sink.Claim(w.ctx, lane, "another", lanes[lane].Token)
			return err == nil
		})
		beating, stop := context.WithCancel(w.ctx)
		var beats sync.WaitGroup
		beats.Go(func() {
			tick := time.NewTicker(brief / 4)
			defer tick.Stop()
			for beating.Err() == nil {
				if lost, err := sink.Beat(w.ctx, []projections.Checkpoint{mine}); err != nil || len(lost) > 0 {
					return // it has its share
				}
				<-tick.C
			}
		})
		defer beats.Wait()
		defer stop()
		w.appendTo("late", placed)
		w.feed("b", 30)
		w.until(func() bool {
			lag, err := m.Lag(w.ctx)
			w.must(err)
			return lag.Events == 1
		})
	})
}

// TestNewerViewsAreLeftAlone: a docket that is older than the views in force of a
// shared store goes on with those before them as long as these are kept, and shows
// nothing rather than what it cannot read. It neither feeds nor rebuilds them.
func TestNewerViewsAreLeftAlone(t *testing.T) {
	inVirtualTime(t, 49, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 10)
		d := w.docket(false, cache)
		w.live(d, 1)
		w.checkStores(d)
		newer, err := cache.Open(w.ctx, 2)
		w.must(err)
		w.appendRaw("projection", "orders", 1, eventstore.Event{ID: uuid.New(), Type: "ProjectionSwitched", JSON: true,
			Data: fmt.Appendf(nil, `{"generation":2,"version":%d,"stores":["cache"],"previous":1}`, projections.Version+1)})
		w.feed("b", 10)
		w.until(func() bool {
			s, err := d.Status(w.ctx)
			w.must(err)
			return len(s.Generations) == 2 && s.Generations[1].State == "newer" && s.Generations[1].Version == projections.Version+1
		})
		w.live(d, 1)
		w.checkStores(d)
		if err := d.Rebuild(w.ctx, nil); err == nil {
			t.Error("rebuilt")
		}
		w.passes(5 * brief)
		w.appendRaw("projection", "orders", 2, eventstore.Event{ID: uuid.New(), Type: "ProjectionDropped", JSON: true, Data: []byte(`{"generation":1,"why":"dropped"}`)})
		m := d.Managers()[0]
		w.until(func() bool {
			sink, _ := m.Live()
			numbers, err := cache.Generations(w.ctx)
			w.must(err)
			return sink == nil && errors.Is(m.Incomplete(), projections.ErrUnavailable) && slices.Equal(numbers, []int{2})
		})
		lanes, err := newer.Checkpoints(w.ctx)
		w.must(err)
		if slices.ContainsFunc(lanes, func(c projections.Checkpoint) bool { return c.Token > 0 }) {
			t.Error("a lane is claimed")
		}
		if got := w.registered(); len(got) != 3 {
			t.Errorf("the registry says %q", got)
		}
		w.must(d.stop())
	})
}

// TestAnotherVersionIsRenewedTogether: all stores of a program that brings a new
// fold are switched with one append, and so are those of its neighbours.
func TestAnotherVersionIsRenewedTogether(t *testing.T) {
	inVirtualTime(t, 50, func(t *testing.T, w *world) {
		w.feed("a", 10)
		w.appendRaw("projection", "orders", 0, eventstore.Event{ID: uuid.New(), Type: "ProjectionSwitched", JSON: true,
			Data: []byte(`{"generation":1,"version":0}`)})
		search, cache := newStore("search"), newStore("cache")
		d := w.docket(false, search, cache)
		w.live(d, 2)
		w.checkStores(d)
		if got, want := w.registered(), []string{"Switched 1", "Building 2 search+cache", "Switched 2 search+cache"}; !slices.Equal(got, want) {
			t.Errorf("the registry says %q, not %q", got, want)
		}
		w.must(d.stop())
	})
}

// TestStoreOfAnotherLog: under one name there are the views of another docket. They
// are neither shown nor removed.
func TestStoreOfAnotherLog(t *testing.T) {
	inVirtualTime(t, 51, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 10)
		d := w.docket(false, cache)
		w.live(d, 1)
		w.checkStores(d)
		w.must(d.stop())
		other := newWorld(t, 52)
		other.store = ofAnotherLog{other.store}
		e := other.docket(false, cache)
		other.until(func() bool {
			s, err := e.Status(other.ctx)
			other.must(err)
			return strings.Contains(s.Generations[0].Problem, "another log")
		})
		if sink, _ := e.Managers()[0].Live(); sink != nil {
			t.Error("the views of another log are shown")
		}
		other.must(e.stop())
		d = w.docket(false, cache)
		w.live(d, 1)
		w.checkStores(d)
		w.must(d.stop())
	})
}

// TestGenerationsOfAnotherLogStay: two dockets were given the same names, and one
// is ahead in its numbers. What the other builds and sweeps is never what this one
// shows, whether it runs or not.
func TestGenerationsOfAnotherLogStay(t *testing.T) {
	inVirtualTime(t, 54, func(t *testing.T, w *world) {
		cache := newStore("cache")
		w.feed("a", 10)
		d := w.docket(false, cache)
		w.live(d, 1)
		w.must(d.Rebuild(w.ctx, nil))
		w.only(cache, 2)
		other := newWorld(t, 55)
		other.store, other.ctx, other.spill = ofAnotherLog{other.store}, w.ctx, w.spill
		other.feed("b", 10)
		e := other.docket(false, cache)
		other.live(e, 1)
		w.must(e.Rebuild(w.ctx, nil)) // not under the number of another docket
		other.live(e, 3)
		w.checkStores(d)
		w.must(d.stop())
		w.must(e.Rebuild(w.ctx, nil))
		w.passes(2 * brief * 12)
		numbers, err := cache.Generations(w.ctx)
		w.must(err)
		if !slices.Equal(numbers, []int{2, 4}) {
			t.Errorf("generations %v", numbers)
		}
		other.checkStores(e)
		w.must(e.stop())
	})
}

// TestUnknownEventEndsAll: the program is too old for the log.
func TestUnknownEventEndsAll(t *testing.T) {
	inVirtualTime(t, 53, func(t *testing.T, w *world) {
		search, cache := newStore("search"), newStore("cache")
		d := w.docket(false, search, cache)
		w.live(d, 1)
		w.appendRaw(codec.Category, "o", 0, eventstore.Event{ID: uuid.New(), Type: "OrderTeleported", JSON: true, Data: []byte(`{}`),
			Metadata: codec.EncodeMeta(codec.Meta{Version: 1, RecordedAt: t0})})
		w.until(func() bool { sink, _ := d.Managers()[1].Live(); return sink == nil })
		if err := d.stop(); !errors.Is(err, codec.ErrUnknownEvent) {
			t.Errorf("run: %v", err)
		}
	})
}
