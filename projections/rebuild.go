package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Rebuild makes a new generation from the whole log, beside the one in force, and
// switches to it. progress, which may be nil, is called now and then, one call at
// a time. A failure, or the end of ctx before the switch, leaves what is in force
// as it is and removes what was built.
func (m *Manager) Rebuild(ctx context.Context, progress func(Progress)) error {
	return m.group.rebuild(ctx, []*Manager{m}, progress)
}

// Rebuild is Manager.Rebuild in every store: one generation in all of them, and one
// switch. progress is told of the store that is least far.
func (s *Stores) Rebuild(ctx context.Context, progress func(Progress)) error {
	return s.rebuild(ctx, s.managers, progress)
}

// lastAct bounds what is done after somebody has left.
const lastAct = 10 * time.Second

// outlasting is ctx, but ends so much later.
func outlasting(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(by, end) })
	return longer, func() {
		stop()
		end()
	}
}

func (s *Stores) rebuild(ctx context.Context, managers []*Manager, progress func(Progress)) error {
	for _, m := range managers {
		if err := m.ready(ctx); err != nil {
			return fmt.Errorf("rebuild %s: %w", m.StoreName, err)
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
	}
	w := s.watch()
	defer s.unwatch(w)
	// Who leaves while it begins leaves nothing behind: only when it is known whether
	// it has begun can it be cancelled.
	beginning, done := outlasting(ctx, lastAct)
	defer done()
	generation, err := s.begin(beginning, managers, building{Then: ThenSwitch, OnError: stopOnError, Share: 1}, false)
	if err != nil {
		return err
	}
	r, err := s.await(ctx, w, generation, func(r Rebuild) {
		if progress != nil && r.Progress != nil {
			progress(*r.Progress)
		}
	})
	if err != nil {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAct)
		defer cancel()
		if failed := s.Cancel(ending, generation); failed != nil && !errors.Is(failed, ErrNoCandidate) && !errors.Is(failed, ErrClosed) {
			err = fmt.Errorf("%w (%w)", err, failed)
		}
		return fmt.Errorf("rebuild: %w", err)
	}
	switch r.Phase {
	case PhaseSwitched:
		if err := s.untilServed(ctx, managers, generation); err != nil {
			return fmt.Errorf("rebuild: %w", err)
		}
		if progress != nil {
			p := Progress{}
			if now := s.progressOf(generation); now != nil {
				p = *now
			}
			p.Generation, p.Phase = generation, string(PhaseSwitched)
			progress(p)
		}
		return s.untilAlone(ctx, managers, generation)
	case PhaseReady:
		err := s.Cancel(ctx, generation)
		return errors.Join(fmt.Errorf("rebuild: %s", r.Failure.Message), err)
	case PhaseFailed:
		return fmt.Errorf("rebuild: %w", &stopped{*r.Failure})
	}
	return fmt.Errorf("rebuild: generation %d was %s", generation, r.Phase)
}

// untilAlone waits until nothing is open here that the registry does not have.
func (s *Stores) untilAlone(ctx context.Context, managers []*Manager, generation int) error {
	return s.until(ctx, func() bool {
		return !slices.ContainsFunc(managers, func(m *Manager) bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			for n := range m.open {
				if !m.stands.holds(n) {
					return true
				}
			}
			return !m.closed && m.stands.inForce.number >= generation && m.closing != 0
		})
	})
}

// phases of a rebuild, in order.
var phases = [...]string{"", "reading", "folding", "following", "switched"}

// before reports whether a rebuild of one store is less far than of another.
func (p Progress) before(q Progress) bool {
	if a, b := slices.Index(phases[:], p.Phase), slices.Index(phases[:], q.Phase); a != b {
		return a < b
	}
	return p.Events+p.Orders < q.Events+q.Orders
}

// watcher is told of a rebuild: the last of every phase, and nobody waits for it.
type watcher struct {
	mu      sync.Mutex
	waiting []Progress
}

func (w *watcher) put(p Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.waiting); n > 0 && w.waiting[n-1].Phase == p.Phase && w.waiting[n-1].Generation == p.Generation {
		w.waiting[n-1] = p
	} else if n < 4*len(phases) {
		w.waiting = append(w.waiting, p)
	} else {
		w.waiting[n-1] = p
	}
}

// take what was said of a generation.
func (w *watcher) take(generation int) []Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.waiting
	w.waiting = nil
	return slices.DeleteFunc(all, func(p Progress) bool { return p.Generation != generation })
}

func (s *Stores) watch() *watcher {
	w := &watcher{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[w] = true
	return w
}

func (s *Stores) unwatch(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}

// progressed tells who waits how far the store is that is least far.
func (s *Stores) progressed(generation int) {
	p := s.progressOf(generation)
	if p == nil {
		return
	}
	s.mu.Lock()
	for w := range s.watchers {
		w.put(*p)
	}
	s.mu.Unlock()
	s.tellWaiting()
}

// tell makes conduct look again, and all who wait for what becomes of a rebuild.
func (s *Stores) tell() {
	signal(s.stirred)
	s.mu.Lock()
	s.turns++
	s.mu.Unlock()
	s.tellWaiting()
}

func (s *Stores) tellWaiting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// listen returns what is closed when anything becomes of a rebuild, and a number
// that is another when it may be in the registry.
func (s *Stores) listen() (<-chan struct{}, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed, s.turns
}
