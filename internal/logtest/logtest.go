// Package logtest opens the log that a test of what stands on it needs: the
// embedded store, or with DOCKET_TEST_EVENTSTORE=grpc the same store behind the
// protocol server and the adapter, all in the process of the test. So the tests
// of the HTTP API, of imports, of the audit and of reconciliation run on both.
package logtest

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// variable chooses the way to the log: grpc, or embedded (the default).
const variable = "DOCKET_TEST_EVENTSTORE"

// Open opens the log of a folder; the caller closes store. under is what is in
// the folder: the same store, or the one behind the server.
func Open(t testing.TB, dir string) (store eventstore.Store, snapshots command.Snapshots, under *sqlite.Store) {
	t.Helper()
	silent := slog.New(slog.DiscardHandler)
	under, err := sqlite.Open(context.Background(), dir, sqlite.Options{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	switch way := os.Getenv(variable); way {
	case "", "embedded":
		return under, under.Snapshots(), under
	case "grpc":
	default:
		t.Fatalf("%s is %q: want grpc or embedded", variable, way)
	}
	// Cleanups run in the reverse order: the caller's, the server's, this one.
	t.Cleanup(func() {
		if err := under.Close(); err != nil {
			t.Error(err)
		}
	})
	address := esdbservertest.Start(t, esdbserver.Options{Store: under})
	client, err := esdb.Open(context.Background(), esdbservertest.Insecure(address), esdb.Options{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	return client, client.Snapshots(""), under
}
