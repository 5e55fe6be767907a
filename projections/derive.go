package projections

import (
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/view"
)

// totalled adds up the lines in force, by the rule of the domain.
func totalled(doc view.Order) view.Order {
	if doc.Kind == "" {
		return doc // no currency yet: the placing event comes back here
	}
	lines := make([]order.Line, len(doc.Lines))
	for i := range doc.Lines {
		lines[i].Quantity, lines[i].UnitPrice = doc.Lines[i].Quantity, doc.Lines[i].UnitPrice
	}
	t := &doc.Totals
	sums, err := order.TotalsOf(lines, t.Shipping, t.Discount, t.Tax)
	if err != nil {
		panic("projections: totals of order " + doc.ID + ": " + err.Error())
	}
	t.Items, t.Rounding, t.Grand = sums.Items, sums.Rounding, sums.Grand
	return settled(doc)
}

// settled sums what was paid and refunded, and says how that stands against the
// total.
func settled(doc view.Order) view.Order {
	var paid, refunded money.Amount
	if doc.Currency != "" {
		paid = money.Zero(doc.Currency)
		refunded = paid
	}
	open := false
	for i := range doc.Payments {
		p := &doc.Payments[i]
		paid = paid.Add(p.Captured)
		open = open || p.Status == "authorised" && p.Authorised.Cmp(p.Captured) > 0
	}
	for i := range doc.Refunds {
		if r := &doc.Refunds[i]; r.Status == "completed" {
			refunded = refunded.Add(r.Amount)
		}
	}
	doc.Totals.Paid, doc.Totals.Refunded = paid, refunded
	doc.PaymentStatus = string(order.PaymentStatusOf(paid, refunded, doc.Totals.Grand, open))
	return doc
}

// fulfilled says how far the units in force have come. Units that came back had
// arrived: deliveredAt does not look at returns.
func fulfilled(doc view.Order) view.Order {
	units := make([]order.Units, len(doc.Lines))
	for i := range doc.Lines {
		l := &doc.Lines[i]
		units[i] = order.Units{Ordered: l.Quantity, Shipped: l.Shipped, Delivered: l.Delivered, Returned: l.Returned}
	}
	arrived, last := 0, (*time.Time)(nil)
	for i := range doc.Shipments {
		if at := doc.Shipments[i].DeliveredAt; at != nil {
			if arrived++; last == nil || at.After(*last) {
				last = at
			}
		}
	}
	doc.FulfilmentStatus = string(order.FulfilmentStatusOf(units, len(doc.Shipments), arrived))
	for i := range units {
		units[i].Returned = 0
	}
	doc.DeliveredAt = nil
	if order.FulfilmentStatusOf(units, len(doc.Shipments), arrived) == order.FulfilmentStatusDelivered {
		doc.DeliveredAt = last
	}
	return doc
}
