package projectionstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// everything runs f with all locks held.
func (h *handle) everything(f func()) error {
	locks := []sync.Locker{&h.control}
	for _, slot := range h.slots {
		locks = append(locks, slot)
	}
	return h.call(func() error { f(); return nil }, locks...)
}

type entry struct {
	events       int64  // of the order: the revision they lead to, plus one
	json         []byte // of orders, as what follows
	contribution projections.Contribution
	customers    []string // all whose it ever was
	words        string
}

func entryOf(change projections.Change) entry {
	change.Order.Degraded = nil
	data, _ := json.Marshal(change.Order) // documents always encode
	return entry{change.Order.Revision + 1, data, change.Contribution, nil, change.Words}
}

func (h *handle) Inspect(ctx context.Context, want []projections.Change) ([]projections.Kept, error) {
	out := make([]projections.Kept, len(want))
	return out, h.everything(func() {
		for i, change := range want {
			id, e, k := change.Order.ID, entryOf(change), &out[i]
			kept := h.slot(id).entries[id]
			customer := kept.contribution.Customer // whose entry of the order is looked at, too
			counted := h.slot(customer).entries[customer+" "+id].contribution
			k.Found, k.Same = kept.json != nil, bytes.Equal(kept.json, e.json) &&
				reflect.DeepEqual(kept.contribution, e.contribution) && reflect.DeepEqual(counted, e.contribution)
			if k.Found && !k.Same {
				k.Contribution, _ = kept.contribution, json.Unmarshal(kept.json, &k.Document)
				if kept.events == e.events && !reflect.DeepEqual(counted, kept.contribution) {
					k.Rows = []string{"customer " + customer + ": another contribution is counted"}
				}
			}
		}
	})
}

func (h *handle) IDs(ctx context.Context, after string, limit int) (ids []string, err error) {
	err = h.everything(func() {
		for _, slot := range h.slots {
			for key, e := range slot.entries {
				if e.json != nil && (key > after || after == "") {
					ids = append(ids, key)
				}
			}
		}
	})
	slices.Sort(ids)
	return ids[:min(limit, len(ids))], err
}

func (h *handle) Figures(ctx context.Context, yield func(projections.Figure) error) (lanes []projections.Checkpoint, err error) {
	docs, parts, found := []view.Order{}, []*tallies{}, allFigures{}
	err = h.everything(func() {
		for _, slot := range h.slots {
			parts = append(parts, slot.counted)
			for _, e := range slot.entries {
				var doc view.Order // without values where e is a customer's
				json.Unmarshal(e.json, &doc)
				docs = append(docs, doc)
			}
		}
		found, lanes = figures(docs, parts...), slices.Clone(h.lanes[:])
	})
	for key, values := range found {
		if err == nil {
			err = yield(projections.Figure{FigureKey: key, Values: values})
		}
	}
	return lanes, err
}

func (h *handle) Replace(ctx context.Context, orderID string, change *projections.Change) error {
	var e entry
	if change != nil {
		e = entryOf(*change)
		if err := h.reference.refuses(orderID, e); err != nil {
			return fmt.Errorf("%w: %w", projections.ErrRefused, err)
		}
	}
	return h.call(func() error {
		e, _ = h.slot(orderID).keep(orderID, e, 0, true)
		h.tell(orderID, e, true)
		return nil
	})
}

func (h *handle) Recount(ctx context.Context) (changed int, err error) {
	err = h.everything(func() {
		for _, slot := range h.slots {
			before := figures(nil, slot.counted)
			*slot.counted = *talliesOf(slot.entries) // Stats holds on to it
			changed += differing(before, figures(nil, slot.counted))
		}
	})
	return changed, err
}

func (h *handle) Sound(ctx context.Context) ([]string, error) { return nil, h.everything(func() {}) }
