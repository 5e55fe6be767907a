package command

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// told keeps what Handle tells.
type told struct {
	mu  sync.Mutex
	all []Refusal
}

func (k *told) tell(_ context.Context, r Refusal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, r)
}

// last is what was told since the last time; one refusal.
func (k *told) last(t *testing.T) Refusal {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.all) != 1 {
		t.Fatalf("told %d refusals: %+v", len(k.all), k.all)
	}
	r := k.all[0]
	k.all = nil
	return r
}

func (k *told) none(t *testing.T) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.all) != 0 {
		t.Errorf("told %+v", k.all)
	}
}

func TestEveryRefusalIsTold(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
		var k told
		with := func(o *Options) {
			o.Refused, o.Clock = k.tell, func() time.Time { return now }
		}
		o, other := w.orders(with), w.orders(with)

		req := key("confirm")
		req.CorrelationID, req.CausationID, req.TraceParent = "corr", "cause", "00-01-02-01"
		_, err := o.Handle(ctx(), "1", order.Confirm{}, req)
		want := Refusal{
			OrderID: "1", Revision: -1, Command: "confirm", Code: order.ErrUnknown.Code, Reason: err.Error(),
			CommandID: req.CommandID, Fingerprint: req.Fingerprint, Actor: "test",
			CorrelationID: "corr", CausationID: "cause", TraceParent: "00-01-02-01", At: now,
		}
		if got := k.last(t); !errors.Is(err, order.ErrUnknown) || got != want {
			t.Errorf("%v, told\n%+v, want\n%+v", err, got, want)
		}
		must(t, o, "1", place(), key("a"))
		must(t, o, "1", place(), key("a")) // the first answer again
		must(t, o, "1", tags("x"), key("b"))
		k.none(t)

		refused := func(o *Orders, cmd order.Command, req Request, code, field string, revision eventstore.Revision) {
			t.Helper()
			if r, err := o.Handle(ctx(), "1", cmd, req); err == nil {
				t.Fatalf("%s was not refused: %+v", cmd.Name(), r)
			}
			if got := k.last(t); got.Code != code || got.Field != field || got.Revision != revision || got.Reason == "" {
				t.Errorf("told %+v, want %s at %q, revision %d", got, code, field, revision)
			}
		}
		other2 := place()
		other2.Lines = other2.Lines[:1]
		refused(o, other2, key("c"), order.ErrExists.Code, "", 1)
		refused(o, other2, key("c"), order.ErrExists.Code, "", 1) // another try, told again
		reused := key("b")
		reused.Fingerprint = "another body"
		refused(o, tags("y"), reused, "key-reused", "", 1)
		stale := key("d")
		stale.IfMatch = new(eventstore.Expected)
		refused(o, tags("y"), stale, "precondition-failed", "", 1)
		early := order.Confirm{At: now.Add(time.Hour)}
		refused(o, early, key("e"), "at-in-future", "/at", 1)

		// The cache is behind: the refusal is of the order as it stands.
		must(t, other, "1", tags("z"), key("f"))
		refused(o, order.Dispatch{}, key("g"), order.ErrNotConfirmed.Code, "", 2)
	})
}

func TestNoRefusalNoWord(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		var k told
		broken := errors.New("disk on fire")
		store := &faulty{Store: w.store, append: func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			if broken != nil {
				return eventstore.Appended{}, broken
			}
			return do()
		}}
		o := w.orders(func(o *Options) { o.Store, o.Refused = store, k.tell })
		for _, failure := range []error{broken, eventstore.ErrOutcomeUnknown, eventstore.ErrConflict, eventstore.ErrReadOnly} {
			broken = failure
			if _, err := o.Handle(ctx(), "1", place(), key("a")); err == nil {
				t.Errorf("%v went by", failure)
			}
		}
		broken = nil
		dry := key("dry")
		dry.DryRun = true
		if _, err := o.Handle(ctx(), "1", order.Confirm{}, dry); !errors.Is(err, order.ErrUnknown) {
			t.Error(err)
		}
		if _, err := o.Handle(ctx(), "no/id", place(), key("b")); !errors.Is(err, order.ErrID) {
			t.Error(err)
		}
		k.none(t)
	})
}

// TestTellingHoldsNoTurn: another command on the order is done while a refusal
// is being told.
func TestTellingHoldsNoTurn(t *testing.T) {
	w := onSQLite(t)
	var o *Orders
	o = w.orders(func(opt *Options) {
		opt.Refused = func(ctx context.Context, r Refusal) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			if _, err := o.Handle(ctx, "1", tags("told"), key("told")); err != nil {
				t.Errorf("while telling: %v", err)
			}
		}
	})
	must(t, o, "1", place(), key("a"))
	if _, err := o.Handle(ctx(), "1", order.Dispatch{}, key("b")); !errors.Is(err, order.ErrNotConfirmed) {
		t.Error(err)
	}
	if n := len(w.records("1")); n != 2 {
		t.Errorf("%d events", n)
	}
}

// TestToldRevisionIsTheOneDecidedOn: while others change the order, what is told
// agrees with what is answered.
func TestToldRevisionIsTheOneDecidedOn(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		var k told
		with := func(o *Options) { o.Refused = k.tell }
		one, two := w.orders(with), w.orders(with)
		must(t, one, "1", place(), key("place"))
		var wg sync.WaitGroup
		var mu sync.Mutex
		answered := map[uuid.UUID]eventstore.Expected{}
		for i, o := range []*Orders{one, two, one, two} {
			wg.Go(func() {
				for n := range 30 {
					req := key(fmt.Sprintf("%d/%d", i, n))
					if n%2 == 0 {
						if _, err := insist(o, "1", tags(fmt.Sprintf("t%d-%d", i, n)), req); err != nil {
							t.Error(err)
						}
						continue
					}
					never := eventstore.At(1_000_000)
					req.IfMatch = &never
					_, err := o.Handle(ctx(), "1", tags("x"), req)
					var p *PreconditionError
					if !errors.As(err, &p) {
						t.Error(err)
						continue
					}
					mu.Lock()
					answered[req.CommandID] = p.Current
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(k.all) != 60 || len(answered) != 60 {
			t.Fatalf("told %d, answered %d", len(k.all), len(answered))
		}
		for _, r := range k.all {
			if answered[r.CommandID] != eventstore.At(r.Revision) {
				t.Errorf("answered revision %s, told %+v", answered[r.CommandID], r)
			}
		}
	})
}

// TestWhatARefusalIsAbout: a command that names a part of the order says which.
func TestWhatARefusalIsAbout(t *testing.T) {
	var k told
	o := onSQLite(t).orders(func(opt *Options) { opt.Refused = k.tell })
	amount := money.Minor(100, "EUR")
	must(t, o, "1", place(), key("place"))
	for i, c := range []struct {
		cmd  order.Command
		want string
	}{
		{order.CapturePayment{PaymentID: "p1", Amount: amount}, "p1"}, {order.FailPayment{PaymentID: "p2"}, "p2"}, {order.VoidPayment{PaymentID: "p3"}, "p3"},
		{order.UpdateShipment{ShipmentID: "s1"}, "s1"}, {order.Deliver{ShipmentID: "s2"}, "s2"},
		{order.ReceiveReturn{ReturnID: "r1", Lines: []order.ReturnedLine{{LineID: "1", Quantity: 1}}}, "r1"}, {order.RejectReturn{ReturnID: "r2"}, "r2"},
		{order.GrantRefund{PaymentID: "p4", Amount: amount}, "p4"}, {order.CompleteRefund{RefundID: "f1"}, "f1"}, {order.FailRefund{RefundID: "f2"}, "f2"},
		{order.ReleaseHold{HoldID: "h1"}, "h1"}, {order.ConfirmEdit{EditID: "e1"}, "e1"}, {order.DeclineEdit{EditID: "e2"}, "e2"},
		{order.Dispatch{}, ""},
	} {
		if _, err := o.Handle(ctx(), "1", c.cmd, key(fmt.Sprint(i))); err == nil {
			t.Errorf("%s was not refused", c.cmd.Name())
			continue
		}
		if r := k.last(t); r.Target != c.want || r.Command != c.cmd.Name() {
			t.Errorf("told %+v, want %s", r, c.want)
		}
	}
}
