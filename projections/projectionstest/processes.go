package projectionstest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// openedAtOnce makes a generation from several processes at the same time.
func openedAtOnce(t *testing.T, s Store) {
	f := &fixture{T: t, store: s, backend: s.Open(t), ctx: t.Context(), docs: map[string]view.Order{}}
	docs := Documents(40, 4)
	sinks := make([]projections.Sink, len(docs))
	var opening sync.WaitGroup
	for i := range sinks {
		b := s.Again(t, f.backend)
		opening.Go(func() {
			sink, err := b.Open(f.ctx, 1)
			if err != nil {
				t.Errorf("process %d: %v", i, err)
				return
			}
			sinks[i] = sink
			if _, err := sink.Write(f.ctx, projections.Batch{Changes: []projections.Change{ChangeTo(docs[i], 0)}}); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	opening.Wait()
	for i, sink := range sinks {
		if sink != nil {
			t.Cleanup(func() { sink.Close() })
		}
		f.docs[docs[i].ID] = docs[i]
	}
	f = s.generation(t, f.backend, 1).with(f.docs)
	f.checkAll()
}

func (f *fixture) with(docs map[string]view.Order) *fixture { f.docs = docs; return f }

func anotherProcess(t *testing.T, s Store) {
	f := start(t, s)
	r := random(41)
	docs := Documents(41, 60)
	f.put(docs...)
	g := f.another()
	g.checkAll()

	cp, err := f.Claim(f.ctx, 3, "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	cp.Position = eventstore.At64(10)
	parked := []projections.Parked{{OrderID: "p", Revision: 1, Position: eventstore.At64(3), Reason: "no"}}
	f.results(projections.Batch{Park: parked, Checkpoints: []projections.Checkpoint{cp}})
	f.same("the lane, elsewhere", g.lane(3), cp, nil)
	got, err := g.Parked(f.ctx)
	f.same("parked, elsewhere", got, parked, err)

	var batch projections.Batch
	for _, doc := range docs[:30] {
		batch.Changes = append(batch.Changes, ChangeTo(later(r, f.docs[doc.ID]), 0))
	}
	g.results(batch)
	f.checkAll()
	g.replace(ChangeTo(later(r, docs[40]), 0))
	if err := g.Replace(f.ctx, docs[41].ID, nil); err != nil {
		t.Fatal(err)
	}
	delete(f.docs, docs[41].ID)
	f.checkAll()

	// One closes; the other is not disturbed.
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	f.put(Documents(42, 80)[60:]...)
	f.checkAll()
}

// formerOwner was paused in the middle of a write, and does not know that
// another has the lane by now, and is further.
func formerOwner(t *testing.T, s Store) {
	f := start(t, s)
	g := f.another()
	r := random(43)
	docs := Documents(43, 30)
	f.put(docs...)
	mine, err := f.Claim(f.ctx, 9, "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	late := projections.Batch{Park: []projections.Parked{{OrderID: "late", Revision: 1, Position: eventstore.At64(4), Reason: "no"}}}
	var next projections.Batch
	for i, doc := range docs {
		between := later(r, doc)
		late.Changes = append(late.Changes, ChangeTo(between, between.Revision))
		late.Changes[i].First = doc.Revision + 1
		if i%3 > 0 { // of the others, what comes late is what is next
			newer := later(r, between)
			next.Changes = append(next.Changes, ChangeTo(newer, doc.Revision+1))
		} else {
			f.docs[doc.ID] = between
		}
	}
	taken, err := g.Claim(f.ctx, 9, "you", mine.Token)
	if err != nil {
		t.Fatal(err)
	}
	taken.Position = eventstore.At64(20)
	next.Checkpoints = []projections.Checkpoint{taken}
	g.results(next)

	mine.Position = eventstore.At64(15)
	late.Checkpoints = []projections.Checkpoint{mine}
	if _, err := f.Write(f.ctx, late); !errors.Is(err, projections.ErrLaneLost) {
		t.Fatalf("write of a former owner: %v", err)
	}
	lost, err := f.Beat(f.ctx, []projections.Checkpoint{mine})
	f.same("lost", lost, []int{9}, err)
	f.same("the lane", f.lane(9), taken, nil)
	f.same("parked", f.parkedIDs(), []string{}, nil)

	// What it changed says nothing but the log, which the new owner goes on with.
	var again projections.Batch
	for _, change := range late.Changes {
		if f.docs[change.Order.ID].Revision == change.Order.Revision {
			again.Changes = append(again.Changes, change)
		}
	}
	for i, result := range g.results(again) {
		if result != projections.Applied && result != projections.Already {
			t.Errorf("%s: %v", again.Changes[i].Order.ID, result)
		}
	}
	f.checkAll()
	g.checkAll()
}

// sameOrders writes the lives of the same orders from several processes at once,
// each in steps of its own: the last word is the newest, whoever said it.
func sameOrders(t *testing.T, s Store) {
	f := start(t, s)
	const versions = 40
	lives := make([][]view.Order, 25)
	for i, doc := range Documents(44, len(lives)) {
		for r := random(uint64(44 + i)); len(lives[i]) < versions; doc = later(r, doc) {
			lives[i] = append(lives[i], doc)
		}
		f.docs[doc.ID] = lives[i][versions-1]
	}
	var writing sync.WaitGroup
	for n, sink := range []projections.Sink{f, f.another(), f.another()} {
		writing.Go(func() {
			r := random(uint64(n))
			for at := r.IntN(3); ; at = min(at+1+r.IntN(3), versions-1) {
				var batch projections.Batch
				for _, life := range lives {
					batch.Changes = append(batch.Changes, ChangeTo(life[at], 0))
				}
				r.Shuffle(len(lives), func(i, j int) { batch.Changes[i], batch.Changes[j] = batch.Changes[j], batch.Changes[i] })
				outcomes, err := sink.Write(f.ctx, batch)
				if err != nil || slices.ContainsFunc(outcomes, func(o projections.Outcome) bool { return o.Result > projections.Already }) {
					t.Errorf("process %d at %d: %v, %v", n, at, outcomes, err)
					return
				}
				if at == versions-1 {
					return
				}
			}
		})
	}
	writing.Wait()
	f.checkAll()
}

// droppedElsewhere drops a generation that another process has open. No call
// there may take it for an empty one, or make it again.
func droppedElsewhere(t *testing.T, s Store) {
	f := start(t, s)
	docs := Documents(45, 30)
	f.put(docs...)
	g := f.another()
	g.checkDocuments()
	if err := errors.Join(f.Close(), f.backend.Drop(f.ctx, 1)); err != nil {
		t.Fatal(err)
	}
	for name, call := range g.calls(docs[0]) {
		if err := call(); !errors.Is(err, projections.ErrClosed) && !errors.Is(err, projections.ErrLost) {
			t.Errorf("%s, of what was dropped: %v", name, err)
		}
	}
	got, err := f.backend.Generations(f.ctx)
	f.same("generations", present(got), []int{}, err)
	fresh := s.generation(t, f.backend, 1)
	fresh.checkAll()
	for lane := range projections.Lanes {
		f.same(fmt.Sprint("lane ", lane), fresh.lane(lane), projections.Checkpoint{Lane: lane}, nil)
	}
}
