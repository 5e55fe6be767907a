package systemtest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
)

// never is when an operation of unknown outcome ends.
const never = math.MaxInt64

// moment is an operation of a history that is made by hand.
type moment struct {
	asked
	told
}

func did(v verb, key string, revision int) moment {
	return moment{asked{verb: v, key: key, token: -1}, told{result: done, revision: revision}}
}

// lost had no answer.
func lost(v verb, key string) moment {
	return moment{asked{verb: v, key: key, token: -1}, told{result: unknown}}
}

func saw(revision int, is shown) moment {
	is.placedBy = "p"
	return moment{asked{verb: read, token: -1}, told{result: done, revision: revision, shown: is}}
}

func refused(v verb, key string, r result, revision int) moment {
	return moment{asked{verb: v, key: key, token: -1}, told{result: r, revision: revision}}
}

func (m moment) again() moment              { m.replayed = true; return m }
func (m moment) ifAt(revision int) moment   { m.ifMatch = revision; return m }
func (m moment) withToken(of int) moment    { m.token = of; return m }
func (m moment) ofLog() moment              { m.fromLog = true; return m }
func (m moment) afterAll() moment           { m.last = true; return m }
func notes(keys ...string) shown            { return shown{notes: keys} }
func tagged(key string, of ...string) shown { return shown{tags: key, notes: of} }

// inTurn is the history of one operation after the other; one of unknown
// outcome has no end.
func inTurn(moments []moment) []porcupine.Operation {
	var history []porcupine.Operation
	for i, m := range moments {
		m.order = "o"
		end := int64(2*i + 1)
		if m.result == unknown {
			end = never
		}
		history = append(history, porcupine.Operation{ClientId: i % 8, Input: m.asked, Output: m.told, Call: int64(2 * i), Return: end})
	}
	return history
}

// TestCheckerSeesAnomalies feeds the checker histories that a faulty docket
// would make, and their faultless neighbours.
func TestCheckerSeesAnomalies(t *testing.T) {
	p := did(place, "p", 0)
	for name, c := range map[string]struct {
		want    porcupine.CheckResult
		history []moment
	}{
		"one after the other": {porcupine.Ok, []moment{
			refused(note, "a", missing, 0), p, refused(place, "q", exists, 0), did(note, "a", 1), saw(1, notes("a")).withToken(1),
			did(tags, "t", 2).ifAt(1), refused(tags, "u", elsewhere, 2).ifAt(1), saw(2, tagged("t", "a")).afterAll(),
		}},

		"lost update: two writes decided on one revision": {porcupine.Illegal, []moment{
			p, did(tags, "t", 1).ifAt(0), did(tags, "u", 2).ifAt(0),
		}},
		"lost update: one revision given twice": {porcupine.Illegal, []moment{
			p, did(tags, "t", 1).ifAt(0), did(tags, "u", 1).ifAt(0),
		}},
		"lost update: an acknowledged note is gone": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), did(note, "b", 2), saw(2, notes("b")),
		}},
		"lost update: gone after the kill": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), did(note, "b", 2), saw(1, notes("a")).afterAll(),
		}},
		"lost update: refused, and at the revision all the same": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), refused(tags, "t", elsewhere, 1).ifAt(1),
		}},
		"refused at a revision that is over": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), did(note, "b", 2), refused(tags, "t", elsewhere, 1).ifAt(0),
		}},

		"repeated, one effect": {porcupine.Ok, []moment{
			p, did(note, "a", 1), did(note, "b", 2), did(note, "a", 1).again(), saw(2, notes("a", "b")).afterAll(),
		}},
		"double effect: the repeat got a revision of its own": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), did(note, "a", 2),
		}},
		"double effect: the repeat was answered with another revision": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), did(note, "b", 2), did(note, "a", 2).again(),
		}},
		"double effect: it is shown": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), lost(note, "a"), saw(2, notes("a", "a")),
		}},
		"double effect: an unknown one, and its repeat": {porcupine.Illegal, []moment{
			p, lost(note, "a"), saw(1, notes("a")), did(note, "a", 2),
		}},
		"double effect: a second place": {porcupine.Illegal, []moment{
			p, did(place, "q", 0),
		}},
		"a repeat of what never was": {porcupine.Illegal, []moment{
			p, did(note, "a", 1).again(),
		}},

		"unknown, and done": {porcupine.Ok, []moment{
			p, lost(note, "a"), lost(tags, "t").ifAt(0), did(note, "b", 2), saw(2, notes("a", "b")).afterAll(),
		}},
		"unknown, and done after its repeat failed to find it": {porcupine.Ok, []moment{
			p, lost(tags, "t").ifAt(0), did(tags, "t", 1).ifAt(0).again(), saw(1, tagged("t")).afterAll(),
		}},
		"unknown, and never done": {porcupine.Ok, []moment{
			p, lost(note, "a"), lost(place, "q"), lost(tags, "t").ifAt(0), did(note, "b", 1), saw(1, notes("b")).afterAll(),
		}},
		"unknown, and done before it was asked": {porcupine.Illegal, []moment{
			p, saw(1, notes("a")), lost(note, "a"),
		}},
		"unknown, and seen, and gone": {porcupine.Illegal, []moment{
			p, lost(note, "a"), saw(1, notes("a")), did(note, "b", 1),
		}},

		"behind, without a token": {porcupine.Ok, []moment{
			p, did(note, "a", 1), saw(0, shown{}), saw(1, notes("a")),
		}},
		"stale read: behind its token": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), saw(0, shown{}).withToken(1),
		}},
		"stale read: at the revision of its token, without its effect": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), saw(1, shown{}).withToken(1),
		}},
		"stale read: the log is never behind": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), saw(0, shown{}).ofLog(),
		}},
		"not there, although it was placed": {porcupine.Illegal, []moment{
			p, refused(read, "", missing, 0),
		}},
		"of two revisions at once": {porcupine.Illegal, []moment{
			p, did(tags, "t", 1).ifAt(0), did(note, "a", 2), saw(2, notes("a")),
		}},
		"what nobody asked for": {porcupine.Illegal, []moment{
			p, saw(1, notes("z")),
		}},

		"a revision that goes back: of answers": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), did(note, "b", 2), did(note, "c", 2),
		}},
		"a revision that goes back: of reads": {porcupine.Illegal, []moment{
			p, did(note, "a", 1), saw(1, notes("a")), saw(0, shown{}),
		}},
		"the log is ahead of the views": {porcupine.Ok, []moment{
			p, did(note, "a", 1), saw(1, notes("a")).ofLog(), saw(0, shown{}),
		}},
		"a revision that is skipped": {porcupine.Illegal, []moment{
			p, did(note, "a", 2),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			history := inTurn(c.history)
			if got, _, _ := check(history); got != c.want {
				t.Errorf("checked as %s, want %s: %v", got, c.want, c.history)
			}
		})
	}
}

// TestCheckerDecidesManyUnknowns: the search stays short, whether they had an
// effect or not.
func TestCheckerDecidesManyUnknowns(t *testing.T) {
	moments := []moment{did(place, "p", 0)}
	var there []string
	revision := 0
	for i := range 60 {
		key := func(what string) string { return fmt.Sprint(what, i) }
		moments = append(moments, lost(note, key("lost")), lost(tags, key("tags")).ifAt(revision), lost(note, key("gone")))
		if i%2 == 0 { // the first of them had an effect
			revision++
			there = append(there, key("lost"))
		}
		revision++
		there = append(there, key("note"))
		moments = append(moments, did(note, key("note"), revision), saw(revision, notes(slices.Clone(there)...)))
	}
	for _, c := range []struct {
		want porcupine.CheckResult
		last moment
	}{
		{porcupine.Ok, saw(revision, notes(there...)).afterAll()},
		{porcupine.Illegal, saw(revision, notes(append(there[1:], there[0])...)).afterAll()},
		{porcupine.Illegal, saw(revision-1, notes(there[:len(there)-1]...)).afterAll()},
	} {
		history := inTurn(append(slices.Clip(moments), c.last))
		if got, _, _ := check(history); got != c.want {
			t.Errorf("checked as %s, want %s", got, c.want)
		}
	}
}
