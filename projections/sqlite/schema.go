package sqlite

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
)

// formatVersion is the version of the layout, kept in PRAGMA user_version. It
// changes when another docket could misread the file.
const formatVersion = 1

// index is one that questions are answered by. Each is made when a file is
// opened and it is not there. What is written needs none but the unique one.
type index struct{ kind, name, on string }

func (i index) isUnique() bool { return strings.HasPrefix(i.kind, "UNIQUE") }

// indexes beside the tables' keys. Every sort index ends with the id, which
// breaks ties; those of times carry the shape, which most filters come down to.
var indexes = []index{
	{"UNIQUE INDEX", "by_id", "orders (id)"},
	{"INDEX", "by_placed", "orders (placed, id, shape)"},
	{"INDEX", "by_updated", "orders (updated, id, shape)"},
	{"INDEX", "by_total", "orders (total, id)"},
	{"INDEX", "by_number", "orders (number, id)"},
	{"INDEX", "by_delivered", "orders (delivered, shape)"},
	{"INDEX", "by_customer", "orders (customer, placed, id)"},
	{"INDEX", "by_shape", "orders (shape)"},
	{"INDEX", "skus_of", "skus (n, sku)"}, // under which SKUs an order is listed
}

// sql makes it, under a condition; without one, it is what SQLite keeps.
func (i index) sql(condition string) string {
	return "CREATE " + i.kind + " " + condition + i.name + " ON " + i.on
}

// schema is described in the package comment.
const schema = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;

CREATE TABLE orders (
	n         INTEGER PRIMARY KEY,
	id        TEXT NOT NULL,
	revision  INTEGER NOT NULL,
	shape     INTEGER NOT NULL,
	placed    INTEGER NOT NULL,
	updated   INTEGER NOT NULL,
	delivered INTEGER,
	total     INTEGER NOT NULL,
	number    TEXT NOT NULL,
	customer  TEXT,              -- NULL for a guest
	words     INTEGER NOT NULL   -- hash of the indexed text
) STRICT;

CREATE TABLE docs (
	n            INTEGER PRIMARY KEY,
	contribution BLOB NOT NULL,
	skus         TEXT NOT NULL,  -- JSON array, as in the table skus
	document     BLOB NOT NULL
) STRICT;

CREATE TABLE shapes (
	id               INTEGER PRIMARY KEY,
	orders           INTEGER NOT NULL,
	status           TEXT NOT NULL,
	paymentStatus    TEXT NOT NULL,
	fulfilmentStatus TEXT NOT NULL,
	kind             TEXT NOT NULL,
	source           TEXT NOT NULL,
	currency         TEXT NOT NULL,
	country          TEXT NOT NULL,
	state            TEXT NOT NULL,
	tag              TEXT NOT NULL, -- JSON array, sorted
	anomaly          TEXT NOT NULL, -- JSON array, sorted
	UNIQUE (status, paymentStatus, fulfilmentStatus, kind, source, currency, country, state, tag, anomaly)
) STRICT;

CREATE TABLE skus (sku TEXT, n INTEGER, PRIMARY KEY (sku, n)) STRICT, WITHOUT ROWID;

CREATE VIRTUAL TABLE fts USING fts5 (words, content='', contentless_delete=1, detail=none, tokenize='ascii');

CREATE TABLE groupsets (
	id       INTEGER PRIMARY KEY,
	currency TEXT NOT NULL,
	groups   TEXT NOT NULL,      -- JSON
	UNIQUE (currency, groups)
) STRICT;

CREATE TABLE sums (
	groupset INTEGER,
	day      TEXT,               -- '*' over all days
	orders INTEGER NOT NULL, lines INTEGER NOT NULL, units INTEGER NOT NULL, items INTEGER NOT NULL,
	shipping INTEGER NOT NULL, grand INTEGER NOT NULL, paid INTEGER NOT NULL, rounding INTEGER NOT NULL,
	PRIMARY KEY (groupset, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE methods (
	currency TEXT, method TEXT, day TEXT,
	payments INTEGER NOT NULL, captured INTEGER NOT NULL,
	PRIMARY KEY (currency, method, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE products (
	currency TEXT, sku TEXT,
	units INTEGER NOT NULL, amount INTEGER NOT NULL, millionths INTEGER NOT NULL,
	PRIMARY KEY (currency, sku)
) STRICT, WITHOUT ROWID;

CREATE TABLE customers (
	customer TEXT, currency TEXT,
	orders INTEGER NOT NULL, items INTEGER NOT NULL, grand INTEGER NOT NULL, paid INTEGER NOT NULL, rounding INTEGER NOT NULL,
	PRIMARY KEY (customer, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE parked (
	id       TEXT PRIMARY KEY,
	revision INTEGER NOT NULL,
	position TEXT NOT NULL,
	reason   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
	lane     INTEGER PRIMARY KEY,
	position TEXT NOT NULL DEFAULT '0',
	event    BLOB NOT NULL DEFAULT (zeroblob(16)),
	owner    TEXT NOT NULL DEFAULT '',
	token    INTEGER NOT NULL DEFAULT 0,
	beat     INTEGER NOT NULL DEFAULT 0,
	log      BLOB NOT NULL DEFAULT (zeroblob(16)),
	epoch    INTEGER NOT NULL DEFAULT 0
) STRICT;
`

const (
	busyTimeout = 30 * time.Second
	// checkpointPages is the length of the WAL at which SQLite copies it back
	// into the file: 32 MiB, so that a page changed often is copied once.
	checkpointPages = 4096
	writerCacheKiB  = 32 << 10
	readerCacheKiB  = 8 << 10
)

// rebuild is what to do about a file that cannot be used.
const rebuild = "the views can be made again from the log: stop docket, remove the file with its -wal and -shm, and start docket"

// openConn opens a connection. FTS5 is registered on each: it is not built in.
func openConn(path, vfs string, flags sqlite3.OpenFlag) (*sqlite3.Conn, error) {
	name := "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()
	if vfs != "" {
		name += "?vfs=" + url.QueryEscape(vfs)
	}
	conn, err := sqlite3.OpenFlags(name, flags|sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(conn.BusyTimeout(busyTimeout), fts5.Register(conn)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// openWriter opens the writing connection, and makes the file when it is new.
func openWriter(path, vfs string, generation int) (*sqlite3.Conn, error) {
	conn, err := openConn(path, vfs, sqlite3.OPEN_CREATE)
	if err != nil {
		return nil, damage(path, err)
	}
	if err := prepareFile(conn, path, generation); err != nil {
		conn.Close()
		return nil, damage(path, err)
	}
	return conn, nil
}

func prepareFile(conn *sqlite3.Conn, path string, generation int) error {
	// The page size can only be chosen before the WAL exists.
	err := conn.Exec(fmt.Sprintf(`PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-%d`, writerCacheKiB))
	if err != nil {
		return err
	}
	if err := conn.WALAutoCheckpoint(checkpointPages); err != nil {
		return err
	}
	version, err := queryInt(conn, `PRAGMA user_version`)
	switch {
	case err != nil:
		return err
	case version == formatVersion:
		return errors.Join(checkGeneration(conn, path, generation), makeIndexes(conn))
	case version > formatVersion:
		return fmt.Errorf("%s has layout %d, this docket knows %d: start the docket that wrote it, or a newer one", filepath.Base(path), version, formatVersion)
	case version > 0:
		return fmt.Errorf("%s has the old layout %d: %s", filepath.Base(path), version, rebuild)
	}
	tables, err := queryInt(conn, `SELECT count(*) FROM sqlite_schema`)
	if err == nil && tables > 0 {
		return fmt.Errorf("%s is not a file of docket's views", filepath.Base(path))
	}
	return errors.Join(err, conn.Exec(fmt.Sprintf(`BEGIN IMMEDIATE; %s
		%s
		INSERT INTO meta VALUES ('generation', %d);
		WITH RECURSIVE lanes(lane) AS (SELECT 0 UNION ALL SELECT lane+1 FROM lanes WHERE lane+1 < %d)
		INSERT INTO checkpoints (lane) SELECT lane FROM lanes;
		PRAGMA user_version=%d; COMMIT`, schema, allIndexes(), generation, projections.Lanes, formatVersion)))
}

func allIndexes() string {
	var all strings.Builder
	for _, i := range indexes {
		all.WriteString(i.sql("") + ";\n")
	}
	return all.String()
}

// makeIndexes makes those that are not there: an earlier docket made fewer, and
// another program may have dropped some. Orders that are there twice keep by_id
// from being made; then the file is used without, and Sound says so.
func makeIndexes(conn *sqlite3.Conn) error {
	for _, i := range indexes {
		if err := conn.Exec(i.sql("IF NOT EXISTS ")); err != nil && !errors.Is(err, sqlite3.CONSTRAINT) {
			return fmt.Errorf("make index %s: %w", i.name, err)
		}
	}
	return nil
}

// checkGeneration finds a file that was copied over another.
func checkGeneration(conn *sqlite3.Conn, path string, generation int) error {
	stored, err := queryInt(conn, `SELECT value FROM meta WHERE key = 'generation'`)
	if err == nil && stored != int64(generation) {
		err = fmt.Errorf("%s holds generation %d: %s", filepath.Base(path), stored, rebuild)
	}
	return err
}

// damage says what to do about a file that SQLite cannot read.
func damage(path string, err error) error {
	if errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) {
		return fmt.Errorf("%w: %s cannot be used (%w); %s", projections.ErrDamaged, filepath.Base(path), err, rebuild)
	}
	return err
}

// lasting marks an error of an open file that trying again does not cure: pages
// that cannot be read, rows that contradict others, tables or columns that are
// not there.
func lasting(err error) error {
	for _, code := range []sqlite3.ErrorCode{sqlite3.CORRUPT, sqlite3.NOTADB, sqlite3.CONSTRAINT, sqlite3.MISMATCH, sqlite3.ERROR} {
		if errors.Is(err, code) {
			return fmt.Errorf("%w (%w)", projections.ErrDamaged, err)
		}
	}
	return err
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
