package systemtest

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"
)

const (
	// turnWithin bounds a switch and a rollback, from the request to the answer and
	// to the last docket that serves what is in force then.
	turnWithin = time.Second
	// turnWithinAnywhere is that on a machine that does other things too.
	turnWithinAnywhere = 5 * time.Second
	// mayBeSlower is how many times longer a read may take during a rebuild.
	mayBeSlower = 2.0
)

// TestRebuildUnderLoad rebuilds the views while an open loop of readers and writers
// goes on; then it switches, and rolls back. No read fails, no acknowledged write is
// lost or older than its token, and switch and rollback take less than a second.
// With DOCKET_REBUILD_DATA the orders are all of the data set there, the rate is
// half of the highest that is held, and reads take at most twice as long at the 99th
// percentile as before.
func TestRebuildUnderLoad(t *testing.T) {
	t.Run("files", func(t *testing.T) { rebuildUnderLoad(t, oneWithFiles) })
	t.Run("shared", func(t *testing.T) { rebuildUnderLoad(t, twoShare) })
}

func rebuildUnderLoad(t *testing.T, dockets int) {
	began := time.Now()
	w := newRebuildWorld(t, dockets, nil)
	w.serve()
	big := rebuildData() != ""
	f := w.traffic("load")
	rate, before, bound := w.modest(), 3*time.Second, turnWithinAnywhere
	if big {
		f.forSome("warm", rate, 20*time.Second)
		rate, before, bound = f.highestHeld(rate, w.slow())/2, 30*time.Second, turnWithin
	}
	f.forSome("warm", rate, time.Second)
	t.Logf("%d orders, %.0f requests per second, after %v", len(w.known), rate, time.Since(began).Round(time.Millisecond))

	ctx := t.Context()
	calm := f.forSome("before", rate, before)
	var generation int
	made := f.during("rebuild", rate, func() {
		var err error
		asked := time.Now()
		if generation, err = w.ask(0).begin(ctx, rebuildWish{Then: "ask"}); err != nil {
			t.Fatal(err)
		}
		found := w.ask(0).ready(t, generation)
		t.Logf("generation %d was made in %v: %+v", generation, time.Since(asked).Round(time.Millisecond), found.Progress)
	})
	turned := f.during("switch and rollback", rate, func() {
		w.turns("switch", bound, func(r rebuilding) (int, error) { return r.switchOver(ctx) }, generation)
		<-time.After(time.Second)
		w.turns("rollback", bound, func(r rebuilding) (int, error) { return r.rollback(ctx, false) }, 0)
		<-time.After(time.Second)
	})
	f.settled()
	program, _ := built()
	w.reconciled(program)
	for _, s := range []*stretch{calm, made, turned} {
		t.Log(s)
		if s.failures() > 0 {
			t.Errorf("%s: requests failed: %v", s.name, s.failed)
		}
	}
	was, is := calm.quantile(calm.reads, 0.99), made.quantile(made.reads, 0.99)
	t.Logf("p99 of reads %v before, %v during the rebuild: %.2f times; in all %v", was, is, float64(is)/float64(was), time.Since(began).Round(time.Millisecond))
	if big && float64(is) > mayBeSlower*float64(was) {
		t.Errorf("reads take %v at the 99th percentile during the rebuild, %v before", is, was)
	}
}

// slow is how long the slowest answers take that still count as held. A list with a
// token waits for the next refresh of Elasticsearch, a second apart.
func (w *rebuildWorld) slow() time.Duration {
	if w.shared != nil {
		return 2 * time.Second
	}
	return 500 * time.Millisecond
}

// highestHeld is the highest rate that was held in a short ramp that begins with
// first: nothing failed, nothing was slow.
func (f *traffic) highestHeld(first float64, slow time.Duration) (rate float64) {
	const step = 5 * time.Second
	for try := first; ; try *= 1.3 {
		s := &stretch{name: "ramp", rate: try, failed: map[string]int{}}
		told := f.told
		f.told = mostTold // that it fails at last is no failure
		ctx, stop := context.WithTimeout(f.t.Context(), step)
		f.send(ctx, s)
		stop()
		f.asking.Wait()
		f.told = told
		f.t.Log(s)
		if s.failures() > 0 || s.quantile(s.reads, 0.99) > slow || s.quantile(s.writes, 0.99) > slow {
			if rate == 0 {
				f.t.Fatalf("not even %.0f requests a second are held: %v", try, s)
			}
			return rate
		}
		rate = try
	}
}

// turns asks for a change of what is in force, and looks from when on each docket
// serves it, by id and in lists. want 0: any other generation than before.
func (w *rebuildWorld) turns(what string, bound time.Duration, ask func(rebuilding) (int, error), want int) int {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	type side struct {
		s    *server
		path string
	}
	var sides []side
	before := map[side]string{}
	for n := range w.nodes {
		for _, path := range []string{"/v1/orders/" + w.known[0], "/v1/orders?limit=1"} {
			at := side{w.nodes[n].get(), path}
			sides = append(sides, at)
			before[at] = w.generationAt(ctx, at.s, path)
		}
	}
	began := time.Now()
	var mu sync.Mutex
	last := time.Duration(0)
	now := map[string]int{}
	var watching sync.WaitGroup
	for _, at := range sides {
		watching.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				if g := w.generationAt(ctx, at.s, at.path); g != before[at] && g != "" {
					mu.Lock()
					last, now[g] = max(last, time.Since(began)), now[g]+1
					mu.Unlock()
					return
				}
				<-tick.C
			}
		})
	}
	generation, err := ask(w.ask(len(w.nodes) - 1))
	answered := time.Since(began)
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	watching.Wait()
	w.t.Logf("%s: generation %d, answered after %v, the last docket serves it after %v", what, generation, answered.Round(time.Millisecond), last.Round(time.Millisecond))
	if len(now) != 1 || want != 0 && generation != want || ctx.Err() != nil {
		w.t.Errorf("%s: generation %d, not %d; served now: %v (%v)", what, generation, want, now, ctx.Err())
	}
	if max(answered, last) > bound {
		w.t.Errorf("%s took %v to the answer and %v to the last docket", what, answered, last)
	}
	return generation
}

// generationAt is the generation that an answer is of; empty when there is none.
func (w *rebuildWorld) generationAt(ctx context.Context, s *server, path string) string {
	got, err := s.do(ctx, w.through, request{method: "GET", path: path})
	if err != nil || got.status != http.StatusOK {
		return ""
	}
	return got.header.Get("Read-Generation")
}
