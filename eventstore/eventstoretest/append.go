package eventstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

const (
	none   = eventstore.NoStream
	anyRev = eventstore.Any
	exists = eventstore.StreamExists
	// missing is the revision of a stream without events.
	missing = eventstore.Revision(-1)
)

func testAppend(t *testing.T, e *env) {
	s := e.stream("order-1")
	before := e.head(t)
	started := time.Now().Add(-time.Minute)
	binary := eventstore.Event{ID: uuid.New(), Type: "Bytes", Data: []byte{0, 255, 1}}
	bare := eventstore.Event{ID: uuid.New(), Type: "Bare"}
	given := []eventstore.Event{e.event("a"), binary, bare}
	out := e.write(t, s, none, given...)
	if out.Revision != 2 || !before.Before(out.Position) {
		t.Errorf("appended %+v, want revision 2 and a position after %s", out, before)
	}
	if head := e.head(t); head != out.Position {
		t.Errorf("head is %s after an append at %s", head, out.Position)
	}
	got, err := e.read(s, 0, eventstore.Forwards, 0)
	if err != nil || len(got) != len(given) {
		t.Fatalf("read %d events, %v; want %d", len(got), err, len(given))
	}
	at := before
	for i, rec := range got {
		want := given[i]
		if rec.ID != want.ID || rec.Type != want.Type || rec.JSON != want.JSON || !bytes.Equal(rec.Data, want.Data) || !bytes.Equal(rec.Metadata, want.Metadata) {
			t.Errorf("event %d reads %+v, was written as %+v", i, rec.Event, want)
		}
		if rec.Stream != s || rec.Revision != eventstore.Revision(i) {
			t.Errorf("event %d is revision %d of %s", i, rec.Revision, rec.Stream)
		}
		if !at.Before(rec.Position) {
			t.Errorf("event %d has position %s, the one before it %s", i, rec.Position, at)
		}
		if rec.Created.Before(started) || rec.Created.After(time.Now().Add(time.Minute)) {
			t.Errorf("event %d was created %s", i, rec.Created)
		}
		at = rec.Position
	}
	if at != out.Position {
		t.Errorf("the last event is at %s, the append said %s", at, out.Position)
	}
}

// step is one append: the letters are event ids.
type step struct {
	ids      string
	expected eventstore.Expected
}

// testAppendMatrix is the table of EventStoreDB's answers to first and
// repeated appends; the numbers are its rows.
func testAppendMatrix(t *testing.T, e *env) {
	const conflict, deleted = -100, -101
	six := []step{{"a", none}, {"b", 0}, {"c", 1}, {"d", 2}, {"e", 3}, {"f", 4}}
	tombstone := step{"†", 0}
	metadata := func(md eventstore.StreamMetadata) *eventstore.StreamMetadata { return &md }
	for _, c := range []struct {
		row   string
		given []step
		md    *eventstore.StreamMetadata
		when  step
		want  eventstore.Revision // or conflict or deleted
		last  eventstore.Revision // where the stream ends afterwards
		// repeated: nothing is written because it is there already.
		repeated bool
		// hidden: the repeated event is not readable, so it has no position.
		hidden bool
		// loose: a further repeat may answer another revision.
		loose bool
	}{
		{row: "1 any", when: step{"a", anyRev}, want: 0, last: 0},
		{row: "1 none", when: step{"a", none}, want: 0, last: 0},
		{row: "2 exists", when: step{"a", exists}, want: conflict, last: missing},
		{row: "2 r0", when: step{"a", 0}, want: conflict, last: missing},
		{row: "2 r5", when: step{"a", 5}, want: conflict, last: missing},
		{row: "3 any", when: step{"", anyRev}, want: missing, last: missing},
		{row: "3 none", when: step{"", none}, want: missing, last: missing},
		{row: "4 exists", when: step{"", exists}, want: conflict, last: missing},
		{row: "4 r0", when: step{"", 0}, want: conflict, last: missing},
		{row: "5 any", given: six[:1], when: step{"", anyRev}, want: 0, last: 0},
		{row: "5 exists", given: six[:1], when: step{"", exists}, want: 0, last: 0},
		{row: "5 r0", given: six[:1], when: step{"", 0}, want: 0, last: 0},
		{row: "6", given: six[:1], when: step{"", none}, want: conflict, last: 0},
		{row: "7", given: six[:1], when: step{"a", none}, want: 0, last: 0, repeated: true},
		{row: "8", given: six[:1], when: step{"a", anyRev}, want: 0, last: 0, repeated: true},
		{row: "9", given: six[:1], when: step{"a", exists}, want: 0, last: 0, repeated: true},
		{row: "10", given: six[:1], when: step{"a", 0}, want: 1, last: 1},
		{row: "11", given: six[:1], when: step{"b", none}, want: conflict, last: 0},
		{row: "12", given: six, when: step{"a", none}, want: 0, last: 5, repeated: true},
		{row: "13", given: six, when: step{"a", anyRev}, want: 0, last: 5, repeated: true},
		{row: "14", given: six, when: step{"a", 5}, want: 6, last: 6},
		{row: "15", given: six, when: step{"a", 6}, want: conflict, last: 5},
		{row: "16", given: six, when: step{"a", 4}, want: conflict, last: 5},
		{row: "17", given: append(six[:3:3], step{"b", anyRev}), when: step{"b", anyRev}, want: 1, last: 2, repeated: true},
		{row: "18", given: []step{{"ab", none}}, when: step{"a", none}, want: 0, last: 1, repeated: true},
		{row: "19", given: []step{{"ab", none}}, when: step{"a", anyRev}, want: 0, last: 1, repeated: true},
		{row: "20", given: []step{{"ab", none}}, when: step{"b", 0}, want: 1, last: 1, repeated: true},
		{row: "21", given: []step{{"ab", none}}, when: step{"b", anyRev}, want: 1, last: 1, repeated: true},
		{row: "22", given: []step{{"ab", none}}, when: step{"abc", none}, want: conflict, last: 1},
		{row: "23", given: []step{{"ab", none}}, when: step{"abc", anyRev}, want: conflict, last: 1},
		{row: "24", given: []step{{"ab", none}}, when: step{"ca", anyRev}, want: 3, last: 3, loose: true},
		{row: "25", given: []step{{"ab", none}}, when: step{"ba", anyRev}, want: 0, last: 1, repeated: true},
		{row: "26", given: []step{{"ab", none}}, when: step{"bc", 0}, want: conflict, last: 1},
		{row: "27", given: []step{{"abcd", anyRev}}, when: step{"abcd", anyRev}, want: 3, last: 3, repeated: true},
		{row: "28", when: step{"xxxxxx", anyRev}, want: 5, last: 5, loose: true},
		{row: "29", given: []step{{"xxxxxx", anyRev}}, when: step{"xxxxxx", anyRev}, want: 0, last: 5, repeated: true},
		{row: "30", given: []step{{"xxxxxx", none}}, when: step{"xxxxxx", none}, want: 5, last: 5, repeated: true},
		{row: "33", given: []step{{"ab", none}}, md: metadata(eventstore.StreamMetadata{TruncateBefore: 2}), when: step{"ab", none}, want: 1, last: 1, repeated: true, hidden: true},
		{row: "33 any", given: []step{{"ab", none}}, md: metadata(eventstore.StreamMetadata{TruncateBefore: 2}), when: step{"ab", anyRev}, want: 1, last: 1, repeated: true, hidden: true},
		{row: "34", given: []step{{"ab", none}}, md: metadata(eventstore.StreamMetadata{MaxCount: 1}), when: step{"c", 1}, want: 2, last: 2},
		{row: "35 none", given: []step{{"a", none}, tombstone}, when: step{"a", none}, want: deleted},
		{row: "35 any", given: []step{{"a", none}, tombstone}, when: step{"a", anyRev}, want: deleted},
		{row: "35 r0", given: []step{{"a", none}, tombstone}, when: step{"a", 0}, want: deleted},
		{row: "36", md: metadata(eventstore.StreamMetadata{MaxCount: 9}), when: step{"a", exists}, want: 0, last: 0},
		{row: "37 none", md: metadata(eventstore.StreamMetadata{MaxCount: 9}), when: step{"a", none}, want: 0, last: 0},
		{row: "37 any", md: metadata(eventstore.StreamMetadata{MaxCount: 9}), when: step{"a", anyRev}, want: 0, last: 0},
		{row: "two written, both repeated by revision", given: six, when: step{"cd", 1}, want: 3, last: 5, repeated: true},
		{row: "order matters by revision", given: six, when: step{"dc", 1}, want: conflict, last: 5},
		{row: "repeat runs past the end", given: six, when: step{"fg", 4}, want: conflict, last: 5},
	} {
		t.Run(c.row, func(t *testing.T) {
			s := e.stream("matrix " + c.row)
			for _, g := range c.given {
				if g == tombstone {
					if _, err := e.store.Tombstone(e.ctx, s, g.expected); err != nil {
						t.Fatal(err)
					}
					continue
				}
				e.write(t, s, g.expected, e.events(g.ids)...)
			}
			if c.md != nil {
				e.setMetadata(t, s, none, *c.md)
			}
			out, again, err := e.append(s, c.when.expected, e.events(c.when.ids))
			switch c.want {
			case deleted:
				if !errors.Is(err, eventstore.ErrDeleted) {
					t.Errorf("%v, want %v", err, eventstore.ErrDeleted)
				}
				return
			case conflict:
				wantConflict(t, "append", err, eventstore.At(c.last))
			default:
				if err != nil {
					t.Fatal(err)
				}
				if out.Revision != c.want && !(again && c.loose) {
					t.Errorf("revision %d, want %d", out.Revision, c.want)
				}
				if out.Repeated != e.repeated(c.repeated) && !again {
					t.Errorf("repeated %v, want %v", out.Repeated, c.repeated)
				}
				if c.when.ids != "" && (out.Position == eventstore.Start) != c.hidden {
					t.Errorf("position %s, hidden %v", out.Position, c.hidden)
				}
			}
			e.last(t, s, c.last)
		})
	}
	t.Run("31 ids belong to their stream", func(t *testing.T) {
		s1, s2 := e.stream("ids-1"), e.stream("ids-2")
		e.write(t, s1, anyRev, e.event("a"))
		e.write(t, s2, anyRev, e.event("a"))
		e.visible(t, s1, 0)
		e.visible(t, s2, 0)
	})
}

func testAppendRefused(t *testing.T, e *env) {
	s := e.stream("large")
	large := e.event("large")
	large.Data = bytes.Repeat([]byte("x"), eventstore.MaxAppendSize-len(large.Metadata)-2*len(large.Type))
	e.write(t, s, none, large)
	got, err := e.read(s, 0, eventstore.Forwards, 0)
	if err != nil || len(got) != 1 || !bytes.Equal(got[0].Data, large.Data) {
		t.Errorf("the largest append does not read back: %d events, %v", len(got), err)
	}
	small := e.event("small")
	small.Data = nil
	large.ID = uuid.New()
	_, _, err = e.append(s, 0, []eventstore.Event{small, large})
	if !errors.Is(err, eventstore.ErrTooLarge) {
		t.Errorf("append of more than the maximum: %v, want %v", err, eventstore.ErrTooLarge)
	}
	e.last(t, s, 0)
}

// testAppendAfterReopen: what was acknowledged is there after a restart, and
// an explicit expectation recognises a repeat for ever.
func testAppendAfterReopen(t *testing.T, e *env) {
	s := e.stream("kept")
	first := e.write(t, s, none, e.events("ab")...)
	e.write(t, s, 1, e.events("c")...)
	e.reopen(t)
	e.visible(t, s, 0, 1, 2)
	out := e.write(t, s, none, e.events("ab")...)
	if out.Revision != 1 || out.Repeated != e.repeated(true) || out.Position != first.Position {
		t.Errorf("repeat after a restart: %+v, want the first outcome %+v", out, first)
	}
	out = e.write(t, s, 2, e.events("d")...)
	if out.Revision != 3 || !first.Position.Before(out.Position) {
		t.Errorf("append after a restart: %+v", out)
	}
}

func testAppendEndedContext(t *testing.T, e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	s := e.stream("cancelled")
	_, err := e.store.Append(ctx, s, none, e.events("a"))
	if !errors.Is(err, context.Canceled) && !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Fatalf("append under an ended context: %v", err)
	}
	// Whatever became of it, the same append settles it.
	e.write(t, s, none, e.events("a")...)
	e.visible(t, s, 0)
}

// testRace lets writers compete for each revision of one stream: exactly one
// wins, and nothing that was refused appears.
func testRace(t *testing.T, e *env) {
	const writers, rounds = 8, 25
	s := e.stream("contended")
	winners := make([]string, rounds)
	for round := range rounds {
		var wait sync.WaitGroup
		var mu sync.Mutex
		for n := range writers {
			wait.Go(func() {
				label := fmt.Sprintf("%d/%d", round, n)
				_, _, err := e.append(s, eventstore.Expected(round-1), []eventstore.Event{e.event(label)})
				mu.Lock()
				defer mu.Unlock()
				if err == nil && winners[round] != "" {
					t.Errorf("revision %d was won by %s and %s", round, winners[round], label)
				} else if err == nil {
					winners[round] = label
				} else {
					wantConflict(t, label, err, eventstore.Expected(round))
				}
			})
		}
		wait.Wait()
	}
	got, err := e.read(s, 0, eventstore.Forwards, 0)
	if err != nil || len(got) != rounds {
		t.Fatalf("%d events after %d rounds, %v", len(got), rounds, err)
	}
	for i, rec := range got {
		if rec.ID != e.event(winners[i]).ID {
			t.Errorf("revision %d is not the event of %s, which was told it won", i, winners[i])
		}
	}
}

func (e *env) setMetadata(t *testing.T, stream string, expected eventstore.Expected, md eventstore.StreamMetadata) eventstore.Appended {
	t.Helper()
	_, before, err := e.store.StreamMetadata(e.ctx, stream)
	if err != nil {
		t.Fatalf("metadata of %s: %v", stream, err)
	}
	out, err := e.store.SetStreamMetadata(e.ctx, stream, expected, md)
	for errors.Is(err, eventstore.ErrOutcomeUnknown) && e.ctx.Err() == nil {
		// It cannot be repeated blindly: look whether it is there.
		if _, at, lookErr := e.store.StreamMetadata(e.ctx, stream); lookErr == nil && at != before {
			return eventstore.Appended{Revision: eventstore.Revision(at)}
		}
		out, err = e.store.SetStreamMetadata(e.ctx, stream, expected, md)
	}
	if err != nil {
		t.Fatalf("set metadata of %s expecting %s: %v", stream, expected, err)
	}
	return out
}
