package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/view"
)

// Wait returns when the live generation has the order at revision or later;
// ErrParked at once when the order is parked before that revision.
func (m *Manager) Wait(ctx context.Context, orderID string, revision eventstore.Revision) error {
	if err := m.ready(ctx); err != nil {
		return err
	}
	for poll := (poll{}); ; {
		// Waiting begins before looking, so that nothing happens between.
		moved := m.await(orderID)
		g, _ := m.generation()
		if g == nil {
			return m.over()
		}
		if p, ok := m.parkedAt(ctx, g, orderID, revision); ok {
			m.giveUp(orderID, moved)
			return fmt.Errorf("%w: event %d: %s", ErrParked, p.Revision, p.Reason)
		}
		docs, err := g.applier.sink.Documents(ctx, []string{orderID})
		if doc, ok := docs[orderID]; ok && doc.Revision >= int64(revision) {
			m.giveUp(orderID, moved)
			return nil
		}
		if now, _ := m.generation(); errors.Is(err, ErrClosed) && now != g {
			m.giveUp(orderID, moved)
			continue // a switch came between
		}
		if err != nil {
			m.giveUp(orderID, moved)
			return fmt.Errorf("wait for order %s: %w", orderID, err)
		}
		select {
		case <-moved:
		case <-m.elsewhere(&poll):
			m.giveUp(orderID, moved)
			m.lookForParked(ctx, g)
		case <-m.running.Done():
			return m.over()
		case <-ctx.Done():
			m.giveUp(orderID, moved)
			return ctx.Err()
		}
	}
}

// poll is how somebody waits for what another process does.
type poll struct{ last time.Duration }

// elsewhere is heard when it is time to look again; never where no other process
// writes.
func (m *Manager) elsewhere(p *poll) <-chan time.Time {
	if !m.shared() {
		return nil
	}
	p.last = min(max(pollMin, 2*p.last), pollMax)
	return time.After(p.last)
}

// parkedAt is the order when it is parked at a revision or before. Another process
// may have released it: that is asked before it is said.
func (m *Manager) parkedAt(ctx context.Context, g *generation, orderID string, revision eventstore.Revision) (Parked, bool) {
	p, ok := g.applier.parkedOrder(orderID)
	if ok && m.shared() && g.applier.loadParked(ctx) == nil {
		p, ok = g.applier.parkedOrder(orderID)
	}
	return p, ok && p.Revision <= int64(revision)
}

// lookForParked reads which orders other processes have parked. Failing that,
// what is known stays.
func (m *Manager) lookForParked(ctx context.Context, g *generation) {
	if m.looking.lock(ctx) != nil {
		return
	}
	defer m.looking.unlock()
	if time.Since(m.looked) < pollMax {
		return
	}
	if err := g.applier.loadParked(ctx); err == nil {
		m.looked = time.Now()
	}
}

func (m *Manager) await(orderID string) chan struct{} {
	moved := make(chan struct{})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiters[orderID] = append(m.waiters[orderID], moved)
	return moved
}

func (m *Manager) giveUp(orderID string, moved chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := slices.DeleteFunc(m.waiters[orderID], func(c chan struct{}) bool { return c == moved })
	if len(left) == 0 {
		delete(m.waiters, orderID)
	} else {
		m.waiters[orderID] = left
	}
}

// wake lets those who wait for these orders look again.
func (m *Manager) wake(orderIDs []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiters) == 0 {
		return
	}
	for _, id := range orderIDs {
		for _, moved := range m.waiters[id] {
			close(moved)
		}
		delete(m.waiters, id)
	}
}

// CaughtUp returns when everything that was in the log at the call is applied
// or parked, and the live generation answers, if it was being made. It fails with
// eventstore.ErrReadOnly while the live generation cannot be fed and the log takes
// no switch to another.
func (m *Manager) CaughtUp(ctx context.Context) error {
	if err := m.Started(ctx); err != nil {
		return err
	}
	target, err := m.lastEvent(ctx)
	if err != nil {
		return err
	}
	if err := m.reach(ctx, target); err != nil {
		return err
	}
	return m.whole(ctx)
}

// whole waits until a generation that has reached the end of the log is no longer
// said to lack what was made from it: that is told a moment later.
func (m *Manager) whole(ctx context.Context) error {
	for poll := (poll{}); ; {
		changed := m.await("") // no order has this id
		if m.Incomplete() == nil {
			m.giveUp("", changed)
			return nil
		}
		select {
		case <-changed:
		case <-m.elsewhere(&poll):
			m.giveUp("", changed)
		case <-m.running.Done():
			return m.over()
		case <-ctx.Done():
			m.giveUp("", changed)
			return ctx.Err()
		}
	}
}

// lastEvent is the position of the last event of an order. The head itself may
// be another stream's, about which a subscription need not tell.
func (m *Manager) lastEvent(ctx context.Context) (eventstore.Position, error) {
	for r, err := range m.Store.ReadAll(ctx, eventstore.End, eventstore.Backwards, m.orders(), 1) {
		if err != nil {
			return eventstore.Start, fmt.Errorf("read end of log: %w", err)
		}
		return r.Position, nil
	}
	return eventstore.Start, nil
}

// reach waits for the live generation, whichever it is by then.
func (m *Manager) reach(ctx context.Context, target eventstore.Position) error {
	for poll := (poll{}); ; {
		changed := m.await("") // no order has this id: told of switches only
		g, f := m.generation()
		if g == nil {
			return m.over()
		}
		if f != nil {
			err := f.reach(ctx, target)
			now, _ := m.generation()
			if reopened := m.shared() && hasEnded(f) && !m.incurable(err) && !errors.Is(err, eventstore.ErrCorrupt); err == nil || ctx.Err() != nil || now == g && !reopened {
				m.giveUp("", changed)
				return err
			}
			if now != g {
				m.giveUp("", changed)
				continue
			}
		} else if m.shared() { // others may feed it
			lanes, err := g.applier.sink.Checkpoints(ctx)
			if err == nil && len(lanes) > 0 && !lowest(lanes).Before(target) {
				m.giveUp("", changed)
				return nil
			}
		}
		m.mu.Lock()
		stuck := m.stuck
		m.mu.Unlock()
		if stuck != nil {
			m.giveUp("", changed)
			return fmt.Errorf("the views stay as they are: %w", stuck)
		}
		select {
		case <-changed:
		case <-m.elsewhere(&poll):
			m.giveUp("", changed)
		case <-m.running.Done():
			return m.over()
		case <-ctx.Done():
			m.giveUp("", changed)
			return ctx.Err()
		}
	}
}

// ParkedOrder says whether and why an order is parked in the live generation.
func (m *Manager) ParkedOrder(id string) (view.Degraded, bool) {
	g, _ := m.generation()
	if g == nil {
		return view.Degraded{}, false
	}
	p, ok := g.applier.parkedOrder(id)
	return view.Degraded{Reason: p.Reason, Revision: p.Revision}, ok
}

// Parked lists the parked orders of the live generation by order id.
func (m *Manager) Parked(ctx context.Context) ([]Parked, error) {
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	g, _ := m.generation()
	if g == nil {
		return nil, m.over()
	}
	if m.shared() {
		m.lookForParked(ctx, g)
	}
	return g.applier.allParked(), nil
}

// Retry applies a parked order's stream again from the log. It fails with
// ErrParked when the order stays parked, and when the sink does not do it within
// about a second; an order that is not parked is fine. One that is parked, but
// of which there is neither stream nor document, is released.
func (m *Manager) Retry(ctx context.Context, orderID string) error {
	return m.inTurn(ctx, (*applier).retry, orderID)
}

// Reproject makes what the generation that is served keeps of an order what its
// stream says, whatever is kept and at whatever revision, and removes it when
// there is no stream. It runs in turn with the events that come in, so that none
// is lost and no document goes back behind the log. It fails with ErrParked when
// an event cannot be applied: the order is then kept up to there, and parked. It
// fails with ErrRebuilding while that generation is not fed, with
// eventstore.ErrCorrupt, changing nothing, when the log cannot be read, and when
// the sink does not do it within about a second: the events do not wait longer.
// So that a switch or a rollback shows no order that was not made anew, it is made
// anew in the one before, and in a candidate that is filled, as far as they are fed.
func (m *Manager) Reproject(ctx context.Context, orderID string) error {
	return m.inTurn(ctx, (*applier).reproject, orderID)
}

type appliersTask func(*applier, context.Context, string) error

// inTurn does something to an order between two rounds of the feeder of the
// generation that is served, and then of all others.
func (m *Manager) inTurn(ctx context.Context, task appliersTask, orderID string) error {
	if err := m.ready(ctx); err != nil {
		return err
	}
	for {
		g, f := m.generation()
		switch {
		case g == nil:
			return m.over()
		case f == nil:
			return ErrRebuilding
		}
		err := inTurnOf(ctx, g, f, task, orderID)
		if now, _ := m.generation(); errors.Is(err, ErrClosed) && now != g && now != nil {
			continue // a switch came between
		}
		if err != nil && !errors.Is(err, ErrParked) {
			return err
		}
		return errors.Join(err, m.inTurnOfOthers(ctx, g, task, orderID))
	}
}

func inTurnOf(ctx context.Context, g *generation, f feeding, task appliersTask, orderID string) error {
	return f.inTurn(ctx, func(ctx context.Context, id string) error { return task(g.applier, ctx, id) }, orderID)
}

// inTurnOfOthers is inTurn of the generations that are not served. That one of them
// parks the order is its own affair, and so is one that is closed or filled.
func (m *Manager) inTurnOfOthers(ctx context.Context, live *generation, task appliersTask, orderID string) error {
	type fed struct {
		g *generation
		f feeding
	}
	var others []fed
	m.mu.Lock()
	for _, g := range m.open {
		if g != live && (g.complete || g.number == m.stands.previous.number) && g.feeder != nil && g.failed() == nil {
			others = append(others, fed{g, g.feeder})
		}
	}
	m.mu.Unlock()
	var all []error
	for _, o := range others {
		err := inTurnOf(ctx, o.g, o.f, task, orderID)
		if err != nil && !errors.Is(err, ErrParked) && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrRebuilding) {
			all = append(all, fmt.Errorf("generation %d: %w", o.g.number, err))
		}
	}
	return errors.Join(all...)
}

// hasEnded reports whether a generation is not fed by this any more.
func hasEnded(f feeding) bool {
	select {
	case <-f.ended():
		return true
	default:
		return false
	}
}
