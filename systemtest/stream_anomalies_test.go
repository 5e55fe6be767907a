package systemtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/docket-orders/docket/eventstore"
)

// streamMoment is an operation of a history that is made by hand.
type streamMoment struct {
	streamAsked
	streamTold
}

func (m streamMoment) lost() streamMoment {
	m.streamTold = streamTold{result: streamUnknown}
	return m
}

func (m streamMoment) ends(r streamResult, revision int64) streamMoment {
	m.streamTold = streamTold{result: r, revision: revision}
	return m
}

func (m streamMoment) again(readable bool) streamMoment {
	m.repeated, m.readable = true, readable
	return m
}

// appended was told that the last of ids is at revision.
func appended(expected eventstore.Expected, revision int64, ids ...int) streamMoment {
	return streamMoment{streamAsked{verb: streamAppend, expected: expected, ids: ids},
		streamTold{result: streamDone, revision: revision, readable: true}}
}

// showed is a read of the whole stream that begins at revision first.
func showed(first int64, ids ...int) streamMoment {
	m := streamMoment{streamAsked{verb: streamRead}, streamTold{result: streamDone}}
	for i, id := range ids {
		m.seen = append(m.seen, streamSeen{first + int64(i), id})
	}
	return m
}

func softDeleted(expected eventstore.Expected) streamMoment {
	return streamMoment{streamAsked{verb: streamDelete, expected: expected}, streamTold{result: streamDone}}
}

func tombstoned(expected eventstore.Expected) streamMoment {
	return streamMoment{streamAsked{verb: streamTombstone, expected: expected}, streamTold{result: streamDone}}
}

func described(expected eventstore.Expected, revision int64, doc streamDoc) streamMoment {
	return streamMoment{streamAsked{verb: streamSet, expected: expected, doc: doc},
		streamTold{result: streamDone, revision: revision, readable: true}}
}

func gotten(revision int64, doc streamDoc) streamMoment {
	return streamMoment{streamAsked{verb: streamGet}, streamTold{result: streamDone, revision: revision, doc: doc}}
}

func killedHere() streamMoment {
	return streamMoment{streamAsked{verb: streamKill}, streamTold{result: streamDone}}
}

// streamsInTurn is the history of one operation after the other.
func streamsInTurn(moments []streamMoment) (history []porcupine.Operation) {
	for i, m := range moments {
		history = append(history, porcupine.Operation{Input: m.streamAsked, Output: m.streamTold, Call: int64(2 * i), Return: int64(2*i + 1)})
	}
	return history
}

const (
	atNone = eventstore.NoStream
	atAny  = eventstore.Any
	atSome = eventstore.StreamExists
)

// TestStreamCheckerSeesAnomalies feeds the checker histories that a faulty store
// would make, and their faultless neighbours.
func TestStreamCheckerSeesAnomalies(t *testing.T) {
	two := streamDoc{maxCount: 2, mark: "two"}
	for name, c := range map[string]struct {
		ok      bool
		history []streamMoment
	}{
		"one after the other": {true, []streamMoment{
			showed(0).ends(streamMissing, 0), appended(atNone, 1, 1, 2), showed(0, 1, 2), appended(1, 2, 3), appended(atSome, 3, 4), showed(0, 1, 2, 3, 4),
		}},
		"lost: an acknowledged event":           {false, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2), showed(0, 1)}},
		"lost: with a kill":                     {false, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2), killedHere(), showed(0, 1)}},
		"lost: the last of a batch":             {false, []streamMoment{appended(atNone, 1, 1, 2), showed(0, 1)}},
		"lost update: two on one revision":      {false, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2), appended(0, 1, 3)}},
		"lost update: both written":             {false, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2), appended(0, 2, 3)}},
		"a conflict that was none":              {false, []streamMoment{appended(atNone, 0, 1), appended(0, 0, 2).ends(streamConflict, 0)}},
		"a conflict, at another revision":       {false, []streamMoment{appended(atNone, 1, 1, 2), appended(0, 0, 3).ends(streamConflict, 0)}},
		"another order":                         {false, []streamMoment{appended(atNone, 1, 1, 2), showed(0, 2, 1)}},
		"what nobody wrote":                     {false, []streamMoment{appended(atNone, 0, 1), showed(0, 1, 9)}},
		"a gap":                                 {false, []streamMoment{appended(atNone, 0, 1), showed(1, 1)}},
		"repeated":                              {true, []streamMoment{appended(atNone, 1, 1, 2), appended(1, 2, 3), appended(atNone, 1, 1, 2).again(true), showed(0, 1, 2, 3)}},
		"repeated after a kill":                 {true, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2), killedHere(), appended(0, 1, 2).again(true).at(0), showed(0, 1, 2)}},
		"repeated, with another revision":       {false, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2), appended(atNone, 1, 1).again(true)}},
		"repeated, and written twice":           {false, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2), appended(atNone, 2, 1)}},
		"repeated, when it was never there":     {false, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2), appended(atNone, 1, 3).again(true)}},
		"repeated without an expectation":       {true, []streamMoment{appended(atAny, 0, 1), appended(atAny, 0, 1).again(true), showed(0, 1)}},
		"the same, written twice":               {false, []streamMoment{appended(atAny, 0, 1), appended(atAny, 1, 1)}},
		"the same after a kill: best effort":    {true, []streamMoment{appended(atAny, 0, 1), killedHere(), appended(atAny, 1, 1), showed(0, 1, 1)}},
		"unknown, and done":                     {true, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2).lost(), showed(0, 1, 2)}},
		"unknown, and never done":               {true, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2).lost(), killedHere(), showed(0, 1)}},
		"unknown, and half done":                {false, []streamMoment{appended(atNone, 0, 1), appended(0, 2, 2, 3).lost(), showed(0, 1, 2)}},
		"unknown, done after the kill":          {false, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2).lost(), killedHere(), showed(0, 1), showed(0, 1, 2)}},
		"unknown, seen, and gone":               {false, []streamMoment{appended(atNone, 0, 1), appended(0, 1, 2).lost(), showed(0, 1, 2), killedHere(), showed(0, 1)}},
		"soft-deleted, and begun anew":          {true, []streamMoment{appended(atNone, 1, 1, 2), softDeleted(1), showed(0).ends(streamMissing, 0), appended(atNone, 2, 3), showed(2, 3), gotten(1, streamDoc{truncate: 2})}},
		"soft-deleted, and still shown":         {false, []streamMoment{appended(atNone, 0, 1), softDeleted(0), showed(0, 1)}},
		"soft-deleted, and the old shows again": {false, []streamMoment{appended(atNone, 0, 1), softDeleted(0), appended(atNone, 1, 2), showed(0, 1, 2)}},
		"soft-deleted, and numbered anew":       {false, []streamMoment{appended(atNone, 0, 1), softDeleted(0), appended(atNone, 0, 2)}},
		"soft-deleted at another revision":      {false, []streamMoment{appended(atNone, 1, 1, 2), softDeleted(0)}},
		"soft-deleted, and back after a kill":   {false, []streamMoment{appended(atNone, 0, 1), softDeleted(0), killedHere(), showed(0, 1)}},
		"tombstoned":                            {true, []streamMoment{appended(atNone, 0, 1), tombstoned(0), showed(0).ends(streamDeleted, 0), appended(0, 0, 2).ends(streamDeleted, 0), gotten(0, two).ends(streamDeleted, 0)}},
		"tombstoned, and written to":            {false, []streamMoment{appended(atNone, 0, 1), tombstoned(0), appended(0, 1, 2)}},
		"tombstoned, and the retry is answered": {false, []streamMoment{appended(atNone, 0, 1), tombstoned(0), appended(atNone, 0, 1).again(true)}},
		"tombstoned, and back after a kill":     {false, []streamMoment{appended(atNone, 0, 1), tombstoned(0), killedHere(), showed(0, 1)}},
		"metadata":                              {true, []streamMoment{appended(atNone, 2, 1, 2, 3), described(atNone, 0, two), gotten(0, two), showed(1, 2, 3), described(atNone, 0, streamDoc{}).ends(streamConflict, 0)}},
		"metadata that hides nothing":           {false, []streamMoment{appended(atNone, 2, 1, 2, 3), described(atNone, 0, two), showed(0, 1, 2, 3)}},
		"metadata that is lost":                 {false, []streamMoment{described(atNone, 0, two), killedHere(), gotten(-1, streamDoc{})}},
		"metadata repeated":                     {true, []streamMoment{described(atNone, 0, two), described(0, 1, streamDoc{}), described(atNone, 0, two).again(false), gotten(1, streamDoc{})}},
		"metadata un-deletes":                   {true, []streamMoment{appended(atNone, 0, 1), softDeleted(0), described(0, 1, two), showed(1), gotten(2, streamDoc{maxCount: 2, truncate: 1, mark: "two"})}},
		"metadata repeated without un-deleting": {false, []streamMoment{appended(atNone, 0, 1), softDeleted(0), described(0, 1, two), gotten(1, two)}},
		"two metadata on one revision":          {false, []streamMoment{described(atNone, 0, two), described(atNone, 0, streamDoc{})}},
	} {
		t.Run(name, func(t *testing.T) {
			want := porcupine.Illegal
			if c.ok {
				want = porcupine.Ok
			}
			if got := checkStream(streamsInTurn(c.history), streamPatience); got != want {
				t.Errorf("checked as %s, want %s: %v", got, want, c.history)
			}
		})
	}
}

// at is the same with another expectation.
func (m streamMoment) at(expected eventstore.Expected) streamMoment {
	m.expected = expected
	return m
}

// TestStreamCheckerSeesWhatIsSpoilt: of faultless histories with one answer made
// another one, nearly all are told.
func TestStreamCheckerSeesWhatIsSpoilt(t *testing.T) {
	seed := seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	seen, missed := map[streamVerb]int{}, map[streamVerb]int{}
	for n := range 2000 {
		history := faultless(rng)
		if got := checkStream(history, streamPatience); got != porcupine.Ok {
			t.Fatalf("history %d (DOCKET_SEED=%d) has no fault and is checked as %s: %v", n, seed, got, history)
		}
		at := rng.IntN(len(history))
		was := history[at].Output.(streamTold)
		is, ok := spoilt(was, rng)
		if !ok {
			continue
		}
		history[at].Output = is
		verb := history[at].Input.(streamAsked).verb
		if checkStream(history, streamPatience) == porcupine.Ok {
			missed[verb]++
		} else {
			seen[verb]++
		}
	}
	t.Logf("seen %v, not seen %v (DOCKET_SEED=%d)", seen, missed, seed)
	for _, verb := range []streamVerb{streamAppend, streamRead, streamSet, streamGet, streamLog} {
		if seen[verb] < 20 || missed[verb]*10 > seen[verb] {
			t.Errorf("%s: %d of %d wrong answers were seen", verb, seen[verb], seen[verb]+missed[verb])
		}
	}
}

// faultless is the history of three clients of a store without faults.
func faultless(rng *rand.Rand) (history []porcupine.Operation) {
	is, ids := streamState{}, 0
	for n := range 20 {
		a := streamAsked{verb: pick(rng, streamAppend, streamAppend, streamAppend, streamRead, streamRead, streamSet, streamGet, streamKill)}
		a.expected = pick(rng, eventstore.Expected(is.last()), eventstore.Expected(is.last()), atAny, atNone, eventstore.Expected(is.last()+1))
		switch {
		case n == 15:
			a.verb = pick(rng, streamDelete, streamTombstone, streamAppend)
		case n == 19:
			a.verb = streamLog
		}
		switch a.verb {
		case streamAppend:
			for range 1 + rng.IntN(2) {
				ids++
				a.ids = append(a.ids, ids)
			}
		case streamSet:
			a.expected = pick(rng, eventstore.Expected(is.docRevision()), atAny)
			a.doc = streamDoc{maxCount: rng.Int64N(3), mark: fmt.Sprint(n)}
		}
		if n > 0 && a.verb == streamAppend && rng.IntN(4) == 0 {
			if before := history[rng.IntN(n)].Input.(streamAsked); before.verb == streamAppend {
				a = before
			}
		}
		o, next := is.answer(a)
		// Its moment is at 10n; it lasts a while to both sides. A kill, and what
		// comes when nobody else is there, have no while.
		around := int64(15)
		if a.verb == streamKill || a.verb == streamLog {
			around = 1
		}
		history = append(history, porcupine.Operation{ClientId: n % 3, Input: a, Output: o, Call: int64(10*n) - rng.Int64N(around), Return: int64(10*n) + rng.Int64N(around)})
		is = next
	}
	history[19].Call, history[19].Return = 1000, 1001
	return history
}

// spoilt is another answer, which only a fault can give.
func spoilt(o streamTold, rng *rand.Rand) (streamTold, bool) {
	switch {
	case len(o.seen) > 1 && rng.IntN(2) == 0:
		o.seen = slices.Clone(o.seen)
		o.seen[0].id, o.seen[1].id = o.seen[1].id, o.seen[0].id
		return o, o.seen[0].id != o.seen[1].id
	case len(o.seen) > 0:
		o.seen = o.seen[:len(o.seen)-1]
	case o.result == streamDone && o.readable && !o.repeated:
		o.revision++
	case o.result == streamDone && o.doc.mark != "":
		o.doc.mark = "another"
	case o.result == streamConflict:
		o.revision += 2
	default:
		return o, false
	}
	return o, true
}
