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

// Options of a Service. Store, Live, Progress and Log are needed.
type Options struct {
	Store     eventstore.Store
	Namespace eventstore.Namespace
	// Live is the generation that answers now, and its number; nil before one
	// is open.
	Live     func() (Views, int)
	Progress Progress
	// Log that tokens and cursors must come from.
	Log eventstore.LogIdentity
	// Clock tells which instants have come: nothing is recorded before what it
	// said last. command.Orders has it; nil: time.Now, which may step back.
	Clock func() time.Time
	// Recorded returns when nothing more is recorded at or before an instant that
	// has passed, as far as this process can tell. It is asked where the store is
	// no eventstore.Sequencer. command.Orders has it; nil: nobody is asked.
	Recorded func(ctx context.Context, asOf time.Time) error
}

// Progress is what the service asks the runner of the projection;
// *projections.Manager has it.
type Progress interface {
	// Wait returns when the live generation holds the order at revision or
	// later; with projections.ErrParked when it never will.
	Wait(ctx context.Context, orderID string, revision eventstore.Revision) error
	// ParkedOrder tells whether an event of the order could not be applied.
	ParkedOrder(orderID string) (view.Degraded, bool)
	// Lag of the live generation.
	Lag(ctx context.Context) (projections.Lag, error)
}

// Service answers the questions of the API. Its methods may be called from many
// goroutines.
type Service struct {
	options Options
	turns   chan struct{} // one element per replay that runs
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

// replays is how many questions about the past are answered at once: each holds
// the events of an order in memory.
const replays = 8

// New makes a service; it holds nothing that needs closing.
func New(o Options) *Service {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Recorded == nil {
		o.Recorded = func(context.Context, time.Time) error { return nil }
	}
	return &Service{options: o, turns: make(chan struct{}, replays)}
}

// Source says where an answer comes from.
type Source string

const (
	FromView Source = "view"
	FromLog  Source = "log" // folded from the order's stream, since no view has it yet
)

// Freshness says which generation answered, and how far it was behind the log.
type Freshness struct {
	Generation int
	Lag        projections.Lag
	// LagUnknown: the log does not answer, the view does. Lag is zero.
	LagUnknown bool
}

// OrderAnswer is one order.
type OrderAnswer struct {
	Order  view.Order // its position is that of its last applied event
	Source Source
	Freshness
}

// ListAnswer is one page of orders.
type ListAnswer struct {
	Page
	Cursor string // continues after this page; empty on the last one
	Freshness
}

// CustomerAnswer is one customer.
type CustomerAnswer struct {
	Customer view.CustomerSummary
	Freshness
}

// StatsAnswer is sums over documents.
type StatsAnswer struct {
	Stats view.Stats
	Freshness
}

// ask puts a question to the live generation. A switch may close a generation
// between the choice and the answer; then the question goes to the new one.
func ask[T any](s *Service, question func(Views) (T, error)) (answer T, generation int, err error) {
	for range 2 {
		var views Views
		if views, generation = s.options.Live(); views == nil {
			return answer, 0, ErrNotReady
		}
		if answer, err = question(views); !errors.Is(err, projections.ErrClosed) {
			return answer, generation, err
		}
	}
	// Two switches within one question, or the process is stopping.
	return answer, generation, fmt.Errorf("%w: %w", ErrNotReady, err)
}

func (s *Service) freshness(ctx context.Context, generation int) (Freshness, error) {
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

// lookForLag reads the log after what is applied. A log that does not answer
// is no failure: the view has answered.
func (s *Service) lookForLag(ctx context.Context) (lag projections.Lag, unknown bool, err error) {
	if _, remote := s.options.Store.(eventstore.Remote); !remote {
		lag, err = s.options.Progress.Lag(ctx)
		return lag, false, err
	}
	if eventstore.UnreachableOf(s.options.Store) != nil {
		return lag, true, nil
	}
	looking, cancel := context.WithTimeout(ctx, lagLook)
	defer cancel()
	lag, err = s.options.Progress.Lag(looking)
	if err != nil && ctx.Err() == nil && (looking.Err() != nil || errors.Is(err, eventstore.ErrUnavailable)) {
		return projections.Lag{}, true, nil
	}
	return lag, false, err
}
