package guard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	errDown   = errors.New("connection refused")
	errAnswer = errors.New("409 conflict")
)

func passes(err error) bool { return errors.Is(err, errDown) }

// server answers what it is told to, and counts.
type server struct {
	err   error
	asked int
}

func (s *server) call(context.Context) error {
	s.asked++
	return s.err
}

// hangs until its caller gives up.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return fmt.Errorf("read: %w", ctx.Err())
}

func wantState(t *testing.T, g *Guard, want State) {
	t.Helper()
	got := g.State()
	if want.Name = "test"; want.LastError == "" {
		got.LastError = ""
	}
	got.LastAt = time.Time{}
	if got != want {
		t.Errorf("state\n %+v, want\n %+v", got, want)
	}
}

// TestFailuresThatPassAreRetried: with pauses that grow and differ, and the last
// error is the answer.
func TestFailuresThatPassAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Name: "test", Passes: passes, Attempts: 4, Failures: 100})
		down := &server{err: errDown}
		begun := time.Now()
		if err := g.Do(t.Context(), down.call); err != errDown {
			t.Errorf("error %v, want what the server said", err)
		}
		if took := time.Since(begun); down.asked != 4 || took < 7*firstPause/2 || took > 7*firstPause*3/2 {
			t.Errorf("%d attempts in %v", down.asked, took)
		}
		wantState(t, g, State{Breaker: "closed", Calls: 1, Failures: 4, Retries: 3, LastError: errDown.Error()})

		back := &server{err: errDown}
		err := g.Do(t.Context(), func(ctx context.Context) error {
			if back.asked == 2 {
				back.err = nil
			}
			return back.call(ctx)
		})
		if err != nil || back.asked != 3 {
			t.Errorf("%d attempts: %v", back.asked, err)
		}

		pauses := map[time.Duration]bool{}
		for range 20 {
			begun := time.Now()
			_ = g.Do(t.Context(), down.call)
			pauses[time.Since(begun)] = true
		}
		if len(pauses) < 10 {
			t.Errorf("%d pauses differ of 20: those who fail together come back together", len(pauses))
		}
	})
}

func TestAnswersAreNotRetried(t *testing.T) {
	g := New(Options{Name: "test", Passes: passes, Failures: 1})
	s := &server{err: errAnswer}
	for range 10 {
		if err := g.Do(t.Context(), s.call); err != errAnswer {
			t.Errorf("error %v", err)
		}
	}
	if s.asked != 10 {
		t.Errorf("%d attempts for 10 calls", s.asked)
	}
	wantState(t, g, State{Breaker: "closed", Calls: 10})
}

func TestOnceIsOneAttempt(t *testing.T) {
	g := New(Options{Name: "test", Passes: passes})
	s := &server{err: errDown}
	if err := g.Once(t.Context(), s.call); err != errDown || s.asked != 1 {
		t.Errorf("%d attempts: %v", s.asked, err)
	}
	wantState(t, g, State{Breaker: "closed", Calls: 1, Failures: 1})
}

// TestBreaker: failures in a row open it, nothing reaches the server for the
// pause, then one call at a time tries.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Name: "test", Passes: passes, Failures: 3, Pause: time.Second})
		s := &server{err: errDown}
		for _, err := range []error{errDown, errDown, nil, errDown, errAnswer, errDown, errDown} { // never three
			s.err = err
			_ = g.Once(t.Context(), s.call)
		}
		if b := g.State().Breaker; b != "closed" {
			t.Fatalf("%s without three failures in a row", b)
		}
		s.err = errDown
		if err := g.Do(t.Context(), s.call); err != errDown {
			t.Errorf("the call that opened it: %v", err)
		}
		asked := s.asked
		begun := time.Now()
		if err := g.Do(t.Context(), s.call); !errors.Is(err, ErrRejected) {
			t.Errorf("while it is open: %v", err)
		}
		if s.asked != asked || time.Since(begun) != 0 {
			t.Errorf("an open breaker let %d calls through, or waited %v", s.asked-asked, time.Since(begun))
		}
		if state := g.State(); state.Breaker != "open" || state.Rejected != 1 {
			t.Errorf("state %+v", state)
		}

		untilHalfOpen(t, g, time.Second)
		// Still down: the trial opens it again, and is not repeated.
		if err := g.Do(t.Context(), s.call); err != errDown || s.asked != asked+1 {
			t.Errorf("%d trials: %v", s.asked-asked, err)
		}
		if b := g.State().Breaker; b != "open" {
			t.Errorf("%s after a trial that failed", b)
		}

		untilHalfOpen(t, g, time.Second)
		// One trial at a time.
		done := make(chan error)
		answer := make(chan error)
		go func() { done <- g.Do(t.Context(), func(context.Context) error { return <-answer }) }()
		synctest.Wait()
		if err := g.Do(t.Context(), s.call); !errors.Is(err, ErrRejected) {
			t.Errorf("beside a trial: %v", err)
		}
		answer <- nil
		if err := <-done; err != nil {
			t.Error(err)
		}
		if b := g.State().Breaker; b != "closed" {
			t.Errorf("%s after a trial that went well", b)
		}
	})
}

// TestTurnedAwayBetweenAttempts: a call that reached the server answers what that
// said, and is not counted as rejected, when others have opened the breaker since.
func TestTurnedAwayBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Name: "test", Passes: passes, Failures: 2, Pause: time.Hour})
		s := &server{err: errDown}
		first := make(chan error)
		go func() { first <- g.Do(t.Context(), s.call) }()
		synctest.Wait() // it pauses
		_ = g.Once(t.Context(), s.call)
		if err := <-first; err != errDown || s.asked != 2 {
			t.Errorf("%d attempts: %v", s.asked, err)
		}
		wantState(t, g, State{Breaker: "open", Calls: 2, Failures: 2})
	})
}

// TestTrialsThatSayNothing: a caller that gives up in the middle of the trial, or
// panics, leaves a breaker that tries again.
func TestTrialsThatSayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Name: "test", Passes: passes, Failures: 1, Pause: time.Second})
		s := &server{err: errDown}
		_ = g.Once(t.Context(), s.call)
		untilHalfOpen(t, g, time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := g.Do(ctx, hangs); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		untilHalfOpen(t, g, time.Second)
		func() {
			defer func() { _ = recover() }()
			_ = g.Do(t.Context(), func(context.Context) error { panic("a bug") })
		}()
		untilHalfOpen(t, g, time.Second)
		s.err = nil
		if err := g.Do(t.Context(), s.call); err != nil {
			t.Errorf("the next trial: %v", err)
		}
		wantState(t, g, State{Breaker: "closed", Calls: 4, Failures: 1})
	})
}

// TestTimeLimitIsTheServers, and the caller's end is not. What took all its time
// is not asked again.
func TestTimeLimitIsTheServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Name: "test", Passes: passes, Timeout: time.Second, Attempts: 2, Failures: 100})
		begun := time.Now()
		if err := g.Do(t.Context(), hangs); err == nil {
			t.Error("no error of a server that hangs")
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("an attempt of one second took %v", took)
		}
		wantState(t, g, State{Breaker: "closed", Calls: 1, Failures: 1})

		for range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := g.Do(ctx, hangs); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		s := &server{}
		if err := g.Do(ended, s.call); !errors.Is(err, context.Canceled) || s.asked != 0 {
			t.Errorf("%d calls for somebody who is gone: %v", s.asked, err)
		}
		wantState(t, g, State{Breaker: "closed", Calls: 202, Failures: 1})
	})
}

// TestGivingUpBetweenAttempts ends the pause.
func TestGivingUpBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Name: "test", Passes: passes, Failures: 100, Attempts: 50})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		if err := g.Do(ctx, (&server{err: errDown}).call); err == nil {
			t.Error("no error")
		}
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
}

// TestBulkhead: no more calls than places, others wait for so long and no longer.
func TestBulkhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Name: "test", Passes: passes, Concurrent: 3, Waiting: time.Second, Timeout: time.Minute})
		release := make(chan struct{})
		most, now := 0, 0
		var mu sync.Mutex
		slow := func(context.Context) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-release
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}
		results := make(chan error, 10)
		for range 10 {
			go func() { results <- g.Do(t.Context(), slow) }()
		}
		synctest.Wait()
		if s := g.State(); s.InFlight != 3 || most != 3 {
			t.Errorf("%d in flight, %d at most; want 3", s.InFlight, most)
		}
		release <- struct{}{} // one of those that wait has its place
		begun := time.Now()
		until(t, func() bool { return g.State().Rejected == 6 })
		if waited := time.Since(begun); waited < time.Second || waited > time.Second+2*step {
			t.Errorf("the others were turned away after %v", waited)
		}
		close(release)
		rejected := 0
		for range 10 {
			if err := <-results; errors.Is(err, ErrRejected) {
				rejected++
			} else if err != nil {
				t.Error(err)
			}
		}
		if rejected != 6 || most != 3 {
			t.Errorf("%d rejected, %d at once; want 6 and 3", rejected, most)
		}
		wantState(t, g, State{Breaker: "closed", Calls: 10, Rejected: 6})
		// Whoever gives up waiting takes no place.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 10 {
			_ = g.Do(ctx, slow)
		}
		if err := g.Do(t.Context(), slow); err != nil {
			t.Error(err)
		}
	})
}

// TestStateIsExact under many callers of all kinds.
func TestStateIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Name: "test", Passes: passes, Concurrent: 5, Failures: 1 << 30, Attempts: 2, Waiting: time.Hour})
		var all sync.WaitGroup
		for n := range 300 {
			all.Go(func() {
				_ = g.Do(t.Context(), func(context.Context) error {
					<-time.After(time.Millisecond) // what the server takes: others come meanwhile
					return []error{nil, errAnswer, errDown}[n%3]
				})
			})
		}
		all.Wait()
		wantState(t, g, State{Breaker: "closed", Calls: 300, Failures: 200, Retries: 100})
	})
}

// step is how often until looks, of virtual time.
const step = time.Millisecond

// until returns when something holds, within an hour of virtual time.
func until(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Hour); !holds(); {
		if time.Now().After(end) {
			t.Fatal("it never came true")
		}
		<-time.After(step)
	}
}

// untilHalfOpen waits for the breaker's next trial, which must come when its pause
// is over and not before.
func untilHalfOpen(t *testing.T, g *Guard, pause time.Duration) {
	t.Helper()
	begun := time.Now()
	until(t, func() bool { return g.State().Breaker == "half-open" })
	if waited := time.Since(begun); waited < pause-step || waited > pause+2*step {
		t.Errorf("half-open after %v", waited)
	}
}
