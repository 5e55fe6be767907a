package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/reconcile/expected"
)

// history is what the log says of one order.
type history struct {
	id     string
	events []codec.Recorded // contiguous from revision 0
	bad    error            // why the event after them cannot be used; nil at the end
}

// last is the revision of the last event; -1 without any.
func (h history) last() int64 { return int64(len(h.events)) - 1 }

// historyOf decodes the records of one stream, as far as they are contiguous
// and known.
func historyOf(ns eventstore.Namespace, id string, records []eventstore.Record) history {
	h := history{id: id, events: make([]codec.Recorded, 0, len(records))}
	for _, record := range records {
		next := eventstore.Revision(len(h.events))
		if record.Revision != next {
			h.bad = fmt.Errorf("event %d of order %s is not in the log: event %d comes in its place", next, id, record.Revision)
			break
		}
		e, err := decode(record, ns)
		if err != nil {
			h.bad = err
			break
		}
		h.events = append(h.events, e)
	}
	return h
}

func decode(record eventstore.Record, ns eventstore.Namespace) (e codec.Recorded, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decode %s at %s revision %d: %v", record.Type, record.Stream, record.Revision, p)
		}
	}()
	return codec.Decode(record, ns)
}

// read reads an order's stream. A stream that is not there, or was deleted, is
// a history without events; damage ends one.
func (u *part) read(ctx context.Context, id string) (history, error) {
	if len(id) > maxKey {
		return history{id: id}, nil
	}
	var records []eventstore.Record
	var damage error
	for record, err := range u.Store.ReadStream(ctx, u.Namespace.Stream(codec.Category, id), 0, eventstore.Forwards, 0) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			return history{id: id}, nil
		case errors.Is(err, eventstore.ErrCorrupt):
			damage = err
		case err != nil:
			return history{}, fmt.Errorf("read order %s: %w", id, err)
		default:
			records = append(records, record)
		}
	}
	h := historyOf(u.Namespace, id, records)
	if h.bad == nil {
		h.bad = damage
	}
	return h, nil
}

// wanted is what should be kept of an order at one revision.
type wanted struct {
	projections.Change
	there bool // something should be kept
	sound bool // no invariant is broken
}

// fold is what should be kept of an order that is at revision last. There is
// nothing below 0. Broken invariants are noted: nothing that differs is then
// believed.
func (u *part) fold(h history, last int64) wanted {
	if last = min(last, h.last()); last < 0 {
		return wanted{projections.Change{Order: projections.Empty(h.id)}, false, true}
	}
	o := u.table.Order(h.id, h.events[:last+1])
	if len(o.Violations) > 0 {
		u.contradicts(h.id, o.Violations)
	}
	o.Document.ID = h.id // whatever the table made of it
	return wanted{projections.Change{
		Order: o.Document, Contribution: contributionOf(o.Counted), Words: projections.JoinWords(o.Texts),
	}, true, len(o.Violations) == 0}
}

// contradicts notes that the expected side is not to be believed.
func (u *part) contradicts(id string, violations []expected.Violation) {
	for _, v := range violations {
		u.doubt(fmt.Sprintf("the expected side contradicts itself: order %s breaks %q: %s. Nothing that differs is believed; this is a bug of docket, in reconcile/expected", id, v.Invariant, v.Detail))
	}
	u.mu.Lock()
	u.contradicted = true
	u.mu.Unlock()
}
