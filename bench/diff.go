package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/redis"
	"github.com/docket-orders/docket/view"
)

var diffQuestion = question{
	name:  "diff",
	about: "the difference of two generations of Olist's views (docket projections diff) against one full scan of both: every id listed and every document read and decoded, both sides at once",
	ask:   askDiff,
}

func askDiff(ctx context.Context, e *env) error {
	appends, _, rounds, err := e.replayed(ctx)
	if err != nil {
		return err
	}
	servers := testservers.NewProgram("bench")
	defer servers.Close()
	stores := []struct {
		name string
		open func() (projections.Options, func() error, error)
	}{
		{"sqlite", func() (projections.Options, func() error, error) {
			return projections.Options{}, func() error { return nil }, nil
		}},
		{"redis", func() (o projections.Options, end func() error, err error) {
			b, err := redis.Open("redis://"+testservers.StartRedis(servers).Address, redis.Options{})
			if err != nil {
				return o, nil, err
			}
			return projections.Options{StoreName: "redis", Backend: b, Lease: embedded.DefaultLease}, b.Close, nil
		}},
		{"elasticsearch", func() (o projections.Options, end func() error, err error) {
			url := testservers.StartElasticsearch(servers).URL
			b, err := elastic.Open("elasticsearch"+url[len("http"):], elastic.Options{})
			if err != nil {
				return o, nil, err
			}
			return projections.Options{StoreName: "elasticsearch", Backend: b, Lease: embedded.DefaultLease}, b.Close, nil
		}},
	}
	if e.quick {
		stores = stores[:2]
	}
	for _, s := range stores {
		o, end, err := s.open()
		if err != nil {
			return err
		}
		if err := errors.Join(diffIn(ctx, e, s.name, appends, rounds, o), end()); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// diffIn measures one store: generations that are equal, that differ in one order
// of a hundred, and in every order.
func diffIn(ctx context.Context, e *env, store string, appends []appended, rounds int, o projections.Options) (err error) {
	var among atomic.Uint32 // one order in so many is projected otherwise
	o.Fold.Apply = func(doc view.Order, event codec.Recorded) view.Order {
		doc = projections.Apply(doc, event)
		if n := among.Load(); n > 0 && crc32.ChecksumIEEE([]byte(doc.ID))%n == 0 {
			doc.City = "elsewhere"
		}
		return doc
	}
	p, err := newProjection(ctx, e, "diff-"+store, roundRobin(appends, 5_000), o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	stores := projections.NewStores(p.manager)
	for _, c := range []struct {
		what  string
		among uint32
		goal  goal
	}{{"equal", 0, atMost(1.5)}, {"one order in a hundred differs", 100, atMost(1.5)}, {"every order differs", 1, noGoal}} {
		among.Store(c.among)
		candidate, err := stores.Begin(ctx, projections.Request{Share: 1})
		if err != nil {
			return err
		}
		if r, err := stores.Await(ctx, candidate, nil); err != nil || r.Phase != projections.PhaseReady {
			return fmt.Errorf("rebuild: %s %+v %w", r.Phase, r.Failure, err)
		}
		among.Store(0)
		live, _ := p.manager.Live()
		other, err := p.backend.Open(ctx, candidate)
		if err != nil {
			return err
		}
		var compared, scanned []float64
		for range rounds {
			var d projections.Difference
			seconds, err := timed(func() (err error) {
				d, err = stores.Diff(ctx, true, nil)
				return err
			})
			if err == nil && d.Empty() != (c.among == 0) {
				err = fmt.Errorf("%s: empty is %v", c.what, d.Empty())
			}
			if err != nil {
				return err
			}
			compared = append(compared, seconds)
			if seconds, err = timed(func() error { return scanBoth(ctx, live, other) }); err != nil {
				return err
			}
			scanned = append(scanned, seconds)
		}
		e.compare(store+", "+c.what, "s", compared, "full scan of both", scanned, c.goal)
		if err := errors.Join(other.Close(), stores.Cancel(ctx, candidate)); err != nil {
			return err
		}
	}
	return nil
}

// scanBoth reads every document of two sinks.
func scanBoth(ctx context.Context, sinks ...projections.Sink) error {
	failed := make([]error, len(sinks))
	var scanning sync.WaitGroup
	for i, sink := range sinks {
		scanning.Go(func() { failed[i] = scan(ctx, sink) })
	}
	scanning.Wait()
	return errors.Join(failed...)
}

func scan(ctx context.Context, sink projections.Sink) error {
	const page = 4096
	for after := ""; ; {
		ids, err := sink.IDs(ctx, after, page)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(ids, 1024) {
			docs, err := sink.Documents(ctx, some)
			if err == nil && len(docs) != len(some) {
				err = fmt.Errorf("%d documents of %d", len(docs), len(some))
			}
			if err != nil {
				return err
			}
		}
		if len(ids) < page {
			return nil
		}
		after = ids[len(ids)-1]
	}
}
