package importer_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/importer"
)

var start = time.Date(2024, 3, 1, 12, 30, 0, 0, time.UTC)

func lifecycles(seed uint64, n int) []importer.Lifecycle {
	return slices.Collect(importer.Generate(seed, n, start))
}

// TestGeneratedAreAccepted: the rules accept every command, and the year shows
// everything that can happen to an order.
func TestGeneratedAreAccepted(t *testing.T) {
	end := start.Add(365 * 24 * time.Hour)
	seen := map[string]int{}
	var last time.Time
	for _, seed := range []uint64{1, 2, 3} {
		last = time.Time{}
		for _, l := range lifecycles(seed, 1000) {
			var state order.State
			for i, step := range l.Steps {
				at := order.BusinessTime(step.Command)
				if at.Before(start) || at.After(end) {
					t.Fatalf("%s: %s at %s, outside the year", l.OrderID, step.Command.Name(), at)
				}
				if i == 0 && at.Before(last) {
					t.Fatalf("%s placed at %s, after %s", l.OrderID, at, last)
				} else if i == 0 {
					last = at
				}
				events, err := order.Decide(state, order.WithNumber(step.Command, l.OrderID))
				if err != nil || len(events) == 0 {
					t.Fatalf("%s, step %d: %s gives %d events, %v", l.OrderID, i, step.Command.Name(), len(events), err)
				}
				state = order.Decider.Fold(state, events...)
				seen[step.Command.Name()]++
			}
			if len(l.Steps) == 0 {
				t.Fatalf("%s has no steps", l.OrderID)
			}
		}
	}
	for _, name := range []string{"place", "confirm", "add-payment", "capture-payment", "fail-payment", "dispatch", "deliver",
		"request-return", "receive-return", "reject-return", "grant-refund", "complete-refund", "fail-refund", "cancel",
		"place-hold", "release-hold", "propose-edit", "confirm-edit", "decline-edit", "add-note"} {
		if seen[name] == 0 {
			t.Errorf("no %s among %v", name, seen)
		}
	}
}

func TestGenerateIsDeterministic(t *testing.T) {
	text := func(seed uint64) string {
		data, err := json.Marshal(lifecycles(seed, 50))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := text(7)
	if again := text(7); again != first {
		t.Error("two runs differ")
	}
	if text(8) == first {
		t.Error("two seeds give the same")
	}
}

// TestGeneratedTwice: sending again adds nothing.
func TestGeneratedTwice(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	for run := range 2 {
		for _, l := range lifecycles(1, 40) {
			for _, step := range l.Steps {
				out, err := w.Handle(ctx, l.OrderID, step.Command, step.Key)
				if err != nil {
					t.Fatalf("%s: %s: %v", l.OrderID, step.Command.Name(), err)
				}
				if out.Replayed != (run == 1) {
					t.Fatalf("run %d: %s of %s: replayed is %v", run, step.Command.Name(), l.OrderID, out.Replayed)
				}
			}
		}
	}
}
