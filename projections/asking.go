package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/view/fields"
)

// rebuildsTold bounds how many rebuilds Rebuilds tells of.
const rebuildsTold = 20

// Begin records that a new generation is to be made in every store, and returns
// its number. Whichever processes carry the version make it, also after a crash of
// this one. ErrRebuilding while another is made, or waits to be switched to;
// ErrOlderProgram where a newer program made what is in force.
func (s *Stores) Begin(ctx context.Context, r Request) (generation int, err error) {
	switch r.Then {
	case "", ThenAsk, ThenSwitch, ThenSwitchIfEqual, ThenSwitchOnly:
	default:
		return 0, fmt.Errorf("rebuild: nobody knows what %q is", r.Then)
	}
	if !(r.Share >= 0 && r.Share <= 1) {
		return 0, fmt.Errorf("rebuild: a share of %v of a machine", r.Share)
	}
	return s.begin(ctx, s.managers, building{
		Then: cmp.Or(r.Then, ThenAsk), Fields: r.Fields, Share: r.Share, OnError: stopOnError, Reason: r.Reason,
	}, false)
}

// begin takes a number for what b describes in some stores. With supersede, a
// candidate of an older version is given up for it.
func (s *Stores) begin(ctx context.Context, managers []*Manager, b building, supersede bool) (int, error) {
	first := managers[0]
	least := 0
	for _, m := range managers {
		// What is left there under a number, by whomever, is not taken for this one.
		there, err := m.Backend.Generations(ctx)
		if err != nil {
			return 0, fmt.Errorf("rebuild %s: list generations: %w", m.StoreName, err)
		}
		least = max(least, slices.Max(append(there, 0)))
	}
	b.Version, b.Stores, b.Owner = first.own(), namesOf(managers), first.Owner
	_, err := s.append(ctx, func(seen registered) ([]any, error) {
		var facts []any
		b.At = first.Clock()
		if c := seen.candidate(); c != nil && (!supersede || c.Version >= b.Version) {
			return nil, fmt.Errorf("%w: generation %d, since %s", ErrRebuilding, c.Generation, c.At.Format(time.RFC3339))
		} else if c != nil {
			facts = append(facts, dropped{Generation: c.Generation, Why: whySuperseded, At: b.At})
		}
		for _, m := range managers {
			now := seen.store(m.StoreName).inForce
			if served := m.served(); now.version > b.Version && served != nil {
				return nil, fmt.Errorf("%w: %s, generation %d", ErrOlderProgram, m.StoreName, now.number)
			}
		}
		b.Generation = max(least, seen.highest()) + 1
		return append(facts, b), nil
	})
	if err != nil {
		return 0, fmt.Errorf("rebuild: %w", err)
	}
	return b.Generation, nil
}

// Rebuilds tells of the last rebuilds, newest first, at most 20.
func (s *Stores) Rebuilds(ctx context.Context) ([]Rebuild, error) {
	seen, err := s.managers[0].registry.read(ctx)
	if err != nil {
		return nil, err
	}
	all := seen.rebuilds()
	for i := range all {
		all[i] = s.described(all[i])
	}
	return all[:min(len(all), rebuildsTold)], nil
}

// described is a rebuild with how far this process sees it.
func (s *Stores) described(r Rebuild) Rebuild {
	if r.Phase.Over() {
		return r
	}
	s.mu.Lock()
	comparing := s.comparing == r.Generation
	s.mu.Unlock()
	if p := s.progressOf(r.Generation); p != nil {
		r.Progress, r.Phase = p, Phase(p.Phase)
	}
	if comparing {
		r.Phase = PhaseComparing
	}
	return r
}

// progressOf the store that is least far with a generation; nil where none here has
// it.
func (s *Stores) progressOf(generation int) (least *Progress) {
	for _, m := range s.managers {
		m.mu.Lock()
		if g := m.open[generation]; g != nil {
			p := Progress{Generation: generation, Phase: string(PhaseReading)}
			if g.progress != nil {
				p = *g.progress
			}
			if g.complete {
				p.Phase = string(PhaseFollowing)
			}
			if least == nil || p.before(*least) {
				least = &p
			}
		}
		m.mu.Unlock()
	}
	return least
}

// Await returns when a rebuild's phase is over: it waits, was switched to, has
// failed or was cancelled. progress, which may be nil, is called now and then.
func (s *Stores) Await(ctx context.Context, generation int, progress func(Rebuild)) (Rebuild, error) {
	w := s.watch()
	defer s.unwatch(w)
	return s.await(ctx, w, generation, progress)
}

// awaitTick is how often is looked without being told.
const awaitTick = 500 * time.Millisecond

func (s *Stores) await(ctx context.Context, w *watcher, generation int, progress func(Rebuild)) (Rebuild, error) {
	var r Rebuild
	for last := -1; ; {
		changed, turn := s.listen()
		if last != turn {
			seen, err := s.managers[0].registry.read(ctx)
			switch {
			case ctx.Err() != nil:
				return r, ctx.Err()
			case err == nil:
				all := seen.rebuilds()
				i := slices.IndexFunc(all, func(r Rebuild) bool { return r.Generation == generation })
				if i < 0 {
					return r, fmt.Errorf("rebuild %d: %w", generation, ErrNoGeneration)
				}
				r, last = all[i], turn
			case !errors.Is(err, eventstore.ErrUnavailable) && !errors.Is(err, eventstore.ErrOverloaded):
				return r, err
			}
		}
		for _, p := range w.take(generation) {
			if progress != nil && r.Generation != 0 {
				now := r
				now.Progress, now.Phase = &p, Phase(p.Phase)
				progress(now)
			}
		}
		if r.Phase.Over() {
			if progress != nil {
				progress(r)
			}
			return r, nil
		}
		if progress != nil && r.Generation != 0 {
			progress(s.described(r))
		}
		tick := time.NewTimer(awaitTick)
		select {
		case <-changed:
		case <-tick.C:
			last = -1
		case <-s.managers[0].finished:
			tick.Stop()
			return r, s.managers[0].over()
		case <-ctx.Done():
			tick.Stop()
			return r, ctx.Err()
		}
		tick.Stop()
	}
}

// Cancel ends a rebuild, or gives up what it has made. ErrServed once it is in
// force.
func (s *Stores) Cancel(ctx context.Context, generation int) error {
	_, err := s.append(ctx, func(seen registered) ([]any, error) {
		if c := seen.candidate(); c == nil || c.Generation != generation {
			if seen.isInForce(generation, namesOf(s.managers)) {
				return nil, ErrServed
			}
			return nil, ErrNoCandidate
		}
		return []any{dropped{Generation: generation, Why: whyCancelled, At: s.managers[0].Clock()}}, nil
	})
	if err != nil {
		return fmt.Errorf("cancel generation %d: %w", generation, err)
	}
	return s.untilClosed(ctx, generation)
}

// untilClosed waits until no store here has a generation open any more.
func (s *Stores) untilClosed(ctx context.Context, generation int) error {
	return s.until(ctx, func() bool {
		return !slices.ContainsFunc(s.managers, func(m *Manager) bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.open[generation] != nil || m.closing == generation || slices.Contains(m.left, generation) && !m.shared()
		})
	})
}

// until waits for something that is told of.
func (s *Stores) until(ctx context.Context, done func() bool) error {
	for {
		changed, _ := s.listen()
		if done() {
			return nil
		}
		tick := time.NewTimer(awaitTick)
		select {
		case <-changed:
		case <-tick.C:
		case <-s.managers[0].finished:
			tick.Stop()
			return s.managers[0].over()
		case <-ctx.Done():
			tick.Stop()
			return ctx.Err()
		}
		tick.Stop()
	}
}

// Switch makes the candidate the generation in force of every store, with one
// append, and returns its number when this process serves it. Whoever has looked at
// the difference names the generation: when another one waits by now it is
// ErrAnotherCandidate; 0 means whichever waits. One that is in force already is in
// force. ErrNoCandidate, ErrNotReady.
func (s *Stores) Switch(ctx context.Context, meant int) (generation int, err error) {
	seen, err := s.managers[0].registry.read(ctx)
	if err != nil {
		return 0, err
	}
	c := seen.candidate()
	switch {
	case meant != 0 && seen.isInForce(meant, namesOf(s.managers)): // asked once more
		return meant, s.untilServed(ctx, s.managers, meant)
	case c == nil:
		return 0, ErrNoCandidate
	case meant != 0 && meant != c.Generation:
		return 0, fmt.Errorf("%w: generation %d, not %d", ErrAnotherCandidate, c.Generation, meant)
	case c.ready == nil:
		return 0, fmt.Errorf("generation %d: %w", c.Generation, ErrNotReady)
	}
	managers, _ := s.of(c.Stores)
	var carrying []*Manager
	for _, m := range managers {
		if _, carried := m.edition(c.Version); carried { // of the others, those that carry it say when they serve it
			carrying = append(carrying, m)
		}
	}
	if err := s.untilReady(ctx, c, carrying); err != nil {
		return 0, err
	}
	if err := atOnce(carrying, func(m *Manager) error { return m.catchUp(ctx, c.Generation) }); err != nil {
		return 0, err
	}
	_, err = s.append(ctx, func(seen registered) ([]any, error) {
		now := seen.candidate()
		if now == nil || now.Generation != c.Generation {
			return nil, ErrNoCandidate // another process was faster
		}
		return []any{s.switchTo(seen, *now)}, nil
	})
	if err != nil {
		return 0, fmt.Errorf("switch to generation %d: %w", c.Generation, err)
	}
	return c.Generation, s.untilServed(ctx, managers, c.Generation)
}

// learnTime is how long it may take until a process has seen that a candidate is
// ready which another process has told to be.
const learnTime = 30 * time.Second

// untilReady returns when a candidate is complete here in these stores: at once, or,
// where some process has told that it is ready, as soon as this one has seen it too.
// ErrNotReady otherwise.
func (s *Stores) untilReady(ctx context.Context, c *candidate, managers []*Manager) error {
	var lacking *Manager
	over := false // nothing more becomes of it here
	seen := func() bool {
		lacking = nil
		for _, m := range managers {
			_, carried := m.edition(c.Version)
			m.mu.Lock()
			if g := m.open[c.Generation]; g == nil || !g.complete || g.failed() != nil {
				lacking = m
				over = !carried || m.closed || m.stands.inForce.number >= c.Generation || g != nil && g.failed() != nil
			}
			m.mu.Unlock()
			if over {
				return true
			}
		}
		return lacking == nil
	}
	if !seen() && c.ready != nil {
		brief, cancel := context.WithTimeout(ctx, learnTime)
		defer cancel()
		if err := s.until(brief, seen); err != nil && brief.Err() == nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if lacking != nil {
		return fmt.Errorf("%s: generation %d: %w", lacking.StoreName, c.Generation, ErrNotReady)
	}
	return nil
}

// untilServed waits until each store here serves a generation, as far as it may, or
// another is in force.
func (s *Stores) untilServed(ctx context.Context, managers []*Manager, generation int) error {
	return s.until(ctx, func() bool {
		return !slices.ContainsFunc(managers, func(m *Manager) bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.closed || m.stands.inForce.number > generation || m.live != nil && m.live.number == generation {
				return false
			}
			return m.stands.inForce.number != generation || m.reads(m.stands.inForce.version)
		})
	})
}

// Rollback returns to the generation that was in force before, and returns its
// number when this process serves it. ErrNoPrevious; ErrStale when it is frozen,
// unless that is accepted.
func (s *Stores) Rollback(ctx context.Context, acceptStale bool) (generation int, err error) {
	seen, err := s.managers[0].registry.read(ctx)
	if err != nil {
		return 0, err
	}
	back := map[numbered][]*Manager{}
	var returning []*Manager
	for _, m := range s.managers {
		p := seen.store(m.StoreName).previous
		if p == (numbered{}) {
			continue
		}
		returning, back[p] = append(returning, m), append(back[p], m)
		generation = max(generation, p.number)
	}
	if len(back) == 0 {
		return 0, ErrNoPrevious
	}
	err = atOnce(returning, func(m *Manager) error {
		return m.wayBack(ctx, seen.store(m.StoreName).previous, acceptStale)
	})
	if err != nil {
		return 0, err
	}
	_, err = s.append(ctx, func(seen registered) ([]any, error) {
		var facts []any
		for p, managers := range back {
			from := 0
			for _, m := range managers {
				now := seen.store(m.StoreName)
				if now.previous != p {
					return nil, ErrNoPrevious // another process was faster
				}
				from = max(from, now.inForce.number)
			}
			facts = append(facts, switched{
				Generation: p.number, Version: p.version, Stores: namesOf(managers), Previous: from, Reason: reasonRollback, At: s.managers[0].Clock(),
			})
		}
		return facts, nil
	})
	if err != nil {
		return 0, fmt.Errorf("return to generation %d: %w", generation, err)
	}
	for p, managers := range back {
		if err := s.untilReturned(ctx, managers, p.number); err != nil {
			return 0, err
		}
	}
	return generation, nil
}

// untilReturned is untilServed of a lower number.
func (s *Stores) untilReturned(ctx context.Context, managers []*Manager, generation int) error {
	return s.until(ctx, func() bool {
		return !slices.ContainsFunc(managers, func(m *Manager) bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			served := m.live != nil && m.live.number == generation
			return !m.closed && !served && (m.stands.previous.number == generation || m.stands.inForce.number == generation && m.reads(m.stands.inForce.version))
		})
	})
}

// wayBack returns when the generation that was in force before has all that the one
// that is served shows; at once when it is stale, and that is accepted.
func (m *Manager) wayBack(ctx context.Context, p numbered, acceptStale bool) error {
	g := m.generationOf(p.number)
	if g == nil && !m.reads(p.version) {
		return nil // those that may read it have it
	}
	if g == nil {
		return fmt.Errorf("%s: %w: generation %d is gone", m.StoreName, ErrNoPrevious, p.number)
	}
	if _, frozen := m.stateOf(g); frozen && acceptStale {
		return nil
	} else if frozen {
		return fmt.Errorf("%s: generation %d: %w", m.StoreName, p.number, ErrStale)
	}
	return m.catchUp(ctx, p.number)
}

// Drop gives up a generation that is not in force, in every store. ErrServed,
// ErrNoGeneration.
func (s *Stores) Drop(ctx context.Context, generation int) error {
	_, err := s.append(ctx, func(seen registered) ([]any, error) {
		if seen.isInForce(generation, namesOf(s.managers)) {
			return nil, ErrServed
		}
		for _, name := range append(seen.stores(), namesOf(s.managers)...) {
			if seen.store(name).holds(generation) {
				return []any{dropped{Generation: generation, Why: whyDropped, At: s.managers[0].Clock()}}, nil
			}
		}
		return nil, ErrNoGeneration
	})
	if err != nil {
		return fmt.Errorf("drop generation %d: %w", generation, err)
	}
	return s.untilClosed(ctx, generation)
}

// Diff compares the candidate with the generation in force, in every store, at
// one position on both sides. The last one is kept: fresh compares again.
// ErrNoCandidate, ErrNotReady; ErrOlderProgram where only a newer one can read the
// candidate.
func (s *Stores) Diff(ctx context.Context, fresh bool, progress func(compared, of int64)) (Difference, error) {
	seen, err := s.managers[0].registry.read(ctx)
	if err != nil {
		return Difference{}, err
	}
	c := seen.candidate()
	if c == nil {
		return Difference{}, ErrNoCandidate
	}
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	if !fresh && last != nil && last.To == c.Generation {
		return *last, nil
	}
	managers, err := s.of(c.Stores)
	if err != nil {
		return Difference{}, err
	}
	for _, m := range managers {
		if !m.reads(c.Version) {
			return Difference{}, fmt.Errorf("%w: %s, generation %d", ErrOlderProgram, m.StoreName, c.Generation)
		}
	}
	if err := s.untilReady(ctx, c, managers); err != nil {
		return Difference{}, err
	}
	d, err := s.compare(ctx, c.Generation, progress)
	if err != nil {
		return d, fmt.Errorf("compare generation %d: %w", c.Generation, err)
	}
	s.keepDifference(d)
	return d, nil
}

func (s *Stores) keepDifference(d Difference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = &d
}

// Reproject makes what every store keeps of one order what its stream says, and
// returns what that changed in the documents, per store; see Manager.Reproject.
func (s *Stores) Reproject(ctx context.Context, orderID string) (map[string][]Changed, error) {
	changes := make([][]Changed, len(s.managers))
	err := s.each(func(m *Manager) (err error) {
		changes[slices.Index(s.managers, m)], err = m.reprojectAndTell(ctx, orderID)
		return err
	})
	all := make(map[string][]Changed, len(s.managers))
	for i, m := range s.managers {
		all[m.StoreName] = changes[i]
	}
	return all, err
}

func (m *Manager) reprojectAndTell(ctx context.Context, orderID string) ([]Changed, error) {
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	g := m.served()
	if g == nil {
		return nil, m.over()
	}
	before, err := g.applier.sink.Documents(ctx, []string{orderID})
	if err != nil {
		return nil, fmt.Errorf("read order %s: %w", orderID, err)
	}
	if err := m.Reproject(ctx, orderID); err != nil {
		return nil, err
	}
	after, err := g.applier.sink.Documents(ctx, []string{orderID})
	if err != nil {
		return nil, fmt.Errorf("read order %s: %w", orderID, err)
	}
	var changed []Changed
	for _, f := range fields.Diff(before[orderID], after[orderID]) {
		changed = append(changed, Changed{OrderID: orderID, Revision: after[orderID].Revision, Path: f.Path, Before: f.Before, After: f.After})
	}
	return changed, nil
}
