package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/spill"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/reconcile/expected"
	"github.com/google/uuid"
)

var (
	// ErrRunning: one run at a time; the one that runs is not disturbed.
	ErrRunning = errors.New("a reconciliation is running")
	// ErrClosed: no run begins any more.
	ErrClosed = errors.New("the reconciler is closed")
	// ErrUnknownRun: there is no run of this id.
	ErrUnknownRun = errors.New("no such reconciliation")
)

// Bounds of a run.
const (
	// maxListed findings are written down; the rest is counted.
	maxListed = 1000
	// maxReasons are listed.
	maxReasons = 20
	// patience is how long the views may stand still while they are waited for.
	patience = time.Minute
	// lastWords bounds the writing of a run's end when its context is over.
	lastWords = 10 * time.Second
)

const (
	stateRunning     = "running"
	stateEnded       = "ended"
	stateInterrupted = "interrupted"

	entityOrder = "order"

	outcomeTried    = "tried"
	outcomeRepaired = "repaired"
	outcomeFailed   = "failed"
)

// Reconciler compares the log with the views. All methods may be called from
// many goroutines.
type Reconciler struct {
	Options
	table    expected.Table
	patience time.Duration

	mu      sync.Mutex
	running *Report // as far as it is; nil while nothing runs
	closed  bool
	runs    sync.WaitGroup // the one that runs; none begins once closed
}

// New prepares a Reconciler.
func New(o Options) *Reconciler {
	if o.Disk == nil {
		o.Disk = disk.OS()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Fold.Apply == nil {
		o.Fold.Apply = projections.Apply
	}
	if o.Fold.Contributions == nil {
		o.Fold.Contributions = projections.Contributions
	}
	if o.Fold.Words == nil {
		o.Fold.Words = projections.OrderWords
	}
	return &Reconciler{Options: o, table: expected.Rows(), patience: patience}
}

// NewID is an id for a run; later ones sort after earlier ones.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// run is one run. Its fields below mu are shared by the goroutines that
// compare.
type run struct {
	*Reconciler
	journal  *journal
	progress func(Progress)
	dir      string // of its own, for temporary files
	sink     projections.Sink

	mu           sync.Mutex
	report       Report
	incomplete   bool // not everything could be compared
	contradicted bool // the expected side is not to be believed
	repairs      []repair
	orders       int64 // that differ
	// touched are the figures that differing orders add to.
	touched map[projections.FigureKey]bool
	// gone are orders of the batch whose stream cannot be read any more.
	gone map[string]bool
	// uncounted: what an order that differs was kept to contribute was wrong, so
	// that writing it again does not make the figures right.
	uncounted bool
	// unsoundness are the numbers of the findings that the store itself named;
	// while unsound, nothing can be counted with it.
	unsoundness, foreignLanes []int
	unsound                   bool
	rows                      []repair // of parked orders, which somebody else wrote
}

// repair is an order to repair; number is that of its finding, -1 when it is not
// listed.
type repair struct {
	id     string
	number int
}

// Run makes one run and returns when it has ended: with its report, and an
// error only when the run could not begin or its own events could not be
// written. id names it, as NewID does, and must be new. progress, when given,
// is called now and then, from one goroutine at a time. ErrRunning while
// another runs, ErrClosed after Close. When ctx ends the run ends, its verdict
// unknown.
func (r *Reconciler) Run(ctx context.Context, id string, request Request, progress func(Progress)) (Report, error) {
	if !order.ValidID(id) {
		return Report{}, fmt.Errorf("%.80q cannot name a reconciliation", id)
	}
	u := &run{
		Reconciler: r, progress: progress, touched: map[projections.FigureKey]bool{}, gone: map[string]bool{},
		report: Report{
			ID: id, State: stateRunning, Request: request, StartedAt: r.Clock().UTC(),
			Counts: map[Class]int64{}, Findings: []Finding{},
		},
	}
	r.mu.Lock()
	if r.closed || r.running != nil {
		defer r.mu.Unlock()
		if r.closed {
			return Report{}, ErrClosed
		}
		return Report{}, ErrRunning
	}
	r.runs.Add(1)
	defer r.runs.Done()
	shown := u.report.clone()
	r.running = &shown
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.running = nil
		r.mu.Unlock()
	}()

	if err := u.begin(ctx); err != nil {
		return Report{}, fmt.Errorf("begin reconciliation: %w", err)
	}
	defer u.Disk.RemoveAll(u.dir)
	failure := u.guarded(func() error { return u.all(ctx) })
	var ended Report
	err := u.guarded(func() (err error) {
		ended, err = u.end(ctx, failure)
		return err
	})
	return ended, err
}

// guarded turns a panic into an error: no run may end the program that serves
// beside it.
func (u *run) guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			u.Logger.Error("reconciliation panicked", "id", u.report.ID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("a bug of docket, whose place is in the log of the process: %v", p)
		}
	}()
	return do()
}

// Close lets no run begin any more, and returns when the one that runs has
// written its end. It does not end it: its context does.
func (r *Reconciler) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.runs.Wait()
}

// current is the report of the run that runs in this process, as far as it is.
func (r *Reconciler) current(id string) (Report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil || r.running.ID != id {
		return Report{}, false
	}
	return r.running.clone(), true
}

func (r Report) clone() Report {
	r.Findings, r.Counts, r.Reasons = slices.Clone(r.Findings), maps.Clone(r.Counts), slices.Clone(r.Reasons)
	return r
}

// spillPrefix begins the names of the folders of runs; those that a crash left
// are removed by the next run.
const spillPrefix = "reconcile-"

// begin chooses the barrier and writes the run's first event.
func (u *run) begin(ctx context.Context) error {
	place := spill.Place{Disk: u.Disk, Dir: u.SpillDir, Prefix: spillPrefix}
	err := place.Sweep()
	if err != nil {
		return err
	}
	if u.dir, err = place.Folder(); err != nil {
		return err
	}
	id := u.report.ID
	stream := u.Namespace.Stream(Category, id)
	previous, err := u.newest(ctx)
	if err == nil && previous == id {
		err = fmt.Errorf("there is a reconciliation %s already", id)
	}
	if err == nil {
		u.report.Barrier, err = u.Store.Head(ctx)
	}
	if err == nil {
		_, u.report.Generation = u.Projection.Live()
		u.journal = &journal{
			store: u.Store, stream: stream, clock: u.Clock, next: eventstore.NoStream,
			meta: codec.Meta{CommandID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(stream)), Command: "reconcile", Actor: u.report.Actor, Version: 1},
		}
		u.journal.add(typeStarted, started{
			Request: u.report.Request, Generation: u.report.Generation, Barrier: u.report.Barrier, Previous: previous, At: u.report.StartedAt,
		})
		err = u.journal.flush(ctx)
	}
	if err != nil {
		u.Disk.RemoveAll(u.dir)
	}
	return err
}

// all is the run between its first event and its last. An error means that the
// run could not go on.
func (u *run) all(ctx context.Context) error {
	u.step("waiting", 0, 0)
	if err := u.caughtUp(ctx); err != nil {
		return err
	}
	if u.sink, u.report.Generation = u.Projection.Live(); u.sink == nil {
		return errors.New("the views are closed")
	}
	var t *tally
	var err error
	if u.report.OrderID != "" {
		err = u.compareOrder(ctx, u.report.OrderID)
	} else {
		looking, stop := context.WithCancel(ctx)
		sound := u.sound(looking)
		t, err = u.compareAll(ctx)
		if t != nil {
			defer t.close()
		}
		if err != nil {
			stop()
		}
		s := <-sound
		stop()
		if err == nil {
			err = u.compareStructure(ctx, s)
		}
	}
	if err == nil {
		err = u.compareParked(ctx, u.report.OrderID)
	}
	if err != nil {
		return err
	}
	wrong := differences{}
	if t != nil {
		if wrong, err = u.compareFigures(ctx, t); err != nil {
			return err
		}
	}
	if err := u.journal.flush(ctx); err != nil {
		return err
	}
	if u.report.Repair {
		if err := u.repair(ctx, t, wrong); err != nil {
			return err
		}
	}
	if _, now := u.Projection.Live(); now != u.report.Generation {
		u.doubt(rebuilt)
	}
	return nil
}

// end decides the verdict and writes the run's last event, also when ctx is
// over.
func (u *run) end(ctx context.Context, failure error) (Report, error) {
	typ := typeEnded
	if failure != nil {
		typ = typeFailed
		u.doubt(u.early(failure))
		u.Logger.Error("reconciliation ended early", "id", u.report.ID, "error", failure)
	}
	p := &u.report
	p.Compared.Complete = !u.incomplete
	switch {
	case u.incomplete || u.contradicted:
		p.Verdict = Unknown
	case p.found() > 0:
		p.Verdict = Drift
	default:
		p.Verdict = Clean
	}
	now := u.Clock().UTC()
	p.State, p.EndedAt = stateEnded, &now
	u.journal.add(typ, ended{
		Verdict: p.Verdict, Generation: p.Generation, Compared: p.Compared, Counts: p.Counts, Unlisted: p.Unlisted,
		Repaired: p.Repaired, Recounted: p.Recounted, Reasons: p.Reasons, At: now,
	})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := u.journal.flush(ctx); err != nil {
		return *p, fmt.Errorf("end reconciliation: %w", err)
	}
	u.Logger.Info("reconciliation ended", "id", p.ID, "verdict", p.Verdict, "findings", p.found(), "repaired", p.Repaired)
	return *p, nil
}

const rebuilt = "the views were rebuilt meanwhile: run again"

// viewsError is a failure of the views' store.
type viewsError struct{ error }

func (e viewsError) Unwrap() error { return e.error }

func ofViews(attempt string, err error) error {
	if err == nil {
		return nil
	}
	return viewsError{fmt.Errorf("%s: %w", attempt, err)}
}

// early says why a run ended early, and what to do.
func (u *run) early(failure error) string {
	_, now := u.Projection.Live()
	var ofViews viewsError
	switch {
	case errors.Is(failure, context.Canceled):
		return "it was stopped before its end"
	case errors.Is(failure, projections.ErrClosed) && now != 0 && now != u.report.Generation:
		return rebuilt
	case errors.Is(failure, projections.ErrClosed):
		return "the views were closed before its end"
	case errors.As(failure, &ofViews):
		return "the views cannot be used; when it happens again the view file is damaged: docket projections rebuild orders. It said: " + failure.Error()
	}
	return "the run ended early: " + failure.Error()
}

func (r *Report) found() (n int64) {
	for _, count := range r.Counts {
		n += count
	}
	return n
}

// step reports progress, and shows the report as far as it is.
func (u *run) step(phase string, done, total int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.report.Progress = Progress{phase, done, total}
	shown := u.report.clone()
	u.Reconciler.mu.Lock()
	u.running = &shown
	u.Reconciler.mu.Unlock()
	if u.progress != nil {
		u.progress(u.report.Progress)
	}
}

// find takes down a difference.
func (u *run) find(f Finding) (number int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.report.Counts[f.Class]++
	if len(u.report.Findings) == maxListed {
		u.report.Unlisted++
		return -1
	}
	f = f.cut()
	u.report.Findings = append(u.report.Findings, f)
	u.journal.add(typeFound, found{Finding: f, At: u.Clock().UTC()})
	return len(u.report.Findings) - 1
}

// doubt notes why the run cannot tell.
func (u *run) doubt(reason string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.incomplete = true
	u.note(reason)
}

// note adds a reason; u.mu is held.
func (u *run) note(reason string) {
	switch n := len(u.report.Reasons); {
	case n < maxReasons-1:
		u.report.Reasons = append(u.report.Reasons, cutText(reason, maxText))
	case n == maxReasons-1:
		u.report.Reasons = append(u.report.Reasons, "and more, which are not listed")
	}
}

// caughtUp waits until everything in the log is applied or parked, for as long
// as the views move.
func (u *run) caughtUp(ctx context.Context) error {
	var before []projections.Checkpoint
	for {
		waiting, cancel := context.WithTimeout(ctx, u.patience)
		err := u.Projection.CaughtUp(waiting)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("wait for the views: %w", err)
		}
		sink, _ := u.Projection.Live()
		if sink == nil {
			return fmt.Errorf("the views were not opened within %s", u.patience)
		}
		now, err := sink.Checkpoints(ctx)
		if err != nil {
			return ofViews("wait for the views", err)
		}
		if slices.Equal(before, now) {
			return fmt.Errorf("the views did not move for %s while the log is ahead of them: docket projections list says why", u.patience)
		}
		before = now
	}
}

// parked lists the parked orders by id.
func (u *run) parked(ctx context.Context) (map[string]projections.Parked, error) {
	list, err := u.Projection.Parked(ctx)
	if err != nil {
		return nil, fmt.Errorf("list parked orders: %w", err)
	}
	parked := make(map[string]projections.Parked, len(list))
	for _, p := range list {
		parked[p.OrderID] = p
	}
	return parked, nil
}

// inspect asks the views; the generation is the same for all of a run.
func (u *run) inspect(ctx context.Context, want []projections.Change) ([]projections.Kept, error) {
	if len(want) == 0 {
		return nil, nil
	}
	kept, err := u.sink.Inspect(ctx, want)
	if err != nil {
		return nil, ofViews("inspect the views", err)
	}
	return kept, nil
}
