package reconcile

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
)

// Two processes share a store of views. A run in one of them finds and repairs
// what is wrong in the lanes of both, and what one is repairing is no finding of
// the other's for good.
func TestRepairsInLanesOfAnotherProcess(t *testing.T) {
	shared := &sharedStore{"redis", projectionstest.NewReference()}
	a := newWorldAt(t, shared)
	b := &world{TB: t, dir: t.TempDir(), shared: shared, store: a.store, orders: a.orders}
	b.project(projections.Fold{})
	a.generate(3, 120)
	a.caughtUp()
	b.caughtUp()
	bothHaveLanes(a)

	ids := a.ids(120)
	a.spoil(ids)
	report := a.run(Request{Repair: true})
	if report.found() < int64(len(ids)) || report.Repaired != report.found() || report.Verdict != Drift {
		t.Fatalf("of %d orders: %s", len(ids), text(t, report))
	}
	for _, f := range report.Findings {
		if f.Outcome != outcomeRepaired {
			t.Errorf("%s", asJSON(t, f))
		}
	}
	bothHaveLanes(a)
	wantClean(t, a.run(Request{}))
	wantClean(t, b.run(Request{}))

	a.spoil(ids)
	var running sync.WaitGroup
	for i, w := range []*world{a, b} {
		running.Go(func() {
			report, err := w.reconciler.Run(t.Context(), NewID(), Request{Repair: true}, nil)
			if err != nil || report.Verdict == Unknown {
				t.Errorf("process %d: %s, %v", i, text(t, report), err)
			}
		})
	}
	for i, id := range ids {
		a.do(id, remark(fmt.Sprint("meanwhile ", i)))
	}
	running.Wait()
	a.caughtUp()
	wantClean(t, a.run(Request{}))
	b.caughtUp()
	wantClean(t, b.run(Request{}))
}

// spoil makes what is kept of orders wrong, as another program would.
func (w *world) spoil(ids []string) {
	w.Helper()
	docs, err := w.sink().Documents(w.Context(), ids)
	if err != nil {
		w.Fatal(err)
	}
	for i, id := range ids {
		doc := docs[id]
		change := projectionstest.ChangeTo(doc, 0)
		switch i % 3 {
		case 0:
			change.Order.Status = "lost"
		case 1:
			change.Order.Revision += 100
		case 2:
			change.Contribution.Sums.Grand++
		}
		if err := w.sink().Replace(w.Context(), id, &change); err != nil {
			w.Fatal(err)
		}
	}
}

// bothHaveLanes waits until the lanes have two owners, each a good part of them.
func bothHaveLanes(w *world) {
	w.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		lanes, err := w.sink().Checkpoints(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		owners := map[string]int{}
		for _, lane := range lanes {
			owners[lane.Owner]++
		}
		if len(owners) == 2 && !slices.ContainsFunc(lanes, func(l projections.Checkpoint) bool { return owners[l.Owner] < projections.Lanes/4 }) {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("lanes: %v", owners)
		}
		if err := pause(w.Context(), 50*time.Millisecond); err != nil {
			w.Fatal(err)
		}
	}
}
