package sqlite

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/google/uuid"
	"github.com/ncruces/go-sqlite3"
)

// A backup is a folder with
//
//	events.db    the log up to one position, compact, without a WAL
//	backup.json  the Manifest; written last, so that a backup without one is
//	             unfinished and no backup
//
// The views are not in it: they are made again from the log.

// Manifest says what a backup holds.
type Manifest struct {
	Format  int                 `json:"format"` // 1
	Log     uuid.UUID           `json:"log"`
	Epoch   uint32              `json:"epoch"`
	Head    eventstore.Position `json:"head"` // of the last event in it
	Events  int64               `json:"events"`
	Streams int64               `json:"streams"`
	Bytes   int64               `json:"bytes"`  // of events.db
	SHA256  string              `json:"sha256"` // of events.db, in hexadecimal
	Created time.Time           `json:"created"`
}

const (
	manifestName   = "backup.json"
	manifestFormat = 1
)

// CopyOptions are of Backup and Restore. The zero value works.
type CopyOptions struct {
	VFS  string  // under the databases, see Options
	Disk disk.FS // under every other file
	Now  func() time.Time
	// Progress, when not nil, is called now and then, by one goroutine at a time.
	Progress func(phase string, done, total int64)
	// Seen, for Restore, tells what others know of the logs that were in the
	// folder; called while the folder is locked.
	Seen func(context.Context) ([]Sighting, error)
}

func (o *CopyOptions) complete() {
	if o.Disk == nil {
		o.Disk = disk.OS()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
}

func (o *CopyOptions) store() Options { return Options{VFS: o.VFS, Disk: o.Disk, Now: o.Now} }

// Backup copies the log of the folder dir into the folder to, which must be
// empty or not there, and not inside dir, as it is at one position; everything
// that was acknowledged before the call is in it. A docket may be running on dir: its
// writer is not held up, though its WAL grows while the copy is made.
//
// When Backup returns without an error the copy was read back whole, found
// right, and is durable. A log that is damaged, or shorter than what was
// acknowledged, is refused: such a copy would pass for a good one. After an
// error nothing is left in to.
func Backup(ctx context.Context, dir, to string, opt CopyOptions) (_ Manifest, err error) {
	opt.complete()
	if err := outside(opt.Disk, dir, to); err != nil {
		return Manifest{}, err
	}
	made, err := emptyFolder(opt.Disk, to)
	if err != nil {
		return Manifest{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeCopy(opt.Disk, to, made))
		}
	}()
	// What the head file says now must be in the copy.
	h, known, err := readHeadSteadily(opt.Disk, dir)
	if err != nil && !errors.Is(err, errHeadDamaged) {
		return Manifest{}, err
	}
	if err := copyLog(ctx, dir, to, opt); err != nil {
		return Manifest{}, err
	}
	report, err := verifyCopy(ctx, to, opt)
	if err != nil {
		return Manifest{}, fmt.Errorf("verify the backup: %w", err)
	}
	if !report.OK() {
		return Manifest{}, fmt.Errorf("%w: the log is damaged, and so would be its copy: %s (run: docket eventstore verify)", eventstore.ErrCorrupt, report.Findings[0])
	}
	if known {
		if text := h.shorterThan(report.Log, report.Head.Commit); text != "" {
			return Manifest{}, fmt.Errorf("no backup is made of a log that lost its end: %s (to keep what is left, copy the whole folder)", text)
		}
	}
	m := Manifest{
		Format: manifestFormat, Log: report.Log.ID, Epoch: report.Log.Epoch, Head: report.Head,
		Events: report.Events, Streams: report.Streams, Created: opt.Now().UTC(),
	}
	if m.Bytes, m.SHA256, err = syncAndSum(ctx, opt.Disk, filepath.Join(to, logName)); err != nil {
		return Manifest{}, fmt.Errorf("finish the backup: %w", err)
	}
	if err := writeManifest(opt.Disk, to, m); err != nil {
		return Manifest{}, fmt.Errorf("finish the backup: %w", err)
	}
	return m, nil
}

// ReadBackup reads the manifest of a backup. Whether events.db is what it says
// is seen when it is copied.
func ReadBackup(d disk.FS, dir string) (m Manifest, err error) {
	text, err := d.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%s is no backup, or one that was not finished: it has no %s", dir, manifestName)
	}
	if err != nil {
		return m, fmt.Errorf("read backup: %w", err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%w: %s of the backup cannot be read: %w", eventstore.ErrCorrupt, manifestName, err)
	}
	if m.Format != manifestFormat {
		return m, fmt.Errorf("backup %s has format %d, this docket knows %d: take the docket that wrote it, or a newer one", dir, m.Format, manifestFormat)
	}
	return m, nil
}

// notABackup keeps a backup what it was when it was made.
func notABackup(d disk.FS, dir string) error {
	there, err := exists(d, filepath.Join(dir, manifestName))
	if there {
		err = fmt.Errorf("%s is a backup: docket eventstore restore %s --data DIR makes a log of it that can be written", dir, dir)
	}
	return err
}

// outside refuses a folder within dir, where docket clears up what it takes for
// its own.
func outside(d disk.FS, dir, to string) error {
	data, err := d.Stat(dir)
	if err != nil {
		return nil // reading the log says it better
	}
	at, err := filepath.Abs(to)
	if err != nil {
		return fmt.Errorf("find the folder of the backup: %w", err)
	}
	for ; ; at = filepath.Dir(at) {
		if info, err := d.Stat(at); err == nil && os.SameFile(data, info) {
			return fmt.Errorf("%s is inside %s: a backup wants a folder elsewhere, best on another disk", to, dir)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// emptyFolder makes the folder, or finds it empty.
func emptyFolder(d disk.FS, dir string) (made bool, err error) {
	entries, err := d.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := d.MkdirAll(dir, 0o700); err != nil {
			return false, fmt.Errorf("make the folder of the backup: %w", err)
		}
		return true, nil
	case err != nil:
		return false, fmt.Errorf("look into the folder of the backup: %w", err)
	case len(entries) > 0:
		return false, fmt.Errorf("%s is not empty: a backup wants a folder of its own", dir)
	}
	return false, nil
}

// removeCopy takes away what a backup that failed has written.
func removeCopy(d disk.FS, dir string, folder bool) error {
	if folder {
		return d.RemoveAll(dir)
	}
	var errs []error
	for _, name := range []string{logName, logName + "-journal", manifestName + ".partial", manifestName} {
		if err := d.Remove(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// copyLog writes one snapshot of the log into a file of its own.
func copyLog(ctx context.Context, dir, to string, opt CopyOptions) error {
	source, err := openReadOnly(ctx, dir, opt.store())
	if err != nil {
		return err
	}
	defer source.Close()
	conn, err := openConn(source.path(), opt.VFS, sqlite3.OPEN_READONLY)
	if err != nil {
		return err
	}
	defer conn.Close()
	pages, err := queryInt(conn, `PRAGMA page_count`)
	if err != nil {
		return damage(err, "measure the log")
	}
	size, err := queryInt(conn, `PRAGMA page_size`)
	if err != nil {
		return damage(err, "measure the log")
	}
	target := filepath.Join(to, logName)
	// SQLite fills an empty file, and would make one that everybody may read.
	f, err := opt.Disk.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("make the file of the backup: %w", err)
	}
	watched := watchSize(opt, target, pages*size)
	conn.SetInterrupt(ctx)
	err = conn.Exec(`VACUUM INTO ` + sqlite3.Quote(fileURI(target, "")))
	watched()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return damage(err, "copy the log")
}

// watchSize tells how far a file has grown until the answer is called.
func watchSize(opt CopyOptions, path string, total int64) (end func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	opt.Progress("copying bytes", 0, total)
	go func() {
		defer close(stopped)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if info, err := opt.Disk.Stat(path); err == nil {
					opt.Progress("copying bytes", min(info.Size(), total), total)
				}
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		opt.Progress("copying bytes", total, total)
	}
}

// verifyCopy reads the log in a folder that nobody writes to, which needs no
// head file.
func verifyCopy(ctx context.Context, dir string, opt CopyOptions) (Report, error) {
	s, err := openReadOnly(ctx, dir, opt.store())
	if err != nil {
		return Report{}, err
	}
	s.copied = true
	report, err := s.Verify(ctx, func(done, total uint64) { opt.Progress("verifying events", int64(done), int64(total)) })
	return report, errors.Join(err, s.Close())
}

// syncAndSum makes a file durable and says what is in it.
func syncAndSum(ctx context.Context, d disk.FS, path string) (size int64, sum string, err error) {
	f, err := d.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, "", err
	}
	hash := sha256.New()
	err = f.Sync()
	if err == nil {
		size, err = io.Copy(hash, &interruptible{ctx, f})
	}
	return size, hex.EncodeToString(hash.Sum(nil)), errors.Join(err, f.Close())
}

// interruptible ends a copy when ctx ends.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// writeManifest makes the backup one.
func writeManifest(d disk.FS, dir string, m Manifest) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	partial := filepath.Join(dir, manifestName+".partial")
	f, err := d.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = cmp.Or(err, f.Sync())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// The log's name first: a manifest never stands for a file that is not there.
	if err := d.SyncDir(dir); err != nil {
		return err
	}
	if err := d.Rename(partial, filepath.Join(dir, manifestName)); err != nil {
		return err
	}
	return cmp.Or(d.SyncDir(dir), syncAbove(d, dir))
}
