package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/view"
)

const (
	// askTogether questions are under way at once.
	askTogether = 4
	// sampledOrders are what random questions are about.
	sampledOrders = 5000
	// longestWalk bounds a walk that began as a random question, in pages.
	longestWalk = 20
)

// TestViewsAgree: on real orders, every question of the API has the same answer,
// byte for byte, from SQLite and from Elasticsearch and Redis; the keys of the
// Redis are spread evenly over its masters.
func TestViewsAgree(t *testing.T) {
	questions, seed := setting(t, "DOCKET_QUESTIONS", 1000), seed(t)
	t.Logf("%d questions, DOCKET_SEED=%d", questions, seed)
	masters := testservers.StartRedisCluster(t)
	p := newProduction(t, elasticsearchOf(testservers.Elasticsearch(t)), masters.URL())
	rng := rand.New(rand.NewPCG(seed, 0))
	began := time.Now()
	p.importReal(t)
	local, remote := p.serveLocally(t, "local"), p.serve(t, "remote")
	ctx := t.Context()
	writeAwkward(t, local, rng)
	through := network()
	defer through.CloseIdleConnections()
	c := &comparison{t: t, through: through, local: local, remote: remote, seen: map[string]int{}, took: map[string][2]time.Duration{}}
	c.everythingIsShown(ctx)
	t.Logf("imported, and in all views after %v", time.Since(began).Round(time.Millisecond))
	keysAreSpread(t, masters)

	began = time.Now()
	docs := c.wholeLists(ctx, rng)
	t.Logf("walked through everything, in every order, in %v: %v", time.Since(began).Round(time.Millisecond), c)

	began = time.Now()
	var asking sync.WaitGroup
	var next atomic.Int64
	for range askTogether {
		a := &asker{rand.New(rand.NewPCG(rng.Uint64(), 1)), docs}
		asking.Go(func() {
			for next.Add(1) <= questions && !t.Failed() {
				pages := 1
				if a.rng.IntN(6) == 0 {
					pages += a.rng.IntN(longestWalk)
				}
				c.walk(ctx, a.question(), pages, nil)
			}
		})
	}
	asking.Wait()
	t.Logf("%d questions in %v: %v", questions, time.Since(began).Round(time.Millisecond), c)
	if found := c.seen["list 200"]; !t.Failed() && found < int(questions)/3 {
		t.Errorf("of %d questions only %d were lists that had an answer", questions, found)
	}
}

// keysAreSpread looks whether each of three masters has about a third.
func keysAreSpread(t *testing.T, masters *testservers.RedisNodes) {
	t.Helper()
	var keys []int64
	total := int64(0)
	for _, master := range masters.Nodes {
		answer, err := master.Do("DBSIZE")
		n, ok := answer.(int64)
		if err != nil || !ok {
			t.Fatalf("DBSIZE: %v %v", answer, err)
		}
		keys, total = append(keys, n), total+n
	}
	t.Logf("keys of the masters: %d", keys)
	for _, n := range keys {
		if share := float64(n) / float64(total); share < 0.25 || share > 0.42 {
			t.Errorf("a master has %.1f %% of the keys", 100*share)
		}
	}
}

// comparison asks two dockets the same.
type comparison struct {
	t             *testing.T
	through       http.RoundTripper
	local, remote *server

	pages, items atomic.Int64

	mu   sync.Mutex
	seen map[string]int              // questions by kind and status
	took map[string][2]time.Duration // by kind: SQLite; Elasticsearch and Redis
}

func (c *comparison) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, kind := range slices.Sorted(maps.Keys(c.seen)) {
		all = append(all, fmt.Sprintf("%s %d", kind, c.seen[kind]))
	}
	return fmt.Sprintf("%s; %d pages with %d orders; SQLite and the others took %v", strings.Join(all, ", "), c.pages.Load(), c.items.Load(), c.took)
}

// everythingIsShown returns when both show what was written up to now. Lists of
// Elasticsearch show a write some time after it was applied, and then all before
// it, too.
func (c *comparison) everythingIsShown(ctx context.Context) {
	c.t.Helper()
	l := &ledger{t: c.t, network: c.through}
	for _, s := range []*server{c.local, c.remote} {
		if err := s.caughtUp(ctx, c.through); err != nil {
			c.t.Fatal(err)
		}
	}
	if _, ok := l.send(ctx, c.local, "last", request{method: "POST", path: "/v1/orders", key: "last", body: placeBody("last", "Last")}); !ok {
		c.t.Fatal("the last order is not taken")
	}
	for _, s := range []*server{c.local, c.remote} {
		if err := s.caughtUp(ctx, c.through); err != nil {
			c.t.Fatal(err)
		}
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		got, err := c.settled(ctx, c.remote, "/v1/orders?limit=1&customer=c-last")
		var list struct{ Total int }
		if err == nil && json.Unmarshal(got.body, &list) == nil && list.Total == 1 {
			return
		}
		if time.Since(began) > startTimeout {
			c.t.Fatalf("the last order is not shown: %v %d %.300s", err, got.status, got.body)
		}
	}
}

// wholeLists walks through all orders in every order there is, and returns a
// sample of them.
func (c *comparison) wholeLists(ctx context.Context, rng *rand.Rand) (docs []view.Order) {
	for _, sort := range listSorts {
		filters := []string{""}
		if strings.HasSuffix(sort, "total") {
			filters = []string{"&currency=GBP", "&currency=BRL", "&currency=EUR"}
		}
		total := 0
		for _, filter := range filters {
			c.walk(ctx, "/v1/orders?limit=1000&sort="+sort+filter, 1<<20, func(o view.Order) {
				if total++; sort != "number" {
					return
				}
				if len(docs) < sampledOrders {
					docs = append(docs, o)
				} else if at := rng.IntN(total); at < sampledOrders {
					docs[at] = o
				}
			})
		}
		if total < 300 {
			c.t.Fatalf("by %s only %d orders are there", sort, total)
		}
	}
	return docs
}

// walk asks a question, and follows its cursor for at most so many pages.
func (c *comparison) walk(ctx context.Context, path string, pages int, each func(view.Order)) {
	for at := path; at != "" && pages > 0; pages-- {
		body := c.ask(ctx, at)
		if body == nil {
			return
		}
		var page struct {
			Items []view.Order
			Next  string
		}
		if err := json.Unmarshal(body, &page); err != nil {
			c.t.Errorf("%s: %v in %.300s", at, err, body)
			return
		}
		c.pages.Add(1)
		c.items.Add(int64(len(page.Items)))
		for _, o := range page.Items {
			if each != nil {
				each(o)
			}
		}
		if at = ""; page.Next != "" {
			at = path + "&cursor=" + url.QueryEscape(page.Next)
		}
	}
}

// ask answers what both say; nil when it is no 200, or they differ.
func (c *comparison) ask(ctx context.Context, path string) []byte {
	began := time.Now()
	one, err := c.settled(ctx, c.local, path)
	between := time.Now()
	if err != nil {
		c.t.Errorf("%s on SQLite: %v", path, err)
		return nil
	}
	two, err := c.settled(ctx, c.remote, path)
	if err != nil {
		c.t.Errorf("%s on Elasticsearch and Redis: %v", path, err)
		return nil
	}
	kind := kindOf(path)
	c.mu.Lock()
	c.seen[fmt.Sprint(kind, " ", one.status)]++
	sum := c.took[kind]
	c.took[kind] = [2]time.Duration{sum[0] + between.Sub(began), sum[1] + time.Since(between)}
	c.mu.Unlock()
	if difference := differs(one, two); difference != "" {
		c.t.Errorf("%s: %s", path, difference)
		return nil
	}
	if one.status != http.StatusOK {
		return nil
	}
	return one.body
}

// settled is an answer that is not "not now".
func (c *comparison) settled(ctx context.Context, s *server, path string) (reply, error) {
	for patience := 100; ; patience-- {
		got, err := s.do(ctx, c.through, request{method: "GET", path: path})
		if err != nil || got.status < 500 && got.status != http.StatusTooManyRequests {
			return got, err
		}
		if patience == 0 {
			return got, fmt.Errorf("%d %.300s", got.status, got.body)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func kindOf(path string) string {
	switch {
	case strings.HasPrefix(path, "/v1/orders?"):
		return "list"
	case strings.HasPrefix(path, "/v1/orders/"):
		return "order"
	case strings.HasPrefix(path, "/v1/stats"):
		return "stats"
	case strings.Contains(path, "/orders"):
		return "customer's orders"
	}
	return "customer"
}

// differs says in words where two answers do; empty when nowhere. What names the
// request itself is passed over.
func differs(one, two reply) string {
	if one.status != two.status {
		return fmt.Sprintf("%d %.300s, and %d %.300s", one.status, one.body, two.status, two.body)
	}
	for _, name := range []string{"ETag", "Read-Revision", "Read-Position", "Read-Source", "Content-Type"} {
		if a, b := one.header.Get(name), two.header.Get(name); a != b {
			return fmt.Sprintf("%s is %q and %q", name, a, b)
		}
	}
	a, b := string(one.body), string(two.body)
	if one.status != http.StatusOK {
		a, b = one.code(), two.code()
	}
	if a == b {
		return ""
	}
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	from := max(0, at-80)
	return fmt.Sprintf("...%.200s and ...%.200s", a[min(from, len(a)):], b[min(from, len(b)):])
}

// TestDifferencesAreSeen: answers that are not the same are told apart.
func TestDifferencesAreSeen(t *testing.T) {
	answer := func(status int, body, tag string) reply {
		return reply{status, http.Header{"Etag": {tag}}, []byte(body)}
	}
	whole := answer(200, `{"items":[{"id":"1"}],"total":1}`, `"3.g1"`)
	for _, other := range []reply{
		answer(404, `{"code":"unknown-order"}`, `"3.g1"`),
		answer(200, `{"items":[{"id":"2"}],"total":1}`, `"3.g1"`),
		answer(200, `{"items":[{"id":"1"}],"total":2}`, `"3.g1"`),
		answer(200, `{"items":[{"id":"1"}],"total":1}`, `"2.g1"`),
		answer(200, ``, `"3.g1"`),
	} {
		if differs(whole, other) == "" {
			t.Errorf("%d %s is taken for the same", other.status, other.body)
		}
	}
	if d := differs(answer(404, `{"code":"a","traceId":"1"}`, ""), answer(404, `{"code":"a","traceId":"2"}`, "")); d != "" {
		t.Error(d)
	}
	if d := differs(answer(404, `{"code":"a"}`, ""), answer(404, `{"code":"b"}`, "")); d == "" {
		t.Error("other refusals are taken for the same")
	}
}

// importReal puts real orders into the log: all of the data sets that are in the
// folder DOCKET_DATA_SETS, or the excerpt.
func (p *production) importReal(t *testing.T) {
	t.Helper()
	imports := [][]string{{"import", "online-retail", "--file", "../importer/excerpt/online-retail-excerpt.csv"}}
	if dir := os.Getenv("DOCKET_DATA_SETS"); dir != "" {
		imports = [][]string{
			{"import", "olist", "--dir", dir},
			{"import", "online-retail", "--file", filepath.Join(dir, "uci_online_retail.csv.gz")},
		}
	}
	for _, args := range imports {
		if run := docket(t.Context(), append(args, "--data", p.log.data, "--namespace", p.namespace)...); run.status != 0 {
			t.Fatalf("docket %v ended with %d: %s%s", args, run.status, run.stdout, run.stderr)
		}
	}
}

// writeAwkward adds orders whose texts stores could see differently.
func writeAwkward(t *testing.T, s *server, rng *rand.Rand) {
	t.Helper()
	under := network()
	defer under.CloseIdleConnections()
	l := &ledger{t: t, network: under}
	names := []string{"José Ñandú", "JOSE NANDU", "Łukasz Żółć", "ﬁne Straße", "日本 茶", "İstanbul ıI", "foo_bar 3.14", "O'Neil-Smith", "AND OR NOT NEAR", "ΌΣΟΣ όσος", "x̧́y"}
	for n, name := range names {
		client := &loadClient{ledger: l, name: fmt.Sprintf("Awkward~%d", n), s: s, rng: rng}
		order := client.name
		life := client.life(order)
		life[0].body.(map[string]any)["customer"] = map[string]any{"id": fmt.Sprintf("c.%d", n%4), "name": name, "email": "a+b@example.com"}
		for _, r := range append(life, noteRequest(order, name+" "+strings.ToUpper(name))) {
			if got, _ := l.send(t.Context(), s, order, r); got.status == 0 || got.status >= 500 {
				t.Fatalf("%s: %d %s", r.path, got.status, got.body)
			}
		}
	}
}
