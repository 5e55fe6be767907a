package systemtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/docket-orders/docket/internal/disk"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// world is a docket, or a part of one, that is killed and started again inside
// this process. A kill takes away the files between two operations of the disk,
// as kill -9 does: the running docket gets an error for whatever it does from
// then on, nobody hears what it still answers, and the next one starts on a copy
// of the files as they were.
type world[D any] struct {
	t     *testing.T
	dir   string
	open  func(ctx context.Context, dir string, v string, d disk.FS) (D, error)
	close func(D) error
	clock atomic.Int64 // the moments of a history, each of them once

	kills  []int64 // moments
	number int     // of the running incarnation
	ending sync.WaitGroup

	mu      sync.Mutex
	running *incarnation[D]
	up      chan struct{} // closed while running is there
}

// incarnation is one life of a docket between two kills.
type incarnation[D any] struct {
	is   D
	dir  string
	name string // of its VFS
	gate *gate
	// over is the moment from which nothing that it does counts. It is for those
	// who know that it is over.
	over atomic.Int64
}

// gate lets operations of the disk pass until it is shut.
type gate struct {
	passing sync.RWMutex
	shut    atomic.Bool
	dead    chan struct{} // closed with shut
}

var errKilled = fmt.Errorf("the process was killed: %w", sqlite3.IOERR)

// begin holds the gate open for operations that change something. What is dead
// may go on reading, since nobody hears what it says, and opening files, since
// nobody looks at its folder any more; the driver keeps the memory of each
// connection that could not be opened.
func (g *gate) begin(op fileOp) error {
	if !op.changes() {
		return nil
	}
	g.passing.RLock()
	if g.shut.Load() && op.does != "open" {
		g.passing.RUnlock()
		return errKilled
	}
	return nil
}

func (g *gate) end(op fileOp) {
	if op.changes() {
		g.passing.RUnlock()
	}
}

func (op fileOp) changes() bool {
	switch op.does {
	case "read", "look", "lock":
		return false
	}
	return true
}

// memory is a folder for files that need not survive this machine; it is where
// a sync costs nothing, if there is such a place.
func memory(t *testing.T) string {
	t.Helper()
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "docket-systemtest-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

var silent = slog.New(slog.DiscardHandler)

// start opens the files of the incarnation with the current number.
func (w *world[D]) start(ctx context.Context) error {
	i := &incarnation[D]{dir: w.folder(w.number), name: "killed-" + w.folder(w.number), gate: &gate{dead: make(chan struct{})}}
	vfs.Register(i.name, newWatchedVFS(i.gate))
	is, err := w.open(ctx, i.dir, i.name, newWatchedFS(i.gate))
	if err != nil {
		vfs.Unregister(i.name)
		return fmt.Errorf("start after %d kills: %w", len(w.kills), err)
	}
	i.is = is
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = i
	close(w.up)
	return nil
}

func (w *world[D]) folder(n int) string { return filepath.Join(w.dir, fmt.Sprint(n)) }

// kill takes the running incarnation its files away.
func (w *world[D]) kill() error {
	w.mu.Lock()
	i := w.running
	w.running, w.up = nil, make(chan struct{})
	w.mu.Unlock()

	i.gate.passing.Lock()
	i.gate.shut.Store(true)
	w.number++
	err := copyKilled(i.dir, w.folder(w.number))
	i.over.Store(w.clock.Add(1))
	i.gate.passing.Unlock()
	close(i.gate.dead)

	w.kills = append(w.kills, w.clock.Add(1))
	w.ending.Go(func() { w.bury(i) })
	return err
}

// bury ends what is left of a killed incarnation.
func (w *world[D]) bury(i *incarnation[D]) {
	_ = w.close(i.is) // it cannot write any more, and says so
	vfs.Unregister(i.name)
	if err := os.RemoveAll(i.dir); err != nil {
		w.t.Error(err)
	}
}

// stop ends the running incarnation in peace.
func (w *world[D]) stop() error {
	i := w.running
	err := w.close(i.is)
	i.over.Store(w.clock.Add(1))
	vfs.Unregister(i.name)
	w.ending.Wait()
	return errors.Join(err, os.RemoveAll(w.dir))
}

// current waits until one runs; nil: ctx ended first.
func (w *world[D]) current(ctx context.Context) *incarnation[D] {
	for {
		w.mu.Lock()
		i, up := w.running, w.up
		w.mu.Unlock()
		if i != nil {
			return i
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil
		}
	}
}
