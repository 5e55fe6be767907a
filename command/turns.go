package command

import (
	"context"
	"sync"
)

// turns lets the commands of one stream wait for each other instead of deciding
// on the same revision and losing all but one append. It is a courtesy within
// this process: what keeps writers apart is the expected revision.
type turns struct {
	mu      sync.Mutex
	streams map[string]*turn // those somebody has or waits for
}

type turn struct {
	taken chan struct{} // holds one value while somebody has the turn
	users int           // who has it or waits, guarded by turns.mu
}

func newTurns() *turns { return &turns{streams: map[string]*turn{}} }

// take waits for the turn on a stream; done gives it to the next. It fails only
// with the error of ctx.
func (t *turns) take(ctx context.Context, stream string) (done func(), err error) {
	t.mu.Lock()
	s := t.streams[stream]
	if s == nil {
		s = &turn{taken: make(chan struct{}, 1)}
		t.streams[stream] = s
	}
	s.users++
	t.mu.Unlock()

	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(t.streams, stream)
		}
	}
	select {
	case s.taken <- struct{}{}:
		return func() { <-s.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
