package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/redis"
	views "github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/readmodel"
)

// Views is a store of views behind a network, which other processes may share.
// It may be away when docket starts. It belongs to the docket from the call of
// Open on, which closes it, also when it fails.
type Views struct {
	Name    string // in status, metrics and logs
	Backend projections.Backend
	// For is the same store with the generations of another projection.
	For   func(projection string) projections.Backend
	Guard *guard.Guard // in front of the store; nil: none
	Close func() error // nil: there is nothing to close
}

// DefaultLease is for how long the beat of a lane in a shared store may stand
// still before another process takes the lane.
const DefaultLease = 10 * time.Second

// Elasticsearch is views for Options.Search. The server is not asked.
func Elasticsearch(address string, o elastic.Options) (*Views, error) {
	b, err := elastic.Open(address, o)
	if err != nil {
		return nil, err
	}
	of := func(projection string) projections.Backend { return b.For(projection) }
	return &Views{Name: "elasticsearch", Backend: b, For: of, Guard: b.Guard(), Close: b.Close}, nil
}

// Redis is views for Options.Cache. The server is not asked.
func Redis(address string, o redis.Options) (*Views, error) {
	b, err := redis.Open(address, o)
	if err != nil {
		return nil, err
	}
	of := func(projection string) projections.Backend { return b.For(projection) }
	return &Views{Name: "redis", Backend: b, For: of, Guard: b.Guard(), Close: b.Close}, nil
}

func (v *Views) close() error {
	if v == nil || v.Close == nil {
		return nil
	}
	if err := v.Close(); err != nil {
		return fmt.Errorf("close %s: %w", v.Name, err)
	}
	return nil
}

// ownerID tells people which process has a lane: host, process id, and what
// makes it the only one of that name.
func ownerID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s:%d:%.8s", host, os.Getpid(), uuid.NewString())
}

// projection is one projection in the stores that the roles need.
type projection struct {
	views       *projections.Stores
	search, hot *projections.Manager // that answer lists, and the rest
}

// open makes the managers of a projection; the one in the folder answers what no
// other store was named for. Those of a read model have its name, and folders of
// their own for what they spill.
func (o Options) open(dir string, of projections.Options, local projections.Backend) projection {
	spill := spillDir(dir)
	if of.Projection != "" {
		spill = filepath.Join(spill, of.Projection)
	}
	var p projection
	var all []*projections.Manager
	add := func(name string, backend projections.Backend, spill string, lease time.Duration) *projections.Manager {
		of.StoreName, of.Backend, of.SpillDir, of.Lease = name, around(o.Backend, backend), spill, lease
		m := projections.NewManager(of)
		all = append(all, m)
		return m
	}
	if o.Search == nil || o.Cache == nil {
		p.search = add("sqlite", local, spill, 0)
		p.hot = p.search
	}
	lease := o.Lease
	if lease <= 0 {
		lease = DefaultLease
	}
	remote := func(v *Views) *projections.Manager {
		backend := v.Backend
		if of.Projection != "" {
			backend = v.For(of.Projection)
		}
		return add(v.Name, backend, filepath.Join(spill, v.Name), lease)
	}
	if o.Search != nil {
		p.search = remote(o.Search)
	}
	if o.Cache != nil {
		p.hot = remote(o.Cache)
	}
	p.views = projections.NewStores(all...)
	return p
}

// openViews opens the orders, and the read models beside them.
func (d *Docket) openViews(dir string, store eventstore.Store, local projections.Backend, o Options) {
	common := projections.Options{
		Store: store, Namespace: o.Namespace, Disk: o.Disk, Logger: o.Logger, Owner: o.Owner, Keep: o.Keep, Upgrade: o.Upgrade,
	}
	if common.Owner == "" {
		common.Owner = ownerID()
	}
	for _, v := range []*Views{o.Search, o.Cache} {
		if v != nil && v.Guard != nil {
			d.Guards = append(d.Guards, v.Guard)
		}
	}
	asking := query.Options{Store: store, Namespace: o.Namespace, Log: d.Log, Clock: d.Orders.Clock, Recorded: d.Orders.Recorded}
	queries := func(p projection) *query.Service {
		asking.Hot, asking.Search = query.SideOf[query.Hot](p.hot), query.SideOf[query.Search](p.search)
		return query.New(asking)
	}
	orders := common
	orders.Editions = o.Editions
	p := o.open(dir, orders, local)
	d.Views, d.Manager, d.Queries = p.views, p.views.Managers()[0], queries(p)
	for _, m := range o.Models {
		def := m.Definition()
		if slices.ContainsFunc(d.Models, func(other readmodel.Live) bool { return other.Name == def.Name }) {
			panic("embedded: two read models are called " + def.Name)
		}
		of := common
		of.Projection, of.Editions = def.Name, []projections.Edition{{Version: def.Version, Fold: def.Fold}}
		p := o.open(dir, of, views.NewBackend(dir, views.Options{VFS: o.VFS, Disk: o.Disk, Projection: def.Name}))
		asking.Apply = def.Fold.Apply
		d.Models = append(d.Models, readmodel.Live{Definition: def, Views: p.views, Queries: queries(p)})
	}
}

// projections of all kinds, the orders first.
func (d *Docket) projections() []*projections.Stores {
	all := []*projections.Stores{d.Views}
	for _, m := range d.Models {
		all = append(all, m.Views)
	}
	return all
}

// runViews runs all of them until ctx ends, or until one ends with an error: then
// all end.
func (d *Docket) runViews(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all := d.projections()
	ended := make(chan error, len(all))
	for _, p := range all {
		go func() {
			err := p.Run(ctx)
			if err != nil {
				stop()
			}
			ended <- err
		}()
	}
	var err error
	for range all {
		err = errors.Join(err, <-ended)
	}
	return err
}

func spillDir(dir string) string { return filepath.Join(dir, "tmp") }

// awaitViews returns when each view in the folder answers, or cannot. One behind
// a network is not waited for: it may be away for long.
func (d *Docket) awaitViews(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := make(chan error, 1)
	go func() {
		var all []error
		for _, p := range d.projections() {
			all = append(all, p.Started(ctx))
		}
		started <- errors.Join(all...)
	}()
	select {
	case err := <-started:
		return err
	case <-d.stopped:
		return fmt.Errorf("views stopped: %w", d.viewsErr)
	}
}

// CaughtUp returns when the views hold what was in the log at the call. Those
// behind a network are waited for as long as patience lasts; what fails is then
// joined for who wants to tell of it.
func (d *Docket) CaughtUp(ctx context.Context, patience time.Duration) (err, away error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, p := range d.projections() {
		for _, m := range p.Managers() {
			if m.Lease == 0 {
				err = errors.Join(err, m.CaughtUp(ctx))
			} else if failed := m.CaughtUp(waiting); failed != nil {
				away = errors.Join(away, fmt.Errorf("%s: %w", m.StoreName, failed))
			}
		}
	}
	return err, away
}
