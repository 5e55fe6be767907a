package redis

import "sync"

// headsBytes bounds what heads keeps, twice.
const headsBytes = 4 << 20

// heads is what stood before documents when they were read or written last here, so
// that a write need not ask for it. It decides nothing: a bucket's script compares
// it with what is kept, and answers that where it is another.
type heads struct {
	mu         sync.Mutex
	young, old map[string]string // by order; old are those that go when young is full
	bytes      int               // of young
}

func (h *heads) get(id string) (head string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if head, ok = h.young[id]; !ok {
		head, ok = h.old[id]
	}
	return head, ok
}

func (h *heads) put(id, head string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.young == nil || h.bytes > headsBytes {
		h.young, h.old, h.bytes = map[string]string{}, h.young, 0
	}
	h.young[id] = head
	h.bytes += len(id) + len(head) + 64 // an order that is written again counts again
}
