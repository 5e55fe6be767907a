package sqlite

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

func openTest(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func testEvent(payload int) eventstore.Event {
	return eventstore.Event{
		ID: uuid.New(), Type: "OrderPlaced", JSON: true,
		Data: make([]byte, payload), Metadata: make([]byte, payload/2),
	}
}

// BenchmarkAppend appends single events of 450 bytes, each durable before its
// writer goes on, to 1,000 streams.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openTest(b, b.TempDir())
			var n atomic.Int64
			b.ResetTimer()
			done := make(chan error, writers)
			for range writers {
				go func() {
					for {
						i := n.Add(1)
						if i > int64(b.N) {
							done <- nil
							return
						}
						_, err := s.Append(context.Background(), fmt.Sprintf("order-%d", i%1000), eventstore.Any, []eventstore.Event{testEvent(300)})
						if err != nil {
							done <- err
							return
						}
					}
				}()
			}
			for range writers {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkScan reads a log of 200,000 events over 1,000 streams, as a
// projection does that catches up.
func BenchmarkScan(b *testing.B) {
	s := openTest(b, b.TempDir())
	const events, batch = 200_000, 100
	for i := range events / batch {
		var list []eventstore.Event
		for range batch {
			list = append(list, testEvent(300))
		}
		if _, err := s.Append(b.Context(), fmt.Sprintf("order-%d", i%1000), eventstore.Any, list); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		n := 0
		for _, err := range s.ReadAll(b.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != events {
			b.Fatalf("read %d events, wrote %d", n, events)
		}
	}
	b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
}
