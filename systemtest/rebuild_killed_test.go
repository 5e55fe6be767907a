package systemtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docket-orders/docket/projections"
)

const (
	// casesPerWorld bound what is in a log and in a registry.
	casesPerWorld = 100
	// casesShared is that of a world whose stores are shared: a case takes twenty
	// times as long there.
	casesShared = 20
	// longestPause of a docket that is stopped, and rest of one that was killed.
	longestPause = 2 * lease
	// overWithin bounds what a rebuild takes that was disturbed.
	overWithin = 2 * time.Minute
)

// TestRebuildKilled kills dockets, stops them for a while, and cancels rebuilds, at
// any moment of a rebuild, its switch and its rollback, also right before and right
// after the log has heard of them. The rebuild goes on, or is over; who reads sees
// one whole generation that was switched to, and never less than a token says; and
// nothing is left behind that docket does not show.
func TestRebuildKilled(t *testing.T) {
	cases, seed := int(setting(t, "DOCKET_REBUILD_KILLS", 30)), seed(t)
	t.Logf("%d cases, DOCKET_SEED=%d", cases, seed)
	began, rng := time.Now(), rand.New(rand.NewPCG(seed, 0))
	all := map[string]int{}
	worlds := disturbedWorlds
	if cases <= casesPerWorld {
		worlds = allShared // those with files alone: one with shared stores takes minutes
	}
	for first, world := 0, 0; first < cases && !t.Failed(); world++ {
		kind, most := world%worlds, casesPerWorld
		if kind == allShared {
			most = casesShared
		}
		after := min(first+min(most, (cases+2)/3), cases)
		t.Run(fmt.Sprintf("%s from %d", worldNames[kind], first+1), func(t *testing.T) {
			c := newDisturbed(t, kind, rng)
			defer c.end()
			for n := first; n < after && !t.Failed(); n++ {
				c.once(n+1, all)
			}
		})
		first = after
	}
	took := time.Since(began)
	t.Logf("%d cases in %v, %v each: %v", cases, took.Round(time.Millisecond), (took / time.Duration(cases)).Round(time.Millisecond), all)
}

// disturbed is a world whose dockets are killed, stopped and told to cancel, with
// somebody who reads and writes all the time.
type disturbed struct {
	*rebuildWorld
	rng     *rand.Rand
	program string
	hits    chan *hit

	stop    context.CancelFunc
	reading sync.WaitGroup

	mu         sync.Mutex
	served     map[int]string // generations that answered, and where first
	wasInForce map[int]bool
	troubled   map[string]int // how often each node was disturbed
	walks      int
	told       int // reads with a token
	behind     int // of these, those that were told to come again
}

// Worlds that are disturbed.
const (
	filesAndLog = iota // one docket
	filesBesideLog
	allShared // three of them
	disturbedWorlds
)

var worldNames = [...]string{filesAndLog: "files and log", filesBesideLog: "files beside the log", allShared: "all shared"}

func newDisturbed(t *testing.T, kind int, rng *rand.Rand) *disturbed {
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	c := &disturbed{rng: rng, program: program, served: map[int]string{}, wasInForce: map[int]bool{}, troubled: map[string]int{}}
	switch kind {
	case filesAndLog:
		c.rebuildWorld = newRebuildWorld(t, oneWithFiles, nil)
	case filesBesideLog:
		c.rebuildWorld = newRebuildWorld(t, oneWithFiles, remoteLog(t))
	case allShared:
		c.rebuildWorld = newRebuildWorld(t, threeShare, nil)
	}
	if c.log != nil {
		c.hits = c.guard()
	}
	c.serve()
	for n := range c.nodes {
		c.wasInForce[c.mustServe(n)] = true
	}
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	for n := range 2 {
		rng := rand.New(rand.NewPCG(rng.Uint64(), uint64(n)))
		c.reading.Go(func() { c.walk(ctx, rng) })
	}
	rng = rand.New(rand.NewPCG(rng.Uint64(), 9))
	c.reading.Go(func() { c.readOwn(ctx, rng) })
	return c
}

// mustServe is the generation that a docket answers from.
func (c *disturbed) mustServe(n int) int {
	c.t.Helper()
	text := c.generationAt(c.t.Context(), c.nodes[n].get(), "/v1/orders/"+c.known[0])
	number, err := strconv.Atoi(text)
	if err != nil {
		c.t.Fatalf("%s serves no generation: %q", c.nodes[n].name, text)
	}
	return number
}

// walk goes through the whole list, again and again.
func (c *disturbed) walk(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		n := pick(rng, c.nodes...)
		s, before := n.get(), c.troubles(n)
		if s == nil {
			<-time.After(readerRest)
			continue
		}
		seen, err := wholeList(ctx, s, c.through, 100+rng.IntN(900), func(got reply) { c.serves(n, got) })
		missing := 0
		for _, order := range c.known {
			if _, there := seen[order]; !there {
				missing++
			}
		}
		switch {
		case ctx.Err() != nil || c.troubles(n) != before:
		case err != nil:
			c.t.Errorf("%s: a walk through the list: %v", n.name, err)
		case missing > 0:
			c.t.Errorf("%s: %d of %d orders are not in the list", n.name, missing, len(c.known))
		}
		c.mu.Lock()
		c.walks++
		c.mu.Unlock()
		<-time.After(10 * readerRest)
	}
}

// serves notes of which generation an answer is.
func (c *disturbed) serves(n *node, got reply) {
	if wrong := mixed(got); wrong != "" {
		c.t.Errorf("%s: %s", n.name, wrong)
	}
	g, err := strconv.Atoi(got.header.Get("Read-Generation"))
	if err != nil || got.header.Get("Read-Source") != "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.served[g] == "" {
		c.served[g] = n.name
	}
}

// troubles is how often a node was disturbed up to now.
func (c *disturbed) troubles(n *node) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.troubled[n.name]
}

func (c *disturbed) disturb(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.troubled[n.name]++
}

// readOwn writes, and reads with each token, also long after, at every docket.
func (c *disturbed) readOwn(ctx context.Context, rng *rand.Rand) {
	l := &ledger{t: c.t, network: c.through}
	const orders = 20
	tokens := map[string]written{}
	for k := 0; ctx.Err() == nil; k++ {
		n := pick(rng, c.nodes...)
		s := n.get()
		if s == nil {
			<-time.After(readerRest)
			continue
		}
		order := fmt.Sprintf("own-%d", k%orders)
		r := request{method: "POST", path: "/v1/orders", key: order, body: placeBody(order, "Ann Example")}
		if _, there := tokens[order]; there {
			r = noteRequest(order, fmt.Sprintf("%s-%d", order, k))
		}
		if got, ok := l.send(ctx, s, order, r); ok {
			tokens[order] = written{l.acknowledged[len(l.acknowledged)-1].answer.Revision, got.header.Get("Consistency-Token")}
		}
		if len(tokens) > 0 {
			c.readWith(ctx, pick(rng, c.nodes...), tokens, pick(rng, slices.Sorted(maps.Keys(tokens))...))
		}
		<-time.After(4 * readerRest)
	}
}

func (c *disturbed) readWith(ctx context.Context, n *node, tokens map[string]written, order string) {
	s, before, w := n.get(), c.troubles(n), tokens[order]
	if s == nil {
		return
	}
	got, err := s.do(ctx, c.through, request{method: "GET", path: "/v1/orders/" + order, consistencyToken: w.token, prefer: tokenWait})
	if ctx.Err() != nil || c.troubles(n) != before {
		return
	}
	if got.status == http.StatusServiceUnavailable && got.code() == "read-model-behind" {
		c.mu.Lock()
		c.behind++
		c.mu.Unlock()
		return // whoever kept the lanes was stopped: it is said, and nothing older is shown
	}
	if wrong := stale(got, order, w.revision, 1); err != nil || wrong != "" {
		c.t.Errorf("%s: order %s after revision %d: %v %s: %d %v %.300s", n.name, order, w.revision, err, wrong, got.status, got.header, got.body)
		return
	}
	c.serves(n, got)
	c.mu.Lock()
	c.told++
	c.mu.Unlock()
}

// rebuildMoment is one at which something is done to a rebuild.
type rebuildMoment struct {
	name  string
	phase projections.Phase // wait for it; empty: another way to choose
	event string            // wait for its append
	after bool
}

// moments of a world: those at the log only where gates are before it.
func (c *disturbed) moments() []rebuildMoment {
	all := []rebuildMoment{{name: "at random"}, {name: "at random"}}
	for _, phase := range []projections.Phase{projections.PhaseReading, projections.PhaseFolding, projections.PhaseFollowing, projections.PhaseComparing, projections.PhaseReady, projections.PhaseSwitched} {
		all = append(all, rebuildMoment{name: "while it is " + string(phase), phase: phase})
	}
	if c.hits != nil {
		all = nil
		for _, event := range []string{eventBuilding, eventSwitched, eventSwitched, eventDropped} {
			all = append(all, rebuildMoment{"right before " + event, "", event, false}, rebuildMoment{"right after " + event, "", event, true})
		}
		all = append(all, rebuildMoment{name: "at random"}, rebuildMoment{name: "while it is folding", phase: projections.PhaseFolding})
	}
	return all
}

// once is one rebuild that is disturbed.
func (c *disturbed) once(number int, all map[string]int) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*overWithin)
	defer cancel()
	m, deed, asked := pick(c.rng, c.moments()...), pick(c.rng, "killed", "killed", "paused", "cancelled"), c.rng.IntN(len(c.nodes))
	if m.event == eventDropped && deed == "cancelled" {
		deed = "killed"
	}
	for _, g := range c.gates {
		g.arm(m.event, m.after, number)
	}
	before, err := c.ask(asked).list(ctx)
	if err != nil {
		c.t.Fatalf("case %d: %v", number, err)
	}
	s := script{then: pick(c.rng, projections.ThenAsk, projections.ThenAsk, projections.ThenSwitch, projections.ThenSwitchIfEqual), gives: m.event == eventDropped, back: c.rng.IntN(3) == 0}
	operated := make(chan struct{})
	operator := c.ask(asked)
	go func() { defer close(operated); s.run(ctx, operator) }()

	h := c.await(ctx, m, operated, c.ask(asked), number, latest(before))
	if h == nil {
		h = &hit{node: c.rng.IntN(len(c.nodes))}
		m.name += " (passed)"
	}
	h.lost.Store(deed == "killed" && c.rng.IntN(2) == 0)
	c.does(ctx, deed, h.node, latest(before))
	for _, g := range c.gates {
		g.disarm()
	}
	<-operated
	c.nowOver(ctx, number, deed == "cancelled" || s.gives, latest(before))
	c.tidied(fmt.Sprintf("case %d", number))
	all[deed]++
	c.t.Logf("case %d: %s %s, then %s; %v", number, deed, m.name, s.then, time.Since(began).Round(time.Millisecond))
}

// latest is the newest generation that was ever asked for.
func latest(all []projections.Rebuild) int {
	if len(all) == 0 {
		return 0
	}
	return all[0].Generation
}

// script is what an operator does, until something fails.
type script struct {
	then  projections.Then
	gives bool // the candidate is given up once it is ready
	back  bool // and then goes back
}

func (s script) run(ctx context.Context, r rebuilding) {
	generation, err := r.begin(ctx, rebuildWish{Then: s.then, Share: 1})
	if err != nil {
		return
	}
	found, err := r.over(ctx, generation)
	switch {
	case err != nil:
		return
	case s.gives && found.Phase == projections.PhaseReady:
		_ = r.cancel(ctx, generation)
		return
	case found.Phase == projections.PhaseReady:
		if _, err := r.switchOver(ctx); err != nil {
			return
		}
	}
	if s.back {
		_, _ = r.rollback(ctx, false) // the one before it may be gone
	}
}

// await returns at the moment: with who waits at its gate, where it is one of the
// log's. nil: it has passed.
func (c *disturbed) await(ctx context.Context, m rebuildMoment, operated chan struct{}, r rebuilding, number, before int) *hit {
	switch {
	case m.event != "":
		for {
			select {
			case h := <-c.hits:
				if h.number == number { // not one that came too late for its case
					return h
				}
			case <-operated:
				return nil
			}
		}
	case m.phase != "":
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			all, err := r.list(ctx)
			if err == nil && latest(all) > before && all[0].Phase == m.phase {
				return &hit{node: c.rng.IntN(len(c.nodes))}
			}
			select {
			case <-tick.C:
			case <-operated:
				return nil
			}
		}
	}
	select {
	case <-time.After(time.Duration(c.rng.Int64N(int64(time.Second)))):
	case <-operated:
	}
	return &hit{node: c.rng.IntN(len(c.nodes))}
}

// does what is done to a docket, or to the rebuild.
func (c *disturbed) does(ctx context.Context, deed string, victim int, before int) {
	n := c.nodes[victim]
	s := n.get()
	rest := time.Duration(c.rng.Int64N(int64(longestPause)))
	if c.rng.IntN(2) == 0 || len(c.nodes) == 1 {
		rest /= 20
	}
	switch deed {
	case "killed":
		c.disturb(n)
		n.set(nil)
		s.kill()
		c.gatesOpen()
		<-time.After(rest)
		c.startNode(victim, c.program)
		c.disturb(n)
	case "paused":
		c.disturb(n)
		n.set(nil)
		c.signal(s, syscall.SIGSTOP)
		if c.rng.IntN(2) == 0 {
			c.gatesOpen()
		}
		<-time.After(rest)
		c.signal(s, syscall.SIGCONT)
		n.set(s)
		c.disturb(n)
	case "cancelled":
		r := c.ask((victim + 1) % len(c.nodes))
		if len(c.nodes) == 1 {
			c.gatesOpen() // it would wait behind what is held
		}
		all, err := r.list(ctx)
		if err != nil || latest(all) <= before {
			return
		}
		var no declined
		if err := r.cancel(ctx, all[0].Generation); err != nil && (!errors.As(err, &no) || no.status != http.StatusConflict && no.status != http.StatusNotFound) {
			c.t.Errorf("cancel generation %d: %v", all[0].Generation, err)
		}
	}
}

func (c *disturbed) gatesOpen() {
	for _, g := range c.gates {
		g.disarm()
	}
}

func (c *disturbed) signal(s *server, what syscall.Signal) {
	if err := s.cmd.Process.Signal(what); err != nil {
		c.t.Fatal(err)
	}
}

// nowOver waits until every rebuild is over, gives up or takes what waits, and wants
// all dockets to agree on what is served, which was switched to.
func (c *disturbed) nowOver(ctx context.Context, number int, mayEnd bool, before int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, overWithin)
	defer cancel()
	r := c.ask(c.rng.IntN(len(c.nodes)))
	all, err := r.list(ctx)
	if err != nil {
		c.t.Fatalf("case %d: %v", number, err)
	}
	if latest(all) > before {
		found, err := r.over(ctx, all[0].Generation)
		if err != nil {
			c.t.Fatalf("case %d: %v", number, err)
		}
		switch found.Phase {
		case projections.PhaseReady:
			c.decide(ctx, r, number, found.Generation)
		case projections.PhaseCancelled:
			if !mayEnd {
				c.t.Errorf("case %d: generation %d was cancelled by nobody", number, found.Generation)
			}
		case projections.PhaseFailed:
			c.t.Errorf("case %d: generation %d failed: %+v", number, found.Generation, found.Failure)
		}
	}
	if all, err = r.list(ctx); err != nil {
		c.t.Fatalf("case %d: %v", number, err)
	}
	c.mu.Lock()
	for _, one := range all {
		if one.Phase == projections.PhaseSwitched {
			c.wasInForce[one.Generation] = true
		}
	}
	c.mu.Unlock()
	c.agreed(ctx, number)
	c.mu.Lock()
	defer c.mu.Unlock()
	for g, where := range c.served {
		if !c.wasInForce[g] {
			c.t.Errorf("case %d: %s answered from generation %d, which was never switched to: %+v", number, where, g, all[0])
		}
	}
}

// decide what becomes of a candidate that waits.
func (c *disturbed) decide(ctx context.Context, r rebuilding, number, generation int) {
	var err error
	if c.rng.IntN(2) == 0 {
		err = r.cancel(ctx, generation)
	} else {
		_, err = r.switchOver(ctx)
	}
	if err != nil {
		c.t.Errorf("case %d: generation %d waits: %v", number, generation, err)
	}
}

// agreed returns when all dockets serve the same, everywhere.
func (c *disturbed) agreed(ctx context.Context, number int) {
	c.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		served := map[string]int{}
		for _, n := range c.nodes {
			for _, path := range []string{"/v1/orders/" + c.known[0], "/v1/orders?limit=1"} {
				served[c.generationAt(ctx, n.get(), path)]++
			}
		}
		if len(served) == 1 && served[""] == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("case %d: the dockets do not agree: %v", number, served)
		}
	}
}

// end stops reading, and compares everything.
func (c *disturbed) end() {
	c.stop()
	c.reading.Wait()
	if c.t.Failed() {
		return
	}
	c.caughtUp()
	c.reconciled(c.program)
	c.t.Logf("%d walks through the list, %d reads with a token and %d told to come again, generations %v served", c.walks, c.told, c.behind, slices.Sorted(maps.Keys(c.served)))
}
