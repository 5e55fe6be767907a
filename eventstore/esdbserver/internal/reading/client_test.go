package reading_test

import (
	"errors"
	"io"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/docket-orders/docket/eventstore"
)

func TestTheOfficialClientReads(t *testing.T) {
	s := serve(t)
	s.write("order-1", 5)
	s.write("other-1", 1)
	client := s.client()
	revisions := func(opts esdb.ReadStreamOptions, count uint64) (got []uint64) {
		t.Helper()
		read, err := client.ReadStream(t.Context(), "order-1", opts, count)
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		for {
			e, err := read.Recv()
			if errors.Is(err, io.EOF) {
				return got
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Event.EventNumber)
		}
	}
	equal(t, revisions(esdb.ReadStreamOptions{}, 100), []uint64{0, 1, 2, 3, 4})
	equal(t, revisions(esdb.ReadStreamOptions{Direction: esdb.Backwards, From: esdb.End{}}, 2), []uint64{4, 3})
	all, err := client.ReadAll(t.Context(), esdb.ReadAllOptions{Direction: esdb.Backwards, From: esdb.End{}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	e, err := all.Recv()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, e.OriginalEvent().StreamID, "other-1")
	equal(t, eventstore.Position(e.OriginalEvent().Position), s.head())
}

func TestTheOfficialClientSubscribes(t *testing.T) {
	s := serve(t)
	s.write("order-1", 3)
	s.write("other-1", 3)
	sub, err := s.client().SubscribeToAll(t.Context(), esdb.SubscribeToAllOptions{
		From:   esdb.Start{},
		Filter: &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"order-"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for want := range uint64(3) {
		equal(t, sub.Recv().EventAppeared.OriginalEvent().EventNumber, want)
	}
	equal(t, eventstore.Position(*sub.Recv().CheckPointReached), s.head())
	if sub.Recv().CaughtUp == nil {
		t.Fatal("not caught up")
	}
	s.write("order-1", 1)
	equal(t, sub.Recv().EventAppeared.OriginalEvent().EventNumber, 3)
}
