package reading

import (
	"errors"
	"math"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

func (a *answer) readStream() error {
	from := a.revision
	switch a.place {
	case atStart:
		from = 0
	case atEnd:
		from = eventstore.EndRevision
	}
	if err := a.pages.take(a); err != nil {
		return err
	}
	defer a.pages.give(a)
	for rec, err := range a.Store.ReadStream(a.ctx, a.stream, from, a.dir, limited(a.count)) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			return a.streamNotFound()
		}
		if err != nil {
			return a.failed(err)
		}
		if err := a.deliver(&rec); err != nil {
			return err
		}
	}
	return nil
}

// limited is a count as the store takes it: 0 is no limit.
func limited(count uint64) int {
	if count > math.MaxInt {
		return 0
	}
	return int(count)
}

func (a *answer) readLog() error {
	head, err := a.Store.Head(a.ctx)
	if err != nil {
		return a.failed(err)
	}
	from := a.position
	switch {
	case a.place == atStart && a.dir == eventstore.Backwards, a.place == atEnd && a.dir == eventstore.Forwards:
		return nil
	case a.place == atStart:
		from = eventstore.Start
	case a.place == atEnd:
		from = eventstore.End
	case beyond(from, head):
		return wire.Unhandled("Unexpected ReadAllResult: InvalidPosition")
	}
	if err := a.pages.take(a); err != nil {
		return err
	}
	defer a.pages.give(a)
	for left := a.count; left > 0; {
		// Where nothing is filtered the store need not read more than is wanted;
		// what is left out is asked for again behind it.
		limit := 0
		if a.filter == nil {
			limit = limited(left)
		}
		examined := 0
		for rec, err := range a.Store.ReadAll(a.ctx, from, a.dir, eventstore.Filter{}, limit) {
			if err != nil {
				return a.failed(err)
			}
			examined++
			from = rec.Position
			wanted, err := a.wants(&rec)
			if err != nil {
				return err
			}
			if !wanted {
				continue
			}
			if err := a.deliver(&rec); err != nil {
				return err
			}
			if left--; left == 0 {
				return nil
			}
		}
		if limit == 0 || examined < limit {
			return nil
		}
		if a.dir == eventstore.Forwards {
			from = behind(from)
		}
	}
	return nil
}

// behind is the first position after p.
func behind(p eventstore.Position) eventstore.Position {
	return eventstore.Position{Commit: p.Commit + 1, Prepare: p.Prepare + 1}
}

// wants reports whether a record of the log is delivered.
func (a *answer) wants(rec *eventstore.Record) (bool, error) {
	if wire.LeftOut(rec.Stream) {
		return false, nil
	}
	return a.filter.selects(rec)
}

// beyond reports whether a position is none of a log that ends at head: one
// where no record is, nor the next one may be.
func beyond(p, head eventstore.Position) bool {
	return p.Prepare != p.Commit || p.Commit > head.Commit+1
}
