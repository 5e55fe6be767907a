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
// their documents (rounded up) is applied, and the next one without what
// concerns its customers; nothing else.
func (r *Reference) BreakWrites(n int) { r.breaking.Store(int64(n)) }

// Refuse makes every generation refuse this order; a nil reason ends that.
func (r *Reference) Refuse(orderID string, reason error) { r.refused.Store(orderID, reason) }

// refuses is why an entry is refused, or nil.
func (r *Reference) refuses(orderID string, e entry) error {
	if len(e.json) > projections.MaxDocument {
		return fmt.Errorf("%w: %d bytes", projections.ErrRefused, len(e.json))
	}
	reason, _ := r.refused.Load(orderID)
	err, _ := reason.(error)
	return err
}

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

// Drop implements projections.Backend; open handles answer ErrLost from then on.
func (r *Reference) Drop(ctx context.Context, number int) error {
	if g, there := r.generations.LoadAndDelete(number); there {
		g.(*generation).dropped.Store(true)
	}
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
	dropped atomic.Bool
}

// slot holds entries, under an order's id or, for each order of a customer,
// "customer order", and what is counted of them.
type slot struct {
	sync.Mutex
	entries map[string]entry
	counted *tallies
}

func (g *generation) slot(key string) *slot {
	return g.slots[crc32.ChecksumIEEE([]byte(key))%uint32(len(g.slots))]
}

// set replaces an entry, unless a newer one is kept and force is not set.
func (s *slot) set(key string, e entry, force bool) {
	s.Lock()
	defer s.Unlock()
	if force || s.entries[key].events <= e.events {
		s.count(key, e, (*tallies).addCustomer)
	}
}

// count replaces an entry, and counts the new contribution minus the one kept.
func (s *slot) count(key string, e entry, add func(t *tallies, c projections.Contribution, sign int64)) {
	add(s.counted, s.entries[key].contribution, -1)
	add(s.counted, e.contribution, 1)
	s.entries[key] = e
}

// keep replaces an order's entry, unless what is kept is as new, or older than
// events from first on need; always, with force. It returns what is kept now.
func (s *slot) keep(id string, e entry, first int64, force bool) (entry, projections.Result) {
	s.Lock()
	defer s.Unlock()
	old := s.entries[id]
	switch {
	case old.events >= e.events && !force:
		return old, projections.Already
	case old.events < first && !force:
		return old, projections.Gap
	}
	e.customers = slices.Compact(slices.Sorted(slices.Values(append(slices.Clip(old.customers), e.contribution.Customer))))
	s.count(id, e, (*tallies).add)
	return e, projections.Applied
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
	switch {
	case h.closed:
		return projections.ErrClosed
	case h.dropped.Load():
		return projections.ErrLost
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

func (h *handle) Beat(ctx context.Context, lanes []projections.Checkpoint) (lost []int, err error) {
	err = h.call(func() error {
		for _, cp := range lanes {
			if h.lanes[cp.Lane].Token != cp.Token {
				lost = append(lost, cp.Lane)
				continue
			}
			h.lanes[cp.Lane].Beat++
		}
		return nil
	}, &h.control)
	return lost, err
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

// put writes the document, which decides, and then tells the customers: a repeat
// after a failure between them tells them again.
func (h *handle) put(change projections.Change, whole bool) projections.Outcome {
	id, e := change.Order.ID, entryOf(change)
	if err := h.reference.refuses(id, e); err != nil {
		return projections.Outcome{Result: projections.Refused, Err: err}
	}
	e, result := h.slot(id).keep(id, e, change.First, false)
	if whole {
		h.tell(id, e, false)
	}
	return projections.Outcome{Result: result}
}

// tell gives every customer whose the order ever was what it contributes now: a
// former owner of the lane that comes late must find its news old there, too.
func (h *handle) tell(id string, order entry, force bool) {
	for _, customer := range order.customers {
		told := entry{events: order.events}
		if customer == order.contribution.Customer {
			told.contribution = order.contribution
		}
		h.slot(customer).set(customer+" "+id, told, force)
	}
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
			s := h.slot(id)
			s.Lock()
			e := s.entries[id]
			s.Unlock()
			if e.json != nil {
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
