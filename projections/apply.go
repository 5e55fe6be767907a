package projections

import (
	"fmt"
	"slices"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/view"
)

// Version of Apply, Contributions and OrderWords together: raised when any of
// them gives another answer for the same events, so that generations built by
// an earlier version are rebuilt.
const Version = 1

// Apply folds one event into the document of its order; the zero document is
// the order without events. It is pure and total: it changes nothing that doc
// points to, and it has an answer for events in any order. What names a thing
// that is not there makes it where the event says enough (a capture without
// authorisation, an arrival without departure) and is passed over where it does
// not. Only amounts that cannot be added panic: beyond 64 bits, or of two
// currencies.
func Apply(doc view.Order, e codec.Recorded) view.Order {
	if doc.Position == "" {
		doc = Empty(e.OrderID)
	}
	switch event := e.Event.(type) {
	case order.Placed:
		doc = placed(doc, event)
	case order.Confirmed:
		doc.ConfirmedAt = &event.At
		if doc.Status == "" || doc.Status == string(order.StatusPlaced) {
			doc.Status = string(order.StatusConfirmed)
		}
	case order.ShippingAddressChanged:
		doc.ShippingAddress = address(&event.Address)
		doc = located(doc)
	case order.EditProposed:
		if index(doc.Edits, event.EditID, editID) < 0 {
			doc.Edits = with(doc.Edits, view.Edit{
				ID: event.EditID, Status: "proposed", Changes: lineChanges(event.Changes), Reason: event.Reason, At: event.At,
			})
		}
	case order.EditConfirmed:
		doc.Edits = change(doc.Edits, event.EditID, editID, func(edit *view.Edit) {
			edit.Status, edit.At = "confirmed", event.At
		})
		doc = fulfilled(totalled(edited(doc, event.Lines)))
	case order.EditDeclined:
		doc.Edits = change(doc.Edits, event.EditID, editID, func(edit *view.Edit) {
			edit.Status, edit.At = "declined", event.At
			if event.Reason != "" {
				edit.Reason = event.Reason
			}
		})
	case order.TagsSet:
		doc.Tags = notNil(event.Tags)
	case order.MetadataSet:
		doc.Metadata = event.Metadata
	case order.NoteAdded:
		if index(doc.Notes, event.NoteID, noteID) < 0 {
			doc.Notes = with(doc.Notes, view.Note{ID: event.NoteID, Text: event.Text, Author: event.Author, At: event.At})
		}
	case order.HoldPlaced:
		if index(doc.Holds, event.HoldID, holdID) < 0 {
			doc.Holds = with(doc.Holds, view.Hold{ID: event.HoldID, Reason: event.Reason, At: event.At})
		}
	case order.HoldReleased:
		if i := index(doc.Holds, event.HoldID, holdID); i >= 0 {
			doc.Holds = without(doc.Holds, i)
		}
	case order.PaymentAuthorised:
		doc = paymentAuthorised(doc, event)
	case order.PaymentCaptured:
		doc = paymentCaptured(doc, event)
	case order.PaymentFailed:
		doc = paymentFailed(doc, event)
	case order.PaymentVoided:
		doc.Payments = change(doc.Payments, event.PaymentID, paymentID, func(p *view.Payment) {
			p.Status, p.Reason, p.At = "voided", event.Reason, event.At
		})
		doc = settled(doc)
	case order.ShipmentDispatched:
		doc = dispatched(doc, event)
	case order.ShipmentUpdated:
		doc.Shipments = change(doc.Shipments, event.ShipmentID, shipmentID, func(s *view.Shipment) {
			s.Carrier, s.TrackingNumber = event.Carrier, event.TrackingNumber
		})
	case order.ShipmentDelivered:
		doc = delivered(doc, event)
	case order.ReturnRequested:
		if index(doc.Returns, event.ReturnID, returnID) < 0 {
			doc.Returns = with(doc.Returns, view.Return{
				ID: event.ReturnID, Status: "requested", Lines: lineQuantities(event.Lines),
				Received: []view.LineQuantity{}, Reason: event.Reason, At: event.At,
			})
		}
	case order.ReturnReceived:
		doc = returned(doc, event)
	case order.ReturnRejected:
		doc.Returns = change(doc.Returns, event.ReturnID, returnID, func(r *view.Return) {
			r.Status, r.At = "rejected", event.At
			if event.Reason != "" {
				r.Reason = event.Reason
			}
		})
	case order.RefundGranted:
		if index(doc.Refunds, event.RefundID, refundID) < 0 {
			doc.Refunds = with(doc.Refunds, view.Refund{
				ID: event.RefundID, PaymentID: event.PaymentID, ReturnID: event.ReturnID,
				Amount: event.Amount, Status: "granted", Reason: event.Reason, At: event.At,
			})
		}
	case order.RefundCompleted:
		doc.Refunds = change(doc.Refunds, event.RefundID, refundID, func(r *view.Refund) {
			if r.Status == "granted" {
				r.Status, r.Reference, r.At = "completed", event.Reference, event.At
			}
		})
		doc = settled(doc)
	case order.RefundFailed:
		doc.Refunds = change(doc.Refunds, event.RefundID, refundID, func(r *view.Refund) {
			if r.Status == "granted" {
				r.Status, r.At = "failed", event.At
				if event.Reason != "" {
					r.Reason = event.Reason
				}
			}
		})
	case order.LinesCancelled:
		doc = totalled(fulfilled(linesCancelled(doc, event)))
	case order.Cancelled:
		doc.Status, doc.CancelReason, doc.CancelledAt = string(order.StatusCancelled), event.Reason, &event.At
	case order.AdoptionCompleted:
		doc.Anomalies = make([]view.Anomaly, len(event.Anomalies))
		for i, a := range event.Anomalies {
			doc.Anomalies[i] = view.Anomaly(a)
		}
	default:
		panic(fmt.Sprintf("projections: no answer to event %T", e.Event))
	}
	doc.Revision, doc.Position, doc.UpdatedAt = int64(e.Revision), e.Position.String(), e.Meta.RecordedAt
	return doc
}

// Empty is the order before its first event: no array is nil.
func Empty(id string) view.Order {
	return view.Order{
		ID:            id,
		PaymentStatus: string(order.PaymentStatusNone), FulfilmentStatus: string(order.FulfilmentStatusNone),
		Holds: []view.Hold{}, Tags: []string{}, Lines: []view.Line{}, CancelledLines: []view.CancelledLine{},
		Payments: []view.Payment{}, Refunds: []view.Refund{}, Shipments: []view.Shipment{}, Returns: []view.Return{},
		Edits: []view.Edit{}, Notes: []view.Note{}, Anomalies: []view.Anomaly{},
	}
}

// placed happens once; a second placing changes nothing.
func placed(doc view.Order, e order.Placed) view.Order {
	if doc.Kind != "" {
		return doc
	}
	doc.Number, doc.Kind, doc.Currency, doc.PlacedAt = e.Number, string(e.Kind), e.Currency, e.At
	if e.Source != nil {
		source := view.Source(*e.Source)
		doc.Source = &source
	}
	doc.Customer = view.Customer(e.Customer)
	if doc.Status == "" {
		doc.Status = string(order.StatusPlaced)
	}
	if len(doc.Tags) == 0 {
		doc.Tags = notNil(e.Tags)
	}
	if doc.Metadata == nil {
		doc.Metadata = e.Metadata
	}
	doc.BillingAddress = address(e.BillingAddress)
	if doc.ShippingAddress == nil {
		doc.ShippingAddress = address(e.ShippingAddress)
	}
	doc = located(doc)
	zero := money.Zero(e.Currency)
	doc.Totals.Shipping, doc.Totals.Discount, doc.Totals.Tax = zero.Add(e.Shipping), zero.Add(e.Discount), zero.Add(e.Tax)
	return fulfilled(totalled(edited(doc, e.Lines)))
}

func address(a *order.Address) *view.Address {
	if a == nil {
		return nil
	}
	v := view.Address(*a)
	return &v
}

func located(doc view.Order) view.Order {
	at := doc.ShippingAddress
	if at == nil {
		at = doc.BillingAddress
	}
	if at == nil {
		at = &view.Address{}
	}
	doc.Country, doc.State, doc.City = at.Country, at.State, at.City
	return doc
}

// edited replaces the lines; units of a line that stays keep what happened to
// them.
func edited(doc view.Order, lines []order.Line) view.Order {
	had := indexLines(doc.Lines)
	now := make([]view.Line, len(lines))
	for i, l := range lines {
		now[i] = view.Line{
			ID: l.ID, SKU: l.SKU, Title: l.Title, Quantity: l.Quantity,
			UnitPrice: l.UnitPrice, Total: l.UnitPrice.Times(l.Quantity), Metadata: l.Metadata,
		}
		if j, ok := had.find(l.ID); ok {
			old := doc.Lines[j]
			now[i].Shipped, now[i].Delivered, now[i].Returned = old.Shipped, old.Delivered, old.Returned
		}
	}
	doc.Lines = now
	return doc
}

func linesCancelled(doc view.Order, e order.LinesCancelled) view.Order {
	lines, at := slices.Clone(doc.Lines), indexLines(doc.Lines)
	cancelled := slices.Clip(doc.CancelledLines)
	for _, q := range e.Lines {
		i, ok := at.find(q.LineID)
		if !ok {
			continue
		}
		l := &lines[i]
		l.Quantity -= q.Quantity
		l.Total = l.UnitPrice.Times(l.Quantity)
		cancelled = append(cancelled, view.CancelledLine{
			LineID: q.LineID, SKU: l.SKU, Quantity: q.Quantity, Reason: e.Reason, At: e.At,
		})
	}
	// A line of which nothing is left is no longer in force.
	doc.Lines = slices.DeleteFunc(lines, func(l view.Line) bool {
		return l.Quantity == 0 && l.Shipped == 0 && slices.ContainsFunc(e.Lines, func(q order.LineQuantity) bool { return q.LineID == l.ID })
	})
	doc.CancelledLines = cancelled
	doc.Totals.Discount, doc.Totals.Tax = e.Discount, e.Tax
	return doc
}

func paymentAuthorised(doc view.Order, e order.PaymentAuthorised) view.Order {
	if index(doc.Payments, e.PaymentID, paymentID) < 0 {
		doc.Payments = with(doc.Payments, view.Payment{
			ID: e.PaymentID, Method: e.Method, Status: "authorised",
			Captured: money.Zero(e.Amount.Currency()), Reference: e.Reference, At: e.At,
		})
	}
	doc.Payments = change(doc.Payments, e.PaymentID, paymentID, func(p *view.Payment) {
		p.Authorised = e.Amount
		if p.Method == "" {
			p.Method = e.Method
		}
		if p.Status == "captured" && p.Captured.Cmp(p.Authorised) < 0 {
			p.Status = "authorised" // the capture came first, and took only a part
		}
	})
	return settled(doc)
}

func paymentCaptured(doc view.Order, e order.PaymentCaptured) view.Order {
	if index(doc.Payments, e.PaymentID, paymentID) < 0 {
		zero := money.Zero(e.Amount.Currency())
		doc.Payments = with(doc.Payments, view.Payment{
			ID: e.PaymentID, Status: "authorised", Authorised: zero, Captured: zero,
		})
	}
	doc.Payments = change(doc.Payments, e.PaymentID, paymentID, func(p *view.Payment) {
		p.Captured, p.At = p.Captured.Add(e.Amount), e.At
		if e.Method != "" {
			p.Method = e.Method
		}
		if e.Reference != "" {
			p.Reference = e.Reference
		}
		if p.Status == "authorised" && p.Captured.Cmp(p.Authorised) >= 0 {
			p.Status = "captured"
		}
	})
	return settled(doc)
}

func paymentFailed(doc view.Order, e order.PaymentFailed) view.Order {
	if index(doc.Payments, e.PaymentID, paymentID) < 0 {
		none := money.Amount{}
		if doc.Currency != "" {
			none = money.Zero(doc.Currency)
		}
		doc.Payments = with(doc.Payments, view.Payment{ID: e.PaymentID, Method: e.Method, Authorised: none, Captured: none})
	}
	doc.Payments = change(doc.Payments, e.PaymentID, paymentID, func(p *view.Payment) {
		p.Status, p.Reason, p.At = "failed", e.Reason, e.At
	})
	return settled(doc)
}

// dispatched: a shipment that is known already is one whose arrival was
// recorded before its departure.
func dispatched(doc view.Order, e order.ShipmentDispatched) view.Order {
	i := index(doc.Shipments, e.ShipmentID, shipmentID)
	if i < 0 {
		doc.Shipments = with(doc.Shipments, view.Shipment{
			ID: e.ShipmentID, Status: "dispatched", Lines: lineQuantities(e.Lines),
			Carrier: e.Carrier, TrackingNumber: e.TrackingNumber, DispatchedAt: &e.At,
		})
		return fulfilled(moved(doc, e.Lines, 1, 0))
	}
	arrived := doc.Shipments[i]
	if arrived.DispatchedAt != nil {
		return doc
	}
	doc.Shipments = change(doc.Shipments, e.ShipmentID, shipmentID, func(s *view.Shipment) {
		s.DispatchedAt, s.Carrier, s.TrackingNumber = &e.At, e.Carrier, e.TrackingNumber
		if len(s.Lines) == 0 {
			s.Lines = lineQuantities(e.Lines)
		}
	})
	if len(arrived.Lines) > 0 {
		return doc
	}
	return fulfilled(moved(doc, e.Lines, 1, 1))
}

func delivered(doc view.Order, e order.ShipmentDelivered) view.Order {
	i := index(doc.Shipments, e.ShipmentID, shipmentID)
	if i < 0 {
		doc.Shipments = with(doc.Shipments, view.Shipment{
			ID: e.ShipmentID, Status: "delivered", Lines: lineQuantities(e.Lines), DeliveredAt: &e.At,
		})
		return fulfilled(moved(doc, e.Lines, 1, 1))
	}
	sent := doc.Shipments[i]
	if sent.DeliveredAt != nil {
		return doc
	}
	doc.Shipments = change(doc.Shipments, e.ShipmentID, shipmentID, func(s *view.Shipment) {
		s.Status, s.DeliveredAt = "delivered", &e.At
	})
	lines := make([]order.LineQuantity, len(sent.Lines))
	for j, q := range sent.Lines {
		lines[j] = order.LineQuantity{LineID: q.LineID, Quantity: q.Quantity}
	}
	return fulfilled(moved(doc, lines, 0, 1))
}

func returned(doc view.Order, e order.ReturnReceived) view.Order {
	if index(doc.Returns, e.ReturnID, returnID) < 0 {
		doc.Returns = with(doc.Returns, view.Return{
			ID: e.ReturnID, Lines: []view.LineQuantity{}, Received: []view.LineQuantity{},
		})
	}
	doc.Returns = change(doc.Returns, e.ReturnID, returnID, func(r *view.Return) {
		r.Status, r.At = "received", e.At
		for _, l := range e.Lines {
			r.Received = with(r.Received, view.LineQuantity(l))
		}
	})
	lines, at := slices.Clone(doc.Lines), indexLines(doc.Lines)
	for _, l := range e.Lines {
		if j, ok := at.find(l.LineID); ok {
			lines[j].Returned += l.Quantity
		}
	}
	doc.Lines = lines
	return fulfilled(doc)
}

// moved counts units as shipped and delivered, each as often as told.
func moved(doc view.Order, units []order.LineQuantity, shipped, delivered int64) view.Order {
	if len(units) == 0 {
		return doc
	}
	lines, at := slices.Clone(doc.Lines), indexLines(doc.Lines)
	for _, q := range units {
		if i, ok := at.find(q.LineID); ok {
			lines[i].Shipped += shipped * q.Quantity
			lines[i].Delivered += delivered * q.Quantity
		}
	}
	doc.Lines = lines
	return doc
}

func lineQuantities(lines []order.LineQuantity) []view.LineQuantity {
	out := make([]view.LineQuantity, len(lines))
	for i, l := range lines {
		out[i] = view.LineQuantity{LineID: l.LineID, Quantity: l.Quantity}
	}
	return out
}

func lineChanges(changes []order.LineChange) []view.LineChange {
	out := make([]view.LineChange, len(changes))
	for i, c := range changes {
		out[i] = view.LineChange{Op: c.Op, LineID: c.LineID, Quantity: c.Quantity, UnitPrice: c.UnitPrice}
		if l := c.Line; l != nil {
			out[i].LineID, out[i].SKU, out[i].Title = l.ID, l.SKU, l.Title
			out[i].Quantity, out[i].UnitPrice = l.Quantity, l.UnitPrice
		}
	}
	return out
}

func editID(e *view.Edit) string         { return e.ID }
func noteID(n *view.Note) string         { return n.ID }
func holdID(h *view.Hold) string         { return h.ID }
func paymentID(p *view.Payment) string   { return p.ID }
func refundID(r *view.Refund) string     { return r.ID }
func shipmentID(s *view.Shipment) string { return s.ID }
func returnID(r *view.Return) string     { return r.ID }

func index[T any](list []T, id string, idOf func(*T) string) int {
	for i := range list {
		if idOf(&list[i]) == id {
			return i
		}
	}
	return -1
}

// change is the list with one element changed; the same list when it has none
// of that id.
func change[T any](list []T, id string, idOf func(*T) string, edit func(*T)) []T {
	i := index(list, id, idOf)
	if i < 0 {
		return list
	}
	list = slices.Clone(list)
	edit(&list[i])
	return list
}

// with is the list and one more, in memory of its own.
func with[T any](list []T, more T) []T { return append(slices.Clip(list), more) }

func without[T any](list []T, i int) []T { return slices.Delete(slices.Clone(list), i, i+1) }

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// lineIndex finds lines by id; of lines with the same id, the last.
type lineIndex struct {
	lines []view.Line
	byID  map[string]int // only where looking through is slower
}

func indexLines(lines []view.Line) lineIndex {
	x := lineIndex{lines: lines}
	if len(lines) > 16 {
		x.byID = make(map[string]int, len(lines))
		for i := range lines {
			x.byID[lines[i].ID] = i
		}
	}
	return x
}

func (x lineIndex) find(id string) (int, bool) {
	if x.byID != nil {
		i, ok := x.byID[id]
		return i, ok
	}
	for i := len(x.lines) - 1; i >= 0; i-- {
		if x.lines[i].ID == id {
			return i, true
		}
	}
	return 0, false
}
