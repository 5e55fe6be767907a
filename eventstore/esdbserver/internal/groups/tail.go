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
// records: a group reads what it has room for. It costs nothing while nobody
// watches.
type tail struct {
	store  eventstore.Store
	logger *slog.Logger
	ended  sync.WaitGroup

	mu       sync.Mutex
	watchers map[string]map[chan struct{}]bool
	stop     context.CancelFunc // nil: nobody watches
}

func newTail(store eventstore.Store, logger *slog.Logger) *tail {
	return &tail{store: store, logger: logger, watchers: map[string]map[chan struct{}]bool{}}
}

// watch gives a channel that receives after the stream (or the log) grew; what
// is there already is not told. unwatch ends that.
func (t *tail) watch(stream string) (grown <-chan struct{}, unwatch func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop == nil {
		var ctx context.Context
		ctx, t.stop = context.WithCancel(context.Background())
		t.ended.Go(func() { t.follow(ctx) })
	}
	ch := make(chan struct{}, 1)
	if t.watchers[stream] == nil {
		t.watchers[stream] = map[chan struct{}]bool{}
	}
	t.watchers[stream][ch] = true
	return ch, func() { t.unwatch(stream, ch) }
}

func (t *tail) unwatch(stream string, ch chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.watchers[stream], ch)
	if len(t.watchers[stream]) == 0 {
		delete(t.watchers, stream)
	}
	if len(t.watchers) == 0 && t.stop != nil {
		t.stop()
		t.stop = nil
	}
}

// wait returns when nobody watches and nothing runs any more.
func (t *tail) wait() { t.ended.Wait() }

// followAgainAfter is the pause after the log could not be followed.
const followAgainAfter = time.Second

func (t *tail) follow(ctx context.Context) {
	for {
		err := t.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		t.logger.Error("persistent subscriptions do not hear of new events for a moment", "error", err)
		select {
		case <-time.After(followAgainAfter):
		case <-ctx.Done():
			return
		}
	}
}

func (t *tail) followOnce(ctx context.Context) error {
	at, err := t.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	// Who watches already may have missed what came before that end.
	t.wakeAll()
	sub, err := t.store.Subscribe(ctx, at, eventstore.Filter{})
	if err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	defer sub.Close()
	for {
		n, err := sub.Next(ctx)
		if err != nil {
			return fmt.Errorf("follow the log after %v: %w", at, err)
		}
		at = n.Position
		if n.Kind == eventstore.Delivered {
			t.wake(n.Record.Stream)
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
