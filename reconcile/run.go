package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

var (
	// ErrRunning: one run at a time; the one that runs is not disturbed.
	ErrRunning = errors.New("a reconciliation is running")
	// ErrUnknownRun: there is no run of this id.
	ErrUnknownRun = errors.New("no such reconciliation")
)

// Reconciler compares the log with the views. All methods may be called from
// many goroutines.
type Reconciler struct {
	Options

	mu      sync.Mutex
	running *Report // as far as it is; nil while nothing runs
}

// New prepares a Reconciler.
func New(o Options) *Reconciler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return &Reconciler{Options: o}
}

// NewID is an id for a run; later ones sort after earlier ones.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// Run makes one run and returns when it has ended: with its report, and an
// error only when the run could not begin or its own events could not be
// written. progress, when given, is called from the goroutine of the caller.
// ErrRunning while another runs. When ctx ends the run ends, its verdict
// unknown.
func (r *Reconciler) Run(ctx context.Context, id string, request Request, progress func(Progress)) (Report, error) {
	return Report{}, errors.New("not yet")
}

// Report is the report of a run, from its stream; an empty id is the newest
// run. ErrUnknownRun when there is none.
func (r *Reconciler) Report(ctx context.Context, id string) (Report, error) {
	return Report{}, ErrUnknownRun
}

// Runs lists runs, newest first, at most limit (0: no limit), without their
// findings.
func (r *Reconciler) Runs(ctx context.Context, limit int) ([]Report, error) {
	return nil, nil
}
