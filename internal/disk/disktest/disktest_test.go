package disktest_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/docket-orders/docket/internal/disk/disktest"
	"github.com/ncruces/go-sqlite3"
)

// SQLite works as ever on the VFS, and what it does is on record.
func TestSQLiteIsRecorded(t *testing.T) {
	d := disktest.New(t.TempDir())
	defer d.Close()
	if err := d.Record(); err != nil {
		t.Fatal(err)
	}
	conn := open(t, d, "a.db")
	exec(t, conn, `PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (x)`)
	d.Mark("created")
	other := open(t, d, "a.db") // shared memory works
	exec(t, conn, `INSERT INTO t VALUES (zeroblob(20000))`)
	exec(t, other, `DELETE FROM t`)
	exec(t, conn, `PRAGMA wal_checkpoint(TRUNCATE)`)
	other.Close()
	conn.Close()
	seen := map[string]int{}
	for _, op := range d.Stop().Ops {
		seen[op.Kind.String()+" "+op.Path]++
	}
	for _, want := range []string{"create a.db", "create a.db-wal", "write a.db", "write a.db-wal", "sync a.db", "sync a.db-wal", "truncate a.db-wal", "remove a.db-wal", "mark created"} {
		if seen[want] == 0 {
			t.Errorf("no %q in %v", want, seen)
		}
	}
}

func open(t *testing.T, d *disktest.Disk, name string) *sqlite3.Conn {
	t.Helper()
	conn, err := sqlite3.Open("file:" + filepath.Join(d.Root(), name) + "?vfs=" + d.VFS())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func exec(t *testing.T, conn *sqlite3.Conn, sql string) {
	t.Helper()
	if err := conn.Exec(sql); err != nil {
		t.Fatal(err)
	}
}

// A fault fails what it is asked about, and a short write leaves its part.
func TestFaults(t *testing.T) {
	d := disktest.New(t.TempDir())
	defer d.Close()
	fs, boom := d.FS(), errors.New("boom")
	f, err := fs.OpenFile(filepath.Join(d.Root(), "f"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fail := func(kind disktest.Kind, err error) {
		d.SetFault(func(op disktest.Op) error {
			if op.Kind == kind {
				return err
			}
			return nil
		})
	}
	fail(disktest.Write, disktest.ShortWrite{N: 2, Err: boom})
	if n, err := f.Write([]byte("four")); n != 2 || !errors.Is(err, boom) {
		t.Errorf("short write: %d, %v", n, err)
	}
	fail(disktest.Sync, boom)
	if err := f.Sync(); err != boom {
		t.Errorf("sync: %v", err)
	}
	fail(disktest.Remove, boom)
	if err := fs.RemoveAll(f.Name()); err != boom {
		t.Errorf("remove: %v", err)
	}
	d.SetFault(nil)
	if b, err := fs.ReadFile(f.Name()); err != nil || string(b) != "fo" {
		t.Errorf("%q, %v", b, err)
	}
}
