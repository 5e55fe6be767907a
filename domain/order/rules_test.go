package order_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/domaintest"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
)

var given = domaintest.Given(order.Decider)

func eur(amount string) money.Amount { return money.MustParse(amount, "EUR") }

// hour is a business time: so many hours after the order.
func hour(n int) time.Time { return time.Date(2024, 5, 1, 10+n, 0, 0, 0, time.UTC) }

func units(pairs ...any) (units []order.LineQuantity) {
	for i := 0; i < len(pairs); i += 2 {
		units = append(units, order.LineQuantity{LineID: pairs[i].(string), Quantity: int64(pairs[i+1].(int))})
	}
	return units
}

// One order: two cups at 10.00, one pot at 5.00, 2.50 off, 3.00 tax, 4.00
// shipping: 29.50.
var (
	cups  = order.Line{ID: "cups", SKU: "C-1", Quantity: 2, UnitPrice: eur("10")}
	pot   = order.Line{ID: "pot", SKU: "P-1", Quantity: 1, UnitPrice: eur("5")}
	place = order.Place{Number: "N-1", Currency: "EUR", Lines: []order.Line{cups, pot},
		Shipping: eur("4"), Discount: eur("2.50"), Tax: eur("3"), At: hour(0)}
	placed = order.Placed{Number: "N-1", Kind: order.KindOrder, Currency: "EUR", Lines: []order.Line{cups, pot},
		Shipping: eur("4"), Discount: eur("2.50"), Tax: eur("3"), At: hour(0)}

	confirmed  = order.Confirmed{At: hour(1)}
	cancelled  = order.Cancelled{At: hour(1)}
	authorised = order.PaymentAuthorised{PaymentID: "pay", Method: "card", Amount: eur("20"), At: hour(1)}
	captured   = order.PaymentCaptured{PaymentID: "pay", CaptureID: "c1", Amount: eur("15"), At: hour(2)}
	held       = order.HoldPlaced{HoldID: "h1", Reason: "fraud", At: hour(1)}
	released   = order.HoldReleased{HoldID: "h1", At: hour(2)}
	sentCup    = order.ShipmentDispatched{ShipmentID: "s1", Lines: units("cups", 1), Carrier: "DHL", At: hour(2)}
	sentRest   = order.ShipmentDispatched{ShipmentID: "s2", Lines: units("cups", 1, "pot", 1), At: hour(3)}
	arrivedCup = order.ShipmentDelivered{ShipmentID: "s1", At: hour(4)}
	asked      = order.ReturnRequested{ReturnID: "r1", Lines: units("cups", 1), Reason: "chipped", At: hour(5)}
	granted    = order.RefundGranted{RefundID: "f1", PaymentID: "pay", Amount: eur("10"), At: hour(6)}
	proposed   = order.EditProposed{EditID: "e1", Changes: []order.LineChange{{Op: "quantity", LineID: "cups", Quantity: 1}}, At: hour(1)}
	creditNote = func() order.Placed {
		p := placed
		p.Kind, p.Source = order.KindCreditNote, &order.Source{System: "old", ID: "C1"}
		return p
	}()
	adopted = func() order.Placed { // the first step of a history
		p := placed
		p.Source = &order.Source{System: "old", ID: "1"}
		return p
	}()
	adoptionDone = order.AdoptionCompleted{At: hour(0)}
)

// TestAccepted: what each command does, and when it has nothing to do.
func TestAccepted(t *testing.T) {
	for _, c := range []struct {
		name    string
		history []order.Event
		command order.Command
		want    []order.Event
	}{
		{"place", nil, place, []order.Event{placed}},
		{"place names lines", nil, order.Place{Number: "N-2", Currency: "JPY", At: hour(0), Lines: []order.Line{
			{SKU: "a", Quantity: 1, UnitPrice: money.New(7, 0, "JPY")}, {ID: "1", SKU: "b", Quantity: 1, UnitPrice: money.New(1, 0, "JPY")}}},
			[]order.Event{order.Placed{Number: "N-2", Kind: order.KindOrder, Currency: "JPY", At: hour(0),
				Shipping: money.Zero("JPY"), Discount: money.Zero("JPY"), Tax: money.Zero("JPY"), Lines: []order.Line{
					{ID: "2", SKU: "a", Quantity: 1, UnitPrice: money.New(7, 0, "JPY")}, {ID: "1", SKU: "b", Quantity: 1, UnitPrice: money.New(1, 0, "JPY")}}}}},
		{"place again", history(placed, confirmed), place, nil},
		{"place again after an edit", history(placed, proposed, order.EditConfirmed{EditID: "e1", Lines: []order.Line{pot}, At: hour(2)}), place, nil},
		{"confirm", history(placed), order.Confirm{At: hour(1)}, []order.Event{confirmed}},
		{"time in another zone, finer than stored", history(placed), order.Confirm{At: hour(1).Add(7).In(time.FixedZone("", 3600))}, []order.Event{confirmed}},
		{"confirm again", history(placed, confirmed), order.Confirm{At: hour(2)}, nil},
		{"change address", history(placed), order.ChangeShippingAddress{Address: order.Address{City: "Graz", Country: "AT"}, At: hour(1)},
			[]order.Event{order.ShippingAddressChanged{Address: order.Address{City: "Graz", Country: "AT"}, At: hour(1)}}},

		{"tags are sorted, each once", history(placed), order.SetTags{Tags: []string{"b", "a", "b"}, At: hour(1)}, []order.Event{order.TagsSet{Tags: []string{"a", "b"}, At: hour(1)}}},
		{"same tags", history(placed, order.TagsSet{Tags: []string{"a"}, At: hour(1)}), order.SetTags{Tags: []string{"a"}, At: hour(2)}, nil},
		{"metadata", history(placed), order.SetMetadata{Metadata: map[string]string{"k": "v"}, At: hour(1)}, []order.Event{order.MetadataSet{Metadata: map[string]string{"k": "v"}, At: hour(1)}}},
		{"note on a cancelled order", history(placed, cancelled), order.AddNote{NoteID: "n1", Text: "call\nfirst", Author: "ann", At: hour(2)},
			[]order.Event{order.NoteAdded{NoteID: "n1", Text: "call\nfirst", Author: "ann", At: hour(2)}}},
		{"note on a credit note", history(creditNote, adoptionDone), order.AddNote{NoteID: "n1", Text: "x", At: hour(2)}, []order.Event{order.NoteAdded{NoteID: "n1", Text: "x", At: hour(2)}}},

		{"propose", history(placed), order.ProposeEdit{EditID: "e1", Changes: proposed.Changes, At: hour(1)}, []order.Event{proposed}},
		{"confirm edit", history(placed, proposed), order.ConfirmEdit{EditID: "e1", At: hour(2)},
			[]order.Event{order.EditConfirmed{EditID: "e1", Lines: []order.Line{with(cups, 1, "10"), pot}, At: hour(2)}}},
		{"confirm edit of every op", history(placed, order.EditProposed{EditID: "e2", Changes: []order.LineChange{
			{Op: "remove", LineID: "pot"}, {Op: "reprice", LineID: "cups", UnitPrice: eur("0")}, {Op: "add", Line: &order.Line{SKU: "T-1", Quantity: 3, UnitPrice: eur("0.999")}}}, At: hour(1)}),
			order.ConfirmEdit{EditID: "e2", At: hour(2)},
			[]order.Event{order.EditConfirmed{EditID: "e2", Lines: []order.Line{with(cups, 2, "0"), {ID: "1", SKU: "T-1", Quantity: 3, UnitPrice: eur("0.999")}}, At: hour(2)}}},
		{"decline edit of a cancelled order", history(placed, proposed, cancelled), order.DeclineEdit{EditID: "e1", Reason: "no", At: hour(2)}, []order.Event{order.EditDeclined{EditID: "e1", Reason: "no", At: hour(2)}}},

		{"hold", history(placed), order.PlaceHold{HoldID: "h1", Reason: "fraud", At: hour(1)}, []order.Event{held}},
		{"release", history(placed, held), order.ReleaseHold{HoldID: "h1", At: hour(2)}, []order.Event{released}},
		{"release again", history(placed, held, released), order.ReleaseHold{HoldID: "h1", At: hour(3)}, nil},
		{"a hold that was released is no new one", history(placed, held, released), order.PlaceHold{HoldID: "h1", Reason: "fraud", At: hour(3)}, nil},

		{"authorise", history(placed), order.AddPayment{PaymentID: "pay", Method: "card", Amount: eur("20"), At: hour(1)}, []order.Event{authorised}},
		{"overpay at once", history(placed), order.AddPayment{PaymentID: "p2", Method: "cash", Amount: eur("99"), Capture: true, At: hour(1)},
			[]order.Event{order.PaymentCaptured{PaymentID: "p2", Method: "cash", Amount: eur("99"), At: hour(1)}}},
		{"capture a part", history(placed, authorised), order.CapturePayment{PaymentID: "pay", CaptureID: "c1", Amount: eur("15"), At: hour(2)}, []order.Event{captured}},
		{"capture the rest", history(placed, authorised, captured), order.CapturePayment{PaymentID: "pay", CaptureID: "c2", At: hour(3)},
			[]order.Event{order.PaymentCaptured{PaymentID: "pay", CaptureID: "c2", Amount: eur("5"), At: hour(3)}}},
		{"void the rest of a cancelled order", history(placed, authorised, captured, cancelled), order.VoidPayment{PaymentID: "pay", At: hour(3)}, []order.Event{order.PaymentVoided{PaymentID: "pay", At: hour(3)}}},
		{"fail", history(placed, authorised), order.FailPayment{PaymentID: "pay", Reason: "limit", At: hour(3)}, []order.Event{order.PaymentFailed{PaymentID: "pay", Reason: "limit", At: hour(3)}}},

		{"dispatch a part", history(placed, confirmed), order.Dispatch{ShipmentID: "s1", Lines: units("cups", 1), Carrier: "DHL", At: hour(2)}, []order.Event{sentCup}},
		{"dispatch everything else", history(placed, confirmed, sentCup), order.Dispatch{ShipmentID: "s2", At: hour(3)}, []order.Event{sentRest}},
		{"dispatch again, everything gone, held", history(placed, confirmed, sentCup, sentRest, held), order.Dispatch{ShipmentID: "s2", At: hour(4)}, nil},
		{"dispatch after the hold", history(placed, confirmed, held, released), order.Dispatch{ShipmentID: "s1", Lines: units("cups", 1), Carrier: "DHL", At: hour(2)}, []order.Event{sentCup}},
		{"tracking number", history(placed, confirmed, sentCup), order.UpdateShipment{ShipmentID: "s1", TrackingNumber: "T1", At: hour(3)},
			[]order.Event{order.ShipmentUpdated{ShipmentID: "s1", Carrier: "DHL", TrackingNumber: "T1", At: hour(3)}}},
		{"deliver", history(placed, confirmed, sentCup), order.Deliver{ShipmentID: "s1", At: hour(4)}, []order.Event{arrivedCup}},

		{"request a return", history(placed, confirmed, sentCup, arrivedCup), order.RequestReturn{ReturnID: "r1", Lines: units("cups", 1), Reason: "chipped", At: hour(5)}, []order.Event{asked}},
		{"receive it", history(placed, confirmed, sentCup, arrivedCup, asked), order.ReceiveReturn{ReturnID: "r1", Lines: []order.ReturnedLine{{"cups", 1, "damaged"}}, At: hour(6)},
			[]order.Event{order.ReturnReceived{ReturnID: "r1", Lines: []order.ReturnedLine{{"cups", 1, "damaged"}}, At: hour(6)}}},
		{"reject it", history(placed, confirmed, sentCup, arrivedCup, asked), order.RejectReturn{ReturnID: "r1", At: hour(6)}, []order.Event{order.ReturnRejected{ReturnID: "r1", At: hour(6)}}},

		{"refund of a cancelled order", history(placed, authorised, captured, cancelled), order.GrantRefund{RefundID: "f1", PaymentID: "pay", Amount: eur("10"), At: hour(6)}, []order.Event{granted}},
		{"refund done", history(placed, authorised, captured, granted), order.CompleteRefund{RefundID: "f1", Reference: "x", At: hour(7)}, []order.Event{order.RefundCompleted{RefundID: "f1", Reference: "x", At: hour(7)}}},
		{"refund anew after it failed", history(placed, authorised, captured, granted, order.RefundFailed{RefundID: "f1", At: hour(7)}),
			order.GrantRefund{RefundID: "f2", PaymentID: "pay", Amount: eur("15"), At: hour(8)}, []order.Event{order.RefundGranted{RefundID: "f2", PaymentID: "pay", Amount: eur("15"), At: hour(8)}}},

		{"cancel", history(placed, authorised, captured), order.Cancel{At: hour(1)}, []order.Event{cancelled}},
		{"cancel again", history(placed, cancelled), order.Cancel{Reason: "again", At: hour(2)}, nil},
		// 25.00 of items become 15.00: three fifths of discount and tax stay.
		{"cancel a unit", history(placed), order.Cancel{CancellationID: "x1", Lines: units("cups", 1), At: hour(1)},
			[]order.Event{order.LinesCancelled{CancellationID: "x1", Lines: units("cups", 1), Discount: eur("1.50"), Tax: eur("1.80"), At: hour(1)}}},
		{"cancel what has not left", history(placed, confirmed, sentCup), order.Cancel{CancellationID: "x1", Lines: units("cups", 1, "pot", 1), At: hour(3)},
			[]order.Event{order.LinesCancelled{CancellationID: "x1", Lines: units("cups", 1, "pot", 1), Discount: eur("1.00"), Tax: eur("1.20"), At: hour(3)}}},
	} {
		t.Run(c.name, given(c.history...).When(c.command).Then(c.want...))
	}
}

// TestEveryRuleRefuses has a case for each rule at least, and fails when one is
// missing.
func TestEveryRuleRefuses(t *testing.T) {
	odd := func(change func(*order.Place)) order.Place {
		p := place
		p.Lines = []order.Line{cups, pot}
		change(&p)
		return p
	}
	many := func(n int, make func(i int) order.Event) []order.Event {
		events := []order.Event{placed}
		for i := range n {
			events = append(events, make(i))
		}
		return events
	}
	step := func(first int64, steps ...order.Event) order.Adopt { return order.Adopt{First: first, History: steps} }
	start := func(change func(*order.Placed)) order.Adopt {
		p := adopted
		p.Lines = []order.Line{cups}
		change(&p)
		return step(0, p)
	}
	lines := func(n int) (lines []order.Line) {
		for range n {
			lines = append(lines, order.Line{SKU: "x", Quantity: 1, UnitPrice: eur("1")})
		}
		return lines
	}
	change := func(ch ...order.LineChange) order.ProposeEdit {
		return order.ProposeEdit{EditID: "e9", Changes: ch, At: hour(9)}
	}
	sent := history(placed, confirmed, sentCup)
	arrived := history(placed, confirmed, sentCup, arrivedCup, asked)
	paid := history(placed, authorised, captured)

	covered := map[string]bool{}
	for i, c := range []struct {
		rule    *domain.Rejection
		history []order.Event
		command order.Command
	}{
		{order.ErrTime, nil, odd(func(p *order.Place) { p.At = time.Time{} })},
		{order.ErrTime, nil, odd(func(p *order.Place) { p.At = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) })},
		{order.ErrBeforePlaced, history(placed), order.Confirm{At: hour(-1)}},
		{order.ErrText, nil, odd(func(p *order.Place) { p.Customer.Name = "a\x00b" })},
		{order.ErrText, nil, odd(func(p *order.Place) { p.Customer.Name = "\xff" })},
		{order.ErrText, history(placed), order.SetTags{Tags: []string{"a\nb"}, At: hour(1)}},
		{order.ErrText, history(placed), order.AddNote{NoteID: "n", Text: "total \u202e00.1", At: hour(1)}},
		{order.ErrText, nil, start(func(p *order.Placed) { p.Customer.Name = "a\u200bb" })},
		{order.ErrCode, nil, odd(func(p *order.Place) { p.Lines[0].SKU = "\u0410-1" })},
		{order.ErrCode, nil, odd(func(p *order.Place) { p.Lines[0].SKU = " A-1" })},
		{order.ErrCode, history(placed), order.SetMetadata{Metadata: map[string]string{"ch\u0430nnel": "web"}, At: hour(1)}},
		{order.ErrTextLong, history(placed), order.AddNote{NoteID: "n", Text: strings.Repeat("x", order.MaxText+1), At: hour(1)}},
		{order.ErrTextMissing, history(placed), order.AddNote{NoteID: "n", At: hour(1)}},
		{order.ErrTextMissing, nil, odd(func(p *order.Place) { p.Lines[0].SKU = "" })},
		{order.ErrTextMissing, sent, order.UpdateShipment{ShipmentID: "s1", At: hour(3)}},
		{order.ErrID, nil, odd(func(p *order.Place) { p.Customer.ID = "-1" })},
		{order.ErrID, history(placed), order.ReleaseHold{HoldID: "a/b", At: hour(1)}},
		{order.ErrIDMissing, history(placed), order.PlaceHold{At: hour(1)}},
		{order.ErrIDMissing, history(placed), order.Cancel{Lines: units("pot", 1), At: hour(1)}},
		{order.ErrNumber, nil, odd(func(p *order.Place) { p.Number = "" })},
		{order.ErrEmail, nil, odd(func(p *order.Place) { p.Customer.Email = "someone" })},
		{order.ErrCountry, nil, odd(func(p *order.Place) { p.ShippingAddress = &order.Address{Country: "ZZ"} })},
		{order.ErrCountry, history(placed), order.ChangeShippingAddress{Address: order.Address{Country: "de"}, At: hour(1)}},
		{order.ErrCurrency, nil, odd(func(p *order.Place) { p.Currency = "EURO" })},
		{order.ErrOtherCurrency, nil, odd(func(p *order.Place) { p.Lines[0].UnitPrice = money.Zero("USD") })},
		{order.ErrOtherCurrency, nil, odd(func(p *order.Place) { p.Lines[0].UnitPrice = money.Amount{} })},
		{order.ErrOtherCurrency, nil, odd(func(p *order.Place) { p.Shipping = money.Zero("USD") })},
		{order.ErrOtherCurrency, history(placed), order.AddPayment{PaymentID: "p", Method: "m", Amount: money.Minor(1, "USD"), At: hour(1)}},
		{order.ErrOtherCurrency, history(placed, authorised), order.CapturePayment{PaymentID: "pay", CaptureID: "c", Amount: money.Minor(1, "USD"), At: hour(2)}},
		{order.ErrOtherCurrency, history(placed), change(order.LineChange{Op: "reprice", LineID: "cups", UnitPrice: money.Minor(1, "USD")})},
		{order.ErrNoLines, nil, odd(func(p *order.Place) { p.Lines = nil })},
		{order.ErrNoLines, history(placed), change(order.LineChange{Op: "remove", LineID: "cups"}, order.LineChange{Op: "remove", LineID: "pot"})},
		{order.ErrTooManyLines, nil, odd(func(p *order.Place) { p.Lines = lines(order.MaxLines + 1) })},
		{order.ErrLineRepeated, nil, odd(func(p *order.Place) { p.Lines = []order.Line{cups, cups} })},
		{order.ErrLineRepeated, history(placed, confirmed), order.Dispatch{ShipmentID: "s", Lines: units("cups", 1, "cups", 1), At: hour(2)}},
		{order.ErrQuantity, nil, odd(func(p *order.Place) { p.Lines[0].Quantity = 0 })},
		{order.ErrQuantity, nil, odd(func(p *order.Place) { p.Lines[0].Quantity = order.MaxQuantity + 1 })},
		{order.ErrPriceNegative, nil, odd(func(p *order.Place) { p.Lines[0].UnitPrice = eur("-0.001") })},
		{order.ErrAmountNegative, nil, odd(func(p *order.Place) { p.Tax = eur("-1") })},
		{order.ErrAmountZero, history(placed), order.AddPayment{PaymentID: "p", Method: "m", Amount: eur("0"), At: hour(1)}},
		{order.ErrDecimals, nil, odd(func(p *order.Place) { p.Shipping = eur("0.001") })},
		{order.ErrDecimals, history(placed), order.AddPayment{PaymentID: "p", Method: "m", Amount: eur("0.001"), At: hour(1)}},
		{order.ErrAmountLarge, nil, odd(func(p *order.Place) { p.Shipping = money.Minor(order.MaxMinorUnits+1, "EUR") })},
		{order.ErrAmountLarge, nil, odd(func(p *order.Place) { p.Lines[0].UnitPrice = money.Minor(order.MaxMinorUnits, "EUR") })},
		{order.ErrAmountLarge, paid, order.AddPayment{PaymentID: "p", Method: "m", Amount: money.Minor(order.MaxMinorUnits, "EUR"), At: hour(3)}},
		{order.ErrDiscount, nil, odd(func(p *order.Place) { p.Discount = eur("25.01") })},
		{order.ErrDiscount, history(placed), change(order.LineChange{Op: "reprice", LineID: "cups", UnitPrice: eur("0")}, order.LineChange{Op: "reprice", LineID: "pot", UnitPrice: eur("2")})},
		{order.ErrTooManyTags, history(placed), order.SetTags{Tags: words(order.MaxTags + 1), At: hour(1)}},
		{order.ErrTooMuchMeta, history(placed), order.SetMetadata{Metadata: keys(order.MaxMetadata + 1), At: hour(1)}},
		{order.ErrChangesMissing, history(placed), change()},
		{order.ErrChange, history(placed), change(order.LineChange{Op: "paint", LineID: "cups"})},
		{order.ErrChange, history(placed), change(order.LineChange{Op: "remove", LineID: "cups", Quantity: 1})},

		{order.ErrUnknown, nil, order.Confirm{At: hour(1)}},
		{order.ErrUnknownLine, history(placed), change(order.LineChange{Op: "remove", LineID: "lid"})},
		{order.ErrUnknownLine, history(placed), order.Cancel{CancellationID: "x", Lines: units("lid", 1), At: hour(1)}},
		{order.ErrUnknownLine, arrived, order.ReceiveReturn{ReturnID: "r1", Lines: []order.ReturnedLine{{LineID: "pot", Quantity: 1}}, At: hour(6)}},
		{order.ErrUnknownEdit, history(placed), order.ConfirmEdit{EditID: "e1", At: hour(1)}},
		{order.ErrUnknownEdit, history(placed), order.DeclineEdit{EditID: "e1", At: hour(1)}},
		{order.ErrUnknownHold, history(placed), order.ReleaseHold{HoldID: "h1", At: hour(1)}},
		{order.ErrUnknownPayment, history(placed), order.CapturePayment{PaymentID: "pay", CaptureID: "c", At: hour(1)}},
		{order.ErrUnknownPayment, history(placed), order.FailPayment{PaymentID: "pay", At: hour(1)}},
		{order.ErrUnknownPayment, history(placed), order.VoidPayment{PaymentID: "pay", At: hour(1)}},
		{order.ErrUnknownPayment, history(placed), order.GrantRefund{RefundID: "f", PaymentID: "pay", Amount: eur("1"), At: hour(1)}},
		{order.ErrUnknownShipment, history(placed), order.Deliver{ShipmentID: "s1", At: hour(1)}},
		{order.ErrUnknownShipment, history(placed), order.UpdateShipment{ShipmentID: "s1", Carrier: "x", At: hour(1)}},
		{order.ErrUnknownReturn, history(placed), order.ReceiveReturn{ReturnID: "r1", Lines: []order.ReturnedLine{{LineID: "cups", Quantity: 1}}, At: hour(1)}},
		{order.ErrUnknownReturn, history(placed), order.RejectReturn{ReturnID: "r1", At: hour(1)}},
		{order.ErrUnknownReturn, paid, order.GrantRefund{RefundID: "f", PaymentID: "pay", Amount: eur("1"), ReturnID: "r1", At: hour(3)}},
		{order.ErrUnknownRefund, history(placed), order.CompleteRefund{RefundID: "f1", At: hour(1)}},
		{order.ErrUnknownRefund, history(placed), order.FailRefund{RefundID: "f1", At: hour(1)}},

		{order.ErrExists, history(placed), odd(func(p *order.Place) { p.Tax = eur("0") })},
		{order.ErrExists, history(placed), step(0, adopted)},
		{order.ErrExists, history(adopted), start(func(p *order.Placed) { p.Source = &order.Source{System: "old", ID: "2"} })},
		{order.ErrIDInUse, history(placed, held), order.PlaceHold{HoldID: "h1", Reason: "other", At: hour(2)}},
		{order.ErrIDInUse, history(placed, authorised), order.AddPayment{PaymentID: "pay", Method: "card", Amount: eur("20"), Capture: true, At: hour(2)}},
		{order.ErrIDInUse, paid, order.CapturePayment{PaymentID: "pay", CaptureID: "c1", Amount: eur("1"), At: hour(3)}},
		{order.ErrIDInUse, sent, order.Dispatch{ShipmentID: "s1", Lines: units("cups", 1), Carrier: "UPS", At: hour(3)}},
		{order.ErrIDInUse, arrived, order.RequestReturn{ReturnID: "r1", Lines: units("cups", 1), At: hour(6)}},
		{order.ErrIDInUse, append(paid[:3:3], granted), order.GrantRefund{RefundID: "f1", PaymentID: "pay", Amount: eur("1"), At: hour(7)}},
		{order.ErrIDInUse, history(placed, proposed), order.ProposeEdit{EditID: "e1", Changes: []order.LineChange{{Op: "remove", LineID: "pot"}}, At: hour(2)}},
		{order.ErrIDInUse, history(adopted), step(1, held, held)},
		{order.ErrTooMany, many(order.MaxEntities, func(i int) order.Event { return order.HoldPlaced{HoldID: fmt.Sprint(i), At: hour(1)} }), order.PlaceHold{HoldID: "h", At: hour(1)}},
		{order.ErrTooMany, many(order.MaxEntities, func(i int) order.Event { return order.NoteAdded{NoteID: fmt.Sprint(i), At: hour(1)} }), order.AddNote{NoteID: "n", Text: "x", At: hour(1)}},
		{order.ErrNotAnOrder, history(creditNote, adoptionDone), order.Confirm{At: hour(1)}},
		{order.ErrNotAnOrder, history(creditNote, adoptionDone), order.AddPayment{PaymentID: "p", Method: "m", Amount: eur("1"), At: hour(1)}},
		{order.ErrCancelled, history(placed, cancelled), order.Confirm{At: hour(2)}},
		{order.ErrCancelled, history(placed, cancelled), order.AddPayment{PaymentID: "p", Method: "m", Amount: eur("1"), At: hour(2)}},
		{order.ErrCancelled, history(placed, authorised, cancelled), order.CapturePayment{PaymentID: "pay", CaptureID: "c", At: hour(2)}},
		{order.ErrCancelled, history(placed, cancelled), order.ChangeShippingAddress{Address: order.Address{City: "x"}, At: hour(2)}},
		{order.ErrCancelled, history(placed, cancelled), order.PlaceHold{HoldID: "h", At: hour(2)}},
		{order.ErrCancelled, history(placed, cancelled), order.Dispatch{ShipmentID: "s", At: hour(2)}},
		{order.ErrCancelled, history(placed, cancelled), change(order.LineChange{Op: "remove", LineID: "pot"})},
		{order.ErrCancelled, history(placed, proposed, cancelled), order.ConfirmEdit{EditID: "e1", At: hour(2)}},
		{order.ErrCancelled, history(placed, cancelled), order.Cancel{CancellationID: "x", Lines: units("pot", 1), At: hour(2)}},
		{order.ErrNotConfirmed, history(placed), order.Dispatch{ShipmentID: "s", At: hour(2)}},
		{order.ErrHeld, history(placed, confirmed, held), order.Dispatch{ShipmentID: "s", At: hour(2)}},
		{order.ErrDeparted, sent, order.Cancel{At: hour(3)}},
		{order.ErrDeparted, sent, order.ChangeShippingAddress{Address: order.Address{City: "x"}, At: hour(3)}},
		{order.ErrDeparted, append(sent[:3:3], sentRest), order.Cancel{CancellationID: "x", Lines: units("cups", 1), At: hour(4)}},
		{order.ErrNothingToShip, append(sent[:3:3], sentRest), order.Dispatch{ShipmentID: "s9", At: hour(4)}},
		{order.ErrNotEnough, sent, order.Dispatch{ShipmentID: "s9", Lines: units("cups", 2), At: hour(4)}},
		{order.ErrNotEnough, sent, order.Cancel{CancellationID: "x", Lines: units("cups", 2), At: hour(4)}},
		{order.ErrNotEnough, history(placed, confirmed, sentCup, arrivedCup), order.RequestReturn{ReturnID: "r", Lines: units("cups", 2), At: hour(5)}},
		{order.ErrNotEnough, arrived, order.ReceiveReturn{ReturnID: "r1", Lines: []order.ReturnedLine{{"cups", 1, "new"}, {"cups", 1, "damaged"}}, At: hour(6)}},
		{order.ErrLastUnits, history(placed), order.Cancel{CancellationID: "x", Lines: units("cups", 2, "pot", 1), At: hour(1)}},
		{order.ErrBelowShipped, sent, change(order.LineChange{Op: "remove", LineID: "cups"})},
		{order.ErrBelowShipped, history(placed, confirmed, sentCup, sentRest), change(order.LineChange{Op: "quantity", LineID: "cups", Quantity: 1})},
		{order.ErrEditSettled, history(placed, proposed, order.EditDeclined{EditID: "e1"}), order.ConfirmEdit{EditID: "e1", At: hour(3)}},
		{order.ErrEditSettled, history(placed, proposed, order.EditConfirmed{EditID: "e1", Lines: []order.Line{cups}}), order.DeclineEdit{EditID: "e1", At: hour(3)}},
		{order.ErrEditStale, history(placed, confirmed, proposed, sentCup, sentRest), order.ConfirmEdit{EditID: "e1", At: hour(3)}},
		{order.ErrPaymentSettled, history(placed, order.PaymentCaptured{PaymentID: "pay", Amount: eur("1"), At: hour(1)}), order.CapturePayment{PaymentID: "pay", CaptureID: "c", At: hour(3)}},
		{order.ErrPaymentSettled, history(placed, authorised, order.PaymentVoided{PaymentID: "pay"}), order.FailPayment{PaymentID: "pay", At: hour(3)}},
		{order.ErrPaymentSettled, history(placed, authorised, order.PaymentFailed{PaymentID: "pay"}), order.VoidPayment{PaymentID: "pay", At: hour(3)}},
		{order.ErrAboveAuthorised, paid, order.CapturePayment{PaymentID: "pay", CaptureID: "c9", Amount: eur("5.01"), At: hour(3)}},
		{order.ErrNothingToRefund, history(placed, authorised), order.GrantRefund{RefundID: "f", PaymentID: "pay", Amount: eur("1"), At: hour(3)}},
		{order.ErrAboveCaptured, append(paid[:3:3], granted), order.GrantRefund{RefundID: "f9", PaymentID: "pay", Amount: eur("5.01"), At: hour(7)}},
		{order.ErrRefundSettled, append(paid[:3:3], granted, order.RefundFailed{RefundID: "f1"}), order.CompleteRefund{RefundID: "f1", At: hour(7)}},
		{order.ErrRefundSettled, append(paid[:3:3], granted, order.RefundCompleted{RefundID: "f1"}), order.FailRefund{RefundID: "f1", At: hour(7)}},
		{order.ErrNothingToReturn, sent, order.RequestReturn{ReturnID: "r", Lines: units("cups", 1), At: hour(5)}},
		{order.ErrReturnSettled, append(arrived[:5:5], order.ReturnRejected{ReturnID: "r1"}), order.ReceiveReturn{ReturnID: "r1", Lines: []order.ReturnedLine{{LineID: "cups", Quantity: 1}}, At: hour(6)}},
		{order.ErrReturnSettled, append(arrived[:5:5], order.ReturnReceived{ReturnID: "r1", Lines: []order.ReturnedLine{{LineID: "cups", Quantity: 1}}}), order.RejectReturn{ReturnID: "r1", At: hour(6)}},

		{order.ErrAdopting, history(adopted), order.Confirm{At: hour(1)}},
		{order.ErrAdoptionEmpty, nil, step(0)},
		{order.ErrAdoptionNumber, nil, step(-1, adopted)},
		{order.ErrAdoptionStart, nil, step(0, confirmed)},
		{order.ErrAdoptionStart, nil, step(0, adopted, adopted)},
		{order.ErrAdoptionStart, history(adopted), step(1, adopted)},
		{order.ErrAdoptionStart, nil, order.Adopt{Last: true}},
		{order.ErrAdoptionStep, history(adopted), step(1, nil)},
		{order.ErrAdoptionStep, history(adopted), step(1, &confirmed)},
		{order.ErrAdoptionStep, history(adopted), step(1, adoptionDone)},
		{order.ErrAdoptionKind, nil, start(func(p *order.Placed) { p.Kind = "gift" })},
		{order.ErrAdoptionSource, nil, start(func(p *order.Placed) { p.Source = nil })},
		{order.ErrAdoptionUnits, nil, start(func(p *order.Placed) { p.Lines[0].Quantity = -1 << 31 })},
		{order.ErrOtherCurrency, nil, start(func(p *order.Placed) { p.Lines[0].UnitPrice = money.Zero("USD") })},
		{order.ErrCurrency, nil, start(func(p *order.Placed) { p.Currency = "XXX" })},
		{order.ErrAmountLarge, nil, start(func(p *order.Placed) { p.Lines[0].UnitPrice = money.Minor(-order.MaxMinorUnits, "EUR") })},
		{order.ErrAmountLarge, history(adopted), step(1, order.PaymentCaptured{PaymentID: "p", Amount: money.Minor(order.MaxMinorUnits, "EUR"), At: hour(1)}, order.PaymentCaptured{PaymentID: "p", Amount: money.Minor(-1, "EUR"), At: hour(1)})},
		{order.ErrAdoptionGap, history(adopted), step(2, confirmed)},
		{order.ErrAdoptionOrder, history(adopted, captured), step(2, confirmed)},
		{order.ErrAdoptionComplete, history(adopted, adoptionDone), step(0, adopted, confirmed)},
	} {
		covered[c.rule.Code] = true
		t.Run(fmt.Sprintf("%s %d", c.rule.Code, i), given(c.history...).When(c.command).Rejects(c.rule))
	}
	for _, r := range order.Rules() {
		if !covered[r.Code] {
			t.Errorf("no case for %s", r.Code)
		}
	}
}

// TestRulesAreListed: every refusal that the package declares, each code once.
func TestRulesAreListed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "refusals.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			declared += len(spec.Names)
		}
		return true
	})
	codes := map[string]bool{}
	for _, r := range order.Rules() {
		codes[r.Code] = true
	}
	if len(codes) != declared || len(order.Rules()) != declared {
		t.Errorf("%d declared, %d listed, %d codes", declared, len(order.Rules()), len(codes))
	}
}

func history(events ...order.Event) []order.Event { return events }

func with(l order.Line, quantity int64, price string) order.Line {
	l.Quantity, l.UnitPrice = quantity, eur(price)
	return l
}

func words(n int) (words []string) {
	for i := range n {
		words = append(words, fmt.Sprint("w", i))
	}
	return words
}

func keys(n int) map[string]string {
	m := map[string]string{}
	for _, w := range words(n) {
		m[w] = "v"
	}
	return m
}
