package embedded_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/reconcile"
)

// away is a docket whose log is behind a server that can be stopped.
type away struct {
	*docket
	server *esdbservertest.Server
	log    *sqlite.Store // behind the server
}

func openAway(t *testing.T) *away {
	t.Helper()
	root := fastDir(t)
	log, server := serveLog(t, filepath.Join(root, "log"))
	store, err := esdb.Open(t.Context(), esdbservertest.Insecure(server.Address), esdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := openWith(t, filepath.Join(root, "views"), embedded.Options{Remote: &embedded.Remote{Store: store, Snapshots: store.Snapshots("")}})
	if err != nil {
		t.Fatal(err)
	}
	a.awaitReady()
	return &away{docket: a, server: server, log: log}
}

// serveLog serves the log of a folder until the test ends.
func serveLog(t *testing.T, dir string) (*sqlite.Store, *esdbservertest.Server) {
	t.Helper()
	log, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log, esdbservertest.Run(t, esdbserver.Options{Store: log})
}

// TestStoreGoesAwayAndComesBack stops the server of the log under load, several
// times. While it is away, views are read, and everything else is refused in
// words that say when to come again; afterwards all goes on by itself, and every
// acknowledged command is there once.
func TestStoreGoesAwayAndComesBack(t *testing.T) {
	a := openAway(t)
	a.want("an order that is there", a.place("seen"), 201, "")
	token := a.want("a note", a.note("seen", "read me"), 200, "").header.Get("Consistency-Token")
	a.want("it, in the views", a.get("/v1/orders/seen", "Consistency-Token: "+token, "Prefer: wait=10"), 200, "read me")

	load := a.placeAndNote(6)
	for round := range 2 {
		load.awaitMore(30)
		rebuilt, compared := make(chan error, 1), make(chan reconcile.Verdict, 1)
		go func() { rebuilt <- a.Manager.Rebuild(context.Background(), nil) }()
		go func() {
			// Why a run could not tell is its own affair.
			run, _ := a.Reconciler.Run(context.Background(), reconcile.NewID(), reconcile.Request{}, nil)
			compared <- run.Verdict
		}()
		a.await("the rebuild is under way", func() bool {
			status, err := a.Manager.Status(t.Context())
			return err == nil && (status.Rebuild != nil || len(rebuilt) > 0)
		})
		a.server.Stop()
		a.await("what is missing is known", func() bool { return !a.ready().Commands })
		a.wantAway()
		if round == 1 {
			// Away for so long that a command gives up: nothing it says is wrong.
			load.awaitRefused()
		}
		a.server.Start()
		a.await("commands are taken again", func() bool { r := a.ready(); return r.Commands && len(r.Impaired) == 0 })
		a.want("the past", a.get("/v1/orders/seen/events"), 200, "OrderNoteAdded")
		if err := <-rebuilt; err != nil {
			t.Logf("the rebuild that was under way ended: %v", err)
		}
		if verdict := <-compared; verdict == reconcile.Drift {
			t.Errorf("a reconciliation that was under way found drift")
		}
		if metrics := a.get("/metrics").body; !strings.Contains(metrics, "docket_event_store_reachable 1") {
			t.Error("metrics do not say that the store answers")
		}
	}
	load.awaitMore(30)
	acked := load.stop()

	if err := a.Manager.CaughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := map[string]int{} // by text of the note, or id of the order
	for r, err := range a.log.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{"order-"}}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch r.Type {
		case "OrderPlaced":
			found[strings.TrimPrefix(r.Stream, "order-")]++
		case "OrderNoteAdded":
			var note struct{ Text string }
			if err := json.Unmarshal(r.Data, &note); err != nil {
				t.Fatal(err)
			}
			found[note.Text]++
		}
	}
	for _, what := range acked {
		if found[what] != 1 {
			t.Errorf("%s was acknowledged and is %d times in the log", what, found[what])
		}
	}
	for what, n := range found {
		if n != 1 {
			t.Errorf("%s is %d times in the log", what, n)
		}
	}
	if status, err := a.Manager.Status(t.Context()); err != nil || status.Generations[0].Parked != 0 {
		t.Errorf("parked: %+v, %v", status, err)
	}
	a.wantRefusalsRecorded()
	if err := a.Manager.Rebuild(t.Context(), nil); err != nil {
		t.Errorf("rebuild: %v", err)
	}
	a.reconciled(reconcile.Clean, reconcile.Request{})
	t.Logf("%d commands acknowledged, %d attempts refused", len(acked), load.refused.Load())
}

// wantAway checks what is answered while the store is away.
func (a *away) wantAway() {
	a.t.Helper()
	r := a.ready()
	if !r.Ready || r.Commands || !r.Reads || len(r.Impaired) < 2 || strings.Contains(strings.Join(r.Impaired, ""), "\n") {
		a.t.Errorf("ready: %+v", r)
	}
	view := a.want("an order, from the views", a.get("/v1/orders/seen"), 200, "read me")
	if lag := view.header.Get("Read-Lag-Ms"); lag != "" {
		a.t.Errorf("the lag is told as %s, and nobody knows it", lag)
	}
	a.want("a list, from the views", a.get("/v1/orders?q=read"), 200, `"total":1`)
	a.want("sums, from the views", a.get("/v1/stats"), 200, "")
	for what, path := range map[string]string{
		"the past": "/v1/orders/seen?atRevision=0", "events": "/v1/orders/seen/events", "an order that no view has": "/v1/orders/nobody", "the projections": "/v1/projections",
	} {
		got := a.want(what, a.get(path), 503, `"event-store-unavailable"`)
		if got.header.Get("Retry-After") == "" {
			a.t.Errorf("%s: no Retry-After: %v", what, got.header)
		}
	}
	metrics := a.get("/metrics").body
	if !strings.Contains(metrics, "docket_event_store_reachable 0") || !strings.Contains(metrics, "docket_projection_parked{") || strings.Contains(metrics, "docket_projection_lag_seconds{") {
		a.t.Error("metrics do not say that the store does not answer")
	}
}

// wantRefusalsRecorded: a recorder that failed while the store was away tries
// again.
func (a *away) wantRefusalsRecorded() {
	a.t.Helper()
	a.await("a refusal is recorded", func() bool {
		a.want("a refused command", a.do("POST", "/v1/orders/seen/payments/none/capture", `{}`), 404, "unknown")
		for _, err := range a.log.ReadStream(context.Background(), "refusal-seen", 0, eventstore.Forwards, 1) {
			return err == nil
		}
		return false
	})
}

// load places orders and adds notes until it is stopped; every command is sent
// again with its key until it has an answer that stands.
type load struct {
	a       *away
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
	count   atomic.Int64
	refused atomic.Int64

	mu    sync.Mutex
	acked []string
}

func (a *away) placeAndNote(callers int) *load {
	l := &load{a: a}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for c := range callers {
		l.work.Go(func() {
			for n := 0; l.ctx.Err() == nil; n++ {
				id := fmt.Sprintf("order-%d-%d", c, n)
				if !l.send(id, func() answer { return a.place(id, "Idempotency-Key: "+id) }) {
					return
				}
				for k := range 3 {
					text := fmt.Sprintf("%s-note-%d", id, k)
					if !l.send(text, func() answer { return a.note(id, text, "Idempotency-Key: "+text) }) {
						return
					}
				}
			}
		})
	}
	return l
}

// send reports whether the command was acknowledged before the end.
func (l *load) send(what string, command func() answer) bool {
	for {
		got := command()
		switch {
		case got.status == 200 || got.status == 201:
			l.mu.Lock()
			l.acked = append(l.acked, what)
			l.mu.Unlock()
			l.count.Add(1)
			return true
		case got.status != 503 || got.header.Get("Retry-After") == "":
			l.a.t.Errorf("%s: %d %s", what, got.status, got.body)
			return false
		}
		l.refused.Add(1)
		select {
		case <-time.After(10 * time.Millisecond):
		case <-l.ctx.Done():
			return false
		}
	}
}

func (l *load) awaitMore(n int64) {
	l.a.t.Helper()
	until := l.count.Load() + n
	l.a.await("commands are acknowledged", func() bool { return l.count.Load() >= until })
}

func (l *load) awaitRefused() {
	l.a.t.Helper()
	before := l.refused.Load()
	l.a.await("a command is told that the store is away", func() bool { return l.refused.Load() > before })
}

func (l *load) stop() []string {
	l.cancel()
	l.work.Wait()
	return slices.Clone(l.acked)
}

// TestLogElsewhereCameBackShorter: a server that was restored from a backup is
// noticed, and another epoch cures it.
func TestLogElsewhereCameBackShorter(t *testing.T) {
	root := fastDir(t)
	folder, backup, views := filepath.Join(root, "log"), filepath.Join(root, "backup"), filepath.Join(root, "views")
	log, server := serveLog(t, folder)
	open := func() (*docket, error) {
		store, err := esdb.Open(t.Context(), esdbservertest.Insecure(server.Address), esdb.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return openWith(t, views, embedded.Options{Remote: &embedded.Remote{Store: store, Snapshots: store.Snapshots("")}})
	}
	var lost string
	for _, id := range []string{"kept", "lost"} {
		a, err := open()
		if err != nil {
			t.Fatal(err)
		}
		a.awaitReady()
		lost = a.want("an order", a.place(id), 201, "").header.Get("Consistency-Token")
		if err := a.Manager.CaughtUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.mustClose()
		if id == "kept" {
			if _, err := sqlite.Backup(t.Context(), folder, backup, sqlite.CopyOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	server.Stop()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"head", "events.db-wal", "events.db-shm"} { // a restore by hand, of which docket hears nothing
		if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := replace(filepath.Join(backup, "events.db"), filepath.Join(folder, "events.db")); err != nil {
		t.Fatal(err)
	}
	_, server = serveLog(t, folder)
	if _, err := open(); !errors.Is(err, embedded.ErrShorter) || !strings.Contains(err.Error(), "raise-epoch") {
		t.Fatalf("a log that lost its end was opened: %v", err)
	}
	store, err := esdb.Open(t.Context(), esdbservertest.Insecure(server.Address), esdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	raised, err := store.RaiseEpoch(t.Context(), "a test")
	if err := errors.Join(err, store.Close()); err != nil || raised.Epoch != 2 {
		t.Fatalf("%+v, %v", raised, err)
	}
	a, err := open()
	if err != nil {
		t.Fatal(err)
	}
	a.awaitReady()
	a.want("a token of before", a.get("/v1/orders", "Consistency-Token: "+lost), 409, `"token-foreign"`)
	a.wantHealthy([]string{"kept"}, []string{"lost"})
	a.mustClose()
}
