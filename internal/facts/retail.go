package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/view"
)

func retailRows(f facts) (int, error) { return read[int](f, "rows") }

// checkRetail asks for the figures of the wholesaler's invoices.
func checkRetail(c *check, s *server, seen *walked) {
	invoices := fact[int](c, "distinct_invoices")
	c.equal("invoices", invoices, count(c, s))
	c.equal("invoices walked", invoices, seen.orders)
	sums := stats(c, s, "GBP")
	c.equal("invoices in stats", invoices, sums.Orders)
	if sums.Customers == nil {
		c.equal("customers", fact[int](c, "distinct_customers"), "absent")
	} else {
		c.equal("customers", fact[int](c, "distinct_customers"), *sums.Customers)
	}
	adjustments := fact[[]string](c, "distinct_invoices_adjust_bad_debt")
	kinds := map[string]int{
		"creditNote": fact[int](c, "distinct_invoices_cancelled"),
		"adjustment": len(adjustments),
		"order":      fact[int](c, "distinct_invoices_normal"),
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		c.equal("invoices of kind "+kind, kinds[kind], count(c, s, "kind", kind))
		c.equal("invoices of kind "+kind+" (stats)", kinds[kind], by(sums, "kind", kind).Orders)
	}
	for _, id := range adjustments {
		c.equal("kind of "+id, "adjustment", ask[view.Order](c, s, "/v1/orders/"+id).Kind)
	}
	c.equal("rows", fact[int](c, "rows"), sums.Lines)
	c.equal("rows of credit notes", fact[int](c, "rows_cancelled"), by(sums, "kind", "creditNote").Lines)
	c.equal("quantity", fact[int](c, "quantity_sum"), sums.Units)
	c.amount("exact sum", fact[string](c, "amount_sum"), exact(sums.Sums))
	credit, others := by(sums, "kind", "creditNote"), exact(by(sums, "kind", "order")).Add(exact(by(sums, "kind", "adjustment")))
	c.amount("exact sum of credit notes", fact[string](c, "amount_sum_cancelled"), exact(credit))
	c.amount("exact sum of all others", fact[string](c, "amount_sum_not_cancelled"), others)

	type country struct {
		Rows, Invoices, Quantity int
		Amount                   string
	}
	countries := fact[map[string]country](c, "per_country")
	c.equal("countries", fact[int](c, "distinct_countries"), len(sums.By["country"]))
	c.equal("countries walked", fact[int](c, "distinct_countries"), len(seen.countries))
	for _, name := range slices.Sorted(maps.Keys(countries)) {
		want, got := countries[name], by(sums, "country", name)
		c.equal("invoices in "+name, want.Invoices, got.Orders)
		c.equal("invoices in "+name+" (list)", want.Invoices, count(c, s, "country", name))
		c.equal("rows in "+name, want.Rows, got.Lines)
		c.equal("quantity in "+name, want.Quantity, got.Units)
		c.amount("exact sum in "+name, want.Amount, exact(got))
	}
	for _, top := range fact[[][2]string](c, "top10_customers_by_net_amount") {
		got := ask[view.CustomerSummary](c, s, "/v1/customers/"+top[0])
		if len(got.Totals) != 1 {
			c.equal("currencies of customer "+top[0], 1, len(got.Totals))
			continue
		}
		c.amount("exact sum of customer "+top[0], top[1], got.Totals[0].Items.Sub(got.Totals[0].Rounding))
	}
	biggest := ask[page](c, s, "/v1/orders", "currency", "GBP", "sort", "-total", "limit", "10").Items
	for i, want := range fact[[][2]string](c, "biggest_invoices_by_amount") {
		if i >= len(biggest) {
			c.equal(fmt.Sprintf("invoice %d by total", i+1), want[0], "none")
			continue
		}
		c.equal(fmt.Sprintf("invoice %d by total", i+1), want[0], biggest[i].ID)
		c.amount("exact sum of "+want[0], want[1], biggest[i].Totals.Items.Sub(biggest[i].Totals.Rounding))
	}

	c.equal("first invoice", fact[string](c, "first_date"), placedAt(c, s, "placedAt"))
	c.equal("last invoice", fact[string](c, "last_date"), placedAt(c, s, "-placedAt"))
	c.equal("invoices without a customer", fact[int](c, "invoices_without_customer"), seen.withoutCustomer)
	c.equal("most rows of an invoice", fact[int](c, "lines_per_invoice_max"), seen.mostLines)
	for _, id := range seen.longest {
		c.equal("rows of "+id, fact[int](c, "lines_per_invoice_max"), len(ask[view.Order](c, s, "/v1/orders/"+id).Lines))
	}
	c.equal("stock codes", fact[int](c, "distinct_stock_codes"), len(seen.skus))
	c.equal("invoices with a stock code on several rows", fact[int](c, "repeated_invoice_stock_pairs"), seen.repeatedSKUs)
	c.equal("decimals of prices", fact[int](c, "max_price_decimals"), seen.priceDecimals)
	c.equal("smallest and biggest quantity", fact[[]int](c, "quantity_min_max"), []int64{seen.smallest, seen.biggest})
	c.equal("repeated rows", fact[int](c, "duplicate_rows"), seen.repeatedRows)
	c.equal("invoices with several times", fact[int](c, "invoices_with_several_timestamps"), count(c, s, "anomaly", "several-timestamps"))
}

// exact sum of the lines: what rounding took away is put back.
func exact(s view.Sums) money.Amount { return s.Items.Sub(s.Rounding) }
