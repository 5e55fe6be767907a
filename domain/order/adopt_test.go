package order_test

import (
	"slices"
	"testing"

	"github.com/docket-orders/docket/domain/order"
)

// TestAnomalies: what each odd history is told to be. The claim of a source
// that keeps everything, as far as a case does not say otherwise.
func TestAnomalies(t *testing.T) {
	all := order.Claim{KeepsConfirmation: true, KeepsPayments: true, KeepsFulfilment: true}
	arrived := all
	arrived.Delivered = true
	paid := order.PaymentCaptured{PaymentID: "p", Method: "card", Amount: eur("29.50"), At: hour(1)}
	confirmed := order.Confirmed{At: hour(3)}
	sent := order.ShipmentDispatched{ShipmentID: "1", Lines: units("cups", 2, "pot", 1), At: hour(4)}
	delivered := order.ShipmentDelivered{ShipmentID: "1", At: hour(5)}
	told := order.ShipmentDelivered{ShipmentID: "1", Lines: units("cups", 2, "pot", 1), At: hour(5)}
	kind := func(k order.Kind, lines ...order.Line) order.Placed {
		p := adopted
		p.Kind, p.Lines = k, lines
		return p
	}
	sentAt := func(h int) order.ShipmentDispatched { s := sent; s.At = hour(h); return s }
	deliveredAt := func(h int) order.ShipmentDelivered { d := delivered; d.At = hour(h); return d }

	for _, c := range []struct {
		name    string
		claim   order.Claim
		history []order.Event
		want    []string
	}{
		{"nothing odd", arrived, history(adopted, paid, confirmed, sent, delivered), nil},
		{"no lines", all, history(kind(order.KindOrder), paid), []string{order.AnomalyNoLines}},
		{"no lines on a credit note", all, history(kind(order.KindCreditNote), paid), nil},
		{"no payment", all, history(adopted), []string{order.AnomalyNoPayment}},
		{"payments are not kept", order.Claim{}, history(adopted), nil},
		{"paid differs", all, history(adopted, order.PaymentCaptured{PaymentID: "p", Amount: eur("29.49"), At: hour(1)}), []string{order.AnomalyPaidDiffers}},
		{"paid nothing", all, history(adopted, order.PaymentCaptured{PaymentID: "p", Amount: eur("0"), At: hour(1)}), []string{order.AnomalyPaidDiffers}},
		{"confirmed before placed", all, history(adopted, paid, order.Confirmed{At: hour(-1)}), []string{order.AnomalyConfirmedBeforePlaced}},
		{"shipped before placed", all, history(adopted, paid, sentAt(-1)), []string{order.AnomalyShippedBeforePlaced}},
		{"shipped before confirmed", all, history(adopted, paid, confirmed, sentAt(2)), []string{order.AnomalyShippedBeforeConfirmed}},
		{"shipped when confirmed", all, history(adopted, paid, confirmed, sentAt(3)), nil},
		{"delivered before placed", all, history(adopted, paid, sentAt(-2), deliveredAt(-1)), []string{order.AnomalyDeliveredBeforePlaced, order.AnomalyShippedBeforePlaced}},
		{"delivered before confirmed", all, history(adopted, paid, confirmed, sentAt(1), deliveredAt(2)), []string{order.AnomalyDeliveredBeforeConfirmed, order.AnomalyShippedBeforeConfirmed}},
		{"delivered before shipped", arrived, history(adopted, paid, confirmed, sentAt(6), delivered), []string{order.AnomalyDeliveredBeforeShipped}},
		{"delivered without date", arrived, history(adopted, paid, confirmed, sent), []string{order.AnomalyDeliveredWithoutDate}},
		{"delivered without shipment", arrived, history(adopted, paid, confirmed, told), []string{order.AnomalyDeliveredWithoutShipment}},
		{"delivered without confirmation", arrived, history(adopted, paid, sent, delivered), []string{order.AnomalyDeliveredWithoutConfirmation}},
		{"cancelled with shipment", all, history(adopted, paid, confirmed, sent, order.Cancelled{At: hour(9)}), []string{order.AnomalyCancelledWithShipment}},
		{"cancelled with delivery", all, history(adopted, paid, confirmed, sent, delivered, order.Cancelled{At: hour(2)}), []string{order.AnomalyCancelledWithDelivery, order.AnomalyCancelledWithShipment}},
		{"negative quantity and price", order.Claim{}, history(kind(order.KindOrder, with(cups, -3, "1"), with(pot, 1, "-1"))), []string{order.AnomalyNegativePrice, order.AnomalyNegativeQuantity}},
		{"negative on a credit note", order.Claim{}, history(kind(order.KindCreditNote, with(cups, -3, "1"))), nil},
		{"more shipped than ordered", all, history(adopted, paid, confirmed, sent, order.ShipmentDispatched{ShipmentID: "2", Lines: units("pot", 1), At: hour(5)}), []string{order.AnomalyOverShipped}},
		{"more refunded than captured", all, history(adopted, paid, order.RefundGranted{RefundID: "f", PaymentID: "p", Amount: eur("30"), At: hour(5)}), []string{order.AnomalyOverRefunded}},
		{"unknown line", order.Claim{}, history(adopted, order.ShipmentDispatched{ShipmentID: "2", Lines: units("lid", 1), At: hour(5)}), []string{order.AnomalyUnknownReference}},
		{"unknown payment", order.Claim{}, history(adopted, order.PaymentVoided{PaymentID: "p", At: hour(5)}), []string{order.AnomalyUnknownReference}},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, err := order.Decide(order.State{}, order.Adopt{History: c.history, Last: true, Claim: c.claim})
			if err != nil {
				t.Fatal(err)
			}
			if len(events) != len(c.history)+1 {
				t.Fatalf("%d events of %d steps", len(events), len(c.history))
			}
			var got []string
			for _, a := range events[len(events)-1].(order.AdoptionCompleted).Anomalies {
				got = append(got, a.Kind)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("anomalies %v, want %v", got, c.want)
			}
		})
	}
}

// TestOddThingsOfTheImporter stand beside what the domain finds, sorted.
func TestOddThingsOfTheImporter(t *testing.T) {
	odd := []order.Anomaly{{Kind: order.AnomalySeveralTimestamps}, {Kind: order.AnomalyRepeatedRow, LineID: "2"}, {Kind: order.AnomalyRepeatedRow, LineID: "1"}, {Kind: order.AnomalyRepeatedRow, LineID: "1"}}
	t.Run("sorted, each once", given().When(order.Adopt{History: history(creditNote), Last: true, Odd: odd}).Then(creditNote, order.AdoptionCompleted{At: hour(0), Anomalies: []order.Anomaly{
		{Kind: order.AnomalyRepeatedRow, LineID: "1"}, {Kind: order.AnomalyRepeatedRow, LineID: "2"}, {Kind: order.AnomalySeveralTimestamps}}}))
}

// TestAdoptedOrder: steps in the order of time and stage, parts that come
// again, and all rules afterwards.
func TestAdoptedOrder(t *testing.T) {
	early := order.ShipmentDispatched{ShipmentID: "1", Lines: units("cups", 1), At: hour(-1)}
	late := order.ShipmentDelivered{ShipmentID: "1", At: hour(3)}
	atOnce := order.PaymentCaptured{PaymentID: "p", Amount: eur("1"), At: hour(1)}
	t.Run("sorted", given().When(order.Adopt{History: history(late, confirmed, atOnce, early, adopted)}).Then(adopted, early, atOnce, confirmed, late))
	t.Run("the rest of a part", given(adopted, early).When(order.Adopt{First: 1, History: history(early, atOnce)}).Then(atOnce))
	t.Run("a part again", given(adopted, early, atOnce).When(order.Adopt{First: 1, History: history(early, atOnce)}).Then())
	t.Run("all again after the end", given(adopted, early, adoptionDone).When(order.Adopt{History: history(early, adopted), Last: true}).Then())
	t.Run("the end alone", given(adopted, early).When(order.Adopt{First: 2, Last: true}).Then(order.AdoptionCompleted{At: hour(-1)}))
	t.Run("then bound by the rules", given(adopted, early, adoptionDone).When(order.Cancel{At: hour(5)}).Rejects(order.ErrDeparted))
	t.Run("then free within them", given(adopted, early, adoptionDone).When(order.Confirm{At: hour(5)}).Then(order.Confirmed{At: hour(5)}))
}

// TestDeliveryBeforeDispatch: in the order of business time a parcel may arrive
// first; its units count once.
func TestDeliveryBeforeDispatch(t *testing.T) {
	sent := order.ShipmentDispatched{ShipmentID: "1", Lines: units("cups", 2), At: hour(3)}
	for _, arrived := range []order.ShipmentDelivered{
		{ShipmentID: "1", At: hour(2)},
		{ShipmentID: "1", Lines: units("cups", 2), At: hour(2)},
	} {
		s := order.Decider.Fold(order.State{}, adopted, arrived, sent)
		if l := s.Lines[0]; l.Shipped != 2 || l.Delivered != 2 {
			t.Errorf("%+v: shipped %d, delivered %d", arrived, l.Shipped, l.Delivered)
		}
		if got := s.FulfilmentStatus(); got != order.FulfilmentStatusPartiallyDelivered {
			t.Errorf("%s", got)
		}
	}
}
