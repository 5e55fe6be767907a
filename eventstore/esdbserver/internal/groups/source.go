package groups

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/filter"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// event is what a message of a group is about. It never changes, except that
// the body is taken out when it is sent.
type event struct {
	position eventstore.Position // of the original
	revision eventstore.Revision // of the original
	// linked: consumers get the original as a link, and what it names as event.
	linked bool
	// link names what consumers get as event, for a parked entry.
	link string
	body *body // nil: read it again
}

// body is what is sent.
type body struct {
	original *eventstore.Record
	target   *eventstore.Record // of a link; nil when it cannot be read
}

func (b *body) size() int {
	size := messageOverhead
	for _, r := range []*eventstore.Record{b.original, b.target} {
		if r != nil {
			size += len(r.Data) + len(r.Metadata) + len(r.Type) + len(r.Stream)
		}
	}
	return size
}

// messageOverhead is about what a message holds besides its event's bytes.
const messageOverhead = 512

// source reads what a group delivers.
type source struct {
	store  eventstore.Store
	def    *definition
	filter *filter.Filter
	sparse bool // the last page had nothing for the group
}

// sparsePage is how many records of the log are examined at a time while
// nothing in it is for the group.
const sparsePage = 512

// read gives the page after a place to the group, at most limit messages or as
// much as it has room for. more is false when that was all there is.
func (s *source) read(ctx context.Context, g *competing.Group, after competing.Place, limit int) (next competing.Place, more bool, err error) {
	page, matched, examined := limit, 0, 0
	if s.sparse {
		page = max(limit, sparsePage)
	}
	records := s.store.ReadStream(ctx, s.def.Stream, eventstore.Revision(after), eventstore.Forwards, page)
	if s.def.Stream == wire.All {
		records = s.store.ReadAll(ctx, eventstore.At64(uint64(after)+1), eventstore.Forwards, eventstore.Filter{}, page)
	}
	for r, err := range records {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			return after, false, nil
		case err != nil:
			return after, false, fmt.Errorf("read %s after %s: %w", s.def.Stream, s.def.text(after), err)
		}
		examined++
		after = s.def.placeOf(&r)
		m, err := s.message(ctx, &r)
		switch {
		case err != nil:
			return after - 1, false, err
		case m == nil && s.def.Stream == wire.All && wire.LeftOut(r.Stream):
			// It does not count: a checkpoint must not be the reason for the next.
			g.Passed(after, 0)
		case m == nil:
			g.Passed(after, 1)
		default:
			matched++
			g.Arrived(m)
		}
		if matched == limit || g.Room() == 0 {
			return after, true, nil
		}
	}
	s.sparse = examined > 0 && matched == 0
	return after, examined == page, nil
}

// message is nil for a record that is not for the group.
func (s *source) message(ctx context.Context, r *eventstore.Record) (*competing.Message, error) {
	if s.def.Stream == wire.All {
		if wire.LeftOut(r.Stream) {
			return nil, nil
		}
		ok, err := s.filter.Match(r)
		if !ok || err != nil {
			return nil, err
		}
		if s.filter != nil {
			// Its page is not kept for one record of it.
			r.Data, r.Metadata = bytes.Clone(r.Data), bytes.Clone(r.Metadata)
		}
	}
	b, err := s.resolve(ctx, r, s.def.ResolveLinks)
	if err != nil {
		return nil, err
	}
	return s.describe(b), nil
}

// resolve reads what a record links to, if that is wanted.
func (s *source) resolve(ctx context.Context, r *eventstore.Record, links bool) (b *body, err error) {
	b = &body{original: r}
	if links {
		b.target, _, err = wire.Resolve(ctx, s.store, *r)
	}
	return b, err
}

func (s *source) describe(b *body) *competing.Message {
	r := b.original
	e := &event{position: r.Position, revision: r.Revision, link: string(wire.LinkData(r.Stream, r.Revision)), body: b}
	from, _, isLink := wire.ParseLink(*r)
	if !isLink {
		from = r.Stream
	}
	if isLink && s.def.ResolveLinks {
		e.linked, e.link = true, string(r.Data)
	}
	return &competing.Message{
		ID: competing.ID(r.ID), Place: s.def.placeOf(r), Bucket: s.bucket(from, b), Size: b.size(), Event: e,
	}
}

// parkedMessage is what is replayed of a parked record; nil when that is no
// link to something that can be read.
func (s *source) parkedMessage(ctx context.Context, r *eventstore.Record) (*competing.Message, error) {
	b, err := s.resolve(ctx, r, true)
	if err != nil || b.target == nil {
		return nil, err
	}
	return &competing.Message{
		ID: competing.ID(r.ID), Place: placeOfRevision(r.Revision), Bucket: s.bucket(b.target.Stream, b), Size: b.size(),
		Event: &event{position: r.Position, revision: r.Revision, linked: true, link: string(r.Data), body: b},
	}, nil
}

// errGone: the log does not have an event any more.
var errGone = errors.New("the event is not there")

// load reads the body of an event again. The log has also what its stream does
// not show any more.
func (s *source) load(ctx context.Context, e *event) (*body, error) {
	for r, err := range s.store.ReadAll(ctx, e.position, eventstore.Forwards, eventstore.Filter{}, 1) {
		if err == nil && r.Position != e.position {
			err = errGone
		}
		if err != nil {
			return nil, fmt.Errorf("read position %v again: %w", e.position, err)
		}
		return s.resolve(ctx, &r, e.linked)
	}
	return nil, fmt.Errorf("read position %v again: %w", e.position, errGone)
}

// bucket for the pinned strategies; stream is the one that the event comes
// from, for a link the one that it names.
func (s *source) bucket(stream string, b *body) uint16 {
	pin := stream
	if s.def.Strategy == pinnedByCorrelation {
		r := b.original
		if b.target != nil {
			r = b.target
		}
		var md struct {
			ID *string `json:"$correlationId"`
		}
		if json.Unmarshal(r.Metadata, &md) == nil && md.ID != nil {
			pin = *md.ID
		}
	}
	h := fnv.New32a()
	h.Write([]byte(pin))
	return uint16(h.Sum32() % competing.Buckets)
}
