package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

const (
	// maxBatch is how many events go into one append; together they are never
	// more than one append may be.
	maxBatch = 500
	// Patience with a store that does not answer, or not now, and the pauses
	// between attempts.
	patience     = time.Minute
	firstPause   = 20 * time.Millisecond
	longestPause = 2 * time.Second
)

// ImportOptions of an import. The zero value works.
type ImportOptions struct {
	Progress Progress      // nil: nobody hears
	Patience time.Duration // with a store that does not answer; 0: a minute
}

// Imported says what an import did.
type Imported struct {
	Log     eventstore.LogIdentity // the target's
	Head    eventstore.Position    // its last event that was compared; Start: none
	There   int64                  // events that were there from before
	Written int64
	Streams int64
}

// ErrDifferent: the target has something else than the file.
var ErrDifferent = errors.New("the target differs from the file")

// DifferentError says where. It matches ErrDifferent.
type DifferentError struct {
	Stream string
	Line   int64 // of the file; 0: the file says nothing of it
	Reason string
}

func (e *DifferentError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("stream %s of the target: %s", e.Stream, e.Reason)
	}
	return fmt.Sprintf("stream %s of the target, line %d of the file: %s", e.Stream, e.Line, e.Reason)
}

// Is makes errors.Is(err, ErrDifferent) hold.
func (e *DifferentError) Is(target error) bool { return target == ErrDifferent }

// Import appends the events of the file to the store, one append after the
// other, in the order of the file; each expects its stream to be where the file
// says, and gives the events the ids that they had. Neighbouring events of one
// stream go together.
//
// What the store has in the categories of the file must be the beginning of the
// file: it is compared first, nothing of it is written again, and so an import
// that was ended goes on. Anything else there is a *DifferentError, and so is
// whatever others write to these streams meanwhile. Other categories are left
// alone. At the end everything is read back and compared with the file.
func (f *File) Import(ctx context.Context, store eventstore.Store, o ImportOptions) (done Imported, err error) {
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.Patience == 0 {
		o.Patience = patience
	}
	if done.Log, err = store.Log(ctx); err != nil {
		return done, fmt.Errorf("identify the log of the target: %w", err)
	}
	done.Streams = f.Streams
	next, stop := iter.Pull2(f.read().entries(ctx))
	defer stop()
	if done.There, done.Head, err = f.compare(ctx, store, next, "comparing events", o.Progress); err != nil {
		return done, err
	}
	w := &appender{store: store, patience: o.Patience}
	for {
		e, err, ok := next()
		if err == nil && (!ok || !w.takes(e.Record)) {
			err = w.flush(ctx)
			o.Progress("importing events", done.There+w.written, f.Events)
			done.Written = w.written
		}
		if err != nil {
			return done, err
		}
		if !ok {
			break
		}
		w.add(e)
	}
	again, stop := iter.Pull2(f.read().entries(ctx))
	defer stop()
	var n int64
	if n, done.Head, err = f.compare(ctx, store, again, "verifying events", o.Progress); err != nil {
		return done, fmt.Errorf("verify: %w", err)
	}
	if _, err, more := again(); more {
		return done, fmt.Errorf("verify: the target has %d events of %d: %w", n, f.Events, errors.Join(ErrDifferent, err))
	}
	return done, nil
}

// compare reads what the store has in the categories of the file, and takes as
// many events off next, which must be the same. It answers how many, and the
// position of the last.
func (f *File) compare(ctx context.Context, store eventstore.Store, next func() (entry, error, bool), phase string, progress Progress) (n int64, head eventstore.Position, err error) {
	for rec, err := range store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, filterFor(f.prefixes), 0) {
		if err != nil {
			return n, head, fmt.Errorf("read the target: %w", err)
		}
		if subject, ok := metadataOf(rec.Stream); ok {
			if reason := f.hides(subject, rec); reason != "" {
				return n, head, &DifferentError{Stream: subject, Reason: reason}
			}
			continue
		}
		if !Carries(rec.Stream) || !f.prefixes[prefixOf(rec.Stream)] {
			continue
		}
		if _, ours := f.last[rec.Stream]; !ours {
			return n, head, &DifferentError{Stream: rec.Stream, Reason: "the file does not have it; import into a store without streams of this category"}
		}
		e, err, ok := next()
		switch {
		case err != nil:
			return n, head, err
		case !ok:
			return n, head, &DifferentError{Stream: rec.Stream, Reason: fmt.Sprintf("it has revision %d after everything that is in the file: somebody has written to it", rec.Revision)}
		}
		if reason := differs(e.Record, rec); reason != "" {
			return n, head, &DifferentError{rec.Stream, e.line, reason}
		}
		head = rec.Position
		if n++; n%told == 0 {
			progress(phase, n, f.Events)
		}
	}
	if n > 0 {
		progress(phase, n, f.Events)
	}
	return n, head, nil
}

// hides says what metadata of a stream of the file would hide of it.
func (f *File) hides(stream string, rec eventstore.Record) string {
	var md eventstore.StreamMetadata
	if _, ours := f.last[stream]; !ours || !rec.JSON || md.UnmarshalJSON(rec.Data) != nil {
		return ""
	}
	if md.TruncateBefore > 0 || md.MaxCount > 0 || md.MaxAge > 0 {
		return "its metadata hides events, or did before it was changed"
	}
	return ""
}

// differs says what of a record is not as in the file. Positions and the store's
// own clock are.
func differs(want, got eventstore.Record) string {
	switch {
	case want.Stream != got.Stream:
		return fmt.Sprintf("revision %d is where the file has revision %d of stream %s", got.Revision, want.Revision, want.Stream)
	case want.Revision != got.Revision:
		return fmt.Sprintf("revision %d is where the file has revision %d", got.Revision, want.Revision)
	case want.ID != got.ID:
		return fmt.Sprintf("revision %d is event %s, and %s in the file", got.Revision, got.ID, want.ID)
	case want.Type != got.Type:
		return fmt.Sprintf("revision %d is a %s, and a %s in the file", got.Revision, got.Type, want.Type)
	case want.JSON != got.JSON:
		return fmt.Sprintf("revision %d is marked as JSON: %t, and %t in the file", got.Revision, got.JSON, want.JSON)
	case !bytes.Equal(want.Data, got.Data):
		return fmt.Sprintf("revision %d has other data", got.Revision)
	case !bytes.Equal(want.Metadata, got.Metadata):
		return fmt.Sprintf("revision %d has other metadata", got.Revision)
	}
	return ""
}

// appender gathers neighbouring events of one stream, and appends them.
type appender struct {
	store    eventstore.Store
	patience time.Duration
	written  int64

	batch []eventstore.Event
	size  int
	last  entry // of the batch
}

// takes reports whether the batch may grow by this event.
func (w *appender) takes(rec eventstore.Record) bool {
	return len(w.batch) == 0 || len(w.batch) < maxBatch && rec.Stream == w.last.Stream &&
		w.size+eventstore.AppendSize([]eventstore.Event{rec.Event}) <= eventstore.MaxAppendSize
}

func (w *appender) add(e entry) {
	w.batch = append(w.batch, e.Event)
	w.size += eventstore.AppendSize([]eventstore.Event{e.Event})
	w.last = e
}

// flush appends the batch. An append whose outcome is unknown is repeated as it
// is: its ids and what it expects tell the store that it was there.
func (w *appender) flush(ctx context.Context) error {
	if len(w.batch) == 0 {
		return nil
	}
	first := w.last.Revision - eventstore.Revision(len(w.batch)-1)
	begun, pause := time.Now(), firstPause
	for {
		out, err := w.store.Append(ctx, w.last.Stream, eventstore.At(first-1), w.batch)
		switch {
		case err == nil && out.Revision != w.last.Revision:
			return &DifferentError{w.last.Stream, w.last.line, fmt.Sprintf("revision %d became %d: the stream was deleted before", w.last.Revision, out.Revision)}
		case err == nil:
			w.written += int64(len(w.batch))
			// Not the old array: an append that was given up may still read it.
			w.batch, w.size = nil, 0
			return nil
		case errors.Is(err, eventstore.ErrConflict) || errors.Is(err, eventstore.ErrDeleted):
			return &DifferentError{w.last.Stream, w.last.line, fmt.Sprintf("it does not take the events: %v", err)}
		case !errors.Is(err, eventstore.ErrOutcomeUnknown) && !errors.Is(err, eventstore.ErrOverloaded) && !errors.Is(err, eventstore.ErrUnavailable),
			ctx.Err() != nil, time.Since(begun) > w.patience:
			return fmt.Errorf("append to %s from line %d of the file on: %w (the same import goes on from here)", w.last.Stream, w.last.line-int64(len(w.batch)-1), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}
