package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
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

	mu     sync.Mutex
	report Report
	parts  []*part // one per store, in order
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
		Reconciler: r, progress: progress,
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
	failed, over := false, false
	for _, p := range u.parts {
		if over {
			p.doubt("it was not compared, for the run had ended")
			continue
		}
		failure := u.guarded(func() error { return p.all(ctx) })
		if failure != nil {
			failed = true
			p.doubt(p.early(failure))
			u.Logger.Error("reconciliation ended early", "id", id, "store", p.store.Name, "error", failure)
		}
		over = !p.mayGoOn(ctx, failure)
	}
	var ended Report
	err := u.guarded(func() (err error) {
		ended, err = u.end(ctx, failed)
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
	r.Findings, r.Counts, r.Reasons, r.Stores = slices.Clone(r.Findings), maps.Clone(r.Counts), slices.Clone(r.Reasons), slices.Clone(r.Stores)
	for i := range r.Stores {
		r.Stores[i].Counts = maps.Clone(r.Stores[i].Counts)
	}
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
		for i, s := range u.Stores {
			p := newPart(u, s, filepath.Join(u.dir, strconv.Itoa(i)))
			_, p.of.Generation = s.Live()
			u.parts = append(u.parts, p)
		}
		u.merge()
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

// end decides the verdict and writes the run's last event, also when ctx is
// over.
func (u *run) end(ctx context.Context, failed bool) (Report, error) {
	typ := typeEnded
	if failed {
		typ = typeFailed
	}
	for _, p := range u.parts {
		p.judged()
	}
	u.merge()
	r := &u.report
	switch {
	case slices.ContainsFunc(u.parts, func(p *part) bool { return p.of.Verdict == Unknown }):
		r.Verdict = Unknown
	case r.found() > 0:
		r.Verdict = Drift
	default:
		r.Verdict = Clean
	}
	now := u.Clock().UTC()
	r.State, r.EndedAt = stateEnded, &now
	u.journal.add(typ, ended{
		Verdict: r.Verdict, Generation: r.Generation, Compared: r.Compared, Stores: r.Stores, Counts: r.Counts, Unlisted: r.Unlisted,
		Repaired: r.Repaired, Recounted: r.Recounted, Reasons: r.Reasons, At: now,
	})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := u.journal.flush(ctx); err != nil {
		return *r, fmt.Errorf("end reconciliation: %w", err)
	}
	u.Logger.Info("reconciliation ended", "id", r.ID, "verdict", r.Verdict, "findings", r.found(), "repaired", r.Repaired)
	return *r, nil
}

// merge puts what is known of the stores into the report. u.mu is held, or
// nobody else is there.
func (u *run) merge() {
	r := &u.report
	r.Compared, r.Stores, r.Generation = Compared{Complete: true}, nil, 0
	for _, p := range u.parts {
		all, c := &r.Compared, p.of.Compared
		all.Events, all.Streams = max(all.Events, c.Events), max(all.Streams, c.Streams)
		all.Documents, all.Customers, all.Figures, all.Again = all.Documents+c.Documents, all.Customers+c.Customers, all.Figures+c.Figures, all.Again+c.Again
		all.Complete = all.Complete && c.Complete
		r.Generation = cmp.Or(r.Generation, p.of.Generation)
		if len(u.parts) > 1 {
			r.Stores = append(r.Stores, p.of)
		}
	}
}

func (r *Report) found() (n int64) {
	for _, count := range r.Counts {
		n += count
	}
	return n
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
