package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
	"github.com/ncruces/go-sqlite3"
)

// fewRows is how many orders a filter may leave for it to be cheaper to fetch
// and sort them all than to walk the index of the sort past those that do not
// match.
const fewRows = 4000

// sorts says where the sort values are.
var sorts = map[query.SortBy]struct{ column, index string }{
	query.ByPlacedAt:  {"o.placed", "by_placed"},
	query.ByUpdatedAt: {"o.updated", "by_updated"},
	query.ByTotal:     {"o.total", "by_total"},
	query.ByNumber:    {"o.number", "by_number"},
}

// criterion is one condition of a question on the row o of orders. It can test
// a row, or lead the search: deliver the rows that meet it. The planner is not
// asked, since it knows nothing of the data and would guess.
type criterion struct {
	test string // on o
	args []any
	// lead is the FROM clause that delivers the rows. Where it begins with a set
	// of them, named here, it tests by itself, and test is not repeated.
	lead string
	set  string
	// counted asks how many rows lead delivers where that is known without
	// looking at them.
	counted string
	rows    int64 // that lead delivers; above fewRows: many
}

// Orders implements query.Views: page, total and facets in one transaction.
func (s *Store) Orders(ctx context.Context, q query.Question) (query.Page, error) {
	page := query.Page{Items: []view.Order{}}
	err := s.read(ctx, func(c *conn) error {
		shapes, shapeArgs := shapeFilter(q)
		criteria := rowCriteria(q)
		onlyShapes := len(criteria) == 0
		if shapes != "" {
			criteria = append(criteria, criterion{
				test: `o.shape IN (SELECT id FROM shapes WHERE ` + shapes + `)`, args: shapeArgs,
				lead:    `orders o INDEXED BY by_shape`,
				counted: `SELECT coalesce(sum(orders), 0) FROM shapes WHERE ` + shapes,
			})
		}
		lead, err := c.lead(criteria)
		if err != nil {
			return err
		}
		if page.Next, err = c.page(q, criteria, lead, &page.Items); err != nil {
			return err
		}
		if len(q.Facets) == 0 && len(criteria) == 1 && (onlyShapes || criteria[0].rows <= fewRows) {
			if !q.WithoutTotal {
				page.Total = criteria[0].rows
			}
			return nil
		}
		if onlyShapes {
			return c.tally(q, `SELECT orders, `+shapeColumns+` FROM shapes WHERE orders > 0 AND `+cmp.Or(shapes, "1"), shapeArgs, &page)
		}
		from, where, args := clauses(criteria, lead)
		if len(q.Facets) == 0 {
			if q.WithoutTotal {
				return nil
			}
			if len(criteria) == 1 && criteria[0].set != "" {
				from = criteria[0].set // the orders need not be looked at
			}
			page.Total, err = c.number(`SELECT count(*) FROM `+from+` WHERE `+where, args...)
			return err
		}
		return c.tally(q, `SELECT matched, `+shapeColumns+` FROM
			(SELECT o.shape AS shape, count(*) AS matched FROM `+from+` WHERE `+where+` GROUP BY o.shape) CROSS JOIN shapes s ON s.id = shape`, args, &page)
	})
	if err != nil {
		return query.Page{}, wrap(err, "list orders")
	}
	return page, nil
}

// lead chooses the criterion that leaves the fewest rows; -1 without criteria.
// Counting stops at fewRows.
func (c *conn) lead(criteria []criterion) (best int, err error) {
	best = -1
	for i := range criteria {
		cr := &criteria[i]
		if cr.counted != "" {
			cr.rows, err = c.number(cr.counted, cr.args...)
		} else {
			from, where, args := clauses(criteria[i:i+1], 0)
			cr.rows, err = c.number(`SELECT count(*) FROM (SELECT 1 FROM `+from+` WHERE `+where+` LIMIT ?)`, append(slices.Clone(args), fewRows+1)...)
		}
		if err != nil {
			return 0, err
		}
		if best < 0 || cr.rows < criteria[best].rows {
			best = i
		}
	}
	return best, nil
}

// clauses of a statement about the orders that meet all criteria.
func clauses(criteria []criterion, lead int) (from, where string, args []any) {
	from, where = `orders o`, `1`
	if lead >= 0 {
		from = criteria[lead].lead
		if criteria[lead].set != "" {
			args = append(args, criteria[lead].args...)
		}
	}
	for i, cr := range criteria {
		if i == lead && cr.set != "" {
			continue
		}
		where += ` AND ` + cr.test
		args = append(args, cr.args...)
	}
	return from, where, args
}

// page reads the documents of one page and answers the key of the next.
func (c *conn) page(q query.Question, criteria []criterion, lead int, items *[]view.Order) (*query.Key, error) {
	sort, ok := sorts[q.Sort.By]
	if !ok {
		return nil, fmt.Errorf("unknown sort %q", q.Sort.By)
	}
	limit := q.Limit
	if limit < 1 || limit > query.MaxLimit {
		return nil, fmt.Errorf("limit %d is not 1 to %d", limit, query.MaxLimit)
	}
	if lead < 0 || criteria[lead].rows > fewRows {
		lead = -1
	}
	from, where, args := clauses(criteria, lead)
	if lead < 0 {
		from = `orders o INDEXED BY ` + sort.index
	}
	direction, beyond := ``, `>`
	if q.Sort.Desc {
		direction, beyond = ` DESC`, `<`
	}
	if q.After != nil {
		where += ` AND (` + sort.column + `, o.id) ` + beyond + ` (?, ?)`
		if q.Sort.By == query.ByNumber {
			args = append(args, q.After.Text, q.After.ID)
		} else {
			args = append(args, q.After.Int, q.After.ID)
		}
	}
	args = append(args, limit+1)
	var rows []int64
	var last query.Key // of the last row of this page
	more := false
	err := c.each(`SELECT o.n, o.id, `+sort.column+` FROM `+from+` WHERE `+where+
		` ORDER BY `+sort.column+direction+`, o.id`+direction+` LIMIT ?`, args, func(r *sqlite3.Stmt) error {
		if len(rows) == limit {
			more = true
			return nil
		}
		rows = append(rows, r.ColumnInt64(0))
		if len(rows) < limit {
			return nil
		}
		last = query.Key{ID: r.ColumnText(1)}
		if q.Sort.By == query.ByNumber {
			last.Text = r.ColumnText(2)
		} else {
			last.Int = r.ColumnInt64(2)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	*items = make([]view.Order, len(rows))
	for i, n := range rows {
		err := c.each(`SELECT document FROM docs WHERE n = ?`, []any{n}, func(r *sqlite3.Stmt) error {
			return decode(r.ColumnRawBlob(0), &(*items)[i])
		})
		if err != nil {
			return nil, err
		}
	}
	if !more {
		return nil, nil
	}
	return &last, nil
}

// tally fills total and facets from rows of a number of orders and the columns
// of their shape.
func (c *conn) tally(q query.Question, sql string, args []any, page *query.Page) error {
	if len(q.Facets) == 0 {
		if q.WithoutTotal {
			return nil
		}
		var err error
		page.Total, err = c.number(`SELECT coalesce(sum(orders), 0) FROM (`+sql+`)`, args...)
		return err
	}
	columns := strings.Split(shapeColumns, ", ")
	// What is stored is counted first, and read afterwards: lists repeat.
	stored := make(map[string]map[string]*int64, len(q.Facets))
	for _, facet := range q.Facets {
		stored[facet] = map[string]*int64{}
	}
	err := c.each(sql, args, func(r *sqlite3.Stmt) error {
		n := r.ColumnInt64(0)
		page.Total += n
		for i, facet := range columns {
			count, asked := stored[facet]
			if !asked {
				continue
			}
			text := r.ColumnRawText(i + 1)
			if sum := count[string(text)]; sum != nil {
				*sum += n
			} else {
				first := n
				count[string(text)] = &first
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if q.WithoutTotal {
		page.Total = 0
	}
	page.Facets = make(map[string][]query.Count, len(stored))
	for facet, texts := range stored {
		values := map[string]int64{}
		for text, n := range texts {
			all := []string{text}
			if facet == "tag" || facet == "anomaly" {
				if err := json.Unmarshal([]byte(text), &all); err != nil {
					return fmt.Errorf("stored %ss are not readable (%w): %s", facet, err, rebuild)
				}
			}
			for _, v := range all {
				values[v] += *n
			}
		}
		list := make([]query.Count, 0, len(values))
		for value, n := range values {
			if value != "" { // nothing is not a value
				list = append(list, query.Count{Value: value, Count: n})
			}
		}
		slices.SortFunc(list, func(a, b query.Count) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
		})
		page.Facets[facet] = list
	}
	return nil
}

// shapeFilter is the conditions of a question on the table shapes; empty when
// there are none.
func shapeFilter(q query.Question) (where string, args []any) {
	var tests []string
	add := func(test string, values []string) {
		if len(values) > 0 {
			tests, args = append(tests, test), append(args, list(values))
		}
	}
	for _, f := range []struct {
		column string
		values []string
	}{
		{"status", q.Status}, {"paymentStatus", q.PaymentStatus}, {"fulfilmentStatus", q.FulfilmentStatus},
		{"kind", q.Kind}, {"source", q.Source}, {"currency", q.Currency}, {"country", q.Country}, {"state", q.State},
	} {
		add(f.column+` IN (SELECT value FROM json_each(?))`, f.values)
	}
	add(`EXISTS (SELECT 1 FROM json_each(tag) t WHERE t.value IN (SELECT value FROM json_each(?)))`, q.Tag)
	add(`EXISTS (SELECT 1 FROM json_each(anomaly) t WHERE t.value IN (SELECT value FROM json_each(?)))`, q.Anomaly)
	for _, bound := range []*money.Amount{q.MinTotal, q.MaxTotal} {
		if bound != nil {
			add(`currency IN (SELECT value FROM json_each(?))`, []string{string(bound.Currency())})
		}
	}
	return strings.Join(tests, ` AND `), args
}

// rowCriteria is the conditions of a question on single orders, those that tend
// to leave the fewest first.
func rowCriteria(q query.Question) []criterion {
	var out []criterion
	oneOf := func(column, index string, values []string) {
		if len(values) > 0 {
			out = append(out, criterion{
				test: column + ` IN (SELECT value FROM json_each(?))`, args: []any{list(values)},
				lead: `orders o INDEXED BY ` + index,
			})
		}
	}
	inSet := func(rows string, arg string) {
		set := `(` + rows + `) d`
		out = append(out, criterion{
			test: `o.n IN (` + rows + `)`, args: []any{arg},
			lead: set + ` CROSS JOIN orders o ON o.n = d.n`, set: set,
		})
	}
	between := func(column, index string, from, to any) {
		cr := criterion{lead: `orders o INDEXED BY ` + index}
		if from != nil {
			cr.test, cr.args = column+` >= ?`, append(cr.args, from)
		}
		if to != nil {
			cr.test, cr.args = strings.TrimPrefix(cr.test+` AND `+column+` < ?`, ` AND `), append(cr.args, to)
		}
		if cr.args != nil {
			out = append(out, cr)
		}
	}
	oneOf("o.id", "by_id", q.IDs)
	oneOf("o.customer", "by_customer", q.Customer)
	if len(q.SKU) > 0 {
		inSet(`SELECT DISTINCT n FROM skus WHERE sku IN (SELECT value FROM json_each(?))`, list(q.SKU))
	}
	if len(q.Words) > 0 {
		inSet(`SELECT rowid AS n FROM fts WHERE fts MATCH ?`, match(q.Words))
	}
	between("o.placed", "by_placed", instant(q.PlacedFrom), instant(q.PlacedTo))
	between("o.updated", "by_updated", instant(q.UpdatedFrom), instant(q.UpdatedTo))
	between("o.delivered", "by_delivered", instant(q.DeliveredFrom), instant(q.DeliveredTo))
	var least, most any
	if q.MinTotal != nil {
		least = q.MinTotal.MinorUnits()
	}
	if q.MaxTotal != nil {
		most = q.MaxTotal.MinorUnits() + 1
	}
	between("o.total", "by_total", least, most)
	return out
}

// match is the FTS5 query for all of the words, each quoted.
func match(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = `"` + strings.ReplaceAll(w, `"`, `""`) + `"`
	}
	return strings.Join(quoted, ` AND `)
}

// instant is a bound in microseconds, rounded up: stored times have no more
// decimals, so that both "at or after" and "before" stay true.
func instant(t *time.Time) any {
	if t == nil {
		return nil
	}
	n := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		n++
	}
	return n
}
