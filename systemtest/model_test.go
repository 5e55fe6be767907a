package systemtest

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"github.com/anishathalye/porcupine"
)

// The model of one order: what a docket that handles one request at a time, and
// never loses anything, could have answered. A history is linearizable when
// every operation can be given one moment between its call and its answer such
// that the answers are those of this model.

// verb is what an operation asks for.
type verb string

const (
	place    verb = "place"
	note     verb = "note"     // adds one, without looking
	tags     verb = "tags"     // replaces them, if the order is at a revision
	metadata verb = "metadata" // replaces it, if the order is at a revision
	read     verb = "read"
)

// asked is one request of a client.
type asked struct {
	verb    verb
	order   string
	key     string // idempotency key, and the mark that the effect leaves in the order
	ifMatch int    // tags and metadata only
	token   int    // read: revision of the token that came with it; none: -1
}

// result is how a request ended.
type result string

const (
	unknown   result = "unknown" // no answer came, or one that says so
	done      result = "done"
	missing   result = "missing"   // there is no such order
	exists    result = "exists"    // somebody else has placed it
	elsewhere result = "elsewhere" // the order is not at the revision of If-Match
)

// told is what the client was told.
type told struct {
	result   result
	revision int // done: of the effect, or of what is shown; elsewhere: where the order is, -1 nowhere
	replayed bool
	fromLog  bool // read: the views did not have the order, so its stream was read to the end
	last     bool // read: nobody else was there any more, and the views had caught up
	shown    shown
}

// shown is what a read shows of an order: the marks of its effects.
type shown struct {
	placedBy string
	notes    []string // in order
	tags     string
	metadata string
}

// state is an order: its effects, the one at index n made revision n.
type state struct {
	effects []effect
	notes   int  // how many of them are notes
	viewed  int  // highest revision that a read of the views has shown; -1: none
	ended   bool // the last read was there
	hash    uint64
}

type effect struct {
	verb verb
	key  string
}

func (s state) equal(other state) bool {
	return s.hash == other.hash && s.viewed == other.viewed && s.ended == other.ended && slices.Equal(s.effects, other.effects)
}

// with is the order after one more effect.
func (s state) with(e effect) state {
	s.effects = append(slices.Clip(s.effects), e)
	if e.verb == note {
		s.notes++
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %s %s", s.hash, e.verb, e.key)
	s.hash = h.Sum64()
	return s
}

func (s state) revision() int { return len(s.effects) - 1 }

// revisionOf is that of the effect of a key; -1: it has none.
func (s state) revisionOf(key string) int {
	return slices.IndexFunc(s.effects, func(e effect) bool { return e.key == key })
}

// shownAt is what a read at a revision shows.
func (s state) shownAt(revision int) (is shown) {
	for _, e := range s.effects[:revision+1] {
		switch e.verb {
		case place:
			is.placedBy = e.key
		case note:
			is.notes = append(is.notes, e.key)
		case tags:
			is.tags = e.key
		case metadata:
			is.metadata = e.key
		}
	}
	return is
}

func (is shown) equal(other shown) bool {
	return is.placedBy == other.placedBy && is.tags == other.tags && is.metadata == other.metadata &&
		slices.Equal(is.notes, other.notes)
}

// due is how a command that has had no effect yet ends on this order.
func (s state) due(a asked) result {
	switch {
	case (a.verb == tags || a.verb == metadata) && a.ifMatch != s.revision():
		return elsewhere
	case a.verb == place && len(s.effects) > 0:
		return exists
	case a.verb != place && len(s.effects) == 0:
		return missing
	}
	return done
}

// step gives an operation its moment. The rules, and what breaks them:
//
//   - A command has its effect at the next revision, so that each revision is
//     one command's. Two commands that were decided on the same revision and
//     both written (a lost update), and a revision that is given twice or goes
//     back, break this.
//   - A key that has had its effect has no other: the answer is the first one,
//     marked as a replay. A double effect breaks this, and so does a second
//     answer with another revision.
//   - A write with If-Match succeeds at exactly that revision. When it is
//     refused the order is elsewhere, at the revision that is told.
//   - A read shows the order as it was at some revision, whole: an effect that
//     was acknowledged and is gone (lost), is there twice, or was never asked
//     for breaks this. It may be behind, but never behind its token (a stale
//     read), nor behind what a read of the views that had ended showed. A read
//     of the log, and the last one, are not behind at all.
//   - No answer "there is no such order" once it is placed.
//
// An operation of unknown outcome has no end, so that its moment may come any
// time later: it takes effect there if it can. If it never took effect, its
// moment is after everything else, where nobody sees it.
func (k known) step(s state, a asked, o told) (bool, state) {
	if a.verb == read {
		return s.show(a, o)
	}
	at, due := s.revisionOf(a.key), s.due(a)
	switch {
	case o.result == unknown && (at >= 0 || due != done):
		return k.over(s), s
	case at >= 0:
		return o.result == done && o.replayed && o.revision == at, s
	case o.result != due && o.result != unknown,
		o.result == elsewhere && o.revision != s.revision(),
		o.result == done && (o.replayed || o.revision != s.revision()+1):
		return false, s
	case due != done:
		return true, s
	}
	return !k.refutes(s, a), s.with(effect{a.verb, a.key})
}

// show is the step of a read.
func (s state) show(a asked, o told) (bool, state) {
	if o.result == missing {
		return len(s.effects) == 0, s
	}
	current := o.fromLog || o.last
	switch {
	case o.revision > s.revision(),
		o.revision < a.token,
		current && o.revision < s.revision(),
		!o.fromLog && o.revision < s.viewed,
		!o.shown.equal(s.shownAt(o.revision)):
		return false, s
	}
	if !o.fromLog {
		s.viewed = o.revision
	}
	s.ended = o.last
	return true, s
}

// check tells whether a history is linearizable, within checkTimeout.
func check(history []porcupine.Operation) (porcupine.CheckResult, porcupine.Model, porcupine.LinearizationInfo) {
	orders := learn(history)
	return checkWith(orders, withEffect(history, orders))
}

func checkWith(orders map[string]known, history []porcupine.Operation) (porcupine.CheckResult, porcupine.Model, porcupine.LinearizationInfo) {
	model := porcupine.Model{
		Partition: byOrder,
		Init:      func() any { return state{viewed: -1} },
		Step: func(s, a, o any) (bool, any) {
			return orders[a.(asked).order].step(s.(state), a.(asked), o.(told))
		},
		Equal:             func(a, b any) bool { return a.(state).equal(b.(state)) },
		Hash:              func(s any) uint64 { return s.(state).hash ^ uint64(s.(state).viewed) },
		DescribeOperation: func(a, o any) string { return fmt.Sprintf("%v: %v", a.(asked), o.(told)) },
		DescribeState:     func(s any) string { return s.(state).String() },
	}
	result, info := porcupine.CheckOperationsVerbose(model, history, checkTimeout)
	return result, model, info
}

// byOrder: orders have nothing to do with each other, so each is checked alone.
func byOrder(history []porcupine.Operation) [][]porcupine.Operation {
	parts := map[string][]porcupine.Operation{}
	for _, operation := range history {
		order := operation.Input.(asked).order
		parts[order] = append(parts[order], operation)
	}
	return slices.Collect(maps.Values(parts))
}

func (s state) String() string {
	return fmt.Sprintf("revision %d, viewed %d: %+v", s.revision(), s.viewed, s.shownAt(s.revision()))
}

func (a asked) String() string {
	switch {
	case a.verb == read && a.token >= 0:
		return fmt.Sprintf("read %s with a token of revision %d", a.order, a.token)
	case a.verb == read:
		return "read " + a.order
	case a.verb == tags || a.verb == metadata:
		return fmt.Sprintf("%s %s on %s if at %d", a.verb, a.key, a.order, a.ifMatch)
	}
	return fmt.Sprintf("%s %s on %s", a.verb, a.key, a.order)
}

func (o told) String() string {
	switch {
	case o.result == done && o.shown.placedBy != "":
		return fmt.Sprintf("revision %d (log %t, last %t) %+v", o.revision, o.fromLog, o.last, o.shown)
	case o.result == done && o.replayed:
		return fmt.Sprintf("done before at %d", o.revision)
	case o.result == done || o.result == elsewhere:
		return fmt.Sprintf("%s at %d", o.result, o.revision)
	}
	return string(o.result)
}
