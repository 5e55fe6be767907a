package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	eventsqlite "github.com/docket-orders/docket/eventstore/sqlite"
)

var rebuildMemoryQuestion = question{
	name:  "rebuild-memory",
	about: "the largest resident memory of docket projections rebuild, a process of its own that makes the views twice, over ten times the orders: histories of Olist's orders, copied under new ids, their events interleaved",
	ask:   askRebuildMemory,
}

func askRebuildMemory(ctx context.Context, e *env) error {
	olist, err := e.olist(ctx)
	if err != nil {
		return err
	}
	appends, _, err := readAppends(ctx, olist)
	if err != nil {
		return err
	}
	small := 99_441
	if e.quick {
		small = 15_000 // more than a build holds at once: a chunk in each builder's hand, and the next
	}
	once, err := e.rebuildPeak(ctx, appends, small)
	if err != nil {
		return err
	}
	tenfold, err := e.rebuildPeak(ctx, appends, 10*small)
	if err != nil {
		return err
	}
	e.compare(fmt.Sprintf("a rebuild of %d orders", 10*small), "MB", []float64{tenfold}, fmt.Sprintf("%d orders", small), []float64{once}, atMost(1.2))
	return nil
}

// rebuildPeak is the largest resident memory, in MB, of a rebuild of so many orders.
func (e *env) rebuildPeak(ctx context.Context, appends []appended, orders int) (peakMB float64, err error) {
	const window = 5_000
	dir := filepath.Join(e.folder("rebuild-memory"), "data")
	store, err := eventsqlite.Open(ctx, dir, eventsqlite.Options{})
	if err != nil {
		return 0, err
	}
	for begin := 0; begin < orders; begin += window {
		part, _ := copies(appends, begin, min(window, orders-begin))
		for _, turn := range roundRobin(part, window) {
			if err := appendConcurrently(ctx, store, writers, turn); err != nil {
				return 0, err
			}
		}
	}
	if err := store.Close(); err != nil {
		return 0, err
	}
	program, err := e.docket(ctx)
	if err != nil {
		return 0, err
	}
	_, peakMB, err = e.runProgram(exec.CommandContext(ctx, program, "projections", "rebuild", "--switch", "--unthrottled", "--data", dir))
	return peakMB, err
}
