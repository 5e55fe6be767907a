package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/disk/dirsync"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
)

// Options of a Backend; the zero value works.
type Options struct {
	// Readers bounds the questions answered at once, each on a connection of
	// about 0.4 MB and its page cache. 0 means 8.
	Readers int
	// VFS names a registered SQLite VFS to reach the files through; empty: the
	// operating system's. Tests inject faults with it.
	VFS string
	// Disk is under what is not SQLite's; nil: the operating system's.
	Disk disk.FS
	// Projection is in the names of the files; empty: projections.Name.
	Projection string
}

// Backend keeps one file per generation: <dir>/views/orders-<generation>.db, or
// with the name of another projection in front.
type Backend struct {
	dir     string
	options Options
}

// NewBackend makes a backend of the folder dir; nothing is touched before Open.
func NewBackend(dir string, o Options) *Backend {
	if o.Readers == 0 {
		o.Readers = 8
	}
	if o.Disk == nil {
		o.Disk = disk.OS()
	}
	if o.Projection == "" {
		o.Projection = projections.Name
	}
	o.VFS = dirsync.VFS(o.VFS)
	return &Backend{filepath.Join(dir, "views"), o}
}

var (
	_ projections.Backend = (*Backend)(nil)
	_ projections.Sink    = (*Store)(nil)
	_ projections.Filler  = (*Store)(nil)
	_ query.Views         = (*Store)(nil)
)

// Open opens a generation, and makes it, empty, when it is not there. What it
// returns is a *Store.
func (b *Backend) Open(ctx context.Context, generation int) (projections.Sink, error) {
	if err := b.options.Disk.MkdirAll(b.dir, 0o700); err != nil {
		return nil, fmt.Errorf("open generation %d: %w", generation, err)
	}
	s, err := open(b.file(generation), generation, b.options)
	if err != nil {
		return nil, fmt.Errorf("open generation %d: %w", generation, err)
	}
	return s, nil
}

// Drop unlinks the file of a closed generation, and what SQLite keeps beside it.
func (b *Backend) Drop(ctx context.Context, generation int) error {
	// The main file goes last: what is left after a crash is dropped again.
	for _, suffix := range []string{"-shm", "-wal", ""} {
		if err := b.options.Disk.Remove(b.file(generation) + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("drop generation %d: %w", generation, err)
		}
	}
	return nil
}

const suffix = ".db"

func (b *Backend) prefix() string { return b.options.Projection + "-" }

// Generations lists the files that are there, ascending.
func (b *Backend) Generations(ctx context.Context) ([]int, error) {
	entries, err := b.options.Disk.ReadDir(b.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list generations: %w", err)
	}
	var found []int
	for _, e := range entries {
		name, isPrefix := strings.CutPrefix(e.Name(), b.prefix())
		name, isSuffix := strings.CutSuffix(name, suffix)
		if n, err := strconv.Atoi(name); err == nil && isPrefix && isSuffix && strconv.Itoa(n) == name {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return found, nil
}

func (b *Backend) file(generation int) string {
	return filepath.Join(b.dir, b.prefix()+strconv.Itoa(generation)+suffix)
}
