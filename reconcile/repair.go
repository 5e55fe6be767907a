package reconcile

import (
	"context"
	"fmt"
	"slices"

	"github.com/docket-orders/docket/projections"
)

// leastLimit is the limit of repairs where 0.1 % of the orders are fewer.
const leastLimit = 1000

// limit of entities that may differ if anything is to be repaired.
func (u *run) limit(orders int64) int64 {
	if u.report.MaxRepairs != nil {
		return int64(*u.report.MaxRepairs)
	}
	return max(leastLimit, orders/1000)
}

// mostRepairs bounds what is remembered of orders that differ. There are no
// more orders than events.
func (u *run) mostRepairs() int64 { return u.limit(u.report.Compared.Events) }

// touch remembers the figures that an order that differs adds to, as it is kept
// and as it should be: those that differ because of it are not counted beside
// it. u.mu is held.
func (u *run) touch(want projections.Change, kept projections.Kept) {
	add := func(key projections.FigureKey, _ values) { u.touched[key] = true }
	eachFigure(want.Contribution, &want.Order, add)
	eachFigure(kept.Contribution, &kept.Document, add)
}

// entities that differ: orders, and figures that no such order explains. What
// belongs to no order at all is no entity.
func (u *run) entities(wrong differences) int64 {
	n := u.orders + wrong.count - int64(len(wrong.list))
	for _, d := range wrong.list {
		if !u.touched[d.key] && d.key.Of != projections.FigureStray {
			n++
		}
	}
	return n
}

// compareFigures takes down the figures that differ.
func (u *run) compareFigures(ctx context.Context, t *tally) (differences, error) {
	d, err := u.figures(ctx, t)
	if err != nil {
		return d, err
	}
	u.report.Compared.Figures, u.report.Compared.Customers = d.figures, d.customers
	for i := range d.list {
		d.list[i].number = u.find(d.list[i].finding())
	}
	unlisted := d.count - int64(len(d.list))
	u.report.Unlisted += unlisted
	if unlisted > 0 {
		u.report.Counts[Aggregate] += unlisted
	}
	return d, nil
}

// repair repairs what was found, unless it is too much, and verifies it. wrong
// are the figures that differ; t is nil when only one order was compared.
func (u *run) repair(ctx context.Context, t *tally, wrong differences) error {
	differ, limit := u.entities(wrong), u.limit(u.report.Compared.Streams)
	switch {
	case u.report.found() == 0:
		return nil
	case u.contradicted:
		u.say("nothing was repaired: what the expected side says is not to be believed")
		return nil
	case differ > limit:
		u.say(fmt.Sprintf("nothing was repaired: %d orders and figures differ, and the limit is %d. So many are not drift but a wrong view: docket projections rebuild orders makes it again; --max-repairs %d repairs them one by one", differ, limit, differ))
		return nil
	}
	failed := map[string]error{}
	for i, p := range u.repairs {
		u.step("repairing", int64(i), int64(len(u.repairs)))
		if err := u.Projection.Reproject(ctx, p.id); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed[p.id] = err
		}
	}
	u.step("repairing", int64(len(u.repairs)), int64(len(u.repairs)))
	if _, err := u.sink.Recount(ctx); err != nil {
		return fmt.Errorf("recount: %w", err)
	}
	if err := u.verifyOrders(ctx, failed); err != nil {
		return err
	}
	if t == nil {
		return nil
	}
	return u.verifyFigures(ctx, t, wrong)
}

// verifyOrders looks again at every order that was repaired.
func (u *run) verifyOrders(ctx context.Context, failed map[string]error) error {
	done := int64(0)
	for some := range slices.Chunk(u.repairs, lookOrders) {
		u.step("verifying", done, int64(len(u.repairs)))
		ids := make([]string, len(some))
		for i, p := range some {
			ids[i] = p.id
		}
		left, err := u.look(ctx, ids)
		if err != nil {
			return err
		}
		still := map[string]Finding{}
		for _, f := range left {
			still[f.ID] = f
		}
		for _, p := range some {
			f, differs := still[p.id]
			switch err := failed[p.id]; {
			case !differs:
				u.outcome(p.number, "")
			case err != nil:
				u.outcome(p.number, err.Error())
			default:
				u.outcome(p.number, fmt.Sprintf("it was projected again and is still wrong (%s): the projection itself makes another document of these events than the expected side. Fix projections (Apply, Contributions or OrderWords) and raise its Version; docket then rebuilds the views", f.Class))
			}
		}
		done += int64(len(some))
	}
	return nil
}

// verifyFigures compares the figures again. What differs that did not before is
// a finding, too.
func (u *run) verifyFigures(ctx context.Context, t *tally, wrong differences) error {
	u.step("verifying", int64(len(u.repairs)), int64(len(u.repairs)))
	left, err := u.figures(ctx, t)
	if err != nil {
		return err
	}
	const why = "it was counted again and is still wrong: orders that could not be repaired add to it, or the projection counts them in another way than the expected side"
	if left.unsteady {
		for _, d := range wrong.list {
			u.outcome(d.number, "it was counted again, but could not be compared again: too much moved")
		}
		return nil
	}
	still := map[projections.FigureKey]bool{}
	for _, d := range left.list {
		still[d.key] = true
	}
	before := map[projections.FigureKey]bool{}
	for _, d := range wrong.list {
		before[d.key] = true
		if still[d.key] {
			u.outcome(d.number, why)
		} else {
			u.outcome(d.number, "")
		}
	}
	u.report.Repaired += max(0, wrong.count-int64(len(wrong.list))-(left.count-int64(len(left.list))))
	for _, d := range left.list {
		if !before[d.key] {
			u.outcome(u.find(d.finding()), why)
		}
	}
	return nil
}

// outcome takes down how the repair of a finding went; number -1 is one that is
// not listed.
func (u *run) outcome(number int, problem string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	outcome := outcomeFailed
	if problem == "" {
		outcome = outcomeRepaired
		u.report.Repaired++
	}
	if number < 0 {
		return
	}
	f := &u.report.Findings[number]
	f.Outcome, f.Error = outcome, cutText(problem, maxText)
	u.journal.add(typeRepaired, repaired{Number: number, Outcome: outcome, Error: f.Error, At: u.Clock().UTC()})
}

// say adds a reason that takes nothing from what was compared.
func (u *run) say(reason string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.note(reason)
}
