// Package guard stands between docket and one server that may be slow, down or
// overloaded: a time limit for each attempt, a few retries with jitter for
// failures that pass, a circuit breaker, and a bulkhead, so that a server that
// hangs holds no more than a bounded part of docket.
//
// It promises: while the breaker is open a call fails at once; no more calls
// than the bulkhead allows are with the server; a call is repeated only when its
// owner says that its failure passes; State tells all of it. Adapters of remote
// stores hold one each. Behind it is failsafe-go.
//
// Layout: guard.go is the promise, attempt.go what one attempt counts as.
package guard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
)

// ErrRejected: the call did not reach the server, because the breaker is open or
// too many calls are with it already. It is what passes with time.
var ErrRejected = errors.New("the server is not asked now")

// The pause before the second attempt, and the longest one. Each is twice the
// one before, and shortened or lengthened by up to half by chance, so that those
// who failed together do not come back together.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
	jitter       = 0.5
)

// Options of a Guard. Name and Passes are needed; the rest has defaults.
type Options struct {
	Name string // of the server, in State: "elasticsearch"
	// Passes reports whether a failure may pass by itself and counts against the
	// server: refused connections, time limits, 429, 503. Others are answers.
	Passes     func(error) bool
	Timeout    time.Duration // of one attempt; 10 s
	Attempts   int           // at most, of one call; 3
	Concurrent int           // calls with the server at once; 64
	Waiting    time.Duration // for a place among them; 1 s
	Failures   int           // in a row that open the breaker; 5
	Pause      time.Duration // for which it stays open; 1 s
}

// State is what operators see.
type State struct {
	Name      string    `json:"name"`
	Breaker   string    `json:"breaker"` // closed, open, half-open: the next call is a trial
	InFlight  int64     `json:"inFlight"`
	Calls     int64     `json:"calls"`
	Failures  int64     `json:"failures"` // attempts that failed
	Retries   int64     `json:"retries"`
	Rejected  int64     `json:"rejected"` // calls that did not reach the server
	LastError string    `json:"lastError,omitempty"`
	LastAt    time.Time `json:"lastErrorAt,omitzero"`
}

// Guard is shared by all calls to one server. It has no goroutines.
type Guard struct {
	options  Options
	retries  retrypolicy.RetryPolicy[any]
	breaker  circuitbreaker.CircuitBreaker[any]
	bulkhead bulkhead.Bulkhead[any]

	inFlight, calls, failures, retried, rejected atomic.Int64

	mu        sync.Mutex
	lastError error
	lastAt    time.Time
}

// New makes a Guard.
func New(o Options) *Guard {
	o.Timeout = positive(o.Timeout, 10*time.Second)
	o.Attempts = positive(o.Attempts, 3)
	o.Concurrent = positive(o.Concurrent, 64)
	o.Waiting = positive(o.Waiting, time.Second)
	o.Failures = positive(o.Failures, 5)
	o.Pause = positive(o.Pause, time.Second)
	return &Guard{
		options: o,
		retries: retrypolicy.NewBuilder[any]().
			HandleIf(func(_ any, err error) bool { _, is := err.(again); return is }).
			WithMaxAttempts(o.Attempts).
			WithBackoff(firstPause, longestPause).WithJitterFactor(jitter).
			ReturnLastFailure().
			Build(),
		// In the half-open state one call is let through at a time: its success
		// closes the breaker, its failure opens it again.
		breaker: circuitbreaker.NewBuilder[any]().
			WithFailureThreshold(uint(o.Failures)).
			WithSuccessThreshold(1).
			WithDelay(o.Pause).
			Build(),
		bulkhead: bulkhead.New[any](uint(o.Concurrent)),
	}
}

func positive[N int | time.Duration](given, otherwise N) N {
	if given > 0 {
		return given
	}
	return otherwise
}

// Do calls once or, after failures that pass, a few times, each with a time
// limit of its own; one that used up its time is not repeated. What it returns is
// the last error of call, or wraps ErrRejected when the server was never asked, or
// is ctx's when that ended before. A call that is not safe to repeat says so with
// Once.
func (g *Guard) Do(ctx context.Context, call func(context.Context) error) error {
	g.calls.Add(1)
	attempts, last := 0, error(nil)
	err := failsafe.With[any](g.retries).WithContext(ctx).Run(func() error {
		err := g.attempt(ctx, call, attempts > 0)
		if attempts > 0 && errors.Is(err, ErrRejected) {
			return err // last says why
		}
		attempts++
		last = err
		return err
	})
	if attempts > 0 {
		err = last
	}
	return unmarked(err)
}

// Once is Do with one attempt.
func (g *Guard) Once(ctx context.Context, call func(context.Context) error) error {
	g.calls.Add(1)
	return unmarked(g.attempt(ctx, call, false))
}

// State tells how the server is doing.
func (g *Guard) State() State {
	s := State{
		Name: g.options.Name, Breaker: g.breaker.State().String(),
		InFlight: g.inFlight.Load(), Calls: g.calls.Load(), Failures: g.failures.Load(),
		Retries: g.retried.Load(), Rejected: g.rejected.Load(),
	}
	if g.breaker.IsOpen() && !g.open() {
		s.Breaker = circuitbreaker.HalfOpenState.String()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lastError != nil {
		s.LastError, s.LastAt = g.lastError.Error(), g.lastAt
	}
	return s
}

// open tells whether a call would be turned away now: a breaker whose pause is
// over is half-open only with the next call.
func (g *Guard) open() bool { return g.breaker.RemainingDelay() > 0 }
