package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// listenAtMost is for how long nothing is heard of the registry before it is
// listened to anew: a connection may have died in silence.
const listenAtMost = time.Minute

// keep makes what is open, fed and served follow the registry, whatever becomes of
// the store: one that does not answer is asked again, a generation that is lost is
// made again, and where another process has switched, that one is served. It ends
// with ctx, with an event that this program does not know, and, in a store of this
// process alone, with whatever waiting does not cure.
func (m *Manager) keep(ctx context.Context) error {
	m.feeders.Go(func() { m.listen(ctx) })
	if m.shared() {
		m.feeders.Go(func() { m.hearOfParked(ctx) })
	}
	var pause backoff
	for {
		began, err := time.Now(), m.keepUp(ctx)
		m.group.tell()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			select {
			case <-m.stirred:
			case <-ctx.Done():
				return nil
			}
			if failed := m.firstFailure(); failed == nil {
				continue
			} else if m.Logger.Warn("views are opened again", "store", m.StoreName, "error", failed); time.Since(began) > backoffMax {
				pause = backoff{}
			}
		case m.incurable(err), !m.shared() && !m.hasStarted():
			return err
		default:
			m.troubled(err)
		}
		_ = pause.wait(ctx) // keepUp says what becomes of an end
	}
}

// listen stirs at every event of the registry, and whenever it begins to listen.
func (m *Manager) listen(ctx context.Context) {
	var pause backoff
	for ctx.Err() == nil {
		err := func() error {
			head, err := m.Store.Head(ctx)
			if err != nil {
				return err
			}
			sub, err := m.Store.Subscribe(ctx, head, eventstore.Filter{Prefixes: []string{m.registry.stream}})
			if err != nil {
				return err
			}
			defer sub.Close()
			for m.stir(); ; {
				listening, cancel := context.WithTimeout(ctx, listenAtMost)
				n, err := sub.Next(listening)
				cancel()
				if err != nil {
					return err
				}
				pause.failures = 0
				if n.Kind == eventstore.Delivered && n.Record.Stream == m.registry.stream {
					m.stir()
				}
			}
		}()
		if !errors.Is(err, context.DeadlineExceeded) {
			_ = pause.wait(ctx) // ends with ctx, as the loop does
		}
	}
}

// hearOfParked keeps up with the orders that other processes park and release.
func (m *Manager) hearOfParked(ctx context.Context) {
	for pauseFor(ctx, max(m.Lease, pollMax)) == nil {
		if g, _ := m.generation(); g != nil {
			m.lookForParked(ctx, g)
		}
	}
}

// troubled notes why no generation is served, or that one cannot be opened again.
func (m *Manager) troubled(err error) {
	err = fmt.Errorf("%s: %w", m.StoreName, err)
	m.mu.Lock()
	known := m.away != nil
	m.away = err
	m.mu.Unlock()
	if !known {
		m.Logger.Warn("views wait for their store", "store", m.StoreName, "error", err)
	}
}

func (m *Manager) hasStarted() bool {
	select {
	case <-m.started:
		return true
	default:
		return false
	}
}

// firstFailure of a generation that is open.
func (m *Manager) firstFailure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.open {
		if err := g.failed(); err != nil {
			return err
		}
	}
	return nil
}

// failed is why a generation must be opened again; nil while it need not.
// Manager.mu is held.
func (g *generation) failed() error {
	if g.over != nil {
		select {
		case <-g.over:
			return cmp.Or(g.failure, ErrClosed)
		default:
		}
	}
	return g.failure
}

// keepUp opens and feeds what the registry says, serves one of it, and gives up
// the rest.
func (m *Manager) keepUp(ctx context.Context) error {
	s, err := m.standing(ctx)
	if err != nil {
		return err
	}
	log, err := m.Store.Log(ctx)
	if err != nil {
		return fmt.Errorf("identify log: %w", err)
	}
	there, err := m.Backend.Generations(ctx)
	if err != nil {
		return fmt.Errorf("list generations: %w", err)
	}
	m.mu.Lock()
	m.stands = s
	for _, g := range m.open {
		if err := g.failed(); errors.Is(err, ErrLost) {
			g.complete, g.lacking = false, err
		}
	}
	m.mu.Unlock()

	// A store of this process alone rids itself of leftovers first: what a lost end
	// of the log has made there must not come back under a number that is taken anew.
	if err := m.dropOthers(ctx, s, there); err != nil {
		return err
	}
	// One that is lost may have a whole one beside it.
	if err := m.serve(ctx, s); err != nil {
		return err
	}
	failed := m.keepOpen(ctx, s.inForce, inForce, s, log, there)
	for role, n := range map[role]numbered{previous: s.previous, candidacy: s.candidateHere()} {
		if n == (numbered{}) || m.incurable(failed) {
			continue
		}
		err := m.keepOpen(ctx, n, role, s, log, there)
		m.trouble(n.number, err)
		if m.incurable(err) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			// Those that are served do not wait for it.
			m.feeders.Go(func() { _ = pauseFor(ctx, backoffMax/5); m.stir() })
		}
	}
	if failed != nil {
		return failed
	}
	if err := m.serve(ctx, s); err != nil {
		return err
	}
	m.mu.Lock()
	m.kept = true
	if m.open[s.inForce.number] == nil { // others make it
		m.deciding.Do(func() { close(m.decided) })
	}
	m.mu.Unlock()
	return m.retire(ctx, s)
}

// trouble notes why a generation that is not in force cannot be opened, for Status.
func (m *Manager) trouble(number int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if delete(m.troubles, number); err != nil {
		m.troubles[number] = err.Error()
	}
}

// candidateHere is the generation that is made in this store.
func (s standing) candidateHere() numbered {
	if s.candidate == nil {
		return numbered{}
	}
	return numbered{s.candidate.Generation, s.candidate.Version}
}

// holds reports whether the registry has a generation of this store.
func (s standing) holds(number int) bool {
	return number == s.inForce.number || number == s.previous.number || number == s.candidateHere().number
}

// serve makes that generation the live one which is in force and complete here;
// failing that, the newest complete one; failing that, the one in force as it is.
// What readers saw of the former one they see of the next.
func (m *Manager) serve(ctx context.Context, s standing) error {
	m.mu.Lock()
	next := m.open[s.inForce.number]
	if next == nil || !next.complete {
		for _, g := range m.open {
			isKept := g.number == s.inForce.number || g.number == s.previous.number || g == m.live && m.reads(s.inForce.version)
			if g.complete && m.reads(g.version) && isKept && (next == nil || !next.complete || g.number > next.number) {
				next = g
			}
		}
	}
	former := m.live
	m.mu.Unlock()
	if next == former {
		m.serving(ctx, s, next)
		return nil
	}
	if former != nil && next != nil && next.complete {
		if err := m.overtake(ctx, next, former); err != nil {
			return fmt.Errorf("let generation %d overtake %d: %w", next.number, former.number, err)
		}
		if err := next.applier.sink.Refresh(ctx); err != nil { // lists too
			return fmt.Errorf("make generation %d visible: %w", next.number, err)
		}
	}
	if !m.adopt(next) {
		return nil // Run ends
	}
	m.serving(ctx, s, next)
	return nil
}

// serving notes what there is to say once it is known which generation is served.
func (m *Manager) serving(ctx context.Context, s standing, g *generation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case g != nil:
		m.away = nil
		m.starting.Do(func() { close(m.started) })
	case !m.reads(s.inForce.version):
		m.away = fmt.Errorf("%s: %w: generation %d was made by a newer docket, and there is none that this one may show", m.StoreName, ErrUnavailable, s.inForce.number)
	}
}

// overtake returns when g has all that is in the log now and all that old, which may
// be nil, has shown.
func (m *Manager) overtake(ctx context.Context, g, old *generation) error {
	var former feeding
	m.mu.Lock()
	fed := g.feeder
	if old != nil {
		former = old.feeder
	}
	m.mu.Unlock()
	if fed == nil {
		return nil
	}
	reach := fed.reach
	if f, ok := fed.(*sharer); ok {
		reach = f.show
	}
	target, err := m.lastEvent(ctx)
	if err != nil {
		return err
	}
	if err := reach(ctx, target); err != nil {
		return err
	}
	if former == nil {
		return nil
	}
	shown := former.position()
	if last, err := m.lastEvent(ctx); err != nil {
		return err
	} else if last.Before(shown) || m.shared() {
		shown = last // foreign events need no notice; and some lane of others is ahead
	}
	return reach(ctx, shown)
}

// adopt makes g the live generation. It reports false after the end of Run:
// nothing is live any more.
func (m *Manager) adopt(g *generation) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.live = g
	for id, waiting := range m.waiters {
		for _, moved := range waiting {
			close(moved)
		}
		delete(m.waiters, id)
	}
	return true
}

// retire closes what is neither served nor in the registry any more, and removes it
// from a store of this process alone; in a shared one others may have it open.
func (m *Manager) retire(ctx context.Context, s standing) error {
	m.mu.Lock()
	var over []*generation
	for number, g := range m.open {
		if !s.holds(number) && g != m.live {
			over = append(over, g)
			delete(m.open, number)
			delete(m.troubles, number)
		}
	}
	if len(over) > 0 {
		m.closing = over[0].number
	}
	m.mu.Unlock()
	defer m.isClosing(0)
	for _, g := range over {
		m.isClosing(g.number)
		m.discard(g)
	}
	if m.shared() {
		m.feeders.Go(func() { m.sweep(ctx) })
		return nil
	}
	there, err := m.Backend.Generations(ctx)
	if err != nil {
		return fmt.Errorf("list generations: %w", err)
	}
	return m.dropOthers(ctx, s, there)
}

func (m *Manager) isClosing(number int) {
	m.mu.Lock()
	m.closing = number
	m.mu.Unlock()
	m.group.tellWaiting()
}

// dropOthers removes from a store of this process alone what the registry does not
// have and nobody is served from. Nothing is removed while the log has lost its
// end: views may hold the last trace of what was lost.
func (m *Manager) dropOthers(ctx context.Context, s standing, there []int) error {
	if m.shared() || eventstore.RefusalOf(m.Store) != nil {
		return nil
	}
	m.mu.Lock()
	m.left = slices.DeleteFunc(slices.Clone(there), func(n int) bool { return s.holds(n) || m.open[n] != nil })
	left := m.left
	m.mu.Unlock()
	for _, n := range left {
		if err := m.Backend.Drop(ctx, n); err != nil {
			return fmt.Errorf("drop generation %d: %w", n, err)
		}
	}
	m.mu.Lock()
	m.left = nil
	m.mu.Unlock()
	return nil
}

// discard stops and closes a generation that is not live.
func (m *Manager) discard(g *generation) {
	m.mu.Lock()
	stop, over := g.stop, g.over
	m.mu.Unlock()
	if stop != nil {
		stop()
		<-over
	}
	if err := g.applier.sink.Close(); err != nil {
		m.Logger.Warn("generation not closed cleanly", "store", m.StoreName, "generation", g.number, "error", err)
	}
}

// standing is what the registry says of this store; it puts the first generation in
// force. Without the log's word for it, because the log lost its end and takes no
// more events, that is in force which is the newest there.
func (m *Manager) standing(ctx context.Context) (standing, error) {
	if eventstore.RefusalOf(m.Store) != nil {
		all, err := m.registry.read(ctx)
		if err != nil {
			return standing{}, err
		}
		s := all.store(m.StoreName)
		if s.inForce == (numbered{}) {
			s.inForce = numbered{1, m.own()}
		}
		there, err := m.Backend.Generations(ctx)
		if err != nil {
			return s, fmt.Errorf("list generations: %w", err)
		}
		if len(there) > 0 && !slices.Contains(there, s.inForce.number) {
			s.inForce.number = there[len(there)-1]
		}
		return s, nil
	}
	all, err := m.registry.change(ctx, func(seen registered) ([]any, error) {
		if seen.store(m.StoreName).inForce != (numbered{}) {
			return nil, nil
		}
		return []any{switched{Generation: 1, Version: m.own(), At: m.Clock()}}, nil
	})
	return all.store(m.StoreName), err
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
