package dirsync_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/docket-orders/docket/internal/disk/dirsync"
	"github.com/docket-orders/docket/internal/disk/disktest"
	"github.com/ncruces/go-sqlite3"
)

// Before a database is written to in place, the name of the file that it would
// be recovered from is durable; so is the name of a new WAL with its first sync.
func TestNewNamesAreSynced(t *testing.T) {
	d := disktest.New(t.TempDir())
	defer d.Close()
	if err := d.Record(); err != nil {
		t.Fatal(err)
	}
	conn, err := sqlite3.Open("file:" + filepath.Join(d.Root(), "a.db") + "?vfs=" + dirsync.VFS(d.VFS()))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(`CREATE TABLE t (x); PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; INSERT INTO t VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, op := range d.Stop().Ops {
		switch step := op.Kind.String() + " " + op.Path; step {
		case "create a.db-journal", "create a.db-wal", "sync a.db-wal", "syncdir .", "write a.db":
			if !slices.Contains(steps, step) || op.Kind == disktest.SyncDir {
				steps = append(steps, step)
			}
		}
	}
	// The second folder is synced by the driver, after the removal of the journal.
	want := []string{"create a.db-journal", "syncdir .", "write a.db"}
	if len(steps) < len(want) || !slices.Equal(steps[:len(want)], want) {
		t.Errorf("before the first write: %q", steps)
	}
	wal := slices.Index(steps, "sync a.db-wal")
	if wal < 0 || wal+1 == len(steps) || steps[wal+1] != "syncdir ." {
		t.Errorf("after the first sync of the WAL: %q", steps)
	}
}
