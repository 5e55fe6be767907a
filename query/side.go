package query

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// Side is one store's live generation, as it answers one kind of question.
type Side[V any] struct {
	// Live is the generation that answers now, and its number; nil before one
	// is open.
	Live     func() (V, int)
	Progress Progress
	// Remote: the store lies behind a network, and may be away.
	Remote bool
}

// Progress is what the service asks the runner of a store; *projections.Manager
// has it.
type Progress interface {
	// Wait returns when the live generation holds the order at revision or
	// later; with projections.ErrParked when it never will.
	Wait(ctx context.Context, orderID string, revision eventstore.Revision) error
	// ParkedOrder tells whether an event of the order could not be applied.
	ParkedOrder(orderID string) (view.Degraded, bool)
	// Lag of the live generation.
	Lag(ctx context.Context) (projections.Lag, error)
	// Incomplete is why the live generation lacks what it should hold, while it
	// is being made again; nil when it lacks nothing but what is new in the log.
	Incomplete() error
}

// SideOf is the side that the store of a manager is. Its sinks must be V.
func SideOf[V any](m *projections.Manager) Side[V] {
	return Side[V]{Progress: m, Remote: m.Lease > 0, Live: func() (none V, _ int) {
		sink, generation := m.Live()
		if sink == nil {
			return none, 0
		}
		return sink.(V), generation
	}}
}

// side is a Side as the service asks it.
type side[V any] struct {
	Side[V]
	store   eventstore.Store
	bounded bool // a look at the lag may hang
	lag     struct {
		sync.Mutex
		projections.Lag
		unknown bool      // at the last look
		until   time.Time // nobody looks before
	}
}

// lagRemembered is for how long one look at the log tells all readers the lag:
// while the views are behind, a look costs more than most questions.
const lagRemembered = 100 * time.Millisecond

// A log behind a network that does not answer keeps no reader of a view: a look
// at it is given up after lagLook, and the next one comes after lagPause.
const (
	lagLook  = 500 * time.Millisecond
	lagPause = 2 * time.Second
)

// ask puts a question to the live generation. A switch may close a generation
// between the choice and the answer; then the question goes to the new one.
// While the store does not answer, or lacks a part of the generation, it fails
// with ErrUnavailable.
func ask[V, T any](s *side[V], question func(V) (T, error)) (answer T, generation int, err error) {
	for range 2 {
		var views V
		if views, generation = s.Live(); any(views) == nil {
			return answer, 0, s.notReady()
		}
		if err := s.Progress.Incomplete(); err != nil {
			return answer, generation, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if answer, err = question(views); errors.Is(err, projections.ErrClosed) {
			continue
		}
		if err == nil {
			err = s.Progress.Incomplete() // it began in the middle of the answer
		} else if !errors.Is(err, projections.ErrUnavailable) && !errors.Is(err, projections.ErrLost) {
			return answer, generation, err
		}
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return answer, generation, err
	}
	// Two switches within one question, or the process is stopping.
	return answer, generation, fmt.Errorf("%w: %w", ErrNotReady, err)
}

// notReady is why there is no live generation: a store that is away when docket
// starts may stay so for long.
func (s *side[V]) notReady() error {
	if !s.Remote {
		return ErrNotReady
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(ErrNotReady, s.Progress.Incomplete()))
}

func (s *side[V]) joinDegraded(doc *view.Order) {
	if d, parked := s.Progress.ParkedOrder(doc.ID); parked {
		doc.Degraded = &d
	}
}

func (s *side[V]) freshness(ctx context.Context, generation int) (Freshness, error) {
	s.lag.Lock()
	defer s.lag.Unlock()
	if time.Now().After(s.lag.until) {
		lag, unknown, err := s.lookForLag(ctx)
		if err != nil {
			return Freshness{}, fmt.Errorf("ask how far the views are: %w", err)
		}
		s.lag.Lag, s.lag.unknown, s.lag.until = lag, unknown, time.Now().Add(lagRemembered)
		if unknown {
			s.lag.until = time.Now().Add(lagPause)
		}
	}
	return Freshness{Generation: generation, Lag: s.lag.Lag, LagUnknown: s.lag.unknown}, nil
}

// lookForLag reads the log after what is applied. A log that does not answer is
// no failure, since the view has answered; nor is a view that does not, since
// then the log has.
func (s *side[V]) lookForLag(ctx context.Context) (lag projections.Lag, unknown bool, err error) {
	if !s.bounded {
		lag, err = s.Progress.Lag(ctx)
		return lag, false, err
	}
	if eventstore.UnreachableOf(s.store) != nil {
		return lag, true, nil
	}
	looking, cancel := context.WithTimeout(ctx, lagLook)
	defer cancel()
	lag, err = s.Progress.Lag(looking)
	if err == nil || ctx.Err() != nil {
		return lag, false, err
	}
	for _, away := range []error{eventstore.ErrUnavailable, projections.ErrUnavailable, projections.ErrLost, projections.ErrClosed} {
		if errors.Is(err, away) {
			return projections.Lag{}, true, nil
		}
	}
	if looking.Err() != nil {
		return projections.Lag{}, true, nil
	}
	return lag, false, err
}
