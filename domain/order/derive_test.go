package order_test

import (
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
)

func TestTotals(t *testing.T) {
	line := func(quantity int64, price string) order.Line {
		return order.Line{Quantity: quantity, UnitPrice: money.MustParse(price, "GBP")}
	}
	gbp := func(s string) money.Amount { return money.MustParse(s, "GBP") }
	for _, c := range []struct {
		name                   string
		lines                  []order.Line
		items, rounding, grand string
	}{
		{"no lines", nil, "0", "0", "4"},
		{"exact", []order.Line{line(3, "1.10")}, "3.30", "0", "7.30"},
		{"rounded once, up", []order.Line{line(1, "0.003"), line(1, "0.002")}, "0.01", "0.005", "4.01"},
		{"rounded down", []order.Line{line(4, "0.001")}, "0", "-0.004", "4"},
		{"half goes away from zero", []order.Line{line(-5, "0.001")}, "-0.01", "-0.005", "3.99"},
		{"credit", []order.Line{line(-2, "10"), line(1, "-0.5")}, "-20.50", "0", "-16.50"},
	} {
		got, err := order.TotalsOf(c.lines, gbp("5"), gbp("3"), gbp("2"))
		if want := (order.Totals{Items: gbp(c.items), Rounding: gbp(c.rounding), Grand: gbp(c.grand)}); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, want)
		}
	}
	if _, err := order.TotalsOf([]order.Line{line(1<<40, "9000000000")}, gbp("0"), gbp("0"), gbp("0")); err == nil {
		t.Error("a sum beyond 64 bits is accepted")
	}
	if _, err := order.TotalsOf([]order.Line{line(1, "1")}, eur("0"), eur("0"), eur("0")); err == nil {
		t.Error("two currencies are accepted")
	}
}

func TestPaymentStatus(t *testing.T) {
	for _, c := range []struct {
		captured, refunded, grand string
		open                      bool
		want                      order.PaymentStatus
	}{
		{"0", "0", "10", false, order.PaymentStatusNone},
		{"0", "0", "10", true, order.PaymentStatusAuthorised},
		{"4", "0", "10", true, order.PaymentStatusPartiallyPaid},
		{"10", "0", "10", false, order.PaymentStatusPaid},
		{"11", "0", "10", false, order.PaymentStatusOverpaid},
		{"10", "4", "10", false, order.PaymentStatusPartiallyRefunded},
		{"10", "10", "10", false, order.PaymentStatusRefunded},
		{"4", "4", "10", false, order.PaymentStatusRefunded},
		{"-10", "0", "-10", false, order.PaymentStatusPaid},
		{"-4", "0", "-10", false, order.PaymentStatusPartiallyPaid},
		{"-11", "0", "-10", false, order.PaymentStatusOverpaid},
		{"-10", "-10", "-10", false, order.PaymentStatusRefunded},
	} {
		if got := order.PaymentStatusOf(eur(c.captured), eur(c.refunded), eur(c.grand), c.open); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestFulfilmentStatus(t *testing.T) {
	type u = order.Units
	for _, c := range []struct {
		lines                 []u
		dispatched, delivered int
		want                  order.FulfilmentStatus
	}{
		{[]u{{2, 0, 0, 0}}, 0, 0, order.FulfilmentStatusNone},
		{[]u{{2, 1, 0, 0}}, 1, 0, order.FulfilmentStatusPartiallyShipped},
		{[]u{{2, 2, 0, 0}, {1, 0, 0, 0}}, 1, 0, order.FulfilmentStatusPartiallyShipped},
		{[]u{{2, 3, 0, 0}, {1, 0, 0, 0}}, 1, 0, order.FulfilmentStatusPartiallyShipped}, // too many of one do not make up for another
		{[]u{{2, 2, 0, 0}, {1, 1, 0, 0}}, 1, 0, order.FulfilmentStatusShipped},
		{[]u{{2, 2, 2, 0}, {1, 1, 0, 0}}, 2, 1, order.FulfilmentStatusPartiallyDelivered},
		{[]u{{2, 2, 2, 0}}, 1, 1, order.FulfilmentStatusDelivered},
		{[]u{{2, 2, 2, 1}}, 1, 1, order.FulfilmentStatusPartiallyReturned},
		{[]u{{2, 2, 2, 2}}, 1, 1, order.FulfilmentStatusReturned},
		{nil, 0, 0, order.FulfilmentStatusNone},
		{nil, 1, 0, order.FulfilmentStatusShipped},
		{nil, 2, 1, order.FulfilmentStatusPartiallyDelivered},
		{nil, 2, 2, order.FulfilmentStatusDelivered},
		{[]u{{-2, 0, 0, 0}}, 0, 0, order.FulfilmentStatusNone},
	} {
		if got := order.FulfilmentStatusOf(c.lines, c.dispatched, c.delivered); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"536365": true, "C536379": true, "a.b_c~d-e": true, strings.Repeat("x", 64): true,
		"": false, "-a": false, ".": false, "a/b": false, "a b": false, "ä": false, "a\n": false, strings.Repeat("x", 65): false,
	} {
		if order.ValidID(id) != want {
			t.Errorf("ValidID(%q) is %v", id, !want)
		}
	}
}

func TestNumberFor(t *testing.T) {
	number := order.NumberFor("536365")
	if number != order.NumberFor("536365") || number == order.NumberFor("536366") || len(number) != 11 {
		t.Fatalf("number %q", number)
	}
	// The check character finds every wrong digit.
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ*~$=U"
	check := func(s string) bool {
		n := 0
		for _, c := range s[:10] {
			n = (n*32 + strings.IndexRune(alphabet, c)) % 37
		}
		return alphabet[n] == s[10]
	}
	if !check(number) {
		t.Errorf("check character of %q", number)
	}
	for i := range 10 {
		for _, c := range alphabet[:32] {
			if wrong := number[:i] + string(c) + number[i+1:]; wrong != number && check(wrong) {
				t.Errorf("%q passes for %q", wrong, number)
			}
		}
	}
}

func TestFilledIn(t *testing.T) {
	now := hour(3)
	if got := order.WithTime(order.Confirm{}, now); got != (order.Confirm{At: now}) {
		t.Errorf("%+v", got)
	}
	if got := order.BusinessTime(order.WithTime(order.Confirm{At: hour(1)}, now)); !got.Equal(hour(1)) {
		t.Errorf("%v", got)
	}
	adopt := order.Adopt{History: history(order.Placed{At: hour(0)}, order.Confirmed{At: hour(2)}, order.Cancelled{At: hour(1)})}
	if got := order.BusinessTime(order.WithTime(adopt, now)); !got.Equal(hour(2)) {
		t.Errorf("%v", got)
	}
	numbered := order.WithNumber(adopt, "1").(order.Adopt)
	if numbered.History[0].(order.Placed).Number != order.NumberFor("1") || adopt.History[0].(order.Placed).Number != "" {
		t.Error("number of an adopted order")
	}
	if got := order.WithNumber(order.Place{Number: "mine"}, "1").(order.Place).Number; got != "mine" {
		t.Errorf("number %q", got)
	}
	role := func(role string) string { return "new-" + role }
	for want, c := range map[string]order.Command{
		"new-edit": order.ProposeEdit{}, "new-note": order.AddNote{}, "new-hold": order.PlaceHold{},
		"new-payment": order.AddPayment{}, "new-capture": order.CapturePayment{}, "new-shipment": order.Dispatch{},
		"new-return": order.RequestReturn{}, "new-refund": order.GrantRefund{}, "new-cancellation": order.Cancel{Lines: units("a", 1)},
	} {
		var got string
		switch c := order.WithIDs(c, role).(type) {
		case order.ProposeEdit:
			got = c.EditID
		case order.AddNote:
			got = c.NoteID
		case order.PlaceHold:
			got = c.HoldID
		case order.AddPayment:
			got = c.PaymentID
		case order.CapturePayment:
			got = c.CaptureID
		case order.Dispatch:
			got = c.ShipmentID
		case order.RequestReturn:
			got = c.ReturnID
		case order.GrantRefund:
			got = c.RefundID
		case order.Cancel:
			got = c.CancellationID
		}
		if got != want {
			t.Errorf("%T: %q, want %q", c, got, want)
		}
	}
	if c := order.WithIDs(order.PlaceHold{HoldID: "mine"}, role).(order.PlaceHold); c.HoldID != "mine" {
		t.Errorf("a given id was replaced by %q", c.HoldID)
	}
	if c := order.WithIDs(order.Cancel{}, role).(order.Cancel); c.CancellationID != "" {
		t.Error("cancelling the whole order needs no id")
	}
}

// TestEveryCommandHasATime: WithTime knows every kind.
func TestEveryCommandHasATime(t *testing.T) {
	for _, a := range order.Actions(order.State{}, time.Time{}) {
		if a.Witness != nil || a.Refused != nil {
			continue
		}
		t.Errorf("%s: neither allowed nor refused on nothing", a.Name)
	}
	now := hour(0)
	for _, c := range []order.Command{order.Place{}, order.Confirm{}, order.ChangeShippingAddress{}, order.ProposeEdit{}, order.ConfirmEdit{}, order.DeclineEdit{},
		order.SetTags{}, order.SetMetadata{}, order.AddNote{}, order.PlaceHold{}, order.ReleaseHold{}, order.AddPayment{}, order.CapturePayment{},
		order.FailPayment{}, order.VoidPayment{}, order.Dispatch{}, order.UpdateShipment{}, order.Deliver{}, order.RequestReturn{},
		order.ReceiveReturn{}, order.RejectReturn{}, order.GrantRefund{}, order.CompleteRefund{}, order.FailRefund{}, order.Cancel{}} {
		if got := order.BusinessTime(order.WithTime(c, now)); !got.Equal(now) {
			t.Errorf("%s: %v", c.Name(), got)
		}
	}
}
