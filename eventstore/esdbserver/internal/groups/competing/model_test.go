package competing_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
)

// model is what must hold of a group, told from outside: who has what, and
// what is finished.
type model struct {
	t        *rapid.T
	group    *competing.Group
	settings competing.Settings
	now      time.Time

	slots     map[competing.ConsumerID]int
	nextID    competing.ConsumerID
	has       map[competing.ConsumerID]map[*competing.Message]bool
	place     competing.Place
	parked    competing.Place
	all       []*competing.Message
	finished  map[*competing.Message]bool
	parking   map[*competing.Message]bool
	pushed    map[*competing.Message]bool
	lastFirst competing.Place // of what was sent for the first time

	checkpoint, truncated competing.Place
}

func newModel(t *rapid.T) *model {
	s := competing.Settings{
		Strategy:   rapid.SampledFrom([]competing.Strategy{competing.RoundRobin, competing.DispatchToSingle, competing.Pinned}).Draw(t, "strategy"),
		MaxRetries: rapid.IntRange(0, 3).Draw(t, "retries"), MaxConsumers: rapid.IntRange(0, 4).Draw(t, "consumers"),
		MessageTimeout: time.Duration(rapid.IntRange(0, 4).Draw(t, "timeout")) * time.Second,
		MinCheckpoint:  rapid.IntRange(0, 4).Draw(t, "min"), MaxCheckpoint: rapid.IntRange(0, 8).Draw(t, "max"),
		CheckpointAfter: time.Duration(rapid.IntRange(0, 3).Draw(t, "after")) * time.Second,
		Buffer:          rapid.IntRange(1, 20).Draw(t, "buffer"), ReplayBuffer: rapid.IntRange(1, 5).Draw(t, "replays"),
		Latencies: true,
	}
	now := time.Unix(0, 0)
	return &model{
		t: t, settings: s, now: now, group: competing.New(s, 0, 0, 0, now),
		slots: map[competing.ConsumerID]int{}, has: map[competing.ConsumerID]map[*competing.Message]bool{},
		finished: map[*competing.Message]bool{}, parking: map[*competing.Message]bool{}, pushed: map[*competing.Message]bool{},
	}
}

// message is a new one; now and then it has the id of one before it.
func (m *model) message(place competing.Place, replayed bool) *competing.Message {
	msg := &competing.Message{ID: id(fmt.Sprintf("%v%d", replayed, place)), Place: place, Size: 1,
		Bucket: uint16(rapid.IntRange(0, competing.Buckets-1).Draw(m.t, "bucket"))}
	if len(m.all) > 0 && rapid.IntRange(0, 9).Draw(m.t, "same id") == 0 {
		msg.ID = rapid.SampledFrom(m.all).Draw(m.t, "as").ID
	}
	m.all = append(m.all, msg)
	return msg
}

// step does what the group says, and checks it.
func (m *model) step() {
	w := m.group.Step(m.now)
	for _, r := range w.Revoked {
		if has := m.has[r.To]; has != nil {
			delete(has, r.Message)
		}
	}
	for _, p := range w.Pushes {
		m.checkPush(p)
	}
	m.checkDuplicates()
	m.checkIdle()
	for _, p := range w.Parks {
		if m.finished[p.Message] {
			m.t.Fatalf("%v is parked, and was finished before", p.Message.Place)
		}
		ok := rapid.IntRange(0, 4).Draw(m.t, "parked") > 0
		m.parking[p.Message] = !ok
		if ok {
			m.finished[p.Message] = true
		}
		m.group.Parked(p.Message, ok)
	}
	if w.Checkpoint > 0 {
		m.checkBelow("checkpoint", w.Checkpoint, m.checkpoint, false)
		ok := rapid.Bool().Draw(m.t, "checkpointed")
		if ok {
			m.checkpoint = w.Checkpoint
		}
		m.group.Checkpointed(w.Checkpoint, ok, m.now)
	}
	if w.Truncate > 0 {
		m.checkBelow("truncation", w.Truncate, m.truncated, true)
		ok := rapid.Bool().Draw(m.t, "truncated")
		if ok {
			m.truncated = w.Truncate
		}
		m.group.Truncated(w.Truncate, ok)
	}
	if last := m.group.Last(); last > 0 {
		m.checkBelow("last checkpoint", last, m.checkpoint, false)
	}
	if len(w.Parks) > 0 {
		m.step()
	}
}

func (m *model) checkPush(p competing.Push) {
	msg := p.Message
	if m.finished[msg] || m.parking[msg] {
		m.t.Fatalf("%v is sent, and was finished before", msg.Place)
	}
	for c, has := range m.has {
		if has[msg] {
			m.t.Fatalf("%v is sent, and %v has it", msg.Place, c)
		}
		for other := range has {
			if other.ID == msg.ID {
				m.t.Fatalf("%v is sent while %v with its id is in flight", msg.Place, other.Place)
			}
		}
	}
	has, ok := m.has[p.To]
	if !ok {
		m.t.Fatalf("%v is sent to %v, who has left", msg.Place, p.To)
	}
	has[msg] = true
	if len(has) > m.slots[p.To] {
		m.t.Fatalf("%v has %d messages in %d slots", p.To, len(has), m.slots[p.To])
	}
	if !m.pushed[msg] && !msg.Replayed && m.settings.Strategy != competing.Pinned {
		if msg.Place <= m.lastFirst {
			m.t.Fatalf("%v is sent for the first time after %v", msg.Place, m.lastFirst)
		}
		m.lastFirst = msg.Place
	}
	if m.pushed[msg] != (msg.Retries > 0) {
		m.t.Fatalf("%v was sent before: %v; it says it was %d times", msg.Place, m.pushed[msg], msg.Retries)
	}
	m.pushed[msg] = true
}

// checkIdle: nothing waits while a consumer is free to take it.
func (m *model) checkIdle() {
	s := m.group.Status()
	free, flying := 0, 0
	for _, c := range s.Consumers {
		free += c.Free
		flying += c.InFlight
		if c.InFlight != len(m.has[c.ID]) || c.Free != m.slots[c.ID]-c.InFlight {
			m.t.Fatalf("%+v, but it has %d", c, len(m.has[c.ID]))
		}
	}
	if m.settings.Strategy != competing.Pinned && free > 0 && s.Waiting+s.Again > 0 {
		m.t.Fatalf("%d slots are free while %d messages wait", free, s.Waiting+s.Again)
	}
}

// checkDuplicates takes note of messages that the group gave up: another one
// with their id must be in flight.
func (m *model) checkDuplicates() {
	for _, msg := range m.all {
		if m.finished[msg] || !msg.Finished() {
			continue
		}
		twin := false
		for _, has := range m.has {
			for other := range has {
				twin = twin || other.ID == msg.ID
			}
		}
		for other, parking := range m.parking {
			twin = twin || parking && other.ID == msg.ID
		}
		if !twin {
			m.t.Fatalf("%v was given up", msg.Place)
		}
		m.finished[msg] = true
	}
}

// checkBelow: everything up to place is finished, and place is progress.
func (m *model) checkBelow(what string, place, before competing.Place, replayed bool) {
	if place <= before {
		m.t.Fatalf("%s %v after %v", what, place, before)
	}
	for _, msg := range m.all {
		if msg.Replayed == replayed && msg.Place <= place && !m.finished[msg] {
			m.t.Fatalf("%s %v passes %v, which is not finished", what, place, msg.Place)
		}
	}
}

// anyConsumer is 0 when there is none.
func (m *model) anyConsumer() competing.ConsumerID {
	var ids []competing.ConsumerID
	for c := competing.ConsumerID(1); c <= m.nextID; c++ {
		if m.has[c] != nil {
			ids = append(ids, c)
		}
	}
	if len(ids) == 0 {
		return 0
	}
	return rapid.SampledFrom(ids).Draw(m.t, "consumer")
}

// flying is a message that somebody has and that is not being parked; nil when
// there is none.
func (m *model) flying() *competing.Message {
	var out []*competing.Message
	for _, msg := range m.all {
		for _, has := range m.has {
			if has[msg] && !m.parking[msg] {
				out = append(out, msg)
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return rapid.SampledFrom(out).Draw(m.t, "message")
}

func (m *model) join(slots int) error {
	m.nextID++
	err := m.group.Join(m.nextID, slots)
	if full := m.settings.MaxConsumers > 0 && len(m.has) >= m.settings.MaxConsumers; full != (err != nil) {
		m.t.Fatalf("%d consumers of %d: %v", len(m.has), m.settings.MaxConsumers, err)
	}
	if err == nil {
		m.slots[m.nextID], m.has[m.nextID] = slots, map[*competing.Message]bool{}
	}
	m.step()
	return err
}

func (m *model) leave(c competing.ConsumerID) {
	delete(m.has, c)
	m.group.Leave(c)
	m.step()
}

func (m *model) arrive() {
	for n := rapid.IntRange(1, 6).Draw(m.t, "arrive"); n > 0 && m.group.Room() > 0; n-- {
		m.place++
		m.group.Arrived(m.message(m.place, false))
	}
	m.step()
}

func (m *model) pass() {
	n := rapid.IntRange(1, 9).Draw(m.t, "pass")
	m.place += competing.Place(n)
	m.group.Passed(m.place, n)
	m.step()
}

func (m *model) replay() {
	for n := rapid.IntRange(1, 3).Draw(m.t, "replay"); n > 0 && m.group.ReplayRoom() > 0; n-- {
		m.parked++
		msg := m.message(m.parked, true)
		m.group.Replay(msg)
	}
	m.step()
}

func (m *model) ack() {
	msg := m.flying()
	if msg == nil {
		return
	}
	m.finished[msg] = true
	m.group.Ack(m.now, msg.ID)
	m.step()
}

func (m *model) nack() {
	msg := m.flying()
	if msg == nil {
		return
	}
	action := rapid.SampledFrom([]competing.Action{competing.ActionRetry, competing.ActionPark, competing.ActionSkip}).Draw(m.t, "action")
	if action == competing.ActionSkip {
		m.finished[msg] = true
	}
	m.group.Nack(action, "why", msg.ID)
	m.step()
}

func (m *model) tick() {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 3).Draw(m.t, "seconds")) * time.Second)
	m.group.Tick(m.now)
	m.step()
}

// historiesVariable says how many histories TestModel tries.
const historiesVariable = "DOCKET_GROUP_HISTORIES"

// TestModel: whatever consumers, clock and store do, in whatever order, no
// message is lost, none is sent after it was finished, slots hold, and no
// checkpoint is too early. In the end everything can be finished.
func TestModel(t *testing.T) {
	n, messages := 200, 0
	if text := os.Getenv(historiesVariable); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", historiesVariable, err)
		}
	}
	checks := flag.Lookup("rapid.checks")
	if given := checks.Value.String(); given == checks.DefValue {
		if err := checks.Value.Set(strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { t.Logf("%s histories, %d messages", checks.Value, messages) }()
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":       func(*rapid.T) {},
			"arrive": func(*rapid.T) { m.arrive() },
			"pass":   func(*rapid.T) { m.pass() },
			"replay": func(*rapid.T) { m.replay() },
			"join":   func(rt *rapid.T) { m.join(rapid.IntRange(1, 5).Draw(rt, "slots")) },
			"leave": func(*rapid.T) {
				if c := m.anyConsumer(); c != 0 {
					m.leave(c)
				}
			},
			"ack":  func(*rapid.T) { m.ack() },
			"nack": func(*rapid.T) { m.nack() },
			"tick": func(*rapid.T) { m.tick() },
		})
		for c := range m.has {
			m.leave(c)
		}
		if err := m.join(1000); err != nil {
			rt.Fatal(err)
		}
		for range 1000 {
			s := m.group.Status()
			if s.Waiting+s.Again+s.InFlight == 0 {
				break
			}
			for _, msg := range m.all {
				if m.has[m.nextID][msg] && !m.parking[msg] {
					m.finished[msg] = true
					m.group.Ack(m.now, msg.ID)
				}
			}
			m.step()
			m.group.Tick(m.now)
			m.step()
		}
		for _, msg := range m.all {
			if !m.finished[msg] {
				rt.Fatalf("%v was lost", msg.Place)
			}
		}
		messages += len(m.all)
	})
}
