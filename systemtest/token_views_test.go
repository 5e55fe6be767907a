package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// tokenClients write and read at once: those who wait for the same refresh wait
	// together.
	tokenClients = 32
	// mayBeBehind is the share of reads with a token that may be told to come
	// again.
	mayBeBehind = 0.01
)

// TestTokenReadsOnViews: whoever reads with the token of a write sees it, by id
// and in customers from Redis, in lists and searches from Elasticsearch, through
// the docket that wrote and through another one, while others write.
func TestTokenReadsOnViews(t *testing.T) {
	reads, seed := int(setting(t, "DOCKET_TOKEN_READS", 2000)), seed(t)
	t.Logf("%d reads of each store, DOCKET_SEED=%d", reads, seed)
	p := sharedProduction(t)
	under := network()
	t.Cleanup(under.CloseIdleConnections)
	all := []string{"--limit-searches", fmt.Sprint(tokenClients)} // nobody waits for a turn
	r := &tokenReads{
		ledger: &ledger{t: t, network: under}, nodes: []*server{p.serve(t, "one", all...), p.serve(t, "two", all...)},
		want: reads, took: map[string][]time.Duration{}, kinds: map[string]int{},
	}
	began, rng := time.Now(), rand.New(rand.NewPCG(seed, 0))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var working sync.WaitGroup
	for n := range tokenClients {
		client := &tokenClient{r, fmt.Sprintf("t%d", n), rand.New(rand.NewPCG(rng.Uint64(), uint64(n)))}
		working.Go(func() {
			defer stop() // the first to end has seen enough
			client.work(ctx)
		})
	}
	working.Wait()
	t.Logf("%v in %v", r, time.Since(began).Round(time.Millisecond))
	if behind := float64(r.behind); behind > mayBeBehind*float64(2*reads) {
		t.Errorf("%.0f reads were told to come again", behind)
	}
}

// tokenReads is what all clients do.
type tokenReads struct {
	*ledger
	nodes []*server
	want  int

	mu     sync.Mutex
	took   map[string][]time.Duration // by store
	kinds  map[string]int             // reads by kind
	behind int
}

func (r *tokenReads) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for store, took := range r.took {
		slices.Sort(took)
		at := func(q float64) time.Duration {
			return took[int(q*float64(len(took)-1))].Round(100 * time.Microsecond)
		}
		all = append(all, fmt.Sprintf("%s: %d reads, %v (half), %v (99 %%), %v (all)", store, len(took), at(0.5), at(0.99), at(1)))
	}
	slices.Sort(all)
	return fmt.Sprintf("%s; %v; %d told to come again; %d commands", strings.Join(all, "; "), r.kinds, r.behind, len(r.acknowledged))
}

// enough tells that each store was read often enough.
func (r *tokenReads) enough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.took["redis"]) >= r.want && len(r.took["elasticsearch"]) >= r.want
}

type tokenClient struct {
	*tokenReads
	name string
	rng  *rand.Rand
}

// work writes, and reads what it wrote, until it is enough.
func (c *tokenClient) work(ctx context.Context) {
	for n := 0; ctx.Err() == nil && !c.t.Failed() && !c.enough(); n++ {
		order := fmt.Sprintf("%s-%d", c.name, n)
		customer := fmt.Sprintf("c-%s-%d", c.name, n/5)
		place := placeBody(order, "Ann "+order)
		place["customer"].(map[string]any)["id"] = customer
		tag, word := "tag-"+order, strings.ReplaceAll(order, "-", "x")
		path := "/v1/orders/" + order
		for k, w := range []request{
			{method: "POST", path: "/v1/orders", body: place},
			{method: "PUT", path: path + "/tags", body: map[string]any{"tags": []string{tag}}},
			{method: "POST", path: path + "/notes", body: map[string]any{"text": "the word is " + strings.ToUpper(word)}},
		} {
			w.key = fmt.Sprintf("%s-%d", order, k)
			got, ok := c.send(ctx, pick(c.rng, c.nodes...), order, w)
			if !ok {
				if ctx.Err() == nil {
					c.t.Errorf("%s %s: %d %s", w.method, w.path, got.status, got.body)
				}
				return
			}
			token := got.header.Get("Consistency-Token")
			redis := []string{path, path, "/v1/customers/" + customer, "/v1/customers/" + customer + "/orders?limit=1000"}
			elastic := []string{
				"/v1/orders?customer=" + customer, "/v1/orders?limit=1&sort=-updatedAt&q=" + url.QueryEscape("ann "+order),
				"/v1/orders?sort=number&tag=" + tag, "/v1/orders?sort=-number&facets=status&q=" + word,
			}[:2+k]
			c.read(ctx, "redis", pick(c.rng, redis...), order, k, n%5+1, token)
			c.read(ctx, "elasticsearch", pick(c.rng, elastic...), order, k, n%5+1, token)
		}
	}
}

// read asks with a token; the answer must hold the order at its revision or
// later, and so many orders of its customer at least.
func (c *tokenClient) read(ctx context.Context, store, path, order string, revision, orders int, token string) {
	began := time.Now()
	got, err := pick(c.rng, c.nodes...).do(ctx, c.network, request{method: "GET", path: path, consistencyToken: token, prefer: "wait=10"})
	if ctx.Err() != nil {
		return
	}
	took := time.Since(began)
	c.tokenReads.mu.Lock()
	c.took[store] = append(c.took[store], took)
	c.kinds[kindOf(path)]++
	if got.status == http.StatusServiceUnavailable {
		c.behind++
	}
	c.tokenReads.mu.Unlock()
	if err == nil && got.status == http.StatusServiceUnavailable && documented[got.code()] {
		return
	}
	if wrong := stale(got, order, revision, orders); err != nil || wrong != "" {
		c.t.Errorf("%s after revision %d: %v %s: %d %.1000s", path, revision, err, wrong, got.status, got.body)
	}
}

// stale says what an answer does not hold; empty when all is there.
func stale(got reply, order string, revision, orders int) string {
	var answer struct {
		ID       string
		Revision *int
		Orders   *int // of a customer
		Items    []orderAnswer
	}
	if got.status != http.StatusOK || json.Unmarshal(got.body, &answer) != nil {
		return "no answer"
	}
	switch {
	case answer.Revision != nil:
		if answer.ID != order || *answer.Revision < revision {
			return "an older order"
		}
	case answer.Items != nil:
		if !slices.ContainsFunc(answer.Items, func(o orderAnswer) bool { return o.ID == order && o.Revision >= revision }) {
			return "a list without it"
		}
	default:
		return staleCustomer(got.body, orders)
	}
	return ""
}

func staleCustomer(body []byte, orders int) string {
	var customer struct{ Totals []struct{ Orders int } }
	if json.Unmarshal(body, &customer) != nil || len(customer.Totals) != 1 || customer.Totals[0].Orders < orders {
		return "an older customer"
	}
	return ""
}

// TestStaleIsSeen: answers that do not hold a write are told.
func TestStaleIsSeen(t *testing.T) {
	for body, wrong := range map[string]bool{
		`{"id":"a","revision":2}`:                        false,
		`{"id":"a","revision":3}`:                        false,
		`{"id":"a","revision":1}`:                        true,
		`{"id":"b","revision":2}`:                        true,
		`{"items":[{"id":"b"},{"id":"a","revision":2}]}`: false,
		`{"items":[{"id":"a","revision":1}]}`:            true,
		`{"items":[{"id":"b","revision":2}]}`:            true,
		`{"items":[]}`:                                   true,
		`{"id":"c","totals":[{"orders":3}]}`:             false,
		`{"id":"c","totals":[{"orders":2}]}`:             true,
		`{"id":"c","totals":[]}`:                         true,
		`{`:                                              true,
	} {
		if got := stale(reply{status: http.StatusOK, body: []byte(body)}, "a", 2, 3); (got != "") != wrong {
			t.Errorf("%s: %q", body, got)
		}
	}
	if stale(reply{status: http.StatusNotFound, body: []byte(`{}`)}, "a", 2, 3) == "" {
		t.Error("no order at all is taken for one")
	}
}
