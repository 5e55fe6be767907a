package transfer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/docket-orders/docket/eventstore"
)

// ExportOptions of an export. The zero value works.
type ExportOptions struct {
	// Namespace, when not empty, is the only one that is exported.
	Namespace eventstore.Namespace
	// Without names streams that are left out; a name that ends with * stands
	// for all that begin so.
	Without  []string
	Progress Progress         // nil: nobody hears
	Now      func() time.Time // nil: time.Now
}

// Exported says what is in the file.
type Exported struct {
	Log     eventstore.LogIdentity
	Head    eventstore.Position
	Events  int64
	Streams int64
	Bytes   int64
	SHA256  string // of all lines but the last, in hexadecimal
}

// maxRefused bounds how many refused streams are told by name.
const maxRefused = 100

// RefusedError: streams that cannot be carried. Nothing was written.
type RefusedError struct {
	Streams []RefusedStream // at most 100
	More    int64           // that are not told
}

// RefusedStream is one of them.
type RefusedStream struct {
	Stream string `json:"stream"`
	Reason string `json:"reason"`
}

func (e *RefusedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d streams cannot be carried, and nothing was written; leave them out with --without STREAM, if that is meant:", int64(len(e.Streams))+e.More)
	for _, s := range e.Streams {
		fmt.Fprintf(&b, "\n  %s: %s", s.Stream, s.Reason)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\n  and %d more", e.More)
	}
	return b.String()
}

func (e *RefusedError) add(stream, reason string) {
	if len(e.Streams) == maxRefused {
		e.More++
		return
	}
	e.Streams = append(e.Streams, RefusedStream{stream, reason})
}

// Export writes the events of the log to w, as it is at the call; others may
// write to the log meanwhile. The log is read twice, and the first time nothing
// is written: streams of which it does not show everything (truncated, deleted,
// ended) or which no store would take are a *RefusedError.
func Export(ctx context.Context, store eventstore.Store, w io.Writer, o ExportOptions) (Exported, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	log, err := store.Log(ctx)
	if err != nil {
		return Exported{}, fmt.Errorf("identify the log: %w", err)
	}
	head, err := store.Head(ctx)
	if err != nil {
		return Exported{}, fmt.Errorf("find the end of the log: %w", err)
	}
	x := &exporter{ExportOptions: o, store: store, head: head, last: map[string]eventstore.Revision{}, left: map[string]bool{}}
	if err := x.check(ctx); err != nil {
		return Exported{}, err
	}
	hash := sha256.New()
	counted := &counter{w: io.MultiWriter(w, hash)}
	out := bufio.NewWriterSize(counted, 1<<20)
	if err := x.write(ctx, out, header{formatVersion, log.ID, log.Epoch, head, o.Namespace, o.Without, o.Now().UTC()}); err != nil {
		return Exported{}, err
	}
	e := ending{End: true, Events: x.events, Streams: int64(len(x.last)), SHA256: hex.EncodeToString(hash.Sum(nil))}
	if err := errors.Join(x.line(out, e), out.Flush()); err != nil {
		return Exported{}, fmt.Errorf("write the export: %w", err)
	}
	return Exported{Log: log, Head: head, Events: e.Events, Streams: e.Streams, Bytes: counted.n, SHA256: e.SHA256}, nil
}

type exporter struct {
	ExportOptions
	store  eventstore.Store
	head   eventstore.Position
	last   map[string]eventstore.Revision // of the streams that are carried
	left   map[string]bool                // what of Without stands for a stream
	events int64
}

// records are those of the log that go into the file, up to the head.
func (x *exporter) records(ctx context.Context, visit func(eventstore.Record) error) error {
	// A store that reads on while others write need not stop at the head.
	for rec, err := range x.store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if x.head.Before(rec.Position) {
			return nil
		}
		if err := visit(rec); err != nil {
			return err
		}
	}
	return nil
}

// wants reports whether a stream was asked for.
func (x *exporter) wants(stream string) bool {
	if !Carries(stream) || x.Namespace != "" && !strings.HasPrefix(stream, string(x.Namespace)+".") {
		return false
	}
	for _, name := range x.Without {
		begins, all := strings.CutSuffix(name, "*")
		if name == stream || all && strings.HasPrefix(stream, begins) {
			x.left[name] = true
			return false
		}
	}
	return true
}

// check goes through the log without writing anything, and knows all streams
// afterwards.
func (x *exporter) check(ctx context.Context) error {
	refused := &RefusedError{}
	why := map[string]string{}    // streams that are refused
	governed := map[string]bool{} // streams with metadata, which may hide events
	examined := int64(0)
	err := x.records(ctx, func(rec eventstore.Record) error {
		if examined++; examined%told == 0 {
			x.Progress("checking events", examined, 0)
		}
		if subject, ok := metadataOf(rec.Stream); ok {
			if x.wants(subject) {
				governed[subject] = true
			}
			return nil
		}
		if !x.wants(rec.Stream) || why[rec.Stream] != "" {
			return nil
		}
		last, known := x.last[rec.Stream]
		if !known {
			last = -1
		}
		if reason := wrong(rec, last); reason != "" {
			why[rec.Stream] = reason
			refused.add(rec.Stream, reason)
		}
		x.last[rec.Stream] = rec.Revision
		x.events++
		return nil
	})
	if err != nil {
		return err
	}
	for subject := range governed {
		if _, known := x.last[subject]; !known || why[subject] != "" {
			continue
		}
		reason, err := x.hidden(ctx, subject)
		if err != nil {
			return err
		}
		if reason != "" {
			refused.add(subject, reason)
		}
	}
	if len(refused.Streams) > 0 {
		slices.SortFunc(refused.Streams, func(a, b RefusedStream) int { return strings.Compare(a.Stream, b.Stream) })
		return refused
	}
	for _, name := range x.Without {
		if !x.left[name] {
			return fmt.Errorf("there is no stream %s to leave out", name)
		}
	}
	x.Progress("checking events", examined, examined)
	return nil
}

// wrong says why an event cannot be carried; last is the one before it.
func wrong(rec eventstore.Record, last eventstore.Revision) string {
	switch {
	case rec.Type == eventstore.TypeStreamDeleted:
		return "it was ended for good (tombstone)"
	case last < 0 && rec.Revision > 0:
		return fmt.Sprintf("its beginning was truncated: it begins with revision %d", rec.Revision)
	case rec.Revision != last+1:
		return fmt.Sprintf("revision %d follows %d", rec.Revision, last)
	case !utf8.ValidString(rec.Stream) || !utf8.ValidString(rec.Type):
		return fmt.Sprintf("its name, or the type of revision %d, is not UTF-8", rec.Revision)
	case eventstore.AppendSize([]eventstore.Event{rec.Event}) > eventstore.MaxAppendSize:
		return fmt.Sprintf("revision %d is larger than one append may be", rec.Revision)
	}
	return ""
}

// hidden says what a stream with metadata does not show, though the log has it.
func (x *exporter) hidden(ctx context.Context, stream string) (string, error) {
	for rec, err := range x.store.ReadStream(ctx, stream, 0, eventstore.Forwards, 1) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound):
			return "it is deleted (soft delete)", nil
		case errors.Is(err, eventstore.ErrDeleted):
			return "it was ended for good (tombstone)", nil
		case err != nil:
			return "", fmt.Errorf("read stream %s: %w", stream, err)
		case rec.Revision > 0:
			return fmt.Sprintf("its beginning was truncated: it begins with revision %d", rec.Revision), nil
		}
		return "", nil
	}
	return "all its events are truncated", nil
}

// write writes all lines but the last, through to the end.
func (x *exporter) write(ctx context.Context, out *bufio.Writer, h header) error {
	if err := x.line(out, h); err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	written, events, buf := int64(0), x.events, []byte(nil)
	err := x.records(ctx, func(rec eventstore.Record) (err error) {
		if !x.wants(rec.Stream) {
			return nil
		}
		if buf, err = appendRecord(buf[:0], rec); err != nil {
			return fmt.Errorf("stream %s: %w", rec.Stream, err)
		}
		if _, err := out.Write(buf); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		if written++; written%told == 0 {
			x.Progress("exporting events", written, events)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if written != events {
		return fmt.Errorf("the log has changed while it was read: %d events at first, then %d; export it again", events, written)
	}
	x.Progress("exporting events", written, events)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	return nil
}

func (x *exporter) line(out io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = out.Write(append(text, '\n'))
	return err
}

// told: progress is told every so many events.
const told = 1 << 12

// counter counts what goes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
