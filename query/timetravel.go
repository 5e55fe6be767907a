package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// CutEvent is an event of an order within a cut.
type CutEvent struct {
	codec.Recorded
	EffectiveAt time.Time // see codec.Subjects
}

// OrderAsOf is the order at the cut: the fold of Events(ctx, id, cut), and
// refused as that is. Revision, Position and UpdatedAt are those of the event
// with the highest revision that is folded, also when a later effective time
// puts another event last.
func (s *Service) OrderAsOf(ctx context.Context, id string, cut Cut) (view.Order, error) {
	return s.Replay(ctx, id, cut, nil)
}

// Replay is OrderAsOf that calls step on the way, as Fold does. Only few replays
// run at once, so that questions about long histories leave the machine to
// others; the rest wait for their turn, or for the end of ctx.
func (s *Service) Replay(ctx context.Context, id string, cut Cut, step func(e CutEvent, before, after view.Order)) (view.Order, error) {
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		return view.Order{}, fmt.Errorf("wait to read the past of order %s: %w", id, ctx.Err())
	}
	defer func() { <-s.turns }()
	return s.replay(ctx, id, cut, step)
}

func (s *Service) replay(ctx context.Context, id string, cut Cut, step func(e CutEvent, before, after view.Order)) (view.Order, error) {
	events, err := s.Events(ctx, id, cut)
	if err != nil {
		return view.Order{}, err
	}
	doc, err := fold(ctx, s.options.Apply, id, events, step)
	if err != nil {
		return view.Order{}, err
	}
	return doc, nil
}

// Events lists the events of an order at the cut, in the order in which they are
// folded: by revision, or, with EffectiveAt, by effective time and then
// revision. There is at least one. It reads the log and nothing else. It refuses with
//   - ErrCuts when the cut says twice what was known;
//   - ErrOrderUnknown, ErrRevisionUnknown, ErrPositionUnknown when that is not
//     there, ErrCutBefore when the order was not there yet;
//   - ErrCutFuture when the instant has not come: it is after now and after the
//     last recording;
//   - ErrHistoryUnreadable when an event up to the cut cannot be read.
func (s *Service) Events(ctx context.Context, id string, cut Cut) ([]CutEvent, error) {
	if given := cut.knowledge(); len(given) > 1 {
		return nil, ErrCuts.At(given[len(given)-1]).With("given are " + strings.Join(given, " and "))
	}
	// The head is asked for before the stream is read: what is recorded in
	// between lies beyond it, and cannot be missing from the answer.
	var head eventstore.Position
	if cut.Position != nil {
		var err error
		if head, err = s.options.Store.Head(ctx); err != nil {
			return nil, fmt.Errorf("ask for the log's head: %w", err)
		}
	}
	if cut.AsOf != nil {
		if err := s.settle(ctx, *cut.AsOf); err != nil {
			return nil, err
		}
	}
	known, err := s.known(ctx, id, cut)
	if err != nil {
		return nil, err
	}
	if cut.Position != nil && head.Before(*cut.Position) {
		return nil, ErrPositionUnknown.At("atPosition").With(fmt.Sprintf("asked for %s, the log is at %s", cut.Position, head))
	}
	if err := s.past(ctx, id, cut); err != nil {
		return nil, err
	}
	if err := known.refusal(cut); err != nil {
		return nil, err
	}
	events := timed(known.events)
	if cut.EffectiveAt == nil {
		return events, nil
	}
	slices.SortFunc(events, func(a, b CutEvent) int {
		return cmp.Or(a.EffectiveAt.Compare(b.EffectiveAt), cmp.Compare(a.Revision, b.Revision))
	})
	n := 0
	for n < len(events) && !events[n].EffectiveAt.After(*cut.EffectiveAt) {
		n++
	}
	if n == 0 {
		return nil, ErrCutBefore.At("effectiveAt").With("it begins at " + instant(events[0].EffectiveAt))
	}
	return events[:n], nil
}

// Fold applies events in the order in which they are given. It calls step,
// unless that is nil, with each event and the document before and after it; the
// document before the first is projections.Empty. An event that cannot be
// applied ends it with ErrHistoryUnreadable and the document before, the end of
// ctx with its error.
func Fold(ctx context.Context, id string, events []CutEvent, step func(e CutEvent, before, after view.Order)) (view.Order, error) {
	return fold(ctx, projections.Apply, id, events, step)
}

// applying is what folds an event into a document.
type applying func(view.Order, codec.Recorded) view.Order

func fold(ctx context.Context, apply applying, id string, events []CutEvent, step func(e CutEvent, before, after view.Order)) (view.Order, error) {
	doc, last := projections.Empty(id), eventstore.Revision(-1)
	for _, e := range events {
		if err := ctx.Err(); err != nil {
			return doc, fmt.Errorf("fold order %s: %w", id, err)
		}
		after, err := apply.safely(doc, e.Recorded)
		if err != nil {
			return doc, unreadable(e.Revision, err)
		}
		if e.Revision < last {
			after.Revision, after.Position, after.UpdatedAt = doc.Revision, doc.Position, doc.UpdatedAt
		}
		last = max(last, e.Revision)
		if step != nil {
			step(e, doc, after)
		}
		doc = after
	}
	return doc, nil
}

// safely applies with a panic, about amounts that cannot be added, as an error:
// one order's damage ends no reader.
func (apply applying) safely(doc view.Order, e codec.Recorded) (after view.Order, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("apply %s: %v", e.Type, p)
		}
	}()
	return apply(doc, e), nil
}

func unreadable(r eventstore.Revision, err error) error {
	return ErrHistoryUnreadable.With(fmt.Sprintf("revision %d: %v", r, err))
}

// known is the prefix of an order's stream that a cut knows of.
type known struct {
	events []codec.Recorded
	first  eventstore.Record // of the stream, in the prefix or not
	bad    error             // why the event after events cannot be read, if the cut knows of it
	badAt  eventstore.Revision
}

func (s *Service) known(ctx context.Context, id string, cut Cut) (k known, err error) {
	stream := s.options.Namespace.Stream(codec.Category, id)
	next := eventstore.Revision(0)
	for record, err := range s.options.Store.ReadStream(ctx, stream, 0, eventstore.Forwards, 0) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			return k, ErrOrderUnknown
		case err != nil:
			return k, fmt.Errorf("read %s: %w", stream, err)
		}
		if next == 0 {
			k.first = record
		}
		if record.Revision != next {
			return k, unreadable(next, errors.New("is no longer in the log"))
		}
		next++
		if cut.Revision != nil && record.Revision > *cut.Revision || cut.Position != nil && cut.Position.Before(record.Position) {
			return k, nil
		}
		e, err := s.decode(record, cut.AsOf)
		switch {
		case errors.Is(err, errLater):
			return k, nil
		case err != nil:
			k.bad, k.badAt = err, record.Revision
			return k, nil
		}
		k.events = append(k.events, e)
	}
	if next == 0 {
		return k, ErrOrderUnknown
	}
	return k, nil
}

// errLater: the event was recorded after the instant.
var errLater = errors.New("recorded later")

// decode fails with errLater for an event recorded after asOf, which need not be
// readable otherwise.
func (s *Service) decode(record eventstore.Record, asOf *time.Time) (e codec.Recorded, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decode %s: %v", record.Type, p)
		}
	}()
	if asOf != nil {
		meta, err := codec.DecodeMeta(record.Metadata)
		if err != nil {
			return e, err
		}
		if meta.RecordedAt.After(*asOf) {
			return e, errLater
		}
	}
	return codec.Decode(record, s.options.Namespace)
}

// refusal says why there is no answer from what is known.
func (k known) refusal(cut Cut) error {
	switch {
	case k.bad != nil:
		return unreadable(k.badAt, k.bad)
	case cut.Revision != nil && eventstore.Revision(len(k.events)) <= *cut.Revision, cut.Revision != nil && *cut.Revision < 0:
		return ErrRevisionUnknown.At("atRevision").With(fmt.Sprintf("asked for %d, the last is %d", *cut.Revision, len(k.events)-1))
	case len(k.events) > 0:
		return nil
	case cut.Position != nil:
		return ErrCutBefore.At("atPosition").With("it begins at position " + k.first.Position.String())
	}
	meta, err := codec.DecodeMeta(k.first.Metadata)
	if err != nil {
		return unreadable(k.first.Revision, err)
	}
	return ErrCutBefore.At("asOf").With("it was first recorded at " + instant(meta.RecordedAt))
}

// past refuses instants that have not come. Where a clock was ahead of this one
// events may lie after now; up to the last of them all has come.
func (s *Service) past(ctx context.Context, id string, cut Cut) error {
	for _, c := range []struct {
		at    *time.Time
		field string
	}{{cut.AsOf, "asOf"}, {cut.EffectiveAt, "effectiveAt"}} {
		now := s.options.Clock()
		if c.at == nil || !c.at.After(now) {
			continue
		}
		last, err := s.lastRecorded(ctx, id)
		if err != nil {
			return err
		}
		if c.at.After(last) {
			return future(c.field, *c.at, now)
		}
	}
	return nil
}

func future(field string, asked, now time.Time) error {
	return ErrCutFuture.At(field).With(fmt.Sprintf("asked for %s, it is %s", instant(asked), instant(now)))
}

// lastRecorded is the recordedAt of the order's last event; zero when that cannot
// be read.
func (s *Service) lastRecorded(ctx context.Context, id string) (time.Time, error) {
	stream := s.options.Namespace.Stream(codec.Category, id)
	for record, err := range s.options.Store.ReadStream(ctx, stream, eventstore.EndRevision, eventstore.Backwards, 1) {
		if err != nil {
			return time.Time{}, fmt.Errorf("read the end of %s: %w", stream, err)
		}
		if meta, err := codec.DecodeMeta(record.Metadata); err == nil {
			return meta.RecordedAt, nil
		}
	}
	return time.Time{}, nil
}

// timed joins the effective times to all events of an order from its first on,
// by revision.
func timed(events []codec.Recorded) []CutEvent {
	began := map[codec.Subject]time.Time{} // effective time of a subject's first event
	out := make([]CutEvent, len(events))
	for i, e := range events {
		at, subjects := e.Event.OccurredAt(), codec.Subjects(e.Event)
		for _, subject := range subjects {
			if floor, ok := began[subject]; ok && floor.After(at) {
				at = floor
			}
		}
		for _, subject := range subjects {
			if _, ok := began[subject]; !ok {
				began[subject] = at
			}
		}
		out[i] = CutEvent{Recorded: e, EffectiveAt: at}
	}
	return out
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
