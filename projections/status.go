package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
	Store      string `json:"store"`
	Generation int    `json:"generation"`
	Version    int    `json:"version"`
	// State: live is served and fed; previous is fed for a rollback; building is
	// filled; ready waits to be switched to; frozen is fed by no running docket
	// that this one knows of; newer was made by a newer docket, and is neither
	// fed nor served here; away: the store does not answer; left over: the
	// registry does not have it, and it is removed.
	State    string              `json:"state"`
	Position eventstore.Position `json:"position"`
	CaughtUp bool                `json:"caughtUp"`
	Parked   int                 `json:"parked"`
	Lag      Lag                 `json:"lag"`
	Problem  string              `json:"problem,omitempty"` // what keeps it from moving
	// Wedged: it stands still while there is something to apply.
	Wedged bool `json:"wedged,omitempty"`
	// Lanes of a shared store, in order; empty for one of this process alone.
	Lanes []LaneStatus `json:"lanes,omitempty"`
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
	Total      int64               `json:"total"`  // documents there will be; 0 while the log is read
	Position   eventstore.Position `json:"position"`
	Head       eventstore.Position `json:"head"` // of the log at the start
	// Rate is how many of them are done in a second now: events while the log is
	// read, documents while they are folded; 0 before it is known.
	Rate float64 `json:"rate"`
	// ETAMs is the time, in milliseconds, that the present phase still takes at that
	// rate; 0 before it is known.
	ETAMs int64 `json:"etaMs"`
}

// wedgedAfter is for how long a generation stands still, while there is something
// to apply, until it is wedged.
const wedgedAfter = 30 * time.Second

// stillness is where the live generation stood when there was something to apply,
// and since when.
type stillness struct {
	position eventstore.Position
	since    time.Time // zero: nothing was left to apply
}

// look reports whether it has stood still for too long. It works with whatever
// pauses between two looks.
func (s *stillness) look(position eventstore.Position, behind bool, now time.Time) (wedged bool) {
	switch {
	case !behind:
		s.since = time.Time{}
	case s.since.IsZero() || s.position != position:
		s.position, s.since = position, now
	}
	return behind && now.Sub(s.since) > wedgedAfter
}

// Status of the projection. With an error because the log does not answer comes
// what is known without it: Generations is then not empty, Lag is zero, and
// CaughtUp false. A shared store that does not answer is no error: its entry
// says so.
func (m *Manager) Status(ctx context.Context) (Status, error) {
	if err := m.ready(ctx); err != nil && !m.shared() {
		return Status{}, err
	}
	lag, behind := m.Lag(ctx)
	seen, failed := m.registry.read(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{Name: m.Projection, Version: m.own()}
	if failed == nil {
		s.LastRebuildError = lastFailure(seen, m.StoreName)
	}
	switch {
	case m.ended != nil && m.live == nil:
		return Status{}, m.ended
	case m.closed:
		return Status{}, ErrClosed
	case m.live == nil:
		one := GenerationStatus{Store: m.StoreName, Generation: m.stands.inForce.number, Version: cmp.Or(m.stands.inForce.version, m.own()), State: "away"}
		if !m.reads(one.Version) {
			one.State = "newer"
		}
		if m.away != nil {
			one.Problem = m.away.Error()
		}
		s.Generations = []GenerationStatus{one}
	default:
		s.Generations = []GenerationStatus{m.statusOfLive(m.live, lag, behind)}
	}
	s.Generations = append(s.Generations, m.statusOfOthers(s.Generations[0])...)
	s.Rebuild = m.filling()
	if m.shared() && (away(behind) || m.live == nil) {
		behind = nil
	}
	return s, behind
}

// lastFailure is why the last rebuild in a store did not end well.
func lastFailure(seen registered, store string) string {
	for _, r := range seen.rebuilds() {
		if !names(r.Stores, store) {
			continue
		}
		switch {
		case r.Failure != nil:
			return r.Failure.Message
		case r.Phase == PhaseCancelled:
			return "it was cancelled"
		}
		break
	}
	return ""
}

// filling is how far the generation is that is being filled; mu is held.
func (m *Manager) filling() *Progress {
	for _, n := range []int{m.stands.inForce.number, m.stands.candidateHere().number} {
		if g := m.open[n]; g != nil && g.progress != nil && (!g.complete || n != m.stands.inForce.number && m.stands.candidate.ready == nil) {
			p := *g.progress
			return &p
		}
	}
	return nil
}

// stateOf says what a generation is at, and whether nobody feeds it.
func (m *Manager) stateOf(g *generation) (state string, frozen bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state(g)
}

// state is stateOf; mu is held.
func (m *Manager) state(g *generation) (state string, frozen bool) {
	fed := g.over != nil && g.failed() == nil || m.shared() && !g.moved.IsZero() && time.Since(g.moved) < frozenLeases*m.Lease
	isCandidate := g.number == m.stands.candidateHere().number
	switch {
	case g == m.live && g.lacking != nil, fed && g.feeder == nil && g.over != nil:
		return "building", !fed
	case !fed:
		return "frozen", true
	case g == m.live:
		return "live", false
	case isCandidate && m.stands.candidate.ready != nil:
		return "ready", false
	case isCandidate, g.number == m.stands.inForce.number:
		return "building", false
	}
	return "previous", false
}

// frozenLeases is for how many leases nobody was seen to feed what is frozen.
const frozenLeases = 3

// statusOfLive is that of the generation that is served; mu is held.
func (m *Manager) statusOfLive(g *generation, lag Lag, behind error) GenerationStatus {
	live := m.statusOf(g)
	live.Lag = lag
	for _, err := range []error{g.lacking, m.away} {
		if err != nil && live.Problem == "" {
			live.Problem = err.Error()
		}
	}
	if live.Problem == "" && m.shared() && away(behind) {
		live.Problem = behind.Error()
	}
	live.CaughtUp = live.State == "live" && behind == nil && lag == Lag{}
	if g.feeder != nil {
		live.Wedged = behind == nil && m.still.look(live.Position, lag.Events > 0, m.Clock())
	}
	return live
}

// statusOf any generation that is open; mu is held.
func (m *Manager) statusOf(g *generation) GenerationStatus {
	of := GenerationStatus{Store: m.StoreName, Generation: g.number, Version: g.version, Parked: len(g.applier.allParked()), Position: g.seen}
	of.State, _ = m.state(g)
	if g.feeder != nil {
		of.Position = g.feeder.position()
	} else if g.progress != nil && !g.complete {
		of.Position = g.progress.Position
	}
	if s, ok := g.feeder.(*sharer); ok {
		of.Lanes = s.laneStatus()
	}
	if p := g.applier.problem.Load(); p != nil {
		of.Problem = *p
	} else if problem := m.troubles[g.number]; problem != "" {
		of.Problem = problem
	} else if g.broken != "" {
		of.Problem = g.broken
	}
	return of
}

// statusOfOthers tells of all generations but the first that is told of: those that
// the registry has, those that are open all the same, and leftovers; mu is held.
func (m *Manager) statusOfOthers(first GenerationStatus) (all []GenerationStatus) {
	told := map[int]bool{first.Generation: true}
	add := func(of GenerationStatus) {
		if !told[of.Generation] && of.Generation != 0 {
			told[of.Generation] = true
			of.Store = m.StoreName
			all = append(all, of)
		}
	}
	for _, g := range m.open {
		of := m.statusOf(g)
		if m.live != nil && (m.live.feeder != nil || g.feeder != nil) {
			of.CaughtUp = g.complete && !of.Position.Before(first.Position)
		}
		add(of)
	}
	for _, n := range []numbered{m.stands.inForce, m.stands.previous, m.stands.candidateHere()} {
		of := GenerationStatus{Generation: n.number, Version: n.version, State: "frozen", Problem: m.troubles[n.number]}
		switch {
		case !m.reads(n.version):
			of.State = "newer"
		case n == m.stands.candidateHere():
			of.State = "building"
		}
		add(of)
	}
	for _, number := range m.left {
		add(GenerationStatus{Generation: number, State: "left over"})
	}
	slices.SortFunc(all, func(x, y GenerationStatus) int { return cmp.Compare(x.Generation, y.Generation) })
	return all
}

// away reports whether an error says that a store of views does not answer, or
// not as it should.
func away(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrLost) || errors.Is(err, ErrClosed)
}

// lagRead bounds how many events a look at the lag reads: where one of many lanes
// is behind, most of what comes after it is applied.
const lagRead = 20 * LagCounted

// Lag of the live generation: it looks for what comes in the log after the last
// event of its lane that is applied or parked, so an idle log has none, and a
// subscription that hangs does not hide it.
func (m *Manager) Lag(ctx context.Context) (Lag, error) {
	if err := m.ready(ctx); err != nil {
		return Lag{}, err
	}
	g, f := m.generation()
	if g == nil {
		return Lag{}, m.over()
	}
	applied, err := positions(ctx, g, f)
	if err != nil {
		return Lag{}, fmt.Errorf("read checkpoints: %w", err)
	}
	from := slices.MinFunc(applied, eventstore.Position.Compare)
	var lag Lag
	for r, err := range m.Store.ReadAll(ctx, from, eventstore.Forwards, m.orders(), lagRead) {
		if errors.Is(err, eventstore.ErrCorrupt) {
			lag.Events++ // there is an event, at least
			break
		}
		if err != nil {
			return Lag{}, fmt.Errorf("look for what is not applied: %w", err)
		}
		id, ok := m.Namespace.ID(codec.Category, r.Stream)
		if !ok || !applied[LaneOf(id)%len(applied)].Before(r.Position) {
			continue
		}
		if lag.Events++; lag.Events == 1 {
			recorded := r.Created
			if meta, err := codec.DecodeMeta(r.Metadata); err == nil {
				recorded = meta.RecordedAt
			}
			lag.Age = max(0, m.Clock().Sub(recorded))
		}
		if lag.Events == LagCounted {
			break
		}
	}
	return lag, nil
}

// positions up to which each lane is applied or parked, in their order; one for
// all where one feeder has them all.
func positions(ctx context.Context, g *generation, f feeding) ([]eventstore.Position, error) {
	if s, ok := f.(*sharer); ok {
		if lanes := s.laneStatus(); len(lanes) == Lanes {
			all := make([]eventstore.Position, Lanes)
			for i, l := range lanes {
				all[i] = l.Position
			}
			return all, nil
		}
	} else if f != nil {
		return []eventstore.Position{f.position()}, nil
	}
	lanes, err := g.applier.sink.Checkpoints(ctx)
	if err != nil || lanesWrong(lanes) != "" {
		return []eventstore.Position{lowest(lanes)}, err
	}
	all := make([]eventstore.Position, Lanes)
	for i, c := range lanes {
		all[i] = c.Position
	}
	return all, nil
}
