package sqlite

import (
	"path"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk/disktest"
)

// TestAcknowledgedIsSynced looks at what reaches the disk, in which order: when
// an append is acknowledged the WAL was written since the last one, everything
// in it is synced, and so is the name of every file that holds events. The head
// file never says more than what is synced. A log that is opened again gets a
// new WAL.
func TestAcknowledgedIsSynced(t *testing.T) {
	d := disktest.New(t.TempDir())
	defer d.Close()
	for _, life := range []string{"a new log", "opened again"} {
		t.Run(life, func(t *testing.T) {
			if err := d.Record(); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), d.Root(), Options{VFS: d.VFS(), Disk: d.FS()})
			if err != nil {
				t.Fatal(err)
			}
			for range syncedAppends {
				mustAppend(t, s, "order-1", eventstore.Any, testEvent(100))
				d.Mark("acknowledged")
			}
			ops := d.Stop().Ops
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			wantSynced(t, ops)
		})
	}
}

const syncedAppends = 50

func wantSynced(t *testing.T, ops []disktest.Op) {
	t.Helper()
	holdsEvents := func(file string) bool { return file == "events.db" || file == "events.db-wal" }
	unsynced, unnamed := map[string]bool{}, map[string]bool{}
	written, acknowledged, heads := false, 0, 0
	for _, op := range ops {
		switch op.Kind {
		case disktest.Create:
			unnamed[op.Path] = true
		case disktest.SyncDir:
			for file := range unnamed {
				if path.Dir(file) == path.Clean(op.Path) {
					delete(unnamed, file)
				}
			}
		case disktest.Write, disktest.Truncate:
			if holdsEvents(op.Path) {
				unsynced[op.Path] = true
				written = true
			}
			if op.Path != "head" {
				break
			}
			// The first is that of Open.
			if heads++; heads > 1 && (!written || unsynced["events.db-wal"]) {
				t.Errorf("after %d appends: the head file is written before the log is", acknowledged)
			}
		case disktest.Sync:
			delete(unsynced, op.Path)
		case disktest.Mark:
			acknowledged++
			if !written || unsynced["events.db-wal"] {
				t.Errorf("append %d is acknowledged: written %v, unsynced %v", acknowledged, written, unsynced)
			}
			for file := range unnamed {
				if holdsEvents(file) {
					t.Errorf("append %d is acknowledged: the folder does not name %s for certain", acknowledged, file)
				}
			}
			written = false
		}
	}
	if acknowledged != syncedAppends || heads <= syncedAppends {
		t.Errorf("%d of %d appends, %d writes of the head file are on record", acknowledged, syncedAppends, heads)
	}
}
