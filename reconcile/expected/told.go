package expected

import (
	"slices"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/view"
)

// The law of things: a list of the document has each thing that events begin,
// once, in the order of their beginnings, and each is what the events that name
// it say of it.

const thingsTold = "things-told"

// begun checks the order of beginnings: begins says which thing an event begins
// if nothing did before it.
func (c *check) begun(list string, n int, id func(i int) string, begins func(order.Event) (id string, ok bool)) {
	next := 0
	for i := range c.events {
		thing, ok := begins(c.events[i].Event)
		if !ok {
			continue
		}
		known := false
		for j := next - 1; j >= 0 && !known; j-- {
			known = id(j) == thing
		}
		switch {
		case known:
		case next < n && id(next) == thing:
			next++
		default:
			c.fail(thingsTold, "%s: event %d begins %q, which is not number %d of %d", list, i, thing, next, n)
			return
		}
	}
	if next != n {
		c.fail(thingsTold, "%s: %d, of which events begin %d", list, n, next)
	}
}

func (c *check) payments() {
	c.begun("payments", len(c.d.Payments), func(i int) string { return c.d.Payments[i].ID }, func(e order.Event) (string, bool) {
		switch e := e.(type) {
		case order.PaymentAuthorised:
			return e.PaymentID, true
		case order.PaymentCaptured:
			return e.PaymentID, true
		case order.PaymentFailed:
			return e.PaymentID, true
		}
		return "", false
	})
	for i := range c.d.Payments {
		if has, says := c.d.Payments[i], c.payment(c.d.Payments[i].ID); has != says {
			c.fail(thingsTold, "payment %+v, its events say %+v", has, says)
		}
	}
}

// payment as its events tell it. Whichever end is told last is its status; else
// it is captured since a capture reached what was authorised, and until more is
// authorised than that.
func (c *check) payment(id string) view.Payment {
	var p view.Payment
	begin := func(nothing money.Amount) {
		if p.ID == "" {
			p = view.Payment{ID: id, Authorised: nothing, Captured: nothing, Status: "authorised"}
		}
	}
	ended, nothing := false, money.Amount{} // in no currency before the placing
	for i := range c.events {
		switch e := c.events[i].Event.(type) {
		case order.Placed:
			nothing = money.Zero(c.d.Currency)
		case order.PaymentAuthorised:
			if e.PaymentID != id {
				continue
			}
			if p.ID == "" {
				begin(money.Zero(e.Amount.Currency()))
				p.Reference, p.At = e.Reference, e.At
			}
			p.Authorised, p.Method = e.Amount, or(p.Method, e.Method)
			if !ended && p.Captured.Cmp(p.Authorised) < 0 {
				p.Status = "authorised"
			}
		case order.PaymentCaptured:
			if e.PaymentID != id {
				continue
			}
			begin(money.Zero(e.Amount.Currency()))
			p.Captured, p.At = p.Captured.Add(e.Amount), e.At
			p.Method, p.Reference = or(e.Method, p.Method), or(e.Reference, p.Reference)
			if !ended && p.Captured.Cmp(p.Authorised) >= 0 {
				p.Status = "captured"
			}
		case order.PaymentFailed:
			if e.PaymentID != id {
				continue
			}
			if p.ID == "" {
				begin(nothing)
				p.Method = e.Method
			}
			ended, p.Status, p.Reason, p.At = true, "failed", e.Reason, e.At
		case order.PaymentVoided:
			if e.PaymentID == id && p.ID != "" {
				ended, p.Status, p.Reason, p.At = true, "voided", e.Reason, e.At
			}
		}
	}
	return p
}

// refunds: the first end counts.
func (c *check) refunds() {
	c.begun("refunds", len(c.d.Refunds), func(i int) string { return c.d.Refunds[i].ID }, func(e order.Event) (string, bool) {
		granted, ok := e.(order.RefundGranted)
		return granted.RefundID, ok
	})
	for i := range c.d.Refunds {
		has, says := c.d.Refunds[i], view.Refund{}
		for j := range c.events {
			switch e := c.events[j].Event.(type) {
			case order.RefundGranted:
				if e.RefundID == has.ID && says.Status == "" {
					says = view.Refund{
						ID: e.RefundID, PaymentID: e.PaymentID, ReturnID: e.ReturnID, Amount: e.Amount,
						Status: "granted", Reason: e.Reason, At: e.At,
					}
				}
			case order.RefundCompleted:
				if e.RefundID == has.ID && says.Status == "granted" {
					says.Status, says.Reference, says.At = "completed", e.Reference, e.At
				}
			case order.RefundFailed:
				if e.RefundID == has.ID && says.Status == "granted" {
					says.Status, says.Reason, says.At = "failed", or(e.Reason, says.Reason), e.At
				}
			}
		}
		if has != says {
			c.fail(thingsTold, "refund %+v, its events say %+v", has, says)
		}
	}
}

// shipments: the first departure and the first arrival count. What is in the
// parcel is told by the one that comes first, unless it is an arrival that is
// silent about it.
func (c *check) shipments() {
	c.begun("shipments", len(c.d.Shipments), func(i int) string { return c.d.Shipments[i].ID }, func(e order.Event) (string, bool) {
		switch e := e.(type) {
		case order.ShipmentDispatched:
			return e.ShipmentID, true
		case order.ShipmentDelivered:
			return e.ShipmentID, true
		}
		return "", false
	})
	for i := range c.d.Shipments {
		has := &c.d.Shipments[i]
		var units []order.LineQuantity
		packed := 0 // the event that tells the units
		var carrier, tracking string
		var left, arrived *time.Time
		for j := range c.events {
			switch e := c.events[j].Event.(type) {
			case order.ShipmentDispatched:
				if e.ShipmentID == has.ID && left == nil {
					left, carrier, tracking = &e.At, e.Carrier, e.TrackingNumber
					if len(units) == 0 {
						units, packed = e.Lines, j
					}
				}
			case order.ShipmentUpdated:
				if e.ShipmentID == has.ID && (left != nil || arrived != nil) {
					carrier, tracking = e.Carrier, e.TrackingNumber
				}
			case order.ShipmentDelivered:
				if e.ShipmentID == has.ID && arrived == nil {
					arrived = &e.At
					if left == nil {
						units, packed = e.Lines, j
					}
				}
			}
		}
		c.packed = append(c.packed, packing{packed, units})
		status := "dispatched"
		if arrived != nil {
			status = "delivered"
		}
		if has.Status != status || has.Carrier != carrier || has.TrackingNumber != tracking ||
			!same(has.DispatchedAt, left) || !same(has.DeliveredAt, arrived) || !sameUnits(has.Lines, units) {
			c.fail(thingsTold, "shipment %+v, its events say %s of %v by %s %s, left %v, arrived %v",
				*has, status, units, carrier, tracking, left, arrived)
		}
	}
}

// packing is what went into a parcel, and the number of the event that says so.
type packing struct {
	at    int
	units []order.LineQuantity
}

func sameUnits(a []view.LineQuantity, b []order.LineQuantity) bool {
	return slices.EqualFunc(a, b, func(a view.LineQuantity, b order.LineQuantity) bool {
		return a == view.LineQuantity{LineID: b.LineID, Quantity: b.Quantity}
	})
}

// returns: the last end counts, and everything that came.
func (c *check) returns() {
	c.begun("returns", len(c.d.Returns), func(i int) string { return c.d.Returns[i].ID }, func(e order.Event) (string, bool) {
		switch e := e.(type) {
		case order.ReturnRequested:
			return e.ReturnID, true
		case order.ReturnReceived:
			return e.ReturnID, true
		}
		return "", false
	})
	for i := range c.d.Returns {
		has := &c.d.Returns[i]
		var asked []order.LineQuantity
		var status, reason string
		var at time.Time
		came := 0 // of what came, in agreement
		differ := false
		for j := range c.events {
			switch e := c.events[j].Event.(type) {
			case order.ReturnRequested:
				if e.ReturnID == has.ID && status == "" {
					status, asked, reason, at = "requested", e.Lines, e.Reason, e.At
				}
			case order.ReturnReceived:
				if e.ReturnID == has.ID {
					status, at = "received", e.At
					for _, u := range e.Lines {
						differ = differ || came >= len(has.Received) || has.Received[came] != view.LineQuantity(u)
						came++
					}
				}
			case order.ReturnRejected:
				if e.ReturnID == has.ID && status != "" {
					status, at, reason = "rejected", e.At, or(e.Reason, reason)
				}
			}
		}
		if differ || came != len(has.Received) || has.Status != status || has.Reason != reason || has.At != at || !sameUnits(has.Lines, asked) {
			c.fail(thingsTold, "return %+v, its events say %s at %s, asked %v because %q, %d came", *has, status, at, asked, reason, came)
		}
	}
}

// edits: the last end counts.
func (c *check) edits() {
	c.begun("edits", len(c.d.Edits), func(i int) string { return c.d.Edits[i].ID }, func(e order.Event) (string, bool) {
		proposed, ok := e.(order.EditProposed)
		return proposed.EditID, ok
	})
	for i := range c.d.Edits {
		has := &c.d.Edits[i]
		var changes []order.LineChange
		var status, reason string
		var at time.Time
		for j := range c.events {
			switch e := c.events[j].Event.(type) {
			case order.EditProposed:
				if e.EditID == has.ID && status == "" {
					status, changes, reason, at = "proposed", e.Changes, e.Reason, e.At
				}
			case order.EditConfirmed:
				if e.EditID == has.ID && status != "" {
					status, at = "confirmed", e.At
				}
			case order.EditDeclined:
				if e.EditID == has.ID && status != "" {
					status, at, reason = "declined", e.At, or(e.Reason, reason)
				}
			}
		}
		if has.Status != status || has.Reason != reason || has.At != at || !slices.EqualFunc(has.Changes, changes, sameChange) {
			c.fail(thingsTold, "edit %+v, its events say %s at %s because %q, changes %v", *has, status, at, reason, changes)
		}
	}
}

func sameChange(has view.LineChange, says order.LineChange) bool {
	if l := says.Line; l != nil {
		return has == view.LineChange{Op: says.Op, LineID: l.ID, SKU: l.SKU, Title: l.Title, Quantity: l.Quantity, UnitPrice: l.UnitPrice}
	}
	return has == view.LineChange{Op: says.Op, LineID: says.LineID, Quantity: says.Quantity, UnitPrice: says.UnitPrice}
}

// notes are never changed: each is its first event.
func (c *check) notes() {
	next := 0
	for i := range c.events {
		e, ok := c.events[i].Event.(order.NoteAdded)
		if !ok || slices.ContainsFunc(c.d.Notes[:next], func(n view.Note) bool { return n.ID == e.NoteID }) {
			continue
		}
		says := view.Note{ID: e.NoteID, Text: e.Text, Author: e.Author, At: e.At}
		if next == len(c.d.Notes) || c.d.Notes[next] != says {
			c.fail(thingsTold, "note number %d of %d is not %+v", next, len(c.d.Notes), says)
			return
		}
		next++
	}
	if next != len(c.d.Notes) {
		c.fail(thingsTold, "%d notes, of which events add %d", len(c.d.Notes), next)
	}
}

// holds: those of the document are those that are open after the last event.
func (c *check) holds() {
	var open []view.Hold
	for i := range c.events {
		switch e := c.events[i].Event.(type) {
		case order.HoldPlaced:
			if !slices.ContainsFunc(open, func(h view.Hold) bool { return h.ID == e.HoldID }) {
				open = append(open, view.Hold{ID: e.HoldID, Reason: e.Reason, At: e.At})
			}
		case order.HoldReleased:
			open = slices.DeleteFunc(open, func(h view.Hold) bool { return h.ID == e.HoldID })
		}
	}
	if !slices.Equal(c.d.Holds, open) {
		c.fail(thingsTold, "holds %+v, open are %+v", c.d.Holds, open)
	}
}
