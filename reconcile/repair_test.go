package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/docket-orders/docket/projections"
)

// A run of one order changes nothing but that order, and says when figures may
// not be right.
func TestOneOrderIsRepairedAlone(t *testing.T) {
	w := filled(t, 5)
	c := w.other()
	ids := w.ids(3)
	w.tamper(c, `UPDATE customers SET orders = orders + 1`)
	set("status", `"lost"`, "").do(w, c, ids[1])
	kinds := damages()

	kinds["status"].do(w, c, ids[0])
	report := w.run(Request{OrderID: ids[0], Repair: true})
	if only(t, report, Content, ids[0]); report.Repaired != 1 || report.Recounted != 0 || len(report.Reasons) != 0 {
		t.Fatal(text(t, report))
	}
	for _, name := range []string{"grand contributed", "nothing to read", "document deleted", "everything deleted"} {
		kinds[name].do(w, c, ids[0])
		report = w.run(Request{OrderID: ids[0], Repair: true})
		if report.Repaired != 1 || report.Recounted != 0 || report.Verdict != Drift || len(report.Reasons) != 1 || !strings.Contains(report.Reasons[0], "figures were not compared") {
			t.Fatalf("%s: %s", name, text(t, report))
		}
	}
	// The other damage is still there, and its repair is told in rows.
	report = w.run(Request{Repair: true})
	if report.Counts[Content] != 1 || report.Counts[Aggregate] == 0 || report.Repaired != report.found() || report.Recounted == 0 {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}

// Views of another log are not emptied.
func TestForeignViewsAreNotEmptied(t *testing.T) {
	w := filled(t, 20)
	kept := w.run(Request{}).Compared.Documents
	w.reconciler.Namespace = "other"
	report := w.runElsewhere(Request{Repair: true})
	if report.Counts[Orphan] != kept || report.Repaired != 0 || len(report.Reasons) != 1 || !strings.Contains(report.Reasons[0], "another log or namespace") {
		t.Fatal(text(t, report))
	}
	w.reconciler.Namespace = ns
	wantClean(t, w.run(Request{}))
}

// runElsewhere is run, but the run may be in another namespace.
func (w *world) runElsewhere(request Request) Report {
	w.Helper()
	report, err := w.reconciler.Run(w.Context(), NewID(), request, nil)
	if err != nil {
		w.Fatal(err)
	}
	return report
}

// A handful of orphans is removed, however few the orders are.
func TestAFewOrphansAreRemoved(t *testing.T) {
	w := newWorld(t)
	w.place("alone")
	w.caughtUp()
	c := w.other()
	for i := range leastForeign {
		w.tamper(c, `INSERT INTO orders (id, revision, shape, placed, updated, total, number, words) VALUES (?1, 0, 1, 0, 0, 0, 'X', 0)`, fmt.Sprintf("orphan-%d", i))
	}
	if report := w.run(Request{Repair: true}); report.Counts[Orphan] != leastForeign || report.Repaired != report.found() {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}

// What of a repair was done when the process ended is in the run's stream.
func TestAnInterruptedRepairSaysWhatItTouched(t *testing.T) {
	w := filled(t, 150)
	c := w.other()
	ids := w.ids(repairOrders + 20)
	for _, id := range ids {
		set("status", `"lost"`, "").do(w, c, id)
	}
	for left, want := range map[int]struct{ tried, repaired int }{
		2: {},                                  // begun, found
		3: {tried: repairOrders},               // and the first are tried
		4: {repaired: repairOrders},            // and repaired
		5: {repaired: repairOrders, tried: 20}, // and the next are tried
	} {
		for _, id := range ids {
			set("status", `"lost"`, "").do(w, c, id)
		}
		dying := New(w.reconciler.Options)
		dying.Store = &dies{w.store, left}
		id := NewID()
		if _, err := dying.Run(t.Context(), id, Request{Repair: true}, nil); !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		report, err := New(w.reconciler.Options).Report(t.Context(), id)
		if err != nil || report.State != "interrupted" || len(report.Findings) != len(ids) {
			t.Fatalf("%v: %.3000s", err, text(t, report))
		}
		outcomes := map[string]int{}
		for _, f := range report.Findings {
			outcomes[f.Outcome]++
		}
		if outcomes[outcomeTried] != want.tried || outcomes[outcomeRepaired] != want.repaired || report.Repaired != int64(want.repaired) {
			t.Errorf("after %d appends: %v", left, outcomes)
		}
	}
}

// What is found is written down while the run goes on.
func TestFindingsAreWrittenMeanwhile(t *testing.T) {
	w := filled(t, 400)
	w.tamper(w.other(), `UPDATE orders SET total = total + 1`)
	dying := New(w.reconciler.Options)
	dying.Store = &dies{w.store, 2}
	id := NewID()
	if _, err := dying.Run(t.Context(), id, Request{}, nil); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	report, err := dying.Report(t.Context(), id)
	if n := len(report.Findings); err != nil || n == 0 || n >= 700 {
		t.Fatalf("%v: %d findings", err, n)
	}
}

// A trigger that spoils every write is told from a bug of the projection.
func TestASpoiltRepairIsNoBug(t *testing.T) {
	w := filled(t, 5)
	c := w.other()
	w.tamper(c, `CREATE TRIGGER spoils AFTER INSERT ON docs BEGIN
		UPDATE docs SET document = CAST(json_set(document, '$.status', 'lost') AS BLOB) WHERE n = new.n; END`)
	set("status", `"lost"`, "").do(w, c, "special")
	report := w.run(Request{Repair: true})
	if f := only(t, report, Content, "special"); f.Outcome != "failed" || !strings.Contains(f.Error, "trigger") || strings.Contains(f.Error, "Version") {
		t.Fatal(text(t, report))
	}
	w.tamper(c, `DROP TRIGGER spoils`)
	if report = w.run(Request{Repair: true}); report.Repaired != 1 {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}

// miscounts spoils a figure with every recount.
type miscounts struct {
	projections.Sink
	spoil func()
}

func (m miscounts) Recount(ctx context.Context) (int, error) {
	n, err := m.Sink.Recount(ctx)
	m.spoil()
	return n, err
}

// Figures that only the repair made wrong are told apart, and loudly.
func TestARepairThatSpoilsFigures(t *testing.T) {
	w := filled(t, 5)
	c := w.other()
	w.tamper(c, `UPDATE methods SET captured = captured + 5 WHERE day = (SELECT min(day) FROM methods)`)
	w.reconciler.Stores[0].Projection = over{w.manager, miscounts{w.sink(), func() { w.tamper(c, `UPDATE customers SET orders = orders + 1 WHERE customer = 'c1'`) }}}
	report := w.run(Request{Repair: true})
	failed := 0
	for _, f := range report.Findings {
		if f.Entity == "customer" && f.Outcome == "failed" && strings.Contains(f.Error, "right before") {
			failed++
		}
	}
	if report.Verdict != Drift || failed != 1 || len(report.Reasons) != 1 || !strings.Contains(report.Reasons[0], "rebuild orders") {
		t.Fatal(text(t, report))
	}
}
