package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docket-orders/docket/eventstore"
	"github.com/ncruces/go-sqlite3"
)

// session is one connection with the statements that every reader needs. It is
// used by one goroutine at a time.
type session struct {
	conn       *sqlite3.Conn
	begin, end *sqlite3.Stmt
	byName     *sqlite3.Stmt
	nameOf     *sqlite3.Stmt
	event      *sqlite3.Stmt
	logUp      *sqlite3.Stmt
	logDown    *sqlite3.Stmt
	streamUp   *sqlite3.Stmt
	streamDown *sqlite3.Stmt
	arena      arena
}

func newSession(conn *sqlite3.Conn) (*session, error) {
	s := &session{conn: conn}
	err := prepareAll(conn, map[string]**sqlite3.Stmt{
		`BEGIN`:  &s.begin,
		`COMMIT`: &s.end,
		`SELECT id, last, tombstone FROM streams WHERE name = ?`:                                                                    &s.byName,
		`SELECT name FROM streams WHERE id = ?`:                                                                                     &s.nameOf,
		`SELECT ` + eventColumns + ` FROM events WHERE stream = ? AND revision = ?`:                                                 &s.event,
		`SELECT ` + eventColumns + ` FROM events WHERE position BETWEEN ? AND ? ORDER BY position`:                                  &s.logUp,
		`SELECT ` + eventColumns + ` FROM events WHERE position BETWEEN ? AND ? ORDER BY position DESC`:                             &s.logDown,
		`SELECT ` + eventColumns + ` FROM events WHERE stream = ? AND revision BETWEEN ? AND ? ORDER BY stream, revision`:           &s.streamUp,
		`SELECT ` + eventColumns + ` FROM events WHERE stream = ? AND revision BETWEEN ? AND ? ORDER BY stream DESC, revision DESC`: &s.streamDown,
	})
	return s, err
}

func prepareAll(conn *sqlite3.Conn, statements map[string]**sqlite3.Stmt) error {
	for sql, into := range statements {
		stmt, _, err := conn.Prepare(sql)
		if err != nil {
			return fmt.Errorf("prepare %q: %w", sql, err)
		}
		*into = stmt
	}
	return nil
}

func (s *session) close() error {
	var errs []error
	for _, stmt := range slices.Collect(s.conn.Stmts()) {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, s.conn.Close())...)
}

// streamRow is what the streams table says; id 0 is a stream never written.
type streamRow struct {
	id        int64
	last      eventstore.Revision // -1 without events
	tombstone uint64              // position of $streamDeleted, 0 without
}

func (s *session) stream(name string) (streamRow, error) {
	defer s.byName.Reset()
	if err := s.byName.BindText(1, name); err != nil {
		return streamRow{}, err
	}
	row := streamRow{last: -1}
	if s.byName.Step() {
		row = streamRow{
			id:        s.byName.ColumnInt64(0),
			last:      eventstore.Revision(s.byName.ColumnInt64(1)),
			tombstone: uint64(s.byName.ColumnInt64(2)),
		}
	}
	return row, damage(s.byName.Err(), "look up stream %q", name)
}

func (s *session) streamName(id int64) (string, error) {
	defer s.nameOf.Reset()
	if err := s.nameOf.BindInt64(1, id); err != nil {
		return "", err
	}
	if s.nameOf.Step() {
		return s.nameOf.ColumnText(0), nil
	}
	if err := s.nameOf.Err(); err != nil {
		return "", damage(err, "look up stream %d", id)
	}
	return "", fmt.Errorf("%w: stream %d has no name", eventstore.ErrCorrupt, id)
}

// read returns the event of a stream at a revision that must be there.
func (s *session) read(name string, stream int64, revision eventstore.Revision) (eventstore.Record, error) {
	defer s.event.Reset()
	if err := errors.Join(s.event.BindInt64(1, stream), s.event.BindInt64(2, int64(revision))); err != nil {
		return eventstore.Record{}, err
	}
	if !s.event.Step() {
		if err := s.event.Err(); err != nil {
			return eventstore.Record{}, damage(err, "read stream %q revision %d", name, revision)
		}
		return eventstore.Record{}, fmt.Errorf("%w: stream %q has no revision %d", eventstore.ErrCorrupt, name, revision)
	}
	var r row
	r.scan(s.event)
	if err := r.verify(name, &s.arena); err != nil {
		return eventstore.Record{}, err
	}
	return r.record(name, &s.arena), nil
}

// metadataOf reads the visibility rules of a stream: those built in for a
// metadata stream, otherwise what the last event of "$$name" says.
func (s *session) metadataOf(name string) (streamMetadata, error) {
	if isMetaStream(name) {
		return streamMetadata{StreamMetadata: eventstore.StreamMetadata{MaxCount: 1}, revision: eventstore.NoStream}, nil
	}
	meta, err := s.stream(metaPrefix + name)
	if err != nil || meta.last < 0 {
		return streamMetadata{revision: eventstore.NoStream}, err
	}
	rec, err := s.read(metaPrefix+name, meta.id, meta.last)
	if err != nil {
		return streamMetadata{}, err
	}
	return parseMetadata(rec), nil
}

const metaPrefix = "$$"

func isMetaStream(name string) bool { return strings.HasPrefix(name, metaPrefix) }

// damage turns what SQLite reports about a damaged file into ErrCorrupt.
func damage(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.IOERR_DATA) {
		return fmt.Errorf("%w: %s: %w", eventstore.ErrCorrupt, what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
