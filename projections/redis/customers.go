package redis

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/docket-orders/docket/projections"
)

// enrolment is what one write changes at one customer.
type enrolment struct {
	*write
	customer string
	want     member
	remove   bool   // nothing is kept instead of want
	expected string // as of a write
	entry    string // to retract: the only thing to expect
	done     bool
}

func (e *enrolment) field() string { return "m" + e.customer + "\x00" + e.id }

// enrolments of a write: at its customer, and at the one its order is kept of.
func (w *write) enrolments() (out []*enrolment) {
	now, former := "", ""
	if w.readable {
		former = w.kept.counted.Customer
	}
	was := "-"
	if former != "" {
		was = "=" + memberOf(w.kept).encode()
	}
	if w.order != nil {
		if now = w.order.counted.Customer; now != "" {
			e := &enrolment{write: w, customer: now, expected: "-"}
			e.want = memberOf(kept{w.order.revision, w.order.placed, w.order.counted})
			if now == former {
				e.expected = was
			}
			out = append(out, e)
		}
	}
	if former != "" && former != now {
		e := &enrolment{write: w, customer: former, expected: was, remove: w.order == nil}
		if w.order != nil {
			e.want = member{mark: true, revision: w.order.revision}
		}
		out = append(out, e)
	}
	return out
}

// enrol writes the customers' buckets. What is there at the same or a later
// revision stays, unless the write is forced: another has been further already.
func (s *Store) enrol(ctx context.Context, writes []*write) error {
	var all []*enrolment
	for _, w := range writes {
		all = append(all, w.enrolments()...)
	}
	for range maxRounds {
		all = slices.DeleteFunc(all, func(e *enrolment) bool { return e.done || e.write.done })
		if len(all) == 0 {
			return nil
		}
		if err := s.enrolOnce(ctx, all); err != nil {
			return err
		}
	}
	return errContended
}

// retract takes back what orders that were not written then have entered at
// customers that are not theirs: unless another has changed it since, a mark
// stands there instead, or nothing where the order is not kept.
func (s *Store) retract(ctx context.Context, writes []*write) error {
	var all []*enrolment
	for _, w := range writes {
		if w.outcome.Result == projections.Applied {
			continue
		}
		for _, e := range w.entered {
			if w.readable && w.kept.counted.Customer == e.customer {
				continue
			}
			back := &enrolment{write: &write{id: w.id, force: true, outcome: &projections.Outcome{}}, customer: e.customer}
			back.entry = "=" + e.want.encode()
			back.expected = back.entry
			back.remove, back.want = !w.readable, member{mark: true, revision: w.kept.revision}
			all = append(all, back)
		}
	}
	for len(all) > 0 {
		if err := s.enrolOnce(ctx, all); err != nil {
			return err
		}
		// Those that found something else leave it; what went with them goes again.
		all = slices.DeleteFunc(all, func(e *enrolment) bool { return e.done || e.write.done || e.expected != e.entry })
	}
	return nil
}

func (s *Store) enrolOnce(ctx context.Context, all []*enrolment) error {
	groups := map[int][][]*enrolment{}
	for _, e := range all {
		b := bucketOf(e.customer)
		parts := groups[b]
		if n := len(parts); n > 0 && !e.alone && !parts[n-1][0].alone && len(parts[n-1]) < callOrders {
			parts[n-1] = append(parts[n-1], e)
			continue
		}
		groups[b] = append(parts, []*enrolment{e})
	}
	var calls []*call
	var asked [][]*enrolment
	for _, b := range slices.Sorted(maps.Keys(groups)) {
		for _, part := range groups[b] {
			c, part, fits := s.enrolCall(b, part)
			switch {
			case !fits:
				overflow(writesOf(part))
			case len(part) > 0:
				calls, asked = append(calls, c), append(asked, part)
			}
		}
	}
	if err := s.server.all(ctx, calls); err != nil {
		return err
	}
	for i, c := range calls {
		switch answer := c.reply.(type) {
		case string:
			if answer == "OVERFLOW" {
				overflow(writesOf(asked[i]))
				continue
			}
			for _, e := range asked[i] {
				e.done = true
				if !e.remove && !e.want.mark {
					e.write.entered = append(e.write.entered, e)
				}
			}
		case []any:
			for k := 0; k+1 < len(answer); k += 2 {
				if n, ok := answer[k].(int64); ok && n >= 0 && n < int64(len(asked[i])) {
					asked[i][n].expected = text(answer[k+1])
				}
			}
		default:
			return fmt.Errorf("write customers: unexpected answer %v", c.reply)
		}
	}
	return nil
}

func writesOf(part []*enrolment) (out []*write) {
	for _, e := range part {
		out = append(out, e.write)
	}
	return out
}

// enrolCall makes the call for those of a part that change anything; the others
// are done.
func (s *Store) enrolCall(bucket int, part []*enrolment) (c *call, wanted []*enrolment, fits bool) {
	totals := totals{}
	var entries []any
	fits = true
	for _, e := range part {
		was, readable := member{}, false
		if e.expected != "-" {
			var err error
			was, err = decodeMember(e.expected[1:])
			readable = err == nil
		}
		if readable && !e.force && was.revision >= e.want.revision || e.remove && e.expected == "-" {
			e.done = true
			continue
		}
		value, leave, enter := "", "", ""
		if readable && !was.mark {
			fits = totals.add(e.customer, was, -1) && fits
			leave = place(e.customer, was.placed, e.id)
		}
		if !e.remove {
			value = e.want.encode()
			if !e.want.mark {
				fits = totals.add(e.customer, e.want, 1) && fits
				enter = place(e.customer, e.want.placed, e.id)
			}
		}
		wanted = append(wanted, e)
		entries = append(entries, e.field(), e.expected, value, leave, enter)
	}
	c = &call{script: &s.scripts.enrol, keys: s.keys.customers[bucket], args: append([]any{s.nonce, newVersion(), len(wanted)}, entries...)}
	for at, sums := range totals {
		if sums != [5]int64{} {
			c.args = append(c.args, at.field(), at.currency, pack(sums[:]))
		}
	}
	return c, wanted, fits
}

// totals of customers: what is kept of them, should be, or changes.
type totals map[customerCurrency][5]int64

type customerCurrency struct{ customer, currency string }

func (c customerCurrency) field() string { return "t" + c.customer + "\x00" + c.currency }

// add adds sign times a member's sums, unless one leaves 64 bits.
func (t totals) add(customer string, m member, sign int64) bool {
	if m.currency == "" {
		return true
	}
	at := customerCurrency{customer, m.currency}
	sums, all := t[at], true
	for i, v := range m.sums {
		ok, fits := true, true
		if sign < 0 {
			v, ok = minus(v)
		}
		sums[i], fits = plus(sums[i], v)
		all = all && ok && fits
	}
	t[at] = sums
	return all
}
