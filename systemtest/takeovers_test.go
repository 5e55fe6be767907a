package systemtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/redis"
)

const (
	// lease of the lanes, as docket serve is told.
	lease = time.Second
	// sharers are the dockets that share the lanes.
	sharers = 3
	// fairShare is what each of them has before one of them goes, or more.
	fairShare = projections.Lanes/sharers - 1
	// takeoverWriters write meanwhile, each with a rest after each command.
	takeoverWriters = 3
	writerRest      = 20 * time.Millisecond
	// sharingTime is when a campaign gives up on a busy machine. How long a lane may
	// be without an owner is for the watches to say.
	sharingTime = 5 * time.Minute
	// takeoversPerLog bound what is in a log.
	takeoversPerLog = 50
)

// TestTakeovers lets three dockets share one log, one Elasticsearch and one Redis.
// One of them is killed, or paused for longer than its lease, again and again,
// while all are written to. No lane is without an owner for longer than two
// leases, and nobody moves a checkpoint after somebody else has taken it over. In
// the end the views equal the log.
func TestTakeovers(t *testing.T) {
	takeovers, seed := int(setting(t, "DOCKET_TAKEOVERS", 10)), seed(t)
	t.Logf("%d takeovers, DOCKET_SEED=%d", takeovers, seed)
	began, rng := time.Now(), rand.New(rand.NewPCG(seed, 0))
	for n := 0; n < takeovers && !t.Failed(); {
		t.Run(fmt.Sprintf("from %d", n+1), func(t *testing.T) {
			c := newSharing(t, rng)
			defer c.end()
			for until := min(n+takeoversPerLog, takeovers); n < until && !t.Failed(); {
				n++
				c.takeover(n)
				if n%10 == 0 || n == until {
					c.look(n)
					t.Logf("takeover %d after %v: %d killed, %d paused; %d commands acknowledged; %v", n, time.Since(began).Round(time.Second), c.killed, c.paused, len(c.acknowledged), c.watches)
				}
			}
		})
	}
}

// sharing is three dockets on the same stores.
type sharing struct {
	*campaign
	*production
	nodes   []*node
	watches []*laneWatch

	stop           context.CancelFunc
	working        sync.WaitGroup
	killed, paused int
}

// node is a docket that goes and comes back.
type node struct {
	name   string
	owners []string // as the lanes say, when last looked

	mu      sync.Mutex
	serving *server // nil: gone or paused
	ending  bool    // it was told to end, and another one is to come
}

func (n *node) set(s *server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serving, n.ending = s, false
}

func (n *node) get() *server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.serving
}

func newSharing(t *testing.T, rng *rand.Rand) *sharing {
	under := network()
	t.Cleanup(under.CloseIdleConnections)
	c := &sharing{
		campaign:   &campaign{ledger: &ledger{t: t, network: under}, t: t, rng: rng},
		production: sharedProduction(t),
	}
	for n := range sharers {
		one := &node{name: fmt.Sprintf("node-%d", n)}
		one.set(c.serve(t, one.name))
		c.nodes = append(c.nodes, one)
	}
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	for store, sink := range c.sinks(t) {
		w := newLaneWatch(store, lease)
		c.watches = append(c.watches, w)
		c.working.Go(func() { w.follow(ctx, sink) })
	}
	for n := range takeoverWriters {
		rng := rand.New(rand.NewPCG(rng.Uint64(), uint64(n)))
		c.working.Go(func() { c.write(ctx, fmt.Sprintf("w%d", n), rng) })
	}
	return c
}

// sinks are the stores, as another process sees them.
func (p *production) sinks(t *testing.T) map[string]projections.Sink {
	t.Helper()
	namespace := eventstore.Namespace(p.namespace)
	search, err := elastic.Open(p.search, elastic.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := redis.Open(p.cache, redis.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	sinks := map[string]projections.Sink{}
	for name, backend := range map[string]projections.Backend{"elasticsearch": search, "redis": cache} {
		sink, err := backend.Open(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sink.Close() })
		sinks[name] = sink
	}
	t.Cleanup(func() { search.Close(); cache.Close() })
	return sinks
}

// write sends commands to whoever is there.
func (c *sharing) write(ctx context.Context, name string, rng *rand.Rand) {
	client := &loadClient{ledger: c.ledger, name: name, rng: rng}
	for n := 0; ctx.Err() == nil; n++ {
		order := fmt.Sprintf("%s-%d", name, n)
		for _, r := range append(client.life(order), noteRequest("w0-0", order+"-shared")) {
			to := order
			if strings.HasSuffix(r.key, "-shared") {
				to = "w0-0"
			}
			if s := pick(rng, c.nodes...).get(); s != nil {
				c.send(ctx, s, to, r)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(writerRest):
			}
		}
	}
}

// takeover lets one of the three go, and come back.
func (c *sharing) takeover(n int) {
	began := time.Now()
	c.balanced(n)
	shared := time.Since(began)
	victim := pick(c.rng, c.nodes...)
	s := victim.get()
	victim.set(nil)
	pause := c.rng.IntN(2) == 0
	if pause {
		c.paused++
		if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			c.t.Fatal(err)
		}
	} else {
		c.killed++
		s.kill()
	}
	for _, w := range c.watches {
		w.loses(victim.owners)
	}
	// Some are back before anybody noticed, others long after.
	if long := time.Duration((1 + 2*c.rng.Float64()) * float64(lease)); pause {
		<-time.After(long)
	}
	if !pause || c.rng.IntN(2) == 0 {
		c.adopted(n)
	}
	without := time.Since(began) - shared
	defer func() {
		c.t.Logf("takeover %d of %s (paused: %t): lanes shared after %v, %v without it, back after %v; %v", n, victim.name, pause,
			shared.Round(time.Millisecond), without.Round(time.Millisecond), (time.Since(began) - shared - without).Round(time.Millisecond), c.lags())
	}()
	for _, w := range c.watches {
		for _, wrong := range w.told() {
			c.t.Errorf("takeover %d: %s", n, wrong)
		}
	}
	if pause {
		for _, w := range c.watches {
			w.regains(victim.owners)
		}
		if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			c.t.Fatal(err)
		}
		victim.set(s)
		return
	}
	victim.set(c.serve(c.t, victim.name))
}

// lags is how many events each store is behind.
func (c *sharing) lags() (all []string) {
	shown, err := c.nodes[0].get().generations(c.t.Context(), c.network)
	for _, g := range shown {
		all = append(all, fmt.Sprintf("%s lags %d events, %v", g.Store, g.LagEvents, time.Duration(g.LagMs)*time.Millisecond))
	}
	if err != nil {
		all = append(all, err.Error())
	}
	return all
}

// adopted returns when every lane has an owner that works. That it comes in time
// is the watches' to say.
func (c *sharing) adopted(n int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		left := 0
		for _, w := range c.watches {
			left += w.orphans()
		}
		if left == 0 {
			return
		}
		if time.Since(began) > sharingTime {
			c.t.Fatalf("takeover %d: %d lanes have no owner after %v", n, left, sharingTime)
		}
	}
}

// balanced returns when each docket has its share of the lanes in each store, and
// notes under which names.
func (c *sharing) balanced(n int) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		var shares []string
		fair := true
		for _, one := range c.nodes {
			one.owners = nil
			shown, err := one.get().generations(c.t.Context(), c.network)
			stores := 0
			for _, g := range shown {
				if g.State != "live" || len(g.Lanes) == 0 {
					continue
				}
				stores++
				mine := 0
				for _, lane := range g.Lanes {
					if lane.Here {
						mine++
						if !slices.Contains(one.owners, lane.Owner) {
							one.owners = append(one.owners, lane.Owner)
						}
					}
				}
				fair = fair && mine >= fairShare
				shares = append(shares, fmt.Sprintf("%s in %s: %d", one.name, g.Store, mine))
			}
			if err != nil || stores != len(c.watches) {
				fair = false
				shares = append(shares, fmt.Sprintf("%s: %.500v, %v", one.name, shown, err))
			}
		}
		if fair {
			return
		}
		if time.Since(began) > sharingTime {
			c.t.Fatalf("takeover %d: the lanes are not shared after %v: %v", n, sharingTime, shares)
		}
	}
}

// look compares everything while writing goes on.
func (c *sharing) look(n int) {
	s := pick(c.rng, c.nodes...).get()
	if run := c.reconcile(c.t.Context(), s); run.status != 0 && run.status != 2 {
		c.t.Errorf("after takeover %d: reconcile ended with %d:\n%.4000s%s", n, run.status, run.stdout, run.stderr)
	}
}

// end stops the writers, and looks at everything.
func (c *sharing) end() {
	c.stop()
	c.working.Wait()
	ctx := c.t.Context()
	for _, one := range c.nodes {
		s := one.get()
		if s == nil {
			continue
		}
		waiting, cancel := context.WithTimeout(ctx, sharingTime)
		if err := s.caughtUp(waiting, c.network); err != nil {
			shown, _ := s.generations(ctx, c.network)
			c.t.Errorf("%s: the views are not whole after %v: %v %.2000v", one.name, sharingTime, err, shown)
		}
		cancel()
	}
	s := c.nodes[0].get()
	if s == nil || c.t.Failed() {
		return
	}
	unanswered := c.unanswered
	c.unanswered = nil
	for _, a := range unanswered {
		c.settle(ctx, s, a)
	}
	if err := s.caughtUp(ctx, c.network); err != nil {
		c.t.Error(err)
	}
	for _, a := range c.acknowledged {
		if err := c.repeat(ctx, s, a); err != nil {
			c.t.Errorf("at the end: %s %s again: %v", a.path, a.key, err)
		}
	}
	for _, one := range c.nodes {
		c.shown(ctx, one.get(), c.acknowledged)
	}
	if got, err := s.do(ctx, c.network, request{method: "GET", path: "/v1/projections/orders/parked"}); err != nil || !isEmptyList(got) {
		c.t.Errorf("parked: %v %d %.1000s", err, got.status, got.body)
	}
	if run := c.reconcile(ctx, s); run.status != 0 {
		c.t.Errorf("at the end: reconcile ended with %d:\n%.4000s%s", run.status, run.stdout, run.stderr)
	}
	for _, w := range c.watches {
		for _, wrong := range w.told() {
			c.t.Error(wrong)
		}
		if w.rescued == 0 {
			c.t.Errorf("nothing was taken over: %v", w)
		}
	}
}
