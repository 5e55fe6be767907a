package groups_test

import (
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/docket-orders/docket/eventstore"
)

func (r *rig) replay(stream, group string, stopAt int) {
	r.Helper()
	if err := r.ReplayParkedMessages(r.Context(), stream, group, esdb.ReplayParkedMessagesOptions{StopAt: stopAt}); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) parkedCount(stream, group string) int64 {
	r.Helper()
	return r.info(stream, group).Stats.ParkedMessagesCount
}

// park has a consumer park all of its next events, and waits until they are.
func (c *consumer) park(r *rig, stream, group string, want ...string) {
	r.Helper()
	before := r.parkedCount(stream, group)
	c.nack(esdb.NackActionPark, c.expect(want...)...)
	r.until("all is parked", func() bool { return r.parkedCount(stream, group) == before+int64(len(want)) })
}

// parkedFrom is $tb of the stream of parked events.
func (r *rig) parkedFrom(stream, group string) eventstore.Revision {
	r.Helper()
	md, _, err := r.store.StreamMetadata(r.Context(), "$persistentsubscription-"+stream+"::"+group+"-parked")
	if err != nil {
		r.Fatal(err)
	}
	return md.TruncateBefore
}

func TestReplay(t *testing.T) {
	r := serve(t)
	r.write("s", "e0", "e1", "e2")
	r.create("s", "g", esdb.Start{}, settings(func(s *esdb.PersistentSubscriptionSettings) { s.MaxRetryCount = 0 }))
	c := r.consume("s", "g", 10)
	r.replay("s", "g", 0) // nothing is parked: nothing happens
	c.park(r, "s", "g", "e0", "e1", "e2")
	equal(t, r.parked("s", "g"), []string{"0@s Client explicitly NAK'ed message.\nbecause",
		"1@s Client explicitly NAK'ed message.\nbecause", "2@s Client explicitly NAK'ed message.\nbecause"})

	r.replay("s", "g", 2)
	events := c.expect("e0", "e1")
	equal(t, r.parkedCount("s", "g"), 1)
	link, target := events[0].Event.Link, events[0].Event.Event
	if link == nil || link.StreamID != "$persistentsubscription-s::g-parked" || target.StreamID != "s" || target.Position != link.Position {
		t.Fatalf("link %+v, event %+v", link, target)
	}
	c.ack(events[0])
	r.until("what was done is let go", func() bool { return r.parkedFrom("s", "g") == 1 })
	// A retry of it is one too many, and it is parked again, at the end.
	c.nack(esdb.NackActionRetry, events[1])
	r.until("it is parked again", func() bool { return r.parkedCount("s", "g") == 2 && r.parkedFrom("s", "g") == 2 })
	equal(t, r.parked("s", "g"), []string{"2@s Client explicitly NAK'ed message.\nbecause", "1@s Reached retry count of 0"})

	r.replay("s", "g", 0)
	c.ack(c.expect("e2", "e1")...)
	r.until("nothing is parked", func() bool { return r.parkedFrom("s", "g") == 4 })
	equal(t, r.parkedCount("s", "g"), 0)
}

// What is replayed goes before what is new.
func TestReplayGoesFirst(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 9)...)
	r.create("s", "g", esdb.Start{}, nil)
	c := r.consume("s", "g", 1)
	c.park(r, "s", "g", "e0")
	events := c.expect("e1")
	r.replay("s", "g", 0)
	r.until("the replay has begun", func() bool { return r.info("s", "g").Status == "Live, ReplayingParkedMessages" })
	c.ack(events...)
	c.ack(c.expect("e0")...)
	c.expect("e2")
}

// The id to acknowledge is that of the parked link.
func TestAckOfAReplayedEvent(t *testing.T) {
	r := serve(t)
	r.write("s", "e0")
	r.create("s", "g", esdb.Start{}, settings(func(s *esdb.PersistentSubscriptionSettings) { s.MessageTimeout = 1000 }))
	c := r.consume("s", "g", 10)
	c.park(r, "s", "g", "e0")
	r.replay("s", "g", 0)
	e := c.expect("e0")[0]
	c.ack(&esdb.EventAppeared{Event: &esdb.ResolvedEvent{Event: e.Event.Event}})
	c.ack(c.expect("e0+1")...)
	r.until("it is done", func() bool { return r.parkedFrom("s", "g") == 1 })
}

func TestReplayOnTheLog(t *testing.T) {
	r := serve(t)
	r.createAll("g", esdb.Start{}, &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"a", "b"}}, nil)
	r.write("a", "e0")
	r.write("b", "e1")
	c := r.consume("$all", "g", 10)
	c.park(r, "$all", "g", "e0", "e1")
	equal(t, r.parked("$all", "g")[1], "0@b Client explicitly NAK'ed message.\nbecause")
	if err := r.ReplayParkedMessagesToAll(t.Context(), "g", esdb.ReplayParkedMessagesOptions{}); err != nil {
		t.Fatal(err)
	}
	c.ack(c.expect("e0", "e1")...)
}

func TestReplayPassesOverWhatCannotBeRead(t *testing.T) {
	r := serve(t)
	r.write("s", "e0", "e1")
	r.create("s", "g", esdb.Start{}, nil)
	c := r.consume("s", "g", 10)
	c.park(r, "s", "g", "e0", "e1")
	if _, err := r.store.SetStreamMetadata(t.Context(), "s", eventstore.Any, eventstore.StreamMetadata{TruncateBefore: 1}); err != nil {
		t.Fatal(err)
	}
	r.append("$persistentsubscription-s::g-parked", eventstore.Event{ID: uuid.New(), Type: "Foreign", Data: []byte("x")})
	r.replay("s", "g", 0)
	c.ack(c.expect("e1")...)
	r.until("all of it is let go", func() bool { return r.parkedFrom("s", "g") == 3 })
}

// More is parked than a group holds at a time.
func TestLongReplay(t *testing.T) {
	r := serve(t)
	const n = 300
	want := names("e", n)
	r.write("s", want...)
	r.create("s", "g", esdb.Start{}, settings(func(s *esdb.PersistentSubscriptionSettings) { s.ReadBatchSize, s.HistoryBufferSize = 7, 10 }))
	c := r.consume("s", "g", 10)
	for _, w := range want {
		c.nack(esdb.NackActionPark, c.expect(w)...)
	}
	r.until("all is parked", func() bool { return r.parkedCount("s", "g") == n })
	r.replay("s", "g", 0)
	for _, w := range want {
		c.ack(c.expect(w)...)
	}
	r.until("all of it is let go", func() bool { return r.parkedFrom("s", "g") == n })
}

func TestReplayThatStopsNowhere(t *testing.T) {
	r := serve(t)
	r.create("s", "g", esdb.Start{}, nil)
	var md metadata.MD
	_, err := r.raw().ReplayParked(t.Context(), &persistent.ReplayParkedReq{Options: &persistent.ReplayParkedReq_Options{
		GroupName: "g", StreamOption: &persistent.ReplayParkedReq_Options_StreamIdentifier{StreamIdentifier: name("s")},
		StopAtOption: &persistent.ReplayParkedReq_Options_StopAt{StopAt: -1}}}, grpc.Trailer(&md))
	refused(t, err, md, codes.Internal, "exception=persistent-subscription-failed", "stream-name=s", "group-name=g")
	_, err = r.raw().ReplayParked(t.Context(), &persistent.ReplayParkedReq{Options: &persistent.ReplayParkedReq_Options{
		GroupName: "g", StreamOption: &persistent.ReplayParkedReq_Options_StreamIdentifier{StreamIdentifier: name("s")},
		StopAtOption: &persistent.ReplayParkedReq_Options_StopAt{StopAt: 1<<63 - 1}}})
	if err != nil {
		t.Error(err)
	}
}
