package expected

import (
	"cmp"
	"slices"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/view"
)

// counted is what the document adds to everything that is counted; one that was
// never placed adds nothing.
func counted(d *view.Order) Counted {
	if d.Kind == "" {
		return Counted{}
	}
	t := &d.Totals
	c := Counted{
		Currency: d.Currency, Day: d.PlacedAt.UTC().Format(time.DateOnly), Customer: d.Customer.ID,
		Orders: 1, Lines: int64(len(d.Lines)),
		Items: t.Items.MinorUnits(), Shipping: t.Shipping.MinorUnits(), Grand: t.Grand.MinorUnits(), Paid: t.Paid.MinorUnits(),
		Rounding: t.Rounding.Units(money.MaxScale),
		Groups:   groups(d),
	}
	for i := range d.Lines {
		l := &d.Lines[i]
		c.Units += l.Quantity
		amount := l.Total.Units(money.MaxScale)
		c.Products = append(c.Products, Product{l.SKU, l.Quantity, amount / whole, amount % whole})
	}
	c.Products = sum(c.Products, func(a, b *Product) int { return cmp.Compare(a.SKU, b.SKU) }, func(to, p *Product) {
		to.Units, to.Amount, to.Millionths = to.Units+p.Units, to.Amount+p.Amount, to.Millionths+p.Millionths
	})
	for i := range d.Payments {
		// A capture of nothing is a capture.
		if p := &d.Payments[i]; p.Status == "captured" || !p.Captured.IsZero() {
			c.Methods = append(c.Methods, Method{p.Method, 1, p.Captured.MinorUnits()})
		}
	}
	c.Methods = sum(c.Methods, func(a, b *Method) int { return cmp.Compare(a.Method, b.Method) }, func(to, m *Method) {
		to.Payments, to.Captured = to.Payments+m.Payments, to.Captured+m.Captured
	})
	return c
}

// whole is one unit of a currency in millionths.
const whole = 1_000_000

// groups are the values the document has in every dimension, without empty
// ones.
func groups(d *view.Order) []Group {
	out := make([]Group, 0, 8+len(d.Tags)+len(d.Anomalies))
	in := func(dimension, key string) {
		if g := (Group{dimension, key}); key != "" && !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	in("status", d.Status)
	in("paymentStatus", d.PaymentStatus)
	in("fulfilmentStatus", d.FulfilmentStatus)
	in("kind", d.Kind)
	if d.Source != nil {
		in("source", d.Source.System)
	}
	in("country", d.Country)
	in("state", d.State)
	for _, tag := range d.Tags {
		in("tag", tag)
	}
	for i := range d.Anomalies {
		in("anomaly", d.Anomalies[i].Kind)
	}
	return out
}

// sum adds up rows of the same key, and sorts them by it.
func sum[T any](rows []T, compare func(a, b *T) int, add func(to, row *T)) []T {
	if len(rows) < 2 {
		return rows
	}
	slices.SortStableFunc(rows, func(a, b T) int { return compare(&a, &b) })
	n := 0
	for i := 1; i < len(rows); i++ {
		if compare(&rows[n], &rows[i]) == 0 {
			add(&rows[n], &rows[i])
			continue
		}
		n++
		rows[n] = rows[i]
	}
	return rows[:n+1]
}

// texts are what people look for an order by.
func texts(d *view.Order) []string {
	all := make([]string, 0, 24+2*len(d.Lines))
	all = append(all, d.Number, d.Customer.Name, d.Customer.Email)
	for i := range d.Lines {
		all = append(all, d.Lines[i].SKU, d.Lines[i].Title)
	}
	for i := range d.Notes {
		all = append(all, d.Notes[i].Text)
	}
	all = append(all, d.Tags...)
	for i := range d.Shipments {
		all = append(all, d.Shipments[i].TrackingNumber)
	}
	for _, a := range [...]*view.Address{d.BillingAddress, d.ShippingAddress} {
		if a != nil {
			all = append(all, a.Name, a.Company, a.Street, a.PostalCode, a.City, a.State, a.Country, a.Phone)
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}
