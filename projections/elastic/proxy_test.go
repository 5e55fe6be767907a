package elastic_test

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/query"
)

// node is a real node behind a proxy that does to requests and answers what a
// test says.
type node struct {
	t         *testing.T
	namespace eventstore.Namespace
	direct    string // URL of the node itself
	address   string // of the proxy
	asked     sync.Map
	answered  sync.Map
	// before answers in the node's place when it returns true; after changes an
	// answer.
	before atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	after  atomic.Pointer[func(r *http.Request, answer []byte) []byte]
}

func startNode(t *testing.T) *node {
	n := &node{t: t, namespace: eventstore.Namespace(testservers.Namespace(t)), direct: testservers.Elasticsearch(t)}
	to, err := url.Parse(n.direct)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorLog: log.New(io.Discard, "", 0), // clients give up
		ModifyResponse: func(r *http.Response) error {
			change := n.after.Load()
			if change == nil {
				return nil
			}
			answer, err := io.ReadAll(r.Body)
			answer = (*change)(r.Request, answer)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(answer)), int64(len(answer))
			r.Header.Del("Content-Length")
			return err
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		count, _ := n.asked.LoadOrStore(of, new(atomic.Int64))
		count.(*atomic.Int64).Add(1)
		// Only with all of the body read does the server see a client go away.
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if answer := n.before.Load(); answer != nil && (*answer)(w, r) {
			return
		}
		forward.ServeHTTP(w, r)
		count, _ = n.answered.LoadOrStore(of, new(atomic.Int64))
		count.(*atomic.Int64).Add(1)
	}))
	t.Cleanup(server.Close)
	n.address = addressOf(server.URL)
	return n
}

// count of requests so far: "_bulk".
func (n *node) count(of string) int64 { return counted(&n.asked, of) }

// done of them have their answer.
func (n *node) done(of string) int64 { return counted(&n.answered, of) }

func counted(in *sync.Map, of string) int64 {
	count, ok := in.Load(of)
	if !ok {
		return 0
	}
	return count.(*atomic.Int64).Load()
}

func (n *node) answer(f func(w http.ResponseWriter, r *http.Request) bool) { n.before.Store(&f) }

func (n *node) pass() { n.before.Store(nil); n.after.Store(nil) }

// open generation 1, through the proxy.
func (n *node) open(g guard.Options) (*elastic.Backend, *elastic.Store) {
	n.t.Helper()
	b := openAt(n.t, n.address, elastic.Options{Namespace: n.namespace, Guard: g})
	return b, n.generation(b)
}

func (n *node) generation(b *elastic.Backend) *elastic.Store {
	n.t.Helper()
	sink, err := b.Open(n.t.Context(), 1)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { sink.Close() })
	return sink.(*elastic.Store)
}

// do asks the node itself, as another program would.
func (n *node) do(method, path, body string) string {
	n.t.Helper()
	r, err := http.NewRequest(method, n.direct+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode > 299 {
		n.t.Fatalf("%s %s: %d %s %v", method, path, answer.StatusCode, text, err)
	}
	return string(text)
}

// orders is another program's name of generation 1.
func (n *node) orders() string { return "/" + string(n.namespace) + "-docket-orders-1" }

// index is its own name.
func (n *node) index() string {
	n.t.Helper()
	name := strings.SplitN(n.do("GET", n.orders()+"/_alias", ""), `"`, 3)[1]
	return "/" + name
}

// written are documents that were applied.
func written(t *testing.T, s *elastic.Store, seed uint64, count int) projections.Batch {
	t.Helper()
	var batch projections.Batch
	for _, doc := range projectionstest.Documents(seed, count) {
		doc.Revision = 5
		batch.Changes = append(batch.Changes, projectionstest.ChangeTo(doc, 0))
	}
	want(t, s, batch, projections.Applied)
	return batch
}

// want that every change of a batch has this result.
func want(t *testing.T, s *elastic.Store, batch projections.Batch, result projections.Result) {
	t.Helper()
	outcomes, err := s.Write(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if o.Result != result {
			t.Fatalf("change %d: %+v, want %v", i, o, result)
		}
	}
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if holds() {
			return
		}
		if t.Context().Err() != nil {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func newest(limit int) query.Question {
	return query.Question{Sort: query.Sort{By: query.ByPlacedAt, Desc: true}, Limit: limit}
}

// brief is a guard that gives up soon.
var brief = guard.Options{Timeout: 500 * time.Millisecond, Attempts: 1, Failures: 1000}
