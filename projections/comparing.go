package projections

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// compareAll compares a candidate that is complete with the generation in force, in
// all its stores that are here, at once.
func (s *Stores) compareAll(ctx context.Context, generation int, progress func(compared, of int64)) (Difference, error) {
	seen, err := s.managers[0].registry.read(ctx)
	if err != nil {
		return Difference{}, err
	}
	c := seen.candidate()
	if c == nil || c.Generation != generation {
		return Difference{}, ErrNoCandidate
	}
	managers, err := s.of(c.Stores)
	if err != nil {
		return Difference{}, err
	}
	at, err := s.managers[0].lastEvent(ctx)
	if err != nil {
		return Difference{}, err
	}
	d := Difference{To: generation, At: at, Made: s.managers[0].Clock(), Stores: make([]StoreDifference, len(managers))}
	d.Versions[1] = c.Version
	var mu sync.Mutex
	compared := make([]int64, len(managers))
	all := make([]error, len(managers))
	var comparing sync.WaitGroup
	for i, m := range managers {
		g, old := m.generationOf(generation), m.inForce()
		if g == nil || old == nil {
			return d, fmt.Errorf("%s: %w", m.StoreName, ErrNotReady)
		}
		d.From, d.Versions[0] = old.number, old.version
		if _, frozen := m.stateOf(old); frozen {
			lanes, err := old.applier.sink.Checkpoints(ctx)
			if err != nil {
				return d, fmt.Errorf("%s: %w", m.StoreName, err)
			}
			if stands := lowest(lanes); stands.Before(d.At) {
				d.At = stands
			}
		}
		comparing.Go(func() {
			d.Stores[i], all[i] = m.compare(ctx, old, g, at, func(n int64) {
				mu.Lock()
				defer mu.Unlock()
				compared[i] = n
				if progress == nil {
					return
				}
				total := int64(0)
				for _, n := range compared {
					total += n
				}
				progress(total, s.ordersOf(managers, generation))
			})
		})
	}
	comparing.Wait()
	return d, errors.Join(all...)
}

// ordersOf is how many documents the builds of a generation have written, in all
// stores; 0 where nobody knows.
func (s *Stores) ordersOf(managers []*Manager, generation int) (all int64) {
	for _, m := range managers {
		m.mu.Lock()
		if g := m.open[generation]; g != nil && g.progress != nil {
			all += g.progress.Orders
		}
		m.mu.Unlock()
	}
	return all
}

// compare two generations of this store, once both have what is in the log up to at.
func (m *Manager) compare(ctx context.Context, old, g *generation, at eventstore.Position, progress func(compared int64)) (StoreDifference, error) {
	o := compareOptions{
		Store: m.StoreName, Old: old.applier.sink, New: g.applier.sink, Fold: g.applier.folding,
		Log: m.Store, Namespace: m.Namespace, Spills: m.spills(), Progress: progress,
		Reach: func(ctx context.Context, upTo eventstore.Position) error {
			return errors.Join(m.reachIn(ctx, old, upTo), m.reachIn(ctx, g, upTo))
		},
	}
	if e, carried := m.edition(old.version); carried {
		fold := e.Fold.complete()
		o.OldFold = &fold
	}
	// What Difference.At says; one that stands still is compared as it is.
	if err := o.Reach(ctx, at); err != nil && !errors.Is(err, ErrStale) {
		return StoreDifference{}, fmt.Errorf("%s: %w", m.StoreName, err)
	}
	d, err := compare(ctx, o)
	if err != nil {
		err = fmt.Errorf("%s: %w", m.StoreName, err)
	}
	return d, err
}

// reachIn returns when a generation has what is in the log up to a position, whoever
// feeds it; ErrStale when nobody does.
func (m *Manager) reachIn(ctx context.Context, g *generation, upTo eventstore.Position) error {
	for {
		m.mu.Lock()
		fed := g.feeder
		m.mu.Unlock()
		if fed != nil {
			return fed.reach(ctx, upTo)
		}
		lanes, err := g.applier.sink.Checkpoints(ctx)
		if err != nil {
			return err
		}
		if !lowest(lanes).Before(upTo) {
			return nil
		}
		if _, frozen := m.stateOf(g); frozen {
			return fmt.Errorf("generation %d: %w", g.number, ErrStale)
		}
		if err := pauseFor(ctx, min(max(m.Lease/4, pollMin), time.Second)); err != nil {
			return err
		}
	}
}

// beyond says what differs beyond the fields that may; nothing when nothing does.
// Figures may differ where fields do: they are sums of these.
func beyond(d Difference, allowed []string) string {
	for _, store := range d.Stores {
		if store.Empty() {
			continue
		}
		switch {
		case len(allowed) == 0:
			return fmt.Sprintf("%s: %d orders differ, %d are missing, %d are new, %d figures differ", store.Store, store.Changed, store.OnlyOld, store.OnlyNew, store.FiguresChanged)
		case store.OnlyOld+store.OnlyNew > 0:
			return fmt.Sprintf("%s: %d orders are missing, %d are new", store.Store, store.OnlyOld, store.OnlyNew)
		case len(store.ParkedOld)+len(store.ParkedNew) > 0:
			return fmt.Sprintf("%s: other orders are parked", store.Store)
		case store.Changed == 0:
			return fmt.Sprintf("%s: %d figures differ, and no order does", store.Store, store.FiguresChanged)
		}
		for _, f := range store.Fields {
			if !within(f.Path, allowed) {
				return fmt.Sprintf("%s: %s differs in %d orders", store.Store, f.Path, f.Orders)
			}
		}
	}
	return ""
}

// within reports whether a path is one of those, or below one.
func within(path string, allowed []string) bool {
	for _, top := range allowed {
		top = "/" + strings.Trim(strings.ReplaceAll(top, ".", "/"), "/")
		if path == top || strings.HasPrefix(path, top+"/") {
			return true
		}
	}
	return false
}
