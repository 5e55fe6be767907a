package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// Append hands the events to the writer and waits until they are durable.
func (s *Store) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	size, err := checkAppend(stream, expected, events)
	if err != nil {
		return eventstore.Appended{}, err
	}
	return s.submit(ctx, size, func(w *writer) (eventstore.Appended, error) {
		return w.append(stream, expected, events)
	})
}

func checkAppend(stream string, expected eventstore.Expected, events []eventstore.Event) (size int, err error) {
	if err := checkName(stream); err != nil {
		return 0, err
	}
	if expected < 0 && expected != eventstore.NoStream && expected != eventstore.Any && expected != eventstore.StreamExists {
		return 0, fmt.Errorf("append %s: %d is not an expectation", stream, int64(expected))
	}
	for i, e := range events {
		if e.ID == uuid.Nil || e.Type == "" {
			return 0, fmt.Errorf("append %s: event %d has no id or no type", stream, i)
		}
	}
	if size = eventstore.AppendSize(events); size > eventstore.MaxAppendSize {
		return 0, fmt.Errorf("append %s: %d bytes: %w", stream, size, eventstore.ErrTooLarge)
	}
	return size, nil
}

func checkName(stream string) error {
	if stream == "" || stream == metaPrefix || stream == "$all" || strings.HasPrefix(stream, metaPrefix+metaPrefix) {
		return fmt.Errorf("%q is not the name of a stream", stream)
	}
	return nil
}

func deleted(stream string) error {
	return fmt.Errorf("%w: %s", eventstore.ErrDeleted, stream)
}

// append decides one append and inserts its events. It changes nothing when it
// returns an error, unless the error is a failedWrite.
func (w *writer) append(stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	st, err := w.state(stream)
	if err != nil {
		return eventstore.Appended{}, err
	}
	subject := st
	if isMetaStream(stream) {
		if subject, err = w.state(stream[len(metaPrefix):]); err != nil {
			return eventstore.Appended{}, err
		}
	}
	out, write, err := w.decide(st, expected, events)
	if err != nil || !write || len(events) == 0 {
		return out, err
	}
	wasDeleted := subject.meta.SoftDeleted()
	if out, err = w.insert(st, events); err != nil || !wasDeleted {
		return out, err
	}
	return out, w.undelete(st, subject)
}

// undelete makes a soft-deleted stream visible from its next revision on, after
// an append to it or to its metadata.
func (w *writer) undelete(written, subject *streamState) error {
	from := subject.last + 1
	if written == subject {
		from = w.firstOfLastInsert
	} else if subject.meta.document == nil {
		// Metadata that is not JSON counts as empty: old events show again.
		return nil
	}
	meta, err := w.state(metaPrefix + subject.name)
	if err != nil {
		return failedWrite{err}
	}
	_, err = w.insert(meta, []eventstore.Event{{
		ID: uuid.New(), Type: eventstore.TypeMetadata, JSON: true, Data: subject.meta.withTruncate(from),
	}})
	return err
}

// decide is the procedure of EventStoreDB. write tells that the events are to
// be inserted; otherwise out is the answer.
func (w *writer) decide(st *streamState, expected eventstore.Expected, events []eventstore.Event) (out eventstore.Appended, write bool, err error) {
	conflict := func() error {
		return &eventstore.ConflictError{Stream: st.name, Expected: expected, Current: eventstore.At(st.last)}
	}
	if st.tombstoneAt != 0 {
		return out, false, deleted(st.name)
	}
	if expected == eventstore.StreamExists {
		if st.meta.SoftDeleted() {
			return out, false, deleted(st.name)
		}
		if st.last < 0 && st.meta.revision == eventstore.NoStream {
			return out, false, conflict()
		}
	}
	switch current := eventstore.At(st.last); {
	case expected == eventstore.Any || expected == eventstore.StreamExists:
		return w.decideByCache(st, events, conflict)
	case expected < current:
		return w.decideByStore(st, expected, events, conflict)
	case expected > current:
		return out, false, conflict()
	}
	// The stream is where the caller said: ids are not compared.
	return eventstore.Appended{Revision: st.last}, true, nil
}

// decideByCache recognises a repeat by the ids written lately.
func (w *writer) decideByCache(st *streamState, events []eventstore.Event, conflict func() error) (out eventstore.Appended, write bool, err error) {
	revision := st.last
	for i, e := range events {
		at, known := w.recent.find(e.ID, st.id)
		if !known && i == 0 {
			return out, true, nil
		}
		if !known {
			return out, false, conflict()
		}
		revision = at
	}
	if len(events) == 0 {
		return eventstore.Appended{Revision: revision}, false, nil
	}
	out, err = w.repeated(st, revision)
	return out, false, err
}

// decideByStore recognises a repeat by the ids stored after the expectation.
func (w *writer) decideByStore(st *streamState, expected eventstore.Expected, events []eventstore.Event, conflict func() error) (out eventstore.Appended, write bool, err error) {
	if len(events) == 0 {
		return out, false, conflict()
	}
	revision := eventstore.Revision(expected)
	for i, e := range events {
		revision++
		same := false
		if revision <= st.last {
			rec, err := w.read(st.name, st.id, revision)
			if err != nil {
				return out, false, err
			}
			same = rec.ID == e.ID
		}
		if !same {
			recreate := i == 0 && expected == eventstore.NoStream && st.meta.SoftDeleted()
			if recreate {
				return out, true, nil
			}
			return out, false, conflict()
		}
	}
	out, err = w.repeated(st, revision)
	return out, false, err
}

// repeated answers an append that was already there. Its position is told only
// while the event is readable.
func (w *writer) repeated(st *streamState, revision eventstore.Revision) (eventstore.Appended, error) {
	out := eventstore.Appended{Revision: revision, Repeated: true}
	rec, err := w.read(st.name, st.id, revision)
	if err != nil {
		return eventstore.Appended{}, err
	}
	if st.meta.Shows(rec, st.last, w.now()) {
		out.Position = rec.Position
	}
	return out, nil
}

// softDelete and tombstone follow decide with one fresh id, which never
// matches as a repeat.
func (w *writer) softDelete(st *streamState, expected eventstore.Expected) (eventstore.Appended, error) {
	if st.last < 0 && st.meta.revision == eventstore.NoStream && st.tombstoneAt == 0 {
		return eventstore.Appended{}, &eventstore.ConflictError{Stream: st.name, Expected: expected, Current: eventstore.NoStream}
	}
	if err := w.decideEnd(st, expected); err != nil {
		return eventstore.Appended{}, err
	}
	meta, err := w.state(metaPrefix + st.name)
	if err != nil {
		return eventstore.Appended{}, err
	}
	return w.insert(meta, []eventstore.Event{{
		ID: uuid.New(), Type: eventstore.TypeMetadata, JSON: true,
		Data: fmt.Appendf(nil, `{"$tb":%d}`, eventstore.EndRevision),
	}})
}

func (w *writer) tombstone(st *streamState, expected eventstore.Expected) (eventstore.Appended, error) {
	if err := w.decideEnd(st, expected); err != nil {
		return eventstore.Appended{}, err
	}
	return w.insertTombstone(st)
}

func (w *writer) decideEnd(st *streamState, expected eventstore.Expected) error {
	_, write, err := w.decide(st, expected, []eventstore.Event{{ID: uuid.New()}})
	if err == nil && !write {
		panic("sqlite: a fresh id matched a stored event")
	}
	return err
}

// failedWrite marks an error after which the transaction is not whole.
type failedWrite struct{ error }

func (f failedWrite) Unwrap() error { return f.error }

func isFailedWrite(err error) bool {
	var f failedWrite
	return errors.As(err, &f)
}
