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
	m, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	next := sort.Search(len(m.records), func(i int) bool { return from.Before(m.records[i].Position) })
	return &referenceSubscription{store: r, filter: filter, next: next, examined: from, told: from}, nil
}

type referenceSubscription struct {
	store          *Reference
	filter         eventstore.Filter
	next           int // index of the record that the line delivers next
	examined, told eventstore.Position
	foreign        int
	caughtUp       bool
	broken         error
}

func (s *referenceSubscription) Next(ctx context.Context) (eventstore.Notice, error) {
	for {
		m, err := s.store.enter(ctx)
		if err == nil && s.broken != nil {
			m.mu.Unlock()
			err = s.broken
		}
		if err != nil {
			return eventstore.Notice{}, err
		}
		notice, ok := s.poll(m)
		if ok && m.rng.IntN(brokenNotices) == 0 {
			s.broken = errors.New("the subscription was dropped")
		}
		grown := m.grown
		m.mu.Unlock()
		if s.broken != nil {
			continue
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
		if s.filter.Matches(rec.Stream) {
			s.told, s.foreign = rec.Position, 0
			return eventstore.Notice{Kind: eventstore.Delivered, Record: rec, Position: rec.Position}, true
		}
		if s.foreign++; s.foreign == checkpointInterval {
			s.told, s.foreign = rec.Position, 0
			return eventstore.Notice{Kind: eventstore.Checkpoint, Position: rec.Position}, true
		}
	}
	if !s.caughtUp {
		s.caughtUp = true
		return eventstore.Notice{Kind: eventstore.CaughtUp, Position: s.told}, true
	}
	return eventstore.Notice{}, false
}

func (s *referenceSubscription) Close() error {
	s.broken = errors.New("the subscription is closed")
	return nil
}
