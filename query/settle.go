package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
)

const (
	// settleTries bounds the wait for an instant that is going on: it is over a
	// microsecond later.
	settleTries = 100
	// soon is how far in the future an instant is waited for: clocks are read
	// to the microsecond, and instants asked for to the nanosecond.
	soon = 2 * time.Microsecond
)

// settle returns when nothing can come to be recorded at or before asOf any
// more. An event is dated a moment before it is readable, so a reader of the
// moment that just passed might miss one that is on its way to the disk: the
// answer would change afterwards.
//
// Along the log of a store that is a Sequencer recordedAt never decreases, and
// nothing is dated before what Clock said last. So everything is there once a
// later event is, or once a call in sequence has seen a later clock. Where
// writing has stopped, an append whose outcome is unknown is taken as not
// written. Where the store is none, what this process is recording is waited
// for; the clock and the delay of other writers are their own.
func (s *Service) settle(ctx context.Context, asOf time.Time) error {
	sequencer, ok := s.options.Store.(eventstore.Sequencer)
	if !ok {
		return s.settleHere(ctx, asOf)
	}
	newest, err := s.newestRecorded(ctx)
	if err != nil || asOf.Before(newest) {
		return err
	}
	var now time.Time
	for range settleTries {
		err := sequencer.Sequence(ctx, func() { now = s.options.Clock() })
		switch {
		case errors.Is(err, eventstore.ErrReadOnly), errors.Is(err, eventstore.ErrOutcomeUnknown) && ctx.Err() == nil:
			return nil
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("wait for what is being recorded: %w", err)
		case asOf.Before(now):
			return nil
		}
		if asOf.Sub(now) > soon {
			break
		}
	}
	return future("asOf", asOf, now)
}

// settleHere waits until this process records nothing more at or before asOf. An
// instant that has not come is refused later.
func (s *Service) settleHere(ctx context.Context, asOf time.Time) error {
	for range settleTries {
		now := s.options.Clock()
		if asOf.Before(now) {
			if err := s.options.Recorded(ctx, asOf); err != nil {
				return fmt.Errorf("wait for what is being recorded: %w", err)
			}
			return nil
		}
		if asOf.Sub(now) > soon {
			return nil
		}
	}
	return nil
}

// newestRecorded is the recordedAt of the log's last event of an order; zero
// when there is none or it cannot be read.
func (s *Service) newestRecorded(ctx context.Context) (time.Time, error) {
	filter := eventstore.Filter{Prefixes: []string{s.options.Namespace.Prefix(codec.Category)}}
	for record, err := range s.options.Store.ReadAll(ctx, eventstore.End, eventstore.Backwards, filter, 1) {
		if err != nil {
			return time.Time{}, fmt.Errorf("read the end of the log: %w", err)
		}
		if meta, err := codec.DecodeMeta(record.Metadata); err == nil {
			return meta.RecordedAt, nil
		}
	}
	return time.Time{}, nil
}
