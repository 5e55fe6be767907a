package esdbserver_test

import (
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// What a client writes into the server's own streams does not keep the server
// from starting again, and loses no group.
func TestForeignEventsInTheServersOwnStreams(t *testing.T) {
	foreign := func(typ, data string) []eventstore.Event {
		return []eventstore.Event{{ID: uuid.New(), Type: typ, JSON: true, Data: []byte(data)}}
	}
	for name, spoil := range map[string]func(eventstore.Store) error{
		"users are tombstoned": func(s eventstore.Store) error {
			_, err := s.Tombstone(t.Context(), "$users", eventstore.Any)
			return err
		},
		"projections are tombstoned": func(s eventstore.Store) error {
			_, err := s.Tombstone(t.Context(), "$projections-$all", eventstore.Any)
			return err
		},
		"definitions are no JSON": func(s eventstore.Store) error {
			_, err := s.Append(t.Context(), "$persistentSubscriptionConfig", eventstore.Any, foreign("$PersistentConfig", "no"))
			return err
		},
		"an event among the definitions": func(s eventstore.Store) error {
			_, err := s.Append(t.Context(), "$persistentSubscriptionConfig", eventstore.Any, foreign("else", "{}"))
			return err
		},
		"a checkpoint is no place": func(s eventstore.Store) error {
			_, err := s.Append(t.Context(), "$persistentsubscription-s::g-checkpoint", eventstore.Any, foreign("$SubscriptionCheckpoint", `"nowhere"`))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := openStore(t)
			server := esdbservertest.Run(t, esdbserver.Options{Store: store})
			c := esdbservertest.Client(t, esdbservertest.Insecure(server.Address))
			for _, group := range []string{"g", "h"} {
				if err := c.CreatePersistentSubscription(t.Context(), "s", group, esdb.PersistentStreamSubscriptionOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := spoil(store); err != nil {
				t.Fatal(err)
			}
			server.Stop()
			server.Options.Projections = true
			server.Start()
			c = esdbservertest.Client(t, esdbservertest.Insecure(server.Address))
			if err := c.CreatePersistentSubscription(t.Context(), "s", "i", esdb.PersistentStreamSubscriptionOptions{}); err != nil {
				t.Fatal(err)
			}
			groups, err := c.ListAllPersistentSubscriptions(t.Context(), esdb.ListPersistentSubscriptionsOptions{})
			if err != nil || len(groups) != 3 {
				t.Errorf("%d groups, %v", len(groups), err)
			}
		})
	}
}
