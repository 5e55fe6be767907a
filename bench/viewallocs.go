package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/projections"
	viewsqlite "github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

var viewAllocsQuestion = question{
	name:  "viewallocs",
	about: "what the hot paths of the views allocate; go test -bench . -benchmem in command, projections and projections/sqlite has more",
	ask:   askViewAllocs,
}

func askViewAllocs(ctx context.Context, e *env) error {
	olist, err := e.olist(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(e.folder("allocs"), "data")
	if err := copyFolder(dir, olist); err != nil {
		return err
	}
	d, err := embedded.Open(ctx, dir, embedded.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Manager.CaughtUp(ctx); err != nil {
		return err
	}
	var records []eventstore.Record
	filter := eventstore.Filter{Prefixes: []string{eventstore.Namespace("").Prefix(codec.Category)}}
	for r, err := range d.Store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, filter, 20_000) {
		if err != nil {
			return err
		}
		records = append(records, r)
	}

	events := make([]codec.Recorded, len(records))
	if err := e.allocated("decoding an event", len(records), func() error {
		for i, r := range records {
			if events[i], err = codec.Decode(r, ""); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	docs := map[string]view.Order{}
	if err := e.allocated("folding an event into a document", len(events), func() error {
		for _, event := range events {
			docs[event.OrderID] = projections.Apply(docs[event.OrderID], event)
		}
		return nil
	}); err != nil {
		return err
	}
	var ids []string
	changes := make([]projections.Change, 0, len(docs))
	if err := e.allocated("what a document adds to counters and full text", len(docs), func() error {
		for id, doc := range docs {
			ids, changes = append(ids, id), append(changes, change(doc))
		}
		return nil
	}); err != nil {
		return err
	}
	sink, err := viewsqlite.NewBackend(e.folder("allocs"), viewsqlite.Options{}).Open(ctx, 1)
	if err != nil {
		return err
	}
	defer sink.Close()
	if err := e.allocated("writing a document, in a batch of all", len(changes), func() error {
		_, err := sink.Write(ctx, projections.Batch{Changes: changes})
		return err
	}); err != nil {
		return err
	}
	if err := e.allocated("an order by id", len(ids), func() error {
		for _, id := range ids {
			if _, err := d.Queries.Order(ctx, id, query.Read{}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := e.allocated("a list of 50 with a filter and its total", 50, func() error {
		for range 50 {
			if _, err := d.Queries.List(ctx, query.Question{Status: []string{"confirmed"}, State: []string{"RJ"}}, "", query.Read{}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	cold := command.New(command.Options{Store: d.Store, Snapshots: d.Embedded.Snapshots(), CacheEntries: 1})
	defer cold.Close()
	return e.allocated("loading an order that is not in the cache", len(ids), func() error {
		for _, id := range ids {
			if _, _, err := cold.Load(ctx, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// allocated records what do allocates for each of n things.
func (e *env) allocated(what string, n int, do func() error) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := do(); err != nil {
		return err
	}
	runtime.ReadMemStats(&after)
	e.measure(what, "allocs", []float64{float64(after.Mallocs-before.Mallocs) / float64(n)}, noGoal)
	e.measure(what, "bytes", []float64{float64(after.TotalAlloc-before.TotalAlloc) / float64(n)}, noGoal)
	return nil
}
