package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/view"
)

const (
	// maxLooks bounds the looks at an order that moves with every one of them.
	maxLooks = 4
	// movedHeld are looked at again together: one wait for both sides serves all.
	movedHeld = 4096
)

// apart is an order that is at two revisions.
type apart struct {
	id       string
	old, new int64
}

// look compares orders whose fingerprints differ. Most are at one revision and
// are compared at once. Of the others one side was a moment ahead: they are looked
// at again.
func (c *comparison) look(ctx context.Context, ids []string) error {
	moved, err := c.lookOnce(ctx, ids, func(apart) bool { return false })
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.moved = append(c.moved, moved...)
	moved = nil
	if len(c.moved) >= movedHeld {
		moved, c.moved = c.moved, nil
	}
	c.mu.Unlock()
	return c.lookAgain(ctx, moved)
}

// lookAgain lets both sides reach the end of the log and looks at orders that were
// at two revisions. Where they are at the same two as before, they are apart for
// good, for both have had all events up to either: one side parked the order, or
// lacks something; then they are compared as they are. An order that moves at every
// look is compared as the candidate makes it at the revision that the generation
// in force has.
func (c *comparison) lookAgain(ctx context.Context, moved []apart) error {
	for n := 1; len(moved) > 0; n++ {
		err := c.reachEnd(ctx)
		if errors.Is(err, ErrStale) {
			return c.lookBack(ctx, moved)
		}
		if err != nil {
			return err
		}
		before := moved
		moved = nil
		for some := range slices.Chunk(before, readAtOnce) {
			ids := make([]string, len(some))
			was := make(map[string]apart, len(some))
			for i, a := range some {
				ids[i], was[a.id] = a.id, a
			}
			still, err := c.lookOnce(ctx, ids, func(a apart) bool { return was[a.id] == a })
			if err != nil {
				return err
			}
			moved = append(moved, still...)
		}
		if n < maxLooks {
			continue
		}
		return c.lookRemade(ctx, moved)
	}
	return nil
}

// lookBack compares orders when the generation in force stands still, as the
// candidate makes them at the revisions that are in it. What was placed since is no
// difference between the two versions: it is left out.
func (c *comparison) lookBack(ctx context.Context, moved []apart) error {
	lanes, err := c.Old.Checkpoints(ctx)
	if err != nil {
		return fmt.Errorf("read checkpoints: %w", err)
	}
	at := placesOf(lanes)
	var known []apart
	for _, a := range moved {
		if lane := at[LaneOf(a.id)]; a.old < 0 && lane >= 0 {
			first, err := c.placed(ctx, a.id)
			if err != nil {
				return err
			}
			if lanes[lane].Position.Before(first) {
				continue
			}
		}
		known = append(known, a)
	}
	return c.lookRemade(ctx, known)
}

// placed is the position of an order's first event; Start where it has none.
func (c *comparison) placed(ctx context.Context, id string) (eventstore.Position, error) {
	for r, err := range c.Log.ReadStream(ctx, c.Namespace.Stream(codec.Category, id), 0, eventstore.Forwards, 1) {
		if errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrDeleted) || errors.Is(err, eventstore.ErrCorrupt) {
			break
		}
		if err != nil {
			return eventstore.Start, fmt.Errorf("read order %s: %w", id, err)
		}
		return r.Position, nil
	}
	return eventstore.Start, nil
}

// lookOnce compares the orders that are at one revision on both sides, or apart for
// good, and returns the others.
func (c *comparison) lookOnce(ctx context.Context, ids []string, forGood func(apart) bool) (moved []apart, err error) {
	old, new, err := both(c, func(s Sink) ([]Stored, error) { return s.Read(ctx, ids) })
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		a := apart{id, old[i].Revision, new[i].Revision}
		if a.old != a.new && !forGood(a) {
			moved = append(moved, a)
			continue
		}
		c.settled(id, a.old, a.new)
		if err := c.judge(id, old[i], new[i]); err != nil {
			return nil, err
		}
	}
	return moved, nil
}

// lookRemade compares orders with what the candidate makes of them.
func (c *comparison) lookRemade(ctx context.Context, moving []apart) error {
	for some := range slices.Chunk(moving, readAtOnce) {
		if err := c.lookRemadeOnce(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) lookRemadeOnce(ctx context.Context, moving []apart) error {
	ids := make([]string, len(moving))
	for i, a := range moving {
		ids[i] = a.id
	}
	old, new, err := both(c, func(s Sink) ([]Stored, error) { return s.Read(ctx, ids) })
	if err != nil {
		return err
	}
	for i, id := range ids {
		if old[i].Revision != new[i].Revision {
			made, ok, err := c.remade(ctx, id, old[i].Print)
			if err != nil {
				return err
			}
			if ok {
				new[i] = made
			}
		}
		c.settled(id, old[i].Revision, new[i].Revision)
		if err := c.judge(id, old[i], new[i]); err != nil {
			return err
		}
	}
	return nil
}

// reachEnd lets both sides have all events of orders that are in the log now.
func (c *comparison) reachEnd(ctx context.Context) error {
	filter := eventstore.Filter{Prefixes: []string{c.Namespace.Prefix(codec.Category)}}
	for r, err := range c.Log.ReadAll(ctx, eventstore.End, eventstore.Backwards, filter, 1) {
		if err != nil {
			return fmt.Errorf("read end of log: %w", err)
		}
		return c.Reach(ctx, r.Position)
	}
	return nil
}

// remade is an order as the candidate makes it up to the revision that the
// generation in force has, with as much as that keeps; not ok where it makes
// nothing of it.
func (c *comparison) remade(ctx context.Context, id string, like Print) (s Stored, ok bool, err error) {
	if like.Revision < 0 {
		return s, false, nil
	}
	doc, reached, err := c.replay(ctx, c.Fold, id, like.Revision, nil)
	if err != nil || !reached {
		return s, false, err
	}
	defer func() {
		if recover() != nil { // then it is parked there
			s, ok = Stored{}, false
		}
	}()
	s.Print, s.Document = Print{Revision: like.Revision, Document: 1}, doc
	if like.Contribution != 0 {
		s.Contribution, s.Print.Contribution = c.Fold.Contributions(doc), 1
	}
	if like.Words != 0 {
		s.Words = c.Fold.Words(doc)
		s.Print.Words = WordsPrint(s.Words)
	}
	return s, true, nil
}

// replay folds an order's events up to a revision, and calls step, unless that is
// nil, after each. It has not reached the revision where an event is not there or
// cannot be applied.
func (c *comparison) replay(ctx context.Context, fold Fold, id string, upTo int64, step func(e arrival, before, after view.Order)) (doc view.Order, reached bool, err error) {
	decoding := applier{namespace: c.Namespace}
	doc = Empty(id)
	next := int64(0)
	for r, err := range c.Log.ReadStream(ctx, c.Namespace.Stream(codec.Category, id), 0, eventstore.Forwards, 0) {
		if errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrDeleted) || errors.Is(err, eventstore.ErrCorrupt) {
			return doc, false, nil
		}
		if err != nil {
			return doc, false, fmt.Errorf("read order %s: %w", id, err)
		}
		e := decoding.decode(r)
		before := doc
		if next == 0 {
			before = view.Order{} // as the applier begins
		}
		after, failed := fold.step(before, next, e)
		if failed != nil {
			return doc, false, nil
		}
		if step != nil {
			step(e, doc, after)
		}
		if doc, next = after, next+1; next > upTo {
			return doc, true, nil
		}
	}
	return doc, false, nil
}

// parked tells which orders only one side has parked, or at another event. A list
// that differs is looked at again once both have reached what is in the log: what
// only one of two looks saw was on its way.
func (c *comparison) parked(ctx context.Context) error {
	var oldOnly, newOnly []Parked
	for n := range 2 {
		old, new, err := both(c, func(s Sink) ([]Parked, error) { return s.Parked(ctx) })
		if err != nil {
			return fmt.Errorf("list parked orders: %w", err)
		}
		inOld, inNew := notIn(old, new), notIn(new, old)
		if n == 0 {
			oldOnly, newOnly = inOld, inNew
		} else {
			oldOnly, newOnly = notIn(oldOnly, notIn(oldOnly, inOld)), notIn(newOnly, notIn(newOnly, inNew))
		}
		if len(oldOnly)+len(newOnly) == 0 {
			return nil
		}
		if n == 0 {
			if err := c.reachEnd(ctx); err != nil && !errors.Is(err, ErrStale) {
				return err
			}
		}
	}
	d := &c.found.d
	d.ParkedOld, d.ParkedNew = oldOnly[:min(MaxFigures, len(oldOnly))], newOnly[:min(MaxFigures, len(newOnly))]
	return nil
}

// notIn are the parkings of a that b does not have.
func notIn(a, b []Parked) []Parked {
	has := make(map[string]int64, len(b))
	for _, p := range b {
		has[p.OrderID] = p.Revision
	}
	return slices.DeleteFunc(slices.Clone(a), func(p Parked) bool {
		revision, there := has[p.OrderID]
		return there && revision == p.Revision
	})
}
