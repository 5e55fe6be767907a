package systemtest

import (
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/docket-orders/docket/eventstore"
)

// The model of one stream: what an event store that handles one request at a
// time, and never loses anything, could have answered. A kill is an operation,
// too: what the store remembers only while it runs (the ids of events that were
// appended without an exact expectation) is gone after it, and nothing else.

// streamVerb is what an operation on a stream asks for.
type streamVerb string

const (
	streamAppend    streamVerb = "append"
	streamRead      streamVerb = "read"
	streamDelete    streamVerb = "delete"
	streamTombstone streamVerb = "tombstone"
	streamSet       streamVerb = "set" // metadata
	streamGet       streamVerb = "get" // metadata
	streamKill      streamVerb = "kill"
	// streamLog reads everything that was ever written to the stream and to its
	// metadata, hidden or not, from the log, when nobody else is there.
	streamLog streamVerb = "log"
)

// streamAsked is one request of a client.
type streamAsked struct {
	verb     streamVerb
	stream   string
	expected eventstore.Expected
	ids      []int     // append: of the events
	doc      streamDoc // set
	from     int64     // read
	dir      eventstore.Direction
	limit    int
}

// streamDoc is the metadata of a stream.
type streamDoc struct {
	maxCount, truncate int64
	mark               string // tells documents apart
}

var hidesAll = streamDoc{truncate: int64(eventstore.EndRevision)}

func (d streamDoc) softDeleted() bool { return d.truncate == int64(eventstore.EndRevision) }

// firstVisible revision of a stream that ends at last.
func (d streamDoc) firstVisible(last int64) int64 {
	if d.maxCount > 0 {
		return max(d.truncate, last-d.maxCount+1)
	}
	return d.truncate
}

// streamResult is how a request ended.
type streamResult string

const (
	streamDone     streamResult = "done"
	streamConflict streamResult = "conflict"
	streamDeleted  streamResult = "deleted"
	streamMissing  streamResult = "missing"
	streamUnknown  streamResult = "unknown" // no answer came, or one that says so
)

// streamTold is what the client was told.
type streamTold struct {
	result   streamResult
	revision int64 // append, set: of the last event; get: of the metadata; conflict: where the stream is
	repeated bool
	readable bool // append, set: a position was told
	seen     []streamSeen
	doc      streamDoc   // get
	docs     []streamDoc // log: every metadata
	ended    bool        // log: there is a tombstone
	// remote: the store lies behind a protocol that does not tell whether an append
	// was a repeat, and tells where a stream stands that refused one by being asked
	// again.
	remote bool
}

func (o streamTold) equal(other streamTold) bool {
	if o.remote && o.result == streamConflict {
		return other.result == streamConflict
	}
	return o.result == other.result && o.revision == other.revision && (o.repeated == other.repeated || o.remote) && o.readable == other.readable &&
		o.doc == other.doc && o.ended == other.ended && slices.Equal(o.seen, other.seen) && slices.Equal(o.docs, other.docs)
}

// streamSeen is an event that a read showed.
type streamSeen struct {
	revision int64
	id       int
}

// streamState is a stream. What was written stays, so both lists only grow.
type streamState struct {
	events     []int // ids, by revision
	remembered int   // events from this revision on are known to the running process
	docs       []writtenDoc
	tombstoned bool
	hash       uint64
}

// writtenDoc is one event of the metadata stream.
type writtenDoc struct {
	streamDoc
	// under is the expectation it was written under, when that was exact: then
	// the same document under the same expectation is the same event.
	under eventstore.Expected
}

func (s streamState) last() int64        { return int64(len(s.events)) - 1 }
func (s streamState) docRevision() int64 { return int64(len(s.docs)) - 1 }

func (s streamState) doc() streamDoc {
	if len(s.docs) == 0 {
		return streamDoc{}
	}
	return s.docs[len(s.docs)-1].streamDoc
}

func (s streamState) equal(other streamState) bool {
	return s.hash == other.hash && s.remembered == other.remembered && s.tombstoned == other.tombstoned &&
		slices.Equal(s.events, other.events) && slices.Equal(s.docs, other.docs)
}

var hashSeed = maphash.MakeSeed()

// mix adds something to the hash that does not depend on when it was added.
func (s *streamState) mix(what any) { s.hash ^= maphash.Comparable(hashSeed, what) }

func (s streamState) withEvents(ids []int) streamState {
	s.events = slices.Concat(s.events, ids)
	for i := len(s.events) - len(ids); i < len(s.events); i++ {
		s.mix([2]int{i, s.events[i]})
	}
	return s
}

func (s streamState) withDoc(doc streamDoc, under eventstore.Expected) streamState {
	if under < eventstore.NoStream {
		under = eventstore.Any
	}
	s.docs = slices.Concat(s.docs, []writtenDoc{{doc, under}})
	s.mix(struct {
		at  int
		doc streamDoc
	}{len(s.docs), doc})
	return s
}

func (s streamState) killed() streamState {
	s.mix([1]int{s.remembered})
	s.remembered = len(s.events)
	s.mix([1]int{s.remembered})
	return s
}

// revisionOf is where the running process remembers to have written an id.
func (s streamState) revisionOf(id int) (int64, bool) {
	at := slices.Index(s.events[s.remembered:], id)
	return int64(s.remembered + at), at >= 0
}

// answer is what a store without faults answers, and the stream afterwards.
func (s streamState) answer(a streamAsked) (streamTold, streamState) {
	switch a.verb {
	case streamAppend:
		return s.append(a)
	case streamDelete, streamTombstone:
		return s.end(a)
	case streamSet:
		return s.set(a)
	case streamRead:
		return s.read(a), s
	case streamGet:
		if s.tombstoned {
			return streamTold{result: streamDeleted}, s
		}
		return streamTold{result: streamDone, revision: s.docRevision(), doc: s.doc()}, s
	case streamKill:
		return streamTold{result: streamDone}, s.killed()
	case streamLog:
		o := streamTold{result: streamDone, ended: s.tombstoned}
		for revision, id := range s.events {
			o.seen = append(o.seen, streamSeen{int64(revision), id})
		}
		for _, d := range s.docs {
			o.docs = append(o.docs, d.streamDoc)
		}
		return o, s
	}
	panic("no such verb: " + a.verb)
}

func (s streamState) conflict() streamTold {
	return streamTold{result: streamConflict, revision: s.last()}
}

func (s streamState) append(a streamAsked) (streamTold, streamState) {
	if refused, yes := s.refuses(a.expected); yes {
		return refused, s
	}
	switch last := eventstore.Expected(s.last()); {
	case a.expected == eventstore.Any || a.expected == eventstore.StreamExists:
		revision, known := s.revisionOf(a.ids[0])
		if !known {
			return s.write(a.ids)
		}
		for _, id := range a.ids[1:] {
			if revision, known = s.revisionOf(id); !known {
				return s.conflict(), s
			}
		}
		return s.repeated(revision), s
	case a.expected < last:
		for i, id := range a.ids {
			at := int64(a.expected) + 1 + int64(i)
			if at <= s.last() && s.events[at] == id {
				continue
			}
			if i == 0 && a.expected == eventstore.NoStream && s.doc().softDeleted() {
				return s.write(a.ids) // begun anew
			}
			return s.conflict(), s
		}
		return s.repeated(int64(a.expected) + int64(len(a.ids))), s
	case a.expected > last:
		return s.conflict(), s
	}
	return s.write(a.ids)
}

// refuses tells what is refused whatever is to be written.
func (s streamState) refuses(expected eventstore.Expected) (streamTold, bool) {
	switch {
	case s.tombstoned, expected == eventstore.StreamExists && s.doc().softDeleted():
		return streamTold{result: streamDeleted}, true
	case expected == eventstore.StreamExists && s.last() < 0 && s.docRevision() < 0:
		return s.conflict(), true
	}
	return streamTold{}, false
}

func (s streamState) write(ids []int) (streamTold, streamState) {
	first, doc := s.last()+1, s.doc()
	s = s.withEvents(ids)
	if doc.softDeleted() {
		doc.truncate = first
		s = s.withDoc(doc, eventstore.Any)
	}
	return streamTold{result: streamDone, revision: s.last(), readable: true}, s
}

func (s streamState) repeated(revision int64) streamTold {
	return streamTold{result: streamDone, revision: revision, repeated: true, readable: revision >= s.doc().firstVisible(s.last())}
}

// end is a soft delete or a tombstone.
func (s streamState) end(a streamAsked) (streamTold, streamState) {
	if a.verb == streamDelete && s.last() < 0 && s.docRevision() < 0 && !s.tombstoned {
		return s.conflict(), s
	}
	if refused, yes := s.refuses(a.expected); yes {
		return refused, s
	}
	last := eventstore.Expected(s.last())
	free := a.expected == eventstore.Any || a.expected == eventstore.StreamExists ||
		a.expected == eventstore.NoStream && s.doc().softDeleted()
	if a.expected != last && !free {
		return s.conflict(), s
	}
	if a.verb == streamDelete {
		return streamTold{result: streamDone}, s.withDoc(hidesAll, eventstore.Any)
	}
	s.tombstoned = true
	s.mix("tombstone")
	return streamTold{result: streamDone}, s
}

func (s streamState) set(a streamAsked) (streamTold, streamState) {
	last := eventstore.Expected(s.docRevision())
	conflict := streamTold{result: streamConflict, revision: s.docRevision()}
	switch {
	case a.expected == eventstore.StreamExists && last < 0:
		return conflict, s
	case a.expected == eventstore.Any || a.expected == eventstore.StreamExists:
	case a.expected < last:
		if at := a.expected + 1; s.docs[at] != (writtenDoc{a.doc, a.expected}) {
			return conflict, s
		}
		// Of the metadata only the newest is readable.
		return streamTold{result: streamDone, revision: int64(a.expected) + 1, repeated: true, readable: a.expected+1 == last}, s
	case a.expected > last:
		return conflict, s
	}
	wasDeleted := s.doc().softDeleted()
	o := streamTold{result: streamDone, revision: int64(last) + 1, readable: true}
	s = s.withDoc(a.doc, a.expected)
	if wasDeleted {
		doc := a.doc
		doc.truncate = s.last() + 1
		s = s.withDoc(doc, eventstore.Any)
	}
	return o, s
}

func (s streamState) read(a streamAsked) streamTold {
	switch {
	case s.tombstoned:
		return streamTold{result: streamDeleted}
	case s.last() < 0 || s.doc().softDeleted():
		return streamTold{result: streamMissing}
	}
	o := streamTold{result: streamDone}
	low, high, step := s.doc().firstVisible(s.last()), s.last(), int64(1)
	at := max(low, a.from)
	if a.dir == eventstore.Backwards {
		at, step = min(high, a.from), -1
	}
	for ; at >= max(low, 0) && at <= high && (a.limit == 0 || len(o.seen) < a.limit); at += step {
		o.seen = append(o.seen, streamSeen{at, s.events[at]})
	}
	return o
}

// streamModel steps through sets of states: an operation of unknown outcome may
// have had its effect or not.
var streamModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{streamState{}} },
	Step: func(is, in, out any) []any {
		s, a, o := is.(streamState), in.(streamAsked), out.(streamTold)
		want, next := s.answer(a)
		switch {
		case o.result == streamUnknown && next.equal(s):
			return []any{s}
		case o.result == streamUnknown:
			return []any{s, next}
		case !o.equal(want):
			return nil
		}
		return []any{next}
	},
	Equal:             func(a, b any) bool { return a.(streamState).equal(b.(streamState)) },
	Hash:              func(s any) uint64 { return s.(streamState).hash },
	DescribeOperation: func(a, o any) string { return fmt.Sprintf("%v: %v", a.(streamAsked), o.(streamTold)) },
	DescribeState:     func(s any) string { return s.(streamState).String() },
}).ToModel()

// checkStream tells whether the history of one stream is linearizable.
func checkStream(history []porcupine.Operation, patience time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(streamModel, history, patience)
}

func (s streamState) String() string {
	return fmt.Sprintf("%v (from %d remembered), metadata %v, tombstoned %t", s.events, s.remembered, s.docs, s.tombstoned)
}

func (a streamAsked) String() string {
	switch a.verb {
	case streamAppend:
		return fmt.Sprintf("append %v at %s", a.ids, a.expected)
	case streamRead:
		return fmt.Sprintf("read from %d backwards %t limit %d", a.from, bool(a.dir), a.limit)
	case streamSet:
		return fmt.Sprintf("set %+v at %s", a.doc, a.expected)
	case streamDelete, streamTombstone:
		return fmt.Sprintf("%s at %s", a.verb, a.expected)
	}
	return string(a.verb)
}

func (o streamTold) String() string {
	if o.result != streamDone {
		return fmt.Sprintf("%s %d", o.result, o.revision)
	}
	return fmt.Sprintf("%+v", struct {
		revision           int64
		repeated, readable bool
		seen               []streamSeen
		doc                streamDoc
		docs               []streamDoc
		ended              bool
	}{o.revision, o.repeated, o.readable, o.seen, o.doc, o.docs, o.ended})
}
