package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
)

const (
	// lookOrders are looked at together: one wait for the views serves all.
	lookOrders = 256
	// maxLooks bounds the looks at an order that moves with every one of them.
	maxLooks = 12
)

// look says precisely which of these orders differ, however much moves
// meanwhile. Each time the streams are read, then the views are waited for,
// then what is kept is asked for: a kept document must be at the stream's end as
// it was read, or at a revision that the stream reached meanwhile, and be what
// the events up to its own revision make of it. A difference is believed when
// two looks in a row find the same one. An order that moved at every look, and
// was right each time as far as one could see, is healthy: its rows are written
// anew with every move.
func (u *part) look(ctx context.Context, ids []string) ([]Finding, error) {
	var all []Finding
	for chunk := range slices.Chunk(ids, lookOrders) {
		before := map[string]Finding{} // what the last look found
		for n := 0; n < maxLooks && len(chunk) > 0; n++ {
			seen, err := u.observe(ctx, chunk)
			if err != nil {
				return nil, err
			}
			var again []string
			for _, o := range seen {
				last, found := before[o.id]
				delete(before, o.id)
				switch {
				case o.finding != nil && found && sameFinding(last, *o.finding):
					all = append(all, *o.finding)
				case o.finding != nil:
					before[o.id] = *o.finding
					again = append(again, o.id)
				case o.moved:
					again = append(again, o.id)
				}
			}
			chunk = again
		}
		// What is left was never found twice alike: it differs, and changes.
		for _, id := range chunk {
			if f, found := before[id]; found {
				all = append(all, f)
			}
		}
	}
	return all, nil
}

func sameFinding(a, b Finding) bool {
	return a.Class == b.Class && same(a.Kept, b.Kept)
}

func same(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }

// observation is what one look saw of one order: a difference, or that it moved
// and must be looked at again, or neither.
type observation struct {
	id      string
	finding *Finding
	moved   bool
}

// observe looks at each order once. An order about which the log does not tell,
// or the expected side contradicts itself, is doubtful, and left out.
func (u *part) observe(ctx context.Context, ids []string) ([]observation, error) {
	parked, err := u.parked(ctx)
	if err != nil {
		return nil, err
	}
	histories := make([]history, 0, len(ids))
	for _, id := range ids {
		h, err := u.read(ctx, id)
		if err != nil {
			return nil, err
		}
		if u.unreadable(h, parked) {
			continue
		}
		histories = append(histories, h)
	}
	if err := u.caughtUp(ctx); err != nil {
		return nil, err
	}
	want := make([]wanted, len(histories))
	changes := make([]projections.Change, len(histories))
	for i, h := range histories {
		want[i] = u.fold(h, lastApplied(h, parked))
		changes[i] = want[i].Change
	}
	kept, err := u.inspect(ctx, changes)
	if err != nil {
		return nil, err
	}
	var out []observation
	for i, h := range histories {
		if !want[i].sound {
			continue
		}
		var o observation
		if p, ok := parked[h.id]; ok {
			o = u.judgeParked(h, want[i], kept[i], p)
		} else if o, err = u.judge(ctx, h, want[i], kept[i]); err != nil {
			return nil, err
		}
		u.observed(h, o, changes[i], kept[i])
		out = append(out, o)
	}
	return out, nil
}

// observed remembers that a stream is gone, and the figures that an order that
// differs may explain.
func (u *part) observed(h history, o observation, want projections.Change, kept projections.Kept) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(h.events) == 0 {
		u.gone[h.id] = true
	}
	if o.finding == nil {
		return
	}
	if !kept.Same && (!kept.Found || kept.Unreadable != "" || len(contributionDiff(kept.Contribution, want.Contribution)) > 0) {
		u.uncounted = true
	}
	if u.orders <= u.mostRepairs() {
		u.touch(want, kept)
	}
}

// unreadable notes an order whose events cannot be read, unless it is parked
// there: then the views need not know more.
func (u *part) unreadable(h history, parked map[string]projections.Parked) bool {
	if h.bad == nil {
		return false
	}
	if p, ok := parked[h.id]; ok && p.Revision <= h.last()+1 {
		return false
	}
	u.doubt(fmt.Sprintf("order %s cannot be compared: %v", h.id, h.bad))
	return true
}

// lastApplied is the revision at which the views keep an order: that of its
// last event, or of the one before the event at which it is parked.
func lastApplied(h history, parked map[string]projections.Parked) int64 {
	if p, ok := parked[h.id]; ok {
		return min(h.last(), p.Revision-1)
	}
	return h.last()
}

// judge says what is wrong with what is kept of an order that is not parked.
func (u *part) judge(ctx context.Context, h history, want wanted, kept projections.Kept) (observation, error) {
	o := observation{id: h.id}
	finding := func(class Class) *Finding { return orderFinding(class, h, kept) }
	switch {
	case kept.Same && want.there, !kept.Found && !want.there:
		return o, nil
	case kept.Same: // it is an empty document, and there should be none
		o.finding = finding(Orphan)
		return o, nil
	case !kept.Found || kept.NoDocument && want.there:
		o.finding = finding(Missing)
		return o, nil
	case kept.Unreadable != "" && want.there:
		o.finding = finding(Content)
		return o, nil
	}
	revision := kept.Document.Revision
	if revision > h.last() && kept.Unreadable == "" {
		// The stream may have gone on since it was read.
		now, err := u.read(ctx, h.id)
		if err != nil {
			return o, err
		}
		if revision <= now.last() {
			h, want, o.moved = now, u.fold(now, revision), true
			if !want.sound {
				return observation{id: h.id}, nil
			}
		} else if now.last() > h.last() || now.bad != nil {
			o.moved = true // it is moving, or the next look finds it unreadable
			return o, nil
		}
	}
	switch {
	case !want.there:
		o.finding = finding(Orphan)
	case revision > h.last():
		o.finding = finding(Ahead)
	case revision < want.Order.Revision:
		o.finding = finding(Stale)
	default:
		f := finding(Content)
		if differ(f, kept, want.Change) {
			o.finding = f
		}
	}
	return o, nil
}

// judgeParked tells that the order is parked, and how what is kept differs from
// the events before.
func (u *part) judgeParked(h history, want wanted, kept projections.Kept, p projections.Parked) observation {
	f := orderFinding(Parked, h, kept)
	f.Detail = fmt.Sprintf("event %d could not be applied: %s", p.Revision, p.Reason)
	right := kept.Same && want.there || !kept.Found && !want.there
	switch {
	case right:
		kept := want.Order.Revision
		if !want.there {
			kept = -1
		}
		f.Kept = &kept
	case kept.Unreadable == "" && kept.Found && want.there && kept.Document.Revision == want.Order.Revision:
		differ(f, kept, want.Change)
	}
	if !right {
		f.Detail += "; and what is kept is not what the events before it make"
	}
	return observation{id: h.id, finding: f}
}

func orderFinding(class Class, h history, kept projections.Kept) *Finding {
	f := &Finding{Class: class, Entity: entityOrder, ID: h.id}
	revision, keptRevision := h.last(), int64(-1)
	if kept.Found && kept.Unreadable == "" {
		keptRevision = kept.Document.Revision
	}
	f.Revision, f.Kept = &revision, &keptRevision
	f.Detail = kept.Unreadable
	return f
}

// differ fills in where a kept order differs from what is wanted at the same
// revision, and says whether it does. An order whose contribution alone is
// wrong is a finding among the figures.
func differ(f *Finding, kept projections.Kept, want projections.Change) bool {
	fields := query.Diff(kept.Document, want.Order)
	counted := contributionDiff(kept.Contribution, want.Contribution)
	rows := kept.Rows
	if len(fields)+len(rows) == 0 {
		if len(counted) == 0 {
			return false
		}
		if f.Class == Content {
			f.Class = Aggregate
		}
	}
	f.Fields = append(fields, counted...)
	f.Detail = strings.Join(append(nonEmpty(f.Detail), rows...), "; ")
	return true
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// contributionDiff compares what is kept of what an order adds to figures, by
// readable names under /contribution.
func contributionDiff(kept, want projections.Contribution) []query.FieldChange {
	before, after := contributionFields(kept), contributionFields(want)
	paths := maps.Clone(before)
	maps.Copy(paths, after)
	var out []query.FieldChange
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if string(before[path]) != string(after[path]) {
			out = append(out, query.FieldChange{Path: path, Before: before[path], After: after[path]})
		}
	}
	return out
}

func contributionFields(c projections.Contribution) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	put := func(path string, v any) {
		data, err := json.Marshal(v)
		if err != nil {
			panic(fmt.Sprintf("reconcile: encode %s: %v", path, err))
		}
		out["/contribution/"+path] = data
	}
	put("currency", c.Currency)
	put("day", c.Day)
	put("customer", c.Customer)
	s := values{c.Sums.Orders, c.Sums.Lines, c.Sums.Units, c.Sums.Items, c.Sums.Shipping, c.Sums.Grand, c.Sums.Paid, c.Sums.Rounding}
	for i, name := range figureNames(projections.FigureSums) {
		path, value := figureValue(name, s[i], c.Currency)
		out["/contribution"+path] = value
	}
	for i, g := range c.Groups {
		put("groups/"+g.Dimension+"/"+g.Key, i)
	}
	for i, m := range c.Methods {
		put("methods/"+m.Method, []int64{int64(i), m.Payments, m.Captured})
	}
	for i, p := range c.Products {
		put("products/"+p.SKU, []int64{int64(i), p.Units, p.Amount, p.Millionths})
	}
	return out
}
