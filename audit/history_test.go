package audit_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/query"
)

// shop has one order with a short life.
func shop(t *testing.T) *world {
	w := newWorld(t)
	for _, c := range []struct {
		actor string
		cmd   order.Command
	}{
		{"web", order.Place{Number: "N1", Currency: "EUR", Customer: order.Customer{Name: "Maria"}, At: dawn,
			Lines: []order.Line{{ID: "1", SKU: "MUG", Title: "Mug", Quantity: 2, UnitPrice: money.Minor(750, "EUR")}}}},
		{"ann", order.PlaceHold{HoldID: "h1", Reason: "fraud check"}},
		{"web", order.AddPayment{PaymentID: "p1", Method: "card", Amount: money.Minor(1500, "EUR"), Capture: true}},
		{"bob", order.ReleaseHold{HoldID: "h1"}},
		{"ann", order.SetTags{Tags: []string{"vip"}}},
	} {
		if _, err := w.orders.Handle(t.Context(), "o", c.cmd, command.Request{
			Actor: c.actor, CorrelationID: "corr", CausationID: "cause", TraceParent: "trace", Fingerprint: "f",
		}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func TestHistory(t *testing.T) {
	w := shop(t)
	entries, err := w.auditor.History(t.Context(), "o", query.Cut{})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for i, e := range entries {
		told = append(told, e.Actor+": "+e.Summary)
		if e.Revision != eventstore.Revision(i) || e.ID == "" || e.CommandID == "" || e.Correlation != "corr" || e.Causation != "cause" ||
			e.TraceParent != "trace" || e.RecordedAt.IsZero() || e.At.IsZero() || e.EffectiveAt.Before(e.At) || e.Position == eventstore.Start {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if got, want := strings.Join(told, "\n"), `web: Order placed: 1 line, 15.00 EUR, for Maria
ann: Hold h1 placed: nothing is shipped until it is released - fraud check
web: Payment p1 captured: 15.00 EUR by card
bob: Hold h1 released
ann: Tags are now vip`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	hold := entries[1]
	if hold.Reason != "fraud check" || hold.Type != "OrderHoldPlaced" || hold.Command != "place-hold" ||
		!strings.HasPrefix(string(hold.Data), `{"holdId":"h1","reason":"fraud check","at":"2025-`) {
		t.Errorf("%+v %s", hold, hold.Data)
	}
	if entries, err := w.auditor.History(t.Context(), "x", query.Cut{}); !errors.Is(err, query.ErrOrderUnknown) || entries != nil {
		t.Errorf("unknown order: %v, %v", entries, err)
	}
}

func TestWhy(t *testing.T) {
	w := shop(t)
	why := func(field string) string {
		origins, err := w.auditor.Why(t.Context(), "o", query.Cut{}, field)
		if err != nil {
			return err.Error()
		}
		var told []string
		for _, o := range origins {
			if o.Summary == "" || o.Command == "" || o.At.IsZero() || o.RecordedAt.IsZero() {
				t.Errorf("%+v", o)
			}
			told = append(told, o.Path+" "+string(o.Value)+" "+o.Type+" by "+o.Actor)
		}
		return strings.Join(told, "; ")
	}
	for field, want := range map[string]string{
		"/paymentStatus": `/paymentStatus "paid" OrderPaymentCaptured by web`, // derived
		"/totals/paid":   `/totals/paid {"amount":"15.00","currency":"EUR"} OrderPaymentCaptured by web`,
		"/tags":          `/tags ["vip"] OrderTagsSet by ann`,
		"/holds":         `/holds [] OrderHoldReleased by bob`, // who emptied it
		"/shipments":     `/shipments [] OrderPlaced by web`,   // empty from the beginning
		"/revision":      `/revision 4 OrderTagsSet by ann`,
		"/lines/1/sku":   `/lines/1/sku "MUG" OrderPlaced by web`,
		"/customer":      `/customer/name "Maria" OrderPlaced by web`,
		"/totals/paid/x": "the order has no such field: \"/totals/paid/x\"; there is /totals/discount, /totals/grand, /totals/items, /totals/paid, /totals/refunded, /totals/rounding, /totals/shipping, /totals/tax",
		"/lines/7":       "the order has no such field: \"/lines/7\"; there is /lines/1",
	} {
		if got := why(field); got != want {
			t.Errorf("%s:\n got %s\nwant %s", field, got, want)
		}
	}
	for _, field := range []string{"status", "/", "//", "/lines/", strings.Repeat("/x", 5000)} {
		_, err := w.auditor.Why(t.Context(), "o", query.Cut{}, field)
		var refused *domain.Rejection
		if !errors.Is(err, audit.ErrFieldUnknown) || !errors.As(err, &refused) || len(refused.Detail) > 2000 || !strings.Contains(refused.Detail, "/") {
			t.Errorf("%.20q: %v", field, err)
		}
	}
	if all := why(""); strings.Contains(all, "[]") || !strings.Contains(all, "/status ") || strings.Contains(all, "/holds") {
		t.Errorf("all fields: %s", all)
	}
}

func TestDiff(t *testing.T) {
	w := shop(t)
	first, released := eventstore.Revision(0), eventstore.Revision(3)
	changes, err := w.auditor.Diff(t.Context(), "o", query.Cut{Revision: &released}, query.Cut{Revision: &first})
	if err != nil {
		t.Fatal(err)
	}
	back := map[string]string{}
	for _, c := range changes {
		back[c.Path] = string(c.Before) + " to " + string(c.After)
	}
	if back["/revision"] != "3 to 0" || back["/paymentStatus"] != `"paid" to "none"` || back["/payments/p1/method"] != `"card" to ` || len(back["/holds"]) > 0 {
		t.Errorf("%v", back)
	}
	later := w.now().Add(time.Hour)
	for _, cuts := range [][2]query.Cut{{{AsOf: &later}, {}}, {{}, {AsOf: &later}}} {
		if _, err := w.auditor.Diff(t.Context(), "o", cuts[0], cuts[1]); !errors.Is(err, query.ErrCutFuture) {
			t.Errorf("a cut in the future: %v", err)
		}
	}
}
