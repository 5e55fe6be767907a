package redis

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
)

// A bucket's rows, each a field with sums as pack writes them:
//
//	sums      "a" currency 0 day              8 sums over all documents of a day
//	          "g" groupset                    8 sums over all days; behind them
//	                                          currency 0 groups
//	          "m" currency 0 method           payments, captured over all days
//	days      day 0 "g" groupset              8 sums
//	          day 0 "m" currency 0 method     payments, captured
//	products  currency 0 SKU                  units, amount, millionths
//
// A groupset is the combination of groups that a document counts in, in one
// currency, as 12 bytes of SHA-256: most documents of a bucket share a few, and
// one row stands for all dimensions. Rows of nothing are not kept.

type rowKey struct {
	key   int // docsKey and so on
	field string
}

type row struct {
	values [8]int64
	n      int    // how many of them the row has
	suffix string // behind them
}

// rows of one bucket: what is there, what should be, or what changes.
type rows struct {
	of       map[rowKey]*row
	overflow bool // a sum left 64 bits
}

func newRows() *rows { return &rows{of: map[rowKey]*row{}} }

// add adds sign times values; sign is 1 or -1.
func (r *rows) add(key int, field, suffix string, sign int64, values ...int64) {
	at := rowKey{key, field}
	sum := r.of[at]
	if sum == nil {
		sum = &row{n: len(values), suffix: suffix}
		r.of[at] = sum
	}
	for i, v := range values {
		ok, fits := true, true
		if sign < 0 {
			v, ok = minus(v)
		}
		sum.values[i], fits = plus(sum.values[i], v)
		r.overflow = r.overflow || !ok || !fits
	}
}

// count adds a contribution (sign 1) or takes it off (sign -1). One without a
// currency is of a document that was never placed, and counts for nothing.
func (r *rows) count(c projections.Contribution, sign int64) {
	if c.Currency == "" {
		return
	}
	currency, sums := string(c.Currency)+"\x00", sumsOf(c.Sums)
	r.add(sumsKey, "a"+currency+c.Day, "", sign, sums...)
	if len(c.Groups) > 0 {
		set, meaning := groupset(currency, c.Groups)
		r.add(sumsKey, "g"+set, meaning, sign, sums...)
		r.add(daysKey, c.Day+"\x00g"+set, "", sign, sums...)
	}
	for _, m := range c.Methods {
		r.add(sumsKey, "m"+currency+m.Method, "", sign, m.Payments, m.Captured)
		r.add(daysKey, c.Day+"\x00m"+currency+m.Method, "", sign, m.Payments, m.Captured)
	}
	for _, p := range c.Products {
		r.add(productsKey, currency+p.SKU, "", sign, p.Units, p.Amount, p.Millionths)
	}
}

func groupset(currency string, groups []projections.Group) (set, meaning string) {
	sorted := slices.SortedFunc(slices.Values(groups), func(a, b projections.Group) int {
		return cmp.Or(cmp.Compare(a.Dimension, b.Dimension), cmp.Compare(a.Key, b.Key))
	})
	meaning = string(appendGroups([]byte(currency), sorted))
	sum := sha256.Sum256([]byte(meaning))
	return string(sum[:12]), meaning
}

// changed are the rows that change anything, for the end of a script's arguments.
func (r *rows) changed() (args []any) {
	for _, at := range slices.SortedFunc(maps.Keys(r.of), compareRows) {
		if row := r.of[at]; row.values != [8]int64{} {
			args = append(args, at.key+1, at.field, pack(row.values[:row.n]), row.suffix)
		}
	}
	return args
}

func compareRows(a, b rowKey) int { return cmp.Or(a.key-b.key, cmp.Compare(a.field, b.field)) }

// meaning is a row as the questions see it.
type meaning struct {
	of            projections.FigureOf
	n             int // of values
	currency      money.Currency
	day, key      string              // key: method or SKU
	groups        []projections.Group // of a groupset
	set           string              // of a groupset, to be looked up; empty where groups are known
	ofAll, ofDays bool                // over all documents; over all days
}

// read says what a row means; ok is false for what docket does not write.
func read(at rowKey, value string) (m meaning, values [8]int64, ok bool) {
	field := at.field
	if at.key == daysKey {
		m.day, field, ok = strings.Cut(field, "\x00")
		if !ok {
			return m, values, false
		}
	}
	m.n, m.ofDays = 8, at.key != daysKey
	form, rest := "p", field
	if at.key != productsKey {
		if field == "" {
			return m, values, false
		}
		form, rest = field[:1], field[1:]
	}
	m.of = projections.FigureSums
	switch form {
	case "a":
		m.ofAll, m.ofDays = true, false
		m.currency, m.day, ok = cutCurrency(rest)
		ok = ok && at.key == sumsKey
	case "g":
		m.set, ok = rest, len(rest) == 12
	case "m":
		m.of, m.n = projections.FigureMethod, 2
		m.currency, m.key, ok = cutCurrency(rest)
	case "p":
		m.of, m.n = projections.FigureProduct, 3
		m.currency, m.key, ok = cutCurrency(rest)
	}
	values, suffix, fits := unpack(value, m.n)
	if form == "g" && at.key == sumsKey && ok && fits {
		currency, groups, found := cutCurrency(suffix)
		r := &reader{rest: []byte(groups)}
		m.currency, m.groups = currency, r.groups()
		sum := sha256.Sum256([]byte(suffix))
		ok = found && !r.failed && len(r.rest) == 0 && string(sum[:12]) == m.set
		suffix = ""
	}
	return m, values, ok && fits && suffix == ""
}

func cutCurrency(text string) (c money.Currency, rest string, ok bool) {
	currency, rest, ok := strings.Cut(text, "\x00")
	return money.Currency(currency), rest, ok
}

// counted is what one bucket has in one or more of sums, days and products.
type counted struct {
	rows    map[rowKey]string
	sets    map[string]meaning // of groupsets
	strange []rowKey           // rows that docket does not write
}

func newCounted() *counted {
	return &counted{rows: map[rowKey]string{}, sets: map[string]meaning{}}
}

// take reads a hash.
func (c *counted) take(key int, reply any) {
	hash := fields(reply)
	for field, value := range hash {
		if strings.HasPrefix(field, "!") {
			continue
		}
		at := rowKey{key, field}
		c.rows[at] = value
		if key == sumsKey && strings.HasPrefix(field, "g") {
			if m, _, ok := read(at, value); ok {
				c.sets[m.set] = m
			}
		}
	}
}

// each hands over the rows that can be read.
func (c *counted) each(do func(m meaning, values [8]int64)) {
	for at, value := range c.rows {
		m, values, ok := read(at, value)
		if ok && m.set != "" && m.groups == nil {
			set, known := c.sets[m.set]
			m.currency, m.groups, ok = set.currency, set.groups, known
		}
		if !ok {
			c.strange = append(c.strange, at)
			continue
		}
		do(m, values)
	}
}

// describe says which row it is, in words.
func (k rowKey) describe(bucket int) string {
	name := [...]string{docsKey: "docs", idsKey: "ids", sumsKey: "sums", daysKey: "days", productsKey: "products"}[k.key]
	return clean(fmt.Sprintf("bucket %d: %s: %q", bucket, name, k.field))
}
