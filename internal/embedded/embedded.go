// Package embedded wires the whole of docket over one folder: log, commands,
// views, questions, audit and reconciliation on SQLite, without a server. The
// log may lie elsewhere (Options.Remote); then the folder holds the views and
// what is spilled. The program, the benchmarks and the tests of the whole start
// the same one.
//
// It promises that a folder is open once, and that it is never opened as what
// it is not: see ground.go. Like cmd it knows adapters; nothing but cmd, bench
// and tests uses it.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/projections"
	views "github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/reconcile"
)

// Options of a docket. The zero value works.
type Options struct {
	Namespace eventstore.Namespace
	Logger    *slog.Logger // nil: slog.Default()
	// Remote is the log when it is not in the folder; nil: it is there.
	Remote *Remote
	// VFS names a registered SQLite VFS under every database, and Disk is under
	// every other file; empty and nil: the operating system's. Tests record and
	// spoil what is written with them.
	VFS  string
	Disk disk.FS
	// Store, Snapshots and Backend stand around the ports of the same name; nil:
	// nothing does. A store that is not a Sequencer any more loses what comes
	// with one.
	Store     func(eventstore.Store) eventstore.Store
	Snapshots func(command.Snapshots) command.Snapshots
	Backend   func(projections.Backend) projections.Backend
}

// Remote is a log behind a network. It belongs to the docket from the call of
// Open on, which closes it, also when it fails.
type Remote struct {
	Store     eventstore.Store
	Snapshots command.Snapshots
}

// Docket is everything but a listener. It is started by Open and ended by Close.
type Docket struct {
	Store      eventstore.Store // as it was opened: without what Options put around it
	Embedded   *sqlite.Store    // the same Store when it is in the folder; nil with a Remote
	Log        eventstore.LogIdentity
	Orders     *command.Orders
	Manager    *projections.Manager
	Queries    *query.Service
	Auditor    *audit.Auditor
	Refusals   *audit.Refusals
	Reconciler *reconcile.Reconciler
	Logger     *slog.Logger

	release   func() error // ends the ground
	stopViews context.CancelFunc
	stopped   chan struct{} // closed when the projection has ended
	viewsErr  error
}

// Open opens the folder and starts everything in it. When it returns, the views
// answer, though they may still be catching up with the log.
func Open(ctx context.Context, dir string, o Options) (*Docket, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	backend := views.NewBackend(dir, views.Options{VFS: o.VFS, Disk: o.Disk})
	g, err := open(ctx, dir, backend, o)
	if err != nil {
		return nil, err
	}
	d := &Docket{Store: g.store, Embedded: g.embedded, Log: g.log, Logger: o.Logger, release: g.release, stopped: make(chan struct{})}
	store := around(o.Store, g.store)
	d.Refusals = audit.NewRefusals(audit.RefusalOptions{Store: store, Namespace: o.Namespace, Logger: o.Logger})
	d.Orders = command.New(command.Options{
		Store: store, Namespace: o.Namespace, Snapshots: around(o.Snapshots, g.snapshots),
		Logger: o.Logger, Refused: d.Refusals.Record,
	})
	spill := filepath.Join(dir, "tmp")
	d.Manager = projections.NewManager(projections.Options{
		Store: store, Namespace: o.Namespace, Backend: around(o.Backend, projections.Backend(backend)),
		SpillDir: spill, Disk: o.Disk, Logger: o.Logger,
	})
	d.Queries = query.New(query.Options{Store: store, Namespace: o.Namespace, Live: d.live, Progress: d.Manager, Log: d.Log, Clock: d.Orders.Clock, Recorded: d.Orders.Recorded})
	d.Auditor = audit.New(audit.Options{Query: d.Queries})
	d.Reconciler = reconcile.New(reconcile.Options{
		Store: store, Namespace: o.Namespace, Projection: d.Manager, SpillDir: spill, Disk: o.Disk, Logger: o.Logger,
	})

	// The views outlive ctx: what was accepted is still applied while stopping.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stopViews = stop
	go func() {
		defer close(d.stopped)
		d.viewsErr = d.Manager.Run(running)
	}()
	if err := d.awaitViews(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// awaitViews returns when a generation answers, or cannot.
func (d *Docket) awaitViews(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- d.Manager.Started(ctx) }()
	select {
	case err := <-started:
		return err
	case <-d.stopped:
		return fmt.Errorf("views stopped: %w", d.viewsErr)
	}
}

// Stopped is closed when the projection has ended; ViewsErr then tells why.
func (d *Docket) Stopped() <-chan struct{} { return d.stopped }

// ViewsErr is why the projection has ended; nil when it was asked to. Call it
// after Stopped.
func (d *Docket) ViewsErr() error { return d.viewsErr }

// around is port with what stands around it.
func around[P any](wrap func(P) P, port P) P {
	if wrap == nil {
		return port
	}
	return wrap(port)
}

// live hands the live generation to query; every sink of SQLite answers
// questions too.
func (d *Docket) live() (query.Views, int) {
	sink, generation := d.Manager.Live()
	if sink == nil {
		return nil, 0
	}
	return sink.(query.Views), generation
}

// Close ends everything in the reverse order of its start. The lifetime of its
// handler must have ended: a reconciliation is waited for, which ends with it.
func (d *Docket) Close() error {
	d.Reconciler.Close()
	err := d.Orders.Close()
	d.stopViews()
	<-d.stopped
	return errors.Join(err, d.viewsErr, d.release())
}
