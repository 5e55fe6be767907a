package projections

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/docket-orders/docket/eventstore/codec"
)

// Bounds of the wait before a store that failed is asked again: it doubles from
// the first to the second, and each wait is drawn from its upper half.
const (
	backoffMin = 20 * time.Millisecond
	backoffMax = 5 * time.Second
)

// backoff counts failures in a row.
type backoff struct{ failures int }

// wait returns early, with its error, when ctx ends.
func (b *backoff) wait(ctx context.Context) error {
	pause := min(backoffMin<<min(b.failures, 16), backoffMax)
	b.failures++
	timer := time.NewTimer(pause/2 + rand.N(pause/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// final reports whether trying again cannot help.
func final(err error) bool {
	if first := (*stopped)(nil); errors.As(err, &first) {
		return true
	}
	return errors.Is(err, ErrLaneLost) || errors.Is(err, ErrClosed) || errors.Is(err, ErrLost) ||
		errors.Is(err, codec.ErrUnknownEvent) || errors.Is(err, codec.ErrNewerVersion)
}
