package projections

import (
	"cmp"
	"slices"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/view"
)

// Contributions is what a document adds to everything that is counted. Credit
// notes count with their negative quantities and amounts; cancelled orders
// count with their lines. A document that was never placed adds nothing. Sums
// beyond 64 bits panic.
func Contributions(doc view.Order) Contribution {
	if doc.Kind == "" {
		return Contribution{}
	}
	c := Contribution{
		Currency: doc.Currency,
		Day:      doc.PlacedAt.UTC().Format("2006-01-02"),
		Customer: doc.Customer.ID,
		Sums: Sums{
			Orders: 1, Lines: int64(len(doc.Lines)),
			Items: doc.Totals.Items.MinorUnits(), Shipping: doc.Totals.Shipping.MinorUnits(),
			Grand: doc.Totals.Grand.MinorUnits(), Paid: doc.Totals.Paid.MinorUnits(),
			Rounding: doc.Totals.Rounding.Units(money.MaxScale),
		},
		Groups: groups(doc),
	}
	for i := range doc.Lines {
		l := &doc.Lines[i]
		c.Sums.Units += l.Quantity
		amount := l.Total.Units(money.MaxScale)
		c.Products = append(c.Products, ProductSum{SKU: l.SKU, Units: l.Quantity, Amount: amount / million, Millionths: amount % million})
	}
	c.Products = merged(c.Products, func(a, b ProductSum) int { return cmp.Compare(a.SKU, b.SKU) },
		func(sum *ProductSum, p ProductSum) { *sum = sum.Plus(p, 1) })
	for i := range doc.Payments {
		// A capture of nothing is a capture: vouchers of no value are real.
		if p := &doc.Payments[i]; p.Status == "captured" || !p.Captured.IsZero() {
			c.Methods = append(c.Methods, MethodSum{Method: p.Method, Payments: 1, Captured: p.Captured.MinorUnits()})
		}
	}
	c.Methods = merged(c.Methods, func(a, b MethodSum) int { return cmp.Compare(a.Method, b.Method) },
		func(sum *MethodSum, m MethodSum) {
			sum.Payments, sum.Captured = sum.Payments+m.Payments, sum.Captured+m.Captured
		})
	return c
}

// groups of a document: every dimension of statistics but day and month, each
// key once, empty keys left out.
func groups(doc view.Order) []Group {
	out := make([]Group, 0, 10)
	add := func(dimension, key string) {
		if g := (Group{dimension, key}); key != "" && !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	add("status", doc.Status)
	add("paymentStatus", doc.PaymentStatus)
	add("fulfilmentStatus", doc.FulfilmentStatus)
	add("kind", doc.Kind)
	if doc.Source != nil {
		add("source", doc.Source.System)
	}
	add("country", doc.Country)
	add("state", doc.State)
	for _, tag := range doc.Tags {
		add("tag", tag)
	}
	for _, a := range doc.Anomalies {
		add("anomaly", a.Kind)
	}
	return out
}

// merged sorts rows and adds up those of the same key, in place.
func merged[T any](rows []T, by func(a, b T) int, add func(sum *T, row T)) []T {
	if len(rows) < 2 {
		return rows
	}
	slices.SortStableFunc(rows, by)
	out := rows[:1]
	for _, row := range rows[1:] {
		if last := &out[len(out)-1]; by(*last, row) == 0 {
			add(last, row)
		} else {
			out = append(out, row)
		}
	}
	return out
}
