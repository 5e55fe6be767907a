package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/ncruces/go-sqlite3"
)

// truncation explains a gap in the log: an operator accepted that the events
// after one position, up to the one before resume, are lost.
type truncation struct{ after, resume uint64 }

// Loss says what AcceptLoss accepted: positions From to To are gone for good.
type Loss struct {
	From, To eventstore.Position
	Log      eventstore.LogIdentity // with the raised epoch
}

// RequirePosition reports that p was acknowledged, as a view's checkpoint in
// the same log and epoch shows. When the log does not reach p it has lost
// events: from then on the store refuses writes with ErrReadOnly, also after a
// restart, and also when the view is gone by then.
func (s *Store) RequirePosition(p eventstore.Position) {
	s.loss.Lock()
	defer s.loss.Unlock()
	at := s.position.Load()
	if p.Commit <= max(at, s.loss.acknowledged) {
		return
	}
	required := head{log: s.identity.Load().log, position: p.Commit}
	if s.loss.acknowledged = p.Commit; s.loss.shorter == "" {
		s.loss.shorter = required.shorterThan(required.log, at)
	}
	s.opt.Logger.Error("event store refuses writes", "reason", s.loss.shorter)
	if s.loss.epoch > required.log.Epoch {
		return // the head file knows of a later epoch
	}
	if err := s.head.write(required); err != nil {
		s.opt.Logger.Warn("the head file does not remember that the log is shorter", "error", err)
	}
}

// Refusal is why appends are refused from now on, with what to do about it in
// one line; nil while they are taken. It matches ErrReadOnly.
func (s *Store) Refusal() error {
	if err := s.poison.Load(); err != nil {
		return stopped(*err)
	}
	return s.lossRefusal()
}

// probe writes a file of its own into the folder: SQLite forgets what the
// operating system said.
func probe(d disk.FS, dir string) error {
	f, err := d.OpenFile(filepath.Join(dir, "probe"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("?"))
	err = cmp.Or(err, f.Sync())
	return cmp.Or(err, errors.Join(f.Close(), d.Remove(f.Name())))
}

// stopped words the failure of a write for whoever has to mend it.
func stopped(err error) error {
	what, cure := "a write failed", "look at the disk and its log, then restart docket"
	switch {
	case errors.Is(err, sqlite3.FULL), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		what, cure = "the disk is full", "make space, then restart docket"
	case errors.Is(err, sqlite3.READONLY), errors.Is(err, sqlite3.CANTOPEN), errors.Is(err, syscall.EROFS):
		what, cure = "the disk cannot be written to", "make it writable, then restart docket"
	case errors.Is(err, sqlite3.IOERR_FSYNC), errors.Is(err, sqlite3.IOERR_DIR_FSYNC):
		what, cure = "the disk failed to keep what was written", "look at the disk and its log, then restart docket, which checks what is there"
	}
	return fmt.Errorf("%w: %s; %s: nothing acknowledged is lost by that (%w)", eventstore.ErrReadOnly, what, cure, err)
}

// lossRefusal is the error for writes while the log is shorter than it was.
func (s *Store) lossRefusal() error {
	s.loss.Lock()
	defer s.loss.Unlock()
	if s.loss.shorter == "" {
		return nil
	}
	return fmt.Errorf("%w: %s; restore a backup (docket eventstore restore BACKUP) or accept the loss (docket eventstore verify --accept-loss)", eventstore.ErrReadOnly, s.loss.shorter)
}

// errNothingLost is AcceptLoss on a whole log.
var errNothingLost = errors.New("the log is not shorter than what was acknowledged: there is no loss to accept")

// AcceptLoss makes a log writable that is shorter than what was acknowledged.
// It records the gap, raises the epoch and drops all snapshots; new events get
// positions above the lost ones. Views that are ahead must be rebuilt.
func (s *Store) AcceptLoss(ctx context.Context) (loss Loss, err error) {
	r := &request{done: make(chan struct{}), alone: true}
	r.do = func(w *writer) (out eventstore.Appended, err error) {
		loss, err = w.acceptLoss()
		return out, err
	}
	if err := s.enqueue(r); err != nil {
		return Loss{}, err
	}
	select {
	case <-r.done:
		return loss, r.err
	case <-ctx.Done():
		return Loss{}, fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, ctx.Err())
	}
}

func (w *writer) acceptLoss() (Loss, error) {
	s := w.store
	s.loss.Lock()
	defer s.loss.Unlock()
	if err := s.poison.Load(); err != nil {
		return Loss{}, stopped(*err)
	}
	if s.loss.shorter == "" {
		return Loss{}, errNothingLost
	}
	old, at := s.identity.Load(), s.position.Load()
	now := identity{log: old.log}
	now.log.Epoch = max(old.log.Epoch, s.loss.epoch) + 1
	// Positions above every one that was ever given out in this folder.
	gap := truncation{after: at, resume: max(s.loss.acknowledged+1, w.next)}
	err := w.conn.Exec(fmt.Sprintf(`BEGIN IMMEDIATE;
		INSERT OR REPLACE INTO truncations VALUES (%d, %d, %d, %d);
		UPDATE meta SET value = %d WHERE key = 'epoch';
		COMMIT`, gap.after, gap.resume, now.log.Epoch, w.now().UnixNano(), now.log.Epoch))
	if err != nil {
		w.fail(nil, err)
		return Loss{}, fmt.Errorf("record the loss: %w", err)
	}
	// A gap that began at the same place became longer.
	for _, t := range old.truncations {
		if t.after != gap.after {
			now.truncations = append(now.truncations, t)
		}
	}
	now.truncations = append(now.truncations, gap)
	s.identity.Store(&now)
	w.next = gap.resume
	s.loss.shorter, s.loss.acknowledged = "", 0
	return Loss{From: eventstore.At64(gap.after + 1), To: eventstore.At64(gap.resume - 1), Log: now.log},
		errors.Join(s.snapshots.adopt(now.log), s.head.write(head{log: now.log, position: at}))
}

func readTruncations(conn *sqlite3.Conn) ([]truncation, error) {
	stmt, _, err := conn.Prepare(`SELECT after, resume FROM truncations ORDER BY after`)
	if err != nil {
		return nil, damage(err, "read truncations")
	}
	defer stmt.Close()
	var out []truncation
	for stmt.Step() {
		out = append(out, truncation{after: uint64(stmt.ColumnInt64(0)), resume: uint64(stmt.ColumnInt64(1))})
	}
	return out, damage(stmt.Err(), "read truncations")
}

// successor is the position that follows p in a whole log.
func successor(truncations []truncation, p uint64) uint64 {
	for _, t := range truncations {
		if t.after == p {
			return t.resume
		}
	}
	return p + 1
}
