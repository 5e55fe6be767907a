package systemtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/embedded"
)

const (
	smallTogether = 8 // histories at once on one docket
	smallClients  = 4
)

// TestSmallHistoriesAreLinearizable is TestHistoriesAreLinearizable with a whole
// docket inside this process: many small histories of orders, with retries,
// lost answers, If-Match, and reads with a token, and kills in between.
func TestSmallHistoriesAreLinearizable(t *testing.T) {
	histories, seed := setting(t, "DOCKET_STORE_HISTORIES", 500)/10, seed(t)
	t.Logf("%d histories, DOCKET_SEED=%d", histories, seed)
	began, dir := time.Now(), memory(t)
	var all struct {
		sync.Mutex
		tally
		histories int
	}
	var working sync.WaitGroup
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for n := next.Add(1) - 1; n*smallTogether < histories && !t.Failed(); n = next.Add(1) - 1 {
				size := int(min(smallTogether, histories-n*smallTogether))
				w := newSmallWorld(t, filepath.Join(dir, fmt.Sprint(n)), rand.New(rand.NewPCG(seed, uint64(n))), size)
				w.make(t.Context())
				all.Lock()
				for k, h := range w.histories {
					h.check(fmt.Sprintf("small-%d-%d-%d", seed, n, k))
					all.add(h.tally)
				}
				all.tally.kills += len(w.kills)
				all.histories += size
				if all.histories%1000 < size {
					t.Logf("%d histories after %v: %v", all.histories, time.Since(began).Round(time.Second), all.tally)
				}
				all.Unlock()
			}
		})
	}
	working.Wait()
	took := time.Since(began)
	t.Logf("%d histories: %v, in %v (%v each)", all.histories, all.tally, took.Round(time.Millisecond), (took / time.Duration(max(all.histories, 1))).Round(time.Microsecond))
	if t.Failed() {
		t.Logf("repeat the choices, not the timing, with DOCKET_SEED=%d", seed)
	}
}

// smallWorld is a docket on which some histories are made at once.
type smallWorld struct {
	*world[*small]
	rng       *rand.Rand
	histories []*history
	size      int // operations of all
}

// small is a whole docket in this process.
type small struct {
	*embedded.Docket
	handler http.Handler
	end     context.CancelFunc // of what goes on after its request
}

const smallKey = "of a small docket"

func newSmallWorld(t *testing.T, dir string, rng *rand.Rand, size int) *smallWorld {
	w := &smallWorld{rng: rng, world: &world[*small]{t: t, dir: dir, up: make(chan struct{}), open: openSmall, close: (*small).close}}
	for n := range size {
		operations := 40 + rng.IntN(21)
		w.size += operations
		h := newHistory(t, w, rand.New(rand.NewPCG(rng.Uint64(), uint64(n))), fmt.Sprintf("order-%d-", n), 1+rng.IntN(2), operations)
		w.histories = append(w.histories, h)
	}
	started := make(chan struct{}, w.size)
	for _, h := range w.histories {
		h.started = started
	}
	return w
}

func openSmall(ctx context.Context, dir, v string, d disk.FS) (*small, error) {
	docket, err := embedded.Open(ctx, dir, embedded.Options{Logger: silent, VFS: v, Disk: d})
	if err != nil {
		return nil, err
	}
	lifetime, end := context.WithCancel(context.WithoutCancel(ctx))
	return &small{docket, httpapi.New(httpapi.Options{
		Orders: docket.Orders, Query: docket.Queries, Projections: docket.Views, Store: docket.Store, Log: docket.Log,
		Audit: docket.Auditor, Refusals: docket.Refusals, Reconcile: docket.Reconciler,
		RunKey: smallKey, Lifetime: lifetime, Logger: silent,
	}), end}, nil
}

func (s *small) close() error {
	s.end()
	return s.Docket.Close()
}

// make lets all clients work, kills docket once or twice meanwhile, and looks at
// every order when all have ended.
func (w *smallWorld) make(ctx context.Context) {
	if err := w.start(ctx); err != nil {
		w.t.Error(err)
		return
	}
	var working sync.WaitGroup
	for _, h := range w.histories {
		for n := range smallClients {
			c := h.client(n)
			working.Go(func() { c.work(ctx) })
		}
	}
	begun, kills := 0, 1+w.rng.IntN(2)
	for n := range kills {
		for until := (w.size*n + w.rng.IntN(w.size)) / kills; begun < until; begun++ {
			<-w.histories[0].started
		}
		err := w.kill()
		if err == nil {
			err = w.start(ctx)
		}
		if err != nil {
			w.t.Error(err)
			return
		}
	}
	working.Wait()
	for _, h := range w.histories {
		h.finish(ctx)
	}
	if err := w.stop(); err != nil {
		w.t.Error(err)
	}
}

// server waits until a docket runs; all of them have one address.
func (w *smallWorld) server(ctx context.Context) *server {
	if w.current(ctx) == nil {
		return nil
	}
	return &server{base: "http://127.0.0.1", key: smallKey}
}

func (w *smallWorld) route() http.RoundTripper { return w }

// RoundTrip asks the docket that runs now. An answer that it gives after it was
// killed arrives nowhere.
func (w *smallWorld) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	i := w.running
	w.mu.Unlock()
	if i == nil {
		return nil, fmt.Errorf("nobody listens: %w", syscall.ECONNREFUSED)
	}
	asked := r.Clone(r.Context())
	asked.RequestURI, asked.Host, asked.RemoteAddr = r.URL.RequestURI(), r.URL.Host, "127.0.0.1:1"
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	answer, answered := httptest.NewRecorder(), make(chan struct{})
	go func() {
		defer close(answered)
		i.is.handler.ServeHTTP(answer, asked)
	}()
	select {
	case <-answered:
	case <-i.gate.dead:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if i.gate.shut.Load() {
		return nil, errors.New("the connection broke off")
	}
	return answer.Result(), nil
}
