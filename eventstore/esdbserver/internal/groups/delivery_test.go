package groups_test

import (
	"fmt"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
)

// Start positions include what is at them, unlike those of catch-up
// subscriptions.
func TestWhereDeliveryBegins(t *testing.T) {
	r := serve(t)
	for name, c := range map[string]struct {
		from          esdb.StreamPosition
		before, after int
		want          []string
	}{
		"start":                         {esdb.Start{}, 3, 1, []string{"b0", "b1", "b2", "a0"}},
		"start of a missing stream":     {esdb.Start{}, 0, 2, []string{"a0", "a1"}},
		"end":                           {esdb.End{}, 3, 2, []string{"a0", "a1"}},
		"end of a missing stream":       {esdb.End{}, 0, 2, []string{"a0", "a1"}},
		"revision":                      {esdb.StreamRevision{Value: 2}, 4, 1, []string{"b2", "b3", "a0"}},
		"next revision":                 {esdb.StreamRevision{Value: 3}, 3, 2, []string{"a0", "a1"}},
		"beyond the end":                {esdb.StreamRevision{Value: 4}, 3, 3, []string{"a1", "a2"}},
		"beyond the end of a missing":   {esdb.StreamRevision{Value: 2}, 0, 3, []string{"a2"}},
		"revision uint64 max means end": {esdb.StreamRevision{Value: 1<<64 - 1}, 2, 1, []string{"a0"}},
	} {
		t.Run(name, func(t *testing.T) {
			stream := uuid.NewString()
			if c.before > 0 {
				r.write(stream, names("b", c.before)...)
			}
			r.create(stream, "g", c.from, nil)
			consumer := r.consume(stream, "g", 100)
			r.write(stream, names("a", c.after)...)
			consumer.expectOnly(c.want...)
		})
	}
}

func TestStartOfTheLog(t *testing.T) {
	r := serve(t)
	at := r.write("a-1", "one").Position
	r.write("b-1", "two")
	last := r.write("a-2", "three").Position
	streams := &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"a-", "b-"}}
	for name, c := range map[string]struct {
		from esdb.AllPosition
		want []string
	}{
		"start":    {esdb.Start{}, []string{"one", "two", "three"}},
		"position": {esdb.Position{Commit: at.Commit, Prepare: at.Prepare}, []string{"one", "two", "three"}},
		"last":     {esdb.Position{Commit: last.Commit, Prepare: last.Prepare}, []string{"three"}},
		"end":      {esdb.End{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := &rig{TB: t, store: r.store, server: r.server, Client: r.Client}
			stream := "a-" + uuid.NewString()
			r.createAll(stream, c.from, streams, nil)
			consumer := r.consume("$all", stream, 100)
			r.write(stream, "new")
			for _, want := range c.want {
				consumer.ack(consumer.expect(want)...)
			}
			// Other cases have written to streams of their own.
			for text(consumer.next()) != "new" {
			}
		})
	}
}

// A group that begins at the end of the log gets its own definition first.
func TestEndOfTheLogIsBeforeTheDefinition(t *testing.T) {
	r := serve(t)
	r.write("s", "old")
	r.createAll("g", esdb.End{}, nil, nil)
	c := r.consume("$all", "g", 10)
	equal(t, c.next().Event.Event.EventType, "$PersistentConfig")
	r.write("s", "new")
	c.expect("new")
}

func TestFilterOfAGroupOnTheLog(t *testing.T) {
	r := serve(t)
	r.createAll("types", esdb.Start{}, &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Regex: `^(?!(\$.+$|Happened$))`}, settings(eager))
	c := r.consume("$all", "types", 10)
	r.write("s", names("x", 30)...)
	at := r.append("s", eventstore.Event{ID: uuid.New(), Type: "Wanted", Data: []byte("wanted")})
	c.ack(c.expect("wanted")...)
	r.until("the checkpoint stands on it", func() bool {
		p := r.info("$all", "types").Stats.LastCheckpointedPosition
		return p != nil && p.Commit >= at.Position.Commit
	})
}

// What is not for a group counts as done: otherwise a restart would look at it
// again.
func TestSkippedRecordsMoveTheCheckpoint(t *testing.T) {
	r := serve(t)
	r.createAll("g", esdb.Start{}, &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"none-"}}, settings(eager))
	r.consume("$all", "g", 10)
	at := r.write("s", names("x", 700)...).Position
	r.until("the checkpoint has passed what was skipped", func() bool {
		p := r.info("$all", "g").Stats.LastCheckpointedPosition
		return p != nil && p.Commit >= at.Commit
	})
	// Its own checkpoint is no reason for the next one.
	head, err := r.store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.write("s", "more")
	r.until("one more was skipped", func() bool {
		p := r.info("$all", "g").Stats.LastCheckpointedPosition
		return p.Commit > head.Commit
	})
	later, err := r.store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if later.Commit > head.Commit+2 {
		t.Errorf("the log went from %d to %d for one event", head.Commit, later.Commit)
	}
}

func TestSlots(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 5)...)
	r.create("s", "g", esdb.Start{}, nil)
	c := r.consume("s", "g", 2)
	events := c.expect("e0", "e1")
	r.until("two are in flight", func() bool { return r.info("s", "g").Stats.TotalInFlightMessages == 2 })
	c.ack(events[1])
	c.ack(c.expect("e2")...)
	c.ack(c.expect("e3")...)
	c.nack(esdb.NackActionPark, events[0])
	c.expect("e4")
}

func TestNackActions(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 6)...)
	r.create("s", "g", esdb.Start{}, settings(func(s *esdb.PersistentSubscriptionSettings) { s.MaxRetryCount = 1 }))
	c := r.consume("s", "g", 1)
	c.nack(esdb.NackActionRetry, c.expect("e0")...)
	c.nack(esdb.NackActionUnknown, c.expect("e0+1")...) // parked now
	c.nack(esdb.NackActionSkip, c.expect("e1")...)
	c.nack(esdb.NackActionStop, c.expect("e2")...) // the subscription goes on
	c.nack(esdb.NackActionPark, c.expect("e3")...)
	c.nack(esdb.NackAction(77), c.expect("e4")...) // left to the server
	c.ack(c.expect("e4+1")...)
	c.ack(c.expect("e5")...)
	equal(t, r.parked("s", "g"), []string{"0@s Reached retry count of 1", "3@s Client explicitly NAK'ed message.\nbecause"})
	r.until("all is done", func() bool { return r.info("s", "g").Stats.TotalInFlightMessages == 0 })
}

// The examples that Python's client asserts: what is not acknowledged within a
// second comes again, before what is new if there is no room for that.
func TestMessageTimeout(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 3)...)
	second := func(s *esdb.PersistentSubscriptionSettings) { s.MessageTimeout = 1000 }
	r.create("s", "one", esdb.Start{}, settings(second))
	c := r.consume("s", "one", 1)
	c.expect("e0")
	c.ack(c.expect("e0+1")...)
	c.ack(c.expect("e1")...)
	c.ack(c.expect("e2")...)

	r.create("s", "ten", esdb.Start{}, settings(second))
	c = r.consume("s", "ten", 10)
	events := c.expect("e0", "e1", "e2")
	c.ack(events[1:]...)
	c.ack(c.expect("e0+1")...)
}

func TestMessageTimeoutZero(t *testing.T) {
	r := serve(t)
	r.write("s", "e")
	r.create("s", "g", esdb.Start{}, settings(func(s *esdb.PersistentSubscriptionSettings) { s.MessageTimeout, s.MaxRetryCount = 0, 2 }))
	c := r.consume("s", "g", 10)
	c.expect("e", "e+1", "e+2")
	r.until("it is parked", func() bool { return r.info("s", "g").Stats.ParkedMessagesCount == 1 })
}

func TestWhoLeavesLosesItsEventsToOthers(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 4)...)
	r.create("s", "g", esdb.Start{}, settings(func(s *esdb.PersistentSubscriptionSettings) {
		s.ConsumerStrategyName = esdb.ConsumerStrategyDispatchToSingle
	}))
	first := r.consume("s", "g", 2)
	first.expect("e0", "e1")
	second := r.consume("s", "g", 10)
	second.expect("e2", "e3")
	first.close()
	second.expect("e0+1", "e1+1")
}

func TestRoundRobin(t *testing.T) {
	r := serve(t)
	r.create("s", "g", esdb.Start{}, nil)
	a, b := r.consume("s", "g", 10), r.consume("s", "g", 10)
	r.write("s", names("e", 4)...)
	a.expect("e0", "e2")
	b.expect("e1", "e3")
}

// Events of one stream, or with one correlation, go to one consumer.
func TestPinned(t *testing.T) {
	r := serve(t)
	r.createAll("pinned", esdb.End{}, &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"pin-"}},
		settings(func(s *esdb.PersistentSubscriptionSettings) { s.ConsumerStrategyName = esdb.ConsumerStrategyPinned }))
	a, b := r.consume("$all", "pinned", 1000), r.consume("$all", "pinned", 1000)
	const streams, each = 40, 5
	for range each {
		for i := range streams {
			r.write(names("pin-", streams)[i], "e")
		}
	}
	owner := map[string]*consumer{}
	counts := map[*consumer]int{}
	for range streams * each {
		e, c := either(a, b)
		stream := e.Event.Event.StreamID
		if owner[stream] != nil && owner[stream] != c {
			t.Fatalf("%s is not with one consumer", stream)
		}
		owner[stream] = c
		counts[c]++
	}
	if counts[a] == 0 || counts[b] == 0 {
		t.Errorf("one consumer got all: %d and %d", counts[a], counts[b])
	}
}

func TestPinnedByCorrelation(t *testing.T) {
	r := serve(t)
	_, err := r.raw().Create(t.Context(), createRequest("", "g", all(at(0, 0)), func(o *persistent.CreateReq_Options) {
		o.Settings.ConsumerStrategy = "PinnedByCorrelation"
		o.GetAll().FilterOption = &persistent.CreateReq_AllOptions_Filter{Filter: &persistent.CreateReq_AllOptions_FilterOptions{
			Filter: &persistent.CreateReq_AllOptions_FilterOptions_StreamIdentifier{
				StreamIdentifier: &persistent.CreateReq_AllOptions_FilterOptions_Expression{Prefix: []string{"c-"}}}}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, string(r.info("$all", "g").Settings.ConsumerStrategyName), "PinnedByCorrelation")
	a, b := r.consume("$all", "g", 1000), r.consume("$all", "g", 1000)
	const correlations, each = 40, 5
	for i := range correlations * each {
		r.append("c-"+uuid.NewString(), eventstore.Event{ID: uuid.New(), Type: "T",
			Data: []byte{byte(i % correlations)}, Metadata: fmt.Appendf(nil, `{"$correlationId":"c%d"}`, i%correlations)})
	}
	owner := map[byte]*consumer{}
	counts := map[*consumer]int{}
	for range correlations * each {
		e, c := either(a, b)
		correlation := e.Event.Event.Data[0]
		if owner[correlation] != nil && owner[correlation] != c {
			t.Fatalf("%d is not with one consumer", correlation)
		}
		owner[correlation] = c
		counts[c]++
	}
	if counts[a] == 0 || counts[b] == 0 {
		t.Errorf("one consumer got all: %d and %d", counts[a], counts[b])
	}
}

// either waits for the next event of one of two consumers.
func either(a, b *consumer) (*esdb.EventAppeared, *consumer) {
	select {
	case e := <-a.events:
		return e, a
	case e := <-b.events:
		return e, b
	}
}

func TestResolvedLinks(t *testing.T) {
	r := serve(t)
	r.write("target", "t0", "t1")
	r.append("links",
		eventstore.Event{ID: uuid.New(), Type: "$>", Data: []byte("1@target")},
		eventstore.Event{ID: uuid.New(), Type: "$>", Data: []byte("9@target")},
		eventstore.Event{ID: uuid.New(), Type: "$>", Data: []byte("nonsense")},
		eventstore.Event{ID: uuid.New(), Type: "Plain", Data: []byte("plain")})
	resolve := func(s *esdb.PersistentSubscriptionSettings) { s.ResolveLinkTos, s.MessageTimeout = true, 1000 }
	r.create("links", "yes", esdb.Start{}, settings(resolve))
	c := r.consume("links", "yes", 10)
	events := c.expect("t1", "(unresolved)", "nonsense", "plain")
	link, target := events[0].Event.Link, events[0].Event.Event
	if link == nil || link.StreamID != "links" || target.StreamID != "target" || target.EventNumber != 1 {
		t.Fatalf("link %+v, event %+v", link, target)
	}
	equal(t, target.Position, link.Position)
	equal(t, *events[0].Event.Commit, link.Position.Commit)
	if events[1].Event.Link == nil || events[2].Event.Link != nil || events[3].Event.Link != nil {
		t.Error("links are not told from events")
	}
	// An ack by the id of what the link names is not known, and it comes again.
	c.ack(&esdb.EventAppeared{Event: &esdb.ResolvedEvent{Event: target}})
	c.ack(events[1:]...)
	c.ack(c.expect("t1+1")...)

	r.create("links", "no", esdb.Start{}, nil)
	r.consume("links", "no", 10).expect("1@target", "9@target", "nonsense", "plain")
}

// What its metadata hides is passed over.
func TestTruncatedStream(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 10)...)
	if _, err := r.store.SetStreamMetadata(t.Context(), "s", eventstore.Any, eventstore.StreamMetadata{TruncateBefore: 7}); err != nil {
		t.Fatal(err)
	}
	r.create("s", "g", esdb.Start{}, nil)
	c := r.consume("s", "g", 10)
	c.expect("e7", "e8", "e9")
	if _, err := r.store.Delete(t.Context(), "s", eventstore.Any); err != nil {
		t.Fatal(err)
	}
	r.write("s", "again")
	c.expect("again")
}

// The groups on the log do not get the streams of groups on the log, but those
// of groups on streams.
func TestStreamsOfGroupsInTheLog(t *testing.T) {
	r := serve(t)
	r.createAll("g", esdb.End{}, nil, settings(eager))
	r.create("s", "on-stream", esdb.End{}, settings(eager))
	all, one := r.consume("$all", "g", 1000), r.consume("s", "on-stream", 10)
	r.write("s", "e0", "e1")
	events := one.expect("e0", "e1")
	one.ack(events[0])
	one.nack(esdb.NackActionPark, events[1])
	seen := map[string]bool{}
	for len(seen) < 4 {
		e := all.next()
		seen[e.Event.Event.StreamID] = true
		all.nack(esdb.NackActionPark, e)
	}
	equal(t, seen, map[string]bool{
		"$persistentSubscriptionConfig": true, "s": true,
		"$persistentsubscription-s::on-stream-checkpoint": true, "$persistentsubscription-s::on-stream-parked": true,
	})
	r.until("the group on the log has parked", func() bool { return r.info("$all", "g").Stats.ParkedMessagesCount >= 4 })
	r.write("s", "last")
	for {
		e := all.next()
		if id := e.Event.Event.StreamID; id != "s" && !seen[id] {
			t.Fatalf("the group on the log got an event of %s", id)
		}
		if text(e) == "last" {
			return
		}
	}
}

// Two events with one id are not in flight together: the later one is passed
// over.
func TestDuplicateIDs(t *testing.T) {
	r := serve(t)
	id := uuid.New()
	r.append("a", eventstore.Event{ID: id, Type: "T", Data: []byte("first")})
	r.append("b", eventstore.Event{ID: id, Type: "T", Data: []byte("second")})
	r.write("c", "third")
	r.createAll("g", esdb.Start{}, &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Regex: `^[^\$].*`}, nil)
	r.consume("$all", "g", 10).expect("first", "third")
}

// parked reads the entries that a group has parked.
func (r *rig) parked(stream, group string) (out []string) {
	r.Helper()
	for rec, err := range r.store.ReadStream(r.Context(), "$persistentsubscription-"+stream+"::"+group+"-parked", 0, eventstore.Forwards, 0) {
		if err != nil {
			r.Fatal(err)
		}
		out = append(out, string(rec.Data)+" "+reason(r, rec.Metadata))
	}
	return out
}
