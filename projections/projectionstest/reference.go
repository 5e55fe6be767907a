package projectionstest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// Reference is a backend in memory, as unlike a database as possible: nothing
// is atomic across documents, a document's customer, and the checkpoints; every
// key lives in a slot chosen by hash, with a lock and counters of its own, and
// readers sum the slots; lists see documents only after a refresh; a document
// may be refused alone. It shows what the runner and the query service may rely
// on, and fails on demand.
type Reference struct {
	failing, breaking atomic.Int64 // writes still to fail; below zero is none
	refused           sync.Map     // order id to error, or to nil
	generations       sync.Map     // number to *generation
}

// NewReference makes a backend without generations.
func NewReference() *Reference { return &Reference{} }

// ErrInjected is the failure that FailWrites and BreakWrites cause.
var ErrInjected = errors.New("injected failure")

// FailWrites makes the next n writes fail before anything is applied.
func (r *Reference) FailWrites(n int) { r.failing.Store(int64(n)) }

// BreakWrites makes the next n writes fail in the middle: the first half of
// their documents (rounded up) is applied, and of the next one only what
// concerns its customer; nothing else.
func (r *Reference) BreakWrites(n int) { r.breaking.Store(int64(n)) }

// Refuse makes every generation refuse this order; a nil reason ends that.
func (r *Reference) Refuse(orderID string, reason error) { r.refused.Store(orderID, reason) }

// Open implements projections.Backend; the sink answers query.Views too.
func (r *Reference) Open(ctx context.Context, number int) (projections.Sink, error) {
	g := &generation{parked: map[string]projections.Parked{}}
	for lane := range g.lanes {
		g.lanes[lane].Lane = lane
	}
	for i := range g.slots {
		g.slots[i] = &slot{entries: map[string]entry{}, counted: newTallies()}
	}
	kept, _ := r.generations.LoadOrStore(number, g)
	h := &handle{reference: r, generation: kept.(*generation)}
	return h, h.Refresh(ctx)
}

func (r *Reference) Drop(ctx context.Context, number int) error {
	r.generations.Delete(number)
	return nil
}

func (r *Reference) Generations(ctx context.Context) (out []int, err error) {
	r.generations.Range(func(number, _ any) bool { out = append(out, number.(int)); return true })
	slices.Sort(out)
	return out, nil
}

// generation is what survives closing.
type generation struct {
	slots   [16]*slot
	control sync.Mutex // of what follows
	lanes   [projections.Lanes]projections.Checkpoint
	parked  map[string]projections.Parked
}

// slot holds entries, under an order's id or, for each order of a customer,
// "customer order", and what is counted of them.
type slot struct {
	sync.Mutex
	entries map[string]entry
	counted *tallies
}

type entry struct {
	events       int64  // of orders: the revision they lead to, plus one
	json         []byte // of orders
	contribution projections.Contribution
}

func (g *generation) slot(key string) *slot {
	return g.slots[crc32.ChecksumIEEE([]byte(key))%uint32(len(g.slots))]
}

// set replaces an entry, and counts the new contribution minus the one kept.
func (s *slot) set(key string, e entry, count func(t *tallies, c projections.Contribution, sign int64)) {
	s.Lock()
	defer s.Unlock()
	count(s.counted, s.entries[key].contribution, -1)
	count(s.counted, e.contribution, 1)
	s.entries[key] = e
}

func (s *slot) get(key string) entry {
	s.Lock()
	defer s.Unlock()
	return s.entries[key]
}

// handle is an open generation. Calls hold calls for reading, Close takes it.
type handle struct {
	*generation
	reference      *Reference
	calls, refresh sync.RWMutex
	closed         bool
	visible        atomic.Pointer[[]view.Order] // what lists see
}

// call runs f, holding locks, unless the handle is closed.
func (h *handle) call(f func() error, locks ...sync.Locker) error {
	h.calls.RLock()
	defer h.calls.RUnlock()
	if h.closed {
		return projections.ErrClosed
	}
	for _, lock := range locks {
		lock.Lock()
		defer lock.Unlock()
	}
	return f()
}

func (h *handle) Close() error {
	h.calls.Lock()
	defer h.calls.Unlock()
	h.closed = true
	return nil
}

func (h *handle) Checkpoints(ctx context.Context) (out []projections.Checkpoint, err error) {
	err = h.call(func() error { out = slices.Clone(h.lanes[:]); return nil }, &h.control)
	return out, err
}

func (h *handle) Claim(ctx context.Context, lane int, owner string, token uint64) (cp projections.Checkpoint, err error) {
	err = h.call(func() error {
		if h.lanes[lane].Token != token {
			return projections.ErrLaneLost
		}
		h.lanes[lane].Owner, h.lanes[lane].Token = owner, token+1
		cp = h.lanes[lane]
		return nil
	}, &h.control)
	return cp, err
}

func (h *handle) Parked(ctx context.Context) (out []projections.Parked, err error) {
	err = h.call(func() error { out = slices.Collect(maps.Values(h.parked)); return nil }, &h.control)
	slices.SortFunc(out, func(a, b projections.Parked) int { return cmp.Compare(a.OrderID, b.OrderID) })
	return out, err
}

func (h *handle) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	if h.reference.failing.Add(-1) >= 0 {
		return nil, ErrInjected
	}
	whole, failure := len(batch.Changes), error(nil)
	if h.reference.breaking.Add(-1) >= 0 {
		whole, failure = (whole+1)/2, ErrInjected
	}
	outcomes, complete := make([]projections.Outcome, len(batch.Changes)), true
	return outcomes, h.call(func() error {
		for i, change := range batch.Changes[:min(whole+1, len(outcomes))] {
			outcomes[i] = h.put(change, i < whole)
			complete = complete && outcomes[i].Result <= projections.Already
		}
		if failure != nil || !complete {
			return failure
		}
		return h.settle(batch)
	})
}

// put writes the customers' slots and then the document's, which decides: a
// repeat after a failure between them does all of it again.
func (h *handle) put(change projections.Change, whole bool) projections.Outcome {
	doc, c := change.Order, change.Contribution
	doc.Degraded = nil
	data, err := json.Marshal(doc)
	if len(data) > projections.MaxDocument {
		err = fmt.Errorf("document of %d bytes", len(data))
	}
	if reason, _ := h.reference.refused.Load(doc.ID); reason != nil {
		err = reason.(error)
	}
	old := h.slot(doc.ID).get(doc.ID)
	switch {
	case err != nil:
		return projections.Outcome{Result: projections.Refused, Err: err}
	case old.events > doc.Revision:
		return projections.Outcome{Result: projections.Already}
	case old.events < change.First:
		return projections.Outcome{Result: projections.Gap}
	}
	if former := old.contribution.Customer; former != c.Customer {
		h.slot(former).set(former+" "+doc.ID, entry{}, (*tallies).addCustomer)
	}
	h.slot(c.Customer).set(c.Customer+" "+doc.ID, entry{contribution: c}, (*tallies).addCustomer)
	if whole {
		h.slot(doc.ID).set(doc.ID, entry{doc.Revision + 1, data, c}, (*tallies).add)
	}
	return projections.Outcome{Result: projections.Applied}
}

func (h *handle) settle(batch projections.Batch) error {
	h.control.Lock()
	defer h.control.Unlock()
	if slices.ContainsFunc(batch.Checkpoints, func(cp projections.Checkpoint) bool { return h.lanes[cp.Lane].Token != cp.Token }) {
		return projections.ErrLaneLost
	}
	for _, p := range batch.Park {
		h.parked[p.OrderID] = p
	}
	for _, id := range batch.Release {
		delete(h.parked, id)
	}
	for _, cp := range batch.Checkpoints {
		h.lanes[cp.Lane] = cp
	}
	return nil
}

func (h *handle) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	found := map[string]view.Order{}
	return found, h.call(func() error {
		for _, id := range ids {
			if e := h.slot(id).get(id); e.json != nil {
				var doc view.Order
				if err := json.Unmarshal(e.json, &doc); err != nil {
					return err
				}
				found[id] = doc
			}
		}
		return nil
	})
}

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
