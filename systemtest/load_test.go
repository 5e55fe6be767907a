package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
)

// acknowledged is a command that was told it had an effect, and what it was told.
type acknowledged struct {
	request
	order  string
	answer commandAnswer
}

// ledger is what all clients of a campaign were told.
type ledger struct {
	t       *testing.T
	network http.RoundTripper

	mu           sync.Mutex
	acknowledged []acknowledged
	unanswered   []acknowledged // without an answer
	refused      int
	repeated     int
	read         int
	enough       chan struct{} // closed when as many as target were acknowledged
	target       int
}

// await gives a channel that is closed after so many more acknowledged commands.
func (l *ledger) await(more int) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.enough, l.target = make(chan struct{}), len(l.acknowledged)+more
	return l.enough
}

// send sends a command and keeps what it was told. ok: it had an effect.
func (l *ledger) send(ctx context.Context, s *server, order string, r request) (got reply, ok bool) {
	got, err := s.do(ctx, l.network, r)
	l.mu.Lock()
	defer l.mu.Unlock()
	a := acknowledged{request: r, order: order}
	switch {
	case err != nil || got.status >= 500:
		l.unanswered = append(l.unanswered, a)
		return got, false
	case got.status >= 400:
		l.refused++
		return got, false
	}
	if err := json.Unmarshal(got.body, &a.answer); err != nil || a.answer.ID != order {
		l.t.Errorf("%s %s %s: %d %s", r.method, r.path, r.key, got.status, got.body)
		return got, false
	}
	if len(a.answer.Events) == 0 { // there was nothing to do: the key is not bound
		return got, true
	}
	l.acknowledged = append(l.acknowledged, a)
	if len(l.acknowledged) == l.target {
		close(l.enough)
	}
	return got, true
}

// repeat sends an acknowledged command again; the answer must be the first one,
// or add nothing where the order has handled too many since to remember it.
func (l *ledger) repeat(ctx context.Context, s *server, a acknowledged) error {
	got, err := s.do(ctx, l.network, a.request)
	if err != nil {
		return err
	}
	var again commandAnswer
	if err := json.Unmarshal(got.body, &again); err != nil {
		return fmt.Errorf("%d %s: %w", got.status, got.body, err)
	}
	if again.Revision-a.answer.Revision >= remembered && got.status == 200 && len(again.Events) == 0 {
		return nil // decided afresh: by the rules alone it adds nothing
	}
	if fmt.Sprint(again) != fmt.Sprint(a.answer) || got.header.Get("Idempotency-Replayed") != "true" {
		return fmt.Errorf("first answer %v, now %d %s (Idempotency-Replayed %q)",
			a.answer, got.status, got.body, got.header.Get("Idempotency-Replayed"))
	}
	return nil
}

// remembered is how many commands an order knows the first answer of.
const remembered = 1000

// loadClient writes and reads until its docket is gone.
type loadClient struct {
	*ledger
	name string
	rng  *rand.Rand
	s    *server
}

// work lives through orders of its own, and leaves notes on one that all
// clients share.
func (c *loadClient) work(ctx context.Context, shared string) {
	for n := 0; ctx.Err() == nil; n++ {
		order := fmt.Sprintf("%s-%d", c.name, n)
		for _, r := range c.life(order) {
			if !c.do(ctx, order, r) {
				return
			}
			if c.rng.IntN(5) == 0 && !c.do(ctx, shared, noteRequest(shared, r.key+"-shared")) {
				return
			}
		}
	}
}

// do sends a command, and then what clients send after one: it again, a
// question for what they wrote, what is refused. False: docket is gone.
func (c *loadClient) do(ctx context.Context, order string, r request) bool {
	got, ok := c.send(ctx, c.s, order, r)
	if got.status == 0 || got.status >= 500 {
		return false
	}
	var err error
	switch chance := c.rng.IntN(10); {
	case chance < 2 && ok:
		var again reply
		again, err = c.s.do(ctx, c.network, r)
		if err == nil && again.status < 500 && string(again.body) != string(got.body) {
			c.t.Errorf("%s %s: %s, repeated at once %d %s", r.path, r.key, got.body, again.status, again.body)
		}
		c.count(&c.repeated)
	case chance < 4 && ok:
		err = c.readOwn(ctx, order, got)
	case chance == 4:
		refused := []request{
			{method: "POST", path: "/v1/orders/nobody/confirm", key: r.key + "-nobody", body: map[string]any{}},
			{method: "PUT", path: "/v1/orders/" + order + "/tags", key: r.key + "-if", ifMatch: etag(1e9), body: map[string]any{"tags": []string{"x"}}},
			{method: "POST", path: "/v1/orders", key: r.key + "-twice", body: placeBody(c.name+"-0", "somebody else")},
			{method: "POST", path: "/v1/orders/" + order + "/notes", key: r.key + "-empty", body: map[string]any{"text": ""}},
		}
		var no reply
		no, err = c.s.do(ctx, c.network, pick(c.rng, refused...))
		if err == nil && no.status < 400 {
			c.t.Errorf("after %s: %d %s", r.key, no.status, no.body)
		}
		c.count(&c.refused)
	}
	return err == nil
}

// readOwn reads what was just written. Whoever changes the views behind docket's
// back may delay it, but what is answered is not older than the token.
func (c *loadClient) readOwn(ctx context.Context, order string, wrote reply) error {
	got, err := c.s.do(ctx, c.network, request{
		method: "GET", path: "/v1/orders/" + order, prefer: "wait=1", consistencyToken: wrote.header.Get("Consistency-Token"),
	})
	if err != nil {
		return err
	}
	var write commandAnswer
	var doc orderAnswer
	if json.Unmarshal(wrote.body, &write) != nil || got.status == http.StatusOK && json.Unmarshal(got.body, &doc) != nil ||
		got.status == http.StatusOK && doc.Revision < write.Revision || got.status/100 == 4 {
		c.t.Errorf("order %s after revision %d: %d %s", order, write.Revision, got.status, got.body)
	}
	c.count(&c.read)
	return nil
}

func (c *loadClient) count(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

// life is the commands of a short life of one order; some are refused, since
// not every life makes sense.
func (c *loadClient) life(order string) []request {
	path := "/v1/orders/" + order
	post := func(what string, body map[string]any) request {
		return request{method: "POST", path: path + "/" + what, body: body}
	}
	rest := []request{
		post("confirm", map[string]any{}),
		noteRequest(order, order+"-note"),
		post("payments", map[string]any{"method": "card", "amount": map[string]any{"amount": "15.00", "currency": "EUR"}, "capture": true}),
		post("shipments", map[string]any{"carrier": "DHL"}),
		post("cancel", map[string]any{"reason": "changed my mind"}),
		{method: "PUT", path: path + "/tags", body: map[string]any{"tags": []string{"gift", c.name}}},
		{method: "PUT", path: path + "/metadata", body: map[string]any{"metadata": map[string]string{"channel": c.name}}},
		post("holds", map[string]any{"reason": "fraud check"}),
	}
	c.rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	life := append([]request{{method: "POST", path: "/v1/orders", body: placeBody(order, "Ann Example")}}, rest[:c.rng.IntN(len(rest))]...)
	for i := range life {
		if life[i].key == "" {
			life[i].key = fmt.Sprintf("%s-%d", order, i)
		}
	}
	return life
}

// noteRequest leaves the key as a note.
func noteRequest(order, key string) request {
	return request{method: "POST", path: "/v1/orders/" + order + "/notes", key: key, body: map[string]any{"text": key}}
}
