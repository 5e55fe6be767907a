// Package disk is the file system as docket uses it beside SQLite: for the head
// file, the lock, temporary files, backups and the folders themselves. What
// must survive a crash goes through it, so that tests can record, tear and fail
// every step.
//
// It promises what the operating system promises: a write is durable after
// Sync of its file, a name after SyncDir of its folder.
package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// FS is a file system. Its methods are those of package os, with their errors,
// and may be called from many goroutines.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	MkdirAll(name string, perm fs.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	// SyncDir makes durable which names the folder has.
	SyncDir(name string) error
}

// File is an open file. It is used by one goroutine at a time.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Seeker
	io.Closer
	Name() string
	Fd() uintptr
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Sync() error
}

// OS is the operating system's.
func OS() FS { return system{} }

type system struct{}

func (system) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // not a File that holds a nil *os.File
	}
	return f, nil
}

func (system) ReadFile(name string) ([]byte, error)         { return os.ReadFile(name) }
func (system) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (system) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }
func (system) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (system) Rename(from, to string) error                 { return os.Rename(from, to) }
func (system) Remove(name string) error                     { return os.Remove(name) }
func (system) RemoveAll(name string) error                  { return os.RemoveAll(name) }

func (system) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
