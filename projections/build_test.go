package projections

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/spill"
	"github.com/docket-orders/docket/view"
	"github.com/google/uuid"
)

// builtLog is a log of notes on orders.
type builtLog struct {
	eventstore.Store
	records []eventstore.Record
}

func (l *builtLog) add(id string, revision int, text string) {
	typ, data, err := codec.Encode(order.NoteAdded{NoteID: fmt.Sprint(revision), Text: text, At: time.Unix(1, 0)})
	if err != nil {
		panic(err)
	}
	l.records = append(l.records, eventstore.Record{
		Event:  eventstore.Event{ID: uuid.New(), Type: typ, JSON: true, Data: data, Metadata: codec.EncodeMeta(codec.Meta{Version: 1, RecordedAt: time.Unix(1, 0)})},
		Stream: "order-" + id, Revision: eventstore.Revision(revision), Position: eventstore.At64(uint64(len(l.records) + 1)),
	})
}

func (l *builtLog) Head(context.Context) (eventstore.Position, error) {
	return l.records[len(l.records)-1].Position, nil
}

func (l *builtLog) ReadAll(context.Context, eventstore.Position, eventstore.Direction, eventstore.Filter, int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		for _, r := range l.records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// builtSink counts what is written, and holds each lane to its promise: it moves
// when all its orders are there.
type builtSink struct {
	Sink
	t      *testing.T
	orders map[int]int // there are, by lane
	before func(documents int) error

	mu      sync.Mutex
	written map[string]int64 // revision by order
	count   int              // documents
	lanes   [Lanes]Checkpoint
	lost    map[int]bool
}

func (s *builtSink) Write(_ context.Context, b Batch) ([]Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range b.Checkpoints {
		if s.lost[c.Lane] {
			return nil, ErrLaneLost
		}
	}
	if s.before != nil {
		if err := s.before(s.count); err != nil {
			return nil, err
		}
	}
	for _, c := range b.Changes {
		s.written[c.Order.ID] = c.Order.Revision
		s.count++
	}
	for _, c := range b.Checkpoints {
		have := 0
		for id := range s.written {
			if LaneOf(id) == c.Lane {
				have++
			}
		}
		if have != s.orders[c.Lane] {
			s.t.Errorf("lane %d moved with %d of %d orders", c.Lane, have, s.orders[c.Lane])
		}
		if (c.EventID == uuid.Nil) != (have == 0) {
			s.t.Errorf("lane %d of %d orders moved to event %v", c.Lane, have, c.EventID)
		}
		s.lanes[c.Lane] = c
	}
	return make([]Outcome, len(b.Changes)), nil
}

func (s *builtSink) Beat(_ context.Context, lanes []Checkpoint) (lost []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range lanes {
		if s.lost[c.Lane] {
			lost = append(lost, c.Lane)
		}
	}
	return lost, nil
}

func (s *builtSink) moved() (n int) {
	for _, c := range s.lanes {
		if c.Position != eventstore.Start {
			n++
		}
	}
	return n
}

// builtWorld is a log of these orders, with two notes each that stand far apart,
// and an empty sink for it.
func builtWorld(t *testing.T, ids []string, text string) (*builtLog, *builtSink) {
	log := &builtLog{}
	s := &builtSink{t: t, orders: map[int]int{}, written: map[string]int64{}, lost: map[int]bool{}}
	for revision := range 2 {
		for _, id := range ids {
			log.add(id, revision, text)
		}
	}
	for _, id := range ids {
		s.orders[LaneOf(id)]++
	}
	for lane := range s.lanes {
		s.lanes[lane].Lane = lane
	}
	return log, s
}

// fill builds what is left, as a process does that has just claimed all lanes.
func (s *builtSink) fill(ctx context.Context, log *builtLog, share float64, claimed func(int) (Checkpoint, bool)) (last Progress, err error) {
	note := func(doc view.Order, e codec.Recorded) view.Order {
		return view.Order{ID: e.OrderID, Revision: int64(e.Revision)}
	}
	a := &applier{
		sink: s, store: log, logger: slog.New(slog.DiscardHandler), parked: map[string]Parked{}, claimed: claimed,
		folding: Fold{Apply: note, Contributions: func(view.Order) Contribution { return Contribution{} }, Words: func(view.Order) string { return "" }},
	}
	s.mu.Lock()
	lanes := slices.Clone(s.lanes[:])
	s.mu.Unlock()
	err = build(ctx, a, plan{
		lanes: lanes, log: eventstore.LogIdentity{Epoch: 1}, place: spill.Place{Disk: disk.OS(), Dir: s.t.TempDir()},
		share: share, report: func(p Progress) { last = p },
	})
	for _, c := range lanes {
		if c.Position != s.lanes[c.Lane].Position {
			s.t.Errorf("lane %d is said to stand at %v, and does at %v", c.Lane, c.Position, s.lanes[c.Lane].Position)
		}
	}
	return last, err
}

func ordersNamed(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint("o", i))
	}
	return ids
}

// TestBuildGoesOn: what is killed in the middle of a build goes on with the lanes
// that are left, and writes no document of the others again.
func TestBuildGoesOn(t *testing.T) {
	const orders = 6000
	log, s := builtWorld(t, ordersNamed(orders), "short")
	killed := errors.New("killed")
	ctx, kill := context.WithCancelCause(t.Context())
	defer kill(nil)
	s.before = func(documents int) error {
		if documents >= orders/2 {
			kill(killed)
			return killed
		}
		return nil
	}
	if _, err := s.fill(ctx, log, 0.99, nil); err == nil {
		t.Fatal("it was not killed")
	}
	s.before = nil
	moved, first := s.moved(), s.count
	if moved == 0 || moved == Lanes || first < orders/2 {
		t.Fatalf("%d lanes moved with %d documents", moved, first)
	}
	in := 0 // orders of lanes that had moved
	for lane, c := range s.lanes {
		if c.Position != eventstore.Start {
			in += s.orders[lane]
		}
	}
	last, err := s.fill(t.Context(), log, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if again := s.count - first; again != orders-in {
		t.Errorf("%d documents were written by who went on, want %d", again, orders-in)
	}
	if s.moved() != Lanes || len(s.written) != orders {
		t.Errorf("%d lanes at the head, %d orders", s.moved(), len(s.written))
	}
	if last.Total != int64(orders-in) || last.Orders != last.Total || last.Phase != "folding" || last.ETAMs != 0 {
		t.Errorf("progress at the end: %+v", last)
	}
	for id, revision := range s.written {
		if revision != 1 {
			t.Fatalf("order %s at revision %d", id, revision)
		}
	}
}

// TestBuildOfOneHugeLane: a lane that is larger than what is held at once is
// dealt out deeper, and moves with the last of it; each document is written once.
func TestBuildOfOneHugeLane(t *testing.T) {
	var ids []string
	for i := 0; len(ids) < 200; i++ {
		if id := fmt.Sprint("o", i); LaneOf(id) == 7 {
			ids = append(ids, id)
		}
	}
	ids = append(ids, "another")
	log, s := builtWorld(t, ids, strings.Repeat("long ", 12<<10))
	writes := 0
	s.before = func(int) error { writes++; return nil }
	if _, err := s.fill(t.Context(), log, 0, nil); err != nil {
		t.Fatal(err)
	}
	if s.count != len(ids) || s.moved() != Lanes || writes < 3 {
		t.Errorf("%d documents of %d orders in %d writes, %d lanes moved", s.count, len(ids), writes, s.moved())
	}
}

// TestBuildWithoutALaneThatIsLost: a lane that another process takes meanwhile is
// left to it, and the others are built.
func TestBuildWithoutALaneThatIsLost(t *testing.T) {
	log, s := builtWorld(t, ordersNamed(3000), "short")
	s.lost[5] = true // and the builder does not know yet
	claimed := func(lane int) (Checkpoint, bool) { return Checkpoint{Lane: lane}, true }
	if _, err := s.fill(t.Context(), log, 0, claimed); err != nil {
		t.Fatal(err)
	}
	if s.moved() != Lanes-1 || s.lanes[5].Position != eventstore.Start {
		t.Errorf("%d lanes moved, the lost one to %v", s.moved(), s.lanes[5].Position)
	}
	if s.count > 3000 {
		t.Errorf("%d documents were written of 3000 orders", s.count)
	}
}

// TestMeter: a rate follows what happens now, and says what is left.
func TestMeter(t *testing.T) {
	var m meter
	now := time.Unix(0, 0)
	m.begin(now)
	if r := m.rate(now, 0); r != 0 || left(0, r, 0) != 0 {
		t.Errorf("before anything: %v", r)
	}
	done := int64(0)
	for range 30 {
		now, done = now.Add(time.Second), done+100
		m.rate(now, done)
	}
	if r := m.rate(now, done); r != 100 || left(0.5, r, done) != 30*time.Second {
		t.Errorf("steady: %v in a second, %v left", r, left(0.5, r, done))
	}
	for range 15 {
		now, done = now.Add(time.Second), done+10
		m.rate(now, done)
	}
	if r := m.rate(now, done); r != 10 {
		t.Errorf("slower: %v in a second", r)
	}
}
