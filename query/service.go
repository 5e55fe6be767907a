package query

import (
	"context"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// Options of a Service. Store, Hot, Search and Log are needed.
type Options struct {
	Store     eventstore.Store
	Namespace eventstore.Namespace
	// Hot answers about one order, one customer, and sums; Search answers lists.
	// Where one store does both, both are of it.
	Hot    Side[Hot]
	Search Side[Search]
	// Apply folds what is answered from the log; nil: projections.Apply. It is that
	// of what the views keep.
	Apply func(view.Order, codec.Recorded) view.Order
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

// Service answers the questions of the API. Its methods may be called from many
// goroutines.
type Service struct {
	options Options
	hot     *side[Hot]
	search  *side[Search]
	turns   chan struct{} // one element per replay that runs
}

// replays is how many questions about the past are answered at once: each holds
// the events of an order in memory.
const replays = 8

// New makes a service; it holds nothing that needs closing.
func New(o Options) *Service {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Apply == nil {
		o.Apply = projections.Apply
	}
	if o.Recorded == nil {
		o.Recorded = func(context.Context, time.Time) error { return nil }
	}
	_, logRemote := o.Store.(eventstore.Remote)
	return &Service{
		options: o, turns: make(chan struct{}, replays),
		hot:    &side[Hot]{Side: o.Hot, store: o.Store, bounded: logRemote || o.Hot.Remote},
		search: &side[Search]{Side: o.Search, store: o.Store, bounded: logRemote || o.Search.Remote},
	}
}

// Source says where an answer comes from.
type Source string

const (
	FromView Source = "view"
	FromLog  Source = "log" // folded from the order's stream, since no view has it, or none answers
)

// Freshness says which generation answered, and how far it was behind the log.
type Freshness struct {
	Generation int // 0: none is open, the log answered
	Lag        projections.Lag
	// LagUnknown: the log or the view does not answer, the other does. Lag is zero.
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
