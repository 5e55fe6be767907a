package projectionstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
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
	mu          sync.Mutex
	generations map[int]*generation
	failing     int
	breaking    int
	refused     map[string]error
}

// NewReference makes a backend without generations.
func NewReference() *Reference {
	return &Reference{generations: map[int]*generation{}, refused: map[string]error{}}
}

// ErrInjected is the failure that FailWrites and BreakWrites cause.
var ErrInjected = errors.New("injected failure")

// FailWrites makes the next n writes fail as a whole, before anything is
// applied.
func (r *Reference) FailWrites(n int) { r.locked(func() { r.failing = n }) }

// BreakWrites makes the next n writes fail in the middle: the first half of
// their documents (rounded up) is applied, and of the next one only what
// concerns its customer; nothing else.
func (r *Reference) BreakWrites(n int) { r.locked(func() { r.breaking = n }) }

// Refuse makes every generation refuse documents of this order; a nil reason
// accepts them again.
func (r *Reference) Refuse(orderID string, reason error) {
	r.locked(func() { r.refused[orderID] = reason })
}

func (r *Reference) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// injected says whether this write of n changes fails as a whole, and the change
// at which it breaks, or -1.
func (r *Reference) injected(n int) (fail bool, breakAt int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.failing > 0:
		r.failing--
		return true, -1
	case r.breaking > 0:
		r.breaking--
		return false, (n + 1) / 2
	}
	return false, -1
}

// Open implements projections.Backend; the sink answers query.Views too.
func (r *Reference) Open(ctx context.Context, number int) (projections.Sink, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.generations[number]
	if g == nil {
		g = &generation{}
		for lane := range g.control.lanes {
			g.control.lanes[lane].Lane = lane
		}
		g.control.parked = map[string]projections.Parked{}
		for i := range g.orders {
			g.orders[i].entries, g.orders[i].counted = map[string]entry{}, newTallies()
			g.customers[i].entries, g.customers[i].counted = map[string]entry{}, newTallies()
		}
		r.generations[number] = g
	}
	h := &handle{reference: r, generation: g}
	return h, h.Refresh(ctx)
}

// Drop implements projections.Backend.
func (r *Reference) Drop(ctx context.Context, number int) error {
	r.locked(func() { delete(r.generations, number) })
	return nil
}

// Generations implements projections.Backend.
func (r *Reference) Generations(ctx context.Context) (out []int, err error) {
	r.locked(func() { out = slices.Sorted(maps.Keys(r.generations)) })
	return out, nil
}

const slots = 16

func slotOf(key string) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % slots)
}

// generation is what survives closing.
type generation struct {
	orders    [slots]slot // by order id
	customers [slots]slot // by customer: an entry per customer and order
	control   struct {
		sync.Mutex
		lanes  [projections.Lanes]projections.Checkpoint
		parked map[string]projections.Parked
	}
}

// slot holds entries and what is counted of them.
type slot struct {
	sync.Mutex
	entries map[string]entry
	counted *tallies
}

type entry struct {
	revision     int64
	customer     string
	json         []byte // of orders
	contribution projections.Contribution
}

// set replaces an entry, and counts the new contribution minus the one kept.
func (s *slot) set(key string, e entry) {
	s.Lock()
	defer s.Unlock()
	s.counted.add(s.entries[key].contribution, -1)
	s.counted.add(e.contribution, 1)
	s.entries[key] = e
}

// handle is an open generation. Calls hold calls for reading, Close takes it.
type handle struct {
	*generation
	reference *Reference
	calls     sync.RWMutex
	closed    bool
	visible   atomic.Pointer[[]view.Order] // what lists see
}

func (h *handle) call(f func() error) error {
	h.calls.RLock()
	defer h.calls.RUnlock()
	if h.closed {
		return projections.ErrClosed
	}
	return f()
}

func (h *handle) controlled(f func() error) error {
	return h.call(func() error {
		h.control.Lock()
		defer h.control.Unlock()
		return f()
	})
}

func (h *handle) Close() error {
	h.calls.Lock()
	defer h.calls.Unlock()
	h.closed = true
	return nil
}

func (h *handle) Checkpoints(ctx context.Context) (out []projections.Checkpoint, err error) {
	err = h.controlled(func() error { out = slices.Clone(h.control.lanes[:]); return nil })
	return out, err
}

func (h *handle) Claim(ctx context.Context, lane int, owner string, token uint64) (cp projections.Checkpoint, err error) {
	err = h.controlled(func() error {
		stored := &h.control.lanes[lane]
		if stored.Token != token {
			return projections.ErrLaneLost
		}
		stored.Owner, stored.Token = owner, token+1
		cp = *stored
		return nil
	})
	return cp, err
}

func (h *handle) Parked(ctx context.Context) (out []projections.Parked, err error) {
	err = h.controlled(func() error {
		for _, id := range slices.Sorted(maps.Keys(h.control.parked)) {
			out = append(out, h.control.parked[id])
		}
		return nil
	})
	return out, err
}

func (h *handle) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	outcomes := make([]projections.Outcome, len(batch.Changes))
	err := h.call(func() error {
		fail, breakAt := h.reference.injected(len(batch.Changes))
		if fail {
			return ErrInjected
		}
		complete := true
		for i, change := range batch.Changes {
			if outcomes[i] = h.put(change, i == breakAt); i == breakAt {
				return ErrInjected
			}
			complete = complete && outcomes[i].Result <= projections.Already
		}
		if breakAt >= 0 {
			return ErrInjected
		}
		if !complete {
			return nil
		}
		return h.settle(batch)
	})
	return outcomes, err
}

func (h *handle) settle(batch projections.Batch) error {
	h.control.Lock()
	defer h.control.Unlock()
	for _, cp := range batch.Checkpoints {
		if h.control.lanes[cp.Lane].Token != cp.Token {
			return projections.ErrLaneLost
		}
	}
	for _, p := range batch.Park {
		h.control.parked[p.OrderID] = p
	}
	for _, id := range batch.Release {
		delete(h.control.parked, id)
	}
	for _, cp := range batch.Checkpoints {
		cp.Owner = h.control.lanes[cp.Lane].Owner
		h.control.lanes[cp.Lane] = cp
	}
	return nil
}

// put writes the customers' slots and then the document's, which decides: a
// repeat after a failure between them does all of it again.
func (h *handle) put(change projections.Change, broken bool) projections.Outcome {
	doc, c := change.Order, change.Contribution
	doc.Degraded = nil
	data, err := json.Marshal(doc)
	if err == nil && len(data) > projections.MaxDocument {
		err = fmt.Errorf("document of %d bytes", len(data))
	}
	h.reference.locked(func() { err = errors.Join(err, h.reference.refused[doc.ID]) })
	if err != nil {
		return projections.Outcome{Result: projections.Refused, Err: err}
	}
	orders := &h.orders[slotOf(doc.ID)]
	orders.Lock()
	old, found := orders.entries[doc.ID]
	orders.Unlock()
	switch {
	case found && old.revision >= doc.Revision:
		return projections.Outcome{Result: projections.Already}
	case found && old.revision < change.First-1, !found && change.First > 0:
		return projections.Outcome{Result: projections.Gap}
	}
	if old.customer != "" && old.customer != c.Customer {
		h.customers[slotOf(old.customer)].set(old.customer+" "+doc.ID, entry{})
	}
	if c.Customer != "" {
		h.customers[slotOf(c.Customer)].set(c.Customer+" "+doc.ID, entry{contribution: c})
	}
	if !broken {
		orders.set(doc.ID, entry{doc.Revision, c.Customer, data, c})
	}
	return projections.Outcome{Result: projections.Applied}
}

func (h *handle) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	found := map[string]view.Order{}
	for _, id := range ids {
		if doc, ok, err := h.Order(ctx, id); err != nil {
			return nil, err
		} else if ok {
			found[id] = doc
		}
	}
	return found, nil
}

// Refresh makes lists see what is there, slot by slot.
func (h *handle) Refresh(ctx context.Context) error {
	return h.call(func() error {
		docs := []view.Order{}
		for i := range h.orders {
			h.orders[i].Lock()
			for _, e := range h.orders[i].entries {
				docs = append(docs, decode(e.json))
			}
			h.orders[i].Unlock()
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

func (h *handle) Order(ctx context.Context, id string) (doc view.Order, ok bool, err error) {
	err = h.call(func() error {
		slot := &h.orders[slotOf(id)]
		slot.Lock()
		defer slot.Unlock()
		e, found := slot.entries[id]
		if ok = found; ok {
			doc = decode(e.json)
		}
		return nil
	})
	return doc, ok, err
}

func (h *handle) Orders(ctx context.Context, q query.Question) (page query.Page, err error) {
	err = h.call(func() error { page = answer(*h.visible.Load(), q); return nil })
	return page, err
}

func (h *handle) Customer(ctx context.Context, id string) (sum view.CustomerSummary, ok bool, err error) {
	err = h.call(func() error {
		slot := &h.customers[slotOf(id)]
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
		for i := range slots {
			for _, slot := range []*slot{&h.orders[i], &h.customers[i]} {
				slot.Lock()
				defer slot.Unlock()
			}
			orders := *h.orders[i].counted
			orders.customers = nil // they are counted in their own slots
			parts = append(parts, &orders, &tallies{customers: h.customers[i].counted.customers})
		}
		answer = stats(q, parts...)
		return nil
	})
	return answer, err
}
