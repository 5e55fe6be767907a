package embedded_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/reconcile"
)

// flipsPerFile is how many bytes of each file are flipped, one at a time;
// DOCKET_FLIPS sets another number.
func flipsPerFile(t *testing.T) int {
	text := os.Getenv("DOCKET_FLIPS")
	if text == "" {
		return 6
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("DOCKET_FLIPS=%q: want a number from 1", text)
	}
	return n
}

// TestFlippedBytes flips bytes in every file of a folder, one at a time, and
// starts docket on it. The log never shows an event that was not written there;
// what is missing is known to be missing; and all that is not the log may be
// harmed at will, and is well again at last.
func TestFlippedBytes(t *testing.T) {
	live := filepath.Join(fastDir(t), "live")
	a := open(t, live, nil)
	a.awaitReady()
	var ids []string
	for n := range 12 {
		ids = append(ids, fmt.Sprintf("order-%d", n))
		a.want("place", a.place(ids[n]), 201, "")
	}
	for n := range 110 { // enough for a snapshot
		a.want("note", a.note("order-0", fmt.Sprintf("note %d", n)), 200, "")
	}
	a.mustClose() // so that the databases have something, and their WALs are short
	a = open(t, live, nil)
	a.awaitReady()
	a.want("place", a.place("order-12"), 201, "")
	for n := range 10 {
		a.want("note", a.note("order-12", fmt.Sprintf("note %d", n)), 200, "")
	}
	ids = append(ids, "order-12")
	if err := a.Manager.CaughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	log := a.records(nil)
	killed := copied(t, live, filepath.Join(fastDir(t), "killed"))
	a.mustClose()
	closed := copied(t, live, filepath.Join(fastDir(t), "closed"))
	for name, content := range map[string]string{"lock": "4711\n", "server.json": `{"address":"127.0.0.1:1","pid":4711,"key":"k"}`} {
		if err := os.WriteFile(filepath.Join(closed, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	began, flipped := time.Now(), 0
	for _, folder := range []string{closed, killed} {
		err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			name, _ := filepath.Rel(folder, path)
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if folder == killed && !strings.HasSuffix(name, "-wal") && name != "head" || len(content) == 0 {
				return nil
			}
			rng, flips := rand.New(rand.NewPCG(uint64(len(name)), 5)), flipsPerFile(t)
			if len(content) < 100 {
				flips = (flips + 2) / 3
			}
			for range flips {
				at := rng.IntN(len(content))
				for content[at] == 0 && rng.IntN(10) > 0 { // mostly where something is
					at = rng.IntN(len(content))
				}
				bit := byte(1) << rng.IntN(8)
				flipped++
				t.Run(fmt.Sprintf("%s %d %02x", strings.ReplaceAll(name, "/", " "), at, bit), func(t *testing.T) {
					dir := copied(t, folder, filepath.Join(fastDir(t), "data"))
					harmed := bytes.Clone(content)
					harmed[at] ^= bit
					if err := os.WriteFile(filepath.Join(dir, name), harmed, 0o600); err != nil {
						t.Fatal(err)
					}
					if strings.HasPrefix(name, "events.db") {
						wantNoOtherLog(t, dir, log)
					} else {
						wantNoHarm(t, dir, ids)
					}
				})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d flips in %s", flipped, time.Since(began).Round(time.Millisecond))
}

// records reads the whole log; failed gets an error, nil demands that there is
// none.
func (a *docket) records(failed *error) (all []eventstore.Record) {
	a.t.Helper()
	for r, err := range a.Store.ReadAll(a.t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			if failed == nil {
				a.t.Fatal(err)
			}
			*failed = err
			break
		}
		all = append(all, r)
	}
	return all
}

// wantNoOtherLog: what is read was written there, and what is missing is told.
func wantNoOtherLog(t *testing.T, dir string, log []eventstore.Record) {
	a, err := tryOpen(t, dir, nil)
	if err != nil {
		t.Logf("start: %v", err)
		return
	}
	var failed error
	got := a.records(&failed)
	if failed == nil && len(got) < len(log) && a.Embedded.Refusal() == nil {
		t.Errorf("%d of %d events are read, and nothing is said of it", len(got), len(log))
	}
	report, err := a.Embedded.Verify(t.Context(), nil)
	if failed != nil && err == nil && report.OK() {
		t.Errorf("a read fails (%v), and verify finds nothing", failed)
	}
	for i, r := range got {
		if i < len(log) && (r.ID != log[i].ID || r.Stream != log[i].Stream || r.Revision != log[i].Revision || r.Type != log[i].Type || !bytes.Equal(r.Data, log[i].Data) || !bytes.Equal(r.Metadata, log[i].Metadata)) {
			t.Errorf("position %s shows another event: %+v", r.Position, r)
		}
	}
	// Commands are decided on what was written, or not at all.
	for _, id := range []string{"order-0", "order-7"} {
		if note := a.note(id, "after"); note.status != 200 && note.status < 500 && a.Embedded.Refusal() == nil {
			t.Errorf("a note to %s: %d %s", id, note.status, note.body)
		}
	}
	_ = a.close() // it may meet the damage again
}

// wantNoHarm: commands are taken, and the views are what the log says, at once
// or when they were rebuilt.
func wantNoHarm(t *testing.T, dir string, ids []string) {
	a := open(t, dir, nil)
	a.want("a command", a.place("after"), 201, "")
	a.want("a note", a.note(ids[0], "after"), 200, "")
	found, err := a.Reconciler.Run(t.Context(), reconcile.NewID(), reconcile.Request{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if found.Verdict != reconcile.Clean {
		t.Logf("reconcile: %s, %d findings", found.Verdict, len(found.Findings))
		if err := a.Manager.Rebuild(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	a.wantHealthy(append(slices.Clone(ids), "after"), nil)
	a.mustClose()
}
