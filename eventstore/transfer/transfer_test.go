package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/eventstoretest"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/eventstore/transfer"
)

func openSQLite(t testing.TB, dir string) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(context.Background(), dir, sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// exported is the file of a store.
func exported(t testing.TB, store eventstore.Store, o transfer.ExportOptions) (string, transfer.Exported) {
	t.Helper()
	var out bytes.Buffer
	e, err := transfer.Export(context.Background(), store, &out, o)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), e
}

func opened(t testing.TB, text string) *transfer.File {
	t.Helper()
	f, err := transfer.Open(context.Background(), strings.NewReader(text), transfer.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func imported(t testing.TB, text string, into eventstore.Store) transfer.Imported {
	t.Helper()
	done, err := opened(t, text).Import(context.Background(), into, transfer.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// carried is what a store has of what is carried: everything but positions and
// the store's own clock.
func carried(t testing.TB, store eventstore.Store) (all []string) {
	t.Helper()
	for r, err := range store.ReadAll(context.Background(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if transfer.Carries(r.Stream) {
			all = append(all, fmt.Sprintf("%s@%d %s %s %t %q %q", r.Stream, r.Revision, r.ID, r.Type, r.JSON, r.Data, r.Metadata))
		}
	}
	return all
}

func wantSame(t testing.TB, want, got []string) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%d events, want %d", len(got), len(want))
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Fatalf("event %d is\n%.600s\nwant\n%.600s", i, got[i], want[i])
		}
	}
}

// append appends until it is known that it happened.
func write(t testing.TB, store eventstore.Store, stream string, expected eventstore.Expected, events ...eventstore.Event) {
	t.Helper()
	for range 100 {
		_, err := store.Append(context.Background(), stream, expected, events)
		if err == nil {
			return
		}
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
	}
	t.Fatal("an append never happens")
}

func event(typ, data, metadata string) eventstore.Event {
	return eventstore.Event{ID: uuid.New(), Type: typ, JSON: true, Data: []byte(data), Metadata: []byte(metadata)}
}

// awkward are data and metadata that a careless program changes.
var awkward = []string{
	``, ` `, `{}`, ` {"a":1} `, `{"a": 1}`, `{"b":1,"a":2,"b":3}`, "{\"a\":\n1}", "{\"a\":\r1}", "{\"a\":\"x\ty\"}",
	`{"n":1.10,"big":123456789012345678901234567890,"e":1E+2,"minus":-0}`, `"text"`, `12`, `null`, `true`, `[1, 2]`,
	`{"u":"\u00e9 é \ud83d\ude00 \/ <>&"}`, `{"broken":"` + "\xff\xfe" + `"}`, `{"unpaired":"\ud800"}`, `{`, "\x00\x01", `{"end":true}`, "{}\n",
	`{"sep":"` + "\u2028" + `"}`, strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000), strings.Repeat(" ", 300_000),
}

// fill writes events of many shapes, in several streams that take turns.
func fill(t testing.TB, store eventstore.Store, rng *rand.Rand) {
	streams := []string{"order-1", "order-2", "acme.order-1", "refusal-1", "projection-orders", "no category", `quote"and\slash-ü`, "x"}
	next := map[string]eventstore.Expected{}
	for _, s := range streams {
		next[s] = eventstore.NoStream
	}
	for i := range len(awkward) * 4 {
		s := streams[rng.IntN(len(streams))]
		var batch []eventstore.Event
		for range 1 + rng.IntN(4) {
			e := event(fmt.Sprintf("Type %d \"ü", rng.IntN(5)), awkward[(i+len(batch))%len(awkward)], awkward[rng.IntN(len(awkward)-2)])
			e.JSON = rng.IntN(4) > 0
			batch = append(batch, e)
		}
		write(t, store, s, next[s], batch...)
		next[s] += eventstore.Expected(len(batch))
	}
	for _, s := range []string{"$system", "snapshot-order-1", "acme.snapshot-order-1", transfer.LogStream} {
		write(t, store, s, eventstore.NoStream, event("Kept", `{}`, ``))
	}
	if _, err := store.SetStreamMetadata(context.Background(), "order-1", eventstore.NoStream, eventstore.StreamMetadata{MaxCount: 1 << 20}); err != nil && !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
}

// TestEverythingArrives, to the byte and in order, from store to store and back,
// however inconvenient the store; what belongs to the store stays.
func TestEverythingArrives(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 7))
		source, far, back := openSQLite(t, t.TempDir()), eventstoretest.NewReference(seed), openSQLite(t, t.TempDir())
		fill(t, source, rng)
		want := carried(t, source)
		text, e := exported(t, source, transfer.ExportOptions{})
		if int(e.Events) != len(want) || e.Bytes != int64(len(text)) || e.Streams != 8 {
			t.Errorf("exported %+v of %d events, %d bytes", e, len(want), len(text))
		}
		done := imported(t, text, far)
		if done.Written != e.Events || done.There != 0 || done.Log == e.Log || done.Streams != e.Streams {
			t.Errorf("imported %+v of %+v", done, e)
		}
		wantSame(t, want, carried(t, far))

		again, _ := exported(t, far, transfer.ExportOptions{})
		imported(t, again, back)
		wantSame(t, want, carried(t, back))
		for _, s := range []string{"$system", "snapshot-order-1", "acme.snapshot-order-1", transfer.LogStream, "$$order-1"} {
			for _, err := range back.ReadStream(context.Background(), s, 0, eventstore.Forwards, 1) {
				if !errors.Is(err, eventstore.ErrStreamNotFound) {
					t.Errorf("%s was carried: %v", s, err)
				}
			}
		}
		// Once more writes nothing.
		if done := imported(t, again, back); done.Written != 0 || done.There != e.Events {
			t.Errorf("imported again: %+v", done)
		}
	}
}

// TestAnEmptyLog is carried too.
func TestAnEmptyLog(t *testing.T) {
	text, e := exported(t, openSQLite(t, t.TempDir()), transfer.ExportOptions{})
	if e.Events != 0 || e.Streams != 0 || strings.Count(text, "\n") != 2 {
		t.Errorf("%+v:\n%s", e, text)
	}
	if done := imported(t, text, openSQLite(t, t.TempDir())); done.Written != 0 {
		t.Errorf("%+v", done)
	}
}

// TestExportBesideAWriter: the export is the log as it was at the call.
func TestExportBesideAWriter(t *testing.T) {
	dir := t.TempDir()
	writing := openSQLite(t, dir)
	for i := range 5000 {
		write(t, writing, fmt.Sprintf("order-%d", i%50), eventstore.Expected(i/50-1), event("A", `{}`, ``))
	}
	store, err := sqlite.OpenReadOnly(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	i := 5000
	grow := func(string, int64, int64) {
		write(t, writing, fmt.Sprintf("order-%d", i%50), eventstore.Expected(i/50-1), event("A", `{}`, ``))
		i++
	}
	if _, e := exported(t, store, transfer.ExportOptions{Progress: grow}); e.Events != 5000 || i == 5000 {
		t.Errorf("%+v, while %d were written", e, i-5000)
	}
}

// TestRefusedStreams are named, all of them, and nothing is written; left out by
// name the rest goes.
func TestRefusedStreams(t *testing.T) {
	ctx := context.Background()
	for name, store := range map[string]eventstore.Store{"sqlite": openSQLite(t, t.TempDir()), "reference": eventstoretest.NewReference(3)} {
		t.Run(name, func(t *testing.T) {
			for _, s := range []string{"deleted", "opened", "ended", "capped", "cut", "old", "kept", "all"} {
				write(t, store, "order-"+s, eventstore.NoStream, event("A", `1`, ``), event("B", `2`, ``))
			}
			govern := func(s string, md eventstore.StreamMetadata) {
				for {
					_, err := store.SetStreamMetadata(ctx, "order-"+s, eventstore.Any, md)
					if err == nil {
						return
					}
					if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
						t.Fatal(err)
					}
				}
			}
			for _, s := range []string{"deleted", "opened"} {
				if _, err := store.Delete(ctx, "order-"+s, eventstore.At(1)); err != nil {
					t.Fatal(err)
				}
			}
			write(t, store, "order-opened", eventstore.At(1), event("C", `3`, ``))
			if _, err := store.Tombstone(ctx, "order-ended", eventstore.At(1)); err != nil {
				t.Fatal(err)
			}
			govern("capped", eventstore.StreamMetadata{MaxCount: 1})
			govern("cut", eventstore.StreamMetadata{TruncateBefore: 1})
			govern("all", eventstore.StreamMetadata{TruncateBefore: 2})
			govern("kept", eventstore.StreamMetadata{MaxCount: 2})

			var out bytes.Buffer
			_, err := transfer.Export(ctx, store, &out, transfer.ExportOptions{})
			var refused *transfer.RefusedError
			if !errors.As(err, &refused) || out.Len() > 0 {
				t.Fatalf("%v, %d bytes written", err, out.Len())
			}
			var names []string
			for _, s := range refused.Streams {
				names = append(names, s.Stream)
				if !strings.Contains(err.Error(), s.Stream+": "+s.Reason) {
					t.Errorf("%s is not named: %v", s.Stream, err)
				}
			}
			want := []string{"order-all", "order-capped", "order-cut", "order-deleted", "order-ended", "order-opened"}
			if !slices.Equal(names, want) {
				t.Errorf("refused %v, want %v", refused.Streams, want)
			}

			text, e := exported(t, store, transfer.ExportOptions{Without: append(want[2:], "order-a*", "order-cap*")})
			if e.Streams != 2 || !strings.Contains(text, "order-kept") || !strings.Contains(text, `"without":["order-cut"`) {
				t.Errorf("%+v:\n%s", e, text)
			}
			if _, err := transfer.Export(ctx, store, &out, transfer.ExportOptions{Without: append(want, "order-kepd")}); err == nil || !strings.Contains(err.Error(), "order-kepd") {
				t.Errorf("a name of nothing: %v", err)
			}
		})
	}
}

// TestManyRefusedStreams: the list has an end.
func TestManyRefusedStreams(t *testing.T) {
	store := openSQLite(t, t.TempDir())
	for i := range 130 {
		s := fmt.Sprintf("order-%d", i)
		write(t, store, s, eventstore.NoStream, event("A", `1`, ``))
		if _, err := store.Delete(context.Background(), s, eventstore.At(0)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := transfer.Export(context.Background(), store, &bytes.Buffer{}, transfer.ExportOptions{})
	var refused *transfer.RefusedError
	if !errors.As(err, &refused) || len(refused.Streams) != 100 || refused.More != 30 || !strings.HasPrefix(err.Error(), "130 streams") {
		t.Errorf("%v", err)
	}
}

// TestOneNamespace is exported by itself.
func TestOneNamespace(t *testing.T) {
	store := openSQLite(t, t.TempDir())
	for _, s := range []string{"order-1", "acme.order-1", "acme.refusal-1", "acmeorder-1", "other.order-1"} {
		write(t, store, s, eventstore.NoStream, event("A", `1`, ``))
	}
	into := openSQLite(t, t.TempDir())
	write(t, into, "order-1", eventstore.NoStream, event("Another", `1`, ``))
	text, _ := exported(t, store, transfer.ExportOptions{Namespace: "acme"})
	if f := opened(t, text); f.Namespace != "acme" || f.Events != 2 {
		t.Errorf("%+v", f)
	}
	imported(t, text, into)
	if got := carried(t, into); len(got) != 3 || !strings.HasPrefix(got[1], "acme.order-1@0") || !strings.HasPrefix(got[2], "acme.refusal-1@0") {
		t.Errorf("%v", got)
	}
}

// TestTargetsThatDiffer are refused, and the stream is named.
func TestTargetsThatDiffer(t *testing.T) {
	source := openSQLite(t, t.TempDir())
	a, b := event("A", `{"n":1}`, `{}`), event("B", `{"n":2}`, ``)
	write(t, source, "order-1", eventstore.NoStream, a)
	write(t, source, "order-2", eventstore.NoStream, b)
	text, _ := exported(t, source, transfer.ExportOptions{})
	other := func(change func(*eventstore.Event)) eventstore.Event {
		e := a
		change(&e)
		return e
	}
	for name, make := range map[string]struct {
		stream string
		do     func(t *testing.T, into *sqlite.Store)
	}{
		"another event": {"order-1", func(t *testing.T, s *sqlite.Store) { write(t, s, "order-1", -1, event("A", `{"n":1}`, `{}`)) }},
		"another type": {"order-1", func(t *testing.T, s *sqlite.Store) {
			write(t, s, "order-1", -1, other(func(e *eventstore.Event) { e.Type = "B" }))
		}},
		"other data": {"order-1", func(t *testing.T, s *sqlite.Store) {
			write(t, s, "order-1", -1, other(func(e *eventstore.Event) { e.Data = []byte(`{"n": 1}`) }))
		}},
		"other metadata": {"order-1", func(t *testing.T, s *sqlite.Store) {
			write(t, s, "order-1", -1, other(func(e *eventstore.Event) { e.Metadata = nil }))
		}},
		"not marked as JSON": {"order-1", func(t *testing.T, s *sqlite.Store) {
			write(t, s, "order-1", -1, other(func(e *eventstore.Event) { e.JSON = false }))
		}},
		"more events":    {"order-1", func(t *testing.T, s *sqlite.Store) { write(t, s, "order-1", -1, a, b) }},
		"another order":  {"order-2", func(t *testing.T, s *sqlite.Store) { write(t, s, "order-2", -1, b) }},
		"another stream": {"order-3", func(t *testing.T, s *sqlite.Store) { write(t, s, "order-3", -1, b) }},
		"it went on": {"order-2", func(t *testing.T, s *sqlite.Store) {
			imported(t, text, s)
			write(t, s, "order-2", 0, event("C", `3`, ``))
		}},
		"deleted": {"order-2", func(t *testing.T, s *sqlite.Store) {
			write(t, s, "order-2", -1, b)
			if _, err := s.Delete(t.Context(), "order-2", 0); err != nil {
				t.Fatal(err)
			}
		}},
		"ended": {"order-2", func(t *testing.T, s *sqlite.Store) {
			if _, err := s.Tombstone(t.Context(), "order-2", -1); err != nil {
				t.Fatal(err)
			}
		}},
		"hidden by its metadata": {"order-1", func(t *testing.T, s *sqlite.Store) {
			if _, err := s.SetStreamMetadata(t.Context(), "order-1", -1, eventstore.StreamMetadata{MaxCount: 1}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			into := openSQLite(t, t.TempDir())
			make.do(t, into)
			head, err := into.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = opened(t, text).Import(t.Context(), into, transfer.ImportOptions{})
			var differs *transfer.DifferentError
			if !errors.As(err, &differs) || !errors.Is(err, transfer.ErrDifferent) || differs.Stream != make.stream {
				t.Fatalf("%v, want %s named", err, make.stream)
			}
			if after, _ := into.Head(t.Context()); after != head {
				t.Errorf("the target was written to: %s, then %s", head, after)
			}
		})
	}
	// What is of other categories, or of the store, is nobody's business.
	into := openSQLite(t, t.TempDir())
	for _, s := range []string{"invoice-1", "acme.order-1", "snapshot-order-1", "$ce-order"} {
		write(t, into, s, eventstore.NoStream, event("A", `1`, ``))
	}
	imported(t, text, into)
}

// interfered is a store that somebody else writes to during the import.
type interfered struct {
	eventstore.Store
	appends, at int
	do          func()
}

func (s *interfered) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	if s.appends++; s.appends == s.at {
		s.do()
	}
	return s.Store.Append(ctx, stream, expected, events)
}

// TestSomebodyElseWrites while an import runs: the conflict, or at the latest
// the verification, tells.
func TestSomebodyElseWrites(t *testing.T) {
	source := openSQLite(t, t.TempDir())
	for i := range 10 {
		write(t, source, fmt.Sprintf("order-%d", i), eventstore.NoStream, event("A", `1`, ``))
	}
	text, _ := exported(t, source, transfer.ExportOptions{})
	for _, stream := range []string{"order-1", "order-7", "order-99"} {
		into := openSQLite(t, t.TempDir())
		s := &interfered{Store: into, at: 5, do: func() { write(t, into, stream, eventstore.Any, event("Foreign", `1`, ``)) }}
		_, err := opened(t, text).Import(t.Context(), s, transfer.ImportOptions{})
		var differs *transfer.DifferentError
		if !errors.As(err, &differs) || differs.Stream != stream {
			t.Errorf("%s: %v", stream, err)
		}
	}
}

// TestASilentStore: what is in the target is compared with the file at the end.
type forgetful struct{ eventstore.Store }

func (s forgetful) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	if stream == "order-7" {
		return eventstore.Appended{Revision: eventstore.Revision(expected) + eventstore.Revision(len(events))}, nil
	}
	if stream == "order-3" {
		events = slices.Clone(events)
		events[0].Data = []byte(`1 `)
	}
	return s.Store.Append(ctx, stream, expected, events)
}

// TestVerified: a store that takes events and does not keep them as they are is
// found out.
func TestVerified(t *testing.T) {
	for _, stream := range []string{"order-3", "order-7"} {
		source := openSQLite(t, t.TempDir())
		write(t, source, stream, eventstore.NoStream, event("A", `1`, ``))
		text, _ := exported(t, source, transfer.ExportOptions{})
		if _, err := opened(t, text).Import(t.Context(), forgetful{openSQLite(t, t.TempDir())}, transfer.ImportOptions{}); !errors.Is(err, transfer.ErrDifferent) || !strings.HasPrefix(err.Error(), "verify: ") {
			t.Errorf("%s: %v", stream, err)
		}
	}
}

// TestBatches: neighbouring events of a stream go together, as many as an append
// takes, and the order of the log is kept.
func TestBatches(t *testing.T) {
	source := openSQLite(t, t.TempDir())
	big := `"` + strings.Repeat("x", 300<<10) + `"`
	for i := range 10 {
		write(t, source, "order-1", eventstore.Expected(i-1), event("A", big, ``))
	}
	for i := range 1200 {
		write(t, source, "order-2", eventstore.Expected(i-1), event("A", `1`, ``))
	}
	for i := range 6 {
		write(t, source, fmt.Sprintf("order-%d", 3+i%2), eventstore.Expected(i/2-1), event("A", `1`, ``))
	}
	text, _ := exported(t, source, transfer.ExportOptions{})
	s := &interfered{Store: openSQLite(t, t.TempDir())}
	imported(t, text, s)
	if want := 4 + 3 + 6; s.appends != want {
		t.Errorf("%d appends, want %d", s.appends, want)
	}
	wantSame(t, carried(t, source), carried(t, s))
}

// TestFilesOnDisk: what an export has written is what an import reads.
func TestFilesOnDisk(t *testing.T) {
	source := openSQLite(t, t.TempDir())
	fill(t, source, rand.New(rand.NewPCG(1, 1)))
	text, _ := exported(t, source, transfer.ExportOptions{})
	name := filepath.Join(t.TempDir(), "log.ndjson")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f, err := transfer.Open(t.Context(), file, transfer.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	into := openSQLite(t, t.TempDir())
	if _, err := f.Import(t.Context(), into, transfer.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	wantSame(t, carried(t, source), carried(t, into))
}

// full is a disk that has room for so many bytes.
type full struct{ room int }

var errFull = errors.New("no space left")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.room {
		return 0, errFull
	}
	f.room -= len(p)
	return len(p), nil
}

// TestAFullDisk fails the export, wherever it is full: in the midst or at the last
// line.
func TestAFullDisk(t *testing.T) {
	store := openSQLite(t, t.TempDir())
	write(t, store, "order-1", eventstore.NoStream, event("A", `1`, ``))
	o := transfer.ExportOptions{Now: func() time.Time { return time.Unix(1e9, 0) }}
	text, _ := exported(t, store, o)
	for room := range len(text) {
		if _, err := transfer.Export(t.Context(), store, &full{room}, o); !errors.Is(err, errFull) {
			t.Fatalf("room for %d of %d bytes: %v", room, len(text), err)
		}
	}
}
