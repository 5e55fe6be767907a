package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/projections"
	views "github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/reconcile"
)

// app is a docket over an embedded store, without a listener. It is started by
// openApp and ended by close.
type app struct {
	store      *sqlite.Store
	log        eventstore.LogIdentity
	orders     *command.Orders
	manager    *projections.Manager
	queries    *query.Service
	auditor    *audit.Auditor
	refusals   *audit.Refusals
	reconciler *reconcile.Reconciler
	logger     *slog.Logger

	stopViews context.CancelFunc
	// stopped is closed when the projection has ended; viewsErr is why, nil
	// when it was asked to.
	stopped  chan struct{}
	viewsErr error
}

// openApp opens the folder and starts everything in it. When it returns, the
// views answer, though they may still be catching up with the log.
func openApp(ctx context.Context, dir string, ns eventstore.Namespace, logger *slog.Logger) (*app, error) {
	store, err := sqlite.Open(ctx, dir, sqlite.Options{Logger: logger})
	if err != nil {
		return nil, err
	}
	backend := views.NewBackend(dir, views.Options{})
	log, err := store.Log(ctx)
	if err == nil {
		err = requireWhatViewsHold(ctx, store, log, backend)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	a := &app{store: store, log: log, logger: logger, stopped: make(chan struct{})}
	a.refusals = audit.NewRefusals(audit.RefusalOptions{Store: store, Namespace: ns, Logger: logger})
	a.orders = command.New(command.Options{
		Store: store, Namespace: ns, Snapshots: store.Snapshots(), Logger: logger, Refused: a.refusals.Record,
	})
	spill := filepath.Join(dir, "tmp")
	a.manager = projections.NewManager(projections.Options{
		Store: store, Namespace: ns, Backend: backend, SpillDir: spill, Logger: logger,
	})
	a.queries = query.New(query.Options{Store: store, Namespace: ns, Live: a.live, Progress: a.manager, Log: log, Clock: a.orders.Clock})
	a.auditor = audit.New(audit.Options{Query: a.queries})
	a.reconciler = reconcile.New(reconcile.Options{
		Store: store, Namespace: ns, Projection: a.manager, SpillDir: spill, Logger: logger,
	})

	// The views outlive ctx: what was accepted is still applied while stopping.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.stopViews = stop
	go func() {
		defer close(a.stopped)
		a.viewsErr = a.manager.Run(running)
	}()
	if err := a.awaitViews(ctx); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// requireWhatViewsHold tells the store what the views have seen of its log, so
// that it notices when it has become shorter.
func requireWhatViewsHold(ctx context.Context, store *sqlite.Store, log eventstore.LogIdentity, backend *views.Backend) error {
	generations, err := backend.Generations(ctx)
	if err != nil {
		return err
	}
	for _, n := range generations {
		sink, err := backend.Open(ctx, n)
		if err != nil {
			return err
		}
		checkpoints, err := sink.Checkpoints(ctx)
		if err := errors.Join(err, sink.Close()); err != nil {
			return fmt.Errorf("read checkpoints of generation %d: %w", n, err)
		}
		for _, c := range checkpoints {
			if c.Log == log {
				store.RequirePosition(c.Position)
			}
		}
	}
	return nil
}

// awaitViews returns when a generation answers, or cannot.
func (a *app) awaitViews(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- a.manager.Started(ctx) }()
	select {
	case err := <-started:
		return err
	case <-a.stopped:
		return fmt.Errorf("views stopped: %w", a.viewsErr)
	}
}

// live hands the live generation to query; every sink of SQLite answers
// questions too.
func (a *app) live() (query.Views, int) {
	sink, generation := a.manager.Live()
	if sink == nil {
		return nil, 0
	}
	return sink.(query.Views), generation
}

// handler is the HTTP API over this app. lifetime ends what goes on after its
// request.
func (a *app) handler(lifetime context.Context, l listening, runKey string) http.Handler {
	return httpapi.New(httpapi.Options{
		Orders: a.orders, Query: a.queries, Projections: a.manager, Store: a.store, Log: a.log,
		Audit: a.auditor, Refusals: a.refusals, Reconcile: a.reconciler,
		Keys: l.keys, RunKey: runKey, RequireIfMatch: l.RequireIfMatch,
		Lifetime: lifetime, Logger: a.logger, Version: version(),
	})
}

// close ends everything in the reverse order of its start. The lifetime of its
// handler must have ended: a reconciliation is waited for, which ends with it.
func (a *app) close() error {
	a.reconciler.Close()
	err := a.orders.Close()
	a.stopViews()
	<-a.stopped
	return errors.Join(err, a.viewsErr, a.store.Close())
}

// Bounds of serving.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	shutdownTimeout   = 20 * time.Second // for what was accepted
)

// served is an app with a listener, and a note in its folder that says where.
type served struct {
	*app
	dir      string
	address  string // as listened on: 127.0.0.1:8080
	server   *http.Server
	lifetime context.CancelFunc
	failed   chan error
}

// serve listens for requests to the app; shutdown ends it.
func (a *app) serve(dir string, l listening, listener net.Listener) (*served, error) {
	lifetime, end := context.WithCancel(context.Background())
	runKey := newRunKey()
	s := &served{
		app: a, dir: dir, address: listener.Addr().String(), lifetime: end, failed: make(chan error, 1),
		server: &http.Server{
			Handler:           a.handler(lifetime, l, runKey),
			ReadHeaderTimeout: readHeaderTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(a.logger.Handler(), slog.LevelWarn),
		},
	}
	go func() { s.failed <- s.server.Serve(listener) }()
	err := writeRunFile(dir, runFile{Address: s.address, PID: os.Getpid(), Key: runKey})
	if err != nil {
		return nil, errors.Join(err, s.shutdown())
	}
	return s, nil
}

// wait returns when ctx ends, or with what ended the server or the views.
func (s *served) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return fmt.Errorf("serve: %w", err)
	case <-s.stopped:
		return fmt.Errorf("views stopped: %w", s.viewsErr)
	}
}

// shutdown stops listening, and returns when what was accepted is answered, or
// too late. The app is not closed.
func (s *served) shutdown() error {
	removeRunFile(s.dir)
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("requests that did not end within %s were cut off: %w", shutdownTimeout, errors.Join(err, s.server.Close()))
	}
	s.lifetime()
	return err
}
