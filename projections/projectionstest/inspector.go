package projectionstest

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"sync"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// The inspector of the reference.

func (h *handle) Inspect(ctx context.Context, want []projections.Change) ([]projections.Kept, error) {
	out := make([]projections.Kept, len(want))
	return out, h.call(func() error {
		for i, change := range want {
			doc, c := change.Order, change.Contribution
			doc.Degraded = nil
			data, err := json.Marshal(doc)
			if err != nil {
				return err
			}
			kept, k := h.slot(doc.ID).get(doc.ID), &out[i]
			customers := h.slot(kept.contribution.Customer).get(kept.contribution.Customer + " " + doc.ID)
			if k.Found = kept.json != nil; !k.Found {
				continue
			}
			k.Same = bytes.Equal(kept.json, data) && reflect.DeepEqual(kept.contribution, c) && reflect.DeepEqual(customers.contribution, c)
			if !k.Same {
				k.Contribution = kept.contribution
				if err := json.Unmarshal(kept.json, &k.Document); err != nil {
					k.Unreadable = err.Error()
				}
			}
		}
		return nil
	})
}

func (h *handle) IDs(ctx context.Context, after string, limit int) (ids []string, err error) {
	err = h.call(func() error {
		for _, slot := range h.slots {
			slot.Lock()
			for key, e := range slot.entries {
				if e.json != nil && key > after {
					ids = append(ids, key)
				}
			}
			slot.Unlock()
		}
		return nil
	})
	slices.Sort(ids)
	return ids[:min(limit, len(ids))], err
}

// Replace sets what put sets, whatever is there.
func (h *handle) Replace(ctx context.Context, orderID string, change *projections.Change) error {
	return h.call(func() error {
		old, e := h.slot(orderID).get(orderID), entry{}
		if change != nil {
			doc := change.Order
			doc.Degraded = nil
			data, err := json.Marshal(doc)
			if reason, _ := h.reference.refused.Load(orderID); err != nil || reason != nil || len(data) > projections.MaxDocument {
				return projections.ErrRefused
			}
			e = entry{doc.Revision + 1, data, change.Contribution}
		}
		former, now := old.contribution.Customer, e.contribution.Customer
		h.slot(former).set(former+" "+orderID, entry{}, (*tallies).addCustomer)
		h.slot(now).set(now+" "+orderID, entry{contribution: e.contribution}, (*tallies).addCustomer)
		h.slot(orderID).set(orderID, e, (*tallies).add)
		return nil
	})
}

func (h *handle) Figures(ctx context.Context, yield func(projections.Figure) error) (lanes []projections.Checkpoint, err error) {
	var found map[projections.FigureKey][8]int64
	err = h.locked(func() error {
		var docs []view.Order
		parts := []*tallies{}
		for _, slot := range h.slots {
			parts = append(parts, slot.counted)
			for _, e := range slot.entries {
				var doc view.Order
				if e.json != nil && json.Unmarshal(e.json, &doc) == nil {
					docs = append(docs, doc)
				}
			}
		}
		found, lanes = figures(docs, parts...), slices.Clone(h.lanes[:])
		return nil
	})
	for key, values := range found {
		if err == nil && values != [8]int64{} {
			err = yield(projections.Figure{FigureKey: key, Values: values})
		}
	}
	return lanes, err
}

func (h *handle) Recount(ctx context.Context) (changed int, err error) {
	err = h.locked(func() error {
		for _, slot := range h.slots {
			counted := newTallies()
			for _, e := range slot.entries {
				if e.json != nil {
					counted.add(e.contribution, 1)
				} else {
					counted.addCustomer(e.contribution, 1)
				}
			}
			changed += differing(figures(nil, slot.counted), figures(nil, counted))
			slot.counted = counted
		}
		return nil
	})
	return changed, err
}

// locked runs f with everything locked.
func (h *handle) locked(f func() error) error {
	locks := []sync.Locker{&h.control}
	for _, slot := range h.slots {
		locks = append(locks, slot)
	}
	return h.call(f, locks...)
}
