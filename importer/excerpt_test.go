package importer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/view"
)

// excerptFacts reads the figures that something else computed from the excerpt.
func excerptFacts(t *testing.T) func(name string, into any) {
	text, err := os.ReadFile("excerpt/facts.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Facts map[string]struct {
			Value json.RawMessage `json:"value"`
		} `json:"facts"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return func(name string, into any) {
		t.Helper()
		if err := json.Unmarshal(file.Facts[name].Value, into); err != nil {
			t.Fatalf("fact %s: %v", name, err)
		}
	}
}

// tally is what an independent script counted too, taken from the documents.
type tally struct {
	rows, quantity int
	invoices       int
	exact          money.Amount
}

func (c tally) add(doc view.Order) tally {
	if c.invoices == 0 {
		c.exact = money.Zero("GBP")
	}
	c.invoices++
	c.rows += len(doc.Lines)
	for _, l := range doc.Lines {
		c.quantity += int(l.Quantity)
	}
	c.exact = c.exact.Add(doc.Totals.Items).Sub(doc.Totals.Rounding)
	return c
}

func TestExcerptFigures(t *testing.T) {
	w := newWorld(t)
	report, err := importer.Excerpt(context.Background(), w, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fact := excerptFacts(t)
	equal := func(name string, got any) {
		t.Helper()
		var want any
		fact(name, &want)
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(want) != fmt.Sprint(plain) {
			t.Errorf("%s: got %v, want %v", name, plain, want)
		}
	}
	amount := func(name, want string, got money.Amount) {
		t.Helper()
		if a, err := money.Parse(want, "GBP"); err != nil || a != got {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}

	all := tally{}
	kinds, countries, customers := map[string]int{}, map[string]tally{}, map[string]tally{}
	skus, folded := map[string]bool{}, map[string]bool{}
	var guests, decimals, repeatedRows, repeatedInvoices, negative int
	rounded := money.Zero("GBP")
	subPenny, severalTimes := []string{}, []string{}
	negativePrices := [][2]string{}
	longest := [2]any{0, ""}
	var placed []string
	docs := w.documents()
	for _, id := range slices.Sorted(maps.Keys(docs)) {
		doc := docs[id]
		all = all.add(doc)
		kinds[doc.Kind]++
		countries[doc.Country] = countries[doc.Country].add(doc)
		if doc.Customer.ID == "" {
			guests++
		} else {
			customers[doc.Customer.ID] = customers[doc.Customer.ID].add(doc)
		}
		rounded = rounded.Add(doc.Totals.Items)
		if !doc.Totals.Rounding.IsZero() {
			subPenny = append(subPenny, id)
		}
		placed = append(placed, doc.PlacedAt.Format("2006-01-02 15:04:05"))
		for _, l := range doc.Lines {
			skus[l.SKU], folded[strings.ToUpper(l.SKU)] = true, true
			decimals = max(decimals, l.UnitPrice.Scale())
			if l.UnitPrice.Sign() < 0 {
				negativePrices = append(negativePrices, [2]string{id, l.UnitPrice.Decimal()})
			}
		}
		if len(doc.Lines) > longest[0].(int) {
			longest = [2]any{len(doc.Lines), id}
		}
		for _, a := range doc.Anomalies {
			switch a.Kind {
			case order.AnomalySeveralTimestamps:
				severalTimes = append(severalTimes, id)
			case order.AnomalyNegativeQuantity:
				negative++
			case order.AnomalyRepeatedRow:
				repeatedInvoices++
				n, _ := strconv.Atoi(strings.Fields(a.Detail)[0])
				repeatedRows += n
			}
		}
		if want := []string{"online-retail"}; !slices.Equal(doc.Tags, want) || doc.Source == nil || doc.Source.ID != id || doc.Number != id {
			t.Errorf("order %s: tags %v, source %v, number %q", id, doc.Tags, doc.Source, doc.Number)
		}
	}
	equal("rows", all.rows)
	equal("rows", report.Files[0].Rows)
	equal("invoices", len(docs))
	equal("invoices", report.Made)
	equal("credit_notes", kinds["creditNote"])
	equal("adjustments", kinds["adjustment"])
	equal("orders", kinds["order"])
	equal("customers", len(customers))
	equal("invoices_without_customer", guests)
	equal("stock_codes", len(skus))
	equal("stock_codes_ignoring_case", len(folded))
	equal("quantity_sum", all.quantity)
	equal("sub_penny_invoices", subPenny)
	equal("price_decimals_max", decimals)
	equal("negative_quantity_orders", negative)
	equal("negative_price_rows", negativePrices)
	equal("repeated_rows", repeatedRows)
	equal("invoices_with_repeated_rows", repeatedInvoices)
	equal("several_timestamps", severalTimes)
	equal("longest_invoice", longest)
	equal("first_placed", slices.Min(placed))
	equal("last_placed", slices.Max(placed))
	equal("negative_quantity_orders", report.OddOrders[order.AnomalyNegativeQuantity])

	var sum string
	fact("amount_sum", &sum)
	amount("amount_sum", sum, all.exact)
	fact("rounded_sum", &sum)
	amount("rounded_sum", sum, rounded)
	var perCountry map[string]struct {
		Rows, Invoices, Quantity int
		Amount                   string
	}
	fact("per_country", &perCountry)
	if len(perCountry) != len(countries) {
		t.Errorf("%d countries, want %d", len(countries), len(perCountry))
	}
	for name, want := range perCountry {
		got := countries[name]
		if got.rows != want.Rows || got.invoices != want.Invoices || got.quantity != want.Quantity {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		amount(name, want.Amount, got.exact)
	}
	var top [][3]any
	fact("top5_customers", &top)
	for _, want := range top {
		got := customers[want[0].(string)]
		amount("customer "+want[0].(string), want[1].(string), got.exact)
		if fmt.Sprint(got.invoices) != fmt.Sprint(want[2]) {
			t.Errorf("customer %s: %d invoices, want %v", want[0], got.invoices, want[2])
		}
	}
}

func TestSecondImportAddsNothing(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	first, err := importer.Excerpt(ctx, w, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	head, err := w.store.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, opts := range []importer.Options{{}, {Interleave: true}, {InFlight: 1}} {
		again, err := importer.Excerpt(ctx, w, opts)
		if err != nil {
			t.Fatal(err)
		}
		if again.Events != 0 || again.Made != 0 || again.AlreadyThere != first.Made {
			t.Errorf("%+v: %d events, %d made, %d already there", opts, again.Events, again.Made, again.AlreadyThere)
		}
		if fmt.Sprint(again.Anomalies) != fmt.Sprint(first.Anomalies) {
			t.Errorf("%+v: anomalies %v, at first %v", opts, again.Anomalies, first.Anomalies)
		}
	}
	if after, err := w.store.Head(ctx); err != nil || after != head {
		t.Errorf("head moved from %s to %s (%v)", head, after, err)
	}
}

// TestInterrupted cuts imports off ten times; what is there in the end equals an
// import that was not, and one that sends in business time.
func TestInterrupted(t *testing.T) {
	ctx := context.Background()
	imports := map[string]func(importer.Target, importer.Options) (importer.Report, error){
		"excerpt": func(to importer.Target, opts importer.Options) (importer.Report, error) {
			return importer.Excerpt(ctx, to, opts)
		},
		"olist": func(to importer.Target, opts importer.Options) (importer.Report, error) {
			return importer.Olist(ctx, write(t, smallOlist), to, opts)
		},
	}
	for name, run := range imports {
		whole := newWorld(t)
		if _, err := run(whole, importer.Options{}); err != nil {
			t.Fatal(err)
		}
		want := whole.documents()
		for _, opts := range []importer.Options{{}, {Interleave: true}, {Interleave: true, InFlight: 2}} {
			t.Run(fmt.Sprintf("%s %+v", name, opts), func(t *testing.T) {
				w := newWorld(t)
				for i := range int64(10) {
					cut := &cutOff{Target: w}
					cut.left.Store(3 + i*7)
					if _, err := run(cut, opts); err != nil && !errors.Is(err, errCutOff) {
						t.Fatal(err)
					}
				}
				if _, err := run(w, opts); err != nil {
					t.Fatal(err)
				}
				wantEqual(t, want, w.documents())
			})
		}
	}
}
