package projections

import (
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/view"
)

// totalled sums the lines in force: rounded once, what rounding added kept
// exactly.
func totalled(doc view.Order) view.Order {
	if doc.Kind == "" {
		return doc // no currency yet: the placing event will come back here
	}
	exact := money.Zero(doc.Currency)
	for i := range doc.Lines {
		exact = exact.Add(doc.Lines[i].Total)
	}
	t := &doc.Totals
	t.Items = exact.Rounded()
	t.Rounding = t.Items.Sub(exact)
	t.Grand = t.Items.Add(t.Shipping).Sub(t.Discount).Add(t.Tax)
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
	authorised, captured := false, false
	for i := range doc.Payments {
		p := &doc.Payments[i]
		paid = paid.Add(p.Captured)
		authorised = authorised || p.Status == "authorised"
		captured = captured || p.Status == "captured"
	}
	for i := range doc.Refunds {
		if r := &doc.Refunds[i]; r.Status == "completed" {
			refunded = refunded.Add(r.Amount)
		}
	}
	doc.Totals.Paid, doc.Totals.Refunded = paid, refunded
	doc.PaymentStatus = string(paymentStatus(doc.Totals.Grand, paid, refunded, authorised))
	return doc
}

func paymentStatus(grand, paid, refunded money.Amount, authorised bool) order.PaymentStatus {
	switch {
	case paid.Sign() <= 0 && authorised:
		return order.PaymentStatusAuthorised
	case paid.Sign() <= 0:
		return order.PaymentStatusNone
	case refunded.Sign() > 0 && refunded.Cmp(paid) >= 0:
		return order.PaymentStatusRefunded
	case refunded.Sign() > 0:
		return order.PaymentStatusPartiallyRefunded
	case paid.Cmp(grand) < 0:
		return order.PaymentStatusPartiallyPaid
	case paid.Cmp(grand) > 0:
		return order.PaymentStatusOverpaid
	}
	return order.PaymentStatusPaid
}

// fulfilled says how far the units in force have come.
func fulfilled(doc view.Order) view.Order {
	var quantity, shipped, arrived, back int64
	for i := range doc.Lines {
		l := &doc.Lines[i]
		quantity, shipped, arrived, back = quantity+l.Quantity, shipped+l.Shipped, arrived+l.Delivered, back+l.Returned
	}
	doc.FulfilmentStatus = string(fulfilmentStatus(quantity, shipped, arrived, back))
	doc.DeliveredAt = nil
	if fulfilmentStatus(quantity, shipped, arrived, 0) == order.FulfilmentStatusDelivered {
		doc.DeliveredAt = lastArrival(doc.Shipments)
	}
	return doc
}

func fulfilmentStatus(quantity, shipped, delivered, returned int64) order.FulfilmentStatus {
	switch {
	case returned > 0 && returned >= quantity:
		return order.FulfilmentStatusReturned
	case returned > 0:
		return order.FulfilmentStatusPartiallyReturned
	case delivered > 0 && delivered >= quantity:
		return order.FulfilmentStatusDelivered
	case delivered > 0:
		return order.FulfilmentStatusPartiallyDelivered
	case shipped > 0 && shipped >= quantity:
		return order.FulfilmentStatusShipped
	case shipped > 0:
		return order.FulfilmentStatusPartiallyShipped
	}
	return order.FulfilmentStatusNone
}

func lastArrival(shipments []view.Shipment) *time.Time {
	var last *time.Time
	for i := range shipments {
		if at := shipments[i].DeliveredAt; at != nil && (last == nil || at.After(*last)) {
			last = at
		}
	}
	return last
}
