package expected

import (
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
		Returns:        list(a.returns, (*sentBack).read),
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
		ID: string(r.name), PaymentID: r.paymentID, ReturnID: r.returnID, Amount: r.amount, Status: or(r.ended, "granted"),
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

func (r *sentBack) read() view.Return {
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
