package systemtest

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/docket-orders/docket/internal/disk"
	"github.com/ncruces/go-sqlite3/vfs"
)

// fileOp is something that docket does to a file or a folder.
type fileOp struct {
	does string // open, read, write, truncate, sync, lock, delete, rename, look
	path string
}

// watcher is told of every operation: begin may fail it, or hold it up; end is
// called when it is over, if begin let it pass.
type watcher interface {
	begin(fileOp) error
	end(fileOp)
}

// watch does op under the eyes of w.
func watch[T any](w watcher, does, path string, do func() (T, error)) (T, error) {
	op := fileOp{does, path}
	if err := w.begin(op); err != nil {
		var none T
		return none, err
	}
	defer w.end(op)
	return do()
}

func watchErr(w watcher, does, path string, do func() error) error {
	_, err := watch(w, does, path, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// watchedVFS is the operating system's, with everything told to a watcher.
type watchedVFS struct {
	vfs.VFSFilename
	watcher watcher
}

func newWatchedVFS(w watcher) watchedVFS {
	return watchedVFS{vfs.Find("").(vfs.VFSFilename), w}
}

// OpenFilename opens the file under the eyes of the watcher.
func (v watchedVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	out := flags
	f, err := watch(v.watcher, "open", name.String(), func() (f vfs.File, err error) {
		f, out, err = v.VFSFilename.OpenFilename(name, flags)
		return f, err
	})
	if err != nil {
		return nil, out, err
	}
	return &watchedVFSFile{f, name.String(), v.watcher}, out, nil
}

// Delete deletes under the eyes of the watcher.
func (v watchedVFS) Delete(name string, syncDir bool) error {
	return watchErr(v.watcher, "delete", name, func() error { return v.VFSFilename.Delete(name, syncDir) })
}

// Access looks under the eyes of the watcher.
func (v watchedVFS) Access(name string, flags vfs.AccessFlag) (bool, error) {
	return watch(v.watcher, "look", name, func() (bool, error) { return v.VFSFilename.Access(name, flags) })
}

type watchedVFSFile struct {
	vfs.File
	name    string
	watcher watcher
}

func (f *watchedVFSFile) ReadAt(p []byte, off int64) (int, error) {
	return watch(f.watcher, "read", f.name, func() (int, error) { return f.File.ReadAt(p, off) })
}

func (f *watchedVFSFile) WriteAt(p []byte, off int64) (int, error) {
	return watch(f.watcher, "write", f.name, func() (int, error) { return f.File.WriteAt(p, off) })
}

func (f *watchedVFSFile) Truncate(size int64) error {
	return watchErr(f.watcher, "truncate", f.name, func() error { return f.File.Truncate(size) })
}

func (f *watchedVFSFile) Sync(flags vfs.SyncFlag) error {
	return watchErr(f.watcher, "sync", f.name, func() error { return f.File.Sync(flags) })
}

func (f *watchedVFSFile) Lock(level vfs.LockLevel) error {
	return watchErr(f.watcher, "lock", f.name, func() error { return f.File.Lock(level) })
}

func (f *watchedVFSFile) SharedMemory() vfs.SharedMemory {
	if shm, ok := f.File.(vfs.FileSharedMemory); ok {
		return shm.SharedMemory()
	}
	return nil
}

func (f *watchedVFSFile) Unwrap() vfs.File { return f.File }

// watchedFS is the operating system's, with everything told to a watcher.
type watchedFS struct {
	disk.FS
	watcher watcher
}

func newWatchedFS(w watcher) watchedFS { return watchedFS{disk.OS(), w} }

// OpenFile opens a file under the eyes of the watcher.
func (d watchedFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := watch(d.watcher, "open", name, func() (disk.File, error) { return d.FS.OpenFile(name, flag, perm) })
	if err != nil {
		return nil, err
	}
	return &watchedFile{f, d.watcher}, nil
}

func (d watchedFS) ReadFile(name string) ([]byte, error) {
	return watch(d.watcher, "read", name, func() ([]byte, error) { return d.FS.ReadFile(name) })
}

func (d watchedFS) ReadDir(name string) ([]fs.DirEntry, error) {
	return watch(d.watcher, "look", name, func() ([]fs.DirEntry, error) { return d.FS.ReadDir(name) })
}

func (d watchedFS) Rename(from, to string) error {
	return watchErr(d.watcher, "rename", from, func() error { return d.FS.Rename(from, to) })
}

func (d watchedFS) Remove(name string) error {
	return watchErr(d.watcher, "delete", name, func() error { return d.FS.Remove(name) })
}

func (d watchedFS) RemoveAll(name string) error {
	return watchErr(d.watcher, "delete", name, func() error { return d.FS.RemoveAll(name) })
}

func (d watchedFS) SyncDir(name string) error {
	return watchErr(d.watcher, "sync", name, func() error { return d.FS.SyncDir(name) })
}

type watchedFile struct {
	disk.File
	watcher watcher
}

func (f *watchedFile) Read(p []byte) (int, error) {
	return watch(f.watcher, "read", f.Name(), func() (int, error) { return f.File.Read(p) })
}

func (f *watchedFile) Write(p []byte) (int, error) {
	return watch(f.watcher, "write", f.Name(), func() (int, error) { return f.File.Write(p) })
}

func (f *watchedFile) ReadAt(p []byte, off int64) (int, error) {
	return watch(f.watcher, "read", f.Name(), func() (int, error) { return f.File.ReadAt(p, off) })
}

func (f *watchedFile) WriteAt(p []byte, off int64) (int, error) {
	return watch(f.watcher, "write", f.Name(), func() (int, error) { return f.File.WriteAt(p, off) })
}

func (f *watchedFile) Truncate(size int64) error {
	return watchErr(f.watcher, "truncate", f.Name(), func() error { return f.File.Truncate(size) })
}

func (f *watchedFile) Sync() error {
	return watchErr(f.watcher, "sync", f.Name(), func() error { return f.File.Sync() })
}

// copyKilled copies a folder as a killed process leaves it: without what only a
// living one needs.
func copyKilled(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, below), 0o700)
		}
		if filepath.Ext(path) == ".db-shm" || d.Name() == "lock" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, below), text, 0o600)
	})
}
