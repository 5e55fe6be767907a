package order_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"pgregory.net/rapid"
)

// TestOrderLives sends random commands to one order and looks at the state
// after each.
func TestOrderLives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := ordertest.Drawn(t)
		var s order.State
		var events []order.Event
		if d(3) == 0 {
			adopt := ordertest.Adopt(d, 1+d(15))
			events, s = decided(t, s, adopt)
		} else {
			events, s = decided(t, s, ordertest.Place(d, ordertest.Start))
		}
		at := ordertest.Start
		for range d(40) {
			at = at.Add(time.Minute)
			c := ordertest.Command(d, s, at)
			more, after := decided(t, s, c)
			events, s = append(events, more...), after
			moneyAndUnits(t, s)
		}
		if again := order.Decider.Fold(order.State{}, events...); !reflect.DeepEqual(again, s) {
			t.Fatalf("folded again: %s\nwant %s", asJSON(t, again), asJSON(t, s))
		}
	})
}

// decided decides c and checks what holds for every decision: it changes no
// state, a refusal is one of the rules and comes alone, repeating adds nothing,
// and the state survives a snapshot in the middle.
func decided(t *rapid.T, s order.State, c order.Command) ([]order.Event, order.State) {
	before := asJSON(t, s)
	events, err := order.Decide(s, c)
	if again, err2 := order.Decide(s, c); !reflect.DeepEqual(events, again) || !reflect.DeepEqual(err, err2) {
		t.Fatalf("%T decided twice: %v %v", c, events, again)
	}
	after := order.Decider.Fold(s, events...)
	if now := asJSON(t, s); now != before {
		t.Fatalf("%T changed the state it was decided on:\n%s\nwas\n%s", c, now, before)
	}
	var restored order.State
	if err := json.Unmarshal([]byte(before), &restored); err != nil {
		t.Fatal(err)
	}
	fromSnapshot, err2 := order.Decide(restored, c)
	if !reflect.DeepEqual(events, fromSnapshot) || !reflect.DeepEqual(err, err2) {
		t.Fatalf("%T on a snapshot: %v, %v; want %v, %v", c, fromSnapshot, err2, events, err)
	}
	if a, b := asJSON(t, order.Decider.Fold(restored, events...)), asJSON(t, after); a != b {
		t.Fatalf("%T folded on a snapshot\n%s\nwant\n%s", c, a, b)
	}
	if err != nil {
		var refusal *domain.Rejection
		if !errors.As(err, &refusal) || len(events) > 0 || !slices.ContainsFunc(order.Rules(), func(r *domain.Rejection) bool { return r.Code == refusal.Code }) {
			t.Fatalf("%T: error %v with events %v", c, err, events)
		}
		return nil, s
	}
	if again, err := order.Decide(after, c); err != nil || len(again) > 0 {
		t.Fatalf("repeating %#v gives %v, %v", c, again, err)
	}
	after.PaymentStatus()
	after.FulfilmentStatus()
	return events, after
}

// moneyAndUnits: nothing appears from nowhere on an order that was not adopted.
func moneyAndUnits(t *rapid.T, s order.State) {
	if s.Adoption.Steps > 0 {
		return
	}
	for _, l := range s.Lines {
		counts := []int64{0, l.Asked + l.Returned, l.Delivered, l.Shipped, l.Quantity}
		if !slices.IsSorted(counts) || l.Asked < 0 || l.Returned < 0 || l.Quantity < 1 {
			t.Fatalf("line %s: %+v", l.ID, *l)
		}
	}
	refunded, granted := map[string]money.Amount{}, map[string]money.Amount{}
	for _, r := range s.Refunds {
		switch r.Progress {
		case "":
			granted[r.PaymentID] = granted[r.PaymentID].Add(r.Amount)
		case "done":
			refunded[r.PaymentID] = refunded[r.PaymentID].Add(r.Amount)
		}
	}
	for _, p := range s.Payments {
		zero := money.Zero(s.Currency)
		if !zero.Add(p.Refunded).Sub(refunded[p.ID]).IsZero() || !zero.Add(p.Granted).Sub(granted[p.ID]).IsZero() {
			t.Fatalf("payment %s and its refunds disagree: %+v", p.ID, *p)
		}
		if p.Captured.Sub(p.Refunded).Sub(p.Granted).Sign() < 0 || !p.Authorised.IsZero() && p.Captured.Cmp(p.Authorised) > 0 {
			t.Fatalf("payment %s: %+v", p.ID, *p)
		}
	}
	totals, err := s.Totals()
	if err != nil {
		t.Fatal(err)
	}
	if s.Discount.Sign() < 0 || s.Tax.Sign() < 0 || s.Discount.Cmp(totals.Items) > 0 {
		t.Fatalf("discount %s, tax %s, items %s", s.Discount, s.Tax, totals.Items)
	}
}

// TestActions: what is allowed has a witness that works, and what is refused is
// refused with that rule whatever sound command of its kind comes.
func TestActions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := ordertest.Drawn(t)
		s := order.Decider.Fold(order.State{}, ordertest.Order(d, d(25)+1)...)
		if d(12) == 0 {
			s = order.State{}
		}
		now := ordertest.Start.Add(1000 * time.Hour)
		actions := map[string]order.Action{}
		for _, a := range order.Actions(s, now) {
			actions[a.Name] = a
			if a.Allowed() {
				if events, err := order.Decide(s, a.Witness); err != nil || len(events) == 0 {
					t.Fatalf("witness %#v gives %v, %v", a.Witness, events, err)
				}
			}
		}
		if len(actions) != 26 {
			t.Fatalf("%d actions", len(actions))
		}
		for kind := range ordertest.Kinds {
			c := sound(d, s, kind, now)
			a := actions[c.Name()]
			events, err := order.Decide(s, c)
			switch {
			case a.Allowed():
			case a.Refused != nil && !errors.Is(err, a.Refused) && !(err == nil && len(events) == 0):
				t.Fatalf("%#v gives %v, %v; the action says %v", c, events, err, a.Refused)
			case a.Refused == nil && (err != nil || len(events) > 0):
				t.Fatalf("%#v gives %v, %v; the action says: all done", c, events, err)
			}
		}
	})
}

// sound is a command of a kind whose own content is beyond reproach: new ids
// are new, and what it names is ready for it; else there; else nothing is.
func sound(d ordertest.Dice, s order.State, kind int, at time.Time) order.Command {
	ready := s
	edits := only(s.Edits, func(x *order.EditState) bool { return x.Progress == "" })
	if len(edits) > 0 {
		ready.Edits = edits
	}
	returns := only(s.Returns, func(x *order.ReturnState) bool { return x.Progress == "" && positive(x.Lines) })
	if kind != 19 { // a return that asks for nothing can be rejected
		returns = only(s.Returns, func(x *order.ReturnState) bool { return x.Progress == "" })
	}
	if len(returns) > 0 {
		ready.Returns = returns
	}
	refunds := only(s.Refunds, func(x *order.RefundState) bool { return x.Progress == "" })
	if len(refunds) > 0 {
		ready.Refunds = refunds
	}
	payments := only(s.Payments, func(x *order.PaymentState) bool { return x.Progress == "" && x.Authorised.Sub(x.Captured).Sign() > 0 })
	if kind == 21 {
		payments = only(s.Payments, func(x *order.PaymentState) bool { return x.Captured.Sub(x.Refunded).Sub(x.Granted).Sign() > 0 })
	}
	if len(payments) > 0 {
		ready.Payments = payments
	}
	// The rarest die, "name what is not there", is left out.
	careful := func(n int) int {
		if n == 10 {
			return 1 + d(9)
		}
		return d(n)
	}
	switch c := ordertest.CommandOf(careful, kind, ready, at).(type) {
	case order.ProposeEdit:
		c.EditID = "sound"
		return c
	case order.AddNote:
		c.NoteID = "sound"
		return c
	case order.PlaceHold:
		c.HoldID = "sound"
		return c
	case order.AddPayment:
		c.PaymentID = "sound"
		return c
	case order.CapturePayment:
		c.CaptureID = "sound"
		return c
	case order.Dispatch:
		c.ShipmentID = "sound"
		return c
	case order.RequestReturn:
		c.ReturnID = "sound"
		return c
	case order.ReceiveReturn:
		if len(c.Lines) == 0 {
			c.Lines = []order.ReturnedLine{{LineID: "1", Quantity: 1, Condition: "sound"}}
		}
		return c
	case order.GrantRefund:
		c.RefundID, c.ReturnID = "sound", ""
		return c
	case order.Cancel:
		if len(c.Lines) > 0 {
			c.CancellationID = "sound"
		}
		return c
	default:
		return c
	}
}

func only[T any](list []T, ready func(T) bool) (out []T) {
	for _, one := range list {
		if ready(one) {
			out = append(out, one)
		}
	}
	return out
}

func positive(lines []order.LineQuantity) bool {
	sum := map[string]int64{}
	for _, l := range lines {
		sum[l.LineID] += l.Quantity
	}
	for _, n := range sum {
		if n > 0 {
			return true
		}
	}
	return false
}

// TestAdoptedInParts: the cuts, and parts that come again, change nothing.
func TestAdoptedInParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := ordertest.Drawn(t)
		whole := ordertest.Adopt(d, 1+d(20))
		want, after := decided(t, order.State{}, whole)
		if len(want) == 0 {
			return // could not be a history
		}
		sorted := want[:len(want)-1]
		var s order.State
		var got []order.Event
		for first := 0; ; {
			// Parts may begin among steps that are there already.
			first = max(0, first-d(3))
			end := min(len(sorted), first+1+d(5))
			part := order.Adopt{First: int64(first), History: shuffled(d, sorted[first:end])}
			if first == 0 && end == len(sorted) || end == len(sorted) && d(2) == 0 {
				part.Last, part.Claim, part.Odd = true, whole.Claim, whole.Odd
			}
			events, next := decided(t, s, part)
			got, s, first = append(got, events...), next, end
			if part.Last {
				break
			}
			if end == len(sorted) { // a last part without steps
				events, s = decided(t, s, order.Adopt{First: int64(end), Last: true, Claim: whole.Claim, Odd: whole.Odd})
				got = append(got, events...)
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("in parts\n%v\nat once\n%v", got, want)
		}
		if !reflect.DeepEqual(s, after) {
			t.Fatal("another state")
		}
	})
}

// shuffled moves the first step away from its place: the decider sorts. Ties of
// time and stage keep their order, so only neighbours that differ may swap.
func shuffled(d ordertest.Dice, steps []order.Event) []order.Event {
	steps = slices.Clone(steps)
	for i := 1; i < len(steps); i++ {
		a, b := steps[i-1], steps[i]
		if !(a.OccurredAt().Equal(b.OccurredAt()) && order.StageOf(a) == order.StageOf(b)) && d(2) == 0 {
			steps[i-1], steps[i] = b, a
		}
	}
	return steps
}

// TestFoldIsLinear: ten times the events cost about ten times as much, also
// when one order has as many of everything as it may.
func TestFoldIsLinear(t *testing.T) {
	place := ordertest.Place(ordertest.Seeded(1), ordertest.Start)
	events, err := order.Decide(order.State{}, place)
	if err != nil {
		t.Fatal(err)
	}
	s := order.Decider.Fold(order.State{}, events...)
	for i := range order.MaxEntities {
		s = order.Evolve(s, order.PaymentAuthorised{PaymentID: fmt.Sprint("p", i), Amount: money.Minor(1_000_000, s.Currency)})
	}
	fold := func(n int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s := s
		for i := range n {
			s = order.Evolve(s, order.PaymentCaptured{PaymentID: fmt.Sprint("p", i%order.MaxEntities), CaptureID: fmt.Sprint(i), Amount: money.Minor(1, s.Currency)})
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if few, many := fold(2_000), fold(20_000); many > 13*few {
		t.Errorf("2,000 events take %d bytes, 20,000 take %d", few, many)
	}
}

// TestFoldingNeverPanics: Evolve trusts history, and still survives any: steps
// missing, in any order, twice, of an order that was never placed.
func TestFoldingNeverPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := ordertest.Drawn(t)
		history := ordertest.Adopt(d, 1+d(30)).History
		var s order.State
		for range d(60) {
			s = order.Evolve(s, history[d(len(history))])
			s.PaymentStatus()
			s.FulfilmentStatus()
			order.Actions(s, ordertest.Start)
		}
	})
}

func asJSON(t *rapid.T, s order.State) string {
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		t.Fatal(err)
	}
	return compact.String()
}
