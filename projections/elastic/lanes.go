package elastic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// laneRecord is projections.Checkpoint as it is kept. A lane without one was
// never claimed.
type laneRecord struct {
	Position string    `json:"position"`
	Event    uuid.UUID `json:"event"`
	Owner    string    `json:"owner"`
	Token    uint64    `json:"token"`
	Beat     uint64    `json:"beat"`
	Log      uuid.UUID `json:"log"`
	Epoch    uint32    `json:"epoch"`
}

func laneID(of string, lane int) string { return of + "-lane-" + strconv.Itoa(lane) }

func (s *Store) encodeLane(cp projections.Checkpoint) []byte {
	return controlRecord{Kind: "lane", Of: s.index, Data: encoded(laneRecord{
		cp.Position.String(), cp.EventID, cp.Owner, cp.Token, cp.Beat, cp.Log.ID, cp.Log.Epoch,
	})}.encode()
}

// readLane reads a record. One that another program made unreadable is as if the
// lane had never been claimed: it is read from the start of the log.
func readLane(lane int, doc got) projections.Checkpoint {
	var stored struct {
		Data laneRecord `json:"data"`
	}
	r := &stored.Data
	cp := projections.Checkpoint{Lane: lane}
	if !doc.Found || json.Unmarshal(doc.Source, &stored) != nil {
		return cp
	}
	cp.EventID, cp.Owner, cp.Token, cp.Beat = r.Event, r.Owner, r.Token, r.Beat
	cp.Log = eventstore.LogIdentity{ID: r.Log, Epoch: r.Epoch}
	if cp.Position.UnmarshalText([]byte(r.Position)) != nil {
		cp.Position = eventstore.Start
	}
	return cp
}

// Checkpoints implements projections.Sink.
func (s *Store) Checkpoints(ctx context.Context) (out []projections.Checkpoint, err error) {
	err = s.call(ctx, func() (err error) {
		out, err = s.lanes(ctx)
		return err
	})
	return out, wrap(err, "read checkpoints")
}

// lanes reads all of them.
func (s *Store) lanes(ctx context.Context) ([]projections.Checkpoint, error) {
	var ids []string
	for lane := range projections.Lanes {
		ids = append(ids, laneID(s.index, lane))
	}
	docs, err := s.records(ctx, ids...)
	if err != nil {
		return nil, err
	}
	out := make([]projections.Checkpoint, projections.Lanes)
	for lane := range out {
		out[lane] = readLane(lane, docs[lane])
	}
	return out, nil
}

// records reads records beside the documents, together with the one that says
// whether they count: what stands beside a lost generation must not look like
// what stands beside a new one.
func (s *Store) records(ctx context.Context, ids ...string) ([]got, error) {
	control := s.backend.names.control()
	all := []wanted{{Index: control, ID: recordID(s.generation)}}
	for _, id := range ids {
		all = append(all, wanted{Index: control, ID: id})
	}
	docs, err := s.cluster.get(ctx, all)
	if err != nil {
		return nil, err
	}
	if r, _ := readRecord(docs[0]); r.Incarnation != s.incarnation || r.State != ready {
		if err := s.gone(ctx); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: its record changes", projections.ErrUnavailable)
	}
	return docs[1:], nil
}

// Claim implements projections.Sink.
func (s *Store) Claim(ctx context.Context, lane int, owner string, token uint64) (cp projections.Checkpoint, err error) {
	err = s.call(ctx, func() error {
		id, lost := laneID(s.index, lane), false
		known, err := s.records(ctx, id)
		if err != nil {
			return err
		}
		err = s.settle(ctx, []string{id}, known, func(_ string, doc got) ([]byte, error) {
			cp = readLane(lane, doc)
			lost = cp.Token != token
			if lost {
				return unchanged, nil
			}
			cp.Owner, cp.Token = owner, token+1
			return s.encodeLane(cp), nil
		})
		if err == nil && lost {
			cp, err = projections.Checkpoint{}, projections.ErrLaneLost
		}
		return err
	})
	return cp, wrap(err, "claim lane %d", lane)
}

// ClaimLanes implements projections.LaneClaimer: two requests for all of them.
func (s *Store) ClaimLanes(ctx context.Context, lanes []projections.Checkpoint, owner string) (claimed []projections.Checkpoint, err error) {
	err = s.call(ctx, func() error {
		var ids []string
		for _, cp := range lanes {
			ids = append(ids, laneID(s.index, cp.Lane))
		}
		known, err := s.records(ctx, ids...)
		if err != nil {
			return err
		}
		now := map[int]projections.Checkpoint{}
		err = s.changeLanes(ctx, lanes, known, func(given, kept projections.Checkpoint) ([]byte, error) {
			delete(now, given.Lane)
			if kept.Token != given.Token {
				return unchanged, nil
			}
			kept.Owner, kept.Token = owner, kept.Token+1
			now[given.Lane] = kept
			return s.encodeLane(kept), nil
		})
		if err == nil {
			claimed = slices.Collect(maps.Values(now))
		}
		return err
	})
	return claimed, wrap(err, "claim %d lanes", len(lanes))
}

// Beat implements projections.Sink. It looks for the documents, too: they are in
// another index than the lanes, and while nothing is written nobody else does.
func (s *Store) Beat(ctx context.Context, lanes []projections.Checkpoint) (lost []int, err error) {
	err = s.call(ctx, func() error {
		gone := map[int]bool{}
		var ids []string
		for _, cp := range lanes {
			ids = append(ids, laneID(s.index, cp.Lane))
		}
		known, err := s.records(ctx, ids...)
		if err != nil {
			return err
		}
		if err := s.gone(ctx); err != nil {
			return err
		}
		err = s.changeLanes(ctx, lanes, known, func(given, kept projections.Checkpoint) ([]byte, error) {
			if gone[given.Lane] = kept.Token != given.Token; gone[given.Lane] {
				return unchanged, nil
			}
			kept.Beat++
			return s.encodeLane(kept), nil
		})
		maps.DeleteFunc(gone, func(_ int, lost bool) bool { return !lost })
		lost = slices.Sorted(maps.Keys(gone))
		return err
	})
	return lost, wrap(err, "raise beats")
}

// move moves checkpoints, if all tokens are still theirs. Each lane is compared
// and set by itself; a lane that is lost meanwhile stops the others only where
// they come after it, and they may move: what is before them is applied.
func (s *Store) move(ctx context.Context, lanes []projections.Checkpoint, known []got) error {
	return s.changeLanes(ctx, lanes, known, func(given, kept projections.Checkpoint) ([]byte, error) {
		if kept.Token != given.Token {
			return nil, s.laneLost(ctx, given, kept)
		}
		// A beat may have come between; it never goes back.
		given.Owner, given.Beat = kept.Owner, max(kept.Beat, given.Beat)
		return s.encodeLane(given), nil
	})
}

// laneLost is the error for a lane whose token is another. One that was claimed,
// and is not there, was flushed.
func (s *Store) laneLost(ctx context.Context, given, kept projections.Checkpoint) error {
	if kept.Token == 0 {
		if err := s.gone(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("lane %d: %w", given.Lane, projections.ErrLaneLost)
}

// changeLanes changes the records of lanes; see settle.
func (s *Store) changeLanes(ctx context.Context, lanes []projections.Checkpoint, known []got, change func(given, kept projections.Checkpoint) ([]byte, error)) error {
	var ids []string
	given := map[string]projections.Checkpoint{}
	for _, cp := range lanes {
		id := laneID(s.index, cp.Lane)
		ids, given[id] = append(ids, id), cp
	}
	return s.settle(ctx, ids, known, func(id string, doc got) ([]byte, error) {
		return change(given[id], readLane(given[id].Lane, doc))
	})
}

// unchanged is what a change of settle answers to leave a record as it is.
var unchanged = []byte{}

// settleAttempts bounds how often a record is changed again that others change,
// too.
const settleAttempts = 20

// settle changes records of the control index by compare and set: those that
// are known as they were read just now, the others after reading them, and
// again those that changed meanwhile. change says what a record becomes:
// nothing (nil) or unchanged, too. It is asked for all before any is changed.
func (s *Store) settle(ctx context.Context, ids []string, known []got, change func(id string, doc got) ([]byte, error)) error {
	control := s.backend.names.control()
	for attempt := 0; len(ids) > 0; attempt++ {
		if attempt == settleAttempts {
			return fmt.Errorf("%w: %s changes all the time", projections.ErrUnavailable, ids[0])
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
		docs := known
		if known = nil; docs == nil {
			var all []wanted
			for _, id := range ids {
				all = append(all, wanted{Index: control, ID: id})
			}
			var err error
			if docs, err = s.cluster.get(ctx, all); err != nil {
				return err
			}
		}
		var ops []operation
		for i := range docs {
			doc := &docs[i]
			source, err := change(doc.ID, *doc)
			if err != nil {
				return err
			}
			op := operation{id: doc.ID, source: source}
			if doc.Found {
				op.at = &doc.place
			}
			if source == nil && !doc.Found || source != nil && len(source) == 0 {
				continue
			}
			ops = append(ops, op)
		}
		if len(ops) == 0 {
			return nil
		}
		outcomes, err := s.cluster.bulk(ctx, control, ops)
		if err != nil {
			return err
		}
		ids = nil
		var failed error
		for i, o := range outcomes {
			switch {
			case o == nil:
			case o.kind == conflict, o.status == http.StatusTooManyRequests:
				ids = append(ids, ops[i].id)
			default:
				failed = errors.Join(failed, o)
			}
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}
