package embedded_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/embedded"
	views "github.com/docket-orders/docket/projections/sqlite"
)

// TestAfterARestore: what callers hold from before a restore gets a clear
// answer, what was lost is done anew when it is asked for again, and the views,
// which were ahead, are made anew by the start.
func TestAfterARestore(t *testing.T) {
	root := fastDir(t)
	dir, backup := filepath.Join(root, "data"), filepath.Join(root, "backup")
	a := open(t, dir, nil)
	a.awaitReady()
	for _, id := range []string{"a", "b", "c"} {
		a.want("place", a.place(id), 201, "")
	}
	a.want("a note", a.note("a", "kept", "Idempotency-Key: kept"), 200, "")
	manifest, err := sqlite.Backup(t.Context(), dir, backup, sqlite.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lost := a.want("a note", a.note("a", "lost", "Idempotency-Key: lost"), 200, "")
	a.want("an order", a.place("lost", "Idempotency-Key: lost-order"), 201, "")
	token, tag := lost.header.Get("Consistency-Token"), lost.header.Get("ETag")
	page := a.want("a page", a.get("/v1/orders?limit=2&sort=number", "Consistency-Token: "+token, "Prefer: wait=10"), 200, `"next"`)
	var list struct{ Next string }
	if err := json.Unmarshal([]byte(page.body), &list); err != nil {
		t.Fatal(err)
	}
	a.mustClose()

	restored, err := sqlite.Restore(t.Context(), backup, dir, sqlite.CopyOptions{Seen: seenBy(dir)})
	if err != nil || restored.Log.Epoch != 2 || restored.LostFrom != eventstore.At64(manifest.Head.Commit+1) {
		t.Fatalf("%+v, %v", restored, err)
	}
	a = open(t, dir, nil)
	a.awaitReady()
	a.want("an old token", a.get("/v1/orders/a", "Consistency-Token: "+token), 409, `"token-foreign"`)
	a.want("an old token, in a list", a.get("/v1/orders", "Consistency-Token: "+token), 409, "read without it, and look")
	a.want("an old token, of the past", a.get("/v1/orders/a?atRevision=0", "Consistency-Token: "+token), 409, `"token-foreign"`)
	a.want("an old cursor", a.get("/v1/orders?limit=2&sort=number&cursor="+list.Next), 409, "begin the list again without it")
	a.want("an order that was lost", a.get("/v1/orders/lost"), 404, "")
	a.want("a list", a.get("/v1/orders"), 200, `"total":3`)
	if body := a.get("/v1/orders/a").body; strings.Contains(body, "lost") {
		t.Errorf("the lost note is shown: %s", body)
	}

	// The ETag of the lost revision: somebody who saw it must look again.
	a.want("an old ETag", a.note("a", "blind", "If-Match: "+tag), 412, "precondition-failed")
	// Commands that are kept are repeated, those that were lost are decided anew.
	kept := a.want("a repeated command", a.note("a", "kept", "Idempotency-Key: kept"), 200, "")
	if kept.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a command that the backup has was done twice: %s", kept.body)
	}
	again := a.want("a lost command", a.note("a", "lost", "Idempotency-Key: lost"), 200, "")
	if again.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("a command that was lost is taken for done: %s", again.body)
	}
	token = again.header.Get("Consistency-Token")
	a.want("read your writes", a.get("/v1/orders/a", "Consistency-Token: "+token, "Prefer: wait=10"), 200, "lost")
	a.want("a lost order", a.place("lost", "Idempotency-Key: lost-order"), 201, "")
	a.wantHealthy([]string{"a", "b", "c", "lost"}, nil)
}

// TestLogCameBackShorter harms a folder as a kill left it: nothing is written
// until somebody acts, what the views have is still read, and a restore and an
// accepted loss both cure it.
func TestLogCameBackShorter(t *testing.T) {
	root := fastDir(t)
	live := filepath.Join(root, "live")
	a := open(t, live, nil)
	a.awaitReady()
	there := []string{"old-1", "old-2"}
	for _, id := range there {
		a.want("place", a.place(id), 201, "")
	}
	a.mustClose() // so that events.db has what came until now
	older := copied(t, live, filepath.Join(root, "older"))
	backup := filepath.Join(root, "backup")
	if _, err := sqlite.Backup(t.Context(), live, backup, sqlite.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	a = open(t, live, nil)
	a.awaitReady()
	gone := []string{"new-1", "new-2", "new-3"}
	var token string
	for _, id := range gone {
		token = a.want("place", a.place(id), 201, "").header.Get("Consistency-Token")
	}
	a.want("the last order", a.get("/v1/orders/new-3", "Consistency-Token: "+token, "Prefer: wait=10"), 200, "")
	head, err := a.Store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	wal := "events.db-wal"
	cases := map[string]func(dir string) error{
		"WAL removed": func(dir string) error { return os.Remove(filepath.Join(dir, wal)) },
		"WAL flipped": func(dir string) error { return flip(filepath.Join(dir, wal), 0.5) },
		"WAL cut":     func(dir string) error { return cut(filepath.Join(dir, wal), 0.7) },
		"older copy": func(dir string) error {
			return firstOf(os.Remove(filepath.Join(dir, wal)), replace(filepath.Join(older, "events.db"), filepath.Join(dir, "events.db")))
		},
		"a backup put there by hand": func(dir string) error {
			return firstOf(os.Remove(filepath.Join(dir, wal)), replace(filepath.Join(backup, "events.db"), filepath.Join(dir, "events.db")))
		},
		"WAL and head removed": func(dir string) error {
			return firstOf(os.Remove(filepath.Join(dir, wal)), os.Remove(filepath.Join(dir, "head")))
		},
		"WAL removed, views deleted": func(dir string) error {
			return firstOf(os.Remove(filepath.Join(dir, wal)), os.RemoveAll(filepath.Join(dir, "views")))
		},
		"log removed": func(dir string) error {
			return firstOf(os.Remove(filepath.Join(dir, wal)), os.Remove(filepath.Join(dir, "events.db")))
		},
	}
	for name, harm := range cases {
		t.Run(name, func(t *testing.T) {
			dir := copied(t, live, filepath.Join(fastDir(t), "data"))
			if err := harm(dir); err != nil {
				t.Fatal(err)
			}
			t.Run("refuses", func(t *testing.T) { wantRefusal(t, dir, !strings.Contains(name, "views deleted")) })
			other := copied(t, dir, filepath.Join(fastDir(t), "other"))
			t.Run("restore", func(t *testing.T) {
				r, err := sqlite.Restore(t.Context(), backup, dir, sqlite.CopyOptions{Seen: seenBy(dir)})
				if err != nil || r.LostTo != head || r.Log.Epoch < 2 {
					t.Fatalf("%+v, %v; the head was %s", r, err, head)
				}
				wantCured(t, dir, there, gone, head)
			})
			t.Run("accept the loss", func(t *testing.T) {
				kept := int(acceptLoss(t, other).From.Commit-1) - 1 // the first position is no order's
				all := append(slices.Clone(there), gone...)
				wantCured(t, other, all[:max(kept, 0)], all[max(kept, 0):], head)
			})
		})
	}
}

// wantRefusal opens a folder whose log lost its end, twice: a restart changes
// nothing.
func wantRefusal(t *testing.T, dir string, viewsAreThere bool) {
	for range 2 {
		a := open(t, dir, nil)
		a.awaitReady()
		r := a.ready()
		if said := fmt.Sprint(r.Impaired); r.Commands || !r.Reads || !strings.Contains(said, "docket eventstore restore BACKUP") || !strings.Contains(said, "docket eventstore verify --accept-loss") {
			t.Errorf("ready: %+v", r)
		}
		a.want("a command", a.place("refused"), 503, `"read-only"`)
		if viewsAreThere {
			a.want("an order of the views", a.get("/v1/orders/new-3"), 200, `"id":"new-3"`)
			a.want("a list of the views", a.get("/v1/orders"), 200, `"total":5`)
		}
		if report, err := a.Embedded.Verify(t.Context(), nil); err != nil || report.OK() {
			t.Errorf("verify finds nothing: %+v, %v", report, err)
		}
		if _, err := sqlite.Backup(t.Context(), dir, filepath.Join(fastDir(t), "b"), sqlite.CopyOptions{}); err == nil {
			t.Error("a backup of it passes for a good one")
		}
		a.mustClose()
	}
}

func acceptLoss(t *testing.T, dir string) sqlite.Loss {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log, err := s.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	backend := views.NewBackend(dir, views.Options{})
	if err := embedded.RequireWhatViewsHold(t.Context(), s, log, backend, func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	loss, err := s.AcceptLoss(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

// wantCured opens a folder after a cure: no position comes twice.
func wantCured(t *testing.T, dir string, there, gone []string, head eventstore.Position) {
	t.Helper()
	a := open(t, dir, nil)
	a.awaitReady()
	a.want("an order that was lost", a.get("/v1/orders/"+gone[0]), 404, "")
	a.want("it is placed again", a.place(gone[0]), 201, "")
	a.wantHealthy(append([]string{gone[0]}, there...), gone[1:])
	now, err := a.Store.Head(t.Context())
	if err != nil || !head.Before(now) {
		t.Errorf("head %s, %v; %s was given out before", now, err, head)
	}
	for r, err := range a.Store.ReadStream(t.Context(), "order-"+gone[0], 0, eventstore.Forwards, 0) {
		if err != nil || !head.Before(r.Position) {
			t.Errorf("position %s was given out twice (%v)", r.Position, err)
		}
	}
	a.mustClose()
	again := open(t, dir, nil) // and it stays so
	again.wantHealthy(append([]string{gone[0]}, there...), gone[1:])
	again.mustClose()
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// flip changes one byte at a part of a file.
func flip(path string, part float64) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[int(float64(len(data)-1)*part)] ^= 0x10
	return os.WriteFile(path, data, 0o600)
}

func cut(path string, part float64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, int64(float64(info.Size())*part))
}

func replace(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}
