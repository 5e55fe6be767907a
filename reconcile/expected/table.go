package expected

import (
	"fmt"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore/codec"
)

// Table says for every stored event type what it books: the catalogue of
// eventstore/codec, read as a bookkeeper reads it.
type Table map[string]Row

// Row books one event of its type into the accounts of its order. It never
// changes the event.
type Row func(a *Accounts, e codec.Recorded)

// Order folds all events of one order, in order of revision. It never panics:
// what cannot be folded is a violation.
func (t Table) Order(id string, events []codec.Recorded) (o Order) {
	if len(events) == 0 {
		return Order{}
	}
	defer func() {
		if r := recover(); r != nil {
			o.Violations = append(o.Violations, Violation{"folds", fmt.Sprintf("order %s: %v", id, r)})
		}
	}()
	a := Accounts{id: id}
	for i := range events {
		row := t[events[i].Type]
		if row == nil {
			panic(fmt.Sprintf("the table has no row for event %q", events[i].Type))
		}
		row(&a, events[i])
	}
	last := &events[len(events)-1]
	a.revision, a.position, a.updatedAt = last.Revision, last.Position, last.Meta.RecordedAt
	o.Document = a.document()
	o.Counted = counted(&o.Document)
	o.Texts = texts(&o.Document)
	o.Violations = violations(events, &o)
	return o
}

// Rows is the table that is right. Each call makes a new one.
//
// "Begins" opens an account by id: the first event that does so has it, later
// ones of the same id say nothing. "Ends" closes it one way or another. What is
// about a thing that nobody began is passed over.
func Rows() Table {
	return Table{
		// The order itself.
		"OrderPlaced": row(func(a *Accounts, e order.Placed) {
			if a.placed() { // only the first placing counts
				return
			}
			a.placing = e
			a.shipping, a.discount, a.tax = e.Shipping, e.Discount, e.Tax
			a.replaceLines(e.Lines)
			if len(a.tags) == 0 {
				a.tags = e.Tags
			}
			if a.metadata == nil {
				a.metadata = e.Metadata
			}
			if a.parcelsTo == nil {
				a.parcelsTo = e.ShippingAddress
			}
		}),
		"OrderConfirmed": row(func(a *Accounts, e order.Confirmed) { a.confirmedAt = &e.At }),
		"OrderCancelled": row(func(a *Accounts, e order.Cancelled) { a.cancelledAt, a.cancelReason = &e.At, e.Reason }),
		"OrderAdoptionCompleted": row(func(a *Accounts, e order.AdoptionCompleted) {
			a.anomalies = e.Anomalies
		}),
		"OrderShippingAddressChanged": row(func(a *Accounts, e order.ShippingAddressChanged) { a.parcelsTo = &e.Address }),
		"OrderTagsSet":                row(func(a *Accounts, e order.TagsSet) { a.tags = e.Tags }),
		"OrderMetadataSet":            row(func(a *Accounts, e order.MetadataSet) { a.metadata = e.Metadata }),
		"OrderNoteAdded": row(func(a *Accounts, e order.NoteAdded) {
			if n, begins := begin(&a.notes, e.NoteID); begins {
				n.text, n.author, n.at = e.Text, e.Author, e.At
			}
		}),

		// What keeps it from going on. A hold that is released is gone; the same
		// id may begin another.
		"OrderHoldPlaced": row(func(a *Accounts, e order.HoldPlaced) {
			if h, begins := begin(&a.holds, e.HoldID); begins {
				h.reason, h.at = e.Reason, e.At
			}
		}),
		"OrderHoldReleased": row(func(a *Accounts, e order.HoldReleased) { drop(&a.holds, e.HoldID) }),

		// Its lines.
		"OrderEditProposed": row(func(a *Accounts, e order.EditProposed) {
			if x, begins := begin(&a.edits, e.EditID); begins {
				x.changes, x.reason, x.at = e.Changes, e.Reason, e.At
			}
		}),
		"OrderEditConfirmed": row(func(a *Accounts, e order.EditConfirmed) {
			if x := find(a.edits, e.EditID); x != nil {
				x.ended, x.at = "confirmed", e.At
			}
			a.replaceLines(e.Lines) // also of an edit that nobody proposed
		}),
		"OrderEditDeclined": row(func(a *Accounts, e order.EditDeclined) {
			if x := find(a.edits, e.EditID); x != nil {
				x.ended, x.at = "declined", e.At
				told(&x.reason, e.Reason)
			}
		}),
		"OrderLinesCancelled": row(func(a *Accounts, e order.LinesCancelled) {
			for _, u := range e.Lines {
				if l := a.line(u.LineID); l != nil {
					l.cancelled += u.Quantity
					l.emptied = true
					a.taken = append(a.taken, cancellation{u.LineID, l.SKU, u.Quantity, e.Reason, e.At})
				}
			}
			a.discount, a.tax = e.Discount, e.Tax
			a.closeEmptied()
		}),

		// Its money. A payment begins with whatever is heard of it first.
		"OrderPaymentAuthorised": row(func(a *Accounts, e order.PaymentAuthorised) {
			p, begins := begin(&a.payments, e.PaymentID)
			if begins {
				p.captured, p.reference, p.at = money.Zero(e.Amount.Currency()), e.Reference, e.At
			}
			p.authorised = e.Amount
			if p.method == "" {
				p.method = e.Method
			}
			if p.captured.Cmp(p.authorised) < 0 {
				p.exhausted = false
			}
		}),
		"OrderPaymentCaptured": row(func(a *Accounts, e order.PaymentCaptured) {
			p, begins := begin(&a.payments, e.PaymentID)
			if begins {
				p.authorised = money.Zero(e.Amount.Currency())
			}
			p.captured, p.at = p.captured.Add(e.Amount), e.At
			told(&p.method, e.Method)
			told(&p.reference, e.Reference)
			if p.captured.Cmp(p.authorised) >= 0 {
				p.exhausted = true
			}
		}),
		"OrderPaymentFailed": row(func(a *Accounts, e order.PaymentFailed) {
			p, begins := begin(&a.payments, e.PaymentID)
			if begins {
				p.method, p.authorised, p.captured = e.Method, a.none(), a.none()
			}
			p.ended, p.reason, p.at = "failed", e.Reason, e.At
		}),
		"OrderPaymentVoided": row(func(a *Accounts, e order.PaymentVoided) {
			if p := find(a.payments, e.PaymentID); p != nil {
				p.ended, p.reason, p.at = "voided", e.Reason, e.At
			}
		}),
		"OrderRefundGranted": row(func(a *Accounts, e order.RefundGranted) {
			if r, begins := begin(&a.refunds, e.RefundID); begins {
				r.paymentID, r.returnID, r.amount, r.reason, r.at = e.PaymentID, e.ReturnID, e.Amount, e.Reason, e.At
			}
		}),
		"OrderRefundCompleted": row(func(a *Accounts, e order.RefundCompleted) {
			if r := find(a.refunds, e.RefundID); r != nil && r.ended == "" {
				r.ended, r.reference, r.at = "completed", e.Reference, e.At
			}
		}),
		"OrderRefundFailed": row(func(a *Accounts, e order.RefundFailed) {
			if r := find(a.refunds, e.RefundID); r != nil && r.ended == "" {
				r.ended, r.at = "failed", e.At
				told(&r.reason, e.Reason)
			}
		}),

		// Its parcels. Adopted history may tell of the arrival first: then the
		// parcel was shipped with what the arrival names, or else with what the
		// late departure does.
		"OrderShipmentDispatched": row(func(a *Accounts, e order.ShipmentDispatched) {
			if p, _ := begin(&a.parcels, e.ShipmentID); p.left == nil {
				p.left, p.carrier, p.tracking = &e.At, e.Carrier, e.TrackingNumber
				a.load(p, e.Lines)
			}
		}),
		"OrderShipmentUpdated": row(func(a *Accounts, e order.ShipmentUpdated) {
			if p := find(a.parcels, e.ShipmentID); p != nil {
				p.carrier, p.tracking = e.Carrier, e.TrackingNumber
			}
		}),
		"OrderShipmentDelivered": row(func(a *Accounts, e order.ShipmentDelivered) {
			p, begins := begin(&a.parcels, e.ShipmentID)
			if begins {
				a.load(p, e.Lines)
			}
			if p.arrived == nil {
				p.arrived = &e.At
				a.book(p.units, func(l *line, n int64) { l.delivered += n })
			}
		}),

		// What comes back.
		"OrderReturnRequested": row(func(a *Accounts, e order.ReturnRequested) {
			if r, begins := begin(&a.returns, e.ReturnID); begins {
				r.asked, r.reason, r.at = e.Lines, e.Reason, e.At
			}
		}),
		"OrderReturnReceived": row(func(a *Accounts, e order.ReturnReceived) {
			r, _ := begin(&a.returns, e.ReturnID)
			r.ended, r.at = "received", e.At
			r.came = append(r.came, e.Lines...)
			for _, u := range e.Lines {
				if l := a.line(u.LineID); l != nil {
					l.returned += u.Quantity
				}
			}
		}),
		"OrderReturnRejected": row(func(a *Accounts, e order.ReturnRejected) {
			if r := find(a.returns, e.ReturnID); r != nil {
				r.ended, r.at = "rejected", e.At
				told(&r.reason, e.Reason)
			}
		}),
	}
}

// row is the row of events of type E.
func row[E order.Event](book func(a *Accounts, e E)) Row {
	return func(a *Accounts, e codec.Recorded) { book(a, e.Event.(E)) }
}

// told sets what the event says, and leaves what it is silent about.
func told(field *string, said string) {
	if said != "" {
		*field = said
	}
}
