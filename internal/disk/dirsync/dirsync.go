// Package dirsync mends the SQLite driver where it would lose a database to a
// power cut. SQLite syncs the folder after the first sync of a new journal or
// WAL, so that a crash cannot take away the file that it would recover from.
// The driver (v0.35.6, vfs/file.go) opens the folder there and then syncs the
// file a second time. Until it does what it means to do, this VFS does.
//
// The stores reach every database through it; nobody else needs it.
package dirsync

import (
	"path/filepath"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/docket-orders/docket/internal/disk"
)

// VFS is the name of a registered VFS that does what base does (empty: the
// operating system's), and syncs folders. A base with a method
// SyncDir(name string) error does so itself.
func VFS(base string) string {
	const prefix = "dirsync-"
	if strings.HasPrefix(base, prefix) {
		return base
	}
	name := prefix + base
	if vfs.Find(name) == nil {
		under := vfs.Find(base)
		if under == nil {
			return base // let SQLite say that there is none
		}
		vfs.Register(name, system{under})
	}
	return name
}

type system struct{ vfs.VFS }

// file forwards what the operating system's files offer beyond vfs.File.
type file struct {
	vfs.File
	// dir is to be synced with the file; empty: it was, or need not be.
	dir     string
	syncDir func(string) error
}

func (s system) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	under, out, err := vfsutil.WrapOpenFilename(s.VFS, name, flags)
	if err != nil {
		return nil, out, err
	}
	f := &file{File: under, syncDir: disk.OS().SyncDir}
	if d, ok := s.VFS.(interface{ SyncDir(string) error }); ok {
		f.syncDir = d.SyncDir
	}
	const journals = vfs.OPEN_MAIN_JOURNAL | vfs.OPEN_SUPER_JOURNAL | vfs.OPEN_WAL
	if flags&vfs.OPEN_CREATE != 0 && flags&journals != 0 && name.String() != "" {
		f.dir = filepath.Dir(name.String())
	}
	return f, out, nil
}

func (f *file) Sync(flags vfs.SyncFlag) error {
	if err := f.File.Sync(flags); err != nil || f.dir == "" {
		return err
	}
	if err := f.syncDir(f.dir); err != nil {
		return vfs.SystemError(err, sqlite3.IOERR_DIR_FSYNC)
	}
	f.dir = ""
	return nil
}

func (f *file) Unwrap() vfs.File                 { return f.File }
func (f *file) SharedMemory() vfs.SharedMemory   { return vfsutil.WrapSharedMemory(f.File) }
func (f *file) MemoryMapper() vfs.MemoryMapper   { return vfsutil.WrapMemoryMapper(f.File) }
func (f *file) LockState() vfs.LockLevel         { return vfsutil.WrapLockState(f.File) }
func (f *file) SizeHint(size int64) error        { return vfsutil.WrapSizeHint(f.File, size) }
func (f *file) HasMoved() (bool, error)          { return vfsutil.WrapHasMoved(f.File) }
func (f *file) PersistWAL() bool                 { return vfsutil.WrapPersistWAL(f.File) }
func (f *file) SetPersistWAL(keep bool)          { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *file) PowersafeOverwrite() bool         { return vfsutil.WrapPowersafeOverwrite(f.File) }
func (f *file) SetPowersafeOverwrite(value bool) { vfsutil.WrapSetPowersafeOverwrite(f.File, value) }

var (
	_ vfs.VFSFilename            = system{}
	_ vfs.FileUnwrap             = (*file)(nil)
	_ vfs.FileSharedMemory       = (*file)(nil)
	_ vfs.FileMemoryMapper       = (*file)(nil)
	_ vfs.FileLockState          = (*file)(nil)
	_ vfs.FileSizeHint           = (*file)(nil)
	_ vfs.FileHasMoved           = (*file)(nil)
	_ vfs.FilePersistWAL         = (*file)(nil)
	_ vfs.FilePowersafeOverwrite = (*file)(nil)
)
