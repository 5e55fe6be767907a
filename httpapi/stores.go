package httpapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
)

// stores tells how the stores of the views are. One that hangs keeps nobody from
// hearing of the others.
type stores struct {
	log    eventstore.Store
	views  *projections.Stores
	guards []*guard.Guard
	// reached, by store in order: it had everything that was in the log at the
	// start.
	reached []atomic.Bool
}

func newStores(log eventstore.Store, views *projections.Stores, guards []*guard.Guard) *stores {
	return &stores{log: log, views: views, guards: guards, reached: make([]atomic.Bool, len(views.Managers()))}
}

// storeState is one store of views, now.
type storeState struct {
	name   string
	open   bool // a generation is open
	number int  // of the one that answers
	lacks  error
	status projections.Status
	err    error // why the status is not whole
	guard  *guard.State
}

// up reports whether questions to the store are answered, as far as this process
// can tell without asking. A breaker that is half open waits for a trial.
func (s storeState) up() bool {
	return s.open && s.lacks == nil && (s.guard == nil || s.guard.Breaker == "closed")
}

// live is the generation that answers, as the status tells it.
func (s storeState) live() (projections.GenerationStatus, bool) {
	for _, g := range s.status.Generations {
		if s.serves(g) {
			return g, true
		}
	}
	return projections.GenerationStatus{}, false
}

// serves reports whether a generation is the one that answers here, whatever the
// registry says of it.
func (s storeState) serves(g projections.GenerationStatus) bool {
	return s.open && g.Generation == s.number
}

// states of all stores, within the time of a probe.
func (s *stores) states(ctx context.Context) []storeState {
	ctx, cancel := context.WithTimeout(ctx, probeTimeOf(s.log))
	defer cancel()
	managers := s.views.Managers()
	all := make([]storeState, len(managers))
	var looking sync.WaitGroup
	for i, m := range managers {
		looking.Go(func() {
			state := storeState{name: m.StoreName, lacks: m.Incomplete(), guard: s.guardOf(m.StoreName)}
			live, number := m.Live()
			state.open, state.number = live != nil, number
			state.status, state.err = m.Status(ctx)
			all[i] = state
		})
	}
	looking.Wait()
	return all
}

func (s *stores) guardOf(store string) *guard.State {
	for _, g := range s.guards {
		if state := g.State(); state.Name == store {
			return &state
		}
	}
	return nil
}

// serving is the generation that answers here, in the first store that does; 0:
// none.
func (s *stores) serving() int {
	for _, m := range s.views.Managers() {
		if live, number := m.Live(); live != nil {
			return number
		}
	}
	return 0
}

// anyOpen reports whether a view answers.
func (s *stores) anyOpen() bool {
	for _, m := range s.views.Managers() {
		if live, _ := m.Live(); live != nil {
			return true
		}
	}
	return false
}

// whole is the projection over all stores. It fails only when no store tells
// anything.
func (p *projection) whole(all []storeState) (projections.Status, error) {
	total := projections.Status{Name: p.name, Version: p.version}
	var failures []error
	for _, s := range all {
		failures = append(failures, s.err)
		for _, g := range s.status.Generations {
			if g.Problem == "" && !s.up() {
				g.Problem = s.why()
			}
			total.Generations = append(total.Generations, g)
		}
		if total.Rebuild == nil {
			total.Rebuild = s.status.Rebuild
		}
		if total.LastRebuildError == "" {
			total.LastRebuildError = s.status.LastRebuildError
		}
	}
	err := errors.Join(failures...)
	if len(all) > 1 {
		for _, s := range all {
			if s.err == nil {
				return total, nil
			}
		}
	}
	return total, err
}

// why a store does not answer, in words for operators.
func (s storeState) why() string {
	switch {
	case s.lacks != nil:
		return s.lacks.Error()
	case s.guard != nil && s.guard.Breaker != "closed" && s.guard.LastError != "":
		return s.guard.LastError
	case s.err != nil && !errors.Is(s.err, context.DeadlineExceeded):
		return s.err.Error()
	}
	return "it does not answer"
}

// StoreAnswer is one store of views in the body of /readyz.
type StoreAnswer struct {
	Store      string       `json:"store"`
	Up         bool         `json:"up"` // questions to it are answered
	Generation int          `json:"generation,omitempty"`
	CaughtUp   bool         `json:"caughtUp"`
	LagEvents  *int64       `json:"lagEvents,omitempty"` // absent while it is not known
	LagMs      *int64       `json:"lagMs,omitempty"`
	Wedged     bool         `json:"wedged"` // it stands still while there is something to apply
	Parked     int          `json:"parked"`
	Lanes      *LanesAnswer `json:"lanes,omitempty"` // of a shared store
	Guard      *GuardAnswer `json:"guard,omitempty"` // in front of a store behind a network
	Problem    string       `json:"problem,omitempty"`
}

// LanesAnswer counts the lanes of a shared store by who feeds them.
type LanesAnswer struct {
	Here      int `json:"here"`
	Elsewhere int `json:"elsewhere"`
	Unowned   int `json:"unowned"`
}

// GuardAnswer is what stands between docket and a store behind a network.
type GuardAnswer struct {
	Breaker  string `json:"breaker"` // closed, open, half-open
	InFlight int64  `json:"inFlight"`
	Failures int64  `json:"failures"` // attempts that failed, since the start
	Rejected int64  `json:"rejected"` // calls that did not reach the store, since the start
}

func (s storeState) answer() StoreAnswer {
	a := StoreAnswer{Store: s.name, Up: s.up()}
	if g, ok := s.live(); ok {
		a.Generation, a.CaughtUp, a.Wedged, a.Parked, a.Problem = g.Generation, g.CaughtUp, g.Wedged, g.Parked, g.Problem
		if s.err == nil {
			events, age := g.Lag.Events, g.Lag.Age.Milliseconds()
			a.LagEvents, a.LagMs = &events, &age
		}
		if len(g.Lanes) > 0 {
			lanes := countLanes(g.Lanes)
			a.Lanes = &lanes
		}
	}
	if s.guard != nil {
		a.Guard = &GuardAnswer{s.guard.Breaker, s.guard.InFlight, s.guard.Failures, s.guard.Rejected}
	}
	if !a.Up && a.Problem == "" {
		a.Problem = s.why()
	}
	a.Problem = firstLine(a.Problem)
	return a
}

func countLanes(lanes []projections.LaneStatus) (n LanesAnswer) {
	for _, l := range lanes {
		switch {
		case l.Ours:
			n.Here++
		case l.Owner != "":
			n.Elsewhere++
		default:
			n.Unowned++
		}
	}
	return n
}

// impaired is what does not work of a store, in words. Where there is but one
// store, its name says nothing. What it says begins with what does not work.
func (s storeState) impaired(what string, several bool) (found []string) {
	the := "the view"
	if several {
		the = s.name
	}
	say := func(format string, args ...any) {
		found = append(found, what+": "+fmt.Sprintf(format, args...))
	}
	if several && !s.up() {
		say("%s does not answer, or lacks a part; what it answers is refused, but for orders by id: those come from the log", the)
	}
	for _, g := range s.status.Generations {
		if !s.serves(g) || g.State == "building" {
			continue // nobody asks it
		}
		if g.State == "frozen" {
			say("%s is of an earlier time, and does not move; see /v1/projections", the)
			continue
		}
		if g.Problem != "" || g.Wedged {
			say("%s does not move; see /v1/projections", the)
		}
		if g.Parked > 0 {
			where := ""
			if several {
				where = " in " + s.name
			}
			say("orders are parked%s; see /v1/projections/%s/parked", where, s.status.Name)
		}
	}
	return found
}

// longBehind is for how long a read model may lack an event before /readyz tells.
const longBehind = 30 * time.Second

// impaired is what does not work of a read model, in words.
func (p *projection) impaired(all []storeState) (found []string) {
	what := "read model " + p.name
	if !p.anyOpen() {
		return []string{what + ": its view is not open"}
	}
	for _, one := range all {
		found = append(found, one.impaired(what, len(all) > 1)...)
		if g, ok := one.live(); ok && one.err == nil && g.Lag.Age >= longBehind {
			found = append(found, fmt.Sprintf("%s: it is %s behind in %s", what, g.Lag.Age.Round(time.Second), one.name))
		}
	}
	return found
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// awayAtStart is for how long a store that does not answer keeps a process that
// has just started from saying that it is ready.
const awayAtStart = 10 * time.Second

// awaitStart waits for every store to reach the head of the log as it is at the
// start. One behind a network that does not answer is not waited for any longer
// than awayAtStart, since the rest can be served without it; nor is a generation
// that this program does not feed.
func (s *stores) awaitStart(ctx context.Context) {
	managers := s.views.Managers()
	all, cancel := context.WithCancel(ctx)
	defer cancel()
	begun := time.Now()
	var waiting sync.WaitGroup
	for i, m := range managers {
		waiting.Go(func() {
			for all.Err() == nil {
				err := m.CaughtUp(all)
				// Views that cannot be fed before an operator has acted are not waited for.
				if err == nil || errors.Is(err, eventstore.ErrReadOnly) || errors.Is(err, eventstore.ErrCorrupt) {
					s.reached[i].Store(true)
					return
				}
				select {
				case <-all.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { waiting.Wait(); close(done) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			if time.Since(begun) >= awayAtStart && s.restIsAway() || s.restIsFrozen(ctx) {
				return
			}
		}
	}
}

// restIsAway reports whether each store that has not reached the head does not
// answer.
func (s *stores) restIsAway() bool {
	for i, m := range s.views.Managers() {
		if s.reached[i].Load() {
			continue
		}
		live, _ := m.Live()
		state := storeState{open: live != nil, lacks: m.Incomplete(), guard: s.guardOf(m.StoreName)}
		if m.Lease == 0 || state.up() {
			return false
		}
	}
	return true
}

// restIsFrozen reports whether each store that has not reached the head answers
// from a generation of another version, which this program does not feed: what is
// wanted of it would come with a switch, for which somebody may be asked.
func (s *stores) restIsFrozen(ctx context.Context) bool {
	for i, state := range s.states(ctx) {
		if s.reached[i].Load() {
			continue
		}
		if g, ok := state.live(); !ok || g.State != "frozen" || g.Version == state.status.Version {
			return false
		}
	}
	return true
}
