package reconcile

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/reconcile/expected"
	"github.com/docket-orders/docket/view"
)

// applied changes what Apply makes of an event.
func applied(change func(before, after view.Order, e codec.Recorded) view.Order) projections.Fold {
	return projections.Fold{Apply: func(doc view.Order, e codec.Recorded) view.Order {
		return change(doc, projections.Apply(doc, e), e)
	}}
}

// counted changes what a document adds to figures.
func counted(change func(c *projections.Contribution, doc view.Order)) projections.Fold {
	return projections.Fold{Contributions: func(doc view.Order) projections.Contribution {
		c := projections.Contributions(doc)
		change(&c, doc)
		return c
	}}
}

// missed passes over events of one type, as if they had been applied.
func missed(typ string) projections.Fold {
	return applied(func(before, after view.Order, e codec.Recorded) view.Order {
		if e.Type == typ {
			before.Revision, before.Position, before.UpdatedAt = after.Revision, after.Position, after.UpdatedAt
			return before
		}
		return after
	})
}

// bugs of the projector, each with a field that a finding must name.
func bugs() map[string]struct {
	fold  projections.Fold
	field string
} {
	type bug = struct {
		fold  projections.Fold
		field string
	}
	return map[string]bug{
		"wrong field": {applied(func(_, after view.Order, e codec.Recorded) view.Order {
			after.Customer.Email = after.Customer.Name
			return after
		}), "/customer/email"},
		"missed event":          {missed("OrderPaymentCaptured"), "/totals/paid"},
		"missed note":           {missed("OrderNoteAdded"), "/notes"},
		"stale address":         {missed("OrderShippingAddressChanged"), "/shippingAddress"},
		"hold stays":            {missed("OrderHoldReleased"), "/holds"},
		"refund done too early": {applied(refundedWhenGranted), "/refunds"},
		"swapped order": {applied(func(_, after view.Order, e codec.Recorded) view.Order {
			if e.Type == "OrderPlaced" {
				after.Lines = slices.Clone(after.Lines)
				slices.Reverse(after.Lines)
			}
			return after
		}), "/lines"},
		"rounding": {applied(func(before, after view.Order, e codec.Recorded) view.Order {
			placed, ok := e.Event.(order.Placed)
			if !ok {
				return after
			}
			placed.Lines = slices.Clone(placed.Lines)
			for i := range placed.Lines {
				placed.Lines[i].UnitPrice = placed.Lines[i].UnitPrice.Rounded()
			}
			e.Event = placed
			return projections.Apply(before, e)
		}), "/lines"},
		"dropped tag": {applied(func(_, after view.Order, e codec.Recorded) view.Order {
			if n := len(after.Tags); n > 0 && e.Type == "OrderTagsSet" {
				after.Tags = after.Tags[:n-1]
			}
			return after
		}), "/tags"},
		"microseconds cut": {applied(func(_, after view.Order, e codec.Recorded) view.Order {
			after.UpdatedAt = after.UpdatedAt.Truncate(time.Second)
			return after
		}), "/updatedAt"},

		"double count": {counted(func(c *projections.Contribution, _ view.Order) { c.Sums.Units *= 2 }), "/contribution/units"},
		"sign": {counted(func(c *projections.Contribution, doc view.Order) {
			if doc.Kind == "creditNote" {
				c.Sums.Grand = -c.Sums.Grand
			}
		}), "/contribution/grand"},
		"wrong day": {counted(func(c *projections.Contribution, doc view.Order) {
			c.Day = doc.PlacedAt.In(time.FixedZone("", -6*3600)).Format("2006-01-02")
		}), "/contribution/day"},
		"wrong method sum": {counted(func(c *projections.Contribution, doc view.Order) {
			for i := range c.Methods {
				c.Methods[i].Captured = c.Sums.Grand + 1
			}
		}), "/contribution/methods/"},
		"a group too few": {counted(func(c *projections.Contribution, _ view.Order) {
			c.Groups = slices.DeleteFunc(c.Groups, func(g projections.Group) bool { return g.Dimension == "anomaly" || g.Dimension == "country" })
		}), "/contribution/groups/country/"},
		"guests only": {counted(func(c *projections.Contribution, _ view.Order) { c.Customer = "" }), "/contribution/customer"},
		"notes not found": {projections.Fold{Words: func(doc view.Order) string {
			doc.Notes = nil
			return projections.OrderWords(doc)
		}}, "words"},
	}
}

func refundedWhenGranted(_, after view.Order, e codec.Recorded) view.Order {
	if e.Type == "OrderRefundGranted" {
		after.Refunds = slices.Clone(after.Refunds)
		after.Refunds[len(after.Refunds)-1].Status = "completed"
	}
	return after
}

// A projector that folds wrongly believes itself: whatever is rebuilt or
// projected again is wrong in the same way. Reconciliation finds it, and says
// that repairing does not help.
func TestBugsOfTheProjectorAreFound(t *testing.T) {
	log := filled(t, 80)
	for name, bug := range bugs() {
		t.Run(name, func(t *testing.T) {
			w := log.folded(t, bug.fold)
			report := w.run(Request{})
			if report.Verdict != Drift || !report.Compared.Complete {
				t.Fatal(text(t, report))
			}
			aggregates := strings.HasPrefix(bug.field, "/contribution")
			found, figures := false, false
			for _, f := range report.Findings {
				found = found || strings.Contains(f.Detail, bug.field)
				for _, field := range f.Fields {
					found = found || strings.HasPrefix(field.Path, bug.field)
				}
				figures = figures || f.Class == Aggregate && f.Entity != "order"
				if f.Class != Content && f.Class != Aggregate || aggregates && f.Class != Aggregate {
					t.Fatalf("%+v", f)
				}
			}
			if !found || aggregates && !figures && report.Unlisted == 0 {
				t.Fatalf("no finding names %s: %.3000s", bug.field, text(t, report))
			}
		})
	}
}

func TestRepairDoesNotHideABug(t *testing.T) {
	most := 10_000
	w := filled(t, 100).folded(t, missed("OrderNoteAdded"))
	report := w.run(Request{Repair: true, MaxRepairs: &most})
	if report.Verdict != Drift || report.Repaired != 0 || len(report.Findings) == 0 {
		t.Fatal(text(t, report))
	}
	for _, f := range report.Findings {
		if f.Outcome != "failed" || !strings.Contains(f.Error, "Version") {
			t.Errorf("%+v", f)
		}
	}
}

// A bug of the expected side is told apart: nothing is called drift, nothing is
// repaired.
func TestBugsOfTheExpectedSideAreToldApart(t *testing.T) {
	w := filled(t, 250)
	nothing := func(*expected.Accounts, codec.Recorded) {}
	twice := func(row expected.Row) expected.Row {
		return func(a *expected.Accounts, e codec.Recorded) { row(a, e); row(a, e) }
	}
	for name, plant := range map[string]func(expected.Table){
		"no captures":     func(t expected.Table) { t["OrderPaymentCaptured"] = nothing },
		"no arrivals":     func(t expected.Table) { t["OrderShipmentDelivered"] = nothing },
		"no notes":        func(t expected.Table) { t["OrderNoteAdded"] = nothing },
		"captured twice":  func(t expected.Table) { t["OrderPaymentCaptured"] = twice(t["OrderPaymentCaptured"]) },
		"cancelled twice": func(t expected.Table) { t["OrderLinesCancelled"] = twice(t["OrderLinesCancelled"]) },
		"no such row":     func(t expected.Table) { delete(t, "OrderConfirmed") },
		"panics":          func(t expected.Table) { t["OrderConfirmed"] = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w.reconciler.table = expected.Rows()
			plant(w.reconciler.table)
			report := w.run(Request{Repair: true})
			if report.Verdict != Unknown || report.Repaired != 0 || len(report.Reasons) == 0 ||
				!strings.Contains(report.Reasons[0], "contradicts itself") {
				t.Fatal(text(t, report))
			}
			for _, f := range report.Findings {
				if f.Outcome != "" {
					t.Errorf("repair was tried: %+v", f)
				}
			}
		})
	}
	w.reconciler.table = expected.Rows()
	wantClean(t, w.run(Request{}))
}
