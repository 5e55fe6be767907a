package eventstoretest

import (
	"context"
	"errors"
	"sort"

	"github.com/docket-orders/docket/eventstore"
)

// Subscribe is fed by a line that delivers some records twice and breaks; the
// repeats stay inside, the break is the caller's to mend.
func (r *Reference) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	return locked(ctx, r, func(m *memory) (eventstore.Subscription, error) {
		next := sort.Search(len(m.records), func(i int) bool { return from.Before(m.records[i].Position) })
		return &referenceSubscription{store: r, filter: filter, next: next, examined: from, told: from}, nil
	})
}

type referenceSubscription struct {
	store          *Reference
	filter         eventstore.Filter
	next           int // index of the record that the line delivers next
	examined, told eventstore.Position
	foreign        int // records since the last notice
	caughtUp       bool
	broken         error
}

func (s *referenceSubscription) Next(ctx context.Context) (notice eventstore.Notice, err error) {
	for {
		var ok bool
		grown, err := locked(ctx, s.store, func(m *memory) (<-chan struct{}, error) {
			if notice, ok = s.poll(m); ok && m.rng.IntN(brokenNotices) == 0 {
				s.broken = errors.New("the subscription was dropped")
			}
			return m.grown, s.broken
		})
		if err != nil {
			return eventstore.Notice{}, err
		}
		if ok {
			return notice, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
		case <-s.store.closed:
		}
	}
}

// poll takes records off the line until one makes a notice.
func (s *referenceSubscription) poll(m *memory) (eventstore.Notice, bool) {
	for s.next < len(m.records) {
		if s.next > 3 && m.rng.IntN(50) == 0 {
			s.next -= 3 // the line repeats itself
		}
		rec := m.records[s.next]
		s.next++
		if !s.examined.Before(rec.Position) {
			continue
		}
		s.examined = rec.Position
		s.foreign++
		if s.filter.Matches(rec.Stream) {
			s.told, s.foreign = rec.Position, 0
			return eventstore.Notice{Kind: eventstore.Delivered, Record: rec, Position: rec.Position}, true
		}
		if s.foreign == checkpointInterval {
			s.told, s.foreign = rec.Position, 0
			return eventstore.Notice{Kind: eventstore.Checkpoint, Position: rec.Position}, true
		}
	}
	first := !s.caughtUp
	s.caughtUp = true
	return eventstore.Notice{Kind: eventstore.CaughtUp, Position: s.told}, first
}

func (s *referenceSubscription) Close() error {
	s.broken = errors.New("the subscription is closed")
	return nil
}
