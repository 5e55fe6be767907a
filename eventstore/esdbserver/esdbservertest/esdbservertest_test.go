package esdbservertest_test

import (
	"errors"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

func TestAFollowerSendsClientsToTheLeader(t *testing.T) {
	leader := esdbservertest.Start(t, esdbserver.Options{Store: openStore(t)})
	c := esdbservertest.Client(t, esdbservertest.Insecure(esdbservertest.Follower(t, leader)))
	for i := range 50 {
		if _, err := write(t, c); i == 0 && code(err) != esdb.ErrorCodeNotLeader || i > 0 && err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
}

func TestAServerComesBackOnItsPort(t *testing.T) {
	server := esdbservertest.Run(t, esdbserver.Options{Store: openStore(t)})
	address := server.Address
	for range 3 {
		c := esdbservertest.Client(t, esdbservertest.Insecure(address))
		if _, err := write(t, c); err != nil {
			t.Fatal(err)
		}
		server.Stop()
		server.Stop()
		if _, err := write(t, c); code(err) != esdb.ErrorUnavailable {
			t.Fatal(err)
		}
		server.Start()
		if server.Address != address {
			t.Fatalf("it moved from %s to %s", address, server.Address)
		}
	}
}

func TestASecureServer(t *testing.T) {
	connection, _ := esdbservertest.StartTLS(t, esdbserver.Options{Store: openStore(t)})
	if _, err := write(t, esdbservertest.Client(t, connection)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, c *esdb.Client) (*esdb.WriteResult, error) {
	return c.AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{}, esdb.EventData{EventType: "Something", ContentType: esdb.ContentTypeJson, Data: []byte(`{}`)})
}

func code(err error) esdb.ErrorCode {
	var e *esdb.Error
	if !errors.As(err, &e) {
		return -1
	}
	return e.Code()
}

func openStore(t *testing.T) eventstore.Store {
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}
