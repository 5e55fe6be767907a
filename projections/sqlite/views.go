package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
	"github.com/ncruces/go-sqlite3"
)

// Order implements query.Views.
func (s *Store) Order(ctx context.Context, id string) (doc view.Order, ok bool, err error) {
	err = s.ask(ctx, func(c *conn) (err error) {
		doc, ok, err = order(c, id)
		return err
	})
	return doc, ok, wrap(err, "read order")
}

// Customer implements query.Views. The totals are counted; what else is known
// of a customer is looked up in their orders.
func (s *Store) Customer(ctx context.Context, id string) (sum view.CustomerSummary, found bool, err error) {
	if id == "" { // of guests nobody asks
		return sum, false, nil
	}
	err = s.read(ctx, func(c *conn) error {
		var newest view.Order
		err := c.each(`SELECT o.placed, (SELECT min(placed) FROM orders WHERE customer = ?1), d.document
			FROM orders o INDEXED BY by_customer CROSS JOIN docs d ON d.n = o.n
			WHERE o.customer = ?1 ORDER BY o.placed DESC, o.id DESC LIMIT 1`, []any{id}, func(r *sqlite3.Stmt) error {
			found = true
			sum.LastAt, sum.FirstAt = micros(r.ColumnInt64(0)), micros(r.ColumnInt64(1))
			return decode(r.ColumnRawBlob(2), &newest)
		})
		sum.ID, sum.Name, sum.Email, sum.Totals = id, newest.Customer.Name, newest.Customer.Email, []view.CustomerTotal{}
		if err != nil {
			return err
		}
		return c.each(`SELECT currency, orders, items, grand, paid, rounding FROM customers
			WHERE customer = ? AND orders <> 0 ORDER BY currency`, []any{id}, func(r *sqlite3.Stmt) error {
			currency := money.Currency(r.ColumnText(0))
			sum.Totals = append(sum.Totals, view.CustomerTotal{
				Currency: currency,
				Orders:   r.ColumnInt64(1),
				Items:    money.Minor(r.ColumnInt64(2), currency),
				Grand:    money.Minor(r.ColumnInt64(3), currency),
				Paid:     money.Minor(r.ColumnInt64(4), currency),
				Rounding: money.New(r.ColumnInt64(5), money.MaxScale, currency),
			})
			return nil
		})
	})
	if !found {
		sum = view.CustomerSummary{}
	}
	return sum, found, wrap(err, "read customer")
}

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

// CustomerOrders implements query.Views.
func (s *Store) CustomerOrders(ctx context.Context, id string, limit int, after *query.Key) (query.Page, error) {
	if id == "" {
		return query.Page{Items: []view.Order{}}, nil
	}
	return s.Orders(ctx, query.Question{
		Customer: []string{id},
		Sort:     query.Sort{By: query.ByPlacedAt, Desc: true},
		Limit:    limit,
		After:    after,
	})
}

const sumColumns = `sum(s.orders), sum(s.lines), sum(s.units), sum(s.items), sum(s.shipping), sum(s.grand), sum(s.paid), sum(s.rounding)`

// Stats implements query.Views.
func (s *Store) Stats(ctx context.Context, q query.StatsQuestion) (view.Stats, error) {
	// '+' comes after wholeDay and before every day; '~' after every day.
	from, to := cmp.Or(q.From, "+"), cmp.Or(q.To, "~")
	ranged := q.From != "" || q.To != ""
	figures := projections.Figures{}
	err := s.read(ctx, func(c *conn) error {
		counters := func(r *sqlite3.Stmt) error {
			row := projections.Counter{
				Currency: money.Currency(r.ColumnText(0)),
				Day:      r.ColumnText(2),
				Sums: projections.Sums{
					Orders: r.ColumnInt64(3), Lines: r.ColumnInt64(4), Units: r.ColumnInt64(5), Items: r.ColumnInt64(6),
					Shipping: r.ColumnInt64(7), Grand: r.ColumnInt64(8), Paid: r.ColumnInt64(9), Rounding: r.ColumnInt64(10),
				},
			}
			var groups []projections.Group
			if err := json.Unmarshal(r.ColumnRawText(1), &groups); err != nil {
				return fmt.Errorf("stored counters are not readable (%w): %s", err, rebuild)
			}
			if len(groups) == 0 {
				row.Dimension = projections.DimensionAll
				figures.Counters = append(figures.Counters, row)
			}
			for _, g := range groups {
				row.Dimension, row.Key = g.Dimension, g.Key
				figures.Counters = append(figures.Counters, row)
			}
			return nil
		}
		err := c.each(`SELECT g.currency, g.groups, s.day, `+sumColumns+`
			FROM groupsets g CROSS JOIN sums s ON s.groupset = g.id
			WHERE g.groups = '[]' AND s.day >= ? AND s.day <= ? GROUP BY g.id, s.day`, []any{from, to}, counters)
		if err != nil {
			return err
		}
		groupFrom, groupTo := wholeDay, wholeDay
		if ranged {
			groupFrom, groupTo = from, to
		}
		err = c.each(`SELECT g.currency, g.groups, '', `+sumColumns+`
			FROM groupsets g CROSS JOIN sums s ON s.groupset = g.id
			WHERE g.groups <> '[]' AND s.day >= ? AND s.day <= ? GROUP BY g.id`, []any{groupFrom, groupTo}, counters)
		if err != nil {
			return err
		}
		err = c.each(`SELECT currency, method, sum(payments), sum(captured) FROM methods
			WHERE day >= ? AND day <= ? GROUP BY currency, method`, []any{from, to}, func(r *sqlite3.Stmt) error {
			figures.Methods = append(figures.Methods, projections.MethodFigure{
				Currency:  money.Currency(r.ColumnText(0)),
				MethodSum: projections.MethodSum{Method: r.ColumnText(1), Payments: r.ColumnInt64(2), Captured: r.ColumnInt64(3)},
			})
			return nil
		})
		if err != nil || ranged {
			return err
		}
		figures.Customers = map[money.Currency]int64{}
		err = c.each(`SELECT currency, count(*) FROM customers WHERE orders <> 0 GROUP BY currency`, nil, func(r *sqlite3.Stmt) error {
			figures.Customers[money.Currency(r.ColumnText(0))] = r.ColumnInt64(1)
			return nil
		})
		if err != nil || q.Top <= 0 {
			return err
		}
		figures.Top = q.Top
		return c.topProducts(&figures)
	})
	if err != nil {
		return view.Stats{}, wrap(err, "stats")
	}
	return projections.AssembleStats(figures), nil
}

// topProducts adds the first f.Top by units and by amount of each currency.
func (c *conn) topProducts(f *projections.Figures) error {
	var currencies []string
	err := c.each(`SELECT DISTINCT currency FROM groupsets`, nil, func(r *sqlite3.Stmt) error {
		currencies = append(currencies, r.ColumnText(0))
		return nil
	})
	if err != nil {
		return err
	}
	for _, currency := range currencies {
		err := c.each(`WITH sold AS (SELECT sku, units, amount + millionths / 1000000 - (millionths % 1000000 < 0) AS whole,
				(millionths % 1000000 + 1000000) % 1000000 AS fraction FROM products WHERE currency = ?1)
			SELECT * FROM (SELECT * FROM sold WHERE units <> 0 OR whole <> 0 OR fraction <> 0 ORDER BY units DESC, sku LIMIT ?2)
			UNION SELECT * FROM (SELECT * FROM sold WHERE units <> 0 OR whole <> 0 OR fraction <> 0 ORDER BY whole DESC, fraction DESC, sku LIMIT ?2)`,
			[]any{currency, f.Top}, func(r *sqlite3.Stmt) error {
				f.Products = append(f.Products, projections.ProductFigure{
					Currency:   money.Currency(currency),
					ProductSum: projections.ProductSum{SKU: r.ColumnText(0), Units: r.ColumnInt64(1), Amount: r.ColumnInt64(2), Millionths: r.ColumnInt64(3)},
				})
				return nil
			})
		if err != nil {
			return err
		}
	}
	return nil
}
