package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/view"
)

type orderGroup struct {
	Get     orderGet     `cmd:"" help:"Show one order, as it is or as it was."`
	List    orderList    `cmd:"" help:"Find orders."`
	History orderHistory `cmd:"" help:"Show what happened to an order, and who did it."`
	Diff    orderDiff    `cmd:"" help:"Show what differs between two points of an order."`
	Why     orderWhy     `cmd:"" help:"Show what set the fields of an order."`
}

type orderGet struct {
	ID orderID `arg:"" help:"The order's id."`
	cutFlags
}

// Run shows one order; with --json the body of the API.
func (c *orderGet) Run(p *program) error {
	var o view.Order
	return p.asked(orderPath(c.ID, "", c.parameters()), &o, func(w io.Writer) error {
		if point := c.words(); point != "" {
			fmt.Fprintf(w, "the order %s\n\n", point)
		}
		return writeOrder(w, o)
	})
}

// orderList has a flag per parameter of GET /v1/orders, under its name there.
type orderList struct {
	Status           givenTexts `help:"placed, confirmed or cancelled."`
	PaymentStatus    givenTexts `help:"none, authorised, partiallyPaid, paid, overpaid, partiallyRefunded or refunded."`
	FulfilmentStatus givenTexts `help:"unfulfilled, partiallyShipped, shipped, partiallyDelivered, delivered, partiallyReturned or returned."`
	Kind             givenTexts `help:"order, creditNote or adjustment."`
	Source           givenTexts `help:"System that orders were taken over from."`
	Customer         givenTexts `help:"Customer id."`
	Tag              givenTexts `help:"Tag."`
	Anomaly          givenTexts `help:"Kind of anomaly."`
	Currency         givenTexts `help:"ISO 4217 code."`
	Country          givenTexts `help:"Country of delivery."`
	State            givenTexts `help:"State of delivery."`
	SKU              givenTexts `name:"sku" help:"Of a line."`
	PlacedFrom       instant    `placeholder:"TIME" help:"Instant, such as 2011-01-31T00:00:00Z; included."`
	PlacedTo         instant    `placeholder:"TIME" help:"Instant; excluded."`
	DeliveredFrom    instant    `placeholder:"TIME" help:"Instant; included."`
	DeliveredTo      instant    `placeholder:"TIME" help:"Instant; excluded."`
	UpdatedFrom      instant    `placeholder:"TIME" help:"Instant; included."`
	UpdatedTo        instant    `placeholder:"TIME" help:"Instant; excluded."`
	MinTotal         givenText  `placeholder:"AMOUNT" help:"Smallest grand total; wants one --currency."`
	MaxTotal         givenText  `placeholder:"AMOUNT" help:"Largest grand total; wants one --currency."`
	Q                givenText  `name:"words" short:"q" placeholder:"WORDS" help:"Whole words, all of which the order must contain."`
	Sort             givenText  `placeholder:"SORT" help:"placedAt, updatedAt, total or number; a minus in front for descending (default -placedAt)."`
	Limit            givenText  `placeholder:"N" help:"1 to 1000 orders (default 50)."`
	Cursor           givenText  `placeholder:"CURSOR" help:"Go on after the page that named this cursor."`
	Facets           givenTexts `help:"Count over status, tag, country ..."`
}

// Run lists a page; with --json the body of the API. What the filters may be is
// the API's to say.
func (c *orderList) Run(p *program) error {
	var page httpapi.ListAnswer
	return p.asked("/v1/orders?"+c.parameters().Encode(), &page, func(w io.Writer) error { return writeList(w, page) })
}

func (c *orderList) parameters() url.Values {
	v := url.Values{}
	for name, values := range map[string]givenTexts{
		"status": c.Status, "paymentStatus": c.PaymentStatus, "fulfilmentStatus": c.FulfilmentStatus,
		"kind": c.Kind, "source": c.Source, "customer": c.Customer, "tag": c.Tag, "anomaly": c.Anomaly,
		"currency": c.Currency, "country": c.Country, "state": c.State, "sku": c.SKU, "facets": c.Facets,
		"placedFrom": one(string(c.PlacedFrom)), "placedTo": one(string(c.PlacedTo)),
		"deliveredFrom": one(string(c.DeliveredFrom)), "deliveredTo": one(string(c.DeliveredTo)),
		"updatedFrom": one(string(c.UpdatedFrom)), "updatedTo": one(string(c.UpdatedTo)),
		"minTotal": one(string(c.MinTotal)), "maxTotal": one(string(c.MaxTotal)),
		"q": one(string(c.Q)), "sort": one(string(c.Sort)), "limit": one(string(c.Limit)), "cursor": one(string(c.Cursor)),
	} {
		if len(values) > 0 {
			v[name] = values
		}
	}
	return v
}

// one is the values of a flag that is given once or not at all.
func one(text string) givenTexts {
	if text == "" {
		return nil
	}
	return givenTexts{text}
}

// writeBody writes an answer as the API gave it.
func writeBody(w io.Writer, body []byte) error {
	_, err := fmt.Fprintln(w, strings.TrimRight(string(body), "\n"))
	return err
}

// writeList is a page as a table.
func writeList(w io.Writer, page httpapi.ListAnswer) error {
	var g grid
	g.row("NUMBER", "ID", "PLACED", "CUSTOMER", "STATUS", "PAYMENT", "FULFILMENT", "TOTAL", "ODD")
	for _, o := range page.Items {
		g.row(o.Number, o.ID, o.PlacedAt.Format("2006-01-02 15:04"),
			customerOf(o), o.Status, o.PaymentStatus, o.FulfilmentStatus, o.Totals.Grand.String(), oddities(o))
	}
	if err := g.writeTo(w); err != nil {
		return err
	}
	for _, name := range sortedKeys(page.Facets) {
		fmt.Fprintf(w, "\n%s:", name)
		for _, c := range page.Facets[name] {
			fmt.Fprintf(w, " %s %d", oneLine(c.Value), c.Count)
		}
	}
	if len(page.Facets) > 0 {
		fmt.Fprintln(w)
	}
	if page.Total != nil {
		fmt.Fprintf(w, "%d of %d orders", len(page.Items), *page.Total)
	}
	if page.Next != "" {
		fmt.Fprintf(w, "; go on with --cursor %s", page.Next)
	}
	_, err := fmt.Fprintln(w)
	return err
}

func customerOf(o view.Order) string {
	for _, name := range []string{o.Customer.Name, o.Customer.ID, o.Customer.Email} {
		if name != "" {
			return name
		}
	}
	return "(guest)"
}

// oddities is the kinds of anomaly, each once.
func oddities(o view.Order) string {
	var kinds []string
	for _, a := range o.Anomalies {
		if !slices.Contains(kinds, a.Kind) {
			kinds = append(kinds, a.Kind)
		}
	}
	if o.Degraded != nil {
		kinds = append(kinds, "degraded")
	}
	return strings.Join(kinds, " ")
}

// writeOrder is one order as a page for people.
func writeOrder(w io.Writer, o view.Order) error {
	var g grid
	fact := func(name, format string, args ...any) { g.row(name, fmt.Sprintf(format, args...)) }
	fact("order", "%s, number %s, %s, revision %d", o.ID, o.Number, o.Kind, o.Revision)
	if o.Source != nil {
		fact("from", "%s %s %s", o.Source.System, o.Source.ID, o.Source.Status)
	}
	fact("placed", "%s by %s", o.PlacedAt.Format(time.RFC3339), customerOf(o))
	fact("status", "%s, payment %s, fulfilment %s", o.Status, o.PaymentStatus, o.FulfilmentStatus)
	if where := strings.Join(slices.DeleteFunc([]string{o.City, o.State, o.Country}, func(s string) bool { return s == "" }), ", "); where != "" {
		fact("to", "%s", where)
	}
	if len(o.Tags) > 0 {
		fact("tags", "%s", strings.Join(o.Tags, ", "))
	}
	for _, h := range o.Holds {
		fact("hold", "%s %s, since %s", h.ID, h.Reason, h.At.Format(time.RFC3339))
	}
	fact("items", "%s", o.Totals.Items)
	fact("shipping", "%s", o.Totals.Shipping)
	if !o.Totals.Discount.IsZero() {
		fact("discount", "%s", o.Totals.Discount)
	}
	if !o.Totals.Tax.IsZero() {
		fact("tax", "%s", o.Totals.Tax)
	}
	fact("total", "%s, paid %s, refunded %s", o.Totals.Grand, o.Totals.Paid, o.Totals.Refunded)
	if err := g.writeTo(w); err != nil {
		return err
	}
	if err := writeParts(w, o); err != nil {
		return err
	}
	for _, a := range o.Anomalies {
		fmt.Fprintf(w, "odd: %s %s\n", oneLine(a.Kind), oneLine(strings.TrimSpace(a.LineID+" "+a.Detail)))
	}
	if o.Degraded != nil {
		fmt.Fprintf(w, "this view stands still before revision %d: %s\n", o.Degraded.Revision, oneLine(o.Degraded.Reason))
	}
	return nil
}

// writeParts lists what an order has several of.
func writeParts(w io.Writer, o view.Order) error {
	if len(o.Lines) > 0 {
		fmt.Fprintln(w)
		var g grid
		g.row("LINE", "SKU", "TITLE", "QUANTITY", "PRICE", "TOTAL", "SHIPPED", "DELIVERED", "RETURNED")
		for _, l := range o.Lines {
			g.row(l.ID, l.SKU, l.Title, number(l.Quantity), l.UnitPrice.String(), l.Total.String(), number(l.Shipped), number(l.Delivered), number(l.Returned))
		}
		if err := g.writeTo(w); err != nil {
			return err
		}
	}
	var g grid
	for _, x := range o.Payments {
		g.row("payment", x.ID, x.Method, x.Status, "captured "+x.Captured.String(), x.At.Format(time.RFC3339))
	}
	for _, x := range o.Refunds {
		g.row("refund", x.ID, x.PaymentID, x.Status, x.Amount.String(), x.At.Format(time.RFC3339))
	}
	for _, x := range o.Shipments {
		g.row("shipment", x.ID, x.Status, x.Carrier, x.TrackingNumber, plural(int64(len(x.Lines)), "line"))
	}
	for _, x := range o.Returns {
		g.row("return", x.ID, x.Status, x.Reason)
	}
	for _, x := range o.Edits {
		g.row("edit", x.ID, x.Status, x.Reason)
	}
	for _, x := range o.Notes {
		g.row("note", x.ID, x.Author, x.Text)
	}
	return g.writeTo(w)
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
