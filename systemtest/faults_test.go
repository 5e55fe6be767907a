package systemtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

const (
	// faultsTogether are under way at once; they mostly wait.
	faultsTogether = 6
	// faultRecovery is how long anything may take when no fault comes any more.
	faultRecovery = 15 * time.Second
)

// TestFaultsBetweenAdapterAndServer: whatever the network and the server do, at
// whatever stage of an append or a subscription, nothing is lost, doubled or out
// of order, and everybody goes on when it is over.
func TestFaultsBetweenAdapterAndServer(t *testing.T) {
	t.Parallel() // with TestStallsThatNobodyEnds, which mostly waits
	schedules, seed := setting(t, "DOCKET_FAULTS", 100), seed(t)
	t.Logf("%d schedules, DOCKET_SEED=%d", schedules, seed)
	dir, began := memory(t), time.Now()
	var (
		working sync.WaitGroup
		next    atomic.Int64
		mu      sync.Mutex
		total   faultCounts
	)
	for range faultsTogether {
		working.Go(func() {
			for n := next.Add(1) - 1; n < schedules && !t.Failed(); n = next.Add(1) - 1 {
				// Every schedule has a seed of its own, by which it is repeated alone.
				own := seed + uint64(n)
				w, wrong, err := runFaults(t, filepath.Join(dir, fmt.Sprint(n)), own, planted{})
				if err != nil {
					t.Errorf("schedule DOCKET_FAULTS=1 DOCKET_SEED=%d: %v", own, err)
					return
				}
				for _, text := range wrong {
					t.Errorf("schedule DOCKET_FAULTS=1 DOCKET_SEED=%d %v: %s", own, w.plan.steps, text)
				}
				mu.Lock()
				total.add(w)
				if total.schedules%500 == 0 {
					t.Logf("after %v: %v", time.Since(began).Round(time.Second), total)
				}
				mu.Unlock()
			}
		})
	}
	working.Wait()
	t.Logf("%v; in %v", total, time.Since(began).Round(time.Millisecond))
	if !t.Failed() && schedules >= 100 && (total.hit < total.late/10 || total.told[toldDone] == 0 || total.resumed == 0) {
		t.Errorf("the faults do not hit: %v", total)
	}
}

// TestStallsThatNobodyEnds: connections on which nothing passes any more, and that
// nobody closes, are given up; appends after their deadline, subscriptions after
// the client's keep-alive, which gRPC lets be no shorter than 10 s and 10 s.
func TestStallsThatNobodyEnds(t *testing.T) {
	t.Parallel()
	w, err := newFaultWorld(t, filepath.Join(memory(t), "0"), "127.0.0.1", rand.New(rand.NewPCG(1, 1)), faultPlan{streams: 2}, planted{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.store.Close()
	following, stop := context.WithCancel(t.Context())
	defer stop()
	w.subs = []*faultSubscription{{}, {filter: matching}}
	var followers sync.WaitGroup
	for n, f := range w.subs {
		rng := rand.New(rand.NewPCG(2, uint64(n)))
		followers.Go(func() { w.follow(following, f, rng) })
	}
	const within = time.Minute
	reach := func() time.Duration {
		began := time.Now()
		for _, f := range w.subs {
			if err := w.reach(t.Context(), f, within); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(began).Round(time.Millisecond)
	}
	rng := rand.New(rand.NewPCG(3, 3))
	w.append(t.Context(), w.stream(0), rng)
	reach()
	w.tap.stallForEver()
	began := time.Now()
	for w.append(t.Context(), w.stream(0), rng).told != toldDone {
		if time.Since(began) > within {
			t.Fatal("appends do not go on")
		}
	}
	took := time.Since(began).Round(time.Millisecond)
	t.Logf("an append went on after %v, subscriptions after %v more", took, reach())
	stop()
	followers.Wait()
	if err := w.close(); err != nil {
		t.Error(err)
	}
	wrong, err := w.check(t.Context())
	for _, text := range wrong {
		t.Error(text)
	}
	if err != nil {
		t.Error(err)
	}
}

// runFaults runs one schedule and checks it.
func runFaults(t *testing.T, dir string, seed uint64, bug planted) (*faultWorld, []string, error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	w, err := newFaultWorld(t, dir, hostOf(seed), rng, newFaultPlan(rng), bug)
	if err != nil {
		return nil, nil, err
	}
	defer w.store.Close()
	if err := w.live(t.Context()); err != nil {
		w.close()
		return nil, nil, err
	}
	if err := w.close(); err != nil {
		return nil, nil, err
	}
	wrong, err := w.check(t.Context())
	return w, wrong, err
}

// live lets everybody use the store while the faults come, and go on afterwards.
func (w *faultWorld) live(ctx context.Context) error {
	following, stop := context.WithCancel(ctx)
	defer stop()
	var writing, followers sync.WaitGroup
	w.subs = []*faultSubscription{{}, {filter: matching}}
	for _, f := range w.subs {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 1))
		followers.Go(func() { w.follow(following, f, rng) })
	}
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	for n := range w.plan.writers {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 2))
		writing.Go(func() { w.write(bounded, n, rng) })
	}
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 3))
	writing.Go(func() { w.browse(bounded, rng) })
	w.disturb(ctx)

	began := time.Now()
	patience := time.AfterFunc(faultRecovery, cancel)
	defer patience.Stop()
	writing.Wait()
	if bounded.Err() != nil {
		w.trouble("a writer or reader did not go on within %v", faultRecovery)
	}
	for _, f := range w.subs {
		if err := w.reach(ctx, f, faultRecovery); err != nil {
			w.trouble("%v", err)
		}
		w.goesOn(time.Since(began))
	}
	stop()
	followers.Wait()
	return nil
}

// reach waits until a subscription has delivered everything that is there now.
func (w *faultWorld) reach(ctx context.Context, f *faultSubscription, within time.Duration) error {
	end, err := w.end(ctx, f.filter)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); err == nil && f.reached.Load() < end; <-tick.C {
		if time.Since(began) > within {
			err = fmt.Errorf("a subscription did not go on within %v", within)
		}
	}
	return err
}

// end is where the last record is that a filter matches.
func (w *faultWorld) end(ctx context.Context, filter eventstore.Filter) (uint64, error) {
	for rec, err := range w.store.ReadAll(ctx, eventstore.End, eventstore.Backwards, filter, 1) {
		return rec.Position.Commit, err
	}
	return 0, nil
}

// faultCounts is how much happened.
type faultCounts struct {
	schedules, hit, late, attempts, doubts, reads, broken, resumed, notices, stuck int

	faults    map[fault]int
	stages    map[stage]int
	told      map[fate]int
	recovered []time.Duration
}

func (c *faultCounts) add(w *faultWorld) {
	if c.faults == nil {
		c.faults, c.stages, c.told = map[fault]int{}, map[stage]int{}, map[fate]int{}
	}
	c.schedules, c.hit, c.late, c.attempts, c.doubts, c.stuck = c.schedules+1, c.hit+w.hit, c.late+w.late, c.attempts+w.attempts, c.doubts+w.doubts, c.stuck+w.network.stuck
	for _, s := range w.plan.steps {
		c.faults[s.fault]++
	}
	for _, s := range w.stagesHit {
		c.stages[s]++
	}
	for _, a := range w.appends {
		c.told[a.told]++
	}
	for _, r := range w.reads {
		if c.reads++; !r.complete {
			c.broken++
		}
	}
	for _, s := range w.subs {
		c.notices, c.resumed = c.notices+len(s.notices), c.resumed+s.asked-1
	}
	c.recovered = append(c.recovered, w.recovered...)
	slices.Sort(c.recovered)
}

func (c faultCounts) String() string {
	quantile := func(q float64) time.Duration {
		if len(c.recovered) == 0 {
			return 0
		}
		return c.recovered[int(q*float64(len(c.recovered)-1))].Round(time.Millisecond)
	}
	stages := ""
	for _, s := range slices.Sorted(maps.Keys(c.stages)) {
		stages += fmt.Sprintf("%v %d, ", s, c.stages[s])
	}
	return fmt.Sprintf("%d schedules: faults %v, %d at their stage (%s) and %d between; appends %v in %d attempts, %d of unknown outcome; %d reads, %d broken off; %d notices, subscribed again %d times; recovered within %v (half), %v (99 %%), %v (all); %d proxies stuck",
		c.schedules, c.faults, c.hit, stages, c.late, c.told, c.attempts, c.doubts, c.reads, c.broken, c.notices, c.resumed, quantile(0.5), quantile(0.99), quantile(1), c.stuck)
}
