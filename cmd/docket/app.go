package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/internal/embedded"
)

// app is a docket without a listener.
type app struct{ *embedded.Docket }

// openApp opens the folder of the configuration, with the log and the views in
// it or those elsewhere, and starts everything.
func (p *program) openApp(level slog.Level) (*app, error) {
	o := embedded.Options{Namespace: p.config.namespace(), Logger: p.logger(level), Models: p.models}
	if p.config.EventStore != "" {
		store, err := p.openEventStore(o.Logger)
		if err != nil {
			return nil, err
		}
		o.Remote = &embedded.Remote{Store: store, Snapshots: store.Snapshots(o.Namespace)}
	}
	var err error
	if o.Search, o.Cache, err = p.config.viewStores.open(o.Namespace, o.Logger); err != nil {
		if o.Remote != nil {
			err = errors.Join(err, o.Remote.Store.Close())
		}
		return nil, err
	}
	o.Lease, o.Keep, o.Upgrade = p.config.Lease, p.config.KeepGeneration, p.config.OnUpgrade
	d, err := embedded.Open(p.ctx, p.config.Data, o)
	if err != nil {
		return nil, err
	}
	return &app{d}, nil
}

// openEventStore connects to the log that --eventstore names.
func (p *program) openEventStore(logger *slog.Logger) (*esdb.Store, error) {
	store, err := esdb.Open(p.ctx, string(p.config.EventStore), esdb.Options{Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("--eventstore: %w", err)
	}
	return store, nil
}

// handler is the HTTP API over this app. lifetime ends what goes on after its
// request, stopping what is sent for as long as something goes on.
func (a *app) handler(lifetime, stopping context.Context, l listening, runKey string) http.Handler {
	return httpapi.New(httpapi.Options{
		Orders: a.Orders, Query: a.Queries, Projections: a.Views, Models: a.Models, Store: a.Store, Log: a.Log,
		Audit: a.Auditor, Refusals: a.Refusals, Reconcile: a.Reconciler, Guards: a.Guards,
		Keys: l.keys, RunKey: runKey, RequireIfMatch: l.RequireIfMatch, Limits: l.Limits,
		Lifetime: lifetime, Stopping: stopping, Logger: a.Logger, Version: version(),
	})
}

// served is an app with a listener, and a note in its folder that says where.
type served struct {
	*app
	dir      string
	address  string // as listened on: 127.0.0.1:8080
	server   *http.Server
	lifetime context.CancelFunc
	patience time.Duration // with what was accepted, at the end
	failed   chan error
	esdb     *spoken // nil: EventStoreDB clients are not served
}

// serve listens for requests to the app; shutdown ends it.
func (a *app) serve(dir string, l listening, listener net.Listener) (*served, error) {
	lifetime, end := context.WithCancel(context.Background())
	stopping, stop := context.WithCancel(lifetime)
	runKey := newRunKey()
	s := &served{
		app: a, dir: dir, address: listener.Addr().String(), lifetime: end, failed: make(chan error, 1),
		server:   httpapi.NewServer(a.handler(lifetime, stopping, l, runKey), l.Limits, a.Logger),
		patience: l.Limits.OrDefaults().ShutdownTime,
	}
	s.server.RegisterOnShutdown(stop)
	go func() { s.failed <- s.server.Serve(listener) }()
	err := writeRunFile(dir, runFile{Address: s.address, PID: os.Getpid(), Key: runKey})
	if err != nil {
		return nil, errors.Join(err, s.shutdown())
	}
	return s, nil
}

// wait returns when ctx ends, or with what ended the server or the views.
func (s *served) wait(ctx context.Context) error {
	var spoken chan error // nil blocks for ever
	if s.esdb != nil {
		spoken = s.esdb.failed
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-spoken:
		return fmt.Errorf("serve EventStoreDB clients: %w", err)
	case err := <-s.failed:
		return fmt.Errorf("serve: %w", err)
	case <-s.Stopped():
		return fmt.Errorf("views stopped: %w", s.ViewsErr())
	}
}

// shutdown stops listening, and returns when what was accepted is answered, or
// too late. The app is not closed.
func (s *served) shutdown() error {
	removeRunFile(s.dir)
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("requests that did not end within %s were cut off: %w", s.patience, errors.Join(err, s.server.Close()))
	}
	s.lifetime()
	if s.esdb != nil {
		err = errors.Join(err, s.esdb.close())
	}
	return err
}
