package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
)

// usualShare of its time is what the build of a candidate works, when nobody says
// otherwise: it has live traffic beside it.
const usualShare = 0.5

// feed starts what keeps a generation with the log, for as long as it is open. Lanes
// of a shared store are claimed, and filled, by its sharer. It is complete when it
// has what is in the log up to head.
func (m *Manager) feed(g *generation, lanes []Checkpoint, log eventstore.LogIdentity, as role, s standing, head eventstore.Position) {
	ctx, stop := context.WithCancel(m.running)
	over := make(chan struct{})
	share := 1.0
	if as == candidacy {
		share = cmp.Or(s.candidate.Share, usualShare)
		if s.candidate.OnError != parkOnError {
			g.applier.accept = func(ctx context.Context, p Parked) error { return m.acceptParked(ctx, g, s.inForce, p) }
		}
	}
	fill := func(ctx context.Context, lanes []Checkpoint) error {
		return m.fill(ctx, g, lanes, log, as == candidacy && !m.shared(), share)
	}
	run := func() error { return m.feedAlone(ctx, g, log, as, fill, head) }
	m.mu.Lock()
	g.stop, g.over = stop, over
	if as == candidacy {
		g.progress = &Progress{Generation: g.number, Phase: string(PhaseReading)}
	}
	if m.shared() {
		f := newSharer(g.applier, log, m.Clock, sharing{owner: m.Owner, lease: m.Lease, fill: fill})
		g.feeder = f
		run = func() error {
			m.feeders.Go(func() { m.complete(g, f, head) })
			return f.run(ctx)
		}
	}
	m.mu.Unlock()
	m.wake([]string{""}) // who came before there was a feeder looks again
	m.feeders.Go(func() {
		err := run()
		m.mu.Lock()
		g.failure = err
		close(over)
		m.mu.Unlock()
		if stop(); err != nil {
			m.stir()
		}
	})
}

// feedAlone feeds all lanes of a store of this process alone, after it has filled
// those that are empty.
func (m *Manager) feedAlone(ctx context.Context, g *generation, log eventstore.LogIdentity, as role, fill func(context.Context, []Checkpoint) error, head eventstore.Position) error {
	if as == inForce {
		defer m.deciding.Do(func() { close(m.decided) })
	}
	lanes, err := claim(ctx, g.applier.sink, m.Owner)
	if err != nil {
		return quiet(ctx, err)
	}
	var empty []Checkpoint
	at := placesOf(lanes)
	for _, c := range lanes {
		if c.Position == eventstore.Start {
			empty = append(empty, c)
		}
	}
	if len(empty) > 0 {
		var unreadable error // by the log: trying again does not cure it
		err := g.applier.untilDone(ctx, "build the views", func() error {
			err := fill(ctx, empty)
			if errors.Is(err, eventstore.ErrCorrupt) {
				unreadable, err = err, nil
			}
			return err
		})
		if unreadable != nil {
			err = fmt.Errorf("%w: %w", errUnreadable, unreadable)
		}
		if err != nil {
			return quiet(ctx, err)
		}
		for _, c := range empty {
			lanes[at[c.Lane]] = c
		}
	}
	f := newFeeder(g.applier, lanes, log, m.Clock)
	m.mu.Lock()
	g.feeder = f
	m.mu.Unlock()
	m.wake([]string{""})
	if as == inForce {
		m.deciding.Do(func() { close(m.decided) })
	}
	m.feeders.Go(func() { m.complete(g, f, head) })
	return f.run(ctx)
}

// quiet is an error, unless ctx has ended: then it is the reason.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// complete waits until g has what is in the log up to head.
func (m *Manager) complete(g *generation, f feeding, head eventstore.Position) {
	var pause backoff
	for f.reach(m.running, head) != nil {
		select {
		case <-f.ended():
			return
		default:
		}
		if pause.wait(m.running) != nil {
			return
		}
	}
	m.completed(g)
}

// fill brings empty lanes to the end of a log that is big, or of any; a small one
// the feeder reads as quickly. share is how much of its time it may
// work.
func (m *Manager) fill(ctx context.Context, g *generation, lanes []Checkpoint, log eventstore.LogIdentity, anyLog bool, share float64) error {
	if !anyLog {
		big, err := m.logIsBig(ctx)
		if err != nil || !big {
			return err
		}
	}
	err := build(ctx, g.applier, plan{
		lanes: lanes, log: log, place: m.spills(), share: share, ask: m.askServed(), unasked: anyLog,
		progress: Progress{Generation: g.number}, report: func(p Progress) { m.note(g, p) },
	})
	if err == nil {
		m.mu.Lock()
		p := Progress{Generation: g.number}
		if g.progress != nil {
			p = *g.progress
		}
		m.mu.Unlock()
		p.Phase = string(PhaseFollowing) // with the figures of the build
		m.note(g, p)
	}
	return err
}

// askServed asks the store for a document as a reader does, to tell how long it
// takes: any of the generation that is served.
func (m *Manager) askServed() probe {
	var any []string
	return func(ctx context.Context) (time.Duration, error) {
		sink, _ := m.Live()
		if sink == nil {
			return 0, ErrClosed
		}
		if len(any) == 0 {
			ids, err := sink.IDs(ctx, "", 1)
			if err != nil {
				return 0, err
			}
			any = ids
		}
		began := time.Now()
		_, err := sink.Documents(ctx, any)
		return time.Since(began), err
	}
}

// note keeps how far a generation is, until it is complete, and tells who waits.
func (m *Manager) note(g *generation, p Progress) {
	m.mu.Lock()
	if !g.complete {
		g.progress = &p
	}
	m.mu.Unlock()
	m.group.progressed(g.number)
}

// acceptParked is asked before a candidate parks an order while it is filled: that
// ends the rebuild, unless the order is parked in the generation in force too, at
// that very event, or that generation has not come so far.
func (m *Manager) acceptParked(ctx context.Context, g *generation, before numbered, p Parked) error {
	m.mu.Lock()
	old, complete := m.open[before.number], g.complete
	var fed feeding
	if old != nil {
		fed = old.feeder
	}
	m.mu.Unlock()
	if complete {
		return nil
	}
	if old != nil {
		if fed != nil {
			if err := fed.reach(ctx, p.Position); err != nil {
				return err
			}
		} else if lanes, err := old.applier.sink.Checkpoints(ctx); err == nil && lowest(lanes).Before(p.Position) {
			return nil
		}
		err := g.applier.untilDone(ctx, "read parked orders", func() error { return old.applier.loadParked(ctx) })
		if err != nil {
			return err
		}
		if there, ok := old.applier.parkedOrder(p.OrderID); ok && there.Revision == p.Revision {
			return nil
		}
	}
	f := Failure{Message: p.Reason, Store: m.StoreName, OrderID: p.OrderID, Revision: p.Revision, Position: p.Position}
	for r, err := range m.Store.ReadStream(ctx, m.Namespace.Stream(codec.Category, p.OrderID), eventstore.Revision(p.Revision), eventstore.Forwards, 1) {
		if err == nil {
			f.Type = r.Type
		}
	}
	return &stopped{f}
}

// claim makes owner the owner of all lanes. A lane whose token moves meanwhile
// is being claimed by somebody else: that is tried a few times only.
func claim(ctx context.Context, sink Sink, owner string) ([]Checkpoint, error) {
	const attempts = 3
	for attempt := 1; ; attempt++ {
		lanes, err := sink.Checkpoints(ctx)
		for i := 0; i < len(lanes) && err == nil; i++ {
			lanes[i], err = sink.Claim(ctx, i, owner, lanes[i].Token)
		}
		if err == nil {
			return lanes, nil
		}
		if attempt == attempts || !errors.Is(err, ErrLaneLost) {
			return nil, fmt.Errorf("claim lanes: %w", err)
		}
	}
}

func (m *Manager) logIsBig(ctx context.Context) (bool, error) {
	n := 0
	for _, err := range m.Store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, m.orders(), bigLog) {
		if err != nil {
			return false, fmt.Errorf("read log: %w", err)
		}
		n++
	}
	return n == bigLog, nil
}

func (m *Manager) orders() eventstore.Filter {
	return eventstore.Filter{Prefixes: []string{m.Namespace.Prefix(codec.Category)}}
}
