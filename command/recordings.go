package command

import (
	"context"
	"sync"
	"time"
)

// recordings are the decisions of this process that are on their way into the
// log. Where the store is a Sequencer the log itself tells when nothing can come
// any more; elsewhere this does, for this process.
type recordings struct {
	mu    sync.Mutex
	under map[*recording]struct{}
}

// recording dates nothing before since.
type recording struct {
	since time.Time
	over  chan struct{}
}

// begin notes that something will be dated now or later; the caller calls end
// when it is in the log, or will not be.
func (r *recordings) begin(now func() time.Time) (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := &recording{since: now(), over: make(chan struct{})}
	if r.under == nil {
		r.under = map[*recording]struct{}{}
	}
	r.under[one] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.under, one)
		close(one.over)
	}
}

// settled returns when everything that began at or before asOf has ended. What
// begins meanwhile is dated later, if the clock is past asOf.
func (r *recordings) settled(ctx context.Context, asOf time.Time) error {
	r.mu.Lock()
	var wait []*recording
	for one := range r.under {
		if !one.since.After(asOf) {
			wait = append(wait, one)
		}
	}
	r.mu.Unlock()
	for _, one := range wait {
		select {
		case <-one.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Recorded returns when this process will record nothing more at or before
// asOf, an instant that has passed. An append whose outcome is unknown counts as
// not written. Of other processes on the same log it knows nothing.
func (o *Orders) Recorded(ctx context.Context, asOf time.Time) error {
	return o.loop.settled(ctx, asOf)
}
