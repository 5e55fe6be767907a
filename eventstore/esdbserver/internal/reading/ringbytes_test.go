package reading_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// TestLinksToLargeEventsAreNotKeptUncounted: what a link names can be a million
// times as large as the link.
func TestLinksToLargeEventsAreNotKeptUncounted(t *testing.T) {
	const many, size = 400, 512 << 10
	s := serve(t)
	s.append("large", eventstore.Event{ID: uuid.New(), Type: "T", Data: make([]byte, size)})
	follower := s.subscribe(readStream("links", subscription, links))
	follower.expect("caught up")
	before := heap()
	for range many / 20 {
		batch := make([]eventstore.Event, 20)
		for i := range batch {
			batch[i] = eventstore.Event{ID: uuid.New(), Type: wire.TypeLink, Data: wire.LinkData("large", 0)}
		}
		s.append("links", batch...)
		for range batch {
			follower.next()
		}
	}
	if grown := heap() - before; grown > 64<<20 {
		t.Errorf("%d MiB for %d links", grown>>20, many)
	}
}
