// Package reconciletest has the histories that the tests of both folds go over:
// odd ones, long ones, and those of the real data that is in the tree.
package reconciletest

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/importer"
)

// Adopted is an odd history of another system, as the decider took it over.
func Adopted(seed int64, n int) []order.Event {
	for ; ; n-- {
		events, err := order.Decide(order.State{}, ordertest.Adopt(ordertest.Seeded(seed), n))
		if err == nil {
			return events
		}
	}
}

// Long is the history of an order of many lines: its placing, and then n
// commands, of which some are refused.
func Long(seed int64, n int) []order.Event {
	d := ordertest.Seeded(seed)
	place := ordertest.Place(d, ordertest.Start)
	for i := range 20 {
		place.Lines = append(place.Lines, order.Line{
			ID: fmt.Sprint("long-", i), SKU: fmt.Sprint("sku-", d(9)), Quantity: int64(1 + d(3)), UnitPrice: money.New(int64(d(9000)), 3, place.Currency),
		})
	}
	var state order.State
	var events []order.Event
	next := order.Command(place)
	for i := range n {
		if more, err := order.Decide(state, next); err == nil {
			events, state = append(events, more...), order.Decider.Fold(state, more...)
		}
		next = ordertest.Command(d, state, place.At.Add(time.Duration(i)*time.Minute))
	}
	return events
}

// Recorded gives events their places in a log.
func Recorded(id string, events []order.Event) []codec.Recorded {
	out := make([]codec.Recorded, len(events))
	for i, e := range events {
		out[i] = codec.Recorded{
			OrderID: id, Revision: eventstore.Revision(i), Position: eventstore.At64(uint64(7 + 3*i)),
			Type: "Order" + reflect.TypeOf(e).Name(), Event: e,
			Meta: codec.Meta{Version: 1, RecordedAt: ordertest.Start.Add(time.Duration(i/2) * time.Minute)},
		}
	}
	return out
}

// Excerpt is the excerpt of real data, as imported.
func Excerpt(t testing.TB) map[string][]codec.Recorded {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	orders := command.New(command.Options{Store: store, Logger: quiet})
	t.Cleanup(func() {
		if err := errors.Join(orders.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	if _, err := importer.Excerpt(t.Context(), importer.Direct{Orders: orders}, importer.Options{}); err != nil {
		t.Fatal(err)
	}
	byOrder := map[string][]codec.Recorded{}
	filter := eventstore.Filter{Prefixes: []string{codec.Category + "-"}}
	for r, err := range store.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, filter, 0) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := codec.Decode(r, "")
		if err != nil {
			t.Fatal(err)
		}
		byOrder[e.OrderID] = append(byOrder[e.OrderID], e)
	}
	return byOrder
}
