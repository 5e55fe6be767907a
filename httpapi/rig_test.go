package httpapi

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/logtest"
	"github.com/docket-orders/docket/projections"
	views "github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/reconcile"
)

// rig is the whole program behind a test server: a real store and real views in
// a folder of the test.
type rig struct {
	t       testing.TB
	options Options
	server  *httptest.Server
	store   eventstore.Store
	under   *sqlite.Store // in the folder: store, or what is behind it
	orders  *command.Orders
	manager *projections.Manager
	log     *logged
}

func newRig(t testing.TB, change ...func(*Options)) *rig {
	t.Helper()
	return newRigOver(t, func(*projections.Options) {}, change...)
}

// newRigOver is newRig with views that are set up otherwise.
func newRigOver(t testing.TB, setUp func(*projections.Options), change ...func(*Options)) *rig {
	t.Helper()
	dir := t.TempDir()
	ctx := context.Background()
	store, snapshots, under := logtest.Open(t, dir)
	identity, err := store.Log(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: store, under: under, log: &logged{}}
	refusals := audit.NewRefusals(audit.RefusalOptions{Store: store})
	r.orders = command.New(command.Options{Store: store, Snapshots: snapshots, Refused: refusals.Record})
	keeping := projections.Options{
		Store: store, Backend: views.NewBackend(dir, views.Options{Readers: 2}), SpillDir: filepath.Join(dir, "spill"), Keep: time.Hour,
	}
	setUp(&keeping)
	r.manager = projections.NewManager(keeping)
	stores := projections.NewStores(r.manager)
	running, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- stores.Run(running) }()
	queries := query.New(query.Options{Store: store, Hot: query.SideOf[query.Hot](r.manager), Search: query.SideOf[query.Search](r.manager), Log: identity})
	o := Options{
		Orders: r.orders, Projections: stores, Store: store, Log: identity, Lifetime: running, Version: "test",
		Query: queries, Audit: audit.New(audit.Options{Query: queries}), Refusals: refusals,
		Reconcile: reconcile.New(reconcile.Options{Store: store, Stores: []reconcile.Store{{Name: "sqlite", Projection: r.manager}}, SpillDir: filepath.Join(dir, "spill")}),
		Logger:    newLogger(r.log),
	}
	for _, f := range change {
		f(&o)
	}
	r.options = o
	r.server = httptest.NewServer(New(o))
	t.Cleanup(func() {
		r.server.Close()
		stop()
		if err := <-stopped; err != nil {
			t.Errorf("views: %v", err)
		}
		if err := r.orders.Close(); err != nil {
			t.Errorf("orders: %v", err)
		}
		if err := store.Close(); err != nil {
			t.Errorf("store: %v", err)
		}
	})
	if err := r.manager.Started(ctx); err != nil {
		t.Fatal(err)
	}
	return r
}

func newLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)) }

// logged keeps what was logged.
type logged struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

// reply is an answer that was read whole.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
	what   string
}

// send sends a request; headers are "Name: value". A body makes it JSON unless
// a header says otherwise.
func (r *rig) send(method, path, body string, headers ...string) reply {
	r.t.Helper()
	req, err := http.NewRequest(method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if method == "POST" || method == "PUT" || body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		switch {
		case name == "Host":
			req.Host = value
		case value == "":
			req.Header.Del(name)
		default:
			req.Header.Add(name, value)
			if name == "Content-Type" {
				req.Header.Set(name, value)
			}
		}
	}
	res, err := r.server.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply{r.t, res.StatusCode, res.Header, data, method + " " + path}
}

func (r *rig) get(path string, headers ...string) reply {
	r.t.Helper()
	return r.send("GET", path, "", headers...)
}

func (r *rig) post(path, body string, headers ...string) reply {
	r.t.Helper()
	return r.send("POST", path, body, headers...)
}

// is demands a status.
func (a reply) is(status int) reply {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d, want %d: %s", a.what, a.status, status, a.body)
	}
	return a
}

// problem demands a problem with status and code.
func (a reply) problem(status int, code string) Problem {
	a.t.Helper()
	a.is(status)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Fatalf("%s: %s is not a problem: %s", a.what, got, a.body)
	}
	p := decoded[Problem](a)
	if p.Code != code || p.Status != status || p.Type != "urn:docket:problem:"+code || p.Title == "" || p.TraceID == "" {
		a.t.Fatalf("%s: want %d %s, got %s", a.what, status, code, a.body)
	}
	return p
}

// has demands a header.
func (a reply) has(name, value string) reply {
	a.t.Helper()
	if got := a.header.Get(name); got != value {
		a.t.Fatalf("%s: %s is %q, want %q", a.what, name, got, value)
	}
	return a
}

// decoded reads the body, and nothing but what T knows.
func decoded[T any](a reply) T {
	a.t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v, json.RejectUnknownMembers(true)); err != nil {
		a.t.Fatalf("%s: %v in %s", a.what, err, a.body)
	}
	return v
}

const mugs = `{"id":"%s","customer":{"id":"c-1","name":"Ana Prado"},"currency":"EUR","lines":[
	{"id":"1","sku":"MUG-RED","title":"Red mug","quantity":2,"unitPrice":{"amount":"7.50","currency":"EUR"}},
	{"id":"2","sku":"TEA","title":"Green tea","quantity":1,"unitPrice":{"amount":"3.20","currency":"EUR"}}],
	"shipping":{"amount":"4.90","currency":"EUR"},"tags":["web"],
	"shippingAddress":{"name":"Ana Prado","street":"Rua 1","city":"Lisboa","country":"PT"}}`

// placed makes an order of two mugs and a tea, 23.10 EUR.
func (r *rig) placed(id string) reply {
	r.t.Helper()
	return r.post("/v1/orders", strings.Replace(mugs, "%s", id, 1)).is(201)
}

// caughtUp waits until the views have seen everything.
func (r *rig) caughtUp() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.manager.CaughtUp(ctx); err != nil {
		r.t.Fatal(err)
	}
}
