package projections_test

import (
	"context"
	"errors"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/view"
)

// TestOrdersApart: what one side parked, lost or keeps for no reason is told, and
// traffic takes nothing from it.
func TestOrdersApart(t *testing.T) {
	picky := projections.Fold{Apply: func(doc view.Order, e codec.Recorded) view.Order {
		if e.OrderID == "order-07919" && e.Revision == 1 {
			panic("cannot be applied")
		}
		return projections.Apply(doc, e)
	}}
	g := generate(t, 77, 60, projectionstest.NewReference(), picky, projections.Fold{})
	g.goOn("order-07919")
	g.goOn("order-07919")
	g.must(g.reachEnd())
	g.must(g.new.Replace(g.ctx, "order-15838", nil))
	stray := projections.Empty("stray")
	g.must(g.new.Replace(g.ctx, "stray", &projections.Change{Order: stray}))
	d, err := projections.Compare(g.ctx, projections.CompareOptions{
		Store: "store", Old: g.old, New: g.new, Log: g.log, Reach: g.both, Spills: g.spills,
	})
	g.must(err)
	if len(d.ParkedOld) != 1 || d.ParkedOld[0].OrderID != "order-07919" || len(d.ParkedNew) != 0 {
		t.Errorf("parked %+v, %+v", d.ParkedOld, d.ParkedNew)
	}
	if d.OnlyOld != 1 || d.Missing[0] != "order-15838" || d.OnlyNew != 1 || d.Extra[0] != "stray" || d.Changed != 1 || d.Equal != 58 {
		t.Errorf("%+v", d)
	}
	if (projections.Difference{Stores: []projections.StoreDifference{d}}).Within([]string{"/revision"}) {
		t.Error("it is within the revision")
	}
}

// TestAgainstOneThatStandsStill: a generation that nobody feeds is compared with
// what the candidate makes at its revisions; what came since is no difference.
func TestAgainstOneThatStandsStill(t *testing.T) {
	bug := projectorBugs[8]
	g := generate(t, 78, 80, projectionstest.NewReference(), bug.fold, projections.Fold{})
	g.must(g.reach[0].Stop())
	frozen := func(ctx context.Context, upTo eventstore.Position) error {
		return errors.Join(projections.ErrStale, g.reach[1].Reach(ctx, upTo))
	}
	for i := range 40 {
		g.goOn(g.orders[i])
	}
	for i := range 10 {
		g.place(78, 80+i)
	}
	c := &cut{at: map[string][2]int64{}}
	d, err := projections.Compare(g.ctx, projections.CompareOptions{
		Store: "store", Old: g.old, New: g.new, OldFold: &bug.fold, Log: g.log, Reach: frozen, Spills: g.spills,
		Settled: func(id string, old, new int64) {
			c.Lock()
			defer c.Unlock()
			c.at[id] = [2]int64{old, new}
		},
	})
	g.must(err)
	if len(c.at) != 80 {
		t.Errorf("%d orders compared, want 80", len(c.at))
	}
	g.naive(c, true, true).check(t, g, d)
}
