package projectionstest

import (
	"fmt"
	"testing"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// byID asks for orders right after they were written, without a refresh.
func byID(t *testing.T, s Store) {
	f := start(t, s)
	r := random(29)
	ask := func(id string, want view.Order, there bool) {
		t.Helper()
		got, ok, err := f.hot.Order(f.ctx, id)
		f.same("order "+id, []any{got, ok}, []any{want, there}, err)
	}
	docs := Documents(29, 40)
	for _, doc := range docs {
		ask(doc.ID, view.Order{}, false)
		for range 2 {
			f.put(doc)
			ask(doc.ID, doc, true)
			doc = later(r, doc)
		}
	}
	var batch projections.Batch
	for _, doc := range docs {
		batch.Changes = append(batch.Changes, ChangeTo(later(r, f.docs[doc.ID]), 0))
	}
	f.results(batch)
	for _, doc := range docs {
		ask(doc.ID, f.docs[doc.ID], true)
	}
}

func customers(t *testing.T, s Store) {
	f := start(t, s)
	r := random(24)
	docs := Documents(24, 300)
	f.put(docs...)
	for i := range docs {
		docs[i] = later(r, docs[i])
	}
	f.put(docs...)
	f.checkCounters()
	for i := range 42 {
		id := fmt.Sprintf("c%d", i)
		var after *query.Key
		for more := true; more; more = after != nil {
			q := customerQuestion(id, 4, after)
			page, err := f.hot.CustomerOrders(f.ctx, id, 4, after)
			f.samePage(q, page, answer(docs, q), err)
			after = page.Next
		}
	}
	// Guests are no customer.
	_, ok, err := f.hot.Customer(f.ctx, "")
	f.same("the guest", ok, false, err)
	page, err := f.hot.CustomerOrders(f.ctx, "", 10, nil)
	f.same("the guest's orders", len(page.Items), 0, err)
}

func statistics(t *testing.T, s Store) {
	f := start(t, s)
	docs := Documents(25, 300)
	f.put(docs...)
	f.checkCounters()

	// What comes down to nothing is not there any more.
	var gone []view.Order
	for _, doc := range docs {
		doc.Revision += 10
		doc.Currency, doc.Status, doc.Tags = "EUR", "cancelled", []string{"other"}
		doc.Customer = view.Customer{ID: "c1"}
		lines(random(1), &doc)
		gone = append(gone, doc)
	}
	f.put(gone...)
	f.checkCounters()
	stats, err := f.hot.Stats(f.ctx, query.StatsQuestion{})
	f.same("currencies", len(stats.Currencies), 1, err)
}
