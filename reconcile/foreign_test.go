package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/internal/testservers"
)

// deed is something that another program does to a store of views.
type deed struct {
	name string
	// classes by which it may be found; none: nothing is wrong with the order.
	classes []Class
	// figures: it is no order that is wrong, or not only.
	figures bool
	// do reports whether there was something to do it to. For a figure, or for
	// what is of no order, id is only where to look.
	do func(r *rand.Rand, id string) (done bool, made string)
}

// ahead is told from other classes: later events wait for the repair.
func (d deed) ahead() bool { return slices.Contains(d.classes, Ahead) }

// campaign lets another program loose on a store, while orders change.
type campaign struct {
	*world
	rand   *rand.Rand
	deeds  []deed
	quiet  []string // orders that no traffic touches
	busy   []string // orders that it does
	tokens chan struct{}

	did, found map[string]int // by name of the deed, by class
}

// foreignDeeds is how many deeds there are on each store: DOCKET_FOREIGN, or few.
func foreignDeeds(t testing.TB) int {
	text := os.Getenv("DOCKET_FOREIGN")
	if text == "" {
		return 60
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("DOCKET_FOREIGN=%q is no number of deeds", text)
	}
	return n
}

// A foreign client writes into the index while orders change: later events are
// still applied, all of it is found and repaired, and nothing healthy is reported.
func TestForeignWriterOfElasticsearch(t *testing.T) {
	namespace := testservers.Namespace(t)
	url := testservers.Elasticsearch(t)
	newCampaign(t, elasticStore(t, url, namespace), indexDeeds(t, url, namespace)).run()
}

// The same of Redis.
func TestForeignWriterOfRedis(t *testing.T) {
	namespace := testservers.Namespace(t)
	address := testservers.Redis(t)
	newCampaign(t, redisStore(t, address, namespace), keyDeeds(t, address, namespace)).run()
}

func newCampaign(t *testing.T, s *sharedStore, deeds []deed) *campaign {
	w := newWorldAt(t, s)
	c := &campaign{
		world: w, rand: rand.New(rand.NewPCG(5, 5)), deeds: deeds,
		tokens: make(chan struct{}, 64), did: map[string]int{}, found: map[string]int{},
	}
	w.generate(7, 160)
	w.caughtUp()
	all := w.ids(160)
	c.busy, c.quiet = all[:40], all[40:]
	return c
}

func (c *campaign) run() {
	stop := c.traffic()
	defer stop()
	c.clean("before anything was done")
	const atOnce = 50
	for left := foreignDeeds(c); left > 0; left -= atOnce {
		c.round(min(left, atOnce))
	}
	stop()
	c.caughtUp()
	wantClean(c, c.world.run(Request{}))
	c.Logf("done, by name: %s", tallied(c.did))
	c.Logf("found, by class: %s", tallied(c.found))
}

func tallied(counts map[string]int) (text string) {
	total := 0
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf("%s %d, ", name, counts[name])
		total += counts[name]
	}
	return text + fmt.Sprint("together ", total)
}

// round does so many things, and reconciles twice.
func (c *campaign) round(n int) {
	harmed, stirred := map[string]deed{}, map[string]int64{}
	var names []string // of what was done, in order
	for n > 0 {
		d := c.deeds[c.rand.IntN(len(c.deeds))]
		id := c.quiet[c.rand.IntN(len(c.quiet))]
		if c.rand.IntN(3) == 0 {
			id = c.busy[c.rand.IntN(len(c.busy))]
		}
		if _, twice := harmed[id]; twice {
			continue
		}
		done, made := d.do(c.rand, id)
		if !done {
			continue
		}
		n--
		c.did[d.name]++
		names = append(names, d.name)
		c.goOn(2)
		switch {
		case made != "":
			harmed[made] = d
		case len(d.classes) > 0 || !d.figures:
			if harmed[id] = d; c.rand.IntN(3) == 0 && slices.Contains(c.quiet, id) {
				c.do(id, remark("after "+d.name))
				stirred[id] = int64(c.length(id)) - 1
			}
		}
	}
	c.caughtUp()
	c.applied(harmed, stirred)

	report := c.reconcile(Request{Repair: true, MaxRepairs: new(int)})
	seen := map[string]bool{}
	for _, f := range report.Findings {
		c.found[string(f.Class)]++
		if f.Outcome != outcomeRepaired {
			c.Errorf("not repaired: %s", asJSON(c, f))
		}
		if f.Entity != entityOrder {
			continue
		}
		d, guilty := harmed[f.ID]
		switch {
		case !guilty:
			c.Errorf("healthy order reported: %s", asJSON(c, f))
		case len(d.classes) == 0 || !slices.Contains(d.classes, f.Class) && !c.moved(f.ID, stirred):
			c.Errorf("%s was found as %s", d.name, asJSON(c, f))
		}
		seen[f.ID] = true
	}
	for id, d := range harmed {
		if len(d.classes) > 0 && !d.figures && !seen[id] && !c.moved(id, stirred) {
			c.Errorf("%s of %s was not found", d.name, id)
		}
	}
	if report.Verdict == Unknown || report.Unlisted > 0 || c.Failed() {
		report.Findings = nil
		c.Fatalf("after %v: %s", names, text(c, report))
	}
	c.clean(fmt.Sprintf("after %v", names))
}

// moved reports whether an order was written again after it was harmed, perhaps.
func (c *campaign) moved(id string, stirred map[string]int64) bool {
	_, is := stirred[id]
	return is || slices.Contains(c.busy, id)
}

// applied looks whether the events after a deed are in the views.
func (c *campaign) applied(harmed map[string]deed, stirred map[string]int64) {
	c.Helper()
	docs, err := c.sink().Documents(c.Context(), slices.Collect(maps.Keys(stirred)))
	if err != nil {
		c.Fatal(err)
	}
	for id, revision := range stirred {
		if doc, there := docs[id]; !harmed[id].ahead() && (!there || doc.Revision != revision) {
			c.Errorf("after %s, event %d of %s is not applied: %v, revision %d", harmed[id].name, revision, id, there, doc.Revision)
		}
	}
}

// reconcile runs once, while orders change.
func (c *campaign) reconcile(request Request) Report {
	c.Helper()
	if request.MaxRepairs != nil {
		*request.MaxRepairs = 1 << 20
	}
	report, err := c.reconciler.Run(c.Context(), NewID(), request, func(Progress) { c.goOn(4) })
	if err != nil {
		c.Fatal(err)
	}
	return report
}

func (c *campaign) clean(when string) {
	c.Helper()
	if report := c.reconcile(Request{}); report.Verdict != Clean {
		c.Fatalf("%s: not clean: %s", when, text(c, report))
	}
}

// goOn lets some of the traffic go on.
func (c *campaign) goOn(n int) {
	for range n {
		select {
		case c.tokens <- struct{}{}:
		default: // it has enough to do
		}
	}
}

// traffic changes the busy orders, and makes new ones, as far as it is let.
func (c *campaign) traffic() (stop func()) {
	var working sync.WaitGroup
	for k := range 3 {
		working.Go(func() {
			n := 0
			for range c.tokens {
				if n++; k == 0 && n%8 == 0 {
					for life := range importer.Generate(uint64(100_000+n), 1, start) {
						if err := c.send(life); err != nil {
							c.Errorf("traffic: %v", err)
						}
					}
					continue
				}
				_, err := c.orders.Handle(context.Background(), c.busy[(n*7+k)%len(c.busy)], remark(fmt.Sprint("traffic ", k, " ", n)), command.Request{})
				var refused *domain.Rejection
				if err != nil && !errors.As(err, &refused) && !errors.Is(err, command.ErrBusy) {
					c.Errorf("traffic: %v", err)
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		close(c.tokens)
		working.Wait()
	})
}

// remark is a note that every generated order takes.
func remark(text string) order.Command {
	return order.AddNote{Text: text, At: start.AddDate(2, 0, 0)}
}
