package competing

import (
	"slices"
	"time"
)

// Status is what a group can say of itself.
type Status struct {
	Total      int64 // messages sent, repeats included
	Waiting    int   // to be sent for the first time
	Again      int   // to be sent again, or replayed
	InFlight   int
	Checkpoint Place // the one stored; 0: none
	Consumers  []ConsumerStatus
}

// ConsumerStatus is that of one consumer, in order of joining.
type ConsumerStatus struct {
	ID        ConsumerID
	Total     int64 // messages sent to it, repeats included
	Free      int   // slots
	InFlight  int
	Latencies []time.Duration // lately, ascending; nil unless they are remembered
}

// Status looks at the group.
func (g *Group) Status() Status {
	s := Status{
		Total: g.total, Waiting: len(g.queue), Again: len(g.again.messages), InFlight: len(g.outstanding),
		Checkpoint: g.checkpoint,
	}
	for _, c := range g.consumers {
		s.Consumers = append(s.Consumers, ConsumerStatus{
			ID: c.id, Total: c.total, Free: max(0, c.slots-len(c.flight)), InFlight: len(c.flight),
			Latencies: c.latencies.sorted(),
		})
	}
	return s
}

// Consumers is how many there are.
func (g *Group) Consumers() int { return len(g.consumers) }

// Replaying reports whether a replayed message is not finished.
func (g *Group) Replaying() bool { return g.parked.unfinished.Len() > 0 }

// maxLatencies is how many are remembered of each consumer.
const maxLatencies = 1000

// latencies are the newest ones, in no order.
type latencies struct {
	kept []time.Duration
	next int
}

func (l *latencies) add(d time.Duration) {
	if len(l.kept) < maxLatencies {
		l.kept = append(l.kept, d)
		return
	}
	l.kept[l.next] = d
	l.next = (l.next + 1) % maxLatencies
}

func (l *latencies) sorted() []time.Duration {
	if l.kept == nil {
		return nil
	}
	out := slices.Clone(l.kept)
	slices.Sort(out)
	return out
}
