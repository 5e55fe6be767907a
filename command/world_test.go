package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/eventstore/eventstoretest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// world is a store that can be closed and opened again, and what is kept beside
// it.
type world struct {
	t         testing.TB
	store     eventstore.Store
	snapshots Snapshots
	restart   func()
}

// onEveryStore runs a test on SQLite and on the store that loses answers.
func onEveryStore(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("sqlite", func(t *testing.T) { test(t, onSQLite(t)) })
	t.Run("reference", func(t *testing.T) { test(t, onReference(t)) })
}

func onSQLite(t testing.TB) *world {
	dir := t.TempDir()
	w := &world{t: t}
	open := func() *sqlite.Store {
		s, err := sqlite.Open(context.Background(), dir, sqlite.Options{Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		w.store, w.snapshots = s, s.Snapshots()
		return s
	}
	s := open()
	w.restart = func() {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open()
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// onReferenceQuietly is for tests that end what they start.
func onReferenceQuietly() *world {
	return &world{store: eventstoretest.NewReference(7), snapshots: &mapSnapshots{}}
}

func onReference(t testing.TB) *world {
	s := eventstoretest.NewReference(7)
	w := &world{t: t, store: s, snapshots: &mapSnapshots{}}
	w.restart = func() {
		s = s.Reopen()
		w.store = s
	}
	return w
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// orders starts the write side on the world's store.
func (w *world) orders(change ...func(*Options)) *Orders {
	o := Options{Store: w.store, Namespace: "acme", Snapshots: w.snapshots, Logger: quiet()}
	for _, c := range change {
		c(&o)
	}
	orders := New(o)
	w.t.Cleanup(func() {
		if err := orders.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return orders
}

// records of one order.
func (w *world) records(id string) []codec.Recorded {
	w.t.Helper()
	var all []codec.Recorded
	for r, err := range w.store.ReadStream(context.Background(), "acme.order-"+id, 0, eventstore.Forwards, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := codec.Decode(r, "acme")
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// mapSnapshots is the port in memory.
type mapSnapshots struct {
	mu  sync.Mutex
	all map[string]storedSnapshot
}

type storedSnapshot struct {
	revision int64
	data     []byte
}

func (m *mapSnapshots) Load(_ context.Context, stream string) (int64, []byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.all[stream]
	return s.revision, s.data, ok, nil
}

func (m *mapSnapshots) Save(_ context.Context, stream string, revision int64, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[string]storedSnapshot{}
	}
	m.all[stream] = storedSnapshot{revision, data}
	return nil
}

func (m *mapSnapshots) Drop(_ context.Context, stream string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, stream)
	return nil
}

// faulty is a store whose appends go through a function.
type faulty struct {
	eventstore.Store
	append func(do func() (eventstore.Appended, error)) (eventstore.Appended, error)
}

func (f *faulty) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	return f.append(func() (eventstore.Appended, error) { return f.Store.Append(ctx, stream, expected, events) })
}

func eur(s string) money.Amount { return money.MustParse(s, "EUR") }

func place() order.Place {
	return order.Place{
		Currency: "EUR",
		Lines: []order.Line{
			{ID: "l1", SKU: "A", Quantity: 3, UnitPrice: eur("10.00")},
			{ID: "l2", SKU: "B", Quantity: 1, UnitPrice: eur("2.50")},
		},
	}
}

func tags(tags ...string) order.SetTags { return order.SetTags{Tags: tags} }

func key(k string) Request {
	return Request{CommandID: KeyID("test", "", k), Fingerprint: "body of " + k, Actor: "test"}
}

func ctx() context.Context { return context.Background() }

// must handles a command that has to succeed.
func must(t testing.TB, o *Orders, id string, cmd order.Command, req Request) Result {
	t.Helper()
	r, err := o.Handle(ctx(), id, cmd, req)
	if err != nil {
		t.Fatalf("%s %s: %v", cmd.Name(), id, err)
	}
	return r
}

// insist handles a command again while the order is busy.
func insist(o *Orders, id string, cmd order.Command, req Request) (r Result, err error) {
	for range 100 {
		if r, err = o.Handle(ctx(), id, cmd, req); !errors.Is(err, ErrBusy) {
			break
		}
	}
	return r, err
}

// sameAnswer compares what callers are told of two results.
func sameAnswer(t testing.TB, got, want Result) {
	t.Helper()
	told := func(r Result) string {
		s := fmt.Sprintf("%s at %d:", r.ID, r.Revision)
		for _, e := range r.Events {
			s += fmt.Sprintf(" %s %s %d %s", e.EventID, e.Type, e.Revision, e.Meta.RecordedAt.Format(time.RFC3339Nano))
		}
		return s
	}
	if told(got) != told(want) {
		t.Errorf("answered\n%s\nwant\n%s", told(got), told(want))
	}
	if !reflect.DeepEqual(got.State, want.State) {
		t.Errorf("state\n%+v\nwant\n%+v", got.State, want.State)
	}
}
