package projections

import "github.com/docket-orders/docket/view"

// recentWeight bounds what a recent keeps, twice: elements of documents, of some
// hundred bytes each.
const recentWeight = 1 << 15

// recent is the documents that a feeder has written last, so that an order's next
// event finds what was written a moment ago without asking the store. It decides
// nothing: a write says which revision it goes on from, and where the sink keeps
// another, or none, its outcome is a Gap, and the order is settled from what is
// kept there. It belongs to one goroutine. The nil recent keeps nothing.
type recent struct {
	young, old map[string]view.Order // old are those that go when young is full
	weight     int                   // of young
}

// get is a document as it was written last here.
func (r *recent) get(id string) (doc view.Order, ok bool) {
	if r == nil {
		return doc, false
	}
	if doc, ok = r.young[id]; !ok {
		doc, ok = r.old[id]
	}
	return doc, ok
}

// put notes a document that was written.
func (r *recent) put(doc view.Order) {
	if r == nil {
		return
	}
	if r.young == nil || r.weight > recentWeight {
		r.young, r.old, r.weight = map[string]view.Order{}, r.young, 0
	}
	if before, again := r.young[doc.ID]; again {
		r.weight -= weigh(&before)
	}
	r.weight += weigh(&doc)
	r.young[doc.ID] = doc
}

// forget an order of which something else may be kept.
func (r *recent) forget(id string) {
	if r == nil {
		return
	}
	if before, ok := r.young[id]; ok {
		r.weight -= weigh(&before)
	}
	delete(r.young, id)
	delete(r.old, id)
}

// weigh is about how many elements a document has.
func weigh(d *view.Order) int {
	n := 4 + len(d.Lines) + len(d.CancelledLines) + len(d.Payments) + len(d.Refunds) + len(d.Notes) + len(d.Holds) + len(d.Tags) + len(d.Metadata) + len(d.Anomalies)
	for i := range d.Lines {
		n += len(d.Lines[i].Metadata)
	}
	for i := range d.Shipments {
		n += 1 + len(d.Shipments[i].Lines)
	}
	for i := range d.Returns {
		n += 1 + len(d.Returns[i].Lines) + len(d.Returns[i].Received)
	}
	for i := range d.Edits {
		n += 1 + len(d.Edits[i].Changes)
	}
	return n
}
