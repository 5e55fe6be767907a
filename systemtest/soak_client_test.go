package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// soakClient asks docket for everything there is, one request after the other,
// through all restarts.
type soakClient struct {
	*loadClient
	soak *soak

	mine    []string  // its newest orders
	made    int       // orders so far
	life    []request // commands of the last of them that are still to be sent
	adopted int
	told    time.Time // when its last command was answered
}

const (
	// recentOrders are asked for by id; older ones are found by lists only.
	recentOrders = 50
	// hotOrders are changed by all clients.
	hotOrders = 3
	// A client rests after each request restFactor times as long as it took, and
	// for leastRest at least: the load stays below half of what docket can do.
	restFactor = 1.5
	leastRest  = 10 * time.Millisecond
)

// work asks until ctx ends.
func (c *soakClient) work(ctx context.Context) {
	for ctx.Err() == nil {
		if c.s = c.soak.server(ctx); c.s == nil {
			return
		}
		began := time.Now()
		c.step(ctx)
		rest := max(leastRest, time.Duration(restFactor*float64(time.Since(began))))
		select {
		case <-ctx.Done():
		case <-time.After(rest/2 + rand.N(rest)):
		}
	}
}

func (c *soakClient) step(ctx context.Context) {
	switch chance := c.rng.IntN(100); {
	case chance < 45 || len(c.mine) == 0:
		c.command(ctx)
	case chance < 48:
		c.adopt(ctx)
	case chance < 55:
		c.wrong(ctx)
	default:
		c.question(ctx)
	}
}

// command goes on with the life of an order, or begins one, or leaves a note on
// an order that everybody changes.
func (c *soakClient) command(ctx context.Context) {
	if c.rng.IntN(8) == 0 && c.made > 0 {
		hot := fmt.Sprintf("hot-%d", c.rng.IntN(hotOrders))
		c.do(ctx, hot, noteRequest(hot, fmt.Sprintf("%s-%d-%d", c.name, c.made, c.rng.Int64())))
		return
	}
	if len(c.life) == 0 {
		order := fmt.Sprintf("%s-%d", c.name, c.made)
		c.made++
		c.life = c.loadClient.life(order)
		c.mine = append(c.mine[max(0, len(c.mine)-recentOrders):], order)
	}
	next := c.life[0]
	c.life = c.life[1:]
	c.do(ctx, c.mine[len(c.mine)-1], next)
	c.told = time.Now()
}

// adopt takes over a few orders of another system.
func (c *soakClient) adopt(ctx context.Context) {
	var lines strings.Builder
	const orders = 5
	for range orders {
		id := fmt.Sprintf("%s-adopted-%d", c.name, c.adopted)
		c.adopted++
		fmt.Fprintf(&lines, `{"id":%[1]q,"key":%[1]q,"last":true,"claim":{"keepsPayments":true},"history":[{"type":"OrderPlaced","data":{"number":%[1]q,"kind":"order",`+
			`"source":{"system":"shop","id":%[1]q,"status":"done"},"customer":{"id":"c-adopted"},"currency":"GBP","lines":[{"id":"1","sku":"TEA","quantity":6,"unitPrice":{"amount":"2.55","currency":"GBP"}}],`+
			`"shipping":{"amount":"0.00","currency":"GBP"},"discount":{"amount":"0.00","currency":"GBP"},"tax":{"amount":"0.00","currency":"GBP"},"at":"2010-12-01T08:26:00Z"}},`+
			`{"type":"OrderPaymentCaptured","data":{"paymentId":"p","method":"card","amount":{"amount":"15.30","currency":"GBP"},"at":"2010-12-02T08:26:00Z"}}]}`+"\n", id)
	}
	got, err := c.s.do(ctx, c.network, request{method: "POST", path: "/v1/adoptions", lines: lines.String()})
	if err != nil || got.status != http.StatusOK {
		c.expect(got, err, "POST /v1/adoptions", http.StatusOK)
		return
	}
	answers := 0
	for line := range strings.Lines(string(got.body)) {
		var one struct {
			ID, Status string
			Revision   int
			Problem    struct{ Code string }
		}
		if err := json.Unmarshal([]byte(line), &one); err != nil || one.Status != "adopted" && !(one.Status == "failed" && documented[one.Problem.Code]) {
			c.t.Errorf("adoption: %v %s", err, line)
			continue
		}
		answers++
		if one.Status == "adopted" {
			c.soak.acknowledge(one.ID, one.Revision)
		}
	}
	if answers != orders {
		c.t.Errorf("adoption: %d of %d lines are answered: %s", answers, orders, got.body)
	}
}

// wrong sends what is refused.
func (c *soakClient) wrong(ctx context.Context) {
	order := "/v1/orders/" + pick(c.rng, c.mine...)
	key := fmt.Sprintf("%s-wrong-%d", c.name, c.rng.Int64())
	r := pick(c.rng,
		request{method: "POST", path: "/v1/orders", key: key, body: map[string]any{"id": "x", "colour": "red"}},
		request{method: "POST", path: "/v1/orders", key: key, body: "not an object"},
		request{method: "POST", path: order + "/payments", key: key, body: map[string]any{"method": "card", "amount": map[string]any{"amount": "1e400", "currency": "EUR"}}},
		request{method: "POST", path: order + "/refunds", key: key, body: map[string]any{"amount": map[string]any{"amount": "99999.00", "currency": "EUR"}, "reason": "greed"}},
		request{method: "POST", path: order + "/notes", key: key, body: map[string]any{"text": strings.Repeat("x", 1<<17)}},
		request{method: "PATCH", path: order, key: key, body: map[string]any{}},
		request{method: "GET", path: order + "?atRevision=1000000"},
		request{method: "GET", path: "/v1/orders?cursor=AAAA"},
		request{method: "GET", path: "/v1/orders?minTotal=1"},
		request{method: "GET", path: "/v1/orders/" + strings.Repeat("%00", 20)},
		request{method: "GET", path: "/v1/nothing"},
		request{method: "GET", path: order, consistencyToken: "AAAAAAAA"},
	)
	got, err := c.s.do(ctx, c.network, r)
	if err == nil && got.status < 400 {
		c.t.Errorf("%s %s: %d %s", r.method, r.path, got.status, got.body)
	}
}

// question asks for one of everything that can be asked.
func (c *soakClient) question(ctx context.Context) {
	id := pick(c.rng, c.mine...)
	order := "/v1/orders/" + id
	asOf := url.QueryEscape(c.told.UTC().Format(time.RFC3339Nano))
	today := time.Now().UTC().Format(time.DateOnly)
	path := pick(c.rng,
		order, order, order+"?include=actions", order+"?asOf="+asOf, order+"?atRevision=0", order+"?effectiveAt="+asOf,
		order+"/events", order+"/diff?from=0", order+"/why", order+"/actions", "/v1/orders/hot-0/events?limit=100",
		"/v1/orders?limit=20", "/v1/orders?status=placed&status=confirmed&sort=-updatedAt&limit=20&total=false", "/v1/orders?tag=gift&limit=10",
		"/v1/orders?currency=EUR&minTotal=5&sort=-total&limit=20", "/v1/orders?sku=MUG&limit=5", "/v1/orders?customer=c-"+id,
		"/v1/orders?q=mug+example&limit=20", "/v1/orders?q="+id+"&limit=5", "/v1/orders?facets=status&facets=currency&facets=tag&limit=1",
		"/v1/customers/c-"+id, "/v1/customers/c-"+id+"/orders", "/v1/stats?top=5", "/v1/stats?from="+today+"&to="+today,
		"/v1/projections", "/v1/reconciliations?limit=5", "/v1/projections/orders/parked", "/readyz", "/openapi.json", "/metrics",
	)
	got, err := c.s.do(ctx, c.network, request{method: "GET", path: path})
	switch {
	case !c.soak.known(id): // nobody placed it: its command had no answer, or was refused
	case strings.HasPrefix(path, "/v1/customers/") || c.soak.foreign.Load():
		c.expect(got, err, path, http.StatusOK, http.StatusNotFound) // the views may not have it yet
	default:
		c.expect(got, err, path, http.StatusOK)
	}
	var list struct{ Next string }
	if err == nil && strings.HasPrefix(path, "/v1/orders?") && json.Unmarshal(got.body, &list) == nil && list.Next != "" {
		got, err = c.s.do(ctx, c.network, request{method: "GET", path: path + "&cursor=" + url.QueryEscape(list.Next)})
		c.expect(got, err, path+" (next page)", http.StatusOK)
	}
}

// expect complains of an answer that is none of these and not a documented no;
// that there is no answer is looked at where all requests pass.
func (c *soakClient) expect(got reply, err error, what string, statuses ...int) {
	if err != nil || documented[got.code()] {
		return
	}
	for _, status := range statuses {
		if got.status == status {
			return
		}
	}
	c.t.Errorf("%s: %d %.300s", what, got.status, got.body)
}
