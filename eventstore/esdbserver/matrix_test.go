package esdbserver_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

const (
	anyState = eventstore.Any
	none     = eventstore.NoStream
	exists   = eventstore.StreamExists
)

// step is an append that is there before: letters are ids.
type step struct {
	expected eventstore.Expected
	letters  string
}

func eachAlone(letters string) (steps []step) {
	for _, letter := range letters {
		steps = append(steps, step{anyState, string(letter)})
	}
	return steps
}

func TestIdempotency(t *testing.T) {
	abcdef, ab := eachAlone("abcdef"), []step{{none, "ab"}}
	truncated := func(md eventstore.StreamMetadata) func(*testing.T, eventstore.Store, string) {
		return func(t *testing.T, store eventstore.Store, stream string) { setMetadata(t, store, stream, md) }
	}
	store, conn := served(t)
	for _, c := range []struct {
		row      int
		before   []step
		prepare  func(t *testing.T, store eventstore.Store, stream string)
		expected eventstore.Expected
		letters  string
		want     outcome
		written  int
	}{
		{row: 1, expected: anyState, letters: "a", want: "ok 0", written: 1},
		{row: 1, expected: none, letters: "a", want: "ok 0", written: 1},
		{row: 2, expected: exists, letters: "a", want: "wev none"},
		{row: 2, expected: 0, letters: "a", want: "wev none"},
		{row: 2, expected: 5, letters: "a", want: "wev none"},
		{row: 3, expected: anyState, want: "ok none, no position"},
		{row: 3, expected: none, want: "ok none, no position"},
		{row: 4, expected: exists, want: "wev none"},
		{row: 4, expected: 2, want: "wev none"},
		{row: 5, before: eachAlone("a"), expected: anyState, want: "ok 0, no position"},
		{row: 5, before: eachAlone("a"), expected: exists, want: "ok 0, no position"},
		{row: 5, before: eachAlone("a"), expected: 0, want: "ok 0, no position"},
		{row: 6, before: eachAlone("a"), expected: none, want: "wev 0"},
		{row: 7, before: eachAlone("a"), expected: none, letters: "a", want: "ok 0"},
		{row: 8, before: eachAlone("a"), expected: anyState, letters: "a", want: "ok 0"},
		{row: 9, before: eachAlone("a"), expected: exists, letters: "a", want: "ok 0"},
		{row: 10, before: eachAlone("a"), expected: 0, letters: "a", want: "ok 1", written: 1},
		{row: 11, before: eachAlone("a"), expected: none, letters: "b", want: "wev 0"},
		{row: 12, before: abcdef, expected: none, letters: "a", want: "ok 0"},
		{row: 13, before: abcdef, expected: anyState, letters: "a", want: "ok 0"},
		{row: 14, before: abcdef, expected: 5, letters: "a", want: "ok 6", written: 1},
		{row: 15, before: abcdef, expected: 6, letters: "a", want: "wev 5"},
		{row: 16, before: abcdef, expected: 4, letters: "a", want: "wev 5"},
		{row: 17, before: append(eachAlone("abc"), step{anyState, "b"}), expected: anyState, letters: "b", want: "ok 1"},
		{row: 18, before: ab, expected: none, letters: "a", want: "ok 0"},
		{row: 19, before: ab, expected: anyState, letters: "a", want: "ok 0"},
		{row: 20, before: ab, expected: 0, letters: "b", want: "ok 1"},
		{row: 21, before: ab, expected: anyState, letters: "b", want: "ok 1"},
		{row: 22, before: ab, expected: none, letters: "abc", want: "wev 1"},
		{row: 23, before: ab, expected: anyState, letters: "abc", want: "wev 1"},
		{row: 24, before: ab, expected: anyState, letters: "ca", want: "ok 3", written: 2},
		{row: 25, before: ab, expected: anyState, letters: "ba", want: "ok 0"},
		{row: 26, before: ab, expected: 0, letters: "bc", want: "wev 1"},
		{row: 27, before: []step{{anyState, "abcd"}}, expected: anyState, letters: "abcd", want: "ok 3"},
		{row: 28, expected: anyState, letters: "xxxxxx", want: "ok 5", written: 6},
		{row: 29, before: []step{{anyState, "xxxxxx"}}, expected: anyState, letters: "xxxxxx", want: "ok 0"},
		{row: 30, before: []step{{none, "xxxxxx"}}, expected: none, letters: "xxxxxx", want: "ok 5"},
		{row: 31, prepare: func(t *testing.T, store eventstore.Store, stream string) {
			appendDirectly(t, store, stream+"-other", anyState, "a")
		}, expected: anyState, letters: "a", want: "ok 0", written: 1},
		{row: 33, before: ab, prepare: truncated(eventstore.StreamMetadata{TruncateBefore: 2}), expected: none, letters: "ab", want: "ok 1, no position"},
		{row: 34, before: ab, prepare: truncated(eventstore.StreamMetadata{MaxCount: 1}), expected: 1, letters: "c", want: "ok 2", written: 1},
		{row: 35, before: eachAlone("a"), prepare: tombstone, expected: none, letters: "a", want: "deleted"},
		{row: 35, before: eachAlone("a"), prepare: tombstone, expected: anyState, letters: "a", want: "deleted"},
		{row: 35, before: eachAlone("a"), prepare: tombstone, expected: 0, letters: "a", want: "deleted"},
		{row: 36, prepare: truncated(eventstore.StreamMetadata{MaxCount: 9}), expected: exists, letters: "a", want: "ok 0", written: 1},
		{row: 37, prepare: truncated(eventstore.StreamMetadata{MaxCount: 9}), expected: none, letters: "a", want: "ok 0", written: 1},
		{row: 37, prepare: truncated(eventstore.StreamMetadata{MaxCount: 9}), expected: anyState, letters: "a", want: "ok 0", written: 1},

		// Of the table of deletes, what is an append.
		{row: 102, before: ab, prepare: softDelete, expected: anyState, letters: "cde", want: "ok 4", written: 4},
		{row: 102, before: ab, prepare: softDelete, expected: none, letters: "cde", want: "ok 4", written: 4},
		{row: 102, before: ab, prepare: softDelete, expected: 1, letters: "cde", want: "ok 4", written: 4},
		{row: 103, before: ab, prepare: softDelete, expected: exists, letters: "c", want: "deleted"},
		{row: 104, before: ab, prepare: softDelete, expected: 0, letters: "c", want: "wev 1"},
		{row: 105, before: ab, prepare: softDelete, expected: none, letters: "ab", want: "ok 1, no position"},
		{row: 106, before: ab, prepare: softDelete, expected: anyState, letters: "ab", want: "ok 1, no position"},
		{row: 107, before: ab, prepare: func(t *testing.T, store eventstore.Store, stream string) {
			softDelete(t, store, stream)
			appendDirectly(t, store, stream, 1, "cde")
		}, expected: none, letters: "z", want: "wev 4"},
	} {
		for way, appendAs := range map[string]appender{"Append": unaryAppend, "BatchAppend": batchAppend} {
			t.Run(fmt.Sprintf("%d/%v/%s/%s", c.row, c.expected, c.letters, way), func(t *testing.T) {
				stream := "s-" + uuid.NewString()
				for _, s := range c.before {
					appendDirectly(t, store, stream, s.expected, s.letters)
				}
				if c.prepare != nil {
					c.prepare(t, store, stream)
				}
				before := events(t, store)
				if got := appendAs(t, conn, stream, c.expected, c.letters); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if got := events(t, store) - before; got != c.written {
					t.Errorf("%d events were written, want %d", got, c.written)
				}
			})
		}
	}
}

// Row 32: what recognises repeats under Any lives as long as the process.
func TestIdempotencyAfterARestart(t *testing.T) {
	dir := t.TempDir()
	open := func() *sqlite.Store {
		store, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	store := open()
	server := esdbservertest.Run(t, esdbserver.Options{Store: store})
	for _, appendAs := range []appender{unaryAppend, batchAppend} {
		stream := uuid.NewString()
		conn := dial(t, server.Address)
		if got := appendAs(t, conn, stream, anyState, "a"); got != "ok 0" {
			t.Fatal(got)
		}
		server.Stop()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		store = open()
		server.Options.Store = store
		server.Start()
		conn = dial(t, server.Address)
		for _, c := range []struct {
			expected eventstore.Expected
			want     outcome
		}{{none, "ok 0"}, {anyState, "ok 1"}} {
			if got := appendAs(t, conn, stream, c.expected, "a"); got != c.want {
				t.Errorf("after a restart, %v: %q, want %q", c.expected, got, c.want)
			}
		}
	}
	server.Stop()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

func appendDirectly(t testing.TB, store eventstore.Store, stream string, expected eventstore.Expected, letters string) {
	t.Helper()
	var batch []eventstore.Event
	for _, letter := range letters {
		batch = append(batch, eventstore.Event{ID: named(letter), Type: "Something", JSON: true, Data: []byte(`{}`)})
	}
	if _, err := store.Append(t.Context(), stream, expected, batch); err != nil {
		t.Fatal(err)
	}
}

func setMetadata(t testing.TB, store eventstore.Store, stream string, md eventstore.StreamMetadata) {
	t.Helper()
	if _, err := store.SetStreamMetadata(t.Context(), stream, anyState, md); err != nil {
		t.Fatal(err)
	}
}

func softDelete(t *testing.T, store eventstore.Store, stream string) {
	t.Helper()
	if _, err := store.Delete(t.Context(), stream, anyState); err != nil {
		t.Fatal(err)
	}
}

func tombstone(t *testing.T, store eventstore.Store, stream string) {
	t.Helper()
	if _, err := store.Tombstone(t.Context(), stream, anyState); err != nil {
		t.Fatal(err)
	}
}

// events is how many there are in the log.
func events(t *testing.T, store eventstore.Store) (n int) {
	t.Helper()
	for _, err := range store.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// visible are the revisions that can be read, "not found" or "deleted".
func visible(t *testing.T, store eventstore.Store, stream string) string {
	t.Helper()
	revisions := []eventstore.Revision{}
	for record, err := range store.ReadStream(t.Context(), stream, 0, eventstore.Forwards, 0) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound):
			return "not found"
		case errors.Is(err, eventstore.ErrDeleted):
			return "deleted"
		case err != nil:
			t.Fatal(err)
		}
		revisions = append(revisions, record.Revision)
	}
	return fmt.Sprint(revisions)
}
