package projections_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	"pgregory.net/rapid"
)

func asJSON(t rapid.TB, doc view.Order) string {
	t.Helper()
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The document says of the order what the rules say of it.
func TestDocumentAgreesWithTheDecider(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := ordertest.Events(t)
		doc := fold(view.Order{}, recorded("o", 0, events...)...)
		state := order.Decider.Fold(order.State{}, events...)
		totals, err := state.Totals()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := doc.Totals, totals; got.Items != want.Items || got.Grand != want.Grand || got.Rounding != want.Rounding {
			t.Errorf("totals %+v, want %+v", got, want)
		}
		if doc.Status != string(state.Status) {
			t.Errorf("status %s, want %s", doc.Status, state.Status)
		}
		if doc.PaymentStatus != string(state.PaymentStatus()) {
			t.Errorf("payment status %s, want %s", doc.PaymentStatus, state.PaymentStatus())
		}
		if doc.FulfilmentStatus != string(state.FulfilmentStatus()) {
			t.Errorf("fulfilment status %s, want %s", doc.FulfilmentStatus, state.FulfilmentStatus())
		}
		if len(doc.Lines) != len(state.Lines) {
			t.Fatalf("%d lines, want %d", len(doc.Lines), len(state.Lines))
		}
		for i, l := range doc.Lines {
			if s := state.Lines[i]; l.Quantity != s.Quantity || l.Shipped != s.Shipped || l.Delivered != s.Delivered || l.Returned != s.Returned {
				t.Errorf("line %+v, want %+v", l, s)
			}
		}
	})
}

// Totals follow from lines, payments and refunds, whatever happened.
func TestTotalsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := fold(view.Order{}, recorded("o", 0, ordertest.Events(t)...)...)
		exact, paid, refunded := money.Zero(doc.Currency), money.Zero(doc.Currency), money.Zero(doc.Currency)
		for _, l := range doc.Lines {
			exact = exact.Add(l.UnitPrice.Times(l.Quantity))
		}
		for _, p := range doc.Payments {
			paid = paid.Add(p.Captured)
		}
		for _, r := range doc.Refunds {
			if r.Status == "completed" {
				refunded = refunded.Add(r.Amount)
			}
		}
		x := doc.Totals
		if x.Items.Sub(x.Rounding) != exact || x.Items != exact.Rounded() {
			t.Errorf("items %s minus rounding %s is not %s", x.Items, x.Rounding, exact)
		}
		if x.Grand != x.Items.Add(x.Shipping).Sub(x.Discount).Add(x.Tax) {
			t.Errorf("grand total of %+v", x)
		}
		if x.Paid != paid || x.Refunded != refunded {
			t.Errorf("paid %s refunded %s, want %s and %s", x.Paid, x.Refunded, paid, refunded)
		}
		if (doc.DeliveredAt != nil) != (doc.FulfilmentStatus == "delivered") && !strings.HasSuffix(strings.ToLower(doc.FulfilmentStatus), "returned") {
			t.Errorf("%s with deliveredAt %v", doc.FulfilmentStatus, doc.DeliveredAt)
		}
	})
}

// Apply has an answer for any order of events, with events missing and twice,
// leaves no array nil, and changes nothing that a document before it shows.
func TestApplyIsTotalAndPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := recorded("o", 0, ordertest.Events(t)...)
		shuffled := rapid.Permutation(slices.Concat(events, events)).Draw(t, "events")
		var docs []view.Order
		var texts []string
		doc := view.Order{}
		for _, e := range shuffled {
			doc = projections.Apply(doc, e)
			text := asJSON(t, doc)
			if field := nilSlice(reflect.ValueOf(doc)); field != "" {
				t.Fatalf("%s is null", field)
			}
			docs, texts = append(docs, doc), append(texts, text)
			projections.Contributions(doc)
			projections.OrderWords(doc)
		}
		for i := range docs {
			if now := asJSON(t, docs[i]); now != texts[i] {
				t.Fatalf("document %d changed\nfrom %s\nto   %s", i, texts[i], now)
			}
		}
		// Going on from an old document twice: neither sees the other.
		if len(docs) > 1 {
			i := rapid.IntRange(0, len(docs)-2).Draw(t, "from")
			if again := asJSON(t, projections.Apply(docs[i], shuffled[i+1])); again != texts[i+1] {
				t.Fatalf("applied again\n%s\nfirst\n%s", again, texts[i+1])
			}
		}
	})
}

// nilSlice names a slice that would be null in JSON.
func nilSlice(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			return "" // the model, which an order does not have
		}
		if v.IsNil() {
			return v.Type().String()
		}
		for i := range v.Len() {
			if field := nilSlice(v.Index(i)); field != "" {
				return field
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := nilSlice(v.Field(i)); field != "" {
				return v.Type().Field(i).Name + " " + field
			}
		}
	}
	return ""
}

// A document that was stored and read between events ends as one that was not.
func TestFoldInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := recorded("o", 0, ordertest.Events(t)...)
		whole := fold(view.Order{}, events...)
		cut := rapid.IntRange(0, len(events)).Draw(t, "cut")
		stored := view.Order{}
		if cut > 0 {
			if err := json.Unmarshal([]byte(asJSON(t, fold(view.Order{}, events[:cut]...))), &stored); err != nil {
				t.Fatal(err)
			}
		}
		pieces := fold(stored, events[cut:]...)
		if got, want := asJSON(t, pieces), asJSON(t, whole); got != want {
			t.Errorf("in pieces %s\nwhole     %s", got, want)
		}
		if got, want := projections.Contributions(pieces), projections.Contributions(whole); !reflect.DeepEqual(got, want) {
			t.Errorf("contribution in pieces %+v\nwhole %+v", got, want)
		}
	})
}

// Each group gets the sums of the whole, once, and products and methods add up
// to them.
func TestContributions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := fold(view.Order{}, recorded("o", 0, ordertest.Events(t)...)...)
		c := projections.Contributions(doc)
		rows := projections.Counters(c)
		if len(rows) != len(c.Groups)+1 {
			t.Fatalf("%d rows for %d groups", len(rows), len(c.Groups))
		}
		seen := map[projections.Group]bool{}
		for _, r := range rows {
			g := projections.Group{Dimension: r.Dimension, Key: r.Key}
			if r.Sums != c.Sums || seen[g] || r.Key == "" && r.Dimension != projections.DimensionAll {
				t.Errorf("row %+v", r)
			}
			seen[g] = true
		}
		var units, amount, captured int64
		for i, p := range c.Products {
			units, amount = units+p.Units, amount+p.Amount*1_000_000+p.Millionths
			if i > 0 && c.Products[i-1].SKU >= p.SKU {
				t.Errorf("product %s comes twice or late", p.SKU)
			}
		}
		if units != c.Sums.Units {
			t.Errorf("%d units of products, %d of lines", units, c.Sums.Units)
		}
		exact := money.New(amount, money.MaxScale, doc.Currency)
		if exact != doc.Totals.Items.Sub(doc.Totals.Rounding) {
			t.Errorf("products %s, exact items %s", exact, doc.Totals.Items.Sub(doc.Totals.Rounding))
		}
		for _, m := range c.Methods {
			captured += m.Captured
		}
		if captured != c.Sums.Paid {
			t.Errorf("methods captured %d, paid %d", captured, c.Sums.Paid)
		}
	})
}
