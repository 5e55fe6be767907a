package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/docket-orders/docket/projections"
)

const (
	// callOrders and callBytes bound one call on one bucket, for which Redis does
	// nothing else: a few milliseconds. A single document may be larger.
	callOrders = 128
	callBytes  = 1 << 20
	// mostRemembered: a batch of more orders is of a build, whose orders have no next
	// event soon.
	mostRemembered = 1024
	// maxRounds bounds how often a batch is compared anew because what is kept
	// keeps changing under it. A lane has one owner: twice is rare.
	maxRounds = 50
)

var errContended = errors.New("what is kept keeps changing: does another program write?")

// Write implements projections.Sink. Every bucket's part of the batch is one call,
// or a few; all of them go in a few round trips.
func (s *Store) Write(ctx context.Context, batch projections.Batch) (outcomes []projections.Outcome, err error) {
	err = s.with(func() error {
		outcomes = make([]projections.Outcome, len(batch.Changes))
		var waves [][]*write // an order is once in each
		seen := map[string]int{}
		for i := range batch.Changes {
			o, err := encode(&batch.Changes[i])
			if err != nil {
				outcomes[i] = projections.Outcome{Result: projections.Refused, Err: err}
				continue
			}
			w := &write{id: o.id, order: o, known: o.first == 0, outcome: &outcomes[i]}
			n := seen[o.id]
			if seen[o.id]++; n == len(waves) {
				waves = append(waves, nil)
			}
			waves[n] = append(waves[n], w)
		}
		for _, wave := range waves {
			if err := s.put(ctx, wave); err != nil {
				return err
			}
		}
		for _, o := range outcomes {
			if o.Result > projections.Already {
				return nil
			}
		}
		return s.settle(ctx, batch)
	})
	if err != nil {
		return nil, wrap(err, "write %d documents", len(batch.Changes))
	}
	return outcomes, nil
}

// write is one order on its way.
type write struct {
	id      string
	order   *order // nil removes
	force   bool   // whatever is kept
	outcome *projections.Outcome

	// What its bucket keeps, as far as it is known: "-" or "=" and the head.
	known    bool
	expected string
	kept     kept
	readable bool // kept is what is expected
	alone    bool // in calls of its own, since a sum may leave 64 bits
	done     bool
	entered  []*enrolment // that were written at customers
}

// expect takes over what a bucket says it keeps.
func (w *write) expect(answer string) {
	w.known, w.expected = true, answer
	var err error
	w.kept, w.readable = kept{}, false
	if answer != "-" {
		w.kept, _, err = decodeHead(answer[1:])
		w.readable = err == nil
	}
}

func (w *write) finish(r projections.Result, err error) {
	w.done = true
	*w.outcome = projections.Outcome{Result: r, Err: err}
}

// decide ends what needs no writing. What docket cannot read is not there: the
// log has it.
func (w *write) decide() {
	if w.done || w.force {
		return
	}
	stored := int64(-1)
	if w.readable {
		stored = w.kept.revision
	}
	switch {
	case stored >= w.order.revision:
		w.finish(projections.Already, nil)
	case stored < w.order.first-1:
		w.finish(projections.Gap, nil)
	}
}

// put writes orders, each another: customers first, then the orders' buckets,
// which decide. Where they decide that another has been further, what was written
// at customers is taken back.
func (s *Store) put(ctx context.Context, writes []*write) error {
	open := slices.Clone(writes)
	for range maxRounds {
		for _, step := range []func(context.Context, []*write) error{s.look, s.enrol, s.putOrders} {
			if err := step(ctx, open); err != nil {
				return err
			}
			for _, w := range open {
				w.decide()
			}
			if open = pending(open); len(open) == 0 {
				return s.retract(ctx, writes)
			}
		}
	}
	return errContended
}

func pending(writes []*write) []*write {
	return slices.DeleteFunc(writes, func(w *write) bool { return w.done })
}

// look asks for the heads that are not known. An order that begins is taken for
// absent, and what was read or written last for what is kept: when it is not, its
// bucket says so. Only what leads to a write is believed: Already and Gap are not.
func (s *Store) look(ctx context.Context, writes []*write) error {
	groups := map[int][]*write{}
	for _, w := range writes {
		switch {
		case !w.known && !s.remembered(w):
			groups[bucketOf(w.id)] = append(groups[bucketOf(w.id)], w)
		case w.expected == "":
			w.expect("-")
		}
	}
	var calls []*call
	var asked [][]*write
	for b, group := range groups {
		c := &call{script: &s.scripts.heads, keys: s.keys.orders[b][:1], args: []any{s.nonce}}
		for _, w := range group {
			c.args = append(c.args, w.id)
		}
		calls, asked = append(calls, c), append(asked, group)
	}
	if err := s.server.all(ctx, calls); err != nil {
		return err
	}
	for i, c := range calls {
		heads := list(c.reply)
		if len(heads) != len(asked[i]) {
			return fmt.Errorf("%d heads for %d orders", len(heads), len(asked[i]))
		}
		for k, w := range asked[i] {
			w.expect(text(heads[k]))
		}
	}
	return nil
}

// remembered takes over what was read or written last, if an order can be written
// upon that.
func (s *Store) remembered(w *write) bool {
	if w.order == nil || w.force {
		return false
	}
	head, ok := s.heads.get(w.id)
	if !ok {
		return false
	}
	w.expect("=" + head)
	if fits := w.readable && w.kept.revision < w.order.revision && w.kept.revision >= w.order.first-1; !fits {
		w.known, w.expected, w.kept, w.readable = false, "", kept{}, false
	}
	return w.known
}

// putOrders writes the orders' buckets. Orders of which something else is kept
// than was known are not done then, and known better.
func (s *Store) putOrders(ctx context.Context, writes []*write) error {
	groups := map[int][][]*write{}
	for _, w := range writes {
		b := bucketOf(w.id)
		parts := groups[b]
		if n := len(parts); n > 0 && !w.alone && !parts[n-1][0].alone && len(parts[n-1]) < callOrders && bytesOf(parts[n-1]) < callBytes {
			parts[n-1] = append(parts[n-1], w)
			continue
		}
		groups[b] = append(parts, []*write{w})
	}
	var calls []*call
	var asked [][]*write
	for _, b := range slices.Sorted(maps.Keys(groups)) {
		for _, part := range groups[b] {
			c := &call{script: &s.scripts.put, keys: s.keys.orders[b], args: []any{s.nonce, newVersion(), len(part)}}
			r := newRows()
			for _, w := range part {
				var value []byte
				if w.readable {
					r.count(w.kept.counted, -1)
				}
				if w.order != nil {
					value = w.order.value
					r.count(w.order.counted, 1)
				}
				c.args = append(c.args, w.id, w.expected, value)
			}
			c.args = append(c.args, r.changed()...)
			if r.overflow {
				overflow(part)
				continue
			}
			calls, asked = append(calls, c), append(asked, part)
		}
	}
	if err := s.server.all(ctx, calls); err != nil {
		return err
	}
	for i, c := range calls {
		part := asked[i]
		switch answer := c.reply.(type) {
		case string:
			if answer == "OVERFLOW" {
				overflow(part)
				continue
			}
			for _, w := range part {
				if w.finish(projections.Applied, nil); w.order != nil && len(writes) <= mostRemembered {
					s.heads.put(w.id, string(w.order.head))
				}
			}
		case []any:
			for k := 0; k+1 < len(answer); k += 2 {
				if n, ok := answer[k].(int64); ok && n >= 0 && n < int64(len(part)) {
					part[n].expect(text(answer[k+1]))
				}
			}
		default:
			return fmt.Errorf("write bucket: unexpected answer %v", c.reply)
		}
	}
	return nil
}

func bytesOf(part []*write) (n int) {
	for _, w := range part {
		if w.order != nil {
			n += len(w.order.document)
		}
	}
	return n
}

// overflow: some order of the part takes a sum beyond 64 bits. Alone, it is known
// which.
func overflow(part []*write) {
	for _, w := range part {
		if len(part) == 1 {
			w.finish(projections.Refused, errors.New("a sum would leave 64 bits"))
		}
		w.alone = true
	}
}

// version of a bucket: another with every write.
func newVersion() string { return rand.Text()[:12] }
