package sqlite

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/docket-orders/docket/eventstore"
	"github.com/ncruces/go-sqlite3"
)

// A read goes page by page, each in a read transaction of its own, so that no
// reader keeps the WAL from being copied back.
const (
	pageRows  = 512
	pageBytes = 1 << 20
)

// ReadStream reads the stream as it stood at the first page.
func (s *Store) ReadStream(ctx context.Context, stream string, from eventstore.Revision, dir eventstore.Direction, limit int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		var scan streamScan
		err := s.readers.with(ctx, func(c *session) (err error) {
			if scan, err = s.openScan(c, stream, from, dir, limit); err != nil {
				return err
			}
			return scan.fill(c)
		})
		for {
			for _, rec := range scan.page {
				if !yield(rec, nil) {
					return
				}
			}
			if err != nil {
				yield(eventstore.Record{}, err)
				return
			}
			if scan.done() {
				return
			}
			err = s.readers.with(ctx, scan.fill)
		}
	}
}

// streamScan is a read of revisions lo to hi of one stream, both inclusive.
type streamScan struct {
	name    string
	id      int64
	lo, hi  eventstore.Revision
	dir     eventstore.Direction
	limit   int // 0: none
	visible func(eventstore.Record) bool
	given   int
	page    []eventstore.Record
}

func (s *Store) openScan(c *session, name string, from eventstore.Revision, dir eventstore.Direction, limit int) (streamScan, error) {
	row, err := c.stream(name)
	if err != nil {
		return streamScan{}, err
	}
	if row.tombstone != 0 {
		return streamScan{}, deleted(name)
	}
	if isMetaStream(name) {
		subject, err := c.stream(name[len(metaPrefix):])
		if err != nil {
			return streamScan{}, err
		}
		if subject.tombstone != 0 {
			return streamScan{}, deleted(name)
		}
	}
	meta, err := c.metadataOf(name)
	if err != nil {
		return streamScan{}, err
	}
	if row.last < 0 || meta.SoftDeleted() {
		return streamScan{}, fmt.Errorf("%w: %s", eventstore.ErrStreamNotFound, name)
	}
	now := s.opt.Now()
	scan := streamScan{
		name: name, id: row.id, dir: dir, limit: limit,
		lo: meta.FirstVisible(row.last), hi: row.last,
		visible: func(r eventstore.Record) bool { return meta.Shows(r, row.last, now) },
	}
	if dir == eventstore.Forwards {
		scan.lo = max(scan.lo, from)
	} else {
		scan.hi = min(scan.hi, from)
	}
	return scan, nil
}

func (sc *streamScan) done() bool {
	return sc.lo > sc.hi || (sc.limit > 0 && sc.given >= sc.limit)
}

// fill reads the next page. After an error page holds what came before it.
func (sc *streamScan) fill(c *session) error {
	sc.page = sc.page[:0]
	if sc.done() {
		return nil
	}
	stmt := c.streamUp
	if sc.dir == eventstore.Backwards {
		stmt = c.streamDown
	}
	defer stmt.Reset()
	if err := errors.Join(stmt.BindInt64(1, sc.id), stmt.BindInt64(2, int64(sc.lo)), stmt.BindInt64(3, int64(sc.hi))); err != nil {
		return err
	}
	for size := 0; len(sc.page) < pageRows && size < pageBytes && !sc.done(); {
		if !stmt.Step() {
			if err := stmt.Err(); err != nil {
				return damage(err, "read stream %q at revision %d", sc.name, sc.expected())
			}
			return sc.missing()
		}
		var r row
		r.scan(stmt)
		if err := r.verify(sc.name, &c.arena); err != nil {
			return err
		}
		rec := r.record(sc.name, &c.arena)
		if rec.Revision != sc.expected() {
			return sc.missing()
		}
		if sc.dir == eventstore.Forwards {
			sc.lo++
		} else {
			sc.hi--
		}
		if sc.visible(rec) {
			sc.page = append(sc.page, rec)
			sc.given++
			size += len(rec.Data) + len(rec.Metadata) + len(rec.Type)
		}
	}
	return nil
}

func (sc *streamScan) expected() eventstore.Revision {
	if sc.dir == eventstore.Forwards {
		return sc.lo
	}
	return sc.hi
}

func (sc *streamScan) missing() error {
	return fmt.Errorf("%w: stream %q has no revision %d (run: docket eventstore verify)", eventstore.ErrCorrupt, sc.name, sc.expected())
}

// ReadAll reads the log as long as it was at the first page.
func (s *Store) ReadAll(ctx context.Context, from eventstore.Position, dir eventstore.Direction, filter eventstore.Filter, limit int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		last, err := s.last(ctx)
		if err != nil {
			yield(eventstore.Record{}, err)
			return
		}
		scan := s.openLog(dir, filter)
		scan.limit = limit
		if dir == eventstore.Forwards {
			scan.start(from.Commit, last)
		} else if from.Commit > 0 {
			scan.start(1, min(from.Commit-1, last))
		}
		for !scan.done() {
			err := s.readers.with(ctx, scan.fill)
			for _, rec := range scan.page {
				if !yield(rec, nil) {
					return
				}
			}
			if err != nil {
				yield(eventstore.Record{}, err)
				return
			}
		}
	}
}

// logScan is a read of positions lo to hi, both inclusive. Every row is
// verified, also those that the filter leaves out: a damaged one might have
// been meant.
type logScan struct {
	lo, hi      uint64
	dir         eventstore.Direction
	filter      eventstore.Filter
	limit       int // 0: none
	truncations []truncation
	names       map[int64]streamName
	nameBytes   int
	given       int
	examined    int // rows of the last page
	// lastExamined is the position of the last of them.
	lastExamined uint64
	page         []eventstore.Record
}

type streamName struct {
	name    string
	matches bool
}

// maxNames and maxNameBytes bound the stream names that one scan remembers.
const (
	maxNames     = 1 << 16
	maxNameBytes = 8 << 20
)

func (s *Store) openLog(dir eventstore.Direction, filter eventstore.Filter) *logScan {
	return &logScan{
		lo: 1, hi: 0, dir: dir, filter: filter,
		truncations: s.identity.Load().truncations,
		names:       map[int64]streamName{},
	}
}

// start sets the range and moves its ends out of accepted gaps.
func (sc *logScan) start(lo, hi uint64) {
	sc.lo, sc.hi = max(lo, 1), hi
	for _, t := range sc.truncations {
		if sc.lo > t.after && sc.lo < t.resume {
			sc.lo = t.resume
		}
		if sc.hi > t.after && sc.hi < t.resume {
			sc.hi = t.after
		}
	}
}

func (sc *logScan) done() bool {
	return sc.lo > sc.hi || (sc.limit > 0 && sc.given >= sc.limit)
}

// fill reads the next page. After an error page holds what came before it.
func (sc *logScan) fill(c *session) error {
	sc.page, sc.examined = sc.page[:0], 0
	if sc.done() {
		return nil
	}
	stmt := c.logUp
	if sc.dir == eventstore.Backwards {
		stmt = c.logDown
	}
	defer stmt.Reset()
	if err := errors.Join(stmt.BindInt64(1, int64(sc.lo)), stmt.BindInt64(2, int64(sc.hi))); err != nil {
		return err
	}
	for size := 0; sc.examined < pageRows && size < pageBytes && !sc.done(); sc.examined++ {
		n, err := sc.step(c, stmt)
		if err != nil {
			return err
		}
		size += n
	}
	return nil
}

// step examines the row that must come next and answers its size.
func (sc *logScan) step(c *session, stmt *sqlite3.Stmt) (int, error) {
	want := sc.lo
	if sc.dir == eventstore.Backwards {
		want = sc.hi
	}
	if !stmt.Step() {
		if err := stmt.Err(); err != nil {
			return 0, damage(err, "read the log at position %d", want)
		}
		return 0, corrupt(want, "no event is there")
	}
	var r row
	r.scan(stmt)
	if uint64(r.position) != want {
		return 0, corrupt(want, "no event is there")
	}
	stream, err := sc.stream(c, r.stream)
	if err != nil {
		return 0, corrupt(want, "%v", err)
	}
	if err := r.verify(stream.name, &c.arena); err != nil {
		return 0, err
	}
	if stream.matches {
		sc.page = append(sc.page, r.record(stream.name, &c.arena))
		sc.given++
	}
	sc.lastExamined = want
	sc.advance(want)
	return len(r.data) + len(r.metadata) + len(r.typ) + len(stream.name), nil
}

func (sc *logScan) advance(from uint64) {
	if sc.dir == eventstore.Forwards {
		sc.lo = successor(sc.truncations, from)
		return
	}
	sc.hi = from - 1
	for _, t := range sc.truncations {
		if t.resume == from {
			sc.hi = t.after
		}
	}
}

func (sc *logScan) stream(c *session, id int64) (streamName, error) {
	if s, ok := sc.names[id]; ok {
		return s, nil
	}
	name, err := c.streamName(id)
	if err != nil {
		return streamName{}, err
	}
	if len(sc.names) >= maxNames || sc.nameBytes > maxNameBytes {
		clear(sc.names)
		sc.nameBytes = 0
	}
	sc.nameBytes += len(name)
	s := streamName{name: name, matches: sc.filter.Matches(name)}
	sc.names[id] = s
	return s, nil
}
