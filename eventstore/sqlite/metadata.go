package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// The types of the store's own events, those that EventStoreDB writes.
const (
	typeMetadata      = "$metadata"
	typeStreamDeleted = "$streamDeleted"
)

// streamMetadata is the part of a stream's metadata that the store acts on.
type streamMetadata struct {
	revision eventstore.Expected // of the metadata stream
	maxCount int64
	maxAge   time.Duration
	truncate eventstore.Revision // EndRevision: soft-deleted
	// json is the whole document as written; nil when it counts as empty.
	json map[string]json.RawMessage
}

func (m streamMetadata) softDeleted() bool { return m.truncate == eventstore.EndRevision }

// firstVisible is the lowest revision that $tb and $maxCount leave.
func (m streamMetadata) firstVisible(last eventstore.Revision) eventstore.Revision {
	first := max(m.truncate, 0)
	if m.maxCount > 0 && int64(last)-m.maxCount+1 > int64(first) {
		first = eventstore.Revision(int64(last) - m.maxCount + 1)
	}
	return first
}

// expired reports whether $maxAge hides an event.
func (m streamMetadata) expired(created, now time.Time) bool {
	return m.maxAge > 0 && created.Before(now.Add(-m.maxAge))
}

// parseMetadata reads a metadata event. What is not JSON, or has a wrong type
// in a known key, counts as empty as a whole.
func parseMetadata(rec eventstore.Record) streamMetadata {
	m := streamMetadata{revision: eventstore.At(rec.Revision)}
	if !rec.JSON {
		return m
	}
	var known struct {
		MaxCount *int64 `json:"$maxCount"`
		MaxAge   *int64 `json:"$maxAge"`
		Truncate *int64 `json:"$tb"`
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(rec.Data, &known) != nil || json.Unmarshal(rec.Data, &all) != nil || all == nil {
		return m
	}
	m.json = all
	if n := known.MaxCount; n != nil && *n > 0 {
		m.maxCount = *n
	}
	if n := known.MaxAge; n != nil && *n > 0 && *n < int64(1<<63-1)/int64(time.Second) {
		m.maxAge = time.Duration(*n) * time.Second
	}
	if n := known.Truncate; n != nil && *n > 0 {
		m.truncate = eventstore.Revision(*n)
	}
	return m
}

// withTruncate is the same document with $tb replaced: what un-deletes.
func (m streamMetadata) withTruncate(revision eventstore.Revision) []byte {
	doc := map[string]json.RawMessage{}
	for k, v := range m.json {
		doc[k] = v
	}
	doc["$tb"] = fmt.Appendf(nil, "%d", revision)
	out, err := json.Marshal(doc)
	if err != nil {
		panic(fmt.Sprintf("sqlite: metadata that was parsed cannot be written: %v", err))
	}
	return out
}

// encodeMetadata writes the document of a port's metadata.
func encodeMetadata(md eventstore.StreamMetadata) ([]byte, error) {
	doc := make(map[string]any, len(md.Custom)+3)
	for k, v := range md.Custom {
		doc[k] = v
	}
	if md.MaxCount > 0 {
		doc["$maxCount"] = md.MaxCount
	}
	if seconds := int64(md.MaxAge / time.Second); seconds > 0 {
		doc["$maxAge"] = seconds
	}
	if md.TruncateBefore > 0 {
		doc["$tb"] = int64(md.TruncateBefore)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode stream metadata: %w", err)
	}
	return out, nil
}

// decoded is the port's form of the metadata.
func (m streamMetadata) decoded() (eventstore.StreamMetadata, error) {
	md := eventstore.StreamMetadata{MaxCount: m.maxCount, MaxAge: m.maxAge, TruncateBefore: m.truncate}
	for k, raw := range m.json {
		switch k {
		case "$maxCount", "$maxAge", "$tb":
			continue
		}
		// Numbers keep their digits.
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			return eventstore.StreamMetadata{}, fmt.Errorf("decode stream metadata %q: %w", k, err)
		}
		if md.Custom == nil {
			md.Custom = map[string]any{}
		}
		md.Custom[k] = v
	}
	return md, nil
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
	md, err := m.decoded()
	return md, m.revision, err
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
	data, err := encodeMetadata(md)
	if err != nil {
		return eventstore.Appended{}, err
	}
	id := uuid.New()
	if expected >= eventstore.NoStream {
		id = uuid.NewSHA1(metadataIDs, fmt.Appendf(nil, "%s\n%d\n%s", stream, expected, data))
	}
	return s.Append(ctx, metaPrefix+stream, expected, []eventstore.Event{{ID: id, Type: typeMetadata, JSON: true, Data: data}})
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
