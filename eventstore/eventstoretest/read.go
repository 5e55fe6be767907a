package eventstoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/docket-orders/docket/eventstore"
)

func testReadStream(t *testing.T, e *env) {
	s := e.stream("five")
	e.fill(t, e.stream("before"), 2)
	e.fill(t, s, 5)
	e.fill(t, e.stream("fives"), 2)
	const end = eventstore.EndRevision
	for _, c := range []struct {
		from  eventstore.Revision
		dir   eventstore.Direction
		limit int
		want  []eventstore.Revision
	}{
		{0, eventstore.Forwards, 0, []eventstore.Revision{0, 1, 2, 3, 4}},
		{2, eventstore.Forwards, 0, []eventstore.Revision{2, 3, 4}},
		{4, eventstore.Forwards, 0, []eventstore.Revision{4}},
		{5, eventstore.Forwards, 0, nil},
		{end, eventstore.Forwards, 0, nil},
		{0, eventstore.Forwards, 2, []eventstore.Revision{0, 1}},
		{3, eventstore.Forwards, 9, []eventstore.Revision{3, 4}},
		{end, eventstore.Backwards, 0, []eventstore.Revision{4, 3, 2, 1, 0}},
		{5, eventstore.Backwards, 0, []eventstore.Revision{4, 3, 2, 1, 0}},
		{4, eventstore.Backwards, 0, []eventstore.Revision{4, 3, 2, 1, 0}},
		{2, eventstore.Backwards, 0, []eventstore.Revision{2, 1, 0}},
		{0, eventstore.Backwards, 0, []eventstore.Revision{0}},
		{end, eventstore.Backwards, 1, []eventstore.Revision{4}},
		{2, eventstore.Backwards, 2, []eventstore.Revision{2, 1}},
	} {
		got, err := e.read(s, c.from, c.dir, c.limit)
		if err != nil || !slices.Equal(revisions(got), c.want) {
			t.Errorf("from %d, backwards %v, at most %d: %v, %v; want %v", c.from, c.dir, c.limit, revisions(got), err, c.want)
		}
		for _, rec := range got {
			if want := e.event(fmt.Sprintf("%s#%d", s, rec.Revision)).ID; rec.ID != want || rec.Stream != s {
				t.Errorf("revision %d of %s is another event", rec.Revision, rec.Stream)
			}
		}
	}
	e.unreadable(t, e.stream("nothing"), eventstore.ErrStreamNotFound)
	for range e.store.ReadStream(e.ctx, s, 0, eventstore.Forwards, 0) {
		break // a reader may stop early
	}
	e.visible(t, s, 0, 1, 2, 3, 4)
}

// testReadStreamLong crosses any page size, with events of all sizes.
func testReadStreamLong(t *testing.T, e *env) {
	const n = 2500
	s := e.stream("long")
	want := make([]eventstore.Revision, 0, n)
	for len(want) < n {
		var batch []eventstore.Event
		for range 100 {
			ev := e.event(fmt.Sprintf("%d", len(want)))
			ev.Data = make([]byte, len(want)%5000)
			batch = append(batch, ev)
			want = append(want, eventstore.Revision(len(want)))
		}
		e.write(t, s, eventstore.Expected(len(want)-101), batch...)
	}
	e.visible(t, s, want...)
	var all []eventstore.Revision
	for _, rec := range e.readAll(t, eventstore.Start, eventstore.Forwards, 0) {
		all = append(all, rec.Revision)
		if len(rec.Data) != int(rec.Revision)%5000 {
			t.Fatalf("revision %d has %d bytes", rec.Revision, len(rec.Data))
		}
	}
	if !slices.Equal(all, want) {
		t.Errorf("the log shows %d events of %d", len(all), n)
	}
	at, err := e.read(s, 1234, eventstore.Backwards, 3)
	if err != nil || !slices.Equal(revisions(at), []eventstore.Revision{1234, 1233, 1232}) {
		t.Errorf("from the middle: %v, %v", revisions(at), err)
	}
}

func testReadAll(t *testing.T, e *env) {
	before := e.head(t)
	var wrote []eventstore.Position
	for i := range 30 {
		out := e.write(t, e.stream(fmt.Sprintf("log-%d", i%3)), anyRev, e.event(fmt.Sprint(i)))
		wrote = append(wrote, out.Position)
	}
	all := e.readAll(t, eventstore.Start, eventstore.Forwards, 0)
	if got := positions(all); !slices.Equal(got, wrote) {
		t.Fatalf("the log shows %v, appended were %v", got, wrote)
	}
	for i, rec := range all {
		if rec.ID != e.event(fmt.Sprint(i)).ID {
			t.Errorf("record %d at %s is another event", i, rec.Position)
		}
	}
	if got := e.readAll(t, wrote[10], eventstore.Forwards, 0); !slices.Equal(positions(got), wrote[10:]) {
		t.Errorf("forwards from %s begins elsewhere: %v", wrote[10], positions(got))
	}
	if got := e.readAll(t, before, eventstore.Forwards, 4); !slices.Equal(positions(got), wrote[:4]) {
		t.Errorf("the first four: %v", positions(got))
	}
	reversed := slices.Clone(wrote)
	slices.Reverse(reversed)
	if got := e.readAll(t, eventstore.End, eventstore.Backwards, 0); !slices.Equal(positions(got), reversed) {
		t.Errorf("backwards: %v", positions(got))
	}
	if got := e.readAll(t, wrote[10], eventstore.Backwards, 3); !slices.Equal(positions(got), []eventstore.Position{wrote[9], wrote[8], wrote[7]}) {
		t.Errorf("backwards from %s: %v", wrote[10], positions(got))
	}
	if got := e.readAll(t, eventstore.End, eventstore.Forwards, 0); len(got) != 0 {
		t.Errorf("forwards from the end: %v", positions(got))
	}
	if got := e.readAll(t, eventstore.Start, eventstore.Backwards, 0); len(got) != 0 {
		t.Errorf("backwards from the start: %v", positions(got))
	}

	two := eventstore.Filter{Prefixes: []string{e.stream("log-0"), e.stream("log-2")}}
	n := 0
	for rec, err := range e.store.ReadAll(e.ctx, eventstore.Start, eventstore.Forwards, two, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if !two.Matches(rec.Stream) {
			t.Errorf("the filter let %s pass", rec.Stream)
		}
		n++
	}
	if n != 20 {
		t.Errorf("%d records of two streams, want 20", n)
	}
	var at eventstore.Position
	for rec, err := range e.store.ReadAll(e.ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil || !at.Before(rec.Position) {
			t.Fatalf("after %s comes %s, %v", at, rec.Position, err)
		}
		at = rec.Position
	}
	if at.Before(wrote[29]) {
		t.Errorf("the whole log ends at %s, before %s", at, wrote[29])
	}
}

// testReadAllDeleted: the log still shows what deletes hide, and the records
// of the deletes themselves.
func testReadAllDeleted(t *testing.T, e *env) {
	s := e.stream("gone")
	e.inState(t, "soft-deleted", s)
	ended := e.stream("ended")
	e.inState(t, "tombstoned", ended)
	seen := map[string]int{}
	filter := eventstore.Filter{Prefixes: []string{e.unique + ".", "$$" + e.unique + "."}}
	for rec, err := range e.store.ReadAll(e.ctx, eventstore.Start, eventstore.Forwards, filter, 0) {
		if err != nil {
			t.Fatal(err)
		}
		seen[rec.Stream+" "+rec.Type]++
		if rec.Type == "$streamDeleted" && rec.Revision != eventstore.EndRevision {
			t.Errorf("the tombstone has revision %d", rec.Revision)
		}
	}
	if seen["$$"+s+" $metadata"] != 1 || seen[ended+" $streamDeleted"] != 1 {
		t.Errorf("the log does not show the deletes: %v", seen)
	}
}

func testReadEndedContext(t *testing.T, e *env) {
	s := e.stream("read")
	e.fill(t, s, 3)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	ended := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s under an ended context: %v", what, err)
		}
	}
	var last error
	for _, err := range e.store.ReadStream(ctx, s, 0, eventstore.Forwards, 0) {
		last = err
	}
	ended("ReadStream", last)
	last = nil
	for _, err := range e.store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		last = err
	}
	ended("ReadAll", last)
}

func positions(records []eventstore.Record) (out []eventstore.Position) {
	for _, rec := range records {
		out = append(out, rec.Position)
	}
	return out
}

// testLog: the identity survives a restart.
func testLog(t *testing.T, e *env) {
	before, err := e.store.Log(e.ctx)
	if err != nil || before.Epoch < 1 || before.ID == [16]byte{} {
		t.Fatalf("log %+v, %v", before, err)
	}
	e.write(t, e.stream("any"), none, e.event("a"))
	head := e.head(t)
	e.reopen(t)
	after, err := e.store.Log(e.ctx)
	if err != nil || after != before {
		t.Errorf("log %+v after a restart, %v; was %+v", after, err, before)
	}
	if got := e.head(t); got.Before(head) {
		t.Errorf("head went from %s to %s", head, got)
	}
}

func testClose(t *testing.T, e *env) {
	s := e.stream("closed")
	e.fill(t, s, 3)
	sub, err := e.store.Subscribe(e.ctx, e.head(t), e.mine())
	if err != nil {
		t.Fatal(err)
	}
	blocked := make(chan error, 1)
	go func() {
		for {
			if _, err := sub.Next(e.ctx); err != nil {
				blocked <- err
				return
			}
		}
	}()
	if err := e.store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if err := <-blocked; errors.Is(err, context.DeadlineExceeded) {
		t.Error("a waiting subscription did not notice the close")
	}
	if _, err := e.store.Append(e.ctx, s, 2, e.events("a")); err == nil || errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("append to a closed store: %v", err)
	}
	if _, err := e.read(s, 0, eventstore.Forwards, 0); err == nil || errors.Is(err, eventstore.ErrStreamNotFound) {
		t.Errorf("read of a closed store: %v", err)
	}
	if _, err := e.store.Subscribe(e.ctx, eventstore.Start, e.mine()); err == nil {
		t.Error("a closed store can be subscribed to")
	}
	if err := e.store.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
	e.open()
	e.visible(t, s, 0, 1, 2)
}
