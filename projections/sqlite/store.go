package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	"github.com/go-json-experiment/json"
	"github.com/ncruces/go-sqlite3"
)

// Store is one generation: a projections.Sink and query.Views. One batch is
// written at a time; questions run beside it and see what was committed before
// they began.
type Store struct {
	path, vfs string

	// open is held for reading by every call, and taken by Close.
	open   sync.RWMutex
	closed bool

	writer  chan *conn // the only one
	readers chan *conn // nil where none was opened yet
	text    textCheck
	written atomic.Int64 // writing transactions that were begun
}

func open(path string, generation int, o Options) (*Store, error) {
	w, err := openWriter(path, o.VFS, generation)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, vfs: o.VFS, writer: make(chan *conn, 1), readers: make(chan *conn, o.Readers)}
	s.writer <- newConn(w)
	for range o.Readers {
		s.readers <- nil
	}
	return s, nil
}

// Close waits for the calls inside the store; later ones fail with
// projections.ErrClosed.
func (s *Store) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for range cap(s.readers) {
		if c := <-s.readers; c != nil {
			errs = append(errs, c.close())
		}
	}
	// The last connection to close moves the WAL into the file.
	return errors.Join(append(errs, (<-s.writer).close())...)
}

// write runs f in the writing transaction.
func (s *Store) write(ctx context.Context, f func(*conn) error) error {
	return s.with(ctx, s.writer, "BEGIN IMMEDIATE", func(c *conn) error {
		s.written.Add(1) // before anybody can see what f writes
		return f(c)
	})
}

// read runs f in a reading transaction: everything it asks for is of one
// instant.
func (s *Store) read(ctx context.Context, f func(*conn) error) error {
	return s.with(ctx, s.readers, "BEGIN", f)
}

// ask is read for a single statement, which is of one instant by itself.
func (s *Store) ask(ctx context.Context, f func(*conn) error) error {
	return s.with(ctx, s.readers, "", f)
}

func (s *Store) with(ctx context.Context, pool chan *conn, begin string, f func(*conn) error) error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return projections.ErrClosed
	}
	return s.on(ctx, pool, begin, f)
}

// on is with, for a caller that holds open.
func (s *Store) on(ctx context.Context, pool chan *conn, begin string, f func(*conn) error) error {
	var c *conn
	select {
	case c = <-pool:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { pool <- c }()
	if c == nil {
		raw, err := openConn(s.path, s.vfs, 0)
		if err != nil {
			return damage(s.path, err)
		}
		if err := raw.Exec(fmt.Sprintf(`CREATE VIRTUAL TABLE temp.indexed USING fts5vocab(main, fts, instance);
			PRAGMA query_only=1; PRAGMA cache_size=-%d`, readerCacheKiB)); err != nil {
			raw.Close()
			return damage(s.path, err)
		}
		c = newConn(raw)
	}
	c.trim()
	return lasting(c.transaction(ctx, begin, func() error { return f(c) }))
}

const checkpointColumns = `lane, position, event, owner, token, beat, log, epoch`

// scanCheckpoint reads the checkpointColumns. A position that cannot be read is
// the start of the log: the lane is then read from there.
func scanCheckpoint(r *sqlite3.Stmt) (cp projections.Checkpoint) {
	cp = projections.Checkpoint{
		Lane:  int(r.ColumnInt64(0)),
		Owner: r.ColumnText(3),
		Token: uint64(r.ColumnInt64(4)),
		Beat:  uint64(r.ColumnInt64(5)),
		Log:   eventstore.LogIdentity{Epoch: uint32(r.ColumnInt64(7))},
	}
	copy(cp.EventID[:], r.ColumnRawBlob(2))
	copy(cp.Log.ID[:], r.ColumnRawBlob(6))
	if cp.Position.UnmarshalText(r.ColumnRawText(1)) != nil {
		cp.Position = eventstore.Start
	}
	return cp
}

// Checkpoints implements projections.Sink.
func (s *Store) Checkpoints(ctx context.Context) (out []projections.Checkpoint, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		out, err = c.checkpoints()
		return err
	})
	return out, wrap(err, "read checkpoints")
}

func (c *conn) checkpoints() (out []projections.Checkpoint, err error) {
	err = c.each(`SELECT `+checkpointColumns+` FROM checkpoints ORDER BY lane`, nil, func(r *sqlite3.Stmt) error {
		out = append(out, scanCheckpoint(r))
		return nil
	})
	return out, err
}

// Claim implements projections.Sink.
func (s *Store) Claim(ctx context.Context, lane int, owner string, token uint64) (cp projections.Checkpoint, err error) {
	err = s.write(ctx, func(c *conn) error {
		claimed := false
		err := c.each(`UPDATE checkpoints SET owner = ?, token = token + 1 WHERE lane = ? AND token = ? RETURNING `+checkpointColumns,
			[]any{owner, lane, int64(token)}, func(r *sqlite3.Stmt) error {
				claimed = true
				cp = scanCheckpoint(r)
				return nil
			})
		if err == nil && !claimed {
			err = projections.ErrLaneLost
		}
		return err
	})
	return cp, wrap(err, "claim lane %d", lane)
}

// Beat implements projections.Sink.
func (s *Store) Beat(ctx context.Context, lanes []projections.Checkpoint) (lost []int, err error) {
	err = s.write(ctx, func(c *conn) error {
		lost = lost[:0]
		for _, cp := range lanes {
			alive := false
			err := c.each(`UPDATE checkpoints SET beat = beat + 1 WHERE lane = ? AND token = ? RETURNING lane`,
				[]any{cp.Lane, int64(cp.Token)}, func(*sqlite3.Stmt) error { alive = true; return nil })
			if err != nil {
				return err
			}
			if !alive {
				lost = append(lost, cp.Lane)
			}
		}
		return nil
	})
	return lost, wrap(err, "raise beats")
}

// Documents implements projections.Sink.
func (s *Store) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	found := make(map[string]view.Order, len(ids))
	err := s.read(ctx, func(c *conn) error {
		for _, id := range ids {
			doc, ok, err := order(c, id)
			if err != nil {
				return err
			}
			if ok {
				found[id] = doc
			}
		}
		return nil
	})
	return found, wrap(err, "read documents")
}

// order reads one document. One that another program made unreadable is not
// there: the log has it, and the next event of the order writes it anew.
func order(c *conn, id string) (doc view.Order, ok bool, err error) {
	err = c.each(`SELECT d.document FROM orders o JOIN docs d ON d.n = o.n WHERE o.id = ?`, []any{id}, func(r *sqlite3.Stmt) error {
		ok = decode(r.ColumnRawBlob(0), &doc) == nil
		return nil
	})
	if !ok {
		doc = view.Order{}
	}
	return doc, ok, err
}

func decode(data []byte, doc *view.Order) error {
	if err := json.Unmarshal(data, doc); err != nil {
		return fmt.Errorf("a stored document is not readable (%w): %s", err, rebuild)
	}
	return nil
}

// Parked implements projections.Sink.
func (s *Store) Parked(ctx context.Context) (out []projections.Parked, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.each(`SELECT id, revision, position, reason FROM parked ORDER BY id`, nil, func(r *sqlite3.Stmt) error {
			p := projections.Parked{OrderID: r.ColumnText(0), Revision: r.ColumnInt64(1), Reason: r.ColumnText(3)}
			if p.Position.UnmarshalText(r.ColumnRawText(2)) != nil {
				p.Position = eventstore.Start // it is shown, and nothing follows from it
			}
			out = append(out, p)
			return nil
		})
	})
	return out, wrap(err, "read parked orders")
}

// Refresh implements projections.Sink: a committed batch is visible at once.
func (s *Store) Refresh(ctx context.Context) error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return projections.ErrClosed
	}
	return ctx.Err()
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("orders views: %s: %w", fmt.Sprintf(format, args...), err)
}
