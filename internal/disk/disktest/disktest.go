// Package disktest stands between docket and its files: a SQLite VFS and a
// disk.FS over one real folder. Tests let steps fail or wait through it, and
// record every step of the real program, to make from the record each folder
// that a crash of the machine may leave behind.
//
// A Disk shows and records what changes files and folders; locks and SQLite's
// shared memory (-shm) pass by unseen, for they are not kept by a disk.
package disktest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/docket-orders/docket/internal/disk"
)

// Kind is what an operation does.
type Kind uint8

// The kinds. Open and Read are shown to a fault only, all others are recorded.
const (
	Open     Kind = iota
	Read          // Size bytes at Offset
	Create        // a file that was not there
	Write         // Size bytes at Offset
	Truncate      // to Size, which may be more than the file has
	Sync          // of a file: its bytes and its size
	Rename        // to To
	Remove        // of a file or an empty folder
	Mkdir         // a folder that was not there
	SyncDir       // of a folder: the names in it
	Mark          // Path is what the test said
	kinds
)

var kindNames = [kinds]string{"open", "read", "create", "write", "truncate", "sync", "rename", "remove", "mkdir", "syncdir", "mark"}

func (k Kind) String() string { return kindNames[k] }

// Op is one operation on a file or folder.
type Op struct {
	Kind         Kind
	Path, To     string // relative to the root, with slashes; "" is SQLite's own temporary file
	Offset, Size int64
	// Data is what a Write writes; a fault must not keep or change it.
	Data []byte
	// File tells the files and folders of one recording apart, also when one
	// takes the name of another.
	File int
}

func (o Op) String() string {
	switch o.Kind {
	case Write, Read:
		return fmt.Sprintf("%v %s %d+%d", o.Kind, o.Path, o.Offset, o.Size)
	case Truncate:
		return fmt.Sprintf("%v %s %d", o.Kind, o.Path, o.Size)
	case Rename:
		return fmt.Sprintf("%v %s %s", o.Kind, o.Path, o.To)
	default:
		return fmt.Sprintf("%v %s", o.Kind, o.Path)
	}
}

// ShortWrite is the error of a fault that lets N bytes of a write through. What
// is written then sees Err.
type ShortWrite struct {
	N   int
	Err error
}

func (s ShortWrite) Error() string { return fmt.Sprintf("short write of %d bytes: %v", s.N, s.Err) }

func (s ShortWrite) Unwrap() error { return s.Err }

// Disk is a folder that is watched. Its methods may be called from many
// goroutines.
type Disk struct {
	root  string // without symbolic links
	name  string
	fault atomic.Pointer[func(Op) error]

	recording atomic.Bool
	// mu is held over each recorded operation, so that the record has the order
	// in which things happened.
	mu      sync.Mutex
	journal *Journal
	names   map[string]int // path -> Op.File
	files   int
}

// New watches the folder root, which is made when it is not there. The VFS is
// registered until Close.
func New(root string) *Disk {
	err := os.MkdirAll(root, 0o700)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err == nil {
		root, err = filepath.Abs(root)
	}
	if err != nil {
		panic(fmt.Sprintf("disktest: %v", err))
	}
	d := &Disk{root: root, names: map[string]int{}}
	d.name = fmt.Sprintf("disktest-%p", d)
	vfs.Register(d.name, &system{vfs.Find("").(vfs.VFSFilename), d})
	return d
}

// Root is the folder that is watched; everything is to be opened below it.
func (d *Disk) Root() string { return d.root }

// VFS is the name of the SQLite VFS.
func (d *Disk) VFS() string { return d.name }

// FS is the file system beside SQLite.
func (d *Disk) FS() disk.FS { return files{d} }

// Close unregisters the VFS; everything that uses it was closed.
func (d *Disk) Close() { vfs.Unregister(d.name) }

// SetFault lets fault see every operation before it is done, on the goroutine
// that does it. An error is what the operation fails with, undone; ShortWrite
// lets a part of a write through. A fault may block: nothing is held meanwhile.
// nil ends it.
func (d *Disk) SetFault(fault func(Op) error) {
	if fault == nil {
		d.fault.Store(nil)
		return
	}
	d.fault.Store(&fault)
}

// ask shows op to the fault.
func (d *Disk) ask(op Op) error {
	if fault := d.fault.Load(); fault != nil {
		return (*fault)(op)
	}
	return nil
}

// rel is the path below the root. What is not below it is refused by a panic:
// it would escape the record.
func (d *Disk) rel(name string) string {
	abs, err := filepath.Abs(name)
	if err == nil && !within(d.root, abs) {
		// The root was named through a symbolic link.
		if dir, e := filepath.EvalSymlinks(filepath.Dir(abs)); e == nil {
			abs = filepath.Join(dir, filepath.Base(abs))
		}
	}
	if err != nil || !within(d.root, abs) {
		panic(fmt.Sprintf("disktest: %s is not below %s", name, d.root))
	}
	rel, _ := filepath.Rel(d.root, abs)
	return filepath.ToSlash(rel)
}

func within(root, path string) bool {
	return path == root || strings.HasPrefix(path, root+string(filepath.Separator))
}

// do asks the fault, then does op and records it when it succeeded.
func (d *Disk) do(op Op, f func() error) error {
	if err := d.ask(op); err != nil {
		return err
	}
	return d.did(op, f)
}

// did does op and records it when it succeeded.
func (d *Disk) did(op Op, f func() error) error {
	if !d.recording.Load() {
		return f()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	err := f()
	if err == nil {
		d.record(op)
	}
	return err
}

// write is do for a Write: a part of it may happen.
func (d *Disk) write(op Op, f func([]byte) (int, error)) (int, error) {
	data := op.Data
	var short ShortWrite
	if err := d.ask(op); err != nil {
		var ok bool
		if short, ok = err.(ShortWrite); !ok {
			return 0, err
		}
		data = data[:min(max(short.N, 0), len(data))]
	}
	if d.recording.Load() {
		d.mu.Lock()
		defer d.mu.Unlock()
	}
	n, err := f(data)
	if n > 0 {
		op.Data, op.Size = data[:n], int64(n)
		d.record(op)
	}
	if err == nil {
		err = short.Err
	}
	return n, err
}
