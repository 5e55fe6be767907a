package command

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
)

// history is that of a typical imported order: five events.
func history(id string, at time.Time) order.Adopt {
	return order.Adopt{Last: true, History: []order.Event{
		order.Placed{
			Kind: order.KindOrder, Source: &order.Source{System: "olist", ID: id, Status: "delivered"},
			Customer: order.Customer{ID: "7c396fd4830fd04220f754e42b4e5bff"}, Currency: "EUR",
			Lines:           []order.Line{{ID: "1", SKU: "87285b34884572647811a353c7ac498a", Quantity: 1, UnitPrice: eur("29.99")}},
			ShippingAddress: &order.Address{PostalCode: "03149", City: "sao paulo", State: "SP", Country: "BR"},
			Shipping:        eur("8.72"), Discount: eur("0.00"), Tax: eur("0.00"), At: at,
		},
		order.PaymentCaptured{PaymentID: "1", Method: "credit_card", Amount: eur("38.71"), At: at},
		order.Confirmed{At: at.Add(time.Hour)},
		order.ShipmentDispatched{ShipmentID: "1", Lines: []order.LineQuantity{{LineID: "1", Quantity: 1}}, At: at.Add(24 * time.Hour)},
		order.ShipmentDelivered{ShipmentID: "1", At: at.Add(48 * time.Hour)},
	}}
}

// BenchmarkAdopt is the import path: one command per new order, 64 in flight.
func BenchmarkAdopt(b *testing.B) {
	w := onSQLite(b)
	o := w.orders()
	at := time.Date(2017, 10, 2, 10, 56, 33, 0, time.UTC)
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			id := fmt.Sprintf("e481f51cbdc54678b7cc49136f2%05d", n.Add(1))
			if _, err := o.Handle(ctx(), id, history(id, at), Request{CommandID: KeyID("import", id, "olist"), Fingerprint: "f", Actor: "import"}); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkSetTags is one writing command on a cached order out of a thousand.
func BenchmarkSetTags(b *testing.B) {
	w := onSQLite(b)
	o := w.orders()
	const orders = 1000
	for i := range orders {
		must(b, o, fmt.Sprint(i), place(), key(fmt.Sprint("place", i)))
	}
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			i := n.Add(1)
			if _, err := insist(o, fmt.Sprint(i%orders), tags(fmt.Sprint("t", i)), Request{}); err != nil {
				b.Error(err)
			}
		}
	})
}

// longHistory writes an order of n events, each of a command of its own, without
// snapshots, and answers its aggregate.
func longHistory(b *testing.B, w *world, id string, n int) aggregate[order.State] {
	b.Helper()
	o := New(Options{Store: w.store, Namespace: "acme", Logger: quiet()})
	must(b, o, id, place(), key("place"+id))
	for i := range n - 1 {
		must(b, o, id, tags(fmt.Sprint("t", i)), key(fmt.Sprint(id, i)))
	}
	a, err := o.loop.fromStore(ctx(), o.stream(id))
	if err != nil || int(a.revision) != n-1 {
		b.Fatal(a.revision, err)
	}
	return a
}

// BenchmarkLoad folds an order that is not in the cache: a short one from its
// events, a long one from its snapshot and a tail of half a snapshot's events.
func BenchmarkLoad(b *testing.B) {
	w := onSQLite(b)
	o := w.orders()
	for _, n := range []int{10, 1000 + DefaultSnapshotEvery/2} {
		id := fmt.Sprint(n)
		longHistory(b, w, id, n)
		stream := o.stream(id)
		if n > 10 {
			a, err := o.loop.replay(ctx(), stream, eventstore.Revision(999))
			if err != nil {
				b.Fatal(err)
			}
			if err := o.loop.snapshots.write(snapshotJob[order.State]{stream, a}); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(id, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if a, err := o.loop.fromStore(ctx(), stream); err != nil || int(a.revision) != n-1 {
					b.Fatal(a.revision, err)
				}
			}
		})
	}
}

// BenchmarkSnapshot encodes and saves the snapshot of an order that remembers as
// many commands as it may: what every DefaultSnapshotEvery events cost, beside
// the commands.
func BenchmarkSnapshot(b *testing.B) {
	w := onSQLite(b)
	o := w.orders()
	job := snapshotJob[order.State]{o.stream("1"), longHistory(b, w, "1", maxRemembered)}
	b.ReportAllocs()
	for b.Loop() {
		if err := o.loop.snapshots.write(job); err != nil {
			b.Fatal(err)
		}
	}
}
