package order

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
)

// Action is one kind of command and what the order would say to it.
type Action struct {
	Name string // of the command
	// Witness is a command of this kind that Decide accepts now, and that
	// would change something; nil when there is none.
	Witness Command
	// Refused is the rule that refuses every command of this kind. When it and
	// Witness are nil, everything the command could do is done already.
	Refused *domain.Rejection
}

// Allowed reports whether the action would change something now.
func (a Action) Allowed() bool { return a.Witness != nil }

// Actions lists every kind of command, in a fixed order, as the order would
// answer it at now. It asks Decide itself, with a command that is as likely as
// any to be accepted, so that it cannot disagree with it.
func Actions(s State, now time.Time) []Action {
	if now.Before(s.PlacedAt) {
		now = s.PlacedAt
	}
	w := witnesses{s: s, at: stamp(now)}
	var actions []Action
	for _, candidates := range [][]Command{
		w.place(), {Confirm{At: w.at}}, w.address(), w.proposeEdit(), w.confirmEdit(), w.declineEdit(),
		w.tags(), w.metadata(), w.note(), w.placeHold(), w.releaseHold(),
		w.addPayment(), w.capture(), w.failPayment(), w.voidPayment(),
		w.dispatch(), w.updateShipment(), w.deliver(),
		w.requestReturn(), w.receiveReturn(), w.rejectReturn(),
		w.grantRefund(), w.completeRefund(), w.failRefund(), w.cancel(), w.adopt(),
	} {
		actions = append(actions, answer(s, candidates))
	}
	return actions
}

// answer tries the candidates in turn.
func answer(s State, candidates []Command) Action {
	a := Action{Name: candidates[0].Name()}
	for _, c := range candidates {
		events, err := Decide(s, c)
		if err == nil && len(events) > 0 {
			return Action{Name: a.Name, Witness: c}
		}
		if refusal := (*domain.Rejection)(nil); errors.As(err, &refusal) {
			a.Refused = domain.Reject(refusal.Kind, refusal.Code, refusal.Text) // the rule, without the witness's figures
		}
	}
	return a
}

// witnesses makes candidates.
type witnesses struct {
	s  State
	at time.Time
}

// fresh is an id that nothing of this kind has.
func fresh(taken func(id string) bool) string {
	for i := 1; ; i++ {
		if id := fmt.Sprintf("new-%d", i); !taken(id) {
			return id
		}
	}
}

// each makes a candidate for every thing that is ready for it, else for every
// thing there, else for one that is not.
func each[P identified[T], T any](list []P, ready func(P) bool, make func(id string, one P) Command) []Command {
	var candidates, others []Command
	for _, one := range list {
		if ready(one) {
			candidates = append(candidates, make(one.key(), one))
		} else {
			others = append(others, make(one.key(), one))
		}
	}
	switch {
	case len(candidates) > 0:
		return candidates
	case len(others) > 0:
		return others
	}
	return []Command{make("none", new(T))}
}

func (w witnesses) unit(units []LineQuantity) []LineQuantity {
	if len(units) == 0 {
		return []LineQuantity{{"1", 1}}
	}
	return []LineQuantity{{units[0].LineID, 1}}
}

func (w witnesses) currency() money.Currency {
	if w.s.Currency == "" {
		return "EUR"
	}
	return w.s.Currency
}

func (w witnesses) place() []Command {
	line := Line{ID: "1", SKU: "sku", Quantity: 1, UnitPrice: money.Zero(w.currency())}
	return []Command{Place{Number: "new", Currency: w.currency(), Lines: []Line{line}, At: w.at}}
}

func (w witnesses) address() []Command {
	return []Command{
		ChangeShippingAddress{Address: Address{Street: "Main Street 1"}, At: w.at},
		ChangeShippingAddress{Address: Address{Street: "Main Street 2"}, At: w.at},
	}
}

func (w witnesses) proposeEdit() []Command {
	id := fresh(func(id string) bool { return find(w.s.Edits, id) != nil })
	propose := func(ch LineChange) Command {
		return ProposeEdit{EditID: id, Changes: []LineChange{ch}, At: w.at}
	}
	// The same price again fits whatever a line may be changed to at all.
	for _, l := range w.s.Lines {
		if l.UnitPrice.Sign() >= 0 && l.Quantity != 0 {
			return []Command{propose(LineChange{Op: "reprice", LineID: l.ID, UnitPrice: l.UnitPrice})}
		}
	}
	return []Command{propose(LineChange{Op: "add", Line: &Line{SKU: "sku", Quantity: 1, UnitPrice: money.Zero(w.currency())}})}
}

func (w witnesses) confirmEdit() []Command {
	return each(w.s.Edits, (*EditState).open, func(id string, _ *EditState) Command { return ConfirmEdit{EditID: id, At: w.at} })
}

func (w witnesses) declineEdit() []Command {
	return each(w.s.Edits, (*EditState).open, func(id string, _ *EditState) Command { return DeclineEdit{EditID: id, At: w.at} })
}

func (w witnesses) tags() []Command {
	return []Command{SetTags{Tags: []string{"tag"}, At: w.at}, SetTags{At: w.at}}
}

func (w witnesses) metadata() []Command {
	return []Command{SetMetadata{Metadata: map[string]string{"key": "value"}, At: w.at}, SetMetadata{At: w.at}}
}

func (w witnesses) note() []Command {
	id := fresh(func(id string) bool { _, ok := used(w.s.Notes, id); return ok })
	return []Command{AddNote{NoteID: id, Text: "note", At: w.at}}
}

func (w witnesses) placeHold() []Command {
	id := fresh(func(id string) bool { return find(w.s.Holds, id) != nil })
	return []Command{PlaceHold{HoldID: id, At: w.at}}
}

func (w witnesses) releaseHold() []Command {
	return each(w.s.Holds, (*HoldState).open, func(id string, _ *HoldState) Command { return ReleaseHold{HoldID: id, At: w.at} })
}

func (w witnesses) addPayment() []Command {
	id := fresh(func(id string) bool { return find(w.s.Payments, id) != nil })
	return []Command{AddPayment{PaymentID: id, Method: "card", Amount: money.Minor(1, w.currency()), At: w.at}}
}

func (w witnesses) capture() []Command {
	return each(w.s.Payments, (*PaymentState).open, func(id string, p *PaymentState) Command {
		capture := fresh(func(id string) bool { _, ok := used(p.Captures, id); return ok })
		return CapturePayment{PaymentID: id, CaptureID: capture, Amount: money.Minor(1, w.currency()), At: w.at}
	})
}

func (w witnesses) failPayment() []Command {
	return each(w.s.Payments, (*PaymentState).open, func(id string, _ *PaymentState) Command { return FailPayment{PaymentID: id, At: w.at} })
}

func (w witnesses) voidPayment() []Command {
	return each(w.s.Payments, (*PaymentState).open, func(id string, _ *PaymentState) Command { return VoidPayment{PaymentID: id, At: w.at} })
}

func (w witnesses) newShipment() string {
	return fresh(func(id string) bool { return find(w.s.Shipments, id) != nil })
}

func (w witnesses) dispatch() []Command {
	return []Command{Dispatch{ShipmentID: w.newShipment(), Lines: w.unit(w.s.unshipped()), At: w.at}}
}

func (w witnesses) updateShipment() []Command {
	return each(w.s.Shipments, func(*ShipmentState) bool { return true }, func(id string, sh *ShipmentState) Command {
		tracking := "1"
		if sh.Tracking == tracking {
			tracking = "2"
		}
		return UpdateShipment{ShipmentID: id, TrackingNumber: tracking, At: w.at}
	})
}

func (w witnesses) deliver() []Command {
	return each(w.s.Shipments, (*ShipmentState).underway, func(id string, _ *ShipmentState) Command { return Deliver{ShipmentID: id, At: w.at} })
}

func (w witnesses) requestReturn() []Command {
	id := fresh(func(id string) bool { return find(w.s.Returns, id) != nil })
	return []Command{RequestReturn{ReturnID: id, Lines: w.unit(w.s.returnable()), At: w.at}}
}

func (w witnesses) receiveReturn() []Command {
	asks := func(r *ReturnState) bool { return len(r.asked()) > 0 }
	return each(w.s.Returns, asks, func(id string, r *ReturnState) Command {
		unit := ReturnedLine{LineID: "1", Quantity: 1, Condition: "witness"}
		if asked := r.asked(); len(asked) > 0 {
			unit.LineID = slices.Min(slices.Collect(maps.Keys(asked)))
		}
		return ReceiveReturn{ReturnID: id, Lines: []ReturnedLine{unit}, At: w.at}
	})
}

func (w witnesses) rejectReturn() []Command {
	return each(w.s.Returns, (*ReturnState).open, func(id string, _ *ReturnState) Command { return RejectReturn{ReturnID: id, At: w.at} })
}

func (w witnesses) grantRefund() []Command {
	id := fresh(func(id string) bool { return find(w.s.Refunds, id) != nil })
	refundable := func(p *PaymentState) bool { return p.refundable().Sign() > 0 }
	return each(w.s.Payments, refundable, func(payment string, _ *PaymentState) Command {
		return GrantRefund{RefundID: id, PaymentID: payment, Amount: money.Minor(1, w.currency()), At: w.at}
	})
}

func (w witnesses) completeRefund() []Command {
	return each(w.s.Refunds, (*RefundState).open, func(id string, _ *RefundState) Command { return CompleteRefund{RefundID: id, At: w.at} })
}

func (w witnesses) failRefund() []Command {
	return each(w.s.Refunds, (*RefundState).open, func(id string, _ *RefundState) Command { return FailRefund{RefundID: id, At: w.at} })
}

// cancel tries the whole order, then units of it.
func (w witnesses) cancel() []Command {
	id := fresh(func(id string) bool { _, ok := used(w.s.Cancels, id); return ok })
	return []Command{Cancel{At: w.at}, Cancel{CancellationID: id, Lines: w.unit(w.s.unshipped()), At: w.at}}
}

// adopt tries a first part, then a next one.
func (w witnesses) adopt() []Command {
	if w.s.Status == StatusNone {
		return []Command{Adopt{History: []Event{Placed{Number: "new", Currency: w.currency(), Source: &Source{System: "other", ID: "1"}, At: w.at}}}}
	}
	at := w.at
	if at.Before(w.s.Adoption.LastAt) {
		at = w.s.Adoption.LastAt
	}
	return []Command{Adopt{First: w.s.Adoption.Steps, History: []Event{Cancelled{At: at}}}}
}
