package projections_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/eventstore/eventstoretest"
	storesqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
	"github.com/google/uuid"
)

// world is a log, a backend, and managers that come and go over both.
type world struct {
	t       *testing.T
	ctx     context.Context
	store   eventstore.Store
	backend *projectionstest.Reference
	spill   string

	mu       sync.Mutex
	expected map[string][]codec.Recorded // what was appended, by order
}

func newWorld(t *testing.T, seed uint64) *world {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return &world{
		t: t, ctx: ctx, store: eventstoretest.NewReference(seed), backend: projectionstest.NewReference(),
		spill: t.TempDir(), expected: map[string][]codec.Recorded{},
	}
}

// appendTo adds events to an order's stream, whatever gets lost on the way.
func (w *world) appendTo(id string, events ...order.Event) {
	w.t.Helper()
	w.mu.Lock()
	first := len(w.expected[id])
	records := recorded(id, first, events...)
	w.expected[id] = append(w.expected[id], records...)
	w.mu.Unlock()
	out := make([]eventstore.Event, len(events))
	for i, r := range records {
		_, data, err := codec.Encode(r.Event)
		if err != nil {
			w.t.Error(err)
		}
		out[i] = eventstore.Event{ID: r.EventID, Type: r.Type, JSON: true, Data: data, Metadata: codec.EncodeMeta(r.Meta)}
	}
	w.appendRaw(codec.Category, id, first, out...)
}

func (w *world) appendRaw(category, id string, first int, events ...eventstore.Event) {
	w.t.Helper()
	for {
		_, err := w.store.Append(w.ctx, eventstore.Namespace("").Stream(category, id), eventstore.Expected(first-1), events)
		if err == nil {
			return
		}
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
			w.t.Errorf("append to %s: %v", id, err)
			return
		}
	}
}

// poison is an event that no program can read.
func poison() eventstore.Event {
	return eventstore.Event{ID: uuid.New(), Type: "OrderNoteAdded", JSON: true, Data: []byte(`{"noteId":7}`),
		Metadata: codec.EncodeMeta(codec.Meta{Version: 1, RecordedAt: t0})}
}

// run starts a manager; stop ends it and returns what Run returned.
func (w *world) run(change ...func(*projections.Options)) (m *projections.Manager, stop func() error) {
	w.t.Helper()
	o := projections.Options{Store: w.store, Backend: w.backend, SpillDir: w.spill}
	for _, c := range change {
		c(&o)
	}
	m = projections.NewManager(o)
	ctx, cancel := context.WithCancel(w.ctx)
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	w.t.Cleanup(func() {
		if err := stop(); err != nil && !w.t.Failed() {
			w.t.Logf("run: %v", err)
		}
	})
	w.must(m.Started(w.ctx))
	return m, stop
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// check compares every document with a fold of what was appended, and the
// statistics with the sums over them.
func (w *world) check(m *projections.Manager) {
	w.t.Helper()
	for {
		w.must(m.CaughtUp(w.ctx))
		sink, _ := m.Live()
		err := w.compare(sink)
		if now, _ := m.Live(); errors.Is(err, projections.ErrClosed) && now != sink {
			continue // a switch came between, as a reader would see it
		}
		w.must(err)
		return
	}
}

func (w *world) checkSink(sink projections.Sink) {
	w.t.Helper()
	w.must(w.compare(sink))
}

// compare fails the test where the sink holds anything but what is expected, and
// returns why it could not be asked.
func (w *world) compare(sink projections.Sink) error {
	w.t.Helper()
	if err := sink.Refresh(w.ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var figures projections.Figures
	for id, events := range w.expected {
		docs, err := sink.Documents(w.ctx, []string{id})
		if err != nil {
			return err
		}
		got, want := docs[id], fold(view.Order{}, events...)
		got.Position, want.Position = "", ""
		if g, e := asJSON(w.t, got), asJSON(w.t, want); g != e {
			w.t.Errorf("order %s\nis     %s\nshould %s", id, g, e)
		}
		figures.Counters = append(figures.Counters, projections.Counters(projections.Contributions(want))...)
	}
	got, err := sink.(query.Views).Stats(w.ctx, query.StatsQuestion{})
	if err != nil {
		return err
	}
	want := projections.AssembleStats(figures)
	for i := range got.Currencies {
		got.Currencies[i].Customers, got.Currencies[i].Payments = nil, nil
	}
	for i := range want.Currencies {
		want.Currencies[i].Payments = nil
	}
	if !reflect.DeepEqual(got, want) {
		w.t.Errorf("statistics\nare    %+v\nshould %+v", got, want)
	}
	return nil
}

// feed appends the histories of n orders, from several goroutines, in pieces.
func (w *world) feed(prefix string, n int) {
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			rest := map[string][]order.Event{}
			for i := g; i < n; i += 4 {
				rest[fmt.Sprint(prefix, i)] = ordertest.History(int64(i), 12)
			}
			for len(rest) > 0 {
				for id, events := range rest {
					k := min(3, len(events))
					w.appendTo(id, events[:k]...)
					if rest[id] = events[k:]; len(rest[id]) == 0 {
						delete(rest, id)
					}
				}
			}
		})
	}
	all.Wait()
}

func TestEveryEventOnceInEffect(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			w.feed("early", 20)
			m, _ := w.run()
			w.feed("live", 60)
			w.check(m)
			lag, err := m.Lag(w.ctx)
			w.must(err)
			if lag != (projections.Lag{}) {
				t.Errorf("an idle projection lags %+v", lag)
			}
		})
	}
}

// brittle breaks every subscription after some notices, and notes where the
// next one begins.
type brittle struct {
	eventstore.Store
	mu   sync.Mutex
	from []eventstore.Position
}

type brittleSubscription struct {
	eventstore.Subscription
	left int
}

func (b *brittle) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	if !slices.Contains(filter.Prefixes, "order-") {
		return b.Store.Subscribe(ctx, from, filter)
	}
	b.mu.Lock()
	b.from = append(b.from, from)
	b.mu.Unlock()
	s, err := b.Store.Subscribe(ctx, from, filter)
	return &brittleSubscription{s, 30}, err
}

func (s *brittleSubscription) Next(ctx context.Context) (eventstore.Notice, error) {
	if s.left--; s.left < 0 {
		return eventstore.Notice{}, errors.New("connection reset")
	}
	return s.Subscription.Next(ctx)
}

func TestSubscribesAgainWhereItWas(t *testing.T) {
	w := newWorld(t, 21)
	b := &brittle{Store: w.store}
	w.store = b
	w.feed("a", 20)
	m, stop := w.run()
	w.check(m)
	w.must(stop())
	if n := len(b.from); n < 3 || b.from[0] != eventstore.Start || b.from[n-1] == eventstore.Start {
		t.Fatalf("subscribed from %v", b.from)
	}
	if !slices.IsSortedFunc(b.from, eventstore.Position.Compare) {
		t.Errorf("went back: subscribed from %v", b.from)
	}
	b.from = nil
	w.feed("b", 1)
	m, stop = w.run()
	w.check(m)
	w.must(stop())
	if b.from[0] == eventstore.Start {
		t.Error("a restart reads the whole log")
	}
}

func TestRestartInTheMiddle(t *testing.T) {
	w := newWorld(t, 9)
	for round := range 6 {
		m, stop := w.run()
		w.feed(fmt.Sprint("r", round, "-"), 10)
		if round%2 == 0 {
			w.check(m)
		}
		w.must(stop())
		if sink, n := m.Live(); sink != nil || n != 0 {
			t.Errorf("generation %d is live after the end", n)
		}
	}
	m, _ := w.run()
	w.check(m)
}

func TestWritesThatFailParkNothing(t *testing.T) {
	w := newWorld(t, 3)
	w.backend.FailWrites(3)
	m, _ := w.run()
	w.feed("a", 12)
	w.backend.BreakWrites(3)
	w.feed("b", 12)
	w.check(m)
	if parked, _ := m.Parked(w.ctx); len(parked) != 0 {
		t.Errorf("parked %v", parked)
	}
}

func TestOutageShowsInStatusAndLag(t *testing.T) {
	w := newWorld(t, 5)
	w.backend.FailWrites(1 << 30)
	w.appendTo("o", placed)
	m, _ := w.run(func(o *projections.Options) { o.Clock = func() time.Time { return t0.Add(time.Hour) } })
	w.until(func() bool {
		s, err := m.Status(w.ctx)
		w.must(err)
		g := s.Generations[0]
		return strings.Contains(g.Problem, "injected") && g.Lag.Events == 1 && g.Lag.Age == time.Hour && !g.CaughtUp
	})
	w.backend.FailWrites(0)
	w.check(m)
	s, err := m.Status(w.ctx)
	w.must(err)
	if g := s.Generations[0]; g.Problem != "" || g.State != "live" || g.Generation != 1 || s.Version != projections.Version {
		t.Errorf("status %+v", s)
	}
}

// untilOver waits for a Run that ends by itself.
func (w *world) untilOver(m *projections.Manager) {
	w.t.Helper()
	w.until(func() bool { _, n := m.Live(); return n == 0 })
}

// until asks again and again; the world's context bounds it.
func (w *world) until(done func() bool) {
	w.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			w.t.Fatal("it never came true")
		}
	}
}

func TestPoisonParksItsOrderAlone(t *testing.T) {
	w := newWorld(t, 4)
	m, stop := w.run()
	w.appendTo("bad", placed)
	w.appendRaw(codec.Category, "bad", 1, poison())
	w.feed("good", 20)
	w.check(m) // of bad, what came before
	degraded, ok := m.ParkedOrder("bad")
	if !ok || degraded.Revision != 1 || !strings.Contains(degraded.Reason, "OrderNoteAdded") {
		t.Errorf("parked %v %+v", ok, degraded)
	}
	w.must(m.Wait(w.ctx, "bad", 0))
	if err := m.Wait(w.ctx, "bad", 1); !errors.Is(err, projections.ErrParked) {
		t.Errorf("waiting for a parked order: %v", err)
	}
	if err := m.Retry(w.ctx, "bad"); !errors.Is(err, projections.ErrParked) {
		t.Errorf("retry: %v", err)
	}
	w.must(stop())
	m, _ = w.run()
	if parked, _ := m.Parked(w.ctx); len(parked) != 1 || parked[0].OrderID != "bad" {
		t.Errorf("after a restart %v are parked", parked)
	}
	w.must(m.Rebuild(w.ctx, nil))
	if p, ok := m.ParkedOrder("bad"); !ok || p.Revision != 1 {
		t.Errorf("after a rebuild: parked %v at %d", ok, p.Revision)
	}
	w.check(m)
}

func TestRefusedOrderWaitsForRetry(t *testing.T) {
	w := newWorld(t, 6)
	m, _ := w.run()
	w.appendTo("o", placed)
	w.check(m)
	w.backend.Refuse("o", errors.New("mapping error"))
	w.appendTo("o", order.Confirmed{At: later(1)}, dispatchedAll)
	waited := make(chan error, 1)
	go func() { waited <- m.Wait(w.ctx, "o", 2) }()
	if err := <-waited; !errors.Is(err, projections.ErrParked) {
		t.Fatalf("waiting for a refused document: %v", err)
	}
	w.appendTo("o", deliveredAll) // waits behind
	w.feed("other", 8)
	w.must(m.CaughtUp(w.ctx))
	if p, ok := m.ParkedOrder("o"); !ok || p.Revision != 1 || p.Reason != "mapping error" {
		t.Errorf("parked %v %+v", ok, p)
	}
	w.backend.Refuse("o", nil)
	w.must(m.Retry(w.ctx, "o"))
	if _, ok := m.ParkedOrder("o"); ok {
		t.Error("still parked")
	}
	w.appendTo("o", order.NoteAdded{NoteID: "n", Text: "flows again", At: t0})
	w.must(m.Wait(w.ctx, "o", 4))
	w.check(m)
	w.must(m.Retry(w.ctx, "o")) // not parked: fine
}

func TestUnknownEventStopsTheReader(t *testing.T) {
	w := newWorld(t, 7)
	m, stop := w.run()
	w.appendTo("before", placed)
	e := poison()
	e.Type = "OrderTeleported"
	w.appendRaw(codec.Category, "new", 0, e)
	w.appendTo("after", placed)
	err := m.CaughtUp(w.ctx)
	if !errors.Is(err, codec.ErrUnknownEvent) {
		t.Fatalf("caught up: %v", err)
	}
	w.untilOver(m)
	if err := stop(); !errors.Is(err, codec.ErrUnknownEvent) || !strings.Contains(err.Error(), "OrderTeleported") {
		t.Errorf("run ended with %v", err)
	}
	sink, err := w.backend.Open(w.ctx, 1)
	w.must(err)
	docs, err := sink.Documents(w.ctx, []string{"before", "after"})
	w.must(err)
	if _, ok := docs["before"]; !ok || len(docs) != 1 {
		t.Errorf("documents %v", docs)
	}
}

// behind hides a document from the sink once, as a store that lost it would.
type behind struct {
	projections.Backend
	lost atomic.Bool
	read atomic.Int64 // documents that were asked for
}

type behindSink struct {
	projections.Sink
	*behind
}

func (b *behind) Open(ctx context.Context, n int) (projections.Sink, error) {
	s, err := b.Backend.Open(ctx, n)
	return behindSink{s, b}, err
}

func (s behindSink) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	docs, err := s.Sink.Documents(ctx, ids)
	s.read.Add(int64(len(ids)))
	if s.lost.CompareAndSwap(true, false) {
		delete(docs, "o")
	}
	return docs, err
}

func TestGapIsReadAgain(t *testing.T) {
	w := newWorld(t, 8)
	b := &behind{Backend: w.backend}
	m, stop := w.run(func(o *projections.Options) { o.Backend = b })
	w.appendTo("o", placed)
	w.must(m.CaughtUp(w.ctx))
	// What was written a moment ago is gone when the next event comes.
	sink, _ := m.Live()
	w.must(sink.Replace(w.ctx, "o", nil))
	w.appendTo("o", order.Confirmed{At: later(1)})
	w.must(m.CaughtUp(w.ctx))
	docs, err := sink.Documents(w.ctx, []string{"o"})
	w.must(err)
	if docs["o"].Revision != 1 || docs["o"].Status != "confirmed" {
		t.Errorf("document %+v", docs["o"])
	}
	w.must(stop())
	// And it is not there when it is asked for.
	b.lost.Store(true)
	m, _ = w.run(func(o *projections.Options) { o.Backend = b })
	w.appendTo("o", order.Cancelled{At: later(2)})
	w.must(m.CaughtUp(w.ctx))
	if b.lost.Load() {
		t.Error("the gap never was")
	}
	sink, _ = m.Live()
	docs, err = sink.Documents(w.ctx, []string{"o"})
	w.must(err)
	if docs["o"].Revision != 2 || docs["o"].Status != "cancelled" {
		t.Errorf("document %+v", docs["o"])
	}
}

// TestRecentDocumentIsNotReadAgain: an order's next event finds what was written a
// moment ago, and one that others wrote between is read.
func TestRecentDocumentIsNotReadAgain(t *testing.T) {
	w := newWorld(t, 9)
	b := &behind{Backend: w.backend}
	m, _ := w.run(func(o *projections.Options) { o.Backend = b })
	w.appendTo("o", placed)
	w.must(m.CaughtUp(w.ctx))
	w.appendTo("o", order.Confirmed{At: later(1)})
	w.must(m.CaughtUp(w.ctx))
	if n := b.read.Load(); n != 0 {
		t.Errorf("%d documents read that were just written", n)
	}
	w.must(m.Reproject(w.ctx, "o"))
	w.appendTo("o", order.Cancelled{At: later(2)})
	w.must(m.CaughtUp(w.ctx))
	if b.read.Load() == 0 {
		t.Error("a document that was made anew is not read")
	}
}

func TestForeignEventsDoNotKeepFromCatchingUp(t *testing.T) {
	w := newWorld(t, 10)
	m, _ := w.run()
	w.appendTo("o", placed)
	for i := range 40 {
		w.appendRaw("snapshot-order", fmt.Sprint(i), 0, eventstore.Event{ID: uuid.New(), Type: "x"})
	}
	w.must(m.CaughtUp(w.ctx))
	lag, err := m.Lag(w.ctx)
	w.must(err)
	if lag.Events != 0 {
		t.Errorf("lag %+v", lag)
	}
}

func TestRebuildWhileWritten(t *testing.T) {
	w := newWorld(t, 11)
	w.feed("old", 40)
	m, stop := w.run()
	w.must(m.CaughtUp(w.ctx))

	ctx, done := context.WithCancel(w.ctx)
	var busy sync.WaitGroup
	busy.Go(func() { w.feed("new", 40) })
	busy.Go(func() { // a reader never fails but by a switch, and then not twice
		for ctx.Err() == nil {
			sink, n := m.Live()
			docs, err := sink.Documents(w.ctx, []string{"old1"})
			if _, now := m.Live(); errors.Is(err, projections.ErrClosed) && now != n {
				continue
			}
			if err != nil || docs["old1"].Revision < 0 || docs["old1"].ID == "" {
				t.Errorf("generation %d: %v %v", n, docs["old1"].ID, err)
				return
			}
		}
	})
	var phases []string
	err := m.Rebuild(w.ctx, func(p projections.Progress) {
		if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
			phases = append(phases, p.Phase)
		}
		if p.Generation != 2 {
			t.Errorf("progress %+v", p)
		}
	})
	w.must(err)
	done()
	busy.Wait()
	if want := []string{"reading", "folding", "following", "switched"}; !slices.Equal(phases, want) {
		t.Errorf("phases %v, want %v", phases, want)
	}
	if _, n := m.Live(); n != 2 {
		t.Errorf("generation %d is live", n)
	}
	w.check(m)
	if left, _ := w.backend.Generations(w.ctx); !slices.Equal(left, []int{2}) {
		t.Errorf("generations %v are left", left)
	}
	if files, _ := os.ReadDir(w.spill); len(files) != 0 {
		t.Errorf("files %v are left", files)
	}
	w.must(stop())
	m, _ = w.run()
	if _, n := m.Live(); n != 2 {
		t.Errorf("generation %d is live after a restart", n)
	}
	w.check(m)
}

func TestFailedRebuildLeavesTheOldOne(t *testing.T) {
	w := newWorld(t, 12)
	w.feed("a", 10)
	m, _ := w.run()
	w.must(m.CaughtUp(w.ctx))
	ctx, cancel := context.WithCancel(w.ctx)
	err := m.Rebuild(ctx, func(p projections.Progress) {
		if err := m.Rebuild(w.ctx, nil); !errors.Is(err, projections.ErrRebuilding) {
			t.Errorf("a second rebuild: %v", err)
		}
		if p.Phase == "folding" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled rebuild: %v", err)
	}
	s, err := m.Status(w.ctx)
	w.must(err)
	if s.LastRebuildError == "" || s.Rebuild != nil || len(s.Generations) != 1 {
		t.Errorf("status %+v", s)
	}
	if left, _ := w.backend.Generations(w.ctx); !slices.Equal(left, []int{1}) {
		t.Errorf("generations %v are left", left)
	}
	w.feed("b", 5)
	w.check(m)
	w.must(m.Rebuild(w.ctx, nil))
	w.check(m)
}

func TestLeftoversOfACrashAreRemoved(t *testing.T) {
	w := newWorld(t, 13)
	_, err := w.backend.Open(w.ctx, 7)
	w.must(err)
	w.must(os.Mkdir(w.spill+"/rebuild-123", 0o700))
	m, _ := w.run()
	w.must(m.CaughtUp(w.ctx))
	if left, _ := w.backend.Generations(w.ctx); !slices.Equal(left, []int{1}) {
		t.Errorf("generations %v are left", left)
	}
	if files, _ := os.ReadDir(w.spill); len(files) != 0 {
		t.Errorf("files %v are left", files)
	}
}

// A generation of another version answers, frozen, until its successor is
// built.
func TestAnotherVersionIsRebuilt(t *testing.T) {
	w := newWorld(t, 14)
	w.feed("a", 10)
	m, stop := w.run()
	w.check(m)
	w.must(stop())
	w.appendRaw("projection", projections.Name, 1, eventstore.Event{ID: uuid.New(), Type: "ProjectionSwitched", JSON: true,
		Data: fmt.Appendf(nil, `{"generation":1,"version":%d,"at":"2024-01-01T00:00:00Z"}`, projections.Version-1)})
	w.feed("b", 10)
	m, stop = w.run()
	w.check(m)
	if _, n := m.Live(); n != 2 {
		t.Errorf("generation %d is live", n)
	}
	w.must(stop())
	m, _ = w.run()
	if _, n := m.Live(); n != 2 {
		t.Errorf("generation %d is live: built again", n)
	}
}

// A log that was restored has another epoch: what the views say of it is not
// believed.
type restored struct{ eventstore.Store }

func (r restored) Log(ctx context.Context) (eventstore.LogIdentity, error) {
	log, err := r.Store.Log(ctx)
	log.Epoch++
	return log, err
}

func TestAnotherEpochIsRebuilt(t *testing.T) {
	w := newWorld(t, 15)
	w.feed("a", 10)
	m, stop := w.run()
	w.check(m)
	w.must(stop())
	w.store = restored{w.store}
	m, _ = w.run()
	w.check(m)
	if _, n := m.Live(); n != 2 {
		t.Errorf("generation %d is live", n)
	}
}

func TestLostLaneStops(t *testing.T) {
	w := newWorld(t, 16)
	m, stop := w.run()
	w.must(m.CaughtUp(w.ctx))
	w.until(func() bool { // fed, so claimed
		s, err := m.Status(w.ctx)
		w.must(err)
		return s.Generations[0].State == "live"
	})
	sink, _ := m.Live()
	lanes, err := sink.Checkpoints(w.ctx)
	w.must(err)
	lane := projections.LaneOf("o")
	_, err = sink.Claim(w.ctx, lane, "somebody else", lanes[lane].Token)
	w.must(err)
	w.appendTo("o", placed)
	if err := m.CaughtUp(w.ctx); !errors.Is(err, projections.ErrLaneLost) {
		t.Errorf("caught up: %v", err)
	}
	w.untilOver(m)
	if err := stop(); !errors.Is(err, projections.ErrLaneLost) {
		t.Errorf("run ended with %v", err)
	}
}

func TestWaitEnds(t *testing.T) {
	w := newWorld(t, 17)
	m, stop := w.run()
	ctx, cancel := context.WithCancel(w.ctx)
	waited := make(chan error, 2)
	go func() { waited <- m.Wait(ctx, "o", 0) }()
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	go func() { waited <- m.Wait(w.ctx, "o", 0) }()
	w.must(stop())
	if err := <-waited; !errors.Is(err, projections.ErrClosed) {
		t.Errorf("wait after the end: %v", err)
	}
	if err := m.Wait(w.ctx, "o", 0); !errors.Is(err, projections.ErrClosed) {
		t.Errorf("wait after the end: %v", err)
	}
}

// The stores that users run, together: written, restarted, rebuilt while
// written.
func TestOnSQLite(t *testing.T) {
	w := newWorld(t, 0)
	store, err := storesqlite.Open(w.ctx, t.TempDir(), storesqlite.Options{})
	w.must(err)
	defer store.Close()
	w.store = store
	views := t.TempDir()
	onFiles := func(o *projections.Options) { o.Backend = sqlite.NewBackend(views, sqlite.Options{}) }
	w.feed("early", 20)
	m, stop := w.run(onFiles)
	w.feed("live", 20)
	w.check(m)
	w.must(stop())
	m, stop = w.run(onFiles)
	var writing sync.WaitGroup
	writing.Go(func() { w.feed("meanwhile", 20) })
	w.must(m.Rebuild(w.ctx, nil))
	writing.Wait()
	w.check(m)
	if _, n := m.Live(); n != 2 {
		t.Errorf("generation %d is live", n)
	}
	w.must(stop())
}

func TestRunThatCannotStart(t *testing.T) {
	w := newWorld(t, 19)
	w.must(w.store.Close())
	m := projections.NewManager(projections.Options{Store: w.store, Backend: w.backend, SpillDir: w.spill})
	err := m.Run(w.ctx)
	if err == nil {
		t.Fatal("ran on a closed store")
	}
	if got := m.Wait(w.ctx, "o", 0); !errors.Is(got, err) {
		t.Errorf("wait: %v", got)
	}
}

// A big log is spilled at the first start; what comes meanwhile is followed.
func TestFirstStartOnABigLog(t *testing.T) {
	w := newWorld(t, 18)
	for i := range 600 {
		w.appendTo(fmt.Sprint("o", i), ordertest.History(int64(i), 10)...)
	}
	m, _ := w.run()
	w.feed("live", 10)
	w.check(m)
	if _, n := m.Live(); n != 1 {
		t.Errorf("generation %d is live", n)
	}
}
