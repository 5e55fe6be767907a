package projections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/view"
)

// arrivals are events first to last of an order: a placing, then notes.
func arrivals(id string, first, last int) (out []arrival) {
	for r := first; r <= last; r++ {
		var e order.Event = order.NoteAdded{NoteID: fmt.Sprint(r), Text: "x", At: time.Unix(0, 0)}
		if r == 0 {
			e = order.Placed{Kind: order.KindOrder, Currency: "EUR"}
		}
		out = append(out, arrival{
			orderID: id, revision: int64(r), position: eventstore.At64(uint64(r + 1)),
			event: codec.Recorded{OrderID: id, Revision: eventstore.Revision(r), Position: eventstore.At64(uint64(r + 1)), Event: e},
		})
	}
	return out
}

func document(revision int) view.Order {
	c, _, err := (Fold{}).complete().order(view.Order{}, false, arrivals("o", 0, revision))
	if err != nil {
		panic(err)
	}
	return c.Order
}

func TestFoldOrder(t *testing.T) {
	poisoned := func(events []arrival, i int) []arrival {
		events[i].poison = errors.New("not JSON")
		return events
	}
	mixed := arrivals("o", 0, 2)
	mixed[1].event.Event = order.PaymentCaptured{PaymentID: "p", Amount: money.MustParse("1", "EUR")}
	mixed[2].event.Event = order.PaymentCaptured{PaymentID: "p", Amount: money.MustParse("1", "BRL")}
	for _, c := range []struct {
		name      string
		stored    int // revision of the document; -1: none
		events    []arrival
		first, to int64 // of the change, with an error too; to -1: no change
		err       string
	}{
		{"a new order", -1, arrivals("o", 0, 3), 0, 3, ""},
		{"the next events", 3, arrivals("o", 4, 5), 4, 5, ""},
		{"some known", 3, arrivals("o", 1, 5), 4, 5, ""},
		{"all known", 3, arrivals("o", 0, 3), 4, -1, ""},
		{"delivered twice", 1, append(arrivals("o", 2, 4), arrivals("o", 3, 6)...), 2, 6, ""},
		{"a gap", 3, arrivals("o", 5, 6), 4, -1, "missing"},
		{"a gap before the first", -1, arrivals("o", 1, 2), 0, -1, "missing"},
		{"poison", 0, poisoned(arrivals("o", 1, 3), 1), 1, 1, "not JSON"},
		{"poison that is known", 1, poisoned(arrivals("o", 1, 3), 0), 2, 3, ""},
		{"two currencies", -1, mixed, 0, 1, "BRL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var doc view.Order
			if c.stored >= 0 {
				doc = document(c.stored)
			}
			change, changed, err := (Fold{}).complete().order(doc, c.stored >= 0, c.events)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %s", err, c.err)
				}
				err = nil
			}
			if err != nil || changed != (c.to >= 0) {
				t.Fatalf("changed %v, error %v", changed, err)
			}
			if changed && (change.First != c.first || change.Order.Revision != c.to || change.Contribution.Currency != "EUR") {
				t.Errorf("change from %d to %d", change.First, change.Order.Revision)
			}
		})
	}
}

// documents is a sink that only has documents, and counts how many it was
// asked for.
type documents struct {
	Sink
	has   map[string]view.Order
	asked int
}

func (d *documents) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	d.asked += len(ids)
	return d.has, nil
}

func TestFoldLoadsWhatItGoesOnFrom(t *testing.T) {
	sink := &documents{has: map[string]view.Order{"o": document(2)}}
	a := &applier{sink: sink, folding: Fold{}.complete(), parked: map[string]Parked{"p": {OrderID: "p"}}}
	f, err := a.fold(t.Context(), []work{
		{orderID: "new", events: arrivals("new", 0, 1)},
		{orderID: "o", events: arrivals("o", 3, 4)},
		{orderID: "p", events: arrivals("p", 3, 4)}, // parked: waits
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.batch.Changes) != 2 || len(f.trouble) != 0 || sink.asked != 1 {
		t.Errorf("%d changes, trouble %v, %d documents loaded", len(f.batch.Changes), f.trouble, sink.asked)
	}
}

func TestGroupByOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var all []arrival
		want := map[string][]int64{}
		for range rng.IntN(40) {
			id := fmt.Sprint(rng.IntN(4))
			for range 1 + rng.IntN(3) {
				all = append(all, arrival{orderID: id, revision: int64(len(want[id]))})
				want[id] = append(want[id], int64(len(want[id])))
			}
		}
		groups := groupByOrder(all)
		if len(groups) != len(want) {
			t.Fatalf("%d groups of %d orders", len(groups), len(want))
		}
		for _, w := range groups {
			if len(w.events) != len(want[w.orderID]) {
				t.Fatalf("order %s has %d of %d events", w.orderID, len(w.events), len(want[w.orderID]))
			}
			for i, e := range w.events {
				if e.orderID != w.orderID || e.revision != int64(i) {
					t.Fatalf("order %s: event %d is %s %d", w.orderID, i, e.orderID, e.revision)
				}
			}
		}
	}
}
