package systemtest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/internal/testservers"
)

// TestRefusedDocuments: an order whose document one store refuses is parked there,
// and only that order; the other store shows it, and all others are shown by
// both. When what the store refused it for is mended, a retry heals it.
func TestRefusedDocuments(t *testing.T) {
	namespace, node, cache := testservers.Namespace(t), testservers.Elasticsearch(t), testservers.StartRedis(t)
	under := network()
	t.Cleanup(under.CloseIdleConnections)
	s := start(t, filepath.Join(t.TempDir(), "docket"), "--namespace", namespace, "--lease", lease.String(),
		"--search", elasticsearchOf(node), "--cache", "redis://"+cache.Address)
	c := &refusals{ledger: &ledger{t: t, network: under}, s: s}

	// Elasticsearch: another program has given the index a field of numbers, into
	// which states of addresses are copied.
	mapping := func(body string) {
		t.Helper()
		mapElasticsearch(t, node+"/"+namespace+"-docket-orders-1-*/_mapping", body)
	}
	mapping(`{"properties":{"trap":{"type":"long"},"state":{"type":"keyword","ignore_above":8191,"copy_to":"trap"}}}`)
	caught := placeBody("caught", "Ann")
	caught["shippingAddress"] = map[string]any{"name": "Ann", "street": "1", "city": "Porto", "country": "PT", "state": "no number"}
	c.write("before", "POST", "", placeBody("before", "Ann"))
	c.write("caught", "POST", "", caught)
	c.write("caught", "POST", "/notes", map[string]any{"text": "it waits"})
	c.write("after", "POST", "", placeBody("after", "Ann"))
	c.parked("elasticsearch", "caught")
	c.shows("before", "after")
	c.byID("caught", 1)
	c.retry("caught", false)
	c.parked("elasticsearch", "caught")
	mapping(`{"properties":{"trap":{"type":"long","ignore_malformed":true}}}`)
	c.retry("caught", true)
	c.parked("")
	c.shows("before", "caught", "after")

	// Redis: another program has raised a sum so far that the next order would take
	// it beyond 64 bits.
	const towers = "tower"
	bucket := fnv.New32a()
	bucket.Write([]byte(towers))
	products, tower := fmt.Sprintf("{docket.%s:1:%d}:products", namespace, bucket.Sum32()%256), "EUR\x00TOWER"
	full := binary.BigEndian.AppendUint64(nil, math.MaxInt64)
	keys := func(command ...string) {
		t.Helper()
		if answer, err := cache.Do(command...); err != nil || answer != int64(1) {
			t.Fatalf("%q: %v %v", command, answer, err)
		}
	}
	keys("HSET", products, tower, string(full)+strings.Repeat("\x00", 16))
	body := placeBody(towers, "Ann")
	body["lines"].([]any)[0].(map[string]any)["sku"] = "TOWER"
	c.write(towers, "POST", "", body)
	c.write("last", "POST", "", placeBody("last", "Ann"))
	c.parked("redis", towers)
	c.shows("before", "caught", "after", towers, "last")
	c.byID("last", 0)
	c.retry(towers, false)
	c.parked("redis", towers)
	keys("HDEL", products, tower)
	c.retry(towers, true)
	c.parked("")
	c.byID(towers, 0)

	// What the other program did to the mapping is found, and a rebuild ends it.
	to := []string{"--server", s.base, "--key", s.key}
	for _, step := range []struct {
		args  []string
		ends  int
		tells string
	}{
		{[]string{"reconcile", "run"}, 1, "there is a field trap"},
		{[]string{"projections", "rebuild", "--switch"}, 0, "generation 2"},
		{[]string{"reconcile", "run"}, 0, "clean"},
	} {
		if run := docket(t.Context(), append(step.args, to...)...); run.status != step.ends || !strings.Contains(run.stdout, step.tells) {
			t.Errorf("docket %s ended with %d:\n%.4000s%s", step.args, run.status, run.stdout, run.stderr)
		}
	}
	c.shows("before", "caught", "after", towers, "last")
	c.byID(towers, 0)
}

// refusals is a docket that is asked step by step.
type refusals struct {
	*ledger
	s *server
}

// write sends a command that has an effect.
func (c *refusals) write(order, method, what string, body map[string]any) {
	c.t.Helper()
	path := "/v1/orders"
	if what != "" {
		path += "/" + order + what
	}
	got, ok := c.send(c.t.Context(), c.s, order, request{method: method, path: path, key: order + what, body: body})
	if !ok {
		c.t.Fatalf("%s of %s: %d %s", path, order, got.status, got.body)
	}
}

// parked looks, when everything is applied or parked, whether these orders are
// parked in that store, and nothing else is.
func (c *refusals) parked(store string, orders ...string) {
	c.t.Helper()
	if err := c.s.caughtUp(c.t.Context(), c.network); err != nil {
		c.t.Fatal(err)
	}
	got, err := c.s.do(c.t.Context(), c.network, request{method: "GET", path: "/v1/projections/orders/parked"})
	var list struct {
		Items []struct{ Store, OrderID, Reason string }
	}
	if err != nil || json.Unmarshal(got.body, &list) != nil {
		c.t.Fatalf("parked: %v %d %s", err, got.status, got.body)
	}
	var found []string
	for _, p := range list.Items {
		found = append(found, p.OrderID)
		if p.Store != store || p.Reason == "" {
			c.t.Errorf("parked: %+v, not in %s", p, store)
		}
	}
	if !slices.Equal(found, orders) {
		c.t.Errorf("parked are %s, not %s: %s", found, orders, got.body)
	}
}

// shows waits until the list has these orders, in the order in which they were
// placed: what a retry has written is searchable a moment later.
func (c *refusals) shows(orders ...string) {
	c.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		got, err := c.s.do(c.t.Context(), c.network, request{method: "GET", path: "/v1/orders?sort=placedAt"})
		var list struct{ Items []orderAnswer }
		if err != nil || got.status != http.StatusOK || json.Unmarshal(got.body, &list) != nil {
			c.t.Fatalf("list: %v %d %s", err, got.status, got.body)
		}
		var found []string
		for _, o := range list.Items {
			found = append(found, o.ID)
		}
		if slices.Equal(found, orders) {
			return
		}
		if time.Since(began) > viewRecovery {
			c.t.Errorf("the list has %s, not %s", found, orders)
			return
		}
	}
}

// byID looks whether Redis shows an order at a revision.
func (c *refusals) byID(order string, revision int) {
	c.t.Helper()
	got, err := c.s.do(c.t.Context(), c.network, request{method: "GET", path: "/v1/orders/" + order})
	var doc orderAnswer
	if err != nil || got.status != http.StatusOK || json.Unmarshal(got.body, &doc) != nil || doc.Revision != revision || got.header.Get("Read-Source") == "log" {
		c.t.Errorf("order %s at %d: %v %d %v %s", order, revision, err, got.status, got.header, got.body)
	}
}

// retry is docket projections retry.
func (c *refusals) retry(order string, heals bool) {
	c.t.Helper()
	run := docket(c.t.Context(), "projections", "retry", order, "--server", c.s.base, "--key", c.s.key)
	if (run.status == 0) != heals {
		c.t.Errorf("retry of %s ended with %d: %s%s", order, run.status, run.stdout, run.stderr)
	}
}

// mapElasticsearch is another program that changes a mapping.
func mapElasticsearch(t *testing.T, url, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	through := network()
	defer through.CloseIdleConnections()
	answer, err := through.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", body, answer.Status)
	}
}
