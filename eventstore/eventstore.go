// Package eventstore is the port to an event store: named streams of events
// with zero-based revisions inside one totally ordered log.
//
// It promises what every adapter keeps and eventstoretest checks: an append is
// atomic, durable when it returns, and refused with ErrConflict unless the
// stream stands where the caller said; the same events appended again under
// the same expectation have one effect; a read or a subscription delivers in
// log order without gap or repeat. It knows nothing of orders. The write side
// (command), the projections and the audit call it; only adapters implement
// it. The semantics are those that EventStoreDB's clients observe.
package eventstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Store is an event store. All methods may be called from many goroutines.
type Store interface {
	// Append writes events to the end of stream, all or none, with contiguous
	// revisions, and returns once they are durable. It fails with
	//   - ErrConflict (a *ConflictError) when the stream is not where expected
	//     says;
	//   - ErrDeleted when the stream was tombstoned, or was soft-deleted and
	//     expected is StreamExists;
	//   - ErrTooLarge when the events exceed MaxAppendSize;
	//   - ErrOverloaded when the queue is full: nothing was written;
	//   - ErrUnavailable when the store could not be reached: nothing was
	//     written;
	//   - ErrOutcomeUnknown when the events may or may not have been written:
	//     append again with the same event ids and the same expectation.
	//
	// An append that repeats events already in the stream (same ids, same
	// order, same explicit expectation) writes nothing and returns the first
	// outcome, with Repeated set by a store that can tell. With Any or StreamExists a repeat is
	// recognised only for a while (best effort). With an exact expectation
	// equal to the current revision ids are not compared.
	Append(ctx context.Context, stream string, expected Expected, events []Event) (Appended, error)

	// ReadStream delivers visible events of one stream, beginning with
	// revision from (inclusive) in direction dir, at most limit (0: no limit).
	// Backwards from a revision past the end begins with the last event;
	// forwards from there is empty. A stream that does not exist or is
	// soft-deleted yields ErrStreamNotFound; a tombstoned one ErrDeleted; one
	// whose events are all truncated is empty. Every record is verified;
	// damage yields ErrCorrupt, never another event.
	ReadStream(ctx context.Context, stream string, from Revision, dir Direction, limit int) iter.Seq2[Record, error]

	// ReadAll delivers the log: forwards the records at or after from,
	// backwards those strictly before it (End: from the end), at most limit
	// (0: no limit), only those that filter matches. Events of soft-deleted
	// and truncated streams may still be delivered.
	ReadAll(ctx context.Context, from Position, dir Direction, filter Filter, limit int) iter.Seq2[Record, error]

	// Subscribe delivers every matching record strictly after from (Start: all
	// of the log), first what is there, then what comes. See Subscription.
	Subscribe(ctx context.Context, from Position, filter Filter) (Subscription, error)

	// Head is the position of the last record of the log; Start when empty.
	Head(ctx context.Context) (Position, error)

	// StreamMetadata returns the stream's metadata and the revision of its
	// metadata stream, which SetStreamMetadata takes as expectation; a stream
	// without metadata answers the zero value and NoStream.
	StreamMetadata(ctx context.Context, stream string) (StreamMetadata, Expected, error)

	// SetStreamMetadata replaces the metadata, under the same rules as Append.
	SetStreamMetadata(ctx context.Context, stream string, expected Expected, md StreamMetadata) (Appended, error)

	// Delete hides the stream's events (soft delete): the stream may be
	// written again and its revisions go on. Tombstone ends the stream for
	// good. Both fail with ErrConflict or ErrDeleted as Append does.
	Delete(ctx context.Context, stream string, expected Expected) (Position, error)
	Tombstone(ctx context.Context, stream string, expected Expected) (Position, error)

	// Log identifies the log and its epoch. A restore raises the epoch.
	Log(ctx context.Context) (LogIdentity, error)

	// Close waits for accepted appends and releases the store.
	Close() error
}

// Sequencer is a Store with a single writer, which can let the caller finish
// the events at the moment they get their place in the log. Positions are one
// number, and those of the events of one append follow each other.
type Sequencer interface {
	Store
	// AppendStamped is Append, except that the writer calls stamp with the
	// events before it places them. Calls of stamp never overlap, and their
	// order is that of the log: a clock read in them never runs against the
	// positions. stamp may overwrite bytes of Metadata, not change lengths, and
	// must not block. It is called at most once; its effects are visible to the
	// caller when AppendStamped returns, unless the outcome is unknown: then
	// events and what stamp touches are left to the store for good.
	AppendStamped(ctx context.Context, stream string, expected Expected, events []Event, stamp func([]Event)) (Appended, error)

	// Sequence calls stamp at a place of its own among the calls of
	// AppendStamped, under the same rules, writes nothing, and returns when
	// everything that was placed before it is readable. It fails as
	// AppendStamped does.
	Sequence(ctx context.Context, stamp func()) error
}

// MaxAppendSize bounds one append in bytes: data, metadata and twice the type
// name of every event (EventStoreDB's default).
const MaxAppendSize = 1 << 20

// AppendSize is what MaxAppendSize bounds.
func AppendSize(events []Event) (bytes int) {
	for _, e := range events {
		bytes += len(e.Data) + len(e.Metadata) + 2*len(e.Type)
	}
	return bytes
}

// Revision is the zero-based number of an event within its stream.
type Revision int64

// EndRevision is past every event: read backwards from it.
const EndRevision Revision = 1<<63 - 1

// Expected says where a stream must stand for an append: a Revision of its last
// event (0 or more), or one of NoStream, Any, StreamExists.
type Expected int64

const (
	NoStream     Expected = -1
	Any          Expected = -2
	StreamExists Expected = -4
)

// At expects r to be the revision of the stream's last event.
func At(r Revision) Expected { return Expected(r) }

// String names the expectation as EventStoreDB does.
func (e Expected) String() string {
	switch e {
	case NoStream:
		return "no_stream"
	case Any:
		return "any"
	case StreamExists:
		return "stream_exists"
	}
	return strconv.FormatInt(int64(e), 10)
}

// Direction of a read.
type Direction bool

const (
	Forwards  Direction = false
	Backwards Direction = true
)

// Position is a place in the log, totally ordered. Stores with one number keep
// Commit and Prepare equal. The first event's position is above Start.
type Position struct{ Commit, Prepare uint64 }

var (
	// Start is before every record.
	Start = Position{}
	// End is after every record.
	End = Position{Commit: 1<<64 - 1, Prepare: 1<<64 - 1}
)

// At64 is the position of a store whose positions are one number.
func At64(n uint64) Position { return Position{Commit: n, Prepare: n} }

// Compare orders positions: negative when p is before q.
func (p Position) Compare(q Position) int {
	switch {
	case p.Commit != q.Commit:
		if p.Commit < q.Commit {
			return -1
		}
		return 1
	case p.Prepare < q.Prepare:
		return -1
	case p.Prepare > q.Prepare:
		return 1
	}
	return 0
}

// Before reports whether p comes before q.
func (p Position) Before(q Position) bool { return p.Compare(q) < 0 }

// String is the commit position, followed by "/" and the prepare position
// where they differ.
func (p Position) String() string {
	if p.Commit == p.Prepare {
		return strconv.FormatUint(p.Commit, 10)
	}
	return fmt.Sprintf("%d/%d", p.Commit, p.Prepare)
}

// MarshalText writes String.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what String wrote.
func (p *Position) UnmarshalText(text []byte) error {
	commit, prepare, two := strings.Cut(string(text), "/")
	c, err := strconv.ParseUint(commit, 10, 64)
	if err != nil {
		return fmt.Errorf("position %q is not a number", text)
	}
	*p = At64(c)
	if two {
		if p.Prepare, err = strconv.ParseUint(prepare, 10, 64); err != nil {
			return fmt.Errorf("position %q is not commit/prepare", text)
		}
	}
	return nil
}

// Event is what a caller appends.
type Event struct {
	ID       uuid.UUID // identity for idempotent appends; never nil
	Type     string    // for example "OrderPlaced"; never empty
	JSON     bool      // Data is JSON; otherwise opaque bytes
	Data     []byte
	Metadata []byte // JSON, or empty
}

// Record is an event as stored.
type Record struct {
	Event
	Stream   string
	Revision Revision
	Position Position
	Created  time.Time // the store's own clock, for people; not for as-of
}

// Appended is the outcome of an append.
type Appended struct {
	Revision Revision // of the last event given
	// Position of that event; Start when it is no longer readable.
	Position Position
	// Repeated: the events were already there, nothing was written. EventStoreDB
	// does not say so, and its adapter never sets it: who appends there gives
	// events of other content other ids.
	Repeated bool
}

// Filter selects records of a log read by prefixes of their stream name; the
// zero value selects every record.
type Filter struct {
	Prefixes []string
}

// Matches reports whether records of stream are selected.
func (f Filter) Matches(stream string) bool {
	if len(f.Prefixes) == 0 {
		return true
	}
	for _, p := range f.Prefixes {
		if strings.HasPrefix(stream, p) {
			return true
		}
	}
	return false
}

// Subscription delivers the log as it grows. It is used by one goroutine.
type Subscription interface {
	// Next blocks for the next notice, in log order. When ctx ends or the
	// subscription breaks it returns an error, and the caller subscribes again
	// from the position of the last notice.
	Next(ctx context.Context) (Notice, error)
	Close() error
}

// Notice is one delivery of a subscription: a record, or a mark without one.
type Notice struct {
	Kind   NoticeKind
	Record Record // for Delivered
	// Position up to which everything that matches was delivered: the record's
	// own, or for a Checkpoint one that may lie on a filtered-out record. A
	// CaughtUp notice repeats the last one known.
	Position Position
}

// NoticeKind tells what a notice means.
type NoticeKind uint8

const (
	Delivered  NoticeKind = iota // Record is the next matching record
	Checkpoint                   // nothing matched up to Position
	CaughtUp                     // everything that was there is delivered; live from here
)

// StreamMetadata governs which events of a stream are visible.
type StreamMetadata struct {
	MaxCount       int64         // only the last N events; 0: no limit
	MaxAge         time.Duration // only younger events, whole seconds; 0: no limit
	TruncateBefore Revision      // events below are hidden; EndRevision: soft-deleted
	// Custom holds every other key as it was written.
	Custom map[string]any
}

// LogIdentity names a log. Tokens, cursors and checkpoints carry it.
type LogIdentity struct {
	ID    uuid.UUID
	Epoch uint32 // starts at 1, raised by a restore
}

var (
	// ErrConflict: the stream is not where the append expected it.
	ErrConflict = errors.New("stream is at another revision")
	// ErrOutcomeUnknown: the append may or may not have happened.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrDeleted: the stream was deleted.
	ErrDeleted = errors.New("stream is deleted")
	// ErrStreamNotFound: the stream has never been written or is soft-deleted.
	ErrStreamNotFound = errors.New("stream not found")
	// ErrCorrupt: what is stored is not what was written.
	ErrCorrupt = errors.New("stored data is damaged")
	// ErrOverloaded: nothing was written, try later.
	ErrOverloaded = errors.New("store is overloaded")
	// ErrUnavailable: the store does not answer; nothing was written.
	ErrUnavailable = errors.New("store does not answer")
	// ErrTooLarge: the append exceeds MaxAppendSize.
	ErrTooLarge = errors.New("append is larger than 1 MiB")
	// ErrReadOnly: the store refuses writes until an operator has acted; the
	// error's text says why and what to do.
	ErrReadOnly = errors.New("store does not accept writes")
)

// ConflictError says where the stream stands. It matches ErrConflict.
type ConflictError struct {
	Stream   string
	Expected Expected
	Current  Expected // the last revision, or NoStream
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("stream %s: expected %s but it is at %s", e.Stream, e.Expected, e.Current)
}

// Is makes errors.Is(err, ErrConflict) hold.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }
