package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docket-orders/docket/view"
)

func olistRows(f facts) (n int, err error) {
	rows, err := read[map[string]int](f, "rows")
	for file, count := range rows {
		if file != "sellers" { // not needed
			n += count
		}
	}
	return n, err
}

// checkOlist asks for the figures of the Brazilian orders.
func checkOlist(c *check, s *server, seen *walked) {
	c.equal("orders", fact[int](c, "distinct_order_ids"), count(c, s))
	c.equal("orders walked", fact[int](c, "distinct_order_ids"), seen.orders)
	sums := stats(c, s, "BRL")
	c.equal("orders in stats", fact[int](c, "distinct_order_ids"), sums.Orders)
	c.equal("lines", fact[map[string]int](c, "rows")["order_items"], sums.Lines)
	if sums.Customers == nil {
		c.equal("customers", fact[int](c, "distinct_customer_unique_ids"), "absent")
	} else {
		c.equal("customers", fact[int](c, "distinct_customer_unique_ids"), *sums.Customers)
	}

	facets := ask[page](c, s, "/v1/orders", "limit", "1", "facets", "tag", "facets", "anomaly").Facets
	facet := func(name, value string) (n int64) {
		for _, f := range facets[name] {
			if f.Value == value {
				n += f.Count
			}
		}
		return n
	}
	perStatus := fact[map[string]int](c, "orders_per_status")
	for _, status := range slices.Sorted(maps.Keys(perStatus)) {
		tag := "olist:" + status
		c.equal("orders "+status+" (tag)", perStatus[status], count(c, s, "tag", tag))
		c.equal("orders "+status+" (facet)", perStatus[status], facet("tag", tag))
		c.equal("orders "+status+" (stats)", perStatus[status], by(sums, "tag", tag).Orders)
	}
	perMonth := fact[map[string]int](c, "orders_per_month")
	for _, month := range slices.Sorted(maps.Keys(perMonth)) {
		c.equal("orders of "+month, perMonth[month], by(sums, "month", month).Orders)
	}
	c.equal("months with orders", len(perMonth), len(sums.By["month"]))

	c.amount("price total", fact[string](c, "price_total"), exact(sums.Sums))
	c.amount("freight total", fact[string](c, "freight_total"), sums.Shipping)
	c.amount("payment total", fact[string](c, "payment_total"), sums.Paid)
	methods := fact[map[string]struct {
		Rows  int
		Value string
	}](c, "payments_per_type")
	c.equal("payment methods", len(methods), len(sums.Payments))
	for _, method := range slices.Sorted(maps.Keys(methods)) {
		var got view.MethodStats
		for _, m := range sums.Payments {
			if m.Method == method {
				got = m
			}
		}
		c.equal("payments by "+method, methods[method].Rows, got.Payments)
		c.amount("sum of payments by "+method, methods[method].Value, got.Captured)
	}

	ends := fact[[]string](c, "first_last_purchase")
	for i, sort := range []string{"placedAt", "-placedAt"} {
		c.equal([]string{"first", "last"}[i]+" purchase", ends[i], placedAt(c, s, sort))
	}
	c.equal("delivered with a date", fact[int](c, "delivered_orders_with_delivery_date"),
		count(c, s, "tag", "olist:delivered", "deliveredFrom", "2000-01-01T00:00:00Z"))
	c.equal("average days to deliver", fmt.Sprintf("%.6f", fact[float64](c, "average_days_to_deliver")), seen.averageDays())

	misplaced := fact[map[string]int](c, "timestamp_order_violations")
	disagree := fact[map[string]int](c, "status_versus_timestamps")
	for _, a := range []struct {
		kind string
		want int
	}{
		{"no-lines", fact[int](c, "orders_without_items")},
		{"no-payment", len(fact[[]string](c, "orders_without_payment"))},
		{"paid-differs", fact[int](c, "orders_payment_differs_from_items_and_freight")},
		{"confirmed-before-placed", misplaced["approved_before_purchase"]},
		{"shipped-before-placed", misplaced["carrier_before_purchase"]},
		{"delivered-before-placed", misplaced["customer_before_purchase"]},
		{"shipped-before-confirmed", misplaced["carrier_before_approved"]},
		{"delivered-before-confirmed", misplaced["customer_before_approved"]},
		{"delivered-before-shipped", misplaced["customer_before_carrier"]},
		{"delivered-without-date", disagree["delivered_without_customer_date"]},
		{"delivered-without-shipment", disagree["delivered_without_carrier_date"]},
		{"delivered-without-confirmation", disagree["delivered_without_approval"]},
		{"cancelled-with-delivery", disagree["canceled_with_customer_date"]},
		{"cancelled-with-shipment", disagree["canceled_with_carrier_date"]},
	} {
		c.equal("anomaly "+a.kind, a.want, count(c, s, "anomaly", a.kind))
		c.equal("anomaly "+a.kind+" (facet)", a.want, facet("anomaly", a.kind))
		c.equal("anomaly "+a.kind+" (stats)", a.want, by(sums, "anomaly", a.kind).Orders)
	}
	unpaid := ask[page](c, s, "/v1/orders", "anomaly", "no-payment")
	var ids []string
	for _, o := range unpaid.Items {
		ids = append(ids, o.ID)
	}
	c.equal("orders without payment", fact[[]string](c, "orders_without_payment"), ids)
	empty := fact[map[string]int](c, "orders_without_items_per_status")
	for _, status := range slices.Sorted(maps.Keys(empty)) {
		c.equal("orders "+status+" without lines", empty[status], count(c, s, "tag", "olist:"+status, "anomaly", "no-lines"))
	}

	missing := fact[map[string]int](c, "missing_timestamps")
	c.equal("orders not confirmed", missing["order_approved_at"], seen.withoutConfirmed)
	c.equal("orders not dispatched", missing["order_delivered_carrier_date"], seen.withoutDispatch)
	c.equal("orders not delivered", missing["order_delivered_customer_date"], seen.withoutDelivery)
	c.equal("lifecycle times", fact[int](c, "lifecycle_events"), seen.lifecycleTimes)
	most := fact[[]any](c, "items_per_order_max")
	c.equal("most lines of an order, and which", fmt.Sprint(most...), fmt.Sprint(seen.mostLines, seen.longest))
	c.equal("most payments of an order", fact[int](c, "payments_per_order_max"), seen.mostPayments)
}

// placedAt of the first order in that sort, as the source writes it.
func placedAt(c *check, s *server, sort string) string {
	items := ask[page](c, s, "/v1/orders", "limit", "1", "sort", sort).Items
	if len(items) == 0 {
		return "no order"
	}
	return strings.TrimSuffix(items[0].PlacedAt.UTC().Format("2006-01-02 15:04:05Z"), "Z")
}
