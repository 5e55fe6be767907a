package projections

import (
	"errors"
	"fmt"

	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/view"
)

// Fold is what a generation makes of events. All three are pure and may be
// called from many goroutines; a panic in one is that order's alone. Nil fields
// are this program's own: Apply, Contributions, OrderWords.
type Fold struct {
	Apply         func(view.Order, codec.Recorded) view.Order
	Contributions func(view.Order) Contribution
	Words         func(view.Order) string
}

func (f Fold) complete() Fold {
	if f.Apply == nil {
		f.Apply = Apply
	}
	if f.Contributions == nil {
		f.Contributions = Contributions
	}
	if f.Words == nil {
		f.Words = OrderWords
	}
	return f
}

var errGap = errors.New("events are missing")

// order makes the change that events bring to a document. It fails when the
// events do not go on where the document ends, or one cannot be applied; the
// change is then what the events before it bring.
func (f Fold) order(doc view.Order, exists bool, events []arrival) (c Change, changed bool, err error) {
	revision := int64(-1)
	if exists {
		revision = doc.Revision
	}
	c.First = revision + 1
	for _, e := range events {
		if e.revision <= revision {
			continue
		}
		next, failed := f.step(doc, revision+1, e)
		if failed != nil {
			err = failed
			break
		}
		doc, revision, changed = next, e.revision, true
	}
	if !changed {
		return Change{}, false, err
	}
	defer func() {
		if p := recover(); p != nil {
			c, changed, err = Change{}, false, fmt.Errorf("event %d: %v", revision, p)
		}
	}()
	c.Order, c.Contribution, c.Words = doc, f.Contributions(doc), f.Words(doc)
	return c, true, err
}

// step applies one event, which must be the next.
func (f Fold) step(doc view.Order, next int64, e arrival) (out view.Order, err error) {
	switch {
	case e.poison != nil:
		return doc, e.poison
	case e.revision != next:
		return doc, errGap
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("event %d: %v", next, p)
		}
	}()
	return f.Apply(doc, e.event), nil
}
