package crash

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/reconcile"
	"github.com/google/uuid"
)

// patience bounds the recovery of one point.
const patience = 30 * time.Second

// maxRepeats bounds the answers that are asked for again at one point.
const maxRepeats = 12

// recovered opens the folder that a crash left after the first ops operations,
// and says what does not hold.
func (r *recording) recovered(ctx context.Context, root string, ops int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d, err := embedded.Open(ctx, filepath.Join(root, "data"), embedded.Options{Logger: quiet})
	if err != nil {
		return fmt.Errorf("it does not open: %w", err)
	}
	defer func() {
		if e := d.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("it does not close: %w", e))
		}
	}()
	if r.name == lostItsEnd && d.Embedded.Refusal() != nil {
		if d, err = r.accepts(ctx, d, root, ops); err != nil {
			return err
		}
	}
	line, there, err := r.whatIsThere(ctx, d, ops)
	if err != nil {
		return err
	}
	if err := line.repeatSome(ctx, d, ops); err != nil {
		return err
	}
	if err := goesOn(ctx, d); err != nil {
		return fmt.Errorf("a rebuild does not go on: %w", err)
	}
	if err := d.Manager.CaughtUp(ctx); err != nil {
		return fmt.Errorf("the views do not catch up: %w", err)
	}
	report, err := d.Embedded.Verify(ctx, func(done, total uint64) {})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if !report.OK() {
		return fmt.Errorf("the log is damaged: %v", report.Findings)
	}
	if r.name == damagedByHand {
		// The crash may have come before the repair.
		if _, err := compare(ctx, d, reconcile.Request{Repair: true}); err != nil {
			return err
		}
	}
	run, err := compare(ctx, d, reconcile.Request{})
	if err != nil {
		return err
	}
	if run.Verdict != reconcile.Clean {
		return fmt.Errorf("the views differ from the log: %s, %v, %+v", run.Verdict, run.Reasons, run.Findings)
	}
	if err := line.goesOn(ctx, d, ops, there); err != nil {
		return err
	}
	return r.restores(ctx, root, ops)
}

// accepts accepts the loss, unless that was done before the crash.
func (r *recording) accepts(ctx context.Context, d *embedded.Docket, root string, ops int) (*embedded.Docket, error) {
	for _, f := range r.timelines[0].until(ops) {
		if f.Accepted {
			return d, fmt.Errorf("a loss that was accepted is refused again: %w", d.Embedded.Refusal())
		}
	}
	_, err := d.Embedded.AcceptLoss(ctx)
	if err == nil {
		err = d.Close()
	}
	if err != nil {
		return d, fmt.Errorf("the loss cannot be accepted: %w", err)
	}
	again, err := embedded.Open(ctx, filepath.Join(root, "data"), embedded.Options{Logger: quiet})
	if err != nil {
		return d, fmt.Errorf("it does not open after the loss was accepted: %w", err)
	}
	return again, nil
}

func compare(ctx context.Context, d *embedded.Docket, request reconcile.Request) (reconcile.Report, error) {
	run, err := d.Reconciler.Run(ctx, reconcile.NewID(), request, func(reconcile.Progress) {})
	if err != nil {
		err = fmt.Errorf("reconcile: %w", err)
	}
	return run, err
}

// whatIsThere answers which timeline the log is of, and how many events of which
// commands are there.
func (r *recording) whatIsThere(ctx context.Context, d *embedded.Docket, ops int) (*timeline, map[uuid.UUID]int, error) {
	log, err := logOf(ctx, d)
	if err != nil {
		return nil, nil, fmt.Errorf("the log is not readable: %w", err)
	}
	var errs []error
	for i := range r.timelines {
		line := &r.timelines[i]
		if line.from <= ops && ops <= line.to {
			there, err := line.holds(log, ops)
			if err == nil {
				return line, there, nil
			}
			errs = append(errs, err)
		}
	}
	return nil, nil, errors.Join(errs...)
}

// holds compares a log that was recovered with that of the timeline.
func (l *timeline) holds(log []entry, ops int) (there map[uuid.UUID]int, err error) {
	// What is there is a prefix; what recovery itself added follows, and is of no
	// order.
	n := 0
	for n < min(len(log), len(l.log)) && log[n] == l.log[n] {
		n++
	}
	for _, e := range log[n:] {
		if e.Command != uuid.Nil {
			return nil, fmt.Errorf("position %d holds %s %d, which was not there before the crash", e.Position, e.Stream, e.Revision)
		}
	}
	there, end := map[uuid.UUID]int{}, uint64(0)
	for _, e := range log[:n] {
		end = e.Position
		if e.Command != uuid.Nil {
			there[e.Command]++
		}
	}
	sent := map[uuid.UUID]bool{}
	for _, f := range l.until(ops) {
		switch {
		case f.Sent:
			sent[f.Command] = true
		case f.Answered && f.Position > end:
			return nil, fmt.Errorf("position %d was acknowledged, the log ends at %d", f.Position, end)
		}
	}
	for id, events := range there {
		if !sent[id] {
			return nil, fmt.Errorf("command %s is in the log and was never sent", id)
		}
		if events != l.whole[id] {
			return nil, fmt.Errorf("command %s is half there: %d of %d events", id, events, l.whole[id])
		}
	}
	return there, nil
}

// until are the facts that were known after ops operations.
func (l *timeline) until(ops int) []noted {
	n, _ := slices.BinarySearchFunc(l.facts, ops+1, func(f noted, ops int) int { return cmp.Compare(f.at, ops) })
	return l.facts[:n]
}

// repeatSome asks for the last answers again, and for some of the earlier ones.
func (l *timeline) repeatSome(ctx context.Context, d *embedded.Docket, ops int) error {
	known, left := l.until(ops), maxRepeats
	for i := len(known) - 1; i >= 0 && left > 0; i-- {
		if f := known[i]; f.Answered && len(f.Events) > 0 {
			if err := repeat(ctx, d, f.fact); err != nil {
				return err
			}
			if left--; left < maxRepeats/2 {
				i -= i / (left + 1)
			}
		}
	}
	return nil
}

// repeat sends an acknowledged command again. What it says does not matter: it
// is known by its id.
func repeat(ctx context.Context, d *embedded.Docket, f fact) error {
	res, err := d.Orders.Handle(ctx, f.Order, order.AddNote{Text: "again"}, again(f.Command))
	if err != nil {
		return fmt.Errorf("repeat command %s on %s: %w", f.Command, f.Order, err)
	}
	var events []uuid.UUID
	for _, e := range res.Events {
		events = append(events, e.EventID)
	}
	if !res.Replayed || res.Revision != f.Revision || !slices.Equal(events, f.Events) {
		return fmt.Errorf("command %s on %s was answered with revision %d and %v, is now answered with %d and %v (replayed: %t)",
			f.Command, f.Order, f.Revision, f.Events, res.Revision, events, res.Replayed)
	}
	return nil
}

// goesOn sends what was not answered before the crash, and something new.
func (l *timeline) goesOn(ctx context.Context, d *embedded.Docket, ops int, there map[uuid.UUID]int) error {
	open, orders := map[uuid.UUID]fact{}, map[string]bool{}
	for _, f := range l.until(ops) {
		orders[f.Order] = true
		if f.Sent {
			open[f.Command] = f.fact
		} else {
			delete(open, f.Command)
		}
	}
	for id, f := range open {
		_, before, err := d.Orders.Load(ctx, f.Order)
		if err != nil {
			return fmt.Errorf("load %s: %w", f.Order, err)
		}
		if before < 0 {
			continue
		}
		res, err := d.Orders.Handle(ctx, f.Order, order.AddNote{Text: "again"}, again(id))
		switch {
		case errors.As(err, new(*domain.Rejection)) && there[id] == 0:
		case err != nil:
			return fmt.Errorf("send command %s on %s again: %w", id, f.Order, err)
		case res.Replayed != (there[id] > 0), res.Replayed && res.Revision > before, !res.Replayed && res.Revision != before+1:
			return fmt.Errorf("command %s on %s at %d, sent again, led to %d (replayed: %t)", id, f.Order, before, res.Revision, res.Replayed)
		}
	}
	res, err := d.Orders.Handle(ctx, "afterwards", ordertest.Place(ordertest.Seeded(1), ordertest.Start), request("afterwards", 1))
	if err != nil {
		return fmt.Errorf("it does not write any more: %w", err)
	}
	if res.Replayed || res.Revision != 0 {
		return fmt.Errorf("a new order is at revision %d (replayed: %t)", res.Revision, res.Replayed)
	}
	if err := d.Manager.Wait(ctx, "afterwards", eventstore.Revision(0)); err != nil {
		return fmt.Errorf("a new order does not come into the views: %w", err)
	}
	// A snapshot may be lost; the place to keep them may not.
	kept := d.Embedded.Snapshots()
	for order := range orders {
		if _, _, _, err := kept.Load(ctx, eventstore.Namespace("").Stream(codec.Category, order)); err != nil {
			return fmt.Errorf("snapshots cannot be read: %w", err)
		}
	}
	if err := kept.Save(ctx, "afterwards", 1, make([]byte, 10_000)); err != nil {
		return fmt.Errorf("snapshots cannot be written: %w", err)
	}
	return nil
}

// restores restores the backup, if one was made: it is what was said of it.
func (r *recording) restores(ctx context.Context, root string, ops int) error {
	if r.backup.at == 0 || ops < r.backup.at {
		return nil
	}
	restored, err := sqlite.Restore(ctx, filepath.Join(root, backupName), filepath.Join(root, "restored"), sqlite.CopyOptions{})
	if err != nil {
		return fmt.Errorf("the backup cannot be restored: %w", err)
	}
	if head := restored.Backup.Head.Commit; head != r.backup.Backup {
		return fmt.Errorf("the backup ends at position %d, not %d", head, r.backup.Backup)
	}
	return nil
}

// goesOn returns when a rebuild that the crash came into is over, and what it made
// is served.
func goesOn(ctx context.Context, d *embedded.Docket) error {
	list, err := d.Views.Rebuilds(ctx)
	newest := 0
	for _, r := range list {
		if !r.Phase.Over() && err == nil {
			r, err = d.Views.Await(ctx, r.Generation, nil)
		}
		if r.Phase == projections.PhaseSwitched {
			newest = max(newest, r.Generation)
		}
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for err == nil {
		if _, n := d.Manager.Live(); n >= newest {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return err
}
