package query_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/query"
)

// day is n days after the year began.
func day(n int) time.Time { return time.Date(2020, 1, 1+n, 12, 0, 0, 0, time.UTC) }

// stored is an event as it is recorded at a time.
func stored(t *testing.T, n int, e order.Event, recordedAt time.Time) eventstore.Event {
	t.Helper()
	typ, data, err := codec.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	id := command.KeyID("", "", fmt.Sprint(n, typ))
	return eventstore.Event{ID: id, Type: typ, JSON: true, Data: data,
		Metadata: codec.EncodeMeta(codec.Meta{CommandID: id, Command: "test", Version: 1, RecordedAt: recordedAt})}
}

// history puts events into the stream of an order; event n is recorded on day n.
func (w *world) history(id string, history ...order.Event) {
	w.t.Helper()
	events := make([]eventstore.Event, len(history))
	for n, e := range history {
		events[n] = stored(w.t, n, e, day(n))
	}
	w.append(id, events...)
}

func (w *world) append(id string, events ...eventstore.Event) {
	w.t.Helper()
	if _, err := w.store.Append(w.t.Context(), eventstore.Namespace("").Stream(codec.Category, id), eventstore.Any, events); err != nil {
		w.t.Fatal(err)
	}
}

// at is a service for which it is noon of day n.
func (w *world) at(n int) *query.Service {
	o := w.options
	o.Clock = func() time.Time { return day(n) }
	return query.New(o)
}

func mug(at time.Time) order.Placed {
	zero := money.Zero("EUR")
	return order.Placed{Number: "N1", Kind: order.KindOrder, Currency: "EUR", Shipping: zero, Discount: zero, Tax: zero, At: at,
		Lines: []order.Line{{ID: "1", SKU: "MUG", Quantity: 2, UnitPrice: money.Minor(750, "EUR")}}}
}

func to[T any](v T) *T { return &v }

func TestCuts(t *testing.T) {
	w := newWorld(t)
	w.place(1) // so that the order begins at position 2
	w.history("o",
		mug(day(0)),
		order.ShipmentDelivered{ShipmentID: "s", Lines: []order.LineQuantity{{LineID: "1", Quantity: 2}}, At: day(-5)}, // takes effect when the order is there
		order.Confirmed{At: day(20)},
		order.TagsSet{Tags: []string{"late"}, At: day(10)},
		order.TagsSet{Tags: []string{"early"}, At: day(5)},
	)
	s := w.at(30)
	for name, c := range map[string]struct {
		cut      query.Cut
		revision int64
		status   string
		tags     string
	}{
		"now":                      {query.Cut{}, 4, "confirmed", "early"},
		"revision":                 {query.Cut{Revision: to(eventstore.Revision(1))}, 1, "placed", ""},
		"position":                 {query.Cut{Position: to(eventstore.At64(5))}, 3, "confirmed", "late"},
		"instant of an event":      {query.Cut{AsOf: to(day(3))}, 3, "confirmed", "late"},
		"just before it":           {query.Cut{AsOf: to(day(3).Add(-time.Microsecond))}, 2, "confirmed", ""},
		"begin, in business":       {query.Cut{EffectiveAt: to(day(0))}, 1, "placed", ""},
		"early before late":        {query.Cut{EffectiveAt: to(day(5))}, 4, "placed", "early"},
		"late after early":         {query.Cut{EffectiveAt: to(day(10))}, 4, "placed", "late"},
		"all, in business":         {query.Cut{EffectiveAt: to(day(29))}, 4, "confirmed", "late"},
		"known then, in business":  {query.Cut{AsOf: to(day(3)), EffectiveAt: to(day(10))}, 3, "placed", "late"},
		"revision and in business": {query.Cut{Revision: to(eventstore.Revision(2)), EffectiveAt: to(day(19))}, 1, "placed", ""},
	} {
		got, err := s.OrderAsOf(t.Context(), "o", c.cut)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Revision != c.revision || got.Status != c.status || strings.Join(got.Tags, ",") != c.tags ||
			!got.UpdatedAt.Equal(day(int(c.revision))) || got.Position != fmt.Sprint(c.revision+2) {
			t.Errorf("%s: revision %d at %s (%s), %s, %v", name, got.Revision, got.Position, got.UpdatedAt, got.Status, got.Tags)
		}
	}
	events, err := s.Events(t.Context(), "o", query.Cut{EffectiveAt: to(day(29))})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, e := range events {
		order = append(order, fmt.Sprint(e.Revision, " ", e.EffectiveAt.Format("01-02")))
	}
	if got := strings.Join(order, ", "); got != "0 01-01, 1 01-01, 4 01-06, 3 01-11, 2 01-21" {
		t.Errorf("events in the order %s", got)
	}
}

// A refund recorded before its payment begins that payment.
func TestEffectiveTimes(t *testing.T) {
	w := newWorld(t)
	w.history("o",
		mug(day(0)),
		order.RefundGranted{RefundID: "f", PaymentID: "p", ReturnID: "r", Amount: money.Minor(1, "EUR"), At: day(8)},
		order.PaymentCaptured{PaymentID: "p", Amount: money.Minor(1, "EUR"), At: day(4)},
		order.ReturnReceived{ReturnID: "r", At: day(3)},
		order.RefundCompleted{RefundID: "f", At: day(2)},
		order.PaymentCaptured{PaymentID: "q", Amount: money.Minor(1, "EUR"), At: day(4)},
		order.HoldPlaced{HoldID: "p", At: day(1)}, // another thing of the same id
		order.NoteAdded{NoteID: "n", At: day(-4)},
	)
	events, err := w.at(30).Events(t.Context(), "o", query.Cut{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{0, 8, 8, 8, 8, 4, 1, 0} {
		if !events[i].EffectiveAt.Equal(day(want)) {
			t.Errorf("revision %d takes effect at %s, not %s", i, events[i].EffectiveAt, day(want))
		}
	}
}

func TestCutsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.place(1)
	w.history("o", mug(day(1)), order.Confirmed{At: day(2)}) // recorded on days 0 and 1
	for name, c := range map[string]struct {
		id     string
		cut    query.Cut
		want   *domain.Rejection
		detail string
	}{
		"unknown order":         {"x", query.Cut{AsOf: to(day(0))}, query.ErrOrderUnknown, ""},
		"no cut is needed":      {"x", query.Cut{}, query.ErrOrderUnknown, ""},
		"revision":              {"o", query.Cut{Revision: to(eventstore.Revision(2))}, query.ErrRevisionUnknown, "2"},
		"negative revision":     {"o", query.Cut{Revision: to(eventstore.Revision(-1))}, query.ErrRevisionUnknown, "-1"},
		"position before":       {"o", query.Cut{Position: to(eventstore.At64(1))}, query.ErrCutBefore, "position 2"},
		"start of the log":      {"o", query.Cut{Position: to(eventstore.Start)}, query.ErrCutBefore, "position 2"},
		"position beyond":       {"o", query.Cut{Position: to(eventstore.At64(4))}, query.ErrPositionUnknown, "3"},
		"as of, before":         {"o", query.Cut{AsOf: to(day(0).Add(-1))}, query.ErrCutBefore, "2020-01-01T12:00:00Z"},
		"as of, later":          {"o", query.Cut{AsOf: to(day(30).Add(1))}, query.ErrCutFuture, "2020-01-31T12:00:00Z"},
		"effective, before":     {"o", query.Cut{EffectiveAt: to(day(1).Add(-1))}, query.ErrCutBefore, "2020-01-02T12:00:00Z"},
		"effective, later":      {"o", query.Cut{EffectiveAt: to(day(31))}, query.ErrCutFuture, "2020-02-01"},
		"known, not effective":  {"o", query.Cut{Revision: to(eventstore.Revision(0)), EffectiveAt: to(day(0))}, query.ErrCutBefore, "2020-01-02"},
		"two cuts":              {"o", query.Cut{Revision: to(eventstore.Revision(0)), AsOf: to(day(0))}, query.ErrCuts, ""},
		"three cuts, no order":  {"x", query.Cut{Revision: to(eventstore.Revision(0)), AsOf: to(day(0)), Position: to(eventstore.At64(1))}, query.ErrCuts, ""},
		"later, but also early": {"o", query.Cut{AsOf: to(day(-1)), EffectiveAt: to(day(40))}, query.ErrCutFuture, ""},
	} {
		_, err := w.at(30).OrderAsOf(t.Context(), c.id, c.cut)
		var refused *domain.Rejection
		if !errors.As(err, &refused) || !errors.Is(err, c.want) || !strings.Contains(refused.Detail, c.detail) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.detail)
		}
	}
	// A clock that went ahead has recorded until day 1: what was before has come;
	// at day 1 itself more may still be recorded.
	for _, cut := range []query.Cut{{AsOf: to(day(1).Add(-1))}, {EffectiveAt: to(day(1))}} {
		if _, err := w.at(-3).OrderAsOf(t.Context(), "o", cut); err != nil {
			t.Errorf("%+v: %v", cut, err)
		}
	}
	if _, err := w.at(-3).OrderAsOf(t.Context(), "o", query.Cut{AsOf: to(day(1))}); !errors.Is(err, query.ErrCutFuture) {
		t.Errorf("after all recordings: %v", err)
	}
}

// The history before an event that nobody can read stays open, and the refusal
// says which event it is.
func TestCutsAroundAnEventNobodyCanRead(t *testing.T) {
	usd := order.PaymentCaptured{PaymentID: "p", Amount: money.Minor(1, "USD"), At: day(1)}
	bewitched := stored(t, 1, usd, day(1))
	bewitched.Type = "OrderBewitched"
	formless := stored(t, 1, usd, day(1))
	formless.Metadata = []byte(`{"recordedAt":7}`)
	eur := usd
	eur.Amount = money.Minor(1, "EUR")
	for name, bad := range map[string][]eventstore.Event{
		"unknown type":  {bewitched},
		"bad metadata":  {formless},
		"mixed amounts": {stored(t, 1, eur, day(1)), stored(t, 2, usd, day(1))},
	} {
		w := newWorld(t)
		s := w.at(30)
		w.history("o", mug(day(0)))
		w.append("o", bad...)
		revision := eventstore.Revision(len(bad))
		w.append("o", stored(t, 3, order.Confirmed{At: day(2)}, day(2)))
		o := over(w.options, w.live, &standing{})
		if got, err := query.New(o).OrderFromLog(t.Context(), "o"); err != nil || got.Degraded == nil || got.Degraded.Revision != int64(revision) || got.Revision != int64(revision)-1 {
			t.Errorf("%s, as far as it goes: %+v, %v", name, got.Degraded, err)
		}
		before := []query.Cut{{Revision: to(revision - 1)}, {Position: to(eventstore.At64(uint64(revision)))}}
		if name != "bad metadata" { // when that was recorded nobody knows
			before = append(before, query.Cut{AsOf: to(day(1).Add(-1))}, query.Cut{AsOf: to(day(0)), EffectiveAt: to(day(9))})
		}
		for _, cut := range before {
			if _, err := s.OrderAsOf(t.Context(), "o", cut); err != nil {
				t.Errorf("%s, before it: %v", name, err)
			}
		}
		for _, cut := range []query.Cut{
			{}, {Revision: &revision}, {Revision: to(revision + 1)}, {Position: to(eventstore.At64(uint64(revision + 1)))},
			{AsOf: to(day(1))}, {AsOf: to(day(2))}, {EffectiveAt: to(day(9))}, {Revision: to(revision + 9)},
		} {
			_, err := s.OrderAsOf(t.Context(), "o", cut)
			if cut.Revision != nil && *cut.Revision > revision+1 && errors.Is(err, query.ErrRevisionUnknown) {
				continue // it is not there, readable or not
			}
			var refused *domain.Rejection
			if !errors.Is(err, query.ErrHistoryUnreadable) || !errors.As(err, &refused) ||
				!strings.HasPrefix(refused.Detail, fmt.Sprintf("revision %d: ", revision)) {
				t.Errorf("%s, %+v: %v", name, cut, err)
			}
		}
	}
}

func TestCutsOfAHistoryThatWasCutOff(t *testing.T) {
	w := newWorld(t)
	w.history("o", mug(day(0)), order.Confirmed{At: day(1)})
	stream := eventstore.Namespace("").Stream(codec.Category, "o")
	if _, err := w.store.SetStreamMetadata(t.Context(), stream, eventstore.NoStream, eventstore.StreamMetadata{TruncateBefore: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.at(30).OrderAsOf(t.Context(), "o", query.Cut{}); !errors.Is(err, query.ErrHistoryUnreadable) {
		t.Errorf("a fold without its beginning: %v", err)
	}
	if _, err := w.store.Delete(t.Context(), stream, eventstore.Any); err != nil {
		t.Fatal(err)
	}
	if _, err := w.at(30).OrderAsOf(t.Context(), "o", query.Cut{}); !errors.Is(err, query.ErrOrderUnknown) {
		t.Errorf("deleted: %v", err)
	}
}

// What another program dated out of order still is a prefix.
func TestAsOfIsAPrefix(t *testing.T) {
	w := newWorld(t)
	w.append("o", stored(t, 0, mug(day(0)), day(0)),
		stored(t, 1, order.Confirmed{At: day(1)}, day(9)), stored(t, 2, order.TagsSet{Tags: []string{"x"}, At: day(2)}, day(2)))
	got, err := w.at(30).OrderAsOf(t.Context(), "o", query.Cut{AsOf: to(day(5))})
	if err != nil || got.Revision != 0 {
		t.Errorf("revision %d, %v", got.Revision, err)
	}
	if got, err := w.at(30).OrderAsOf(t.Context(), "o", query.Cut{AsOf: to(day(9))}); err != nil || got.Revision != 2 {
		t.Errorf("revision %d, %v", got.Revision, err)
	}
}
