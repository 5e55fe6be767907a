package sqlite

import (
	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// maxStates bounds the stream states that the writer keeps between groups, and
// maxStateBytes their names and metadata.
const (
	maxStates     = 1 << 16
	maxStateBytes = 16 << 20
)

// streamState is where a stream stands, as the writer sees it inside its
// transaction.
type streamState struct {
	name        string
	id          int64 // 0: it was never written
	last        eventstore.Revision
	tombstoneAt uint64
	meta        streamMetadata
	dirty       bool // last or tombstoneAt are not in the table yet
	fresh       bool // nothing of it is
}

// state loads a stream once and keeps it until the group is over or longer.
func (w *writer) state(name string) (*streamState, error) {
	if st, ok := w.states[name]; ok {
		return st, nil
	}
	row, err := w.stream(name)
	if err != nil {
		return nil, err
	}
	meta := streamMetadata{revision: eventstore.NoStream}
	if w.metadataKept || isMetaStream(name) {
		if meta, err = w.metadataOf(name); err != nil {
			return nil, err
		}
	}
	st := &streamState{name: name, id: row.id, last: row.last, tombstoneAt: row.tombstone, meta: meta}
	w.states[name] = st
	w.stateBytes += len(name) + meta.size()
	return st, nil
}

// metadataWritten gives the stream that st describes its new metadata.
func (w *writer) metadataWritten(st *streamState, e eventstore.Event) error {
	subject, err := w.state(st.name[len(metaPrefix):])
	if err != nil {
		return err
	}
	subject.meta = parseMetadata(eventstore.Record{Event: e, Revision: st.last})
	w.stateBytes += subject.meta.size()
	return nil
}

func (w *writer) markDirty(st *streamState) {
	if !st.dirty {
		st.dirty = true
		w.dirty = append(w.dirty, st)
	}
}

// forgetStates keeps memory bounded; it runs between groups, when no state
// holds anything that the tables do not.
func (w *writer) forgetStates() {
	if w.stateBytes > maxStateBytes {
		clear(w.states)
		w.stateBytes = 0
	}
	if len(w.states) <= maxStates {
		return
	}
	for name := range w.states {
		delete(w.states, name)
		if len(w.states) <= maxStates/2 {
			return
		}
	}
}

// recentCapacity is how many of the newest events recentIDs remembers at least.
const recentCapacity = 100_000

// recentIDs remembers at which revision an event id was written to a stream,
// for the newest events of this process. Appends with Any or StreamExists have
// nothing else to recognise a repeat by. The zero value is ready.
type recentIDs struct {
	// newer takes what comes; when it is full it becomes older, and what was
	// older is forgotten as a whole: that costs less than one by one.
	newer, older map[recentKey]eventstore.Revision
}

type recentKey struct {
	id     uuid.UUID
	stream int64
}

func (r *recentIDs) find(id uuid.UUID, stream int64) (eventstore.Revision, bool) {
	revision, ok := r.newer[recentKey{id, stream}]
	if !ok {
		revision, ok = r.older[recentKey{id, stream}]
	}
	return revision, ok
}

// add remembers the first revision of an id written several times.
func (r *recentIDs) add(id uuid.UUID, stream int64, revision eventstore.Revision) {
	if _, ok := r.find(id, stream); ok {
		return
	}
	if r.newer == nil || len(r.newer) == recentCapacity {
		r.newer, r.older = r.older, r.newer
		clear(r.newer)
		if r.newer == nil {
			r.newer = map[recentKey]eventstore.Revision{}
		}
	}
	r.newer[recentKey{id, stream}] = revision
}

func newID() uuid.UUID { return uuid.New() }
