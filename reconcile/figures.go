package reconcile

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/reconcile/expected"
	"github.com/docket-orders/docket/view"
)

// values of one figure, in the order that its kind says.
type values [8]int64

func (v values) plus(w values, times int64) values {
	for i := range v {
		v[i] += times * w[i]
	}
	return v
}

// contributionOf is what the expected side counts of an order, in the form in
// which a store keeps it.
func contributionOf(c expected.Counted) projections.Contribution {
	out := projections.Contribution{
		Currency: c.Currency, Day: c.Day, Customer: c.Customer,
		Sums: projections.Sums{
			Orders: c.Orders, Lines: c.Lines, Units: c.Units, Items: c.Items,
			Shipping: c.Shipping, Grand: c.Grand, Paid: c.Paid, Rounding: c.Rounding,
		},
	}
	if c.Currency != "" {
		out.Groups = make([]projections.Group, 0, len(c.Groups))
	}
	for _, g := range c.Groups {
		out.Groups = append(out.Groups, projections.Group(g))
	}
	for _, m := range c.Methods {
		out.Methods = append(out.Methods, projections.MethodSum(m))
	}
	for _, p := range c.Products {
		out.Products = append(out.Products, projections.ProductSum(p))
	}
	return out
}

// eachFigure hands over what an order adds to figures: its contribution, and
// its document to those that lists are counted by.
func eachFigure(c projections.Contribution, doc *view.Order, add func(projections.FigureKey, values)) {
	facets(doc, func(dimension, key string) {
		add(projections.FigureKey{Of: projections.FigureFacet, Dimension: dimension, Key: key}, values{1})
	})
	if c.Currency == "" {
		return // never placed
	}
	s := c.Sums
	sums := values{s.Orders, s.Lines, s.Units, s.Items, s.Shipping, s.Grand, s.Paid, s.Rounding}
	key := projections.FigureKey{Of: projections.FigureSums, Currency: c.Currency, Dimension: projections.DimensionAll, Day: c.Day}
	add(key, sums)
	for _, g := range c.Groups {
		key.Dimension, key.Key, key.Day = g.Dimension, g.Key, c.Day
		add(key, sums)
		key.Day = projections.EveryDay
		add(key, sums)
	}
	for _, m := range c.Methods {
		add(projections.FigureKey{Of: projections.FigureMethod, Currency: c.Currency, Key: m.Method, Day: c.Day}, values{m.Payments, m.Captured})
	}
	for _, p := range c.Products {
		add(projections.FigureKey{Of: projections.FigureProduct, Currency: c.Currency, Key: p.SKU}, values{p.Units, p.Amount, p.Millionths})
	}
	if c.Customer != "" {
		add(projections.FigureKey{Of: projections.FigureCustomer, Currency: c.Currency, Key: c.Customer}, values{s.Orders, s.Items, s.Grand, s.Paid, s.Rounding})
	}
}

// facets of a document: what lists can be counted by. Nothing is not a value.
func facets(doc *view.Order, add func(dimension, key string)) {
	one := func(dimension, key string) {
		if key != "" {
			add(dimension, key)
		}
	}
	one("status", doc.Status)
	one("paymentStatus", doc.PaymentStatus)
	one("fulfilmentStatus", doc.FulfilmentStatus)
	one("kind", doc.Kind)
	if doc.Source != nil {
		one("source", doc.Source.System)
	}
	one("currency", string(doc.Currency))
	one("country", doc.Country)
	one("state", doc.State)
	for i, tag := range doc.Tags {
		if !slices.Contains(doc.Tags[:i], tag) {
			one("tag", tag)
		}
	}
	for i, a := range doc.Anomalies {
		if !slices.ContainsFunc(doc.Anomalies[:i], func(b view.Anomaly) bool { return b.Kind == a.Kind }) {
			one("anomaly", a.Kind)
		}
	}
}

// normal is the form in which figures are compared: millionths carried.
func normal(of projections.FigureOf, v values) values {
	if of == projections.FigureProduct {
		p := projections.ProductSum{Units: v[0], Amount: v[1], Millionths: v[2]}.Normal()
		v[0], v[1], v[2] = p.Units, p.Amount, p.Millionths
	}
	return v
}

// figureDiff is a figure that is not what it should be.
type figureDiff struct {
	key        projections.FigureKey
	kept, want values
	number     int // of its finding; -1 when it is not listed
}

// figureNames are the names of a figure's values; "$" marks money, in minor units
// unless said otherwise.
func figureNames(of projections.FigureOf) []string {
	switch of {
	case projections.FigureSums:
		return []string{"orders", "lines", "units", "$items", "$shipping", "$grand", "$paid", "$millionths:rounding"}
	case projections.FigureMethod:
		return []string{"payments", "$captured"}
	case projections.FigureProduct:
		return []string{"units", "amount", "millionths"}
	case projections.FigureCustomer:
		return []string{"orders", "$items", "$grand", "$paid", "$millionths:rounding"}
	}
	return []string{"documents"}
}

func (d figureDiff) finding() Finding {
	f := Finding{Class: Aggregate, Entity: string(d.key.Of), ID: d.key.Key}
	days := " over all days"
	if d.key.Day != projections.EveryDay {
		days = " on " + d.key.Day
	}
	switch d.key.Of {
	case projections.FigureSums:
		group := "all orders"
		if d.key.Dimension != projections.DimensionAll {
			group = d.key.Dimension + " " + d.key.Key
		}
		f.ID = group + " in " + string(d.key.Currency) + days
	case projections.FigureMethod:
		f.ID += " in " + string(d.key.Currency) + days
	case projections.FigureProduct:
		f.ID += " in " + string(d.key.Currency)
	case projections.FigureCustomer:
		f.Detail = "totals in " + string(d.key.Currency)
	case projections.FigureStray:
		if d.key.Dimension == projections.DimensionUnlisted {
			f.ID = "order " + d.key.Key + " is kept and not listed"
		}
	case projections.FigureFacet:
		f.ID = d.key.Dimension + " " + d.key.Key
	}
	for i, name := range figureNames(d.key.Of) {
		if d.kept[i] != d.want[i] {
			path, before := figureValue(name, d.kept[i], d.key.Currency)
			_, after := figureValue(name, d.want[i], d.key.Currency)
			f.Fields = append(f.Fields, query.FieldChange{Path: path, Before: before, After: after})
		}
	}
	return f
}

// figureValue is one value of a figure, as money where the currency is one:
// another program may have written anything.
func figureValue(name string, n int64, currency money.Currency) (path string, value json.RawMessage) {
	var v any = n
	_, unknown := money.ParseCurrency(string(currency))
	scale := currency.Decimals()
	name, isMoney := strings.CutPrefix(name, "$")
	if rest, ok := strings.CutPrefix(name, "millionths:"); ok {
		name, scale = rest, money.MaxScale
	}
	if isMoney && unknown == nil && n != math.MinInt64 { // which is no amount, whoever wrote it
		v = money.New(n, scale, currency)
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("reconcile: encode %s: %v", name, err))
	}
	return "/" + name, data
}
