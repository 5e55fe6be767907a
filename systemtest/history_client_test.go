package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// historyClient is one of the clients; it has one operation at a time.
type historyClient struct {
	*history
	id      int
	rng     *rand.Rand
	network *lossy
	made    int    // commands with a key of its own
	pending *asked // what it does next
}

func (h *history) client(id int) *historyClient {
	rng := rand.New(rand.NewPCG(h.rng.Uint64(), uint64(id)))
	under := h.route()
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
	order := pick(c.rng, c.names...)
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
// else is there any more. False: there is nothing to record.
func (c *historyClient) perform(ctx context.Context, a asked, last bool) bool {
	s := c.server(ctx)
	if s == nil {
		return false
	}
	r := c.requestOf(&a, last)
	call := time.Since(c.began)
	got, err := s.do(ctx, c.network, r)
	end := time.Since(c.began)
	if ctx.Err() != nil {
		return false
	}
	o, failed := c.toldBy(a, got, err)
	if err != nil && neverSent(err) || errors.Is(failed, errNoAnswer) {
		c.count(&c.silent)
		return false
	}
	if failed != nil {
		c.t.Errorf("%v: %v", a, failed)
		return false
	}
	o.last = last
	c.record(a, o, got, call, end)
	switch {
	case o.result == unknown && c.rng.IntN(2) == 0:
		c.pending = &a
	case o.result == missing:
		p := c.command(place, a.order)
		c.pending = &p
	}
	return true
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
		if a.token >= 0 {
			c.tokenReads++
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
	case a.verb == read && (failed != nil || code == "read-model-behind"), code == "event-store-unavailable":
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
