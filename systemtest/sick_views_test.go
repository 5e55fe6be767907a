package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/internal/testservers"
)

const (
	// viewRecovery is how long the views may take when no fault comes any more.
	viewRecovery = time.Minute
	// schedulesPerFolder bound what is in a log, and so what comparing it takes.
	schedulesPerFolder = 20
)

// TestSickViews: each store of views is killed, stalled, slowed, reset, filled
// and flushed while clients write and read, an import runs and docket itself is
// killed now and then. Meanwhile the other store is not held back, orders are
// answered from the log where need be, and what cannot be answered is a clear
// 503. Afterwards the views equal the log, and nothing is parked.
func TestSickViews(t *testing.T) {
	schedules, seed := int(setting(t, "DOCKET_VIEW_FAULTS", 10)), seed(t)
	t.Logf("%d schedules, DOCKET_SEED=%d", schedules, seed)
	began, rng := time.Now(), rand.New(rand.NewPCG(seed, 0))
	redis, elastic := newSickRedis(t, rng), newSickElasticsearch(t, rng)
	all := sickCounts{}
	for n := 0; n < schedules && !t.Failed(); {
		t.Run(fmt.Sprintf("from %d", n+1), func(t *testing.T) {
			w := newFolder(t)
			w.flags = []string{
				"--namespace", testservers.Namespace(t), "--lease", lease.String(),
				"--search", "elasticsearch://" + elastic.network.address, "--cache", "redis://" + redis.network.address,
			}
			w.start()
			c := &sickCampaign{campaign: newCampaign(t, w, rng), stores: []*sickStore{redis, elastic}, sickCounts: &all}
			c.ledger.network = steadyLog{t, c.ledger.network}
			for until := min(n+schedulesPerFolder, schedules); n < until && !t.Failed(); {
				n++
				c.schedule(n)
			}
			if c.imports.file != "" {
				c.imports.next(t.Context(), t, c.server(t.Context()))
			}
			c.everything()
		})
		t.Logf("after %v: %v", time.Since(began).Round(time.Second), &all)
	}
	if schedules >= 10 && !t.Failed() && all.fromLog+all.notNow == 0 {
		t.Errorf("the faults do not hit: %v", &all)
	}
}

// sickCampaign is a campaign whose stores of views fail.
type sickCampaign struct {
	*campaign
	stores []*sickStore
	*sickCounts
}

// sickCounts is how much happened in all schedules.
type sickCounts struct {
	mu        sync.Mutex
	schedules int
	sick      map[string]int // by store and sickness
	restarts  int            // of docket, meanwhile
	seen      int            // writes that the other store showed meanwhile
	answers   int            // whole ones, of views
	fromLog   int
	notNow    int
	slowest   time.Duration
	recovered []time.Duration
	commands  int
}

func (c *sickCounts) String() string {
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(c.sick)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, c.sick[kind]))
	}
	slices.Sort(c.recovered)
	quantile := func(q float64) time.Duration {
		if len(c.recovered) == 0 {
			return 0
		}
		return c.recovered[int(q*float64(len(c.recovered)-1))].Round(time.Millisecond)
	}
	return fmt.Sprintf("%d schedules (%s), docket killed %d times; %d commands acknowledged; %d answers of views, %d from the log, %d not now, the slowest after %v; %d writes shown by the other store meanwhile; recovered within %v (half), %v (all)",
		c.schedules, strings.Join(kinds, ", "), c.restarts, c.commands, c.answers, c.fromLog, c.notNow, c.slowest.Round(time.Millisecond), c.seen, quantile(0.5), quantile(1))
}

// schedule lets one store fail, or both, in the middle of everything.
func (c *sickCampaign) schedule(n int) {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	sick := slices.Clone(c.stores)
	c.rng.Shuffle(len(sick), func(i, j int) { sick[i], sick[j] = sick[j], sick[i] })
	if c.rng.IntN(4) > 0 {
		sick = sick[:1]
	}
	restart := c.rng.IntN(6) == 0
	r := &viewReader{sickCampaign: c, sick: sick, restarted: restart}

	var working sync.WaitGroup
	defer working.Wait()
	s := c.server(ctx)
	enough := c.await(20 + c.rng.IntN(40))
	for k := range loadClients / 2 {
		client := &loadClient{ledger: c.ledger, name: fmt.Sprintf("v%d-c%d", n, k), s: s, rng: rand.New(rand.NewPCG(c.rng.Uint64(), uint64(k)))}
		working.Go(func() { client.work(ctx, fmt.Sprintf("v%d-c0-0", n)) })
	}
	if n%3 == 1 {
		working.Go(func() { c.imports.next(ctx, c.t, s) })
	}
	select {
	case <-enough:
	case <-time.After(startTimeout):
		c.t.Errorf("schedule %d: too little was acknowledged in %v", n, startTimeout)
		return
	}
	working.Go(func() { r.readOrders(ctx) })
	working.Go(func() { r.readLists(ctx) })

	var ends []func() error
	what := fmt.Sprintf("schedule %d:", n)
	for _, store := range sick {
		illness := store.choose(c.rng)
		what += fmt.Sprintf(" %s %s", store.name, illness.name)
		c.note(store.name + " " + illness.name)
		if err := illness.begin(); err != nil {
			c.t.Errorf("%s: %v", what, err)
		}
		ends = append(ends, illness.end)
		<-time.After(time.Duration(c.rng.Int64N(int64(500 * time.Millisecond))))
	}
	if restart {
		what += ", docket killed"
		c.restarts++
		c.kill()
		c.startsUnready()
	}
	r.otherGoesOn(ctx)
	<-time.After(time.Duration(c.rng.Int64N(int64(1500 * time.Millisecond))))
	for _, end := range ends {
		if err := end(); err != nil {
			c.t.Errorf("%s: %v", what, err)
		}
	}
	healed := time.Now()
	<-time.After(time.Duration(c.rng.Int64N(int64(300 * time.Millisecond))))
	cancel()
	working.Wait()
	c.recover(what, healed)
}

func (c *sickCounts) note(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sick == nil {
		c.sick = map[string]int{}
	}
	c.sick[kind]++
}

// startsUnready starts docket as soon as it listens, though stores are sick.
func (c *sickCampaign) startsUnready() {
	c.serves(startUntil(c.t, "/healthz", c.data, c.flags...))
}

// recover waits until the views are whole, and looks at everything.
func (c *sickCampaign) recover(what string, healed time.Time) {
	ctx := c.t.Context()
	s := c.server(ctx)
	waiting, cancel := context.WithTimeout(ctx, viewRecovery)
	defer cancel()
	s.awaitReady(c.t)
	if err := s.caughtUp(waiting, c.network); err != nil {
		shown, _ := s.generations(ctx, c.network)
		c.t.Fatalf("%s: the views are not whole after %v: %v: %.2000v", what, viewRecovery, err, shown)
	}
	c.recovered = append(c.recovered, time.Since(healed))
	c.checkRound(c.schedules)
	if got, err := s.do(ctx, c.network, request{method: "GET", path: "/v1/projections/orders/parked"}); err != nil || !isEmptyList(got) {
		c.t.Errorf("%s: parked: %v %d %.1000s", what, err, got.status, got.body)
	}
	for _, path := range []string{"/v1/stats", "/v1/orders?limit=1", "/v1/customers/c-" + c.acknowledged[len(c.acknowledged)-1].order} {
		if got, err := s.do(ctx, c.network, request{method: "GET", path: path}); err != nil || got.status != http.StatusOK {
			c.t.Errorf("%s: afterwards %s: %v %d %.300s", what, path, err, got.status, got.body)
		}
	}
	if run := c.reconcile(ctx, s); run.status != 0 {
		c.t.Errorf("%s: reconcile ended with %d:\n%.4000s%s", what, run.status, run.stdout, run.stderr)
	}
	c.schedules++
	c.commands = len(c.acknowledged)
	c.t.Logf("%s: whole after %v", what, c.recovered[len(c.recovered)-1].Round(time.Millisecond))
}

func isEmptyList(got reply) bool {
	var list struct{ Items []json.RawMessage }
	return got.status == http.StatusOK && json.Unmarshal(got.body, &list) == nil && len(list.Items) == 0
}
