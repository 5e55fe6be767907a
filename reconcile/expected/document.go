package expected

import (
	"slices"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/view"
)

// document reads the order document off the accounts.
func (a *Accounts) document() view.Order {
	e := &a.placing
	d := view.Order{
		ID: a.id, Number: e.Number, Kind: string(e.Kind), Customer: view.Customer(e.Customer),
		Currency: e.Currency, PlacedAt: e.At,
		ConfirmedAt: a.confirmedAt, CancelledAt: a.cancelledAt, CancelReason: a.cancelReason,
		Metadata: a.metadata, Tags: list(a.tags, func(t *string) string { return *t }),
		Anomalies:      list(a.anomalies, func(x *order.Anomaly) view.Anomaly { return view.Anomaly(*x) }),
		BillingAddress: address(e.BillingAddress), ShippingAddress: address(a.parcelsTo),

		Lines:          list(a.lines, (*line).read),
		CancelledLines: list(a.taken, (*cancellation).read),
		Payments:       list(a.payments, (*payment).read),
		Refunds:        list(a.refunds, (*refund).read),
		Shipments:      list(a.parcels, (*parcel).read),
		Returns:        list(a.returns, (*ret).read),
		Edits:          list(a.edits, (*edit).read),
		Holds:          list(a.holds, (*hold).read),
		Notes:          list(a.notes, (*note).read),

		Revision: int64(a.revision), Position: a.position.String(), UpdatedAt: a.updatedAt,
	}
	if e.Source != nil {
		source := view.Source(*e.Source)
		d.Source = &source
	}
	switch {
	case a.cancelledAt != nil:
		d.Status = string(order.StatusCancelled)
	case a.confirmedAt != nil:
		d.Status = string(order.StatusConfirmed)
	case a.placed():
		d.Status = string(order.StatusPlaced)
	}
	if where := located(d.ShippingAddress, d.BillingAddress); where != nil {
		d.Country, d.State, d.City = where.Country, where.State, where.City
	}
	d.Totals = a.totals()
	d.PaymentStatus = string(a.paymentStatus(&d.Totals))
	d.FulfilmentStatus, d.DeliveredAt = a.fulfilment()
	return d
}

// none is nothing, in the order's currency.
func (a *Accounts) none() money.Amount {
	if a.placing.Currency == "" {
		return money.Amount{}
	}
	return money.Zero(a.placing.Currency)
}

// located is the address that says where the order belongs.
func located(parcels, bills *view.Address) *view.Address {
	if parcels != nil {
		return parcels
	}
	return bills
}

func address(a *order.Address) *view.Address {
	if a == nil {
		return nil
	}
	v := view.Address(*a)
	return &v
}

func (l *line) read() view.Line {
	n := l.left()
	return view.Line{
		ID: l.ID, SKU: l.SKU, Title: l.Title, Quantity: n, UnitPrice: l.UnitPrice, Total: l.UnitPrice.Times(n),
		Shipped: l.shipped, Delivered: l.delivered, Returned: l.returned, Metadata: l.Metadata,
	}
}

func (c *cancellation) read() view.CancelledLine {
	return view.CancelledLine{LineID: c.lineID, SKU: c.sku, Quantity: c.units, Reason: c.reason, At: c.at}
}

func (p *payment) read() view.Payment {
	status := "authorised"
	if p.exhausted {
		status = "captured"
	}
	return view.Payment{
		ID: string(p.name), Method: p.method, Status: or(p.ended, status), Authorised: p.authorised, Captured: p.captured,
		Reference: p.reference, Reason: p.reason, At: p.at,
	}
}

func (r *refund) read() view.Refund {
	return view.Refund{
		ID: string(r.name), PaymentID: r.payment, ReturnID: r.ret, Amount: r.amount, Status: or(r.ended, "granted"),
		Reference: r.reference, Reason: r.reason, At: r.at,
	}
}

func (p *parcel) read() view.Shipment {
	status := "dispatched"
	if p.arrived != nil {
		status = "delivered"
	}
	return view.Shipment{
		ID: string(p.name), Status: status, Lines: list(p.units, units), Carrier: p.carrier, TrackingNumber: p.tracking,
		DispatchedAt: p.left, DeliveredAt: p.arrived,
	}
}

func (r *ret) read() view.Return {
	return view.Return{
		ID: string(r.name), Status: or(r.ended, "requested"), Lines: list(r.asked, units),
		Received: list(r.came, func(u *order.ReturnedLine) view.LineQuantity { return view.LineQuantity(*u) }),
		Reason:   r.reason, At: r.at,
	}
}

func (x *edit) read() view.Edit {
	return view.Edit{
		ID: string(x.name), Status: or(x.ended, "proposed"), Changes: list(x.changes, change), Reason: x.reason, At: x.at,
	}
}

func (h *hold) read() view.Hold { return view.Hold{ID: string(h.name), Reason: h.reason, At: h.at} }

func (n *note) read() view.Note {
	return view.Note{ID: string(n.name), Text: n.text, Author: n.author, At: n.at}
}

func units(u *order.LineQuantity) view.LineQuantity {
	return view.LineQuantity{LineID: u.LineID, Quantity: u.Quantity}
}

func change(c *order.LineChange) view.LineChange {
	if l := c.Line; l != nil {
		return view.LineChange{Op: c.Op, LineID: l.ID, SKU: l.SKU, Title: l.Title, Quantity: l.Quantity, UnitPrice: l.UnitPrice}
	}
	return view.LineChange{Op: c.Op, LineID: c.LineID, Quantity: c.Quantity, UnitPrice: c.UnitPrice}
}

// list reads every account; it is never nil.
func list[A, V any](accounts []A, read func(*A) V) []V {
	out := make([]V, len(accounts))
	for i := range accounts {
		out[i] = read(&accounts[i])
	}
	return out
}

func or(told, otherwise string) string {
	if told != "" {
		return told
	}
	return otherwise
}

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
