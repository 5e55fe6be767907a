package command

import (
	"container/list"
	"sync"

	"github.com/docket-orders/docket/eventstore"
)

// DefaultCacheEntries bounds the folded aggregates kept in memory.
const DefaultCacheEntries = 4096

// cache keeps the values used last. Values are shared and must not be changed.
type cache[V any] struct {
	mu      sync.Mutex
	most    int
	entries map[string]*list.Element
	order   *list.List // of *cached[V], used last in front
}

type cached[V any] struct {
	stream   string
	revision eventstore.Revision
	value    V
}

func newCache[V any](most int) *cache[V] {
	return &cache[V]{most: most, entries: map[string]*list.Element{}, order: list.New()}
}

func (c *cache[V]) get(stream string) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[stream]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached[V]).value, true
}

// put keeps the value of the higher revision.
func (c *cache[V]) put(stream string, revision eventstore.Revision, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[stream]; ok {
		if held := e.Value.(*cached[V]); revision > held.revision {
			held.revision, held.value = revision, v
		}
		c.order.MoveToFront(e)
		return
	}
	c.entries[stream] = c.order.PushFront(&cached[V]{stream, revision, v})
	if c.order.Len() > c.most {
		oldest := c.order.Remove(c.order.Back()).(*cached[V])
		delete(c.entries, oldest.stream)
	}
}

func (c *cache[V]) drop(stream string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[stream]; ok {
		c.order.Remove(e)
		delete(c.entries, stream)
	}
}
