package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/docket-orders/docket/command"
	eventsqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/google/uuid"
)

var growthQuestion = question{
	name:  "growth",
	about: "the same figures over ten times the orders: histories of Olist's orders, copied under new ids, first a fifth of them and then all twice",
	ask:   askGrowth,
}

func askGrowth(ctx context.Context, e *env) error {
	olist, err := e.olist(ctx)
	if err != nil {
		return err
	}
	appends, _, err := readAppends(ctx, olist)
	if err != nil {
		return err
	}
	small := 20_000
	if e.quick {
		small = 2_000
	}
	once, err := measureSize(ctx, e, appends, small)
	if err != nil {
		return err
	}
	tenfold, err := measureSize(ctx, e, appends, 10*small)
	if err != nil {
		return err
	}
	against := fmt.Sprintf("%d orders", small)
	for i, figure := range tenfold {
		e.compare(figure.what, figure.unit, []float64{figure.value}, against, []float64{once[i].value}, atMost(1.5))
	}
	e.note("docket: %d orders. A ratio above 1.5 in reads of text and facets is that of the answers: ten times as many orders match, and each is looked at; full text in FTS5 has no count of its own, and a month of orders is counted row by row", 10*small)
	return nil
}

// figure is one that should not grow with the orders.
type figure struct {
	what, unit string
	value      float64
}

// measureSize fills a folder with so many orders, and measures on top of them.
func measureSize(ctx context.Context, e *env, appends []appended, orders int) ([]figure, error) {
	const more, clients = 5_000, 64
	dir := filepath.Join(e.folder("growth"), "data")
	store, err := eventsqlite.Open(ctx, dir, eventsqlite.Options{})
	if err != nil {
		return nil, err
	}
	events := 0
	for begin := 0; begin < orders; begin += more {
		part, n := copies(appends, begin, min(more, orders-begin))
		events += n
		if err := appendConcurrently(ctx, store, writers, part); err != nil {
			return nil, err
		}
	}
	var figures []figure
	add := func(what, unit string, value float64) { figures = append(figures, figure{what, unit, value}) }

	last, n := copies(appends, orders, more)
	seconds, err := timed(func() error { return appendConcurrently(ctx, store, clients, last) })
	if err != nil {
		return nil, err
	}
	events += n
	add(fmt.Sprintf("appending %d orders, %d writers", more, clients), "µs/event", seconds/float64(n)*1e6)
	if err := store.Close(); err != nil {
		return nil, err
	}
	add("log", "bytes/event", size(filepath.Join(dir, "events.db"))/float64(events))

	d, err := embedded.Open(ctx, dir, embedded.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if seconds, err = timed(func() error { return d.Manager.CaughtUp(ctx) }); err != nil {
		return nil, err
	}
	add("projection from zero", "µs/event", seconds/float64(events)*1e6)
	file := filepath.Join(dir, "views", "orders-1.db")
	b, err := openBare(file)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	pages, err := b.number(`SELECT page_count * page_size FROM pragma_page_count, pragma_page_size`)
	if err != nil {
		return nil, err
	}
	add("views", "bytes/document", float64(pages)/float64(orders+more))
	all, err := readings(ctx, d.Queries, b)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if r.within == 0 {
			continue
		}
		var times []float64
		for i := range min(r.times, 500) {
			seconds, err := timed(func() error { return r.docket(i) })
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			times = append(times, seconds*1e3)
		}
		add(r.name+", p50", "ms", median(times))
	}

	ids, err := b.texts(`SELECT id FROM orders ORDER BY random() LIMIT 1000`)
	if err != nil {
		return nil, err
	}
	cold := command.New(command.Options{Store: d.Store, Snapshots: d.Embedded.Snapshots(), CacheEntries: 1})
	defer cold.Close()
	var times []float64
	for _, id := range ids {
		seconds, err := timed(func() error { _, _, err := cold.Load(ctx, id); return err })
		if err != nil {
			return nil, err
		}
		times = append(times, seconds*1e6)
	}
	add("loading an order, p50", "µs", median(times))
	return figures, nil
}

// copies of histories, n of them, beginning with the one of that number: those
// of the set over and over, each under ids of its own.
func copies(appends []appended, begin, n int) (out []appended, events int) {
	for k := begin; k < begin+n; k++ {
		a := appends[k%len(appends)]
		a.stream, a.events = fmt.Sprintf("%s-%d", a.stream, k/len(appends)), slices.Clone(a.events)
		for i := range a.events {
			id, err := uuid.NewRandom()
			if err != nil {
				panic(err) // the system has no randomness
			}
			a.events[i].ID = id
		}
		out, events = append(out, a), events+len(a.events)
	}
	return out, events
}
