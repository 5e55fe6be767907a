package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/internal/testservers"
)

// running is a docket serve in this process.
type running struct {
	t     *testing.T
	base  string
	flags []string // which the other commands take too
	said  *output
	stop  func() // and what ended it must be the stop
}

// output is what a docket wrote.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start serves a folder of its own, and returns when it answers.
func start(t *testing.T, flags ...string) *running {
	t.Helper()
	return startIn(t, filepath.Join(t.TempDir(), "data"), flags...)
}

// startIn is start in a folder.
func startIn(t *testing.T, data string, flags ...string) *running {
	t.Helper()
	r := &running{t: t, flags: append([]string{"--data", data}, flags...), said: &output{}}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0"}, r.flags...), r.said, r.said)
	}()
	r.stop = sync.OnceFunc(func() {
		stop()
		if status := <-ended; status != exitDone {
			t.Errorf("docket serve ended with %d: %s", status, r.said)
		}
	})
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("docket serve said: %s", r.said)
		}
	})
	until(t, "docket listens", func() bool {
		select {
		case status := <-ended:
			t.Fatalf("docket serve ended with %d: %s", status, r.said)
		default:
		}
		at, there, err := readRunFile(data)
		r.base = "http://" + at.Address
		return err == nil && there
	})
	return r
}

type answered struct {
	status int
	header http.Header
	body   string
}

func (r *running) do(method, path, body string, headers ...string) answered {
	r.t.Helper()
	request, err := http.NewRequest(method, r.base+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answered{response.StatusCode, response.Header, string(text)}
}

// place makes order n of one of three customers, and returns the token.
func (r *running) place(n int) (token string) {
	r.t.Helper()
	a := r.do("POST", "/v1/orders", fmt.Sprintf(`{"id":"o-%d","customer":{"id":"c-%d","name":"Ana Prado"},"currency":"EUR","tags":["web"],
		"lines":[{"id":"1","sku":"MUG","title":"Red mug","quantity":%d,"unitPrice":{"amount":"7.50","currency":"EUR"}}]}`, n, n%3, 1+n%4))
	if a.status != http.StatusCreated {
		r.t.Fatalf("place %d: %d %s", n, a.status, a.body)
	}
	return a.header.Get("Consistency-Token")
}

// questions are answered by Redis, but for the list and the search.
var questions = map[string]string{
	"by id": "/v1/orders/o-1", "customer": "/v1/customers/c-1", "customer's orders": "/v1/customers/c-1/orders",
	"stats": "/v1/stats?top=3", "list": "/v1/orders?facets=tag&limit=5", "search": "/v1/orders?q=mug",
}

func (r *running) ready() httpapi.ReadyAnswer {
	r.t.Helper()
	var answer httpapi.ReadyAnswer
	if err := json.Unmarshal([]byte(r.do("GET", "/readyz", "").body), &answer); err != nil {
		r.t.Fatal(err)
	}
	return answer
}

// awaitReady waits until docket is ready and nothing is impaired.
func (r *running) awaitReady() {
	r.t.Helper()
	until(r.t, "docket is ready, and nothing is impaired", func() bool {
		a := r.ready()
		return a.Ready && len(a.Impaired) == 0
	})
}

func (r *running) store(name string) (of httpapi.StoreAnswer) {
	r.t.Helper()
	for _, s := range r.ready().Stores {
		if s.Store == name {
			return s
		}
	}
	r.t.Fatalf("no store %s in /readyz", name)
	return of
}

// command is what another docket command says of this one.
func (r *running) command(args ...string) string {
	r.t.Helper()
	var said bytes.Buffer
	if status := run(r.t.Context(), append(args, r.flags...), &said, &said); status != exitDone {
		r.t.Errorf("docket %s: %d: %s", strings.Join(args, " "), status, &said)
	}
	return said.String()
}

func elasticFlag(t *testing.T) string {
	return "--search=elasticsearch://" + strings.TrimPrefix(testservers.Elasticsearch(t), "http://")
}

func redisFlag(t *testing.T) string { return "--cache=redis://" + testservers.Redis(t) }

// TestServeWithStores: whatever answers, a reader with the token of a write gets
// the answers that the views in the folder give.
func TestServeWithStores(t *testing.T) {
	own := start(t)
	for name, flags := range map[string][]string{
		"both": {elasticFlag(t), redisFlag(t)}, "search": {elasticFlag(t)}, "cache": {redisFlag(t)},
	} {
		flags = append(flags, "--namespace="+testservers.Namespace(t), "--lease=1s")
		t.Run(name, func(t *testing.T) {
			r := start(t, flags...)
			r.awaitReady()
			token := ""
			for n := range 20 {
				token = r.place(n)
			}
			last := r.do("GET", "/v1/orders/o-19/events", "")
			if last.status != http.StatusOK {
				t.Errorf("events: %d %s", last.status, last.body)
			}
			for what, path := range questions {
				got := r.do("GET", path, "", "Consistency-Token: "+token, "Prefer: wait=20")
				if got.status != http.StatusOK || got.header.Get("Read-Generation") == "" || got.header.Get("Read-Source") != "" {
					t.Errorf("%s: %d %v %s", what, got.status, got.header, got.body)
				}
			}
			until(t, "searches see the other orders too", func() bool {
				var page httpapi.ListAnswer
				list := r.do("GET", "/v1/orders?q=mug&customer=c-1&limit=3", "")
				if err := json.Unmarshal([]byte(list.body), &page); err != nil {
					t.Fatalf("list: %v %s", err, list.body)
				}
				return *page.Total == 7 && page.Next != ""
			})
			metrics := r.do("GET", "/metrics", "").body
			for _, s := range r.ready().Stores {
				if !s.Up || !s.CaughtUp || s.Generation != 1 {
					t.Errorf("%+v", s)
				}
				wants := []string{`docket_projection_lag_events{projection="orders",`, `docket_store_up{projection="orders",`}
				if s.Store != "sqlite" {
					wants = append(wants, "docket_guard_calls_total{", `docket_guard_breaker_state{state="closed",`, `docket_projection_lanes{projection="orders",state="here",`, `docket_projection_beat_age_seconds{projection="orders",`)
				}
				for _, want := range wants {
					if !strings.Contains(metrics, want+`store="`+s.Store+`"}`) {
						t.Errorf("no %s of %s", want, s.Store)
					}
				}
			}
			if _, err := os.Stat(filepath.Join(r.flags[1], "views", "orders-1.db")); (err == nil) != (name != "both") {
				t.Errorf("the views in the folder: %v", err)
			}
			if said := r.command("projections", "list"); strings.Count(said, "64 lanes: 64 here") != len(flags)-2 || strings.Contains(said, "LANE ") {
				t.Errorf("projections list: %s", said)
			}
			if said := r.command("projections", "list", "--lanes"); !strings.Contains(said, " (here) ") {
				t.Errorf("projections list --lanes: %s", said)
			}
			if said := r.command("reconcile", "run"); !strings.Contains(said, "clean") {
				t.Errorf("reconcile: %s", said)
			}
			// Without a running docket a command opens the same views.
			r.stop()
			if said := r.command("order", "list", "-q", "mug"); !strings.Contains(said, "20 of 20 orders") {
				t.Errorf("order list: %s", said)
			}
		})
	}
	own.awaitReady()
	if stores := own.ready().Stores; len(stores) != 1 || stores[0].Store != "sqlite" || stores[0].Guard != nil || stores[0].Lanes != nil {
		t.Errorf("without flags: %+v", stores)
	}
}

// TestRedisGoesAndComes: killed, emptied, and down at the start. Orders by id come
// from the log, what cannot says so, and lists do not notice.
func TestRedisGoesAndComes(t *testing.T) {
	t.Parallel()
	server := testservers.StartRedis(t)
	flags := []string{elasticFlag(t), "--cache=redis://" + server.Address, "--namespace=" + testservers.Namespace(t), "--lease=1s"}
	r := start(t, flags...)
	r.awaitReady()
	token := r.place(1)
	all := func(hot int) {
		t.Helper()
		for what, path := range questions {
			got := r.do("GET", path, "", "Consistency-Token: "+token, "Prefer: wait=10")
			byLog := what == "by id" && hot != http.StatusOK
			want := hot
			if byLog || what == "list" || what == "search" {
				want = http.StatusOK
			}
			if got.status != want || (got.header.Get("Read-Source") == "log") != byLog {
				t.Errorf("%s: %d %v %s", what, got.status, got.header, got.body)
			}
			if want == http.StatusServiceUnavailable && (got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"view-unavailable"`)) {
				t.Errorf("%s: %v %s", what, got.header, got.body)
			}
		}
	}
	all(http.StatusOK)

	server.Kill()
	until(t, "/readyz says it", func() bool { return !r.store("redis").Up })
	token = r.place(2)
	all(http.StatusServiceUnavailable)
	if a := r.ready(); !a.Ready || !a.Commands || !a.Reads || len(a.Impaired) == 0 || !strings.Contains(a.Impaired[0], "redis") {
		t.Errorf("ready: %+v", a)
	}
	if s := r.store("redis"); s.Guard.Breaker == "closed" || s.Guard.Failures == 0 || s.Problem == "" {
		t.Errorf("%+v", s)
	}
	if s := r.store("elasticsearch"); !s.Up || s.Problem != "" {
		t.Errorf("%+v", s)
	}
	metrics := r.do("GET", "/metrics", "").body
	if !strings.Contains(metrics, `docket_store_up{projection="orders",store="redis"} 0`) || !strings.Contains(metrics, `docket_store_up{projection="orders",store="elasticsearch"} 1`) {
		t.Errorf("metrics: %s", metrics)
	}
	if said := r.command("projections", "list"); !strings.Contains(said, "does not answer") {
		t.Errorf("projections list does not say what is wrong: %s", said)
	}

	server.Restart()
	r.awaitReady()
	all(http.StatusOK)

	server.Flush()
	r.awaitReady()
	until(t, "Redis is filled again", func() bool { return r.do("GET", "/v1/customers/c-2", "").status == http.StatusOK })
	token = r.place(3)
	all(http.StatusOK)
	if got := r.do("GET", "/v1/stats", ""); !strings.Contains(got.body, `"orders":3`) {
		t.Errorf("sums after the flush: %s", got.body)
	}
	r.stop()

	server.Kill()
	r = startIn(t, r.flags[1], flags...)
	until(t, "docket is ready without Redis", func() bool { return r.ready().Ready })
	all(http.StatusServiceUnavailable)
	if said := r.command("projections", "parked"); !strings.Contains(said, "redis does not answer") {
		t.Errorf("parked: %s", said)
	}
	server.Restart()
	r.awaitReady()
	all(http.StatusOK)
}

// TestTwoDocketsShareAStore: each feeds half of the lanes, and all of them when the
// other has ended.
func TestTwoDocketsShareAStore(t *testing.T) {
	t.Parallel()
	log, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "log"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	server := esdbservertest.Run(t, esdbserver.Options{Store: log})
	flags := []string{"--eventstore=" + esdbservertest.Insecure(server.Address), redisFlag(t), "--namespace=" + testservers.Namespace(t), "--lease=1s"}
	one, other := start(t, flags...), start(t, flags...)
	for _, r := range []*running{one, other} {
		r.awaitReady()
		until(t, "each has half", func() bool { l := r.store("redis").Lanes; return l != nil && l.Here == 32 && l.Elsewhere == 32 })
		said := r.command("projections", "list")
		if !strings.Contains(said, fmt.Sprintf("64 lanes: 32 here, 32 on %s:%d:", hostname(t), os.Getpid())) {
			t.Errorf("projections list: %s", said)
		}
	}
	for n := range 12 {
		token := one.place(n)
		path := fmt.Sprintf("/v1/orders/o-%d", n)
		if got := other.do("GET", path, "", "Consistency-Token: "+token, "Prefer: wait=20"); got.status != http.StatusOK || got.header.Get("Read-Source") != "" {
			t.Errorf("what one wrote, at the other: %d %s", got.status, got.body)
		}
	}
	one.stop()
	until(t, "the other has all", func() bool { l := other.store("redis").Lanes; return l != nil && l.Here == 64 })
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestSecureStores: TLS, users, passwords and keys in files; with a wrong one
// nothing is answered and no secret told.
func TestSecureStores(t *testing.T) {
	t.Parallel()
	const password, key = "s3cr3t/@:?pass", "a1b2c3secretkey=="
	authority, stranger := testservers.NewAuthority(t), testservers.NewAuthority(t)
	cache := testservers.StartSecureRedis(t, authority, "docket", password)
	search := testservers.StartProxy(t, testservers.Elasticsearch(t), testservers.ProxyOptions{Authority: authority, APIKey: key})
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flags := func(password, key string, ca *testservers.Authority) []string {
		return []string{
			"--search=elasticsearch://" + strings.TrimPrefix(search.URL, "https://") + "?ca=" + ca.CAFile + "&apiKeyFile=" + file("key", key),
			"--cache=rediss://docket@" + cache.Address + "?passwordFile=" + file("password", password) + "&ca=" + ca.CAFile,
			"--namespace=" + testservers.Namespace(t), "--lease=1s", "--log-level=debug",
		}
	}
	good := start(t, flags(password, key, authority)...)
	good.awaitReady()
	token := good.place(1)
	for what, path := range questions {
		if got := good.do("GET", path, "", "Consistency-Token: "+token, "Prefer: wait=20"); got.status != http.StatusOK || got.header.Get("Read-Source") != "" {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
	for name, flags := range map[string][]string{
		"wrong secrets": flags("wr0ng"+password, "wr0ng"+key, authority), "a stranger's certificate": flags(password, key, stranger),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, flags...)
			r.place(1)
			until(t, "docket is ready for commands", func() bool { return r.ready().Ready })
			for _, s := range r.ready().Stores {
				if s.Up || s.Problem == "" {
					t.Errorf("%+v", s)
				}
			}
			if got := r.do("GET", "/v1/orders/o-1", ""); got.status != http.StatusOK || got.header.Get("Read-Source") != "log" {
				t.Errorf("by id: %d %s", got.status, got.body)
			}
			if got := r.do("GET", "/v1/orders", ""); got.status != http.StatusServiceUnavailable {
				t.Errorf("list: %d %s", got.status, got.body)
			}
			said := r.command("projections", "list") + r.do("GET", "/readyz", "").body
			r.stop()
			for _, secret := range []string{password, key} {
				if strings.Contains(said+r.said.String(), secret) {
					t.Errorf("a secret is told: %s", said+r.said.String())
				}
			}
		})
	}
	good.stop()
	if strings.Contains(good.said.String(), password) || strings.Contains(good.said.String(), key) {
		t.Errorf("a secret is told: %s", good.said)
	}
}

// TestPortOfAnotherService: each flag names the other's server. Nothing is
// harmed, and nothing but these questions is refused.
func TestPortOfAnotherService(t *testing.T) {
	t.Parallel()
	r := start(t, "--search=elasticsearch://"+testservers.Redis(t), "--cache=redis://"+strings.TrimPrefix(testservers.Elasticsearch(t), "http://"), "--namespace="+testservers.Namespace(t), "--lease=1s")
	r.place(1)
	until(t, "docket is ready for commands", func() bool { return r.ready().Ready })
	for what, path := range questions {
		got, want := r.do("GET", path, ""), http.StatusServiceUnavailable
		if what == "by id" {
			want = http.StatusOK
		}
		if got.status != want {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
	if a := r.ready(); len(a.Impaired) < 2 || a.Reads {
		t.Errorf("%+v", a)
	}
}

func TestBadAddresses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty, long := filepath.Join(dir, "empty"), filepath.Join(dir, "long")
	for path, text := range map[string]string{empty: "\n", long: strings.Repeat("x", maxSecret+1)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, flag := range []string{
		"--search=", "--search=http://127.0.0.1:9200", "--search=elasticsearch://", "--search=elasticsearch://u:topsecret@127.0.0.1",
		"--search=elasticsearch://127.0.0.1:99999", "--search=elasticsearch://topsecret@127.0.0.1:9200", "--search=elasticsearch://127.0.0.1:9200?tls=maybe",
		"--search=elasticsearch://127.0.0.1:9200?ca=" + dir + "/none", "--search=elasticsearch://127.0.0.1:9200?ca=" + empty,
		"--search=elasticsearch://127.0.0.1:9200?apiKeyFile=" + dir + "/none", "--search=elasticsearch://127.0.0.1:9200?apiKeyFile=" + empty,
		"--search=elasticsearch://127.0.0.1:9200?apiKeyFile=" + long, "--search=elasticsearch://127.0.0.1:9200?apiKey=topsecret&apiKey=topsecret",
		"--cache=elasticsearch://127.0.0.1:9200", "--cache=redis://u:topsecret@127.0.0.1:0", "--cache=redis://127.0.0.1:6379/x",
		"--cache=redis://127.0.0.1:1,127.0.0.1:2", "--cache=redis+cluster://u:topsecret@127.0.0.1:1/3", "--cache=redis+sentinel://127.0.0.1:1",
		"--cache=redis://u:topsecret@127.0.0.1:1?passwordFile=" + long, "--cache=redis://u:topsecret@127.0.0.1:1?passwordFile=%zz",
		"--cache=topsecret", "--lease=0s", "--lease=199ms", "--lease=11m", "--lease=soon",
	} {
		var said bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		status := run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), flag}, &said, &said)
		cancel()
		if status != exitUsage || !strings.Contains(said.String(), strings.SplitN(flag, "=", 2)[0]) || strings.Contains(said.String(), "topsecret") {
			t.Errorf("%s: %d: %s", flag, status, &said)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("a folder was made")
	}
}

func TestSecretsInFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("p@ss/w?rd&=%\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"redis://h:1":                                                      "redis://h:1",
		"redis://h:1/2?passwordFile=" + file:                               "redis://:p%40ss%2Fw%3Frd%26%3D%25@h:1/2",
		"redis://u@h:1?passwordFile=" + file + "&ca=x":                     "redis://u:p%40ss%2Fw%3Frd%26%3D%25@h:1?ca=x",
		"elasticsearch://a:1,b:2?tls=true&apiKeyFile=" + file:              "elasticsearch://a:1,b:2?tls=true&apiKey=p%40ss%2Fw%3Frd%26%3D%25",
		"elasticsearch://u@a:1,b:2?passwordFile=" + file + "&tls=true&ca=": "elasticsearch://u:p%40ss%2Fw%3Frd%26%3D%25@a:1,b:2?tls=true&ca=",
	} {
		if got, err := withSecrets(address); err != nil || got != want {
			t.Errorf("%s: %s, %v", address, got, err)
		}
	}
}
