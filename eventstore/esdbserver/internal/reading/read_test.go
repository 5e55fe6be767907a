package reading_test

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

func TestStreamReads(t *testing.T) {
	s := serve(t)
	s.write("s", 10)
	s.write("cut", 10)
	s.metadata("cut", eventstore.StreamMetadata{TruncateBefore: 8})
	s.write("few", 5)
	s.metadata("few", eventstore.StreamMetadata{MaxCount: 2})
	s.write("gone", 3)
	s.metadata("gone", eventstore.StreamMetadata{TruncateBefore: 3})
	s.write("young", 2)
	s.metadata("young", eventstore.StreamMetadata{MaxAge: time.Hour})
	s.write("ageless", 2)
	s.append("$$ageless", eventstore.Event{ID: uuid.New(), Type: eventstore.TypeMetadata, JSON: true, Data: []byte(`{"$maxAge":0}`)})
	s.write("deleted", 3)
	s.delete("deleted")
	s.write("again", 2)
	s.delete("again")
	s.write("again", 3)
	s.write("ended", 3)
	s.tombstone("ended")
	s.metadata("only-meta", eventstore.StreamMetadata{MaxCount: 1})
	for range 5 {
		s.metadata("often", eventstore.StreamMetadata{MaxCount: 7})
	}
	s.write("often", 1)

	first, last := func(stream string, from, to int) (names []string) {
		for r := from; r <= to; r++ {
			names = append(names, fmt.Sprintf("%s/%d", stream, r))
		}
		return names
	}, func(stream string, from, to int) (names []string) {
		for r := from; r >= to; r-- {
			names = append(names, fmt.Sprintf("%s/%d", stream, r))
		}
		return names
	}
	for _, c := range []struct {
		name string
		req  *streams.ReadReq
		want []string
	}{
		{"forwards from start", readStream("s"), first("s", 0, 9)},
		{"forwards from a revision", readStream("s", fromRevision(4)), first("s", 4, 9)},
		{"forwards from the last", readStream("s", fromRevision(9)), first("s", 9, 9)},
		{"forwards past the end", readStream("s", fromRevision(10)), nil},
		{"forwards far past the end", readStream("s", fromRevision(math.MaxInt64+1)), nil},
		{"forwards from the end", readStream("s", fromEnd), nil},
		{"forwards from the end in numbers", readStream("s", fromRevision(math.MaxUint64)), nil},
		{"backwards from the end", readStream("s", backwards, fromEnd), last("s", 9, 0)},
		{"backwards from the end in numbers", readStream("s", backwards, fromRevision(math.MaxUint64)), last("s", 9, 0)},
		{"backwards from a revision", readStream("s", backwards, fromRevision(4)), last("s", 4, 0)},
		{"backwards past the end", readStream("s", backwards, fromRevision(100)), last("s", 9, 0)},
		{"backwards far past the end", readStream("s", backwards, fromRevision(math.MaxUint64-1)), last("s", 9, 0)},
		{"backwards from start", readStream("s", backwards, fromStart), []string{"s/0"}},
		{"count", readStream("s", count(3)), first("s", 0, 2)},
		{"count backwards", readStream("s", backwards, fromEnd, count(3)), last("s", 9, 7)},
		{"count of Python", readStream("s", count(math.MaxInt64)), first("s", 0, 9)},
		{"count in between", readStream("s", count(math.MaxInt64+1)), first("s", 0, 9)},
		{"missing", readStream("missing"), []string{"not found missing"}},
		{"missing from the end", readStream("missing", fromEnd), []string{"not found missing"}},
		{"missing backwards", readStream("missing", backwards, fromEnd), []string{"not found missing"}},
		{"soft-deleted", readStream("deleted"), []string{"not found deleted"}},
		{"created again", readStream("again"), first("again", 2, 4)},
		{"created again, backwards from start", readStream("again", backwards, fromStart), nil},
		{"tombstoned", readStream("ended"), []string{"error FailedPrecondition stream-deleted ended"}},
		{"metadata of a tombstoned one", readStream("$$ended"), []string{"error FailedPrecondition stream-deleted $$ended"}},
		{"only its metadata exists", readStream("only-meta"), []string{"not found only-meta"}},
		{"truncated", readStream("cut"), first("cut", 8, 9)},
		{"truncated, count of what is visible", readStream("cut", count(1)), []string{"cut/8"}},
		{"truncated, from before", readStream("cut", fromRevision(3), count(1)), []string{"cut/8"}},
		{"truncated, backwards", readStream("cut", backwards, fromEnd), last("cut", 9, 8)},
		{"limited", readStream("few"), first("few", 3, 4)},
		{"truncated as a whole", readStream("gone"), nil},
		{"young enough", readStream("young"), first("young", 0, 1)},
		{"an age of 0 is ignored", readStream("ageless"), first("ageless", 0, 1)},
		{"the last metadata", readStream("$$often", count(1)), []string{"$$often/4"}},
		{"the log as a stream", readStream("$all"), []string{"not found $all"}},
	} {
		t.Run(c.name, func(t *testing.T) { equal(t, s.read(c.req), c.want) })
	}
}

func TestExpiredEventsAreAbsent(t *testing.T) {
	clock := time.Now()
	s := serveAt(t, func() time.Time { return clock })
	s.write("s", 2)
	s.metadata("s", eventstore.StreamMetadata{MaxAge: time.Second})
	equal(t, s.read(readStream("s")), []string{"s/0", "s/1"})
	clock = clock.Add(time.Minute)
	equal(t, s.read(readStream("s")), nil)
	c := s.subscribe(readStream("s", subscription))
	c.expect("caught up")
	s.write("s", 1)
	c.expect("s/2")
}

func TestLogReads(t *testing.T) {
	s := serve(t)
	begin := s.head()
	s.write("a", 1)
	p1 := s.head().Commit
	s.write("b", 3)
	s.write("$persistentsubscription-$all::group-checkpoint", 2)
	s.write("$persistentsubscription-$all::group-parked", 1)
	s.write("$epoch-information", 1)
	s.write("$persistentsubscription-s::group-parked", 1)
	s.write("$persistentsubscription-$all::group-other", 1)
	s.delete("b")
	end := s.tombstone("a").Commit

	all := []string{"a/0", "b/0", "b/1", "b/2", "$persistentsubscription-s::group-parked/0",
		"$persistentsubscription-$all::group-other/0", "$$b/0", "a/end"}
	down := []string{"a/end", "$$b/0", "$persistentsubscription-$all::group-other/0",
		"$persistentsubscription-s::group-parked/0", "b/2", "b/1", "b/0", "a/0"}
	first := fromPosition(begin.Commit+1, begin.Commit+1)
	for _, c := range []struct {
		name string
		req  *streams.ReadReq
		want []string
	}{
		{"forwards includes", readAll(first), all},
		{"forwards includes, later", readAll(fromPosition(p1+1, p1+1)), all[1:]},
		{"count leaves out what nobody sees", readAll(first, count(6)), all[:6]},
		{"count within", readAll(first, count(2)), all[:2]},
		{"count as many as there are", readAll(first, count(8)), all},
		{"count of more", readAll(first, count(9)), all},
		{"count of Python", readAll(first, count(math.MaxInt64)), all},
		{"forwards from the end", readAll(fromEnd), nil},
		{"forwards from the end in numbers", readAll(fromPosition(math.MaxUint64, math.MaxUint64)), nil},
		{"forwards behind the last", readAll(fromPosition(end+1, end+1)), nil},
		{"backwards from the end", readAll(backwards, fromEnd, count(8)), down},
		{"backwards from the end in numbers", readAll(backwards, fromPosition(math.MaxUint64, math.MaxUint64), count(3)), down[:3]},
		{"backwards excludes", readAll(backwards, fromPosition(end, end), count(7)), down[1:]},
		{"backwards count leaves out what nobody sees", readAll(backwards, fromEnd, count(5)), down[:5]},
		{"backwards behind the last", readAll(backwards, fromPosition(end+1, end+1), count(1)), down[:1]},
		{"backwards from start", readAll(backwards, fromStart), nil},
		{"backwards from start in numbers", readAll(backwards, fromPosition(0, 0)), nil},
		{"beyond", readAll(fromPosition(end+2, end+2)), []string{"error Unknown"}},
		{"beyond, backwards", readAll(backwards, fromPosition(end+2, end+2)), []string{"error Unknown"}},
		{"no record's", readAll(fromPosition(p1, p1-1)), []string{"error Unknown"}},
		{"prefix", readAll(filtered(32, 1, prefixes("b", "$$"))), []string{"b/0", "b/1", "b/2", "$$b/0"}},
		{"prefix backwards", readAll(backwards, fromEnd, filtered(32, 1, prefixes("b"))), []string{"b/2", "b/1", "b/0"}},
		{"prefix and count", readAll(filtered(1, 1, prefixes("b")), count(2)), []string{"b/0", "b/1"}},
		{"prefix of types", readAll(filtered(32, 1, prefixes("$str", "$meta")), byType), []string{"$$b/0", "a/end"}},
		{"regex of types", readAll(first, filtered(32, 1, regex(`^[^\$].*`)), byType, count(4)), []string{"a/0", "b/0", "b/1", "b/2"}},
		{"regex of streams, not anchored", readAll(filtered(32, 1, regex(`::group-p`))), []string{"$persistentsubscription-s::group-parked/0"}},
		{"regex wins over prefixes", readAll(filtered(32, 1, &streams.ReadReq_Options_FilterOptions_Expression{Regex: "^b$", Prefix: []string{"a"}})), []string{"b/0", "b/1", "b/2"}},
		{"regex heeds case", readAll(filtered(32, 1, regex("^B"))), nil},
		{"neither regex nor prefix", readAll(filtered(32, 1, prefixes())), nil},
		{"everything excluded", readAll(filtered(32, 1, regex(`^(?!.*)`)), byType), nil},
		{"Python's exclusion", readAll(first, filtered(30, 5, regex(`^(?!(\$.+$|PersistentConfig\d+$))`)), byType, count(4)), []string{"a/0", "b/0", "b/1", "b/2"}},
		{"Python's inclusion", readAll(first, filtered(30, 5, regex(`^\$str|data$`)), byType), []string{"$$b/0", "a/end"}},
	} {
		t.Run(c.name, func(t *testing.T) { equal(t, s.read(c.req), c.want) })
	}
	t.Run("from start in numbers", func(t *testing.T) {
		equal(t, s.read(readAll(fromPosition(0, 0))), s.read(readAll()))
	})
	t.Run("the text of an invalid position", func(t *testing.T) {
		_, err := s.open(readAll(fromPosition(end+2, end+2))).in.Recv()
		equal(t, status.Convert(err).Message(), "Exception was thrown by handler. Unexpected ReadAllResult: InvalidPosition")
	})
}

// TestEventsCarryWhatClientsNeed: the id in the form that was asked for, when
// the event was made, and its place in the log, in stream and log reads alike.
func TestEventsCarryWhatClientsNeed(t *testing.T) {
	s := serve(t)
	id := uuid.New()
	before := time.Now()
	at := s.append("s",
		eventstore.Event{ID: uuid.New(), Type: "First", JSON: true, Data: []byte(`{}`)},
		eventstore.Event{ID: id, Type: "Second", Data: []byte{0, 1}, Metadata: []byte(`{"m":1}`)})
	for name, req := range map[string]*streams.ReadReq{
		"stream":       readStream("s", backwards, fromEnd),
		"log":          readAll(backwards, fromEnd),
		"log, text":    readAll(backwards, fromEnd, textIDs),
		"subscription": readStream("s", subscription, fromRevision(0)),
	} {
		c := s.open(req)
		if req.Options.GetSubscription() != nil {
			c.expect("confirmation")
		}
		m, err := c.in.Recv()
		if err != nil {
			t.Fatal(name, err)
		}
		e := m.GetEvent()
		r := e.GetEvent()
		equal(t, e.GetCommitPosition(), at.Commit)
		equal(t, eventstore.Position{Commit: r.CommitPosition, Prepare: r.PreparePosition}, at)
		equal(t, r.StreamRevision, 1)
		equal(t, string(r.StreamIdentifier.StreamName), "s")
		equal(t, string(r.CustomMetadata), `{"m":1}`)
		equal(t, r.Data, []byte{0, 1})
		equal(t, r.Metadata["type"], "Second")
		equal(t, r.Metadata["content-type"], "application/octet-stream")
		ticks, err := strconv.ParseInt(r.Metadata["created"], 10, 64)
		if made := time.Unix(0, ticks*100); err != nil || made.Before(before.Add(-time.Millisecond)) || made.After(time.Now()) {
			t.Errorf("%s: created %q", name, r.Metadata["created"])
		}
		got, err := wire.ParseUUID(r.Id)
		if err != nil {
			t.Error(name, err)
		}
		equal(t, got, id)
		equal(t, r.Id.GetStructured() == nil, name == "log, text")
	}
	m, err := s.open(readStream("s")).in.Recv()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, m.GetEvent().GetEvent().Metadata["content-type"], "application/json")
}

func TestLinks(t *testing.T) {
	s := serve(t)
	s.write("target", 4)
	s.write("odd@name", 2)
	s.write("cut", 3)
	s.metadata("cut", eventstore.StreamMetadata{TruncateBefore: 2})
	s.write("deleted", 1)
	s.delete("deleted")
	s.write("ended", 1)
	s.tombstone("ended")
	s.write("links", 1)
	s.link("links", "3@target")
	s.link("links", "1@odd@name")
	s.link("links", "9@target")
	s.link("links", "0@missing")
	s.link("links", "0@cut")
	s.link("links", "0@deleted")
	s.link("links", "0@ended")
	s.link("links", "one@target")
	s.link("links", "@target")
	s.link("links", "1@")
	s.link("links", "-1@target")
	s.link("links", "1@links") // one level only
	s.append("links", eventstore.Event{ID: uuid.New(), Type: "NoLink", Data: []byte("0@target")})
	resolved := []string{
		"links/0", "links/1 > target/3", "links/2 > odd@name/1", "links/3 > nothing", "links/4 > nothing",
		"links/5 > nothing", "links/6 > nothing", "links/7 > nothing", "links/8", "links/9", "links/10",
		"links/11", "links/12 > links/1", "links/13",
	}
	var plain []string
	for r := range resolved {
		plain = append(plain, fmt.Sprintf("links/%d", r))
	}
	equal(t, s.read(readStream("links", links)), resolved)
	equal(t, s.read(readStream("links")), plain)
	equal(t, s.read(readAll(links, filtered(32, 1, prefixes("links")))), resolved)

	// Subscriptions resolve the same, from the store and from the tail, and
	// whether or not others ask otherwise.
	for _, req := range []*streams.ReadReq{readStream("links", subscription, links), readStream("links", subscription, links, textIDs)} {
		c := s.subscribe(req)
		c.expect(resolved...)
		c.expect("caught up")
		plainly := s.subscribe(readStream("links", subscription, fromEnd))
		plainly.expect("caught up")
		again := s.subscribe(readAll(subscription, links, fromEnd))
		again.expect("caught up")
		s.link("links", "2@target")
		s.link("links", "77@target")
		n := len(resolved)
		names := []string{fmt.Sprintf("links/%d", n), fmt.Sprintf("links/%d", n+1)}
		plainly.expect(names...)
		c.expect(names[0]+" > target/2", names[1]+" > nothing")
		again.expect(names[0]+" > target/2", names[1]+" > nothing")
		resolved = append(resolved, names[0]+" > target/2", names[1]+" > nothing")
	}

	// Who goes on from a link goes on from its own place.
	m, err := s.open(readStream("links", links, fromRevision(1))).in.Recv()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, m.GetEvent().GetCommitPosition(), m.GetEvent().GetLink().CommitPosition)
	if m.GetEvent().GetLink().Metadata["created"] == "" || m.GetEvent().GetEvent().Metadata["created"] == "" {
		t.Error("a link or what it names has no time of creation")
	}
}

// TestIDsInTheFormOfEachSubscriber: though what is live is encoded once.
func TestIDsInTheFormOfEachSubscriber(t *testing.T) {
	s := serve(t)
	calls := map[bool]*call{
		true:  s.subscribe(readAll(subscription, fromEnd, textIDs)),
		false: s.subscribe(readAll(subscription, fromEnd)),
	}
	for _, c := range calls {
		c.expect("caught up")
	}
	id := uuid.New()
	s.append("s", eventstore.Event{ID: id, Type: "T"})
	for text, c := range calls {
		m, err := c.in.Recv()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, m.GetEvent().GetEvent().Id.String(), wire.UUID(id, text).String())
	}
}

func TestEventsOfAllSizesAreRead(t *testing.T) {
	s := serve(t)
	live := s.subscribe(readAll(subscription, fromEnd))
	live.expect("caught up")
	sizes := []int{0, 1, 8 << 10, 32 << 10, 100 << 10, 1<<20 - 10, 2}
	for _, n := range sizes {
		data := bytes.Repeat([]byte{byte(n)}, n)
		s.append("s", eventstore.Event{ID: uuid.New(), Type: "T", Data: data})
	}
	for _, c := range []*call{live, s.open(readStream("s"))} {
		for _, n := range sizes {
			m, err := c.in.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if got := m.GetEvent().GetEvent().Data; !bytes.Equal(got, bytes.Repeat([]byte{byte(n)}, n)) {
				t.Fatalf("%d bytes, want %d", len(got), n)
			}
		}
	}
}
