package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
)

const (
	// maxFigureLooks bounds the looks at figures that differ.
	maxFigureLooks = 6
	// advanceEvents are counted together.
	advanceEvents = 4096
)

// figures compares everything that is counted. What differs is believed when it
// differs by the same amounts at two instants: a document that is written before
// its lane's checkpoint moves makes a difference that goes away.
func (u *part) figures(ctx context.Context, t *tally) (differences, error) {
	u.step("counting", 0, 0)
	var last differences
	for n := range maxFigureLooks {
		if n > 0 {
			if err := u.caughtUp(ctx); err != nil {
				return differences{}, err
			}
		}
		d, err := u.figuresNow(ctx, t)
		if err != nil {
			return differences{}, err
		}
		if d.count == 0 || n > 0 && d.count == last.count && d.digest == last.digest {
			return d, nil
		}
		last = d
	}
	u.doubt(fmt.Sprintf("the figures differed in another way at each of %d looks, %d of them at the last: run again when fewer orders change", maxFigureLooks, last.count))
	return differences{figures: last.figures, customers: last.customers, unsteady: true}, nil
}

// figuresNow compares them once.
func (u *part) figuresNow(ctx context.Context, t *tally) (differences, error) {
	if sink, counts := u.sink.(projections.SelfCounting); counts {
		return miscounted(ctx, sink)
	}
	return t.compare(ctx, u.sink, func(lanes []projections.Checkpoint) error { return u.advance(ctx, t, lanes) })
}

// advance brings a tally from where it is to the lanes' checkpoints, and to the
// orders that are parked now: whatever changed meanwhile is folded twice, and
// the difference added.
func (u *part) advance(ctx context.Context, t *tally, lanes []projections.Checkpoint) error {
	parked, err := u.parked(ctx)
	if err != nil {
		return err
	}
	if err := u.advanceParked(ctx, t, parked); err != nil {
		return err
	}
	head, err := u.Store.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the end of the log: %w", err)
	}
	to := t.at
	for _, c := range lanes {
		if c.Lane < 0 || c.Lane >= len(to) || head.Before(c.Position) {
			continue // another program wrote it: a finding of structure
		}
		if to[c.Lane].Before(c.Position) {
			to[c.Lane] = c.Position
		}
	}
	return u.advanceEvents(ctx, t, to)
}

// advanceParked counts the orders that were parked, or are, as far as they are
// applied now. It looks at no event beyond where the tally is.
func (u *part) advanceParked(ctx context.Context, t *tally, parked map[string]projections.Parked) error {
	changed := maps.Clone(t.parked)
	maps.Copy(changed, parked)
	for id := range changed {
		was, wasParked := t.parked[id]
		if now, isParked := parked[id]; wasParked == isParked && was.Revision == now.Revision {
			continue
		}
		h, err := u.read(ctx, id)
		if err != nil {
			return err
		}
		at := t.at[projections.LaneOf(id)]
		h.events = slices.DeleteFunc(h.events, func(e codec.Recorded) bool { return at.Before(e.Position) })
		if err := u.exchange(t, h, lastApplied(h, t.parked), lastApplied(h, parked)); err != nil {
			return err
		}
	}
	t.parked = parked
	return nil
}

// span is the new events of an order, by revision.
type span struct{ first, last int64 }

// advanceEvents counts what is in the log between where the tally is and to, by
// lane; so many events together.
func (u *part) advanceEvents(ctx context.Context, t *tally, to [projections.Lanes]eventstore.Position) error {
	from, top := slices.MinFunc(t.at[:], eventstore.Position.Compare), slices.MaxFunc(to[:], eventstore.Position.Compare)
	if !from.Before(top) {
		return nil
	}
	news, events := map[string]span{}, 0
	filter := eventstore.Filter{Prefixes: []string{u.Namespace.Prefix(codec.Category)}}
	for record, err := range u.Store.ReadAll(ctx, from, eventstore.Forwards, filter, 0) {
		if err != nil {
			return fmt.Errorf("read what came after the barrier: %w", err)
		}
		if top.Before(record.Position) {
			break
		}
		id, _ := u.Namespace.ID(codec.Category, record.Stream)
		lane := projections.LaneOf(id)
		if !t.at[lane].Before(record.Position) || to[lane].Before(record.Position) {
			continue
		}
		s, known := news[id]
		if !known {
			s.first = int64(record.Revision)
		}
		s.last = int64(record.Revision)
		news[id] = s
		if events++; events%advanceEvents == 0 {
			if err := u.countNews(ctx, t, news); err != nil {
				return err
			}
		}
	}
	t.at = to
	return u.countNews(ctx, t, news)
}

// countNews counts new events, and forgets them.
func (u *part) countNews(ctx context.Context, t *tally, news map[string]span) error {
	for id, s := range news {
		h, err := u.read(ctx, id)
		if err != nil {
			return err
		}
		if u.unreadable(h, t.parked) {
			continue
		}
		before, after := s.first-1, s.last
		if p, isParked := t.parked[id]; isParked {
			before, after = min(before, p.Revision-1), min(after, p.Revision-1)
		}
		if err := u.exchange(t, h, before, after); err != nil {
			return err
		}
	}
	clear(news)
	return nil
}

// exchange takes off an order as it was at one revision and adds it as it is at
// another; -1 is not at all.
func (u *part) exchange(t *tally, h history, before, after int64) error {
	if before == after {
		return nil
	}
	if was := u.fold(h, before); was.there {
		if err := t.count(was.Change, -1); err != nil {
			return err
		}
	}
	if now := u.fold(h, after); now.there {
		return t.count(now.Change, 1)
	}
	return nil
}
