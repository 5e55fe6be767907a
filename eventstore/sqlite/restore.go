package sqlite

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/ncruces/go-sqlite3"
)

// A restore prepares the new log in <folder>/restore, and has happened from the
// moment at which restore/staged is renamed to restore/new. What is left to do
// then is done by whoever opens the folder next, if not by Restore:
//
//	restore/staged   a log being prepared; a crash makes it waste
//	restore/new      the log that is to take the place of the old one
//	restore/old      what was in the folder; becomes replaced-<time>
const (
	restoreName  = "restore"
	replacedName = "replaced-"
)

// replaced are the files that a restore keeps aside: the log, its WAL (which
// would be taken for the new log's) and its head. Snapshots and views stay: they
// know which log and epoch they were made of.
var replaced = []string{logName + "-wal", logName + "-shm", logName + "-journal", logName, "head"}

// Sighting is a position that somebody saw acknowledged in a log.
type Sighting struct {
	Log      eventstore.LogIdentity
	Position eventstore.Position
}

// Restored says what Restore has done.
type Restored struct {
	Backup Manifest
	// Log is the restored one, in its new epoch.
	Log eventstore.LogIdentity
	// Lost are the acknowledged positions that the backup does not have, both
	// Start when none is known. They are not given out again.
	LostFrom, LostTo eventstore.Position
	// Aside is the folder in which the old log is kept; empty when there was none.
	Aside string
}

// Restore makes the log of a backup the log of the folder dir, in an epoch above
// every one that was seen in that folder and in the backup. It refuses a folder
// that is open, and a backup that is not to the last byte what was verified when
// it was made. The old log is kept aside in the folder, never removed.
//
// A crash leaves the old log or the new one; the folder may then hold a part of
// the work, which the next Open finishes or clears away.
func Restore(ctx context.Context, backup, dir string, opt CopyOptions) (_ Restored, err error) {
	opt.complete()
	m, err := ReadBackup(opt.Disk, backup)
	if err != nil {
		return Restored{}, err
	}
	if err := notABackup(opt.Disk, dir); err != nil {
		return Restored{}, err
	}
	if err := opt.Disk.MkdirAll(dir, 0o700); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	lock, err := disk.Lock(opt.Disk, dir)
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := settleRestore(opt.Disk, dir, opt.Now()); err != nil {
		return Restored{}, err
	}
	seen, err := sightings(ctx, dir, opt)
	if err != nil {
		return Restored{}, err
	}
	r := Restored{Backup: m}
	if err := stageRestore(ctx, backup, dir, seen, &r, opt); err != nil {
		return Restored{}, errors.Join(err, opt.Disk.RemoveAll(filepath.Join(dir, restoreName)))
	}
	work := filepath.Join(dir, restoreName)
	if err := opt.Disk.Rename(filepath.Join(work, "staged"), filepath.Join(work, "new")); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	err = opt.Disk.SyncDir(work)
	if err == nil {
		r.Aside, err = finishRestore(opt.Disk, dir, opt.Now())
	}
	if err == nil {
		err = syncAbove(opt.Disk, dir)
	}
	if err != nil {
		return Restored{}, fmt.Errorf("%w: %w", ErrRestoreUnfinished, err)
	}
	return r, nil
}

// ErrRestoreUnfinished: the restored log is whole, and is put into its place by
// whoever opens the folder next.
var ErrRestoreUnfinished = errors.New("restore: the backup was copied, and the next start on this folder puts it into its place")

// stageRestore copies the backup, checks the copy, and makes it the next epoch.
func stageRestore(ctx context.Context, backup, dir string, seen []Sighting, r *Restored, opt CopyOptions) error {
	staged := filepath.Join(dir, restoreName, "staged")
	if err := opt.Disk.MkdirAll(staged, 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	path := filepath.Join(staged, logName)
	if err := copyBackup(ctx, filepath.Join(backup, logName), path, r.Backup, opt); err != nil {
		return fmt.Errorf("copy the backup: %w", err)
	}
	report, err := verifyCopy(ctx, staged, opt)
	if err != nil {
		return fmt.Errorf("verify the restored log: %w", err)
	}
	m := r.Backup
	if !report.OK() {
		return fmt.Errorf("%w: the restored log: %s", eventstore.ErrCorrupt, report.Findings[0])
	}
	if report.Log != (eventstore.LogIdentity{ID: m.Log, Epoch: m.Epoch}) || report.Head != m.Head {
		return fmt.Errorf("%w: %s says log %s, epoch %d, position %s; %s holds log %s, epoch %d, position %s",
			eventstore.ErrCorrupt, manifestName, m.Log, m.Epoch, m.Head, logName, report.Log.ID, report.Log.Epoch, report.Head)
	}
	r.Log = report.Log
	acknowledged := m.Head.Commit
	for _, s := range seen {
		r.Log.Epoch = max(r.Log.Epoch, s.Log.Epoch)
		if s.Log.ID == m.Log && s.Position.Commit < math.MaxInt64/2 {
			acknowledged = max(acknowledged, s.Position.Commit)
		}
	}
	r.Log.Epoch++
	if acknowledged > m.Head.Commit {
		r.LostFrom, r.LostTo = eventstore.At64(m.Head.Commit+1), eventstore.At64(acknowledged)
	}
	if err := raiseEpoch(path, r.Log.Epoch, truncation{after: m.Head.Commit, resume: acknowledged + 1}, opt); err != nil {
		return fmt.Errorf("raise the epoch of the restored log: %w", err)
	}
	if _, _, err := syncAndSum(ctx, opt.Disk, path); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return cmp.Or(opt.Disk.SyncDir(staged), opt.Disk.SyncDir(filepath.Dir(staged)), opt.Disk.SyncDir(dir))
}

// copyBackup copies a file that must be what its manifest says.
func copyBackup(ctx context.Context, from, to string, m Manifest, opt CopyOptions) error {
	source, err := opt.Disk.OpenFile(from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := opt.Disk.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	hash := sha256.New()
	counted := &counter{total: m.Bytes, progress: opt.Progress}
	size, err := io.Copy(io.MultiWriter(target, hash, counted), &interruptible{ctx, source})
	if err = errors.Join(err, target.Close()); err != nil {
		return err
	}
	if size != m.Bytes || hex.EncodeToString(hash.Sum(nil)) != m.SHA256 {
		return fmt.Errorf("%w: the backup is damaged: %s is not what was verified when it was made; take another backup", eventstore.ErrCorrupt, from)
	}
	return nil
}

// counter tells how much was written.
type counter struct {
	done, total int64
	progress    func(string, int64, int64)
}

func (c *counter) Write(p []byte) (int, error) {
	c.done += int64(len(p))
	c.progress("copying bytes", min(c.done, c.total), c.total)
	return len(p), nil
}

// raiseEpoch changes a log that nobody else knows of yet; when it fails midway
// the file is thrown away.
func raiseEpoch(path string, epoch uint32, gap truncation, opt CopyOptions) error {
	conn, err := openConn(path, opt.VFS, sqlite3.OPEN_READWRITE)
	if err != nil {
		return err
	}
	known, err := readTruncations(conn)
	if err == nil {
		err = conn.Exec(fmt.Sprintf(`PRAGMA journal_mode=MEMORY; UPDATE meta SET value = %d WHERE key = 'epoch'`, epoch))
	}
	// An earlier loss may have happened just where the backup ends.
	if next := successor(known, gap.after); err == nil && gap.resume > next {
		err = conn.Exec(fmt.Sprintf(`INSERT OR REPLACE INTO truncations VALUES (%d, %d, %d, %d)`, gap.after, gap.resume, epoch, opt.Now().UnixNano()))
	}
	return errors.Join(err, conn.Close())
}

// sightings are the logs that the folder remembers: in events.db and the head
// file, in what earlier restores kept aside, and whatever Seen knows. What
// cannot be read remembers nothing.
func sightings(ctx context.Context, dir string, opt CopyOptions) (all []Sighting, err error) {
	entries, err := opt.Disk.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	folders := []string{dir}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), replacedName) {
			folders = append(folders, filepath.Join(dir, e.Name()))
		}
	}
	for _, folder := range folders {
		if h, ok, err := readHead(opt.Disk, folder); ok && err == nil {
			all = append(all, Sighting{h.log, eventstore.At64(h.position)})
		}
		if _, err := opt.Disk.Stat(filepath.Join(folder, logName)); err != nil {
			continue
		}
		if s, err := openReadOnly(ctx, folder, opt.store()); err == nil {
			all = append(all, Sighting{s.identity.Load().log, eventstore.At64(s.position.Load())})
			_ = s.Close() // nothing was written
		}
	}
	if opt.Seen != nil {
		more, err := opt.Seen(ctx)
		if err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
		all = append(all, more...)
	}
	return all, ctx.Err()
}

// settleRestore ends what a crash interrupted: a restore that had happened is
// finished, any other is cleared away. The folder is locked.
func settleRestore(d disk.FS, dir string, now time.Time) error {
	work := filepath.Join(dir, restoreName)
	if _, err := d.Stat(work); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := finishRestore(d, dir, now); err != nil {
		return fmt.Errorf("finish the restore that was interrupted: %w", err)
	}
	return nil
}

// finishRestore puts the new log in place, if one is ready, and what was there
// aside. Each step may be the last before a crash, and is not begun before the
// one before it is durable.
func finishRestore(d disk.FS, dir string, now time.Time) (aside string, err error) {
	work := filepath.Join(dir, restoreName)
	fresh, old := filepath.Join(work, "new"), filepath.Join(work, "old")
	if there, err := exists(d, filepath.Join(fresh, logName)); err != nil {
		return "", err
	} else if there {
		if err := d.MkdirAll(old, 0o700); err != nil {
			return "", err
		}
		for _, name := range replaced {
			if err := d.Rename(filepath.Join(dir, name), filepath.Join(old, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
		if err := cmp.Or(d.SyncDir(old), d.SyncDir(work), d.SyncDir(dir)); err != nil {
			return "", err
		}
		if err := d.Rename(filepath.Join(fresh, logName), filepath.Join(dir, logName)); err != nil {
			return "", err
		}
		if err := cmp.Or(d.SyncDir(dir), d.SyncDir(fresh)); err != nil {
			return "", err
		}
	}
	if kept, err := d.ReadDir(old); err == nil && len(kept) > 0 {
		if aside, err = freeName(d, filepath.Join(dir, replacedName+now.UTC().Format("20060102T150405Z"))); err != nil {
			return "", err
		}
		if err := d.Rename(old, aside); err != nil {
			return "", err
		}
		if err := cmp.Or(d.SyncDir(dir), d.SyncDir(work)); err != nil {
			return "", err
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := d.RemoveAll(work); err != nil {
		return "", err
	}
	return aside, d.SyncDir(dir)
}

// noRestoreUnderWay refuses a folder whose log is about to be another one.
func noRestoreUnderWay(d disk.FS, dir string) error {
	for _, name := range []string{"new", "old"} {
		if there, err := exists(d, filepath.Join(dir, restoreName, name)); err != nil {
			return err
		} else if there {
			return fmt.Errorf("a restore into %s was interrupted: start docket, or run the restore again, to finish it", dir)
		}
	}
	return nil
}

func exists(d disk.FS, path string) (bool, error) {
	_, err := d.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// freeName is path, or path with a number behind it when it is taken.
func freeName(d disk.FS, path string) (string, error) {
	name := path
	for n := 2; ; n++ {
		there, err := exists(d, name)
		if err != nil || !there {
			return name, err
		}
		name = fmt.Sprintf("%s-%d", path, n)
	}
}
