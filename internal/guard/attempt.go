package guard

import (
	"context"
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"
)

// again marks a failure after which another attempt makes sense.
type again struct{ error }

func unmarked(err error) error {
	if a, is := err.(again); is {
		return a.error
	}
	return err
}

// attempt asks the server once, when the breaker and the bulkhead let it.
func (g *Guard) attempt(ctx context.Context, call func(context.Context) error, retry bool) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if g.open() {
		return g.reject(retry, "after %d failures in a row", g.options.Failures)
	}
	switch err := g.bulkhead.AcquirePermitWithMaxWait(ctx, g.options.Waiting); err {
	case nil:
	case bulkhead.ErrFull:
		return g.reject(retry, "%d calls are with it", g.options.Concurrent)
	default:
		return err
	}
	defer g.bulkhead.ReleasePermit()
	// Not before: a trial that waited for a place would keep others out.
	if !g.breaker.TryAcquirePermit() {
		return g.reject(retry, "after %d failures in a row", g.options.Failures)
	}
	trial := g.breaker.IsHalfOpen()
	if retry {
		g.retried.Add(1)
	}
	g.inFlight.Add(1)
	defer g.inFlight.Add(-1)

	judged := false
	defer func() {
		// A caller that gave up, or panicked, learned nothing of the server. A trial
		// must have an end, or no other follows.
		if !judged && trial {
			g.breaker.Open()
		}
	}()
	limited, cancel := context.WithTimeout(ctx, g.options.Timeout)
	defer cancel()
	err = call(limited)
	switch {
	case err == nil:
		judged = true
		g.breaker.RecordSuccess()
		return nil
	case ctx.Err() != nil:
		return err
	case limited.Err() != nil:
		// Not again: whoever asked has waited long enough to be told.
		judged = true
		err = fmt.Errorf("%s: no answer in %v: %w", g.options.Name, g.options.Timeout, err)
		g.failed(err)
		return err
	case !g.options.Passes(err):
		judged = true
		g.breaker.RecordSuccess() // it answered
		return err
	}
	judged = true
	g.failed(err)
	if g.open() {
		return err // another attempt would be turned away
	}
	return again{err}
}

// reject turns a call away that did not reach the server. An attempt after
// another belongs to a call that did.
func (g *Guard) reject(retry bool, format string, args ...any) error {
	if !retry {
		g.rejected.Add(1)
	}
	return fmt.Errorf("%s: %w: %s", g.options.Name, ErrRejected, fmt.Sprintf(format, args...))
}

func (g *Guard) failed(err error) {
	g.failures.Add(1)
	g.breaker.RecordFailure()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lastError, g.lastAt = err, time.Now()
}
