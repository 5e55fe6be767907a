package importer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/importer"
)

// smallOlist is invented data in the form of the data set: whole is an ordinary
// order; early left before it was approved; bare has no items and was cancelled;
// arrived was delivered without a hand-over and never approved.
var smallOlist = map[string]string{
	"olist_orders_dataset.csv": `"order_id","customer_id","order_status","order_purchase_timestamp","order_approved_at","order_delivered_carrier_date","order_delivered_customer_date","order_estimated_delivery_date"
whole,c1,delivered,2017-10-02 10:56:33,2017-10-02 11:07:15,2017-10-04 19:55:00,2017-10-10 21:25:13,2017-10-18 00:00:00
early,c2,shipped,2017-10-03 08:00:00,2017-10-05 09:00:00,2017-10-04 10:00:00,,2017-10-20 00:00:00
bare,c3,canceled,2017-10-14 23:30:00,2017-10-15 00:30:00,,,2017-10-20 00:00:00
arrived,c4,delivered,2017-10-16 12:00:00,,,2017-10-17 12:00:00,2017-10-20 00:00:00
`,
	"olist_order_items_dataset.csv": `order_id,order_item_id,product_id,seller_id,shipping_limit_date,price,freight_value
whole,2,p2,s1,2017-10-06 11:07:15,10.00,1.50
whole,1,p1,s1,2017-10-06 11:07:15,29.99,8.72
early,1,p3,s1,2017-10-06 11:07:15,5.00,0.00
arrived,1,p1,s1,2017-10-06 11:07:15,7.00,1.00
`,
	"olist_order_payments_dataset.csv": `order_id,payment_sequential,payment_type,payment_installments,payment_value
whole,2,voucher,1,2.00
whole,1,credit_card,1,48.21
early,1,boleto,1,6.00
arrived,1,credit_card,1,8.00
`,
	"olist_customers_dataset.csv": `customer_id,customer_unique_id,customer_zip_code_prefix,customer_city,customer_state
c1,person1,03149,sao paulo,SP
c2,person2,47813,barreiras,BA
c3,person1,75265,vianopolis,GO
c4,person4,59296,sao goncalo do amarante,RN
`,
	"olist_products_dataset.csv":            "product_id,product_category_name\np1,perfumaria\np2,artes\n",
	"product_category_name_translation.csv": "\ufeffproduct_category_name,product_category_name_english\r\nperfumaria,perfumery\r\n",
}

// with is smallOlist with one file changed: old replaced by new, once.
func with(t testing.TB, file, old, new string) map[string]string {
	files := maps.Clone(smallOlist)
	if !strings.Contains(files[file], old) {
		t.Fatalf("%s has no %q", file, old)
	}
	files[file] = strings.Replace(files[file], old, new, 1)
	return files
}

func TestOlistOrders(t *testing.T) {
	w := newWorld(t)
	report, err := importer.Olist(context.Background(), write(t, smallOlist), w, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if report.Made != 4 || report.RefusedCount != 0 {
		t.Errorf("made %d, refused %v", report.Made, report.Refused)
	}
	docs := w.documents()
	whole := docs["whole"]
	if got := fmt.Sprintf("%s %s %s | %s %s %s %s | %s | %v | %v | %s", whole.Status, whole.PaymentStatus, whole.FulfilmentStatus,
		whole.Totals.Items, whole.Totals.Shipping, whole.Totals.Grand, whole.Totals.Paid,
		whole.Customer.ID, whole.Tags, whole.Metadata, whole.City+"/"+whole.State+"/"+whole.Country); got !=
		"confirmed paid delivered | 39.99 BRL 10.22 BRL 50.21 BRL 50.21 BRL | person1 | [olist:delivered] | map[estimatedDelivery:2017-10-18] | sao paulo/SP/BR" {
		t.Errorf("whole is %s", got)
	}
	if got := fmt.Sprintf("%+v", *whole.Source); got != "{System:olist ID:whole Status:delivered}" {
		t.Errorf("source %s", got)
	}
	var lines, payments []string
	for _, l := range whole.Lines {
		lines = append(lines, fmt.Sprintf("%s %s %q %d x %s, %d delivered", l.ID, l.SKU, l.Title, l.Quantity, l.UnitPrice, l.Delivered))
	}
	for _, p := range whole.Payments {
		payments = append(payments, fmt.Sprintf("%s %s %s %s %s", p.ID, p.Method, p.Status, p.Captured, p.At.Format(time.DateTime)))
	}
	if want := []string{`1 p1 "perfumery" 1 x 29.99 BRL, 1 delivered`, `2 p2 "artes" 1 x 10.00 BRL, 1 delivered`}; !slices.Equal(lines, want) {
		t.Errorf("lines %q", lines)
	}
	if want := []string{"1 credit_card captured 48.21 BRL 2017-10-02 11:07:15", "2 voucher captured 2.00 BRL 2017-10-02 11:07:15"}; !slices.Equal(payments, want) {
		t.Errorf("payments %q", payments)
	}
	if whole.DeliveredAt == nil || !whole.DeliveredAt.Equal(time.Date(2017, 10, 10, 21, 25, 13, 0, time.UTC)) {
		t.Errorf("delivered at %v", whole.DeliveredAt)
	}
	if bare := docs["bare"]; bare.Status != "cancelled" || bare.CancelledAt == nil ||
		!bare.CancelledAt.Equal(time.Date(2017, 10, 15, 0, 30, 0, 0, time.UTC)) {
		t.Errorf("bare is %s, cancelled at %v", bare.Status, bare.CancelledAt)
	}
	for id, want := range map[string][]string{
		"whole":   nil,
		"early":   {order.AnomalyPaidDiffers, order.AnomalyShippedBeforeConfirmed},
		"bare":    {order.AnomalyNoLines, order.AnomalyNoPayment},
		"arrived": {order.AnomalyDeliveredWithoutConfirmation, order.AnomalyDeliveredWithoutShipment},
	} {
		var got []string
		for _, a := range docs[id].Anomalies {
			got = append(got, a.Kind)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: anomalies %v, want %v", id, got, want)
		}
	}
	if arrived := docs["arrived"]; arrived.FulfilmentStatus != "delivered" || arrived.Payments[0].At != arrived.PlacedAt {
		t.Errorf("arrived is %s, paid at %s", arrived.FulfilmentStatus, arrived.Payments[0].At)
	}
	if got := fmt.Sprint(report.Anomalies); got != "map[delivered-without-confirmation:1 delivered-without-shipment:1 no-lines:1 no-payment:1 paid-differs:1 shipped-before-confirmed:1]" {
		t.Errorf("report says %s", got)
	}
}

// TestOlistZone: in the night to 2017-10-15 the clocks of Brazil went from
// 23:59:59 to 01:00:00.
func TestOlistZone(t *testing.T) {
	zone, err := time.LoadLocation("America/Sao_Paulo")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	if _, err := importer.Olist(context.Background(), write(t, smallOlist), w, importer.Options{Zone: zone}); err != nil {
		t.Fatal(err)
	}
	bare := w.documents()["bare"]
	if want := time.Date(2017, 10, 15, 2, 30, 0, 0, time.UTC); !bare.PlacedAt.Equal(want) {
		t.Errorf("placed at %s, want %s", bare.PlacedAt, want)
	}
	// 00:30 did not exist: half an hour after the change is 01:30.
	if want := time.Date(2017, 10, 15, 3, 30, 0, 0, time.UTC); bare.ConfirmedAt == nil || !bare.ConfirmedAt.Equal(want) {
		t.Errorf("confirmed at %v, want %s", bare.ConfirmedAt, want)
	}
	var found []string
	for _, a := range bare.Anomalies {
		if a.Kind == order.AnomalyNoSuchLocalTime {
			found = append(found, a.Detail)
		}
	}
	if !slices.Equal(found, []string{"order_approved_at"}) {
		t.Errorf("local times that do not exist: %v", found)
	}
	if bare.Metadata["estimatedDelivery"] != "2017-10-20" {
		t.Errorf("estimated %v", bare.Metadata)
	}
}

// TestOlistOtherZone: what was imported in one zone is not silently imported in
// another one.
func TestOlistOtherZone(t *testing.T) {
	w, dir := newWorld(t), write(t, smallOlist)
	if _, err := importer.Olist(context.Background(), dir, w, importer.Options{}); err != nil {
		t.Fatal(err)
	}
	before := w.documents()
	report, err := importer.Olist(context.Background(), dir, w, importer.Options{Zone: time.FixedZone("", -3*60*60)})
	if err != nil {
		t.Fatal(err)
	}
	if report.RefusedCount != 4 || report.Events != 0 || !strings.Contains(report.Refused[0].Reason, "with another content") {
		t.Errorf("%+v", report)
	}
	wantEqual(t, before, w.documents())
}

func TestOlistRefusedRows(t *testing.T) {
	for _, c := range []struct{ name, file, old, new, want string }{
		{"item of an unknown order", "olist_order_items_dataset.csv", "early,1", "nobody,1",
			`olist_order_items_dataset.csv, line 4: no order has the id "nobody"`},
		{"payment of an unknown order", "olist_order_payments_dataset.csv", "early,1", "Early,1",
			`olist_order_payments_dataset.csv, line 4: no order has the id "Early"`},
		{"id outside the pattern", "olist_orders_dataset.csv", "early,c2", "ea/rly,c2",
			`olist_orders_dataset.csv, line 3: order_id "ea/rly" cannot be an id`},
		{"customer outside the pattern", "olist_customers_dataset.csv", "person2", "-2",
			`olist_customers_dataset.csv, line 3: customer_unique_id "-2" cannot be an id`},
		{"order twice", "olist_orders_dataset.csv", "early,c2", "whole,c2",
			`olist_orders_dataset.csv, line 3: order whole was on line 2 already`},
		{"item twice", "olist_order_items_dataset.csv", "whole,1", "whole,2",
			`olist_order_items_dataset.csv, line 3: order whole has a row 2 already, on line 2`},
		{"payment twice", "olist_order_payments_dataset.csv", "whole,1", "whole,2",
			`olist_order_payments_dataset.csv, line 3: order whole has a row 2 already, on line 2`},
		{"customer twice", "olist_customers_dataset.csv", "c2,", "c1,",
			`olist_customers_dataset.csv, line 3: customer_id "c1" was on an earlier line already`},
		{"item out of range", "olist_order_items_dataset.csv", "whole,1", "whole,-1",
			`olist_order_items_dataset.csv, line 3: -1 is out of range for order_item_id`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			report, err := importer.Olist(context.Background(), write(t, with(t, c.file, c.old, c.new)), w, importer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range report.Refused {
				got = append(got, fmt.Sprintf("%s, line %d: %s", r.File, r.Line, r.Reason))
			}
			if !slices.Contains(got, c.want) {
				t.Errorf("refused %q, want %q among them", got, c.want)
			}
			if _, there := w.documents()["arrived"]; !there {
				t.Error("the rest did not go on")
			}
		})
	}
}

// TestOlistStranger: an order whose customer is not in the file is kept.
func TestOlistStranger(t *testing.T) {
	w := newWorld(t)
	files := with(t, "olist_orders_dataset.csv", "early,c2", "early,c9")
	if _, err := importer.Olist(context.Background(), write(t, files), w, importer.Options{}); err != nil {
		t.Fatal(err)
	}
	early := w.documents()["early"]
	if early.Customer.ID != "" || !slices.ContainsFunc(early.Anomalies, func(a viewAnomaly) bool {
		return a.Kind == order.AnomalySourceConflict && strings.Contains(a.Detail, "c9")
	}) {
		t.Errorf("customer %v, anomalies %v", early.Customer, early.Anomalies)
	}
}

// TestOlistOtherGranularity: what was adopted whole is found step by step, and
// the other way round.
func TestOlistOtherGranularity(t *testing.T) {
	dir, ctx := write(t, smallOlist), context.Background()
	for _, first := range []bool{false, true} {
		w := newWorld(t)
		if _, err := importer.Olist(ctx, dir, w, importer.Options{Interleave: first}); err != nil {
			t.Fatal(err)
		}
		before := w.documents()
		report, err := importer.Olist(ctx, dir, w, importer.Options{Interleave: !first})
		if err != nil {
			t.Fatal(err)
		}
		if report.Events != 0 || report.AlreadyThere != 4 || report.RefusedCount != 0 {
			t.Errorf("interleaved first is %v: %+v", first, report)
		}
		wantEqual(t, before, w.documents())
	}
}

// TestInterleaveFollowsTime: steps are sent in order of business time over all
// orders, none before its order's placing.
func TestInterleaveFollowsTime(t *testing.T) {
	var sent []string
	_, err := importer.Olist(context.Background(), write(t, smallOlist), recorder(func(id string, a order.Adopt) {
		for i, e := range a.History {
			sent = append(sent, fmt.Sprintf("%s %d %T", id, a.First+int64(i), e))
		}
		if len(a.History) != 1 || a.Last != (a.Claim != order.Claim{}) {
			t.Errorf("%s: %d steps at once, last %v with claim %v", id, len(a.History), a.Last, a.Claim)
		}
	}), importer.Options{Interleave: true, InFlight: 1})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{
		"whole 0 order.Placed",             // 10-02 10:56
		"whole 1 order.PaymentCaptured",    // 10-02 11:07
		"whole 2 order.PaymentCaptured",    //
		"whole 3 order.Confirmed",          //
		"early 0 order.Placed",             // 10-03 08:00
		"early 1 order.ShipmentDispatched", // 10-04 10:00
		"whole 4 order.ShipmentDispatched", // 10-04 19:55
		"early 2 order.PaymentCaptured",    // 10-05 09:00
		"early 3 order.Confirmed",          //
		"whole 5 order.ShipmentDelivered",  // 10-10 21:25
		"bare 0 order.Placed",              // 10-14 23:30
		"bare 1 order.Confirmed",           // 10-15 00:30
		"bare 2 order.Cancelled",           //
		"arrived 0 order.Placed",           // 10-16 12:00
		"arrived 1 order.PaymentCaptured",  //
		"arrived 2 order.ShipmentDelivered",
	}; !slices.Equal(sent, want) {
		t.Errorf("sent\n%s", strings.Join(sent, "\n"))
	}
}

type recorder func(id string, a order.Adopt)

func (r recorder) Adopt(_ context.Context, id string, a order.Adopt, _ string) (importer.Outcome, error) {
	r(id, a)
	return importer.Outcome{Events: len(a.History)}, nil
}

// TestEarlierThanItsOrder: a step dated before the placing is sent after it.
func TestEarlierThanItsOrder(t *testing.T) {
	files := with(t, "olist_orders_dataset.csv", "2017-10-04 10:00:00", "2017-10-01 10:00:00")
	var sent []string
	_, err := importer.Olist(context.Background(), write(t, files), recorder(func(id string, a order.Adopt) {
		sent = append(sent, id)
	}), importer.Options{Interleave: true, InFlight: 1})
	if err != nil {
		t.Fatal(err)
	}
	// whole is placed, paid twice and confirmed on the day before.
	if want := []string{"whole", "whole", "whole", "whole", "early", "early", "whole"}; !slices.Equal(sent[:len(want)], want) {
		t.Errorf("sent %v", sent)
	}
	w := newWorld(t)
	if _, err := importer.Olist(context.Background(), write(t, files), w, importer.Options{Interleave: true}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.documents()["early"].Anomalies); !strings.Contains(got, order.AnomalyShippedBeforePlaced) {
		t.Errorf("anomalies %s", got)
	}
}

// TestFailureEndsTheImport: what is no refusal is not counted as one.
func TestFailureEndsTheImport(t *testing.T) {
	cut := &cutOff{Target: newWorld(t)}
	report, err := importer.Olist(context.Background(), write(t, smallOlist), cut, importer.Options{InFlight: 1})
	if !errors.Is(err, errCutOff) || report.RefusedCount != 0 {
		t.Errorf("%v, %+v", err, report)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := importer.Olist(ctx, write(t, smallOlist), silent{t}, importer.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

// TestRuleRefusesOne: a document that a rule refuses is reported with its line,
// and the rest goes on.
func TestRuleRefusesOne(t *testing.T) {
	w := newWorld(t)
	files := with(t, "olist_order_items_dataset.csv", "5.00,0.00", "5.00,0.001") // freight of a tenth of a cent
	report, err := importer.Olist(context.Background(), write(t, files), w, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if report.RefusedCount != 1 || report.Refused[0].Line != 3 || !strings.HasPrefix(report.Refused[0].Reason, "order early: ") || report.Made != 3 {
		t.Errorf("%+v", report)
	}
	if _, there := w.documents()["early"]; there {
		t.Error("early is there")
	}
}
