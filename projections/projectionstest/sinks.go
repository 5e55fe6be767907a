package projectionstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

func newGeneration(t *testing.T, s Store) {
	f := start(t, s)
	for lane := range projections.Lanes {
		if got, want := f.lane(lane), (projections.Checkpoint{Lane: lane}); got != want {
			t.Errorf("lane %d is %+v", lane, got)
		}
	}
	parked, err := f.Parked(f.ctx)
	if err != nil || len(parked) != 0 {
		t.Errorf("parked: %v, %v", parked, err)
	}
	if f.hot != nil {
		if _, ok, err := f.hot.Order(f.ctx, "absent"); ok || err != nil {
			t.Errorf("absent order: %v, %v", ok, err)
		}
	}
	f.checkDocuments()
	f.checkCounters()
}

func roundTrip(t *testing.T, s Store) {
	f := start(t, s)
	docs := Documents(7, 100)
	marked := docs[0]
	marked.Degraded = &view.Degraded{Reason: "of the answer, not of the document", Revision: 9}
	f.put(marked)
	f.docs[marked.ID] = docs[0]
	f.put(docs[1:]...)
	f.checkDocuments()
	for _, want := range docs {
		if f.hot == nil {
			break
		}
		got, ok, err := f.hot.Order(f.ctx, want.ID)
		f.same("order "+want.ID, []any{got, ok}, []any{want, true}, err)
	}
}

func forward(t *testing.T, s Store) {
	f := start(t, s)
	doc := Documents(8, 1)[0]
	doc.Revision = 5
	f.put(doc)
	for _, c := range []struct {
		name            string
		first, revision int64
		want            projections.Result
	}{
		{"the same revision", 0, 5, projections.Already},
		{"the same revision, as its own event", 5, 5, projections.Already},
		{"an older revision", 0, 3, projections.Already},
		{"the next event", 6, 6, projections.Applied},
		{"events that overlap", 4, 8, projections.Applied},
		{"everything again and more", 0, 9, projections.Applied},
		{"a gap", 11, 12, projections.Gap},
		{"an old gap", 3, 9, projections.Already},
	} {
		other := later(random(uint64(c.revision)), doc)
		other.Revision = c.revision
		got := f.results(projections.Batch{Changes: []projections.Change{ChangeTo(other, c.first)}})
		if got[0] != c.want {
			t.Errorf("%s: result %v, want %v", c.name, got[0], c.want)
		}
		f.checkDocuments()
		f.checkCounters()
	}
}

// mixed is a batch with a change that is neither applied nor already there,
// between two that are, and everything else that a batch may carry.
func (f *fixture) mixed(bad projections.Change) (batch projections.Batch, before projections.Checkpoint) {
	f.Helper()
	docs := Documents(9, 4)
	f.put(docs[3])
	parked := projections.Parked{OrderID: "parked-before", Revision: 1, Position: eventstore.At64(5), Reason: "no"}
	before, err := f.Claim(f.ctx, 3, "me", 0)
	if err != nil {
		f.Fatal(err)
	}
	before.Position = eventstore.At64(10)
	f.results(projections.Batch{Park: []projections.Parked{parked}, Checkpoints: []projections.Checkpoint{before}})
	moved := before
	moved.Position, moved.Beat = eventstore.At64(20), 7
	return projections.Batch{
		Changes:     []projections.Change{ChangeTo(docs[0], 0), ChangeTo(docs[3], 0), bad, ChangeTo(docs[1], 0)},
		Park:        []projections.Parked{{OrderID: "parked-now", Revision: 2, Position: eventstore.At64(6), Reason: "no"}},
		Release:     []string{"parked-before"},
		Checkpoints: []projections.Checkpoint{moved},
	}, before
}

// heldBack writes a mixed batch, then again without its bad change.
func (f *fixture) heldBack(bad projections.Change, want projections.Result) {
	f.Helper()
	batch, before := f.mixed(bad)
	f.same("results", f.results(batch), []projections.Result{projections.Applied, projections.Already, want, projections.Applied}, nil)
	f.same("checkpoint", f.lane(3), before, nil)
	f.same("parked", f.parkedIDs(), []string{"parked-before"}, nil)
	f.checkDocuments()
	f.checkCounters()

	batch.Changes = slices.Delete(batch.Changes, 2, 3)
	f.same("results", f.results(batch), []projections.Result{projections.Already, projections.Already, projections.Already}, nil)
	f.same("checkpoint", f.lane(3), batch.Checkpoints[0], nil)
	f.same("parked", f.parkedIDs(), []string{"parked-now"}, nil)
	f.checkDocuments()
	f.checkCounters()
}

func gap(t *testing.T, s Store) {
	t.Run("of an order that is there", func(t *testing.T) {
		f := start(t, s)
		doc := Documents(10, 1)[0]
		doc.ID, doc.Revision = "gap", 3
		f.put(doc)
		doc.Revision = 7
		f.heldBack(ChangeTo(doc, 5), projections.Gap)
	})
	t.Run("of an order that is not there", func(t *testing.T) {
		f := start(t, s)
		doc := Documents(10, 1)[0]
		doc.ID, doc.Revision = "gap", 7
		f.heldBack(ChangeTo(doc, 1), projections.Gap)
	})
}

func refused(t *testing.T, s Store) {
	f := start(t, s)
	doc := Documents(11, 1)[0]
	doc.ID = "large"
	doc.Notes = append(doc.Notes, view.Note{ID: "large", Text: strings.Repeat("x", projections.MaxDocument)})
	change := ChangeTo(doc, 0)
	f.heldBack(change, projections.Refused)

	// It is the document that was refused, not the order.
	doc.Notes[len(doc.Notes)-1].Text = "short"
	f.put(doc)
	f.checkDocuments()
}

// counters writes random batches with repeats, stale changes and gaps.
func counters(t *testing.T, s Store) {
	f := start(t, s)
	r := random(15)
	pool := Documents(15, 120)
	for round := range 25 {
		var batch projections.Batch
		written := map[string]bool{}
		for range 1 + r.IntN(40) {
			doc := pick(r, pool)
			if written[doc.ID] {
				continue
			}
			written[doc.ID] = true
			old, there := f.docs[doc.ID]
			switch {
			case !there:
				batch.Changes = append(batch.Changes, ChangeTo(doc, 0))
			case r.IntN(4) == 0:
				batch.Changes = append(batch.Changes, ChangeTo(old, old.Revision))
			case r.IntN(5) == 0:
				next := later(r, old)
				batch.Changes = append(batch.Changes, ChangeTo(next, old.Revision+2))
			default:
				batch.Changes = append(batch.Changes, ChangeTo(later(r, old), r.Int64N(old.Revision+2)))
			}
		}
		f.results(batch)
		f.results(batch)
		if round%5 == 4 {
			f.checkDocuments()
			f.checkCounters()
		}
	}
}

// histories writes what Apply makes of whole lives of orders, some events of
// each at a time, and asks about it.
func histories(t *testing.T, s Store) {
	f := start(t, s)
	r := random(17)
	const orders, length = 60, 25
	docs, firsts := [orders]view.Order{}, [orders]int64{}
	lives := [orders][]order.Event{}
	for seed := range lives {
		lives[seed] = ordertest.History(int64(seed), length)
	}
	for i, more := 0, true; more; i++ {
		more = false
		var batch projections.Batch
		for seed, events := range lives {
			if i >= len(events) {
				continue
			}
			more = true
			docs[seed] = projections.Apply(docs[seed], codec.Recorded{
				OrderID: fmt.Sprint("order-", seed), Revision: eventstore.Revision(i), Position: eventstore.At64(uint64(seed)*100 + uint64(i)),
				Event: events[i], Meta: codec.Meta{RecordedAt: firstPlaced.Add(time.Duration(i) * time.Minute)},
			})
			if i == len(events)-1 || r.IntN(4) == 0 {
				batch.Changes = append(batch.Changes, ChangeTo(docs[seed], firsts[seed]))
				firsts[seed] = int64(i) + 1
			}
		}
		for _, result := range f.results(batch) {
			f.same("result", result, projections.Applied, nil)
		}
	}
	f.checkDocuments()
	f.checkCounters()
	all := f.all()
	for range s.Questions / 3 {
		if f.search == nil {
			break
		}
		q := question(r, all)
		page, err := f.search.Orders(f.ctx, q)
		f.samePage(q, page, answer(all, q), err)
	}
}

// concurrentWriters writes lanes from a goroutine each, as the runner does.
func concurrentWriters(t *testing.T, s Store) {
	f := start(t, s)
	lanes := map[int][]view.Order{}
	for _, doc := range Documents(16, 300) {
		lane := projections.LaneOf(doc.ID)
		lanes[lane] = append(lanes[lane], doc)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for lane, docs := range lanes {
		wg.Go(func() {
			cp, err := f.Claim(f.ctx, lane, "me", 0)
			if err != nil {
				t.Errorf("claim lane %d: %v", lane, err)
				return
			}
			r := random(uint64(lane))
			for round := range 3 {
				var batch projections.Batch
				for i := range docs {
					if round > 0 {
						docs[i] = later(r, docs[i])
					}
					batch.Changes = append(batch.Changes, ChangeTo(docs[i], 0))
				}
				cp.Position = eventstore.At64(uint64(100*round + lane))
				batch.Checkpoints = []projections.Checkpoint{cp}
				if _, err := f.Write(f.ctx, batch); err != nil {
					t.Errorf("write lane %d: %v", lane, err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for _, doc := range docs {
				f.docs[doc.ID] = doc
			}
		})
	}
	wg.Wait()
	f.checkDocuments()
	f.checkCounters()
	for _, lane := range slices.Sorted(maps.Keys(lanes)) {
		f.same("position", f.lane(lane).Position, eventstore.At64(uint64(200+lane)), nil)
	}
}
