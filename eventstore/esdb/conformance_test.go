package esdb

import (
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/eventstoretest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

func TestConformanceInsecure(t *testing.T) {
	eventstoretest.Run(t, func(t *testing.T, dir string) eventstore.Store {
		return openWhole(t, dir, false)
	}, eventstoretest.RepeatsUntold)
}

func TestConformanceSecure(t *testing.T) {
	eventstoretest.Run(t, func(t *testing.T, dir string) eventstore.Store {
		return openWhole(t, dir, true)
	}, eventstoretest.RepeatsUntold)
}

// TestConformanceServer runs against the server that DOCKET_ESDB names, a
// connection string; when it names none there is nothing to run.
func TestConformanceServer(t *testing.T) {
	if connection := os.Getenv("DOCKET_ESDB"); connection != "" {
		eventstoretest.Run(t, func(t *testing.T, _ string) eventstore.Store { return open(t, connection) }, eventstoretest.RepeatsUntold)
	}
}

// whole is a store with the server and the log behind it: Close ends all three.
type whole struct {
	*Store
	server *esdbservertest.Server
	log    *sqlite.Store
}

func openWhole(t *testing.T, dir string, secure bool) eventstore.Store {
	t.Helper()
	w := &whole{log: embedded(t, dir)}
	options := esdbserver.Options{Store: w.log}
	if secure {
		secured, caFile := esdbservertest.Secure(t, options)
		w.server = esdbservertest.Run(t, secured)
		w.Store = open(t, esdbservertest.SecureConnection(w.server.Address, "admin:changeit", caFile))
	} else {
		w.server = esdbservertest.Run(t, options)
		w.Store = open(t, esdbservertest.Insecure(w.server.Address))
	}
	return w
}

func (w *whole) Close() error {
	err := w.Store.Close()
	w.server.Stop()
	return errors.Join(err, w.log.Close())
}

// embedded opens the log in a folder until the test ends.
func embedded(t *testing.T, dir string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir, sqlite.Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func open(t *testing.T, connection string) *Store {
	t.Helper()
	s, err := Open(t.Context(), connection, Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
