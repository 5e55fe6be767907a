// Package competing decides what a group of competing consumers does: which
// message goes to whom, what is sent again, parked or given up, and up to where
// everything is finished.
//
// It is a state machine without goroutines, clock, store or network: what
// happened goes in (Join, Arrived, Ack, Tick, ...), and Step tells what to do
// about it. It promises that
//   - every message that arrived is sent until it is acknowledged, skipped or
//     parked, and never again after that;
//   - a consumer has at most as many messages in flight as it has slots;
//   - what is sent again goes before what is new, in the order of the source,
//     and what is replayed stands between them;
//   - a checkpoint never passes a message that is not finished.
//
// Only the package groups calls it, one goroutine per group.
package competing

import (
	"container/heap"
	"container/list"
	"errors"
	"time"
)

// ID is what consumers acknowledge a message by.
type ID [16]byte

// Place orders the records of a source; 0 is before every record.
type Place uint64

// ConsumerID names a consumer. The caller gives it, and never the same twice.
type ConsumerID uint64

// Message is a record on its way to a consumer. The caller fills the upper
// part, and leaves it alone afterwards, except for Event.
type Message struct {
	ID    ID
	Place Place
	// Replayed: the record was parked before, and Place is one of the parked
	// records.
	Replayed bool
	Bucket   uint16 // below Buckets, for the pinned strategies
	Size     int    // bytes that it holds while it waits
	Event    any    // the caller's; not looked at here

	// Retries is how often it was sent before.
	Retries int

	state    state
	consumer *consumer // in flight, and parking unless it has left
	sent     time.Time
	reason   string // why it is parked
	previous Place  // up to where was examined before it
	ordinal  uint64 // how many records were examined, this one included
	element  *list.Element
}

// state of a message.
type state uint8

const (
	waiting  state = iota // in the queue, or to be sent again
	inFlight              // a consumer has it
	parking               // it is being written to the parked ones
	finished
)

// Settings of a group.
type Settings struct {
	Strategy        Strategy
	MaxConsumers    int // 0: no limit
	MaxRetries      int
	MessageTimeout  time.Duration // looked at by Tick only
	MinCheckpoint   int           // records
	MaxCheckpoint   int           // records
	CheckpointAfter time.Duration // 0: never by time
	Buffer          int           // messages that wait to be sent for the first time
	ReplayBuffer    int           // replayed ones that wait
	Latencies       bool          // remember how long consumers take
}

// maxWaitingBytes bounds what waits to be sent for the first time, and what
// waits to be replayed: above it nothing more is asked for.
const maxWaitingBytes = 4 << 20

// MaxOutstanding bounds the messages that all consumers of a group have together,
// and those that are being parked: more wait until some are finished.
const MaxOutstanding = 100_000

// ErrFull: the group has as many consumers as it may.
var ErrFull = errors.New("the group has as many consumers as it may")

// Group is the state of a group. It is used by one goroutine.
type Group struct {
	settings  Settings
	consumers []*consumer // in order of joining
	turn      int         // of RoundRobin
	owners    [Buckets]*consumer

	queue       []*Message // never sent, in order
	queueBytes  int
	again       again // to be sent again, or replayed
	outstanding map[ID]*Message

	source, parked track
	replayBytes    int

	checkpoint Place  // the one stored
	marked     uint64 // records of the source that it covers
	markedAt   time.Time
	marking    uint64 // those that the one being written covers; 0: none is
	dueByTime  bool
	progress   bool // a message was finished since the last checkpoint

	truncated  Place // parked records below are gone
	truncating bool

	failed []*Message // could not be parked; tried again at the next tick
	total  int64
	work   Work
}

// track is how far one source was examined, and what of it is not finished.
type track struct {
	examined   Place
	seen       uint64
	unfinished *list.List // of *Message, in order
}

func (t *track) add(m *Message) {
	t.seen++
	m.previous, m.ordinal = t.examined, t.seen
	t.examined = m.Place
	m.element = t.unfinished.PushBack(m)
}

// settled is the place up to which all is finished, and how many records
// that are.
func (t *track) settled() (Place, uint64) {
	if front := t.unfinished.Front(); front != nil {
		m := front.Value.(*Message)
		return m.previous, m.ordinal - 1
	}
	return t.examined, t.seen
}

// New is a group of which everything up to and including at is finished, and
// whose parked records up to and including parked are gone. checkpoint is the
// one stored, 0 for none.
func New(s Settings, at, checkpoint, parked Place, now time.Time) *Group {
	return &Group{
		settings: s, outstanding: map[ID]*Message{}, checkpoint: checkpoint, markedAt: now, truncated: parked,
		source: track{examined: at, unfinished: list.New()},
		parked: track{examined: parked, unfinished: list.New()},
	}
}

// Work is what is to be done, in this order. Its slices are valid until the
// next Step.
type Work struct {
	// Revoked left the flight: what of them was not sent yet need not be.
	Revoked []Push
	Pushes  []Push
	Parks   []Park // answer each with Parked
	// Checkpoint is the place to remember; 0: none. Answer with Checkpointed.
	Checkpoint Place
	// Truncate says that the parked records up to and including this place are
	// not needed any more; 0: nothing. Answer with Truncated.
	Truncate Place
}

// Push sends a message to a consumer.
type Push struct {
	To      ConsumerID
	Message *Message
}

// Park writes a message to the parked ones.
type Park struct {
	Message *Message
	Reason  string
}

// Join adds a consumer that takes slots messages at a time.
func (g *Group) Join(id ConsumerID, slots int) error {
	if g.settings.MaxConsumers > 0 && len(g.consumers) >= g.settings.MaxConsumers {
		return ErrFull
	}
	g.consumers = append(g.consumers, &consumer{id: id, slots: slots, flight: map[ID]*Message{}})
	g.balance()
	return nil
}

// Leave removes a consumer; what it had in flight is sent to others, however
// often it was sent before.
func (g *Group) Leave(id ConsumerID) {
	for i, c := range g.consumers {
		if c.id != id {
			continue
		}
		g.consumers = append(g.consumers[:i:i], g.consumers[i+1:]...)
		g.balance()
		for _, m := range c.flight {
			if m.state == parking {
				m.consumer = nil
				continue
			}
			g.retry(m)
		}
		return
	}
}

// Room is how many messages may be asked of the source; none while what waits
// is large.
func (g *Group) Room() int {
	if g.queueBytes >= maxWaitingBytes {
		return 0
	}
	return max(0, g.settings.Buffer-len(g.queue))
}

// Arrived takes the next message of the source.
func (g *Group) Arrived(m *Message) {
	g.source.add(m)
	g.queue = append(g.queue, m)
	g.queueBytes += m.Size
}

// Passed says that the source was examined up to place, and that count records
// on the way are not for this group.
func (g *Group) Passed(place Place, count int) {
	g.source.examined = max(g.source.examined, place)
	g.source.seen += uint64(count)
}

// ReplayRoom is how many parked messages may be asked for.
func (g *Group) ReplayRoom() int {
	if g.replayBytes >= maxWaitingBytes {
		return 0
	}
	return max(0, g.settings.ReplayBuffer-g.again.replayed)
}

// Replay takes the next parked message.
func (g *Group) Replay(m *Message) {
	m.Replayed = true
	g.parked.add(m)
	g.sendAgain(m)
}

// ReplayPassed says that the parked records were read up to place.
func (g *Group) ReplayPassed(place Place) {
	g.parked.examined = max(g.parked.examined, place)
}

// Ack finishes messages that are in flight; other ids are ignored.
func (g *Group) Ack(now time.Time, ids ...ID) {
	for _, id := range ids {
		if m := g.flying(id); m != nil {
			if g.settings.Latencies {
				m.consumer.latencies.add(now.Sub(m.sent))
			}
			g.finish(m)
		}
	}
}

// Action is what is to become of a message that a consumer does not take.
type Action uint8

const (
	ActionRetry Action = iota // send it again, or park it when that was done often enough
	ActionPark
	ActionSkip // finished, as by an Ack
)

// Nack says what is to become of messages in flight; other ids are ignored.
func (g *Group) Nack(action Action, reason string, ids ...ID) {
	for _, id := range ids {
		m := g.flying(id)
		if m == nil {
			continue
		}
		switch action {
		case ActionRetry:
			g.retryOrPark(m)
		case ActionPark:
			g.park(m, reason)
		case ActionSkip:
			g.finish(m)
		}
	}
}

func (g *Group) flying(id ID) *Message {
	if m := g.outstanding[id]; m != nil && m.state == inFlight {
		return m
	}
	return nil
}

// Parked says whether a message of Work.Parks was written; if not, it will be
// in the Work after the next Tick again.
func (g *Group) Parked(m *Message, written bool) {
	if !written {
		g.failed = append(g.failed, m)
		return
	}
	g.finish(m)
}

// Tick sends again what consumers have had for too long, and decides whether
// time has come for a checkpoint.
func (g *Group) Tick(now time.Time) {
	for _, t := range []*track{&g.source, &g.parked} {
		for e := t.unfinished.Front(); e != nil; e = e.Next() {
			if m := e.Value.(*Message); m.state == inFlight && !now.Before(m.sent.Add(g.settings.MessageTimeout)) {
				g.retryOrPark(m)
			}
		}
	}
	for _, m := range g.failed {
		g.work.Parks = append(g.work.Parks, Park{m, m.reason})
	}
	g.failed = nil
	_, count := g.source.settled()
	after := g.settings.CheckpointAfter
	g.dueByTime = after > 0 && now.Sub(g.markedAt) >= after && count-g.marked >= uint64(max(1, g.settings.MinCheckpoint))
	g.truncate()
}

func (g *Group) retryOrPark(m *Message) {
	if m.Retries >= g.settings.MaxRetries {
		g.park(m, reachedRetries(g.settings.MaxRetries))
		return
	}
	g.retry(m)
}

func (g *Group) retry(m *Message) {
	g.release(m)
	m.Retries++
	g.sendAgain(m)
}

func (g *Group) sendAgain(m *Message) {
	m.state = waiting
	heap.Push(&g.again, m)
	if m.Replayed {
		g.replayBytes += m.Size
	}
}

// park keeps the message in its consumer's flight until it is written.
func (g *Group) park(m *Message, reason string) {
	m.state, m.reason = parking, reason
	g.work.Parks = append(g.work.Parks, Park{m, reason})
}

func (g *Group) finish(m *Message) {
	g.release(m)
	m.state = finished
	if m.Replayed {
		g.parked.unfinished.Remove(m.element)
		return
	}
	g.source.unfinished.Remove(m.element)
	g.progress = true
}

// release takes a message out of the flight.
func (g *Group) release(m *Message) {
	if m.state == waiting {
		return
	}
	delete(g.outstanding, m.ID)
	if c := m.consumer; c != nil {
		delete(c.flight, m.ID)
		g.work.Revoked = append(g.work.Revoked, Push{c.id, m})
	}
	m.consumer = nil
}

// Step sends what can be sent now, and answers all that is to be done.
func (g *Group) Step(now time.Time) Work {
	g.push(now)
	place, count := g.source.settled()
	due := g.dueByTime || count-g.marked >= uint64(max(1, g.settings.MaxCheckpoint))
	if due && g.marking == 0 && place > g.checkpoint {
		g.work.Checkpoint, g.marking, g.progress = place, count, false
	}
	g.dueByTime = false
	if g.parked.unfinished.Len() == 0 {
		g.truncate()
	}
	work := g.work
	g.work = Work{}
	return work
}

func (g *Group) truncate() {
	if place, _ := g.parked.settled(); place > g.truncated && !g.truncating {
		g.truncating, g.work.Truncate = true, place
	}
}

// Checkpointed says whether Work.Checkpoint was written; if not, it is tried
// again when the next one is due.
func (g *Group) Checkpointed(place Place, written bool, now time.Time) {
	if written {
		g.checkpoint, g.marked, g.markedAt = place, g.marking, now
	} else {
		g.progress = true
	}
	g.marking = 0
}

// Truncated says whether Work.Truncate was written.
func (g *Group) Truncated(place Place, written bool) {
	g.truncating = false
	if written {
		g.truncated = place
	}
}

// Last is the checkpoint to write when the group ends; 0: none. What consumers
// did not get yet is no progress: a group without any begins where its
// definition says.
func (g *Group) Last() Place {
	if place, _ := g.source.settled(); g.progress && place > g.checkpoint {
		return place
	}
	return 0
}
