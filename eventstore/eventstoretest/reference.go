package eventstoretest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// Reference is an event store in memory, as inconvenient as the port allows: one append in eight
// is lost or loses its answer, repeats are not told, subscriptions break, positions have two numbers and gaps, checkpoints
// come only after 500 foreign records. All of it follows from the seed and the order of calls.
type Reference struct {
	*memory
	closed bool
}

// memory is the log; it outlives the stores that are opened over it.
type memory struct {
	mu      sync.Mutex
	rng     *rand.Rand
	id      eventstore.LogIdentity
	head    eventstore.Position
	records []eventstore.Record
	streams map[string][]eventstore.Record // the same by name; $$s is the metadata of s
	stirred chan struct{}                  // closed by the next write or Close
}

// NewReference makes an empty store.
func NewReference(seed uint64) *Reference {
	return &Reference{memory: &memory{
		rng: rand.New(rand.NewPCG(seed, 1)), id: eventstore.LogIdentity{ID: uuid.New(), Epoch: 1},
		streams: map[string][]eventstore.Record{}, stirred: make(chan struct{}),
	}}
}

// Reopen is another store over the same log.
func (r *Reference) Reopen() *Reference { return &Reference{memory: r.memory} }

func (r *Reference) Log(context.Context) (eventstore.LogIdentity, error) { return r.id, nil }

func (r *Reference) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.write("") // nothing, but whoever waits looks again
	return nil
}

// locked runs do alone on the log.
func locked[T any](ctx context.Context, r *Reference, do func() (T, error)) (out T, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return out, errors.New("reference store is closed")
	}
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	return do()
}

func (r *Reference) Append(ctx context.Context, name string, expected eventstore.Expected, events []eventstore.Event) (out eventstore.Appended, err error) {
	luck, err := locked(ctx, r, func() (int, error) { return r.rng.IntN(16), nil })
	if luck > 0 && err == nil {
		out, err = r.commit(ctx, name, expected, name, events...)
	}
	if luck <= 1 && err == nil {
		return eventstore.Appended{}, fmt.Errorf("%w: the connection broke", eventstore.ErrOutcomeUnknown)
	}
	return out, err
}

func (r *Reference) SetStreamMetadata(ctx context.Context, name string, expected eventstore.Expected, md eventstore.StreamMetadata) (eventstore.Appended, error) {
	return r.Append(ctx, "$$"+name, expected, []eventstore.Event{metadataEvent(md)})
}

func (r *Reference) Delete(ctx context.Context, name string, expected eventstore.Expected) (eventstore.Position, error) {
	out, err := r.commit(ctx, name, expected, "$$"+name, metadataEvent(eventstore.StreamMetadata{TruncateBefore: eventstore.EndRevision}))
	return out.Position, err
}

func (r *Reference) Tombstone(ctx context.Context, name string, expected eventstore.Expected) (eventstore.Position, error) {
	out, err := r.commit(ctx, name, expected, name, eventstore.Event{ID: uuid.New(), Type: eventstore.TypeStreamDeleted})
	return out.Position, err
}

// commit writes events to target if stream name is where the caller expects it.
func (r *Reference) commit(ctx context.Context, name string, expected eventstore.Expected, target string, events ...eventstore.Event) (eventstore.Appended, error) {
	return locked(ctx, r, func() (eventstore.Appended, error) {
		out, write, err := r.decide(name, expected, target, events)
		if !write {
			return out, err
		}
		subject := strings.TrimPrefix(name, "$$") // a write to s or to $$s opens s again
		before := r.state(subject)
		out = r.write(target, events...)
		if now := r.state(subject); target == name && before.SoftDeleted() && now.readable && !now.tombstoned {
			now.TruncateBefore = eventstore.Revision(before.last + 1)
			r.write("$$"+subject, metadataEvent(now.StreamMetadata))
		}
		return out, nil
	})
}

// decide tells whether to write; if not, the rest is the answer.
func (m *memory) decide(name string, expected eventstore.Expected, target string, events []eventstore.Event) (out eventstore.Appended, write bool, err error) {
	s, explicit := m.state(name), expected >= eventstore.NoStream
	conflict := &eventstore.ConflictError{Stream: name, Expected: expected, Current: s.last}
	switch {
	case eventstore.AppendSize(events) > eventstore.MaxAppendSize:
		return out, false, eventstore.ErrTooLarge
	case s.tombstoned, s.SoftDeleted() && expected == eventstore.StreamExists:
		return out, false, fmt.Errorf("%w: %s", eventstore.ErrDeleted, name)
	case expected > s.last, explicit && expected < s.last && len(events) == 0, s.last < 0 && s.metadataAt < 0 && (expected == eventstore.StreamExists || target != name):
		return out, false, conflict
	case expected == s.last, len(events) == 0:
		return eventstore.Appended{Revision: eventstore.Revision(s.last)}, len(events) > 0, nil
	}
	for i, e := range events {
		at := slices.IndexFunc(s.events, func(rec eventstore.Record) bool {
			return rec.ID == e.ID && (!explicit || int(rec.Revision) == int(expected)+1+i)
		})
		if at < 0 {
			return out, i == 0 && (!explicit || s.SoftDeleted() && expected == eventstore.NoStream), conflict
		}
		out = eventstore.Appended{Revision: eventstore.Revision(at)}
		if s.Shows(s.events[at], eventstore.Revision(s.last), time.Now()) {
			out.Position = s.events[at].Position
		}
	}
	return out, false, nil
}

// write gives all events of one append the same commit position.
func (m *memory) write(name string, events ...eventstore.Event) (out eventstore.Appended) {
	at := eventstore.Position{Commit: m.head.Commit + uint64(len(events))*10 + m.rng.Uint64N(50), Prepare: m.head.Commit}
	for _, e := range events {
		at.Prepare += 1 + m.rng.Uint64N(9)
		out = eventstore.Appended{Revision: eventstore.Revision(len(m.streams[name])), Position: at}
		if e.Type == eventstore.TypeStreamDeleted {
			out.Revision = eventstore.EndRevision
		}
		e.Data, e.Metadata = slices.Clone(e.Data), slices.Clone(e.Metadata)
		rec := eventstore.Record{Event: e, Stream: name, Revision: out.Revision, Position: at, Created: time.Now().UTC()}
		m.records, m.streams[name], m.head = append(m.records, rec), append(m.streams[name], rec), at
	}
	close(m.stirred)
	m.stirred = make(chan struct{})
	return out
}

func metadataEvent(md eventstore.StreamMetadata) eventstore.Event {
	data, err := md.MarshalJSON()
	if err != nil {
		panic(err)
	}
	return eventstore.Event{ID: uuid.New(), Type: eventstore.TypeMetadata, JSON: true, Data: data}
}

// state is where a stream stands, found anew each time.
type state struct {
	eventstore.StreamMetadata
	events               []eventstore.Record
	last, metadataAt     eventstore.Expected // NoStream without events
	tombstoned, readable bool                // readable: the metadata is the document it should be
}

func (m *memory) state(name string) state {
	s, meta := state{events: m.streams[name]}, m.streams["$$"+name]
	s.last, s.metadataAt = eventstore.Expected(len(s.events)-1), eventstore.Expected(len(meta)-1)
	s.tombstoned = s.last >= 0 && s.events[s.last].Revision == eventstore.EndRevision
	s.readable = len(meta) > 0 && meta[s.metadataAt].JSON && s.UnmarshalJSON(meta[s.metadataAt].Data) == nil
	if strings.HasPrefix(name, "$$") {
		s.MaxCount = 1
	}
	return s
}

func (r *Reference) StreamMetadata(ctx context.Context, name string) (eventstore.StreamMetadata, eventstore.Expected, error) {
	s, err := locked(ctx, r, func() (state, error) { return r.state(name), nil })
	if s.tombstoned {
		err = fmt.Errorf("%w: %s", eventstore.ErrDeleted, name)
	}
	return s.StreamMetadata, s.metadataAt, err
}

func (r *Reference) Head(ctx context.Context) (eventstore.Position, error) {
	return locked(ctx, r, func() (eventstore.Position, error) { return r.head, nil })
}

func (r *Reference) ReadStream(ctx context.Context, name string, from eventstore.Revision, dir eventstore.Direction, limit int) iter.Seq2[eventstore.Record, error] {
	return r.page(ctx, dir, limit, func() ([]eventstore.Record, error) {
		s := r.state(name)
		switch {
		case r.state(strings.TrimPrefix(name, "$$")).tombstoned:
			return nil, fmt.Errorf("%w: %s", eventstore.ErrDeleted, name)
		case s.last < 0, s.SoftDeleted():
			return nil, fmt.Errorf("%w: %s", eventstore.ErrStreamNotFound, name)
		}
		return slices.DeleteFunc(slices.Clone(s.events), func(rec eventstore.Record) bool {
			return !s.Shows(rec, eventstore.Revision(s.last), time.Now()) || rec.Revision != from && (rec.Revision < from) == (dir == eventstore.Forwards)
		}), nil
	})
}

func (r *Reference) ReadAll(ctx context.Context, from eventstore.Position, dir eventstore.Direction, filter eventstore.Filter, limit int) iter.Seq2[eventstore.Record, error] {
	return r.page(ctx, dir, limit, func() ([]eventstore.Record, error) {
		return slices.DeleteFunc(slices.Clone(r.records), func(rec eventstore.Record) bool {
			return !filter.Matches(rec.Stream) || rec.Position.Before(from) == (dir == eventstore.Forwards)
		}), nil
	})
}

func (r *Reference) page(ctx context.Context, dir eventstore.Direction, limit int, find func() ([]eventstore.Record, error)) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		page, err := locked(ctx, r, find)
		if err != nil {
			yield(eventstore.Record{}, err)
		}
		if dir == eventstore.Backwards {
			slices.Reverse(page)
		}
		for i, rec := range page {
			if limit > 0 && i == limit || !yield(rec, nil) {
				return
			}
		}
	}
}

// Subscribe is fed by a line that begins at the log's start, repeats records and breaks; only the break shows.
func (r *Reference) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	return locked(ctx, r, func() (eventstore.Subscription, error) {
		return &subscription{store: r, filter: filter, life: 1 + r.rng.IntN(400), examined: from, told: from}, nil
	})
}

type subscription struct {
	store          *Reference
	filter         eventstore.Filter
	life, next     int // how often the line can be asked before it breaks; index of its next record
	examined, told eventstore.Position
	foreign        int // records since the last notice
	live           bool
}

func (s *subscription) Next(ctx context.Context) (notice eventstore.Notice, err error) {
	for {
		stirred, err := locked(ctx, s.store, func() (<-chan struct{}, error) { return s.poll(&notice) })
		if stirred == nil || err != nil {
			return notice, err
		}
		select {
		case <-stirred:
		case <-ctx.Done():
		}
	}
}

// poll takes records off the line until one makes a notice, or tells when to ask again.
func (s *subscription) poll(notice *eventstore.Notice) (again <-chan struct{}, err error) {
	if s.life--; s.life < 0 {
		return nil, errors.New("the subscription is broken")
	}
	s.next = max(0, s.next-s.store.rng.IntN(4)) // the line repeats itself
	for ; s.next < len(s.store.records); s.next++ {
		rec := s.store.records[s.next]
		if !s.examined.Before(rec.Position) {
			continue
		}
		s.examined, s.foreign = rec.Position, s.foreign+1
		if matches := s.filter.Matches(rec.Stream); matches || s.foreign == 500 {
			*notice = eventstore.Notice{Kind: eventstore.Checkpoint, Position: rec.Position}
			if matches {
				notice.Kind, notice.Record = eventstore.Delivered, rec
			}
			s.told, s.foreign = rec.Position, 0
			return nil, nil
		}
	}
	if s.live {
		return s.store.stirred, nil
	}
	s.live, *notice = true, eventstore.Notice{Kind: eventstore.CaughtUp, Position: s.told}
	return nil, nil
}

func (s *subscription) Close() error {
	s.life = 0
	return nil
}
