package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/view"
)

// briefTime is for how long a store that fails is asked again while somebody
// waits.
const briefTime = time.Second

// applier brings events into one sink: it folds them into documents, writes
// each document once, and parks the order whose event it cannot apply. One
// goroutine writes; another may fold ahead, other orders.
type applier struct {
	sink      Sink
	store     eventstore.Store
	namespace eventstore.Namespace
	folding   Fold // complete
	logger    *slog.Logger
	// moved is told the orders that have a newer document or were parked.
	moved func(orderIDs []string)
	// claimed, where other processes feed other lanes, is a lane's record as it was
	// written last; false when the lane is not, or no longer, this process's. It is
	// nil where all lanes are.
	claimed func(lane int) (Checkpoint, bool)
	// accept, where it is set, is asked before an order is parked that the events
	// lead to; its error ends what is applied.
	accept func(context.Context, Parked) error
	// unsure: a write has failed, and may be done all the same, late.
	unsure atomic.Bool
	recent *recent // of the feeder that runs, and its goroutine's; else nil

	problem atomic.Pointer[string] // what it waits for; nil when it does not

	mu       sync.RWMutex
	parked   map[string]Parked
	parkings int // raised whenever parked changes
}

// work is the events of one order that arrived together, in order: decoded, or
// as records still to be decoded.
type work struct {
	orderID string
	events  []arrival
	records []eventstore.Record
}

// folded is a batch to write. Orders in trouble are left out of it: they go the
// slow way.
type folded struct {
	batch   Batch
	trouble []string
}

// loadParked takes over which orders are parked in the store, whoever parked
// them. What is written here meanwhile is newer: then it reads again.
func (a *applier) loadParked(ctx context.Context) error {
	for {
		a.mu.RLock()
		before := a.parkings
		a.mu.RUnlock()
		list, err := a.sink.Parked(ctx)
		if err != nil {
			return fmt.Errorf("read parked orders: %w", err)
		}
		parked := make(map[string]Parked, len(list))
		for _, p := range list {
			parked[p.OrderID] = p
		}
		a.mu.Lock()
		current := a.parkings == before
		if current {
			a.parked = parked
			a.parkings++ // a list that was asked for before is older
		}
		a.mu.Unlock()
		if current {
			return nil
		}
	}
}

func (a *applier) parkedOrder(id string) (Parked, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	p, ok := a.parked[id]
	return p, ok
}

func (a *applier) allParked() []Parked {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.SortedFunc(maps.Values(a.parked), func(x, y Parked) int { return cmp.Compare(x.OrderID, y.OrderID) })
}

// untilDone repeats step until it succeeds, waiting longer each time, and
// reports meanwhile what it waits for. It ends early with ctx, or on an error
// that waiting does not cure.
func (a *applier) untilDone(ctx context.Context, attempt string, step func() error) error {
	var pause backoff
	for {
		err := step()
		if err == nil {
			if pause.failures > 0 {
				a.problem.Store(nil)
				a.logger.Info("projection goes on", "attempt", attempt)
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err = fmt.Errorf("%s: %w", attempt, err)
		if final(err) {
			return err
		}
		text := err.Error()
		a.problem.Store(&text)
		if pause.failures == 0 {
			a.logger.Warn("projection waits for a store", "error", text)
		}
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// briefly repeats step as untilDone does, but not for long: somebody waits for
// the answer, and behind them the events.
func (a *applier) briefly(ctx context.Context, attempt string, step func() error) error {
	began := time.Now()
	for pause := (backoff{}); ; {
		err := step()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if final(err) || errors.Is(err, ErrDamaged) || time.Since(began) > briefTime {
			return fmt.Errorf("%s: %w", attempt, err)
		}
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// apply brings everything in all into the sink and moves the checkpoints.
func (a *applier) apply(ctx context.Context, all []work, checkpoints []Checkpoint) error {
	f, err := a.fold(ctx, all)
	if err != nil {
		return err
	}
	f.batch.Checkpoints = checkpoints
	return a.write(ctx, f)
}

// fold loads the documents and folds the events onto them, many orders at once.
// It fails on an event that this program does not know.
func (a *applier) fold(ctx context.Context, all []work) (folded, error) {
	all = slices.DeleteFunc(all, func(w work) bool {
		_, waits := a.parkedOrder(w.orderID)
		return waits
	})
	// A batch that begins with an order's first event needs no document: the
	// fold is whole, and the sink passes over it when it has more already.
	stored := map[string]view.Order{}
	var asked []string
	for _, w := range all {
		if w.fromStart() {
			continue
		}
		if doc, ok := a.recent.get(w.orderID); ok && w.goesOn(doc.Revision) {
			stored[w.orderID] = doc
		} else {
			asked = append(asked, w.orderID)
		}
	}
	if len(asked) > 0 {
		err := a.untilDone(ctx, "load documents", func() error {
			docs, err := a.sink.Documents(ctx, asked)
			maps.Copy(stored, docs)
			return err
		})
		if err != nil {
			return folded{}, err
		}
	}

	type result struct {
		change  Change
		changed bool
		err     error
	}
	results := make([]result, len(all))
	each(len(all), func(i int) {
		w := all[i]
		doc, exists := stored[w.orderID]
		for _, r := range w.records {
			w.events = append(w.events, a.decode(r))
		}
		results[i].change, results[i].changed, results[i].err = a.folding.order(doc, exists, w.events)
	})
	var f folded
	for i, r := range results {
		switch {
		case r.err != nil && final(r.err):
			return folded{}, r.err
		case r.err != nil:
			f.trouble = append(f.trouble, all[i].orderID)
		case r.changed:
			f.batch.Changes = append(f.batch.Changes, r.change)
		}
	}
	return f, nil
}

func (w work) fromStart() bool {
	if len(w.events) > 0 {
		return w.events[0].revision == 0
	}
	return len(w.records) > 0 && w.records[0].Revision == 0
}

// goesOn reports whether the events, but for those that a document at a revision
// has, begin right behind it. Others may have written events between.
func (w work) goesOn(revision int64) bool {
	for i := range w.events {
		if r := w.events[i].revision; r > revision {
			return r == revision+1
		}
	}
	return len(w.events) > 0
}

// each calls do for 0 to n-1, on all processors when there is enough to do.
func each(n int, do func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n/8)
	if workers < 2 {
		for i := range n {
			do(i)
		}
		return
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	all.Wait()
}

// decode never fails: what cannot be read is an arrival with its reason.
func (a *applier) decode(r eventstore.Record) (e arrival) {
	e = arrival{
		revision: int64(r.Revision), position: r.Position, eventID: r.ID,
		size: len(r.Data) + len(r.Metadata) + 256,
	}
	e.orderID, _ = a.namespace.ID(codec.Category, r.Stream)
	defer func() {
		if p := recover(); p != nil {
			e.poison = fmt.Errorf("decode %s: %v", r.Type, p)
		}
	}()
	e.event, e.poison = codec.Decode(r, a.namespace)
	return e
}

// write records a batch: orders in trouble first, one by one, so that the
// checkpoints move once everything before them is applied or parked.
func (a *applier) write(ctx context.Context, f folded) error {
	orders := make([]string, 0, len(f.batch.Changes)+len(f.trouble))
	for i := range f.batch.Changes {
		orders = append(orders, f.batch.Changes[i].Order.ID)
	}
	orders = append(orders, f.trouble...)
	for {
		for _, id := range f.trouble {
			p, err := a.settle(ctx, id)
			if err != nil {
				return err
			}
			if p == nil {
				continue
			}
			if a.accept != nil {
				if err := a.accept(ctx, *p); err != nil {
					return err
				}
			}
			f.batch.Park = append(f.batch.Park, *p)
		}
		f.trouble = f.trouble[:0]

		if b := &f.batch; len(b.Changes)+len(b.Park)+len(b.Release)+len(b.Checkpoints) == 0 {
			break
		}
		if err := a.fence(&f.batch); err != nil {
			return err
		}
		var outcomes []Outcome
		err := a.untilDone(ctx, "write documents", func() (err error) {
			outcomes, err = a.record(ctx, f.batch)
			return err
		})
		if err != nil {
			return err
		}
		good := f.batch.Changes[:0]
		for i, o := range outcomes {
			c := f.batch.Changes[i]
			switch o.Result {
			case Applied:
				a.recent.put(c.Order)
				good = append(good, c)
			case Already:
				if doc, ok := a.recent.get(c.Order.ID); ok && doc.Revision != c.Order.Revision {
					a.recent.forget(c.Order.ID)
				}
				good = append(good, c)
			case Gap, Refused:
				a.recent.forget(c.Order.ID)
				f.trouble = append(f.trouble, c.Order.ID)
			}
		}
		f.batch.Changes = good
		if len(f.trouble) == 0 {
			break
		}
	}
	a.written(f.batch)
	if a.moved != nil && len(orders) > 0 {
		a.moved(orders)
	}
	return nil
}

// record is the sink's Write, of what says more than documents.
func (a *applier) record(ctx context.Context, b Batch) ([]Outcome, error) {
	outcomes, err := a.sink.Write(ctx, b)
	if err != nil {
		a.unsure.Store(true)
	}
	return outcomes, err
}

// ours reports whether a lane is still this process's, as far as it knows.
func (a *applier) ours(lane int) bool {
	if a.claimed == nil {
		return true
	}
	_, ours := a.claimed(lane)
	return ours
}

// fence adds to a batch the checkpoints, as they are, of the lanes whose orders it
// parks or releases: so a former owner can do neither.
func (a *applier) fence(b *Batch) error {
	if a.claimed == nil || len(b.Park)+len(b.Release) == 0 {
		return nil
	}
	at := placesOf(b.Checkpoints)
	add := func(orderID string) error {
		lane := LaneOf(orderID)
		if at[lane] >= 0 {
			return nil
		}
		c, ours := a.claimed(lane)
		if !ours {
			return ErrLaneLost
		}
		at[lane] = len(b.Checkpoints)
		b.Checkpoints = append(b.Checkpoints, c)
		return nil
	}
	for _, p := range b.Park {
		if err := add(p.OrderID); err != nil {
			return err
		}
	}
	for _, id := range b.Release {
		if err := add(id); err != nil {
			return err
		}
	}
	return nil
}

// confirm asks the sink whether an order's lane is this process's. What is written
// without regard to revisions is written right after it.
func (a *applier) confirm(ctx context.Context, orderID string) error {
	if a.claimed == nil {
		return nil
	}
	c, ours := a.claimed(LaneOf(orderID))
	if !ours {
		return ErrLaneLost
	}
	lost, err := a.sink.Beat(ctx, []Checkpoint{c})
	if err == nil && len(lost) > 0 {
		err = ErrLaneLost
	}
	return err
}

// replace is the sink's, by the owner of the lane.
func (a *applier) replace(ctx context.Context, id string, change *Change) error {
	a.recent.forget(id)
	if err := a.confirm(ctx, id); err != nil {
		return err
	}
	return a.sink.Replace(ctx, id, change)
}

// written takes over which orders a batch parked and released.
func (a *applier) written(b Batch) {
	a.mu.Lock()
	if len(b.Park)+len(b.Release) > 0 {
		a.parkings++
	}
	for _, p := range b.Park {
		a.parked[p.OrderID] = p
	}
	for _, id := range b.Release {
		delete(a.parked, id)
	}
	a.mu.Unlock()
	for _, p := range b.Park {
		a.logger.Error("order parked", "order", p.OrderID, "revision", p.Revision, "reason", p.Reason)
	}
}

// settle brings one order to the end of its stream, event by event, or to the
// first event that cannot be applied, which it returns. It is the way for gaps,
// for refused documents and for parked orders.
func (a *applier) settle(ctx context.Context, id string) (*Parked, error) {
	var parked *Parked
	err := a.untilDone(ctx, "settle order "+id, func() (err error) {
		parked, err = a.settleOnce(ctx, id)
		return err
	})
	return parked, err
}

func (a *applier) settleOnce(ctx context.Context, id string) (*Parked, error) {
	a.recent.forget(id)
	stored, err := a.sink.Documents(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	doc, exists := stored[id]
	next := int64(0)
	if exists {
		next = doc.Revision + 1
	}
	park := func(position eventstore.Position, reason error) *Parked {
		return &Parked{OrderID: id, Revision: next, Position: position, Reason: reason.Error()}
	}
	stream := a.namespace.Stream(codec.Category, id)
	for r, err := range a.store.ReadStream(ctx, stream, eventstore.Revision(next), eventstore.Forwards, 0) {
		if !exists && (errors.Is(err, eventstore.ErrDeleted) || errors.Is(err, eventstore.ErrStreamNotFound)) {
			return nil, nil // there is nothing to apply, and nothing that could be behind
		}
		if errors.Is(err, eventstore.ErrCorrupt) || errors.Is(err, eventstore.ErrDeleted) || errors.Is(err, eventstore.ErrStreamNotFound) {
			return park(eventstore.Start, err), nil
		}
		if err != nil {
			return nil, err
		}
		e := a.decode(r)
		if e.poison != nil && final(e.poison) {
			return nil, e.poison
		}
		c, _, err := a.folding.order(doc, exists, []arrival{e})
		if err != nil {
			return park(e.position, err), nil
		}
		outcomes, err := a.sink.Write(ctx, Batch{Changes: []Change{c}})
		if err != nil {
			return nil, err
		}
		switch o := outcomes[0]; o.Result {
		case Refused:
			return park(e.position, o.Err), nil
		case Gap:
			return nil, fmt.Errorf("document moved back from revision %d", next-1)
		}
		doc, exists, next = c.Order, true, next+1
	}
	return nil, nil
}

// retry tries a parked order again. It fails with ErrParked when the order
// stays parked, and keeps the new reason. What is parked is what the sink says:
// another program may have parked an order there.
func (a *applier) retry(ctx context.Context, id string) error {
	var parked *Parked
	err := a.briefly(ctx, "settle order "+id, func() error {
		list, err := a.sink.Parked(ctx)
		if err != nil {
			return err
		}
		_, waits := a.parkedOrder(id)
		if !waits && !slices.ContainsFunc(list, func(p Parked) bool { return p.OrderID == id }) {
			return nil
		}
		if parked, err = a.settleOnce(ctx, id); err != nil {
			return err
		}
		return a.parkOrRelease(ctx, id, parked)
	})
	return cmp.Or(err, stays(parked))
}

// reproject makes what is kept of an order what its stream says, whatever is
// kept. An order that cannot be applied to its end is kept up to there, and
// parked; one that can is no longer parked. What of its events is still on its
// way finds its revision there and is passed over.
func (a *applier) reproject(ctx context.Context, id string) error {
	var parked *Parked
	var unreadable error // by the log: the view may know more, and is left as it is
	err := a.briefly(ctx, "reproject order "+id, func() (err error) {
		parked, err = a.reprojectOnce(ctx, id)
		if errors.Is(err, eventstore.ErrCorrupt) {
			unreadable = fmt.Errorf("reproject order %s: %w", id, err)
			return nil
		}
		if err != nil {
			return err
		}
		return a.parkOrRelease(ctx, id, parked)
	})
	if err = cmp.Or(err, unreadable); err != nil {
		return err
	}
	return stays(parked)
}

// parkOrRelease ends a retry: an order that is not parked any more is released,
// whoever parked it.
func (a *applier) parkOrRelease(ctx context.Context, id string, parked *Parked) error {
	b := Batch{Release: []string{id}}
	if parked != nil {
		b = Batch{Park: []Parked{*parked}}
	}
	if err := a.fence(&b); err != nil {
		return err
	}
	if _, err := a.record(ctx, b); err != nil {
		return err
	}
	a.written(b)
	if a.moved != nil {
		a.moved([]string{id})
	}
	return nil
}

func stays(p *Parked) error {
	if p == nil {
		return nil
	}
	return fmt.Errorf("%w: event %d: %s", ErrParked, p.Revision, p.Reason)
}

func (a *applier) reprojectOnce(ctx context.Context, id string) (*Parked, error) {
	var events []arrival
	for r, err := range a.store.ReadStream(ctx, a.namespace.Stream(codec.Category, id), 0, eventstore.Forwards, 0) {
		if errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrDeleted) {
			return nil, a.replace(ctx, id, nil)
		}
		if err != nil {
			return nil, err
		}
		e := a.decode(r)
		if e.poison != nil && final(e.poison) {
			return nil, e.poison
		}
		events = append(events, e)
	}
	c, changed, failed := a.folding.order(view.Order{}, false, events)
	var change *Change
	if changed {
		change = &c
	}
	err := a.replace(ctx, id, change)
	if errors.Is(err, ErrRefused) {
		failed = err
		err = a.replace(ctx, id, nil)
	}
	if err != nil || failed == nil {
		return nil, err
	}
	return a.settleOnce(ctx, id) // finds the event that is to blame
}
