package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
)

// marked makes an event whose bytes can be found in the file.
func marked(label string) eventstore.Event {
	e := testEvent(0)
	e.Data = []byte(`{"data":"` + label + `"}`)
	e.Metadata = []byte(`{"meta":"` + label + `"}`)
	e.Type = "Type" + label
	return e
}

// closedLog leaves a folder with n events in streams order-0 to order-2.
func closedLog(t *testing.T, n int) (dir string, records []eventstore.Record) {
	t.Helper()
	dir = t.TempDir()
	s := openTest(t, dir)
	for i := range n {
		mustAppend(t, s, fmt.Sprintf("order-%d", i%3), eventstore.Any, marked(fmt.Sprintf("mark%04d", i)))
	}
	records, err := collect(s.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0))
	if err != nil || len(records) != n {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, records
}

func collect(seq func(func(eventstore.Record, error) bool)) (out []eventstore.Record, err error) {
	for rec, err := range seq {
		if err != nil {
			return out, err
		}
		out = append(out, rec)
	}
	return out, nil
}

func mustAppend(t *testing.T, s *Store, stream string, expected eventstore.Expected, events ...eventstore.Event) eventstore.Appended {
	t.Helper()
	out, err := s.Append(t.Context(), stream, expected, events)
	if err != nil {
		t.Fatalf("append to %s: %v", stream, err)
	}
	return out
}

func copyFolder(t *testing.T, from string, without ...string) string {
	t.Helper()
	to := t.TempDir()
	skip := append([]string{"lock", "events.db-shm"}, without...)
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
next:
	for _, entry := range entries {
		for _, name := range skip {
			if entry.Name() == name {
				continue next
			}
		}
		data, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, entry.Name()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestFlippedByte flips one byte in each column of one event that can be found
// by its bytes: reads and Verify name the event's position.
func TestFlippedByte(t *testing.T) {
	const victim = 41 // position; the event is number 40, revision 13 of order-1
	dir, records := closedLog(t, 100)
	id := records[victim-1].ID
	for column, needle := range map[string][]byte{
		"data":     []byte(`"data":"mark0040"`),
		"metadata": []byte(`"meta":"mark0040"`),
		"type":     []byte("Typemark0040"),
		"id":       id[:],
	} {
		t.Run(column, func(t *testing.T) {
			damaged := copyFolder(t, dir)
			path := filepath.Join(damaged, "events.db")
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// A page that was split keeps old bytes in its free space: flip all.
			harmed := bytes.Clone(needle)
			harmed[len(harmed)-2] ^= 0x04
			if !bytes.Contains(file, needle) {
				t.Fatalf("%q is not in the file", needle)
			}
			file = bytes.ReplaceAll(file, needle, harmed)
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			s := openTest(t, damaged)
			wantDamage := func(what string, got []eventstore.Record, healthy int, err error) {
				t.Helper()
				if !errors.Is(err, eventstore.ErrCorrupt) || !strings.Contains(err.Error(), fmt.Sprintf("position %d", victim)) {
					t.Errorf("%s: %v, want damage at position %d", what, err, victim)
				}
				if len(got) != healthy {
					t.Errorf("%s: %d records before the damage, want %d", what, len(got), healthy)
				}
			}
			got, err := collect(s.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0))
			wantDamage("log", got, victim-1, err)
			got, err = collect(s.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{"order-0"}}, 0))
			wantDamage("log without the stream", got, 14, err)
			got, err = collect(s.ReadAll(t.Context(), eventstore.End, eventstore.Backwards, eventstore.Filter{}, 0))
			wantDamage("log backwards", got, 100-victim, err)
			got, err = collect(s.ReadStream(t.Context(), "order-1", 0, eventstore.Forwards, 0))
			wantDamage("stream", got, 13, err)
			sub, err := s.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			var n int
			for err == nil && n < victim {
				_, err = sub.Next(t.Context())
				n++
			}
			wantDamage("subscription", records[:n-1], victim-1, err)
			if _, err := collect(s.ReadStream(t.Context(), "order-2", 0, eventstore.Forwards, 0)); err != nil {
				t.Errorf("a healthy stream: %v", err)
			}
			report, err := s.Verify(t.Context(), nil)
			if err != nil || len(report.Findings) != 1 || report.Findings[0].Position != eventstore.At64(victim) || report.Events != 100 {
				t.Errorf("verify: %+v, %v; want one finding at %d", report, err, victim)
			}
		})
	}
}

// TestFlippedAnywhere flips bytes all over the file. Whatever they hit, no
// read answers an event that was not written there, and Verify notices
// whenever a read does.
func TestFlippedAnywhere(t *testing.T) {
	dir, want := closedLog(t, 60)
	file, err := os.ReadFile(filepath.Join(dir, "events.db"))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	noticed := 0
	for range 150 {
		at, bit := rng.IntN(len(file)), byte(1)<<rng.IntN(8)
		damaged := bytes.Clone(file)
		damaged[at] ^= bit
		name := fmt.Sprintf("byte %d bit %x", at, bit)
		if err := os.WriteFile(filepath.Join(dir, "events.db"), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := OpenReadOnly(t.Context(), dir)
		if err != nil {
			noticed++
			continue
		}
		wrong := false
		check := func(got []eventstore.Record, err error) {
			t.Helper()
			wrong = wrong || err != nil
			for _, rec := range got {
				if p := rec.Position.Commit; p < 1 || p > uint64(len(want)) || !same(rec, want[p-1]) {
					t.Errorf("%s: position %d shows %+v", name, p, rec)
				}
			}
		}
		check(collect(s.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0)))
		check(collect(s.ReadAll(t.Context(), eventstore.End, eventstore.Backwards, eventstore.Filter{}, 0)))
		for i := range 3 {
			stream := fmt.Sprintf("order-%d", i)
			check(collect(s.ReadStream(t.Context(), stream, 0, eventstore.Forwards, 0)))
			check(collect(s.ReadStream(t.Context(), stream, eventstore.EndRevision, eventstore.Backwards, 0)))
		}
		report, err := s.Verify(t.Context(), nil)
		found := err != nil || !report.OK()
		if wrong && !found {
			t.Errorf("%s: a read failed and Verify found nothing", name)
		}
		if found {
			noticed++
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if noticed == 0 {
		t.Error("no flip was noticed")
	}
}

func same(a, b eventstore.Record) bool {
	return a.ID == b.ID && a.Type == b.Type && a.JSON == b.JSON && bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Metadata, b.Metadata) &&
		a.Stream == b.Stream && a.Revision == b.Revision && a.Position == b.Position && a.Created.Equal(b.Created)
}

// TestShorterLog loses the WAL of a store that was never closed: the head file
// tells, nothing is written until the loss is accepted, and lost positions are
// never given out again.
func TestShorterLog(t *testing.T) {
	dir, _ := closedLog(t, 10)
	running := openTest(t, dir)
	for range 5 {
		mustAppend(t, running, "order-0", eventstore.Any, testEvent(20))
	}
	if err := running.Snapshots().Save(t.Context(), "order-0", 8, []byte("ahead")); err != nil {
		t.Fatal(err)
	}
	before, err := running.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	short := copyFolder(t, dir, "events.db-wal")
	s := openTest(t, short)

	_, err = s.Append(t.Context(), "order-0", eventstore.Any, []eventstore.Event{testEvent(20)})
	if !errors.Is(err, eventstore.ErrReadOnly) || !strings.Contains(err.Error(), "--accept-loss") || !strings.Contains(err.Error(), "position 15") {
		t.Fatalf("append to a shortened log: %v", err)
	}
	got, err := collect(s.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0))
	if err != nil || len(got) != 10 {
		t.Errorf("%d events are readable, %v; want 10", len(got), err)
	}
	report, err := s.Verify(t.Context(), nil)
	if err != nil || len(report.Findings) != 1 || report.Findings[0].Position != eventstore.At64(11) {
		t.Errorf("verify: %+v, %v; want one finding at 11", report, err)
	}
	// It stays refused over a restart.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, short)
	s.RequirePosition(eventstore.At64(17)) // a view saw more than the head file

	loss, err := s.AcceptLoss(t.Context())
	if err != nil || loss.From != eventstore.At64(11) || loss.To != eventstore.At64(17) || loss.Log.Epoch != before.Epoch+1 || loss.Log.ID != before.ID {
		t.Fatalf("accept loss: %+v, %v", loss, err)
	}
	if _, err := s.AcceptLoss(t.Context()); !errors.Is(err, errNothingLost) {
		t.Errorf("a second time: %v", err)
	}
	if _, _, ok, err := s.Snapshots().Load(t.Context(), "order-0"); ok || err != nil {
		t.Errorf("a snapshot ahead of the log survived (%v)", err)
	}
	sub, err := s.Subscribe(t.Context(), eventstore.At64(9), eventstore.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	wantGap(t, s, sub)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, short)
	if out := mustAppend(t, s, "order-1", eventstore.Any, testEvent(1)); out.Position != eventstore.At64(20) {
		t.Errorf("position %s after a restart, want 20", out.Position)
	}
	report, err = s.Verify(t.Context(), nil)
	if err != nil || !report.OK() || report.Lost != 7 || report.Events != 13 {
		t.Errorf("verify: %+v, %v; want 13 events, 7 lost", report, err)
	}
}

// wantGap appends after an accepted loss of 11 to 17 and reads over it.
func wantGap(t *testing.T, s *Store, sub eventstore.Subscription) {
	t.Helper()
	for want := uint64(18); want < 20; want++ {
		if out := mustAppend(t, s, "order-0", eventstore.Any, testEvent(1)); out.Position != eventstore.At64(want) {
			t.Errorf("position %s, want %d", out.Position, want)
		}
	}
	up, err := collect(s.ReadAll(t.Context(), eventstore.At64(9), eventstore.Forwards, eventstore.Filter{}, 0))
	if got := fmt.Sprint(positionsOf(up)); err != nil || got != "[9 10 18 19]" {
		t.Errorf("forwards over the gap: %s, %v", got, err)
	}
	down, err := collect(s.ReadAll(t.Context(), eventstore.At64(15), eventstore.Backwards, eventstore.Filter{}, 2))
	if got := fmt.Sprint(positionsOf(down)); err != nil || got != "[10 9]" {
		t.Errorf("backwards from inside the gap: %s, %v", got, err)
	}
	down, err = collect(s.ReadAll(t.Context(), eventstore.End, eventstore.Backwards, eventstore.Filter{}, 3))
	if got := fmt.Sprint(positionsOf(down)); err != nil || got != "[19 18 10]" {
		t.Errorf("backwards over the gap: %s, %v", got, err)
	}
	var got []uint64
	for len(got) < 3 {
		n, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n.Kind == eventstore.Delivered {
			got = append(got, n.Position.Commit)
		}
	}
	if fmt.Sprint(got) != "[10 18 19]" {
		t.Errorf("subscription over the gap: %v", got)
	}
}

func positionsOf(records []eventstore.Record) (out []uint64) {
	for _, rec := range records {
		out = append(out, rec.Position.Commit)
	}
	return out
}

// TestTornWAL cuts and flips the WAL of a copy: what was acknowledged after
// the damage is missing, and the head file tells.
func TestTornWAL(t *testing.T) {
	dir, _ := closedLog(t, 3)
	running := openTest(t, dir)
	for range 20 {
		mustAppend(t, running, "order-0", eventstore.Any, testEvent(20))
	}
	for name, harm := range map[string]func([]byte) []byte{
		"cut":  func(wal []byte) []byte { return wal[:len(wal)/2] },
		"flip": func(wal []byte) []byte { wal[len(wal)/2] ^= 1; return wal },
	} {
		t.Run(name, func(t *testing.T) {
			short := copyFolder(t, dir)
			path := filepath.Join(short, "events.db-wal")
			wal, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, harm(wal), 0o600); err != nil {
				t.Fatal(err)
			}
			s := openTest(t, short)
			_, err = s.Append(t.Context(), "order-0", eventstore.Any, []eventstore.Event{testEvent(20)})
			if !errors.Is(err, eventstore.ErrReadOnly) {
				t.Errorf("append: %v, want %v", err, eventstore.ErrReadOnly)
			}
			if _, err := s.AcceptLoss(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustAppend(t, s, "order-0", eventstore.Any, testEvent(20))
			report, err := s.Verify(t.Context(), nil)
			if err != nil || !report.OK() || report.Head != eventstore.At64(24) {
				t.Errorf("verify: %+v, %v", report, err)
			}
		})
	}
}

func TestHeadFile(t *testing.T) {
	dir, _ := closedLog(t, 5)
	h, ok, err := readHead(disk.OS(), dir)
	if err != nil || !ok || h.position != 5 {
		t.Fatalf("head %+v, %v, %v; want position 5", h, ok, err)
	}
	text, err := os.ReadFile(headPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		torn := bytes.Clone(text)
		torn[i] ^= 1
		if err := os.WriteFile(headPath(dir), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := readHead(disk.OS(), dir); !errors.Is(err, errHeadDamaged) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	// A damaged head file does not stop the store, which writes a new one.
	s := openTest(t, dir)
	mustAppend(t, s, "order-0", eventstore.Any, testEvent(1))
	if h, ok, err = readHead(disk.OS(), dir); err != nil || !ok || h.position != 6 {
		t.Errorf("head %+v, %v, %v; want position 6", h, ok, err)
	}
	// An older backup put in place of the log is noticed by its epoch.
	old := head{log: eventstore.LogIdentity{ID: h.log.ID, Epoch: 2}, position: 3}
	if old.shorterThan(h.log, 100) == "" {
		t.Error("a log of an older epoch passes for whole")
	}
}

func TestVerifyHealthy(t *testing.T) {
	dir, _ := closedLog(t, 1200)
	s := openTest(t, dir)
	if _, err := s.Delete(t.Context(), "order-0", eventstore.Any); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tombstone(t.Context(), "order-1", eventstore.Any); err != nil {
		t.Fatal(err)
	}
	// Beside the running store, while it writes.
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error)
	go func() {
		for {
			if _, err := s.Append(ctx, "busy", eventstore.Any, []eventstore.Event{testEvent(10)}); err != nil {
				written <- err
				return
			}
		}
	}()
	beside, err := OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var calls int
	for range 5 {
		report, err := beside.Verify(t.Context(), func(done, total uint64) { calls++ })
		if err != nil || !report.OK() || report.Events < 1202 {
			t.Errorf("verify: %+v, %v", report, err)
		}
	}
	if calls == 0 {
		t.Error("no progress was reported")
	}
	stop()
	if err := <-written; !errors.Is(err, context.Canceled) && !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Error(err)
	}
	if err := beside.Close(); err != nil {
		t.Error(err)
	}
}
