// Package embedded wires the whole of docket over one folder: log, commands,
// views, questions, audit and reconciliation on SQLite, without a server. The
// log may lie elsewhere (Options.Remote), and so may views (Options.Search,
// Options.Cache); then the folder holds the rest, and what is spilled. The
// program, the benchmarks and the tests of the whole start the same one.
//
// It promises that a folder is open once, and that it is never opened as what
// it is not: see ground.go. Like cmd it knows adapters; nothing but cmd, bench
// and tests uses it.
package embedded

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	views "github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/readmodel"
	"github.com/docket-orders/docket/reconcile"
)

// Options of a docket. The zero value works.
type Options struct {
	Namespace eventstore.Namespace
	Logger    *slog.Logger // nil: slog.Default()
	// Remote is the log when it is not in the folder; nil: it is there.
	Remote *Remote
	// Search answers lists in place of the views in the folder, Cache orders by
	// id, customers and sums; nil: those in the folder do. They may be shared with
	// other processes on the same log.
	Search, Cache *Views
	Lease         time.Duration // of the lanes in shared views; DefaultLease when 0
	Owner         string        // of lanes; a name of this process when empty
	// Keep is for how long the generation that was in force before a switch is kept
	// for a rollback, 0: it is not; Upgrade what becomes of the one that a new
	// version begins by itself, empty: it is switched to.
	Keep    time.Duration
	Upgrade projections.Then
	// Editions of the projection; empty: this program's own.
	Editions []projections.Edition
	// Models are kept beside the orders, in the same stores.
	Models []readmodel.Model
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
	Views      *projections.Stores
	Manager    *projections.Manager // of the first store of Views: the folder's, where that answers anything
	Guards     []*guard.Guard       // in front of views behind a network
	Queries    *query.Service
	Models     []readmodel.Live // in the order of Options
	Auditor    *audit.Auditor
	Refusals   *audit.Refusals
	Reconciler *reconcile.Reconciler
	Logger     *slog.Logger

	release   func() error // ends the ground
	remote    []*Views     // to be closed
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
		return nil, errors.Join(err, o.Search.close(), o.Cache.close())
	}
	d := &Docket{
		Store: g.store, Embedded: g.embedded, Log: g.log, Logger: o.Logger,
		release: g.release, remote: []*Views{o.Search, o.Cache}, stopped: make(chan struct{}),
	}
	store := around(o.Store, g.store)
	d.Refusals = audit.NewRefusals(audit.RefusalOptions{Store: store, Namespace: o.Namespace, Logger: o.Logger})
	d.Orders = command.New(command.Options{
		Store: store, Namespace: o.Namespace, Snapshots: around(o.Snapshots, g.snapshots),
		Logger: o.Logger, Refused: d.Refusals.Record,
	})
	d.openViews(dir, store, backend, o)
	d.Auditor = audit.New(audit.Options{Query: d.Queries})
	d.Reconciler = reconcile.New(reconcile.Options{
		Store: store, Namespace: o.Namespace, Stores: reconcile.StoresOf(d.Views), SpillDir: spillDir(dir), Disk: o.Disk, Logger: o.Logger,
	})

	// The views outlive ctx: what was accepted is still applied while stopping.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stopViews = stop
	go func() {
		defer close(d.stopped)
		d.viewsErr = d.runViews(running)
	}()
	if err := d.awaitViews(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
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

// Close ends everything in the reverse order of its start. The lifetime of its
// handler must have ended: a reconciliation is waited for, which ends with it.
func (d *Docket) Close() error {
	d.Reconciler.Close()
	err := d.Orders.Close()
	d.stopViews()
	<-d.stopped
	err = errors.Join(err, d.viewsErr)
	for _, v := range d.remote {
		err = errors.Join(err, v.close())
	}
	return errors.Join(err, d.release())
}
