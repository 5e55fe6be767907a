package audit

import (
	linked "container/list"
	"sync"
	"time"
)

// rates bounds how often each caller may do something: a bucket of tokens that
// fills steadily. Only so many callers are remembered.
type rates struct {
	perSecond float64
	burst     float64
	most      int // callers

	mu      sync.Mutex
	callers map[string]*linked.Element // of a *bucket
	used    *linked.List               // the caller heard of last in front
}

type bucket struct {
	caller string
	tokens float64
	filled time.Time // when tokens was right
	missed missed    // since the last token that was given
}

// missed is what was not said for lack of a token.
type missed struct {
	n     int64
	since time.Time // the first of them
}

func (m *missed) add(more missed) {
	if m.n == 0 || more.since.Before(m.since) {
		m.since = more.since
	}
	m.n += more.n
}

func newRates(perSecond float64, burst, most int) *rates {
	return &rates{
		perSecond: perSecond, burst: float64(burst), most: most,
		callers: map[string]*linked.Element{}, used: linked.New(),
	}
}

// take takes a token of the caller. With one, it answers what was missed since
// the one before; without, this one is counted as missed.
func (r *rates) take(caller string, now time.Time) (m missed, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bucket(caller, now)
	// A clock that was set back fills nothing.
	if since := now.Sub(b.filled); since > 0 {
		b.tokens = min(b.tokens+since.Seconds()*r.perSecond, r.burst)
	}
	b.filled = now
	if b.tokens < 1 {
		b.missed.add(missed{1, now})
		return missed{}, false
	}
	b.tokens--
	m, b.missed = b.missed, missed{}
	return m, true
}

// miss gives back what a token was taken for and could not be said.
func (r *rates) miss(caller string, m missed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.callers[caller]; e != nil {
		e.Value.(*bucket).missed.add(m)
	}
}

func (r *rates) bucket(caller string, now time.Time) *bucket {
	if e := r.callers[caller]; e != nil {
		r.used.MoveToFront(e)
		return e.Value.(*bucket)
	}
	if len(r.callers) >= r.most {
		oldest := r.used.Back()
		delete(r.callers, r.used.Remove(oldest).(*bucket).caller)
	}
	b := &bucket{caller: caller, tokens: r.burst, filled: now}
	r.callers[caller] = r.used.PushFront(b)
	return b
}
