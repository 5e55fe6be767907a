package eventstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// The keys of a metadata document that stores act on, as in EventStoreDB.
const (
	keyMaxCount = "$maxCount"
	keyMaxAge   = "$maxAge" // whole seconds
	keyTruncate = "$tb"
)

// The types of the store's own events: a stream's metadata, in the stream $$s,
// and the end of a tombstoned stream, in itself at EndRevision.
const (
	TypeMetadata      = "$metadata"
	TypeStreamDeleted = "$streamDeleted"
)

// SoftDeleted reports whether the stream reads as if it did not exist.
func (md StreamMetadata) SoftDeleted() bool { return md.TruncateBefore == EndRevision }

// FirstVisible is the lowest revision that TruncateBefore and MaxCount leave
// of a stream that ends at last.
func (md StreamMetadata) FirstVisible(last Revision) Revision {
	first := md.TruncateBefore
	if md.MaxCount > 0 {
		first = max(first, last-Revision(md.MaxCount)+1)
	}
	return first
}

// Shows reports whether a record of a stream that ends at last can be read.
func (md StreamMetadata) Shows(rec Record, last Revision, now time.Time) bool {
	return rec.Revision >= md.FirstVisible(last) && (md.MaxAge == 0 || !rec.Created.Before(now.Add(-md.MaxAge)))
}

// MarshalJSON writes the document that stores keep: the keys of EventStoreDB
// and those of Custom side by side.
func (md StreamMetadata) MarshalJSON() ([]byte, error) {
	doc := maps.Clone(md.Custom)
	if doc == nil {
		doc = map[string]any{}
	}
	for key, n := range map[string]int64{
		keyMaxCount: md.MaxCount,
		keyMaxAge:   int64(md.MaxAge / time.Second),
		keyTruncate: int64(md.TruncateBefore),
	} {
		delete(doc, key)
		if n > 0 {
			doc[key] = n
		}
	}
	return json.Marshal(doc)
}

// UnmarshalJSON reads such a document. Numbers in Custom are json.Number, zero
// and negative limits count as absent. A known key of another type fails: such
// a document counts as empty as a whole.
func (md *StreamMetadata) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return err
	}
	var known [3]int64
	for i, key := range [...]string{keyMaxCount, keyMaxAge, keyTruncate} {
		v, ok := doc[key]
		if !ok {
			continue
		}
		number, _ := v.(json.Number)
		n, err := number.Int64()
		if err != nil {
			return fmt.Errorf("stream metadata: %s is not a whole number", key)
		}
		known[i] = max(n, 0)
		delete(doc, key)
	}
	if known[1] > int64(1<<63-1)/int64(time.Second) {
		return fmt.Errorf("stream metadata: %s is too large", keyMaxAge)
	}
	*md = StreamMetadata{
		MaxCount:       known[0],
		MaxAge:         time.Duration(known[1]) * time.Second,
		TruncateBefore: Revision(known[2]),
	}
	if len(doc) > 0 {
		md.Custom = doc
	}
	return nil
}
