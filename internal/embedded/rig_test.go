package embedded_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/internal/disk/disktest"
	"github.com/docket-orders/docket/internal/embedded"
	views "github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/reconcile"
)

// docket is the whole program over one folder, asked through its HTTP API.
type docket struct {
	*embedded.Docket
	t       *testing.T
	dir     string
	handler http.Handler
	end     context.CancelFunc
	logged  *logged
	closed  bool
}

// logged keeps what was logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// fastDir is a folder in memory, if the system has such a place: what a sick disk
// does is made up here, and no real one is asked.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "docket-sick-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// tryOpen opens a folder, through d when it is not nil.
func tryOpen(t *testing.T, dir string, d *disktest.Disk) (*docket, error) {
	t.Helper()
	var o embedded.Options
	if d != nil {
		o.VFS, o.Disk = d.VFS(), d.FS()
	}
	return openWith(t, dir, o)
}

func openWith(t *testing.T, dir string, o embedded.Options) (*docket, error) {
	t.Helper()
	said := &logged{}
	o.Logger = slog.New(slog.NewTextHandler(said, nil))
	opened, err := embedded.Open(t.Context(), dir, o)
	if err != nil {
		return nil, err
	}
	lifetime, end := context.WithCancel(context.Background())
	a := &docket{Docket: opened, t: t, dir: dir, end: end, logged: said}
	a.handler = httpapi.New(httpapi.Options{
		Orders: a.Orders, Query: a.Queries, Projections: a.Views, Store: a.Store, Log: a.Log,
		Audit: a.Auditor, Refusals: a.Refusals, Reconcile: a.Reconciler, Lifetime: lifetime,
	})
	t.Cleanup(func() { _ = a.close() }) // the test that cares has closed it
	return a, nil
}

func open(t *testing.T, dir string, d *disktest.Disk) *docket {
	t.Helper()
	a, err := tryOpen(t, dir, d)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *docket) close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	a.end()
	return a.Close()
}

func (a *docket) mustClose() {
	a.t.Helper()
	if err := a.close(); err != nil {
		a.t.Fatal(err)
	}
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do sends one request; headers are "Name: value".
func (a *docket) do(method, path, body string, headers ...string) answer {
	a.t.Helper()
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func (a *docket) get(path string, headers ...string) answer {
	return a.do(http.MethodGet, path, "", headers...)
}

// place makes an order.
func (a *docket) place(id string, headers ...string) answer {
	return a.do(http.MethodPost, "/v1/orders", fmt.Sprintf(`{"id":%q,"currency":"EUR","tags":["web"],"lines":[{"sku":"MUG","quantity":1,"unitPrice":{"amount":"7.50","currency":"EUR"}}]}`, id), headers...)
}

func (a *docket) note(id, text string, headers ...string) answer {
	return a.do(http.MethodPost, "/v1/orders/"+id+"/notes", fmt.Sprintf(`{"text":%q}`, text), headers...)
}

// want demands a status, and a text in the body.
func (a *docket) want(what string, got answer, status int, text string) answer {
	a.t.Helper()
	if got.status != status || !strings.Contains(got.body, text) {
		a.t.Errorf("%s: %d %s; want %d and %q", what, got.status, got.body, status, text)
	}
	return got
}

func (a *docket) ready() httpapi.ReadyAnswer {
	a.t.Helper()
	var r httpapi.ReadyAnswer
	if err := json.Unmarshal([]byte(a.get("/readyz").body), &r); err != nil {
		a.t.Fatal(err)
	}
	return r
}

// await waits for a condition.
func (a *docket) await(what string, done func() bool) {
	a.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !done(); <-tick.C {
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: did not come about; %+v\n%s", what, a.ready(), a.logged)
		}
	}
}

func (a *docket) awaitReady() {
	a.t.Helper()
	a.await("ready", func() bool { return a.ready().Ready })
}

// wantHealthy demands that the docket takes commands, that the log is whole and
// that every view says what it says; orders are there, others are not.
func (a *docket) wantHealthy(there, gone []string) {
	a.t.Helper()
	a.awaitReady()
	if r := a.ready(); !r.Commands || !r.Reads || len(r.Impaired) > 0 {
		a.t.Errorf("ready: %+v\n%s", r, a.logged)
	}
	token := a.want("a command", a.place("healthy-"+time.Now().Format("150405.000000000")), 201, "").header.Get("Consistency-Token")
	for _, id := range there {
		a.want("acknowledged order "+id, a.get("/v1/orders/"+id), 200, `"id":"`+id+`"`)
	}
	for _, id := range gone {
		a.want("lost order "+id, a.get("/v1/orders/"+id), 404, "unknown-order")
	}
	a.want("a list", a.get("/v1/orders?q=web&limit=1", "Consistency-Token: "+token, "Prefer: wait=10"), 200, `"total"`)
	if a.Embedded != nil {
		report, err := a.Embedded.Verify(a.t.Context(), nil)
		if err != nil || !report.OK() {
			a.t.Errorf("verify: %+v, %v", report, err)
		}
	}
	a.reconciled(reconcile.Clean, reconcile.Request{})
}

func (a *docket) reconciled(want reconcile.Verdict, request reconcile.Request) {
	a.t.Helper()
	run, err := a.Reconciler.Run(a.t.Context(), reconcile.NewID(), request, nil)
	if err != nil || run.Verdict != want {
		a.t.Errorf("reconcile: %s, %v: %+v", run.Verdict, err, run)
	}
}

// copied is the folder as a kill would leave it now, while nobody writes.
func copied(t *testing.T, from, to string) string {
	t.Helper()
	err := filepath.Walk(from, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		if info.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if slices.Contains([]string{"lock", "server.json"}, info.Name()) || strings.HasSuffix(path, "-shm") {
			return nil
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.Create(filepath.Join(to, rel))
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		if closing := out.Close(); err == nil {
			err = closing
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// seenBy is what the views of a folder know, for a restore.
func seenBy(dir string) func(context.Context) ([]sqlite.Sighting, error) {
	return func(ctx context.Context) ([]sqlite.Sighting, error) {
		return embedded.WhatViewsHold(ctx, views.NewBackend(dir, views.Options{}), func(error) {})
	}
}
