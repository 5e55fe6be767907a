// Package eventstoretest holds every adapter of the port eventstore to what
// its comments promise.
//
// An adapter calls Run with a function that opens a store. The suite shares
// the log with whoever else writes to it: it uses names of its own, begins
// where the log ends and never expects positions without gaps. As any caller
// must, it repeats an append whose outcome is unknown and subscribes again
// when a subscription breaks.
//
// NewReference is a store in memory that makes use of every freedom which the
// port leaves; tests of packages that call the port run against it too.
package eventstoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// Open opens the store that is kept under dir, an existing folder: first an
// empty one or one in use by others, after Close the same one again.
type Open func(t *testing.T, dir string) eventstore.Store

// Trait is a freedom of the port that a store makes use of.
type Trait uint8

// RepeatsUntold: Appended.Repeated is never set.
const RepeatsUntold Trait = iota

// Run runs the whole suite.
func Run(t *testing.T, open Open, traits ...Trait) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *env)
	}{
		{"Append", testAppend},
		{"AppendMatrix", testAppendMatrix},
		{"AppendRefused", testAppendRefused},
		{"AppendAfterReopen", testAppendAfterReopen},
		{"AppendEndedContext", testAppendEndedContext},
		{"Race", testRace},
		{"Sequencer", testSequencer},
		{"DeleteMatrix", testDeleteMatrix},
		{"Recreate", testRecreate},
		{"RecreateKeepsMetadata", testRecreateKeepsMetadata},
		{"Tombstone", testTombstone},
		{"Metadata", testMetadata},
		{"MetadataUndeletes", testMetadataUndeletes},
		{"MetadataHides", testMetadataHides},
		{"MetadataMaxAge", testMetadataMaxAge},
		{"ReadStream", testReadStream},
		{"ReadStreamLong", testReadStreamLong},
		{"ReadAll", testReadAll},
		{"ReadAllDeleted", testReadAllDeleted},
		{"ReadEndedContext", testReadEndedContext},
		{"Subscribe", testSubscribe},
		{"SubscribeResumes", testSubscribeResumes},
		{"SubscribeCheckpoints", testSubscribeCheckpoints},
		{"SubscribeIdle", testSubscribeIdle},
		{"SubscribeWhileWriting", testSubscribeWhileWriting},
		{"Log", testLog},
		{"Close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			t.Cleanup(cancel)
			e := &env{ctx: ctx, unique: uuid.NewString()[:8], untold: slices.Contains(traits, RepeatsUntold)}
			e.open = func() { e.store = open(t, dir) }
			e.open()
			t.Cleanup(func() { e.store.Close() })
			c.run(t, e)
		})
	}
}

// patience ends a case that would hang.
const patience = time.Minute

// env is the store of one case.
type env struct {
	ctx    context.Context
	unique string
	untold bool // RepeatsUntold
	// open puts a newly opened store into store.
	open  func()
	store eventstore.Store
}

// repeated is what Appended.Repeated must be where the port says so.
func (e *env) repeated(told bool) bool { return told && !e.untold }

// stream makes a name that nobody else uses.
func (e *env) stream(name string) string { return e.unique + "." + name }

// mine selects the streams of this case.
func (e *env) mine() eventstore.Filter {
	return eventstore.Filter{Prefixes: []string{e.unique + "."}}
}

func (e *env) reopen(t *testing.T) {
	t.Helper()
	if err := e.store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	e.open()
}

// event makes an event whose id follows from the case, its stream and a label.
func (e *env) event(label string) eventstore.Event {
	return eventstore.Event{
		ID:       uuid.NewSHA1(uuid.NameSpaceOID, []byte(e.unique+"/"+label)),
		Type:     "Tested",
		JSON:     true,
		Data:     fmt.Appendf(nil, `{"label":%q}`, label),
		Metadata: []byte(`{"by":"eventstoretest"}`),
	}
}

// events makes one event per letter.
func (e *env) events(letters string) []eventstore.Event {
	var out []eventstore.Event
	for _, l := range letters {
		out = append(out, e.event(string(l)))
	}
	return out
}

// append repeats an append until its outcome is known, and tells whether it
// had to.
func (e *env) append(stream string, expected eventstore.Expected, events []eventstore.Event) (out eventstore.Appended, again bool, err error) {
	for {
		out, err = e.store.Append(e.ctx, stream, expected, events)
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) || e.ctx.Err() != nil {
			return out, again, err
		}
		again = true
	}
}

// write appends what must succeed.
func (e *env) write(t *testing.T, stream string, expected eventstore.Expected, events ...eventstore.Event) eventstore.Appended {
	t.Helper()
	out, _, err := e.append(stream, expected, events)
	if err != nil {
		t.Fatalf("append to %s expecting %s: %v", stream, expected, err)
	}
	return out
}

// fill writes n events to a new stream, several at a time.
func (e *env) fill(t *testing.T, stream string, n int) {
	t.Helper()
	const batch = 20
	for at := 0; at < n; at += batch {
		var events []eventstore.Event
		for i := at; i < min(at+batch, n); i++ {
			events = append(events, e.event(fmt.Sprintf("%s#%d", stream, i)))
		}
		e.write(t, stream, eventstore.Expected(at-1), events...)
	}
}

func (e *env) head(t *testing.T) eventstore.Position {
	t.Helper()
	pos, err := e.store.Head(e.ctx)
	if err != nil {
		t.Fatalf("head: %v", err)
	}
	return pos
}

// readAll collects what ReadAll delivers of this case's streams.
func (e *env) readAll(t *testing.T, from eventstore.Position, dir eventstore.Direction, limit int) []eventstore.Record {
	t.Helper()
	var out []eventstore.Record
	for rec, err := range e.store.ReadAll(e.ctx, from, dir, e.mine(), limit) {
		if err != nil {
			t.Fatalf("read all: %v", err)
		}
		out = append(out, rec)
	}
	return out
}

// read collects what ReadStream delivers.
func (e *env) read(stream string, from eventstore.Revision, dir eventstore.Direction, limit int) (out []eventstore.Record, err error) {
	for rec, err := range e.store.ReadStream(e.ctx, stream, from, dir, limit) {
		if err != nil {
			return out, err
		}
		out = append(out, rec)
	}
	return out, nil
}

// visible wants exactly these revisions to be readable, both ways.
func (e *env) visible(t *testing.T, stream string, want ...eventstore.Revision) {
	t.Helper()
	up, err := e.read(stream, 0, eventstore.Forwards, 0)
	if err != nil {
		t.Fatalf("read %s: %v", stream, err)
	}
	down, err := e.read(stream, eventstore.EndRevision, eventstore.Backwards, 0)
	if err != nil {
		t.Fatalf("read %s backwards: %v", stream, err)
	}
	slices.Reverse(down)
	if got := revisions(up); !slices.Equal(got, want) {
		t.Errorf("%s shows revisions %v forwards, want %v", stream, got, want)
	}
	if got := revisions(down); !slices.Equal(got, want) {
		t.Errorf("%s shows revisions %v backwards, want %v", stream, got, want)
	}
}

// unreadable wants a read to fail.
func (e *env) unreadable(t *testing.T, stream string, want error) {
	t.Helper()
	got, err := e.read(stream, 0, eventstore.Forwards, 0)
	if !errors.Is(err, want) || len(got) > 0 {
		t.Errorf("read %s: %d events and %v, want %v", stream, len(got), err, want)
	}
}

// last wants the stream to end at a revision, visible or not. An append of no
// events tells.
func (e *env) last(t *testing.T, stream string, want eventstore.Revision) {
	t.Helper()
	out, _, err := e.append(stream, eventstore.Any, nil)
	if err != nil || out.Revision != want {
		t.Errorf("%s ends at revision %d (%v), want %d", stream, out.Revision, err, want)
	}
}

func revisions(records []eventstore.Record) (out []eventstore.Revision) {
	for _, rec := range records {
		out = append(out, rec.Revision)
	}
	return out
}

func wantConflict(t *testing.T, what string, err error, current eventstore.Expected) {
	t.Helper()
	var conflict *eventstore.ConflictError
	if !errors.Is(err, eventstore.ErrConflict) || !errors.As(err, &conflict) {
		t.Errorf("%s: %v, want a conflict", what, err)
	} else if conflict.Current != current {
		t.Errorf("%s: conflict says the stream is at %s, want %s", what, conflict.Current, current)
	}
}

// eventually waits until ok, as long as the case may take.
func eventually(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s did not come true: %v", what, ctx.Err())
		}
	}
}
