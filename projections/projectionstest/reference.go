package projectionstest

import (
	"cmp"
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

// Open implements projections.Backend; the sink answers query.Views too.
func (r *Reference) Open(ctx context.Context, number int) (projections.Sink, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.generations[number]
	if g == nil {
		g = &generation{parked: map[string]projections.Parked{}}
		for lane := range g.lanes {
			g.lanes[lane].Lane = lane
		}
		for i := range g.slots {
			g.slots[i] = &slot{entries: map[string]entry{}, counted: newTallies()}
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
	revision     int64
	json         []byte // of orders
	contribution projections.Contribution
}

func (g *generation) slot(key string) *slot {
	h := fnv.New32a()
	h.Write([]byte(key))
	return g.slots[h.Sum32()%uint32(len(g.slots))]
}

// set replaces an entry, and counts the new contribution minus the one kept.
func (s *slot) set(key string, e entry, count func(t *tallies, c projections.Contribution, sign int64)) {
	s.Lock()
	defer s.Unlock()
	count(s.counted, s.entries[key].contribution, -1)
	count(s.counted, e.contribution, 1)
	s.entries[key] = e
}

func (s *slot) get(key string) (e entry, ok bool) {
	s.Lock()
	defer s.Unlock()
	e, ok = s.entries[key]
	return e, ok
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
	err = h.controlled(func() error { out = slices.Clone(h.lanes[:]); return nil })
	return out, err
}

func (h *handle) Claim(ctx context.Context, lane int, owner string, token uint64) (cp projections.Checkpoint, err error) {
	err = h.controlled(func() error {
		if h.lanes[lane].Token != token {
			return projections.ErrLaneLost
		}
		h.lanes[lane].Owner, h.lanes[lane].Token = owner, token+1
		cp = h.lanes[lane]
		return nil
	})
	return cp, err
}

func (h *handle) Parked(ctx context.Context) (out []projections.Parked, err error) {
	err = h.controlled(func() error { out = slices.Collect(maps.Values(h.parked)); return nil })
	slices.SortFunc(out, func(a, b projections.Parked) int { return cmp.Compare(a.OrderID, b.OrderID) })
	return out, err
}

func (h *handle) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	fail, breakAt := false, -1
	h.reference.locked(func() {
		switch r := h.reference; {
		case r.failing > 0:
			r.failing, fail = r.failing-1, true
		case r.breaking > 0:
			r.breaking, breakAt = r.breaking-1, (len(batch.Changes)+1)/2
		}
	})
	if fail {
		return nil, ErrInjected
	}
	outcomes, complete := make([]projections.Outcome, len(batch.Changes)), true
	err := h.call(func() error {
		for i, change := range batch.Changes {
			outcomes[i] = h.put(change, i == breakAt)
			complete = complete && outcomes[i].Result <= projections.Already
			if i == breakAt {
				break
			}
		}
		if breakAt >= 0 {
			return ErrInjected
		}
		return nil
	})
	if err != nil || !complete {
		return outcomes, err
	}
	return outcomes, h.controlled(func() error { return h.settle(batch) })
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
	old, found := h.slot(doc.ID).get(doc.ID)
	switch {
	case found && old.revision >= doc.Revision:
		return projections.Outcome{Result: projections.Already}
	case found && old.revision < change.First-1, !found && change.First > 0:
		return projections.Outcome{Result: projections.Gap}
	}
	if former := old.contribution.Customer; former != c.Customer {
		h.slot(former).set(former+" "+doc.ID, entry{}, (*tallies).addCustomer)
	}
	h.slot(c.Customer).set(c.Customer+" "+doc.ID, entry{contribution: c}, (*tallies).addCustomer)
	if !broken {
		h.slot(doc.ID).set(doc.ID, entry{doc.Revision, data, c}, (*tallies).add)
	}
	return projections.Outcome{Result: projections.Applied}
}

func (h *handle) settle(batch projections.Batch) error {
	for _, cp := range batch.Checkpoints {
		if h.lanes[cp.Lane].Token != cp.Token {
			return projections.ErrLaneLost
		}
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
			if e, ok := h.slot(id).get(id); ok {
				found[id] = decode(e.json)
			}
		}
		return nil
	})
}
