package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

const (
	// settling is for how long a store that needs another generation waits to hear
	// whether its neighbours do.
	settling = 2 * time.Second
	// conductAtMost is how often is looked whether something is due.
	conductAtMost = time.Minute
	// graceLeases is for how many leases a process leaves it to the one that has the
	// first lane to say what becomes of a candidate.
	graceLeases = 3
)

// ripeness is since when this process sees a candidate complete in all its stores.
type ripeness struct {
	generation int
	since      time.Time
}

// conduct brings about what follows from what the registry and the stores say, until
// ctx ends: a candidate that is complete is switched to, or waits; generations that
// cannot be fed get a successor; what was kept for long enough is given up. Every
// process does, and the first append counts: a crash of any changes nothing.
func (s *Stores) conduct(ctx context.Context) {
	s.mu.Lock()
	s.began = time.Now()
	s.mu.Unlock()
	var pause backoff
	for ctx.Err() == nil {
		again, err := s.advance(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.refused(err)
			s.managers[0].Logger.Warn("a rebuild does not go on yet", "error", err)
			_ = pause.wait(ctx)
			continue
		}
		pause = backoff{}
		timer := time.NewTimer(max(time.Millisecond, again))
		select {
		case <-s.stirred:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// refused notes that the log takes no switch: what cannot be fed stays as it is until
// an operator has acted and docket was started again.
func (s *Stores) refused(err error) {
	if !errors.Is(err, eventstore.ErrReadOnly) {
		return
	}
	for _, m := range s.managers {
		m.mu.Lock()
		known := m.stuck != nil
		if m.live != nil && m.live.feeder == nil {
			m.stuck = err
		}
		m.mu.Unlock()
		if !known {
			m.Logger.Error("views are not rebuilt, and stay as they are", "store", m.StoreName, "error", err)
		}
		m.wake([]string{""})
	}
}

// advance does what there is to do now, and says when to look again.
func (s *Stores) advance(ctx context.Context) (again time.Duration, err error) {
	seen, err := s.managers[0].registry.read(ctx)
	if err != nil {
		return 0, err
	}
	if again, err = s.renew(ctx, seen); err != nil {
		return 0, err
	}
	due, err := s.age(ctx, seen)
	if err != nil {
		return 0, err
	}
	again = min(again, due, conductAtMost)
	if c := seen.candidate(); c != nil && c.ready == nil {
		due, err = s.settle(ctx, *c)
		again = min(again, due)
	}
	return again, err
}

// renew begins successors of the generations in force that this program cannot feed,
// in all stores that need one: they are switched together.
func (s *Stores) renew(ctx context.Context, seen registered) (again time.Duration, err error) {
	var needed []*Manager
	undecided, broken, then := false, false, ThenSwitch
	s.mu.Lock()
	settled := time.Since(s.began) >= settling
	s.mu.Unlock()
	for _, m := range s.managers {
		stands := seen.store(m.StoreName)
		m.mu.Lock()
		served, kept := m.live, m.kept
		isBroken := m.open[stands.inForce.number] != nil && m.open[stands.inForce.number].broken != ""
		m.mu.Unlock()
		if !kept {
			undecided = true
			continue
		}
		switch {
		case stands.candidate != nil && stands.candidate.Version >= m.own():
		case isBroken && stands.inForce.version <= m.own():
			needed, broken = append(needed, m), true
		case s.isOlder(m, seen, stands, served):
			needed, then = append(needed, m), m.Upgrade
		}
	}
	if len(needed) == 0 || eventstore.RefusalOf(s.managers[0].Store) != nil && s.isStuck() {
		return conductAtMost, nil
	}
	if undecided && !settled {
		return settling / 20, nil
	}
	b := building{Then: then, OnError: stopOnError, Reason: "version"}
	if broken {
		b.Then, b.OnError, b.Reason = ThenSwitch, parkOnError, "damage"
	}
	number, err := s.begin(ctx, needed, b, true)
	if errors.Is(err, ErrRebuilding) {
		return conductAtMost, nil // it is tried again when that is over
	}
	if err == nil {
		for _, m := range needed {
			s.seenOlder(m)
		}
		s.managers[0].Logger.Info("views are rebuilt", "generation", number, "stores", namesOf(needed), "because of", b.Reason)
	}
	return conductAtMost, err
}

// isStuck reports whether it is known that the log takes no switch.
func (s *Stores) isStuck() bool {
	return slices.ContainsFunc(s.managers, func(m *Manager) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.stuck != nil
	})
}

// isOlder reports, once for each start, whether a store is to get a generation of
// this program's version by itself: not where there is one to switch or to return
// to, nor where the last attempt has failed. A store of this process alone in which
// there is nothing but a newer program's gets an older one.
func (s *Stores) isOlder(m *Manager, seen registered, stands standing, served *generation) bool {
	s.mu.Lock()
	known := s.upgraded[m]
	s.mu.Unlock()
	older := stands.inForce.version < m.own()
	newer := !m.reads(stands.inForce.version) && !m.shared() && served == nil && stands.previous.version != m.own()
	if known || !older && !newer {
		return false
	}
	wanted := stands.previous.version != m.own()
	for _, r := range seen.rebuilds() {
		if r.Version == m.own() && names(r.Stores, m.StoreName) {
			wanted = wanted && r.Phase != PhaseFailed && r.Phase != PhaseCancelled
			break
		}
	}
	if !wanted {
		s.seenOlder(m)
	}
	return wanted
}

func (s *Stores) seenOlder(m *Manager) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upgraded[m] = true
}

// age gives up what was kept for a rollback for long enough, and says when the next
// is due.
func (s *Stores) age(ctx context.Context, seen registered) (due time.Duration, err error) {
	due = conductAtMost
	for _, m := range s.managers {
		stands := seen.store(m.StoreName)
		if stands.previous == (numbered{}) || m.Keep <= 0 || eventstore.RefusalOf(m.Store) != nil {
			continue
		}
		left := stands.since.Add(m.Keep).Sub(m.Clock())
		if left > 0 {
			due = min(due, left)
			continue
		}
		number := stands.previous.number
		_, err := s.append(ctx, func(now registered) ([]any, error) {
			if p := now.store(m.StoreName); p.previous.number != number || p.since != stands.since {
				return nil, nil
			}
			return []any{dropped{Generation: number, Why: whyAged, At: m.Clock()}}, nil
		})
		if err != nil {
			return due, fmt.Errorf("give up generation %d: %w", number, err)
		}
	}
	return due, nil
}

// append changes the registry, and makes everything here follow.
func (s *Stores) append(ctx context.Context, decide func(registered) ([]any, error)) (registered, error) {
	seen, err := s.managers[0].registry.change(ctx, decide)
	for _, m := range s.managers {
		m.stir()
	}
	return seen, err
}

// abandon records that a rebuild has failed. It is the candidate that failed: one
// that was switched to meanwhile stays.
func (s *Stores) abandon(ctx context.Context, generation int, f Failure) error {
	_, err := s.append(ctx, func(seen registered) ([]any, error) {
		if c := seen.candidate(); c == nil || c.Generation != generation {
			return nil, nil
		}
		return []any{dropped{Generation: generation, Why: whyFailed, Failure: &f, At: s.managers[0].Clock()}}, nil
	})
	if err != nil {
		return fmt.Errorf("give up generation %d: %w", generation, err)
	}
	return nil
}

// settle says what becomes of a candidate that is complete in all its stores. Which
// processes can tell are those that have all of these.
func (s *Stores) settle(ctx context.Context, c candidate) (again time.Duration, err error) {
	managers, err := s.of(c.Stores)
	if err != nil {
		return conductAtMost, nil
	}
	for _, m := range managers {
		if g := m.generationOf(c.Generation); g == nil || !m.isComplete(g) {
			return conductAtMost, nil
		}
	}
	if wait := s.turn(managers, c.Generation); wait > 0 {
		return wait, nil
	}
	failure, err := s.judge(ctx, managers, c)
	if err != nil {
		return 0, err
	}
	first := s.managers[0]
	_, err = s.append(ctx, func(seen registered) ([]any, error) {
		now := seen.candidate()
		switch {
		case now == nil || now.Generation != c.Generation || now.ready != nil:
			return nil, nil // another process was faster
		case failure == nil && c.Then != ThenAsk && c.Then != "":
			return []any{s.switchTo(seen, *now)}, nil
		}
		return []any{readied{Generation: c.Generation, Failure: failure, At: first.Clock()}}, nil
	})
	return conductAtMost, err
}

// of is the managers of some stores, or of all; an error names one that is not here.
func (s *Stores) of(stores []string) ([]*Manager, error) {
	var found []*Manager
	for _, m := range s.managers {
		if names(stores, m.StoreName) {
			found = append(found, m)
		}
	}
	for _, name := range stores {
		if !slices.ContainsFunc(found, func(m *Manager) bool { return m.StoreName == name }) {
			return found, fmt.Errorf("%s is not a store of this docket", name)
		}
	}
	return found, nil
}

func namesOf(managers []*Manager) []string {
	all := make([]string, len(managers))
	for i, m := range managers {
		all[i] = m.StoreName
	}
	return all
}

// generationOf a number that is open; nil when it is not.
func (m *Manager) generationOf(number int) *generation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open[number]
}

func (m *Manager) isComplete(g *generation) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return g.complete && g.failed() == nil
}

// turn is for how long it is left to another process to say what becomes of a
// candidate: to the one that has the first lane in the first store that is shared.
func (s *Stores) turn(managers []*Manager, generation int) time.Duration {
	s.mu.Lock()
	if s.ripe.generation != generation {
		s.ripe = ripeness{generation, time.Now()}
	}
	since := s.ripe.since
	s.mu.Unlock()
	for _, m := range managers {
		if !m.shared() {
			continue
		}
		if g := m.generationOf(generation); g != nil {
			if f, ok := g.feeder.(*sharer); ok && f.hasLane(0) {
				return 0
			}
		}
		return max(0, graceLeases*m.Lease-time.Since(since))
	}
	return 0
}

// judge is why a candidate must not be switched to by itself; nil when nothing
// speaks against it, or nobody has asked for that. It has all that the one in force
// shows then.
func (s *Stores) judge(ctx context.Context, managers []*Manager, c candidate) (*Failure, error) {
	for _, m := range managers {
		if err := m.catchUp(ctx, c.Generation); err != nil {
			return nil, err
		}
	}
	switch c.Then {
	case ThenSwitch:
		if c.OnError == parkOnError {
			return nil, nil
		}
		return parksMore(ctx, managers, c.Generation)
	case ThenSwitchIfEqual, ThenSwitchOnly:
		s.setComparing(c.Generation)
		defer s.setComparing(0)
		d, err := s.compare(ctx, c.Generation, nil)
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
		if err != nil {
			return &Failure{Message: fmt.Sprintf("it could not be compared with the generation in force: %v", err)}, nil
		}
		s.keepDifference(d)
		fields := c.Fields
		if c.Then == ThenSwitchIfEqual {
			fields = nil
		}
		if differs := beyond(d, fields); differs != "" {
			return &Failure{Message: differs}, nil
		}
		// What came while it was compared must not be missed either.
		for _, m := range managers {
			if err := m.catchUp(ctx, c.Generation); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// catchUp returns when a generation here has what the log has, and what the one that
// is served shows.
func (m *Manager) catchUp(ctx context.Context, generation int) error {
	g, live := m.generationOf(generation), m.served()
	if g == nil {
		return fmt.Errorf("%s: generation %d: %w", m.StoreName, generation, ErrNotReady)
	}
	if err := m.overtake(ctx, g, live); err != nil {
		return fmt.Errorf("%s: let generation %d catch up: %w", m.StoreName, generation, err)
	}
	return nil
}

func (m *Manager) served() *generation {
	g, _ := m.generation()
	return g
}

// parksMore tells of an order that a candidate parks and the generation in force does
// not.
func parksMore(ctx context.Context, managers []*Manager, number int) (*Failure, error) {
	for _, m := range managers {
		g, old := m.generationOf(number), m.inForce()
		if g == nil || old == nil {
			continue
		}
		for _, x := range [2]*applier{g.applier, old.applier} {
			if err := x.loadParked(ctx); err != nil {
				return nil, err
			}
		}
		for _, p := range g.applier.allParked() {
			if there, ok := old.applier.parkedOrder(p.OrderID); !ok || there.Revision > p.Revision {
				return &Failure{Message: "it parks an order that the generation in force does not: " + p.Reason,
					Store: m.StoreName, OrderID: p.OrderID, Revision: p.Revision, Position: p.Position}, nil
			}
		}
	}
	return nil, nil
}

// inForce is the generation in force, when it is open.
func (m *Manager) inForce() *generation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open[m.stands.inForce.number]
}

func (s *Stores) setComparing(generation int) {
	s.mu.Lock()
	s.comparing = generation
	s.mu.Unlock()
	s.tellWaiting()
}

// switchTo is the event that puts a candidate in force in all its stores.
func (s *Stores) switchTo(seen registered, c candidate) switched {
	next := switched{Generation: c.Generation, Version: c.Version, Stores: c.Stores, Reason: reasonSwitch, At: s.managers[0].Clock()}
	if c.OnError == parkOnError {
		return next // there is no way back to what was damaged
	}
	for _, m := range s.managers {
		if m.Keep > 0 && c.in(m.StoreName) {
			next.Previous = max(next.Previous, seen.store(m.StoreName).inForce.number)
		}
	}
	return next
}

// hasLane reports whether this process has a lane.
func (s *sharer) hasLane(lane int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, held := s.held[lane]
	return held
}
