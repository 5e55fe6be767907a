package projectionstest

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// How the reference answers questions: query.Hot and query.Search.

func (h *handle) Order(ctx context.Context, id string) (doc view.Order, ok bool, err error) {
	found, err := h.Documents(ctx, []string{id})
	doc, ok = found[id]
	return doc, ok, err
}

func (h *handle) Orders(ctx context.Context, q query.Question) (page query.Page, err error) {
	if q.Holding != nil {
		if err := h.Refresh(ctx); err != nil {
			return page, err
		}
	}
	err = h.call(func() error {
		docs := *h.visible.Load()
		if held := q.Holding; held != nil && !slices.ContainsFunc(docs, func(d view.Order) bool { return d.ID == held.OrderID && d.Revision >= held.Revision }) {
			return query.ErrBehind
		}
		page = answer(docs, q)
		return nil
	})
	return page, err
}

func (h *handle) Customer(ctx context.Context, id string) (sum view.CustomerSummary, ok bool, err error) {
	slot := h.slot(id)
	err = h.call(func() error { sum, ok = summarise(id, *h.visible.Load(), slot.counted); return nil }, slot)
	return sum, ok, err
}

func (h *handle) CustomerOrders(ctx context.Context, id string, limit int, after *query.Key) (query.Page, error) {
	return h.Orders(ctx, customerQuestion(id, limit, after))
}

func (h *handle) Stats(ctx context.Context, q query.StatsQuestion) (answer view.Stats, err error) {
	parts, locks := []*tallies{}, []sync.Locker{}
	for _, slot := range h.slots {
		parts, locks = append(parts, slot.counted), append(locks, slot)
	}
	err = h.call(func() error { answer = stats(q, parts...); return nil }, locks...)
	return answer, err
}

// Refresh makes lists and customers see what is there, slot by slot.
func (h *handle) Refresh(ctx context.Context) error {
	h.refresh.Lock() // a slower refresh must not bring an older list back
	defer h.refresh.Unlock()
	var keys []string
	for _, slot := range h.slots {
		slot.Lock()
		keys = slices.AppendSeq(keys, maps.Keys(slot.entries))
		slot.Unlock()
	}
	found, err := h.Documents(ctx, keys)
	if err == nil {
		docs := slices.Collect(maps.Values(found))
		h.visible.Store(&docs)
	}
	return err
}
