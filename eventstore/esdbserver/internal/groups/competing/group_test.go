package competing_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
)

// scenario runs a group by hand. What it says to do is done at once, and
// written down as text: "a<1" is message 1 sent to consumer a, "a<1+2" the same
// with retry count 2, "P1" message 1 parked, "C1" a checkpoint, "T1" parked
// records let go. Replayed messages are "r1".
type scenario struct {
	t     *testing.T
	group *competing.Group
	now   time.Time
	log   []string
	names map[competing.ConsumerID]string
	// broken: nothing can be written.
	broken bool
}

func given(t *testing.T, s competing.Settings) *scenario {
	if s.Buffer == 0 {
		s.Buffer, s.ReplayBuffer = 100, 100
	}
	if s.MaxCheckpoint == 0 {
		s.MinCheckpoint, s.MaxCheckpoint = 1, 1000
	}
	now := time.Unix(1000, 0)
	return &scenario{t: t, group: competing.New(s, 0, 0, 0, now), now: now, names: map[competing.ConsumerID]string{}}
}

func id(name string) (id competing.ID) {
	copy(id[:], name)
	return id
}

func name(m *competing.Message) string { return m.Event.(string) }

func (s *scenario) step() *scenario {
	w := s.group.Step(s.now)
	for _, p := range w.Pushes {
		retries := ""
		if p.Message.Retries > 0 {
			retries = fmt.Sprintf("+%d", p.Message.Retries)
		}
		s.log = append(s.log, s.names[p.To]+"<"+name(p.Message)+retries)
	}
	for _, p := range w.Parks {
		s.log = append(s.log, "P"+name(p.Message))
		s.group.Parked(p.Message, !s.broken)
	}
	if w.Checkpoint > 0 {
		s.log = append(s.log, fmt.Sprintf("C%d", w.Checkpoint))
		s.group.Checkpointed(w.Checkpoint, !s.broken, s.now)
	}
	if w.Truncate > 0 {
		s.log = append(s.log, fmt.Sprintf("T%d", w.Truncate))
		s.group.Truncated(w.Truncate, !s.broken)
	}
	if len(w.Parks) > 0 && !s.broken {
		return s.step()
	}
	return s
}

func (s *scenario) joins(name string, slots int) *scenario {
	s.t.Helper()
	cid := competing.ConsumerID(len(s.names) + 1)
	s.names[cid] = name
	if err := s.group.Join(cid, slots); err != nil {
		s.t.Fatal(err)
	}
	return s.step()
}

func (s *scenario) leaves(name string) *scenario {
	for cid, n := range s.names {
		if n == name {
			s.group.Leave(cid)
		}
	}
	return s.step()
}

// arrive takes places from..to of the source; the name of a message is its place.
func (s *scenario) arrive(from, to competing.Place) *scenario {
	for place := from; place <= to; place++ {
		n := fmt.Sprint(uint64(place))
		s.group.Arrived(&competing.Message{ID: id(n), Place: place, Event: n, Size: 1})
	}
	return s.step()
}

func (s *scenario) arrivesAs(place competing.Place, name, ident string, bucket uint16) *scenario {
	s.group.Arrived(&competing.Message{ID: id(ident), Place: place, Event: name, Bucket: bucket, Size: 1})
	return s.step()
}

func (s *scenario) replay(from, to competing.Place) *scenario {
	for place := from; place <= to; place++ {
		n := fmt.Sprintf("r%d", place)
		s.group.Replay(&competing.Message{ID: id(n), Place: place, Event: n, Size: 1})
	}
	return s.step()
}

func (s *scenario) ack(names ...string) *scenario {
	for _, n := range names {
		s.group.Ack(s.now, id(n))
	}
	return s.step()
}

func (s *scenario) nack(action competing.Action, names ...string) *scenario {
	for _, n := range names {
		s.group.Nack(action, "because", id(n))
	}
	return s.step()
}

// seconds pass, with a tick in each.
func (s *scenario) seconds(n int) *scenario {
	for range n {
		s.now = s.now.Add(time.Second)
		s.group.Tick(s.now)
		s.step()
	}
	return s
}

func (s *scenario) then(want string) *scenario {
	s.t.Helper()
	if got := strings.Join(s.log, " "); got != want {
		s.t.Errorf("got  %s\nwant %s", got, want)
	}
	s.log = nil
	return s
}

func long() competing.Settings {
	return competing.Settings{MaxRetries: 10, MessageTimeout: time.Hour}
}

func with(change func(*competing.Settings)) competing.Settings {
	s := long()
	change(&s)
	return s
}

func TestSlots(t *testing.T) {
	given(t, long()).joins("a", 2).arrive(1, 4).then("a<1 a<2").
		ack("1").then("a<3").
		ack("1").ack("9").then("").
		nack(competing.ActionSkip, "2", "3").then("a<4")
}

// Consumers who take much and finish nothing cost the group no more than that.
func TestOutstandingIsBounded(t *testing.T) {
	const each = 2 * competing.MaxOutstanding / 3
	s := given(t, competing.Settings{MaxRetries: 10, MessageTimeout: time.Hour, Buffer: 10 * competing.MaxOutstanding, MaxCheckpoint: 1 << 40})
	s.joins("a", each).joins("b", each).arrive(1, 2*each)
	if got := len(s.log); got != competing.MaxOutstanding {
		t.Errorf("%d messages are with consumers, want %d", got, competing.MaxOutstanding)
	}
	s.log = nil
	s.ack("1", "2", "3").then(fmt.Sprintf("a<%d b<%d a<%d", competing.MaxOutstanding+1, competing.MaxOutstanding+2, competing.MaxOutstanding+3))
}

func TestConsumerWhoComesLate(t *testing.T) {
	given(t, long()).arrive(1, 2).then("").joins("a", 5).then("a<1 a<2")
}

func TestNack(t *testing.T) {
	given(t, with(func(s *competing.Settings) { s.MaxRetries = 1 })).joins("a", 2).arrive(1, 3).then("a<1 a<2").
		nack(competing.ActionRetry, "1").then("a<1+1").
		nack(competing.ActionRetry, "1").then("P1 a<3").
		nack(competing.ActionPark, "2").then("P2").
		nack(competing.ActionRetry, "1", "2").then("")
}

func TestNoRetriesParkAtOnce(t *testing.T) {
	none := with(func(s *competing.Settings) { s.MaxRetries, s.MessageTimeout = 0, time.Second })
	given(t, none).joins("a", 1).arrive(1, 2).nack(competing.ActionRetry, "1").then("a<1 P1 a<2").seconds(1).then("P2")
}

// The examples of Python's client: one slot and ten, a timeout of a second.
func TestMessageTimeout(t *testing.T) {
	second := with(func(s *competing.Settings) { s.MessageTimeout = time.Second })
	given(t, second).joins("a", 1).arrive(1, 3).seconds(1).then("a<1 a<1+1").ack("1").ack("2").then("a<2 a<3")
	given(t, second).joins("a", 10).arrive(1, 3).seconds(1).then("a<1 a<2 a<3 a<1+1 a<2+1 a<3+1")
}

func TestMessageTimeoutZeroRetriesEachTick(t *testing.T) {
	given(t, competing.Settings{MaxRetries: 2}).joins("a", 1).arrive(1, 1).seconds(3).then("a<1 a<1+1 a<1+2 P1")
}

func TestRetriesGoFirstInOrder(t *testing.T) {
	given(t, long()).joins("a", 3).arrive(1, 9).then("a<1 a<2 a<3").
		nack(competing.ActionRetry, "3", "1").then("a<1+1 a<3+1").
		ack("2").then("a<4")
}

func TestWhoLeavesLosesItsMessagesToOthers(t *testing.T) {
	none := with(func(s *competing.Settings) { s.MaxRetries = 0 })
	given(t, none).joins("a", 2).arrive(1, 3).joins("b", 3).then("a<1 a<2 b<3").leaves("a").then("b<1+1 b<2+1").
		leaves("a").then("").
		leaves("b").joins("c", 9).then("c<1+2 c<2+2 c<3+1")
}

func TestDuplicateIDsInFlight(t *testing.T) {
	given(t, long()).joins("a", 1).arrivesAs(1, "first", "x", 0).arrivesAs(2, "second", "x", 0).arrivesAs(3, "third", "y", 0).
		then("a<first").ack("x").then("a<second").ack("x").then("a<third")
	given(t, long()).joins("a", 5).arrivesAs(1, "first", "x", 0).arrivesAs(2, "second", "x", 0).arrivesAs(3, "third", "y", 0).
		then("a<first a<third")
}

func TestRoundRobin(t *testing.T) {
	given(t, long()).joins("a", 2).joins("b", 1).joins("c", 2).arrive(1, 6).then("a<1 b<2 c<3 a<4 c<5").ack("2").then("b<6")
}

func TestDispatchToSingle(t *testing.T) {
	single := with(func(s *competing.Settings) { s.Strategy = competing.DispatchToSingle })
	given(t, single).joins("a", 2).joins("b", 1).arrive(1, 4).then("a<1 a<2 b<3").ack("1").then("a<4")
}

func TestPinned(t *testing.T) {
	s := given(t, with(func(s *competing.Settings) { s.Strategy = competing.Pinned })).joins("a", 1).joins("b", 1)
	// With two consumers the first keeps the lower half.
	s.arrivesAs(1, "1", "1", 3).arrivesAs(2, "2", "2", 3).arrivesAs(3, "3", "3", 900).then("a<1 b<3")
	s.ack("3").then("").ack("1").then("a<2")
	s.leaves("a").then("b<2+1")
}

func TestPinnedRetryWaitsForItsOwner(t *testing.T) {
	s := given(t, with(func(s *competing.Settings) { s.Strategy = competing.Pinned })).joins("a", 2).joins("b", 2)
	s.arrivesAs(1, "1", "1", 3).arrivesAs(2, "2", "2", 3).arrivesAs(3, "3", "3", 3).then("a<1 a<2")
	s.nack(competing.ActionRetry, "1").then("a<1+1").ack("2").then("a<3")
}

func TestMaxConsumers(t *testing.T) {
	s := given(t, with(func(s *competing.Settings) { s.MaxConsumers = 1 })).joins("a", 1)
	if err := s.group.Join(77, 1); err != competing.ErrFull {
		t.Errorf("a second consumer: %v", err)
	}
	s.leaves("a").joins("b", 1)
}

func TestCheckpointByCount(t *testing.T) {
	three := with(func(s *competing.Settings) { s.MinCheckpoint, s.MaxCheckpoint = 1, 3 })
	given(t, three).joins("a", 9).arrive(1, 7).then("a<1 a<2 a<3 a<4 a<5 a<6 a<7").
		ack("2", "3", "4").then("").
		ack("1").then("C4").
		ack("5", "6").then("").ack("7").then("C7")
}

func TestCheckpointByTime(t *testing.T) {
	s := with(func(s *competing.Settings) {
		s.MinCheckpoint, s.MaxCheckpoint, s.CheckpointAfter = 2, 100, 3*time.Second
	})
	given(t, s).joins("a", 9).arrive(1, 5).ack("1").seconds(9).then("a<1 a<2 a<3 a<4 a<5").
		ack("2").then("").seconds(1).then("C2").
		ack("3", "4").seconds(2).then("").seconds(1).then("C4")
	s.CheckpointAfter = 0
	given(t, s).joins("a", 9).arrive(1, 5).ack("1", "2", "3").seconds(100).then("a<1 a<2 a<3 a<4 a<5")
}

func TestRecordsForOthersMoveTheCheckpoint(t *testing.T) {
	s := given(t, with(func(s *competing.Settings) { s.MinCheckpoint, s.MaxCheckpoint = 1, 10 })).joins("a", 9)
	s.group.Passed(10, 10)
	s.step().then("C10").arrive(11, 11).then("a<11")
	s.group.Passed(40, 29)
	s.step().then("").ack("11").then("C40")
}

func TestParkedMessagesMoveTheCheckpointWhenTheyAreWritten(t *testing.T) {
	one := with(func(s *competing.Settings) { s.MinCheckpoint, s.MaxCheckpoint = 1, 1 })
	s := given(t, one).joins("a", 1).arrive(1, 2).then("a<1")
	s.broken = true
	s.nack(competing.ActionPark, "1").then("P1").seconds(1).then("P1")
	s.leaves("a").joins("b", 1).then("b<2")
	s.broken = false
	s.seconds(1).then("P1 C1")
}

func TestCheckpointThatFailsIsTriedAgain(t *testing.T) {
	s := given(t, with(func(s *competing.Settings) { s.MinCheckpoint, s.MaxCheckpoint = 1, 1 })).joins("a", 9).arrive(1, 2)
	s.broken = true
	s.ack("1").then("a<1 a<2 C1")
	if got := s.group.Last(); got != 1 {
		t.Errorf("last is %d", got)
	}
	s.broken = false
	s.ack("2").then("C2")
	if got := s.group.Last(); got != 0 {
		t.Errorf("last is %d", got)
	}
}

func TestLastCheckpoint(t *testing.T) {
	s := given(t, long()).joins("a", 9)
	s.group.Passed(10, 10)
	s.arrive(11, 13)
	for _, c := range []struct {
		ack  string
		want competing.Place
	}{{"", 0}, {"12", 10}, {"11", 12}} {
		if c.ack != "" {
			s.ack(c.ack)
		}
		if got := s.group.Last(); got != c.want {
			t.Errorf("after %q: %d, want %d", c.ack, got, c.want)
		}
	}
}

func TestReplay(t *testing.T) {
	s := given(t, with(func(s *competing.Settings) { s.MaxRetries = 1 })).joins("a", 1).arrive(1, 3).then("a<1").
		replay(1, 3).then("").
		nack(competing.ActionRetry, "1").then("a<1+1").
		ack("1").then("a<r1").
		nack(competing.ActionRetry, "r1").then("a<r1+1").
		nack(competing.ActionRetry, "r1").then("Pr1 a<r2")
	s.seconds(1).then("T1").ack("r2").then("a<r3").ack("r3").then("a<2 T3").ack("2").then("a<3")
	s.replay(4, 4).ack("3").then("a<r4")
	s.group.ReplayPassed(9)
	s.ack("r4").then("T9")
}

func TestReplayDoesNotTouchTheCheckpoint(t *testing.T) {
	one := with(func(s *competing.Settings) { s.MinCheckpoint, s.MaxCheckpoint = 1, 1 })
	given(t, one).joins("a", 2).replay(1, 1).arrive(1, 1).then("a<r1 a<1").ack("1").then("C1").ack("r1").then("T1")
}

func TestRoom(t *testing.T) {
	s := given(t, competing.Settings{Buffer: 3, ReplayBuffer: 2})
	s.arrive(1, 2)
	if got := s.group.Room(); got != 1 {
		t.Errorf("room for %d", got)
	}
	s.group.Arrived(&competing.Message{ID: id("big"), Place: 3, Event: "big", Size: 5 << 20})
	s.joins("a", 2).replay(1, 1)
	if got, replays := s.group.Room(), s.group.ReplayRoom(); got != 0 || replays != 1 {
		t.Errorf("room for %d and %d replays behind a large message", got, replays)
	}
	s.ack("1", "2").ack("r1").then("a<1 a<2 a<r1 a<big T1")
	if got := s.group.Room(); got != 3 {
		t.Errorf("room for %d", got)
	}
}

func TestWhatIsNotInFlightAnyMoreIsRevoked(t *testing.T) {
	s := given(t, long()).joins("a", 3).arrive(1, 3)
	s.group.Ack(s.now, id("1"))
	s.group.Nack(competing.ActionRetry, "", id("2"))
	revoked := s.group.Step(s.now).Revoked
	if len(revoked) != 2 || name(revoked[0].Message) != "1" || name(revoked[1].Message) != "2" {
		t.Errorf("revoked: %v", revoked)
	}
}

func TestStatus(t *testing.T) {
	s := given(t, with(func(s *competing.Settings) { s.Latencies = true })).joins("a", 3).arrive(1, 5)
	s.now = s.now.Add(time.Second)
	s.ack("1").nack(competing.ActionRetry, "2")
	got := s.group.Status()
	if got.Total != 5 || got.Waiting != 1 || got.Again != 0 || got.InFlight != 3 || len(got.Consumers) != 1 {
		t.Fatalf("%+v", got)
	}
	if c := got.Consumers[0]; c.Total != 5 || c.Free != 0 || c.InFlight != 3 || len(c.Latencies) != 1 || c.Latencies[0] != time.Second {
		t.Errorf("%+v", c)
	}
}
