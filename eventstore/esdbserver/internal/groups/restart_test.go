package groups_test

import (
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
)

// A server that ends writes checkpoints, and the next one goes on after them.
func TestRestart(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 9)...)
	r.create("s", "stream", esdb.StreamRevision{Value: 1}, settings(func(s *esdb.PersistentSubscriptionSettings) {
		s.ResolveLinkTos, s.ConsumerStrategyName, s.CheckpointLowerBound = true, esdb.ConsumerStrategyPinned, 5
	}))
	r.createAll("log", esdb.Start{}, &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Regex: "^(s|t)$"}, nil)
	one, all := r.consume("s", "stream", 4), r.consume("$all", "log", 4)
	events := one.expect("e1", "e2", "e3", "e4")
	one.nack(esdb.NackActionPark, events[0])
	one.ack(events[1], events[3])
	one.expect("e5", "e6", "e7")
	all.ack(all.expect("e0")...)
	all.expect("e1", "e2", "e3", "e4")
	before := r.info("s", "stream").Settings
	r.restart()
	for _, c := range []*consumer{one, all} {
		refused(t, c.dropped(), nil, codes.Unavailable)
	}

	equal(t, r.info("s", "stream").Settings, before)
	equal(t, *r.info("s", "stream").Stats.LastCheckpointedEventRevision, 2)
	equal(t, r.parkedCount("s", "stream"), 1)
	// Event 4 was acknowledged, but stands behind one that was not.
	one, all = r.consume("s", "stream", 10), r.consume("$all", "log", 10)
	one.expect("e3", "e4", "e5", "e6", "e7", "e8")
	all.expect("e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8")
	r.replay("s", "stream", 0)
	one.expect("e1")
	r.write("t", "new")
	all.expect("new")
}

// Until there is a checkpoint, a group that began at the end goes on from
// where the end was.
func TestRestartOfAGroupFromTheEnd(t *testing.T) {
	r := serve(t)
	r.write("s", "old")
	r.create("s", "g", esdb.End{}, nil)
	r.createAll("g", esdb.End{}, &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"s"}}, nil)
	r.write("s", "new")
	r.restart()
	r.consume("s", "g", 10).expect("new")
	r.consume("$all", "g", 10).expect("new")
}

// A replay that was under way is not lost: what was not done is parked still.
func TestRestartInAReplay(t *testing.T) {
	r := serve(t)
	r.write("s", "e0", "e1")
	r.create("s", "g", esdb.Start{}, nil)
	c := r.consume("s", "g", 10)
	c.park(r, "s", "g", "e0", "e1")
	r.replay("s", "g", 0)
	c.ack(c.expect("e0", "e1")[0])
	r.until("the first is let go", func() bool { return r.parkedFrom("s", "g") == 1 })
	r.restart()
	equal(t, r.parkedCount("s", "g"), 1)
	c = r.consume("s", "g", 10)
	r.replay("s", "g", 0)
	c.expect("e1")
}

// A group that was deleted does not come back, one that was updated is as it
// was updated.
func TestRestartAfterChanges(t *testing.T) {
	r := serve(t)
	r.create("s", "deleted", esdb.Start{}, nil)
	r.create("s", "updated", esdb.Start{}, nil)
	if err := r.DeletePersistentSubscription(t.Context(), "s", "deleted", esdb.DeletePersistentSubscriptionOptions{}); err != nil {
		t.Fatal(err)
	}
	changed := settings(func(s *esdb.PersistentSubscriptionSettings) { s.MaxRetryCount = 77 })
	if err := r.UpdatePersistentSubscription(t.Context(), "s", "updated", esdb.PersistentStreamSubscriptionOptions{Settings: changed}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	list, err := r.ListAllPersistentSubscriptions(t.Context(), esdb.ListPersistentSubscriptionsOptions{})
	if err != nil || len(list) != 1 || list[0].GroupName != "updated" || list[0].Settings.MaxRetryCount != 77 {
		t.Errorf("%+v, %v", list, err)
	}
}
