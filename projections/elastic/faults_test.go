package elastic_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/query"
)

// TestUnavailable: whatever keeps the cluster from answering is
// projections.ErrUnavailable, and nothing else is; afterwards everything is as
// before.
func TestUnavailable(t *testing.T) {
	n := startNode(t)
	_, patient := n.open(guard.Options{})
	batch := written(t, patient, 1, 3)
	impatient := openAt(t, n.address, elastic.Options{Namespace: n.namespace, Guard: brief})
	var s *elastic.Store
	until(t, "it opens", func() bool {
		sink, err := impatient.Open(t.Context(), 1)
		if err == nil {
			s = sink.(*elastic.Store)
		}
		return err == nil
	})
	defer s.Close()
	id := batch.Changes[0].Order.ID
	refuse := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			io.WriteString(w, body)
			return true
		}
	}
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"stalled":   func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
		"reset":     func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
		"busy":      refuse(429, `{"error":{"type":"es_rejected_execution_exception","reason":"queue is full"},"status":429}`),
		"no master": refuse(503, `{"error":{"type":"master_not_discovered_exception"},"status":503}`),
		"a gateway": refuse(502, `<html>Bad Gateway</html>`),
		"no key":    refuse(401, `{"error":{"type":"security_exception"},"status":401}`),
		"forbidden": refuse(403, `{"error":{"type":"security_exception"},"status":403}`),
		"broken off": func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", "1000")
			return refuse(200, `{"took":`)(w, r)
		},
	} {
		n.answer(fault)
		for call, f := range map[string]func() error{
			"write":       func() error { _, err := s.Write(t.Context(), batch); return err },
			"documents":   func() error { _, err := s.Documents(t.Context(), []string{id}); return err },
			"orders":      func() error { _, err := s.Orders(t.Context(), newest(5)); return err },
			"checkpoints": func() error { _, err := s.Checkpoints(t.Context()); return err },
			"refresh":     func() error { return s.Refresh(t.Context()) },
			"replace":     func() error { return s.Replace(t.Context(), id, nil) },
		} {
			err := f()
			if !errors.Is(err, projections.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, projections.ErrLost) {
				t.Errorf("%s, %s: %v", name, call, err)
			}
		}
	}
	// The caller's own end is the caller's.
	stalled := func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
	n.answer(stalled)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Orders(ctx, newest(5)); !errors.Is(err, context.Canceled) || errors.Is(err, projections.ErrUnavailable) {
		t.Errorf("cancelled: %v", err)
	}
	n.pass()
	want(t, patient, batch, projections.Already)

	// One that is not there at all.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	b := openAt(t, "elasticsearch://"+l.Addr().String(), elastic.Options{Guard: guard.Options{Attempts: 1, Failures: 2}})
	for range 5 { // the breaker opens on the way
		if _, err := b.Open(t.Context(), 1); !errors.Is(err, projections.ErrUnavailable) {
			t.Errorf("nobody listens: %v", err)
		}
	}
	if state := b.Guard().State(); state.Name != "elasticsearch" || state.Rejected == 0 {
		t.Errorf("guard: %+v", state)
	}
}

// itemsAnswer changes the first items of answers to bulk requests.
func itemsAnswer(times int64, status int, kind string) func(*http.Request, []byte) []byte {
	var done atomic.Int64
	return func(r *http.Request, answer []byte) []byte {
		if !strings.HasSuffix(r.URL.Path, "/_bulk") || done.Add(1) > times {
			return answer
		}
		var all map[string]any
		if err := json.Unmarshal(answer, &all); err != nil {
			panic(err)
		}
		all["errors"] = true
		all["items"].([]any)[0] = map[string]any{"create": map[string]any{
			"status": status, "error": map[string]any{"type": kind, "reason": "injected"},
		}}
		changed, err := json.Marshal(all)
		if err != nil {
			panic(err)
		}
		return changed
	}
}

// TestBusyItems: an item that the cluster was too busy for is written again.
func TestBusyItems(t *testing.T) {
	n := startNode(t)
	_, s := n.open(guard.Options{})
	busy := itemsAnswer(3, 429, "es_rejected_execution_exception")
	n.after.Store(&busy)
	var batch projections.Batch
	for _, doc := range projectionstest.Documents(2, 4) {
		batch.Changes = append(batch.Changes, projectionstest.ChangeTo(doc, 0))
	}
	before := n.count("_bulk")
	outcomes, err := s.Write(t.Context(), batch)
	if err != nil || len(outcomes) != 4 || slices.ContainsFunc(outcomes, func(o projections.Outcome) bool { return o.Result > projections.Already }) {
		t.Fatalf("%+v, %v", outcomes, err)
	}
	if asked := n.count("_bulk") - before; asked < 4 {
		t.Errorf("%d bulk requests for 3 busy answers", asked)
	}
	// Always busy is an outage, and parks nothing.
	always := itemsAnswer(1<<40, 429, "es_rejected_execution_exception")
	n.after.Store(&always)
	for i := range batch.Changes {
		batch.Changes[i].Order.Revision += 10
	}
	if outcomes, err := s.Write(t.Context(), batch); !errors.Is(err, projections.ErrUnavailable) {
		t.Errorf("%+v, %v", outcomes, err)
	}
	// So is a failure of an item that is not the document's.
	broken := itemsAnswer(1<<40, 503, "unavailable_shards_exception")
	n.after.Store(&broken)
	for i := range batch.Changes {
		batch.Changes[i].Order.Revision += 10
	}
	if outcomes, err := s.Write(t.Context(), batch); !errors.Is(err, projections.ErrUnavailable) {
		t.Errorf("%+v, %v", outcomes, err)
	}
}

// TestRefusedByTheMapping: what the mapping does not take is that document's
// fault alone.
func TestRefusedByTheMapping(t *testing.T) {
	n := startNode(t)
	_, s := n.open(guard.Options{})
	docs := projectionstest.Documents(3, 3)
	docs[1].ID = "refused-one"
	var batch projections.Batch
	for _, doc := range docs {
		batch.Changes = append(batch.Changes, projectionstest.ChangeTo(doc, 0))
	}
	cp, err := s.Claim(t.Context(), 4, "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	before := cp
	cp.Position = eventstore.At64(9)
	batch.Checkpoints = []projections.Checkpoint{cp}
	n.answer(func(w http.ResponseWriter, r *http.Request) bool {
		body, _ := io.ReadAll(r.Body)
		body = bytes.ReplaceAll(body, []byte(`{"id":"refused-one",`), []byte(`{"unknown":1,"id":"refused-one",`))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return false
	})
	outcomes, err := s.Write(t.Context(), batch)
	if err != nil || outcomes[0].Result != projections.Applied || outcomes[1].Result != projections.Refused || outcomes[1].Err == nil || outcomes[2].Result != projections.Applied {
		t.Fatalf("%+v, %v", outcomes, err)
	}
	if lanes, err := s.Checkpoints(t.Context()); err != nil || lanes[4] != before {
		t.Errorf("lane %+v, %v", lanes[4], err)
	}
	if err := s.Replace(t.Context(), "refused-one", &batch.Changes[1]); !errors.Is(err, projections.ErrRefused) {
		t.Errorf("replace: %v", err)
	}
	n.pass()
	outcomes, err = s.Write(t.Context(), batch)
	if err != nil || outcomes[1].Result != projections.Applied {
		t.Fatalf("%+v, %v", outcomes, err)
	}

	// An id that Elasticsearch has no room for spoils nobody else's request.
	long := docs[0]
	long.ID = strings.Repeat("x", 600)
	outcomes, err = s.Write(t.Context(), projections.Batch{Changes: []projections.Change{projectionstest.ChangeTo(long, 0), batch.Changes[0]}})
	if err != nil || outcomes[0].Result != projections.Refused || outcomes[1].Result != projections.Already {
		t.Errorf("%+v, %v", outcomes, err)
	}
	if found, err := s.Documents(t.Context(), []string{long.ID, docs[0].ID}); err != nil || len(found) != 1 {
		t.Errorf("%d documents, %v", len(found), err)
	}
}

// TestTooLargeForTheServer: a bulk request that is too large is sent in halves.
func TestTooLargeForTheServer(t *testing.T) {
	n := startNode(t)
	_, s := n.open(guard.Options{})
	n.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.ContentLength < 20_000 {
			return false
		}
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return true
	})
	written(t, s, 4, 40)
	large := projectionstest.Documents(4, 41)[40]
	large.City = strings.Repeat("x", 20_000)
	outcomes, err := s.Write(t.Context(), projections.Batch{Changes: []projections.Change{projectionstest.ChangeTo(large, 0)}})
	if err != nil || outcomes[0].Result != projections.Refused {
		t.Errorf("%+v, %v", outcomes, err)
	}
}

// TestRefreshIsShared: many who wait for what was just written cause few
// refreshes, and each sees what it waits for.
func TestRefreshIsShared(t *testing.T) {
	n := startNode(t)
	b := openAt(t, n.address, elastic.Options{Namespace: n.namespace, Refresh: time.Hour})
	s := n.generation(b)
	doc := projectionstest.Documents(5, 1)[0]
	release := make(chan struct{})
	n.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/_refresh") {
			<-release
		}
		return false
	})
	var waiting sync.WaitGroup
	first := make(chan error, 1)
	go func() { first <- s.Refresh(t.Context()) }()
	until(t, "a refresh runs", func() bool { return n.count("_refresh") > 0 })
	// It began before the write: nobody below may be content with it.
	want(t, s, projections.Batch{Changes: []projections.Change{projectionstest.ChangeTo(doc, 0)}}, projections.Applied)
	const waiters = 50
	asked := n.done("_pit")
	for range waiters {
		waiting.Go(func() {
			q := newest(1)
			q.Holding = &query.Holding{OrderID: doc.ID, Revision: doc.Revision}
			page, err := s.Orders(t.Context(), q)
			if err != nil || page.Total != 1 || page.Items[0].Revision != doc.Revision {
				t.Errorf("%d orders, %v", page.Total, err)
			}
		})
	}
	until(t, "each opened and closed a point in time, and waits", func() bool { return n.done("_pit")-asked >= 2*waiters })
	close(release)
	waiting.Wait()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if refreshes := n.count("_refresh"); refreshes > 4 {
		t.Errorf("%d refreshes for %d who waited", refreshes, waiters)
	}
	q := newest(1)
	q.Holding = &query.Holding{OrderID: doc.ID, Revision: doc.Revision + 1}
	if _, err := s.Orders(t.Context(), q); !errors.Is(err, query.ErrBehind) {
		t.Errorf("of a revision that is not there: %v", err)
	}
}
