package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
)

// Status is what operators see of the projection.
type Status struct {
	Name        string             `json:"name"`
	Version     int                `json:"version"` // of this program
	Generations []GenerationStatus `json:"generations"`
	Rebuild     *Progress          `json:"rebuild,omitempty"` // while one runs
	// LastRebuildError is why the last rebuild failed, empty when it did not.
	LastRebuildError string `json:"lastRebuildError,omitempty"`
}

// GenerationStatus is one generation.
type GenerationStatus struct {
	Generation int                 `json:"generation"`
	Version    int                 `json:"version"`
	State      string              `json:"state"` // live, frozen or building
	Position   eventstore.Position `json:"position"`
	CaughtUp   bool                `json:"caughtUp"`
	Parked     int                 `json:"parked"`
	Lag        Lag                 `json:"lag"`
	Problem    string              `json:"problem,omitempty"` // what keeps it from moving
}

// LagCounted is how far the events of a lag are counted.
const LagCounted = 1000

// Lag is how far a generation is behind the log. It is zero when nothing is
// left to apply.
type Lag struct {
	// Events not yet applied; LagCounted means at least so many.
	Events int64 `json:"events"`
	// Age is now minus recordedAt of the first event that is not applied.
	Age time.Duration `json:"ageNanoseconds"`
}

// Progress of a rebuild. Phases: reading, folding, following, switched.
type Progress struct {
	Generation int                 `json:"generation"`
	Phase      string              `json:"phase"`
	Events     int64               `json:"events"` // read so far
	Orders     int64               `json:"orders"` // documents written so far
	Position   eventstore.Position `json:"position"`
	Head       eventstore.Position `json:"head"` // of the log at the start
}

// Status of the projection. With an error because the log does not answer comes
// what is known without it: Generations is then not empty, Lag is zero, and
// CaughtUp false.
func (m *Manager) Status(ctx context.Context) (Status, error) {
	if err := m.Started(ctx); err != nil {
		return Status{}, err
	}
	lag, behind := m.Lag(ctx)
	m.mu.Lock()
	g := m.live
	if g == nil {
		m.mu.Unlock()
		return Status{}, m.over()
	}
	f := g.feeder
	s := Status{Name: Name, Version: Version, LastRebuildError: m.lastError}
	if m.progress != nil {
		p := *m.progress
		s.Rebuild = &p
	}
	m.mu.Unlock()

	live := GenerationStatus{
		Generation: g.number, Version: g.version, State: "frozen",
		Parked: len(g.applier.allParked()), Lag: lag,
	}
	if p := g.applier.problem.Load(); p != nil {
		live.Problem = *p
	}
	switch {
	case f != nil:
		live.State = "live"
		live.Position, _ = f.position()
		live.CaughtUp = behind == nil && lag == Lag{}
	case s.Rebuild != nil && s.Rebuild.Generation == g.number:
		live.State = "building"
	}
	s.Generations = []GenerationStatus{live}
	if s.Rebuild != nil && s.Rebuild.Generation != g.number {
		s.Generations = append(s.Generations, GenerationStatus{
			Generation: s.Rebuild.Generation, Version: Version, State: "building", Position: s.Rebuild.Position,
		})
	}
	return s, behind
}

// Lag of the live generation: it looks for what comes in the log after the last
// event that is applied or parked, so an idle log has none, and a subscription
// that hangs does not hide it.
func (m *Manager) Lag(ctx context.Context) (Lag, error) {
	if err := m.Started(ctx); err != nil {
		return Lag{}, err
	}
	g, f := m.generation()
	if g == nil {
		return Lag{}, m.over()
	}
	var from eventstore.Position
	if f != nil {
		from, _ = f.position()
	} else {
		lanes, err := g.applier.sink.Checkpoints(ctx)
		if err != nil {
			return Lag{}, fmt.Errorf("read checkpoints: %w", err)
		}
		from = lowest(lanes)
	}
	var lag Lag
	for r, err := range m.Store.ReadAll(ctx, from, eventstore.Forwards, m.orders(), LagCounted+1) {
		if errors.Is(err, eventstore.ErrCorrupt) {
			lag.Events++ // there is an event, at least
			break
		}
		if err != nil {
			return Lag{}, fmt.Errorf("look for what is not applied: %w", err)
		}
		if r.Position == from {
			continue
		}
		if lag.Events++; lag.Events == 1 {
			recorded := r.Created
			if meta, err := codec.DecodeMeta(r.Metadata); err == nil {
				recorded = meta.RecordedAt
			}
			lag.Age = max(0, m.Clock().Sub(recorded))
		}
	}
	lag.Events = min(lag.Events, LagCounted)
	return lag, nil
}
