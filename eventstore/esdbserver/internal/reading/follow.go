package reading

import (
	"errors"
	"strings"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// settings is the stream with the access lists of streams that have none.
const settings = "$settings"

// accessOf is the stream that holds the access list of what is read.
func accessOf(source string) string {
	if strings.HasPrefix(source, "$$") {
		return source
	}
	return "$$" + source
}

// stillAllowed asks again when a record shows that access lists changed.
func (a *answer) stillAllowed(written, lists string) error {
	if written != lists && written != settings {
		return nil
	}
	// The log may show the change before whoever wrote it has told the guard.
	a.Guard.Written(written)
	return a.allowed()
}

// cursor follows the log, and waits for its turn where it reads the store.
func (a *answer) cursor(from eventstore.Position, filter eventstore.Filter) (*cursor, error) {
	c, err := a.tail.follow(a.ctx, from, filter)
	if err == nil {
		c.take = func() error { return a.pages.take(a) }
		c.give = func() { a.pages.give(a) }
	}
	return c, err
}

// followLog is a subscription to the log.
func (a *answer) followLog() error {
	head, err := a.Store.Head(a.ctx)
	if err != nil {
		return a.failed(err)
	}
	if err := a.confirm(); err != nil {
		return err
	}
	from := a.position
	switch {
	case a.place == atStart:
		from = eventstore.Start
	case a.place == atEnd:
		from = head
	case beyond(from, head):
		return wire.BadRequest("Trying to read from an invalid position.")
	}
	c, err := a.cursor(from, eventstore.Filter{})
	if err != nil {
		return a.failed(err)
	}
	defer c.close()
	mark := checkpoints{filter: a.filter, told: from}
	lists := accessOf(a.source())
	for {
		e, err := c.next(a.ctx)
		if err != nil {
			return a.failed(err)
		}
		if e == nil {
			if mark.dueAtEnd(c.at) {
				if err := a.checkpoint(c.at); err != nil {
					return err
				}
			}
			if err := a.caughtUp(); err != nil {
				return err
			}
			continue
		}
		if err := a.stillAllowed(e.record.Stream, lists); err != nil {
			return err
		}
		wanted, err := a.wants(&e.record)
		if err == nil && wanted {
			err = a.deliverEntry(e)
		}
		if err == nil && mark.due(c.at) {
			err = a.checkpoint(c.at)
		}
		if err != nil {
			return err
		}
	}
}

// checkpoints decides when a filtered subscription tells how far it came:
// after each interval of records that it examined, and when it has caught up.
type checkpoints struct {
	filter   *filter // nil: there are none
	examined uint64
	told     eventstore.Position
}

// due counts a record that was examined, and delivered if it was wanted.
func (m *checkpoints) due(p eventstore.Position) bool {
	if m.filter == nil {
		return false
	}
	m.examined++
	return m.examined >= m.filter.interval && m.tell(p)
}

func (m *checkpoints) dueAtEnd(p eventstore.Position) bool {
	return m.filter != nil && m.told.Before(p) && m.tell(p)
}

func (m *checkpoints) tell(p eventstore.Position) bool {
	m.examined, m.told = 0, p
	return true
}

// followStream is a subscription to a stream. It reads the stream as it is, and
// then picks its events out of the log.
func (a *answer) followStream() error {
	// Whatever is in the log up to from is in the stream when it is read.
	from, err := a.Store.Head(a.ctx)
	if err != nil {
		return a.failed(err)
	}
	last, err := a.lastRevision()
	if err != nil {
		return a.failed(err)
	}
	lists := accessOf(a.stream)
	c, err := a.cursor(from, eventstore.Filter{Prefixes: []string{a.stream, lists, settings}})
	if err != nil {
		return a.failed(err)
	}
	defer c.close()
	if err := a.confirm(); err != nil {
		return err
	}
	next := eventstore.Revision(0)
	switch {
	case a.place == atEnd:
		next = last + 1
	case a.place == between:
		next = min(a.revision, eventstore.EndRevision-1) + 1
	}
	if a.place != atEnd {
		if next, err = a.readFrom(next); err != nil {
			return err
		}
	}
	for {
		e, err := c.next(a.ctx)
		if err != nil {
			return a.failed(err)
		}
		if e == nil {
			if err := a.caughtUp(); err != nil {
				return err
			}
			continue
		}
		if err := a.stillAllowed(e.record.Stream, lists); err != nil {
			return err
		}
		if e.record.Stream != a.stream || e.record.Revision < next {
			continue
		}
		if err := a.deliverEntry(e); err != nil {
			return err
		}
		if e.record.Revision == eventstore.EndRevision {
			return wire.StreamDeleted(a.stream)
		}
		next = e.record.Revision + 1
	}
}

// lastRevision is that of the last event that can be read, or -1. It fails for
// a tombstoned stream.
func (a *answer) lastRevision() (eventstore.Revision, error) {
	for rec, err := range a.Store.ReadStream(a.ctx, a.stream, eventstore.EndRevision, eventstore.Backwards, 1) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound):
			return -1, nil
		case err != nil:
			return -1, err
		}
		return rec.Revision, nil
	}
	return -1, nil
}

// accessEvery is after how many events of a stream's past it is asked again
// whether the caller may read them: a change of the list is not seen there.
const accessEvery = 512

// readFrom delivers what the stream has from a revision on, and answers the
// one that comes next.
func (a *answer) readFrom(next eventstore.Revision) (eventstore.Revision, error) {
	if err := a.pages.take(a); err != nil {
		return next, err
	}
	defer a.pages.give(a)
	given := 0
	for rec, err := range a.Store.ReadStream(a.ctx, a.stream, next, eventstore.Forwards, 0) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			// What comes, or how it ended, is in the log.
			return next, nil
		case err != nil:
			return next, a.failed(err)
		}
		if given++; given%accessEvery == 0 {
			if err := a.allowed(); err != nil {
				return next, err
			}
		}
		if err := a.deliver(&rec); err != nil {
			return next, err
		}
		next = rec.Revision + 1
	}
	return next, nil
}
