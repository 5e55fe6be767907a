package projections

import (
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// lanesSeen is what a process has seen of the records of all lanes. Only its own
// monotonic clock counts: nobody's clock is compared with another's.
type lanesSeen struct {
	lease   time.Duration
	records []Checkpoint // in lane order; nil before the first look
	changed []time.Time  // when each record was first seen as it is now
	looked  time.Time    // when the last look began
}

// look takes records that were asked for and have come. Between two looks that lie far apart
// nothing was seen, so no lane stood still: a store that was down for all of them,
// or a process that was stopped, makes no owner look dead.
func (l *lanesSeen) look(asked, now time.Time, records []Checkpoint) {
	blind := l.records == nil || asked.Sub(l.looked) > l.lease*3/4
	if l.records == nil {
		l.records, l.changed = make([]Checkpoint, len(records)), make([]time.Time, len(records))
	}
	for i, c := range records {
		if old := l.records[i]; blind || c.Owner != old.Owner || c.Token != old.Token || c.Beat != old.Beat || c.Position != old.Position {
			l.changed[i] = now
		}
		l.records[i] = c
	}
	l.looked = asked
}

// took notes a record that this process has just changed.
func (l *lanesSeen) took(now time.Time, c Checkpoint) {
	if l.records != nil {
		l.records[c.Lane], l.changed[c.Lane] = c, now
	}
}

// moved notes where this process has left a lane, unless another has it by now.
func (l *lanesSeen) moved(c Checkpoint) {
	if seen := &l.records[c.Lane]; seen.Token == c.Token && seen.Position.Before(c.Position) {
		seen.Position, seen.EventID, seen.Log = c.Position, c.EventID, c.Log
	}
}

// owners of the lanes, empty where a lane is free.
func (l *lanesSeen) owners() []string {
	out := make([]string, len(l.records))
	for i, c := range l.records {
		if l.still(i) < l.lease {
			out[i] = c.Owner
		}
	}
	return out
}

// lying reports whether a lane is free for so long that whoever should have taken
// it for their share has not.
func (l *lanesSeen) lying(lane int) bool { return l.still(lane) >= l.lease*5/4 }

// still is for how long a lane's record had not changed at the last look.
func (l *lanesSeen) still(lane int) time.Duration { return max(0, l.looked.Sub(l.changed[lane])) }

// lowest position of the lanes for which which holds; End when there is none.
func (l *lanesSeen) lowest(which func(lane int) bool) eventstore.Position {
	low := eventstore.End
	for i, c := range l.records {
		if which(i) && c.Position.Before(low) {
			low = c.Position
		}
	}
	return low
}
