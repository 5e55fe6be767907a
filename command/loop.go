package command

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/google/uuid"
)

const (
	// maxConflicts bounds how often one command is decided again because
	// another writer was faster.
	maxConflicts = 16
	// maxUnknown bounds how often one append is repeated because its outcome
	// is unknown.
	maxUnknown = 5
	// firstPause before trying again; it doubles up to longestPause, and each
	// pause is a random part of it.
	firstPause   = time.Millisecond
	longestPause = 50 * time.Millisecond
)

// loop handles the commands of one kind of aggregate. This is the only place
// where commands are decided and appended.
type loop[S, C, E any] struct {
	decider   domain.Decider[S, C, E]
	store     eventstore.Store
	namespace eventstore.Namespace
	encode    func(E) (typ string, data []byte, err error)
	decode    func(eventstore.Record) (E, codec.Meta, error)
	clock     *clock
	turns     *turns
	cache     *cache[aggregate[S]]
	snapshots *snapshots[S]
	count     *counters
}

// aggregate is one stream folded up to a revision. It never changes, so it may
// be shared.
type aggregate[S any] struct {
	state      S
	revision   eventstore.Revision // of the last event; -1: there is none
	lastID     uuid.UUID           // of that event
	recordedAt time.Time           // of that event
	commands   memory              // handled lately
}

// fact is one event of an outcome.
type fact[E any] struct {
	event    E
	typ      string
	data     []byte
	id       uuid.UUID
	revision eventstore.Revision
	position eventstore.Position
	meta     codec.Meta
}

// outcome is what a command did; see Result.
type outcome[S, E any] struct {
	state    S
	revision eventstore.Revision
	position eventstore.Position
	facts    []fact[E]
	replayed bool
}

// handle decides a command on stream and appends the events at the revision
// they were decided on. name is the command's; decide is the decider with the
// command in it, told when the events will be recorded at the earliest, and is
// called anew whenever the aggregate has moved. With a
// refusal comes the revision it was decided on.
func (l *loop[S, C, E]) handle(ctx context.Context, stream, name string, req Request, decide func(S, time.Time) ([]E, error)) (outcome[S, E], error) {
	if !req.DryRun {
		done, err := l.turns.take(ctx, stream)
		if err != nil {
			return outcome[S, E]{}, fmt.Errorf("wait for other commands on %s: %w", stream, err)
		}
		defer done()
	}
	a, fresh, err := l.load(ctx, stream)
	if err != nil {
		return outcome[S, E]{}, err
	}
	// wrote: an append of this call may be what is found in the stream.
	wrote := false
	for conflicts := 0; ; {
		if prior, ok := a.commands.find(req.CommandID); ok {
			return l.firstAnswer(ctx, stream, a, prior, req, !wrote)
		}
		out, err := l.consider(stream, name, req, a, decide)
		// A cached aggregate may be behind. An append proves that it was not;
		// every other answer has to look first.
		if (err != nil || len(out.facts) == 0 || req.DryRun) && !fresh {
			if a, err = l.catchUp(ctx, stream, a); err != nil {
				return outcome[S, E]{}, err
			}
			fresh = true
			continue
		}
		if err != nil {
			return outcome[S, E]{revision: a.revision}, err
		}
		if len(out.facts) == 0 || req.DryRun {
			return out, nil
		}

		appended, doubt, err := l.append(ctx, stream, a, out.facts)
		wrote = wrote || doubt
		switch {
		case err == nil && !appended.Repeated:
			return l.accept(stream, a, out, appended), nil
		case err != nil && !errors.Is(err, eventstore.ErrConflict):
			return outcome[S, E]{}, fmt.Errorf("append %s to %s at %d: %w", name, stream, a.revision, err)
		}
		// Somebody else was there, perhaps this very command: look.
		l.count.conflicts.Add(1)
		if conflicts++; conflicts > maxConflicts {
			return outcome[S, E]{}, settled(doubt, fmt.Errorf("%s after %d conflicts: %w", stream, maxConflicts, ErrBusy))
		}
		if err := pause(ctx, conflicts-1); err != nil {
			return outcome[S, E]{}, settled(doubt, err)
		}
		if a, err = l.catchUp(ctx, stream, a); err != nil {
			return outcome[S, E]{}, settled(doubt, err)
		}
		fresh = true
	}
}

// settled is the error of a command that was not finished. While an append of
// it is in doubt nothing but that may be said.
func settled(doubt bool, err error) error {
	if doubt && !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, err)
	}
	return err
}

// consider decides and prepares the events as they would be recorded.
func (l *loop[S, C, E]) consider(stream, name string, req Request, a aggregate[S], decide func(S, time.Time) ([]E, error)) (outcome[S, E], error) {
	if req.IfMatch != nil && !stands(a.revision, *req.IfMatch) {
		return outcome[S, E]{}, &PreconditionError{Current: eventstore.Expected(a.revision)}
	}
	recordedAt := l.clock.after(a.recordedAt)
	events, err := decide(a.state, recordedAt)
	if err != nil {
		return outcome[S, E]{}, err
	}
	out := outcome[S, E]{state: a.state, revision: a.revision, facts: make([]fact[E], len(events))}
	for i, e := range events {
		typ, data, err := l.encode(e)
		if err != nil {
			return outcome[S, E]{}, err
		}
		out.revision++
		out.state = l.decider.Evolve(out.state, e)
		out.facts[i] = fact[E]{
			event: e, typ: typ, data: data, id: eventID(stream, req.CommandID, i), revision: out.revision,
			meta: codec.Meta{
				CommandID: req.CommandID, Command: name, Fingerprint: req.Fingerprint,
				CorrelationID: req.CorrelationID, CausationID: req.CausationID,
				Actor: req.Actor, TraceParent: req.TraceParent,
				Version: codec.Version(typ), RecordedAt: recordedAt,
			},
		}
	}
	return out, nil
}

// stands reports whether a stream at revision is where expected says.
func stands(revision eventstore.Revision, expected eventstore.Expected) bool {
	switch expected {
	case eventstore.Any:
		return true
	case eventstore.StreamExists:
		return revision >= 0
	}
	return eventstore.Expected(revision) == expected
}

// append writes the facts after revision a.revision and puts their recordedAt
// right. An unknown outcome is tried again: the ids and the expectation are the
// same, so that it has one effect. doubt: an attempt may have been written
// although err says otherwise, or was written by an earlier attempt.
func (l *loop[S, C, E]) append(ctx context.Context, stream string, a aggregate[S], facts []fact[E]) (appended eventstore.Appended, doubt bool, err error) {
	for attempt := 0; ; attempt++ {
		appended, err = l.appendOnce(ctx, stream, a, facts)
		switch {
		case err == nil || errors.Is(err, eventstore.ErrConflict):
			return appended, doubt, err
		case !errors.Is(err, eventstore.ErrOutcomeUnknown):
			return appended, doubt, settled(doubt, err)
		}
		doubt = true
		if attempt == maxUnknown || pause(ctx, attempt) != nil {
			return appended, doubt, err
		}
		l.count.retries.Add(1)
	}
}

func (l *loop[S, C, E]) appendOnce(ctx context.Context, stream string, a aggregate[S], facts []fact[E]) (eventstore.Appended, error) {
	// A former attempt may still hold its events, so each makes its own.
	events := make([]eventstore.Event, len(facts))
	for i, f := range facts {
		events[i] = eventstore.Event{ID: f.id, Type: f.typ, JSON: true, Data: f.data, Metadata: codec.EncodeMeta(f.meta)}
	}
	expected := eventstore.Expected(a.revision)
	sequencer, ok := l.store.(eventstore.Sequencer)
	if !ok {
		return l.store.Append(ctx, stream, expected, events)
	}
	if err := l.clock.ready(ctx, l.lastRecordedAt); err != nil {
		return eventstore.Appended{}, err
	}
	at := new(time.Time)
	appended, err := sequencer.AppendStamped(ctx, stream, expected, events, func(events []eventstore.Event) {
		*at = l.clock.advance(a.recordedAt)
		for _, e := range events {
			codec.StampMeta(e.Metadata, *at)
		}
	})
	if err == nil {
		for i := range facts {
			facts[i].meta.RecordedAt = *at
		}
	}
	return appended, err
}

// lastRecordedAt is when the newest event of the category was recorded. Events
// that docket did not write say nothing; only so many of them are passed over.
func (l *loop[S, C, E]) lastRecordedAt(ctx context.Context) (time.Time, error) {
	const most = 1000
	filter := eventstore.Filter{Prefixes: []string{l.namespace.Prefix(l.decider.Category)}}
	for r, err := range l.store.ReadAll(ctx, eventstore.End, eventstore.Backwards, filter, most) {
		if err != nil {
			return time.Time{}, fmt.Errorf("read the last event: %w", err)
		}
		if meta, err := codec.DecodeMeta(r.Metadata); err == nil && !meta.RecordedAt.IsZero() {
			return meta.RecordedAt, nil
		}
	}
	return time.Time{}, nil
}

// accept turns a durable append into the answer.
func (l *loop[S, C, E]) accept(stream string, before aggregate[S], out outcome[S, E], appended eventstore.Appended) outcome[S, E] {
	out.revision, out.position = appended.Revision, appended.Position
	first := appended.Revision - eventstore.Revision(len(out.facts)) + 1
	after := aggregate[S]{state: out.state, revision: appended.Revision, commands: before.commands.clone()}
	for i := range out.facts {
		f := &out.facts[i]
		f.revision = first + eventstore.Revision(i)
		after.lastID, after.recordedAt = f.id, f.meta.RecordedAt
		after.commands = after.commands.add(f.meta.CommandID, f.meta.Fingerprint, f.revision)
	}
	out.facts[len(out.facts)-1].position = appended.Position
	l.cache.put(stream, after.revision, after)
	l.snapshots.committed(stream, len(out.facts), after)
	return out
}

// firstAnswer repeats the answer of a command that is in the stream.
func (l *loop[S, C, E]) firstAnswer(ctx context.Context, stream string, a aggregate[S], prior handled, req Request, replayed bool) (outcome[S, E], error) {
	if prior.fingerprint != hashed(req.Fingerprint) {
		return outcome[S, E]{revision: a.revision}, ErrKeyReused
	}
	out := outcome[S, E]{state: a.state, revision: prior.last(), replayed: replayed}
	if replayed {
		l.count.replays.Add(1)
	}
	for r, err := range l.store.ReadStream(ctx, stream, prior.first, eventstore.Forwards, int(prior.events)) {
		if err != nil {
			return outcome[S, E]{}, fmt.Errorf("read the first answer from %s at %d: %w", stream, prior.first, err)
		}
		e, meta, err := l.decode(r)
		if err != nil {
			return outcome[S, E]{}, err
		}
		out.position = r.Position
		out.facts = append(out.facts, fact[E]{
			event: e, typ: r.Type, data: r.Data, id: r.ID, revision: r.Revision, position: r.Position, meta: meta,
		})
	}
	if len(out.facts) != int(prior.events) {
		return outcome[S, E]{}, fmt.Errorf("read the first answer from %s at %d: %d of %d events are there",
			stream, prior.first, len(out.facts), prior.events)
	}
	if a.revision > prior.last() {
		then, err := l.replay(ctx, stream, prior.last())
		if err != nil {
			return outcome[S, E]{}, err
		}
		out.state = then.state
	}
	return out, nil
}

// pause waits a random time that grows with attempt, or until ctx ends.
func pause(ctx context.Context, attempt int) error {
	if attempt < 0 {
		return ctx.Err()
	}
	longest := min(firstPause<<min(attempt, 10), longestPause)
	timer := time.NewTimer(rand.N(longest) + 1)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
