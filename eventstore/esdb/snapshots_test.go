package esdb

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// openServed is an adapter and the server behind it.
func openServed(t *testing.T) *Store {
	t.Helper()
	noLeaks(t)
	return open(t, esdbservertest.Insecure(esdbservertest.Start(t, esdbserver.Options{Store: embedded(t, t.TempDir())})))
}

func wantSnapshot(t *testing.T, s *Snapshots, stream string, revision int64, data string) {
	t.Helper()
	r, got, ok, err := s.Load(t.Context(), stream)
	if err != nil || !ok || r != revision || string(got) != data {
		t.Errorf("%s: %d %q %v %v, want %d %q", stream, r, got, ok, err, revision, data)
	}
}

func wantNone(t *testing.T, s *Snapshots, stream string) {
	t.Helper()
	if r, data, ok, err := s.Load(t.Context(), stream); ok || err != nil {
		t.Errorf("%s: snapshot of %d with %d bytes, %v; want none", stream, r, len(data), err)
	}
}

func TestSnapshots(t *testing.T) {
	store := openServed(t)
	s, other := store.Snapshots("acme"), store.Snapshots("")
	save := func(s *Snapshots, stream string, revision int64, data string) {
		t.Helper()
		if err := s.Save(t.Context(), stream, revision, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	drop := func(stream string) {
		t.Helper()
		if err := s.Drop(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	wantNone(t, s, "acme.order-1")
	drop("acme.order-1")
	for i := range 5 {
		save(s, "acme.order-1", int64(i), fmt.Sprint("state ", i))
		wantSnapshot(t, s, "acme.order-1", int64(i), fmt.Sprint("state ", i))
	}
	save(other, "order-1", 99, "of nobody's namespace")
	wantSnapshot(t, s, "acme.order-1", 4, "state 4")
	wantSnapshot(t, store.Snapshots("acme"), "acme.order-1", 4, "state 4")
	// One event is kept, in the stream that the name says.
	var kept []eventstore.Revision
	for rec, err := range store.ReadStream(t.Context(), "acme.snapshot-order-1", 0, eventstore.Forwards, 0) {
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, rec.Revision)
	}
	if len(kept) != 1 || kept[0] != 4 {
		t.Errorf("revisions %v are kept, want 4", kept)
	}
	md, at, err := store.StreamMetadata(t.Context(), "acme.snapshot-order-1")
	if err != nil || md.MaxCount != 1 || at != 0 {
		t.Errorf("metadata %+v at %s, %v: want $maxCount 1, written once", md, at, err)
	}
	// Dropped, by this process or another, and saved again: one event is kept.
	drop("acme.order-1")
	wantNone(t, s, "acme.order-1")
	save(s, "acme.order-1", 7, "seven")
	wantSnapshot(t, s, "acme.order-1", 7, "seven")
	save(s, "acme.order-1", 8, "eight")
	if md, _, err = store.StreamMetadata(t.Context(), "acme.snapshot-order-1"); err != nil || md.MaxCount != 1 {
		t.Errorf("metadata after a drop: %+v, %v", md, err)
	}
	wantSnapshot(t, s, "acme.order-1", 8, "eight")
	// Large ones are refused, not cut.
	if err := s.Save(t.Context(), "acme.order-2", 1, bytes.Repeat([]byte("x"), eventstore.MaxAppendSize)); err == nil {
		t.Error("a snapshot of 1 MiB was saved")
	}
	wantNone(t, s, "acme.order-2")
}

// TestUselessSnapshots: whatever else is in the stream counts as none.
func TestUselessSnapshots(t *testing.T) {
	store := openServed(t)
	s := store.Snapshots("")
	if err := s.Save(t.Context(), "order-1", 3, []byte("three")); err != nil {
		t.Fatal(err)
	}
	var good eventstore.Record
	for rec, err := range store.ReadStream(t.Context(), "snapshot-order-1", eventstore.EndRevision, eventstore.Backwards, 1) {
		if err != nil {
			t.Fatal(err)
		}
		good = rec
	}
	for name, spoil := range map[string]func(*eventstore.Event){
		"another type":     func(e *eventstore.Event) { e.Type = "Other" },
		"other data":       func(e *eventstore.Event) { e.Data = []byte("four") },
		"no metadata":      func(e *eventstore.Event) { e.Metadata = nil },
		"another revision": func(e *eventstore.Event) { e.Metadata = bytes.Replace(e.Metadata, []byte("3"), []byte("4"), 1) },
	} {
		e := good.Event
		e.ID = event().ID
		spoil(&e)
		if _, err := store.Append(t.Context(), "snapshot-order-1", eventstore.Any, []eventstore.Event{e}); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { wantNone(t, s, "order-1") })
	}
	// That of another order, copied whole.
	if _, err := store.Append(t.Context(), "snapshot-order-2", eventstore.Any, []eventstore.Event{good.Event}); err != nil {
		t.Fatal(err)
	}
	wantNone(t, s, "order-2")
	if _, err := store.Tombstone(t.Context(), "snapshot-order-1", eventstore.Any); err != nil {
		t.Fatal(err)
	}
	wantNone(t, s, "order-1")
}

// TestKnownSnapshotsAreBounded: what is remembered of streams does not grow.
func TestKnownSnapshotsAreBounded(t *testing.T) {
	s := openServed(t).Snapshots("")
	for i := range knownSnapshots {
		s.known[fmt.Sprint(i)] = struct{}{}
	}
	if err := s.Save(t.Context(), "order-1", 3, []byte("three")); err != nil || len(s.known) > knownSnapshots {
		t.Errorf("%d streams are remembered, %v", len(s.known), err)
	}
}
