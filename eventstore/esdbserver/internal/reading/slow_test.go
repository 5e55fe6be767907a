package reading_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/docket-orders/docket/eventstore"
)

// TestSubscribersThatDoNotReadCostNothing: neither memory nor anybody's time,
// and they miss nothing.
func TestSubscribersThatDoNotReadCostNothing(t *testing.T) {
	const idle, events, size = 20, 5000, 8 << 10 // twice 39 MiB
	s := serve(t)
	// What clients buffer is not what is measured here.
	s.dial = append(s.dial, grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(4<<20))
	quick := s.subscribe(readStream("s", subscription))
	quick.expect("caught up")
	written := 0
	write := func() {
		for range events / 100 {
			batch := make([]eventstore.Event, 100)
			for i := range batch {
				batch[i] = eventstore.Event{ID: uuid.New(), Type: "T", Data: make([]byte, size)}
			}
			s.append("s", batch...)
			for range batch {
				quick.expect(fmt.Sprintf("s/%d", written))
				written++
			}
		}
	}
	write() // the ring is full, and the store has what memory it wants
	before := heap()
	calls := make([]*call, idle)
	for i := range calls {
		calls[i] = s.subscribe(readAll(subscription, fromEnd))
	}
	write()
	// For each a batch of the ring, and what its connection buffers.
	const allowed = idle * (512 << 10)
	if grown := heap() - before; grown > allowed {
		t.Errorf("%d MiB for %d subscribers that do not read", grown>>20, idle)
	}
	// They fell out of the ring, and find their way back.
	for _, c := range calls[:4] {
		c.expect("caught up")
		for n := events; n < 2*events; n++ {
			c.expect(fmt.Sprintf("s/%d", n))
		}
		c.expect("caught up")
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestASubscriberThatDoesNotReadHoldsUpNoClose. What it was sent fills its
// window, so that the server waits for it.
func TestASubscriberThatDoesNotReadHoldsUpNoClose(t *testing.T) {
	s := serve(t)
	events := make([]eventstore.Event, 100)
	for i := range events {
		events[i] = eventstore.Event{ID: uuid.New(), Type: "T", Data: make([]byte, 8<<10)}
	}
	s.append("s", events...)
	s.subscribe(readAll(subscription))
	s.open(readStream("s")).expect("s/0")
	begin := time.Now()
	s.close()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("close took %v", took)
	}
}
