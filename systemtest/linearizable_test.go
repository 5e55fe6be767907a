package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
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
	histories, seed := setting(t, "DOCKET_HISTORIES", 12), seed(t)
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
	operations, unknown, replays, conflicts, silent, kills int
}

func (t tally) String() string {
	return fmt.Sprintf("%d operations (%d unknown, %d replays, %d refused by If-Match), %d without an answer left out, %d kills",
		t.operations, t.unknown, t.replays, t.conflicts, t.silent, t.kills)
}

func (t *tally) add(o tally) {
	t.operations += o.operations
	t.unknown += o.unknown
	t.replays += o.replays
	t.conflicts += o.conflicts
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
		c.perform(ctx, asked{verb: read, order: order, token: -1}, true)
	}
}

// historyClient is one of the clients; it has one operation at a time.
type historyClient struct {
	*history
	id      int
	rng     *rand.Rand
	network *lossy
	made    int    // commands with a key of its own
	pending *asked // what it does next
	order   string // it works on
}

func (h *history) client(id int) *historyClient {
	rng := rand.New(rand.NewPCG(h.rng.Uint64(), uint64(id)))
	under := network()
	h.t.Cleanup(under.CloseIdleConnections)
	return &historyClient{history: h, id: id, rng: rng, network: &lossy{
		under: under, rng: rng, loses: 0.05, hangsUp: 0.02, patience: 2 * time.Millisecond,
	}}
}

func (c *historyClient) work(ctx context.Context) {
	for ctx.Err() == nil && c.budget.Add(-1) >= 0 {
		c.started <- struct{}{}
		c.perform(ctx, c.next(), false)
	}
}

// next is what the client wants to do now.
func (c *historyClient) next() asked {
	if c.pending != nil {
		a := *c.pending
		c.pending = nil
		return a
	}
	order := orderName(c.rng.IntN(historyOrders))
	c.mu.Lock()
	defer c.mu.Unlock()
	is := c.orders[order]
	a := asked{verb: read, order: order, token: -1}
	switch chance := c.rng.IntN(100); {
	case chance < 35:
		return c.command(note, order)
	case chance < 55:
		// Two of three know the newest revision that anybody knows.
		a = c.command(pick(c.rng, tags, metadata), order)
		a.ifMatch = max(0, is.revision-c.rng.IntN(6)/4)
	case chance < 65 && len(is.commands) > 0:
		return pick(c.rng, is.commands...)
	}
	return a
}

// command makes one with a key that was never used.
func (c *historyClient) command(v verb, order string) asked {
	c.made++
	return asked{verb: v, order: order, key: fmt.Sprintf("c%d-%d", c.id, c.made), token: -1}
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// perform sends what is asked and records it with what was told. last: nobody
// else is there any more.
func (c *historyClient) perform(ctx context.Context, a asked, last bool) {
	s := c.server(ctx)
	if s == nil {
		return
	}
	r := c.requestOf(&a, last)
	call := time.Since(c.began)
	got, err := s.do(ctx, c.network, r)
	end := time.Since(c.began)
	if ctx.Err() != nil {
		return
	}
	if err != nil && neverSent(err) {
		c.count(&c.silent)
		return
	}
	o, err := c.toldBy(a, got, err)
	if errors.Is(err, errNoAnswer) {
		c.count(&c.silent)
		return
	}
	if err != nil {
		c.t.Errorf("%v: %v", a, err)
		return
	}
	o.last = last && a.verb == read
	c.record(a, o, got, call, end)
	switch {
	case o.result == unknown && c.rng.IntN(2) == 0:
		c.pending = &a
	case o.result == missing:
		p := c.command(place, a.order)
		c.pending = &p
	}
}

func (c *historyClient) count(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

// record keeps an operation, and shares what was learnt from it.
func (c *historyClient) record(a asked, o told, got reply, call, end time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	operation := porcupine.Operation{ClientId: c.id, Input: a, Output: o, Call: int64(call), Return: int64(end)}
	is := c.orders[a.order]
	if a.verb != read && !slices.Contains(is.commands, a) {
		is.commands = append(is.commands, a)
	}
	c.tally.operations++
	switch o.result {
	case unknown:
		operation.Return = never
		c.unknown++
	case elsewhere:
		c.conflicts++
		is.revision = max(is.revision, o.revision)
	case done:
		is.revision = max(is.revision, o.revision)
		if o.replayed {
			c.replays++
		}
		if a.verb != read {
			is.tokens = append(is.tokens[max(0, len(is.tokens)-2):], token{got.header.Get("Consistency-Token"), o.revision})
		}
	}
	c.history.operations = append(c.history.operations, operation)
}

// requestOf is the request for what is asked. A read may get a token.
func (c *historyClient) requestOf(a *asked, last bool) request {
	path := "/v1/orders/" + a.order
	switch a.verb {
	case place:
		return request{method: "POST", path: "/v1/orders", key: a.key, body: placeBody(a.order, a.key)}
	case note:
		return request{method: "POST", path: path + "/notes", key: a.key, body: map[string]any{"text": a.key}}
	case tags:
		return request{method: "PUT", path: path + "/tags", key: a.key, ifMatch: etag(a.ifMatch), body: map[string]any{"tags": []string{a.key}}}
	case metadata:
		return request{method: "PUT", path: path + "/metadata", key: a.key, ifMatch: etag(a.ifMatch), body: map[string]any{"metadata": map[string]string{"by": a.key}}}
	}
	r := request{method: "GET", path: path}
	c.mu.Lock()
	defer c.mu.Unlock()
	if tokens := c.orders[a.order].tokens; !last && len(tokens) > 0 && c.rng.IntN(2) == 0 {
		with := pick(c.rng, tokens...)
		a.token, r.consistencyToken = with.revision, with.text
		r.prefer = pick(c.rng, "wait=10", "wait=10", "")
	}
	return r
}

// errNoAnswer: the answer says nothing about the order, and that nothing was
// done.
var errNoAnswer = errors.New("no answer")

// toldBy reads what the client is told; failed is why no answer came.
func (c *historyClient) toldBy(a asked, got reply, failed error) (told, error) {
	code := ""
	if failed == nil && got.status >= 400 {
		code = got.code()
	}
	switch {
	case a.verb == read && (failed != nil || code == "read-model-behind"):
		return told{}, errNoAnswer
	case failed != nil || code == "outcome-unknown":
		return told{result: unknown}, nil
	case code == "busy" || code == "overloaded":
		return told{}, errNoAnswer
	case code == "unknown-order":
		return told{result: missing}, nil
	case code == "order-exists" && a.verb == place:
		return told{result: exists}, nil
	case code == "precondition-failed" && (a.verb == tags || a.verb == metadata):
		var problem struct{ CurrentRevision *int }
		if err := json.Unmarshal(got.body, &problem); err != nil {
			return told{}, err
		}
		if problem.CurrentRevision == nil {
			return told{result: elsewhere, revision: -1}, nil
		}
		return told{result: elsewhere, revision: *problem.CurrentRevision}, nil
	case got.status != http.StatusOK && got.status != http.StatusCreated:
		return told{}, fmt.Errorf("%d %s", got.status, got.body)
	case a.verb == read:
		return toldByRead(got)
	}
	var body commandAnswer
	if err := json.Unmarshal(got.body, &body); err != nil {
		return told{}, err
	}
	if got.header.Get("ETag") != etag(body.Revision) || len(body.Events) != 1 || body.Events[0].Revision != body.Revision || body.ID != a.order {
		return told{}, fmt.Errorf("contradicts itself: ETag %s, %s", got.header.Get("ETag"), got.body)
	}
	return told{result: done, revision: body.Revision, replayed: got.header.Get("Idempotency-Replayed") == "true"}, nil
}

func toldByRead(got reply) (told, error) {
	var doc orderAnswer
	if err := json.Unmarshal(got.body, &doc); err != nil {
		return told{}, err
	}
	if at := got.header.Get("Read-Revision"); at != fmt.Sprint(doc.Revision) {
		return told{}, fmt.Errorf("contradicts itself: Read-Revision %s, %s", at, got.body)
	}
	o := told{result: done, revision: doc.Revision, fromLog: got.header.Get("Read-Source") == "log"}
	o.shown.placedBy, o.shown.metadata = doc.Customer.Name, doc.Metadata["by"]
	for _, n := range doc.Notes {
		o.shown.notes = append(o.shown.notes, n.Text)
	}
	if len(doc.Tags) > 1 {
		return told{}, fmt.Errorf("tags of two commands: %v", doc.Tags)
	}
	if len(doc.Tags) == 1 {
		o.shown.tags = doc.Tags[0]
	}
	return o, nil
}

// placeBody places an order; mark is left in it.
func placeBody(order, mark string) map[string]any {
	return map[string]any{
		"id": order, "currency": "EUR", "customer": map[string]any{"id": "c-" + order, "name": mark},
		"lines": []any{map[string]any{"sku": "MUG", "title": "Mug", "quantity": 2, "unitPrice": map[string]any{"amount": "7.50", "currency": "EUR"}}},
	}
}
