package sqlite

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/docket-orders/docket/projections"
)

// wholeDay is the day of the sums over all days. It sorts before every day.
const wholeDay = "*"

// groupset is a combination of counted groups in use; groups is a sorted JSON
// array, "[]" for the sums over all documents.
type groupset struct{ currency, groups string }

// deltas is what a batch changes in the counters.
type deltas struct {
	shapes    map[int64]int64
	sums      map[sumKey]projections.Sums
	methods   map[methodKey]projections.MethodSum
	products  map[productKey]projections.ProductSum
	customers map[customerKey]projections.Sums
}

type (
	sumKey struct {
		groupset
		day string
	}
	methodKey   struct{ currency, method, day string }
	productKey  struct{ currency, sku string }
	customerKey struct{ customer, currency string }
)

// orders changes the number of orders of a shape.
func (d *deltas) orders(shapeID, by int64) {
	if d.shapes == nil {
		d.shapes = map[int64]int64{}
	}
	d.shapes[shapeID] += by
}

// count adds a contribution (sign 1) or takes it off (sign -1). One without a
// currency is of a document that was never placed, and counts for nothing.
func (d *deltas) count(c projections.Contribution, sign int64) {
	if c.Currency == "" {
		return
	}
	if d.sums == nil {
		d.sums = map[sumKey]projections.Sums{}
		d.methods = map[methodKey]projections.MethodSum{}
		d.products = map[productKey]projections.ProductSum{}
		d.customers = map[customerKey]projections.Sums{}
	}
	currency, sums := string(c.Currency), c.Sums
	if sign < 0 {
		sums = projections.Sums{}.Minus(sums)
	}
	add := func(groups, day string) {
		key := sumKey{groupset{currency, groups}, day}
		d.sums[key] = d.sums[key].Plus(sums)
	}
	add("[]", c.Day)
	if len(c.Groups) > 0 {
		groups := encodeGroups(c.Groups)
		add(groups, c.Day)
		add(groups, wholeDay)
	}
	for _, m := range c.Methods {
		key := methodKey{currency, m.Method, c.Day}
		old := d.methods[key]
		d.methods[key] = projections.MethodSum{Payments: old.Payments + sign*m.Payments, Captured: old.Captured + sign*m.Captured}
	}
	for _, p := range c.Products {
		key := productKey{currency, p.SKU}
		old := d.products[key]
		d.products[key] = old.Plus(p, sign)
	}
	if c.Customer != "" {
		key := customerKey{c.Customer, currency}
		d.customers[key] = d.customers[key].Plus(sums)
	}
}

func encodeGroups(groups []projections.Group) string {
	sorted := slices.SortedFunc(slices.Values(groups), func(a, b projections.Group) int {
		return cmp.Or(cmp.Compare(a.Dimension, b.Dimension), cmp.Compare(a.Key, b.Key))
	})
	data, err := json.Marshal(sorted)
	if err != nil {
		panic(err) // strings always encode
	}
	return string(data)
}

// flush writes what was added up. A row that comes down to nothing stays: its
// key is likely to come again, and questions leave it out.
func (w *writing) flush() error {
	for id, by := range w.deltas.shapes {
		if by == 0 {
			continue
		}
		if err := w.exec(`UPDATE shapes SET orders = orders + ? WHERE id = ?`, by, id); err != nil {
			return err
		}
	}
	for key, s := range w.deltas.sums {
		if s == (projections.Sums{}) {
			continue
		}
		id, err := w.groupsetID(key.groupset)
		if err != nil {
			return err
		}
		err = w.exec(`INSERT INTO sums (groupset, day, orders, lines, units, items, shipping, grand, paid, rounding)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
			orders = orders + excluded.orders, lines = lines + excluded.lines, units = units + excluded.units,
			items = items + excluded.items, shipping = shipping + excluded.shipping, grand = grand + excluded.grand,
			paid = paid + excluded.paid, rounding = rounding + excluded.rounding`,
			id, key.day, s.Orders, s.Lines, s.Units, s.Items, s.Shipping, s.Grand, s.Paid, s.Rounding)
		if err != nil {
			return err
		}
	}
	for key, m := range w.deltas.methods {
		if m == (projections.MethodSum{}) {
			continue
		}
		err := w.exec(`INSERT INTO methods (currency, method, day, payments, captured) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET payments = payments + excluded.payments, captured = captured + excluded.captured`,
			key.currency, key.method, key.day, m.Payments, m.Captured)
		if err != nil {
			return err
		}
	}
	for key, p := range w.deltas.products {
		if p == (projections.ProductSum{}) {
			continue
		}
		err := w.exec(`INSERT INTO products (currency, sku, units, amount, millionths) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET units = units + excluded.units, amount = amount + excluded.amount, millionths = millionths + excluded.millionths`,
			key.currency, key.sku, p.Units, p.Amount, p.Millionths)
		if err != nil {
			return err
		}
	}
	for key, s := range w.deltas.customers {
		if s == (projections.Sums{}) {
			continue
		}
		err := w.exec(`INSERT INTO customers (customer, currency, orders, items, grand, paid, rounding) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET orders = orders + excluded.orders, items = items + excluded.items,
			grand = grand + excluded.grand, paid = paid + excluded.paid, rounding = rounding + excluded.rounding`,
			key.customer, key.currency, s.Orders, s.Items, s.Grand, s.Paid, s.Rounding)
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) groupsetID(g groupset) (int64, error) {
	if id, ok := w.groupsets[g]; ok {
		return id, nil
	}
	id, err := w.identify(`SELECT id FROM groupsets WHERE currency = ? AND groups = ?`,
		`INSERT INTO groupsets (currency, groups) VALUES (?, ?)`, g.currency, g.groups)
	w.groupsets[g] = id
	return id, err
}
