package waiting_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/docket-orders/docket/docs/examples/waiting"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/readmodel"
	"github.com/docket-orders/docket/view"
	"pgregory.net/rapid"
)

// For any life of an order: the document says of what waits what docket's own
// document says, and is the same after a store has kept it between two events.
func TestWaitsForWhatTheOrderSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, kept, own := waiting.Order{}, waiting.Order{}, projections.Empty("o")
		for i, e := range ordertest.Events(t) {
			recorded := codec.Recorded{OrderID: "o", Revision: eventstore.Revision(i), Position: eventstore.At64(uint64(i) + 1), Event: e}
			doc, kept, own = waiting.View.Apply(doc, recorded), waiting.View.Apply(kept, recorded), projections.Apply(own, recorded)
			kept = keep(t, kept)
			if !reflect.DeepEqual(keep(t, doc), kept) {
				t.Fatalf("after %T: %+v, kept between events %+v", e, doc, kept)
			}
			if want := waitsFor(own); doc.Units != want {
				t.Fatalf("after %T: %d units wait, the order says %d", e, doc.Units, want)
			}
		}
	})
}

func keep(t *rapid.T, doc waiting.Order) (out waiting.Order) {
	data, err := json.Marshal(doc)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return out
}

// waitsFor is how many units of an order nobody has sent.
func waitsFor(o view.Order) (units int64) {
	if o.Kind != string(order.KindOrder) || o.Status == string(order.StatusCancelled) {
		return 0
	}
	for _, l := range o.Lines {
		units += max(0, l.Quantity-l.Shipped)
	}
	return units
}

// The view comes to a docket that has orders already, on every store: it is made
// from the log, answers what docket's own documents say, sees what is written
// with its token, and a later version shows what it would change before it is
// switched to. Then the way back.
func TestFromEmptyToSwitched(t *testing.T) {
	for name, stores := range allStores {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, stores(t))
			w.open()
			w.fill()
			w.close()

			w.open(waiting.View)
			w.caughtUp()
			w.answersAsTheOrdersSay(waiting.View)
			w.placesAndSees()
			w.close()

			w.open(sinceTheLastParcel)
			w.waitsForASwitch()
			w.answersAsTheOrdersSay(waiting.View)
			w.differsOnlyInSince()
			w.switches(2)
			w.caughtUp()
			w.answersAsTheOrdersSay(sinceTheLastParcel)
			w.rollsBack(1)
			w.answersAsTheOrdersSay(waiting.View)
		})
	}
}

// sinceTheLastParcel is a second version: who got a part waits from then on.
var sinceTheLastParcel = func() readmodel.View[waiting.Order] {
	v := waiting.View
	v.Version = 2
	v.Apply = func(doc waiting.Order, e readmodel.Event) waiting.Order {
		had := len(doc.Parcels)
		doc = waiting.View.Apply(doc, e)
		if len(doc.Parcels) > had {
			doc.Since = e.Event.OccurredAt()
		}
		return doc
	}
	return v
}()

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// answersAsTheOrdersSay compares every answer with what the events of the orders
// make of it, one by one.
func (w *world) answersAsTheOrdersSay(v readmodel.View[waiting.Order]) {
	w.t.Helper()
	want := w.fold(v)
	waits := slices.Collect(maps.Keys(want))
	waits = slices.DeleteFunc(waits, func(id string) bool { return want[id].Units <= 0 })
	slices.SortFunc(waits, func(a, b string) int { return cmp.Or(want[a].Since.Compare(want[b].Since), cmp.Compare(a, b)) })
	if len(waits) < 100 || len(waits) == len(want) {
		w.t.Fatalf("%d of %d orders wait: this shows nothing", len(waits), len(want))
	}
	w.same("all that wait", w.walk(url.Values{"days": {"0"}, "limit": {"37"}}), waits)
	years := []string{}
	for _, id := range waits {
		if want[id].Country == "DE" && want[id].Since.Before(time.Now().AddDate(0, 0, -4000)) {
			years = append(years, id)
		}
	}
	w.same("long, to Germany", w.walk(url.Values{"days": {"4000"}, "country": {"DE"}, "limit": {"3"}}), years)

	type place struct {
		country  string
		currency money.Currency
	}
	sums := map[place]readmodel.Figure{}
	for _, id := range waits {
		doc := want[id]
		at := place{cmp.Or(doc.Country, "unknown"), doc.Value.Currency()}
		f, seen := sums[at]
		if !seen {
			f = readmodel.Figure{Group: at.country, Amount: money.Zero(at.currency)}
		}
		f.Orders, f.Units, f.Amount = f.Orders+1, f.Units+doc.Units, f.Amount.Add(doc.Value)
		sums[at] = f
	}
	got := w.ask("by-country", nil).([]readmodel.Figure)
	if len(got) != len(sums) {
		w.t.Errorf("figures of %d groups, want %d", len(got), len(sums))
	}
	for _, f := range got {
		if f != sums[place{f.Group, f.Amount.Currency()}] {
			w.t.Errorf("%+v, want %+v", f, sums[place{f.Group, f.Amount.Currency()}])
		}
	}

	for id, doc := range want {
		row, _, _, err := w.model().Document(w.t.Context(), id, w.read)
		if err != nil {
			w.t.Fatal(err)
		}
		data, err := json.Marshal(doc)
		if err != nil {
			w.t.Fatal(err)
		}
		if string(row.Document) != string(data) {
			w.t.Fatalf("document of %s:\n%s\nwant\n%s", id, row.Document, data)
		}
	}
}

// walk is the orders of a question, page by page; each page tells how many there
// are in all.
func (w *world) walk(params url.Values) (ids []string) {
	w.t.Helper()
	total := int64(-1)
	for {
		page := w.ask("longer-than", params).(readmodel.Page[waiting.Order])
		for _, item := range page.Items {
			ids = append(ids, item.OrderID)
		}
		if total >= 0 && page.Total != total {
			w.t.Errorf("%v: %d in all, and then %d", params, total, page.Total)
		}
		total = page.Total
		if page.Next == "" {
			break
		}
		params.Set("cursor", page.Next)
	}
	if total != int64(len(ids)) {
		w.t.Errorf("%v: %d in all, %d walked through", params, total, len(ids))
	}
	return ids
}

func (w *world) same(what string, got, want []string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Fatalf("%s: %d orders, want %d\n%.300s\n%.300s", what, len(got), len(want), fmt.Sprint(got), fmt.Sprint(want))
	}
}

// differsOnlyInSince looks at the difference before the switch: exactly the
// orders that wait and got a part change, in that field and in their place.
func (w *world) differsOnlyInSince() {
	w.t.Helper()
	d, err := w.model().Views.Diff(w.t.Context(), false, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	old, now := w.fold(waiting.View), w.fold(sinceTheLastParcel)
	document, listed := int64(0), int64(0)
	for id, doc := range now {
		if !doc.Since.Equal(old[id].Since) {
			document++
			if doc.Units > 0 {
				listed++
			}
		}
	}
	if listed == 0 {
		w.t.Fatal("no order that waits got a part")
	}
	want := map[string]int64{"/model/since": document, "/placedAt": listed}
	for _, s := range d.Stores {
		got := map[string]int64{}
		for _, f := range s.Fields {
			got[f.Path] = f.Orders
		}
		if !maps.Equal(got, want) || s.OnlyOld+s.OnlyNew != 0 || s.Changed != document {
			w.t.Errorf("%s: %v, want %v; %+v", s.Store, got, want, s)
		}
	}
	if days := 36500; !d.Within([]string{"/model/since", "/placedAt"}) || len(w.walk(url.Values{"days": {fmt.Sprint(days)}})) != 0 {
		w.t.Errorf("other fields differ too: %+v", d)
	}
}

// What is not asked as the view says is refused, with what to do.
func TestWrongQuestions(t *testing.T) {
	w := newWorld(t, allStores["sqlite"](t))
	w.open(waiting.View)
	now := time.Now()
	for _, c := range []struct {
		question string
		params   url.Values
		want     error
	}{
		{"nothing", nil, readmodel.ErrQuestion},
		{"longer-than", url.Values{"days": {"-1"}}, readmodel.ErrParameter},
		{"longer-than", url.Values{"days": {"seven"}}, readmodel.ErrParameter},
		{"longer-than", url.Values{"days": {"1", "2"}}, readmodel.ErrParameter},
		{"longer-than", url.Values{"dayz": {"1"}}, readmodel.ErrParameter},
		{"longer-than", url.Values{"limit": {"0"}}, readmodel.ErrParameter},
		{"longer-than", url.Values{"country": {string(make([]byte, 500))}}, readmodel.ErrParameter},
	} {
		if _, _, err := w.model().Ask(t.Context(), c.question, c.params, now, w.read); !errors.Is(err, c.want) {
			t.Errorf("%s %v: %v", c.question, c.params, err)
		}
	}
}
