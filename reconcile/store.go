package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/docket-orders/docket/projections"
)

// part is the comparison of one store within a run. Its fields are shared by the
// goroutines that compare, under the run's mu.
type part struct {
	*run
	store Store
	dir   string // of this store's temporary files
	sink  projections.Sink
	of    StoreReport // what is found here

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

func newPart(u *run, s Store, dir string) *part {
	return &part{
		run: u, store: s, dir: dir, of: StoreReport{Store: s.Name, Counts: map[Class]int64{}},
		touched: map[projections.FigureKey]bool{}, gone: map[string]bool{},
	}
}

// all compares one store. An error means that this could not go on.
func (u *part) all(ctx context.Context) error {
	u.step("waiting", 0, 0)
	if err := u.whole(); err != nil {
		return err
	}
	if err := u.caughtUp(ctx); err != nil {
		return err
	}
	if u.sink, u.of.Generation = u.store.Live(); u.sink == nil {
		return waitError{errors.New("the views are closed")}
	}
	var t *tally
	var err error
	if u.report.OrderID != "" {
		err = u.compareOrder(ctx, u.report.OrderID)
	} else {
		if err := u.Disk.MkdirAll(u.dir, 0o700); err != nil {
			return fmt.Errorf("make a folder for temporary files: %w", err)
		}
		defer u.Disk.RemoveAll(u.dir)
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
	if err := u.whole(); err != nil {
		return err
	}
	if _, now := u.store.Live(); now != u.of.Generation {
		u.doubt(rebuilt)
	}
	return nil
}

// whole fails while the store is being made again, or does not answer: what is
// not there yet is no difference.
func (u *part) whole() error { return ofViews("compare the views", u.store.Incomplete()) }

// judged decides the verdict.
func (u *part) judged() {
	u.of.Compared.Complete = !u.incomplete
	switch {
	case u.incomplete || u.contradicted:
		u.of.Verdict = Unknown
	case u.found() > 0:
		u.of.Verdict = Drift
	default:
		u.of.Verdict = Clean
	}
}

func (u *part) found() (n int64) {
	for _, count := range u.of.Counts {
		n += count
	}
	return n
}

const rebuilt = "the views were rebuilt meanwhile: run again"

// viewsError is a failure of the views' store, waitError that of waiting for it.
type (
	viewsError struct{ error }
	waitError  struct{ error }
)

func (e viewsError) Unwrap() error { return e.error }
func (e waitError) Unwrap() error  { return e.error }

func ofViews(attempt string, err error) error {
	if err == nil {
		return nil
	}
	return viewsError{fmt.Errorf("%s: %w", attempt, err)}
}

// mayGoOn reports whether other stores can be compared after a failure in this
// one: what fails in the log fails in all.
func (u *part) mayGoOn(ctx context.Context, failure error) bool {
	var views viewsError
	var waiting waitError
	return ctx.Err() == nil && (failure == nil || errors.As(failure, &views) || errors.As(failure, &waiting))
}

// early says why the comparison ended early, and what to do.
func (u *part) early(failure error) string {
	_, now := u.store.Live()
	var ofViews viewsError
	switch {
	case errors.Is(failure, context.Canceled):
		return "it was stopped before its end"
	case errors.Is(failure, projections.ErrClosed) && now != 0 && now != u.of.Generation:
		return rebuilt
	case errors.Is(failure, projections.ErrClosed):
		return "the views were closed before its end"
	case errors.Is(failure, projections.ErrUnavailable):
		return "the store could not be asked; run again when it answers. It said: " + failure.Error()
	case errors.Is(failure, projections.ErrLost):
		return "the store lost its views, and docket makes them again from the log by itself: run again then. It said: " + failure.Error()
	case errors.As(failure, &ofViews):
		return "the views cannot be used; when it happens again they are damaged: docket projections rebuild orders. It said: " + failure.Error()
	}
	return "the run ended early: " + failure.Error()
}

// step reports progress, and shows the report as far as it is.
func (u *part) step(phase string, done, total int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.report.Progress = Progress{Phase: phase, Store: u.name(), Done: done, Total: total}
	u.merge()
	u.report.Compared.Complete = false // before the end
	shown := u.report.clone()
	u.Reconciler.mu.Lock()
	u.running = &shown
	u.Reconciler.mu.Unlock()
	if u.progress != nil {
		u.progress(u.report.Progress)
	}
}

// name of the store where there are several.
func (u *part) name() string {
	if len(u.parts) == 1 {
		return ""
	}
	return u.store.Name
}

// find takes down a difference.
func (u *part) find(f Finding) (number int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f.Store = u.name()
	u.countMore(f.Class, 1)
	if len(u.report.Findings) == maxListed {
		u.report.Unlisted++
		return -1
	}
	f = f.cut()
	u.report.Findings = append(u.report.Findings, f)
	u.journal.add(typeFound, found{Finding: f, At: u.Clock().UTC()})
	return len(u.report.Findings) - 1
}

// countMore counts findings; u.mu is held.
func (u *part) countMore(class Class, n int64) {
	u.of.Counts[class] += n
	u.report.Counts[class] += n
}

// repairedMore counts what was repaired; u.mu is held.
func (u *part) repairedMore(n int64) {
	u.of.Repaired += n
	u.report.Repaired += n
}

// doubt notes why the run cannot tell.
func (u *part) doubt(reason string) {
	u.say(reason)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.incomplete = true
}

// say adds a reason that takes nothing from what was compared.
func (u *part) say(reason string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if name := u.name(); name != "" {
		reason = name + ": " + reason
	}
	u.note(reason)
}

// caughtUp waits until everything in the log is applied or parked, for as long
// as the views move.
func (u *part) caughtUp(ctx context.Context) error {
	var before []projections.Checkpoint
	for {
		waiting, cancel := context.WithTimeout(ctx, u.patience)
		err := u.store.CaughtUp(waiting)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return waitError{fmt.Errorf("wait for the views: %w", err)}
		}
		sink, _ := u.store.Live()
		if sink == nil {
			return waitError{fmt.Errorf("the views were not opened within %s", u.patience)}
		}
		now, err := sink.Checkpoints(ctx)
		if err != nil {
			return ofViews("wait for the views", err)
		}
		// Owners and beats move also where nothing is applied.
		if slices.EqualFunc(before, now, func(a, b projections.Checkpoint) bool { return a.Position == b.Position }) {
			return waitError{fmt.Errorf("the views did not move for %s while the log is ahead of them: docket projections list says why", u.patience)}
		}
		before = now
	}
}

// parked lists the parked orders by id.
func (u *part) parked(ctx context.Context) (map[string]projections.Parked, error) {
	list, err := u.store.Parked(ctx)
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
func (u *part) inspect(ctx context.Context, want []projections.Change) ([]projections.Kept, error) {
	if len(want) == 0 {
		return nil, nil
	}
	kept, err := u.sink.Inspect(ctx, want)
	if err != nil {
		return nil, ofViews("inspect the views", err)
	}
	return kept, nil
}
