package projections

import (
	"cmp"
	"slices"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// registered is what the registry says: a few events for each rebuild there ever
// was. What follows from it is pure.
type registered struct {
	facts []any // building, readied, switched, dropped; in order
	at    []switchAt
	end   eventstore.Expected
}

// switchAt is where in the log a switch is.
type switchAt struct {
	fact     int
	position eventstore.Position
}

// numbered is a generation and the version that built it; the zero value is none.
type numbered struct{ number, version int }

// standing is what the registry says of one store.
type standing struct {
	inForce, previous numbered
	candidate         *candidate // nil: none is made in this store
	// Of the last switch here: when, where in the log (Start where it is not told),
	// and whether it was one back.
	since      time.Time
	position   eventstore.Position
	rolledBack bool
	// built: the one in force was made as a candidate, so that it was complete when
	// it was switched to. The first of all was not.
	built bool
}

// candidate is a generation that is being made, or waits to be switched to.
type candidate struct {
	building
	ready *readied // nil until it is complete in all its stores
}

// in reports whether it is made in a store.
func (b building) in(store string) bool { return names(b.Stores, store) }

// names reports whether a list of stores names one: an empty list names all.
func names(stores []string, store string) bool {
	return len(stores) == 0 || slices.Contains(stores, store)
}

// store says how one stands. A store that no switch names begins with the first;
// nothing is in force before there was one.
func (r registered) store(name string) standing {
	var s standing
	candidates := map[int]bool{}
	for i, fact := range r.facts {
		switch f := fact.(type) {
		case building:
			candidates[f.Generation] = f.Version != 0 && f.in(name)
		case switched:
			if !names(f.Stores, name) && s.inForce != (numbered{}) {
				continue
			}
			next, before := numbered{f.Generation, f.Version}, s.inForce
			if s.previous = (numbered{}); f.Previous != 0 && before != next {
				s.previous = before
			}
			s.inForce, s.since, s.position, s.rolledBack = next, f.At, r.position(i), f.Reason == reasonRollback
			s.built = candidates[f.Generation]
		case dropped:
			if s.previous.number == f.Generation {
				s.previous = numbered{}
			}
		}
	}
	if c := r.candidate(); c != nil && c.in(name) {
		s.candidate = c
	}
	return s
}

// position in the log of a switch.
func (r registered) position(fact int) eventstore.Position {
	for _, s := range r.at {
		if s.fact == fact {
			return s.position
		}
	}
	return eventstore.Start
}

// candidate is the one there is: the last that was begun, unless it was switched to
// or dropped; nil without one.
func (r registered) candidate() *candidate {
	var c *candidate
	for _, fact := range r.facts {
		switch f := fact.(type) {
		case building:
			if f.Version != 0 {
				c = &candidate{building: f}
			}
		case readied:
			if c != nil && c.Generation == f.Generation {
				c.ready = &f
			}
		case switched:
			if c != nil && c.Generation == f.Generation {
				c = nil
			}
		case dropped:
			if c != nil && c.Generation == f.Generation {
				c = nil
			}
		}
	}
	return c
}

// highest number that was ever taken.
func (r registered) highest() (n int) {
	for _, fact := range r.facts {
		switch f := fact.(type) {
		case building:
			n = max(n, f.Generation)
		case switched:
			n = max(n, f.Generation)
		}
	}
	return n
}

// stores that the registry ever named.
func (r registered) stores() []string {
	var all []string
	for _, fact := range r.facts {
		switch f := fact.(type) {
		case building:
			all = append(all, f.Stores...)
		case switched:
			all = append(all, f.Stores...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// isInForce reports whether a generation is in force in any store that is known.
func (r registered) isInForce(generation int, stores []string) bool {
	return slices.ContainsFunc(slices.Concat(r.stores(), stores), func(name string) bool {
		return r.store(name).inForce.number == generation
	})
}

// rebuilds tells of all, newest first. The phase of the one that runs is
// PhaseReading: how far it is, the stores say.
func (r registered) rebuilds() []Rebuild {
	var all []Rebuild
	find := func(generation int) *Rebuild {
		for i := range all {
			if all[i].Generation == generation && all[i].EndedAt == nil {
				return &all[i]
			}
		}
		return nil
	}
	for _, fact := range r.facts {
		switch f := fact.(type) {
		case building:
			if f.Version != 0 {
				all = append(all, Rebuild{
					Generation: f.Generation, Version: f.Version, Stores: f.Stores, Then: cmp.Or(f.Then, ThenAsk), Fields: f.Fields,
					Reason: f.Reason, Owner: f.Owner, StartedAt: f.At, Phase: PhaseReading,
				})
			}
		case readied:
			if b := find(f.Generation); b != nil {
				b.Phase, b.Failure = PhaseReady, f.Failure
			}
		case switched:
			if b := find(f.Generation); b != nil {
				b.Phase, b.EndedAt, b.Failure = PhaseSwitched, &f.At, nil
			}
		case dropped:
			if b := find(f.Generation); b != nil {
				b.Phase, b.EndedAt, b.Failure = PhaseCancelled, &f.At, f.Failure
				if f.Why == whyFailed {
					b.Phase = PhaseFailed
				}
			}
		}
	}
	slices.Reverse(all)
	return all
}
