package projections

import (
	"context"
	"maps"
	"slices"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
)

const (
	// missingRead bounds the events among which is looked for what is missing: a
	// generation that is further behind is waited for by the records of its lanes.
	missingRead = 2 * LagCounted
	// missingAsked is how many documents are asked for at once.
	missingAsked = 64
)

// missing is what a generation lacks, by the records of its lanes, of the log up to a
// position. The records of other processes are old: they move a few times a second,
// and those of lanes without events more rarely. Whether an order's last event up
// there is applied shows in its document at once.
type missing struct {
	known  bool
	orders map[string]latest
}

// latest event of an order up to a position.
type latest struct {
	revision int64
	position eventstore.Position
}

// shows reports whether everything up to target is applied. It may say no of what is
// parked, and of what cannot be asked now: that shows in the records a little later.
func (s *sharer) shows(ctx context.Context, target eventstore.Position, lacks *missing) bool {
	lanes := s.laneStatus()
	if len(lanes) != Lanes {
		return false
	}
	if !lacks.known && !s.lookForMissing(ctx, lanes, target, lacks) {
		return false
	}
	maps.DeleteFunc(lacks.orders, func(id string, l latest) bool { return !lanes[LaneOf(id)].Position.Before(l.position) })
	for ids := range slices.Chunk(slices.Collect(maps.Keys(lacks.orders)), missingAsked) {
		docs, err := s.sink.Documents(ctx, ids)
		if err != nil {
			return false
		}
		for id, doc := range docs {
			if doc.Revision >= lacks.orders[id].revision {
				delete(lacks.orders, id)
			}
		}
	}
	return len(lacks.orders) == 0
}

// lookForMissing reports false where that is too much, or a lane was never filled:
// what is there then may be of an attempt that was given up.
func (s *sharer) lookForMissing(ctx context.Context, lanes []LaneStatus, target eventstore.Position, lacks *missing) bool {
	from := eventstore.End
	for _, l := range lanes {
		if l.Position.Before(from) {
			from = l.Position
		}
	}
	if from == eventstore.Start {
		return false
	}
	orders, read := map[string]latest{}, 0
	filter := eventstore.Filter{Prefixes: []string{s.namespace.Prefix(codec.Category)}}
	for r, err := range s.store.ReadAll(ctx, from, eventstore.Forwards, filter, missingRead) {
		if err != nil {
			return false
		}
		if target.Before(r.Position) {
			read = 0
			break
		}
		read++
		if id, ok := s.namespace.ID(codec.Category, r.Stream); ok && lanes[LaneOf(id)].Position.Before(r.Position) {
			orders[id] = latest{int64(r.Revision), r.Position}
		}
	}
	if read == missingRead {
		return false
	}
	lacks.known, lacks.orders = true, orders
	return true
}
