// Package embedded wires the whole of docket over one folder: log, commands,
// views, questions, audit and reconciliation on SQLite, without a server. The
// program, the benchmarks and the tests of the whole start the same one.
//
// Like cmd it knows adapters; nothing but cmd, bench and tests uses it.
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

// Docket is everything but a listener. It is started by Open and ended by Close.
type Docket struct {
	Store      *sqlite.Store
	Log        eventstore.LogIdentity
	Orders     *command.Orders
	Manager    *projections.Manager
	Queries    *query.Service
	Auditor    *audit.Auditor
	Refusals   *audit.Refusals
	Reconciler *reconcile.Reconciler
	Logger     *slog.Logger

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
	opened, err := sqlite.Open(ctx, dir, sqlite.Options{Logger: o.Logger, VFS: o.VFS, Disk: o.Disk})
	if err != nil {
		return nil, err
	}
	views := views.NewBackend(dir, views.Options{VFS: o.VFS, Disk: o.Disk})
	log, err := opened.Log(ctx)
	if err == nil {
		err = RequireWhatViewsHold(ctx, opened, log, views, func(err error) {
			o.Logger.Warn("a view does not tell how long the log was", "error", err)
		})
	}
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	store := around(o.Store, eventstore.Store(opened))
	d := &Docket{Store: opened, Log: log, Logger: o.Logger, stopped: make(chan struct{})}
	d.Refusals = audit.NewRefusals(audit.RefusalOptions{Store: store, Namespace: o.Namespace, Logger: o.Logger})
	d.Orders = command.New(command.Options{
		Store: store, Namespace: o.Namespace, Snapshots: around(o.Snapshots, command.Snapshots(opened.Snapshots())),
		Logger: o.Logger, Refused: d.Refusals.Record,
	})
	spill := filepath.Join(dir, "tmp")
	d.Manager = projections.NewManager(projections.Options{
		Store: store, Namespace: o.Namespace, Backend: around(o.Backend, projections.Backend(views)),
		SpillDir: spill, Disk: o.Disk, Logger: o.Logger,
	})
	d.Queries = query.New(query.Options{Store: store, Namespace: o.Namespace, Live: d.live, Progress: d.Manager, Log: log, Clock: d.Orders.Clock})
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

// RequireWhatViewsHold tells the store what the views have seen of its log, so
// that it notices when it has become shorter. A view that cannot be read tells
// nothing; unreadable hears of it.
func RequireWhatViewsHold(ctx context.Context, store *sqlite.Store, log eventstore.LogIdentity, backend *views.Backend, unreadable func(error)) error {
	seen, err := WhatViewsHold(ctx, backend, unreadable)
	furthest := eventstore.Start
	for _, s := range seen {
		if s.Log == log && furthest.Before(s.Position) {
			furthest = s.Position
		}
	}
	store.RequirePosition(furthest)
	return err
}

// WhatViewsHold is what the checkpoints of all generations say of the logs they
// were made from.
func WhatViewsHold(ctx context.Context, backend *views.Backend, unreadable func(error)) (seen []sqlite.Sighting, err error) {
	generations, err := backend.Generations(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range generations {
		checkpoints, err := func() (all []projections.Checkpoint, err error) {
			sink, err := backend.Open(ctx, n)
			if err != nil {
				return nil, err
			}
			all, err = sink.Checkpoints(ctx)
			return all, errors.Join(err, sink.Close())
		}()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			unreadable(fmt.Errorf("read checkpoints of generation %d: %w", n, err))
		}
		for _, c := range checkpoints {
			seen = append(seen, sqlite.Sighting{Log: c.Log, Position: c.Position})
		}
	}
	return seen, nil
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
	return errors.Join(err, d.viewsErr, d.Store.Close())
}
