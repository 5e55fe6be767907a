package redis

import (
	"strconv"
	"sync"

	"github.com/docket-orders/docket/projections"
)

// moves is how often the lanes that this process has were moved, as far as Redis
// has told. One that comes back from a snapshot, or as a replica without the last
// writes, has moved them less often: what was applied since is gone with that, and
// who fed them has to begin again where they are.
type moves struct {
	mu    sync.Mutex
	lanes [projections.Lanes]struct {
		token uint64
		count int64
	}
}

// claimed notes the count of a lane with its claim.
func (m *moves) claimed(lane int, token uint64, count int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lanes[lane].token, m.lanes[lane].count = token, count
}

// moved notes the count of a lane, unless it was claimed again since.
func (m *moves) moved(cp projections.Checkpoint, count int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := &m.lanes[cp.Lane]; l.token == cp.Token {
		l.count = max(l.count, count)
	} else if l.token < cp.Token {
		l.token, l.count = cp.Token, count
	}
}

// known is the count of a lane under a token, as scripts take it.
func (m *moves) known(cp projections.Checkpoint) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.lanes[cp.Lane]; l.token == cp.Token {
		return strconv.FormatInt(l.count, 10)
	}
	return "0"
}
