package query

import (
	"context"
	"errors"
	"fmt"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// Order answers one order. Degraded is set when the order is parked. An order
// that the view does not have is folded from the log.
func (s *Service) Order(ctx context.Context, id string, read Read) (OrderAnswer, error) {
	if err := s.await(ctx, read); err != nil {
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
// parked.
func (s *Service) OrderFromLog(ctx context.Context, id string) (view.Order, error) {
	last := eventstore.EndRevision
	degraded, parked := s.options.Progress.ParkedOrder(id)
	if parked {
		last = eventstore.Revision(degraded.Revision) - 1
	}
	f := s.fold(ctx, id, last)
	if f.err != nil {
		return view.Order{}, f.err
	}
	switch {
	case parked:
		f.doc.Degraded = &degraded
	case f.bad != nil:
		// The runner will meet this event too, and park the order.
		f.doc.Degraded = &view.Degraded{Reason: f.bad.Error(), Revision: int64(f.next)}
	}
	return f.doc, nil
}

// OrderAt is the order up to and including revision; see OrderAsOf.
func (s *Service) OrderAt(ctx context.Context, id string, revision eventstore.Revision) (view.Order, error) {
	return s.OrderAsOf(ctx, id, Cut{Revision: &revision})
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

// folded is an order's stream as far as it could be folded.
type folded struct {
	doc  view.Order
	next eventstore.Revision // of the first event that is not in doc
	bad  error               // why that event cannot be read, if it is there
	err  error               // the stream cannot be read
}

// fold reads the order's stream up to and including revision last; the document
// is projections.Empty when not even the first event is in it.
func (s *Service) fold(ctx context.Context, id string, last eventstore.Revision) folded {
	f := folded{doc: projections.Empty(id)}
	stream := s.options.Namespace.Stream(codec.Category, id)
	for record, err := range s.options.Store.ReadStream(ctx, stream, 0, eventstore.Forwards, 0) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			f.err = ErrOrderUnknown
			return f
		case err != nil:
			f.err = fmt.Errorf("read %s: %w", stream, err)
			return f
		case record.Revision > last:
			return f
		}
		e, err := codec.Decode(record, s.options.Namespace)
		if err != nil {
			f.bad = err
			return f
		}
		f.doc, f.next = projections.Apply(f.doc, e), record.Revision+1
	}
	return f
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
