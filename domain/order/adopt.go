package order

import (
	"fmt"
	"math"
	"slices"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
)

// adopt takes over a part of the history of an order from another system. What
// cannot be a history at all is refused; business rules that it broke are
// written down when the last part is there. The events, and so their revisions,
// are the same however the history was cut into parts.
func adopt(s State, c Adopt) ([]Event, error) {
	if s.Status != StatusNone && s.Adoption.Steps == 0 {
		return nil, ErrExists
	}
	if c.First < 0 {
		return nil, ErrAdoptionNumber.At("/first")
	}
	if len(c.History) == 0 && !c.Last {
		return nil, ErrAdoptionEmpty
	}
	if c.First > s.Adoption.Steps {
		return nil, ErrAdoptionGap.With(fmt.Sprintf("%d were adopted, the part begins at %d", s.Adoption.Steps, c.First))
	}
	steps, err := history(s, c)
	if err != nil {
		return nil, err
	}
	if known := s.Adoption.Steps - c.First; known > 0 {
		if c.First == 0 && len(steps) > 0 && placedContent(steps[0].(Placed)) != s.Placing {
			return nil, ErrExists
		}
		steps = steps[min(known, int64(len(steps))):]
	}
	switch {
	case s.Adoption.Complete && len(steps) > 0:
		return nil, ErrAdoptionComplete
	case s.Adoption.Complete:
		return nil, nil
	}
	for i, e := range steps {
		if refusal := fits(s, e); refusal != nil {
			return nil, refusal.At(fmt.Sprintf("/history/%d", i))
		}
		s = Evolve(s, e)
		if s.Adoption.Moved > MaxMinorUnits || movesTotals(e) && !s.bounded() {
			return nil, ErrAmountLarge.At(fmt.Sprintf("/history/%d", i))
		}
	}
	if !c.Last {
		return steps, nil
	}
	if s.Status == StatusNone {
		return nil, ErrAdoptionStart
	}
	if len(c.Odd) > MaxLines {
		return nil, ErrTooMany.With("anomalies").At("/odd")
	}
	return append(steps, AdoptionCompleted{Anomalies: anomalies(s, c.Claim, c.Odd), At: s.Adoption.LastAt}), nil
}

func movesTotals(e Event) bool {
	switch e.(type) {
	case Placed, EditConfirmed, LinesCancelled:
		return true
	}
	return false
}

// bounded reports whether every sum over the lines stays far from 64 bits.
func (s State) bounded() bool {
	t, err := s.Totals()
	return err == nil && within(t.Items) && within(t.Grand)
}

// history is the steps of a part as events carry them, in order: the placing
// first, then business time, ties by stage, then as they came.
func history(s State, c Adopt) ([]Event, error) {
	var k check
	currency := s.Currency
	steps := slices.Clone(c.History)
	slices.SortStableFunc(steps, func(a, b Event) int {
		_, first := a.(Placed)
		_, second := b.(Placed)
		if first != second {
			return map[bool]int{true: -1, false: 1}[first]
		}
		return inOrder(a, b)
	})
	for i, e := range steps {
		placed, isPlaced := e.(Placed)
		k.that(isPlaced == (c.First == 0 && i == 0), ErrAdoptionStart, "/history")
		if isPlaced && currency == "" {
			currency = placed.Currency
		}
		if k.refusal == nil {
			steps[i] = k.step(e, currency, fmt.Sprintf("/history/%d", i))
		}
	}
	for i, a := range c.Odd {
		field := fmt.Sprintf("/odd/%d", i)
		k.name(a.Kind, field+"/kind")
		k.words(a.Detail, field+"/detail")
		k.text(a.LineID, field+"/lineId", MaxIDLength, "")
	}
	return steps, k.err()
}

// inOrder compares by business time, then by stage. What is no event at all
// comes first, to be refused.
func inOrder(a, b Event) int {
	if a == nil || b == nil {
		return map[bool]int{true: -1, false: 0}[a == nil && b != nil]
	}
	if byTime := stamp(a.OccurredAt()).Compare(stamp(b.OccurredAt())); byTime != 0 {
		return byTime
	}
	return StageOf(a) - StageOf(b)
}

// fits refuses a step that cannot follow what was adopted: it is too early, it
// makes a thing that is there, or one thing too many.
func fits(s State, e Event) *domain.Rejection {
	if s.Status == StatusNone {
		return nil
	}
	if s.Adoption.Steps > 1 {
		at := e.OccurredAt()
		if at.Before(s.Adoption.LastAt) || at.Equal(s.Adoption.LastAt) && StageOf(e) < s.Adoption.Stage {
			return ErrAdoptionOrder
		}
	}
	var taken bool
	var there int
	switch e := e.(type) {
	case NoteAdded:
		_, taken = used(s.Notes, e.NoteID)
		there = len(s.Notes)
	case EditProposed:
		taken, there = find(s.Edits, e.EditID) != nil, len(s.Edits)
	case HoldPlaced:
		taken, there = find(s.Holds, e.HoldID) != nil, len(s.Holds)
	case PaymentAuthorised:
		taken, there = find(s.Payments, e.PaymentID) != nil, len(s.Payments)
	case PaymentCaptured:
		if p := find(s.Payments, e.PaymentID); p == nil {
			there = len(s.Payments)
		} else {
			_, taken = used(p.Captures, e.CaptureID)
			there = len(p.Captures)
		}
	case PaymentFailed:
		if find(s.Payments, e.PaymentID) == nil {
			there = len(s.Payments)
		}
	case ShipmentDispatched:
		sh := find(s.Shipments, e.ShipmentID)
		taken = sh != nil && !sh.SentAt.IsZero()
		if sh == nil {
			there = len(s.Shipments)
		}
	case ShipmentDelivered:
		sh := find(s.Shipments, e.ShipmentID)
		taken = sh != nil && !sh.ArrivedAt.IsZero()
		if sh == nil {
			there = len(s.Shipments)
		}
	case ReturnRequested:
		taken, there = find(s.Returns, e.ReturnID) != nil, len(s.Returns)
	case RefundGranted:
		taken, there = find(s.Refunds, e.RefundID) != nil, len(s.Refunds)
	case LinesCancelled:
		_, taken = used(s.Cancels, e.CancellationID)
		there = len(s.Cancels)
	}
	switch {
	case taken:
		return ErrIDInUse
	case there >= MaxEntities:
		return ErrTooMany
	}
	return nil
}

// step looks only at what every reader of events relies on: known kinds,
// bounded texts, counts and amounts, one currency. It answers the step as
// events carry it.
func (c *check) step(e Event, currency money.Currency, field string) Event {
	switch e := e.(type) {
	case Placed:
		e.At = c.time(e.At, field+"/at")
		if e.Kind == "" {
			e.Kind = KindOrder
		}
		c.that(e.Kind == KindOrder || e.Kind == KindCreditNote || e.Kind == KindAdjustment, ErrAdoptionKind, field+"/kind")
		c.that(e.Source != nil && e.Source.System != "" && e.Source.ID != "", ErrAdoptionSource, field+"/source")
		if e.Source != nil {
			c.name(e.Source.System, field+"/source/system")
			c.name(e.Source.ID, field+"/source/id")
			c.text(e.Source.Status, field+"/source/status", MaxIDLength, "")
		}
		c.that(validNumber(e.Number), ErrNumber, field+"/number")
		c.that(e.Customer.ID == "" || ValidID(e.Customer.ID), ErrID, field+"/customer/id")
		c.words(e.Customer.Name, field+"/customer/name")
		c.words(e.Customer.Email, field+"/customer/email")
		c.currency(e.Currency, field+"/currency")
		c.that(e.Currency == currency, ErrOtherCurrency, field+"/currency")
		e.Lines = c.oddLines(e.Lines, currency, field+"/lines")
		e.Shipping = c.minor(e.Shipping, currency, field+"/shipping")
		e.Discount = c.minor(e.Discount, currency, field+"/discount")
		e.Tax = c.minor(e.Tax, currency, field+"/tax")
		c.oddAddress(e.BillingAddress, field+"/billingAddress")
		c.oddAddress(e.ShippingAddress, field+"/shippingAddress")
		e.Tags = c.tags(e.Tags, field+"/tags")
		c.oddMetadata(e.Metadata, field+"/metadata")
		return e
	case Confirmed:
		e.At = c.time(e.At, field+"/at")
		return e
	case Cancelled:
		e.At = c.time(e.At, field+"/at")
		c.words(e.Reason, field+"/reason")
		return e
	case ShippingAddressChanged:
		e.At = c.time(e.At, field+"/at")
		c.oddAddress(&e.Address, field+"/address")
		return e
	case TagsSet:
		e.At = c.time(e.At, field+"/at")
		e.Tags = c.tags(e.Tags, field+"/tags")
		return e
	case MetadataSet:
		e.At = c.time(e.At, field+"/at")
		c.oddMetadata(e.Metadata, field+"/metadata")
		return e
	case NoteAdded:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.NoteID, field+"/noteId")
		c.text(e.Text, field+"/text", MaxText, "\n\t")
		c.words(e.Author, field+"/author")
		return e
	case EditProposed:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.EditID, field+"/editId")
		c.words(e.Reason, field+"/reason")
		c.changes(e.Changes, field+"/changes")
		for i, ch := range e.Changes {
			c.that(ch.UnitPrice.Currency() == "" || ch.UnitPrice.Currency() == currency, ErrOtherCurrency, fmt.Sprintf("%s/changes/%d", field, i))
			c.that(ch.Line == nil || ch.Line.UnitPrice.Currency() == currency, ErrOtherCurrency, fmt.Sprintf("%s/changes/%d", field, i))
		}
		return e
	case EditConfirmed:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.EditID, field+"/editId")
		e.Lines = c.oddLines(e.Lines, currency, field+"/lines")
		return e
	case EditDeclined:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.EditID, field+"/editId")
		c.words(e.Reason, field+"/reason")
		return e
	case HoldPlaced:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.HoldID, field+"/holdId")
		c.words(e.Reason, field+"/reason")
		return e
	case HoldReleased:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.HoldID, field+"/holdId")
		c.words(e.Reason, field+"/reason")
		return e
	case PaymentAuthorised:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.PaymentID, field+"/paymentId")
		c.text(e.Method, field+"/method", MaxIDLength, "")
		c.words(e.Reference, field+"/reference")
		e.Amount = c.minor(e.Amount, currency, field+"/amount")
		return e
	case PaymentCaptured:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.PaymentID, field+"/paymentId")
		c.that(e.CaptureID == "" || ValidID(e.CaptureID), ErrID, field+"/captureId")
		c.text(e.Method, field+"/method", MaxIDLength, "")
		c.words(e.Reference, field+"/reference")
		e.Amount = c.minor(e.Amount, currency, field+"/amount")
		return e
	case PaymentFailed:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.PaymentID, field+"/paymentId")
		c.text(e.Method, field+"/method", MaxIDLength, "")
		c.words(e.Reason, field+"/reason")
		return e
	case PaymentVoided:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.PaymentID, field+"/paymentId")
		c.words(e.Reason, field+"/reason")
		return e
	case ShipmentDispatched:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.ShipmentID, field+"/shipmentId")
		c.oddUnits(e.Lines, field+"/lines")
		c.words(e.Carrier, field+"/carrier")
		c.words(e.TrackingNumber, field+"/trackingNumber")
		return e
	case ShipmentUpdated:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.ShipmentID, field+"/shipmentId")
		c.words(e.Carrier, field+"/carrier")
		c.words(e.TrackingNumber, field+"/trackingNumber")
		return e
	case ShipmentDelivered:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.ShipmentID, field+"/shipmentId")
		c.oddUnits(e.Lines, field+"/lines")
		return e
	case ReturnRequested:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.ReturnID, field+"/returnId")
		c.oddUnits(e.Lines, field+"/lines")
		c.words(e.Reason, field+"/reason")
		return e
	case ReturnReceived:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.ReturnID, field+"/returnId")
		c.oddUnits(unitsOf(e.Lines), field+"/lines")
		for i, l := range e.Lines {
			c.text(l.Condition, fmt.Sprintf("%s/lines/%d/condition", field, i), MaxIDLength, "")
		}
		return e
	case ReturnRejected:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.ReturnID, field+"/returnId")
		c.words(e.Reason, field+"/reason")
		return e
	case RefundGranted:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.RefundID, field+"/refundId")
		c.newID(e.PaymentID, field+"/paymentId")
		c.that(e.ReturnID == "" || ValidID(e.ReturnID), ErrID, field+"/returnId")
		c.words(e.Reason, field+"/reason")
		e.Amount = c.minor(e.Amount, currency, field+"/amount")
		return e
	case RefundCompleted:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.RefundID, field+"/refundId")
		c.words(e.Reference, field+"/reference")
		return e
	case RefundFailed:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.RefundID, field+"/refundId")
		c.words(e.Reason, field+"/reason")
		return e
	case LinesCancelled:
		e.At = c.time(e.At, field+"/at")
		c.newID(e.CancellationID, field+"/cancellationId")
		c.oddUnits(e.Lines, field+"/lines")
		c.words(e.Reason, field+"/reason")
		e.Discount = c.minor(e.Discount, currency, field+"/discount")
		e.Tax = c.minor(e.Tax, currency, field+"/tax")
		return e
	}
	c.that(false, ErrAdoptionStep, field)
	return e
}

// oddLines may be none, and have negative quantities and prices.
func (c *check) oddLines(lines []Line, currency money.Currency, field string) []Line {
	c.that(len(lines) <= MaxLines, ErrTooManyLines, field)
	lines = slices.Clone(lines)
	nameLines(lines)
	seen := make(map[string]bool, len(lines))
	for i, l := range lines {
		at := fmt.Sprintf("%s/%d", field, i)
		c.id(l.ID, at+"/id")
		c.that(!seen[l.ID], ErrLineRepeated, at+"/id")
		seen[l.ID] = true
		c.text(l.SKU, at+"/sku", MaxIDLength, "")
		c.words(l.Title, at+"/title")
		c.oddQuantity(l.Quantity, at+"/quantity")
		c.that(l.UnitPrice.Currency() == currency, ErrOtherCurrency, at+"/unitPrice")
		total, err := l.UnitPrice.TimesChecked(l.Quantity)
		c.that(within(l.UnitPrice) && err == nil && within(total), ErrAmountLarge, at+"/unitPrice")
		c.oddMetadata(l.Metadata, at+"/metadata")
	}
	return lines
}

func (c *check) oddUnits(units []LineQuantity, field string) {
	c.that(len(units) <= MaxLines, ErrTooManyLines, field)
	for i, u := range units {
		c.newID(u.LineID, fmt.Sprintf("%s/%d/lineId", field, i))
		c.oddQuantity(u.Quantity, fmt.Sprintf("%s/%d/quantity", field, i))
	}
}

func (c *check) oddQuantity(n int64, field string) {
	c.that(-math.MaxInt32 <= n && n <= math.MaxInt32, ErrAdoptionUnits, field)
}

func (c *check) oddAddress(a *Address, field string) {
	if a != nil {
		c.addressText(*a, field)
	}
}
