package command

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync/atomic"
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
	turns     *turns[*pending[S, E]]
	cache     *cache[aggregate[S]]
	snapshots *snapshots[S]
	count     *counters
	recordings
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
	stored   eventstore.Event
	meta     codec.Meta
	revision eventstore.Revision
	position eventstore.Position
}

// outcome is what a command did; see Result.
type outcome[S, E any] struct {
	state    S
	revision eventstore.Revision
	position eventstore.Position
	facts    []fact[E]
	replayed bool
}

// pending is a command on its way to its outcome.
type pending[S, E any] struct {
	ctx    context.Context
	name   string
	req    Request
	decide func(S, time.Time) ([]E, error)

	out      outcome[S, E] // with a refusal: the revision it was decided on
	err      error
	panicked string // what decide panicked with, and where

	doubt bool // an append of this call may have happened, nobody has looked yet
	wrote bool // an append of this call may be what is found in the stream
	over  bool // the outcome stands
}

// errUnsettled is what a command is left with when the one that was to settle it
// does not come back.
var errUnsettled = fmt.Errorf("%w: a command that it was appended with broke", eventstore.ErrOutcomeUnknown)

// handle decides a command on stream and appends the events at the revision
// they were decided on. name is the command's; decide is the decider with the
// command in it, told when the events will be recorded at the earliest, and is
// called anew whenever the aggregate has moved. With a refusal comes the
// revision it was decided on.
func (l *loop[S, C, E]) handle(ctx context.Context, stream, name string, req Request, decide func(S, time.Time) ([]E, error)) (outcome[S, E], error) {
	c := &pending[S, E]{ctx: ctx, name: name, req: req, decide: decide}
	settle := func(group []*pending[S, E]) {
		defer l.begin(l.clock.now)()
		l.settle(stream, group)
	}
	var err error
	if req.DryRun {
		settle([]*pending[S, E]{c})
	} else {
		err = l.turns.do(ctx, stream, c, settle)
	}
	switch {
	case errors.Is(err, errTaken):
		return outcome[S, E]{}, fmt.Errorf("%w: %s to %s: %w", eventstore.ErrOutcomeUnknown, name, stream, ctx.Err())
	case err != nil:
		return outcome[S, E]{}, fmt.Errorf("wait for other commands on %s: %w", stream, err)
	case c.panicked != "":
		panic(c.panicked)
	}
	return c.out, c.err
}

// settle gives every command of a group its outcome. It works in rounds: all are
// decided, one after another, and what they write becomes one append, at the
// revision that the first was decided on. group shrinks to those who have no
// outcome yet. Most groups are of one command and are done in one round.
func (l *loop[S, C, E]) settle(stream string, group []*pending[S, E]) {
	ctx, cancel := together(group)
	defer cancel()
	end := errUnsettled // if something below panics
	defer func() {
		for _, c := range group {
			c.fail(end)
		}
	}()
	a, fresh, err := l.load(stream), false, error(nil)
	for conflicts := 0; err == nil && len(group) > 0; {
		writers, later := l.decideAll(ctx, stream, a, group)
		if len(writers) == 0 {
			if fresh {
				group = nil
				break
			}
			// What load gave may be behind. An append proves that it was not;
			// every other answer has to look first.
			group, fresh = unsettled(group), true
			a, err = l.catchUp(ctx, stream, a)
			continue
		}

		appended, failed := l.append(ctx, stream, a, writers)
		switch {
		case failed == nil && !appended.Repeated:
			a = l.accept(stream, a, writers, appended)
			group, fresh, conflicts = later, true, 0
			continue
		case errors.Is(failed, eventstore.ErrReadOnly) && !fresh && !writers[0].doubt:
			// What is in the log can be answered all the same: look.
			group = unsettled(group)
		case failed != nil && !errors.Is(failed, eventstore.ErrConflict):
			for _, c := range writers {
				c.fail(fmt.Errorf("append %s to %s at %d: %w", c.name, stream, a.revision, failed))
				c.over = true
			}
			// What the others were told was not written.
			group = unsettled(group)
		default:
			// Somebody else was there, perhaps one of these very commands: look.
			l.count.conflicts.Add(1)
			group = unsettled(group)
			if conflicts == maxConflicts {
				err = fmt.Errorf("%s after %d conflicts: %w", stream, maxConflicts, ErrBusy)
			} else if fresh {
				err = pause(ctx, conflicts)
			}
			conflicts++
		}
		if err == nil && len(group) > 0 {
			a, err = l.catchUp(ctx, stream, a)
			fresh = true
		}
		if err == nil {
			for _, c := range group {
				c.doubt = false
			}
		}
	}
	end = err
}

// unsettled are those of a group whose outcome does not stand yet, in the order
// in which they came.
func unsettled[S, E any](group []*pending[S, E]) []*pending[S, E] {
	return slices.DeleteFunc(slices.Clone(group), func(c *pending[S, E]) bool { return c.over })
}

// together is a context that lasts as long as anybody in the group waits.
func together[S, E any](group []*pending[S, E]) (context.Context, context.CancelFunc) {
	if len(group) == 1 {
		return group[0].ctx, func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(group[0].ctx))
	waiting := new(atomic.Int64)
	waiting.Store(int64(len(group)))
	stops := make([]func() bool, len(group))
	for i, c := range group {
		stops[i] = context.AfterFunc(c.ctx, func() {
			if waiting.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// fail ends a command that was not finished. While an append of it is in doubt
// nothing but that may be said.
func (c *pending[S, E]) fail(err error) {
	c.out, c.err = outcome[S, E]{}, settled(c.doubt, err)
}

func settled(doubt bool, err error) error {
	if doubt && !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, err)
	}
	return err
}

// decideAll decides the commands of a group, each on what the ones before it
// leave behind; those that are in the stream already it answers for good. The
// outcomes of the writers, who have something to append, and of the rest stand if
// the stream is where a says and the writers' facts are appended as one. Later are
// those who have to wait for that.
func (l *loop[S, C, E]) decideAll(ctx context.Context, stream string, a aggregate[S], group []*pending[S, E]) (writers, later []*pending[S, E]) {
	at, size := a, 0
	for i, c := range group {
		if prior, ok := a.commands.find(c.req.CommandID); ok {
			c.out, c.err = l.firstAnswer(ctx, stream, a, prior, c.req, !c.wrote)
			if c.err != nil && c.wrote && !errors.Is(c.err, ErrKeyReused) {
				c.fail(fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, c.err)) // it was written
			}
			c.over = true
			continue
		}
		if slices.ContainsFunc(writers, func(w *pending[S, E]) bool { return w.req.CommandID == c.req.CommandID }) {
			later = append(later, c) // it will find the other one in the stream
			continue
		}
		l.consider(stream, c, at)
		if c.err != nil || len(c.out.facts) == 0 || c.req.DryRun {
			continue
		}
		more := eventstore.AppendSize(c.events(nil))
		if len(writers) > 0 && size+more > eventstore.MaxAppendSize {
			return writers, append(later, group[i:]...)
		}
		writers, size = append(writers, c), size+more
		if a.revision < 0 {
			// The first events of a stream stand alone: where one that was deleted
			// goes on, only the store knows.
			return writers, append(later, group[i+1:]...)
		}
		at.state, at.revision = c.out.state, c.out.revision
		at.recordedAt = c.out.facts[len(c.out.facts)-1].meta.RecordedAt
	}
	return writers, later
}

// consider decides and prepares the events as they would be recorded. A panic is
// for the command's own caller; the others of its group are no part of it.
func (l *loop[S, C, E]) consider(stream string, c *pending[S, E], a aggregate[S]) {
	c.panicked = "" // on another state
	defer func() {
		if p := recover(); p != nil {
			c.panicked, c.err = fmt.Sprintf("%v\n\n%s", p, debug.Stack()), errUnsettled
		}
	}()
	c.out, c.err = l.facts(stream, c, a)
}

func (l *loop[S, C, E]) facts(stream string, c *pending[S, E], a aggregate[S]) (outcome[S, E], error) {
	out := outcome[S, E]{state: a.state, revision: a.revision}
	req := &c.req
	if req.IfMatch != nil && !stands(a.revision, *req.IfMatch) {
		return out, &PreconditionError{Current: eventstore.Expected(a.revision)}
	}
	recordedAt := l.clock.after(a.recordedAt)
	if _, ok := l.store.(eventstore.Sequencer); !ok {
		recordedAt = l.clock.afterTold(recordedAt) // nobody dates it later
	}
	events, err := c.decide(a.state, recordedAt)
	if err != nil {
		return out, err
	}
	facts := make([]fact[E], len(events))
	for i, e := range events {
		typ, data, err := l.encode(e)
		if err != nil {
			return out, err
		}
		out.revision++
		out.state = l.decider.Evolve(out.state, e)
		meta := codec.Meta{
			CommandID: req.CommandID, Command: c.name, Fingerprint: req.Fingerprint,
			CorrelationID: req.CorrelationID, CausationID: req.CausationID,
			Actor: req.Actor, TraceParent: req.TraceParent,
			Version: codec.Version(typ), RecordedAt: recordedAt,
		}
		stored := eventstore.Event{Type: typ, JSON: true, Data: data, Metadata: codec.EncodeMeta(meta)}
		stored.ID = eventID(stream, req.CommandID, i, stored.Data, stored.Metadata)
		facts[i] = fact[E]{event: e, meta: meta, revision: out.revision, stored: stored}
	}
	out.facts = facts
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

// append writes the facts of the writers after revision a.revision, as one, and
// puts their recordedAt right. An unknown outcome is tried again: the ids and the
// expectation are the same, so that it has one effect. Then the writers are in
// doubt: an attempt may have been written although err says otherwise, or was
// written by an earlier attempt.
func (l *loop[S, C, E]) append(ctx context.Context, stream string, a aggregate[S], writers []*pending[S, E]) (appended eventstore.Appended, err error) {
	for attempt := 0; ; attempt++ {
		appended, err = l.appendOnce(ctx, stream, a, writers)
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
			return appended, err
		}
		for _, c := range writers {
			c.doubt, c.wrote = true, true
			// This attempt may still hold its bytes.
			for i := range c.out.facts {
				c.out.facts[i].stored.Metadata = codec.EncodeMeta(c.out.facts[i].meta)
			}
		}
		if attempt == maxUnknown || pause(ctx, attempt) != nil {
			return appended, err
		}
		l.count.retries.Add(1)
	}
}

func (l *loop[S, C, E]) appendOnce(ctx context.Context, stream string, a aggregate[S], writers []*pending[S, E]) (eventstore.Appended, error) {
	var events []eventstore.Event
	for _, c := range writers {
		events = c.events(events)
	}
	expected := eventstore.Expected(a.revision)
	sequencer, ok := l.store.(eventstore.Sequencer)
	if !ok {
		return l.store.Append(ctx, stream, expected, events)
	}
	if err := l.clock.ready(ctx, l.lastRecordedAt); err != nil {
		return eventstore.Appended{}, err
	}
	// What was decided at a time is not recorded before it, whatever the clock does.
	at, last := new(time.Time), writers[len(writers)-1].out.facts
	floor := last[len(last)-1].meta.RecordedAt
	appended, err := sequencer.AppendStamped(ctx, stream, expected, events, func(events []eventstore.Event) {
		*at = l.clock.advance(floor)
		for _, e := range events {
			codec.StampMeta(e.Metadata, *at)
		}
	})
	if err == nil {
		for _, c := range writers {
			for i := range c.out.facts {
				c.out.facts[i].meta.RecordedAt = *at
			}
		}
	}
	return appended, err
}

// events adds those of the command to a list.
func (c *pending[S, E]) events(list []eventstore.Event) []eventstore.Event {
	for i := range c.out.facts {
		list = append(list, c.out.facts[i].stored)
	}
	return list
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

// accept turns a durable append into the answers of those who wrote, and returns
// the aggregate after it.
func (l *loop[S, C, E]) accept(stream string, before aggregate[S], writers []*pending[S, E], appended eventstore.Appended) aggregate[S] {
	after := aggregate[S]{commands: before.commands.clone()}
	count := 0
	for _, c := range writers {
		count += len(c.out.facts)
	}
	_, sequenced := l.store.(eventstore.Sequencer)
	after.revision = appended.Revision - eventstore.Revision(count)
	for _, c := range writers {
		for i := range c.out.facts {
			f := &c.out.facts[i]
			after.revision++
			// Elsewhere than on a sequencer only that of the last is known; it
			// is readable when that is.
			f.revision, f.position = after.revision, appended.Position
			if sequenced {
				f.position = eventstore.At64(appended.Position.Commit - uint64(appended.Revision-f.revision))
			}
			after.lastID, after.recordedAt = f.stored.ID, f.meta.RecordedAt
			after.commands = after.commands.add(c.req.CommandID, c.req.Fingerprint, f.revision)
			c.out.revision, c.out.position = f.revision, f.position
		}
		after.state = c.out.state
	}
	l.count.together.Add(int64(len(writers) - 1))
	l.cache.put(stream, after.revision, after)
	l.snapshots.committed(stream, count, after)
	return after
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
			event: e, stored: r.Event, meta: meta, revision: r.Revision, position: r.Position,
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
