package sqlite

import (
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// formatVersion is the version of the file layout below, kept in PRAGMA
// user_version. It rises when an older docket could misread the file.
const formatVersion = 1

// schema holds the layout; the package comment describes it.
const schema = `
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value
) WITHOUT ROWID;

CREATE TABLE streams (
	id        INTEGER PRIMARY KEY,
	name      TEXT NOT NULL UNIQUE,
	last      INTEGER NOT NULL,
	tombstone INTEGER NOT NULL
);

CREATE TABLE events (
	position INTEGER PRIMARY KEY,
	stream   INTEGER NOT NULL,
	revision INTEGER NOT NULL,
	id       BLOB NOT NULL,
	type     TEXT NOT NULL,
	json     INTEGER NOT NULL,
	data     BLOB NOT NULL,
	metadata BLOB NOT NULL,
	created  INTEGER NOT NULL,
	checksum INTEGER NOT NULL
);

CREATE UNIQUE INDEX events_by_stream ON events (stream, revision);

CREATE TABLE truncations (
	after   INTEGER PRIMARY KEY,
	resume  INTEGER NOT NULL,
	epoch   INTEGER NOT NULL,
	created INTEGER NOT NULL
);
`

const (
	busyTimeout = 30 * time.Second
	// readersPatience is how long a start and a stop wait for a process beside
	// us to end its read, a backup for example, before the WAL is left as it is.
	readersPatience = time.Second
	// checkpointPages is the length of the WAL at which SQLite copies it back
	// into the main file: 32 MiB, so that a page changed often is copied once.
	checkpointPages = 4096
)

// fileURI names a file on the named VFS (empty: the default one).
func fileURI(path, vfs string) string {
	name := "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()
	if vfs != "" {
		name += "?vfs=" + url.QueryEscape(vfs)
	}
	return name
}

// openConn opens path on the named VFS (empty: the default one).
func openConn(path, vfs string, flags sqlite3.OpenFlag) (*sqlite3.Conn, error) {
	conn, err := sqlite3.OpenFlags(fileURI(path, vfs), flags|sqlite3.OPEN_URI)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	if err := conn.BusyTimeout(busyTimeout); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// openWriter opens the log for writing and creates it when it is not there.
func openWriter(path, vfs string, identity func() [16]byte) (*sqlite3.Conn, error) {
	conn, err := openConn(path, vfs, sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE)
	if err != nil {
		return nil, err
	}
	if err := prepareFile(conn, identity); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func prepareFile(conn *sqlite3.Conn, identity func() [16]byte) error {
	version, err := userVersion(conn)
	if err != nil {
		return err
	}
	// The page size can only be chosen before the WAL exists.
	err = conn.Exec(`PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-32768`)
	if err != nil {
		return fmt.Errorf("prepare log: %w", err)
	}
	if err := conn.WALAutoCheckpoint(checkpointPages); err != nil {
		return err
	}
	if version != 0 {
		return nil
	}
	id := identity()
	return conn.Exec(fmt.Sprintf(`BEGIN IMMEDIATE; %s
		INSERT INTO meta VALUES ('log_id', x'%x'), ('epoch', 1);
		PRAGMA user_version=%d; COMMIT`, schema, id, formatVersion))
}

// userVersion reads the version of the layout and refuses a newer one. 0 is a
// file that was just created.
func userVersion(conn *sqlite3.Conn) (int64, error) {
	version, err := queryInt(conn, `PRAGMA user_version`)
	if err != nil {
		return 0, fmt.Errorf("read format version: %w", err)
	}
	if version > formatVersion {
		return 0, fmt.Errorf("events.db has format version %d, this docket knows up to %d: start the docket that wrote it, or a newer one", version, formatVersion)
	}
	return version, nil
}

// queryInt answers the first column of the first row; 0 when there is none.
func queryInt(conn *sqlite3.Conn, sql string) (int64, error) {
	stmt, _, err := conn.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer stmt.Close()
	var n int64
	if stmt.Step() {
		n = stmt.ColumnInt64(0)
	}
	return n, stmt.Err()
}
