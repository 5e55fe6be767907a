package transfer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/audit/audittest"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/transfer"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/reconcile"
)

var silent = slog.New(slog.DiscardHandler)

// connect is the protocol's client before a server over a store of its own.
func connect(t testing.TB) *esdb.Store {
	t.Helper()
	address := esdbservertest.Start(t, esdbserver.Options{Store: openSQLite(t, t.TempDir())})
	return dial(t, address)
}

func dial(t testing.TB, address string) *esdb.Store {
	t.Helper()
	store, err := esdb.Open(context.Background(), esdbservertest.Insecure(address), esdb.Options{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// house is a docket, asked through its HTTP API.
type house struct {
	*embedded.Docket
	t      *testing.T
	handle http.Handler
}

const runKey = "of this run"

// moveIn starts a docket over a folder, with its log in it or elsewhere.
func moveIn(t *testing.T, dir string, elsewhere *esdb.Store) *house {
	t.Helper()
	o := embedded.Options{Logger: silent}
	if elsewhere != nil {
		o.Remote = &embedded.Remote{Store: elsewhere, Snapshots: elsewhere.Snapshots("")}
	}
	d, err := embedded.Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return &house{d, t, httpapi.New(httpapi.Options{
		Orders: d.Orders, Query: d.Queries, Projections: d.Views, Store: d.Store, Log: d.Log,
		Audit: d.Auditor, Refusals: d.Refusals, Reconcile: d.Reconciler, RunKey: runKey, Logger: silent,
	})}
}

func (h *house) moveOut() {
	h.t.Helper()
	if err := h.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// ask answers the body without what a move may change: positions and cursors.
func (h *house) ask(path string) string {
	h.t.Helper()
	request := httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	request.Header.Set("Authorization", "Bearer "+runKey)
	answer := httptest.NewRecorder()
	h.handle.ServeHTTP(answer, request)
	var body any
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
		h.t.Fatalf("%s: %d %s", path, answer.Code, answer.Body)
	}
	text, err := json.Marshal(withoutPositions(body))
	if err != nil {
		h.t.Fatal(err)
	}
	return fmt.Sprint(answer.Code, " ", string(text))
}

func withoutPositions(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "position")
		delete(v, "next")
		delete(v, "traceId")
		for k := range v {
			v[k] = withoutPositions(v[k])
		}
	case []any:
		v = slices.DeleteFunc(v, func(field any) bool {
			f, _ := field.(map[string]any)
			return f["path"] == "/position"
		})
		for i := range v {
			v[i] = withoutPositions(v[i])
		}
		return v
	}
	return v
}

// lives fills a house: the excerpt of real invoices, generated lives, and
// commands that are refused.
func (h *house) lives() {
	h.t.Helper()
	ctx, direct := h.t.Context(), importer.Direct{Orders: h.Orders}
	if _, err := importer.Excerpt(ctx, direct, importer.Options{}); err != nil {
		h.t.Fatal(err)
	}
	year := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)
	for life := range importer.Generate(1, 60, year) {
		for _, step := range life.Steps {
			if _, err := direct.Handle(ctx, life.OrderID, step.Command, step.Key); err != nil {
				h.t.Fatal(err)
			}
		}
		refused := order.CompleteRefund{RefundID: "none", At: year}
		if _, err := h.Orders.Handle(ctx, life.OrderID, refused, command.Request{Actor: "ann"}); err == nil {
			h.t.Fatal("a refund that there is not was completed")
		}
	}
}

// questions are everything that is asked of a house: figures, lists, and each
// order's past at instants between its events.
func questions(t *testing.T, log eventstore.Store) (all []string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	all = []string{"/v1/stats", "/v1/stats?top=50", "/v1/stats?from=2011-01-01&to=2011-06-30"}
	for _, sort := range []string{"number", "-placedAt", "updatedAt"} {
		all = append(all, "/v1/orders?limit=1000&facets=status,kind,country,customer,anomaly&sort="+sort)
	}
	all = append(all, "/v1/orders?q=heart&limit=1000", "/v1/orders?currency=GBP&sort=-total&limit=100")
	known := map[string]bool{}
	for rec, err := range log.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{codec.Category + "-"}}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		meta, err := codec.DecodeMeta(rec.Metadata)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := eventstore.Namespace("").ID(codec.Category, rec.Stream)
		path := "/v1/orders/" + url.PathEscape(id)
		at := meta.RecordedAt.Format(time.RFC3339Nano)
		between := meta.RecordedAt.Add(-time.Microsecond).Format(time.RFC3339Nano)
		all = append(all, path+"?asOf="+at, path+"/events?asOf="+between, fmt.Sprintf("%s?atRevision=%d", path, rec.Revision))
		if rng.IntN(4) == 0 {
			all = append(all, path+"/why?asOf="+at, path+"/diff?from=0&to=recorded:"+at, path+"?asOf="+between)
		}
		if !known[id] {
			known[id] = true
			effective := time.Date(2011, time.Month(1+rng.IntN(24)), 5, 0, 0, 0, 0, time.UTC).Format(time.RFC3339)
			all = append(all, path, path+"/events", path+"/why", path+"/actions", path+"/refusals", path+"?effectiveAt="+effective)
		}
	}
	for _, customer := range []string{"17850", "14911", "13047", "12583"} {
		all = append(all, "/v1/customers/"+customer, "/v1/customers/"+customer+"/orders")
	}
	return all
}

// TestMovedHouse moves a docket to an EventStoreDB and back. Every figure, every
// order and every answer about the past is the same there, and again at home;
// the naive answers are given too, and nothing differs from what the log says.
func TestMovedHouse(t *testing.T) {
	dir := t.TempDir()
	here := moveIn(t, filepath.Join(dir, "here"), nil)
	here.lives()
	if err := here.Manager.CaughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := questions(t, here.Store)
	want := map[string]string{}
	for _, path := range asked {
		want[path] = here.ask(path)
	}
	if answered := strings.HasPrefix(want["/v1/stats"], "200 ") && strings.HasPrefix(want[asked[len(asked)-1]], "200 "); !answered || len(asked) < 5000 {
		t.Fatalf("%d questions, of which the first was answered %.200s", len(asked), want["/v1/stats"])
	}
	log := carried(t, here.Store)
	text, _ := exported(t, here.Store, transfer.ExportOptions{})
	here.moveOut()

	address := esdbservertest.Start(t, esdbserver.Options{Store: openSQLite(t, filepath.Join(dir, "far"))})
	far := dial(t, address)
	imported(t, text, far)
	wantSame(t, log, carried(t, far))
	text, _ = exported(t, far, transfer.ExportOptions{})

	there := moveIn(t, filepath.Join(dir, "views"), far)
	there.answersAlike(want)
	there.reconciled()
	there.moveOut()

	home, err := openedFolder(t, filepath.Join(dir, "home"))
	if err != nil {
		t.Fatal(err)
	}
	imported(t, text, home)
	wantSame(t, log, carried(t, home))
	if err := home.Close(); err != nil {
		t.Fatal(err)
	}
	back := moveIn(t, filepath.Join(dir, "home"), nil)
	back.answersAlike(want)
	back.reconciled()
	// It lives on.
	if _, err := back.Orders.Handle(t.Context(), "536365", order.AddNote{Text: "at home", At: time.Now()}, command.Request{Actor: "ann"}); err != nil {
		t.Error(err)
	}
	back.moveOut()
}

func openedFolder(t *testing.T, dir string) (eventstore.Store, error) {
	store, _, err := embedded.OpenLog(t.Context(), dir, embedded.Options{Logger: silent})
	return store, err
}

// answersAlike asks everything again, once the views have caught up, and compares
// random answers about the past with naive ones.
func (h *house) answersAlike(want map[string]string) {
	h.t.Helper()
	ctx := h.t.Context()
	if err := h.Manager.CaughtUp(ctx); err != nil {
		h.t.Fatal(err)
	}
	different := 0
	for path, answer := range want {
		if got := h.ask(path); got != answer {
			if different++; different <= 3 {
				at := 0
				for at < min(len(got), len(answer)) && got[at] == answer[at] {
					at++
				}
				at = max(0, at-100)
				h.t.Errorf("%s was ...%.300s and is ...%.300s", path, answer[min(at, len(answer)):], got[min(at, len(got)):])
			}
		}
	}
	if different > 0 {
		h.t.Errorf("%d of %d answers differ", different, len(want))
	}
	var ids []string
	for i := range 60 {
		ids = append(ids, fmt.Sprintf("demo-1-%05d", i+1))
	}
	now := time.Now()
	queries := query.New(query.Options{Store: h.Store, Log: h.Log, Clock: func() time.Time { return now }})
	ask := audittest.Of(queries, audit.New(audit.Options{Query: queries}))
	checked, differences, err := audittest.Compare(ctx, ask, h.Store, "", ids, 200, now, 1)
	if err != nil || checked < 200 || len(differences) > 0 {
		h.t.Errorf("%d answers about the past, %d differ: %.2000v %v", checked, len(differences), differences, err)
	}
}

func (h *house) reconciled() {
	h.t.Helper()
	report, err := h.Reconciler.Run(h.t.Context(), reconcile.NewID(), reconcile.Request{}, nil)
	if err != nil || report.Verdict != reconcile.Clean {
		h.t.Errorf("%v: %+v", err, report)
	}
}

// TestToAServerAndBack: awkward bytes and names pass the protocol as they are.
func TestToAServerAndBack(t *testing.T) {
	source, far, back := openSQLite(t, t.TempDir()), connect(t), openSQLite(t, t.TempDir())
	fill(t, source, rand.New(rand.NewPCG(5, 5)))
	text, e := exported(t, source, transfer.ExportOptions{})
	imported(t, text, far)
	wantSame(t, carried(t, source), carried(t, far))
	if done := imported(t, text, far); done.There != e.Events || done.Written != 0 {
		t.Errorf("again: %+v", done)
	}
	again, _ := exported(t, far, transfer.ExportOptions{})
	imported(t, again, back)
	wantSame(t, carried(t, source), carried(t, back))

	write(t, far, "order-1", eventstore.Any, event("Foreign", `1`, ``))
	if _, err := opened(t, text).Import(t.Context(), far, transfer.ImportOptions{}); !errors.Is(err, transfer.ErrDifferent) {
		t.Errorf("a target that went on: %v", err)
	}
	if err := far.Close(); err != nil {
		t.Error(err)
	}
}
