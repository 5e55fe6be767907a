package embedded_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/reconcile"
)

// TestCloseLeavesNothingRunning: whatever was asked of a docket, and however it
// was given up, no goroutine is left when it is closed; nor when it is opened
// and closed at once, or cannot be opened.
func TestCloseLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir := t.TempDir()
	for range 2 {
		d, err := embedded.Open(t.Context(), dir, embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := embedded.Open(t.Context(), dir, embedded.Options{}); err == nil {
			t.Error("a folder is opened twice")
		}
		work(t, d)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, before)
	}
	d, err := embedded.Open(t.Context(), dir, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
}

// work uses everything there is.
func work(t *testing.T, d *embedded.Docket) {
	ctx := t.Context()
	last := ""
	for life := range importer.Generate(7, 30, time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)) {
		for _, step := range life.Steps {
			req := command.Request{CommandID: command.KeyID("local", life.OrderID, step.Key), Actor: "local"}
			if _, err := d.Orders.Handle(ctx, life.OrderID, step.Command, req); err != nil {
				t.Fatal(err)
			}
		}
		last = life.OrderID
	}
	if err := d.Manager.CaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Queries.List(ctx, query.Question{Limit: 10, Words: []string{"demo"}}, "", query.Read{}); err != nil {
		t.Error(err)
	}
	if _, err := d.Queries.OrderAsOf(ctx, last, query.Cut{}); err != nil {
		t.Error(err)
	}
	if err := d.Manager.Rebuild(ctx, nil); err != nil {
		t.Error(err)
	}
	report, err := d.Reconciler.Run(ctx, reconcile.NewID(), reconcile.Request{}, nil)
	if err != nil || report.Verdict != reconcile.Clean {
		t.Errorf("reconciliation: %s %v", report.Verdict, err)
	}
	// What is given up.
	gone, leave := context.WithCancel(ctx)
	leave()
	if err := d.Manager.Rebuild(gone, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a rebuild for somebody who left: %v", err)
	}
	if err := d.Manager.Wait(gone, last, 1000); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait for somebody who left: %v", err)
	}
}

// TestCloseLeavesNothingRunningElsewhere is the same with the log behind a
// server, which is stopped before docket is closed, or after.
func TestCloseLeavesNothingRunningElsewhere(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for _, first := range []string{"docket", "server"} {
		a := openAway(t)
		work(t, a.Docket)
		if first == "server" {
			a.server.Stop()
		}
		a.mustClose()
		a.server.Stop()
		if err := a.log.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, before)
	}
}
