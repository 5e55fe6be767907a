package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/docket-orders/docket/eventstore"
)

// errGap: the tail does not follow what is folded, so that is of no use.
var errGap = errors.New("events are missing between the folded ones and the tail")

func absent[S any]() aggregate[S] { return aggregate[S]{revision: -1} }

// load is what a stream most likely is: as it was when it was in the cache, and
// what is not there most likely does not exist, since commands on old orders are
// few. It may be behind; catchUp looks.
func (l *loop[S, C, E]) load(stream string) aggregate[S] {
	if a, ok := l.cache.get(stream); ok {
		l.count.cacheHits.Add(1)
		return a
	}
	l.count.cacheMisses.Add(1)
	return absent[S]()
}

// fromStore folds a stream from its snapshot, or from the start.
func (l *loop[S, C, E]) fromStore(ctx context.Context, stream string) (aggregate[S], error) {
	last, err := l.lastRevision(ctx, stream)
	if err != nil || last < 0 {
		return absent[S](), err
	}
	long := l.snapshots.worthwhile(last)
	if long {
		if a, ok := l.fromSnapshot(ctx, stream); ok {
			return l.keep(stream, a), nil
		}
	}
	a, err := l.replay(ctx, stream, eventstore.EndRevision)
	if err != nil {
		return a, err
	}
	if long {
		l.snapshots.save(stream, a)
	}
	return l.keep(stream, a), nil
}

// keep puts what was folded into the cache.
func (l *loop[S, C, E]) keep(stream string, a aggregate[S]) aggregate[S] {
	if a.revision >= 0 {
		l.cache.put(stream, a.revision, a)
	}
	return a
}

// lastRevision of a stream; -1 when it does not exist.
func (l *loop[S, C, E]) lastRevision(ctx context.Context, stream string) (eventstore.Revision, error) {
	for r, err := range l.store.ReadStream(ctx, stream, eventstore.EndRevision, eventstore.Backwards, 1) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("read the end of %s: %w", stream, err)
		}
		return r.Revision, nil
	}
	return -1, nil
}

// fromSnapshot folds snapshot and tail. Whatever is wrong with the snapshot, the
// log is right: then it is dropped and ok is false.
func (l *loop[S, C, E]) fromSnapshot(ctx context.Context, stream string) (tail aggregate[S], ok bool) {
	a, ok := l.snapshots.load(ctx, stream)
	if ok {
		var err error
		if tail, err = l.extend(ctx, stream, a, eventstore.EndRevision); errors.Is(err, errGap) {
			l.snapshots.drop(ctx, stream, "its last event is not in the log")
		}
		ok = err == nil && (!l.snapshots.auditDue() || l.audited(ctx, stream, a))
	}
	if !ok {
		l.count.snapshotMisses.Add(1)
		return tail, false
	}
	l.count.snapshotHits.Add(1)
	return tail, true
}

// audited compares a snapshot with a full replay.
func (l *loop[S, C, E]) audited(ctx context.Context, stream string, a aggregate[S]) bool {
	replayed, err := l.replay(ctx, stream, a.revision)
	if err != nil {
		return false
	}
	l.count.audits.Add(1)
	if l.snapshots.equal(stream, a, replayed) {
		return true
	}
	l.count.differences.Add(1)
	l.snapshots.drop(ctx, stream, "it differs from a full replay")
	return false
}

// replay folds a stream from its first event up to revision upto.
func (l *loop[S, C, E]) replay(ctx context.Context, stream string, upto eventstore.Revision) (aggregate[S], error) {
	return l.extend(ctx, stream, absent[S](), upto)
}

// catchUp folds what was written to a stream after a.
func (l *loop[S, C, E]) catchUp(ctx context.Context, stream string, a aggregate[S]) (aggregate[S], error) {
	if a.revision < 0 {
		return l.fromStore(ctx, stream)
	}
	next, err := l.extend(ctx, stream, a, eventstore.EndRevision)
	if errors.Is(err, errGap) {
		// The stream was deleted, and perhaps written anew, since a was folded.
		l.cache.drop(stream)
		return l.fromStore(ctx, stream)
	}
	if err != nil {
		return a, err
	}
	return l.keep(stream, next), nil
}

// extend folds the events after a, up to revision upto. It reads from the last
// event of a, which must still be there: errGap where it is another.
func (l *loop[S, C, E]) extend(ctx context.Context, stream string, a aggregate[S], upto eventstore.Revision) (aggregate[S], error) {
	follows := a.revision < 0 // what comes next comes after a
	owned := false            // a.commands may be appended to
	for r, err := range l.store.ReadStream(ctx, stream, max(a.revision, 0), eventstore.Forwards, 0) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			break
		}
		switch {
		case err != nil:
			return a, fmt.Errorf("read %s from %d: %w", stream, a.revision, err)
		case !follows && r.Revision == a.revision && r.ID == a.lastID:
			follows = true
			continue
		case r.Revision > upto:
			return a, nil
		case !follows || a.revision >= 0 && r.Revision != a.revision+1:
			return a, errGap
		}
		e, meta, err := l.decode(r)
		if err != nil {
			return a, err
		}
		if !owned {
			a.commands, owned = a.commands.clone(), true
		}
		a.state = l.decider.Evolve(a.state, e)
		a.revision, a.lastID = r.Revision, r.ID
		if meta.RecordedAt.After(a.recordedAt) {
			a.recordedAt = meta.RecordedAt
		}
		a.commands = a.commands.add(meta.CommandID, meta.Fingerprint, r.Revision)
	}
	if !follows {
		return a, errGap
	}
	return a, nil
}
