package projections_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
)

// rebuildSchedules is how many are taken: DOCKET_REBUILDS, or a few.
func rebuildSchedules(t *testing.T) int {
	text := os.Getenv("DOCKET_REBUILDS")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("DOCKET_REBUILDS: %q", text)
	}
	return n
}

// perilous is a log whose registry takes appends as it likes, and ends the process
// that asks for one right before or right after.
type perilous struct {
	eventstore.Store
	mu  sync.Mutex
	rng *rand.Rand
	off bool
	end func() // of the process
	did map[string]int
}

func (p *perilous) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	if stream != "projection-orders" {
		return p.Store.Append(ctx, stream, expected, events)
	}
	p.mu.Lock()
	peril := p.rng.IntN(10)
	if p.off {
		peril = 9
	}
	what := ""
	switch peril {
	case 0:
		what = "failed"
	case 1:
		what = "unknown, not done"
	case 2:
		what = "unknown, done"
	case 3:
		what = "ended before"
		p.end()
	}
	p.mu.Unlock()
	if what != "" {
		p.note(what)
	}
	switch peril {
	case 0:
		return eventstore.Appended{}, eventstore.ErrUnavailable
	case 1, 3:
		return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
	}
	done, err := p.Store.Append(ctx, stream, expected, events)
	switch {
	case peril == 2 && err == nil:
		return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
	case peril == 4 && err == nil:
		p.note("ended after")
		p.mu.Lock()
		p.end()
		p.mu.Unlock()
	}
	if err == nil {
		p.note("appended")
	}
	return done, err
}

func (p *perilous) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.did[what]++
}

// rebuilt is a world of processes that are ended by what they append.
type rebuilt struct {
	*world
	rng    *rand.Rand
	stores []*store
	keep   time.Duration
	did    map[string]int
	ids    []string // that every generation has to show
	tokens sync.Map // id to the revision that somebody has read
}

// life is one process, from its start to its end.
type life struct {
	*docket
	log   *perilous
	ended chan struct{}
}

func (r *rebuilt) start() *life {
	l := &life{ended: make(chan struct{})}
	l.log = &perilous{Store: r.world.store, rng: rand.New(rand.NewPCG(r.rng.Uint64(), 1)), did: r.did}
	l.log.end = sync.OnceFunc(func() { close(l.ended) })
	one := &world{t: r.t, ctx: r.ctx, store: l.log, spill: r.spill, expected: r.expected}
	l.docket = one.docketWith(false, []func(*projections.Options){func(o *projections.Options) { o.Keep = r.keep }}, r.stores...)
	return l
}

// read asks all the time, of all stores of a process: what is served is whole, and
// never behind what was read before.
func (r *rebuilt) read(ctx context.Context, l *life, reads *atomic.Int64) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, m := range l.Managers() {
			sink, _ := m.Live()
			if sink == nil || m.Incomplete() != nil {
				continue
			}
			id := r.ids[n%len(r.ids)]
			var token int64
			if known, ok := r.tokens.Load(id); ok {
				token = known.(int64)
			}
			waiting, cancel := context.WithTimeout(ctx, time.Minute)
			err := m.Wait(waiting, id, eventstore.Revision(token))
			cancel()
			if err != nil {
				continue
			}
			sink, number := m.Live()
			if sink == nil {
				continue
			}
			docs, err := sink.Documents(ctx, r.ids)
			if err != nil || m.Incomplete() != nil {
				continue
			}
			reads.Add(1)
			if len(docs) != len(r.ids) {
				r.t.Errorf("generation %d of %s shows %d of %d orders", number, m.StoreName, len(docs), len(r.ids))
			}
			if docs[id].Revision < token {
				r.t.Errorf("generation %d of %s shows %s at %d, after %d was read", number, m.StoreName, id, docs[id].Revision, token)
			}
			r.tokens.Store(id, max(token, docs[id].Revision))
		}
	}
}

// TestRebuildsEndAnywhere: whatever becomes of an append to the registry, and of the
// process that asked for it, the next one goes on where that was; who reads sees one
// whole generation, and nothing is left behind.
func TestRebuildsEndAnywhere(t *testing.T) {
	n := rebuildSchedules(t)
	var mu sync.Mutex
	did, reads := map[string]int{}, atomic.Int64{}
	spill := t.TempDir()
	for seed := range uint64(n) {
		if t.Failed() {
			t.Fatalf("schedule %d", seed-1)
		}
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
			defer cancel()
			w := newWorld(t, seed)
			w.ctx, w.spill = ctx, spill
			r := &rebuilt{world: w, rng: rand.New(rand.NewPCG(seed, 8)), did: map[string]int{}}
			r.stores = []*store{newStore("search"), newStore("cache")}[:1+r.rng.IntN(2)]
			if r.rng.IntN(3) > 0 {
				r.keep = time.Hour
			}
			r.play(&reads)
			mu.Lock()
			defer mu.Unlock()
			for what, times := range r.did {
				did[what] += times
			}
		})
	}
	t.Logf("%d schedules, %d reads: %v", n, reads.Load(), did)
	if n >= 12 && (did["ended before"] == 0 || did["ended after"] == 0 || did["switched"] == 0 || reads.Load() < int64(n)) {
		t.Error("something never happened")
	}
}

func (r *rebuilt) play(reads *atomic.Int64) {
	for i := range 6 {
		id := fmt.Sprint("o", i)
		r.ids = append(r.ids, id)
		r.appendTo(id, placed)
	}
	revisions := map[string]int{}
	acts := 10 + r.rng.IntN(8)
	for acts > 0 {
		l := r.start()
		reading, stop := context.WithCancel(r.ctx)
		var readers sync.WaitGroup
		readers.Go(func() { r.read(reading, l, reads) })
		acting, leave := context.WithCancel(r.ctx)
		acted := make(chan struct{})
		go func() {
			defer close(acted)
			for ; acts > 0 && acting.Err() == nil; acts-- {
				r.act(acting, l, revisions)
			}
		}()
		select {
		case <-l.ended:
		case <-acted:
		}
		leave()
		<-acted
		stop()
		readers.Wait()
		r.must(l.stop())
		r.did["lives"]++
	}
	// One that nothing happens to puts everything in order.
	last := r.start()
	last.log.mu.Lock()
	last.log.off = true
	last.log.mu.Unlock()
	defer func() {
		if r.t.Failed() {
			status, err := last.Status(context.WithoutCancel(r.ctx))
			r.t.Logf("%+v, %v, registry %q", status.Generations, err, r.registered())
		}
	}()
	r.checkStores(last.docket)
	r.until(func() bool {
		list, err := last.Rebuilds(r.ctx)
		r.must(err)
		return len(list) == 0 || list[0].Phase.Over()
	})
	r.checkStores(last.docket)
	for _, s := range r.stores {
		r.until(func() bool {
			status, err := last.Status(r.ctx)
			r.must(err)
			var told []int
			for _, g := range status.Generations {
				if g.Store == s.name {
					told = append(told, g.Generation)
				}
			}
			there, err := s.Generations(r.ctx)
			r.must(err)
			slices.Sort(told)
			return slices.Equal(there, told) && len(there) <= 3
		})
	}
	r.must(last.stop())
}

// act does one of the things that operators and clients do.
func (r *rebuilt) act(ctx context.Context, l *life, revisions map[string]int) {
	briefly, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var err error
	what := ""
	switch r.rng.IntN(9) {
	case 0, 1:
		what = "begun"
		_, err = l.Begin(briefly, projections.Request{Then: []projections.Then{projections.ThenAsk, projections.ThenSwitch}[r.rng.IntN(2)]})
	case 2, 3:
		what = "switched"
		_, err = l.Switch(briefly, 0)
	case 4:
		what = "rolled back"
		_, err = l.Rollback(briefly, false)
	case 5:
		if r.rng.IntN(2) == 0 {
			what = "dropped"
			err = l.Drop(briefly, 1+r.rng.IntN(5))
		} else {
			what = "cancelled"
			err = l.Cancel(briefly, 1+r.rng.IntN(5))
		}
	case 6, 7:
		id := r.ids[r.rng.IntN(len(r.ids))]
		revisions[id]++
		r.appendTo(id, order.NoteAdded{NoteID: fmt.Sprint("n", revisions[id]), Text: "note", At: later(revisions[id])})
	}
	if what != "" && err == nil {
		l.log.note(what)
	}
	if err != nil && !expectedHere(err) && ctx.Err() == nil {
		r.t.Errorf("%s: %v", what, err)
	}
	_ = pauseFor(ctx, time.Duration(r.rng.Int64N(int64(2*time.Second))))
}

// expectedHere is what operators are told, and what they see of the log's faults.
func expectedHere(err error) bool {
	for _, known := range []error{
		projections.ErrRebuilding, projections.ErrNoCandidate, projections.ErrNotReady, projections.ErrNoPrevious, projections.ErrServed,
		projections.ErrNoGeneration, projections.ErrStale, projections.ErrClosed, eventstore.ErrOutcomeUnknown, eventstore.ErrUnavailable,
		context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
