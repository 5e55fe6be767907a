package esdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

const (
	// probeEvery is how often the store is asked for one small event.
	probeEvery = 2 * time.Second
	// probeAgain is the same while it does not answer.
	probeAgain = 500 * time.Millisecond
	// probeTimeout is when it counts as not answering.
	probeTimeout = 2 * time.Second
)

// health knows whether the store answers.
type health struct {
	store   *Store
	failure atomic.Pointer[error]
	wake    chan struct{} // to probe at once
	work    sync.WaitGroup
}

func newHealth(s *Store) *health { return &health{store: s, wake: make(chan struct{}, 1)} }

func (h *health) start() {
	h.work.Go(func() {
		for h.store.root.Err() == nil {
			pause := probeEvery
			if h.probe() != nil {
				pause = probeAgain
			}
			select {
			case <-time.After(jittered(pause)):
			case <-h.wake:
			case <-h.store.root.Done():
			}
		}
	})
}

func (h *health) wait() { h.work.Wait() }

func (h *health) probe() error {
	ctx, cancel := context.WithTimeout(h.store.root, probeTimeout)
	defer cancel()
	var err error
	for _, err = range h.store.readStream(ctx, identityStream, eventstore.EndRevision, eventstore.Backwards, 1) {
		if err != nil {
			break
		}
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no answer in time: %w", err)
	}
	h.set(err)
	return err
}

// set is told by the probe.
func (h *health) set(err error) {
	if err != nil {
		h.fail(err)
	} else if h.failure.Swap(nil) != nil {
		h.store.logger.Info("event store answers again")
	}
}

// note is told by calls: of a failure that the store's absence explains.
func (h *health) note(r reason) {
	if errors.Is(r.err, eventstore.ErrUnavailable) && h.fail(r.err) {
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
}

// fail tells whether the store answered until now.
func (h *health) fail(err error) (news bool) {
	if !errors.Is(err, eventstore.ErrUnavailable) {
		err = unavailable(err)
	}
	news = h.failure.Swap(&err) == nil
	if news && h.store.root.Err() == nil {
		h.store.logger.Warn("event store does not answer", "error", err)
	}
	return news
}

// Unreachable is eventstore.Remote.
func (s *Store) Unreachable() error {
	if err := s.health.failure.Load(); err != nil {
		return *err
	}
	return nil
}
