package reconcile

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/google/uuid"
)

// broken is a sink that names what is wrong with its structures, the first
// times that it is asked.
type broken struct {
	projections.Sink
	times *int
}

func (b broken) Sound(context.Context) ([]string, error) {
	if *b.times--; *b.times >= 0 {
		return []string{"index orders_placed: an entry is missing"}, nil
	}
	return nil, nil
}

// What the store says of its own structures is drift, which no repair cures, and
// nothing is counted with it.
func TestUnsoundViews(t *testing.T) {
	w := filled(t, 5)
	c := w.other()
	times := 100
	w.reconciler.Stores[0].Projection = over{w.manager, broken{w.sink(), &times}}
	report := w.run(Request{})
	if f := report.Findings[0]; report.Verdict != Drift || report.found() != 1 || f.Class != Structure || f.Entity != "view" || !strings.Contains(f.Detail, "orders_placed") || f.Outcome != "" {
		t.Fatal(text(t, report))
	}
	set("status", `"lost"`, "").do(w, c, "special")
	w.tamper(c, `UPDATE methods SET captured = captured + 5 WHERE day = (SELECT min(day) FROM methods)`)
	report = w.run(Request{Repair: true})
	for _, f := range report.Findings {
		if want := map[Class]string{Content: "repaired", Structure: "failed", Aggregate: "failed"}[f.Class]; f.Outcome != want || want == "failed" && f.Error == "" {
			t.Errorf("%+v", f)
		}
	}
	if report.Verdict != Drift || report.Counts[Structure] != 1 || report.Counts[Aggregate] == 0 || report.Recounted != 0 || len(report.Reasons) != 1 || !strings.Contains(report.Reasons[0], "rebuild orders") {
		t.Fatal(text(t, report))
	}
	// One order is not the whole.
	wantClean(t, w.run(Request{OrderID: "special"}))

	times = 1 // said once, and not again
	if report = w.run(Request{Repair: true}); report.Counts[Structure] != 0 || report.Repaired != report.found() {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}

// laned is a sink of which one checkpoint is another. A row that is written by
// another program would not stay: the feed moves every lane now and then.
type laned struct {
	projections.Sink
	change func(*projections.Checkpoint)
}

func (l laned) Checkpoints(ctx context.Context) ([]projections.Checkpoint, error) {
	lanes, err := l.Sink.Checkpoints(ctx)
	l.change(&lanes[7])
	return lanes, err
}

func TestLanesOfAnotherLog(t *testing.T) {
	w := filled(t, 5)
	for says, change := range map[string]func(*projections.Checkpoint){
		"lane 7 stands at 99999, the log ends at": func(c *projections.Checkpoint) { c.Position = eventstore.At64(99999) },
		"lane 7 is of another log":                func(c *projections.Checkpoint) { c.Position, c.Log.ID = eventstore.At64(1), uuid.New() },
		"before it was restored":                  func(c *projections.Checkpoint) { c.Position, c.Log.Epoch = eventstore.At64(1), 7 },
	} {
		w.reconciler.Stores[0].Projection = over{w.manager, laned{w.sink(), change}}
		report := w.run(Request{Repair: true})
		if f := report.Findings[0]; report.Verdict != Drift || report.found() != 1 || f.Class != Structure || !strings.Contains(f.Detail, says) || f.Outcome != "failed" {
			t.Fatal(text(t, report))
		}
	}
}

// Views that cannot be read are no drift, and the reason says what to do.
func TestViewsThatCannotBeRead(t *testing.T) {
	w := filled(t, 5)
	w.tamper(w.other(), `DROP TABLE methods`)
	if report := w.run(Request{}); report.Verdict != Unknown || !strings.Contains(report.Reasons[0], "rebuild orders") || !strings.Contains(report.Reasons[0], "methods") {
		t.Fatal(text(t, report))
	}
}

func TestViewsThatAreRebuiltMeanwhile(t *testing.T) {
	w := filled(t, 5)
	done := false
	report, err := w.reconciler.Run(t.Context(), NewID(), Request{}, func(p Progress) {
		if p.Phase == "reading" && !done {
			done = true
			if err := w.manager.Rebuild(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || report.Verdict != Unknown || !strings.Contains(report.Reasons[0], "rebuilt meanwhile: run again") {
		t.Fatalf("%v: %s", err, text(t, report))
	}
	wantClean(t, w.run(Request{}))
}

// Views that are closed meanwhile are no others, and are not found clean.
func TestViewsThatAreClosedMeanwhile(t *testing.T) {
	w := filled(t, 5)
	for why, want := range map[error]string{errors.New("no answer in 10s"): "no answer in 10s", nil: "run again"} {
		w.reconciler.Stores[0].Projection = closes{w.manager, why, new(bool)}
		if report := w.run(Request{}); report.Verdict != Unknown || report.Compared.Complete || !strings.Contains(report.Reasons[0], want) {
			t.Errorf("%v: %s", why, text(t, report))
		}
	}
}

// closes has no generation any more once its figures were read.
type closes struct {
	*projections.Manager
	why    error
	closed *bool
}

func (c closes) Live() (projections.Sink, int) {
	if *c.closed {
		return nil, 0
	}
	sink, generation := c.Manager.Live()
	return closing{sink, c.closed}, generation
}

func (c closes) Incomplete() error {
	if *c.closed {
		return c.why
	}
	return c.Manager.Incomplete()
}

type closing struct {
	projections.Sink
	closed *bool
}

func (c closing) Figures(ctx context.Context, yield func(projections.Figure) error) ([]projections.Checkpoint, error) {
	defer func() { *c.closed = true }()
	return c.Sink.Figures(ctx, yield)
}
