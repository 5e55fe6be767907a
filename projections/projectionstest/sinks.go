package projectionstest

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
	"github.com/google/uuid"
)

func newGeneration(t *testing.T, open Open) {
	f := start(t, open)
	for lane := range projections.Lanes {
		if got, want := f.lane(lane), (projections.Checkpoint{Lane: lane}); got != want {
			t.Errorf("lane %d is %+v", lane, got)
		}
	}
	parked, err := f.Parked(f.ctx)
	if err != nil || len(parked) != 0 {
		t.Errorf("parked: %v, %v", parked, err)
	}
	if _, ok, err := f.Order(f.ctx, "absent"); ok || err != nil {
		t.Errorf("absent order: %v, %v", ok, err)
	}
	f.checkDocuments()
	f.checkCounters()
}

func roundTrip(t *testing.T, open Open) {
	f := start(t, open)
	docs := Documents(7, 100)
	marked := docs[0]
	marked.Degraded = &view.Degraded{Reason: "of the answer, not of the document", Revision: 9}
	f.put(marked)
	f.docs[marked.ID] = docs[0]
	f.put(docs[1:]...)
	f.checkDocuments()
	for _, want := range docs {
		got, ok, err := f.Order(f.ctx, want.ID)
		f.same("order "+want.ID, []any{got, ok}, []any{want, true}, err)
	}
}

func forward(t *testing.T, open Open) {
	f := start(t, open)
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

func (f *fixture) parkedIDs() []string {
	f.Helper()
	parked, err := f.Parked(f.ctx)
	if err != nil {
		f.Fatal(err)
	}
	out := []string{}
	for _, p := range parked {
		out = append(out, p.OrderID)
	}
	return out
}

func gap(t *testing.T, open Open) {
	t.Run("of an order that is there", func(t *testing.T) {
		f := start(t, open)
		doc := Documents(10, 1)[0]
		doc.ID, doc.Revision = "gap", 3
		f.put(doc)
		doc.Revision = 7
		f.heldBack(ChangeTo(doc, 5), projections.Gap)
	})
	t.Run("of an order that is not there", func(t *testing.T) {
		f := start(t, open)
		doc := Documents(10, 1)[0]
		doc.ID, doc.Revision = "gap", 7
		f.heldBack(ChangeTo(doc, 1), projections.Gap)
	})
}

func refused(t *testing.T, open Open) {
	f := start(t, open)
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

func checkpoints(t *testing.T, open Open) {
	f := start(t, open)
	cp, err := f.Claim(f.ctx, 63, "me", 0)
	f.same("claimed", cp, projections.Checkpoint{Lane: 63, Owner: "me", Token: 1}, err)
	f.same("stored", f.lane(63), cp, nil)
	if _, err := f.Claim(f.ctx, 63, "you", 0); !errors.Is(err, projections.ErrLaneLost) {
		t.Fatalf("claim with an old token: %v", err)
	}

	cp.Position = eventstore.Position{Commit: 1<<63 + 12, Prepare: 9}
	cp.EventID, cp.Beat = uuid.New(), 1<<63+3
	cp.Log = eventstore.LogIdentity{ID: uuid.New(), Epoch: 4}
	f.results(projections.Batch{Checkpoints: []projections.Checkpoint{cp}})
	f.same("moved", f.lane(63), cp, nil)
	f.same("its neighbour", f.lane(62), projections.Checkpoint{Lane: 62}, nil)

	// Another takes the lane; what the former owner writes moves nothing.
	taken, err := f.Claim(f.ctx, 63, "you", cp.Token)
	want := cp
	want.Owner, want.Token = "you", 2
	f.same("taken", taken, want, err)
	late := cp
	late.Position = eventstore.At64(1 << 62)
	_, err = f.Write(f.ctx, projections.Batch{
		Park:        []projections.Parked{{OrderID: "late", Reason: "no"}},
		Checkpoints: []projections.Checkpoint{{Lane: 62, Position: eventstore.At64(1)}, late},
	})
	if !errors.Is(err, projections.ErrLaneLost) {
		t.Fatalf("write of a former owner: %v", err)
	}
	f.same("the lane", f.lane(63), want, nil)
	f.same("the other lane of the batch", f.lane(62), projections.Checkpoint{Lane: 62}, nil)
	f.same("parked", f.parkedIDs(), []string{}, nil)
}

func claims(t *testing.T, open Open) {
	f := start(t, open)
	const claimers, rounds = 8, 5
	var mu sync.Mutex
	won := map[uint64]string{}
	var wg sync.WaitGroup
	for i := range claimers {
		wg.Go(func() {
			owner := fmt.Sprint("owner ", i)
			for token := range uint64(rounds) {
				cp, err := f.Claim(f.ctx, 0, owner, token)
				switch {
				case errors.Is(err, projections.ErrLaneLost):
				case err != nil:
					t.Errorf("claim: %v", err)
				default:
					mu.Lock()
					if cp.Token != token+1 || cp.Owner != owner || won[cp.Token] != "" {
						t.Errorf("%s claimed %+v, which %q had", owner, cp, won[cp.Token])
					}
					won[cp.Token] = owner
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	cp := f.lane(0)
	if cp.Token == 0 || int(cp.Token) != len(won) || cp.Owner != won[cp.Token] {
		t.Errorf("the lane is %+v after claims %v", cp, won)
	}
}

func parking(t *testing.T, open Open) {
	f := start(t, open)
	list := func(want ...projections.Parked) {
		t.Helper()
		got, err := f.Parked(f.ctx)
		f.same("parked", present(got), present(want), err)
	}
	b := projections.Parked{OrderID: "b", Revision: 3, Position: eventstore.Position{Commit: 9, Prepare: 8}, Reason: "größe"}
	a := projections.Parked{OrderID: "a", Revision: 0, Position: eventstore.At64(2), Reason: "x"}
	upper := projections.Parked{OrderID: "B", Revision: 1, Position: eventstore.At64(3), Reason: "y"}
	f.results(projections.Batch{Park: []projections.Parked{b, a, upper}})
	list(upper, a, b)
	f.results(projections.Batch{Park: []projections.Parked{b}})
	list(upper, a, b)
	b.Revision, b.Reason = 4, "further on"
	f.results(projections.Batch{Park: []projections.Parked{b}, Release: []string{"a", "never parked"}})
	list(upper, b)

	// A released order's document comes in the batch that releases it.
	doc := Documents(12, 1)[0]
	doc.ID = "b"
	f.results(projections.Batch{Changes: []projections.Change{ChangeTo(doc, 0)}, Release: []string{"b"}})
	list(upper)
	f.checkDocuments()
}

func generations(t *testing.T, open Open) {
	b := open(t)
	list := func(want ...int) {
		t.Helper()
		got, err := b.Generations(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("generations %v, %v; want %v", got, err, want)
		}
	}
	list()
	first := &fixture{T: t, Sink: openGeneration(t, b, 1), ctx: t.Context(), docs: map[string]view.Order{}}
	second := &fixture{T: t, Sink: openGeneration(t, b, 12), ctx: t.Context(), docs: map[string]view.Order{}}
	list(1, 12)
	docs := Documents(13, 60)
	first.put(docs...)
	second.put(docs[:20]...)
	cp, err := second.Claim(t.Context(), 5, "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	cp.Position = eventstore.At64(77)
	parked := []projections.Parked{{OrderID: "p", Revision: 1, Position: eventstore.At64(3), Reason: "no"}}
	second.results(projections.Batch{Park: parked, Checkpoints: []projections.Checkpoint{cp}})

	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatalf("close again: %v", err)
	}
	if _, err := second.Checkpoints(t.Context()); !errors.Is(err, projections.ErrClosed) {
		t.Fatalf("closed: %v", err)
	}
	first.checkDocuments()

	second.Sink = openGeneration(t, b, 12)
	second.checkDocuments()
	second.checkCounters()
	second.same("checkpoint", second.lane(5), cp, nil)
	got, err := second.Parked(t.Context())
	second.same("parked", got, parked, err)

	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Drop(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := b.Drop(t.Context(), 1); err != nil {
		t.Fatalf("drop again: %v", err)
	}
	list(12)
	second.checkDocuments()
	second.Close()
	fresh := &fixture{T: t, Sink: openGeneration(t, b, 1), ctx: t.Context(), docs: map[string]view.Order{}}
	fresh.checkDocuments()
	fresh.checkCounters()
	fresh.Close()
}

func closing(t *testing.T, open Open) {
	f := start(t, open)
	docs := Documents(14, 50)
	f.put(docs...)
	calls := map[string]func() error{
		"Checkpoints": func() error { _, err := f.Checkpoints(f.ctx); return err },
		"Claim": func() error {
			_, err := f.Claim(f.ctx, 0, "me", 0)
			if errors.Is(err, projections.ErrLaneLost) {
				err = nil
			}
			return err
		},
		"Documents": func() error { _, err := f.Documents(f.ctx, []string{docs[0].ID}); return err },
		"Write": func() error {
			_, err := f.Write(f.ctx, projections.Batch{Changes: []projections.Change{ChangeTo(docs[0], 0)}})
			return err
		},
		"Inspect": func() error {
			_, err := f.Inspect(f.ctx, []projections.Change{ChangeTo(docs[0], 0)})
			return err
		},
		"IDs": func() error { _, err := f.IDs(f.ctx, "", 10); return err },
		"Figures": func() error {
			_, err := f.Figures(f.ctx, func(projections.Figure) error { return nil })
			return err
		},
		"Replace": func() error {
			change := ChangeTo(docs[0], 0)
			return f.Replace(f.ctx, docs[0].ID, &change)
		},
		"Recount": func() error { _, err := f.Recount(f.ctx); return err },
		"Sound":   func() error { _, err := f.Sound(f.ctx); return err },
		"Parked":  func() error { _, err := f.Parked(f.ctx); return err },
		"Refresh": func() error { return f.Refresh(f.ctx) },
		"Order":   func() error { _, _, err := f.Order(f.ctx, docs[0].ID); return err },
		"Orders": func() error {
			_, err := f.Orders(f.ctx, query.Question{Sort: query.Sort{By: query.ByNumber}, Limit: 50})
			return err
		},
		"Customer": func() error { _, _, err := f.Customer(f.ctx, "c1"); return err },
		"CustomerOrders": func() error {
			_, err := f.CustomerOrders(f.ctx, "c1", 10, nil)
			return err
		},
		"Stats": func() error { _, err := f.Stats(f.ctx, query.StatsQuestion{}); return err },
	}
	for _, sink := range []reflect.Type{reflect.TypeFor[projections.Sink](), reflect.TypeFor[query.Views]()} {
		for i := range sink.NumMethod() {
			if name := sink.Method(i).Name; name != "Close" && calls[name] == nil {
				t.Errorf("%s is not called", name)
			}
		}
	}
	var ran, wg sync.WaitGroup
	for name, call := range calls {
		ran.Add(1)
		wg.Go(func() {
			err := call()
			ran.Done()
			for err == nil {
				err = call()
			}
			if !errors.Is(err, projections.ErrClosed) {
				t.Errorf("%s while closing: %v", name, err)
			}
		})
	}
	ran.Wait()
	if err := f.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	wg.Wait()
}

// counters writes random batches with repeats, stale changes and gaps.
func counters(t *testing.T, open Open) {
	f := start(t, open)
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

// histories writes what Apply makes of whole lives of orders, some events at a
// time, and asks about it.
func histories(t *testing.T, open Open) {
	f := start(t, open)
	r := random(17)
	for seed := range int64(60) {
		doc, first := view.Order{}, int64(0)
		events := ordertest.History(seed, 25)
		for i, e := range events {
			doc = projections.Apply(doc, codec.Recorded{
				OrderID: fmt.Sprint("order-", seed), Revision: eventstore.Revision(i), Position: eventstore.At64(uint64(seed)*100 + uint64(i)),
				Event: e, Meta: codec.Meta{RecordedAt: firstPlaced.Add(time.Duration(i) * time.Minute)},
			})
			if i < len(events)-1 && r.IntN(4) > 0 {
				continue
			}
			result := f.results(projections.Batch{Changes: []projections.Change{ChangeTo(doc, first)}})
			f.same("result", result, []projections.Result{projections.Applied}, nil)
			first = int64(i) + 1
		}
	}
	f.checkDocuments()
	f.checkCounters()
	docs := f.all()
	for range 200 {
		q := question(r, docs)
		page, err := f.Orders(f.ctx, q)
		f.samePage(q, page, answer(docs, q), err)
	}
}

// concurrentWriters writes lanes from a goroutine each, as the runner does.
func concurrentWriters(t *testing.T, open Open) {
	f := start(t, open)
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
