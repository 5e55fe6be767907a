package reconcile

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/google/uuid"
)

// The memory of a run does not grow with the orders: four times as many take
// hardly more, though they fill several files.
func TestMemoryDoesNotGrowWithTheOrders(t *testing.T) {
	w := filled(t, 100)
	ids := w.ids(400)
	w.repeat(ids, 0, 6)
	little := w.peak()
	w.repeat(ids, 6, 30)
	much := w.peak()
	t.Logf("live heap of a run: %d MiB, with four times the orders %d MiB", little>>20, much>>20)
	const slack = 40 << 20
	if much > little+slack {
		t.Errorf("a run of 4 times the orders took %d MiB of live heap instead of %d MiB", much>>20, little>>20)
	}
}

// repeat appends the streams of these orders as those of other orders, once for
// every number in [from, to).
func (w *world) repeat(ids []string, from, to int) {
	w.Helper()
	streams := make(chan string)
	failed := make(chan error, len(ids))
	var working sync.WaitGroup
	for range 64 {
		working.Go(func() {
			for id := range streams {
				var all []eventstore.Event
				for r, err := range w.store.ReadStream(w.Context(), ns.Stream(codec.Category, id), 0, eventstore.Forwards, 0) {
					if err != nil {
						failed <- err
						break
					}
					all = append(all, r.Event)
				}
				for n := from; n < to; n++ {
					for i := range all {
						all[i].ID = uuid.New()
					}
					if _, err := w.store.Append(w.Context(), fmt.Sprintf("%s-%d", ns.Stream(codec.Category, id), n), eventstore.NoStream, all); err != nil {
						failed <- err
						break
					}
				}
			}
		})
	}
	for _, id := range ids {
		streams <- id
	}
	close(streams)
	working.Wait()
	close(failed)
	var all error
	for err := range failed {
		all = errors.Join(all, err)
	}
	if all != nil {
		w.Fatal(all)
	}
	w.caughtUp()
}

// peak is the largest live heap of a run, above that before it.
func (w *world) peak() uint64 {
	w.Helper()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := func() uint64 {
		metrics.Read(live)
		return live[0].Value.Uint64()
	}
	runtime.GC()
	before, most := now(), uint64(0)
	report, err := w.reconciler.Run(w.Context(), NewID(), Request{}, func(Progress) { most = max(most, now()) })
	if err != nil {
		w.Fatal(err)
	}
	wantClean(w, report)
	w.Logf("%d events of %d orders", report.Compared.Events, report.Compared.Streams)
	return most - min(most, before)
}
