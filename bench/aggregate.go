package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	eventsqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/google/uuid"
)

var aggregateQuestion = question{
	name:  "aggregate",
	about: "loading an order of 10, 1,000 and 100,000 events that is not in the cache, each event of a command of its own, at every length of the tail after its snapshot",
	ask:   askAggregate,
}

// aggregateStep is by how many events an order grows between two series of
// loads, until it is as much longer as snapshots are apart: what is measured is
// an order that is met at any time.
const aggregateStep = command.DefaultSnapshotEvery/16 + 1

func askAggregate(ctx context.Context, e *env) error {
	rounds, loads, lengths := e.rounds, 40, []int{10, 1_000, 100_000}
	if e.quick {
		loads, lengths[2] = 15, 20_000
	}
	store, err := eventsqlite.Open(ctx, e.folder("aggregate"), eventsqlite.Options{})
	if err != nil {
		return err
	}
	defer store.Close()

	took := make([][]float64, len(lengths)) // microseconds, p50 of a round
	for round := range rounds {
		times := make([][]float64, len(lengths))
		orders := make([]longOrder, len(lengths))
		for i, n := range lengths {
			orders[i] = longOrder{id: fmt.Sprintf("%d-%d", n, round)}
			if err := orders[i].grow(ctx, store, n); err != nil {
				return err
			}
			if err := snapshot(ctx, store, orders[i].id); err != nil {
				return err
			}
		}
		for tail := 0; tail < command.DefaultSnapshotEvery; tail += aggregateStep {
			// One entry of cache: with orders loaded in turns each is folded anew.
			cold := command.New(command.Options{Store: store, Snapshots: store.Snapshots(), CacheEntries: 1})
			for range loads {
				for i := range orders {
					seconds, err := timed(func() error { return orders[i].load(ctx, cold) })
					if err != nil {
						return err
					}
					times[i] = append(times[i], seconds*1e6)
				}
			}
			if err := cold.Close(); err != nil {
				return err
			}
			for i := 1; i < len(orders); i++ { // the shortest stays as it is
				if err := orders[i].grow(ctx, store, aggregateStep); err != nil {
					return err
				}
			}
		}
		for i := range times {
			took[i] = append(took[i], median(times[i]))
		}
	}
	e.measure(fmt.Sprintf("%d events, p50", lengths[0]), "µs", took[0], noGoal)
	e.compare(fmt.Sprintf("%d events, p50", lengths[1]), "µs", took[1], fmt.Sprintf("%d events", lengths[0]), took[0], atMost(1.5))
	e.compare(fmt.Sprintf("%d events, p50", lengths[2]), "µs", took[2], fmt.Sprintf("%d events", lengths[0]), took[0], atMost(1.5))
	e.compare(fmt.Sprintf("%d events, p50", lengths[2]), "µs", took[2], fmt.Sprintf("%d events", lengths[1]), took[1], atMost(1.5))
	return foldWithoutSnapshots(ctx, e, store, lengths[2])
}

// foldWithoutSnapshots loads a long order from its first event.
func foldWithoutSnapshots(ctx context.Context, e *env, store eventstore.Store, length int) error {
	o := longOrder{id: "without-snapshots"}
	if err := o.grow(ctx, store, length); err != nil {
		return err
	}
	var rates []float64
	for range e.rounds {
		orders := command.New(command.Options{Store: store})
		seconds, err := timed(func() error { return o.load(ctx, orders) })
		if err != nil {
			return err
		}
		rates = append(rates, float64(length)/seconds)
		if err := orders.Close(); err != nil {
			return err
		}
	}
	e.measure(fmt.Sprintf("without snapshots, %d events", length), "events/s", rates, noGoal)
	return nil
}

// longOrder is an order that is only ever tagged anew.
type longOrder struct {
	id     string
	length int
}

// grow appends n events, each as of a command of its own, many at a time.
func (o *longOrder) grow(ctx context.Context, store eventstore.Store, n int) error {
	for n > 0 {
		batch := make([]eventstore.Event, min(n, 500))
		for i := range batch {
			event, err := o.event(o.length + i)
			if err != nil {
				return err
			}
			batch[i] = event
		}
		expected := eventstore.NoStream
		if o.length > 0 {
			expected = eventstore.At(eventstore.Revision(o.length - 1))
		}
		if _, err := store.Append(ctx, eventstore.Namespace("").Stream(codec.Category, o.id), expected, batch); err != nil {
			return fmt.Errorf("grow %s: %w", o.id, err)
		}
		o.length, n = o.length+len(batch), n-len(batch)
	}
	return nil
}

func (o *longOrder) event(i int) (eventstore.Event, error) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
	var event order.Event = order.TagsSet{Tags: []string{fmt.Sprint("queue:", i%7), fmt.Sprint("step:", i)}, At: at}
	if i == 0 {
		event = order.Placed{
			Kind: order.KindOrder, Customer: order.Customer{ID: "c-1", Name: "Ada Lovelace", Email: "ada@example.com"}, Currency: "EUR",
			Lines: []order.Line{
				{ID: "1", SKU: "tea-1", Title: "Tea", Quantity: 2, UnitPrice: money.MustParse("4.20", "EUR")},
				{ID: "2", SKU: "cup-1", Title: "Cup", Quantity: 1, UnitPrice: money.MustParse("9.90", "EUR")},
			},
			Shipping: money.Zero("EUR"), Discount: money.Zero("EUR"), Tax: money.Zero("EUR"),
			ShippingAddress: &order.Address{Street: "Main Street 1", PostalCode: "1000", City: "Vienna", Country: "AT"}, At: at,
		}
	}
	typ, data, err := codec.Encode(event)
	if err != nil {
		return eventstore.Event{}, err
	}
	meta := codec.Meta{
		CommandID: uuid.New(), Command: "set-tags", Fingerprint: strings.Repeat("0123456789abcdef", 4),
		Actor: "bench", Version: codec.Version(typ), RecordedAt: at,
	}
	return eventstore.Event{ID: uuid.New(), Type: typ, JSON: true, Data: data, Metadata: codec.EncodeMeta(meta)}, nil
}

func (o *longOrder) load(ctx context.Context, orders *command.Orders) error {
	_, revision, err := orders.Load(ctx, o.id)
	if err == nil && int(revision)+1 != o.length {
		err = fmt.Errorf("order %s is loaded at revision %d and has %d events", o.id, revision, o.length)
	}
	return err
}

// snapshot has one written at the order's last event, where docket would.
func snapshot(ctx context.Context, store *eventsqlite.Store, id string) error {
	orders := command.New(command.Options{Store: store, Snapshots: store.Snapshots()})
	_, _, err := orders.Load(ctx, id)
	if err := orders.Close(); err != nil { // waits for the snapshot
		return err
	}
	return err
}

// sortedCopy is values in ascending order.
func sortedCopy(values []float64) []float64 { return slices.Sorted(slices.Values(values)) }
