package esdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
)

const (
	snapshotCategory = "snapshot"
	typeSnapshot     = "Snapshot"
	// knownSnapshots bounds the streams that are remembered to have $maxCount 1.
	knownSnapshots = 20_000
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshots implements command.Snapshots: that of the stream
// "[<namespace>.]order-1" is the last event of "[<namespace>.]snapshot-order-1",
// of which EventStoreDB keeps one. What cannot be read, is not whole, or belongs
// to another stream counts as none. All methods may be called from many
// goroutines.
type Snapshots struct {
	store     *Store
	namespace eventstore.Namespace

	mu    sync.Mutex
	known map[string]struct{} // streams whose metadata was seen to say $maxCount 1
}

// Snapshots keeps the snapshots of a namespace's streams.
func (s *Store) Snapshots(ns eventstore.Namespace) *Snapshots {
	return &Snapshots{store: s, namespace: ns, known: map[string]struct{}{}}
}

// snapshotMeta is the metadata of a snapshot's event.
type snapshotMeta struct {
	Revision int64  `json:"revision"`
	Checksum uint32 `json:"crc32c"` // of the stream's name, the revision and the data
}

func (s *Snapshots) stream(of string) string {
	if s.namespace != "" {
		of = strings.TrimPrefix(of, string(s.namespace)+".")
	}
	return s.namespace.Stream(snapshotCategory, of)
}

func snapshotSum(stream string, revision int64, data []byte) uint32 {
	sum := crc32.Checksum(fmt.Appendf(nil, "%s\n%d\n", stream, revision), castagnoli)
	return crc32.Update(sum, castagnoli, data)
}

// Load answers ok=false when there is no snapshot.
func (s *Snapshots) Load(ctx context.Context, stream string) (revision int64, data []byte, ok bool, err error) {
	for rec, err := range s.store.ReadStream(ctx, s.stream(stream), eventstore.EndRevision, eventstore.Backwards, 1) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			return 0, nil, false, nil
		case err != nil:
			return 0, nil, false, fmt.Errorf("load snapshot of %s: %w", stream, err)
		}
		var md snapshotMeta
		if rec.Type != typeSnapshot || json.Unmarshal(rec.Metadata, &md) != nil || md.Checksum != snapshotSum(stream, md.Revision, rec.Data) {
			return 0, nil, false, nil
		}
		return md.Revision, rec.Data, true, nil
	}
	return 0, nil, false, nil
}

// Save replaces the stream's snapshot.
func (s *Snapshots) Save(ctx context.Context, stream string, revision int64, data []byte) error {
	metadata, err := json.Marshal(snapshotMeta{Revision: revision, Checksum: snapshotSum(stream, revision, data)})
	if err == nil {
		err = s.keepOne(ctx, s.stream(stream))
	}
	if err == nil {
		_, err = s.store.Append(ctx, s.stream(stream), eventstore.Any, []eventstore.Event{{
			ID: uuid.New(), Type: typeSnapshot, Data: data, Metadata: metadata,
		}})
	}
	if err != nil {
		return fmt.Errorf("save snapshot of %s: %w", stream, err)
	}
	return nil
}

// keepOne makes the server keep one event of the stream, unless it is known to.
func (s *Snapshots) keepOne(ctx context.Context, stream string) error {
	s.mu.Lock()
	_, known := s.known[stream]
	s.mu.Unlock()
	if known {
		return nil
	}
	md, at, err := s.store.StreamMetadata(ctx, stream)
	if err != nil {
		return err
	}
	if md.MaxCount != 1 {
		if md.SoftDeleted() {
			md.TruncateBefore = 0 // the server puts in where the stream goes on
		}
		md.MaxCount = 1
		if _, err = s.store.SetStreamMetadata(ctx, stream, at, md); err != nil && !errors.Is(err, eventstore.ErrConflict) {
			return err
		}
		if err != nil {
			return nil // somebody else is at it; asked again next time
		}
	}
	s.mu.Lock()
	if len(s.known) >= knownSnapshots {
		clear(s.known)
	}
	s.known[stream] = struct{}{}
	s.mu.Unlock()
	return nil
}

// Drop removes the stream's snapshot; it is no error when there is none.
func (s *Snapshots) Drop(ctx context.Context, stream string) error {
	name := s.stream(stream)
	s.mu.Lock()
	delete(s.known, name) // a delete takes the metadata with it
	s.mu.Unlock()
	_, err := s.store.Delete(ctx, name, eventstore.Any)
	if err != nil && !errors.Is(err, eventstore.ErrConflict) && !errors.Is(err, eventstore.ErrDeleted) {
		return fmt.Errorf("drop snapshot of %s: %w", stream, err)
	}
	return nil
}
