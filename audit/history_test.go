package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
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
		why, err := w.auditor.Why(t.Context(), "o", query.Cut{}, field)
		if err != nil {
			return err.Error()
		}
		var told []string
		for _, o := range why.Fields {
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
	d, err := w.auditor.Diff(t.Context(), "o", query.Cut{Revision: &released}, query.Cut{Revision: &first})
	if err != nil {
		t.Fatal(err)
	}
	back := map[string]string{}
	for _, c := range d.Changes {
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

// What is no longer there has the event that took it away.
func TestWhyIsItGone(t *testing.T) {
	w := newWorld(t)
	w.do("o", order.Place{Currency: "EUR", At: dawn, Lines: []order.Line{{ID: "1", SKU: "MUG", Quantity: 1, UnitPrice: money.Minor(750, "EUR")}}})
	for _, cmd := range []order.Command{
		order.SetMetadata{Metadata: map[string]string{"a": "1", "b": "2"}},
		order.SetTags{Tags: []string{"x"}},
		order.SetMetadata{Metadata: map[string]string{"a": "1"}},
		order.SetTags{Tags: []string{}},
		order.SetMetadata{Metadata: map[string]string{}},
		order.AddNote{Text: "after it"},
	} {
		if _, done := w.do("o", cmd); !done {
			t.Fatalf("%s was refused", cmd.Name())
		}
	}
	for field, want := range map[string]string{
		"/metadata": "/metadata null 5", "/metadata/a": "/metadata/a null 5", "/metadata/b": "/metadata/b null 3", "/tags": "/tags [] 4",
	} {
		why, err := w.auditor.Why(t.Context(), "o", query.Cut{}, field)
		if err != nil || len(why.Fields) != 1 {
			t.Errorf("%s: %+v, %v", field, why, err)
			continue
		}
		if o := why.Fields[0]; fmt.Sprint(o.Path, " ", string(o.Value), " ", o.Revision) != want || o.Summary == "" || o.Actor != "ann" {
			t.Errorf("%s: %+v", field, o)
		}
	}
	if why, err := w.auditor.Why(t.Context(), "o", query.Cut{}, "/metadata/c"); !errors.Is(err, audit.ErrFieldUnknown) {
		t.Errorf("never there: %+v, %v", why, err)
	}
}

// A page is a part of the history, and says whether there is more.
func TestHistoryPages(t *testing.T) {
	w := shop(t)
	all, err := w.auditor.History(t.Context(), "o", query.Cut{})
	if err != nil {
		t.Fatal(err)
	}
	for begin := range all {
		for limit := 1; limit <= len(all)+1; limit++ {
			var after *eventstore.Revision
			if begin > 0 {
				after = &all[begin-1].Revision
			}
			page, err := w.auditor.HistoryPage(t.Context(), "o", query.Cut{}, after, limit)
			end := min(begin+limit, len(all))
			if err != nil || page.Revision != all[len(all)-1].Revision || page.More != (end < len(all)) || inJSON(t, page.Entries) != inJSON(t, all[begin:end]) {
				t.Errorf("after %d, %d: %+v, %v", begin, limit, page, err)
			}
		}
	}
	if _, err := w.auditor.HistoryPage(t.Context(), "o", query.Cut{}, to(eventstore.Revision(99)), 1); !errors.Is(err, audit.ErrNoSuchEvent) {
		t.Errorf("after what is not there: %v", err)
	}
}

func to[T any](v T) *T { return &v }

// expiring is a context that ends after it was looked at so many times.
type expiring struct {
	context.Context
	looks int
}

func (e *expiring) Err() error {
	if e.looks--; e.looks < 0 {
		return context.Canceled
	}
	return nil
}

// Nothing is folded for a caller who has gone.
func TestWhoHungUpGetsNoAnswer(t *testing.T) {
	w := shop(t)
	events, err := w.queries.Events(t.Context(), "o", query.Cut{})
	if err != nil {
		t.Fatal(err)
	}
	folded := 0
	_, err = query.Fold(&expiring{t.Context(), 2}, "o", events, func(query.CutEvent, view.Order, view.Order) { folded++ })
	if !errors.Is(err, context.Canceled) || folded != 2 {
		t.Errorf("%d events were folded, %v", folded, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if why, err := w.auditor.Why(gone, "o", query.Cut{}, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", why, err)
	}
}

// Only few questions about the past are answered at once; who waits may go.
func TestTurnsOfThePast(t *testing.T) {
	w := shop(t)
	var within, most atomic.Int64
	hold, entered := make(chan struct{}), make(chan struct{}, 100)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			first := true
			if _, err := w.queries.Replay(t.Context(), "o", query.Cut{}, func(query.CutEvent, view.Order, view.Order) {
				if !first {
					return
				}
				first = false
				n := within.Add(1)
				for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
				}
				entered <- struct{}{}
				<-hold
				within.Add(-1)
			}); err != nil {
				t.Error(err)
			}
		})
	}
	for range 8 {
		<-entered
	}
	waiting, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.auditor.History(waiting, "o", query.Cut{}); !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	// What answers commands does not queue behind it.
	if doc, err := w.queries.OrderAt(t.Context(), "o", 1); err != nil || doc.Revision != 1 {
		t.Errorf("%+v, %v", doc, err)
	}
	close(hold)
	all.Wait()
	if n := most.Load(); n != 8 {
		t.Errorf("%d at once", n)
	}
}
