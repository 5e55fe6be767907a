package sqlite

import (
	"context"
	"errors"

	"github.com/docket-orders/docket/eventstore"
)

// A checkpoint follows once this many records at the end of a page did not
// match: with a page of 512 at most 767 are passed over without a word.
const checkpointAfter = 256

// Subscribe reads the log page by page as the consumer asks for more; a slow
// consumer costs one page of memory and holds nobody up.
func (s *Store) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.isClosed() {
		return nil, errClosed
	}
	if s.writer == nil {
		return nil, errors.New("subscribe: the event store was opened read-only")
	}
	return &subscription{
		store: s, scan: s.openLog(eventstore.Forwards, filter),
		examined: from.Commit, told: from.Commit,
	}, nil
}

type subscription struct {
	store *Store
	scan  *logScan
	// page is what was read and not yet delivered.
	page []eventstore.Record
	// examined is the position up to which the log was read, told the one up to
	// which the consumer knows.
	examined, told uint64
	caughtUp       bool
	closed         bool
	failed         error
}

// Next delivers what is buffered, then reads, then waits.
func (sub *subscription) Next(ctx context.Context) (eventstore.Notice, error) {
	for {
		if err := sub.broken(ctx); err != nil {
			return eventstore.Notice{}, err
		}
		if len(sub.page) > 0 {
			rec := sub.page[0]
			sub.page = sub.page[1:]
			sub.told = rec.Position.Commit
			return eventstore.Notice{Kind: eventstore.Delivered, Record: rec, Position: rec.Position}, nil
		}
		grown := sub.store.news.next()
		head := sub.store.position.Load()
		if sub.examined < head {
			if sub.examined-sub.told >= checkpointAfter {
				return sub.mark(eventstore.Checkpoint), nil
			}
			sub.failed = sub.fill(ctx, head)
			continue
		}
		if sub.examined > sub.told {
			return sub.mark(eventstore.Checkpoint), nil
		}
		if !sub.caughtUp {
			sub.caughtUp = true
			return sub.mark(eventstore.CaughtUp), nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
		case <-sub.store.closed:
		}
	}
}

func (sub *subscription) broken(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case sub.closed:
		return errors.New("subscription is closed")
	case sub.store.isClosed():
		return errClosed
	case len(sub.page) == 0:
		// What was read before the damage is still delivered.
		return sub.failed
	}
	return nil
}

func (sub *subscription) mark(kind eventstore.NoticeKind) eventstore.Notice {
	sub.told = sub.examined
	return eventstore.Notice{Kind: kind, Position: eventstore.At64(sub.told)}
}

// fill reads the page after what was examined.
func (sub *subscription) fill(ctx context.Context, head uint64) error {
	sub.scan.truncations = sub.store.identity.Load().truncations
	sub.scan.start(sub.examined+1, head)
	err := sub.store.readers.with(ctx, sub.scan.fill)
	sub.page = sub.scan.page
	if sub.scan.examined > 0 {
		sub.examined = sub.scan.lastExamined
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Close ends the subscription; it holds nothing but memory.
func (sub *subscription) Close() error {
	sub.closed = true
	return nil
}
