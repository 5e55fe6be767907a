package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// logInstead is how long the view of one order may keep silent before the log is
// asked instead, where that view is behind a network.
const logInstead = 2 * time.Second

// Order answers one order. Degraded is set when the order is parked. An order
// that the view does not have, and any while the view does not answer or lacks a
// part, is folded from the log.
func (s *Service) Order(ctx context.Context, id string, read Read) (OrderAnswer, error) {
	var doc view.Order
	var found bool
	var generation int
	err := s.awaitHot(ctx, read)
	if err == nil {
		doc, found, generation, err = s.document(ctx, id)
	}
	away := errors.Is(err, ErrUnavailable)
	if err != nil && !away {
		return OrderAnswer{}, err
	}
	source := FromView
	if found {
		s.hot.joinDegraded(&doc)
	} else {
		source = FromLog
		if doc, err = s.OrderFromLog(ctx, id); err == nil {
			err = reached(doc, read)
		}
		if err != nil {
			return OrderAnswer{}, err
		}
	}
	fresh := Freshness{Generation: generation, LagUnknown: true}
	if !away { // else it does not tell this either
		fresh, err = s.hot.freshness(ctx, generation)
	}
	return OrderAnswer{Order: doc, Source: source, Freshness: fresh}, err
}

// reached fails where a document from the log ends before the token's write:
// then what follows cannot be applied, or the log has lost it.
func reached(doc view.Order, read Read) error {
	if read.Token == nil || read.Token.OrderID != doc.ID || revisionOf(doc) >= read.Token.Revision {
		return nil
	}
	if doc.Degraded != nil {
		return &ParkedError{OrderID: doc.ID, Want: read.Token.Revision, Degraded: *doc.Degraded}
	}
	return behind(doc, true, *read.Token)
}

// OrderFromLog folds the order's stream, up to the event at which the order is
// parked, or will be when the runner meets it.
func (s *Service) OrderFromLog(ctx context.Context, id string) (view.Order, error) {
	var cut Cut
	degraded, parked := s.hot.Progress.ParkedOrder(id)
	if parked {
		last := eventstore.Revision(degraded.Revision) - 1
		cut.Revision = &last
	}
	k, err := s.known(ctx, id, cut)
	if err != nil {
		return view.Order{}, err
	}
	next := int64(0)
	doc, broken := fold(ctx, s.options.Apply, id, timed(k.events), func(e CutEvent, _, _ view.Order) { next = int64(e.Revision) + 1 })
	switch {
	case broken != nil && ctx.Err() != nil:
		return view.Order{}, broken
	case parked:
		doc.Degraded = &degraded
	case broken != nil:
		doc.Degraded = &view.Degraded{Reason: broken.Error(), Revision: next}
	case k.bad != nil:
		doc.Degraded = &view.Degraded{Reason: k.bad.Error(), Revision: int64(k.badAt)}
	}
	return doc, nil
}

// OrderAt is the order up to and including revision; see OrderAsOf. Since
// answers of commands need it, it waits for no turn.
func (s *Service) OrderAt(ctx context.Context, id string, revision eventstore.Revision) (view.Order, error) {
	return s.replay(ctx, id, Cut{Revision: &revision}, nil)
}

// Preview is the order as it would be with events on top of revision base; base
// is -1 for an order that is not there.
func (s *Service) Preview(ctx context.Context, id string, base eventstore.Revision, events []codec.Recorded) (view.Order, error) {
	doc := projections.Empty(id)
	if base >= 0 {
		var err error
		if doc, err = s.OrderAt(ctx, id, base); err != nil {
			return view.Order{}, err
		}
	}
	for _, e := range events {
		doc = s.options.Apply(doc, e)
	}
	return doc, nil
}

// document asks the hot view for one order.
func (s *Service) document(ctx context.Context, id string) (doc view.Order, found bool, generation int, err error) {
	asking := ctx
	if s.hot.Remote {
		var cancel context.CancelFunc
		asking, cancel = context.WithTimeout(ctx, logInstead)
		defer cancel()
	}
	doc, generation, err = ask(s.hot, func(v Hot) (doc view.Order, err error) {
		doc, found, err = v.Order(asking, id)
		return doc, err
	})
	if err != nil && asking.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return doc, found && err == nil, generation, err
}

func revisionOf(doc view.Order) eventstore.Revision { return eventstore.Revision(doc.Revision) }
