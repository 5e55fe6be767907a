package projectionstest

import (
	"context"
	"encoding/json"

	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// The reference answers questions by the naive evaluation that the suite
// compares with, but from what it has counted itself.

func (h *handle) Order(ctx context.Context, id string) (doc view.Order, ok bool, err error) {
	found, err := h.Documents(ctx, []string{id})
	doc, ok = found[id]
	return doc, ok, err
}

func (h *handle) Orders(ctx context.Context, q query.Question) (page query.Page, err error) {
	err = h.call(func() error { page = answer(*h.visible.Load(), q); return nil })
	return page, err
}

func (h *handle) Customer(ctx context.Context, id string) (sum view.CustomerSummary, ok bool, err error) {
	err = h.call(func() error {
		slot := h.slot(id)
		slot.Lock()
		defer slot.Unlock()
		sum, ok = summarise(id, *h.visible.Load(), slot.counted)
		return nil
	})
	return sum, ok, err
}

func (h *handle) CustomerOrders(ctx context.Context, id string, limit int, after *query.Key) (query.Page, error) {
	return h.Orders(ctx, customerQuestion(id, limit, after))
}

func (h *handle) Stats(ctx context.Context, q query.StatsQuestion) (answer view.Stats, err error) {
	err = h.call(func() error {
		var parts []*tallies
		for _, slot := range h.slots {
			slot.Lock()
			defer slot.Unlock()
			parts = append(parts, slot.counted)
		}
		answer = stats(q, parts...)
		return nil
	})
	return answer, err
}

// Refresh makes lists see what is there, slot by slot.
func (h *handle) Refresh(ctx context.Context) error {
	return h.call(func() error {
		docs := []view.Order{}
		for _, slot := range h.slots {
			slot.Lock()
			for _, e := range slot.entries {
				if e.json != nil {
					docs = append(docs, decode(e.json))
				}
			}
			slot.Unlock()
		}
		h.visible.Store(&docs)
		return nil
	})
}

func decode(data []byte) (doc view.Order) {
	if err := json.Unmarshal(data, &doc); err != nil {
		panic(err) // it was encoded here
	}
	return doc
}
