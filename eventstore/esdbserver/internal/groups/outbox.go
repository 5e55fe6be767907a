package groups

import (
	"context"
	"slices"
	"sync"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
)

// delivery is a message on its way into the stream of a consumer.
type delivery struct {
	message *competing.Message // identity only: it belongs to the group
	event   *event
	body    *body // nil: to be read again
	retries int
}

// maxUnsentBytes bounds the bodies that wait for a consumer whose connection
// takes nothing; those beyond are read again when it does.
const maxUnsentBytes = 1 << 20

// outbox is what a consumer was given and its connection has not taken. It
// holds only what is in flight with the consumer, so it is as long as the
// consumer has slots at most.
type outbox struct {
	changed chan struct{}

	mu     sync.Mutex
	queue  []delivery
	bytes  int
	closed bool
	why    error
}

func newOutbox() *outbox { return &outbox{changed: make(chan struct{}, 1)} }

func (o *outbox) put(d delivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if d.body != nil {
		if size := d.body.size(); len(o.queue) > 0 && o.bytes+size > maxUnsentBytes {
			d.body = nil
		} else {
			o.bytes += size
		}
	}
	o.queue = append(o.queue, d)
	poke(o.changed)
}

// revoke takes back a message, if it was not sent. What takes too long is
// revoked in the order in which it was put.
func (o *outbox) revoke(m *competing.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := slices.IndexFunc(o.queue, func(d delivery) bool { return d.message == m }); i >= 0 {
		o.remove(i)
	}
}

func (o *outbox) remove(i int) {
	if b := o.queue[i].body; b != nil {
		o.bytes -= b.size()
	}
	if i > 0 {
		o.queue = slices.Delete(o.queue, i, i+1)
		return
	}
	o.queue[0] = delivery{}
	o.queue = o.queue[1:]
}

// next waits for a delivery. After close it returns why, nil included, and
// ok is false.
func (o *outbox) next(ctx context.Context) (d delivery, ok bool, err error) {
	for {
		o.mu.Lock()
		switch {
		case o.closed:
			o.mu.Unlock()
			return d, false, o.why
		case len(o.queue) > 0:
			d = o.queue[0]
			o.remove(0)
			o.mu.Unlock()
			return d, true, nil
		}
		o.mu.Unlock()
		select {
		case <-o.changed:
		case <-ctx.Done():
			return d, false, context.Cause(ctx)
		}
	}
}

// close ends the outbox; the first reason counts.
func (o *outbox) close(why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed, o.why, o.queue = true, why, nil
		poke(o.changed)
	}
}
