package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

func TestOpenedTwice(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	_, err := Open(t.Context(), dir, Options{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("is already open in process %d", os.Getpid())) {
		t.Fatalf("second open: %v", err)
	}
	mustAppend(t, s, "still-works", eventstore.NoStream, testEvent(1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, dir)
}

func TestNewerVersion(t *testing.T) {
	dir, _ := closedLog(t, 1)
	conn, err := openConn(filepath.Join(dir, "events.db"), "", sqlite3.OPEN_READWRITE)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(`PRAGMA user_version = 2`); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (*Store, error){
		"writable":  func() (*Store, error) { return Open(t.Context(), dir, Options{}) },
		"read-only": func() (*Store, error) { return OpenReadOnly(t.Context(), dir) },
	} {
		if _, err := open(); err == nil || !strings.Contains(err.Error(), "format version 2") {
			t.Errorf("%s: %v, want a refusal that names the version", name, err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenReadOnly(t.Context(), dir); err == nil {
		t.Error("an empty folder opens")
	}
	s := openTest(t, dir)
	mustAppend(t, s, "order-1", eventstore.NoStream, testEvent(1))
	r, err := OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Append(t.Context(), "order-1", eventstore.Any, nil); !errors.Is(err, eventstore.ErrReadOnly) {
		t.Errorf("append: %v", err)
	}
	if _, err := r.AcceptLoss(t.Context()); !errors.Is(err, eventstore.ErrReadOnly) {
		t.Errorf("accept loss: %v", err)
	}
	if _, err := r.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{}); err == nil {
		t.Error("a read-only store can be subscribed to")
	}
	// It sees what the writer commits.
	mustAppend(t, s, "order-1", eventstore.At(0), testEvent(1))
	if head, err := r.Head(t.Context()); err != nil || head != eventstore.At64(2) {
		t.Errorf("head %s, %v; want 2", head, err)
	}
	got, err := collect(r.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0))
	if err != nil || len(got) != 2 {
		t.Errorf("%d events, %v", len(got), err)
	}
}

// TestGroup: appends that share a transaction succeed and fail each alone.
func TestGroup(t *testing.T) {
	s := openTest(t, t.TempDir())
	const n = 200
	var wins atomic.Int64
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() {
			stream := fmt.Sprintf("order-%d", i/2) // every second one conflicts
			out, err := s.Append(t.Context(), stream, eventstore.NoStream, []eventstore.Event{testEvent(10), testEvent(10)})
			if err == nil && out.Revision == 1 {
				wins.Add(1)
			} else if !errors.Is(err, eventstore.ErrConflict) {
				t.Errorf("append %d: %+v, %v", i, out, err)
			}
		})
	}
	wait.Wait()
	if wins.Load() != n/2 {
		t.Errorf("%d of %d appends won, want half", wins.Load(), n)
	}
	report, err := s.Verify(t.Context(), nil)
	if err != nil || !report.OK() || report.Events != n || report.Streams != n/2 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

// TestOverloaded holds the writer up and fills the queue.
func TestOverloaded(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), Options{Queue: 2})
	if err != nil {
		t.Fatal(err)
	}
	entered, resume := make(chan struct{}), make(chan struct{})
	results := make(chan error, 4)
	go func() {
		_, err := s.submit(t.Context(), 0, func(w *writer) (eventstore.Appended, error) {
			close(entered)
			<-resume
			return w.append("order-0", eventstore.NoStream, []eventstore.Event{testEvent(1)})
		})
		results <- err
	}()
	<-entered
	gone, leave := context.WithCancel(t.Context())
	queue := func(ctx context.Context, stream string) {
		r := len(s.queue)
		go func() {
			_, err := s.Append(ctx, stream, eventstore.NoStream, []eventstore.Event{testEvent(1)})
			results <- err
		}()
		for len(s.queue) == r {
			select {
			case <-t.Context().Done():
				t.Fatal("the append was not queued")
			case <-time.After(time.Millisecond):
			}
		}
	}
	queue(gone, "order-1")
	queue(t.Context(), "order-2")
	if _, err := s.Append(t.Context(), "order-3", eventstore.NoStream, []eventstore.Event{testEvent(1)}); !errors.Is(err, eventstore.ErrOverloaded) {
		t.Errorf("append to a full queue: %v", err)
	}
	// Who leaves before the writer came to it has written nothing.
	leave()
	if err := <-results; !errors.Is(err, context.Canceled) || errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("left the queue: %v", err)
	}
	close(resume)
	for range 2 {
		if err := <-results; err != nil {
			t.Errorf("accepted append: %v", err)
		}
	}
	got, err := collect(s.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0))
	if err != nil || len(got) != 2 || got[0].Stream != "order-0" || got[1].Stream != "order-2" {
		t.Errorf("%d events, %v; want those of order-0 and order-2", len(got), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestTakenThenCancelled: who leaves while its group is written does not know.
func TestTakenThenCancelled(t *testing.T) {
	s := openTest(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	e := testEvent(1)
	_, err := s.submit(ctx, 0, func(w *writer) (eventstore.Appended, error) {
		cancel()
		<-left
		return w.append("order-1", eventstore.NoStream, []eventstore.Event{e})
	})
	close(left)
	if !errors.Is(err, eventstore.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want outcome unknown", err)
	}
	if out := mustAppend(t, s, "order-1", eventstore.NoStream, e); out.Revision != 0 || !out.Repeated {
		t.Errorf("the same append again: %+v", out)
	}
}

// faulty is the operating system's VFS, until told to fail.
type faulty struct {
	vfs.VFSFilename
	sync, write atomic.Bool
}

type faultyFile struct {
	vfs.File
	faults *faulty
}

func (v *faulty) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := v.VFSFilename.OpenFilename(name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &faultyFile{File: f, faults: v}, flags, nil
}

func (f *faultyFile) Sync(flags vfs.SyncFlag) error {
	if f.faults.sync.Load() {
		return sqlite3.IOERR_FSYNC
	}
	return f.File.Sync(flags)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if f.faults.write.Load() {
		return 0, sqlite3.FULL
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) SharedMemory() vfs.SharedMemory {
	if shm, ok := f.File.(vfs.FileSharedMemory); ok {
		return shm.SharedMemory()
	}
	return nil
}

func (f *faultyFile) Unwrap() vfs.File { return f.File }

// TestPoisonedWriter: after a failed sync or write nothing is written until a
// restart, reads go on, and the restart finds a whole log.
func TestPoisonedWriter(t *testing.T) {
	for name, fault := range map[string]func(*faulty) *atomic.Bool{
		"sync":  func(v *faulty) *atomic.Bool { return &v.sync },
		"write": func(v *faulty) *atomic.Bool { return &v.write },
	} {
		t.Run(name, func(t *testing.T) {
			v := &faulty{VFSFilename: vfs.Find("").(vfs.VFSFilename)}
			vfs.Register("faulty-"+name, v)
			defer vfs.Unregister("faulty-" + name)
			dir := t.TempDir()
			s, err := Open(t.Context(), dir, Options{VFS: "faulty-" + name})
			if err != nil {
				t.Fatal(err)
			}
			mustAppend(t, s, "order-1", eventstore.NoStream, testEvent(10))
			fault(v).Store(true)
			lost := testEvent(10)
			_, err = s.Append(t.Context(), "order-1", eventstore.At(0), []eventstore.Event{lost})
			if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
				t.Fatalf("append while the disk fails: %v", err)
			}
			fault(v).Store(false)
			for range 3 {
				_, err = s.Append(t.Context(), "order-2", eventstore.NoStream, []eventstore.Event{testEvent(10)})
				if !errors.Is(err, eventstore.ErrReadOnly) || !strings.Contains(err.Error(), "restart") {
					t.Fatalf("append after the failure: %v", err)
				}
			}
			got, err := collect(s.ReadStream(t.Context(), "order-1", 0, eventstore.Forwards, 0))
			if err != nil || len(got) != 1 {
				t.Errorf("%d events, %v; want the acknowledged one", len(got), err)
			}
			if head, err := s.Head(t.Context()); err != nil || head != eventstore.At64(1) {
				t.Errorf("head %s, %v; want 1", head, err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			s = openTest(t, dir)
			// Whatever became of it, the same append settles it.
			if out := mustAppend(t, s, "order-1", eventstore.At(0), lost); out.Revision != 1 {
				t.Errorf("revision %d, want 1", out.Revision)
			}
			report, err := s.Verify(t.Context(), nil)
			if err != nil || !report.OK() || report.Events != 2 {
				t.Errorf("verify: %+v, %v", report, err)
			}
		})
	}
}

// TestWithoutClose: a copy of the files of a running store holds everything
// that was acknowledged.
func TestWithoutClose(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	for i := range 50 {
		mustAppend(t, s, "order-1", eventstore.Expected(i-1), testEvent(100))
	}
	again := openTest(t, copyFolder(t, dir))
	got, err := collect(again.ReadStream(t.Context(), "order-1", 0, eventstore.Forwards, 0))
	if err != nil || len(got) != 50 {
		t.Errorf("%d events, %v; want 50", len(got), err)
	}
	mustAppend(t, again, "order-1", eventstore.At(49), testEvent(100))
}

const killedFolder = "DOCKET_TEST_KILLED_FOLDER"

// TestKilled kills a process that appends, again and again: every append that
// it said was acknowledged is there.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killedFolder); dir != "" {
		appendUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killedFolder+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 300*(round+1) {
				cmd.Process.Kill()
			}
			// The last line may be cut.
			if id, whole := strings.CutSuffix(lines.Text(), "."); whole {
				acknowledged[id] = true
			}
		}
		_ = cmd.Wait() // it was killed
		s, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		stored := map[string]bool{}
		for rec, err := range s.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
			if err != nil {
				t.Fatal(err)
			}
			stored[rec.ID.String()] = true
		}
		for id := range acknowledged {
			if !stored[id] {
				t.Errorf("round %d: event %s was acknowledged and is gone", round, id)
			}
		}
		if report, err := s.Verify(t.Context(), nil); err != nil || !report.OK() {
			t.Errorf("round %d: verify: %+v, %v", round, report, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(acknowledged) < 600 {
		t.Errorf("only %d appends were acknowledged", len(acknowledged))
	}
}

func appendUntilKilled(t *testing.T, dir string) {
	s := openTest(t, dir)
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for {
				e := testEvent(200)
				if _, err := s.Append(t.Context(), fmt.Sprintf("order-%d", w), eventstore.Any, []eventstore.Event{e}); err != nil {
					t.Error(err)
					return
				}
				// One write per line, so that lines do not mix.
				if _, err := fmt.Fprintf(os.Stdout, "%s.\n", e.ID); err != nil {
					return
				}
			}
		})
	}
	wait.Wait()
}

func TestRecentIDs(t *testing.T) {
	var r recentIDs
	ids := make([]uuid.UUID, 2*recentCapacity+10)
	for i := range ids {
		ids[i] = uuid.New()
		r.add(ids[i], 1, eventstore.Revision(i))
		r.add(ids[i], 1, eventstore.Revision(i+1)) // the first one counts
		if oldest := max(0, i-recentCapacity+1); i%1000 == 9 {
			if at, ok := r.find(ids[oldest], 1); !ok || at != eventstore.Revision(oldest) {
				t.Fatalf("after %d: id %d is at %d, %v", i, oldest, at, ok)
			}
		}
	}
	if n := len(r.newer) + len(r.older); n > 2*recentCapacity {
		t.Errorf("%d ids are remembered", n)
	}
	if _, ok := r.find(ids[9], 1); ok {
		t.Error("an old id was not forgotten")
	}
	if _, ok := r.find(ids[len(ids)-1], 2); ok {
		t.Error("an id is known in another stream")
	}
}

func TestSnapshots(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	load := func(stream string) string {
		t.Helper()
		revision, data, ok, err := s.Snapshots().Load(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return "none"
		}
		return fmt.Sprintf("%d %s", revision, data)
	}
	save := func(stream string, revision int64, data string) {
		t.Helper()
		if err := s.Snapshots().Save(t.Context(), stream, revision, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("snapshot %q, want %q", got, want)
		}
	}
	want(load("order-1"), "none")
	save("order-1", 99, "first")
	save("order-2", 7, "")
	save("order-1", 199, "second")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir)
	want(load("order-1"), "199 second")
	want(load("order-2"), "7 ")
	if err := s.Snapshots().Drop(t.Context(), "order-1"); err != nil {
		t.Fatal(err)
	}
	want(load("order-1"), "none")
	// A damaged row counts as none.
	if err := s.Snapshots().conn.Exec(`UPDATE snapshots SET revision = 8`); err != nil {
		t.Fatal(err)
	}
	want(load("order-2"), "none")
	save("order-3", 1, "kept")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Another log, and an unreadable file, begin afresh.
	for name, harm := range map[string]func() error{
		"another log": func() error { return errors.Join(os.Remove(filepath.Join(dir, "events.db")), os.Remove(headPath(dir))) },
		"unreadable": func() error {
			return os.WriteFile(filepath.Join(dir, "snapshots.db"), []byte("not a database at all, but long enough"), 0o600)
		},
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, dir)
		want(load("order-3"), "none")
		save("order-3", 2, name)
		want(load("order-3"), "2 "+name)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
