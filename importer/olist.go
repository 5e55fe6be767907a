package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
)

const (
	brl         = money.Currency("BRL")
	olistSystem = "olist"
)

// Olist imports the Brazilian E-Commerce Public Dataset by Olist from the .csv
// or .csv.gz files in dir, which keep the names they have there. Orders, items,
// payments and customers must be there; products and the translation of their
// categories give lines a title when they are.
//
// An order keeps its id; its customer is the person (customer_unique_id). Every
// payment row is a captured payment, freight is the shipping, and the order's
// status in the source is kept in source.status and as the tag olist:<status>.
// The source knows no time of cancellation: the last time it knows of the order
// stands for it. Payments carry no time either: that of the approval does.
func Olist(ctx context.Context, dir string, target Target, opts Options) (Report, error) {
	report := newReport(olistSystem)
	o := &olist{ctx: ctx, dir: dir, opts: opts, report: &report, clock: clock{opts.Zone},
		texts: newTexts(), ids: map[string]int32{}}
	for _, read := range []func() error{
		o.readTitles, o.readCustomers, o.readOrders, o.readItems, o.readPayments,
	} {
		if err := read(); err != nil {
			return report, err
		}
	}
	o.customers, o.ids, o.texts = nil, nil, nil // only the reading needs them
	err := send(ctx, documents{olistSystem, len(o.orders), o.document}, target, opts, &report)
	return report, err
}

// olist is the data set in memory, as small as it goes: about 100,000 orders.
type olist struct {
	ctx    context.Context
	dir    string
	opts   Options
	report *Report
	clock  clock
	texts  *texts

	titles    map[string]string // of products, by id
	customers map[string]olistCustomer
	orders    []olistOrder
	ids       map[string]int32 // of orders, to their place in orders
	file      string           // of the orders
	items     []olistItem      // by order, then item number
	payments  []olistPayment   // by order, then sequential number
}

type olistCustomer struct{ person, zip, city, state string }

type olistOrder struct {
	id, status, estimated string
	customer              olistCustomer
	stranger              string // customer_id that no row of the customers names
	line                  int32

	placed, approved, dispatched, delivered moment

	// The order's rows are items[itemsFrom:itemsTo], and the same of payments.
	itemsFrom, itemsTo, paymentsFrom, paymentsTo int32
}

// olistRow places a row of items or payments: the number is the source's, from
// 1 within the order.
type olistRow struct{ order, number, line int32 }

func (r olistRow) place() olistRow { return r }

type olistItem struct {
	olistRow
	sku, title     string
	price, freight money.Amount
}

type olistPayment struct {
	olistRow
	method string
	amount money.Amount
}

func (o *olist) open(name string, wanted ...string) (*table, error) {
	return openTable(filepath.Join(o.dir, name), wanted...)
}

// each opens a file of the data set and calls row for every row.
func (o *olist) each(name string, wanted []string, row func(t *table) error) error {
	t, err := o.open(name, wanted...)
	if err != nil {
		return err
	}
	return t.Each(o.ctx, o.opts, o.report, func() error { return row(t) })
}

// optional is each for a file that need not be there.
func (o *olist) optional(name string, wanted []string, row func(t *table) error) error {
	err := o.each(name, wanted, row)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (o *olist) readTitles() error {
	english := map[string]string{}
	err := o.optional("product_category_name_translation.csv",
		[]string{"product_category_name", "product_category_name_english"},
		func(t *table) error {
			english[o.texts.Keep(t.Text(0))] = o.texts.Keep(t.Text(1))
			return nil
		})
	if err != nil {
		return err
	}
	o.titles = map[string]string{}
	return o.optional("olist_products_dataset.csv",
		[]string{"product_id", "product_category_name"},
		func(t *table) error {
			title, ok := english[t.Text(1)]
			if !ok {
				title = o.texts.Keep(t.Text(1))
			}
			o.titles[o.texts.Keep(t.Text(0))] = title
			return nil
		})
}

func (o *olist) readCustomers() error {
	o.customers = map[string]olistCustomer{}
	return o.each("olist_customers_dataset.csv",
		[]string{"customer_id", "customer_unique_id", "customer_zip_code_prefix", "customer_city", "customer_state"},
		func(t *table) error {
			id := o.texts.Keep(t.Text(0))
			if _, there := o.customers[id]; there {
				o.refuse(t, "customer_id %q was on an earlier line already", id)
				return nil
			}
			if person := t.Text(1); !order.ValidID(person) {
				o.refuse(t, "customer_unique_id %q cannot be an id", clip(person))
				return nil
			}
			o.customers[id] = olistCustomer{o.texts.Keep(t.Text(1)), o.texts.Keep(t.Text(2)),
				o.texts.Keep(t.Text(3)), o.texts.Keep(t.Text(4))}
			return nil
		})
}

func (o *olist) refuse(t *table, format string, args ...any) {
	o.report.refuse(t.name, t.Line(), fmt.Sprintf(format, args...))
}

func (o *olist) readOrders() error {
	return o.each("olist_orders_dataset.csv",
		[]string{"order_id", "customer_id", "order_status", "order_purchase_timestamp", "order_approved_at",
			"order_delivered_carrier_date", "order_delivered_customer_date", "order_estimated_delivery_date"},
		func(t *table) error {
			r := olistOrder{status: o.texts.Keep(t.Text(2)), line: int32(t.Line())}
			for i, at := range []*moment{&r.placed, &r.approved, &r.dispatched, &r.delivered} {
				column := 3 + i
				if t.Text(column) == "" && at != &r.placed {
					continue
				}
				var ok bool
				if *at, ok = o.clock.Read(t.Text(column)); !ok {
					return t.Bad(column, badDate)
				}
			}
			if estimated := t.Text(7); estimated != "" {
				if _, ok := (clock{}).Read(estimated); !ok {
					return t.Bad(7, badDate)
				}
				r.estimated = o.texts.Keep(estimated[:len("2006-01-02")]) // the source promises days
			}
			if !order.ValidID(t.Text(0)) {
				o.refuse(t, "order_id %q cannot be an id", clip(t.Text(0)))
				return nil
			}
			if earlier, there := o.ids[t.Text(0)]; there {
				o.refuse(t, "order %s was on line %d already", t.Text(0), o.orders[earlier].line)
				return nil
			}
			r.id = o.texts.Keep(t.Text(0))
			customer, known := o.customers[t.Text(1)]
			if r.customer = customer; !known {
				r.stranger = o.texts.Keep(t.Text(1))
			}
			o.ids[r.id] = int32(len(o.orders))
			o.orders = append(o.orders, r)
			o.file = t.name
			return nil
		})
}

const badDate = "not a time such as 2006-01-02 15:04:05"

func (o *olist) readItems() error {
	err := o.each("olist_order_items_dataset.csv",
		[]string{"order_id", "order_item_id", "product_id", "price", "freight_value"},
		func(t *table) error {
			number, err := t.Whole(1)
			if err != nil {
				return err
			}
			price, err := t.Money(3, brl)
			if err != nil {
				return err
			}
			freight, err := t.Money(4, brl)
			if err != nil {
				return err
			}
			row, ok := o.belongs(t, number)
			if !ok {
				return nil
			}
			sku := o.texts.Keep(t.Text(2))
			o.items = append(o.items, olistItem{row, sku, o.titles[sku], price, freight})
			return nil
		})
	if err != nil {
		return err
	}
	o.titles = nil
	o.items = grouped(o, o.items)
	for i, item := range o.items {
		r := &o.orders[item.order]
		if r.itemsTo == 0 {
			r.itemsFrom = int32(i)
		}
		r.itemsTo = int32(i + 1)
	}
	return nil
}

func (o *olist) readPayments() error {
	err := o.each("olist_order_payments_dataset.csv",
		[]string{"order_id", "payment_sequential", "payment_type", "payment_value"},
		func(t *table) error {
			number, err := t.Whole(1)
			if err != nil {
				return err
			}
			amount, err := t.Money(3, brl)
			if err != nil {
				return err
			}
			if row, ok := o.belongs(t, number); ok {
				o.payments = append(o.payments, olistPayment{row, o.texts.Keep(t.Text(2)), amount})
			}
			return nil
		})
	if err != nil {
		return err
	}
	o.payments = grouped(o, o.payments)
	for i, p := range o.payments {
		r := &o.orders[p.order]
		if r.paymentsTo == 0 {
			r.paymentsFrom = int32(i)
		}
		r.paymentsTo = int32(i + 1)
	}
	return nil
}

// belongs finds the order of an item or payment row (its first column), and
// refuses the row when there is none.
func (o *olist) belongs(t *table, number int64) (olistRow, bool) {
	at, ok := o.ids[t.Text(0)]
	switch {
	case !ok:
		o.refuse(t, "no order has the id %q", clip(t.Text(0)))
	case number < 0 || number > math.MaxInt32:
		o.refuse(t, "%d is out of range for %s", number, t.wanted[1])
		ok = false
	}
	return olistRow{at, int32(number), int32(t.Line())}, ok
}

// grouped sorts the rows that were just read by order and number, and refuses
// all but the first of those that have the same number.
func grouped[R interface{ place() olistRow }](o *olist, rows []R) []R {
	file := o.report.Files[len(o.report.Files)-1].File
	slices.SortStableFunc(rows, func(a, b R) int {
		x, y := a.place(), b.place()
		return cmp.Or(cmp.Compare(x.order, y.order), cmp.Compare(x.number, y.number))
	})
	kept := rows[:0]
	for _, r := range rows {
		if n := len(kept); n > 0 {
			at, before := r.place(), kept[n-1].place()
			if at.order == before.order && at.number == before.number {
				o.report.refuse(file, int(at.line), fmt.Sprintf("order %s has a row %d already, on line %d",
					o.orders[at.order].id, at.number, before.line))
				continue
			}
		}
		kept = append(kept, r)
	}
	return kept
}

// document tells one order's history in our words.
func (o *olist) document(i int) (document, error) {
	r := &o.orders[i]
	doc := document{id: r.id, file: o.file, line: int(r.line), claim: order.Claim{
		KeepsConfirmation: true, KeepsPayments: true, KeepsFulfilment: true,
		Delivered: r.status == "delivered",
	}}
	placed := order.Placed{
		Kind:     order.KindOrder,
		Source:   &order.Source{System: olistSystem, ID: r.id, Status: r.status},
		Customer: order.Customer{ID: r.customer.person},
		Currency: brl,
		Lines:    []order.Line{},
		Shipping: money.Zero(brl), Discount: money.Zero(brl), Tax: money.Zero(brl),
		At: r.placed.Time(),
	}
	if r.status != "" {
		placed.Tags = []string{"olist:" + r.status}
	}
	if r.estimated != "" {
		placed.Metadata = map[string]string{"estimatedDelivery": r.estimated}
	}
	if c := r.customer; c != (olistCustomer{}) {
		placed.ShippingAddress = &order.Address{PostalCode: c.zip, City: c.city, State: c.state, Country: "BR"}
	}
	units := []order.LineQuantity{}
	for _, item := range o.items[r.itemsFrom:r.itemsTo] {
		line := order.Line{ID: strconv.Itoa(int(item.number)), SKU: item.sku, Title: item.title,
			Quantity: 1, UnitPrice: item.price}
		placed.Lines = append(placed.Lines, line)
		units = append(units, order.LineQuantity{LineID: line.ID, Quantity: 1})
		var err error
		if placed.Shipping, err = money.Sum(placed.Shipping, item.freight); err != nil {
			return doc, fmt.Errorf("sum of its freight: %w", err)
		}
	}
	doc.history = append(doc.history, placed)

	paidAt := r.placed
	if r.approved.known && r.approved.unix > paidAt.unix {
		paidAt = r.approved
	}
	for _, p := range o.payments[r.paymentsFrom:r.paymentsTo] {
		doc.history = append(doc.history, order.PaymentCaptured{
			PaymentID: strconv.Itoa(int(p.number)), Method: p.method, Amount: p.amount, At: paidAt.Time()})
	}
	last := r.placed
	for _, at := range []moment{r.approved, r.dispatched, r.delivered} {
		if at.known && at.unix > last.unix {
			last = at
		}
	}
	if r.approved.known {
		doc.history = append(doc.history, order.Confirmed{At: r.approved.Time()})
	}
	if r.dispatched.known {
		doc.history = append(doc.history, order.ShipmentDispatched{ShipmentID: "1", Lines: units, At: r.dispatched.Time()})
	}
	if r.delivered.known {
		delivered := order.ShipmentDelivered{ShipmentID: "1", At: r.delivered.Time()}
		if !r.dispatched.known {
			delivered.Lines = units
		}
		doc.history = append(doc.history, delivered)
	}
	if r.status == "canceled" {
		doc.history = append(doc.history, order.Cancelled{At: last.Time()})
	}
	doc.history = sorted(doc.history)

	if r.stranger != "" {
		doc.odd = append(doc.odd, order.Anomaly{Kind: order.AnomalySourceConflict,
			Detail: "customer_id " + clip(r.stranger) + " is not among the customers"})
	}
	for _, at := range []struct {
		name string
		moment
	}{
		{"order_purchase_timestamp", r.placed}, {"order_approved_at", r.approved},
		{"order_delivered_carrier_date", r.dispatched}, {"order_delivered_customer_date", r.delivered},
	} {
		if at.skipped {
			doc.odd = append(doc.odd, order.Anomaly{Kind: order.AnomalyNoSuchLocalTime, Detail: at.name})
		}
	}
	return doc, nil
}
