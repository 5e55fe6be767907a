package esdbserver_test

import (
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

func openStore(t testing.TB) eventstore.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func client(t testing.TB, connection string) *esdb.Client {
	t.Helper()
	settings, err := esdb.ParseConnectionString(connection)
	if err != nil {
		t.Fatal(err)
	}
	settings.Logger = esdb.NoopLogging()
	c, err := esdb.NewClient(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAppendDeleteTombstoneThroughTheClient(t *testing.T) {
	c := client(t, esdbservertest.Insecure(esdbservertest.Start(t, esdbserver.Options{Store: openStore(t)})))
	out, err := c.AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{ExpectedRevision: esdb.NoStream{}}, event(uuid.New()))
	if err != nil || out.NextExpectedVersion != 0 || out.CommitPosition == 0 {
		t.Fatal(out, err)
	}
	_, err = c.AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{ExpectedRevision: esdb.NoStream{}}, event(uuid.New()))
	if got, _ := esdb.FromError(err); got.Code() != esdb.ErrorCodeWrongExpectedVersion {
		t.Fatal(err)
	}
	deleted, err := c.DeleteStream(t.Context(), "s", esdb.DeleteStreamOptions{})
	if err != nil || deleted.Position.Commit == 0 {
		t.Fatal(deleted, err)
	}
	deleted, err = c.TombstoneStream(t.Context(), "s", esdb.TombstoneStreamOptions{})
	if err != nil || deleted.Position.Commit == 0 {
		t.Fatal(deleted, err)
	}
	_, err = c.AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{}, event(uuid.New()))
	if got, _ := esdb.FromError(err); got.Code() != esdb.ErrorCodeStreamDeleted {
		t.Fatal(err)
	}
}

func event(id uuid.UUID) esdb.EventData {
	return esdb.EventData{EventID: id, EventType: "Something", ContentType: esdb.ContentTypeJson, Data: []byte(`{"a":1}`)}
}
