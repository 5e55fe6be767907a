package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/projections"
)

// GenerationsAnswer says what a switch would change.
type GenerationsAnswer struct {
	Same bool `json:"same"` // nothing would change, in any store
	projections.Difference
}

// ComparingAnswer says how far a comparison is that has not ended.
type ComparingAnswer struct {
	Compared int64 `json:"compared"` // documents
	Of       int64 `json:"of"`       // 0: not known yet
}

// comparisonTime bounds a comparison of two generations: one that hangs ends.
const comparisonTime = 30 * time.Minute

// notReadyRetry is after how many seconds to ask again about a generation that
// is still being made.
const notReadyRetry = 5

// comparing holds the one comparison that runs, however many ask for it.
type comparing struct {
	mu  sync.Mutex
	now *comparison // nil: none
}

// comparison is one, which goes on though nobody waits for it any more: the one
// who asks next finds it, or what it found.
type comparison struct {
	ended        chan struct{} // closed when found and err are there
	compared, of atomic.Int64
	found        projections.Difference
	err          error
}

// compare joins the comparison that runs, or begins one, which lifetime ends.
func (p *projection) compare(lifetime context.Context, fresh bool) *comparison {
	p.comparing.mu.Lock()
	defer p.comparing.mu.Unlock()
	if c := p.comparing.now; c != nil {
		return c
	}
	c := &comparison{ended: make(chan struct{})}
	p.comparing.now = c
	go func() {
		ctx, cancel := context.WithTimeout(lifetime, comparisonTime)
		defer cancel()
		c.found, c.err = p.views.Diff(ctx, fresh, func(compared, of int64) {
			c.compared.Store(compared)
			c.of.Store(of)
		})
		p.comparing.mu.Lock()
		p.comparing.now = nil
		p.comparing.mu.Unlock()
		close(c.ended)
	}()
	return c
}

// getDifference waits for a comparison as long as Prefer: wait says, or the
// longest that one may wait.
func (s *server) getDifference(w http.ResponseWriter, r *request, p *projection) error {
	prefer, err := parsePrefer(r.Request, s.o.Limits.WaitTime)
	if err != nil {
		return err
	}
	wait := s.o.Limits.WaitTime
	if prefer.waits {
		wait = prefer.wait
	}
	if err := s.gates.enter(r, waits); err != nil {
		return err
	}
	c := p.compare(s.o.Lifetime, r.query.is("fresh"))
	enough := time.NewTimer(wait)
	defer enough.Stop()
	select {
	case <-c.ended:
	case <-enough.C:
		w.Header().Set("Retry-After", "1")
		return writeJSON(w, http.StatusAccepted, ComparingAnswer{c.compared.Load(), c.of.Load()})
	case <-r.Context().Done():
		return r.Context().Err()
	}
	switch {
	case errors.Is(c.err, projections.ErrNotReady):
		return p.notReady(r.Context())
	case c.err != nil:
		return c.err
	}
	return writeJSON(w, http.StatusOK, GenerationsAnswer{c.found.Empty(), c.found})
}

// notReady says how far the generation is that is still being made.
func (p *projection) notReady(ctx context.Context) error {
	said := problem("rebuild-not-ready", "the generation has not caught up yet").retry(notReadyRetry).because(projections.ErrNotReady)
	if list, err := p.views.Rebuilds(ctx); err == nil {
		if rb := candidateOf(list); rb != nil {
			said.Generation = rb.Generation
			said.Detail = "it is " + string(rb.Phase) + "; GET " + rebuildPath(p.name, rb.Generation) + " says how far it is"
		}
	}
	return said
}
