package reading_test

import (
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/docket-orders/docket/eventstore"
)

// TestReadersThatDoNotRead: hundreds of calls whose client takes nothing hold
// the pages of a part of them, and keep no other client from reading.
func TestReadersThatDoNotRead(t *testing.T) {
	const still, size = 400, 8 << 10
	s := serve(t)
	// What clients buffer is not what is measured here.
	s.dial = append(s.dial, grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(256<<10))
	for range 10 {
		batch := make([]eventstore.Event, 100)
		for i := range batch {
			batch[i] = eventstore.Event{ID: uuid.New(), Type: "T", Data: make([]byte, size)}
		}
		s.append("s", batch...)
	}
	before := heap()
	for i := range still {
		switch i % 3 {
		case 0:
			s.open(readStream("s"))
		case 1:
			s.open(readAll())
		case 2:
			s.open(readAll(subscription))
		}
	}
	other := &server{TB: t, store: s.store, address: s.address, dial: s.dial}
	t.Log(heap() - before)
	if got := len(other.read(readStream("s"))); got != 1000 {
		t.Errorf("%d events", got)
	}
	if grown := heap() - before; grown > 250<<20 {
		t.Errorf("%d MiB for %d calls whose client takes nothing", grown>>20, still)
	}
}
