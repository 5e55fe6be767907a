package projections_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/eventstore/eventstoretest"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/spill"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/redis"
	"github.com/docket-orders/docket/projections/sqlite"
	"github.com/google/uuid"
)

// generations are two of one store, each fed from one log by a fold of its own,
// while orders are placed and go on.
type generations struct {
	t        *testing.T
	ctx      context.Context
	log      *eventstoretest.Reference
	old, new projections.Sink
	folds    [2]projections.Fold
	reach    [2]*projections.Followed
	spills   spill.Place

	mu     sync.Mutex
	orders []string                    // in the order in which they came
	coming map[string][]order.Event    // still to be appended
	events map[string][]codec.Recorded // appended
}

// generate makes a log of so many orders and two empty generations of a backend.
func generate(t *testing.T, seed uint64, orders int, b projections.Backend, old, new projections.Fold) *generations {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	g := &generations{
		t: t, ctx: ctx, log: eventstoretest.NewReference(seed), folds: [2]projections.Fold{old, new},
		spills: spill.Place{Disk: disk.OS(), Dir: t.TempDir(), Prefix: "compare-"},
		coming: map[string][]order.Event{}, events: map[string][]codec.Recorded{},
	}
	for i := range orders {
		g.place(seed, i)
	}
	for i, into := range []*projections.Sink{&g.old, &g.new} {
		sink, err := b.Open(ctx, i+1)
		g.must(err)
		t.Cleanup(func() { sink.Close() })
		*into = sink
		g.reach[i], err = projections.Follow(ctx, sink, g.folds[i], g.log, "")
		g.must(err)
		t.Cleanup(func() {
			if err := g.reach[i].Stop(); err != nil && ctx.Err() == nil {
				t.Errorf("feed generation %d: %v", i+1, err)
			}
		})
	}
	g.must(g.reachEnd())
	return g
}

func (g *generations) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// place begins an order, with the first half of its events.
func (g *generations) place(seed uint64, i int) {
	id := fmt.Sprintf("order-%05d", i*7919%100_000)
	all := ordertest.History(int64(seed)*1_000_003+int64(i), 2+i%23)
	g.mu.Lock()
	g.orders, g.coming[id] = append(g.orders, id), all
	g.mu.Unlock()
	for range 1 + len(all)/2 {
		g.goOn(id)
	}
}

// goOn appends the next event of an order, or a note when there is none. Only one
// goroutine may append.
func (g *generations) goOn(id string) {
	g.mu.Lock()
	at := len(g.events[id])
	var e order.Event = order.NoteAdded{NoteID: fmt.Sprint("live-", at), Text: fmt.Sprint("wort", at%50), At: t0.Add(time.Duration(at) * time.Minute)}
	if left := g.coming[id]; len(left) > 0 {
		e, g.coming[id] = left[0], left[1:]
	}
	g.mu.Unlock()
	r := recorded(id, at, e)[0]
	_, data, err := codec.Encode(e)
	g.must(err)
	stored := eventstore.Event{ID: uuid.New(), Type: r.Type, JSON: true, Data: data, Metadata: codec.EncodeMeta(r.Meta)}
	for {
		done, err := g.log.Append(g.ctx, eventstore.Namespace("").Stream(codec.Category, id), eventstore.Expected(at-1), []eventstore.Event{stored})
		if errors.Is(err, eventstore.ErrOutcomeUnknown) {
			continue
		}
		if g.ctx.Err() != nil {
			return
		}
		if err != nil {
			g.t.Errorf("append to %s: %v", id, err)
			return
		}
		// As everybody reads it.
		r, err = codec.Decode(eventstore.Record{
			Event: stored, Stream: eventstore.Namespace("").Stream(codec.Category, id),
			Revision: eventstore.Revision(at), Position: done.Position,
		}, "")
		g.must(err)
		break
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events[id] = append(g.events[id], r)
}

// reachEnd returns when both generations have all that is in the log.
func (g *generations) reachEnd() error {
	head, err := g.log.Head(g.ctx)
	if err != nil {
		return err
	}
	return g.both(g.ctx, head)
}

func (g *generations) both(ctx context.Context, upTo eventstore.Position) error {
	return errors.Join(g.reach[0].Reach(ctx, upTo), g.reach[1].Reach(ctx, upTo))
}

// live is traffic until stop is called: orders that go on, mostly a few hot ones,
// and new ones.
func (g *generations) live(seed uint64) (stop func() (events int)) {
	ctx, cancel := context.WithCancel(g.ctx)
	n, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		r := rand.New(rand.NewPCG(seed, 9))
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			g.mu.Lock()
			all := g.orders
			g.mu.Unlock()
			switch {
			case r.IntN(20) == 0:
				g.place(seed, len(all))
			case r.IntN(3) == 0:
				g.goOn(all[r.IntN(3)])
			default:
				g.goOn(all[r.IntN(len(all))])
			}
			n++
		}
	}()
	return func() int { cancel(); <-ended; return n }
}

// cut is at which revision each order was compared.
type cut struct {
	sync.Mutex
	at map[string][2]int64
}

// compare compares under traffic, and returns what differs and the cut.
func (g *generations) compare(seed uint64, oldFold *projections.Fold) (projections.StoreDifference, *cut) {
	g.t.Helper()
	c := &cut{at: map[string][2]int64{}}
	g.mu.Lock()
	known := g.orders
	g.mu.Unlock()
	stop := g.live(seed)
	d, err := projections.Compare(g.ctx, projections.CompareOptions{
		Store: "store", Old: g.old, New: g.new, Fold: g.folds[1], OldFold: oldFold, Log: g.log, Reach: g.both, Spills: g.spills,
		Settled: func(id string, old, new int64) {
			c.Lock()
			defer c.Unlock()
			if _, twice := c.at[id]; twice {
				g.t.Errorf("order %s is compared twice", id)
			}
			c.at[id] = [2]int64{old, new}
		},
	})
	events := stop()
	g.must(err)
	g.t.Logf("%d orders compared while %d events came", len(c.at), events)
	for _, id := range known {
		if _, compared := c.at[id]; !compared {
			g.t.Errorf("order %s is not compared", id)
		}
	}
	return d, c
}

// backends are those of the stores, by name, and what they keep.
var backends = []struct {
	name           string
	counts, search bool
	open           func(t *testing.T) projections.Backend
}{
	{"reference", true, true, func(t *testing.T) projections.Backend { return projectionstest.NewReference() }},
	{"sqlite", true, true, func(t *testing.T) projections.Backend {
		return sqlite.NewBackend(t.TempDir(), sqlite.Options{})
	}},
	{"redis", true, false, func(t *testing.T) projections.Backend {
		b, err := redis.Open("redis://"+testservers.Redis(t), redis.Options{Namespace: eventstore.Namespace(testservers.Namespace(t))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	}},
	{"elastic", false, true, func(t *testing.T) projections.Backend {
		url := testservers.Elasticsearch(t)
		b, err := elastic.Open("elasticsearch"+url[len("http"):], elastic.Options{Namespace: eventstore.Namespace(testservers.Namespace(t))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	}},
}

// times is how often something runs: DOCKET_TEST_DIFFERENCES, or so often.
func times(t *testing.T, usual int) int {
	text := os.Getenv("DOCKET_TEST_DIFFERENCES")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("DOCKET_TEST_DIFFERENCES=%q is no number", text)
	}
	return n
}
