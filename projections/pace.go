package projections

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// leastShare of its time is what a build works at least: it ends some day,
	// however slow the store is.
	leastShare = 0.05
	// probeEvery is how often the store is asked how quick it is, and adjustEvery
	// how often what it says changes the share: the last change needs time to show.
	probeEvery  = 200 * time.Millisecond
	adjustEvery = 5 * probeEvery
	// probesKept is how many answers the base is looked for in, probesNow how many
	// of the last ones say how it is now.
	probesKept = 256
	probesNow  = 5
	// tooSlow is the latency, in bases, from which a build makes way, if it is
	// longer by more than slack, too: small ones double by themselves.
	tooSlow = 1.5
	slack   = 2 * time.Millisecond
	// growth of the share with each adjustment, in shares that were asked for.
	growth = 0.1
)

// probe tells how long a store takes to answer a reader.
type probe func(ctx context.Context) (time.Duration, error)

// pace keeps a build to a share of its time, so that those who read and write
// meanwhile keep their latency: after each piece of work it rests. When the
// store answers slower than it does when it is left alone, the share halves;
// otherwise it grows again, slowly, to what was asked for. What the store does
// when it is left alone is the lower end of what was seen lately: a build that
// rests half of its time leaves it alone half of the time.
//
// A nil pace does not rest. The methods may be called from many goroutines.
type pace struct {
	asked float64

	mu       sync.Mutex
	share    float64         // now
	seen     []time.Duration // the last answers, oldest first
	adjusted time.Time
}

// newPace is nil for all of the time: a share of 1, or none.
func newPace(share float64) *pace {
	if share <= 0 || share >= 1 {
		return nil
	}
	return &pace{asked: share, share: max(share, leastShare)}
}

// worked rests as long as a piece of work of this length demands. It ends early
// with ctx.
func (p *pace) worked(ctx context.Context, d time.Duration) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	rest := time.Duration(float64(d) * (1 - p.share) / p.share)
	p.mu.Unlock()
	return pauseFor(ctx, rest)
}

// watch asks the store how quick it is until ctx ends.
func (p *pace) watch(ctx context.Context, ask probe) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		took, err := ask(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil { // as slow as it gets
			took = max(time.Since(began), time.Second)
		}
		p.saw(time.Now(), took)
	}
}

// saw takes an answer and adjusts the share.
func (p *pace) saw(now time.Time, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) == probesKept {
		p.seen = p.seen[:copy(p.seen, p.seen[1:])]
	}
	p.seen = append(p.seen, took)
	if len(p.seen) < probesNow || now.Sub(p.adjusted) < adjustEvery {
		return
	}
	p.adjusted = now
	base := quantile(p.seen, 0.05)
	if lately := quantile(p.seen[len(p.seen)-probesNow:], 0.5); lately > max(time.Duration(float64(base)*tooSlow), base+slack) {
		p.share = max(p.share/2, leastShare)
	} else {
		p.share = min(p.share+growth*p.asked, max(p.asked, leastShare))
	}
}

// now is the share at present; 1 for a nil pace.
func (p *pace) now() float64 {
	if p == nil {
		return 1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.share
}

func quantile(of []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[int(q*float64(len(sorted)-1))]
}
