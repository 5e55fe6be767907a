package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
	"github.com/ncruces/go-sqlite3"
)

// Figures implements projections.Inspector, in one reading transaction. Rows
// are handed over as they are read, but for sums and facets, which are expanded
// from combinations to single dimensions in memory: as many as there are values
// of dimensions and days, however many the orders.
func (s *Store) Figures(ctx context.Context, yield func(projections.Figure) error) (lanes []projections.Checkpoint, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		w := figureWalk{c, yield}
		for _, walk := range []func() error{w.sums, w.methods, w.products, w.customers, w.facets, w.strays} {
			if err := walk(); err != nil {
				return err
			}
		}
		lanes, err = c.checkpoints()
		return err
	})
	if err != nil {
		return nil, wrap(err, "read figures")
	}
	return lanes, nil
}

// figureWalk hands over what is counted, kind by kind.
type figureWalk struct {
	*conn
	yield func(projections.Figure) error
}

func (w figureWalk) give(key projections.FigureKey, values ...int64) error {
	key.Key, key.Day, key.Currency = clean(key.Key), clean(key.Day), money.Currency(clean(string(key.Currency)))
	f := projections.Figure{FigureKey: key}
	if copy(f.Values[:], values); f.Values == [8]int64{} {
		return nil
	}
	return w.yield(f)
}

// all hands over what was added up in memory.
func (w figureWalk) all(figures map[projections.FigureKey][8]int64) error {
	for key, values := range figures {
		if err := w.give(key, values[:]...); err != nil {
			return err
		}
	}
	return nil
}

func (w figureWalk) sums() error {
	figures := map[projections.FigureKey][8]int64{}
	// What belongs to one combination comes together: it is read once.
	last, groups := "", []projections.Group(nil)
	err := w.each(`SELECT g.currency, g.groups, s.day, s.orders, s.lines, s.units, s.items, s.shipping, s.grand, s.paid, s.rounding
		FROM groupsets g CROSS JOIN sums s ON s.groupset = g.id`, nil, func(r *sqlite3.Stmt) error {
		if text := r.ColumnRawText(1); groups == nil || string(text) != last {
			last, groups = string(text), decodeGroups(text)
		}
		key := projections.FigureKey{Of: projections.FigureSums, Currency: money.Currency(r.ColumnText(0)), Day: r.ColumnText(2)}
		for _, g := range groups {
			key.Dimension, key.Key = g.Dimension, g.Key
			values := figures[key]
			for i := range values {
				values[i] += r.ColumnInt64(3 + i)
			}
			figures[key] = values
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.all(figures)
}

// unreadable is the dimension of what another program left in place of a list
// of dimensions: a figure that no order adds to.
const unreadable = "unreadable"

func decodeGroups(text []byte) []projections.Group {
	var groups []projections.Group
	switch err := json.Unmarshal(text, &groups); {
	case err != nil:
		return []projections.Group{{Dimension: unreadable, Key: string(text)}}
	case len(groups) == 0:
		return []projections.Group{{Dimension: projections.DimensionAll}}
	}
	return groups
}

func (w figureWalk) methods() error {
	return w.each(`SELECT currency, method, day, payments, captured FROM methods`, nil, func(r *sqlite3.Stmt) error {
		return w.give(projections.FigureKey{Of: projections.FigureMethod, Currency: money.Currency(r.ColumnText(0)), Key: r.ColumnText(1), Day: r.ColumnText(2)},
			r.ColumnInt64(3), r.ColumnInt64(4))
	})
}

func (w figureWalk) products() error {
	return w.each(`SELECT currency, sku, units, amount, millionths FROM products`, nil, func(r *sqlite3.Stmt) error {
		p := projections.ProductSum{Units: r.ColumnInt64(2), Amount: r.ColumnInt64(3), Millionths: r.ColumnInt64(4)}.Normal()
		return w.give(projections.FigureKey{Of: projections.FigureProduct, Currency: money.Currency(r.ColumnText(0)), Key: r.ColumnText(1)},
			p.Units, p.Amount, p.Millionths)
	})
}

func (w figureWalk) customers() error {
	return w.each(`SELECT currency, customer, orders, items, grand, paid, rounding FROM customers`, nil, func(r *sqlite3.Stmt) error {
		return w.give(projections.FigureKey{Of: projections.FigureCustomer, Currency: money.Currency(r.ColumnText(0)), Key: r.ColumnText(1)},
			r.ColumnInt64(2), r.ColumnInt64(3), r.ColumnInt64(4), r.ColumnInt64(5), r.ColumnInt64(6))
	})
}

// facets come from the counts of the shapes.
func (w figureWalk) facets() error {
	figures := map[projections.FigureKey][8]int64{}
	names := strings.Split(shapeColumns, ", ")
	err := w.each(`SELECT orders, `+shapeColumns+` FROM shapes WHERE orders <> 0`, nil, func(r *sqlite3.Stmt) error {
		for i, name := range names {
			values := []string{r.ColumnText(i + 1)}
			if name == "tag" || name == "anomaly" {
				if json.Unmarshal(r.ColumnRawText(i+1), &values) != nil {
					name, values = unreadable, []string{name + " " + r.ColumnText(i+1)}
				}
			}
			for _, v := range values {
				if v == "" { // nothing is not a value
					continue
				}
				key := projections.FigureKey{Of: projections.FigureFacet, Dimension: name, Key: v}
				count := figures[key]
				count[0] += r.ColumnInt64(0)
				figures[key] = count
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.all(figures)
}

// strays counts what belongs to no order, and counts of shapes that are not
// those of the orders. Questions would count them.
var strays = []struct{ name, count, remove string }{
	{"documents without an order",
		`SELECT count(*) FROM docs WHERE n NOT IN (SELECT n FROM orders)`,
		`DELETE FROM docs WHERE n NOT IN (SELECT n FROM orders)`},
	{"SKUs without an order",
		`SELECT count(*) FROM skus WHERE n NOT IN (SELECT n FROM orders)`,
		`DELETE FROM skus WHERE n NOT IN (SELECT n FROM orders)`},
	{"full text without an order",
		`SELECT count(*) FROM fts_docsize WHERE id NOT IN (SELECT n FROM orders)`,
		`DELETE FROM fts WHERE rowid IN (SELECT id FROM fts_docsize WHERE id NOT IN (SELECT n FROM orders))`},
}

func (w figureWalk) strays() error {
	for _, s := range strays {
		n, err := w.number(s.count)
		if err == nil {
			err = w.give(projections.FigureKey{Of: projections.FigureStray, Key: s.name}, n)
		}
		if err != nil {
			return err
		}
	}
	return w.each(`SELECT s.id, s.orders, o.orders FROM shapes s
		LEFT JOIN (SELECT shape, count(*) AS orders FROM orders GROUP BY shape) o ON o.shape = s.id
		WHERE s.orders <> coalesce(o.orders, 0)`, nil, func(r *sqlite3.Stmt) error {
		return w.give(projections.FigureKey{Of: projections.FigureStray, Key: fmt.Sprintf("count of shape %d", r.ColumnInt64(0))},
			r.ColumnInt64(1)-r.ColumnInt64(2))
	})
}
