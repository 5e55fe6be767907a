package redis

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// bucketsAtOnce bounds the buckets whose rows are in memory at a time.
const bucketsAtOnce = 64

// Stats implements query.Hot. Each bucket is read at an instant of its own. What
// another program left in place of a row is passed over, until a recount.
func (s *Store) Stats(ctx context.Context, q query.StatsQuestion) (stats view.Stats, err error) {
	err = s.with(func() error {
		ranged := q.From != "" || q.To != ""
		t := newTally(func(day string) bool { return (q.From == "" || day >= q.From) && (q.To == "" || day <= q.To) }, !ranged)
		err := s.buckets(ctx, func(b int) *call {
			if ranged {
				return &call{script: &s.scripts.days, keys: s.keys.orders[b][sumsKey : daysKey+1], args: []any{s.nonce, q.From, q.To}}
			}
			return &call{command: "HGETALL", keys: s.keys.orders[b][sumsKey : sumsKey+1]}
		}, func(_ int, c *call) error {
			in := newCounted()
			if parts := list(c.reply); ranged && len(parts) == 2 {
				in.take(sumsKey, parts[0])
				in.take(daysKey, parts[1])
			} else {
				in.take(sumsKey, c.reply)
			}
			in.each(t.take)
			return nil
		})
		if err != nil {
			return err
		}
		f := t.figures()
		if !ranged {
			if f.Customers, err = s.countCustomers(ctx); err != nil {
				return err
			}
			if f.Top = q.Top; q.Top > 0 {
				if f.Products, err = s.top.products(ctx, s); err != nil {
					return err
				}
			}
		}
		stats = projections.AssembleStats(f)
		return nil
	})
	return stats, wrap(err, "stats")
}

// buckets makes a call of every bucket, and hands over the answers in order. Plain
// commands that read a whole hash have its nonce looked for.
func (s *Store) buckets(ctx context.Context, make func(b int) *call, take func(b int, c *call) error) error {
	for from := 0; from < Buckets; from += bucketsAtOnce {
		var calls []*call
		for b := range bucketsAtOnce {
			calls = append(calls, make(from+b))
		}
		if err := s.server.all(ctx, calls); err != nil {
			return err
		}
		for b, c := range calls {
			if c.command == "HGETALL" {
				if err := s.ours(fields(c.reply)[mark], c.keys[0]); err != nil {
					return err
				}
			}
			if err := take(from+b, c); err != nil {
				return err
			}
			c.reply = nil
		}
	}
	return nil
}

// tally adds up the rows of all buckets that a question is about.
type tally struct {
	inside  func(day string) bool
	allDays bool // rows over all days rather than those of days
	days    map[projections.Counter]projections.Sums
	sets    map[string]*setSums
	methods map[methodKey]projections.MethodSum
}

type setSums struct {
	meaning
	sums projections.Sums
}

type methodKey struct {
	currency money.Currency
	method   string
}

func newTally(inside func(day string) bool, allDays bool) *tally {
	return &tally{inside, allDays, map[projections.Counter]projections.Sums{}, map[string]*setSums{}, map[methodKey]projections.MethodSum{}}
}

func (t *tally) take(m meaning, v [8]int64) {
	switch {
	case !m.ofDays && !t.inside(m.day):
	case m.ofAll:
		at := projections.Counter{Currency: m.currency, Dimension: projections.DimensionAll, Day: m.day}
		t.days[at] = t.days[at].Plus(sumsFrom(v))
	case m.ofDays != t.allDays:
	case m.of == projections.FigureMethod:
		at := methodKey{m.currency, m.key}
		sum := t.methods[at]
		t.methods[at] = projections.MethodSum{Payments: sum.Payments + v[0], Captured: sum.Captured + v[1]}
	case m.set != "":
		set := t.sets[m.set]
		if set == nil {
			set = &setSums{meaning: m}
			t.sets[m.set] = set
		}
		set.sums = set.sums.Plus(sumsFrom(v))
	}
}

func (t *tally) figures() (f projections.Figures) {
	for at, sums := range t.days {
		at.Sums = sums
		f.Counters = append(f.Counters, at)
	}
	for _, set := range t.sets {
		for _, g := range set.groups {
			f.Counters = append(f.Counters, projections.Counter{Currency: set.currency, Dimension: g.Dimension, Key: g.Key, Sums: set.sums})
		}
	}
	for at, sum := range t.methods {
		sum.Method = at.method
		f.Methods = append(f.Methods, projections.MethodFigure{Currency: at.currency, MethodSum: sum})
	}
	return f
}

// countCustomers adds up the customers with orders.
func (s *Store) countCustomers(ctx context.Context) (map[money.Currency]int64, error) {
	sum := map[money.Currency]int64{}
	err := s.buckets(ctx, func(b int) *call {
		return &call{command: "HGETALL", keys: s.keys.customers[b][countsKey : countsKey+1]}
	}, func(_ int, c *call) error {
		for field, value := range fields(c.reply) {
			if v, rest, ok := unpack(value, 1); ok && rest == "" && !strings.HasPrefix(field, "!") {
				sum[money.Currency(field)] += v[0]
			}
		}
		return nil
	})
	return sum, err
}

// topAge is how old the list of products may be that top products come from.
const topAge = time.Second

// topList is the products of all buckets, merged.
type topList struct {
	mu      sync.Mutex
	read    time.Time
	merged  []projections.ProductFigure
	current bool
}

func (t *topList) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current = false
}

// products are all products. Those who ask while it is read wait for the one list.
func (t *topList) products(ctx context.Context, s *Store) ([]projections.ProductFigure, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current && time.Since(t.read) < topAge {
		return t.merged, nil
	}
	began := time.Now()
	sums, err := s.products(ctx)
	if err != nil {
		return nil, fmt.Errorf("products: %w", err)
	}
	merged := make([]projections.ProductFigure, 0, len(sums))
	for at, sum := range sums {
		merged = append(merged, projections.ProductFigure{Currency: at.currency, ProductSum: sum})
	}
	t.merged, t.read, t.current = merged, began, true
	return merged, nil
}

type productKey struct {
	currency money.Currency
	sku      string
}

func (s *Store) products(ctx context.Context) (map[productKey]projections.ProductSum, error) {
	sums := map[productKey]projections.ProductSum{}
	err := s.buckets(ctx, func(b int) *call {
		return &call{command: "HGETALL", keys: s.keys.orders[b][productsKey : productsKey+1]}
	}, func(_ int, c *call) error {
		in := newCounted()
		in.take(productsKey, c.reply)
		in.each(func(m meaning, v [8]int64) {
			at := productKey{m.currency, m.key}
			sum := sums[at]
			sum.SKU = m.key
			sums[at] = sum.Plus(projections.ProductSum{Units: v[0], Amount: v[1], Millionths: v[2]}, 1)
		})
		return nil
	})
	return sums, err
}
