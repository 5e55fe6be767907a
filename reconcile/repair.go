package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

const (
	// leastLimit is the limit of repairs where 0.1 % of the orders are fewer.
	leastLimit = 1000
	// repairOrders are repaired together, and then looked at again.
	repairOrders = 128
)

// limit of entities that may differ if anything is to be repaired.
func (u *part) limit(orders int64) int64 {
	if u.report.MaxRepairs != nil {
		return int64(*u.report.MaxRepairs)
	}
	return max(leastLimit, orders/1000)
}

// mostRepairs bounds what is remembered of orders that differ. There are no
// more orders than events.
func (u *part) mostRepairs() int64 { return u.limit(u.of.Compared.Events) }

// touch remembers the figures that an order that differs adds to, as it is kept
// and as it should be: those that differ because of it are not counted beside
// it. u.mu is held.
func (u *part) touch(want projections.Change, kept projections.Kept) {
	add := func(key projections.FigureKey, _ values) { u.touched[key] = true }
	eachFigure(want.Contribution, &want.Order, add)
	eachFigure(kept.Contribution, &kept.Document, add)
}

// entities that differ: orders, and figures that no such order explains. What
// belongs to no order at all is no entity.
func (u *part) entities(wrong differences) int64 {
	n := u.orders + wrong.count - int64(len(wrong.list))
	for _, d := range wrong.list {
		if !u.touched[d.key] && d.key.Of != projections.FigureStray {
			n++
		}
	}
	return n
}

// compareFigures takes down the figures that differ.
func (u *part) compareFigures(ctx context.Context, t *tally) (differences, error) {
	d, err := u.figures(ctx, t)
	if err != nil {
		return d, err
	}
	u.of.Compared.Figures, u.of.Compared.Customers = d.figures, d.customers
	for i := range d.list {
		d.list[i].number = u.find(d.list[i].finding())
	}
	if err := u.compareUnlisted(ctx, d.list); err != nil {
		return d, err
	}
	if unlisted := d.count - int64(len(d.list)); unlisted > 0 {
		u.mu.Lock()
		u.report.Unlisted += unlisted
		u.countMore(Aggregate, unlisted)
		u.mu.Unlock()
	}
	return d, nil
}

// compareUnlisted looks at orders that the store keeps and did not list, unless the
// log has them: those were compared.
func (u *part) compareUnlisted(ctx context.Context, wrong []figureDiff) error {
	for _, d := range wrong {
		if d.key.Of != projections.FigureStray || d.key.Dimension != projections.DimensionUnlisted {
			continue
		}
		h, err := u.read(ctx, d.key.Key)
		if err == nil && len(h.events) == 0 && h.bad == nil {
			err = u.lookAndFind(ctx, []string{d.key.Key})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leastForeign orders that the log has not are a handful, whatever the rest is.
const leastForeign = 10

// refusal is why nothing is repaired; empty when something may be.
func (u *part) refusal(wrong differences) string {
	differ, limit := u.entities(wrong), u.limit(u.of.Compared.Streams)
	orphans := u.of.Counts[Orphan]
	switch {
	case u.contradicted:
		return "what the expected side says is not to be believed"
	case differ > limit:
		return fmt.Sprintf("the limit is %d, and %s. So many are not drift but a wrong view: docket projections rebuild orders makes it again; --max-repairs %d repairs them one by one", limit, differing(differ), differ)
	case u.report.MaxRepairs == nil && orphans > leastForeign && 2*orphans > u.of.Compared.Documents:
		return fmt.Sprintf("the log has none of %d of the %d orders in the views: these views seem to belong to another log or namespace (see --data and --namespace). Repairing would remove them; --max-repairs %d does", orphans, u.of.Compared.Documents, differ)
	}
	return ""
}

func differing(n int64) string {
	if n == 1 {
		return "1 order or figure differs"
	}
	return fmt.Sprintf("%d orders and figures differ", n)
}

// repair repairs what was found, unless it is too much, and verifies it. wrong
// are the figures that differ; t is nil when only one order was compared: then
// no figures are counted again.
func (u *part) repair(ctx context.Context, t *tally, wrong differences) error {
	if u.found() == 0 {
		return nil
	}
	if reason := u.refusal(wrong); reason != "" {
		u.say("nothing was repaired: " + reason)
		return nil
	}
	if err := u.repairOrders(ctx); err != nil {
		return err
	}
	if err := u.repairRows(ctx); err != nil {
		return err
	}
	if err := u.verifyStructure(ctx); err != nil {
		return err
	}
	if t == nil {
		if u.uncounted {
			u.say("figures were not compared, and what the order added to them was not right: docket reconcile run compares all")
		}
		return nil
	}
	switch recount := wrong.count > 0 || u.uncounted; {
	case recount && u.unsound:
		u.say("figures were not counted again, for the store's own structures disagree: docket projections rebuild orders makes all of it anew")
	case recount:
		if err := u.recount(ctx, wrong); err != nil {
			return err
		}
	}
	return u.verifyFigures(ctx, t, wrong)
}

// repairOrders projects again what differs, and looks at it again, some orders
// at a time: what was done is written down before the next are touched.
func (u *part) repairOrders(ctx context.Context) error {
	done, all := int64(0), int64(len(u.repairs))
	for some := range slices.Chunk(u.repairs, repairOrders) {
		numbers := make([]int, len(some))
		for i, p := range some {
			numbers[i] = p.number
		}
		if err := u.tried(ctx, numbers); err != nil {
			return err
		}
		failed := map[string]error{}
		for _, p := range some {
			u.step("repairing", done, all)
			if err := u.store.Reproject(ctx, p.id); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if away := u.away(ctx, err); away != nil {
					return away
				}
				failed[p.id] = err
			}
			done++
		}
		u.step("verifying", done, all)
		if err := u.verifyOrders(ctx, some, failed); err != nil {
			return err
		}
		if err := u.journal.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// away is why nothing more can be repaired after an order could not: the store
// does not answer at all.
func (u *part) away(ctx context.Context, failure error) error {
	if !errors.Is(failure, projections.ErrUnavailable) && !errors.Is(failure, projections.ErrLost) {
		return nil
	}
	_, err := u.sink.Checkpoints(ctx)
	return ofViews("repair orders", err)
}

// recount counts the figures again, from what the orders contribute.
func (u *part) recount(ctx context.Context, wrong differences) error {
	numbers := make([]int, len(wrong.list))
	for i, d := range wrong.list {
		numbers[i] = d.number
	}
	if err := u.tried(ctx, numbers); err != nil {
		return err
	}
	changed, err := u.sink.Recount(ctx)
	if err != nil {
		return ofViews("recount", err)
	}
	u.report.Recounted += int64(changed)
	return nil
}

// tried makes durable that these findings are repaired next; -1 is one that is
// not listed.
func (u *part) tried(ctx context.Context, numbers []int) error {
	numbers = slices.DeleteFunc(numbers, func(n int) bool { return n < 0 })
	if len(numbers) > 0 {
		u.mu.Lock()
		for _, n := range numbers {
			u.report.Findings[n].Outcome = outcomeTried
		}
		u.journal.add(typeTried, tried{Numbers: numbers, At: u.Clock().UTC()})
		u.mu.Unlock()
	}
	return u.journal.flush(ctx)
}

// verifyOrders looks again at orders that were repaired.
func (u *part) verifyOrders(ctx context.Context, some []repair, failed map[string]error) error {
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
			blame, err := u.blame(ctx, p.id)
			if err != nil {
				return err
			}
			u.outcome(p.number, fmt.Sprintf("it was projected again and is still wrong (%s): %s", f.Class, blame))
		}
	}
	return nil
}

const (
	blameFold   = "the projection itself makes another document of these events than the expected side. Fix projections (Apply, Contributions or OrderWords) and raise its Version; docket then rebuilds the views"
	blameOther  = "what is kept is not what the projection writes: something else changes it, a trigger in the view file or another program. Find and stop it, then docket projections rebuild orders"
	blameEither = "either something else changes what is written (a trigger in the view file, another program), or the projection makes another document of these events than the expected side: then fix projections and raise its Version"
)

// blame says why an order that was projected again differs again: whether what
// is kept is what the projection's own fold makes.
func (u *part) blame(ctx context.Context, id string) (string, error) {
	h, err := u.read(ctx, id)
	if err != nil {
		return "", err
	}
	made, ok := u.projected(h)
	if !ok {
		return blameEither, nil
	}
	kept, err := u.inspect(ctx, []projections.Change{made})
	switch {
	case err != nil:
		return "", err
	case kept[0].Same:
		return blameFold, nil
	case kept[0].Found && kept[0].Unreadable == "" && kept[0].Document.Revision != made.Order.Revision:
		return blameEither, nil // it goes on changing
	}
	return blameOther, nil
}

// projected is what the projection's own fold makes of an order.
func (u *part) projected(h history) (c projections.Change, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	if len(h.events) == 0 || h.bad != nil {
		return c, false
	}
	var doc view.Order
	for _, e := range h.events {
		doc = u.Fold.Apply(doc, e)
	}
	return projections.Change{Order: doc, Contribution: u.Fold.Contributions(doc), Words: u.Fold.Words(doc)}, true
}

// verifyFigures compares the figures again. What differs that did not before is
// a finding, too.
func (u *part) verifyFigures(ctx context.Context, t *tally, wrong differences) error {
	u.step("verifying", int64(len(u.repairs)), int64(len(u.repairs)))
	left, err := u.figures(ctx, t)
	if err != nil {
		return err
	}
	why := "it was counted again and is still wrong: orders that could not be repaired add to it, or the projection counts them in another way than the expected side"
	if u.unsound {
		why = "it was not counted again: see the findings of class structure"
	}
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
	u.mu.Lock()
	u.repairedMore(max(0, wrong.count-int64(len(wrong.list))-(left.count-int64(len(left.list)))))
	u.mu.Unlock()
	spoilt := 0
	for _, d := range left.list {
		if !before[d.key] {
			spoilt++
			u.outcome(u.find(d.finding()), "it was right before the repair: orders whose part of the figures is wrong were counted with it")
		}
	}
	if spoilt > 0 {
		u.say(fmt.Sprintf("figures that were right before the repair are wrong after it (%d): docket projections rebuild orders makes all of them anew", spoilt))
	}
	return nil
}

// outcome takes down how the repair of a finding went; number -1 is one that is
// not listed.
func (u *part) outcome(number int, problem string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	outcome := outcomeFailed
	if problem == "" {
		outcome = outcomeRepaired
		u.repairedMore(1)
	}
	if number < 0 {
		return
	}
	f := &u.report.Findings[number]
	f.Outcome, f.Error = outcome, cutText(problem, maxText)
	u.journal.add(typeRepaired, repaired{Number: number, Outcome: outcome, Error: f.Error, At: u.Clock().UTC()})
}
