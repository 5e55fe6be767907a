package systemtest

import (
	"context"
	bigendian "encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/docket-orders/docket/eventstore"
)

// streamHistory is what some clients do to a few streams, and what they are
// told.
type streamHistory struct {
	t      *testing.T
	world  *world[eventstore.Store]
	name   string
	budget atomic.Int64 // operations that may still begin
	ids    *atomic.Int64
	began  chan<- struct{} // told of each operation
	remote bool            // behind the protocol

	mu      sync.Mutex
	streams []*streamNotes
	counts  streamCounts
}

// streamNotes is what the clients tell each other about a stream.
type streamNotes struct {
	name       string
	last       int64 // revision, as far as somebody knows
	docs       int64 // revision of the metadata
	sent       []streamAsked
	operations []streamOperation
}

// streamOperation is one in the making: when it returns may have to be found out
// later.
type streamOperation struct {
	porcupine.Operation
	in *incarnation[eventstore.Store] // where an operation of unknown outcome has its effect, or never
}

// streamCounts is how much happened.
type streamCounts struct {
	verbs                                              map[streamVerb]int
	unknown, repeated, conflicts, deleted, nothing, in int
}

func (c *streamCounts) add(o streamCounts) {
	if c.verbs == nil {
		c.verbs = map[streamVerb]int{}
	}
	for verb, n := range o.verbs {
		c.verbs[verb] += n
	}
	c.unknown += o.unknown
	c.repeated += o.repeated
	c.conflicts += o.conflicts
	c.deleted += o.deleted
	c.nothing += o.nothing
}

func (c streamCounts) String() string {
	return fmt.Sprintf("%v; %d of unknown outcome, %d repeats recognised, %d conflicts, %d on deleted streams, %d cancelled in time", c.verbs, c.unknown, c.repeated, c.conflicts, c.deleted, c.nothing)
}

// streamClient has one operation at a time.
type streamClient struct {
	*streamHistory
	id  int
	rng *rand.Rand
}

func (c *streamClient) work(ctx context.Context) {
	for ctx.Err() == nil && c.budget.Add(-1) >= 0 {
		c.began <- struct{}{}
		notes, a := c.next()
		// Whoever got no answer mostly asks again.
		for c.perform(ctx, notes, a) == streamUnknown && c.rng.IntN(4) > 0 && c.budget.Add(-1) >= 0 {
			c.began <- struct{}{}
		}
	}
}

// next is what the client wants to do now.
func (c *streamClient) next() (*streamNotes, streamAsked) {
	c.mu.Lock()
	defer c.mu.Unlock()
	notes := pick(c.rng, c.streams...)
	a := streamAsked{stream: notes.name, expected: c.expected(notes.last)}
	switch chance := c.rng.IntN(1000); {
	case chance < 400:
		a.verb = streamAppend
		for range 1 + c.rng.IntN(3) {
			a.ids = append(a.ids, int(c.ids.Add(1)))
		}
	case chance < 520 && len(notes.sent) > 0:
		return notes, pick(c.rng, notes.sent...) // idempotent retry
	case chance < 760:
		a.verb, a.expected = streamRead, 0
		a.dir = eventstore.Direction(c.rng.IntN(2) == 0)
		a.limit = pick(c.rng, 0, 0, 1, 3)
		a.from = pick(c.rng, 0, 0, c.rng.Int64N(notes.last+3))
		if a.dir == eventstore.Backwards {
			a.from = pick(c.rng, int64(eventstore.EndRevision), c.rng.Int64N(notes.last+3))
		}
	case chance < 820:
		a.verb = streamDelete
	case chance < 835:
		a.verb = streamTombstone
	case chance < 910:
		a.verb, a.expected = streamSet, c.expected(notes.docs)
		a.doc = streamDoc{
			maxCount: pick(c.rng, 0, 0, 1+c.rng.Int64N(4)),
			truncate: pick(c.rng, 0, c.rng.Int64N(notes.last+3)),
			mark:     fmt.Sprint("m", c.ids.Add(1)),
		}
	default:
		a.verb, a.expected = streamGet, 0
	}
	return notes, a
}

// expected is mostly where the stream is.
func (c *streamClient) expected(last int64) eventstore.Expected {
	switch chance := c.rng.IntN(20); {
	case chance < 2:
		return eventstore.NoStream
	case chance < 5:
		return eventstore.Any
	case chance < 7:
		return eventstore.StreamExists
	case chance < 9:
		return eventstore.Expected(max(-1, last-1-c.rng.Int64N(2)))
	case chance < 10:
		return eventstore.Expected(last + 1)
	}
	return eventstore.Expected(last)
}

// perform does what is asked and records what was told.
func (c *streamClient) perform(ctx context.Context, notes *streamNotes, a streamAsked) streamResult {
	i := c.world.current(ctx)
	if i == nil {
		return streamDone
	}
	within := ctx
	hurried := a.changes() && c.rng.IntN(12) == 0
	if hurried {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, time.Duration(c.rng.Int64N(int64(time.Millisecond))))
		defer cancel()
	}
	if c.remote {
		// What a dead one says does not count, and the adapter would ask it again
		// and again.
		alive, cancel := context.WithCancel(within)
		defer cancel()
		go func() {
			select {
			case <-i.gate.dead:
				cancel()
			case <-alive.Done():
			}
		}()
		within = alive
	}
	call := c.world.clock.Add(1)
	o, err := ask(within, i.is, a)
	end := c.world.clock.Add(1)

	in := (*incarnation[eventstore.Store])(nil)
	switch dead := i.gate.shut.Load(); {
	case dead:
		// Whatever it says came too late. What only looks need not have been.
		if !a.changes() {
			return streamUnknown
		}
		o, in = streamTold{result: streamUnknown}, i
	case errors.Is(err, eventstore.ErrOutcomeUnknown):
		o, in = streamTold{result: streamUnknown}, i
	case hurried && err != nil && within.Err() != nil && errors.Is(err, within.Err()):
		// It says that nothing was done; the log will show.
		c.mu.Lock()
		c.counts.nothing++
		c.mu.Unlock()
		return streamUnknown
	case err != nil:
		c.t.Errorf("%s: %v: %v", notes.name, a, err)
		return streamDone
	case a.changes() && c.rng.IntN(20) == 0:
		o = streamTold{result: streamUnknown} // the answer is lost
	}
	o.remote = c.remote
	c.record(notes, a, o, call, end, in)
	return o.result
}

func (a streamAsked) changes() bool { return a.verb != streamRead && a.verb != streamGet }

// record keeps an operation, and shares what was learnt from it.
func (c *streamClient) record(notes *streamNotes, a streamAsked, o streamTold, call, end int64, in *incarnation[eventstore.Store]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.verbs[a.verb]++
	switch {
	case o.result == streamUnknown:
		c.counts.unknown++
	case o.result == streamConflict:
		c.counts.conflicts++
	case o.result == streamDeleted || o.result == streamMissing:
		c.counts.deleted++
	case o.repeated:
		c.counts.repeated++
	}
	if a.changes() {
		notes.sent = append(notes.sent, a)
	}
	switch {
	case o.result != streamDone && o.result != streamConflict:
	case a.verb == streamAppend:
		notes.last = max(notes.last, o.revision)
	case a.verb == streamSet || a.verb == streamGet:
		notes.docs = max(notes.docs, o.revision)
	}
	notes.operations = append(notes.operations, streamOperation{
		porcupine.Operation{ClientId: c.id, Input: a, Output: o, Call: call, Return: end}, in,
	})
}

// ask does what is asked to a store.
func ask(ctx context.Context, s eventstore.Store, a streamAsked) (o streamTold, err error) {
	o.result = streamDone
	var out eventstore.Appended
	switch a.verb {
	case streamAppend:
		out, err = s.Append(ctx, a.stream, a.expected, eventsOf(a.ids))
	case streamSet:
		out, err = s.SetStreamMetadata(ctx, a.stream, a.expected, eventstore.StreamMetadata{
			MaxCount: a.doc.maxCount, TruncateBefore: eventstore.Revision(a.doc.truncate), Custom: map[string]any{"mark": a.doc.mark},
		})
	case streamDelete:
		_, err = s.Delete(ctx, a.stream, a.expected)
	case streamTombstone:
		_, err = s.Tombstone(ctx, a.stream, a.expected)
	case streamGet:
		var md eventstore.StreamMetadata
		var at eventstore.Expected
		md, at, err = s.StreamMetadata(ctx, a.stream)
		o.doc, o.revision = docOf(md), int64(at)
	case streamRead:
		for rec, failed := range s.ReadStream(ctx, a.stream, eventstore.Revision(a.from), a.dir, a.limit) {
			if failed != nil {
				err = failed
				break
			}
			id, wrong := idOfEvent(rec)
			if wrong != nil || rec.Stream != a.stream {
				return o, errors.Join(wrong, fmt.Errorf("a record of %s", rec.Stream))
			}
			o.seen = append(o.seen, streamSeen{int64(rec.Revision), id})
		}
	}
	var conflict *eventstore.ConflictError
	switch {
	case err == nil && (a.verb == streamAppend || a.verb == streamSet):
		o.revision, o.repeated, o.readable = int64(out.Revision), out.Repeated, out.Position != eventstore.Start
	case errors.As(err, &conflict):
		return streamTold{result: streamConflict, revision: int64(conflict.Current)}, nil
	case errors.Is(err, eventstore.ErrDeleted):
		return streamTold{result: streamDeleted}, nil
	case errors.Is(err, eventstore.ErrStreamNotFound):
		return streamTold{result: streamMissing}, nil
	}
	return o, err
}

// eventsOf makes events whose content tells their id.
func eventsOf(ids []int) (events []eventstore.Event) {
	for _, id := range ids {
		e := eventstore.Event{Type: "Counted", JSON: true, Data: fmt.Appendf(nil, `{"n":%d}`, id)}
		e.ID[0] = 1
		bigendian.BigEndian.PutUint64(e.ID[8:], uint64(id))
		events = append(events, e)
	}
	return events
}

// idOfEvent fails when the record is not what was given.
func idOfEvent(rec eventstore.Record) (int, error) {
	id := int(bigendian.BigEndian.Uint64(rec.ID[8:]))
	if want := eventsOf([]int{id})[0]; rec.ID != want.ID || rec.Type != want.Type || string(rec.Data) != string(want.Data) || !rec.JSON {
		return 0, fmt.Errorf("revision %d of %s is %+v", rec.Revision, rec.Stream, rec.Event)
	}
	return id, nil
}

func docOf(md eventstore.StreamMetadata) streamDoc {
	mark, _ := md.Custom["mark"].(string)
	return streamDoc{maxCount: md.MaxCount, truncate: int64(md.TruncateBefore), mark: mark}
}
