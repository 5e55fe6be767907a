package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/disk/disktest"
)

// TestBackupWhileWritten copies a log that eight writers append to: every event
// that was acknowledged before the call is in the copy, which ends at one
// position.
func TestBackupWhileWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := openTest(t, dir)
	ctx, stop := context.WithCancel(t.Context())
	var acknowledged atomic.Uint64
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil && i < 20_000; i++ {
				out, err := s.Append(context.WithoutCancel(ctx), fmt.Sprintf("order-%d", w), eventstore.At(eventstore.Revision(i)-1), []eventstore.Event{testEvent(100)})
				if err != nil {
					t.Error(err)
					return
				}
				for was := acknowledged.Load(); was < out.Position.Commit && !acknowledged.CompareAndSwap(was, out.Position.Commit); {
					was = acknowledged.Load()
				}
			}
		})
	}
	for n := range 5 {
		for before := acknowledged.Load(); acknowledged.Load() < before+50; {
			if t.Failed() {
				t.FailNow()
			}
		}
		before := acknowledged.Load()
		to := filepath.Join(t.TempDir(), "backup")
		calls := 0
		m, err := Backup(t.Context(), dir, to, CopyOptions{Progress: func(string, int64, int64) { calls++ }})
		if err != nil || calls == 0 {
			t.Fatalf("backup %d: %v, %d calls of progress", n, err, calls)
		}
		if m.Head.Commit < before || m.Events != int64(m.Head.Commit) {
			t.Errorf("backup %d: %+v, %d were acknowledged", n, m, before)
		}
		fresh := filepath.Join(t.TempDir(), "fresh")
		r, err := Restore(t.Context(), to, fresh, CopyOptions{})
		if err != nil || r.Log.ID != m.Log || r.Log.Epoch != m.Epoch+1 || r.Aside != "" || r.LostTo != eventstore.Start {
			t.Fatalf("restore %d: %+v, %v", n, r, err)
		}
		wantLog(t, fresh, r.Log, m.Head.Commit)
	}
	stop()
	writers.Wait()
}

// wantLog opens a folder whose log must be whole up to a position, and writes
// to it.
func wantLog(t *testing.T, dir string, log eventstore.LogIdentity, head uint64) {
	t.Helper()
	s := openTest(t, dir)
	defer s.Close()
	if got, err := s.Log(t.Context()); err != nil || got != log {
		t.Errorf("log %+v, %v; want %+v", got, err, log)
	}
	if got := s.position.Load(); got != head {
		t.Errorf("head %d, want %d", got, head)
	}
	mustAppend(t, s, "written-after", eventstore.Any, testEvent(1))
	if report, err := s.Verify(t.Context(), nil); err != nil || !report.OK() {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

// TestRestoreOverALog puts a backup in the place of a log that went on: the old
// one is kept, positions that were acknowledged are never given out again, and
// the epoch is above every one that anything in the folder remembers.
func TestRestoreOverALog(t *testing.T) {
	dir, _ := closedLog(t, 10)
	to := filepath.Join(t.TempDir(), "backup")
	m, err := Backup(t.Context(), dir, to, CopyOptions{})
	if err != nil || m.Head != eventstore.At64(10) || m.Epoch != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	s := openTest(t, dir)
	for range 5 {
		mustAppend(t, s, "order-0", eventstore.Any, testEvent(20))
	}
	if err := s.Snapshots().Save(t.Context(), "order-0", 8, []byte("ahead")); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), to, dir, CopyOptions{}); err == nil || !strings.Contains(err.Error(), "already open") {
		t.Fatalf("restore into a folder that is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	r, err := Restore(t.Context(), to, dir, CopyOptions{})
	if err != nil || r.LostFrom != eventstore.At64(11) || r.LostTo != eventstore.At64(15) || r.Log.Epoch != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	s = openTest(t, dir)
	if out := mustAppend(t, s, "order-0", eventstore.Any, testEvent(1)); out.Position != eventstore.At64(16) {
		t.Errorf("position %s was given out, want 16", out.Position)
	}
	if _, _, ok, err := s.Snapshots().Load(t.Context(), "order-0"); ok || err != nil {
		t.Errorf("a snapshot of the old epoch is still there (%v)", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	kept, err := OpenReadOnly(t.Context(), r.Aside)
	if err != nil {
		t.Fatal(err)
	}
	if report, err := kept.Verify(t.Context(), nil); err != nil || !report.OK() || report.Head != eventstore.At64(15) {
		t.Errorf("the old log: %+v, %v", report, err)
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}

	// Again: the log that is there now is remembered as well.
	r, err = Restore(t.Context(), to, dir, CopyOptions{})
	if err != nil || r.LostTo != eventstore.At64(16) || r.Log.Epoch != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	// Without log and head, what was kept aside remembers.
	for _, name := range []string{logName, "head"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && name == logName {
			t.Fatal(err)
		}
	}
	r, err = Restore(t.Context(), to, dir, CopyOptions{})
	if err != nil || r.LostTo != eventstore.At64(16) || r.Log.Epoch != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	// What the views know counts, of this log and of others.
	other := eventstore.LogIdentity{ID: newID(), Epoch: 8}
	seen := func(context.Context) ([]Sighting, error) {
		return []Sighting{{r.Log, eventstore.At64(40)}, {other, eventstore.At64(99)}}, nil
	}
	r, err = Restore(t.Context(), to, dir, CopyOptions{Seen: seen})
	if err != nil || r.LostTo != eventstore.At64(40) || r.Log.Epoch != 9 {
		t.Fatalf("%+v, %v", r, err)
	}
	wantLog(t, dir, r.Log, 10)
}

// TestRestoreOverRuins: whatever became of the old log, a restore cures it.
func TestRestoreOverRuins(t *testing.T) {
	whole, _ := closedLog(t, 10)
	to := filepath.Join(t.TempDir(), "backup")
	m, err := Backup(t.Context(), whole, to, CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	running := openTest(t, whole) // has a WAL
	for range 5 {
		mustAppend(t, running, "order-0", eventstore.Any, testEvent(20))
	}
	for name, harm := range map[string]func(dir string) error{
		"no log":     func(dir string) error { return os.Remove(filepath.Join(dir, logName)) },
		"no WAL":     func(dir string) error { return os.Remove(filepath.Join(dir, logName+"-wal")) },
		"empty log":  func(dir string) error { return os.Truncate(filepath.Join(dir, logName), 0) },
		"not a log":  func(dir string) error { return os.WriteFile(filepath.Join(dir, logName), []byte("ruins"), 0o600) },
		"torn log":   func(dir string) error { return os.Truncate(filepath.Join(dir, logName), 20_000) },
		"no head":    func(dir string) error { return os.Remove(headPath(dir)) },
		"torn WAL":   func(dir string) error { return os.Truncate(filepath.Join(dir, logName+"-wal"), 9_000) },
		"old backup": func(dir string) error { return overwrite(filepath.Join(to, logName), filepath.Join(dir, logName)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyFolder(t, whole)
			if err := harm(dir); err != nil {
				t.Fatal(err)
			}
			r, err := Restore(t.Context(), to, dir, CopyOptions{})
			if err != nil || r.Log.ID != m.Log || r.Log.Epoch != 2 || r.Aside == "" {
				t.Fatalf("%+v, %v", r, err)
			}
			wantLog(t, dir, r.Log, 10)
		})
	}
}

func overwrite(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

func TestBackupRefuses(t *testing.T) {
	dir, _ := closedLog(t, 100)
	refuse := func(what, dir, to, want string) {
		t.Helper()
		if _, err := Backup(t.Context(), dir, to, CopyOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refuse("a folder that is not empty", dir, full, "not empty")
	refuse("the folder itself", dir, dir, "is inside")
	refuse("a folder without a log", t.TempDir(), filepath.Join(t.TempDir(), "b"), "open")

	damaged := copyFolder(t, dir)
	path := filepath.Join(damaged, logName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	harmed := strings.ReplaceAll(string(text), "mark0040", "mark0O40")
	if err := os.WriteFile(path, []byte(harmed), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	refuse("a damaged log", damaged, empty, "position 41")
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	running := openTest(t, dir)
	mustAppend(t, running, "order-0", eventstore.Any, testEvent(1))
	to := filepath.Join(t.TempDir(), "a", "b")
	refuse("a log that lost its end", copyFolder(t, dir, logName+"-wal"), to, "position 101 was already acknowledged")
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}

	if _, err := Backup(t.Context(), dir, to, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), to, Options{}); err == nil || !strings.Contains(err.Error(), "is a backup") {
		t.Errorf("a backup was opened to be written: %v", err)
	}
	checked, err := OpenReadOnly(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer checked.Close()
	if report, err := checked.Verify(t.Context(), nil); err != nil || !report.OK() {
		t.Errorf("verify a backup: %+v, %v", report, err)
	}
}

// TestRestoreRefusesDamage changes bytes all over a backup: none is restored,
// and the folder keeps the log it has.
func TestRestoreRefusesDamage(t *testing.T) {
	dir, _ := closedLog(t, 60)
	to := filepath.Join(t.TempDir(), "backup")
	if _, err := Backup(t.Context(), dir, to, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, dir)
	log, err := s.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, step := range map[string]int{logName: 997, manifestName: 1} {
		path := filepath.Join(to, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		harmless := 0
		for at := 0; at < len(text); at += step {
			harmed := append([]byte(nil), text...)
			harmed[at] ^= 0x04
			if err := os.WriteFile(path, harmed, 0o600); err != nil {
				t.Fatal(err)
			}
			fresh := t.TempDir()
			r, err := Restore(t.Context(), to, fresh, CopyOptions{})
			if err == nil && name == manifestName && r.Log.ID == log.ID && r.Backup.Head == eventstore.At64(60) {
				harmless++ // the time, white space, what is only told
				continue
			}
			if err == nil {
				t.Fatalf("%s, byte %d: restored %+v", name, at, r)
			}
			if left, err := os.ReadDir(fresh); err != nil || len(left) > 1 { // the lock
				t.Fatalf("%s, byte %d: left behind %v, %v", name, at, left, err)
			}
		}
		if name == manifestName && harmless > len(text)/2 {
			t.Errorf("%d of %d bytes of the manifest may change", harmless, len(text))
		}
		if err := os.WriteFile(path, text[:len(text)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(t.Context(), to, dir, CopyOptions{}); !errors.Is(err, eventstore.ErrCorrupt) {
			t.Errorf("half of %s: %v", name, err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(to, manifestName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), to, dir, CopyOptions{}); err == nil || !strings.Contains(err.Error(), "not finished") {
		t.Errorf("without a manifest: %v", err)
	}
	wantLog(t, dir, log, 60)
}

// TestRestoreInterrupted ends a restore before each of its steps, as a kill
// does: whoever opens the folder then finds the old log or the new one, whole.
func TestRestoreInterrupted(t *testing.T) {
	whole, _ := closedLog(t, 10)
	root := t.TempDir()
	d := disktest.New(root)
	defer d.Close()
	opt := CopyOptions{VFS: d.VFS(), Disk: d.FS()}
	to := filepath.Join(root, "backup")
	m, err := Backup(t.Context(), whole, to, CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	running := openTest(t, whole)
	for range 5 {
		mustAppend(t, running, "order-0", eventstore.Any, testEvent(20))
	}
	older, newer := eventstore.LogIdentity{ID: m.Log, Epoch: 1}, eventstore.LogIdentity{ID: m.Log, Epoch: 2}
	found := map[eventstore.LogIdentity]int{}
	for step := 0; ; step++ {
		dir := filepath.Join(root, fmt.Sprint("data", step))
		if err := os.Rename(copyFolder(t, whole), dir); err != nil {
			t.Fatal(err)
		}
		var done atomic.Int64
		d.SetFault(func(op disktest.Op) error {
			if op.Kind != disktest.Read && done.Add(1) > int64(step) {
				return syscall.EIO
			}
			return nil
		})
		_, err := Restore(t.Context(), to, dir, opt)
		d.SetFault(nil)
		unfinished := errors.Is(err, ErrRestoreUnfinished)
		if _, reading := OpenReadOnly(t.Context(), dir); reading != nil && !strings.Contains(reading.Error(), "run the restore again") {
			t.Errorf("step %d: %v", step, reading)
		}
		s := openTest(t, dir)
		log, logErr := s.Log(t.Context())
		if err != nil && unfinished != (log == newer) {
			t.Errorf("step %d: %v, and the next start has %+v", step, err, log)
		}
		want := uint64(15)
		if log == newer {
			want = 10
		}
		if logErr != nil || log != newer && log != older || s.position.Load() != want {
			t.Errorf("step %d: log %+v at %d, %v", step, log, s.position.Load(), logErr)
		}
		if left, statErr := exists(disk.OS(), filepath.Join(dir, restoreName)); left || statErr != nil {
			t.Errorf("step %d: the working folder is still there (%v)", step, statErr)
		}
		kept, globErr := filepath.Glob(filepath.Join(dir, replacedName+"*", logName))
		if globErr != nil || (log == newer) != (len(kept) == 1) {
			t.Errorf("step %d: log %+v, kept aside %v", step, log, kept)
		}
		if closeErr := s.Close(); closeErr != nil {
			t.Errorf("step %d: %v", step, closeErr)
		}
		wantLog(t, dir, log, want)
		found[log]++
		if err == nil {
			break
		}
	}
	t.Logf("%d steps left the old log, %d the new one", found[older], found[newer])
	if found[older] < 10 || found[newer] < 5 {
		t.Errorf("the steps were not all there: %v", found)
	}
}

// TestBackupsAreKept: docket clears up in its own folder, so no backup is made
// there; a backup is not restored over; and nobody else may read one.
func TestBackupsAreKept(t *testing.T) {
	dir, _ := closedLog(t, 10)
	for _, to := range []string{"restore", "tmp/monday", "."} {
		if _, err := Backup(t.Context(), dir, filepath.Join(dir, to), CopyOptions{}); err == nil || !strings.Contains(err.Error(), "is inside") {
			t.Errorf("backup into %s of the folder: %v", to, err)
		}
	}
	to := t.TempDir() // which others may read
	m, err := Backup(t.Context(), dir, to, CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{logName, manifestName} {
		if info, err := os.Stat(filepath.Join(to, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if _, err := Restore(t.Context(), to, to, CopyOptions{}); err == nil || !strings.Contains(err.Error(), "is a backup") {
		t.Errorf("restore over a backup: %v", err)
	}
	r, err := Restore(t.Context(), to, filepath.Join(t.TempDir(), "fresh"), CopyOptions{})
	if err != nil || r.Log.ID != m.Log {
		t.Errorf("after all that: %+v, %v", r, err)
	}
}
