package projections_test

import (
	"testing"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

func TestAssembleStats(t *testing.T) {
	one := projections.Sums{Orders: 1, Units: 2, Items: 500, Grand: 700, Rounding: -4000}
	row := func(c money.Currency, dimension, key, day string, s projections.Sums) projections.Counter {
		return projections.Counter{Currency: c, Dimension: dimension, Key: key, Day: day, Sums: s}
	}
	product := func(sku string, units, amount int64) projections.ProductFigure {
		return projections.ProductFigure{Currency: "EUR", ProductSum: projections.ProductSum{SKU: sku, Units: units, Millionths: amount}}
	}
	stats := projections.AssembleStats(projections.Figures{
		Counters: []projections.Counter{
			row("EUR", "all", "", "2024-05-02", one), row("EUR", "all", "", "2024-04-30", one), row("EUR", "all", "", "2024-05-01", one),
			row("EUR", "status", "placed", "", one.Plus(one)), row("EUR", "status", "cancelled", "", one),
			row("EUR", "tag", "gone", "2024-05-01", projections.Sums{}),
			row("BRL", "all", "", "2024-05-01", one),
			row("JPY", "all", "", "2024-05-01", one), row("JPY", "all", "", "2024-05-01", projections.Sums{}.Minus(one)),
		},
		Methods: []projections.MethodFigure{
			{Currency: "EUR", MethodSum: projections.MethodSum{Method: "card", Payments: 1, Captured: 100}},
			{Currency: "EUR", MethodSum: projections.MethodSum{Method: "card", Payments: 2, Captured: 50}},
			{Currency: "EUR", MethodSum: projections.MethodSum{Method: "none"}},
		},
		Products:  []projections.ProductFigure{product("b", 5, 1_000_000), product("a", 5, 2_500_000), product("c", 9, 1), product("z", 0, 0)},
		Top:       2,
		Customers: map[money.Currency]int64{"EUR": 2},
	})
	if len(stats.Currencies) != 2 || stats.Currencies[0].Currency != "BRL" || stats.Currencies[1].Currency != "EUR" {
		t.Fatalf("currencies %+v", stats.Currencies)
	}
	eur := stats.Currencies[1]
	if eur.Orders != 3 || eur.Grand.Decimal() != "21.00" || eur.Rounding.Decimal() != "-0.012" || *eur.Customers != 2 {
		t.Errorf("sums %+v of %d customers", eur.Sums, *eur.Customers)
	}
	keys := func(dimension string) (out string) {
		for _, g := range eur.By[dimension] {
			out += g.Key + " "
		}
		return out
	}
	for dimension, want := range map[string]string{
		"day": "2024-04-30 2024-05-01 2024-05-02 ", "month": "2024-04 2024-05 ", "status": "cancelled placed ", "tag": "",
	} {
		if got := keys(dimension); got != want || eur.By[dimension] == nil {
			t.Errorf("%s: got %q, want %q", dimension, got, want)
		}
	}
	if n := eur.By["month"][1].Orders; n != 2 {
		t.Errorf("%d orders in May", n)
	}
	if len(eur.Payments) != 1 || eur.Payments[0].Payments != 3 || eur.Payments[0].Captured.Decimal() != "1.50" {
		t.Errorf("payments %+v", eur.Payments)
	}
	if top := eur.Top; top.ByUnits[0].SKU+top.ByUnits[1].SKU != "ca" || top.ByAmount[0].SKU+top.ByAmount[1].SKU != "ab" || top.ByAmount[0].Amount.Decimal() != "2.50" {
		t.Errorf("top %+v", top)
	}
	if stats.Currencies[0].Top == nil || *stats.Currencies[0].Customers != 0 {
		t.Errorf("a currency without products or customers: %+v", stats.Currencies[0])
	}
}

// TestLargestOrdersAddUp: orders at the bound of the rules, more of them than
// fit 64 bits in millionths, are counted and told exactly.
func TestLargestOrdersAddUp(t *testing.T) {
	for _, currency := range []money.Currency{"EUR", "JPY", "KWD"} {
		largest := money.Minor(order.MaxMinorUnits, currency)
		doc := view.Order{Kind: "order", Currency: currency, Lines: []view.Line{{ID: "1", SKU: "S", Quantity: 1, UnitPrice: largest, Total: largest}}}
		doc.Totals.Items, doc.Totals.Grand = largest, largest
		one := projections.Contributions(doc)
		var sum projections.ProductSum
		sums := projections.Sums{}
		for range 2000 {
			sum, sums = sum.Plus(one.Products[0], 1), sums.Plus(one.Sums)
		}
		sum.SKU = "S"
		stats := projections.AssembleStats(projections.Figures{
			Counters: []projections.Counter{{Currency: currency, Dimension: "all", Day: "2024-05-01", Sums: sums}},
			Products: []projections.ProductFigure{{Currency: currency, ProductSum: sum}}, Top: 1,
		})
		want := money.Minor(2000*order.MaxMinorUnits, currency)
		if c := stats.Currencies[0]; c.Items != want || c.Top.ByAmount[0].Amount != want {
			t.Errorf("items %s, product %s, want %s", c.Items, c.Top.ByAmount[0].Amount, want)
		}
	}
}
