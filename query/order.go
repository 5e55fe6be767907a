package query

import (
	"context"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// Order answers one order. Degraded is set when the order is parked. An order
// that the view does not have is folded from the log.
func (s *Service) Order(ctx context.Context, id string, read Read) (OrderAnswer, error) {
	if err := s.Await(ctx, read); err != nil {
		return OrderAnswer{}, err
	}
	doc, found, generation, err := s.document(ctx, id)
	if err != nil {
		return OrderAnswer{}, err
	}
	source := FromView
	if found {
		s.joinDegraded(&doc)
	} else {
		source = FromLog
		if doc, err = s.OrderFromLog(ctx, id); err != nil {
			return OrderAnswer{}, err
		}
	}
	fresh, err := s.freshness(ctx, generation)
	return OrderAnswer{Order: doc, Source: source, Freshness: fresh}, err
}

// OrderFromLog folds the order's stream, up to the event at which the order is
// parked, or will be when the runner meets it.
func (s *Service) OrderFromLog(ctx context.Context, id string) (view.Order, error) {
	var cut Cut
	degraded, parked := s.options.Progress.ParkedOrder(id)
	if parked {
		last := eventstore.Revision(degraded.Revision) - 1
		cut.Revision = &last
	}
	k, err := s.known(ctx, id, cut)
	if err != nil {
		return view.Order{}, err
	}
	next := int64(0)
	doc, broken := Fold(ctx, id, timed(k.events), func(e CutEvent, _, _ view.Order) { next = int64(e.Revision) + 1 })
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
		doc = projections.Apply(doc, e)
	}
	return doc, nil
}

// document asks the live generation for one order.
func (s *Service) document(ctx context.Context, id string) (doc view.Order, found bool, generation int, err error) {
	doc, generation, err = ask(s, func(v Views) (doc view.Order, err error) {
		doc, found, err = v.Order(ctx, id)
		return doc, err
	})
	return doc, found, generation, err
}

func (s *Service) joinDegraded(doc *view.Order) {
	if d, parked := s.options.Progress.ParkedOrder(doc.ID); parked {
		doc.Degraded = &d
	}
}

func revisionOf(doc view.Order) eventstore.Revision { return eventstore.Revision(doc.Revision) }
