package groups_test

import (
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// BenchmarkGroup is how fast one consumer of the official client gets and
// acknowledges the events of a stream, one by one.
func BenchmarkGroup(b *testing.B) {
	r := serve(b)
	const batch = 1000
	for n := 0; n < b.N; n += batch {
		r.write("s", names("e", batch)...)
	}
	r.create("s", "g", esdb.Start{}, settings(func(s *esdb.PersistentSubscriptionSettings) { s.ReadBatchSize = 200 }))
	b.ResetTimer()
	c := r.consume("s", "g", 200)
	for range b.N {
		c.ack(c.next())
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
