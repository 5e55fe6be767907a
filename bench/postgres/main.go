// Command postgres is what a team would otherwise write: docket's write side and
// HTTP handler over one table of events in PostgreSQL, without views. With a
// folder in the place of the database it is the same over docket's log. The
// benchmark starts it beside docket; it is a module of its own so that the
// client of PostgreSQL stays out of docket's go.mod.
//
//	go run . -database URL -order lock|snapshot
//	go run . -data DIR
//
// store.go is the table. Only what commands need is there: reads of one stream
// and appends.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "postgres:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	database := flag.String("database", "", "URL of an empty database")
	data := flag.String("data", "", "empty folder for docket's log, instead of a database")
	order := flag.String("order", "lock", "what keeps the global order from skipping: lock or snapshot")
	flag.Parse()
	store, err := either(ctx, *data, *database, *order)
	if err != nil {
		return err
	}
	defer store.Close()
	log, err := store.Log(ctx)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	refusals := audit.NewRefusals(audit.RefusalOptions{Store: store, Logger: logger})
	orders := command.New(command.Options{Store: store, Logger: logger, Refused: refusals.Record})
	defer orders.Close()
	// The handler asks for views on other paths than that of a command.
	views := projections.NewManager(projections.Options{Store: store, Logger: logger})
	queries := query.New(query.Options{Store: store, Hot: query.SideOf[query.Hot](views), Search: query.SideOf[query.Search](views), Log: log, Clock: orders.Clock})
	handler := httpapi.New(httpapi.Options{
		Orders: orders, Query: queries, Projections: projections.NewStores(views), Store: store, Log: log,
		Audit: audit.New(audit.Options{Query: queries}), Refusals: refusals, Lifetime: ctx, Logger: logger,
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("{\"listening\":\"http://%s\"}\n", listener.Addr())
	server := httpapi.NewServer(handler, httpapi.Limits{}, logger)
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// closer is a store that somebody has to close.
type closer interface {
	eventstore.Store
	Close() error
}

func either(ctx context.Context, data, database, order string) (closer, error) {
	if data != "" {
		return sqlite.Open(ctx, data, sqlite.Options{})
	}
	return open(ctx, database, order)
}
