package audit

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

func TestSummaries(t *testing.T) {
	brl := func(minor int64) money.Amount { return money.Minor(minor, "BRL") }
	lines := []order.Line{
		{ID: "L1", SKU: "MUG", Title: "Blue mug", Quantity: 2, UnitPrice: brl(1000)},
		{ID: "L2", SKU: "85123A", Quantity: 1, UnitPrice: brl(500)},
	}
	place := order.Placed{Kind: order.KindOrder, Currency: "BRL", Lines: lines, Shipping: brl(0), Discount: brl(0), Tax: brl(0), Customer: order.Customer{ID: "c7", Name: "Maria"}}
	folded := func(events ...order.Event) view.Order {
		doc := projections.Empty("o")
		for i, e := range events {
			doc = projections.Apply(doc, codec.Recorded{OrderID: "o", Revision: eventstore.Revision(i), Position: eventstore.At64(uint64(i + 1)), Event: e})
		}
		return doc
	}
	begun := []order.Event{
		place,
		order.PaymentAuthorised{PaymentID: "P1", Method: "credit_card", Amount: brl(2500)},
		order.RefundGranted{RefundID: "F1", PaymentID: "P1", Amount: brl(300)},
	}
	doc := folded(begun...)
	full := folded(append(begun,
		order.EditProposed{EditID: "E1"}, order.HoldPlaced{HoldID: "H1"}, order.TagsSet{Tags: []string{"vip"}},
		order.MetadataSet{Metadata: map[string]string{"a": "1"}}, order.ShippingAddressChanged{Address: order.Address{City: "Graz"}},
		order.ShipmentDispatched{ShipmentID: "S1", Carrier: "DHL"}, order.ReturnRequested{ReturnID: "R1", Lines: []order.LineQuantity{{LineID: "L1", Quantity: 1}}},
		order.Confirmed{}, order.RefundCompleted{RefundID: "F1"},
	)...)
	later := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	guest, note, adopted := place, place, place
	guest.Customer, guest.Lines = order.Customer{ID: "c7"}, lines[:1]
	note.Kind, note.Customer, note.Lines = order.KindCreditNote, order.Customer{}, nil
	adopted.Kind, adopted.Source = order.KindAdjustment, &order.Source{System: "olist", ID: "1"}
	two := []order.LineQuantity{{LineID: "L1", Quantity: 2}, {LineID: "L2", Quantity: 1}}

	none := projections.Empty("o")
	seen := map[string]bool{}
	for _, c := range []struct {
		before view.Order
		e      order.Event
		want   string
		reason string
	}{
		{none, place, "Order placed: 2 lines, 25.00 BRL, for Maria", ""},
		{none, guest, "Order placed: 1 line, 20.00 BRL, for customer c7", ""},
		{none, note, "Credit note written: no lines, 0.00 BRL", ""},
		{none, adopted, "Adjustment written: 2 lines, 25.00 BRL, for Maria (in olist)", ""},
		{doc, place, "Order placed a second time (nothing changed)", ""},
		{doc, order.Confirmed{}, "Order confirmed", ""},
		{doc, order.ShippingAddressChanged{Address: order.Address{City: "Graz", Country: "AT"}}, "Shipping address changed to Graz, AT", ""},
		{full, order.ShippingAddressChanged{}, "Shipping address changed", ""},
		{doc, order.EditProposed{EditID: "E1", Reason: "he called", Changes: []order.LineChange{
			{Op: "add", Line: &order.Line{ID: "L3", SKU: "TEA", Quantity: 3, UnitPrice: brl(250)}},
			{Op: "remove", LineID: "L2"}, {Op: "reprice", LineID: "L1", UnitPrice: brl(900)}, {Op: "quantity", LineID: "L1", Quantity: 1},
		}}, "Change E1 proposed: add 3 units of TEA at 2.50 BRL, remove line L2 (85123A), line L1 (Blue mug) at 9.00 BRL, and 1 more - he called", "he called"},
		{doc, order.EditProposed{EditID: "E1", Changes: []order.LineChange{{Op: "quantity", LineID: "L1", Quantity: 1}}}, "Change E1 proposed: line L1 (Blue mug) to 1 unit", ""},
		{doc, order.EditConfirmed{EditID: "E1", Lines: lines[:1]}, "Change E1 confirmed: now 1 line, 20.00 BRL", ""},
		{full, order.EditDeclined{EditID: "E1", Reason: "too late"}, "Change E1 declined - too late", "too late"},
		{doc, order.TagsSet{Tags: []string{"gift", "vip"}}, "Tags are now gift, vip", ""},
		{full, order.TagsSet{}, "All tags removed", ""},
		{doc, order.MetadataSet{Metadata: map[string]string{"b": "2", "a": "1"}}, "Further details are now a, b", ""},
		{full, order.MetadataSet{}, "All further details removed", ""},
		{doc, order.NoteAdded{NoteID: "n", Text: "call\n\x1bfirst", Author: "ann"}, "Note by ann: call first", ""},
		{doc, order.NoteAdded{NoteID: "n", Text: strings.Repeat("ä", 500)}, "Note: " + strings.Repeat("ä", 79) + "…", ""},
		{doc, order.HoldPlaced{HoldID: "H1", Reason: "fraud check"}, "Hold H1 placed: nothing is shipped until it is released - fraud check", "fraud check"},
		{full, order.HoldReleased{HoldID: "H1"}, "Hold H1 released", ""},
		{doc, order.PaymentAuthorised{PaymentID: "P2", Method: "boleto", Amount: brl(5000)}, "Payment P2 authorised: 50.00 BRL by boleto", ""},
		{doc, order.PaymentCaptured{PaymentID: "P1", Amount: brl(5000)}, "Payment P1 captured: 50.00 BRL by credit card", ""},
		{doc, order.PaymentCaptured{PaymentID: "P2", Amount: brl(5000), Method: "voucher"}, "Payment P2 captured: 50.00 BRL by voucher", ""},
		{doc, order.PaymentFailed{PaymentID: "P1", Reason: "card expired"}, "Payment P1 failed - card expired", "card expired"},
		{doc, order.PaymentVoided{PaymentID: "P1"}, "Payment P1 voided: what was not captured is given up", ""},
		{doc, order.ShipmentDispatched{ShipmentID: "S1", Lines: two, Carrier: "DHL", TrackingNumber: "123"}, "Parcel S1 left with 3 units (DHL 123)", ""},
		{full, order.ShipmentUpdated{ShipmentID: "S1", Carrier: "UPS"}, "Parcel S1: carrier and tracking number corrected (UPS)", ""},
		{full, order.ShipmentUpdated{ShipmentID: "S1"}, "Parcel S1: carrier and tracking number removed", ""},
		{doc, order.ShipmentDelivered{ShipmentID: "S1"}, "Parcel S1 arrived", ""},
		{doc, order.ShipmentDelivered{ShipmentID: "S1", Lines: two[1:]}, "Parcel S1 arrived with 1 unit", ""},
		{doc, order.ReturnRequested{ReturnID: "R1", Lines: two[:1], Reason: "too small"}, "Return R1 asked for: 2 units of line L1 (Blue mug) - too small", "too small"},
		{doc, order.ReturnReceived{ReturnID: "R1", Lines: []order.ReturnedLine{{LineID: "L1", Quantity: 1, Condition: "opened"}}}, "Return R1 came back: 1 unit (opened) of line L1 (Blue mug)", ""},
		{doc, order.ReturnReceived{ReturnID: "R1"}, "Return R1 came back: none named", ""},
		{full, order.ReturnRejected{ReturnID: "R1", Reason: "worn"}, "Return R1 rejected - worn", "worn"},
		{doc, order.RefundGranted{RefundID: "F2", PaymentID: "P1", ReturnID: "R1", Amount: brl(100)}, "Refund F2 granted: 1.00 BRL on payment P1 for return R1", ""},
		{doc, order.RefundCompleted{RefundID: "F1"}, "Refund F1 paid back: 3.00 BRL", ""},
		{doc, order.RefundFailed{RefundID: "F1", Reason: "account closed"}, "Refund F1 could not be paid back: 3.00 BRL - account closed", "account closed"},
		{doc, order.LinesCancelled{Lines: two[1:], Reason: "out of stock"}, "Line L2 (85123A): 1 unit cancelled - out of stock", "out of stock"},
		{doc, order.LinesCancelled{Lines: two}, "3 units cancelled: 2 units of line L1 (Blue mug), 1 unit of line L2 (85123A)", ""},
		{doc, order.Cancelled{Reason: "changed mind"}, "Order cancelled - changed mind", "changed mind"},
		{doc, order.AdoptionCompleted{}, "History taken over from another system", ""},
		{doc, order.AdoptionCompleted{Anomalies: []order.Anomaly{{Kind: "no-payment"}, {Kind: "repeated-row"}, {Kind: "repeated-row"}}},
			"History taken over from another system, where it was odd: no payment, repeated row", ""},
		// Without effect.
		{doc, order.ShippingAddressChanged{}, "Shipping address changed (nothing changed)", ""},
		{full, order.Confirmed{}, "Order confirmed a second time (nothing changed)", ""},
		{full, order.Confirmed{At: later}, "Order confirmed a second time", ""},
		{doc, order.EditConfirmed{EditID: "E7", Lines: lines}, "Change E7 confirmed: now 2 lines, 25.00 BRL (no such change: nothing changed)", ""},
		{doc, order.EditDeclined{EditID: "E7", Reason: "too late"}, "Change E7 declined (no such change: nothing changed) - too late", "too late"},
		{doc, order.HoldReleased{HoldID: "H7"}, "Hold H7 released (no such hold: nothing changed)", ""},
		{full, order.HoldPlaced{HoldID: "H1", Reason: "again"}, "Hold H1 placed: nothing is shipped until it is released (nothing changed) - again", "again"},
		{doc, order.PaymentVoided{PaymentID: "PQ"}, "Payment PQ voided: what was not captured is given up (no such payment: nothing changed)", ""},
		{doc, order.ShipmentUpdated{ShipmentID: "S99", Carrier: "UPS"}, "Parcel S99: carrier and tracking number corrected (UPS) (no such parcel: nothing changed)", ""},
		{doc, order.ReturnRejected{ReturnID: "R7"}, "Return R7 rejected (no such return: nothing changed)", ""},
		{doc, order.RefundCompleted{RefundID: "F8"}, "Refund F8 paid back (no such refund: nothing changed)", ""},
		{full, order.RefundCompleted{RefundID: "F1", At: later}, "Refund F1 paid back: 3.00 BRL (nothing changed)", ""},
		{doc, order.RefundFailed{RefundID: "F8"}, "Refund F8 could not be paid back (no such refund: nothing changed)", ""},
		{doc, order.LinesCancelled{Discount: brl(0), Tax: brl(0)}, "Lines cancelled, but none is named (nothing changed)", ""},
		{doc, order.TagsSet{}, "All tags removed (nothing changed)", ""},
	} {
		after := projections.Apply(c.before, codec.Recorded{OrderID: "o", Revision: 9, Position: eventstore.At64(9), Event: c.e})
		words, reason := summary(c.e, c.before, after)
		if words != c.want || reason != c.reason {
			t.Errorf("%T:\n %s\nnot\n %s (%q)", c.e, words, c.want, reason)
		}
		typ, _, err := codec.Encode(c.e)
		if err != nil {
			t.Fatal(err)
		}
		seen[typ] = true
	}
	for _, typ := range codec.Types() {
		if !seen[typ] {
			t.Errorf("no summary of %s is tested", typ)
		}
	}
}

// Whatever happens to an order has words: one line, not too long; and every
// reason that an event has is told.
func TestSummariesOfAnything(t *testing.T) {
	for seed := range int64(200) {
		doc := projections.Empty("o")
		for i, e := range ordertest.History(seed, 40) {
			after := projections.Apply(doc, codec.Recorded{OrderID: "o", Revision: eventstore.Revision(i), Position: eventstore.At64(uint64(i + 1)), Event: e,
				Meta: codec.Meta{RecordedAt: time.Unix(int64(i), 0)}})
			words, reason := summary(e, doc, after)
			if words == "" || !utf8.ValidString(words) || len(words) > 1000 || strings.ContainsFunc(words, unicode.IsControl) || strings.Contains(words, "()") {
				t.Errorf("seed %d revision %d: %T in words: %q", seed, i, e, words)
			}
			if what := (Entry{Summary: words, Reason: reason}).What(); what+becauseOf(reason) != words || what == "" || len(quote(reason)) > 3 && strings.HasSuffix(what, quote(reason)) {
				t.Errorf("seed %d revision %d: what happened is %q of %q", seed, i, what, words)
			}
			if field := reflect.ValueOf(e).FieldByName("Reason"); field.IsValid() && field.String() != reason {
				t.Errorf("seed %d revision %d: %T has the reason %q, told is %q", seed, i, e, field, reason)
			}
			doc = after
		}
	}
}

// However long or odd a reason is, it can be told apart.
func TestWhatWithoutTheReason(t *testing.T) {
	doc := projections.Empty("o")
	for _, reason := range []string{"", " ", "\t\n", "too  many   spaces", "two\nlines", strings.Repeat("long ", 100), "a - b", " - "} {
		e := order.Cancelled{Reason: reason, At: time.Unix(1, 0)}
		after := projections.Apply(doc, codec.Recorded{OrderID: "o", Position: eventstore.At64(1), Event: e})
		words, told := summary(e, doc, after)
		if what := (Entry{Summary: words, Reason: told}).What(); what != "Order cancelled" || told != reason {
			t.Errorf("%q: %q, %q", reason, words, what)
		}
	}
}
