package reading_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/docket-orders/docket/eventstore"
)

// TestWhereStreamSubscriptionsBegin: a start is exclusive.
func TestWhereStreamSubscriptionsBegin(t *testing.T) {
	const written = "written"
	for _, c := range []struct {
		name    string
		prepare func(*server)
		from    option
		want    string // messages after the confirmation; "written" is two events
	}{
		{"start", nil, fromStart, "s/0 s/1 s/2 caught-up written s/3 s/4"},
		{"end", nil, fromEnd, "caught-up written s/3 s/4"},
		{"end in numbers", nil, fromRevision(math.MaxUint64), "caught-up written s/3 s/4"},
		{"revision 0", nil, fromRevision(0), "s/1 s/2 caught-up written s/3 s/4"},
		{"a revision", nil, fromRevision(1), "s/2 caught-up written s/3 s/4"},
		{"the last", nil, fromRevision(2), "caught-up written s/3 s/4"},
		{"not written yet", nil, fromRevision(3), "caught-up written s/4"},
		{"far ahead", nil, fromRevision(math.MaxUint64 - 1), "caught-up written written"},
		{"truncated, start", func(s *server) { s.metadata("s", eventstore.StreamMetadata{TruncateBefore: 2}) }, fromStart, "s/2 caught-up written s/3 s/4"},
		{"truncated, before the first visible", func(s *server) { s.metadata("s", eventstore.StreamMetadata{TruncateBefore: 2}) }, fromRevision(0), "s/2 caught-up written s/3 s/4"},
		{"truncated as a whole", func(s *server) { s.metadata("s", eventstore.StreamMetadata{TruncateBefore: 3}) }, fromStart, "caught-up written s/3 s/4"},
		{"truncated as a whole, end", func(s *server) { s.metadata("s", eventstore.StreamMetadata{TruncateBefore: 3}) }, fromEnd, "caught-up written s/3 s/4"},
		{"limited", func(s *server) { s.metadata("s", eventstore.StreamMetadata{MaxCount: 1}) }, fromStart, "s/2 caught-up written s/3 s/4"},
		{"soft-deleted", func(s *server) { s.delete("s") }, fromStart, "caught-up written s/3 s/4"},
		{"soft-deleted, end", func(s *server) { s.delete("s") }, fromEnd, "caught-up written s/3 s/4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t)
			s.write("s", 3)
			if c.prepare != nil {
				c.prepare(s)
			}
			sub := s.subscribe(readStream("s", subscription, c.from))
			for _, want := range strings.Fields(c.want) {
				switch want {
				case written:
					s.write("noise", 1)
					s.write("s", 2)
				case "caught-up":
					sub.expect("caught up")
				default:
					sub.expect(want)
				}
			}
			// Nothing else came.
			s.tombstone("s")
			sub.expect("s/end", "error FailedPrecondition stream-deleted s")
		})
	}
}

func TestWhereLogSubscriptionsBegin(t *testing.T) {
	s := serve(t)
	begin := s.head().Commit
	at := func(n uint64) option { return fromPosition(begin+n, begin+n) }
	s.write("a", 2)
	s.write("b", 1)
	for _, c := range []struct {
		name string
		from option
		want []string
	}{
		{"a position", at(1), []string{"a/1", "b/0", "caught up"}},
		{"the last", at(3), []string{"caught up"}},
		{"the one after it", at(4), []string{"caught up"}},
		{"end", fromEnd, []string{"caught up"}},
		{"end in numbers", fromPosition(math.MaxUint64, math.MaxUint64), []string{"caught up"}},
		{"beyond", at(5), []string{"error InvalidArgument"}},
		{"far beyond", fromPosition(math.MaxUint64, 0), []string{"error InvalidArgument"}},
		{"no record's", fromPosition(begin+2, begin+1), []string{"error InvalidArgument"}},
	} {
		t.Run(c.name, func(t *testing.T) { s.subscribe(readAll(subscription, c.from)).expect(c.want...) })
	}
	t.Run("the text of an invalid position", func(t *testing.T) {
		c := s.subscribe(readAll(subscription, at(5)))
		_, err := c.in.Recv()
		equal(t, status.Convert(err).Message(), "Trying to read from an invalid position.")
	})
	t.Run("start", func(t *testing.T) {
		want := append(s.read(readAll()), "caught up")
		for _, from := range []option{fromStart, fromPosition(0, 0)} {
			s.subscribe(readAll(subscription, from)).expect(want...)
		}
	})
	t.Run("the next event is skipped", func(t *testing.T) {
		c := s.subscribe(readAll(subscription, at(4)))
		c.expect("caught up")
		s.write("a", 2)
		c.expect("a/3")
	})
}

func TestStreamsAppearAndVanishUnderSubscriptions(t *testing.T) {
	t.Run("missing", func(t *testing.T) {
		s := serve(t)
		c := s.subscribe(readStream("s", subscription))
		c.expect("caught up")
		s.write("other", 1)
		s.write("s", 2)
		c.expect("s/0", "s/1")
	})
	t.Run("prefix of another", func(t *testing.T) {
		s := serve(t)
		c := s.subscribe(readStream("s", subscription))
		c.expect("caught up")
		s.write("s-1", 1)
		s.write("s", 1)
		c.expect("s/0")
	})
	t.Run("soft-deleted and created again", func(t *testing.T) {
		s := serve(t)
		s.write("s", 2)
		c := s.subscribe(readStream("s", subscription))
		c.expect("s/0", "s/1", "caught up")
		s.delete("s")
		s.write("s", 2)
		c.expect("s/2", "s/3")
	})
	t.Run("tombstoned before", func(t *testing.T) {
		s := serve(t)
		s.write("s", 2)
		s.tombstone("s")
		for _, from := range []option{fromStart, fromEnd, fromRevision(7)} {
			s.open(readStream("s", subscription, from)).expect("error FailedPrecondition stream-deleted s")
		}
		s.open(readStream("$$s", subscription)).expect("error FailedPrecondition stream-deleted $$s")
	})
	t.Run("tombstoned while subscribed", func(t *testing.T) {
		s := serve(t)
		s.write("s", 1)
		c, all := s.subscribe(readStream("s", subscription, fromEnd)), s.subscribe(readAll(subscription, fromEnd))
		c.expect("caught up")
		all.expect("caught up")
		s.tombstone("s")
		c.expect("s/end", "error FailedPrecondition stream-deleted s")
		s.write("other", 1)
		all.expect("s/end", "other/0")
	})
	t.Run("never written and tombstoned", func(t *testing.T) {
		s := serve(t)
		c := s.subscribe(readStream("s", subscription))
		c.expect("caught up")
		s.tombstone("s")
		c.expect("s/end", "error FailedPrecondition stream-deleted s")
	})
	t.Run("metadata stream", func(t *testing.T) {
		s := serve(t)
		s.metadata("s", eventstore.StreamMetadata{MaxCount: 2})
		s.metadata("s", eventstore.StreamMetadata{MaxCount: 3})
		c := s.subscribe(readStream("$$s", subscription))
		c.expect("$$s/1", "caught up")
		s.metadata("s", eventstore.StreamMetadata{MaxCount: 4})
		c.expect("$$s/2")
	})
}

// TestWhatNobodySeesIsNotDelivered in subscriptions either.
func TestWhatNobodySeesIsNotDelivered(t *testing.T) {
	s := serve(t)
	hidden := []string{"$persistentsubscription-$all::g-checkpoint", "$persistentsubscription-$all::g-parked", "$epoch-information"}
	from := s.head()
	for _, stream := range hidden {
		s.write(stream, 1)
	}
	s.write("s", 1)
	c := s.subscribe(readAll(subscription, fromPosition(from.Commit, from.Prepare)))
	c.expect("s/0", "caught up")
	for _, stream := range hidden {
		s.write(stream, 1)
	}
	s.write("s", 1)
	c.expect("s/1")
}

// TestCheckpointsAtTheirMoments: after each interval of records examined, and
// before caught up when something was read.
func TestCheckpointsAtTheirMoments(t *testing.T) {
	s := serve(t)
	begin := s.head().Commit
	s.write("other", 7)
	s.write("s", 1)
	s.write("other", 2)
	from := fromPosition(begin, begin)
	checkpoint := func(n uint64) string { return fmt.Sprint("checkpoint ", begin+n) }

	c := s.subscribe(readAll(subscription, from, filtered(2, 2, prefixes("s"))))
	c.expect(checkpoint(4), "s/0", checkpoint(8), checkpoint(10), "caught up")
	s.write("other", 3)
	s.write("s", 3)
	c.expect("s/1", checkpoint(14), "s/2", "s/3")
	s.write("other", 2)
	c.expect(checkpoint(18))

	// The end falls together with an interval: it is told once.
	begin = s.head().Commit
	s.write("other", 4)
	c = s.subscribe(readAll(subscription, fromPosition(begin, begin), filtered(2, 2, prefixes("s"))))
	c.expect(checkpoint(4), "caught up")
	// There was nothing to read.
	s.subscribe(readAll(subscription, fromEnd, filtered(2, 2, prefixes("s")))).expect("caught up")
	// Nothing matches.
	c = s.subscribe(readAll(subscription, fromPosition(begin, begin), filtered(32, 1, prefixes())))
	c.expect(checkpoint(4), "caught up")
	// The default window.
	c = s.subscribe(readAll(subscription, fromPosition(begin, begin), filtered(1, 1, prefixes("never")), func(o *streams.ReadReq_Options) {
		o.GetFilter().Window = &streams.ReadReq_Options_FilterOptions_Count{Count: empty}
	}))
	c.expect(checkpoint(4), "caught up")
	s.write("other", 33)
	c.expect(checkpoint(36))
}

// TestResumingFromAnyMarkLosesNothing: whoever goes on from the last event or
// checkpoint that he saw gets exactly what is missing; checkpoints rise, are
// never behind what was delivered nor ahead of the log or of a match.
func TestResumingFromAnyMarkLosesNothing(t *testing.T) {
	s := serve(t)
	begin := s.head().Commit
	var matches []uint64 // positions
	for i := range uint64(200) {
		name := "other"
		if (i*i+i/7)%5 == 0 {
			name = "s"
			matches = append(matches, begin+i+1)
		}
		s.write(name, 1)
	}
	rapid.Check(t, func(rt *rapid.T) {
		from := begin + rapid.Uint64Range(0, 200).Draw(rt, "from")
		window := rapid.Uint32Range(1, 50).Draw(rt, "window")
		multiplier := rapid.Uint32Range(1, 4).Draw(rt, "multiplier")
		expression := rapid.SampledFrom([]*streams.ReadReq_Options_FilterOptions_Expression{prefixes("s"), regex("^s$")}).Draw(rt, "filter")
		stopAfter := rapid.IntRange(1, 60).Draw(rt, "messages")
		var got, want []uint64
		for _, p := range matches {
			if p > from {
				want = append(want, p)
			}
		}
		for at, caughtUp := from, false; !caughtUp; {
			c := s.subscribe(readAll(subscription, fromPosition(at, at), filtered(window, multiplier, expression)))
			for range stopAfter {
				m, err := c.in.Recv()
				if err != nil {
					rt.Fatal(err)
				}
				switch m := m.Content.(type) {
				case *streams.ReadResp_Event:
					p := m.Event.GetCommitPosition()
					if p <= at {
						rt.Fatalf("event at %d after %d", p, at)
					}
					at, got = p, append(got, p)
				case *streams.ReadResp_Checkpoint_:
					p := m.Checkpoint.CommitPosition
					isLast := len(got) > 0 && got[len(got)-1] == p
					if p < at || p == at && !isLast || p > begin+200 {
						rt.Fatalf("checkpoint %d after %d", p, at)
					}
					at = p
				case *streams.ReadResp_CaughtUp_:
					caughtUp = true
				}
				if caughtUp {
					break
				}
			}
			c.hangUp()
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			rt.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestACloseEndsSubscriptions(t *testing.T) {
	s := serve(t)
	s.write("s", 1)
	all, one := s.subscribe(readAll(subscription, fromEnd)), s.subscribe(readStream("s", subscription))
	all.expect("caught up")
	one.expect("s/0", "caught up")
	s.close()
	for _, c := range []*call{all, one} {
		if _, err := c.in.Recv(); status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
	}
}
