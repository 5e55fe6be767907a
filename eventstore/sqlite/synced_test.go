package sqlite

import (
	"os"
	"path"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk/disktest"
	"github.com/ncruces/go-sqlite3"
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

// TestAWALThatStaysIsWrittenAgain: while somebody reads, the WAL cannot be begun
// anew; then all of it is written once more and synced before the log is open,
// since a sync that failed earlier is not repeated by the operating system.
func TestAWALThatStaysIsWrittenAgain(t *testing.T) {
	d := disktest.New(t.TempDir())
	defer d.Close()
	if err := d.Record(); err != nil {
		t.Fatal(err)
	}
	opt := Options{VFS: d.VFS(), Disk: d.FS()}
	s, err := Open(t.Context(), d.Root(), opt)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := openConn(s.path(), d.VFS(), sqlite3.OPEN_READONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.Exec(`BEGIN; SELECT * FROM events`); err != nil {
		t.Fatal(err)
	}
	for range 3 { // more than is written at once
		mustAppend(t, s, "order-1", eventstore.Any, testEvent(1<<19))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d.Stop()
	info, err := os.Stat(s.path() + "-wal")
	if err != nil || info.Size() == 0 {
		t.Fatalf("the reader did not keep the WAL: %v, %v", info, err)
	}
	if err := d.Record(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(t.Context(), d.Root(), opt); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	written, synced := int64(0), false
	for _, op := range d.Stop().Ops {
		if op.Path == "events.db-wal" {
			switch op.Kind {
			case disktest.Write:
				written += int64(len(op.Data))
			case disktest.Sync:
				synced = written == info.Size()
			}
		}
	}
	if !synced || s.Refusal() != nil {
		t.Errorf("%d of %d bytes written again, synced: %v; %v", written, info.Size(), synced, s.Refusal())
	}
}
