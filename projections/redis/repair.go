package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/docket-orders/docket/projections"
)

// Replace implements projections.Inspector: the same two writes as any other, with
// no regard for revisions.
func (s *Store) Replace(ctx context.Context, orderID string, change *projections.Change) error {
	w := &write{id: orderID, force: true, outcome: &projections.Outcome{}}
	if change != nil {
		o, err := encode(change)
		if err == nil && o.id != orderID {
			err = fmt.Errorf("the document is of order %s", o.id)
		}
		if err != nil {
			return wrap(fmt.Errorf("%w: %w", projections.ErrRefused, err), "replace order %s", orderID)
		}
		w.order = o
	}
	return wrap(s.with(func() error {
		err := s.put(ctx, []*write{w})
		if err == nil && w.outcome.Result == projections.Refused {
			err = fmt.Errorf("%w: %w", projections.ErrRefused, w.outcome.Err)
		}
		return err
	}), "replace order %s", orderID)
}

// Sound implements projections.Inspector: every key of the generation is there, and
// the control record can be read. Everything else that may be wrong belongs to an
// order, and Inspect tells of it, or is counted, and Miscounted does; both are
// repaired without a rebuild.
func (s *Store) Sound(ctx context.Context) (wrong []string, err error) {
	err = s.with(func() error {
		if err := s.backend.everywhere(ctx, &s.scripts.here, s.keys, s.nonce); err != nil {
			return err
		}
		record, err := s.control(ctx)
		if err != nil {
			return err
		}
		wrong = strangeControl(record)
		return nil
	})
	return wrong, wrap(err, "look whether the views are sound")
}

// strangeControl says which fields of the control record docket does not write.
// What they stand for counts as nothing: a lane is read from the start of the log.
func strangeControl(record map[string]string) (wrong []string) {
	for i := range projections.Lanes {
		n := strconv.Itoa(i)
		if token, there := record["t"+n]; there && formatToken(parseToken(token)) != token {
			wrong = append(wrong, fmt.Sprintf("lane %d: token %.40q", i, token))
		}
		if beat, there := record["b"+n]; there {
			if _, err := strconv.ParseInt(beat, 10, 64); err != nil {
				wrong = append(wrong, fmt.Sprintf("lane %d: beat %.40q", i, beat))
			}
		}
		var l lane
		if place, there := record["p"+n]; there && json.Unmarshal([]byte(place), &l) != nil {
			wrong = append(wrong, fmt.Sprintf("lane %d: place %.80q", i, place))
		}
	}
	return wrong
}
