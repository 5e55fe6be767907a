// Package ordertest makes orders for tests: commands that fit a state more
// often than not, whole lifecycles that the decider agreed to, and histories of
// other systems with everything odd in them. What it makes depends on the dice
// alone: a rapid draw, or a seed.
package ordertest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"pgregory.net/rapid"
)

// Dice answers a number from 0 to n-1.
type Dice func(n int) int

// Seeded dice roll the same for the same seed.
func Seeded(seed int64) Dice {
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	return func(n int) int { return r.IntN(n) }
}

// Drawn dice are rapid's, so that a failing case shrinks.
func Drawn(t *rapid.T) Dice {
	return func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "die") }
}

// Start is the business time at which generated orders begin.
var Start = time.Date(2024, 2, 28, 23, 59, 30, 0, time.UTC)

// Events is the history of one order, of our own or adopted, drawn by rapid.
func Events(t *rapid.T) []order.Event {
	d := Drawn(t)
	return Order(d, 1+d(40))
}

// History is the events of one order, about n of them (at least one): the same
// for the same seed. One in three was adopted.
func History(seed int64, n int) []order.Event { return Order(Seeded(seed), n) }

// Order is the history of one order with about n events.
func Order(d Dice, n int) []order.Event {
	var s order.State
	var events []order.Event
	decide := func(c order.Command) {
		more, err := order.Decide(s, c)
		if err == nil {
			events, s = append(events, more...), order.Decider.Fold(s, more...)
		}
	}
	if d(3) == 0 {
		adopt := Adopt(d, 1+n*2/3)
		adopt.Last = d(8) > 0
		for decide(adopt); s.Status == order.StatusNone; decide(adopt) {
			adopt.History = adopt.History[:len(adopt.History)-1]
		}
	} else {
		for s.Status == order.StatusNone {
			decide(Place(d, Start))
		}
	}
	at := Start
	// Bounded: an order may have come to its end.
	for tries := 0; len(events) < n && tries < 20*n; tries++ {
		at = at.Add(time.Duration(d(100_000)) * time.Second / 7)
		decide(Command(d, s, at))
	}
	return events
}

// Place is the command for a new order.
func Place(d Dice, at time.Time) order.Place {
	c := order.Place{
		Number:   fmt.Sprintf("N-%d", d(1_000_000)),
		Currency: one[money.Currency](d, "EUR", "EUR", "JPY", "KWD", "BRL"),
		Tags:     some(d, "new", "vip", "gift", "web"),
		At:       at,
	}
	if d(4) > 0 {
		c.Customer = customer(d)
	}
	for i := range 1 + d(4) {
		c.Lines = append(c.Lines, line(d, c.Currency, fmt.Sprint(i+1)))
	}
	if d(2) == 0 {
		c.Shipping = money.Minor(int64(d(1000)), c.Currency)
	}
	if d(2) == 0 {
		c.Tax = money.Minor(int64(d(500)), c.Currency)
	}
	if totals, err := order.TotalsOf(c.Lines, money.Zero(c.Currency), money.Zero(c.Currency), money.Zero(c.Currency)); err == nil && d(2) == 0 {
		c.Discount = money.Minor(int64(d(int(min(totals.Items.MinorUnits(), 1_000_000))+1)), c.Currency)
	}
	if d(3) > 0 {
		a := address(d)
		c.ShippingAddress = &a
	}
	if d(3) == 0 {
		a := address(d)
		c.BillingAddress = &a
	}
	if d(3) == 0 {
		c.Metadata = metadata(d)
	}
	return c
}

// Kinds is the number of kinds of command that CommandOf makes.
const Kinds = 24

// Command is one for an order in state s: it names what is there more often
// than not, and new things by ids that are used at times.
func Command(d Dice, s order.State, at time.Time) order.Command { return CommandOf(d, d(Kinds), s, at) }

// CommandOf is a command of the kind with this number.
func CommandOf(d Dice, kind int, s order.State, at time.Time) order.Command {
	currency := s.Currency
	if currency == "" {
		currency = "EUR"
	}
	amount := func() money.Amount { return money.Minor(int64(1+d(3000)), currency) }
	reason := one(d, "", "changed mind", "fraud check", "Größe passt nicht")
	switch kind {
	case 0:
		return order.Confirm{At: at}
	case 1:
		return order.ChangeShippingAddress{Address: address(d), At: at}
	case 2:
		return order.ProposeEdit{EditID: newID(d, "e"), Changes: changes(d, s, currency), Reason: reason, At: at}
	case 3:
		return order.ConfirmEdit{EditID: known(d, s.Edits, func(x *order.EditState) string { return x.ID }), At: at}
	case 4:
		return order.DeclineEdit{EditID: known(d, s.Edits, func(x *order.EditState) string { return x.ID }), Reason: reason, At: at}
	case 5:
		return order.SetTags{Tags: some(d, "vip", "gift", "late", "çok güzel"), At: at}
	case 6:
		return order.SetMetadata{Metadata: metadata(d), At: at}
	case 7:
		return order.AddNote{NoteID: newID(d, "n"), Text: one(d, "call first", "line one\nline two", "日本語"), Author: one(d, "", "ann"), At: at}
	case 8:
		return order.PlaceHold{HoldID: newID(d, "h"), Reason: reason, At: at}
	case 9:
		return order.ReleaseHold{HoldID: known(d, s.Holds, func(x *order.HoldState) string { return x.ID }), Reason: reason, At: at}
	case 10:
		a := amount()
		if totals, err := s.Totals(); err == nil && totals.Grand.Sign() > 0 && d(2) == 0 {
			a = totals.Grand
		}
		return order.AddPayment{PaymentID: newID(d, "p"), Method: one(d, "card", "voucher"), Amount: a, Reference: one(d, "", "ref-1"), Capture: d(2) == 0, At: at}
	case 11:
		c := order.CapturePayment{PaymentID: known(d, s.Payments, func(x *order.PaymentState) string { return x.ID }), CaptureID: newID(d, "c"), At: at}
		if d(2) == 0 {
			c.Amount = amount()
		}
		return c
	case 12:
		return order.FailPayment{PaymentID: known(d, s.Payments, func(x *order.PaymentState) string { return x.ID }), Reason: reason, At: at}
	case 13:
		return order.VoidPayment{PaymentID: known(d, s.Payments, func(x *order.PaymentState) string { return x.ID }), Reason: reason, At: at}
	case 14, 15: // twice, since much follows from it
		c := order.Dispatch{ShipmentID: newID(d, "s"), Carrier: one(d, "", "DHL", "post"), TrackingNumber: one(d, "", "T1"), At: at}
		if d(3) > 0 {
			c.Lines = units(d, s)
		}
		return c
	case 16:
		return order.UpdateShipment{ShipmentID: known(d, s.Shipments, func(x *order.ShipmentState) string { return x.ID }), Carrier: one(d, "", "UPS"), TrackingNumber: one(d, "T1", "T2"), At: at}
	case 17:
		return order.Deliver{ShipmentID: known(d, s.Shipments, func(x *order.ShipmentState) string { return x.ID }), At: at}
	case 18:
		return order.RequestReturn{ReturnID: newID(d, "r"), Lines: units(d, s), Reason: reason, At: at}
	case 19:
		return receive(d, s, at)
	case 20:
		return order.RejectReturn{ReturnID: known(d, s.Returns, func(x *order.ReturnState) string { return x.ID }), Reason: reason, At: at}
	case 21:
		c := order.GrantRefund{RefundID: newID(d, "f"), PaymentID: known(d, s.Payments, func(x *order.PaymentState) string { return x.ID }), Amount: amount(), Reason: reason, At: at}
		if d(3) == 0 {
			c.ReturnID = known(d, s.Returns, func(x *order.ReturnState) string { return x.ID })
		}
		return c
	case 22:
		id := known(d, s.Refunds, func(x *order.RefundState) string { return x.ID })
		if d(2) == 0 {
			return order.FailRefund{RefundID: id, Reason: reason, At: at}
		}
		return order.CompleteRefund{RefundID: id, Reference: one(d, "", "ref-2"), At: at}
	default:
		c := order.Cancel{Reason: reason, At: at}
		if d(4) > 0 {
			c.CancellationID, c.Lines = newID(d, "x"), units(d, s)
		}
		return c
	}
}

// Adopt is the history of an order from another system in one part, with about
// n steps: it may break every rule of the business, but is one that can be
// adopted. The steps stand in no order.
func Adopt(d Dice, n int) order.Adopt {
	currency := one[money.Currency](d, "BRL", "GBP", "JPY")
	odd := func(n int) int64 { return int64(d(2*n+1) - n) }
	amount := func() money.Amount { return money.Minor(odd(5000), currency) }
	placed := order.Placed{
		Number: fmt.Sprintf("A-%d", d(1_000_000)), Currency: currency, At: Start,
		Kind:     one(d, order.KindOrder, order.KindOrder, order.KindOrder, order.KindCreditNote, order.KindAdjustment),
		Source:   &order.Source{System: "elsewhere", ID: fmt.Sprint(d(1_000_000)), Status: one(d, "delivered", "", "shipped")},
		Shipping: money.Minor(int64(d(1000)), currency), Tags: some(d, "elsewhere:delivered", "b2b"),
	}
	if d(3) > 0 {
		placed.Customer = customer(d)
	}
	if d(2) == 0 {
		a := address(d)
		a.Country = one(d, "United Kingdom", "BR", "EIRE")
		placed.ShippingAddress = &a
	}
	oddLine := func(id string) order.Line {
		return order.Line{ID: id, SKU: one(d, "POST", "85123A", "", "gift_0001_20"), Title: one(d, "", "T-LIGHT HOLDER"),
			Quantity: odd(6), UnitPrice: money.New(odd(3000), 3, currency)}
	}
	for i := range d(4) {
		placed.Lines = append(placed.Lines, oddLine(fmt.Sprint(i+1)))
	}
	lines := func() (units []order.LineQuantity) {
		for range d(3) {
			units = append(units, order.LineQuantity{LineID: fmt.Sprint(1 + d(4)), Quantity: odd(5)})
		}
		return units
	}
	fresh := map[string]int{}
	id := func(kind string, made bool) string {
		if made {
			fresh[kind]++
			return fmt.Sprint(kind, fresh[kind])
		}
		return fmt.Sprint(kind, 1+d(3))
	}
	history := []order.Event{placed}
	sent, arrived := 0, 0
	for range n - 1 {
		at := Start.Add(time.Duration(odd(8)) * time.Hour) // many at one time, some before the order
		var e order.Event
		switch d(26) {
		case 0, 1:
			e = order.Confirmed{At: at}
		case 2:
			a := address(d)
			a.Country = "Nowhere Land"
			e = order.ShippingAddressChanged{Address: a, At: at}
		case 3:
			e = order.EditProposed{EditID: id("e", true), Changes: []order.LineChange{{Op: "remove", LineID: fmt.Sprint(1 + d(4))}}, At: at}
		case 4:
			e = order.EditConfirmed{EditID: id("e", false), Lines: []order.Line{oddLine("1"), oddLine("5")}, At: at}
		case 5:
			e = order.EditDeclined{EditID: id("e", false), At: at}
		case 6:
			e = order.TagsSet{Tags: some(d, "a", "b", "c"), At: at}
		case 7:
			e = order.MetadataSet{Metadata: metadata(d), At: at}
		case 8:
			e = order.NoteAdded{NoteID: id("n", true), Text: "as it was", At: at}
		case 9:
			e = order.HoldPlaced{HoldID: id("h", true), Reason: "credit", At: at}
		case 10:
			e = order.HoldReleased{HoldID: id("h", false), At: at}
		case 11:
			e = order.PaymentAuthorised{PaymentID: id("pa", true), Method: "boleto", Amount: amount(), At: at}
		case 12, 13:
			e = order.PaymentCaptured{PaymentID: id(one(d, "p", "pa"), false), CaptureID: id("c", true), Method: one(d, "credit_card", "voucher", "not_defined"), Amount: amount(), At: at}
		case 14:
			e = order.PaymentFailed{PaymentID: id("p", false), Method: "card", At: at}
		case 15:
			e = order.PaymentVoided{PaymentID: id("pa", false), At: at}
		case 16, 17:
			sent++
			e = order.ShipmentDispatched{ShipmentID: fmt.Sprint("s", sent), Lines: lines(), Carrier: "correios", At: at}
		case 18:
			e = order.ShipmentUpdated{ShipmentID: id("s", false), TrackingNumber: "T9", At: at}
		case 19, 20:
			arrived++
			e = order.ShipmentDelivered{ShipmentID: fmt.Sprint("s", arrived), Lines: lines(), At: at}
		case 21:
			e = order.ReturnRequested{ReturnID: id("r", true), Lines: lines(), At: at}
		case 22:
			e = order.ReturnReceived{ReturnID: id("r", false), Lines: []order.ReturnedLine{{LineID: fmt.Sprint(1 + d(4)), Quantity: odd(3), Condition: "opened"}}, At: at}
		case 23:
			e = order.RefundGranted{RefundID: id("f", true), PaymentID: id("p", false), Amount: amount(), At: at}
		case 24:
			e = order.RefundCompleted{RefundID: id("f", false), At: at}
			if d(2) == 0 {
				e = order.RefundFailed{RefundID: id("f", false), At: at}
			}
		default:
			e = order.LinesCancelled{CancellationID: id("x", true), Lines: lines(), Discount: money.Zero(currency), Tax: amount(), At: at}
			if d(2) == 0 {
				e = order.Cancelled{At: at}
			}
		}
		history = append(history, e)
	}
	c := order.Adopt{History: history, Last: true}
	c.Claim = order.Claim{KeepsConfirmation: d(2) == 0, KeepsPayments: d(2) == 0, KeepsFulfilment: d(3) > 0, Delivered: d(2) == 0}
	if d(3) == 0 {
		c.Odd = []order.Anomaly{{Kind: order.AnomalyRepeatedRow, LineID: "1", Detail: "row 17"}, {Kind: order.AnomalySeveralTimestamps}}
	}
	return c
}

func receive(d Dice, s order.State, at time.Time) order.Command {
	c := order.ReceiveReturn{ReturnID: known(d, s.Returns, func(x *order.ReturnState) string { return x.ID }), At: at}
	for _, r := range s.Returns {
		if r.ID == c.ReturnID {
			for _, l := range r.Lines {
				c.Lines = append(c.Lines, order.ReturnedLine{LineID: l.LineID, Quantity: 1 + int64(d(int(max(1, min(l.Quantity, 5))))), Condition: one(d, "new", "damaged", "")})
			}
		}
	}
	return c
}

func changes(d Dice, s order.State, currency money.Currency) []order.LineChange {
	var changes []order.LineChange
	for range 1 + d(2) {
		id := known(d, s.Lines, func(l *order.LineState) string { return l.ID })
		switch d(4) {
		case 0:
			l := line(d, currency, one(d, "", "7", "8"))
			changes = append(changes, order.LineChange{Op: "add", Line: &l})
		case 1:
			changes = append(changes, order.LineChange{Op: "remove", LineID: id})
		case 2:
			changes = append(changes, order.LineChange{Op: "reprice", LineID: id, UnitPrice: money.New(int64(d(9000)), 3, currency)})
		default:
			changes = append(changes, order.LineChange{Op: "quantity", LineID: id, Quantity: int64(1 + d(8))})
		}
	}
	return changes
}

func line(d Dice, currency money.Currency, id string) order.Line {
	return order.Line{ID: id, SKU: one(d, "85123A", "22423", "POST", "abc-1"), Title: one(d, "", "Cake stand", "Crème brûlée set"),
		Quantity: int64(1 + d(6)), UnitPrice: money.New(int64(d(9000)), 3, currency)}
}

// units of some lines, each line once.
func units(d Dice, s order.State) []order.LineQuantity {
	var units []order.LineQuantity
	for _, l := range s.Lines {
		if d(2) == 0 {
			units = append(units, order.LineQuantity{LineID: l.ID, Quantity: int64(1 + d(3))})
		}
	}
	if len(units) == 0 {
		units = []order.LineQuantity{{LineID: known(d, s.Lines, func(l *order.LineState) string { return l.ID }), Quantity: 1}}
	}
	return units
}

func customer(d Dice) order.Customer {
	n := d(20)
	return order.Customer{ID: fmt.Sprintf("cust-%d", n), Name: fmt.Sprintf("Zoë Müller %d", n), Email: fmt.Sprintf("zoe%d@example.com", n)}
}

func address(d Dice) order.Address {
	return order.Address{Name: "Zoë Müller", Street: fmt.Sprintf("Main Street %d", 1+d(9)), PostalCode: "01310",
		City: one(d, "São Paulo", "Berlin", "Graz"), State: one(d, "", "SP"), Country: one(d, "BR", "DE", "AT")}
}

func metadata(d Dice) map[string]string {
	m := map[string]string{}
	for _, k := range some(d, "channel", "campaign", "ref/1") {
		m[k] = one(d, "a", "b")
	}
	return m
}

func newID(d Dice, prefix string) string { return fmt.Sprint(prefix, 1+d(12)) }

// known is the id of a thing that is there, or, one time in ten or when there
// is none, of one that is not.
func known[T any](d Dice, list []T, id func(T) string) string {
	if len(list) == 0 || d(10) == 0 {
		return "none"
	}
	return id(list[d(len(list))])
}

func one[T any](d Dice, of ...T) T { return of[d(len(of))] }

func some(d Dice, of ...string) []string {
	var out []string
	for _, s := range of {
		if d(2) == 0 {
			out = append(out, s)
		}
	}
	return out
}
