// Package sqlite is the event store of the embedded docket: one SQLite file,
// one goroutine that writes, any number of readers.
//
// It promises what the port eventstore promises. An append is acknowledged
// after its COMMIT was synced, in groups. Positions are 1, 2, 3 ... without a
// gap, one per event, except where a truncation record explains one. Every row
// carries a checksum over all its columns that each read verifies, and reads
// check that revisions and positions are contiguous: damage is reported as
// ErrCorrupt and never served as another event.
//
// It refuses a folder that is open elsewhere, a file of a newer format, writes
// after any failed write or sync (until a restart), and writes to a log that
// is shorter than what was acknowledged (until an operator accepts the loss).
// Only cmd opens it; everybody else sees eventstore.Store.
//
// The folder holds
//
//	events.db      meta         log id, epoch
//	               streams      id, name, last revision (-1: none), position of
//	                            its $streamDeleted event (0: none)
//	               events       one row per event; stream is the stream's id,
//	                            created is Unix time in nanoseconds, checksum a
//	                            CRC-32C; unique index on (stream, revision), none
//	                            on the event id
//	               truncations  accepted losses: positions between after and resume
//	head           the last acknowledged position, see headFile
//	lock           held while a process has the store open; contains its id
//	snapshots.db   see Snapshots
//	restore        a restore under way, see Restore
//	replaced-TIME  the log that a restore replaced
//
// A soft delete, truncation or limit is the last $metadata event of the stream
// "$$" + name, as in EventStoreDB. No row is ever changed or removed.
package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/disk/dirsync"
	"github.com/google/uuid"
	"github.com/ncruces/go-sqlite3"
)

// Options of a store. The zero value works.
type Options struct {
	// Logger gets what operators should see; nil: slog.Default().
	Logger *slog.Logger
	// Now stamps events and judges $maxAge; nil: time.Now.
	Now func() time.Time
	// Queue is how many appends may wait for the writer; 0: 8,192.
	Queue int
	// Readers is how many connections serve reads; 0: 4.
	Readers int
	// VFS names a registered SQLite VFS to reach the databases through; empty:
	// the operating system's. Tests inject faults with it.
	VFS string
	// Disk is under every other file; nil: the operating system's.
	Disk disk.FS
}

const defaultReaders = 4

func (o *Options) complete() {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.VFS = dirsync.VFS(o.VFS)
	if o.Disk == nil {
		o.Disk = disk.OS()
	}
	if o.Queue <= 0 {
		o.Queue = defaultQueue
	}
	if o.Readers <= 0 {
		o.Readers = defaultReaders
	}
}

// Store is an open log. All methods may be called from many goroutines.
type Store struct {
	dir       string
	opt       Options
	lock      disk.File // nil when read-only
	head      *headFile // nil when read-only
	snapshots *Snapshots
	readers   *pool

	copied bool // a copy that nobody writes to, and that has no head file

	writer      *writer // nil when read-only
	queue       chan *request
	queuedBytes atomic.Int64
	stopped     chan struct{} // closed when the writer has ended

	identity atomic.Pointer[identity]
	position atomic.Uint64 // of the last committed event
	news     broadcast

	poison atomic.Pointer[error] // the failure after which nothing is written any more
	loss   struct {
		sync.Mutex
		shorter      string // why writes are refused; empty: they are not
		acknowledged uint64 // highest position known to be acknowledged
		epoch        uint32 // highest epoch known to be acknowledged
	}

	closing sync.RWMutex // held while queueing; Close takes it to write
	closed  chan struct{}
}

// identity changes only when a loss is accepted.
type identity struct {
	log         eventstore.LogIdentity
	truncations []truncation
}

var _ eventstore.Store = (*Store)(nil)

// errClosed is the answer of every method after Close.
var errClosed = errors.New("event store is closed")

// Open opens the log in dir and creates folder and log when they are not
// there. It fails when another process, or this one, has it open. A log that
// is shorter than the head file says opens, but refuses writes.
func Open(ctx context.Context, dir string, opt Options) (_ *Store, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := newStore(dir, opt)
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if err := makeFolder(s.opt.Disk, dir); err != nil {
		return nil, fmt.Errorf("open event store: %w", err)
	}
	if err := notABackup(s.opt.Disk, dir); err != nil {
		return nil, err
	}
	if s.lock, err = disk.Lock(s.opt.Disk, dir); err != nil {
		return nil, err
	}
	if err := settleRestore(s.opt.Disk, dir, s.opt.Now()); err != nil {
		return nil, err
	}
	conn, err := openWriter(s.path(), s.opt.VFS, func() [16]byte { return uuid.New() })
	if err != nil {
		return nil, err
	}
	if s.writer, err = newWriter(s, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := s.load(conn); err != nil {
		return nil, err
	}
	if err := s.checkHead(); err != nil {
		return nil, err
	}
	if err := s.emptyWAL(conn, true); err != nil {
		s.writer.fail(nil, fmt.Errorf("copy the WAL into the log: %w", err))
	}
	if s.snapshots, err = openSnapshots(dir, s.opt, s.identity.Load().log); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.stopped)
		s.writer.run()
	}()
	return s, nil
}

// emptyWAL begins a new WAL. The old one may end with what a sync failed to
// write: the operating system shows it, and no later sync writes it, so that
// nothing acknowledged may stand behind it. Where a process beside us reads, the
// WAL stays; if settle, it is written again as it is.
func (s *Store) emptyWAL(conn *sqlite3.Conn, settle bool) error {
	err := conn.BusyTimeout(readersPatience)
	if err == nil {
		_, _, err = conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	}
	if errors.Is(err, sqlite3.BUSY) {
		if err = nil; settle {
			err = rewrite(s.opt.Disk, s.path()+"-wal")
		}
	}
	return errors.Join(err, conn.BusyTimeout(busyTimeout))
}

// rewrite puts the bytes of a file in their places once more, and syncs it.
func rewrite(d disk.FS, path string) error {
	f, err := d.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	buf, n := make([]byte, 1<<20), 0
	for at := int64(0); err == nil; at += int64(n) {
		var ended error
		if n, ended = f.ReadAt(buf, at); n > 0 {
			_, err = f.WriteAt(buf[:n], at)
		}
		err = cmp.Or(err, ended)
	}
	if errors.Is(err, io.EOF) {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// makeFolder makes the folder of a log that is not there yet, and those above it
// that are missing, with names that last.
func makeFolder(d disk.FS, dir string) error {
	isOld, err := exists(d, filepath.Join(dir, logName))
	if err != nil || isOld {
		return err
	}
	above := filepath.Dir(dir)
	if isThere, err := exists(d, above); err != nil {
		return err
	} else if !isThere {
		if err := makeFolder(d, above); err != nil {
			return err
		}
	}
	if err := d.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncAbove(d, dir)
}

// syncAbove makes the name of a folder durable, where that can be done: nobody
// can for the names in a folder that may not be opened.
func syncAbove(d disk.FS, dir string) error {
	if err := d.SyncDir(filepath.Dir(filepath.Clean(dir))); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// OpenReadOnly opens the log beside a process that may be writing to it, to
// verify or export it. Writes fail with ErrReadOnly and Subscribe is refused.
// SQLite leaves its -shm and -wal files behind.
func OpenReadOnly(ctx context.Context, dir string) (*Store, error) {
	return openReadOnly(ctx, dir, Options{})
}

func openReadOnly(ctx context.Context, dir string, opt Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := newStore(dir, opt)
	close(s.stopped)
	err := noRestoreUnderWay(s.opt.Disk, dir)
	if err == nil {
		s.copied, err = exists(s.opt.Disk, filepath.Join(dir, manifestName))
	}
	if err != nil {
		return nil, fmt.Errorf("open event store: %w", err)
	}
	conn, err := openConn(s.path(), s.opt.VFS, sqlite3.OPEN_READONLY)
	if err != nil {
		return nil, err
	}
	version, err := userVersion(conn)
	if err == nil && version == 0 {
		err = fmt.Errorf("%s holds no event store", dir)
	}
	if err == nil {
		err = s.load(conn)
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		return nil, err
	}
	return s, nil
}

func newStore(dir string, opt Options) *Store {
	opt.complete()
	s := &Store{
		dir: dir, opt: opt,
		queue:   make(chan *request, opt.Queue),
		stopped: make(chan struct{}),
		closed:  make(chan struct{}),
	}
	s.news.init()
	s.readers = newPool(opt.Readers, s.closed, func() (*sqlite3.Conn, error) {
		return openConn(s.path(), opt.VFS, sqlite3.OPEN_READONLY)
	})
	return s
}

const logName = "events.db"

func (s *Store) path() string { return filepath.Join(s.dir, logName) }

// load reads identity and length of the log.
func (s *Store) load(conn *sqlite3.Conn) error {
	id := &identity{}
	stmt, _, err := conn.Prepare(`SELECT (SELECT value FROM meta WHERE key = 'log_id'), (SELECT value FROM meta WHERE key = 'epoch'), coalesce((SELECT max(position) FROM events), 0)`)
	if err != nil {
		return damage(err, "read log identity")
	}
	defer stmt.Close()
	if !stmt.Step() {
		return damage(stmt.Err(), "read log identity")
	}
	if copy(id.log.ID[:], stmt.ColumnRawBlob(0)) != len(id.log.ID) {
		return fmt.Errorf("%w: the log has no id", eventstore.ErrCorrupt)
	}
	id.log.Epoch = uint32(stmt.ColumnInt64(1))
	last := uint64(stmt.ColumnInt64(2))
	if id.truncations, err = readTruncations(conn); err != nil {
		return err
	}
	s.identity.Store(id)
	s.position.Store(last)
	if s.writer != nil {
		s.writer.next = successor(id.truncations, last)
	}
	return nil
}

// checkHead compares the log with the head file and takes the file over.
func (s *Store) checkHead() error {
	log, last := s.identity.Load().log, s.position.Load()
	h, ok, err := readHead(s.opt.Disk, s.dir)
	if errors.Is(err, errHeadDamaged) {
		s.opt.Logger.Warn("head file is damaged: whether the log lost its end cannot be told from it", "dir", s.dir)
	} else if err != nil {
		return err
	}
	if s.head, err = openHead(s.opt.Disk, s.dir); err != nil {
		return err
	}
	if ok {
		if s.loss.shorter = h.shorterThan(log, last); s.loss.shorter != "" {
			s.loss.acknowledged, s.loss.epoch = h.position, h.log.Epoch
			s.opt.Logger.Error("event store refuses writes", "reason", s.loss.shorter)
			return nil
		}
	}
	if err := s.head.write(head{log: log, position: last}); err != nil || ok {
		return err
	}
	return s.opt.Disk.SyncDir(s.dir) // the name of the new file
}

// committed makes a commit known: to readers and subscribers, then to the head
// file.
func (s *Store) committed(position uint64) error {
	s.position.Store(position)
	s.news.send()
	return s.head.write(head{log: s.identity.Load().log, position: position})
}

// Snapshots is nil for a store opened read-only.
func (s *Store) Snapshots() *Snapshots { return s.snapshots }

// Log identifies the log.
func (s *Store) Log(context.Context) (eventstore.LogIdentity, error) {
	if s.isClosed() {
		return eventstore.LogIdentity{}, errClosed
	}
	return s.identity.Load().log, nil
}

// Head is the position of the last committed event.
func (s *Store) Head(ctx context.Context) (eventstore.Position, error) {
	last, err := s.last(ctx)
	return eventstore.At64(last), err
}

// last is where the log ends; a read-only store asks the file each time.
func (s *Store) last(ctx context.Context) (last uint64, err error) {
	if s.isClosed() {
		return 0, errClosed
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if s.writer != nil {
		return s.position.Load(), nil
	}
	err = s.readers.with(ctx, func(c *session) error {
		n, err := queryInt(c.conn, `SELECT max(position) FROM events`)
		last = uint64(n)
		return damage(err, "read the end of the log")
	})
	return last, err
}

func (s *Store) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Close finishes what was accepted, copies the WAL into the main file and
// releases the folder. Subscriptions and reads under way end with an error. A
// second Close does nothing.
func (s *Store) Close() error {
	s.closing.Lock()
	if s.isClosed() {
		s.closing.Unlock()
		return nil
	}
	close(s.closed)
	close(s.queue)
	s.closing.Unlock()
	<-s.stopped
	return s.release()
}

// release gives back what Open took; it also serves an Open that failed.
func (s *Store) release() error {
	errs := []error{s.readers.close()}
	if s.writer != nil {
		if s.poison.Load() == nil {
			if err := s.emptyWAL(s.writer.conn, false); err != nil {
				errs = append(errs, fmt.Errorf("checkpoint: %w", err))
			}
		}
		errs = append(errs, s.writer.close())
	}
	if s.snapshots != nil {
		errs = append(errs, s.snapshots.close())
	}
	if s.head != nil {
		errs = append(errs, s.head.f.Sync(), s.head.f.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// broadcast wakes everybody who waits for the log to grow.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func (b *broadcast) init() { b.ch = make(chan struct{}) }

// next is closed by the send after this call.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.ch)
	b.ch = make(chan struct{})
}
