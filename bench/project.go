package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
	eventsqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/projections"
	viewsqlite "github.com/docket-orders/docket/projections/sqlite"
)

var projectQuestion = question{
	name:  "project",
	about: "projecting Olist from zero (docket projections rebuild), its events order by order and interleaved, against inserting the same final documents, encoding included, into the same schema",
	ask:   askProject,
}

func askProject(ctx context.Context, e *env) error {
	appends, changes, rounds, err := e.replayed(ctx)
	if err != nil {
		return err
	}
	adjacent, err := newProjection(ctx, e, "adjacent", wholeStreams(appends), projections.Options{})
	if err != nil {
		return err
	}
	defer adjacent.close()
	interleaved, err := newProjection(ctx, e, "interleaved", roundRobin(appends, 5_000), projections.Options{})
	if err != nil {
		return err
	}
	defer interleaved.close()

	var inserted, projected, mixed []float64
	for range rounds {
		seconds, err := timed(func() error { return insertAll(ctx, e.folder("inserted"), changes) })
		if err != nil {
			return err
		}
		inserted = append(inserted, seconds)
		if seconds, err = adjacent.rebuild(ctx); err != nil {
			return err
		}
		projected = append(projected, seconds)
		if seconds, err = interleaved.rebuild(ctx); err != nil {
			return err
		}
		mixed = append(mixed, seconds)
	}
	against := fmt.Sprintf("insert %d documents", len(changes))
	e.compare("events order by order", "s", projected, against, inserted, atMost(1.3))
	e.compare("events interleaved", "s", mixed, against, inserted, atMost(1.3))
	e.measure("documents written per document, order by order", "", []float64{adjacent.written(len(changes), rounds)}, atMost(1.05))
	e.measure("documents written per document, interleaved", "", []float64{interleaved.written(len(changes), rounds)}, atMost(1.05))
	e.note("both write about %d documents in a transaction; the reference encodes them with one goroutine", batch)
	return nil
}

// replayed is what is projected from zero, the documents that come of it, and
// how often.
func (e *env) replayed(ctx context.Context) (appends []appended, changes []projections.Change, rounds int, err error) {
	olist, err := e.olist(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	if appends, _, err = readAppends(ctx, olist); err != nil {
		return nil, nil, 0, err
	}
	if changes, err = readDocuments(ctx, olist); err != nil {
		return nil, nil, 0, err
	}
	rounds = min(e.rounds, 3)
	if e.quick {
		appends, rounds = appends[:10_000], 2
	}
	orders := make(map[string]bool, len(appends))
	for _, a := range appends {
		orders[a.stream] = true
	}
	some := changes[:0]
	for _, c := range changes {
		if orders[eventstore.Namespace("").Stream("order", c.Order.ID)] {
			some = append(some, c)
		}
	}
	return appends, some, rounds, nil
}

// projection is a log and the views of it.
type projection struct {
	store   *eventsqlite.Store
	manager *projections.Manager
	backend *counting
	stop    context.CancelFunc
	stopped chan error
}

// newProjection writes a log, window after window, the appends of one window many
// at once, and projects it once: into the store that of names, or into SQLite.
func newProjection(ctx context.Context, e *env, name string, windows [][]appended, of projections.Options) (*projection, error) {
	dir := e.folder(name)
	store, err := eventsqlite.Open(ctx, dir, eventsqlite.Options{})
	if err != nil {
		return nil, err
	}
	for _, window := range windows {
		if err := appendConcurrently(ctx, store, writers, window); err != nil {
			return nil, err
		}
	}
	if of.Backend == nil {
		of.Backend = viewsqlite.NewBackend(dir, viewsqlite.Options{})
	}
	p := &projection{store: store, backend: &counting{Backend: of.Backend}, stopped: make(chan error, 1)}
	of.Store, of.Backend, of.SpillDir = store, p.backend, e.folder(name+"-spill")
	p.manager = projections.NewManager(of)
	running, stop := context.WithCancel(ctx)
	p.stop = stop
	go func() { p.stopped <- p.manager.Run(running) }()
	if err := p.manager.CaughtUp(ctx); err != nil {
		return nil, err
	}
	p.backend.documents.Store(0)
	return p, nil
}

// rebuild makes the views anew, from the first event to the switch.
func (p *projection) rebuild(ctx context.Context) (seconds float64, err error) {
	return timed(func() error { return p.manager.Rebuild(ctx, nil) })
}

// written is how often each document was written.
func (p *projection) written(documents, rebuilds int) float64 {
	return float64(p.backend.documents.Load()) / float64(documents*rebuilds)
}

func (p *projection) close() error {
	p.stop()
	if err := <-p.stopped; err != nil {
		return err
	}
	return p.store.Close()
}

// counting counts the documents that its sinks apply.
type counting struct {
	projections.Backend
	documents atomic.Int64
}

func (c *counting) Open(ctx context.Context, generation int) (projections.Sink, error) {
	sink, err := c.Backend.Open(ctx, generation)
	if err != nil {
		return nil, err
	}
	return countingSink{sink, &c.documents}, nil
}

type countingSink struct {
	projections.Sink
	documents *atomic.Int64
}

func (s countingSink) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	outcomes, err := s.Sink.Write(ctx, batch)
	for _, o := range outcomes {
		if o.Result == projections.Applied {
			s.documents.Add(1)
		}
	}
	return outcomes, err
}

// BeginFill and EndFill are the sink's, where it has them.
func (s countingSink) BeginFill(ctx context.Context) error {
	if filler, ok := s.Sink.(projections.Filler); ok {
		return filler.BeginFill(ctx)
	}
	return nil
}

func (s countingSink) EndFill(ctx context.Context, worked func(time.Duration) error) error {
	if filler, ok := s.Sink.(projections.Filler); ok {
		return filler.EndFill(ctx, worked)
	}
	return nil
}

// ClaimLanes is the sink's, where it has it: else a rebuild would claim each lane
// by itself.
func (s countingSink) ClaimLanes(ctx context.Context, lanes []projections.Checkpoint, owner string) (claimed []projections.Checkpoint, err error) {
	if all, ok := s.Sink.(projections.LaneClaimer); ok {
		return all.ClaimLanes(ctx, lanes, owner)
	}
	for _, c := range lanes {
		c, err := s.Claim(ctx, c.Lane, owner, c.Token)
		if err == nil {
			claimed = append(claimed, c)
		} else if !errors.Is(err, projections.ErrLaneLost) {
			return claimed, err
		}
	}
	return claimed, nil
}

// wholeStreams is one window of appends as they were.
func wholeStreams(appends []appended) [][]appended { return [][]appended{appends} }

// roundRobin takes an event of each order of a window in turns, so that what
// belongs to one order stands far apart.
func roundRobin(appends []appended, window int) (windows [][]appended) {
	for len(appends) > 0 {
		orders := appends[:min(window, len(appends))]
		appends = appends[len(orders):]
		for next, left := 0, true; left; next++ {
			var turn []appended
			for _, a := range orders {
				if next < len(a.events) {
					turn = append(turn, appended{a.stream, a.events[next : next+1], next})
				}
			}
			if left = len(turn) > 0; left {
				windows = append(windows, turn)
			}
		}
	}
	return windows
}

// appendConcurrently makes appends of different streams, many at once.
func appendConcurrently(ctx context.Context, store eventstore.Store, clients int, appends []appended) error {
	work := make(chan appended)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for a := range work {
				if _, err := store.Append(ctx, a.stream, a.expected(), a.events); err != nil {
					fail(err)
				}
			}
		})
	}
	for _, a := range appends {
		work <- a
	}
	close(work)
	all.Wait()
	return context.Cause(ctx)
}
