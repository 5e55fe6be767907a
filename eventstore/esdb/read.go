package esdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/docket-orders/docket/eventstore"
)

// everything is a count that no read reaches.
const everything = math.MaxInt64

// under is ctx, which also ends when the store is closed.
func (s *Store) under(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.root, func() { cancel(errClosed) })
	return ctx, func() { stop(); cancel(context.Canceled) }
}

// errNoEvent: the client takes what has neither an event nor a link for one.
var errNoEvent = errors.New("the server sent a record without an event")

// reading is one read that the server carries out.
type reading struct {
	link   *link
	client *client
	stream *esdb.ReadStream
}

// open begins a read.
func (l *link) open(ctx context.Context, f func(context.Context, *esdb.Client) (*esdb.ReadStream, error)) (*reading, reason) {
	c, err := l.acquire(ctx)
	if err != nil {
		return nil, reason{outcome: unsent, err: err}
	}
	return c.open(ctx, f)
}

// open takes over what acquire gave.
func (c *client) open(ctx context.Context, f func(context.Context, *esdb.Client) (*esdb.ReadStream, error)) (*reading, reason) {
	out := &reading{link: c.link, client: c}
	connected, err := c.call(ctx, func(ctx context.Context) (err error) {
		out.stream, err = f(ctx, c.Client)
		return err
	})
	if err == nil {
		return out, reason{}
	}
	r := understand(connected, err)
	if r.broken && ctx.Err() == nil {
		// The client has not noticed: it does not map what goes wrong here.
		c.retire()
	}
	c.link.release(c)
	return nil, r
}

// next is one record; io.EOF in the reason's error ends the read.
func (r *reading) next() (*esdb.RecordedEvent, reason) {
	var event *esdb.ResolvedEvent
	err := guarded(func() (err error) {
		if event, err = r.stream.Recv(); err == nil && event.OriginalEvent() == nil {
			err = errNoEvent
		}
		return err
	})
	switch {
	case errors.Is(err, io.EOF):
		return nil, reason{err: io.EOF}
	case err != nil:
		return nil, understand(true, err)
	}
	return event.OriginalEvent(), reason{}
}

func (r *reading) close() {
	r.stream.Close()
	r.link.release(r.client)
}

// record is what the port calls an event of the client.
func record(e *esdb.RecordedEvent) eventstore.Record {
	return eventstore.Record{
		Event: eventstore.Event{
			ID: e.EventID, Type: e.EventType, JSON: e.ContentType == "application/json",
			Data: e.Data, Metadata: e.UserMetadata,
		},
		Stream:   e.StreamID,
		Revision: eventstore.Revision(e.EventNumber),
		Position: eventstore.Position{Commit: e.Position.Commit, Prepare: e.Position.Prepare},
		Created:  e.CreatedDate,
	}
}

// ReadStream is eventstore.Store. A connection that is lost in the middle is
// followed by another, behind the last record.
func (s *Store) ReadStream(ctx context.Context, stream string, from eventstore.Revision, dir eventstore.Direction, limit int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		ctx, sp := s.spans.start(ctx, "read-stream", stream)
		count, failure := 0, error(nil)
		defer func() { sp.read(revisionText(from), count, failure) }()
		if failure = checkName(stream); failure != nil {
			yield(eventstore.Record{}, failure)
			return
		}
		for rec, err := range s.readStream(ctx, stream, from, dir, limit) {
			if failure = err; err == nil {
				count++
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

func (s *Store) readStream(ctx context.Context, stream string, from eventstore.Revision, dir eventstore.Direction, limit int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		ctx, cancel := s.under(ctx)
		defer cancel()
		last := eventstore.Revision(-1) // delivered
		fail := func(err error) { yield(eventstore.Record{}, fmt.Errorf("read %s: %w", stream, err)) }
		delivered := 0
		begin := func(ctx context.Context, c *esdb.Client) (*esdb.ReadStream, error) {
			opts := esdb.ReadStreamOptions{Direction: esdb.Forwards, From: esdb.Revision(uint64(from))}
			if dir == eventstore.Backwards {
				opts.Direction = esdb.Backwards
				if from == eventstore.EndRevision {
					opts.From = esdb.End{}
				}
			}
			return c.ReadStream(ctx, stream, opts, countOf(limit, delivered))
		}
		retry := s.resumption()
		for {
			r := s.page(ctx, s.leader(), begin, func(e *esdb.RecordedEvent) (bool, error) {
				rec := record(e)
				if err := s.follows(ctx, stream, rec, last, dir); err != nil {
					return false, err
				}
				retry.progress()
				delivered++
				last = rec.Revision
				if dir == eventstore.Forwards {
					from = last + 1
				} else {
					from = last - 1
				}
				if !yield(rec, nil) {
					return false, nil
				}
				return delivered != limit && (from >= 0), nil
			})
			switch {
			case r.err == nil:
				return
			case r.missing:
				fail(eventstore.ErrStreamNotFound)
				return
			case r.deleted:
				fail(eventstore.ErrDeleted)
				return
			}
			if err := retry.again(ctx, r); err != nil {
				fail(err)
				return
			}
		}
	}
}

func countOf(limit, delivered int) uint64 {
	if limit <= 0 {
		return everything
	}
	return uint64(limit - delivered)
}

// follows checks that rec comes after last in its stream. Only what the
// stream's metadata hides may be missing in between, which can change while the
// stream is read.
func (s *Store) follows(ctx context.Context, stream string, rec eventstore.Record, last eventstore.Revision, dir eventstore.Direction) error {
	damaged := fmt.Errorf("%w: revision %d of %s follows %d of %s", eventstore.ErrCorrupt, rec.Revision, rec.Stream, last, stream)
	step := eventstore.Revision(1)
	if dir == eventstore.Backwards {
		step = -1
	}
	switch {
	case rec.Stream != stream, last >= 0 && (rec.Revision-last)*step <= 0:
		return damaged
	case last < 0 || rec.Revision == last+step:
		return nil
	case dir == eventstore.Backwards:
		return damaged
	}
	md, _, err := s.StreamMetadata(ctx, stream)
	if err != nil {
		return fmt.Errorf("revision %d follows %d: %w", rec.Revision, last, err)
	}
	if md.TruncateBefore >= rec.Revision || md.MaxCount > 0 || md.MaxAge > 0 {
		return nil
	}
	return damaged
}

// page reads until the read ends, visit says stop, or something breaks.
func (s *Store) page(ctx context.Context, l *link, begin func(context.Context, *esdb.Client) (*esdb.ReadStream, error), visit func(*esdb.RecordedEvent) (more bool, err error)) reason {
	reading, r := l.open(ctx, begin)
	if r.err != nil {
		return r
	}
	defer reading.close()
	for {
		e, r := reading.next()
		switch {
		case r.err == io.EOF:
			return reason{}
		case r.err != nil:
			return r
		}
		if more, err := visit(e); err != nil {
			return reason{outcome: refused, err: err}
		} else if !more {
			return reason{}
		}
	}
}

// resumption counts the attempts of a read that got nothing.
type resumption struct{ tries tries }

func (s *Store) resumption() resumption { return resumption{s.tries()} }

func (r *resumption) progress() { r.tries = r.tries.store.tries() }

// again waits before the next attempt, or returns why there is none.
func (r *resumption) again(ctx context.Context, why reason) error {
	if why.outcome == unknown {
		why.outcome = unsent // nothing is in doubt
	}
	r.tries.made++
	if err := r.tries.over(ctx, why); err != nil {
		return err
	}
	return r.tries.wait(ctx)
}

// Head is eventstore.Store.
func (s *Store) Head(ctx context.Context) (head eventstore.Position, err error) {
	ctx, sp := s.spans.start(ctx, "head", "$all")
	defer func() { sp.read(head.String(), 0, err) }()
	for rec, err := range s.readBackwards(ctx, eventstore.End, eventstore.Filter{}, 1) {
		if err != nil {
			return eventstore.Start, err
		}
		head = rec.Position
		s.log.saw(head)
	}
	return head, nil
}

// ReadAll is eventstore.Store. Forwards it ends with the record that was last
// when it began.
func (s *Store) ReadAll(ctx context.Context, from eventstore.Position, dir eventstore.Direction, filter eventstore.Filter, limit int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		ctx, sp := s.spans.start(ctx, "read-all", "$all")
		count, failure := 0, error(nil)
		defer func() { sp.read(from.String(), count, failure) }()
		read := s.readForwards
		if dir == eventstore.Backwards {
			read = s.readBackwards
		}
		for rec, err := range read(ctx, from, filter, limit) {
			if failure = err; err == nil {
				count++
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

// readBackwards filters on this side: the client's ReadAll has no filter.
func (s *Store) readBackwards(ctx context.Context, from eventstore.Position, filter eventstore.Filter, limit int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		ctx, cancel := s.under(ctx)
		defer cancel()
		if from == eventstore.Start {
			if ctx.Err() != nil {
				yield(eventstore.Record{}, ended(ctx))
			}
			return
		}
		delivered := 0
		begin := func(ctx context.Context, c *esdb.Client) (*esdb.ReadStream, error) {
			count := uint64(everything)
			if len(filter.Prefixes) == 0 {
				count = countOf(limit, delivered)
			}
			return c.ReadAll(ctx, esdb.ReadAllOptions{Direction: esdb.Backwards, From: place(from)}, count)
		}
		retry := s.resumption()
		for {
			r := s.page(ctx, s.leader(), begin, func(e *esdb.RecordedEvent) (bool, error) {
				rec := record(e)
				if !rec.Position.Before(from) {
					return false, fmt.Errorf("%w: position %s backwards from %s", eventstore.ErrCorrupt, rec.Position, from)
				}
				retry.progress()
				from = rec.Position
				if !filter.Matches(rec.Stream) {
					return true, nil
				}
				delivered++
				return yield(rec, nil) && delivered != limit, nil
			})
			if r.err == nil {
				return
			}
			if err := retry.again(ctx, r); err != nil {
				yield(eventstore.Record{}, fmt.Errorf("read the log backwards: %w", err))
				return
			}
		}
	}
}

// place is a position as the client names it.
func place(p eventstore.Position) esdb.AllPosition {
	switch p {
	case eventstore.Start:
		return esdb.Start{}
	case eventstore.End:
		return esdb.End{}
	}
	return esdb.Position{Commit: p.Commit, Prepare: p.Prepare}
}

// StreamMetadata is eventstore.Store. It reads the metadata stream itself: the
// client's reader knows neither its revision nor every form of access lists.
func (s *Store) StreamMetadata(ctx context.Context, stream string) (md eventstore.StreamMetadata, at eventstore.Expected, err error) {
	at = eventstore.NoStream
	for rec, err := range s.ReadStream(ctx, "$$"+stream, eventstore.EndRevision, eventstore.Backwards, 1) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			return md, eventstore.NoStream, nil
		}
		if err != nil {
			return md, eventstore.NoStream, err
		}
		at = eventstore.At(rec.Revision)
		if !rec.JSON || md.UnmarshalJSON(rec.Data) != nil {
			md = eventstore.StreamMetadata{} // counts as empty, as on the server
		}
	}
	return md, at, nil
}
