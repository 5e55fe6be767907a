package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docket-orders/docket/projections"
	"github.com/ncruces/go-sqlite3"
)

// Replace implements projections.Inspector: everything that is kept of the
// order is removed, and the change written as that of a new one.
func (s *Store) Replace(ctx context.Context, orderID string, change *projections.Change) error {
	var r row
	if change != nil {
		err := r.encode(change)
		if err == nil && r.id != orderID {
			err = fmt.Errorf("the document is of order %s", r.id)
		}
		if err != nil {
			return wrap(fmt.Errorf("%w: %w", projections.ErrRefused, err), "replace order %s", orderID)
		}
	}
	return wrap(s.write(ctx, func(c *conn) error {
		w := newWriting(c)
		if err := w.remove(orderID); err != nil {
			return err
		}
		if change != nil {
			shapeID, err := w.shapeID(r.shape)
			if err != nil {
				return err
			}
			if err := w.insert(&r, shapeID); err != nil {
				return err
			}
		}
		return w.flush()
	}), "replace order %s", orderID)
}

// remove takes an order out of everything, be its id there more than once. What
// is written next gets another n: words of the old one that FTS5 can no longer
// remove are then of no order.
func (w *writing) remove(orderID string) error {
	var rows []int64
	err := w.each(`SELECT o.n, o.shape, d.contribution FROM orders o LEFT JOIN docs d ON d.n = o.n WHERE o.id = ?`, []any{orderID}, func(r *sqlite3.Stmt) error {
		rows = append(rows, r.ColumnInt64(0))
		w.deltas.orders(r.ColumnInt64(1), -1)
		w.takeOff(r.ColumnRawBlob(2))
		return nil
	})
	for _, n := range rows {
		w.used = max(w.used, n)
		err = errors.Join(err,
			w.exec(`DELETE FROM orders WHERE n = ?`, n),
			w.exec(`DELETE FROM docs WHERE n = ?`, n),
			w.exec(`DELETE FROM skus WHERE n = ?`, n),
			w.exec(`DELETE FROM fts WHERE rowid = ?`, n))
	}
	return err
}

// Recount implements projections.Inspector, in one transaction. Contributions
// are read one by one, but what they add up to is held in memory: it takes as
// much of it as there are rows of figures. Contributions that cannot be read
// count for nothing.
func (s *Store) Recount(ctx context.Context) (changed int, err error) {
	err = s.write(ctx, func(c *conn) error {
		w := newWriting(c)
		changed = 0
		for _, stray := range strays {
			n, err := w.number(stray.count)
			if err == nil && n > 0 {
				changed += int(n)
				err = w.exec(stray.remove)
			}
			if err != nil {
				return err
			}
		}
		if err := w.countAll(); err != nil {
			return err
		}
		figures, err := w.figures()
		if err != nil {
			return err
		}
		for _, f := range figures {
			n, err := w.correct(f)
			if err != nil {
				return fmt.Errorf("%s: %w", f.table, err)
			}
			changed += n
		}
		return nil
	})
	return changed, wrap(err, "recount")
}

// countAll adds up everything that is kept, as if nothing were counted yet.
func (w *writing) countAll() error {
	err := w.each(`SELECT d.contribution FROM orders o CROSS JOIN docs d ON d.n = o.n`, nil, func(r *sqlite3.Stmt) error {
		var kept projections.Contribution
		if json.Unmarshal(r.ColumnRawBlob(0), &kept) == nil {
			w.deltas.count(kept, 1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.each(`SELECT shape, count(*) FROM orders GROUP BY shape`, nil, func(r *sqlite3.Stmt) error {
		w.deltas.orders(r.ColumnInt64(0), r.ColumnInt64(1))
		return nil
	})
}

// counted is a table of figures, and what should be in it.
type counted struct {
	table        string
	keys, values []string // columns
	want         map[figureKey]figureValues
}

type (
	figureKey    [3]any // int64 or string; nil where there are fewer columns
	figureValues [8]int64
)

// figures is what was added up, table by table.
func (w *writing) figures() ([]counted, error) {
	d := &w.deltas
	shapes := counted{"shapes", []string{"id"}, []string{"orders"}, map[figureKey]figureValues{}}
	for id, n := range d.shapes {
		shapes.want[figureKey{id}] = figureValues{n}
	}
	sums := counted{"sums", []string{"groupset", "day"}, []string{"orders", "lines", "units", "items", "shipping", "grand", "paid", "rounding"}, map[figureKey]figureValues{}}
	for key, s := range d.sums {
		id, err := w.groupsetID(key.groupset)
		if err != nil {
			return nil, err
		}
		sums.want[figureKey{id, key.day}] = figureValues{s.Orders, s.Lines, s.Units, s.Items, s.Shipping, s.Grand, s.Paid, s.Rounding}
	}
	methods := counted{"methods", []string{"currency", "method", "day"}, []string{"payments", "captured"}, map[figureKey]figureValues{}}
	for key, m := range d.methods {
		methods.want[figureKey{key.currency, key.method, key.day}] = figureValues{m.Payments, m.Captured}
	}
	products := counted{"products", []string{"currency", "sku"}, []string{"units", "amount", "millionths"}, map[figureKey]figureValues{}}
	for key, p := range d.products {
		products.want[figureKey{key.currency, key.sku}] = figureValues{p.Units, p.Amount, p.Millionths}
	}
	customers := counted{"customers", []string{"customer", "currency"}, []string{"orders", "items", "grand", "paid", "rounding"}, map[figureKey]figureValues{}}
	for key, s := range d.customers {
		customers.want[figureKey{key.customer, key.currency}] = figureValues{s.Orders, s.Items, s.Grand, s.Paid, s.Rounding}
	}
	w.deltas = deltas{}
	return []counted{shapes, sums, methods, products, customers}, nil
}

// correct rewrites the rows that are not what they should be, and removes those
// that should not be there. A row of nothing may be there or not.
func (w *writing) correct(f counted) (changed int, err error) {
	normal := func(v figureValues) figureValues {
		if f.table == "products" {
			p := projections.ProductSum{Units: v[0], Amount: v[1], Millionths: v[2]}.Normal()
			return figureValues{p.Units, p.Amount, p.Millionths}
		}
		return v
	}
	var doomed []figureKey
	columns := strings.Join(append(slices.Clone(f.keys), f.values...), ", ")
	err = w.each(`SELECT `+columns+` FROM `+f.table, nil, func(r *sqlite3.Stmt) error {
		var key figureKey
		var kept figureValues
		for i := range f.keys {
			key[i] = value(r, i)
		}
		for i := range f.values {
			kept[i] = r.ColumnInt64(len(f.keys) + i)
		}
		switch want := f.want[key]; {
		case normal(kept) == normal(want):
			delete(f.want, key)
		case want == figureValues{}:
			doomed = append(doomed, key)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	where := `(` + strings.Join(f.keys, ", ") + `) = (?` + strings.Repeat(", ?", len(f.keys)-1) + `)`
	for _, key := range doomed {
		if err := w.exec(`DELETE FROM `+f.table+` WHERE `+where, key[:len(f.keys)]...); err != nil {
			return 0, err
		}
	}
	put := `INSERT INTO ` + f.table + ` (` + columns + `) VALUES (?` + strings.Repeat(", ?", len(f.keys)+len(f.values)-1) + `)
		ON CONFLICT DO UPDATE SET ` + assignments(f.values)
	if f.table == "shapes" { // a shape whose row is gone has no values: its orders are written again
		put = `UPDATE shapes SET orders = ?2 WHERE id = ?1`
	}
	for key, v := range f.want {
		if v == (figureValues{}) {
			continue
		}
		args := slices.Clone(key[:len(f.keys)])
		for i := range f.values {
			args = append(args, v[i])
		}
		if err := w.exec(put, args...); err != nil {
			return 0, err
		}
		changed++
	}
	return changed + len(doomed), nil
}

func assignments(columns []string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = c + ` = excluded.` + c
	}
	return strings.Join(parts, ", ")
}
