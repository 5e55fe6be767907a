package projectionstest

import (
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

type allFigures map[projections.FigureKey][8]int64

func (f allFigures) add(key projections.FigureKey, values ...int64) {
	sum := f[key]
	for i, v := range values {
		sum[i] += v
	}
	f[key] = sum
}

// Figures is everything that is counted when these changes, each of another
// order, are what is kept.
func Figures(kept []projections.Change) map[projections.FigureKey][8]int64 {
	t, docs := newTallies(), []view.Order{}
	for _, c := range kept {
		t.add(c.Contribution, 1)
		t.addCustomer(c.Contribution, 1)
		docs = append(docs, c.Order)
	}
	return figures(docs, t)
}

// talliesOf entries is what they add up to, those of orders and those of
// customers apart.
func talliesOf(entries map[string]entry) *tallies {
	t := newTallies()
	for _, e := range entries {
		if e.json != nil {
			t.add(e.contribution, 1)
		} else {
			t.addCustomer(e.contribution, 1)
		}
	}
	return t
}

// figures of tallies of disjoint orders, and of the documents that facets
// count.
func figures(docs []view.Order, parts ...*tallies) allFigures {
	f := allFigures{}
	for _, t := range parts {
		for key, s := range t.counters {
			k := projections.FigureKey{Of: projections.FigureSums, Currency: key.Currency, Dimension: key.Dimension, Key: key.Key, Day: key.Day}
			for {
				f.add(k, s.Orders, s.Lines, s.Units, s.Items, s.Shipping, s.Grand, s.Paid, s.Rounding)
				if k.Dimension == projections.DimensionAll || k.Day == projections.EveryDay {
					break
				}
				k.Day = projections.EveryDay
			}
		}
		for key, m := range t.methods {
			f.add(projections.FigureKey{Of: projections.FigureMethod, Currency: key.currency, Key: key.method, Day: key.day}, m.Payments, m.Captured)
		}
		for key, p := range t.products {
			f.add(projections.FigureKey{Of: projections.FigureProduct, Currency: key.Currency, Key: key.SKU}, p.Units, p.Amount, p.Millionths)
		}
		for key, s := range t.customers {
			f.add(projections.FigureKey{Of: projections.FigureCustomer, Currency: key.currency, Key: key.customer}, s.Orders, s.Items, s.Grand, s.Paid, s.Rounding)
		}
	}
	for i := range docs {
		for _, facet := range query.Facets {
			for _, value := range facetValues(&docs[i], facet) {
				f.add(projections.FigureKey{Of: projections.FigureFacet, Dimension: facet, Key: value}, 1)
			}
		}
	}
	for key, v := range f {
		if key.Of == projections.FigureProduct {
			p := projections.ProductSum{Units: v[0], Amount: v[1], Millionths: v[2]}.Normal()
			v = [8]int64{p.Units, p.Amount, p.Millionths}
			f[key] = v
		}
		if v == [8]int64{} {
			delete(f, key)
		}
	}
	return f
}

// differing counts the figures that are not the same in both.
func differing(a, b allFigures) (n int) {
	for key, v := range a {
		if b[key] != v {
			n++
		}
	}
	for key := range b {
		if _, both := a[key]; !both {
			n++
		}
	}
	return n
}
