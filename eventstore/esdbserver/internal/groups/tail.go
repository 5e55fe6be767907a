package groups

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// tail follows the log and wakes the groups whose source grew. It carries no
// records: a group reads what it has room for.
type tail struct {
	store  eventstore.Store
	logger *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // nil until somebody watches

	mu       sync.Mutex
	watchers map[string]map[chan struct{}]bool
}

func newTail(store eventstore.Store, logger *slog.Logger) *tail {
	ctx, cancel := context.WithCancel(context.Background())
	return &tail{store: store, logger: logger, ctx: ctx, cancel: cancel, watchers: map[string]map[chan struct{}]bool{}}
}

// watch gives a channel that receives after the stream (or the log) grew; what
// is there already is not told. stop ends that.
func (t *tail) watch(stream string) (grown <-chan struct{}, stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done == nil {
		t.done = make(chan struct{})
		go t.follow()
	}
	ch := make(chan struct{}, 1)
	if t.watchers[stream] == nil {
		t.watchers[stream] = map[chan struct{}]bool{}
	}
	t.watchers[stream][ch] = true
	return ch, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.watchers[stream], ch)
		if len(t.watchers[stream]) == 0 {
			delete(t.watchers, stream)
		}
	}
}

func (t *tail) close() {
	t.cancel()
	t.mu.Lock()
	done := t.done
	t.mu.Unlock()
	if done != nil {
		<-done
	}
}

// reconnectAfter is the pause after the log could not be followed.
const reconnectAfter = time.Second

func (t *tail) follow() {
	defer close(t.done)
	at, known := eventstore.Start, false
	for {
		err := func() (err error) {
			if !known {
				if at, err = t.store.Head(t.ctx); err != nil {
					return fmt.Errorf("find the end of the log: %w", err)
				}
				// Who began to watch before the end was known has missed what came.
				known = true
				t.wakeAll()
			}
			sub, err := t.store.Subscribe(t.ctx, at, eventstore.Filter{})
			if err != nil {
				return fmt.Errorf("follow the log: %w", err)
			}
			defer sub.Close()
			for {
				n, err := sub.Next(t.ctx)
				if err != nil {
					return fmt.Errorf("follow the log after %v: %w", at, err)
				}
				at = n.Position
				if n.Kind == eventstore.Delivered {
					t.wake(n.Record.Stream)
				}
			}
		}()
		if t.ctx.Err() != nil {
			return
		}
		t.logger.Error("persistent subscriptions do not hear of new events for a moment", "error", err)
		select {
		case <-time.After(reconnectAfter):
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *tail) wake(stream string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range []string{stream, wire.All} {
		for ch := range t.watchers[name] {
			poke(ch)
		}
	}
}

func (t *tail) wakeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, channels := range t.watchers {
		for ch := range channels {
			poke(ch)
		}
	}
}

// poke leaves a note that something happened; one is enough.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
