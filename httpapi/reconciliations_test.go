package httpapi

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/reconcile"
)

// spoil changes the title of an order's first line in the live view, past docket.
func (r *rig) spoil(id, title string) {
	r.t.Helper()
	r.caughtUp()
	sink, _ := r.manager.Live()
	doc, found, err := sink.(query.Views).Order(r.t.Context(), id)
	if err != nil || !found {
		r.t.Fatal(err, found)
	}
	doc.Lines[0].Title = title
	if err := sink.Replace(r.t.Context(), id, &projections.Change{
		Order: doc, Contribution: projections.Contributions(doc), Words: projections.OrderWords(doc),
	}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) reconciled(body string) reconcile.Report {
	r.t.Helper()
	a := r.post("/v1/reconciliations", body, "Prefer: wait=60").is(202).has("Preference-Applied", "wait")
	report := decoded[reconcile.Report](a)
	a.has("Location", "/v1/reconciliations/"+report.ID)
	if again := r.get(a.header.Get("Location")).is(200); string(again.body) != string(a.body) {
		r.t.Errorf("told\n%s, then\n%s", a.body, again.body)
	}
	return report
}

func TestReconciliations(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if none := decoded[ReconciliationsAnswer](r.get("/v1/reconciliations").is(200)); none.Items == nil || len(none.Items) != 0 {
		t.Errorf("%+v", none)
	}
	r.placed("o-1")
	r.placed("o-2")
	clean := r.reconciled(`{}`)
	if clean.State != "ended" || clean.Verdict != reconcile.Clean || clean.Compared.Streams != 2 || !clean.Compared.Complete || clean.Actor != "local" {
		t.Errorf("clean: %+v", clean)
	}
	r.spoil("o-1", "Blue mug")
	drift := r.reconciled(`{}`)
	if drift.Verdict != reconcile.Drift || drift.Counts[reconcile.Content] != 1 || drift.Repaired != 0 || len(drift.Findings) != 1 || drift.Findings[0].ID != "o-1" {
		t.Errorf("drift: %+v", drift)
	}
	// One order alone says nothing of the others.
	if other := r.reconciled(`{"orderId":"o-2"}`); other.Verdict != reconcile.Clean || other.OrderID != "o-2" {
		t.Errorf("o-2: %+v", other)
	}
	metrics := string(r.get("/metrics").is(200).body)
	for _, want := range []string{
		`docket_reconcile_verdict{verdict="drift"} 1`, `docket_reconcile_verdict{verdict="clean"} 0`,
		`docket_reconcile_findings{class="content"} 1`, `docket_reconcile_findings{class="orphan"} 0`,
		"docket_reconcile_repaired 0", "docket_reconcile_ended_timestamp_seconds ",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
	repaired := r.reconciled(`{"repair":true,"maxRepairs":5}`)
	if repaired.Verdict != reconcile.Drift || repaired.Repaired != 1 || repaired.Findings[0].Outcome != "repaired" || *repaired.MaxRepairs != 5 {
		t.Errorf("repaired: %+v", repaired)
	}
	if doc := decoded[OrderAnswer](r.get("/v1/orders/o-1").is(200)); doc.Lines[0].Title != "Red mug" {
		t.Errorf("after the repair %+v", doc.Lines)
	}
	if again := r.reconciled(`{}`); again.Verdict != reconcile.Clean {
		t.Errorf("after the repair: %+v", again)
	}

	list := decoded[ReconciliationsAnswer](r.get("/v1/reconciliations").is(200)).Items
	if len(list) != 5 || list[4].ID != clean.ID || list[3].ID != drift.ID || len(list[3].Findings) != 0 || list[3].Counts[reconcile.Content] != 1 {
		t.Errorf("%+v", list)
	}
	if newest := decoded[ReconciliationsAnswer](r.get("/v1/reconciliations?limit=1").is(200)).Items; len(newest) != 1 || newest[0].ID != list[0].ID {
		t.Errorf("the newest is %+v", newest)
	}
}

func TestReconciliationsThatCannotBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for body, want := range map[string]struct {
		status  int
		code    string
		pointer string
	}{
		`{"repair":"yes"}`:                    {400, "invalid-body", "/repair"},
		`{"maxRepairs":-1}`:                   {400, "invalid-body", "/maxRepairs"},
		`{"maxRepairs":1.5}`:                  {400, "invalid-body", "/maxRepairs"},
		`{"maxRepairs":99999999999999999999}`: {400, "invalid-body", "/maxRepairs"},
		`{"actor":"somebody else"}`:           {400, "invalid-body", "/actor"},
		`{"maxRepairs":5}`:                    {400, "invalid-body", "/maxRepairs"},
		`{"maxRepairs":5,"repair":false}`:     {400, "invalid-body", "/maxRepairs"},
		`{"orderId":"no/id"}`:                 {422, "id-invalid", "/orderId"},
		`{"orderId":"","repair":true}`:        {422, "id-invalid", "/orderId"},
		`[]`:                                  {400, "invalid-body", ""},
		`{`:                                   {400, "invalid-body", ""},
	} {
		p := r.post("/v1/reconciliations", body).problem(want.status, want.code)
		if len(p.Errors) != 1 || want.pointer != "" && *p.Errors[0].Pointer != want.pointer {
			t.Errorf("%s: %+v", body, p)
		}
	}
	r.post("/v1/reconciliations", `{}`, "Content-Type: text/plain").problem(415, "unsupported-media-type")
	r.post("/v1/reconciliations", `{}`, "Prefer: wait=soon").problem(400, "invalid-header")
	r.post("/v1/reconciliations?dryRun=true", `{}`).problem(400, "invalid-parameter")
	for _, id := range []string{"x", "0", "01a1fd0a-70af-7781-98c6-4c8760c25c3e", "01A1FD0A-70AF-7781-98C6-4C8760C25C3E", "%00", strings.Repeat("a", 500)} {
		r.get("/v1/reconciliations/"+id).problem(404, "unknown-reconciliation")
	}
	for _, bad := range []string{"limit=0", "limit=101", "limit=all", "since=now"} {
		r.get("/v1/reconciliations?"+bad).problem(400, "invalid-parameter")
	}
	if none := decoded[ReconciliationsAnswer](r.get("/v1/reconciliations").is(200)); len(none.Items) != 0 {
		t.Errorf("a refused request made a run: %+v", none)
	}
}

// slow is a projection that is not caught up before the test wants it.
type slow struct {
	reconcile.Projection
	release chan struct{}
}

func (s *slow) CaughtUp(ctx context.Context) error {
	select {
	case <-s.release:
		return s.Projection.CaughtUp(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestOneReconciliationAtATime(t *testing.T) {
	t.Parallel()
	held := &slow{release: make(chan struct{})}
	r := newRig(t, func(o *Options) {
		held.Projection = o.Projections.Managers()[0]
		o.Reconcile = reconcile.New(reconcile.Options{Store: o.Store, Stores: []reconcile.Store{{Name: "sqlite", Projection: held}}, SpillDir: t.TempDir()})
	})
	r.placed("o-1")
	a := r.post("/v1/reconciliations", `{}`).is(202).has("Preference-Applied", "")
	first := decoded[reconcile.Report](a)
	if first.State != "running" || first.Progress.Phase != "waiting" || first.Verdict != "" {
		t.Errorf("%s", a.body)
	}
	p := r.post("/v1/reconciliations", `{"repair":true}`).problem(409, "reconciliation-running")
	if p.ReconciliationID != first.ID || !strings.Contains(p.Detail, "/v1/reconciliations/"+first.ID) {
		t.Errorf("problem %+v", p)
	}
	if list := decoded[ReconciliationsAnswer](r.get("/v1/reconciliations").is(200)).Items; len(list) != 1 || list[0].State != "running" {
		t.Errorf("%+v", list)
	}
	close(held.release)
	deadline := time.After(20 * time.Second)
	for {
		report := decoded[reconcile.Report](r.get("/v1/reconciliations/" + first.ID).is(200))
		if report.State == "ended" {
			if report.Verdict != reconcile.Clean {
				t.Errorf("%+v", report)
			}
			break
		}
		select {
		case <-deadline:
			t.Fatalf("%+v", report)
		case <-time.After(5 * time.Millisecond):
		}
	}
	if next := r.reconciled(`{}`); next.Verdict != reconcile.Clean {
		t.Errorf("%+v", next)
	}
}

// TestReconciliationsWantAnOperator: who may read orders may not do this.
func TestReconciliationsWantAnOperator(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) {
		o.Keys = Keys{{Name: "reader", SHA256: HashKey("secret"), Scopes: []Scope{ScopeRead, ScopeWrite}}}
	})
	for _, method := range []string{"GET", "POST"} {
		r.send(method, "/v1/reconciliations", `{}`, "Authorization: Bearer secret").problem(403, "forbidden")
		r.send(method, "/v1/reconciliations", `{}`).problem(401, "unauthenticated")
	}
	r.get("/v1/orders/o-1/refusals", "Authorization: Bearer secret").problem(404, "unknown-order")
	r.get("/v1/orders/o-1/refusals").problem(401, "unauthenticated")
}
