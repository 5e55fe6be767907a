package projectionstest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// answer answers a list question by looking at every document.
func answer(docs []view.Order, q query.Question) query.Page {
	var hits []view.Order
	for i := range docs {
		if matches(&docs[i], &q) {
			hits = append(hits, docs[i])
		}
	}
	page := query.Page{Items: []view.Order{}}
	if !q.WithoutTotal {
		page.Total = int64(len(hits))
	}
	if len(q.Facets) > 0 {
		page.Facets = map[string][]query.Count{}
	}
	for _, facet := range q.Facets {
		counts := map[string]int64{}
		for i := range hits {
			for _, v := range facetValues(&hits[i], facet) {
				counts[v]++
			}
		}
		page.Facets[facet] = ranked(counts)
	}
	slices.SortFunc(hits, func(a, b view.Order) int { return compareKeys(keyOf(&a, q.Sort.By), keyOf(&b, q.Sort.By), q.Sort) })
	for i := range hits {
		key := keyOf(&hits[i], q.Sort.By)
		if q.After != nil && compareKeys(key, *q.After, q.Sort) <= 0 {
			continue
		}
		if len(page.Items) == q.Limit {
			last := keyOf(&page.Items[q.Limit-1], q.Sort.By)
			page.Next = &last
			break
		}
		page.Items = append(page.Items, hits[i])
	}
	return page
}

func keyOf(doc *view.Order, by query.SortBy) query.Key {
	key := query.Key{ID: doc.ID}
	switch by {
	case query.ByPlacedAt:
		key.Int = doc.PlacedAt.UnixMicro()
	case query.ByUpdatedAt:
		key.Int = doc.UpdatedAt.UnixMicro()
	case query.ByTotal:
		key.Int = doc.Totals.Grand.MinorUnits()
	case query.ByNumber:
		key.Text = doc.Number
	}
	return key
}

func compareKeys(a, b query.Key, s query.Sort) int {
	c := cmp.Or(cmp.Compare(a.Int, b.Int), cmp.Compare(a.Text, b.Text), cmp.Compare(a.ID, b.ID))
	if s.Desc {
		return -c
	}
	return c
}

func ranked(counts map[string]int64) []query.Count {
	out := []query.Count{}
	for value, n := range counts {
		out = append(out, query.Count{Value: value, Count: n})
	}
	slices.SortFunc(out, func(a, b query.Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	return out
}

// facetValues of a document, each once; nothing is not a value.
func facetValues(doc *view.Order, facet string) []string {
	var values []string
	switch facet {
	case "status":
		values = []string{doc.Status}
	case "paymentStatus":
		values = []string{doc.PaymentStatus}
	case "fulfilmentStatus":
		values = []string{doc.FulfilmentStatus}
	case "kind":
		values = []string{doc.Kind}
	case "source":
		if doc.Source != nil {
			values = []string{doc.Source.System}
		}
	case "currency":
		values = []string{string(doc.Currency)}
	case "country":
		values = []string{doc.Country}
	case "state":
		values = []string{doc.State}
	case "tag":
		values = slices.Clone(doc.Tags)
	case "anomaly":
		for _, a := range doc.Anomalies {
			values = append(values, a.Kind)
		}
	}
	slices.Sort(values)
	values = slices.Compact(values)
	return slices.DeleteFunc(values, func(v string) bool { return v == "" })
}

func matches(doc *view.Order, q *query.Question) bool {
	for facet, wanted := range map[string][]string{
		"status": q.Status, "paymentStatus": q.PaymentStatus, "fulfilmentStatus": q.FulfilmentStatus, "kind": q.Kind,
		"source": q.Source, "tag": q.Tag, "anomaly": q.Anomaly, "currency": q.Currency, "country": q.Country, "state": q.State,
	} {
		if len(wanted) > 0 && !anyOf(wanted, facetValues(doc, facet)) {
			return false
		}
	}
	var skus []string
	for _, l := range doc.Lines {
		skus = append(skus, l.SKU)
	}
	grand := doc.Totals.Grand
	switch {
	case len(q.IDs) > 0 && !slices.Contains(q.IDs, doc.ID),
		len(q.Customer) > 0 && (doc.Customer.ID == "" || !slices.Contains(q.Customer, doc.Customer.ID)),
		len(q.SKU) > 0 && !anyOf(q.SKU, skus),
		q.PlacedFrom != nil && doc.PlacedAt.Before(*q.PlacedFrom),
		q.PlacedTo != nil && !doc.PlacedAt.Before(*q.PlacedTo),
		q.UpdatedFrom != nil && doc.UpdatedAt.Before(*q.UpdatedFrom),
		q.UpdatedTo != nil && !doc.UpdatedAt.Before(*q.UpdatedTo),
		(q.DeliveredFrom != nil || q.DeliveredTo != nil) && doc.DeliveredAt == nil,
		q.DeliveredFrom != nil && doc.DeliveredAt.Before(*q.DeliveredFrom),
		q.DeliveredTo != nil && !doc.DeliveredAt.Before(*q.DeliveredTo),
		q.MinTotal != nil && (doc.Currency != q.MinTotal.Currency() || grand.Cmp(*q.MinTotal) < 0),
		q.MaxTotal != nil && (doc.Currency != q.MaxTotal.Currency() || grand.Cmp(*q.MaxTotal) > 0):
		return false
	}
	if len(q.Words) == 0 {
		return true
	}
	text := strings.Fields(projections.OrderWords(*doc))
	for _, w := range q.Words {
		if !slices.Contains(text, w) {
			return false
		}
	}
	return true
}

func anyOf(wanted, values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return slices.Contains(wanted, v) })
}

// tallies is what is counted of a number of contributions.
type tallies struct {
	counters  map[projections.Counter]projections.Sums // key with zero Sums
	methods   map[methodDay]projections.MethodSum      // key with zero sums
	products  map[projections.ProductFigure]projections.ProductSum
	customers map[customerCurrency]projections.Sums
}

type methodDay struct {
	currency    money.Currency
	method, day string
}

type customerCurrency struct {
	customer string
	currency money.Currency
}

func newTallies() *tallies {
	return &tallies{
		map[projections.Counter]projections.Sums{}, map[methodDay]projections.MethodSum{},
		map[projections.ProductFigure]projections.ProductSum{}, map[customerCurrency]projections.Sums{},
	}
}

func signed(s projections.Sums, sign int64) projections.Sums {
	if sign < 0 {
		return projections.Sums{}.Minus(s)
	}
	return s
}

// add counts a contribution, but for its customer: sign is 1, or -1 to take it
// off.
func (t *tallies) add(c projections.Contribution, sign int64) {
	if c.Currency == "" {
		return
	}
	for _, row := range projections.Counters(c) {
		key := row
		key.Sums = projections.Sums{}
		t.counters[key] = t.counters[key].Plus(signed(row.Sums, sign))
	}
	for _, m := range c.Methods {
		key := methodDay{c.Currency, m.Method, c.Day}
		old := t.methods[key]
		t.methods[key] = projections.MethodSum{Method: m.Method, Payments: old.Payments + sign*m.Payments, Captured: old.Captured + sign*m.Captured}
	}
	for _, p := range c.Products {
		key := projections.ProductFigure{Currency: c.Currency, ProductSum: projections.ProductSum{SKU: p.SKU}}
		old := t.products[key]
		old.SKU = p.SKU
		t.products[key] = old.Plus(p, sign)
	}
}

// addCustomer counts a contribution for its customer.
func (t *tallies) addCustomer(c projections.Contribution, sign int64) {
	if c.Currency != "" && c.Customer != "" {
		key := customerCurrency{c.Customer, c.Currency}
		t.customers[key] = t.customers[key].Plus(signed(c.Sums, sign))
	}
}

// stats answers a stats question from tallies of disjoint orders.
func stats(q query.StatsQuestion, parts ...*tallies) view.Stats {
	ranged := q.From != "" || q.To != ""
	inside := func(day string) bool { return (q.From == "" || day >= q.From) && (q.To == "" || day <= q.To) }
	var f projections.Figures
	products := map[projections.ProductFigure]projections.ProductSum{}
	customers := map[customerCurrency]int64{}
	for _, t := range parts {
		for key, sums := range t.counters {
			if inside(key.Day) {
				key.Sums = sums
				f.Counters = append(f.Counters, key)
			}
		}
		for key, sum := range t.methods {
			if inside(key.day) {
				f.Methods = append(f.Methods, projections.MethodFigure{Currency: key.currency, MethodSum: sum})
			}
		}
		for key, p := range t.products {
			old := products[key]
			old.SKU = p.SKU
			products[key] = old.Plus(p, 1)
		}
		for key, sums := range t.customers {
			customers[key] += sums.Orders
		}
	}
	if !ranged {
		f.Top = q.Top
		f.Customers = map[money.Currency]int64{}
		for key, orders := range customers {
			if orders != 0 {
				f.Customers[key.currency]++
			}
		}
		for key, p := range products {
			f.Products = append(f.Products, projections.ProductFigure{Currency: key.Currency, ProductSum: p})
		}
	}
	return projections.AssembleStats(f)
}

// customerQuestion is the list question behind query.Views.CustomerOrders.
func customerQuestion(id string, limit int, after *query.Key) query.Question {
	return query.Question{Customer: []string{id}, Sort: query.Sort{By: query.ByPlacedAt, Desc: true}, Limit: limit, After: after}
}

// summarise makes a customer's summary from all orders, and what is counted.
func summarise(id string, docs []view.Order, t *tallies) (view.CustomerSummary, bool) {
	own := slices.DeleteFunc(slices.Clone(docs), func(d view.Order) bool { return id == "" || d.Customer.ID != id })
	if len(own) == 0 {
		return view.CustomerSummary{}, false
	}
	sort := query.Sort{By: query.ByPlacedAt}
	slices.SortFunc(own, func(a, b view.Order) int {
		return compareKeys(keyOf(&a, sort.By), keyOf(&b, sort.By), sort)
	})
	newest := own[len(own)-1]
	sum := view.CustomerSummary{
		ID: id, Name: newest.Customer.Name, Email: newest.Customer.Email,
		FirstAt: own[0].PlacedAt, LastAt: newest.PlacedAt, Totals: []view.CustomerTotal{},
	}
	for key, s := range t.customers {
		if key.customer != id || s.Orders == 0 {
			continue
		}
		sum.Totals = append(sum.Totals, view.CustomerTotal{
			Currency: key.currency, Orders: s.Orders,
			Items: money.Minor(s.Items, key.currency), Grand: money.Minor(s.Grand, key.currency),
			Paid: money.Minor(s.Paid, key.currency), Rounding: money.New(s.Rounding, money.MaxScale, key.currency),
		})
	}
	slices.SortFunc(sum.Totals, func(a, b view.CustomerTotal) int { return cmp.Compare(a.Currency, b.Currency) })
	return sum, true
}
