package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
)

// role of a generation in its store.
type role int

const (
	inForce role = iota
	previous
	candidacy
)

// keepOpen opens a generation that the registry has, and feeds it when this program
// carries its version. One whose feeding has ended is opened again, and made again
// when it is lost.
func (m *Manager) keepOpen(ctx context.Context, n numbered, as role, s standing, log eventstore.LogIdentity, there []int) error {
	edition, carried := m.edition(n.version)
	isThere := slices.Contains(there, n.number)
	switch {
	case as == candidacy && !carried:
		return nil // others make it
	case as == previous && !isThere:
		return nil // it never was here, or is lost: there is no way back to it
	case !m.reads(n.version):
		return nil
	case as == inForce && !carried && m.shared() && !isThere:
		return nil // whoever carries it makes it
	}
	m.mu.Lock()
	former, failure := m.open[n.number], error(nil)
	if former != nil {
		failure = former.failed()
	}
	m.mu.Unlock()
	lost := false
	if former != nil {
		if failure == nil {
			return nil
		}
		if ended := endOfRebuild(failure); ended != nil && as == candidacy && s.candidate.OnError != parkOnError {
			return m.group.abandon(ctx, n.number, *ended)
		}
		if m.incurable(failure) && !(as == candidacy && errors.Is(failure, errUnreadable)) {
			return failure
		}
		lost = errors.Is(failure, ErrLost)
		if as != inForce {
			m.mu.Lock()
			delete(m.open, n.number)
			serves := m.live == former
			m.mu.Unlock()
			if serves {
				m.adopt(nil)
			}
			m.discard(former)
		}
	}
	g, lanes, err := m.openOrMake(ctx, n, as, log)
	if err != nil {
		return err
	}
	fits := carried && g.broken == ""
	head, err := m.lastEvent(ctx)
	if err != nil {
		m.discard(g)
		return err
	}
	g.applier.folding = edition.Fold.complete()
	empty := holdsNothing(lanes) && head != eventstore.Start
	switch {
	case as == candidacy:
	case m.shared() && as == inForce && s.built:
		// It was switched to when it was complete, by whoever kept it then: what it
		// lacks now is new in the log.
		g.complete = !lost && !empty
	case fits || m.shared():
		g.complete = !lost && !empty && (as == previous || !lowest(lanes).Before(s.position) || !lowest(lanes).Before(head))
	default:
		g.complete = !empty
	}
	// One that was switched to was whole then; the first of all is shown as it grows.
	if as == inForce && (lost || empty) && (m.shared() || empty && (!fits || s.built)) {
		g.lacking = fmt.Errorf("%s: generation %d is being made from the log", m.StoreName, n.number)
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		m.discard(g)
		return nil
	}
	replaced := m.open[n.number]
	m.open[n.number] = g
	m.mu.Unlock()
	switch {
	case fits:
		m.feed(g, lanes, log, as, s, head)
	case m.shared():
		m.feeders.Go(func() { m.watch(g, head) })
	}
	if as == inForce && (!fits || m.shared()) {
		m.deciding.Do(func() { close(m.decided) })
	}
	if replaced != nil {
		if now, _ := m.generation(); now == replaced {
			m.adopt(g)
		}
		m.discard(replaced)
	}
	return nil
}

// endOfRebuild is what ends the rebuild whose generation has failed so; nil for
// what may pass.
func endOfRebuild(err error) *Failure {
	var first *stopped
	switch {
	case errors.As(err, &first):
		return &first.Failure
	case errors.Is(err, eventstore.ErrCorrupt):
		return &Failure{Message: err.Error()}
	}
	return nil
}

// incurable reports whether an error ends Run.
func (m *Manager) incurable(err error) bool {
	if errors.Is(err, codec.ErrUnknownEvent) || errors.Is(err, codec.ErrNewerVersion) {
		return true
	}
	// The lanes of a shared store come and go, and so does what is in it.
	return !m.shared() && (final(err) || errors.Is(err, errUnreadable))
}

// errUnreadable: the views cannot be made, since the log cannot be read.
var errUnreadable = errors.New("the log cannot be read")

// openOrMake opens a generation. One that cannot be opened, or of which the store
// has only a part, is removed and made anew, in place: whoever carries its version
// fills it. One that cannot be fed says so.
func (m *Manager) openOrMake(ctx context.Context, n numbered, as role, log eventstore.LogIdentity) (*generation, []Checkpoint, error) {
	for attempt := 1; ; attempt++ {
		g, lanes, err := m.openOnce(ctx, n, as, log)
		if err == nil || !errors.Is(err, ErrLost) && !errors.Is(err, ErrDamaged) && !errors.Is(err, errForeign) {
			return g, lanes, err
		}
		if m.shared() && errors.Is(err, errForeign) {
			// They may be those of a docket that lives, under the same names.
			return nil, nil, fmt.Errorf("generation %d in the store is of another log: give each log a namespace of its own, or remove what is there", n.number)
		}
		if _, carried := m.edition(n.version); eventstore.RefusalOf(m.Store) != nil || attempt > 3 || as == previous && !carried {
			return nil, nil, err
		}
		m.mu.Lock()
		if live := m.live; live != nil && live.number == n.number {
			live.complete, live.lacking = false, err
		}
		m.mu.Unlock()
		if m.shared() {
			// Another process may be about to do the same: what it makes is not dropped.
			if err := pauseFor(ctx, rand.N(m.Lease/4+1)); err != nil {
				return nil, nil, err
			}
			if attempt == 1 {
				continue
			}
		}
		m.Logger.Warn("views are made anew", "store", m.StoreName, "generation", n.number, "error", err)
		if err := m.Backend.Drop(ctx, n.number); err != nil {
			return nil, nil, fmt.Errorf("drop generation %d: %w", n.number, err)
		}
	}
}

// errForeign: the generation shows another log, and nobody is to see that as this
// one; or an earlier attempt at something else has left it under a candidate's
// number.
var errForeign = errors.New("the generation is not of this log")

// openOnce opens a generation and reads its lanes.
func (m *Manager) openOnce(ctx context.Context, n numbered, as role, log eventstore.LogIdentity) (_ *generation, lanes []Checkpoint, err error) {
	g, err := m.openSink(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			m.discard(g)
		}
	}()
	refused := eventstore.RefusalOf(m.Store) != nil // then nothing is made anew
	lanes, err = g.applier.sink.Checkpoints(ctx)
	wrong := ""
	if err == nil {
		wrong = lanesWrong(lanes)
	}
	switch {
	case errors.Is(err, ErrDamaged) && !m.shared() && as == inForce:
		g.broken, lanes = err.Error(), nil // it answers until there is another
	case err != nil:
		return nil, nil, fmt.Errorf("read checkpoints: %w", err)
	case ofAnotherLog(lanes, log) && !refused:
		return nil, nil, errForeign
	case wrong != "" && (m.shared() || as == candidacy):
		return nil, nil, fmt.Errorf("%w: %s", ErrDamaged, wrong)
	case wrong != "":
		g.broken = wrong
	case !ofLog(lanes, log) && as == candidacy:
		return nil, nil, errForeign
	case !ofLog(lanes, log):
		g.broken = "it is of another epoch of the log"
	case as == candidacy && !m.shared() && neverFilled(lanes):
		return nil, nil, errForeign
	}
	if err == nil && wrong == "" {
		g.seen = lowest(lanes) // where it stands, should nobody feed it
	}
	if g.broken != "" {
		m.Logger.Warn("views cannot be fed, and are made again", "store", m.StoreName, "generation", n.number, "problem", g.broken)
	}
	return g, lanes, nil
}

// openSink opens a generation, and makes it, empty, when it is not there.
func (m *Manager) openSink(ctx context.Context, n numbered) (*generation, error) {
	sink, err := m.Backend.Open(ctx, n.number)
	if err != nil {
		return nil, err // which says what was opened
	}
	a := &applier{
		sink: sink, store: m.Store, namespace: m.Namespace, moved: m.wake,
		logger: m.Logger.With("projection", m.Projection, "store", m.StoreName, "generation", n.number),
	}
	if err := a.loadParked(ctx); err != nil {
		sink.Close()
		return nil, err
	}
	return &generation{number: n.number, version: n.version, applier: a}, nil
}

// neverFilled reports whether lanes were claimed, and none of them was filled: what
// is there may be of an attempt at another generation.
func neverFilled(lanes []Checkpoint) bool {
	return !slices.ContainsFunc(lanes, func(c Checkpoint) bool { return c.Position != eventstore.Start }) &&
		slices.ContainsFunc(lanes, func(c Checkpoint) bool { return c.Token != 0 })
}

// holdsNothing reports whether a lane was never filled.
func holdsNothing(lanes []Checkpoint) bool {
	return slices.ContainsFunc(lanes, func(c Checkpoint) bool { return c.Position == eventstore.Start })
}

// ofAnotherLog reports whether a generation was made from another log, not only
// in another epoch of this one.
func ofAnotherLog(lanes []Checkpoint, log eventstore.LogIdentity) bool {
	return slices.ContainsFunc(lanes, func(c Checkpoint) bool {
		return c.Position != eventstore.Start && c.Log.ID != log.ID
	})
}

// ofLog reports whether the checkpoints were made on this log and epoch.
func ofLog(lanes []Checkpoint, log eventstore.LogIdentity) bool {
	for _, c := range lanes {
		if c.Position != eventstore.Start && c.Log != log {
			return false
		}
	}
	return true
}

// lanesWrong says what is wrong with the lanes of a generation; nothing when
// each is there once, in order.
func lanesWrong(lanes []Checkpoint) string {
	for i, c := range lanes {
		if c.Lane != i {
			return fmt.Sprintf("checkpoints: lane %d is where lane %d should be", c.Lane, i)
		}
	}
	if len(lanes) != Lanes {
		return fmt.Sprintf("checkpoints: %d lanes, not %d", len(lanes), Lanes)
	}
	return ""
}

// watch looks at a generation of a shared store that this process does not feed,
// and notes whether others do, that they have made it up to head, and that it is
// gone.
func (m *Manager) watch(g *generation, head eventstore.Position) {
	var last []Checkpoint
	for pauseFor(m.running, m.Lease) == nil {
		m.mu.Lock()
		isOpen := m.open[g.number] == g
		m.mu.Unlock()
		if !isOpen {
			return
		}
		lanes, err := g.applier.sink.Checkpoints(m.running)
		m.mu.Lock()
		switch {
		case errors.Is(err, ErrLost) || errors.Is(err, ErrClosed):
			g.failure = err
			m.mu.Unlock()
			m.stir()
			return
		case err == nil:
			if last != nil && !slices.Equal(last, lanes) {
				g.moved = time.Now()
			}
			g.seen, last = lowest(lanes), lanes
			if !g.complete && !g.seen.Before(head) && !holdsNothing(lanes) {
				m.mu.Unlock()
				m.completed(g)
				continue
			}
		}
		m.mu.Unlock()
	}
}

// completed notes that a generation lacks nothing but what is new in the log.
func (m *Manager) completed(g *generation) {
	m.mu.Lock()
	was := g.complete
	g.complete, g.lacking, g.progress = true, nil, nil
	m.mu.Unlock()
	m.wake([]string{""})
	if !was {
		m.Logger.Info("views are complete", "store", m.StoreName, "generation", g.number)
		m.stir()
	}
}

// stopped ends a rebuild at its first error.
type stopped struct{ Failure }

func (s *stopped) Error() string {
	return fmt.Sprintf("order %s, event %d (%s): %s", s.OrderID, s.Revision, cmp.Or(s.Type, "unreadable"), s.Message)
}
