package expected

import (
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/view"
)

// totals of an order that was never placed know no lines: it has no currency.
func (a *Accounts) totals() view.Totals {
	none := a.none()
	t := view.Totals{Shipping: a.shipping, Discount: a.discount, Tax: a.tax, Paid: none, Refunded: none}
	if a.placed() {
		t.Shipping = none.Add(a.shipping)
		exact := none
		for i := range a.lines {
			exact = exact.Add(a.lines[i].UnitPrice.Times(a.lines[i].left()))
		}
		t.Items = money.Minor(halfAway(exact), exact.Currency())
		t.Rounding = t.Items.Sub(exact)
		t.Grand = t.Items.Add(a.shipping).Sub(a.discount).Add(a.tax)
	}
	for i := range a.payments {
		t.Paid = t.Paid.Add(a.payments[i].captured)
	}
	for i := range a.refunds {
		if a.refunds[i].ended == "completed" {
			t.Refunded = t.Refunded.Add(a.refunds[i].amount)
		}
	}
	return t
}

// halfAway is an amount in whole minor units, half a unit and more away from
// zero.
func halfAway(exact money.Amount) int64 {
	fine := exact.Units(money.MaxScale)
	unit := int64(1)
	for range money.MaxScale - exact.Currency().Decimals() {
		unit *= 10
	}
	whole, rest := fine/unit, fine%unit
	switch {
	case 2*rest >= unit:
		whole++
	case -2*rest >= unit:
		whole--
	}
	return whole
}

// paymentStatus sets what was paid against the total; of a document with a
// negative total, what was given against what is owed.
func (a *Accounts) paymentStatus(t *view.Totals) order.PaymentStatus {
	if t.Paid.IsZero() {
		for i := range a.payments {
			if p := &a.payments[i]; p.ended == "" && !p.exhausted && p.authorised.Cmp(p.captured) > 0 {
				return order.PaymentStatusAuthorised
			}
		}
		return order.PaymentStatusNone
	}
	turn := 1
	if t.Grand.Sign() < 0 {
		turn = -1
	}
	missing := turn * t.Grand.Cmp(t.Paid)
	switch back := turn * t.Refunded.Sign(); {
	case back > 0 && turn*t.Refunded.Cmp(t.Paid) >= 0:
		return order.PaymentStatusRefunded
	case back > 0:
		return order.PaymentStatusPartiallyRefunded
	case missing > 0:
		return order.PaymentStatusPartiallyPaid
	case missing < 0:
		return order.PaymentStatusOverpaid
	}
	return order.PaymentStatusPaid
}

// fulfilment is the furthest that any unit in force came, partially unless all
// of them did, and when the last parcel arrived if all had arrived. Without
// lines of a positive quantity the parcels are counted instead of units.
func (a *Accounts) fulfilment() (status string, deliveredAt *time.Time) {
	var lines, shipped, delivered, returned reach
	var parcels, arrivals int
	for i := range a.lines {
		if l := &a.lines[i]; l.left() > 0 {
			lines.one(true, true)
			shipped.one(l.shipped > 0, l.shipped >= l.left())
			delivered.one(l.delivered > 0, l.delivered >= l.left())
			returned.one(l.returned > 0, l.returned >= l.left())
		}
	}
	for i := range a.parcels {
		parcels++
		if at := a.parcels[i].arrived; at != nil {
			arrivals++
			if deliveredAt == nil || deliveredAt.Before(*at) {
				deliveredAt = at
			}
		}
	}
	if !lines.any {
		shipped.one(parcels > 0, parcels > 0)
		delivered.one(arrivals > 0, arrivals == parcels)
	}
	if !delivered.whole() {
		deliveredAt = nil
	}
	for _, step := range [...]struct {
		reach            reach
		partially, whole order.FulfilmentStatus
	}{
		{returned, order.FulfilmentStatusPartiallyReturned, order.FulfilmentStatusReturned},
		{delivered, order.FulfilmentStatusPartiallyDelivered, order.FulfilmentStatusDelivered},
		{shipped, order.FulfilmentStatusPartiallyShipped, order.FulfilmentStatusShipped},
	} {
		switch {
		case step.reach.whole():
			return string(step.whole), deliveredAt
		case step.reach.any:
			return string(step.partially), deliveredAt
		}
	}
	return string(order.FulfilmentStatusNone), deliveredAt
}

// reach says of a stage whether any line came to it, and whether one did not
// come there whole.
type reach struct{ any, short bool }

func (r *reach) one(some, all bool) { r.any, r.short = r.any || some, r.short || !all }

func (r *reach) whole() bool { return r.any && !r.short }
