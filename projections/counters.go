package projections

import (
	"cmp"
	"maps"
	"slices"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/view"
)

// DimensionAll is the dimension of the counters over all documents; their Key
// is empty. Figures by day and by month follow from them.
const DimensionAll = "all"

// Counter is one row of what is counted: the sums over all documents of one
// currency, placed on one day, that have one value of one dimension. A store
// keeps a row per (Currency, Dimension, Key, Day), adds the counters of a
// document's new contribution and takes off those of the stored one.
type Counter struct {
	Currency  money.Currency
	Dimension string // DimensionAll, or that of a Group
	Key       string
	Day       string
	Sums      Sums
}

// Counters are the rows that a contribution adds to: one over all, and one for
// each group. A document that was never placed adds to none.
func Counters(c Contribution) []Counter {
	if c.Currency == "" {
		return nil
	}
	rows := make([]Counter, 0, len(c.Groups)+1)
	rows = append(rows, Counter{c.Currency, DimensionAll, "", c.Day, c.Sums})
	for _, g := range c.Groups {
		rows = append(rows, Counter{c.Currency, g.Dimension, g.Key, c.Day, c.Sums})
	}
	return rows
}

// Plus adds sums.
func (s Sums) Plus(t Sums) Sums {
	return Sums{
		Orders: s.Orders + t.Orders, Lines: s.Lines + t.Lines, Units: s.Units + t.Units,
		Items: s.Items + t.Items, Shipping: s.Shipping + t.Shipping, Grand: s.Grand + t.Grand,
		Paid: s.Paid + t.Paid, Rounding: s.Rounding + t.Rounding,
	}
}

// Minus takes sums off.
func (s Sums) Minus(t Sums) Sums {
	return s.Plus(Sums{-t.Orders, -t.Lines, -t.Units, -t.Items, -t.Shipping, -t.Grand, -t.Paid, -t.Rounding})
}

// Figures is what a store has counted, restricted to the days asked for. Rows
// may come summed or not, in any order.
type Figures struct {
	// Counters: Day matters only in those of DimensionAll.
	Counters []Counter
	Methods  []MethodFigure
	// Products, when Top is above zero: all of them, or at least the first Top
	// by units and the first Top by amount of each currency (ties: the lesser
	// SKU first). Each comes summed.
	Products []ProductFigure
	Top      int
	// Customers counts the distinct customers per currency; nil when the
	// question has a range.
	Customers map[money.Currency]int64
}

// MethodFigure is captured payments of one method in one currency.
type MethodFigure struct {
	Currency money.Currency
	MethodSum
}

// ProductFigure is one SKU in one currency.
type ProductFigure struct {
	Currency money.Currency
	ProductSum
}

// statsDimensions are always present in CurrencyStats.By.
var statsDimensions = [...]string{
	"status", "paymentStatus", "fulfilmentStatus", "kind", "source", "tag", "day", "month", "country", "state", "anomaly",
}

// AssembleStats makes the answer to a stats question from what a store has
// counted, so that all stores answer alike: currencies, groups and methods by
// name, products by rank, what has come down to nothing left out.
func AssembleStats(f Figures) view.Stats {
	type place struct {
		currency       money.Currency
		dimension, key string
	}
	sums := map[place]Sums{}
	add := func(c money.Currency, dimension, key string, s Sums) {
		p := place{c, dimension, key}
		sums[p] = sums[p].Plus(s)
	}
	for _, row := range f.Counters {
		add(row.Currency, row.Dimension, row.Key, row.Sums)
		if row.Dimension == DimensionAll && len(row.Day) >= len("2018-01") {
			add(row.Currency, "day", row.Day, row.Sums)
			add(row.Currency, "month", row.Day[:len("2018-01")], row.Sums)
		}
	}
	methods := map[money.Currency]map[string]MethodSum{}
	for _, m := range f.Methods {
		if methods[m.Currency] == nil {
			methods[m.Currency] = map[string]MethodSum{}
		}
		sum := methods[m.Currency][m.Method]
		methods[m.Currency][m.Method] = MethodSum{m.Method, sum.Payments + m.Payments, sum.Captured + m.Captured}
	}
	products := map[money.Currency][]ProductSum{}
	for _, p := range f.Products {
		if sum := p.Normal(); sum.Units != 0 || sum.Amount != 0 || sum.Millionths != 0 {
			products[p.Currency] = append(products[p.Currency], sum)
		}
	}

	per := map[money.Currency]*view.CurrencyStats{}
	for p, s := range sums {
		if p.dimension != DimensionAll || s == (Sums{}) {
			continue
		}
		c := &view.CurrencyStats{
			Currency: p.currency,
			Sums:     viewSums(s, p.currency),
			By:       map[string][]view.GroupStats{},
			Payments: viewMethods(methods[p.currency], p.currency),
		}
		for _, dimension := range statsDimensions {
			c.By[dimension] = []view.GroupStats{}
		}
		if f.Customers != nil {
			n := f.Customers[p.currency]
			c.Customers = &n
		}
		if f.Top > 0 {
			c.Top = topProducts(products[p.currency], f.Top, p.currency)
		}
		per[p.currency] = c
	}
	for p, s := range sums {
		if c := per[p.currency]; c != nil && p.dimension != DimensionAll && s != (Sums{}) {
			c.By[p.dimension] = append(c.By[p.dimension], view.GroupStats{Key: p.key, Sums: viewSums(s, p.currency)})
		}
	}
	stats := view.Stats{Currencies: []view.CurrencyStats{}}
	for _, currency := range slices.Sorted(maps.Keys(per)) {
		c := per[currency]
		for _, groups := range c.By {
			slices.SortFunc(groups, func(a, b view.GroupStats) int { return cmp.Compare(a.Key, b.Key) })
		}
		stats.Currencies = append(stats.Currencies, *c)
	}
	return stats
}

func viewSums(s Sums, c money.Currency) view.Sums {
	return view.Sums{
		Orders: s.Orders, Lines: s.Lines, Units: s.Units,
		Items: money.Minor(s.Items, c), Shipping: money.Minor(s.Shipping, c), Grand: money.Minor(s.Grand, c),
		Paid: money.Minor(s.Paid, c), Rounding: money.New(s.Rounding, money.MaxScale, c),
	}
}

func viewMethods(methods map[string]MethodSum, c money.Currency) []view.MethodStats {
	out := []view.MethodStats{}
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		if m := methods[name]; m.Payments != 0 || m.Captured != 0 {
			out = append(out, view.MethodStats{Method: name, Payments: m.Payments, Captured: money.Minor(m.Captured, c)})
		}
	}
	return out
}

func topProducts(products []ProductSum, top int, c money.Currency) *view.TopProducts {
	ranked := func(compare func(a, b ProductSum) int) []view.ProductStats {
		slices.SortFunc(products, func(a, b ProductSum) int {
			return cmp.Or(compare(b, a), cmp.Compare(a.SKU, b.SKU))
		})
		out := []view.ProductStats{}
		for _, p := range products[:min(top, len(products))] {
			out = append(out, view.ProductStats{SKU: p.SKU, Units: p.Units, Amount: productAmount(p, c)})
		}
		return out
	}
	return &view.TopProducts{
		ByUnits: ranked(func(a, b ProductSum) int { return cmp.Compare(a.Units, b.Units) }),
		ByAmount: ranked(func(a, b ProductSum) int {
			return cmp.Or(cmp.Compare(a.Amount, b.Amount), cmp.Compare(a.Millionths, b.Millionths))
		}),
	}
}

// productAmount is exact, unless so large a sum with so many decimals does not
// fit an amount: then it is rounded to the minor unit.
func productAmount(p ProductSum, c money.Currency) money.Amount {
	whole, fraction := money.New(p.Amount, 0, c), money.New(p.Millionths, money.MaxScale, c)
	if exact, err := money.Sum(whole, fraction); err == nil {
		return exact
	}
	return whole.Add(fraction.Rounded())
}
