package systemtest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// difference is what another program does to the views of a docket, with $n and
// $other the rows of two orders, and $offset a number.
type difference struct {
	name string
	sql  []string
}

// edited is a document in which one field has another value.
func edited(field, value string) string {
	return "CAST(json_set(CAST(document AS TEXT), '$." + field + "', " + value + ") AS BLOB)"
}

var differences = []difference{
	{"a field of a document", []string{`UPDATE docs SET document = ` + edited("customer.name", "'Nobody'") + ` WHERE n = $n`}},
	{"an older revision", []string{
		`UPDATE docs SET document = ` + edited("revision", "(SELECT max(revision - 1, 0) FROM orders WHERE n = $n)") + ` WHERE n = $n`,
		`UPDATE orders SET revision = max(revision - 1, 0) WHERE n = $n`,
	}},
	{"a revision ahead", []string{
		`UPDATE docs SET document = ` + edited("revision", "(SELECT revision + 3 FROM orders WHERE n = $n)") + ` WHERE n = $n`,
		`UPDATE orders SET revision = revision + 3 WHERE n = $n`,
	}},
	{"a missing order", []string{`DELETE FROM docs WHERE n = $n`, `DELETE FROM orders WHERE n = $n`}},
	{"an order without a document", []string{`DELETE FROM docs WHERE n = $n`}},
	{"an orphan", []string{
		`INSERT OR IGNORE INTO orders SELECT (SELECT max(n) + 1 FROM orders), id || '-orphan', revision, shape,
			placed, updated, delivered, total, number, customer, words FROM orders WHERE n = $n`,
		`INSERT OR IGNORE INTO docs SELECT (SELECT max(n) FROM orders), contribution, skus, ` +
			edited("id", "(SELECT id || '-orphan' FROM orders WHERE n = $n)") + ` FROM docs WHERE n = $n`,
	}},
	{"a contribution", []string{`UPDATE docs SET contribution = coalesce((SELECT contribution FROM docs WHERE n = $other), contribution) WHERE n = $n`}},
	{"a sum", []string{`UPDATE sums SET orders = orders + 1, grand = grand - 5
		WHERE (groupset, day) IN (SELECT groupset, day FROM sums LIMIT 1 OFFSET $offset % (SELECT count(*) FROM sums))`}},
	{"a customer's total", []string{`UPDATE customers SET grand = grand + 100
		WHERE (customer, currency) IN (SELECT customer, currency FROM customers LIMIT 1 OFFSET $offset % (SELECT count(*) FROM customers))`}},
	{"a missing customer", []string{`DELETE FROM customers
		WHERE (customer, currency) IN (SELECT customer, currency FROM customers LIMIT 1 OFFSET $offset % (SELECT count(*) FROM customers))`}},
	{"a product's units", []string{`UPDATE products SET units = units + 1
		WHERE (currency, sku) IN (SELECT currency, sku FROM products LIMIT 1 OFFSET $offset % (SELECT count(*) FROM products))`}},
}

// plant makes count differences in the views of the folder data, in one
// transaction, while docket runs or not, and says which.
func plant(data string, rng *rand.Rand, count int) (planted []string, err error) {
	files, err := filepath.Glob(filepath.Join(data, "views", "orders-*.db"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("look for the views: %v, %w", files, err)
	}
	// The last one made is in force; the one before is kept for a way back.
	inForce := slices.MaxFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(inForce))
	if err != nil {
		return nil, fmt.Errorf("open the views: %w", err)
	}
	defer conn.Close()
	if err := conn.BusyTimeout(30 * time.Second); err != nil {
		return nil, err
	}
	tx, err := conn.BeginImmediate()
	if err != nil {
		return nil, fmt.Errorf("write to the views: %w", err)
	}
	defer tx.End(&err)
	orders, err := numbers(conn, `SELECT n FROM orders`)
	if err != nil || len(orders) == 0 {
		return nil, err
	}
	for range count {
		d := pick(rng, differences...)
		values := map[string]int64{"$n": pick(rng, orders...), "$other": pick(rng, orders...), "$offset": rng.Int64N(1e6)}
		for _, sql := range d.sql {
			if err := execute(conn, sql, values); err != nil {
				return nil, fmt.Errorf("plant %s: %w", d.name, err)
			}
		}
		planted = append(planted, d.name)
	}
	return planted, nil
}

func numbers(conn *sqlite3.Conn, sql string) (all []int64, err error) {
	rows, _, err := conn.Prepare(sql)
	if err != nil {
		return nil, err
	}
	for rows.Step() {
		all = append(all, rows.ColumnInt64(0))
	}
	return all, errors.Join(rows.Err(), rows.Close())
}

// execute runs one statement with those of the values that it names.
func execute(conn *sqlite3.Conn, sql string, values map[string]int64) error {
	statement, _, err := conn.Prepare(sql)
	if err != nil {
		return err
	}
	for name, value := range values {
		if at := statement.BindIndex(name); at > 0 {
			err = errors.Join(err, statement.BindInt64(at, value))
		}
	}
	if err != nil {
		return errors.Join(err, statement.Close())
	}
	return errors.Join(statement.Exec(), statement.Close())
}
