package reconcile

import (
	"context"
	"fmt"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
)

// What the views are made of is looked at as a whole: damage there may hide
// orders and figures from every comparison. A rebuild cures it, no repair.

// entityView is what findings of structure are about.
const entityView = "view"

// soundness is what the sink says of its own structures.
type soundness struct {
	wrong []string
	err   error
}

// sound asks for it, beside the comparison.
func (u *part) sound(ctx context.Context) <-chan soundness {
	answer := make(chan soundness, 1)
	go func() {
		var s soundness
		s.err = u.guarded(func() (err error) {
			s.wrong, err = u.sink.Sound(ctx)
			return err
		})
		answer <- s
	}()
	return answer
}

// compareStructure takes down what is wrong with what the views consist of. What
// the sink names it must name twice.
func (u *part) compareStructure(ctx context.Context, s soundness) error {
	if s.err == nil && len(s.wrong) > 0 {
		s.wrong, s.err = u.sink.Sound(ctx)
	}
	if s.err != nil {
		return ofViews("look whether the views are sound", s.err)
	}
	u.unsound = len(s.wrong) > 0
	lanes, err := u.lanes(ctx)
	if err != nil {
		return err
	}
	find := func(detail string) int {
		return u.find(Finding{Class: Structure, Entity: entityView, ID: fmt.Sprintf("orders, generation %d", u.of.Generation), Detail: detail})
	}
	for _, detail := range s.wrong {
		u.unsoundness = append(u.unsoundness, find(detail))
	}
	for _, detail := range lanes {
		u.foreignLanes = append(u.foreignLanes, find(detail))
	}
	return nil
}

// verifyStructure looks again once orders are repaired: rows that spoilt the
// structures may be gone with them. What is left only a rebuild cures.
func (u *part) verifyStructure(ctx context.Context) error {
	if len(u.unsoundness)+len(u.foreignLanes) == 0 {
		return nil
	}
	wrong, err := u.sink.Sound(ctx)
	if err != nil {
		return ofViews("look whether the views are sound", err)
	}
	lanes, err := u.lanes(ctx)
	if err != nil {
		return err
	}
	u.unsound = len(wrong) > 0
	outcome := func(numbers []int, left []string) {
		problem := ""
		if len(left) > 0 {
			problem = "no repair of orders cures it: docket projections rebuild orders makes the views anew"
		}
		for _, number := range numbers {
			u.outcome(number, problem)
		}
	}
	outcome(u.unsoundness, wrong)
	outcome(u.foreignLanes, lanes)
	return nil
}

// lanes says which checkpoints are not of this log. Docket goes on from its own
// memory, but reads them when it starts.
func (u *part) lanes(ctx context.Context) (wrong []string, err error) {
	lanes, err := u.sink.Checkpoints(ctx)
	if err != nil {
		return nil, ofViews("read checkpoints", err)
	}
	// The head is read after them: no lane can be beyond it.
	head, err := u.Store.Head(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the end of the log: %w", err)
	}
	log, err := u.Store.Log(ctx)
	if err != nil {
		return nil, fmt.Errorf("identify the log: %w", err)
	}
	for _, lane := range lanes {
		switch {
		case lane.Lane < 0 || lane.Lane >= projections.Lanes: // the sink tells of them
		case head.Before(lane.Position):
			wrong = append(wrong, fmt.Sprintf("lane %d stands at %s, the log ends at %s: after a restart docket would believe that the log lost its end", lane.Lane, lane.Position, head))
		case lane.Position != eventstore.Start && lane.Log != log:
			wrong = append(wrong, fmt.Sprintf("lane %d is of another log, or of the same before it was restored: after a restart docket would build the views anew", lane.Lane))
		}
	}
	return wrong, nil
}

// A row of a parked order tells docket, when it starts, that the order stands
// still. Somebody else can put one there of an order that does not.

// strangeParked finds such rows, of one order or with an empty id of all: rows of
// which the projection does not know, and of orders that the log does not have
// and the views do not keep. A row is seen twice, with a wait between, so that
// none is taken that is being written or removed.
func (u *part) strangeParked(ctx context.Context, only string) (strange []Finding, err error) {
	before, err := u.sink.Parked(ctx)
	if err != nil || len(before) == 0 {
		return nil, ofViews("list parked orders", err)
	}
	if err := u.caughtUp(ctx); err != nil {
		return nil, err
	}
	known, err := u.parked(ctx)
	if err != nil {
		return nil, err
	}
	after, err := u.sink.Parked(ctx)
	if err != nil {
		return nil, ofViews("list parked orders", err)
	}
	last := map[string]projections.Parked{}
	for _, p := range before {
		last[p.OrderID] = p
	}
	for _, p := range after {
		if last[p.OrderID] != p || only != "" && p.OrderID != only {
			continue
		}
		f, err := u.judgeRow(ctx, p, known)
		if err != nil {
			return nil, err
		}
		if f != nil {
			strange = append(strange, *f)
		}
	}
	return strange, nil
}

// judgeRow says what is wrong with a row of a parked order, if anything is that
// no comparison of orders tells.
func (u *part) judgeRow(ctx context.Context, p projections.Parked, known map[string]projections.Parked) (*Finding, error) {
	h, err := u.read(ctx, p.OrderID)
	if err != nil {
		return nil, err
	}
	row := fmt.Sprintf("a row says that event %d could not be applied (%s)", p.Revision, cutText(p.Reason, maxValue))
	f := &Finding{Class: Parked, Entity: entityOrder, ID: p.OrderID}
	if len(h.events) > 0 {
		revision := h.last()
		f.Revision = &revision
	}
	if _, ok := known[p.OrderID]; !ok {
		f.Detail = row + ", of which docket does not know: the row was put there by somebody else. After a restart the order would stand still"
		return f, nil
	}
	if len(h.events) > 0 || h.bad != nil {
		return nil, nil
	}
	kept, err := u.inspect(ctx, []projections.Change{{Order: projections.Empty(p.OrderID)}})
	if err != nil || kept[0].Found {
		return nil, err
	}
	f.Detail = row + ", and the log does not have the order: the row was put there by somebody else, or the order was deleted"
	return f, nil
}

// compareParked takes down rows of parked orders that somebody else wrote.
func (u *part) compareParked(ctx context.Context, only string) error {
	strange, err := u.strangeParked(ctx, only)
	for _, f := range strange {
		u.orders++
		u.rows = append(u.rows, repair{f.ID, u.find(f)})
	}
	return err
}

// repairRows has the projection settle what rows of parked orders say.
func (u *part) repairRows(ctx context.Context) error {
	if len(u.rows) == 0 {
		return nil
	}
	numbers := make([]int, len(u.rows))
	for i, p := range u.rows {
		numbers[i] = p.number
	}
	if err := u.tried(ctx, numbers); err != nil {
		return err
	}
	failed := map[string]error{}
	for _, p := range u.rows {
		if err := u.store.Reproject(ctx, p.id); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed[p.id] = err
		}
	}
	left, err := u.strangeParked(ctx, "")
	if err != nil {
		return err
	}
	still := map[string]bool{}
	for _, f := range left {
		still[f.ID] = true
	}
	for _, p := range u.rows {
		switch err := failed[p.id]; {
		case err != nil:
			u.outcome(p.number, err.Error())
		case still[p.id]:
			u.outcome(p.number, "the order was projected again, and the row is still there")
		default:
			u.outcome(p.number, "")
		}
	}
	return u.journal.flush(ctx)
}
