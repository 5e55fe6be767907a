package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/google/uuid"
)

var allocsQuestion = question{
	name:  "allocs",
	about: "allocations on the way of one command, one goroutine, views left out",
	ask:   askAllocs,
}

// askAllocs counts what depends on the code alone, so that a regression shows on
// any machine. The packages have benchmarks of their own for closer looks.
func askAllocs(ctx context.Context, e *env) error {
	store, err := sqlite.Open(ctx, e.folder("allocs"), sqlite.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	orders := command.New(command.Options{Store: store, Snapshots: store.Snapshots()})
	defer orders.Close()
	handler, err := handlerWithoutViews(ctx, store, orders)
	if err != nil {
		return err
	}
	read := httpapi.BodyReader[httpapi.PlaceBody]()
	body := fmt.Appendf(nil, placeBody, "o-1", 1)
	placed, err := read(body)
	if err != nil {
		return err
	}
	if _, err := orders.Handle(ctx, "one", placed.Place, command.Request{}); err != nil {
		return err
	}
	n := 0
	next := func() string { n++; return fmt.Sprint("a", n) }
	data, metadata := make([]byte, appendData), make([]byte, appendMetadata)
	for _, path := range []struct {
		what string
		do   func() error
	}{
		{"append one event to a new stream", func() error {
			_, err := store.AppendStamped(ctx, "order-"+next(), eventstore.NoStream, []eventstore.Event{{
				ID: uuid.New(), Type: appendType, JSON: true, Data: data, Metadata: metadata,
			}}, func([]eventstore.Event) {})
			return err
		}},
		{"decode the body of an order", func() error { _, err := read(body); return err }},
		{"handle a command that places", func() error {
			_, err := orders.Handle(ctx, next(), placed.Place, command.Request{Fingerprint: "f", Actor: "bench"})
			return err
		}},
		{"handle a command that changes", func() error {
			_, err := orders.Handle(ctx, "one", order.SetTags{Tags: []string{next()}}, command.Request{Fingerprint: "f", Actor: "bench"})
			return err
		}},
		{"POST /v1/orders, the handler", func() error {
			id := next()
			r := httptest.NewRequest("POST", "http://localhost/v1/orders", bytes.NewReader(fmt.Appendf(nil, placeBody, id, n)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Idempotency-Key", id)
			w := httptest.NewRecorder()
			if handler.ServeHTTP(w, r); w.Code != http.StatusCreated {
				return fmt.Errorf("%d %s", w.Code, w.Body)
			}
			return nil
		}},
	} {
		var failed error
		result := testing.Benchmark(func(b *testing.B) {
			for b.Loop() {
				if err := path.do(); err != nil {
					failed = err
					b.FailNow()
				}
			}
		})
		if failed != nil {
			return fmt.Errorf("%s: %w", path.what, failed)
		}
		e.measure(path.what, "allocs", []float64{float64(result.AllocsPerOp())}, noGoal)
		e.measure(path.what+", bytes", "B", []float64{float64(result.AllocedBytesPerOp())}, noGoal)
	}
	return nil
}

// handlerWithoutViews is the HTTP handler over a write side; what reads would
// need is there and does not run.
func handlerWithoutViews(ctx context.Context, store eventstore.Store, orders *command.Orders) (http.Handler, error) {
	log, err := store.Log(ctx)
	if err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewJSONHandler(io.Discard, nil))
	views := projections.NewManager(projections.Options{Store: store, Logger: logger})
	queries := query.New(query.Options{Store: store, Hot: query.SideOf[query.Hot](views), Search: query.SideOf[query.Search](views), Log: log, Clock: orders.Clock})
	return httpapi.New(httpapi.Options{
		Orders: orders, Query: queries, Projections: projections.NewStores(views), Store: store, Log: log,
		Audit: audit.New(audit.Options{Query: queries}), Refusals: audit.NewRefusals(audit.RefusalOptions{Store: store, Logger: logger}),
		Lifetime: ctx, Logger: logger,
	}), nil
}
