package projections_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	storesqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/view"
	"github.com/google/uuid"
)

// typical is the life of most imported orders: 6 events.
func typical() []order.Event {
	return []order.Event{
		placed, order.PaymentCaptured{PaymentID: "p", Method: "card", Amount: eur("11.52"), At: later(1)},
		order.Confirmed{At: later(1)}, dispatchedAll, deliveredAll, order.AdoptionCompleted{At: later(5)},
	}
}

func BenchmarkFold(b *testing.B) {
	events := recorded("o", 0, typical()...)
	b.ReportAllocs()
	for b.Loop() {
		doc := fold(view.Order{}, events...)
		projections.Contributions(doc)
		projections.OrderWords(doc)
	}
	b.ReportMetric(float64(b.N*len(events))/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkFirstStart builds a generation from a log of 10,000 orders, all on
// SQLite.
func BenchmarkFirstStart(b *testing.B) {
	const orders = 10_000
	store, err := storesqlite.Open(b.Context(), b.TempDir(), storesqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	fill(b, store, "o", orders)
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		m := projections.NewManager(projections.Options{Store: store, Backend: sqlite.NewBackend(b.TempDir(), sqlite.Options{}), SpillDir: b.TempDir()})
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		if err := m.CaughtUp(ctx); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		cancel()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*orders)/b.Elapsed().Seconds(), "orders/s")
}

// BenchmarkFollow appends 10,000 orders while the projection follows.
func BenchmarkFollow(b *testing.B) {
	const orders = 10_000
	store, err := storesqlite.Open(b.Context(), b.TempDir(), storesqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	m := projections.NewManager(projections.Options{Store: store, Backend: sqlite.NewBackend(b.TempDir(), sqlite.Options{}), SpillDir: b.TempDir()})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	round := 0
	for b.Loop() {
		round++
		fill(b, store, fmt.Sprint("r", round, "-"), orders)
		if err := m.CaughtUp(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*orders)/b.Elapsed().Seconds(), "orders/s")
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// fill appends typical orders, 16 at a time.
func fill(b *testing.B, store eventstore.Store, prefix string, orders int) {
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := g; i < orders; i += 16 {
				id := fmt.Sprint(prefix, i)
				var events []eventstore.Event
				for _, r := range recorded(id, 0, typical()...) {
					_, data, err := codec.Encode(r.Event)
					if err != nil {
						b.Error(err)
					}
					events = append(events, eventstore.Event{ID: uuid.New(), Type: r.Type, JSON: true, Data: data, Metadata: codec.EncodeMeta(r.Meta)})
				}
				if _, err := store.Append(b.Context(), "order-"+id, eventstore.NoStream, events); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}
