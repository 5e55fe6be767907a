package sqlite

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/docket-orders/docket/eventstore"
	"github.com/ncruces/go-sqlite3"
)

// Snapshots keeps the newest snapshot of each stream in snapshots.db, a file
// of its own so that writing one never waits for the log. A snapshot may be
// lost without harm: the file is synced only when its WAL is copied back, so that
// a power cut takes the newest and leaves the rest whole. The file is made anew
// when it cannot be read or belongs to another log or epoch, and a damaged row
// counts as none.
// All methods may be called from many goroutines.
type Snapshots struct {
	mu     sync.Mutex
	conn   *sqlite3.Conn
	load   *sqlite3.Stmt
	save   *sqlite3.Stmt
	drop   *sqlite3.Stmt
	closed bool
}

const snapshotSchema = `
PRAGMA journal_mode=WAL;
PRAGMA synchronous=NORMAL;
CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), log TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS snapshots (
	stream   TEXT PRIMARY KEY,
	revision INTEGER NOT NULL,
	data     BLOB NOT NULL,
	checksum INTEGER NOT NULL
);`

func openSnapshots(dir string, opt Options, log eventstore.LogIdentity) (*Snapshots, error) {
	path := filepath.Join(dir, "snapshots.db")
	s, err := tryOpenSnapshots(path, opt.VFS, log)
	if err == nil {
		return s, nil
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := opt.Disk.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove unreadable snapshots: %w", err)
		}
	}
	return tryOpenSnapshots(path, opt.VFS, log)
}

func tryOpenSnapshots(path, vfs string, log eventstore.LogIdentity) (*Snapshots, error) {
	conn, err := openConn(path, vfs, sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE)
	if err != nil {
		return nil, err
	}
	s := &Snapshots{conn: conn}
	if err = conn.Exec(snapshotSchema); err == nil {
		err = prepareAll(conn, map[string]**sqlite3.Stmt{
			`SELECT revision, data, checksum FROM snapshots WHERE stream = ?`: &s.load,
			`INSERT OR REPLACE INTO snapshots VALUES (?,?,?,?)`:               &s.save,
			`DELETE FROM snapshots WHERE stream = ?`:                          &s.drop,
		})
	}
	if err == nil {
		err = s.adopt(log)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open snapshots: %w", err), s.close())
	}
	return s, nil
}

// adopt drops every snapshot that was taken of another log or epoch.
func (s *Snapshots) adopt(log eventstore.LogIdentity) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := sqlite3.Quote(fmt.Sprintf("%s/%d", log.ID, log.Epoch))
	same, err := queryInt(s.conn, `SELECT count(*) FROM owner WHERE log = `+owner)
	if err != nil || same == 1 {
		return err
	}
	return s.conn.Exec(`BEGIN IMMEDIATE; DELETE FROM snapshots; INSERT OR REPLACE INTO owner VALUES (1, ` + owner + `); COMMIT`)
}

// Load answers ok=false when there is no snapshot.
func (s *Snapshots) Load(_ context.Context, stream string) (revision int64, data []byte, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, nil, false, errClosed
	}
	defer s.load.Reset()
	if err := s.load.BindText(1, stream); err != nil {
		return 0, nil, false, err
	}
	if !s.load.Step() {
		if err := s.load.Err(); err != nil {
			return 0, nil, false, fmt.Errorf("load snapshot of %s: %w", stream, err)
		}
		return 0, nil, false, nil
	}
	revision = s.load.ColumnInt64(0)
	data = s.load.ColumnBlob(1, nil)
	if snapshotSum(stream, revision, data) != uint32(s.load.ColumnInt64(2)) {
		return 0, nil, false, nil
	}
	return revision, data, true, nil
}

// Save replaces the stream's snapshot.
func (s *Snapshots) Save(_ context.Context, stream string, revision int64, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	err := errors.Join(
		s.save.BindText(1, stream),
		s.save.BindInt64(2, revision),
		bindBlob(s.save, 3, data),
		s.save.BindInt64(4, int64(snapshotSum(stream, revision, data))),
	)
	if err == nil {
		err = s.save.Exec()
	}
	if err != nil {
		return fmt.Errorf("save snapshot of %s: %w", stream, err)
	}
	return nil
}

// Drop removes the stream's snapshot; it is no error when there is none.
func (s *Snapshots) Drop(_ context.Context, stream string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if err := s.drop.BindText(1, stream); err != nil {
		return err
	}
	if err := s.drop.Exec(); err != nil {
		return fmt.Errorf("drop snapshot of %s: %w", stream, err)
	}
	return nil
}

func (s *Snapshots) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(s.load.Close(), s.save.Close(), s.drop.Close(), s.conn.Close())
}

func snapshotSum(stream string, revision int64, data []byte) uint32 {
	sum := crc32.Checksum(fmt.Appendf(nil, "%s\n%d\n", stream, revision), castagnoli)
	return crc32.Update(sum, castagnoli, data)
}
