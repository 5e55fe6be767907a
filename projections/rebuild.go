package projections

import (
	"context"
	"errors"
	"fmt"

	"github.com/docket-orders/docket/eventstore"
)

// Rebuild makes a new generation from the whole log, beside the live one, and
// switches to it. progress, which may be nil, is called now and then from one
// goroutine. A failure, or the end of ctx before the switch, leaves the live
// generation as it is and removes what was built.
func (m *Manager) Rebuild(ctx context.Context, progress func(Progress)) error {
	if err := m.Started(ctx); err != nil {
		return err
	}
	// A first build of the live generation is waited for: it is no rebuild that
	// anybody asked for.
	select {
	case <-m.decided:
	case <-m.finished:
		return m.over()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-m.rebuilds:
		defer func() { m.rebuilds <- struct{}{} }()
	default:
		return ErrRebuilding
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.running, cancel)()
	report := m.report(progress)
	err := m.rebuild(ctx, report)
	for errors.Is(err, eventstore.ErrConflict) && ctx.Err() == nil {
		err = m.rebuild(ctx, report) // another docket was faster, and has the number
	}
	m.endReport(err)
	return err
}

func (m *Manager) rebuild(ctx context.Context, report func(Progress)) (err error) {
	old, _ := m.generation()
	if old == nil {
		return m.over()
	}
	// Dockets that keep views of their own on one log share the registry. No number
	// is used twice: what a folder has under one was switched to by its own docket.
	inForce, expected, err := m.registry.live(ctx)
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	// What an earlier attempt left behind must not count.
	p := Progress{Generation: max(old.number, inForce.Generation) + 1}
	if err := m.Backend.Drop(ctx, p.Generation); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	log, err := m.Store.Log(ctx)
	if err != nil {
		return fmt.Errorf("rebuild: identify log: %w", err)
	}
	g, err := m.open(ctx, p.Generation, Version)
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	live := false
	defer func() {
		if !live {
			m.discard(g)
		}
	}()

	lanes, err := claim(ctx, g.applier.sink, m.Owner)
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	last := p
	if err := build(ctx, g.applier, lanes, log, m.spills(), p, func(p Progress) { last = p; report(p) }); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	last.Phase = "following"
	report(last)
	m.feed(g, lanes, log)
	if err := m.overtake(ctx, g, old); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}

	// The switch may be asked for only as long as its outcome gets known: not
	// the caller's context but Run's.
	next := switched{Generation: g.number, Version: g.version, At: m.Clock()}
	if err := m.registry.makeLive(m.running, next, expected); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	live = true
	m.mu.Lock()
	m.live = g
	for id, waiting := range m.waiters {
		for _, moved := range waiting {
			close(moved)
		}
		delete(m.waiters, id)
	}
	m.mu.Unlock()
	last.Phase = "switched"
	report(last)
	select {
	case <-g.feeder.done: // it failed while it was not live, and nobody heard
		m.fail(g.feeder.failure())
	default:
	}
	m.discard(old)
	return nil
}

// overtake returns when g has all that is in the log now and all that old has
// shown.
func (m *Manager) overtake(ctx context.Context, g, old *generation) error {
	target, err := m.lastEvent(ctx)
	if err != nil {
		return err
	}
	if err := g.feeder.reach(ctx, target); err != nil {
		return err
	}
	if old.feeder != nil {
		shown, _ := old.feeder.position()
		if last, err := m.lastEvent(ctx); err != nil {
			return err
		} else if last.Before(shown) {
			shown = last // the rest is foreign: no notice need come for it
		}
		return g.feeder.reach(ctx, shown)
	}
	return nil
}

// discard stops, closes and drops a generation that is not live. Its file may
// stay behind when that fails: the next start removes it.
func (m *Manager) discard(g *generation) {
	if g.feeder != nil {
		g.stop()
		<-g.feeder.done
	}
	err := g.applier.sink.Close()
	if err == nil {
		err = m.Backend.Drop(context.WithoutCancel(m.running), g.number)
	}
	if err != nil {
		m.Logger.Warn("generation not dropped", "generation", g.number, "error", err)
	}
}

// report keeps the progress for Status and passes it on.
func (m *Manager) report(progress func(Progress)) func(Progress) {
	return func(p Progress) {
		m.mu.Lock()
		m.progress = &p
		m.mu.Unlock()
		if progress != nil {
			progress(p)
		}
	}
}

func (m *Manager) endReport(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.progress, m.lastError = nil, ""
	if err != nil {
		m.lastError = err.Error()
	}
}
