package projections

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/view"
)

// Name of the projection.
const Name = "orders"

// Backend is one store's generations of the projection.
//
// A generation that is dropped may still be answering: Close of a sink waits
// for the calls that are inside it, and every later call fails with ErrClosed.
// A reader that sees ErrClosed asks Live again and repeats its question.
type Backend interface {
	// Open opens a generation, and makes it, empty, when it is not there.
	Open(ctx context.Context, generation int) (Sink, error)
	// Drop removes a closed generation; one that is not there is no error.
	Drop(ctx context.Context, generation int) error
	// Generations lists what is there, ascending.
	Generations(ctx context.Context) ([]int, error)
}

var (
	// ErrClosed: the sink was closed, perhaps by a switch of generations.
	ErrClosed = errors.New("generation is closed")
	// ErrParked: the order is parked, its view does not move.
	ErrParked = errors.New("order is parked")
	// ErrRebuilding: one rebuild at a time.
	ErrRebuilding = errors.New("a rebuild is running")
)

// Options of a Manager. Store, Backend and SpillDir are required.
type Options struct {
	Store     eventstore.Store
	Namespace eventstore.Namespace
	Backend   Backend
	SpillDir  string // folder for the temporary files of a rebuild
	Owner     string // of the lanes; a new id when empty
	Logger    *slog.Logger
	Clock     func() time.Time
}

// Manager keeps the projection's generations: it feeds the live one, rebuilds,
// switches, and tells who waits. All methods may be called from many
// goroutines.
type Manager struct{ options Options }

// NewManager prepares a manager; Run starts it.
func NewManager(o Options) *Manager { return &Manager{options: o} }

// Run opens the live generation and feeds it until ctx ends (then it returns
// nil) or something fails that waiting does not cure: an event that this
// program does not know, a lost lane.
func (m *Manager) Run(ctx context.Context) error { return nil }

// Started returns when Live has an answer.
func (m *Manager) Started(ctx context.Context) error { return nil }

// Live is the generation that answers questions, and its number; nil and 0
// before Run has opened it. It may be closed by a switch at any time: see
// Backend.
func (m *Manager) Live() (Sink, int) { return nil, 0 }

// Wait returns when the live generation has the order at revision or later;
// ErrParked at once when the order is parked before that revision.
func (m *Manager) Wait(ctx context.Context, orderID string, revision eventstore.Revision) error {
	return nil
}

// CaughtUp returns when everything that was in the log at the call is applied
// or parked.
func (m *Manager) CaughtUp(ctx context.Context) error { return nil }

// ParkedOrder says whether and why an order is parked in the live generation.
func (m *Manager) ParkedOrder(id string) (view.Degraded, bool) { return view.Degraded{}, false }

// Parked lists the parked orders of the live generation by order id.
func (m *Manager) Parked(ctx context.Context) ([]Parked, error) { return nil, nil }

// Retry applies a parked order's stream again from the log. It fails with
// ErrParked when the order stays parked.
func (m *Manager) Retry(ctx context.Context, orderID string) error { return nil }

// Rebuild makes a new generation from the whole log, beside the live one, and
// switches to it. progress, which may be nil, is called now and then from one
// goroutine. A failure leaves the live generation as it is.
func (m *Manager) Rebuild(ctx context.Context, progress func(Progress)) error { return nil }

// Status of the projection.
func (m *Manager) Status(ctx context.Context) (Status, error) { return Status{}, nil }

// Lag of the live generation.
func (m *Manager) Lag(ctx context.Context) (Lag, error) { return Lag{}, nil }

// Status is what operators see of the projection.
type Status struct {
	Name        string             `json:"name"`
	Version     int                `json:"version"` // of this program
	Generations []GenerationStatus `json:"generations"`
	Rebuild     *Progress          `json:"rebuild,omitempty"` // while one runs
	// LastRebuildError is why the last rebuild failed, empty when it did not.
	LastRebuildError string `json:"lastRebuildError,omitempty"`
}

// GenerationStatus is one generation.
type GenerationStatus struct {
	Generation int                 `json:"generation"`
	Version    int                 `json:"version"`
	State      string              `json:"state"` // live, frozen or building
	Position   eventstore.Position `json:"position"`
	CaughtUp   bool                `json:"caughtUp"`
	Parked     int                 `json:"parked"`
	Lag        Lag                 `json:"lag"`
	Problem    string              `json:"problem,omitempty"` // what keeps it from moving
}

// Lag is how far a generation is behind the log. It is zero when nothing is
// left to apply.
type Lag struct {
	Events int64 `json:"events"` // read and not yet applied
	// Age is now minus recordedAt of the first event that is not applied.
	Age time.Duration `json:"ageNanoseconds"`
}

// Progress of a rebuild. Phases: reading, folding, following, switched.
type Progress struct {
	Generation int                 `json:"generation"`
	Phase      string              `json:"phase"`
	Events     int64               `json:"events"` // read so far
	Orders     int64               `json:"orders"` // documents written so far
	Position   eventstore.Position `json:"position"`
	Head       eventstore.Position `json:"head"` // of the log at the start
}
