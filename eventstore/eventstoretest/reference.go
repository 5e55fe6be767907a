package eventstoretest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// Reference is an event store in memory, as inconvenient as the port allows:
// one append in eight loses its answer (ErrOutcomeUnknown although the events
// were written, or were not), subscriptions break, positions have two numbers
// and gaps, a checkpoint comes only after a whole interval of foreign events.
// What it does follows from its seed and the order of calls.
type Reference struct {
	log    *memory
	closed chan struct{}
	once   sync.Once
}

var _ eventstore.Store = (*Reference)(nil)

// memory is the log; it outlives the stores that are opened over it.
type memory struct {
	mu      sync.Mutex
	rng     *rand.Rand
	id      eventstore.LogIdentity
	clock   uint64
	records []eventstore.Record
	streams map[string]*memoryStream
	grown   chan struct{}
}

type memoryStream struct {
	events     []int // indexes into records
	tombstoned bool
}

const (
	checkpointInterval = 500
	lostAnswers        = 8   // one append in so many
	brokenNotices      = 200 // one notice in so many
)

var errReferenceClosed = errors.New("reference store is closed")

// NewReference makes an empty store.
func NewReference(seed uint64) *Reference {
	rng := rand.New(rand.NewPCG(seed, 1))
	return (&Reference{log: &memory{
		rng: rng, id: eventstore.LogIdentity{ID: uuid.New(), Epoch: 1},
		streams: map[string]*memoryStream{}, grown: make(chan struct{}),
	}}).Reopen()
}

// Reopen is another store over the same log.
func (r *Reference) Reopen() *Reference {
	return &Reference{log: r.log, closed: make(chan struct{})}
}

func (r *Reference) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

func (r *Reference) enter(ctx context.Context) (*memory, error) {
	select {
	case <-r.closed:
		return nil, errReferenceClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.log.mu.Lock()
	return r.log, nil
}

func (r *Reference) Append(ctx context.Context, name string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	size := 0
	for _, e := range events {
		size += len(e.Data) + len(e.Metadata) + 2*len(e.Type)
	}
	if size > eventstore.MaxAppendSize {
		return eventstore.Appended{}, eventstore.ErrTooLarge
	}
	m, err := r.enter(ctx)
	if err != nil {
		return eventstore.Appended{}, err
	}
	defer m.mu.Unlock()
	before := m.rng.IntN(2*lostAnswers) == 0
	if before {
		return eventstore.Appended{}, fmt.Errorf("%w: the connection broke", eventstore.ErrOutcomeUnknown)
	}
	out, err := m.append(name, expected, events)
	if err == nil && m.rng.IntN(2*lostAnswers) == 0 {
		return eventstore.Appended{}, fmt.Errorf("%w: the answer was lost", eventstore.ErrOutcomeUnknown)
	}
	return out, err
}

// decide answers whether to write; otherwise out holds the repeat.
func (m *memory) decide(name string, expected eventstore.Expected, events []eventstore.Event) (out eventstore.Appended, write bool, err error) {
	s := m.stream(name)
	md, mdRevision := m.metadata(name)
	last := eventstore.Expected(len(s.events) - 1)
	conflict := &eventstore.ConflictError{Stream: name, Expected: expected, Current: last}
	hidden := md.TruncateBefore == eventstore.EndRevision
	switch {
	case s.tombstoned, expected == eventstore.StreamExists && hidden:
		return out, false, fmt.Errorf("%w: %s", eventstore.ErrDeleted, name)
	case expected == eventstore.StreamExists && last < 0 && mdRevision < 0, expected > last:
		return out, false, conflict
	case expected == last:
		return eventstore.Appended{Revision: eventstore.Revision(last)}, len(events) > 0, nil
	case len(events) == 0 && expected >= eventstore.NoStream:
		return out, false, conflict
	}
	at := eventstore.Revision(last)
	for i, e := range events {
		if expected >= eventstore.NoStream {
			at = eventstore.Revision(expected) + 1 + eventstore.Revision(i)
			if at > eventstore.Revision(last) || m.records[s.events[at]].ID != e.ID {
				at = -1
			}
		} else {
			at = eventstore.Revision(slices.IndexFunc(s.events, func(n int) bool { return m.records[n].ID == e.ID }))
		}
		if at < 0 {
			if i == 0 && (expected < eventstore.NoStream || expected == eventstore.NoStream && hidden) {
				return out, true, nil
			}
			return out, false, conflict
		}
	}
	out = eventstore.Appended{Revision: at, Repeated: len(events) > 0}
	for _, rec := range m.visible(name) {
		if rec.Revision == at && out.Repeated {
			out.Position = rec.Position
		}
	}
	return out, false, nil
}

func (m *memory) append(name string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	out, write, err := m.decide(name, expected, events)
	if !write || err != nil {
		return out, err
	}
	s := m.stream(name)
	subject, first := name, eventstore.Revision(len(s.events))
	if isMeta(name) {
		subject, first = name[2:], eventstore.Revision(len(m.stream(name[2:]).events))
	}
	md, _ := m.metadata(subject)
	hidden := md.TruncateBefore == eventstore.EndRevision
	pos := m.write(name, events)
	out = eventstore.Appended{Revision: eventstore.Revision(len(s.events) - 1), Position: pos}
	if isMeta(name) {
		if md, _ = m.metadata(subject); !events[len(events)-1].JSON || md.TruncateBefore == eventstore.EndRevision {
			hidden = false // nothing to un-delete
		}
	}
	if hidden {
		md.TruncateBefore = first
		m.write("$$"+subject, []eventstore.Event{metadataEvent(md)})
	}
	return out, nil
}

// write gives all events of one append the same commit position.
func (m *memory) write(name string, events []eventstore.Event) (pos eventstore.Position) {
	s := m.stream(name)
	m.clock += 1 + m.rng.Uint64N(50)
	prepare := m.clock
	m.clock += uint64(len(events)) * 10
	for _, e := range events {
		pos = eventstore.Position{Commit: m.clock, Prepare: prepare}
		prepare += 1 + m.rng.Uint64N(9)
		e.Data, e.Metadata = bytes.Clone(e.Data), bytes.Clone(e.Metadata)
		rec := eventstore.Record{Event: e, Stream: name, Revision: eventstore.Revision(len(s.events)), Position: pos, Created: time.Now().UTC()}
		if s.tombstoned {
			rec.Revision = eventstore.EndRevision
		}
		s.events = append(s.events, len(m.records))
		m.records = append(m.records, rec)
	}
	close(m.grown)
	m.grown = make(chan struct{})
	return pos
}

func (m *memory) stream(name string) *memoryStream {
	if m.streams[name] == nil {
		m.streams[name] = &memoryStream{}
	}
	return m.streams[name]
}

func isMeta(name string) bool { return len(name) > 2 && name[:2] == "$$" }

func metadataEvent(md eventstore.StreamMetadata) eventstore.Event {
	doc := map[string]any{}
	for k, v := range md.Custom {
		doc[k] = v
	}
	for k, n := range map[string]int64{"$maxCount": md.MaxCount, "$maxAge": int64(md.MaxAge / time.Second), "$tb": int64(md.TruncateBefore)} {
		if n > 0 {
			doc[k] = n
		}
	}
	data, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return eventstore.Event{ID: uuid.New(), Type: "$metadata", JSON: true, Data: data}
}

func (m *memory) metadata(name string) (md eventstore.StreamMetadata, revision eventstore.Expected) {
	if isMeta(name) {
		return eventstore.StreamMetadata{MaxCount: 1}, eventstore.NoStream
	}
	events := m.stream("$$" + name).events
	if len(events) == 0 {
		return md, eventstore.NoStream
	}
	rec := m.records[events[len(events)-1]]
	dec := json.NewDecoder(bytes.NewReader(rec.Data))
	dec.UseNumber()
	var doc map[string]any
	if !rec.JSON || dec.Decode(&doc) != nil {
		return md, eventstore.At(rec.Revision)
	}
	take := func(key string) int64 {
		number, ok := doc[key].(json.Number)
		delete(doc, key)
		if n, err := number.Int64(); ok && err == nil && n > 0 {
			return n
		}
		return 0
	}
	md = eventstore.StreamMetadata{MaxCount: take("$maxCount"), MaxAge: time.Duration(take("$maxAge")) * time.Second, TruncateBefore: eventstore.Revision(take("$tb"))}
	if len(doc) > 0 {
		md.Custom = doc
	}
	return md, eventstore.At(rec.Revision)
}

func (m *memory) visible(name string) (out []eventstore.Record) {
	md, _ := m.metadata(name)
	events := m.stream(name).events
	for _, n := range events {
		rec := m.records[n]
		if rec.Revision >= md.TruncateBefore && (md.MaxCount == 0 || int64(rec.Revision) >= int64(len(events))-md.MaxCount) &&
			(md.MaxAge == 0 || time.Since(rec.Created) <= md.MaxAge) {
			out = append(out, rec)
		}
	}
	return out
}

func (r *Reference) ReadStream(ctx context.Context, name string, from eventstore.Revision, dir eventstore.Direction, limit int) iter.Seq2[eventstore.Record, error] {
	return r.deliver(ctx, dir, limit, func(m *memory) ([]eventstore.Record, error) {
		if m.stream(name).tombstoned || isMeta(name) && m.stream(name[2:]).tombstoned {
			return nil, fmt.Errorf("%w: %s", eventstore.ErrDeleted, name)
		}
		if md, _ := m.metadata(name); len(m.stream(name).events) == 0 || md.TruncateBefore == eventstore.EndRevision {
			return nil, fmt.Errorf("%w: %s", eventstore.ErrStreamNotFound, name)
		}
		return slices.DeleteFunc(m.visible(name), func(rec eventstore.Record) bool {
			return dir == eventstore.Forwards && rec.Revision < from || dir == eventstore.Backwards && rec.Revision > from
		}), nil
	})
}

func (r *Reference) ReadAll(ctx context.Context, from eventstore.Position, dir eventstore.Direction, filter eventstore.Filter, limit int) iter.Seq2[eventstore.Record, error] {
	return r.deliver(ctx, dir, limit, func(m *memory) (out []eventstore.Record, _ error) {
		for _, rec := range m.records {
			if filter.Matches(rec.Stream) && rec.Position.Before(from) == (dir == eventstore.Backwards) {
				out = append(out, rec)
			}
		}
		return out, nil
	})
}

func (r *Reference) deliver(ctx context.Context, dir eventstore.Direction, limit int, read func(*memory) ([]eventstore.Record, error)) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		m, err := r.enter(ctx)
		var records []eventstore.Record
		if err == nil {
			records, err = read(m)
			m.mu.Unlock()
		}
		if dir == eventstore.Backwards {
			slices.Reverse(records)
		}
		for i, rec := range records {
			if limit > 0 && i >= limit || !yield(rec, nil) {
				return
			}
		}
		if err != nil {
			yield(eventstore.Record{}, err)
		}
	}
}

func (r *Reference) Head(ctx context.Context) (pos eventstore.Position, err error) {
	for rec, err := range r.ReadAll(ctx, eventstore.End, eventstore.Backwards, eventstore.Filter{}, 1) {
		return rec.Position, err
	}
	return pos, nil
}

func (r *Reference) Log(ctx context.Context) (eventstore.LogIdentity, error) {
	m, err := r.enter(ctx)
	if err != nil {
		return eventstore.LogIdentity{}, err
	}
	defer m.mu.Unlock()
	return m.id, nil
}

func (r *Reference) StreamMetadata(ctx context.Context, name string) (eventstore.StreamMetadata, eventstore.Expected, error) {
	m, err := r.enter(ctx)
	if err != nil {
		return eventstore.StreamMetadata{}, eventstore.NoStream, err
	}
	defer m.mu.Unlock()
	if m.stream(name).tombstoned {
		return eventstore.StreamMetadata{}, eventstore.NoStream, fmt.Errorf("%w: %s", eventstore.ErrDeleted, name)
	}
	md, revision := m.metadata(name)
	return md, revision, nil
}

func (r *Reference) SetStreamMetadata(ctx context.Context, name string, expected eventstore.Expected, md eventstore.StreamMetadata) (eventstore.Appended, error) {
	m, err := r.enter(ctx)
	if err != nil {
		return eventstore.Appended{}, err
	}
	defer m.mu.Unlock()
	return m.append("$$"+name, expected, []eventstore.Event{metadataEvent(md)})
}

func (r *Reference) Delete(ctx context.Context, name string, expected eventstore.Expected) (eventstore.Position, error) {
	return r.end(ctx, name, expected, func(m *memory) (eventstore.Position, error) {
		if _, mdRevision := m.metadata(name); len(m.stream(name).events) == 0 && mdRevision < 0 {
			return eventstore.Start, &eventstore.ConflictError{Stream: name, Expected: expected, Current: eventstore.NoStream}
		}
		return m.write("$$"+name, []eventstore.Event{metadataEvent(eventstore.StreamMetadata{TruncateBefore: eventstore.EndRevision})}), nil
	})
}

func (r *Reference) Tombstone(ctx context.Context, name string, expected eventstore.Expected) (eventstore.Position, error) {
	return r.end(ctx, name, expected, func(m *memory) (eventstore.Position, error) {
		m.stream(name).tombstoned = true
		return m.write(name, []eventstore.Event{{ID: uuid.New(), Type: "$streamDeleted"}}), nil
	})
}

func (r *Reference) end(ctx context.Context, name string, expected eventstore.Expected, write func(*memory) (eventstore.Position, error)) (eventstore.Position, error) {
	m, err := r.enter(ctx)
	if err != nil {
		return eventstore.Start, err
	}
	defer m.mu.Unlock()
	if _, _, err := m.decide(name, expected, []eventstore.Event{{ID: uuid.New()}}); err != nil {
		return eventstore.Start, err
	}
	return write(m)
}
