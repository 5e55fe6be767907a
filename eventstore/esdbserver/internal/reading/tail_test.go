package reading

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/eventstoretest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// tailed is a store whose subscriptions are those of a tail.
type tailed struct {
	*sqlite.Store
	tail *tail
}

func (s tailed) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	c, err := s.tail.follow(ctx, from, filter)
	if err != nil {
		return nil, err
	}
	return &subscription{cursor: c, filter: filter, told: from}, nil
}

// subscription is a cursor with the notices of the port.
type subscription struct {
	*cursor
	filter   eventstore.Filter
	passed   int
	told     eventstore.Position
	caughtUp bool // to be told
}

func (s *subscription) Next(ctx context.Context) (eventstore.Notice, error) {
	for {
		switch {
		case s.told.Before(s.at) && (s.caughtUp || s.passed >= 100):
			s.passed, s.told = 0, s.at
			return eventstore.Notice{Kind: eventstore.Checkpoint, Position: s.told}, nil
		case s.caughtUp:
			s.caughtUp = false
			return eventstore.Notice{Kind: eventstore.CaughtUp, Position: s.told}, nil
		}
		e, err := s.next(ctx)
		switch {
		case err != nil:
			return eventstore.Notice{}, err
		case e == nil:
			s.caughtUp = true
		case s.filter.Matches(e.record.Stream):
			s.passed, s.told = 0, e.record.Position
			return eventstore.Notice{Kind: eventstore.Delivered, Record: e.record, Position: e.record.Position}, nil
		default:
			s.passed++
		}
	}
}

func (s *subscription) Close() error { return s.close() }

func openTailed(t testing.TB, dir string, records int) tailed {
	t.Helper()
	store, err := sqlite.Open(t.Context(), dir, sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tail := newTail(store)
	tail.records = records
	t.Cleanup(func() {
		tail.close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return tailed{store, tail}
}

// TestTheTailIsASubscriptionOfThePort, with a ring that everybody falls out of
// now and then.
func TestTheTailIsASubscriptionOfThePort(t *testing.T) {
	eventstoretest.Run(t, func(t *testing.T, dir string) eventstore.Store { return openTailed(t, dir, 5) })
}

// TestFollowersOfAllSpeedsSeeTheSame: while others write, followers that begin
// anywhere, leave and come again get every record once and in order.
func TestFollowersOfAllSpeedsSeeTheSame(t *testing.T) {
	const events, writers, followers = 3000, 3, 12
	s := openTailed(t, t.TempDir(), 64)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := 0; i < events/writers; i++ {
				_, err := s.Append(t.Context(), fmt.Sprint("s", w), eventstore.Any, []eventstore.Event{{ID: uuid.New(), Type: "T"}})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for f := range followers {
		all.Go(func() {
			at := eventstore.Start
			for at.Commit < events {
				// Each leaves after another number of notices, and goes on there.
				sub, err := s.Subscribe(t.Context(), at, eventstore.Filter{})
				if err != nil {
					t.Error(err)
					return
				}
				for n := 0; n < 50+97*f && at.Commit < events; n++ {
					notice, err := sub.Next(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if notice.Kind == eventstore.Delivered && notice.Position.Commit != at.Commit+1 {
						t.Errorf("follower %d: %v after %v", f, notice.Position, at)
						return
					}
					at = notice.Position
				}
				if err := sub.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if s.tail.run != nil {
		t.Error("the tail reads on though nobody follows")
	}
}

// TestCaughtUpComesAfterWhatWasThere: the ring may not have yet what the store
// has acknowledged.
func TestCaughtUpComesAfterWhatWasThere(t *testing.T) {
	s := openTailed(t, t.TempDir(), ringRecords)
	// Somebody keeps the ring going.
	other, err := s.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for range 300 {
		before, err := s.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Append(t.Context(), "s", eventstore.Any, []eventstore.Event{{ID: uuid.New(), Type: "T"}})
		if err != nil {
			t.Fatal(err)
		}
		sub, err := s.Subscribe(t.Context(), before, eventstore.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		n, err := sub.Next(t.Context())
		if err != nil || n.Kind != eventstore.Delivered || n.Position != out.Position {
			t.Fatal(n, err)
		}
		if n, err = sub.Next(t.Context()); err != nil || n.Kind != eventstore.CaughtUp {
			t.Fatal(n, err)
		}
		if err := sub.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
