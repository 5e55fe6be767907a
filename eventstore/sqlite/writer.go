package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/ncruces/go-sqlite3"
)

const (
	defaultQueue = 8192
	// maxQueueBytes bounds the events that wait in memory.
	maxQueueBytes = 64 << 20
	// A group is one transaction: what is queued, up to these bounds.
	maxGroup      = 2048
	maxGroupBytes = 8 << 20
)

// request is one append on its way through the writer.
type request struct {
	do    func(*writer) (eventstore.Appended, error)
	size  int
	alone bool // outside of any group, also while writes are refused
	state atomic.Int32
	done  chan struct{}
	out   eventstore.Appended
	err   error
}

const (
	waiting   int32 = iota
	taken           // by the writer: the outcome is open until done
	abandoned       // by the caller: the writer leaves it alone
)

// submit queues do and waits for its outcome. When ctx ends before the writer
// took it, nothing was written.
func (s *Store) submit(ctx context.Context, size int, do func(*writer) (eventstore.Appended, error)) (eventstore.Appended, error) {
	if err := ctx.Err(); err != nil {
		return eventstore.Appended{}, err
	}
	r := &request{do: do, size: size, done: make(chan struct{})}
	if err := s.enqueue(r); err != nil {
		return eventstore.Appended{}, err
	}
	select {
	case <-r.done:
		return r.out, r.err
	case <-ctx.Done():
	}
	if r.state.CompareAndSwap(waiting, abandoned) {
		return eventstore.Appended{}, ctx.Err()
	}
	select {
	case <-r.done:
		return r.out, r.err
	default:
		return eventstore.Appended{}, fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, ctx.Err())
	}
}

func (s *Store) enqueue(r *request) error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.isClosed() {
		return errClosed
	}
	if s.writer == nil {
		return fmt.Errorf("%w: it was opened read-only", eventstore.ErrReadOnly)
	}
	if s.queuedBytes.Add(int64(r.size)) > maxQueueBytes && r.size > 0 {
		s.queuedBytes.Add(-int64(r.size))
		return eventstore.ErrOverloaded
	}
	select {
	case s.queue <- r:
		return nil
	default:
		s.queuedBytes.Add(-int64(r.size))
		return eventstore.ErrOverloaded
	}
}

// writer is the one goroutine that changes the log. What is queued becomes one
// transaction, acknowledged after COMMIT. There is no artificial wait: while
// one group is synced the next one gathers.
type writer struct {
	*session
	store  *Store
	now    func() time.Time
	commit *sqlite3.Stmt

	insertEvent  *sqlite3.Stmt
	insertStream *sqlite3.Stmt
	updateStream *sqlite3.Stmt
	beginWrite   *sqlite3.Stmt
	rollback     *sqlite3.Stmt

	states     map[string]*streamState
	stateBytes int // what states hold, or more: nothing is taken off one by one
	dirty      []*streamState
	recent     recentIDs
	next       uint64 // position of the next event
	nextStream int64
	// metadataKept: some stream has metadata; most logs have none, and need not
	// look for that of each stream.
	metadataKept bool
	// firstOfLastInsert is the revision at which the last insert began.
	firstOfLastInsert eventstore.Revision
}

func newWriter(s *Store, conn *sqlite3.Conn) (*writer, error) {
	c, err := newSession(conn)
	if err != nil {
		return nil, err
	}
	w := &writer{session: c, store: s, now: s.opt.Now, commit: c.end, states: map[string]*streamState{}}
	err = prepareAll(conn, map[string]**sqlite3.Stmt{
		`BEGIN IMMEDIATE`: &w.beginWrite,
		`ROLLBACK`:        &w.rollback,
		`INSERT INTO events (` + eventColumns + `) VALUES (?,?,?,?,?,?,?,?,?,?)`: &w.insertEvent,
		`INSERT INTO streams (last, tombstone, id, name) VALUES (?,?,?,?)`:       &w.insertStream,
		`UPDATE streams SET last = ?, tombstone = ? WHERE id = ?`:                &w.updateStream,
	})
	if err != nil {
		return nil, err
	}
	last, err := queryInt(conn, `SELECT max(id) FROM streams`)
	if err != nil {
		return nil, err
	}
	w.nextStream = last + 1
	kept, err := queryInt(conn, `SELECT EXISTS (SELECT 1 FROM streams WHERE name >= '$$' AND name < '$%')`)
	w.metadataKept = kept != 0
	return w, err
}

// run serves the queue until it is closed and empty.
func (w *writer) run() {
	group := make([]*request, 0, maxGroup)
	for first := range w.store.queue {
		group = append(group[:0], first)
		size := first.size
	gather:
		for len(group) < maxGroup && size < maxGroupBytes {
			select {
			case r, ok := <-w.store.queue:
				if !ok {
					break gather
				}
				group = append(group, r)
				size += r.size
			default:
				break gather
			}
		}
		w.store.queuedBytes.Add(-int64(size))
		w.serve(group)
	}
}

// serve writes one group and answers every request in it.
func (w *writer) serve(group []*request) {
	live := group[:0]
	for _, r := range group {
		switch {
		case r.alone:
			r.out, r.err = r.do(w)
			close(r.done)
		case r.state.CompareAndSwap(waiting, taken):
			live = append(live, r)
		}
	}
	if len(live) > 0 {
		w.transact(live)
	}
	for _, r := range live {
		close(r.done)
	}
}

func (w *writer) transact(group []*request) {
	if err := w.store.Refusal(); err != nil {
		for _, r := range group {
			r.err = err
		}
		return
	}
	before := w.next
	err := w.beginWrite.Exec()
	if err == nil {
		err = w.decideAll(group)
	}
	if err == nil {
		err = w.flushStreams()
	}
	if err == nil && w.next == before {
		// Only refusals and repeats: there is nothing to commit.
		err = w.rollback.Exec()
	} else if err == nil {
		if err = w.commit.Exec(); err == nil {
			err = w.store.committed(w.next - 1)
		}
	}
	if err != nil {
		w.fail(group, err)
	}
	w.forgetStates()
}

// decideAll runs each request; one that is refused does not disturb the rest.
func (w *writer) decideAll(group []*request) error {
	for _, r := range group {
		r.out, r.err = r.do(w)
		if isFailedWrite(r.err) {
			return r.err
		}
		// Some errors of a read end the transaction behind our back.
		if r.err != nil && w.conn.GetAutocommit() {
			return r.err
		}
	}
	return nil
}

// fail poisons the writer. After a failed sync SQLite would accept the next
// commit although the file may lack the last one, so nothing may follow.
func (w *writer) fail(group []*request, err error) {
	if cause := probe(w.store.opt.Disk, w.store.dir); cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	w.store.poison.Store(&err)
	w.store.opt.Logger.Error("event store stopped writing", "reason", w.store.Refusal())
	if !w.conn.GetAutocommit() {
		// The rollback may fail as well; the connection is not used again.
		_ = w.rollback.Exec()
	}
	for _, r := range group {
		r.out = eventstore.Appended{}
		r.err = fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, err)
	}
}

// insert writes events at the end of st.
func (w *writer) insert(st *streamState, events []eventstore.Event) (eventstore.Appended, error) {
	w.firstOfLastInsert = st.last + 1
	w.number(st)
	created := w.now().UnixNano()
	for i := range events {
		e := &events[i]
		st.last++
		if err := w.insertRow(st, st.last, e, created); err != nil {
			return eventstore.Appended{}, failedWrite{err}
		}
		w.recent.add(e.ID, st.id, st.last)
	}
	w.markDirty(st)
	if isMetaStream(st.name) {
		if err := w.metadataWritten(st, events[len(events)-1]); err != nil {
			return eventstore.Appended{}, failedWrite{err}
		}
	}
	return eventstore.Appended{Revision: st.last, Position: eventstore.At64(w.next - 1)}, nil
}

func (w *writer) insertTombstone(st *streamState) (eventstore.Appended, error) {
	w.number(st)
	e := &eventstore.Event{ID: newID(), Type: eventstore.TypeStreamDeleted}
	if err := w.insertRow(st, eventstore.EndRevision, e, w.now().UnixNano()); err != nil {
		return eventstore.Appended{}, failedWrite{err}
	}
	st.tombstoneAt = w.next - 1
	w.markDirty(st)
	return eventstore.Appended{Revision: eventstore.EndRevision, Position: eventstore.At64(st.tombstoneAt)}, nil
}

func (w *writer) insertRow(st *streamState, revision eventstore.Revision, e *eventstore.Event, created int64) error {
	r := row{
		position: int64(w.next), stream: st.id, revision: int64(revision),
		id: e.ID[:], typ: []byte(e.Type), json: e.JSON, data: e.Data, metadata: e.Metadata,
		created: created,
	}
	r.checksum, w.arena.scratch = r.sum(st.name, w.arena.scratch)
	w.next++
	return w.execInsert(&r)
}

func (w *writer) execInsert(r *row) error {
	stmt := w.insertEvent
	flag := int64(0)
	if r.json {
		flag = 1
	}
	for _, err := range [...]error{
		stmt.BindInt64(1, r.position),
		stmt.BindInt64(2, r.stream),
		stmt.BindInt64(3, r.revision),
		stmt.BindBlob(4, r.id),
		stmt.BindRawText(5, r.typ),
		stmt.BindInt64(6, flag),
		bindBlob(stmt, 7, r.data),
		bindBlob(stmt, 8, r.metadata),
		stmt.BindInt64(9, r.created),
		stmt.BindInt64(10, int64(r.checksum)),
	} {
		if err != nil {
			return err
		}
	}
	return stmt.Exec()
}

// bindBlob binds an empty blob where BindBlob would bind NULL.
func bindBlob(stmt *sqlite3.Stmt, param int, b []byte) error {
	if len(b) == 0 {
		return stmt.BindZeroBlob(param, 0)
	}
	return stmt.BindBlob(param, b)
}

// number gives a stream its id with its first event; flushStreams stores it.
func (w *writer) number(st *streamState) {
	if st.id == 0 {
		st.id, st.fresh = w.nextStream, true
		w.nextStream++
		w.metadataKept = w.metadataKept || isMetaStream(st.name)
	}
}

// flushStreams writes new streams and the last revisions, once per stream and
// group.
func (w *writer) flushStreams() error {
	for _, st := range w.dirty {
		stmt := w.updateStream
		var named error
		if st.fresh {
			stmt = w.insertStream
			named = stmt.BindText(4, st.name)
		}
		err := errors.Join(
			named,
			stmt.BindInt64(1, int64(st.last)),
			stmt.BindInt64(2, int64(st.tombstoneAt)),
			stmt.BindInt64(3, st.id),
		)
		if err == nil {
			err = stmt.Exec()
		}
		if err != nil {
			return err
		}
		st.dirty, st.fresh = false, false
	}
	w.dirty = w.dirty[:0]
	return nil
}
