package eventstoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/docket-orders/docket/eventstore"
)

// follower reads a subscription as a projection does: it subscribes again
// where it was whenever the subscription breaks, and checks each notice.
type follower struct {
	t      *testing.T
	e      *env
	filter eventstore.Filter
	sub    eventstore.Subscription
	at     eventstore.Position
	// delivered is the position of the last record.
	delivered eventstore.Position
	resumed   int
}

func (e *env) follow(t *testing.T, from eventstore.Position, filter eventstore.Filter) *follower {
	f := &follower{t: t, e: e, filter: filter, at: from}
	t.Cleanup(func() {
		if f.sub != nil {
			f.sub.Close()
		}
	})
	return f
}

func (f *follower) next() eventstore.Notice {
	f.t.Helper()
	for {
		if f.sub == nil {
			var err error
			if f.sub, err = f.e.store.Subscribe(f.e.ctx, f.at, f.filter); err != nil {
				f.t.Fatalf("subscribe from %s: %v", f.at, err)
			}
		}
		n, err := f.sub.Next(f.e.ctx)
		if f.e.ctx.Err() != nil {
			f.t.Fatalf("no notice after %s: %v", f.at, f.e.ctx.Err())
		}
		if err == nil {
			f.check(n)
			return n
		}
		f.sub.Close()
		f.sub = nil
		f.resumed++
	}
}

func (f *follower) check(n eventstore.Notice) {
	f.t.Helper()
	switch n.Kind {
	case eventstore.Delivered:
		if n.Position != n.Record.Position || !f.filter.Matches(n.Record.Stream) {
			f.t.Fatalf("notice at %s of a record at %s of %s", n.Position, n.Record.Position, n.Record.Stream)
		}
		f.delivered = n.Position
	case eventstore.Checkpoint:
		if head := f.e.head(f.t); head.Before(n.Position) {
			f.t.Fatalf("checkpoint at %s, the log ends at %s", n.Position, head)
		}
	case eventstore.CaughtUp:
		if n.Position != f.at {
			f.t.Fatalf("caught up at %s, the last notice was at %s", n.Position, f.at)
		}
		return
	}
	if !f.at.Before(n.Position) {
		f.t.Fatalf("notice at %s after one at %s", n.Position, f.at)
	}
	f.at = n.Position
}

// record skips marks.
func (f *follower) record() eventstore.Record {
	f.t.Helper()
	for {
		if n := f.next(); n.Kind == eventstore.Delivered {
			return n.Record
		}
	}
}

// untilCaughtUp collects records up to the first caught-up notice.
func (f *follower) untilCaughtUp() (out []eventstore.Record) {
	f.t.Helper()
	for {
		switch n := f.next(); n.Kind {
		case eventstore.Delivered:
			out = append(out, n.Record)
		case eventstore.CaughtUp:
			return out
		}
	}
}

func testSubscribe(t *testing.T, e *env) {
	s := e.stream("followed")
	e.fill(t, s, 700)
	e.fill(t, e.stream("other"), 3)
	want := e.readAll(t, eventstore.Start, eventstore.Forwards, 0)
	// From the start of the log, through caught-up, to live.
	f := e.follow(t, eventstore.Start, e.mine())
	if got := f.untilCaughtUp(); !slices.Equal(positions(got), positions(want)) {
		t.Fatalf("%d records until caught up, want %d", len(got), len(want))
	}
	for i := range 20 {
		out := e.write(t, s, eventstore.Expected(699+i), e.event(fmt.Sprint("live", i)))
		if rec := f.record(); rec.Position != out.Position || rec.ID != e.event(fmt.Sprint("live", i)).ID || rec.Stream != s {
			t.Fatalf("live: got %s of %s, want %s", rec.Position, rec.Stream, out.Position)
		}
	}
	// Strictly after a position.
	f = e.follow(t, want[300].Position, e.mine())
	if got := f.untilCaughtUp(); len(got) != len(want)-301+20 || got[0].Position != want[301].Position {
		t.Errorf("%d records after the 301st of %d", len(got), len(want))
	}
	// Only prefixes.
	f = e.follow(t, eventstore.Start, eventstore.Filter{Prefixes: []string{e.stream("other")}})
	if got := f.untilCaughtUp(); len(got) != 3 {
		t.Errorf("%d records of the other stream, want 3", len(got))
	}
	// Without a filter everything comes.
	f = e.follow(t, want[0].Position, eventstore.Filter{})
	mine := 0
	for _, rec := range f.untilCaughtUp() {
		if e.mine().Matches(rec.Stream) {
			mine++
		}
	}
	if mine != len(want)-1+20 {
		t.Errorf("%d of this case's records without a filter, want %d", mine, len(want)-1+20)
	}
}

// testSubscribeResumes: a subscription per record, each from the last notice,
// sees what one subscription sees.
func testSubscribeResumes(t *testing.T, e *env) {
	e.fill(t, e.stream("a"), 10)
	e.fill(t, e.stream("b"), 10)
	want := e.readAll(t, eventstore.Start, eventstore.Forwards, 0)
	at := eventstore.Start
	for i, rec := range want {
		f := e.follow(t, at, e.mine())
		if got := f.record(); got.Position != rec.Position {
			t.Fatalf("record %d is at %s, want %s", i, got.Position, rec.Position)
		}
		at = f.at
	}
}

// testSubscribeCheckpoints: a filtered subscription learns how far it is.
func testSubscribeCheckpoints(t *testing.T, e *env) {
	wanted := e.stream("wanted")
	first := e.write(t, wanted, none, e.event("first"))
	foreign := func(round int) (last eventstore.Position) {
		for i := range 25 {
			var batch []eventstore.Event
			for n := range 100 {
				batch = append(batch, e.event(fmt.Sprintf("foreign %d %d %d", round, i, n)))
			}
			out := e.write(t, e.stream(fmt.Sprintf("foreign-%d-%d", round, i)), none, batch...)
			if i == 15 {
				last = out.Position
			}
		}
		return last
	}
	// Of 2,500 foreign records at least 1,500 are behind a checkpoint.
	filter := eventstore.Filter{Prefixes: []string{wanted}}
	most := foreign(1)
	f := e.follow(t, first.Position, filter)
	for f.at.Before(most) {
		if n := f.next(); n.Kind == eventstore.Delivered {
			t.Fatalf("a foreign record was delivered at %s", n.Position)
		}
	}
	// Also live, and never past a match.
	most = foreign(2)
	for f.at.Before(most) {
		f.next()
	}
	second := e.write(t, wanted, 0, e.event("second"))
	for f.delivered != second.Position {
		if f.next(); second.Position.Before(f.at) {
			t.Fatalf("a notice at %s went past the record at %s", f.at, second.Position)
		}
	}
	// Resuming from a checkpoint skips nothing.
	third := e.write(t, wanted, 1, e.event("third"))
	g := e.follow(t, most, filter)
	if rec := g.record(); rec.Position != second.Position {
		t.Errorf("after a checkpoint comes %s, want %s", rec.Position, second.Position)
	}
	if rec := g.record(); rec.Position != third.Position {
		t.Errorf("then comes %s, want %s", rec.Position, third.Position)
	}
}

// testSubscribeIdle: with nothing to deliver a subscription is caught up at
// once, then blocks until its context ends, and is good for what comes later.
func testSubscribeIdle(t *testing.T, e *env) {
	e.fill(t, e.stream("any"), 1)
	f := e.follow(t, e.head(t), e.mine())
	if n := f.next(); n.Kind != eventstore.CaughtUp {
		t.Fatalf("first notice is %+v, want caught up", n)
	}
	ctx, cancel := context.WithCancel(e.ctx)
	done := make(chan error, 1)
	sub, err := e.store.Subscribe(e.ctx, f.at, e.mine())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	go func() {
		var err error
		for err == nil {
			_, err = sub.Next(ctx)
		}
		done <- err
	}()
	cancel()
	if err := <-done; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("next under an ended context: %v", err)
	}
	out := e.write(t, e.stream("any"), 0, e.event("late"))
	if rec := f.record(); rec.Position != out.Position {
		t.Errorf("got %s, want %s", rec.Position, out.Position)
	}
}

// testSubscribeWhileWriting: sixteen writers, and subscribers that began
// before, during and after see every event once, in one order.
func testSubscribeWhileWriting(t *testing.T, e *env) {
	const writers, each = 16, 60
	start := e.head(t)
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			s := e.stream(fmt.Sprintf("w-%d", w))
			for i := range each {
				_, _, err := e.append(s, eventstore.Expected(i-1), []eventstore.Event{e.event(fmt.Sprintf("%d/%d", w, i))})
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	early := e.follow(t, start, e.mine())
	var second *follower
	var seen []eventstore.Position
	next := map[string]eventstore.Revision{}
	for len(seen) < writers*each {
		rec := early.record()
		if rec.Revision != next[rec.Stream] {
			t.Fatalf("%s: revision %d came, want %d", rec.Stream, rec.Revision, next[rec.Stream])
		}
		next[rec.Stream]++
		seen = append(seen, rec.Position)
		if len(seen) == writers*each/2 {
			second = e.follow(t, rec.Position, e.mine())
		}
		if second != nil && len(seen) > writers*each/2 {
			if rec2 := second.record(); rec2.Position != rec.Position {
				t.Fatalf("the second subscriber is at %s, the first at %s", rec2.Position, rec.Position)
			}
		}
	}
	wait.Wait()
	if all := e.readAll(t, start, eventstore.Forwards, 0); !slices.Equal(positions(all), seen) {
		t.Errorf("the subscriber saw %d records in an order that the log does not have (%d)", len(seen), len(all))
	}
	late := e.follow(t, start, e.mine())
	if got := late.untilCaughtUp(); !slices.Equal(positions(got), seen) {
		t.Errorf("a late subscriber saw %d records, want %d", len(got), len(seen))
	}
}
