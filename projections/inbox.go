package projections

import (
	"context"
	"sync"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/google/uuid"
)

// Bounds of what is read ahead of the sink.
const (
	inboxEvents = 4096
	inboxBytes  = 16 << 20
)

// arrival is one event of an order as it came from the log. poison is why it
// could not be decoded; event is empty then.
type arrival struct {
	orderID  string
	revision int64
	position eventstore.Position
	eventID  uuid.UUID
	event    codec.Recorded
	poison   error
	size     int
}

// inbox is the bounded queue between the reader of the log and the writer of
// the sink: one goroutine puts, one takes all that is there.
type inbox struct {
	ready chan struct{} // holds a token when there is something to take
	space chan struct{} // holds a token when something was taken

	mu    sync.Mutex
	have  delivery
	bytes int
}

// delivery is everything that was delivered up to a position.
type delivery struct {
	arrivals []arrival
	upto     eventstore.Position // everything that matches up to here is in, or was before
	caughtUp bool                // the store said so, and nothing came after
	err      error               // nothing comes after this
}

func newInbox() *inbox {
	return &inbox{ready: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

// put waits for space.
func (in *inbox) put(ctx context.Context, a arrival) error {
	for {
		in.mu.Lock()
		if n := len(in.have.arrivals); n == 0 || n < inboxEvents && in.bytes+a.size <= inboxBytes {
			in.have.arrivals = append(in.have.arrivals, a)
			in.have.upto, in.have.caughtUp = a.position, false
			in.bytes += a.size
			in.mu.Unlock()
			signal(in.ready)
			return nil
		}
		in.mu.Unlock()
		select {
		case <-in.space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mark notes a position without an event, or that the log's end was reached.
func (in *inbox) mark(upto eventstore.Position, caughtUp bool) {
	in.mu.Lock()
	if in.have.upto.Before(upto) {
		in.have.upto = upto
	}
	in.have.caughtUp = caughtUp
	in.mu.Unlock()
	signal(in.ready)
}

// fail is the last thing put.
func (in *inbox) fail(err error) {
	in.mu.Lock()
	in.have.err = err
	in.mu.Unlock()
	signal(in.ready)
}

// take returns what is there.
func (in *inbox) take() delivery {
	in.mu.Lock()
	d := in.have
	in.have.arrivals, in.bytes = nil, 0
	in.mu.Unlock()
	signal(in.space)
	return d
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
