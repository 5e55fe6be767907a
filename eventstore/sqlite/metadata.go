package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// streamMetadata is what the last event of a metadata stream says.
type streamMetadata struct {
	eventstore.StreamMetadata
	revision eventstore.Expected // of the metadata stream
	// document is the event's data; nil when it counts as empty.
	document []byte
}

// size is about how many bytes it holds: the document, and what was read of it.
func (m streamMetadata) size() int { return 2 * len(m.document) }

// parseMetadata reads a metadata event. What is not JSON, or has a wrong type
// in a known key, counts as empty as a whole.
func parseMetadata(rec eventstore.Record) streamMetadata {
	m := streamMetadata{revision: eventstore.At(rec.Revision)}
	if rec.JSON && m.UnmarshalJSON(rec.Data) == nil {
		m.document = rec.Data
	}
	return m
}

// withTruncate is the same document with $tb replaced, which un-deletes; all
// else stays as it was written.
func (m streamMetadata) withTruncate(revision eventstore.Revision) []byte {
	var doc map[string]json.RawMessage
	err := json.Unmarshal(m.document, &doc)
	if doc == nil {
		doc = map[string]json.RawMessage{} // the document was null
	}
	doc["$tb"] = fmt.Appendf(nil, "%d", revision)
	out, err2 := json.Marshal(doc)
	if err := errors.Join(err, err2); err != nil {
		panic(fmt.Sprintf("sqlite: metadata that was parsed cannot be written: %v", err))
	}
	return out
}

// StreamMetadata reads the last event of the metadata stream.
func (s *Store) StreamMetadata(ctx context.Context, stream string) (eventstore.StreamMetadata, eventstore.Expected, error) {
	var m streamMetadata
	err := s.readers.with(ctx, func(c *session) (err error) {
		row, err := c.stream(stream)
		if err != nil {
			return err
		}
		if row.tombstone != 0 {
			return deleted(stream)
		}
		m, err = c.metadataOf(stream)
		return err
	})
	if err != nil {
		return eventstore.StreamMetadata{}, eventstore.NoStream, err
	}
	return m.StreamMetadata, m.revision, nil
}

// metadataIDs is the space of the ids derived below.
var metadataIDs = uuid.MustParse("6d1e7b4e-0a64-4c55-9a6c-3a0d1f4f2b11")

// SetStreamMetadata appends to the metadata stream. Under an explicit
// expectation the event's id follows from its content, so that a repeat after
// an unknown outcome is recognised.
func (s *Store) SetStreamMetadata(ctx context.Context, stream string, expected eventstore.Expected, md eventstore.StreamMetadata) (eventstore.Appended, error) {
	if err := checkName(stream); err != nil {
		return eventstore.Appended{}, err
	}
	data, err := json.Marshal(md)
	if err != nil {
		return eventstore.Appended{}, fmt.Errorf("set metadata of %s: %w", stream, err)
	}
	id := uuid.New()
	if expected >= eventstore.NoStream {
		id = uuid.NewSHA1(metadataIDs, fmt.Appendf(nil, "%s\n%d\n%s", stream, expected, data))
	}
	return s.Append(ctx, metaPrefix+stream, expected, []eventstore.Event{{ID: id, Type: eventstore.TypeMetadata, JSON: true, Data: data}})
}

// Delete appends metadata that hides everything; other metadata is lost.
func (s *Store) Delete(ctx context.Context, stream string, expected eventstore.Expected) (eventstore.Position, error) {
	return s.end(ctx, stream, expected, func(w *writer, st *streamState) (eventstore.Appended, error) {
		return w.softDelete(st, expected)
	})
}

// Tombstone appends $streamDeleted; a name never written can be ended too.
func (s *Store) Tombstone(ctx context.Context, stream string, expected eventstore.Expected) (eventstore.Position, error) {
	return s.end(ctx, stream, expected, func(w *writer, st *streamState) (eventstore.Appended, error) {
		return w.tombstone(st, expected)
	})
}

func (s *Store) end(ctx context.Context, stream string, expected eventstore.Expected, do func(*writer, *streamState) (eventstore.Appended, error)) (eventstore.Position, error) {
	if err := checkName(stream); err != nil {
		return eventstore.Start, err
	}
	if isMetaStream(stream) {
		return eventstore.Start, fmt.Errorf("delete %s: a metadata stream cannot be deleted", stream)
	}
	out, err := s.submit(ctx, 0, func(w *writer) (eventstore.Appended, error) {
		st, err := w.state(stream)
		if err != nil {
			return eventstore.Appended{}, err
		}
		return do(w, st)
	})
	return out.Position, err
}
