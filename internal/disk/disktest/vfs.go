package disktest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// system is the operating system's VFS, watched by d.
type system struct {
	vfs.VFSFilename
	d *Disk
}

// dbFile is one of SQLite's open files. Where sqlite's own files offer more than
// vfs.File, so does it: a program that is watched runs as if it were not.
type dbFile struct {
	vfs.File
	d    *Disk
	name string
	file int
}

func (v *system) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	out := &dbFile{d: v.d}
	if name.String() != "" {
		out.name = v.d.rel(name.String())
	}
	if err := v.d.ask(Op{Kind: Open, Path: out.name}); err != nil {
		return nil, flags, err
	}
	open := func() (err error) {
		out.File, flags, err = v.VFSFilename.OpenFilename(name, flags)
		return err
	}
	var err error
	if out.name == "" {
		err = open()
	} else {
		out.file, err = v.d.open(name.String(), out.name, open)
	}
	if err != nil {
		return nil, flags, err
	}
	return out, flags, nil
}

// open opens or creates a file; open does so.
func (d *Disk) open(name, rel string, open func() error) (file int, err error) {
	_, err = os.Lstat(name)
	isNew := errors.Is(err, fs.ErrNotExist)
	if isNew {
		// Whether it will be created is known afterwards only; it mostly is.
		if err := d.ask(Op{Kind: Create, Path: rel}); err != nil {
			return 0, err
		}
	}
	if !d.recording.Load() {
		return 0, open()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err = os.Lstat(name)
	isNew = errors.Is(err, fs.ErrNotExist)
	if err := open(); err != nil {
		return 0, err
	}
	if isNew {
		d.record(Op{Kind: Create, Path: rel})
	}
	return d.fileOf(rel), nil
}

// Delete syncs the folder, when it is asked to, as a step of its own.
func (v *system) Delete(name string, syncDir bool) error {
	err := v.d.do(Op{Kind: Remove, Path: v.d.rel(name)}, func() error { return v.VFSFilename.Delete(name, false) })
	if err != nil || !syncDir {
		return err
	}
	return v.d.FS().SyncDir(filepath.Dir(name))
}

func (f *dbFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.d.ask(Op{Kind: Read, Path: f.name, Offset: off, Size: int64(len(p)), File: f.file}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *dbFile) WriteAt(p []byte, off int64) (int, error) {
	op := Op{Kind: Write, Path: f.name, Offset: off, Size: int64(len(p)), Data: p, File: f.file}
	return f.d.write(op, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *dbFile) Truncate(size int64) error {
	return f.d.do(Op{Kind: Truncate, Path: f.name, Size: size, File: f.file}, func() error { return f.File.Truncate(size) })
}

// Sync is recorded as that of the file alone. The driver means to sync the
// folder after the first sync of a new journal or WAL, but syncs the file again.
func (f *dbFile) Sync(flags vfs.SyncFlag) error {
	return f.d.do(Op{Kind: Sync, Path: f.name, File: f.file}, func() error { return f.File.Sync(flags) })
}

// SizeHint makes a file larger before a checkpoint fills it.
func (f *dbFile) SizeHint(size int64) error {
	before, err := f.File.Size()
	if err != nil {
		return err
	}
	if size <= before {
		return nil
	}
	return f.d.do(Op{Kind: Truncate, Path: f.name, Size: size, File: f.file}, func() error { return vfsutil.WrapSizeHint(f.File, size) })
}

func (f *dbFile) Unwrap() vfs.File                 { return f.File }
func (f *dbFile) SharedMemory() vfs.SharedMemory   { return vfsutil.WrapSharedMemory(f.File) }
func (f *dbFile) MemoryMapper() vfs.MemoryMapper   { return vfsutil.WrapMemoryMapper(f.File) }
func (f *dbFile) LockState() vfs.LockLevel         { return vfsutil.WrapLockState(f.File) }
func (f *dbFile) HasMoved() (bool, error)          { return vfsutil.WrapHasMoved(f.File) }
func (f *dbFile) PersistWAL() bool                 { return vfsutil.WrapPersistWAL(f.File) }
func (f *dbFile) SetPersistWAL(keep bool)          { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *dbFile) PowersafeOverwrite() bool         { return vfsutil.WrapPowersafeOverwrite(f.File) }
func (f *dbFile) SetPowersafeOverwrite(value bool) { vfsutil.WrapSetPowersafeOverwrite(f.File, value) }

var (
	_ vfs.FileUnwrap             = (*dbFile)(nil)
	_ vfs.FileSharedMemory       = (*dbFile)(nil)
	_ vfs.FileMemoryMapper       = (*dbFile)(nil)
	_ vfs.FileLockState          = (*dbFile)(nil)
	_ vfs.FileHasMoved           = (*dbFile)(nil)
	_ vfs.FilePersistWAL         = (*dbFile)(nil)
	_ vfs.FilePowersafeOverwrite = (*dbFile)(nil)
	_ vfs.FileSizeHint           = (*dbFile)(nil)
)

// SyncDir is what a VFS on top of this one uses.
func (v *system) SyncDir(name string) error { return v.d.FS().SyncDir(name) }
