package projections

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// Stores are the stores that this process keeps with the log, each by a Manager of
// its own: one that is down holds no other back. They have the registry in
// common: a rebuild makes a generation in every store, and switches all of them
// with one append. Methods may be called from many goroutines; Run once.
type Stores struct {
	managers []*Manager
	stirred  chan struct{} // told that there may be something to do about a rebuild
	// compare tells what a switch would change; tests have their own.
	compare func(ctx context.Context, generation int, progress func(compared, of int64)) (Difference, error)

	mu        sync.Mutex
	changed   chan struct{} // closed, and replaced, when anything becomes of a rebuild
	turns     int           // raised when that may be in the registry
	watchers  map[*watcher]bool
	comparing int         // the generation that is compared; 0: none
	last      *Difference // the one that was made last
	ripe      ripeness
	upgraded  map[*Manager]bool // it was seen whether they need a newer version
	began     time.Time         // when conduct did
}

// NewStores takes the managers, at least one, in the order in which Status tells
// of them, before any of them runs. No two have the same StoreName.
func NewStores(managers ...*Manager) *Stores {
	s := &Stores{managers: managers}
	s.prepare()
	for _, m := range managers {
		m.group = s
	}
	return s
}

func (s *Stores) prepare() {
	s.stirred, s.changed = make(chan struct{}, 1), make(chan struct{})
	s.upgraded, s.watchers = map[*Manager]bool{}, map[*watcher]bool{}
	s.compare = s.compareAll
}

// Managers of all stores, in order.
func (s *Stores) Managers() []*Manager { return s.managers }

// Run runs all managers until ctx ends, or until one ends with an error that
// waiting does not cure: then all end.
func (s *Stores) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	return s.each(func(m *Manager) error {
		err := m.Run(ctx)
		if err != nil {
			stop()
		}
		return err
	})
}

// Started returns when the stores of this process alone answer. A shared one may
// be down: until it answers, its Manager has no live generation.
func (s *Stores) Started(ctx context.Context) error {
	return s.each(func(m *Manager) error {
		if m.shared() {
			return nil
		}
		return m.Started(ctx)
	})
}

// CaughtUp returns when everything that was in the log at the call is applied
// or parked in every store; see Manager.CaughtUp.
func (s *Stores) CaughtUp(ctx context.Context) error {
	return s.each(func(m *Manager) error { return m.CaughtUp(ctx) })
}

// Wait returns when every store has the order at revision or later; see
// Manager.Wait.
func (s *Stores) Wait(ctx context.Context, orderID string, revision eventstore.Revision) error {
	return s.each(func(m *Manager) error { return m.Wait(ctx, orderID, revision) })
}

// Retry applies a parked order's stream again in every store; see Manager.Retry.
// A store that does not answer keeps no other from it.
func (s *Stores) Retry(ctx context.Context, orderID string) error {
	return s.each(func(m *Manager) error { return m.Retry(ctx, orderID) })
}

// each does something in all stores at once. The error is that of each, with the
// store's name where there are several.
func (s *Stores) each(do func(*Manager) error) error {
	all := make([]error, len(s.managers))
	var doing sync.WaitGroup
	for i, m := range s.managers {
		doing.Go(func() {
			err := do(m)
			if err != nil && len(s.managers) > 1 {
				err = fmt.Errorf("%s: %w", m.StoreName, err)
			}
			all[i] = err
		})
	}
	doing.Wait()
	return errors.Join(all...)
}

// Status of the projection in every store: one entry per store and generation,
// in the order of the managers. A store that does not answer has an entry that
// says so; an error is the log's.
func (s *Stores) Status(ctx context.Context) (Status, error) {
	all := Status{Name: s.managers[0].Projection, Version: s.managers[0].own()}
	statuses := make([]Status, len(s.managers))
	var mu sync.Mutex
	at := make(map[*Manager]int, len(s.managers))
	for i, m := range s.managers {
		at[m] = i
	}
	err := s.each(func(m *Manager) error {
		status, err := m.Status(ctx)
		mu.Lock()
		defer mu.Unlock()
		statuses[at[m]] = status
		return err
	})
	for _, status := range statuses {
		all.Generations = append(all.Generations, status.Generations...)
		if p := status.Rebuild; p != nil && (all.Rebuild == nil || p.before(*all.Rebuild)) {
			all.Rebuild = p
		}
		if all.LastRebuildError == "" {
			all.LastRebuildError = status.LastRebuildError
		}
	}
	return all, err
}

// Parked lists the parked orders of every store's live generation, store by
// store. Of a store that does not answer it lists what is known; Status says
// that it does not.
func (s *Stores) Parked(ctx context.Context) ([]Parked, error) {
	var all []Parked
	for _, m := range s.managers {
		list, err := m.Parked(ctx)
		if err != nil && !away(err) {
			return nil, err
		}
		for _, p := range list {
			p.Store = m.StoreName
			all = append(all, p)
		}
	}
	return all, nil
}

// LaneStatus is one lane of a generation in a shared store.
type LaneStatus struct {
	Lane     int                 `json:"lane"`
	Owner    string              `json:"owner"`
	Ours     bool                `json:"ours"` // this process has it
	Position eventstore.Position `json:"position"`
	// Still is for how long the beat has not moved, as this process saw it.
	StillMs int64 `json:"stillMs"`
}
