package disktest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/docket-orders/docket/internal/disk"
)

// files is the operating system's file system, watched by d.
type files struct{ d *Disk }

func (f files) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	rel := f.d.rel(name)
	if err := f.d.ask(Op{Kind: Open, Path: rel}); err != nil {
		return nil, err
	}
	out := &file{d: f.d, name: rel, appends: flag&os.O_APPEND != 0}
	id, err := f.d.open(name, rel, func() (err error) {
		out.File, err = disk.OS().OpenFile(name, flag&^os.O_TRUNC, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	out.file = id
	if flag&os.O_TRUNC != 0 {
		if err := out.Truncate(0); err != nil {
			return nil, errors.Join(err, out.Close())
		}
	}
	return out, nil
}

func (f files) ReadFile(name string) ([]byte, error) {
	if err := f.d.ask(Op{Kind: Read, Path: f.d.rel(name)}); err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}

func (f files) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.d.ask(Op{Kind: Read, Path: f.d.rel(name)}); err != nil {
		return nil, err
	}
	return os.ReadDir(name)
}

func (f files) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// MkdirAll makes one folder after the other.
func (f files) MkdirAll(name string, perm fs.FileMode) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	rel := f.d.rel(name)
	if parent := filepath.Dir(name); parent != name {
		if err := f.MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	return f.d.do(Op{Kind: Mkdir, Path: rel}, func() error { return os.Mkdir(name, perm) })
}

func (f files) Rename(from, to string) error {
	return f.d.do(Op{Kind: Rename, Path: f.d.rel(from), To: f.d.rel(to)}, func() error { return os.Rename(from, to) })
}

func (f files) Remove(name string) error {
	return f.d.do(Op{Kind: Remove, Path: f.d.rel(name)}, func() error { return os.Remove(name) })
}

// RemoveAll removes one name after the other, from below.
func (f files) RemoveAll(name string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := os.ReadDir(name)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := f.RemoveAll(filepath.Join(name, e.Name())); err != nil {
				return err
			}
		}
	}
	return f.Remove(name)
}

// SyncDir of the folder above the root is not on record: the root's own name is
// taken to last.
func (f files) SyncDir(name string) error {
	if name == filepath.Dir(f.d.root) {
		return disk.OS().SyncDir(name)
	}
	return f.d.do(Op{Kind: SyncDir, Path: f.d.rel(name)}, func() error { return disk.OS().SyncDir(name) })
}

// file is an open file beside SQLite.
type file struct {
	disk.File
	d       *Disk
	name    string
	file    int
	appends bool
}

func (f *file) Read(p []byte) (int, error) {
	if err := f.d.ask(Op{Kind: Read, Path: f.name, Size: int64(len(p)), File: f.file}); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.d.ask(Op{Kind: Read, Path: f.name, Offset: off, Size: int64(len(p)), File: f.file}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *file) Write(p []byte) (int, error) {
	whence := io.SeekCurrent
	if f.appends {
		whence = io.SeekEnd
	}
	off, err := f.Seek(0, whence)
	if err != nil {
		return 0, err
	}
	op := Op{Kind: Write, Path: f.name, Offset: off, Size: int64(len(p)), Data: p, File: f.file}
	return f.d.write(op, f.File.Write)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	op := Op{Kind: Write, Path: f.name, Offset: off, Size: int64(len(p)), Data: p, File: f.file}
	return f.d.write(op, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *file) Truncate(size int64) error {
	return f.d.do(Op{Kind: Truncate, Path: f.name, Size: size, File: f.file}, func() error { return f.File.Truncate(size) })
}

func (f *file) Sync() error {
	return f.d.do(Op{Kind: Sync, Path: f.name, File: f.file}, f.File.Sync)
}
