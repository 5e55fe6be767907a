package order

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docket-orders/docket/domain/money"
)

// Adoption is how far the history of an order from another system was taken
// over, and what the anomalies of the whole need to know of it. Zero for an
// order of our own.
type Adoption struct {
	Steps    int64     `json:"n,omitempty"` // adopted so far
	Complete bool      `json:"c,omitempty"`
	LastAt   time.Time `json:"at,omitzero"` // of the last step, and its stage
	Stage    int       `json:"st,omitempty"`
	// The rest is forgotten when the history is complete.
	Confirmed time.Time `json:"cf,omitzero"` // earliest, as the next two
	Shipped   time.Time `json:"sh,omitzero"`
	Delivered time.Time `json:"dl,omitzero"`
	Moved     int64     `json:"mv,omitempty"` // minor units captured and granted, signs ignored
	Unknown   []string  `json:"u,omitempty"`  // what steps named and was not there: the first few
}

// running says that more parts of the history may come.
func (a Adoption) running() bool { return a.Steps > 0 && !a.Complete }

// after is the adoption after one more event, s being the state before it.
func (a Adoption) after(s *State, e Event) Adoption {
	placed, first := e.(Placed)
	switch {
	case first && placed.Source == nil, !first && !a.running():
		return a
	}
	if _, last := e.(AdoptionCompleted); last {
		return Adoption{Steps: a.Steps, Complete: true, LastAt: a.LastAt, Stage: a.Stage}
	}
	a.Steps++
	a.LastAt, a.Stage = e.OccurredAt(), StageOf(e)
	switch e := e.(type) {
	case Confirmed:
		a.Confirmed = earlier(a.Confirmed, e.At)
	case ShipmentDispatched:
		a.Shipped = earlier(a.Shipped, e.At)
	case ShipmentDelivered:
		a.Delivered = earlier(a.Delivered, e.At)
	case PaymentCaptured:
		a.Moved += magnitude(e.Amount)
	case RefundGranted:
		a.Moved += magnitude(e.Amount)
	}
	for _, name := range unknownIn(s, e) {
		if len(a.Unknown) < 10 && !slices.Contains(a.Unknown, name) {
			a.Unknown = added(a.Unknown, name)
		}
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func magnitude(a money.Amount) int64 { return max(a.MinorUnits(), a.Neg().MinorUnits()) }

// unknownIn lists what e names and the order does not have at that point of
// its history.
func unknownIn(s *State, e Event) (unknown []string) {
	missing := func(there bool, kind, id string) {
		if !there {
			unknown = append(unknown, kind+" "+id)
		}
	}
	lines := func(units []LineQuantity) {
		if len(units) == 0 {
			return
		}
		at := positions(s.Lines)
		for _, u := range units {
			missing(at(u.LineID) >= 0, "line", u.LineID)
		}
	}
	switch e := e.(type) {
	case EditConfirmed:
		missing(find(s.Edits, e.EditID) != nil, "edit", e.EditID)
	case EditDeclined:
		missing(find(s.Edits, e.EditID) != nil, "edit", e.EditID)
	case HoldReleased:
		missing(find(s.Holds, e.HoldID) != nil, "hold", e.HoldID)
	case PaymentVoided:
		missing(find(s.Payments, e.PaymentID) != nil, "payment", e.PaymentID)
	case ShipmentDispatched:
		lines(e.Lines)
	case ShipmentUpdated:
		missing(find(s.Shipments, e.ShipmentID) != nil, "shipment", e.ShipmentID)
	case ShipmentDelivered:
		lines(e.Lines)
	case ReturnRequested:
		lines(e.Lines)
	case ReturnReceived:
		missing(find(s.Returns, e.ReturnID) != nil, "return", e.ReturnID)
		lines(unitsOf(e.Lines))
	case ReturnRejected:
		missing(find(s.Returns, e.ReturnID) != nil, "return", e.ReturnID)
	case RefundGranted:
		missing(find(s.Payments, e.PaymentID) != nil, "payment", e.PaymentID)
		missing(e.ReturnID == "" || find(s.Returns, e.ReturnID) != nil, "return", e.ReturnID)
	case RefundCompleted:
		missing(find(s.Refunds, e.RefundID) != nil, "refund", e.RefundID)
	case RefundFailed:
		missing(find(s.Refunds, e.RefundID) != nil, "refund", e.RefundID)
	case LinesCancelled:
		lines(e.Lines)
	}
	return unknown
}

// anomalies are the business rules that the whole history broke, each kind at
// most once, and what the importer saw.
func anomalies(s State, claim Claim, odd []Anomaly) []Anomaly {
	found := slices.Clone(odd)
	a := s.Adoption
	when := func(broken bool, kind, detail string) {
		if broken {
			found = append(found, Anomaly{Kind: kind, Detail: detail})
		}
	}
	both := func(first, second time.Time) bool { return !first.IsZero() && !second.IsZero() && first.Before(second) }
	order := s.Kind == KindOrder

	when(order && len(s.Lines) == 0, AnomalyNoLines, "")
	negative := func(broken func(l *LineState) bool) string { return listed(s.Lines, broken) }
	quantities := negative(func(l *LineState) bool { return l.Quantity < 0 })
	prices := negative(func(l *LineState) bool { return l.UnitPrice.Sign() < 0 })
	when(order && quantities != "", AnomalyNegativeQuantity, quantities)
	when(order && prices != "", AnomalyNegativePrice, prices)
	when(len(a.Unknown) > 0, AnomalyUnknownReference, strings.Join(a.Unknown, ", "))

	if claim.KeepsPayments {
		totals, _ := s.Totals()
		captured := s.captured()
		when(len(s.Payments) == 0, AnomalyNoPayment, "")
		when(len(s.Lines) > 0 && len(s.Payments) > 0 && captured != totals.Grand, AnomalyPaidDiffers,
			fmt.Sprintf("captured %s of %s", captured.Decimal(), totals.Grand))
		var over []string
		for _, p := range s.Payments {
			if p.Captured.Sign() >= 0 && p.refundable().Sign() < 0 {
				over = append(over, "payment "+p.ID)
			}
		}
		when(len(over) > 0, AnomalyOverRefunded, abridged(over))
	}
	if claim.KeepsConfirmation {
		when(both(a.Confirmed, s.PlacedAt), AnomalyConfirmedBeforePlaced, "")
		when(claim.Delivered && a.Confirmed.IsZero(), AnomalyDeliveredWithoutConfirmation, "")
	}
	if claim.KeepsConfirmation && claim.KeepsFulfilment {
		when(both(a.Shipped, a.Confirmed), AnomalyShippedBeforeConfirmed, "")
		when(both(a.Delivered, a.Confirmed), AnomalyDeliveredBeforeConfirmed, "")
	}
	if claim.KeepsFulfilment {
		when(both(a.Shipped, s.PlacedAt), AnomalyShippedBeforePlaced, "")
		when(both(a.Delivered, s.PlacedAt), AnomalyDeliveredBeforePlaced, "")
		var early []string
		for _, sh := range s.Shipments {
			if both(sh.ArrivedAt, sh.SentAt) {
				early = append(early, "shipment "+sh.ID)
			}
		}
		when(len(early) > 0, AnomalyDeliveredBeforeShipped, abridged(early))
		when(claim.Delivered && a.Delivered.IsZero(), AnomalyDeliveredWithoutDate, "")
		when(claim.Delivered && a.Shipped.IsZero(), AnomalyDeliveredWithoutShipment, "")
		when(s.Status == StatusCancelled && !a.Shipped.IsZero(), AnomalyCancelledWithShipment, "")
		when(s.Status == StatusCancelled && !a.Delivered.IsZero(), AnomalyCancelledWithDelivery, "")
		over := listed(s.Lines, func(l *LineState) bool {
			return l.Shipped > max(0, l.Quantity) || l.Delivered > max(0, l.Shipped) || l.Asked+l.Returned > max(0, l.Delivered)
		})
		when(order && over != "", AnomalyOverShipped, over)
	}
	slices.SortFunc(found, func(a, b Anomaly) int {
		return compareTexts(a.Kind, b.Kind, a.LineID, b.LineID, a.Detail, b.Detail)
	})
	return slices.Compact(found)
}

// listed names the lines of which broken is true; "" when there are none.
func listed(lines []*LineState, broken func(*LineState) bool) string {
	var ids []string
	for _, l := range lines {
		if broken(l) {
			ids = append(ids, l.ID)
		}
	}
	if ids == nil {
		return ""
	}
	return "line " + abridged(ids)
}

// abridged joins the first ten.
func abridged(names []string) string {
	if more := len(names) - 10; more > 0 {
		return strings.Join(names[:10], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

func compareTexts(pairs ...string) int {
	for i := 0; i < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}

// StageOf orders events of one business time as they follow from each other:
// an order is paid before it is confirmed, and leaves before it arrives.
func StageOf(e Event) int {
	switch e.(type) {
	case Placed:
		return 0
	case TagsSet, MetadataSet, NoteAdded, ShippingAddressChanged, EditProposed, HoldPlaced:
		return 1
	case EditConfirmed, EditDeclined:
		return 2
	case PaymentAuthorised:
		return 3
	case PaymentCaptured:
		return 4
	case PaymentFailed, PaymentVoided:
		return 5
	case Confirmed:
		return 6
	case HoldReleased:
		return 7
	case ShipmentDispatched:
		return 8
	case ShipmentUpdated:
		return 9
	case ShipmentDelivered:
		return 10
	case ReturnRequested:
		return 11
	case ReturnReceived, ReturnRejected:
		return 12
	case RefundGranted:
		return 13
	case RefundCompleted, RefundFailed:
		return 14
	case LinesCancelled:
		return 15
	case Cancelled:
		return 16
	}
	return 17 // the end of an adoption
}
