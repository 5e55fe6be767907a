package projectionstest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// Faults is what can happen between processes and a store that they share: each
// process has a Link to it. All of it passes in virtual time, inside the bubble of
// testing/synctest where it was made; only what happens in a store itself (refuse
// a document, break a write in its middle, lose a generation) is Reference's.
type Faults struct {
	mu      sync.Mutex
	rng     *rand.Rand
	down    bool
	stalled time.Time // until then nothing moves
	lossy   int       // one call in so many fails; 0: none
	lost    int       // calls that failed so
	late    int       // calls that were done after their caller had given up
	landing sync.WaitGroup
}

// NewFaults makes a network without faults, whose luck follows from the seed.
func NewFaults(seed uint64) *Faults { return &Faults{rng: rand.New(rand.NewPCG(seed, 3))} }

// Outage makes every call fail with ErrUnavailable, until it is called with false.
func (f *Faults) Outage(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = on
}

// Stall holds every call for d. One whose caller does not wait may be done all the
// same, later.
func (f *Faults) Stall(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stalled = time.Now().Add(d)
}

// Lossy makes one call in n fail, half of them after they were done; 0 ends that.
func (f *Faults) Lossy(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lossy = n
}

// Counts returns how many calls failed by Lossy, and how many were done after
// their caller had given up, once all of these are.
func (f *Faults) Counts() (lost, late int) {
	f.landing.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost, f.late
}

// coin is true one time in n; mu is held.
func (f *Faults) coin(n int) bool { return n > 0 && f.rng.IntN(n) == 0 }

// Link is the way of one process to a store: a Backend. A process that is paused or
// killed is so at its calls.
type Link struct {
	projections.Backend
	faults *Faults

	mu     sync.Mutex
	paused chan struct{} // closed when the process goes on; nil while it runs
	cut    bool
}

// Link joins a process to a backend.
func (f *Faults) Link(b projections.Backend) *Link { return &Link{Backend: b, faults: f} }

// Pause stops the process: calls that are under way are done, and their answers
// wait; others wait to begin.
func (l *Link) Pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused == nil {
		l.paused = make(chan struct{})
	}
}

// Resume lets a paused process go on.
func (l *Link) Resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused != nil {
		close(l.paused)
		l.paused = nil
	}
}

// Cut kills the process: no call begins any more, and of those that are under way
// some are not done.
func (l *Link) Cut() {
	l.mu.Lock()
	l.cut = true
	l.mu.Unlock()
	l.Resume()
}

// gate holds a paused process, and ends a killed one.
func (l *Link) gate() error {
	for {
		l.mu.Lock()
		paused, cut := l.paused, l.cut
		l.mu.Unlock()
		if cut {
			return fmt.Errorf("%w: the process was killed", projections.ErrUnavailable)
		}
		if paused == nil {
			return nil
		}
		<-paused
	}
}

// through makes a call: it waits its time on the line, and may be lost before it
// or its answer after it.
func through[T any](ctx context.Context, l *Link, do func(ctx context.Context) (T, error)) (out T, err error) {
	if err := l.gate(); err != nil {
		return out, err
	}
	f := l.faults
	f.mu.Lock()
	down, before, after, lands := f.down, false, false, f.coin(2)
	if f.coin(f.lossy) {
		f.lost++
		before = f.coin(2)
		after = !before
	}
	wait := time.Duration(f.rng.Int64N(int64(3 * time.Millisecond)))
	if left := time.Until(f.stalled); left > 0 {
		wait += left
	}
	f.mu.Unlock()
	switch {
	case down:
		time.Sleep(wait)
		return out, fmt.Errorf("%w: outage", projections.ErrUnavailable)
	case before:
		time.Sleep(wait)
		return out, fmt.Errorf("%w: lost on the way", projections.ErrUnavailable)
	}
	arrived := time.NewTimer(wait)
	defer arrived.Stop()
	select {
	case <-arrived.C:
	case <-ctx.Done():
		if lands {
			f.landing.Go(func() {
				time.Sleep(wait)
				f.mu.Lock()
				f.late++
				f.mu.Unlock()
				_, _ = do(context.WithoutCancel(ctx)) // nobody hears of it
			})
		}
		return out, ctx.Err()
	}
	if l.gone() && !lands {
		return out, fmt.Errorf("%w: the process was killed", projections.ErrUnavailable)
	}
	if out, err = do(context.WithoutCancel(ctx)); err != nil {
		return out, err
	}
	if err := l.gate(); err != nil {
		return out, err
	}
	if after {
		return out, fmt.Errorf("%w: the answer is lost", projections.ErrUnavailable)
	}
	return out, nil
}

func (l *Link) gone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// Open implements projections.Backend.
func (l *Link) Open(ctx context.Context, generation int) (projections.Sink, error) {
	return through(ctx, l, func(ctx context.Context) (projections.Sink, error) {
		sink, err := l.Backend.Open(ctx, generation)
		return &linked{sink, l}, err
	})
}

// Drop implements projections.Backend.
func (l *Link) Drop(ctx context.Context, generation int) error {
	_, err := through(ctx, l, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, l.Backend.Drop(ctx, generation)
	})
	return err
}

// Generations implements projections.Backend.
func (l *Link) Generations(ctx context.Context) ([]int, error) {
	return through(ctx, l, l.Backend.Generations)
}

// linked is a sink at the other end of a link. What is not named here, and Replace,
// which has no revision to be told late by, goes there directly.
type linked struct {
	projections.Sink
	link *Link
}

func (s *linked) Checkpoints(ctx context.Context) ([]projections.Checkpoint, error) {
	return through(ctx, s.link, s.Sink.Checkpoints)
}

func (s *linked) Claim(ctx context.Context, lane int, owner string, token uint64) (projections.Checkpoint, error) {
	return through(ctx, s.link, func(ctx context.Context) (projections.Checkpoint, error) {
		return s.Sink.Claim(ctx, lane, owner, token)
	})
}

func (s *linked) Beat(ctx context.Context, lanes []projections.Checkpoint) ([]int, error) {
	return through(ctx, s.link, func(ctx context.Context) ([]int, error) { return s.Sink.Beat(ctx, lanes) })
}

func (s *linked) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	return through(ctx, s.link, func(ctx context.Context) (map[string]view.Order, error) {
		return s.Sink.Documents(ctx, ids)
	})
}

func (s *linked) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	return through(ctx, s.link, func(ctx context.Context) ([]projections.Outcome, error) {
		return s.Sink.Write(ctx, batch)
	})
}

func (s *linked) Parked(ctx context.Context) ([]projections.Parked, error) {
	return through(ctx, s.link, s.Sink.Parked)
}

func (s *linked) Replace(ctx context.Context, orderID string, change *projections.Change) error {
	if err := s.link.gate(); err != nil {
		return err
	}
	return s.Sink.Replace(ctx, orderID, change)
}
