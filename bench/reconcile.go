package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	eventsqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

var reconcileQuestion = question{
	name:  "reconcile",
	about: "docket reconcile run over all of Olist, its start included, against reading and folding the same log with one goroutine",
	ask:   askReconcile,
}

func askReconcile(ctx context.Context, e *env) error {
	imported, err := e.olist(ctx)
	if err != nil {
		return err
	}
	dir := e.folder("reconciled") // a run is recorded in the log
	if err := copyFolder(dir, imported); err != nil {
		return err
	}
	var took, folded, peak []float64
	for range e.rounds - 2 {
		fold, err := timed(func() error { return plainFold(ctx, dir) })
		if err != nil {
			return fmt.Errorf("plain fold: %w", err)
		}
		cmd := exec.CommandContext(ctx, e.program, "reconcile", "run", "--data", dir, "--json")
		var out strings.Builder
		cmd.Stdout = &out
		seconds, peakMB, err := e.runProgram(cmd)
		if err == nil {
			err = cleanReport([]byte(out.String()))
		}
		if err != nil {
			return fmt.Errorf("docket reconcile run: %w\n%.2000s", err, out.String())
		}
		took, folded, peak = append(took, seconds), append(folded, fold), append(peak, peakMB)
	}
	e.compare("everything", "s", took, "plain fold", folded, atMost(3))
	e.measure("peak resident", "MB", peak, noGoal)
	return nil
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
