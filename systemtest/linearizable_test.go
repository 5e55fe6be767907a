package systemtest

import (
	"context"
	"fmt"
	"math/rand/v2"
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
	checkTimeout = 30 * time.Second
)

// TestHistoriesAreLinearizable lets clients work on a few orders while answers
// are lost and docket is killed and started again, and checks that what they
// were told could have been told by a docket that handles one request at a time.
func TestHistoriesAreLinearizable(t *testing.T) {
	histories, seed := setting(t, "DOCKET_HISTORIES", 20), seed(t)
	t.Logf("%d histories, DOCKET_SEED=%d", histories, seed)
	var all tally
	began := time.Now()
	for n := range int(histories) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newHistory(t, rand.New(rand.NewPCG(seed, uint64(n))))
			h.make()
			checking := time.Now()
			result, model, info := check(h.operations)
			t.Logf("history %d: %v, checked in %v: %s", n, h.tally, time.Since(checking).Round(time.Millisecond), result)
			all.add(h.tally)
			if result == porcupine.Ok {
				return
			}
			path := leaveBehind(t, fmt.Sprintf("history-%d-%d.html", seed, n))
			if err := porcupine.VisualizePath(model, info, path); err != nil {
				t.Error(err)
			}
			t.Errorf("history %d is not shown to be linearizable: %s; see %s (DOCKET_SEED=%d)", n, result, path, seed)
		})
	}
	t.Logf("%d histories: %v, in %v", histories, all, time.Since(began).Round(time.Millisecond))
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
	*site
	rng     *rand.Rand
	began   time.Time
	budget  atomic.Int64  // operations that may still begin
	started chan struct{} // one for each that began

	mu         sync.Mutex
	operations []porcupine.Operation
	tally
	orders map[string]*sharedView
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

func newHistory(t *testing.T, rng *rand.Rand) *history {
	h := &history{site: newSite(t), rng: rng, began: time.Now(), orders: map[string]*sharedView{}}
	for n := range historyOrders {
		h.orders[orderName(n)] = &sharedView{revision: -1}
	}
	size := historyOperations/2 + rng.IntN(historyOperations/2) - historyOrders
	h.budget.Store(int64(size))
	h.started = make(chan struct{}, size)
	return h
}

func orderName(n int) string { return fmt.Sprintf("order-%d", n) }

// make lets the clients work, kills docket one to three times meanwhile, and
// looks at every order when all have ended.
func (h *history) make() {
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	var working sync.WaitGroup
	h.t.Cleanup(working.Wait)
	for n := range historyClients {
		c := h.client(n)
		working.Go(func() { c.work(ctx) })
	}
	size, kills := cap(h.started), 1+h.rng.IntN(3)
	begun := 0
	for n := range kills {
		// Somewhere in the n-th part of the history.
		for until := (size*n + h.rng.IntN(size)) / kills; begun < until; begun++ {
			<-h.started
		}
		<-time.After(time.Duration(h.rng.Int64N(int64(2 * time.Millisecond))))
		h.site.kill()
		h.site.start()
		h.kills++
	}
	working.Wait()

	c := h.client(historyClients)
	c.network.loses, c.network.hangsUp = 0, 0
	if err := h.server(ctx).caughtUp(ctx, c.network); err != nil {
		h.t.Fatalf("wait for the views: %v", err)
	}
	for order := range h.orders {
		if !c.perform(ctx, asked{verb: read, order: order, token: -1}, true) {
			h.t.Errorf("%s could not be read at the end", order)
		}
	}
}
