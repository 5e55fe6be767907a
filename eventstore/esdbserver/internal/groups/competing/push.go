package competing

import (
	"container/heap"
	"fmt"
	"time"
)

// Strategy says which consumer gets a message.
type Strategy uint8

const (
	RoundRobin       Strategy = iota // the next one with a free slot, in turn
	DispatchToSingle                 // the first one until it is full, then the next
	Pinned                           // the owner of the message's bucket, and nobody else
)

// Buckets is how many there are; consumers own about the same number each.
const Buckets = 1024

type consumer struct {
	id        ConsumerID
	slots     int
	flight    map[ID]*Message
	total     int64
	latencies latencies
}

func (c *consumer) free() bool { return len(c.flight) < c.slots }

// push sends what stands first to whom the strategy chooses, until all
// consumers are full.
func (g *Group) push(now time.Time) {
	free := 0
	for _, c := range g.consumers {
		free += max(0, c.slots-len(c.flight))
	}
	free = min(free, MaxOutstanding-len(g.outstanding))
	// Messages whose owner is full stay, and let others pass.
	var stay []*Message
	for free > 0 && len(g.again.messages) > 0 {
		m := heap.Pop(&g.again).(*Message)
		if !g.send(m, now, &free) {
			stay = append(stay, m)
			continue
		}
		if m.Replayed {
			g.replayBytes -= m.Size
		}
	}
	for _, m := range stay {
		heap.Push(&g.again, m)
	}
	taken, kept := 0, 0
	for ; taken < len(g.queue) && free > 0; taken++ {
		m := g.queue[taken]
		if !g.send(m, now, &free) {
			g.queue[kept] = m
			kept++
			continue
		}
		g.queueBytes -= m.Size
	}
	g.cut(kept, taken)
}

// cut removes what was taken from the front of the queue, except for the kept
// ones, which were moved there.
func (g *Group) cut(kept, taken int) {
	gap := taken - kept
	if gap == 0 {
		return
	}
	copy(g.queue[gap:taken], g.queue[:kept])
	clear(g.queue[:gap])
	g.queue = g.queue[gap:]
}

// send reports whether the message left the queue: it was sent, or finished
// because another one with its id is in flight.
func (g *Group) send(m *Message, now time.Time, free *int) bool {
	if g.outstanding[m.ID] != nil {
		g.finish(m)
		return true
	}
	c := g.choose(m)
	if c == nil {
		return false
	}
	*free--
	m.state, m.consumer, m.sent = inFlight, c, now
	g.outstanding[m.ID] = m
	c.flight[m.ID] = m
	c.total++
	g.total++
	g.work.Pushes = append(g.work.Pushes, Push{c.id, m})
	return true
}

// choose is nil when only full consumers come into question.
func (g *Group) choose(m *Message) *consumer {
	switch g.settings.Strategy {
	case Pinned:
		if c := g.owners[m.Bucket]; c.free() {
			return c
		}
		return nil
	case DispatchToSingle:
		g.turn = 0
	}
	for i := range g.consumers {
		at := (g.turn + i) % len(g.consumers)
		if c := g.consumers[at]; c.free() {
			g.turn = at + 1
			return c
		}
	}
	return nil
}

// balance gives every consumer its share of the buckets and moves no more of
// them than it must.
func (g *Group) balance() {
	n := len(g.consumers)
	if n == 0 {
		g.owners = [Buckets]*consumer{}
		return
	}
	share := make(map[*consumer]int, n)
	for i, c := range g.consumers {
		share[c] = Buckets / n
		if i < Buckets%n {
			share[c]++
		}
	}
	var loose []int
	for b, c := range g.owners {
		if share[c] > 0 {
			share[c]--
			continue
		}
		loose = append(loose, b)
	}
	for _, c := range g.consumers {
		for ; share[c] > 0; share[c]-- {
			g.owners[loose[0]] = c
			loose = loose[1:]
		}
	}
}

func reachedRetries(n int) string { return fmt.Sprintf("Reached retry count of %d", n) }

// again is a heap of what is to be sent again: first what is in the source's
// order, then what was parked, in that order.
type again struct {
	messages []*Message
	replayed int
}

func (a *again) Len() int { return len(a.messages) }

func (a *again) Less(i, j int) bool {
	m, n := a.messages[i], a.messages[j]
	if m.Replayed != n.Replayed {
		return !m.Replayed
	}
	return m.Place < n.Place
}

func (a *again) Swap(i, j int) { a.messages[i], a.messages[j] = a.messages[j], a.messages[i] }

func (a *again) Push(x any) {
	m := x.(*Message)
	if m.Replayed {
		a.replayed++
	}
	a.messages = append(a.messages, m)
}

func (a *again) Pop() any {
	last := len(a.messages) - 1
	m := a.messages[last]
	a.messages[last] = nil
	a.messages = a.messages[:last]
	if m.Replayed {
		a.replayed--
	}
	return m
}
