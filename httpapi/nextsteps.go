package httpapi

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/docket-orders/docket/projections"
)

// NextAnswer is a command that may be typed next, and what it does.
type NextAnswer struct {
	Command string `json:"command"`
	Does    string `json:"does"`
}

// situation is what there is to say about a projection's generations.
type situation struct {
	projection  string
	version     int // of this program
	generations []GenerationAnswer
	rebuild     *projections.Rebuild // the newest; nil: there never was one
}

// served is the generation that answers here, in the first store that does.
func (s situation) served() (GenerationAnswer, bool) {
	return s.find(func(g GenerationAnswer) bool { return g.Served })
}

// spare is a generation that one could return to: neither served nor being made.
func (s situation) spare() (GenerationAnswer, bool) {
	return s.find(func(g GenerationAnswer) bool {
		return !g.Served && (g.State == "previous" || g.State == "frozen") && !(s.waits() && g.Generation == s.rebuild.Generation)
	})
}

func (s situation) find(what func(GenerationAnswer) bool) (GenerationAnswer, bool) {
	if i := slices.IndexFunc(s.generations, what); i >= 0 {
		return s.generations[i], true
	}
	return GenerationAnswer{}, false
}

func (s situation) runs() bool { return s.rebuild != nil && !s.rebuild.Phase.Over() }
func (s situation) waits() bool {
	return s.rebuild != nil && s.rebuild.Phase == projections.PhaseReady
}
func (s situation) failed() bool {
	return s.rebuild != nil && s.rebuild.Phase == projections.PhaseFailed
}

// words says what an operator would not guess from the table.
func (s situation) words() []string {
	said := []string{}
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	served, answers := s.served()
	if rb := s.rebuild; s.runs() || s.waits() {
		state := "is being made"
		if s.waits() {
			state = "is kept up to date, and waits for a switch"
		}
		switch {
		case rb.Version > s.version:
			say("generation %d, of version %d, %s by a newer docket; this one, of version %d, goes on answering from what it knows", rb.Generation, rb.Version, state, s.version)
		case answers && rb.Version > served.Version:
			say("version %d of the projection is new here: generation %d %s; until it is switched to, answers come from generation %d, of version %d", rb.Version, rb.Generation, state, served.Generation, served.Version)
		}
	}
	if answers && served.State == "frozen" {
		say("generation %d answers, and stands still at %s: no running docket carries version %d, which feeds it", served.Generation, served.Position, served.Version)
	}
	if newer, ok := s.find(func(g GenerationAnswer) bool { return g.State == "newer" }); ok && answers {
		say("generation %d is of version %d, which this docket, of version %d, cannot read; it answers from generation %d", newer.Generation, newer.Version, s.version, served.Generation)
	}
	return said
}

// next lists what may be typed now.
func (s situation) next() []NextAnswer {
	next := []NextAnswer{}
	can := func(command, does string) {
		if s.projection != projections.Name {
			command += " " + s.projection
		}
		next = append(next, NextAnswer{"docket projections " + command, does})
	}
	switch {
	case s.runs():
		can("rebuild --watch", "shows how far it is")
		can("cancel", "gives it up")
	case s.waits():
		n := strconv.Itoa(s.rebuild.Generation)
		can("diff", "says what generation "+n+" would change")
		can("switch --generation "+n, "makes generation "+n+" the one in force")
		can("cancel", "gives it up")
	case s.failed():
		can("rebuild", "tries again, once the cause is mended")
	}
	if spare, ok := s.spare(); ok {
		n := strconv.Itoa(spare.Generation)
		if spare.State == "frozen" {
			can("rollback --accept-stale", "returns to generation "+n+", which stands still at "+spare.Position.String())
		} else {
			can("rollback", "returns to generation "+n)
		}
		can("drop "+n, "removes it")
	}
	return next
}
