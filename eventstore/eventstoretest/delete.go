package eventstoretest

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// The states of a stream that Delete and Tombstone tell apart. Those with
// events end at revision 1.
func (e *env) inState(t *testing.T, state, stream string) {
	t.Helper()
	switch state {
	case "missing":
		return
	case "metadata only":
		e.setMetadata(t, stream, none, eventstore.StreamMetadata{MaxCount: 9})
		return
	}
	e.write(t, stream, none, e.events("ab")...)
	var err error
	switch state {
	case "soft-deleted":
		_, err = e.store.Delete(e.ctx, stream, 1)
	case "tombstoned":
		_, err = e.store.Tombstone(e.ctx, stream, 1)
	}
	if err != nil {
		t.Fatalf("make %s %s: %v", stream, state, err)
	}
}

func testDeleteMatrix(t *testing.T, e *env) {
	type answer int
	const (
		ok answer = iota
		wrong
		deleted
	)
	for _, c := range []struct {
		state           string
		expected        eventstore.Expected
		soft, tombstone answer
	}{
		{"missing", anyRev, wrong, ok},
		{"missing", none, wrong, ok},
		{"missing", exists, wrong, wrong},
		{"missing", 1, wrong, wrong},
		{"metadata only", anyRev, ok, ok},
		{"metadata only", none, ok, ok},
		{"metadata only", exists, ok, ok},
		{"metadata only", 1, wrong, wrong},
		{"live", anyRev, ok, ok},
		{"live", exists, ok, ok},
		{"live", 1, ok, ok},
		{"live", 0, wrong, wrong},
		{"live", 2, wrong, wrong},
		{"live", none, wrong, wrong},
		{"soft-deleted", anyRev, ok, ok},
		{"soft-deleted", none, ok, ok},
		{"soft-deleted", 1, ok, ok},
		{"soft-deleted", exists, deleted, deleted},
		{"soft-deleted", 0, wrong, wrong},
		{"tombstoned", anyRev, deleted, deleted},
		{"tombstoned", none, deleted, deleted},
		{"tombstoned", exists, deleted, deleted},
		{"tombstoned", 1, deleted, deleted},
	} {
		check := func(kind string, want answer, after error, end func(s string) (eventstore.Position, error)) {
			t.Run(kind+" "+c.state+" "+c.expected.String(), func(t *testing.T) {
				s := e.stream("end " + t.Name())
				e.inState(t, c.state, s)
				before := e.head(t)
				pos, err := end(s)
				switch want {
				case ok:
					if err != nil || !before.Before(pos) {
						t.Fatalf("position %s, %v; want one after %s", pos, err, before)
					}
					e.unreadable(t, s, after)
				case wrong:
					current := eventstore.NoStream
					if c.state == "live" || c.state == "soft-deleted" {
						current = 1
					}
					wantConflict(t, kind, err, current)
				case deleted:
					if !errors.Is(err, eventstore.ErrDeleted) {
						t.Errorf("%v, want %v", err, eventstore.ErrDeleted)
					}
				}
			})
		}
		check("soft", c.soft, eventstore.ErrStreamNotFound, func(s string) (eventstore.Position, error) {
			return e.store.Delete(e.ctx, s, c.expected)
		})
		check("tombstone", c.tombstone, eventstore.ErrDeleted, func(s string) (eventstore.Position, error) {
			return e.store.Tombstone(e.ctx, s, c.expected)
		})
	}
}

// testRecreate: a soft-deleted stream is written again, its numbers go on.
func testRecreate(t *testing.T, e *env) {
	for _, expected := range []eventstore.Expected{anyRev, none, 1} {
		t.Run(expected.String(), func(t *testing.T) {
			s := e.stream("again " + expected.String())
			e.inState(t, "soft-deleted", s)
			e.unreadable(t, s, eventstore.ErrStreamNotFound)
			out, again, err := e.append(s, expected, e.events("cde"))
			if again && expected == none && errors.Is(err, eventstore.ErrConflict) {
				// It was written and the answer lost: a repeat is compared with
				// the stream's first events, which are others.
				wantConflict(t, "repeat", err, 4)
			} else if err != nil || out.Revision != 4 {
				t.Errorf("revision %d, %v; want 4", out.Revision, err)
			}
			e.visible(t, s, 2, 3, 4)
			md, revision, err := e.store.StreamMetadata(e.ctx, s)
			if err != nil || md.TruncateBefore != 2 || revision != 1 {
				t.Errorf("metadata %+v at %s, %v; want events below 2 hidden, at 1", md, revision, err)
			}
			_, _, err = e.append(s, none, e.events("z"))
			wantConflict(t, "a second new beginning", err, 4)
			e.reopen(t)
			e.visible(t, s, 2, 3, 4)
		})
	}
	t.Run("refused", func(t *testing.T) {
		s := e.stream("again refused")
		e.inState(t, "soft-deleted", s)
		if _, _, err := e.append(s, exists, e.events("c")); !errors.Is(err, eventstore.ErrDeleted) {
			t.Errorf("append to an existing stream: %v, want %v", err, eventstore.ErrDeleted)
		}
		_, _, err := e.append(s, 0, e.events("c"))
		wantConflict(t, "append at 0", err, 1)
		for _, expected := range []eventstore.Expected{none, anyRev} {
			out := e.write(t, s, expected, e.events("ab")...)
			if out.Revision != 1 || out.Repeated != e.repeated(true) || out.Position != eventstore.Start {
				t.Errorf("repeat of the deleted events expecting %s: %+v, want revision 1 without position", expected, out)
			}
			e.unreadable(t, s, eventstore.ErrStreamNotFound)
		}
		e.last(t, s, 1)
		e.unreadable(t, s, eventstore.ErrStreamNotFound)
	})
}

func testRecreateKeepsMetadata(t *testing.T, e *env) {
	s := e.stream("kept metadata")
	e.write(t, s, none, e.events("ab")...)
	e.setMetadata(t, s, none, eventstore.StreamMetadata{
		MaxCount: 100, TruncateBefore: eventstore.EndRevision,
		Custom: map[string]any{"k": 1, "$acl": map[string]any{"$r": "everyone"}},
	})
	e.unreadable(t, s, eventstore.ErrStreamNotFound)
	e.write(t, s, 1, e.events("cde")...)
	e.visible(t, s, 2, 3, 4)
	md, _, err := e.store.StreamMetadata(e.ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	sameMetadata(t, md, eventstore.StreamMetadata{
		MaxCount: 100, TruncateBefore: 2,
		Custom: map[string]any{"k": 1, "$acl": map[string]any{"$r": "everyone"}},
	})
}

func testTombstone(t *testing.T, e *env) {
	s := e.stream("ended")
	e.inState(t, "soft-deleted", s)
	if _, err := e.store.Tombstone(e.ctx, s, 1); err != nil {
		t.Fatalf("tombstone a soft-deleted stream: %v", err)
	}
	check := func() {
		t.Helper()
		e.unreadable(t, s, eventstore.ErrDeleted)
		for _, expected := range []eventstore.Expected{anyRev, none, exists, 1} {
			if _, _, err := e.append(s, expected, e.events("ab")); !errors.Is(err, eventstore.ErrDeleted) {
				t.Errorf("append expecting %s: %v, want %v", expected, err, eventstore.ErrDeleted)
			}
		}
		if _, _, err := e.store.StreamMetadata(e.ctx, s); !errors.Is(err, eventstore.ErrDeleted) {
			t.Errorf("metadata: %v, want %v", err, eventstore.ErrDeleted)
		}
	}
	check()
	e.reopen(t)
	check()
}

func testMetadata(t *testing.T, e *env) {
	s := e.stream("described")
	md, revision, err := e.store.StreamMetadata(e.ctx, s)
	if err != nil || revision != none {
		t.Fatalf("metadata of nothing is at %s, %v", revision, err)
	}
	sameMetadata(t, md, eventstore.StreamMetadata{})
	want := eventstore.StreamMetadata{
		MaxCount: 7, MaxAge: 90 * time.Second, TruncateBefore: 3,
		Custom: map[string]any{"owner": "sales", "list": []any{1, "two", nil}, "big": json.Number("9007199254740993")},
	}
	if out := e.setMetadata(t, s, none, want); out.Revision != 0 {
		t.Errorf("first metadata is revision %d", out.Revision)
	}
	e.unreadable(t, s, eventstore.ErrStreamNotFound)
	md, revision, err = e.store.StreamMetadata(e.ctx, s)
	if err != nil || revision != 0 {
		t.Fatalf("metadata is at %s, %v; want 0", revision, err)
	}
	sameMetadata(t, md, want)
	err = eventstore.ErrOutcomeUnknown
	for errors.Is(err, eventstore.ErrOutcomeUnknown) && e.ctx.Err() == nil {
		_, err = e.store.SetStreamMetadata(e.ctx, s, none, eventstore.StreamMetadata{MaxCount: 1})
	}
	wantConflict(t, "metadata on top of metadata", err, 0)
	e.setMetadata(t, s, 0, eventstore.StreamMetadata{MaxCount: 2})
	e.setMetadata(t, s, anyRev, eventstore.StreamMetadata{MaxCount: 3})
	e.setMetadata(t, s, anyRev, eventstore.StreamMetadata{MaxCount: 2})
	e.reopen(t)
	md, revision, err = e.store.StreamMetadata(e.ctx, s)
	if err != nil || revision != 3 {
		t.Fatalf("metadata is at %s, %v; want 3", revision, err)
	}
	sameMetadata(t, md, eventstore.StreamMetadata{MaxCount: 2})
	e.visible(t, "$$"+s, 3)
}

// testMetadataUndeletes: metadata set on a soft-deleted stream opens it again.
func testMetadataUndeletes(t *testing.T, e *env) {
	s := e.stream("opened")
	e.inState(t, "soft-deleted", s)
	e.setMetadata(t, s, 0, eventstore.StreamMetadata{MaxCount: 5})
	md, revision, err := e.store.StreamMetadata(e.ctx, s)
	if err != nil || revision != 2 {
		t.Errorf("metadata is at %s, %v; want 2", revision, err)
	}
	sameMetadata(t, md, eventstore.StreamMetadata{MaxCount: 5, TruncateBefore: 2})
	e.visible(t, s)
	e.write(t, s, exists, e.events("c")...)
	e.visible(t, s, 2)

	s = e.stream("opened without events")
	e.setMetadata(t, s, none, eventstore.StreamMetadata{TruncateBefore: eventstore.EndRevision})
	e.setMetadata(t, s, 0, eventstore.StreamMetadata{MaxCount: 5})
	md, _, err = e.store.StreamMetadata(e.ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	sameMetadata(t, md, eventstore.StreamMetadata{MaxCount: 5})
	e.unreadable(t, s, eventstore.ErrStreamNotFound)

	// What the metadata says does not matter: only Delete deletes once more.
	s = e.stream("opened by what would delete")
	e.inState(t, "soft-deleted", s)
	e.setMetadata(t, s, 0, eventstore.StreamMetadata{MaxCount: 5, TruncateBefore: eventstore.EndRevision})
	md, revision, err = e.store.StreamMetadata(e.ctx, s)
	if err != nil || revision != 2 {
		t.Errorf("metadata is at %s, %v; want 2", revision, err)
	}
	sameMetadata(t, md, eventstore.StreamMetadata{MaxCount: 5, TruncateBefore: 2})
	e.visible(t, s)

	s = e.stream("opened by bytes")
	e.inState(t, "soft-deleted", s)
	raw := e.event("raw")
	raw.Type, raw.JSON, raw.Data = eventstore.TypeMetadata, false, []byte("not JSON")
	e.write(t, "$$"+s, 0, raw)
	e.visible(t, s, 0, 1)

	s = e.stream("opened by a wrong type")
	e.inState(t, "soft-deleted", s)
	raw.JSON, raw.Data = true, []byte(`{"$maxCount":"one"}`)
	e.write(t, "$$"+s, 0, raw)
	e.visible(t, s, 0, 1)
}

func testMetadataHides(t *testing.T, e *env) {
	s := e.stream("hidden")
	e.fill(t, s, 10)
	e.setMetadata(t, s, none, eventstore.StreamMetadata{TruncateBefore: 8})
	e.visible(t, s, 8, 9)
	one, err := e.read(s, 0, eventstore.Forwards, 1)
	if err != nil || len(one) != 1 || one[0].Revision != 8 {
		t.Errorf("one event from the start: %v, %v; want revision 8", revisions(one), err)
	}
	e.setMetadata(t, s, 0, eventstore.StreamMetadata{MaxCount: 3})
	e.visible(t, s, 7, 8, 9)
	e.write(t, s, 9, e.events("z")...)
	e.visible(t, s, 8, 9, 10)
	e.setMetadata(t, s, 1, eventstore.StreamMetadata{MaxCount: 3, TruncateBefore: 10})
	e.visible(t, s, 10)
	e.setMetadata(t, s, 2, eventstore.StreamMetadata{TruncateBefore: 11})
	e.visible(t, s)
	e.write(t, s, exists, e.events("y")...)
	e.visible(t, s, 11)
	e.setMetadata(t, s, 3, eventstore.StreamMetadata{})
	e.visible(t, s, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
}

func testMetadataMaxAge(t *testing.T, e *env) {
	s := e.stream("ageing")
	e.write(t, s, none, e.events("a")...)
	e.setMetadata(t, s, none, eventstore.StreamMetadata{MaxAge: time.Second})
	eventually(t, e.ctx, "the event is too old", func() bool {
		got, err := e.read(s, 0, eventstore.Forwards, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(got) == 0
	})
	e.last(t, s, 0)
	e.setMetadata(t, s, 0, eventstore.StreamMetadata{MaxAge: time.Hour})
	e.visible(t, s, 0)
}

// sameMetadata compares as JSON: the kinds of numbers may differ.
func sameMetadata(t *testing.T, got, want eventstore.StreamMetadata) {
	t.Helper()
	plain := func(md eventstore.StreamMetadata) any {
		text, err := json.Marshal(md.Custom)
		if err != nil {
			t.Fatal(err)
		}
		md.Custom = nil
		return [2]any{md, string(text)}
	}
	if len(got.Custom) == 0 && len(want.Custom) == 0 {
		got.Custom, want.Custom = nil, nil
	}
	if !reflect.DeepEqual(plain(got), plain(want)) {
		t.Errorf("metadata is %+v, want %+v", got, want)
	}
}
