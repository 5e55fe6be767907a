package projections

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPaceRests: work takes its share of the time, and nothing rests without one.
func TestPaceRests(t *testing.T) {
	for share, want := range map[float64]time.Duration{ // the rests beside a minute of work
		0: 0, 1: 0, 1.5: 0, 0.5: time.Minute, 0.25: 3 * time.Minute, 0.001: 19 * time.Minute, // the least share
	} {
		synctest.Test(t, func(t *testing.T) {
			p, began := newPace(share), time.Now()
			for range 600 {
				if err := p.worked(t.Context(), 100*time.Millisecond); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(began); (took - want).Abs() > time.Millisecond {
				t.Errorf("share %v: %v, want %v", share, took, want)
			}
		})
	}
}

// TestPaceEndsWithItsContext: nobody waits for a rest to be over.
func TestPaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := newPace(0.1).worked(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// TestPaceMakesWay: a store that answers slower than it can gets more rest, down
// to a bound, one that fails too; when it is quick again the share comes back,
// and never goes beyond what was asked for.
func TestPaceMakesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		latency, failure := 10*time.Millisecond, error(nil)
		p := newPace(0.5)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		asked := make(chan struct{})
		go p.watch(ctx, func(context.Context) (time.Duration, error) {
			select {
			case asked <- struct{}{}:
			case <-ctx.Done():
			}
			return latency, failure
		})
		// The store answers so many times as it does now.
		answers := func(n int) {
			for range n {
				<-asked
			}
			synctest.Wait()
		}
		is := func(what string, want float64) {
			t.Helper()
			if got := p.now(); math.Abs(got-want) > 1e-9 {
				t.Errorf("%s: share %v, want %v", what, got, want)
			}
		}
		answers(50)
		is("quick", 0.5)
		latency = 14 * time.Millisecond
		answers(50)
		is("hardly slower", 0.5)
		latency = 30 * time.Millisecond
		answers(7)
		is("slower", 0.25)
		answers(50)
		is("slow for long", leastShare)
		latency = 10 * time.Millisecond
		answers(15)
		if got := p.now(); got <= leastShare || got > leastShare+4*growth*0.5 {
			t.Errorf("quick again: share %v", got)
		}
		answers(300)
		is("quick for long", 0.5)
		failure = errors.New("no answer")
		answers(50)
		is("no answer", leastShare)
	})
}

// TestPaceWithItsOwnLoad: the store is slow while the build works and quick while
// it rests, which is how it knows what it does to it.
func TestPaceWithItsOwnLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var working atomic.Bool
		p := newPace(0.8)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go p.watch(ctx, func(context.Context) (time.Duration, error) {
			if working.Load() {
				return 50 * time.Millisecond, nil
			}
			return 5 * time.Millisecond, nil
		})
		least := 1.0
		for began := time.Now(); time.Since(began) < 2*time.Minute; least = min(least, p.now()) {
			working.Store(true)
			const piece = 70 * time.Millisecond // of work, which passes as a rest does
			if err := pauseFor(ctx, piece); err != nil {
				t.Fatal(err)
			}
			working.Store(false)
			if err := p.worked(ctx, piece); err != nil {
				t.Fatal(err)
			}
		}
		if least > 0.4 {
			t.Errorf("the share never fell below %v", least)
		}
	})
}
