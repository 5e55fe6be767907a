package importer

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
)

const (
	gbp          = money.Currency("GBP")
	retailSystem = "online-retail"
)

//go:embed excerpt/online-retail-excerpt.csv
var excerpt []byte

// OnlineRetail imports the UCI "Online Retail" data set from a .csv or .csv.gz
// file. An invoice becomes an order with the invoice's number as id and a line
// per row, in the order of the file; numbers that begin with C are credit notes,
// with A adjustments. A missing customer is a guest. The rows of an invoice need
// not stand together, and need not agree: the first one counts, and that they
// disagree is told as an anomaly.
func OnlineRetail(ctx context.Context, file string, target Target, opts Options) (Report, error) {
	t, err := openTable(file, retailColumns...)
	if err != nil {
		return newReport(retailSystem), err
	}
	return importRetail(ctx, t, target, opts)
}

// Excerpt imports the few hundred invoices of Online Retail that are part of
// the program; see excerpt/README.md.
func Excerpt(ctx context.Context, target Target, opts Options) (Report, error) {
	t, err := readTable("online-retail-excerpt.csv", io.NopCloser(bytes.NewReader(excerpt)), retailColumns...)
	if err != nil {
		return newReport(retailSystem), err
	}
	return importRetail(ctx, t, target, opts)
}

var retailColumns = []string{"InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"}

// retail is the data set in memory, as small as it goes: half a million rows.
type retail struct {
	file                                               string
	clock                                              clock
	invoices, codes, titles, dates, customers, regions *texts
	prices                                             *texts // as written; amounts holds their values
	amounts                                            []money.Amount
	times                                              []moment // of dates

	rows  []retailRow // by invoice, then as in the file
	lines []int32     // of the rows
	from  []int32     // where an invoice's rows begin; one more at the end
}

// retailRow has a number for every text of the row, so two rows are == when they
// agree in every column.
type retailRow struct {
	quantity                                            int64
	invoice, code, title, date, price, customer, region uint32
}

func importRetail(ctx context.Context, t *table, target Target, opts Options) (Report, error) {
	report := newReport(retailSystem)
	r := &retail{file: t.name, clock: clock{opts.Zone}, invoices: newTexts(), codes: newTexts(), titles: newTexts(),
		dates: newTexts(), customers: newTexts(), regions: newTexts(), prices: newTexts()}
	err := t.Each(ctx, opts, &report, func() error { return r.read(t, &report) })
	if err != nil {
		return report, err
	}
	r.group()
	err = send(ctx, documents{retailSystem, len(r.invoices.all), r.document}, target, opts, &report)
	return report, err
}

// read takes one row.
func (r *retail) read(t *table, report *Report) error {
	quantity, err := t.Whole(3)
	if err != nil {
		return err
	}
	date := r.dates.Number(t.Text(4))
	if int(date) == len(r.times) {
		at, ok := r.clock.Read(t.Text(4))
		if !ok {
			return t.Bad(4, badDate)
		}
		r.times = append(r.times, at)
	}
	price := r.prices.Number(t.Text(5))
	if int(price) == len(r.amounts) {
		amount, err := t.Money(5, gbp)
		if err != nil {
			return err
		}
		r.amounts = append(r.amounts, amount)
	}
	if !order.ValidID(t.Text(0)) {
		report.refuse(t.name, t.Line(), fmt.Sprintf("InvoiceNo %q cannot be an id", clip(t.Text(0))))
		return nil
	}
	if customer := t.Text(6); customer != "" && !order.ValidID(customer) {
		report.refuse(t.name, t.Line(), fmt.Sprintf("CustomerID %q cannot be an id", clip(customer)))
		return nil
	}
	r.rows = append(r.rows, retailRow{
		quantity: quantity,
		invoice:  r.invoices.Number(t.Text(0)),
		code:     r.codes.Number(t.Text(1)),
		title:    r.titles.Number(t.Text(2)),
		date:     date,
		price:    price,
		customer: r.customers.Number(t.Text(6)),
		region:   r.regions.Number(t.Text(7)),
	})
	r.lines = append(r.lines, int32(t.Line()))
	return nil
}

// group brings the rows of an invoice together; invoices stay in the order in
// which the file first names them.
func (r *retail) group() {
	r.from = make([]int32, len(r.invoices.all)+1)
	for _, row := range r.rows {
		r.from[row.invoice+1]++
	}
	for i := range r.invoices.all {
		r.from[i+1] += r.from[i]
	}
	next := slices.Clone(r.from)
	rows, lines := make([]retailRow, len(r.rows)), make([]int32, len(r.rows))
	for i, row := range r.rows {
		rows[next[row.invoice]], lines[next[row.invoice]] = row, r.lines[i]
		next[row.invoice]++
	}
	r.rows, r.lines = rows, lines
}

// document tells one invoice in our words. The source keeps neither payments
// nor parcels, so nothing is claimed.
func (r *retail) document(i int) (document, error) {
	from, to := r.from[i], r.from[i+1]
	rows := r.rows[from:to]
	first := rows[0]
	number := r.invoices.Text(first.invoice)
	doc := document{id: number, file: r.file, line: int(r.lines[from])}
	placed := order.Placed{
		Number:          number,
		Kind:            order.KindOrder,
		Source:          &order.Source{System: retailSystem, ID: number},
		Customer:        order.Customer{ID: r.customers.Text(first.customer)},
		Currency:        gbp,
		Lines:           make([]order.Line, len(rows)),
		Shipping:        money.Zero(gbp),
		Discount:        money.Zero(gbp),
		Tax:             money.Zero(gbp),
		ShippingAddress: &order.Address{Country: r.regions.Text(first.region)},
		Tags:            []string{retailSystem},
		At:              r.times[first.date].Time(),
	}
	switch number[0] {
	case 'C':
		placed.Kind = order.KindCreditNote
	case 'A':
		placed.Kind = order.KindAdjustment
	}
	for k, row := range rows {
		placed.Lines[k] = order.Line{
			ID:        strconv.Itoa(k + 1),
			SKU:       r.codes.Text(row.code),
			Title:     r.titles.Text(row.title),
			Quantity:  row.quantity,
			UnitPrice: r.amounts[row.price],
		}
	}
	doc.history = []order.Event{placed}
	doc.odd = r.oddities(rows)
	return doc, nil
}

// oddities are what the rows show and the order no longer does.
func (r *retail) oddities(rows []retailRow) []order.Anomaly {
	var dates, repeated []string
	var skipped []order.Anomaly
	first, customers, regions := rows[0], false, false
	seenDates, seenRows := map[uint32]bool{}, make(map[retailRow]bool, len(rows))
	for k, row := range rows {
		if !seenDates[row.date] {
			seenDates[row.date] = true
			dates = append(dates, r.dates.Text(row.date))
			if r.times[row.date].skipped {
				skipped = append(skipped, order.Anomaly{Kind: order.AnomalyNoSuchLocalTime, Detail: r.dates.Text(row.date)})
			}
		}
		if seenRows[row] {
			repeated = append(repeated, strconv.Itoa(k+1))
		}
		seenRows[row] = true
		customers = customers || row.customer != first.customer
		regions = regions || row.region != first.region
	}
	var odd []order.Anomaly
	tell := func(kind, detail string) { odd = append(odd, order.Anomaly{Kind: kind, Detail: detail}) }
	if len(dates) > 1 {
		tell(order.AnomalySeveralTimestamps, clip(strings.Join(dates, ", ")))
	}
	if n := len(repeated); n > 0 {
		tell(order.AnomalyRepeatedRow, fmt.Sprintf("%d of %d rows: lines %s", n, len(rows), clip(strings.Join(repeated, ", "))))
	}
	if customers {
		tell(order.AnomalySourceConflict, "rows disagree on the customer")
	}
	if regions {
		tell(order.AnomalySourceConflict, "rows disagree on the country")
	}
	return append(odd, skipped...)
}
