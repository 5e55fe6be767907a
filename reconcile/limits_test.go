package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// only wants exactly one finding.
func only(t testing.TB, report Report, class Class, id string) Finding {
	t.Helper()
	if len(report.Findings) != 1 || report.Findings[0].Class != class || report.Findings[0].ID != id {
		t.Fatalf("want %s of %s: %s", class, id, text(t, report))
	}
	return report.Findings[0]
}

func TestTooManyDifferencesAreNotRepaired(t *testing.T) {
	w := filled(t, 20)
	c := w.other()
	ids := w.ids(12)
	for _, id := range ids {
		set("status", `"lost"`, "").do(w, c, id)
	}
	most := 11
	report := w.run(Request{Repair: true, MaxRepairs: &most})
	if report.Verdict != Drift || report.Counts[Content] != 12 || report.Repaired != 0 || len(report.Reasons) != 1 ||
		!strings.Contains(report.Reasons[0], "rebuild orders") || !strings.Contains(report.Reasons[0], "--max-repairs 12") {
		t.Fatal(text(t, report))
	}
	most = 12
	if report = w.run(Request{Repair: true, MaxRepairs: &most}); report.Repaired != 12 || len(report.Reasons) != 0 {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}

// A figure that differs because an order does is not counted beside it.
func TestOneOrderIsOneDifference(t *testing.T) {
	w := filled(t, 20)
	c := w.other()
	id := w.ids(1)[0]
	// As if the projector had never seen the order.
	if err := w.sink().Replace(t.Context(), id, nil); err != nil {
		t.Fatal(err)
	}
	most := 1
	report := w.run(Request{Repair: true, MaxRepairs: &most})
	if report.Counts[Missing] != 1 || report.Counts[Aggregate] < 5 || report.Repaired != report.found() {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
	_ = c
}

func (w *world) sink() projections.Sink {
	sink, _ := w.manager.Live()
	return sink
}

func TestOneOrderOnly(t *testing.T) {
	w := filled(t, 20)
	c := w.other()
	ids := w.ids(3)
	for _, id := range ids[:2] {
		set("status", `"lost"`, "").do(w, c, id)
	}
	report := w.run(Request{OrderID: ids[0], Repair: true})
	f := only(t, report, Content, ids[0])
	if f.Outcome != "repaired" || report.Repaired != 1 || !report.Compared.Complete || report.Compared.Streams != 1 || report.Compared.Figures != 0 {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{OrderID: ids[0]}))
	wantClean(t, w.run(Request{OrderID: ids[2]}))
	only(t, w.run(Request{OrderID: ids[1]}), Content, ids[1])
	only(t, w.run(Request{}), Content, ids[1])

	if report = w.run(Request{OrderID: "nobody"}); report.Verdict != Unknown || !strings.Contains(report.Reasons[0], "nobody") {
		t.Fatal(text(t, report))
	}
}

// panics on events of one type, while it is broken.
func panics(broken *atomic.Bool, typ string) projections.Fold {
	return projections.Fold{Apply: func(doc view.Order, e codec.Recorded) view.Order {
		if broken.Load() && e.Type == typ {
			panic("a bug")
		}
		return projections.Apply(doc, e)
	}}
}

// An order that is parked, for a bug that only its event wakes, is told with
// the reason, and applied again once the bug is gone.
func TestParked(t *testing.T) {
	var broken atomic.Bool
	w := newWorld(t).folded(t, panics(&broken, "OrderNoteAdded"))
	broken.Store(true)
	w.place("parked")
	w.place("fine")
	w.do("parked", note("wakes it"))
	w.do("parked", note("waits behind it"))
	w.caughtUp()

	report := w.run(Request{})
	f := only(t, report, Parked, "parked")
	if report.Verdict != Drift || !report.Compared.Complete || !strings.Contains(f.Detail, "a bug") || *f.Revision != 2 || *f.Kept != 0 || len(f.Fields) != 0 {
		t.Fatal(text(t, report))
	}
	if f = only(t, w.run(Request{Repair: true}), Parked, "parked"); f.Outcome != "failed" || !strings.Contains(f.Error, "a bug") {
		t.Fatalf("%+v", f)
	}
	only(t, w.run(Request{OrderID: "parked"}), Parked, "parked")

	// What is kept of it is compared as well.
	set("status", `"lost"`, "").do(w, w.other(), "parked")
	if f = only(t, w.run(Request{}), Parked, "parked"); len(f.Fields) != 1 || f.Fields[0].Path != "/status" {
		t.Fatalf("%+v", f)
	}

	w.do("fine", note("parks the other"))
	w.caughtUp()
	broken.Store(false)
	if report = w.run(Request{Repair: true}); report.Repaired != 2 {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}

// dies is a store that takes no more appends to a run's stream after the
// first: as if the process had been killed.
type dies struct {
	eventstore.Store
	left int
}

var errDied = errors.New("died")

func (d *dies) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	if strings.HasPrefix(stream, ns.Prefix(Category)) {
		if d.left--; d.left < 0 {
			return eventstore.Appended{}, errDied
		}
	}
	return d.Store.Append(ctx, stream, expected, events)
}

func TestRunsAreRemembered(t *testing.T) {
	w := filled(t, 5)
	ctx := t.Context()
	if _, err := w.reconciler.Report(ctx, ""); !errors.Is(err, ErrUnknownRun) {
		t.Errorf("%v", err)
	}
	if _, err := w.reconciler.Report(ctx, "no-such-run"); !errors.Is(err, ErrUnknownRun) {
		t.Errorf("%v", err)
	}
	if runs, err := w.reconciler.Runs(ctx, 0); err != nil || len(runs) != 0 {
		t.Errorf("%v, %v", runs, err)
	}
	first := w.run(Request{Actor: "ann"})

	set("status", `"lost"`, "").do(w, w.other(), "special")
	dying := New(w.reconciler.Options)
	dying.Store = &dies{w.store, 2}
	second := NewID()
	if _, err := dying.Run(ctx, second, Request{Repair: true}, nil); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	report, err := New(w.reconciler.Options).Report(ctx, "")
	if err != nil || report.ID != second || report.State != "interrupted" || report.Verdict != "" || len(report.Findings) != 1 {
		t.Fatalf("%v: %s", err, text(t, report))
	}
	third := w.run(Request{})

	runs, err := w.reconciler.Runs(ctx, 0)
	if err != nil || len(runs) != 3 || runs[0].ID != third.ID || runs[1].ID != second || runs[2].ID != first.ID ||
		runs[1].State != "interrupted" || runs[2].Actor != "ann" {
		t.Fatalf("%v: %+v", err, runs)
	}
	if runs, err = w.reconciler.Runs(ctx, 1); err != nil || len(runs) != 1 || runs[0].ID != third.ID {
		t.Fatalf("%v: %+v", err, runs)
	}
	for _, id := range []string{third.ID, "", "a b", strings.Repeat("x", 100)} {
		if _, err := w.reconciler.Run(ctx, id, Request{}, nil); err == nil {
			t.Errorf("ran as %q", id)
		}
	}
	// An id that was used is not written to again.
	if _, err := w.reconciler.Run(ctx, first.ID, Request{}, nil); !errors.Is(err, eventstore.ErrConflict) {
		t.Errorf("%v", err)
	}
}

func TestOneRunAtATimeAndCancelled(t *testing.T) {
	w := filled(t, 5)
	ctx, cancel := context.WithCancel(t.Context())
	id := NewID()
	phases := map[string]bool{}
	report, err := w.reconciler.Run(ctx, id, Request{}, func(p Progress) {
		phases[p.Phase] = true
		if p.Phase != "comparing" {
			return
		}
		if _, err := w.reconciler.Run(t.Context(), NewID(), Request{}, nil); !errors.Is(err, ErrRunning) {
			t.Errorf("%v", err)
		}
		cancel()
	})
	if err != nil || report.Verdict != Unknown || report.State != "ended" || report.Compared.Complete || !strings.Contains(report.Reasons[0], "was stopped") {
		t.Fatalf("%v: %s", err, text(t, report))
	}
	if again, err := w.reconciler.Report(t.Context(), id); err != nil || text(t, again) != text(t, report) {
		t.Fatalf("%v: %s", err, text(t, again))
	}
	for _, phase := range []string{"waiting", "reading", "comparing"} {
		if !phases[phase] {
			t.Errorf("no progress of %s", phase)
		}
	}
	wantClean(t, w.run(Request{}))
}

// The report of a run that runs is as far as it is.
func TestReportWhileItRuns(t *testing.T) {
	w := filled(t, 5)
	id := NewID()
	if _, err := w.reconciler.Run(t.Context(), id, Request{}, func(p Progress) {
		report, err := w.reconciler.Report(t.Context(), "")
		if err != nil || report.ID != id || report.State != "running" || report.Progress != p || report.Verdict != "" {
			t.Errorf("%v: %+v", err, report)
		}
		runs, err := w.reconciler.Runs(t.Context(), 0)
		if err != nil || len(runs) != 1 || runs[0].State != "running" {
			t.Errorf("%v: %+v", err, runs)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// stuck views never catch up.
type stuck struct{ *projections.Manager }

func (s stuck) CaughtUp(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestViewsThatStandStill(t *testing.T) {
	w := filled(t, 5)
	w.reconciler.Stores[0].Projection = stuck{w.manager}
	w.reconciler.patience = 10 * time.Millisecond
	report := w.run(Request{})
	if report.Verdict != Unknown || !strings.Contains(report.Reasons[0], "did not move") {
		t.Fatal(text(t, report))
	}
}

// A finding never takes more than a few KB, whatever differs.
func TestFindingsAreCut(t *testing.T) {
	w := filled(t, 5)
	c := w.other()
	w.place("long")
	w.caughtUp()
	var notes []string
	for i := range 100 {
		notes = append(notes, fmt.Sprintf(`{"id":"n%d","text":"%s","at":"2020-01-01T00:00:00Z"}`, i, strings.Repeat("ä", 10_000)))
	}
	set("notes", "["+strings.Join(notes, ",")+"]", "").do(w, c, "long")
	f := only(t, w.run(Request{}), Content, "long")
	if size := len(asJSON(t, f)); size > 12<<10 || !strings.Contains(f.Detail, "more fields") || !strings.Contains(f.Detail, "cut") {
		t.Fatalf("%d bytes: %.500s", size, f.Detail)
	}
}

// What cannot be read in the log is told, and does not keep the rest from being
// compared.
func TestUnreadableEvent(t *testing.T) {
	w := filled(t, 5)
	w.place("odd")
	bad := eventstore.Event{ID: [16]byte{1}, Type: "OrderNoteAdded", JSON: true, Data: []byte(`{"text":1}`), Metadata: []byte(`{"v":1}`)}
	if _, err := w.store.Append(t.Context(), "acme.order-odd", eventstore.At(0), []eventstore.Event{bad}); err != nil {
		t.Fatal(err)
	}
	w.caughtUp()
	f := only(t, w.run(Request{}), Parked, "odd")
	if !strings.Contains(f.Detail, "OrderNoteAdded") {
		t.Errorf("%+v", f)
	}
	// Somebody takes the mark away: then nobody can tell.
	set("status", `"lost"`, "").do(w, w.other(), "special")
	w.tamper(w.other(), `DELETE FROM parked`)
	w.reconciler.Stores[0].Projection = forgets{w.manager}
	report := w.run(Request{Repair: true})
	if only(t, report, Content, "special"); report.Verdict != Unknown || report.Compared.Complete || report.Repaired != 1 || !strings.Contains(report.Reasons[0], "order odd") {
		t.Fatal(text(t, report))
	}
}

// forgets which orders are parked.
type forgets struct{ *projections.Manager }

func (forgets) Parked(context.Context) ([]projections.Parked, error) { return nil, nil }

// An order whose stream was deleted may be kept as its events made it, for the
// log still delivers them, or not at all.
func TestDeletedStream(t *testing.T) {
	w := filled(t, 5)
	if _, err := w.store.Delete(t.Context(), "acme.order-special", eventstore.StreamExists); err != nil {
		t.Fatal(err)
	}
	wantClean(t, w.run(Request{}))
	set("status", `"lost"`, "").do(w, w.other(), "special")
	report := w.run(Request{OrderID: "special", Repair: true})
	if f := only(t, report, Orphan, "special"); f.Outcome != "repaired" {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}

// Numbers beyond what docket writes are shown, not tripped over.
func TestHostileFigures(t *testing.T) {
	w := filled(t, 5)
	c := w.other()
	w.tamper(c, `UPDATE customers SET grand = -9223372036854775807 - 1, rounding = 9223372036854775807, items = 9223372036854775807 WHERE customer = 'c1'`)
	w.tamper(c, `INSERT INTO products VALUES ('???', 'x', 1, 9223372036854775807, 9223372036854775807)`)
	w.tamper(c, `INSERT INTO sums VALUES (4711, 'never', 1, 1, 1, 1, 1, 1, 1, 1)`)
	w.tamper(c, `INSERT INTO groupsets VALUES (4711, '???', 'not JSON')`)
	w.tamper(c, `INSERT INTO orders (id, revision, shape, placed, updated, total, number, words) VALUES ('', 0, 0, 0, 0, 0, 'X', 0)`)
	report := w.run(Request{Repair: true})
	if report.Verdict != Drift || report.Repaired != report.found() {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}

// What is parked, released, placed and changed between the barrier and the
// moment at which the figures are read makes none of them seem wrong.
func TestFiguresAreCarriedOver(t *testing.T) {
	var broken atomic.Bool
	w := newWorld(t).folded(t, panics(&broken, "OrderCancelled"))
	broken.Store(true)
	cancel := order.Cancel{Reason: "no", At: time.Date(2020, 1, 3, 0, 0, 0, 0, time.UTC)}
	for _, id := range []string{"released", "stays", "parks", "moves"} {
		w.place(id)
	}
	w.do("released", cancel)
	w.do("stays", cancel)
	w.caughtUp()
	done := false
	report, err := w.reconciler.Run(t.Context(), NewID(), Request{}, func(p Progress) {
		if p.Phase != "counting" || done {
			return
		}
		done = true
		broken.Store(false)
		if err := w.manager.Retry(t.Context(), "released"); err != nil {
			t.Error(err)
		}
		broken.Store(true)
		w.do("parks", cancel)
		w.do("parks", note("waits"))
		w.do("released", note("goes on"))
		w.do("stays", note("waits"))
		w.do("moves", order.SetTags{Tags: []string{"moved"}, At: cancel.At})
		w.place("new")
		w.caughtUp()
	})
	if err != nil || !done || report.Verdict != Drift || report.Counts[Parked] != 2 || report.found() != 2 {
		t.Fatalf("%v: %s", err, text(t, report))
	}
}

// Rows of which no value is what docket would write are told as they are.
func TestOddRows(t *testing.T) {
	w := filled(t, 5)
	c := w.other()
	for name, odd := range map[string]string{
		"currency":        `INSERT INTO customers VALUES ('zz', 'E"R', 1, 100, 100, 0, 0)`,
		"no currency":     `UPDATE groupsets SET currency = char(0) WHERE id = 1`,
		"bytes in a list": `UPDATE docs SET skus = CAST(x'ff41' AS TEXT) WHERE n = (SELECT min(n) FROM docs)`,
		"bytes as a name": `INSERT INTO customers VALUES (CAST(x'ff0a1b41' AS TEXT), 'EUR', 1, 100, 100, 0, 0)`,
		"bytes as an id":  `INSERT INTO orders (id, revision, shape, placed, updated, total, number, words) VALUES (CAST(x'ff0a1b41' AS TEXT), 0, 1, 0, 0, 0, CAST(x'ff' AS TEXT), 0)`,
		"a long id":       `INSERT INTO orders (id, revision, shape, placed, updated, total, number, words) VALUES (replace(hex(zeroblob(600000)), '0', 'a'), 0, 1, 0, 0, 0, 'X', 0)`,
		"a long name":     `INSERT INTO customers VALUES (replace(hex(zeroblob(600000)), '0', 'a'), 'EUR', 1, 100, 100, 0, 0)`,
		"a contribution":  `UPDATE docs SET contribution = CAST(json_set(contribution, '$.c', 'E"R', '$.u', char(27)) AS BLOB) WHERE n = (SELECT min(n) FROM docs)`,
	} {
		t.Run(name, func(t *testing.T) {
			if w.tamper(c, odd) == 0 {
				t.Fatal("nothing changed")
			}
			if report := w.run(Request{}); report.Verdict != Drift || len(text(t, report)) > 2<<20 {
				t.Fatalf("%.5000s", text(t, report))
			} else {
				for _, f := range report.Findings {
					for _, s := range []string{f.ID, f.Detail, asJSON(t, f)} {
						if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || len(s) > 12<<10 {
							t.Errorf("%.3000q", s)
						}
					}
				}
			}
			if report := w.run(Request{Repair: true}); report.Repaired != report.found() {
				t.Fatalf("%.5000s", text(t, report))
			}
			wantClean(t, w.run(Request{}))
		})
	}
}

// breaks panics when it is asked for the first time.
type breaks struct {
	projections.Sink
	in string
}

func (b breaks) Inspect(ctx context.Context, want []projections.Change) ([]projections.Kept, error) {
	if b.in == "Inspect" {
		panic("a bug")
	}
	return b.Sink.Inspect(ctx, want)
}

func (b breaks) Figures(ctx context.Context, yield func(projections.Figure) error) ([]projections.Checkpoint, error) {
	if b.in == "Figures" {
		panic("a bug")
	}
	return b.Sink.Figures(ctx, yield)
}

// over has another sink in front of that of the manager.
type over struct {
	*projections.Manager
	sink projections.Sink
}

func (o over) Live() (projections.Sink, int) {
	_, generation := o.Manager.Live()
	return o.sink, generation
}

func TestAPanicEndsTheRunOnly(t *testing.T) {
	w := filled(t, 5)
	for _, in := range []string{"Inspect", "Figures"} {
		var log strings.Builder
		w.reconciler.Logger = slog.New(slog.NewTextHandler(&log, nil))
		w.reconciler.Stores[0].Projection = over{w.manager, breaks{w.sink(), in}}
		report := w.run(Request{})
		if report.Verdict != Unknown || report.Compared.Complete || !strings.Contains(report.Reasons[0], "a bug") || !strings.Contains(log.String(), "limits_test.go") {
			t.Errorf("%s: %s\n%s", in, text(t, report), &log)
		}
	}
	w.reconciler.Stores[0].Projection = w.manager
	wantClean(t, w.run(Request{}))
}
