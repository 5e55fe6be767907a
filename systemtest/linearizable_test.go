package systemtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	historyClients    = 8
	historyOperations = 1000 // at most, of a history
	historyOrders     = 5
	// checkTimeout is far more than the search needs; a history that it does not
	// decide fails the test.
	checkTimeout = 2 * time.Minute
)

// TestHistoriesAreLinearizable lets clients work on a few orders while answers
// are lost and docket is killed and started again, and checks that what they
// were told could have been told by a docket that handles one request at a time.
func TestHistoriesAreLinearizable(t *testing.T) {
	linearizable(t, setting(t, "DOCKET_HISTORIES", 20), false)
}

// TestHistoriesAreLinearizableOverGRPC is the same with the log behind gRPC:
// docket, the server of the log, or both are killed.
func TestHistoriesAreLinearizableOverGRPC(t *testing.T) {
	linearizable(t, setting(t, "DOCKET_GRPC_HISTORIES", 6), true)
}

func linearizable(t *testing.T, histories int64, overGRPC bool) {
	seed := seed(t)
	t.Logf("%d histories, DOCKET_SEED=%d", histories, seed)
	var all tally
	began := time.Now()
	for n := range int(histories) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(n)))
			size := historyOperations/2 + rng.IntN(historyOperations/2) - historyOrders
			at := newSite(t, overGRPC)
			h := newHistory(t, at, rng, "order-", historyOrders, size)
			h.make(at, size)
			checking := time.Now()
			h.check(fmt.Sprintf("%d-%d", seed, n))
			t.Logf("history %d: %v, checked in %v", n, h.tally, time.Since(checking).Round(time.Millisecond))
			all.add(h.tally)
		})
	}
	t.Logf("%d histories: %v, in %v", histories, all, time.Since(began).Round(time.Millisecond))
}

// check tells whether what was told could have been told.
func (h *history) check(name string) {
	result, model, info := check(h.operations)
	if result == porcupine.Ok {
		return
	}
	path := leaveBehind(h.t, "history-"+name+".html")
	if err := porcupine.VisualizePath(model, info, path); err != nil {
		h.t.Error(err)
	}
	h.t.Errorf("history %s is not shown to be linearizable: %s; see %s", name, result, path)
}

// tally counts what happened in a history.
type tally struct {
	operations, unknown, replays, conflicts, tokenReads, silent, kills int
}

func (t tally) String() string {
	return fmt.Sprintf("%d operations (%d unknown, %d replays, %d refused by If-Match, %d read with a token), %d without an answer left out, %d kills",
		t.operations, t.unknown, t.replays, t.conflicts, t.tokenReads, t.silent, t.kills)
}

func (t *tally) add(o tally) {
	t.operations += o.operations
	t.unknown += o.unknown
	t.replays += o.replays
	t.conflicts += o.conflicts
	t.tokenReads += o.tokenReads
	t.silent += o.silent
	t.kills += o.kills
}

// history is one while it is made.
type history struct {
	host
	t       *testing.T
	rng     *rand.Rand
	began   time.Time
	budget  atomic.Int64  // operations that may still begin
	started chan struct{} // one for each that began

	mu         sync.Mutex
	operations []porcupine.Operation
	tally
	names  []string
	orders map[string]*sharedView // by name
}

// host is where a docket can be reached while it is killed and started again.
type host interface {
	// server waits until one runs; nil: ctx ended first.
	server(ctx context.Context) *server
	// route is the way there, for one client.
	route() http.RoundTripper
}

// sharedView is what the clients tell each other about an order.
type sharedView struct {
	revision int     // highest that anybody has seen
	commands []asked // that were sent at least once
	tokens   []token // of the newest writes
}

// token came with a write.
type token struct {
	text     string
	revision int
}

// newHistory is one of so many operations on so many orders, whose names begin
// with prefix.
func newHistory(t *testing.T, h host, rng *rand.Rand, prefix string, orders, size int) *history {
	is := &history{host: h, t: t, rng: rng, began: time.Now(), orders: map[string]*sharedView{}}
	for n := range orders {
		name := fmt.Sprint(prefix, n)
		is.names = append(is.names, name)
		is.orders[name] = &sharedView{revision: -1}
	}
	is.budget.Store(int64(size))
	return is
}

// make lets the clients work, kills docket one to three times meanwhile, and
// looks at every order when all have ended.
func (h *history) make(at *site, size int) {
	h.started = make(chan struct{}, size)
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	var working sync.WaitGroup
	h.t.Cleanup(working.Wait)
	for n := range historyClients {
		c := h.client(n)
		working.Go(func() { c.work(ctx) })
	}
	kills := 1 + h.rng.IntN(3)
	begun := 0
	for n := range kills {
		// Somewhere in the n-th part of the history.
		for until := (size*n + h.rng.IntN(size)) / kills; begun < until; begun++ {
			<-h.started
		}
		<-time.After(time.Duration(h.rng.Int64N(int64(2 * time.Millisecond))))
		at.kill()
		at.start()
		h.kills++
	}
	working.Wait()
	h.finish(ctx)
}

// finish looks at every order when nobody else is there any more.
func (h *history) finish(ctx context.Context) {
	c := h.client(historyClients)
	c.network.loses, c.network.hangsUp = 0, 0
	if err := h.server(ctx).caughtUp(ctx, c.network); err != nil {
		h.t.Errorf("wait for the views: %v", err)
		return
	}
	for order := range h.orders {
		if !c.perform(ctx, asked{verb: read, order: order, token: -1}, true) {
			h.t.Errorf("%s could not be read at the end", order)
		}
	}
}
