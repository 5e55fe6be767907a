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
// one append in eight loses its answer (ErrOutcomeUnknown, whether the events
// were written or not), subscriptions break, positions have two numbers and
// gaps, a checkpoint comes only after a whole interval of foreign events. What
// it does follows from its seed and the order of calls.
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
	grown   chan struct{} // closed by the next write
}

type memoryStream struct {
	events     []int // indexes into records
	tombstoned bool
}

const (
	lostAnswers        = 8   // one append in so many
	brokenNotices      = 200 // one notice in so many
	checkpointInterval = 500
)

var errReferenceClosed = errors.New("reference store is closed")

// NewReference makes an empty store.
func NewReference(seed uint64) *Reference {
	return (&Reference{log: &memory{
		rng: rand.New(rand.NewPCG(seed, 1)), id: eventstore.LogIdentity{ID: uuid.New(), Epoch: 1},
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

// locked runs do alone on the log.
func locked[T any](ctx context.Context, r *Reference, do func(*memory) (T, error)) (out T, err error) {
	select {
	case <-r.closed:
		return out, errReferenceClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return out, err
	}
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return do(r.log)
}

func (r *Reference) Append(ctx context.Context, name string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	size := 0
	for _, e := range events {
		size += len(e.Data) + len(e.Metadata) + 2*len(e.Type)
	}
	if size > eventstore.MaxAppendSize {
		return eventstore.Appended{}, eventstore.ErrTooLarge
	}
	return locked(ctx, r, func(m *memory) (eventstore.Appended, error) {
		luck := m.rng.IntN(2 * lostAnswers)
		if luck == 0 {
			return eventstore.Appended{}, fmt.Errorf("%w: the request was lost", eventstore.ErrOutcomeUnknown)
		}
		out, err := m.append(name, expected, events)
		if err == nil && luck == 1 {
			return eventstore.Appended{}, fmt.Errorf("%w: the answer was lost", eventstore.ErrOutcomeUnknown)
		}
		return out, err
	})
}

func (m *memory) append(name string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	out, write, err := m.decide(name, expected, events)
	if !write || err != nil {
		return out, err
	}
	subject := name
	if isMeta(name) {
		subject = name[2:]
	}
	md, _ := m.metadata(subject)
	reopen, first := md.TruncateBefore == eventstore.EndRevision, eventstore.Revision(len(m.stream(subject).events))
	out.Position = m.write(name, events...)
	out.Revision = eventstore.Revision(len(m.stream(name).events) - 1)
	if isMeta(name) { // what was just written may show everything, or delete again
		md, _ = m.metadata(subject)
		reopen = reopen && events[len(events)-1].JSON && md.TruncateBefore != eventstore.EndRevision
	}
	if reopen {
		md.TruncateBefore = first
		m.write("$$"+subject, metadataEvent(md))
	}
	return out, nil
}

// decide answers whether to write; otherwise out is the answer.
func (m *memory) decide(name string, expected eventstore.Expected, events []eventstore.Event) (out eventstore.Appended, write bool, err error) {
	s := m.stream(name)
	md, mdRevision := m.metadata(name)
	last, hidden := eventstore.Expected(len(s.events)-1), md.TruncateBefore == eventstore.EndRevision
	explicit := expected >= eventstore.NoStream
	conflict := &eventstore.ConflictError{Stream: name, Expected: expected, Current: last}
	switch {
	case s.tombstoned, expected == eventstore.StreamExists && hidden:
		return out, false, fmt.Errorf("%w: %s", eventstore.ErrDeleted, name)
	case expected == eventstore.StreamExists && last < 0 && mdRevision < 0, expected > last, len(events) == 0 && explicit && expected < last:
		return out, false, conflict
	case expected == last:
		return eventstore.Appended{Revision: eventstore.Revision(last)}, len(events) > 0, nil
	}
	at := int(last)
	for i, e := range events {
		same := func(n int) bool { return m.records[n].ID == e.ID }
		if !explicit {
			at = slices.IndexFunc(s.events, same)
		} else if at = int(expected) + 1 + i; at > int(last) || !same(s.events[at]) {
			at = -1
		}
		if at < 0 {
			fresh := i == 0 && (!explicit || expected == eventstore.NoStream && hidden)
			if fresh {
				return out, true, nil
			}
			return out, false, conflict
		}
	}
	out = eventstore.Appended{Revision: eventstore.Revision(at), Repeated: len(events) > 0}
	for _, rec := range m.visible(name) {
		if rec.Revision == out.Revision && out.Repeated {
			out.Position = rec.Position
		}
	}
	return out, false, nil
}

// write gives all events of one append the same commit position.
func (m *memory) write(name string, events ...eventstore.Event) (pos eventstore.Position) {
	s := m.stream(name)
	pos.Prepare = m.clock
	m.clock += uint64(len(events))*10 + m.rng.Uint64N(50)
	for _, e := range events {
		pos = eventstore.Position{Commit: m.clock, Prepare: pos.Prepare + 1 + m.rng.Uint64N(9)}
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
	data, err := json.Marshal(md)
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
	if len(events) > 0 {
		if rec := m.records[events[len(events)-1]]; !rec.JSON || json.Unmarshal(rec.Data, &md) != nil {
			md = eventstore.StreamMetadata{}
		}
	}
	return md, eventstore.Expected(len(events) - 1)
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
		records, err := locked(ctx, r, read)
		if err != nil {
			yield(eventstore.Record{}, err)
			return
		}
		if dir == eventstore.Backwards {
			slices.Reverse(records)
		}
		for i, rec := range records {
			if limit > 0 && i >= limit || !yield(rec, nil) {
				return
			}
		}
	}
}

func (r *Reference) Head(ctx context.Context) (eventstore.Position, error) {
	return locked(ctx, r, func(m *memory) (pos eventstore.Position, _ error) {
		if n := len(m.records); n > 0 {
			pos = m.records[n-1].Position
		}
		return pos, nil
	})
}

func (r *Reference) Log(ctx context.Context) (eventstore.LogIdentity, error) {
	return locked(ctx, r, func(m *memory) (eventstore.LogIdentity, error) { return m.id, nil })
}

func (r *Reference) StreamMetadata(ctx context.Context, name string) (md eventstore.StreamMetadata, revision eventstore.Expected, err error) {
	md, err = locked(ctx, r, func(m *memory) (md eventstore.StreamMetadata, err error) {
		if m.stream(name).tombstoned {
			err = fmt.Errorf("%w: %s", eventstore.ErrDeleted, name)
		}
		md, revision = m.metadata(name)
		return md, err
	})
	return md, revision, err
}

func (r *Reference) SetStreamMetadata(ctx context.Context, name string, expected eventstore.Expected, md eventstore.StreamMetadata) (eventstore.Appended, error) {
	return locked(ctx, r, func(m *memory) (eventstore.Appended, error) {
		return m.append("$$"+name, expected, []eventstore.Event{metadataEvent(md)})
	})
}

func (r *Reference) Delete(ctx context.Context, name string, expected eventstore.Expected) (eventstore.Position, error) {
	return locked(ctx, r, func(m *memory) (eventstore.Position, error) {
		_, _, err := m.decide(name, expected, []eventstore.Event{{ID: uuid.New()}})
		if _, revision := m.metadata(name); err == nil && len(m.stream(name).events) == 0 && revision < 0 {
			err = &eventstore.ConflictError{Stream: name, Expected: expected, Current: eventstore.NoStream}
		}
		if err != nil {
			return eventstore.Start, err
		}
		return m.write("$$"+name, metadataEvent(eventstore.StreamMetadata{TruncateBefore: eventstore.EndRevision})), nil
	})
}

func (r *Reference) Tombstone(ctx context.Context, name string, expected eventstore.Expected) (eventstore.Position, error) {
	return locked(ctx, r, func(m *memory) (eventstore.Position, error) {
		if _, _, err := m.decide(name, expected, []eventstore.Event{{ID: uuid.New()}}); err != nil {
			return eventstore.Start, err
		}
		m.stream(name).tombstoned = true
		return m.write(name, eventstore.Event{ID: uuid.New(), Type: "$streamDeleted"}), nil
	})
}
