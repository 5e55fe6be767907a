package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	eventsqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// rounds is how often reconciliation and the plain fold are run, in turns.
const rounds = 3

// reconciled is a full reconciliation of the imported log and views, against
// reading and folding the same log.
type reconciled struct {
	Seconds     float64 `json:"seconds"` // of docket reconcile run, its start included; median
	PeakMB      float64 `json:"peakMB"`  // resident; the largest
	FoldSeconds float64 `json:"foldSeconds"`
	// Ratio is the median of seconds over foldSeconds, each pair measured one
	// after the other; the goal is at most 3.
	Ratio float64 `json:"ratio"`
}

func reconcileAll(ctx context.Context, docket, dir string) (r reconciled, err error) {
	var took, folded, ratios []float64
	for range rounds {
		fold, err := timed(func() error { return plainFold(ctx, dir) })
		if err != nil {
			return r, fmt.Errorf("plain fold: %w", err)
		}
		cmd := exec.CommandContext(ctx, docket, "reconcile", "run", "--data", dir, "--json")
		cmd.Stderr = os.Stderr
		seconds, err := timed(func() error {
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("%w\n%.2000s", err, out)
			}
			return cleanReport(out)
		})
		if err != nil {
			return r, fmt.Errorf("docket reconcile run: %w", err)
		}
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			r.PeakMB = max(r.PeakMB, float64(usage.Maxrss)/1024)
		}
		took, folded, ratios = append(took, seconds), append(folded, fold), append(ratios, seconds/fold)
	}
	r.Seconds, r.FoldSeconds, r.Ratio = median(took), median(folded), median(ratios)
	return r, nil
}

// cleanReport wants a run that compared everything and found nothing.
func cleanReport(report []byte) error {
	var run struct {
		Verdict  string `json:"verdict"`
		Compared struct {
			Complete bool `json:"complete"`
		} `json:"compared"`
	}
	if err := json.Unmarshal(report, &run); err != nil {
		return err
	}
	if run.Verdict != "clean" || !run.Compared.Complete {
		return fmt.Errorf("the run is not clean and complete: %.2000s", report)
	}
	return nil
}

// plainFold reads the log and folds every order, all held in memory.
func plainFold(ctx context.Context, dir string) error {
	store, err := eventsqlite.OpenReadOnly(ctx, dir)
	if err != nil {
		return err
	}
	defer store.Close()
	docs := map[string]view.Order{}
	filter := eventstore.Filter{Prefixes: []string{eventstore.Namespace("").Prefix(codec.Category)}}
	for r, err := range store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, filter, 0) {
		if err != nil {
			return err
		}
		e, err := codec.Decode(r, "")
		if err != nil {
			return err
		}
		docs[e.OrderID] = projections.Apply(docs[e.OrderID], e)
	}
	if len(docs) == 0 {
		return fmt.Errorf("no order in %s", filepath.Base(dir))
	}
	return nil
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
