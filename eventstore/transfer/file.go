package transfer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
)

// maxLine bounds the lines of a file: an event is at most 1 MiB, a third more in
// base64, and has a name.
const maxLine = 4 << 20

// ErrNotAnExport: the file is not what an export wrote, or not all of it.
var ErrNotAnExport = errors.New("this is not a whole export")

// LineError says where a file is wrong. It matches ErrNotAnExport and Err.
type LineError struct {
	Line int64 // the first is 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap makes errors.Is(err, ErrNotAnExport) hold, too.
func (e *LineError) Unwrap() []error { return []error{ErrNotAnExport, e.Err} }

// File is an export that was read once, and found to be what was written. It is
// used by one goroutine.
type File struct {
	Log       eventstore.LogIdentity // that it was made from
	Head      eventstore.Position
	Namespace eventstore.Namespace
	Without   []string
	Events    int64
	Streams   int64

	source   io.ReadSeeker
	size     int64
	sum      string
	last     map[string]eventstore.Revision
	prefixes map[string]bool
}

// OpenOptions of Open. The zero value works.
type OpenOptions struct {
	// Check, when not nil, refuses events that the reader of the target would not
	// understand.
	Check    func(eventstore.Record) error
	Progress Progress // nil: nobody hears
}

// Open reads a file from its beginning to its end and checks everything that can
// be checked without a store: the checksum, the counts, that each event can be
// appended, and that the revisions of each stream are 0, 1, 2 ... What is wrong
// is a *LineError. source stays the caller's to close, after the last use of the
// file.
func Open(ctx context.Context, source io.ReadSeeker, o OpenOptions) (*File, error) {
	size, err := source.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("read the file: %w", err)
	}
	f := &File{source: source, size: size, last: map[string]eventstore.Revision{}, prefixes: map[string]bool{}}
	r := f.read()
	for e, err := range r.entries(ctx) {
		if err == nil {
			err = f.admit(e.Record, o.Check)
			if err != nil {
				err = &LineError{e.line, err}
			}
		}
		if err != nil {
			return nil, err
		}
		if f.Events++; f.Events%told == 0 && o.Progress != nil {
			o.Progress("checking bytes", r.bytes, size)
		}
	}
	h := r.header
	f.Log = eventstore.LogIdentity{ID: h.Log, Epoch: h.Epoch}
	f.Head, f.Namespace, f.Without = h.Head, h.Namespace, h.Without
	f.Streams, f.sum = int64(len(f.last)), r.ending.SHA256
	if r.ending.Streams != f.Streams {
		return nil, &LineError{r.line, fmt.Errorf("the file says that it has %d streams, and has %d", r.ending.Streams, f.Streams)}
	}
	if o.Progress != nil {
		o.Progress("checking bytes", size, size)
	}
	return f, nil
}

// admit checks an event against those before it.
func (f *File) admit(rec eventstore.Record, check func(eventstore.Record) error) error {
	last, known := f.last[rec.Stream]
	if !known {
		last = -1
	}
	switch size := eventstore.AppendSize([]eventstore.Event{rec.Event}); {
	case rec.Stream == "" || rec.Type == "" || rec.ID == uuid.Nil:
		return errors.New("an event needs a stream, a type and an id")
	case !Carries(rec.Stream):
		return fmt.Errorf("the stream %.200q belongs to its store and is not carried", rec.Stream)
	case rec.Type == eventstore.TypeStreamDeleted:
		return fmt.Errorf("an event of the type %s ends a stream, and is not carried", rec.Type)
	case rec.Revision != last+1:
		return fmt.Errorf("revision %d of the stream %.200q is here, and %d must come", rec.Revision, rec.Stream, last+1)
	case size > eventstore.MaxAppendSize:
		return fmt.Errorf("the event has %d bytes: %w", size, eventstore.ErrTooLarge)
	}
	if check != nil {
		if err := check(rec); err != nil {
			return fmt.Errorf("revision %d of the stream %.200q: %w", rec.Revision, rec.Stream, err)
		}
	}
	if !known {
		f.prefixes[prefixOf(rec.Stream)] = true
	}
	f.last[rec.Stream] = rec.Revision
	return nil
}

// entry is an event of the file.
type entry struct {
	eventstore.Record
	line int64
}

// reader goes through a file once.
type reader struct {
	file   *File
	header header
	ending ending
	line   int64 // that was read last
	bytes  int64 // up to its end
	in     *bufio.Reader
	hash   hash.Hash
	long   []byte // a line that is longer than the buffer of in
}

func (f *File) read() *reader {
	return &reader{file: f, hash: sha256.New()}
}

// entries are the events of the file, in order. After an error nothing comes.
// When it ends without one, the checksum and the count were right.
func (r *reader) entries(ctx context.Context) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		fail := func(err error) { yield(entry{}, &LineError{r.line, err}) }
		if _, err := r.file.source.Seek(0, io.SeekStart); err != nil {
			yield(entry{}, fmt.Errorf("read the file: %w", err))
			return
		}
		r.in = bufio.NewReaderSize(r.file.source, 1<<18)
		if err := r.begin(); err != nil {
			fail(err)
			return
		}
		for events := int64(0); ; events++ {
			line, err := r.next()
			if err == nil && ctx.Err() != nil {
				yield(entry{}, ctx.Err())
				return
			}
			if err == nil && bytes.HasPrefix(line, []byte(endBegins)) {
				err = r.end(line, events)
				if err == nil {
					return
				}
			}
			if err != nil {
				fail(err)
				return
			}
			r.hashed(line)
			rec, err := parseRecord(line)
			if err != nil {
				fail(err)
				return
			}
			if !yield(entry{rec, r.line}, nil) {
				return
			}
		}
	}
}

// begin reads the first line.
func (r *reader) begin() error {
	line, err := r.next()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte(headerBegins)) {
		return fmt.Errorf("a file that begins with %s was wanted, as docket eventstore export writes it", headerBegins)
	}
	// The version first: a newer format may have other members.
	if err := json.Unmarshal(line, &r.header); r.header.Version != formatVersion {
		return errors.Join(fmt.Errorf("the file has format %d, and this docket knows %d", r.header.Version, formatVersion), err)
	}
	if err := json.Unmarshal(line, &r.header, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	r.hashed(line)
	return nil
}

// end checks what the last line says of all others.
func (r *reader) end(line []byte, events int64) error {
	if err := json.Unmarshal(line, &r.ending, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	sum := hex.EncodeToString(r.hash.Sum(nil))
	switch {
	case r.ending.Events != events:
		return fmt.Errorf("the file says that it has %d events, and has %d", r.ending.Events, events)
	case r.ending.SHA256 != sum:
		return fmt.Errorf("the checksum of what was written is %.64s, and what is here has %s", r.ending.SHA256, sum)
	case r.file.sum != "" && r.file.sum != sum:
		return errors.New("the file has changed while it was imported")
	}
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("something follows the last line"), err)
	}
	return nil
}

func (r *reader) hashed(line []byte) {
	r.hash.Write(line)
	r.hash.Write([]byte{'\n'})
}

// next is the next line without its line feed; it is valid until the next call.
func (r *reader) next() ([]byte, error) {
	r.line++
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		r.long = append(r.long[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			if len(r.long) > maxLine {
				return nil, fmt.Errorf("the line is longer than %d bytes", maxLine)
			}
			line, err = r.in.ReadSlice('\n')
			r.long = append(r.long, line...)
		}
		line = r.long
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the file ends here, without its last line: it was cut off, or the export did not end")
	case err != nil:
		return nil, fmt.Errorf("read the file: %w", err)
	}
	r.bytes += int64(len(line))
	return line[:len(line)-1], nil
}
