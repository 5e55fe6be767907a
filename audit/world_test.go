package audit_test

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/internal/logtest"
	"github.com/docket-orders/docket/query"
	"github.com/go-json-experiment/json"
)

// world is a log and the write side before it, whose clock goes on with every
// look at it, so that instants lie between events.
type world struct {
	t       testing.TB
	store   eventstore.Store
	orders  *command.Orders
	queries *query.Service
	auditor *audit.Auditor
	ticks   atomic.Int64
	sent    int // commands, by do
}

func newWorld(t testing.TB) *world {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	store, _, _ := logtest.Open(t, t.TempDir())
	w := &world{t: t, store: store}
	w.orders = command.New(command.Options{Store: store, Logger: quiet, Clock: w.tick})
	w.queries = query.New(query.Options{Store: store, Clock: func() time.Time {
		return w.now().Add(time.Nanosecond) // the instant of the last tick is over
	}})
	w.auditor = audit.New(audit.Options{Query: w.queries})
	t.Cleanup(func() {
		if err := errors.Join(w.orders.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

var dawn = time.Date(2025, 3, 1, 6, 0, 0, 0, time.UTC)

func (w *world) now() time.Time { return dawn.Add(time.Duration(w.ticks.Load()) * time.Second / 3) }

func (w *world) tick() time.Time {
	w.ticks.Add(1)
	return w.now()
}

// do sends a command; a refusal is no failure.
func (w *world) do(id string, cmd order.Command) (state order.State, done bool) {
	w.t.Helper()
	w.sent++
	result, err := w.orders.Handle(w.t.Context(), id, cmd, command.Request{
		Actor: "ann", CommandID: command.KeyID("ann", id, strconv.Itoa(w.sent)),
	})
	if err != nil && !errors.As(err, new(*domain.Rejection)) {
		w.t.Fatalf("%s %s: %v", cmd.Name(), id, err)
	}
	return result.State, err == nil
}

// live sends n random commands to an order in that state, dated back at times.
func (w *world) live(id string, state order.State, n int, random *rand.Rand) {
	w.t.Helper()
	for range n {
		at := w.now()
		if random.IntN(2) == 0 {
			at = at.Add(-time.Duration(random.Int64N(int64(40 * time.Hour))))
		}
		if next, done := w.do(id, ordertest.Command(random.IntN, state, at)); done {
			state = next
		}
	}
}

// fill imports the excerpt of real orders, changes some of them, and adds
// generated ones. It answers all ids.
func (w *world) fill(random *rand.Rand) (ids []string) {
	w.t.Helper()
	direct := importer.Direct{Orders: w.orders}
	if _, err := importer.Excerpt(w.t.Context(), direct, importer.Options{Interleave: true, InFlight: 1}); err != nil {
		w.t.Fatal(err)
	}
	for record, err := range w.store.ReadAll(w.t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{codec.Category + "-"}}, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		if id, _ := eventstore.Namespace("").ID(codec.Category, record.Stream); record.Revision == 0 {
			ids = append(ids, id)
		}
	}
	for i, id := range ids {
		if i%3 != 0 {
			continue
		}
		state, _ := w.do(id, noteNow(w))
		w.live(id, state, 10, random)
	}
	for l := range importer.Generate(random.Uint64(), 60, dawn.AddDate(-1, 0, 0)) {
		ids = append(ids, l.OrderID)
		for _, step := range l.Steps {
			w.do(l.OrderID, step.Command)
		}
	}
	return append(ids, w.lives(150, random)...)
}

// lives makes n generated orders, of our own and adopted.
func (w *world) lives(n int, random *rand.Rand) (ids []string) {
	w.t.Helper()
	for i := range n {
		id := "odd-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		var first order.Command = ordertest.Place(random.IntN, dawn.Add(-time.Hour))
		if i%3 == 0 {
			first = ordertest.Adopt(random.IntN, 15)
		}
		if state, done := w.do(id, first); done {
			w.live(id, state, 30, random)
			ids = append(ids, id)
		}
	}
	return ids
}

// noteNow is a command that every order takes; its answer has the order's state.
func noteNow(w *world) order.Command {
	return order.AddNote{NoteID: "note-" + strconv.Itoa(w.sent), Text: "checked", At: w.now()}
}

func inJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
