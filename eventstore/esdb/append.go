package esdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
)

const (
	// defaultDeadline of one attempt to write, where the connection string names
	// none.
	defaultDeadline = 5 * time.Second
	// An attempt whose outcome is unknown, or that reached nobody, is followed by
	// another, until settleAttempts were made.
	settleAttempts = 8
	// failingAttempts is the same where the server answers that it failed.
	failingAttempts = 3
	// recent is how many events at the end of a stream are looked through for
	// those of an append with Any or StreamExists, before it is tried again.
	recent = 100
)

// Append is eventstore.Store. Repeated is never set.
//
// An attempt whose outcome is unknown is made again with the same ids and the
// same expectation. With an exact expectation or NoStream the server then
// recognises what it has, for ever; with Any and StreamExists only while it
// remembers the ids, so the end of the stream is looked through first. That is
// best effort: an attempt that the network held back may still arrive later.
func (s *Store) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (out eventstore.Appended, err error) {
	ctx, end := s.spans.start(ctx, "append", stream)
	defer func() { end.wrote(expected, len(events), out, err) }()
	if err := checkAppend(stream, expected, events); err != nil {
		return out, err
	}
	if err := s.enter(); err != nil {
		return out, err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return out, err
	}
	if len(events) == 0 {
		return s.appendNothing(ctx, stream, expected)
	}
	data := make([]esdb.EventData, len(events))
	for i, e := range events {
		data[i] = esdb.EventData{EventID: e.ID, EventType: e.Type, Data: e.Data, Metadata: e.Metadata}
		if e.JSON {
			data[i].ContentType = esdb.ContentTypeJson
		}
	}
	tries := s.tries()
	for {
		result, r := s.appendOnce(ctx, stream, expected, data)
		if r.err == nil {
			return result, nil
		}
		if tries.doubt && (r.conflict || r.outcome == refused) {
			// The attempt in doubt is this one's predecessor: if it was made, what
			// stands in the stream is its.
			if out, ok, err := s.landed(ctx, stream, expected, events); ok || err != nil {
				return out, err
			}
		}
		switch {
		case r.conflict:
			return out, s.conflict(ctx, stream, expected)
		case r.deleted:
			return out, fmt.Errorf("append to %s: %w", stream, eventstore.ErrDeleted)
		}
		if err := tries.again(ctx, r, "append to "+stream); err != nil {
			return out, err
		}
		if tries.doubt && (expected == eventstore.Any || expected == eventstore.StreamExists) {
			if out, ok, err := s.landed(ctx, stream, expected, events); ok || err != nil {
				return out, err
			}
		}
	}
}

func checkAppend(stream string, expected eventstore.Expected, events []eventstore.Event) error {
	if err := checkName(stream); err != nil {
		return err
	}
	if err := checkExpected(expected); err != nil {
		return err
	}
	for i, e := range events {
		if e.ID == uuid.Nil || e.Type == "" {
			return fmt.Errorf("append to %s: event %d has no id or no type", stream, i)
		}
	}
	if size := eventstore.AppendSize(events); size > eventstore.MaxAppendSize {
		return fmt.Errorf("append to %s: %d bytes: %w", stream, size, eventstore.ErrTooLarge)
	}
	return nil
}

func checkName(stream string) error {
	if stream == "" || stream == "$$" || stream == "$all" || strings.HasPrefix(stream, "$$$$") {
		return fmt.Errorf("%q is not the name of a stream", stream)
	}
	return nil
}

func checkExpected(expected eventstore.Expected) error {
	if expected < 0 && expected != eventstore.NoStream && expected != eventstore.Any && expected != eventstore.StreamExists {
		return fmt.Errorf("%d is not an expectation", int64(expected))
	}
	return nil
}

func clientExpected(expected eventstore.Expected) esdb.ExpectedRevision {
	switch expected {
	case eventstore.NoStream:
		return esdb.NoStream{}
	case eventstore.Any:
		return esdb.Any{}
	case eventstore.StreamExists:
		return esdb.StreamExists{}
	}
	return esdb.Revision(uint64(expected))
}

// appendOnce makes one attempt.
func (s *Store) appendOnce(ctx context.Context, stream string, expected eventstore.Expected, data []esdb.EventData) (out eventstore.Appended, r reason) {
	r = s.write(ctx, func(ctx context.Context, c *esdb.Client) error {
		result, err := c.AppendToStream(ctx, stream, esdb.AppendToStreamOptions{ExpectedRevision: clientExpected(expected), Deadline: &s.deadline}, data...)
		if err == nil {
			out = eventstore.Appended{
				Revision: eventstore.Revision(result.NextExpectedVersion),
				Position: eventstore.Position{Commit: result.CommitPosition, Prepare: result.PreparePosition},
			}
			s.log.saw(out.Position)
		}
		return err
	})
	return out, r
}

// write makes one attempt over the next connection to the leader.
func (s *Store) write(ctx context.Context, f func(context.Context, *esdb.Client) error) reason {
	return s.leader().attempt(ctx, f)
}

// attempt calls a client once.
func (l *link) attempt(ctx context.Context, f func(context.Context, *esdb.Client) error) reason {
	c, err := l.acquire(ctx)
	if err != nil {
		return reason{outcome: unsent, err: err}
	}
	defer l.release(c)
	connected, err := c.call(ctx, func(ctx context.Context) error { return f(ctx, c.Client) })
	if err == nil {
		return reason{}
	}
	r := understand(connected, err)
	if r.broken && ctx.Err() == nil {
		c.retire()
	}
	return r
}

// tries counts the attempts of one write.
type tries struct {
	store *Store
	made  int
	pause time.Duration
	// doubt: an attempt so far may have had its effect.
	doubt bool
}

func (s *Store) tries() tries { return tries{store: s, pause: firstPause / 2} }

// again waits before the next attempt, or returns how the write ends without
// one.
func (t *tries) again(ctx context.Context, r reason, what string) error {
	t.made++
	t.doubt = t.doubt || r.outcome == unknown
	err := t.over(ctx, r)
	if err == nil {
		err = t.wait(ctx)
	}
	switch {
	case err == nil:
		return nil
	case t.doubt:
		return fmt.Errorf("%s: %w after %d attempts: %w", what, eventstore.ErrOutcomeUnknown, t.made, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// over is the error with which the attempts end; nil while there is another.
func (t *tries) over(ctx context.Context, r reason) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	t.store.health.note(r)
	switch {
	case r.outcome == refused:
		return r.err
	case errors.Is(r.err, eventstore.ErrUnavailable) && !t.doubt, errors.Is(r.err, errClosed):
		return r.err // acquire has waited
	case t.made >= settleAttempts, r.failing && t.made >= failingAttempts:
		return r.failed()
	}
	return nil
}

func (t *tries) wait(ctx context.Context) error {
	timer := time.NewTimer(jittered(t.pause))
	defer timer.Stop()
	t.pause = min(2*t.pause, longestPause)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	case <-t.store.root.Done():
		return errClosed
	}
}

// landed looks whether the events of an append in doubt are in the stream: at
// its end, and for NoStream also where it begins to be visible. Repeats under
// NoStream of a soft-deleted stream's new beginning are compared with the first
// events by the server, which are others.
func (s *Store) landed(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, bool, error) {
	from, dir, limit := eventstore.EndRevision, eventstore.Backwards, recent+len(events)
	if expected == eventstore.NoStream {
		from, dir, limit = 0, eventstore.Forwards, len(events)
	}
	var found []eventstore.Record
	for rec, err := range s.readStream(ctx, stream, from, dir, limit) {
		if errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrDeleted) {
			return eventstore.Appended{}, false, nil
		}
		if err != nil {
			return eventstore.Appended{}, false, fmt.Errorf("append to %s: %w: look for its events: %w", stream, eventstore.ErrOutcomeUnknown, err)
		}
		found = append(found, rec)
	}
	if dir == eventstore.Backwards {
		for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
			found[i], found[j] = found[j], found[i]
		}
	}
	for at := 0; at+len(events) <= len(found); at++ {
		if found[at].ID != events[0].ID {
			continue
		}
		same := true
		for i, e := range events {
			same = same && found[at+i].ID == e.ID
		}
		if same {
			last := found[at+len(events)-1]
			return eventstore.Appended{Revision: last.Revision, Position: last.Position}, true, nil
		}
	}
	return eventstore.Appended{}, false, nil
}

// appendNothing writes nothing, and so is repeated without harm. For a stream
// without events the client answers 0 or 1, as it does for one that ends there;
// a second append of nothing that expects this very revision tells.
func (s *Store) appendNothing(ctx context.Context, stream string, expected eventstore.Expected) (out eventstore.Appended, err error) {
	const none = eventstore.Revision(eventstore.NoStream)
	doubted := none
	tries := s.tries()
	for {
		out, r := s.appendOnce(ctx, stream, expected, nil)
		if r.err == nil && expected == eventstore.NoStream {
			return eventstore.Appended{Revision: none}, nil
		}
		if r.err == nil && expected < 0 && out.Revision <= 1 {
			if out.Revision == doubted {
				return eventstore.Appended{Revision: none}, nil
			}
			if _, r = s.appendOnce(ctx, stream, eventstore.At(out.Revision), nil); r.conflict {
				// It does not end there: it has no events, or has just got one.
				doubted = out.Revision
				continue
			}
		}
		switch {
		case r.err == nil:
			return out, nil
		case r.conflict:
			return out, s.conflict(ctx, stream, expected)
		case r.deleted:
			return out, fmt.Errorf("append to %s: %w", stream, eventstore.ErrDeleted)
		case r.outcome == unknown:
			r.outcome = unsent
		}
		if err := tries.again(ctx, r, "append to "+stream); err != nil {
			return out, err
		}
	}
}

// conflict is the refusal of a write. The client tells where the stream stands
// only in the text of its error, so the stream is asked: an append of nothing
// answers with the last revision, also of a stream whose events are hidden. It
// may have moved meanwhile.
func (s *Store) conflict(ctx context.Context, stream string, expected eventstore.Expected) error {
	at, err := s.appendNothing(ctx, stream, eventstore.Any)
	if errors.Is(err, eventstore.ErrDeleted) {
		return err
	}
	if err != nil {
		return fmt.Errorf("where %s stands, since it is not at %s: %w", stream, expected, err)
	}
	return &eventstore.ConflictError{Stream: stream, Expected: expected, Current: eventstore.Expected(at.Revision)}
}

// metadataIDs is the space of the ids derived below.
var metadataIDs = uuid.MustParse("6d1e7b4e-0a64-4c55-9a6c-3a0d1f4f2b11")

// SetStreamMetadata is eventstore.Store. Under an explicit expectation the
// event's id follows from its content, so that a repeat is recognised.
func (s *Store) SetStreamMetadata(ctx context.Context, stream string, expected eventstore.Expected, md eventstore.StreamMetadata) (eventstore.Appended, error) {
	data, err := md.MarshalJSON()
	if err != nil {
		return eventstore.Appended{}, fmt.Errorf("metadata of %s: %w", stream, err)
	}
	id := uuid.New()
	if expected >= eventstore.NoStream {
		id = uuid.NewSHA1(metadataIDs, fmt.Appendf(nil, "%s\n%d\n%s", stream, expected, data))
	}
	return s.Append(ctx, "$$"+stream, expected, []eventstore.Event{{ID: id, Type: eventstore.TypeMetadata, JSON: true, Data: data}})
}

// Delete is eventstore.Store. Expecting Any or StreamExists it is attempted
// once: a second attempt could delete what somebody wrote in between.
func (s *Store) Delete(ctx context.Context, stream string, expected eventstore.Expected) (eventstore.Position, error) {
	return s.end(ctx, "delete", stream, expected, func(ctx context.Context, c *esdb.Client) (*esdb.DeleteResult, error) {
		return c.DeleteStream(ctx, stream, esdb.DeleteStreamOptions{ExpectedRevision: clientExpected(expected), Deadline: &s.deadline})
	})
}

// Tombstone is eventstore.Store. When it had to be attempted again the position
// is that of the log's end, at or after the tombstone.
func (s *Store) Tombstone(ctx context.Context, stream string, expected eventstore.Expected) (eventstore.Position, error) {
	return s.end(ctx, "tombstone", stream, expected, func(ctx context.Context, c *esdb.Client) (*esdb.DeleteResult, error) {
		return c.TombstoneStream(ctx, stream, esdb.TombstoneStreamOptions{ExpectedRevision: clientExpected(expected), Deadline: &s.deadline})
	})
}

func (s *Store) end(ctx context.Context, what, stream string, expected eventstore.Expected, f func(context.Context, *esdb.Client) (*esdb.DeleteResult, error)) (position eventstore.Position, err error) {
	ctx, end := s.spans.start(ctx, what, stream)
	defer func() { end.wrote(expected, 0, eventstore.Appended{Position: position}, err) }()
	if err := errors.Join(checkName(stream), checkExpected(expected)); err != nil {
		return position, err
	}
	if err := s.enter(); err != nil {
		return position, err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return position, err
	}
	tries := s.tries()
	for {
		r := s.write(ctx, func(ctx context.Context, c *esdb.Client) error {
			result, err := f(ctx, c)
			if err == nil {
				position = eventstore.Position{Commit: result.Position.Commit, Prepare: result.Position.Prepare}
			}
			return err
		})
		switch {
		case r.err == nil:
			return position, nil
		case r.deleted && tries.doubt && what == "tombstone":
			return s.Head(ctx)
		case r.deleted:
			return position, fmt.Errorf("%s %s: %w", what, stream, eventstore.ErrDeleted)
		case r.precondition:
			// The wrong expectation is a status of its own here, without the
			// client's code for it. It is the only one with this status that is
			// left once the name was checked.
			return position, s.conflict(ctx, stream, expected)
		}
		if r.outcome == unknown && (expected == eventstore.Any || expected == eventstore.StreamExists) {
			tries.made = settleAttempts
		}
		if err := tries.again(ctx, r, what+" "+stream); err != nil {
			return position, err
		}
	}
}
