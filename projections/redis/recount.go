package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docket-orders/docket/projections"
)

// Figures implements projections.Inspector: what all buckets have, added up. What
// is not of one customer or product is held in memory: as many rows as there are
// values of dimensions and days, and products, however many the orders.
func (s *Store) Figures(ctx context.Context, yield func(projections.Figure) error) (lanes []projections.Checkpoint, err error) {
	err = s.with(func() error {
		sums := map[projections.FigureKey][8]int64{}
		add := func(key projections.FigureKey, v [8]int64) {
			sum := sums[key]
			for i := range sum {
				sum[i] += v[i]
			}
			sums[key] = sum
		}
		err := s.buckets(ctx, func(b int) *call {
			return &call{script: &s.scripts.days, keys: s.keys.orders[b][sumsKey : daysKey+1], args: []any{s.nonce, "", ""}}
		}, func(b int, c *call) error {
			parts := list(c.reply)
			if len(parts) != 2 {
				return fmt.Errorf("bucket %d: unexpected answer", b)
			}
			in := newCounted()
			in.take(sumsKey, parts[0])
			in.take(daysKey, parts[1])
			in.each(func(m meaning, v [8]int64) { figuresOf(m, v, add) })
			for _, at := range in.strange {
				add(stray(at.describe(b), at.key, at.field, "").kept.FigureKey, [8]int64{1})
			}
			return nil
		})
		if err != nil {
			return err
		}
		products, err := s.products(ctx)
		if err != nil {
			return err
		}
		for at, sum := range products {
			p := sum.Normal()
			add(projections.FigureKey{Of: projections.FigureProduct, Currency: at.currency, Key: at.sku}, [8]int64{p.Units, p.Amount, p.Millionths})
		}
		for key, v := range sums {
			if v != [8]int64{} {
				if err := yield(projections.Figure{FigureKey: key, Values: v}); err != nil {
					return err
				}
			}
		}
		if err := s.customerFigures(ctx, yield); err != nil {
			return err
		}
		lanes, err = s.checkpoints(ctx)
		return err
	})
	if err != nil {
		return nil, wrap(err, "read figures")
	}
	return lanes, nil
}

// figuresOf a row of sums or days: one for each dimension.
func figuresOf(m meaning, v [8]int64, add func(projections.FigureKey, [8]int64)) {
	key := projections.FigureKey{Of: m.of, Currency: m.currency, Key: m.key, Day: m.day}
	switch {
	case m.ofAll:
		key.Dimension = projections.DimensionAll
		add(key, v)
	case m.of == projections.FigureMethod && !m.ofDays:
		add(key, v)
	case m.set != "":
		if m.ofDays {
			key.Day = projections.EveryDay
		}
		for _, g := range m.groups {
			key.Dimension, key.Key = g.Dimension, g.Key
			add(key, v)
		}
	}
}

func (s *Store) customerFigures(ctx context.Context, yield func(projections.Figure) error) error {
	return s.buckets(ctx, func(b int) *call {
		return &call{command: "HGETALL", keys: s.keys.customers[b][membersKey : membersKey+1]}
	}, func(_ int, c *call) error {
		for field, value := range fields(c.reply) {
			if len(field) == 0 || field[0] != 't' {
				continue
			}
			customer, currency := cutCustomer(field)
			m := miscountedTotals(customerCurrency{customer, currency}, value, "")
			if m.kept.Values == [8]int64{} {
				continue
			}
			if err := yield(m.kept); err != nil {
				return err
			}
		}
		return nil
	})
}

// Miscounted implements projections.SelfCounting. It also looks whether what is
// kept at customers is of orders that are theirs.
func (s *Store) Miscounted(ctx context.Context, yield func(kept, should projections.Figure) error) (compared int64, err error) {
	err = s.with(func() error {
		tell := func(wrong []miscount) error {
			for _, m := range wrong {
				if err := yield(m.kept, m.should); err != nil {
					return err
				}
			}
			return nil
		}
		err := s.buckets(ctx, s.wholeBucket, func(b int, c *call) error {
			wrong, n, _, err := orderBucket(b, c.reply)
			if err != nil {
				return err
			}
			compared += n
			return tell(wrong)
		})
		if err != nil {
			return err
		}
		var suspects []enrolled
		err = s.buckets(ctx, s.wholeCustomers, func(b int, c *call) error {
			wrong, n, members, _, err := customerBucket(b, c.reply)
			if err != nil {
				return err
			}
			compared += n
			more, err := s.disowned(ctx, members)
			suspects = append(suspects, more...)
			return errors.Join(err, tell(wrong))
		})
		if err != nil {
			return err
		}
		alien, err := s.alien(ctx, suspects)
		if err != nil {
			return err
		}
		for _, e := range alien {
			if err := tell([]miscount{stray(fmt.Sprintf("customer %s: has order %s, which is not theirs", e.customer, e.order), membersKey, "", "")}); err != nil {
				return err
			}
		}
		return nil
	})
	return compared, wrap(err, "compare what is counted")
}

func (s *Store) wholeBucket(b int) *call {
	return &call{script: &s.scripts.bucket, keys: s.keys.orders[b], args: []any{s.nonce}}
}

func (s *Store) wholeCustomers(b int) *call {
	return &call{script: &s.scripts.customers, keys: s.keys.customers[b], args: []any{s.nonce}}
}

const (
	// inFlight is for how long a customer may be ahead of an order's bucket while
	// a batch is written, before it is taken for a difference.
	inFlight = 2 * time.Second
	// lookAgain is how often it is looked at meanwhile.
	lookAgain = 50 * time.Millisecond
)

// alien are the members whose order is kept of another customer, or not at all. One
// that is just being written is not among them.
func (s *Store) alien(ctx context.Context, suspects []enrolled) (_ []enrolled, err error) {
	for deadline := time.Now().Add(inFlight); len(suspects) > 0; {
		if suspects, err = s.disowned(ctx, suspects); err != nil {
			return nil, err
		}
		if suspects, err = s.unchanged(ctx, suspects); err != nil || time.Now().After(deadline) {
			return suspects, err
		}
		if err := pause(ctx, lookAgain); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// disowned are those whose order does not say that it is the customer's.
func (s *Store) disowned(ctx context.Context, members []enrolled) (out []enrolled, err error) {
	var asked []*write
	for _, e := range members {
		asked = append(asked, &write{id: e.order})
	}
	if err := s.look(ctx, asked); err != nil {
		return nil, err
	}
	for i, e := range members {
		w := asked[i]
		if e.readable && e.member.mark || w.readable && w.kept.counted.Customer == e.customer {
			continue
		}
		if !w.readable && w.expected != "-" { // its head cannot be read: Inspect says so
			continue
		}
		out = append(out, e)
	}
	return out, nil
}

// unchanged are those that are still kept as they were.
func (s *Store) unchanged(ctx context.Context, members []enrolled) (out []enrolled, err error) {
	var calls []*call
	for _, e := range members {
		keys := s.keys.customers[bucketOf(e.customer)]
		calls = append(calls, &call{command: "HMGET", keys: keys[membersKey : membersKey+1], args: []any{mark, e.field()}})
	}
	if err := s.server.all(ctx, calls); err != nil {
		return nil, err
	}
	for i, e := range members {
		values := list(calls[i].reply)
		if len(values) != 2 || text(values[0]) != s.nonce {
			return nil, s.ours("", calls[i].keys[0])
		}
		if value, there := values[1].(string); there && value == e.value {
			out = append(out, e)
		}
	}
	return out, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Recount implements projections.Inspector, bucket by bucket, each in one step for
// readers and for the feeder. It also removes what is kept at customers of orders
// that are not theirs, before it counts them.
func (s *Store) Recount(ctx context.Context) (changed int, err error) {
	err = s.with(func() error {
		n, err := s.recountAll(ctx, s.wholeBucket, orderKinds, sumsKey, func(b int, reply any) ([]miscount, string, error) {
			wrong, _, version, err := orderBucket(b, reply)
			return wrong, version, err
		})
		if changed += n; err != nil {
			return err
		}
		var suspects []enrolled
		err = s.buckets(ctx, s.wholeCustomers, func(b int, c *call) error {
			_, _, members, _, err := customerBucket(b, c.reply)
			if err != nil {
				return err
			}
			more, err := s.disowned(ctx, members)
			suspects = append(suspects, more...)
			return err
		})
		if err != nil {
			return err
		}
		if suspects, err = s.alien(ctx, suspects); err != nil {
			return err
		}
		alien := map[string]string{}
		for _, e := range suspects {
			alien[e.field()] = e.value
		}
		if len(alien) > 0 {
			n, err := s.recountAll(ctx, s.wholeCustomers, customerKinds, countsKey, func(b int, reply any) ([]miscount, string, error) {
				_, _, members, version, err := customerBucket(b, reply)
				var wrong []miscount
				for _, e := range members {
					if value, ok := alien[e.field()]; ok && value == e.value {
						wrong = append(wrong, miscount{key: membersKey, field: e.field()})
					}
				}
				return wrong, version, err
			})
			if changed += n; err != nil {
				return err
			}
		}
		n, err = s.recountAll(ctx, s.wholeCustomers, customerKinds, countsKey, func(b int, reply any) ([]miscount, string, error) {
			wrong, _, _, version, err := customerBucket(b, reply)
			return wrong, version, err
		})
		changed += n
		return err
	})
	return changed, wrap(err, "recount")
}

// recountAll corrects every bucket. versionKey is the key that has its version.
func (s *Store) recountAll(ctx context.Context, look func(b int) *call, kinds string, versionKey int, compare func(b int, reply any) ([]miscount, string, error)) (changed int, err error) {
	err = s.buckets(ctx, look, func(b int, c *call) error {
		for range maxRounds {
			wrong, version, err := compare(b, c.reply)
			if err != nil || len(wrong) == 0 {
				return err
			}
			correct := &call{script: &s.scripts.correct, keys: c.keys, args: []any{s.nonce, kinds, versionKey + 1, version, newVersion()}}
			for _, m := range wrong {
				correct.args = append(correct.args, m.key+1, m.field, m.value)
			}
			if err := s.server.one(ctx, correct); err != nil {
				return err
			}
			if correct.reply == "OK" {
				changed += len(wrong)
				return nil
			}
			if err := s.server.one(ctx, c); err != nil { // it was written since: look again
				return err
			}
		}
		return fmt.Errorf("bucket %d: %w", b, errContended)
	})
	return changed, err
}
