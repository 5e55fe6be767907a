package projections_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	"github.com/google/uuid"
)

var (
	t0 = time.Date(2024, 5, 1, 9, 0, 0, 0, time.UTC)
	// placed has 3 apples at 1.005 and 2 pears at 2.00: 7.015 exactly.
	placed = order.Placed{
		Number: "N1", Kind: order.KindOrder, Currency: "EUR", Customer: order.Customer{ID: "c1", Name: "Ann"},
		Lines: []order.Line{
			{ID: "1", SKU: "apple", Quantity: 3, UnitPrice: eur("1.005")},
			{ID: "2", SKU: "pear", Quantity: 2, UnitPrice: eur("2")},
		},
		Shipping: eur("5"), Discount: eur("1"), Tax: eur("0.50"),
		BillingAddress: &order.Address{City: "Rome", Country: "IT"}, Tags: []string{"vip"}, At: t0,
	}
	dispatchedAll = order.ShipmentDispatched{ShipmentID: "s", Lines: units("1", 3, "2", 2), Carrier: "DHL", TrackingNumber: "T1", At: later(2)}
	deliveredAll  = order.ShipmentDelivered{ShipmentID: "s", At: later(5)}
)

func eur(text string) money.Amount { return money.MustParse(text, "EUR") }
func later(hours int) time.Time    { return t0.Add(time.Duration(hours) * time.Hour) }

func units(of ...any) (q []order.LineQuantity) {
	for i := 0; i < len(of); i += 2 {
		q = append(q, order.LineQuantity{LineID: of[i].(string), Quantity: int64(of[i+1].(int))})
	}
	return q
}

// recorded gives events their places in a log, from revision first on.
func recorded(id string, first int, events ...order.Event) []codec.Recorded {
	out := make([]codec.Recorded, len(events))
	for i, e := range events {
		typ, _, err := codec.Encode(e)
		if err != nil {
			panic(err)
		}
		out[i] = codec.Recorded{
			OrderID: id, Revision: eventstore.Revision(first + i), Position: eventstore.At64(uint64(first + i + 1)),
			EventID: uuid.New(), Type: typ, Event: e,
			Meta: codec.Meta{Version: 1, RecordedAt: t0.Add(time.Duration(first+i) * time.Minute)},
		}
	}
	return out
}

func fold(doc view.Order, events ...codec.Recorded) view.Order {
	for _, e := range events {
		doc = projections.Apply(doc, e)
	}
	return doc
}

// history is the given of a case; its then names what the document shows.
type history []order.Event

func given(events ...order.Event) history { return events }

func (h history) when(e ...order.Event) history { return append(h[:len(h):len(h)], e...) }

func (h history) then(show func(view.Order) any, want any) func(*testing.T) {
	return func(t *testing.T) {
		doc := fold(view.Order{}, recorded("o", 0, h...)...)
		if got := show(doc); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
}

func text(format string, fields ...func(view.Order) any) func(view.Order) any {
	return func(doc view.Order) any {
		args := make([]any, len(fields))
		for i, f := range fields {
			args[i] = f(doc)
		}
		return strings.TrimSpace(fmt.Sprintf(format, args...))
	}
}

func at(p *time.Time) string {
	if p == nil {
		return "-"
	}
	return p.Sub(t0).String()
}

func TestApply(t *testing.T) {
	status := func(d view.Order) any { return d.Status }
	payment := func(d view.Order) any { return d.PaymentStatus }
	fulfilment := func(d view.Order) any { return d.FulfilmentStatus }
	delivered := func(d view.Order) any { return at(d.DeliveredAt) }
	totals := func(d view.Order) any {
		x := d.Totals
		return strings.Join([]string{x.Items.Decimal(), x.Grand.Decimal(), x.Rounding.Decimal(), x.Discount.Decimal(), x.Paid.Decimal(), x.Refunded.Decimal()}, " ")
	}
	lines := func(d view.Order) any {
		s := ""
		for _, l := range d.Lines {
			s += fmt.Sprintf("%s:%d/%d/%d/%d=%s ", l.ID, l.Quantity, l.Shipped, l.Delivered, l.Returned, l.Total.Decimal())
		}
		return s
	}
	payments := func(d view.Order) any {
		s := ""
		for _, p := range d.Payments {
			s += fmt.Sprintf("%s %s %s %s/%s ", p.ID, p.Method, p.Status, p.Captured.Decimal(), p.Authorised.Decimal())
		}
		return s
	}
	shipments := func(d view.Order) any {
		s := ""
		for _, p := range d.Shipments {
			s += fmt.Sprintf("%s %s %s %s %s-%s %d ", p.ID, p.Status, p.Carrier, p.TrackingNumber, at(p.DispatchedAt), at(p.DeliveredAt), len(p.Lines))
		}
		return s
	}
	returns := func(d view.Order) any {
		s := ""
		for _, r := range d.Returns {
			s += fmt.Sprintf("%s %s %d %v ", r.ID, r.Status, len(r.Lines), r.Received)
		}
		return s
	}
	refunds := func(d view.Order) any {
		s := ""
		for _, r := range d.Refunds {
			s += fmt.Sprintf("%s %s %s %s ", r.ID, r.Status, r.Amount.Decimal(), r.Reference)
		}
		return s
	}
	edits := func(d view.Order) any {
		s := ""
		for _, e := range d.Edits {
			s += fmt.Sprintf("%s %s %s %d ", e.ID, e.Status, e.Reason, len(e.Changes))
		}
		return s
	}
	place := func(d view.Order) any { return d.Country + " " + d.City }
	holds := func(d view.Order) any { return fmt.Sprint(d.Holds) }
	pay := order.PaymentCaptured{PaymentID: "p", Method: "card", Amount: eur("11.52"), At: later(1)}
	partly := order.PaymentCaptured{PaymentID: "p", Amount: eur("2"), At: later(1)}
	authorised := order.PaymentAuthorised{PaymentID: "p", Method: "card", Amount: eur("11.52"), At: later(1)}
	refund := order.RefundGranted{RefundID: "r", PaymentID: "p", Amount: eur("1.52"), At: later(3)}
	odd := given(placed)

	t.Run("placed: totals rounded once", given(placed).then(totals, "7.02 11.52 0.005 1.00 0.00 0.00"))
	t.Run("placed: lines", given(placed).then(text("%s", lines), "1:3/0/0/0=3.015 2:2/0/0/0=4.00"))
	t.Run("placed: axes", given(placed).then(text("%s %s %s", status, payment, fulfilment), "placed none unfulfilled"))
	t.Run("placed: where billed", given(placed).then(place, "IT Rome"))
	t.Run("placed twice", given(placed).when(order.Placed{Kind: order.KindAdjustment, Currency: "JPY"}).then(totals, "7.02 11.52 0.005 1.00 0.00 0.00"))
	t.Run("confirmed", given(placed).when(order.Confirmed{At: later(1)}).then(text("%s", status), "confirmed"))
	t.Run("shipped elsewhere", given(placed).when(order.ShippingAddressChanged{Address: order.Address{City: "Oslo", Country: "NO"}}).then(place, "NO Oslo"))
	t.Run("tags", given(placed).when(order.TagsSet{}).then(func(d view.Order) any { return d.Tags }, []string{}))
	t.Run("metadata", given(placed).when(order.MetadataSet{Metadata: map[string]string{"a": "b"}}).then(func(d view.Order) any { return d.Metadata["a"] }, "b"))
	t.Run("note", given(placed).when(order.NoteAdded{NoteID: "n", Text: "hello", Author: "bo", At: t0}).then(func(d view.Order) any { return d.Notes }, []view.Note{{ID: "n", Text: "hello", Author: "bo", At: t0}}))
	t.Run("held", given(placed).when(order.HoldPlaced{HoldID: "h", Reason: "fraud", At: t0}).then(func(d view.Order) any { return d.Holds }, []view.Hold{{ID: "h", Reason: "fraud", At: t0}}))
	t.Run("released", given(placed, order.HoldPlaced{HoldID: "h"}, order.HoldPlaced{HoldID: "i", At: t0}).when(order.HoldReleased{HoldID: "h"}).then(func(d view.Order) any { return len(d.Holds) }, 1))
	t.Run("released, never held", odd.when(order.HoldReleased{HoldID: "h"}).then(holds, "[]"))

	change := order.LineChange{Op: "add", Line: &order.Line{ID: "3", SKU: "fig", Quantity: 1, UnitPrice: eur("1")}}
	propose := order.EditProposed{EditID: "e", Changes: []order.LineChange{change}, Reason: "more", At: t0}
	t.Run("edit proposed", given(placed).when(propose).then(func(d view.Order) any { return d.Edits[0].Changes }, []view.LineChange{{Op: "add", LineID: "3", SKU: "fig", Quantity: 1, UnitPrice: eur("1")}}))
	t.Run("edit declined", given(placed, propose).when(order.EditDeclined{EditID: "e", Reason: "no"}).then(text("%s", edits), "e declined no 1"))
	t.Run("edit confirmed", given(placed, propose).when(order.EditConfirmed{EditID: "e"}).then(text("%s", edits), "e confirmed more 1"))
	t.Run("edited lines keep what happened", given(placed, dispatchedAll).when(order.EditConfirmed{EditID: "e", Lines: []order.Line{{ID: "2", SKU: "pear", Quantity: 4, UnitPrice: eur("2")}}}).then(text("%s%s", lines, fulfilment), "2:4/2/0/0=8.00 partiallyShipped"))
	t.Run("edited totals", given(placed).when(order.EditConfirmed{Lines: []order.Line{{ID: "2", Quantity: 4, UnitPrice: eur("2")}}}).then(totals, "8.00 12.50 0.00 1.00 0.00 0.00"))

	t.Run("authorised", given(placed).when(authorised).then(text("%s%s", payments, payment), "p card authorised 0.00/11.52 authorised"))
	t.Run("captured at once", given(placed).when(pay).then(text("%s%s", payments, payment), "p card captured 11.52/0.00 paid"))
	t.Run("captured partly", given(placed, authorised).when(partly).then(text("%s%s", payments, payment), "p card authorised 2.00/11.52 partiallyPaid"))
	t.Run("captured before authorised", given(placed, partly).when(authorised).then(text("%s", payments), "p card authorised 2.00/11.52"))
	t.Run("captured whole", given(placed, authorised).when(pay).then(text("%s%s", payments, payment), "p card captured 11.52/11.52 paid"))
	t.Run("overpaid", given(placed, pay).when(partly).then(text("%s", payment), "overpaid"))
	t.Run("failed", given(placed, authorised).when(order.PaymentFailed{PaymentID: "p"}).then(text("%s%s", payments, payment), "p card failed 0.00/11.52 none"))
	t.Run("failed, never authorised", odd.when(order.PaymentFailed{PaymentID: "q", Method: "pix"}).then(text("%s", payments), "q pix failed 0.00/0.00"))
	t.Run("voided", given(placed, authorised).when(order.PaymentVoided{PaymentID: "p"}).then(text("%s%s", payments, payment), "p card voided 0.00/11.52 none"))
	t.Run("voided, never authorised", odd.when(order.PaymentVoided{PaymentID: "p"}).then(text("%s", payments), ""))
	t.Run("refund granted", given(placed, pay).when(refund).then(text("%s%s", refunds, payment), "r granted 1.52  paid"))
	t.Run("refund completed", given(placed, pay, refund).when(order.RefundCompleted{RefundID: "r", Reference: "x"}).then(text("%s%s", refunds, payment), "r completed 1.52 x partiallyRefunded"))
	t.Run("refund totals", given(placed, pay, refund).when(order.RefundCompleted{RefundID: "r"}).then(totals, "7.02 11.52 0.005 1.00 11.52 1.52"))
	t.Run("refund failed", given(placed, pay, refund).when(order.RefundFailed{RefundID: "r"}).then(text("%s%s", refunds, payment), "r failed 1.52  paid"))
	t.Run("refund completed, never granted", odd.when(order.RefundCompleted{RefundID: "r"}).then(text("%s", refunds), ""))

	t.Run("dispatched", given(placed).when(dispatchedAll).then(text("%s%s%s", lines, shipments, fulfilment), "1:3/3/0/0=3.015 2:2/2/0/0=4.00 s dispatched DHL T1 2h0m0s-- 2 shipped"))
	t.Run("dispatched partly", given(placed).when(order.ShipmentDispatched{ShipmentID: "a", Lines: units("1", 1)}).then(text("%s", fulfilment), "partiallyShipped"))
	t.Run("dispatched an unknown line", odd.when(order.ShipmentDispatched{ShipmentID: "a", Lines: units("9", 1)}).then(text("%s", fulfilment), "unfulfilled"))
	t.Run("shipment updated", given(placed, dispatchedAll).when(order.ShipmentUpdated{ShipmentID: "s", Carrier: "UPS", TrackingNumber: "T2"}).then(text("%s", shipments), "s dispatched UPS T2 2h0m0s-- 2"))
	t.Run("delivered", given(placed, dispatchedAll).when(deliveredAll).then(text("%s %s", fulfilment, delivered), "delivered 5h0m0s"))
	t.Run("delivered twice", given(placed, dispatchedAll, deliveredAll).when(deliveredAll).then(text("%s", lines), "1:3/3/3/0=3.015 2:2/2/2/0=4.00"))
	t.Run("delivered partly: no date", given(placed, order.ShipmentDispatched{ShipmentID: "a", Lines: units("1", 3)}).when(order.ShipmentDelivered{ShipmentID: "a", At: later(1)}).then(text("%s %s", fulfilment, delivered), "partiallyDelivered -"))
	t.Run("delivered before dispatched", given(placed, deliveredAll).when(dispatchedAll).then(text("%s %s %s", fulfilment, delivered, shipments), "delivered 5h0m0s s delivered DHL T1 2h0m0s-5h0m0s 2"))
	t.Run("delivered, never dispatched", odd.when(order.ShipmentDelivered{ShipmentID: "s", Lines: units("1", 3, "2", 2), At: later(4)}).then(text("%s %s", fulfilment, delivered), "delivered 4h0m0s"))
	t.Run("the last arrival counts", given(placed, order.ShipmentDispatched{ShipmentID: "a", Lines: units("1", 3)}, order.ShipmentDispatched{ShipmentID: "b", Lines: units("2", 2)},
		order.ShipmentDelivered{ShipmentID: "a", At: later(9)}).when(order.ShipmentDelivered{ShipmentID: "b", At: later(8)}).then(delivered, "9h0m0s"))

	ask := order.ReturnRequested{ReturnID: "x", Lines: units("1", 2), Reason: "too ripe", At: later(6)}
	back := order.ReturnReceived{ReturnID: "x", Lines: []order.ReturnedLine{{LineID: "1", Quantity: 1, Condition: "opened"}}, At: later(7)}
	home := given(placed, dispatchedAll, deliveredAll)
	t.Run("return requested", home.when(ask).then(text("%s%s", returns, fulfilment), "x requested 1 [] delivered"))
	t.Run("return received", home.when(ask, back).then(text("%s%s", returns, fulfilment), "x received 1 [{1 1 opened}] partiallyReturned"))
	t.Run("return received: still delivered at", home.when(ask, back).then(delivered, "5h0m0s"))
	t.Run("return received twice", home.when(ask, back, back).then(func(d view.Order) any { return d.Lines[0].Returned }, int64(2)))
	t.Run("return received, never requested", home.when(back).then(text("%s", returns), "x received 0 [{1 1 opened}]"))
	t.Run("return rejected", home.when(ask, order.ReturnRejected{ReturnID: "x"}).then(text("%s%s", returns, fulfilment), "x rejected 1 [] delivered"))

	some := order.LinesCancelled{Lines: units("1", 3, "2", 1), Reason: "sold out", Discount: eur("0.20"), Tax: eur("0.10"), At: later(1)}
	t.Run("lines cancelled", given(placed).when(some).then(text("%s%s", lines, totals), "2:1/0/0/0=2.00 2.00 6.90 0.00 0.20 0.00 0.00"))
	t.Run("lines cancelled: listed", given(placed).when(some).then(func(d view.Order) any { return d.CancelledLines[0] }, view.CancelledLine{LineID: "1", SKU: "apple", Quantity: 3, Reason: "sold out", At: later(1)}))
	t.Run("rest had arrived", given(placed, order.ShipmentDispatched{ShipmentID: "a", Lines: units("2", 2)}, order.ShipmentDelivered{ShipmentID: "a", At: later(3)}).
		when(order.LinesCancelled{Lines: units("1", 3), Discount: eur("0"), Tax: eur("0")}).then(text("%s %s", fulfilment, delivered), "delivered 3h0m0s"))
	t.Run("cancelled", given(placed).when(order.Cancelled{Reason: "changed mind", At: later(1)}).then(func(d view.Order) any { return d.Status + " " + d.CancelReason + " " + at(d.CancelledAt) }, "cancelled changed mind 1h0m0s"))
	t.Run("cancelled: totals stay", given(placed).when(order.Cancelled{}).then(totals, "7.02 11.52 0.005 1.00 0.00 0.00"))
	t.Run("adopted", given(placed).when(order.AdoptionCompleted{Anomalies: []order.Anomaly{{Kind: "no-payment"}}}).then(func(d view.Order) any { return d.Anomalies }, []view.Anomaly{{Kind: "no-payment"}}))
	t.Run("recorded", given(placed).when(order.Confirmed{At: later(1)}).then(func(d view.Order) any {
		return fmt.Sprint(d.ID, " ", d.Revision, " ", d.Position, " ", d.UpdatedAt.Sub(t0))
	}, "o 1 2 1m0s"))
	t.Run("paid before placed", given(pay).when(placed).then(text("%s %s", payment, totals), "paid 7.02 11.52 0.005 1.00 11.52 0.00"))
}

// A long order folds in a time that its tests can bear: 2,000 lines in 500
// parcels.
func TestApplyLongOrder(t *testing.T) {
	long := placed
	long.Lines = nil
	for i := range 2000 {
		long.Lines = append(long.Lines, order.Line{ID: fmt.Sprint(i), SKU: fmt.Sprint(i), Quantity: 1, UnitPrice: eur("1")})
	}
	events := []order.Event{long}
	for p := range 500 {
		id := fmt.Sprint(p)
		var q []order.LineQuantity
		for i := range 4 {
			q = append(q, order.LineQuantity{LineID: fmt.Sprint(4*p + i), Quantity: 1})
		}
		events = append(events, order.ShipmentDispatched{ShipmentID: id, Lines: q}, order.ShipmentDelivered{ShipmentID: id, At: later(p)})
	}
	begin := time.Now()
	doc := fold(view.Order{}, recorded("o", 0, events...)...)
	if doc.FulfilmentStatus != "delivered" || at(doc.DeliveredAt) != "499h0m0s" {
		t.Errorf("%s at %s", doc.FulfilmentStatus, at(doc.DeliveredAt))
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("fold took %s", took)
	}
}
