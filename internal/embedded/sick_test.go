package embedded_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/disk/disktest"
)

// Faults as the driver's own VFS reports them to SQLite, and as package os
// reports them to everybody else.
var (
	fullDisk = fault{"full disk", syscall.ENOSPC, sqlite3.ExtendedErrorCode(sqlite3.FULL)}
	readOnly = fault{"read-only remount", syscall.EROFS, sqlite3.IOERR_WRITE}
	badDisk  = fault{"I/O error", syscall.EIO, sqlite3.IOERR_WRITE}
	badSync  = fault{"failing fsync", syscall.EIO, sqlite3.IOERR_FSYNC}
	badRead  = fault{"unreadable sectors", syscall.EIO, sqlite3.IOERR_READ}
)

type fault struct {
	name string
	os   syscall.Errno
	code sqlite3.ExtendedErrorCode
}

func (f fault) of(op disktest.Op) error {
	if strings.Contains(path.Base(op.Path), ".db") || op.Path == "" {
		return vfs.SystemError(f.os, f.code)
	}
	return &os.PathError{Op: op.Kind.String(), Path: op.Path, Err: f.os}
}

// strikes reports whether a disk that is sick in this way refuses an operation.
func (f fault) strikes(op disktest.Op) bool {
	switch op.Kind {
	case disktest.Write, disktest.Create, disktest.Mkdir:
		return f != badSync && f != badRead
	case disktest.Truncate, disktest.Rename, disktest.Remove:
		return f == readOnly || f == badDisk
	case disktest.Sync, disktest.SyncDir:
		return f == badSync
	case disktest.Read:
		return f == badRead
	}
	return false
}

// on strikes the files that a pattern names; the answer counts the strikes.
func (f fault) on(d *disktest.Disk, pattern string) *atomic.Int64 {
	var strikes atomic.Int64
	d.SetFault(func(op disktest.Op) error {
		if matches(pattern, op.Path) && f.strikes(op) {
			strikes.Add(1)
			return f.of(op)
		}
		return nil
	})
	return &strikes
}

func matches(pattern, name string) bool {
	for p := range strings.FieldsSeq(pattern) {
		if ok, err := path.Match(p, name); err != nil || ok || strings.HasPrefix(name, strings.TrimSuffix(p, "/**")+"/") && strings.HasSuffix(p, "/**") {
			return true
		}
	}
	return false
}

// sick is a docket on a disk that was well until now, with what it acknowledged.
type sick struct {
	*docket
	disk         *disktest.Disk
	acknowledged []string
	attempts     int
}

func well(t *testing.T) *sick {
	t.Helper()
	d := disktest.New(fastDir(t))
	t.Cleanup(d.Close)
	s := &sick{disk: d}
	s.start(t)
	s.awaitReady()
	for range 3 {
		if got := s.try(); got.status != http.StatusCreated {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	s.seen()
	return s
}

func (s *sick) start(t *testing.T) { s.docket = open(t, filepath.Join(s.disk.Root(), "data"), s.disk) }

// try places an order, and remembers it when it was acknowledged.
func (s *sick) try() answer {
	id := fmt.Sprintf("order-%d", s.attempts)
	s.attempts++
	got := s.place(id)
	if got.status == http.StatusCreated {
		s.acknowledged = append(s.acknowledged, id)
	}
	return got
}

// seen waits until the views have what was acknowledged.
func (s *sick) seen() {
	s.t.Helper()
	if err := s.Manager.CaughtUp(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// stops writes until the writer stops, and looks at what is said of it then.
func (s *sick) stops(says string) {
	s.t.Helper()
	before := len(s.acknowledged)
	var got answer
	for range 2000 {
		if got = s.try(); got.status != http.StatusCreated {
			break
		}
	}
	// Parts of it may be on disk, and count after the restart.
	s.want("the command that met the fault", got, 503, `"outcome-unknown"`)
	s.want("a command after it", s.try(), 503, `"read-only"`)
	r := s.ready()
	if said := fmt.Sprint(r.Impaired); !r.Ready || r.Commands || !r.Reads || !strings.Contains(said, says) || !strings.Contains(said, "restart docket") {
		s.t.Errorf("ready: %+v; want %q", r, says)
	}
	if said := s.logged.String(); !strings.Contains(said, "event store stopped writing") || !strings.Contains(said, says) {
		s.t.Errorf("logged: %s; want %q", said, says)
	}
	s.reads(s.acknowledged[:min(before, 3)])
}

// reads asks for orders that were there before the fault.
func (s *sick) reads(ids []string) {
	s.t.Helper()
	for _, id := range ids {
		s.want("an order while the disk is sick", s.get("/v1/orders/"+id), 200, `"id":"`+id+`"`)
		s.want("its past", s.get("/v1/orders/"+id+"?atRevision=0"), 200, `"id":"`+id+`"`)
	}
	s.want("a list while the disk is sick", s.get("/v1/orders?q=web"), 200, `"total"`)
}

// recovers ends the fault. The writer stays stopped until a restart, which is
// all that is needed.
func (s *sick) recovers() {
	s.t.Helper()
	s.disk.SetFault(nil)
	s.want("a command after the fault, before a restart", s.try(), 503, `"read-only"`)
	_ = s.close() // it may tell of the fault again
	s.start(s.t)
	s.wantHealthy(s.acknowledged, nil)
	s.mustClose()
}

// big is an append that fills the WAL by half a megabyte.
func (s *sick) big() error {
	_, err := s.Store.Append(context.Background(), "ballast", eventstore.Any, []eventstore.Event{{
		ID: uuid.New(), Type: "Ballast", Data: make([]byte, 512<<10),
	}})
	return err
}

// TestWriterStops: whatever keeps a commit from becoming durable stops the
// writer for good, clearly, and nothing else.
func TestWriterStops(t *testing.T) {
	for _, c := range []struct {
		fault
		files string
		says  string
	}{
		{fullDisk, "data/events.db-wal", "the disk is full"},
		{fullDisk, "data/**", "the disk is full"},
		{readOnly, "data/events.db-wal", "a write failed"},
		{readOnly, "data/**", "the disk cannot be written to"},
		{badDisk, "data/events.db-wal", "a write failed"},
		{badSync, "data/events.db-wal", "failed to keep what was written"},
		{badSync, "data/**", "failed to keep what was written"},
		{fullDisk, "data/head", "the disk is full"},
		{readOnly, "data/head", "cannot be written to"},
		{badDisk, "data/head", "a write failed"},
	} {
		t.Run(c.fault.name+" "+strings.ReplaceAll(c.files, "/", " "), func(t *testing.T) {
			s := well(t)
			strikes := c.on(s.disk, c.files)
			s.stops(c.says)
			if strikes.Load() == 0 {
				t.Error("the fault was not met")
			}
			s.recovers()
		})
	}
}

// TestSyncFailsOnce: a sync that fails once and works then is what SQLite would
// go on after; the pages of the failed one may be gone.
func TestSyncFailsOnce(t *testing.T) {
	s := well(t)
	var failed atomic.Bool
	s.disk.SetFault(func(op disktest.Op) error {
		if op.Path == "data/events.db-wal" && op.Kind == disktest.Sync && failed.CompareAndSwap(false, true) {
			return badSync.of(op)
		}
		return nil
	})
	s.stops("failed to keep what was written")
	s.recovers()
}

// TestWhatAFailedSyncLeft: after a failed sync the operating system forgets that
// the pages were never written; they are in its memory, as if they were on disk,
// until the power goes. A docket that was killed then and starts again must not
// build on them.
func TestWhatAFailedSyncLeft(t *testing.T) {
	const wal = "data/events.db-wal"
	s := well(t)
	type span struct{ from, to int64 }
	var written, forgotten []span
	var failed atomic.Bool
	s.disk.SetFault(func(op disktest.Op) error {
		switch {
		case op.Path != wal || failed.Load():
		case op.Kind == disktest.Write:
			written = append(written, span{op.Offset, op.Offset + op.Size})
		case op.Kind == disktest.Sync:
			failed.Store(true)
			forgotten = written
			return badSync.of(op)
		}
		return nil
	})
	s.stops("failed to keep what was written")
	if len(forgotten) == 0 {
		t.Fatal("nothing was written")
	}

	killed := disktest.New(fastDir(t))
	defer killed.Close()
	copied(t, s.dir, filepath.Join(killed.Root(), "data"))
	killed.SetFault(func(op disktest.Op) error {
		if op.Path == wal && (op.Kind == disktest.Remove || op.Kind == disktest.Truncate && op.Size == 0) {
			forgotten = nil
		}
		return nil
	})
	s.disk.SetFault(nil)
	_ = s.close()
	again := &sick{disk: killed, acknowledged: s.acknowledged, attempts: s.attempts}
	again.start(t)
	again.awaitReady()
	again.want("a command after the restart", again.try(), 201, "")
	cut := copied(t, again.dir, filepath.Join(fastDir(t), "cut"))
	if f, err := os.OpenFile(filepath.Join(cut, path.Base(wal)), os.O_WRONLY, 0); err == nil {
		for _, lost := range forgotten {
			if _, err := f.WriteAt(make([]byte, lost.to-lost.from), lost.from); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	again.mustClose()
	after := open(t, cut, nil)
	after.wantHealthy(again.acknowledged, nil)
	after.mustClose()
}

// TestShortWrites tears each kind of write once: a part of it is on disk.
func TestShortWrites(t *testing.T) {
	for file, lengths := range map[string][]int{"data/events.db-wal": {0, 1, 40, 5000}, "data/head": {0, 1, 40}} {
		for _, n := range lengths {
			t.Run(fmt.Sprint(path.Base(file), " ", n), func(t *testing.T) {
				s := well(t)
				var torn atomic.Bool
				s.disk.SetFault(func(op disktest.Op) error {
					if op.Path == file && op.Kind == disktest.Write && int64(n) < op.Size && torn.CompareAndSwap(false, true) {
						return disktest.ShortWrite{N: n, Err: badDisk.of(op)}
					}
					return nil
				})
				s.stops("a write failed")
				s.recovers()
			})
		}
	}
}

// TestCheckpointFails: the WAL cannot be copied into the log. Commits go on, for
// they are in the WAL, and so they do when the disk is well again.
func TestCheckpointFails(t *testing.T) {
	for _, f := range []fault{fullDisk, badDisk, badSync} {
		t.Run(f.name, func(t *testing.T) {
			s := well(t)
			strikes := f.on(s.disk, "data/events.db")
			for strikes.Load() == 0 {
				if err := s.big(); err != nil {
					t.Fatal(err)
				}
			}
			s.want("a command", s.try(), 201, "")
			s.reads(s.acknowledged)
			if f == badSync {
				_ = s.close() // and the copy at the end fails as well
				s.disk.SetFault(nil)
				s.start(t)
				s.wantHealthy(s.acknowledged, nil)
				s.mustClose()
				return
			}
			s.disk.SetFault(nil)
			s.wantHealthy(s.acknowledged, nil)
			s.mustClose()
			s.start(t)
			s.wantHealthy(s.acknowledged, nil)
			s.mustClose()
		})
	}
}

// TestViewsWait: views that cannot be written stop no command, say what they
// wait for, and go on by themselves when the disk is well again.
func TestViewsWait(t *testing.T) {
	for _, c := range []struct {
		fault
		files string
	}{
		{fullDisk, "data/views/**"}, {readOnly, "data/views/**"}, {badDisk, "data/views/*-wal"}, {badSync, "data/views/**"},
	} {
		t.Run(c.fault.name, func(t *testing.T) {
			s := well(t)
			strikes := c.on(s.disk, c.files)
			for range 5 {
				s.want("a command", s.try(), 201, "")
			}
			if c.fault != badSync { // a view's commit is not synced
				s.await("the views say what they wait for", func() bool { return strings.Contains(fmt.Sprint(s.ready().Impaired), "the view does not move") })
				if strikes.Load() == 0 {
					t.Error("the fault was not met")
				}
				s.want("the projection", s.get("/v1/projections"), 200, `"problem"`)
				s.want("an order that only the log has", s.get("/v1/orders/"+s.acknowledged[7]), 200, `"id"`)
			}
			s.reads(s.acknowledged[:3])
			s.disk.SetFault(nil)
			s.await("the views go on", func() bool { return len(s.ready().Impaired) == 0 })
			s.seen()
			s.want("a list", s.get("/v1/orders"), 200, `"total":8`)
			s.wantHealthy(s.acknowledged, nil)
			s.mustClose()
			s.start(t)
			s.wantHealthy(s.acknowledged, nil)
			s.mustClose()
		})
	}
}

// TestSnapshotsFail: they are of no consequence.
func TestSnapshotsFail(t *testing.T) {
	for _, f := range []fault{fullDisk, readOnly, badSync, badRead} {
		t.Run(f.name, func(t *testing.T) {
			s := well(t)
			f.on(s.disk, "data/snapshots.db*")
			for n := range 205 {
				s.want("a note", s.note("order-0", fmt.Sprint(n)), 200, "")
			}
			s.reads(s.acknowledged)
			s.disk.SetFault(nil)
			s.wantHealthy(s.acknowledged, nil)
			_ = s.close()
			s.start(t)
			s.wantHealthy(s.acknowledged, nil)
			s.mustClose()
		})
	}
}

// TestNoRoomForARebuild: the live views stay what they are, the rebuild fails
// with the reason, leaves nothing, and works when there is room.
func TestNoRoomForARebuild(t *testing.T) {
	for _, files := range []string{"data/tmp/**", "data/views/orders-2.db*"} {
		t.Run(strings.ReplaceAll(files, "/", " "), func(t *testing.T) {
			s := well(t)
			strikes := fullDisk.on(s.disk, files)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Manager.Rebuild(ctx, nil) }()
			s.await("the rebuild meets the fault", func() bool { return strikes.Load() > 0 })
			s.want("a command", s.try(), 201, "")
			s.reads(s.acknowledged[:3])
			cancel() // a rebuild waits for room
			if err := <-ended; err == nil {
				t.Error("a rebuild without room succeeded")
			}
			s.disk.SetFault(nil)
			if left, err := filepath.Glob(filepath.Join(s.dir, "tmp", "*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
			if err := s.Manager.Rebuild(t.Context(), nil); err != nil {
				t.Error(err)
			}
			s.wantHealthy(s.acknowledged, nil)
			s.mustClose()
		})
	}
}

// TestNoRoomForABackup: nothing that looks like one is left.
func TestNoRoomForABackup(t *testing.T) {
	s := well(t)
	to := filepath.Join(s.disk.Root(), "backup")
	opt := sqlite.CopyOptions{VFS: s.disk.VFS(), Disk: s.disk.FS()}
	for _, f := range []fault{fullDisk, readOnly, badSync, badRead} {
		strikes := f.on(s.disk, "backup backup/** ")
		if _, err := sqlite.Backup(t.Context(), s.dir, to, opt); err == nil || strikes.Load() == 0 {
			t.Errorf("%s: %v, met %d times", f.name, err, strikes.Load())
		}
		s.disk.SetFault(nil)
		if _, err := os.Stat(to); f != readOnly && !os.IsNotExist(err) {
			t.Errorf("%s: left behind (%v)", f.name, err)
		}
		if err := os.RemoveAll(to); err != nil { // what a read-only disk does not let go
			t.Fatal(err)
		}
		s.want("a command", s.try(), 201, "")
	}
	if _, err := sqlite.Backup(t.Context(), s.dir, to, opt); err != nil {
		t.Error(err)
	}
	s.wantHealthy(s.acknowledged, nil)
	s.mustClose()
	// A restore that finds no room leaves the folder as it was.
	for _, f := range []fault{fullDisk, badSync, badRead} {
		strikes := f.on(s.disk, "data/restore data/restore/**")
		if _, err := sqlite.Restore(t.Context(), to, s.dir, opt); err == nil || strikes.Load() == 0 {
			t.Errorf("%s: %v, met %d times", f.name, err, strikes.Load())
		}
		s.disk.SetFault(nil)
		s.start(t)
		s.wantHealthy(s.acknowledged, nil)
		s.mustClose()
	}
}

// TestUnreadableSectors: what cannot be read is an error, never another answer,
// and is read again when it can be.
func TestUnreadableSectors(t *testing.T) {
	for _, files := range []string{"data/events.db*", "data/views/**", "data/**"} {
		t.Run(strings.ReplaceAll(files, "/", " "), func(t *testing.T) {
			s := well(t)
			s.mustClose()
			s.start(t) // nothing is in memory
			s.awaitReady()
			strikes := badRead.on(s.disk, files)
			for _, id := range s.acknowledged {
				for _, path := range []string{"/v1/orders/" + id, "/v1/orders/" + id + "?atRevision=0"} {
					if got := s.get(path); got.status != 200 && got.status < 500 {
						t.Errorf("%s: %d %s", path, got.status, got.body)
					}
				}
			}
			for range 3 {
				if got := s.try(); got.status != http.StatusCreated && got.status < 500 {
					t.Errorf("a command: %d %s", got.status, got.body)
				}
			}
			s.get("/readyz")
			s.disk.SetFault(nil)
			s.reads(s.acknowledged[:3])
			t.Logf("%d reads failed", strikes.Load())
			_ = s.close()
			s.start(t)
			s.wantHealthy(s.acknowledged, nil)
			s.mustClose()
		})
	}
}

// TestStartOnAFullDisk: it fails in words, or serves; when there is room again
// everything is there.
func TestStartOnAFullDisk(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprint("killed ", killed), func(t *testing.T) {
			s := well(t)
			dir := s.dir
			if killed {
				dir = copied(t, s.dir, filepath.Join(s.disk.Root(), "killed"))
			}
			s.mustClose()
			s.disk.SetFault(func(op disktest.Op) error {
				if fullDisk.strikes(op) {
					return fullDisk.of(op)
				}
				return nil
			})
			a, err := tryOpen(t, dir, s.disk)
			if err == nil {
				a.want("a command", a.place("more"), 503, "")
				_ = a.close()
			} else if !strings.Contains(err.Error(), "disk is full") && !strings.Contains(err.Error(), "no space left") {
				t.Errorf("start: %v", err)
			}
			t.Logf("start: %v", err)
			s.disk.SetFault(nil)
			again := open(t, dir, s.disk)
			again.wantHealthy(s.acknowledged, nil)
			again.mustClose()
		})
	}
}

// TestDamagedEvent: an event that cannot be read stops what needs it, says so,
// and stops nothing else, also when the views have not seen it yet.
func TestDamagedEvent(t *testing.T) {
	for _, behind := range []bool{false, true} {
		t.Run(fmt.Sprint("views behind ", behind), func(t *testing.T) {
			dir := filepath.Join(fastDir(t), "data")
			a := open(t, dir, nil)
			a.awaitReady()
			a.want("an order", a.place("before"), 201, "")
			if err := a.Manager.CaughtUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.mustClose()
			views := copied(t, filepath.Join(dir, "views"), filepath.Join(fastDir(t), "views"))
			a = open(t, dir, nil)
			a.awaitReady()
			a.want("an order", a.place("harmed"), 201, "")
			a.want("a note", a.note("harmed", "IN-THE-NOTE"), 200, "")
			a.want("an order", a.place("after"), 201, "")
			if err := a.Manager.CaughtUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.mustClose()
			if behind {
				if err := firstOf(os.RemoveAll(filepath.Join(dir, "views")), os.Rename(views, filepath.Join(dir, "views"))); err != nil {
					t.Fatal(err)
				}
			}
			log, err := os.ReadFile(filepath.Join(dir, "events.db"))
			if err != nil || !strings.Contains(string(log), "IN-THE-NOTE") {
				t.Fatalf("the note is not in the log: %v", err)
			}
			log = []byte(strings.ReplaceAll(string(log), "IN-THE-NOTE", "IN-THE-NOT."))
			if err := os.WriteFile(filepath.Join(dir, "events.db"), log, 0o600); err != nil {
				t.Fatal(err)
			}

			a = open(t, dir, nil)
			a.awaitReady()
			if r := a.ready(); !r.Commands || !r.Reads || behind == (len(r.Impaired) == 0) {
				t.Errorf("ready: %+v", r)
			}
			if behind {
				a.want("the projection", a.get("/v1/projections"), 200, "checksum does not match")
			}
			a.want("an order before it", a.get("/v1/orders/before"), 200, "")
			a.want("an order after it", a.get("/v1/orders/after"), 200, "")
			a.want("a command on an order after it", a.note("after", "fine"), 200, "")
			a.want("a command", a.place("new"), 201, "")
			a.want("a command on the harmed order", a.note("harmed", "no"), 500, `"internal"`)
			if got := a.get("/v1/orders/harmed"); strings.Contains(got.body, "IN-THE-NOT.") {
				t.Errorf("another event is shown: %s", got.body)
			}
			if report, err := a.Embedded.Verify(t.Context(), nil); err != nil || len(report.Findings) != 1 {
				t.Errorf("verify: %+v, %v", report, err)
			}
			a.mustClose()
		})
	}
}
