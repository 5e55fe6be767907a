package elastic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// Store is one generation: a projections.Sink that answers query.Search. Nothing
// that is stored is believed from memory.
type Store struct {
	backend     *Backend
	cluster     *cluster
	generation  int
	incarnation string
	index       string // of the orders; of names.index
	alias       string // through which it is reached

	// open is held for reading by every call, and taken by Close.
	open   sync.RWMutex
	closed bool

	refreshes refreshes
	strays    strays
}

func newStore(b *Backend, generation int, incarnation string) *Store {
	return &Store{
		backend: b, cluster: b.cluster, generation: generation, incarnation: incarnation,
		index: b.names.index(generation, incarnation), alias: b.names.only(generation, incarnation),
	}
}

// Close waits for the calls inside the store; later ones fail with
// projections.ErrClosed.
func (s *Store) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	s.closed = true
	return nil
}

// call runs f while the store is open. Where an index is not there, it says what
// that means.
func (s *Store) call(ctx context.Context, f func() error) error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return projections.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := f()
	if missing(err) {
		if gone := s.gone(ctx); gone != nil {
			return gone
		}
		return fmt.Errorf("%w: %v", projections.ErrUnavailable, err) // it is there again
	}
	return err
}

// gone says what it means that something of the generation is not there; nil
// where it is what it should be.
func (s *Store) gone(ctx context.Context) error {
	return s.backend.gone(ctx, s.generation, s.incarnation)
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("orders views: %s: %w", fmt.Sprintf(format, args...), err)
}

// Documents implements projections.Sink. One that another program made
// unreadable is not there: the log has it, and the next event of the order
// writes it anew.
func (s *Store) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	out := make(map[string]view.Order, len(ids))
	err := s.call(ctx, func() error {
		var all []wanted
		for _, id := range ids {
			if id != "" && len(id) <= longestID {
				all = append(all, wanted{Index: s.alias, ID: id})
			}
		}
		docs, err := s.cluster.get(ctx, all)
		for _, doc := range docs {
			if !doc.Found {
				continue
			}
			if order, ok := decode(doc.ID, doc.Source); ok {
				out[doc.ID] = order
			}
		}
		return err
	})
	if err != nil {
		return nil, wrap(err, "read documents")
	}
	return out, nil
}

// Refresh implements projections.Sink.
func (s *Store) Refresh(ctx context.Context) error {
	return wrap(s.call(ctx, func() error { return s.refresh(ctx) }), "refresh")
}

// refreshes lets those who wait for a refresh share it. Who asks while one runs
// needs the next: what it waits for may have been written after that one began.
type refreshes struct {
	mu            sync.Mutex
	running, next *refreshing
}

type refreshing struct {
	done chan struct{} // closed when err is set
	err  error
}

// refreshTime bounds one refresh, whoever waits for it.
const refreshTime = 30 * time.Second

func (s *Store) refresh(ctx context.Context) error {
	r := &s.refreshes
	r.mu.Lock()
	mine := r.next
	switch {
	case r.running == nil:
		mine = &refreshing{done: make(chan struct{})}
		r.running = mine
		go s.runRefresh(context.WithoutCancel(ctx))
	case mine == nil:
		mine = &refreshing{done: make(chan struct{})}
		r.next = mine
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runRefresh runs the one that is due, and those that are asked for meanwhile.
func (s *Store) runRefresh(ctx context.Context) {
	r := &s.refreshes
	for {
		bounded, cancel := context.WithTimeout(ctx, refreshTime)
		err := s.cluster.refresh(bounded, s.alias)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: no refresh within %v", projections.ErrUnavailable, refreshTime)
		}
		r.mu.Lock()
		done := r.running
		r.running, r.next = r.next, nil
		more := r.running != nil
		r.mu.Unlock()
		done.err = err
		close(done.done)
		if !more {
			return
		}
	}
}

// pause before another attempt; none before the first.
func pause(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return ctx.Err()
	}
	d := min(5*time.Millisecond<<min(attempt, 10), time.Second)
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
