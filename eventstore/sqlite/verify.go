package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/docket-orders/docket/eventstore"
	"github.com/ncruces/go-sqlite3"
)

// Report is what Verify found.
type Report struct {
	Log     eventstore.LogIdentity
	Head    eventstore.Position // of the last event
	Events  int64               // rows read
	Streams int64
	// Lost counts the positions that accepted losses explain.
	Lost     int64
	Findings []Finding
	// More tells that there were more than maxFindings.
	More bool
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Findings) == 0 }

// Finding is one thing that is wrong. Position is Start when it concerns no
// single event.
type Finding struct {
	Position eventstore.Position
	Text     string
}

// String names the position, when there is one.
func (f Finding) String() string {
	if f.Position == eventstore.Start {
		return f.Text
	}
	return "position " + f.Position.String() + ": " + f.Text
}

const maxFindings = 1000

// Verify checks the whole log: checksums, contiguous positions and revisions,
// the streams table, SQLite's own structures and the head file. It may run
// beside appends; what is appended meanwhile may or may not be looked at.
// progress, when not nil, is called now and then with positions. An error
// means that Verify could not do its work; what it finds is in the report.
func (s *Store) Verify(ctx context.Context, progress func(done, total uint64)) (Report, error) {
	if s.isClosed() {
		return Report{}, errClosed
	}
	conn, err := openConn(s.path(), s.opt.VFS, sqlite3.OPEN_READONLY)
	if err != nil {
		return Report{}, err
	}
	c, err := newSession(conn)
	if err != nil {
		return Report{}, errors.Join(damage(err, "open the log"), c.close())
	}
	defer c.close()
	conn.SetInterrupt(ctx)
	if progress == nil {
		progress = func(uint64, uint64) {}
	}
	v := &verifier{session: c, store: s, identity: s.identity.Load(), last: map[int64]eventstore.Revision{}, names: map[int64]string{}, ended: map[int64]uint64{}}
	v.report.Log = v.identity.log
	err = v.run(ctx, progress)
	return v.report, err
}

type verifier struct {
	*session
	store    *Store
	identity *identity
	report   Report
	next     uint64 // the position that must come
	// What the events say of each stream, to compare with the streams table.
	last  map[int64]eventstore.Revision
	ended map[int64]uint64
	names map[int64]string
}

func (v *verifier) run(ctx context.Context, progress func(done, total uint64)) error {
	v.next = successor(v.identity.truncations, 0)
	for _, t := range v.identity.truncations {
		v.report.Lost += int64(t.resume - t.after - 1)
	}
	total, err := v.logEnd()
	if err != nil {
		return err
	}
	// Page by page up to the end seen first, so that the WAL is not held; then
	// the rest, the streams and the structures in one read transaction.
	for v.next <= total {
		if err := v.page(total); err != nil {
			return err
		}
		progress(min(v.next-1, total), total)
	}
	// Before the log: it may grow in between.
	h, ok, headErr := readHeadSteadily(v.store.opt.Disk, v.store.dir)
	if err := v.begin.Exec(); err != nil {
		return err
	}
	defer v.end.Exec()
	if total, err = v.logEnd(); err != nil {
		return err
	}
	for v.next <= total {
		if err := v.page(total); err != nil {
			return err
		}
	}
	v.report.Head = eventstore.At64(total)
	progress(total, total)
	v.streams()
	v.structure()
	switch {
	case v.store.copied:
	case headErr != nil:
		v.find(0, "%v", headErr)
	case !ok:
		v.find(0, "there is no head file")
	default:
		if text := h.shorterThan(v.identity.log, total); text != "" {
			v.find(total+1, "%s", text)
		}
	}
	return ctx.Err()
}

func (v *verifier) find(position uint64, format string, args ...any) {
	if len(v.report.Findings) >= maxFindings {
		v.report.More = true
		return
	}
	v.report.Findings = append(v.report.Findings, Finding{eventstore.At64(position), fmt.Sprintf(format, args...)})
}

// logEnd is the last position. A damaged tree may not tell: then the head file
// and the running store say how far to look.
func (v *verifier) logEnd() (uint64, error) {
	n, err := queryInt(v.conn, `SELECT max(position) FROM events`)
	if err == nil {
		return uint64(n), nil
	}
	if err = damage(err, "the end of the log"); !errors.Is(err, eventstore.ErrCorrupt) {
		return 0, err
	}
	v.find(0, "the end of the log cannot be read: %v", err)
	return max(v.store.position.Load(), v.next-1), nil
}

// page examines up to pageRows positions beginning with v.next.
func (v *verifier) page(to uint64) error {
	stmt := v.logUp
	defer stmt.Reset()
	if err := errors.Join(stmt.BindInt64(1, int64(v.next)), stmt.BindInt64(2, int64(to))); err != nil {
		return err
	}
	for range pageRows {
		if !stmt.Step() {
			err := stmt.Err()
			if err == nil {
				v.missing(to + 1)
				return nil
			}
			if err = damage(err, "read"); !errors.Is(err, eventstore.ErrCorrupt) {
				return err
			}
			v.find(v.next, "cannot be read: %v", err)
			v.next = successor(v.identity.truncations, v.next)
			return nil
		}
		var r row
		r.scan(stmt)
		if uint64(r.position) > v.next {
			v.missing(uint64(r.position))
		}
		v.row(&r)
		v.next = successor(v.identity.truncations, uint64(r.position))
	}
	return nil
}

// missing reports the positions from v.next up to but not including to.
func (v *verifier) missing(to uint64) {
	for v.next < to && len(v.report.Findings) < maxFindings {
		v.find(v.next, "no event is there")
		v.next = successor(v.identity.truncations, v.next)
	}
	v.next = max(v.next, to)
}

func (v *verifier) row(r *row) {
	v.report.Events++
	position := uint64(r.position)
	name, known := v.names[r.stream]
	if !known {
		var err error
		if name, err = v.streamName(r.stream); err != nil {
			v.find(position, "%v", err)
			return
		}
		v.names[r.stream] = name
		v.last[r.stream] = -1
	}
	if err := r.verify(name, &v.arena); err != nil {
		v.find(position, "stream %q revision %d: checksum does not match", name, r.revision)
	}
	if v.ended[r.stream] != 0 {
		v.find(position, "stream %q goes on after its tombstone", name)
	}
	if r.revision == math.MaxInt64 && string(r.typ) == eventstore.TypeStreamDeleted {
		v.ended[r.stream] = position
		return
	}
	if want := v.last[r.stream] + 1; eventstore.Revision(r.revision) != want {
		v.find(position, "stream %q goes from revision %d to %d", name, want-1, r.revision)
	}
	v.last[r.stream] = eventstore.Revision(r.revision)
}

// streams compares the streams table with what the events said.
func (v *verifier) streams() {
	stmt, _, err := v.conn.Prepare(`SELECT id, name, last, tombstone FROM streams NOT INDEXED ORDER BY id`)
	if err != nil {
		v.find(0, "the streams table cannot be read: %v", err)
		return
	}
	defer stmt.Close()
	seen := map[int64]bool{}
	for stmt.Step() {
		v.report.Streams++
		id, name := stmt.ColumnInt64(0), stmt.ColumnText(1)
		seen[id] = true
		last, ok := v.last[id]
		if !ok {
			last = -1
		}
		if got := stmt.ColumnInt64(2); got != int64(last) {
			v.find(0, "stream %q ends at revision %d, its row says %d", name, last, got)
		}
		if got := uint64(stmt.ColumnInt64(3)); got != v.ended[id] {
			v.find(0, "stream %q has its tombstone at position %d, its row says %d", name, v.ended[id], got)
		}
		if found, err := v.stream(name); err != nil || found.id != id {
			v.find(0, "stream %q is not found by its name", name)
		}
	}
	if err := stmt.Err(); err != nil {
		v.find(0, "the streams table cannot be read: %v", err)
		return
	}
	for id, name := range v.names {
		if !seen[id] {
			v.find(0, "stream %q has no row", name)
		}
	}
}

// structure asks SQLite about its trees and whether indexes and tables agree.
func (v *verifier) structure() {
	stmt, _, err := v.conn.Prepare(`PRAGMA integrity_check(20)`)
	if err != nil {
		v.find(0, "SQLite: %v", err)
		return
	}
	defer stmt.Close()
	for stmt.Step() {
		if text := stmt.ColumnText(0); text != "ok" {
			v.find(0, "SQLite: %s", text)
		}
	}
	if err := stmt.Err(); err != nil {
		v.find(0, "SQLite: %v", err)
	}
}
