package reading_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// server is a protocol server over a store of its own.
type server struct {
	testing.TB
	store   *sqlite.Store
	address string
}

func serve(t testing.TB) *server {
	t.Helper()
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &server{TB: t, store: store, address: esdbservertest.Start(t, esdbserver.Options{Store: store})}
}

// client is the official one.
func (s *server) client() *esdb.Client {
	s.Helper()
	config, err := esdb.ParseConnectionString(esdbservertest.Insecure(s.address))
	if err != nil {
		s.Fatal(err)
	}
	config.Logger = esdb.NoopLogging()
	client, err := esdb.NewClient(config)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := client.Close(); err != nil {
			s.Error(err)
		}
	})
	return client
}

// write appends n events to a stream and answers the position of the last.
func (s *server) write(stream string, n int) eventstore.Position {
	s.Helper()
	events := make([]eventstore.Event, n)
	for i := range events {
		events[i] = eventstore.Event{ID: uuid.New(), Type: "Happened", JSON: true, Data: fmt.Appendf(nil, `{"n":%d}`, i), Metadata: []byte(`{"by":"test"}`)}
	}
	return s.append(stream, events...)
}

func (s *server) append(stream string, events ...eventstore.Event) eventstore.Position {
	s.Helper()
	out, err := s.store.Append(s.Context(), stream, eventstore.Any, events)
	if err != nil {
		s.Fatal(err)
	}
	return out.Position
}

func (s *server) head() eventstore.Position {
	s.Helper()
	head, err := s.store.Head(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return head
}

func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}
