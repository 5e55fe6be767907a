// Package spill keeps events in temporary files while they wait to be folded, so
// that memory does not grow with the log: records are dealt to files by their
// stream, and come back file by file, those of one stream together and in order.
//
// It promises nothing beyond the process: the files are of no use to another,
// and are never synced. Whoever makes a folder in a Place removes it, and sweeps
// away first what a crash left. projections builds generations with it,
// reconcile compares the log with the views.
package spill

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
)

const (
	// togetherBytes is what is handed over at once; a larger file is dealt out
	// once more.
	togetherBytes = 16 << 20
	// maxDepth bounds the dealing: the records of one stream never part.
	maxDepth = 5
)

// Files is how many files a Spill deals streams to.
const Files = 64

// Place is where the folders of one kind of work are: in Dir, their names
// beginning with Prefix.
type Place struct {
	Disk        disk.FS
	Dir, Prefix string
}

// Folder makes an empty one.
func (p Place) Folder() (string, error) {
	dir := filepath.Join(p.Dir, p.Prefix+rand.Text())
	if err := p.Disk.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("spill: %w", err)
	}
	return dir, nil
}

// Sweep removes all that are there; nobody may be at work in one.
func (p Place) Sweep() error {
	left, err := p.Disk.ReadDir(p.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spill: %w", err)
	}
	for _, e := range left {
		if strings.HasPrefix(e.Name(), p.Prefix) {
			if err := p.Disk.RemoveAll(filepath.Join(p.Dir, e.Name())); err != nil {
				return fmt.Errorf("remove what a crash left: %w", err)
			}
		}
	}
	return nil
}

// Spill deals records out to files by their stream, so that each file holds all
// records of its streams, in order, and can be folded on its own. It is used by
// one goroutine at a time.
type Spill struct {
	disk  disk.FS
	dir   string
	of    func(stream string) int // its file; nil: by hash
	depth int
	files [Files]disk.File
	w     [Files]*bufio.Writer
	sizes [Files]int64
	count [Files]int // of records
	buf   []byte
}

// New deals streams out by their hash. It makes the files in dir, a folder of its
// own that must be there, each with its first record.
func New(d disk.FS, dir string) *Spill { return &Spill{disk: d, dir: dir} }

// NewBy is New, but of says which file a stream is in, from 0 to Files-1.
func NewBy(d disk.FS, dir string, of func(stream string) int) *Spill {
	return &Spill{disk: d, dir: dir, of: of}
}

// Close closes what is still open; the files stay.
func (s *Spill) Close() {
	for _, f := range s.files {
		if f != nil {
			f.Close()
		}
	}
}

// Add writes one record to its file.
func (s *Spill) Add(r eventstore.Record) error {
	i := s.fileOf(r.Stream)
	if s.files[i] == nil {
		f, err := s.disk.OpenFile(filepath.Join(s.dir, strconv.Itoa(i)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("spill: %w", err)
		}
		s.files[i], s.w[i] = f, bufio.NewWriterSize(f, 32<<10)
	}
	s.buf = appendRecord(s.buf[:0], r)
	s.sizes[i] += int64(len(s.buf))
	s.count[i]++
	if _, err := s.w[i].Write(s.buf); err != nil {
		return fmt.Errorf("spill: %w", err)
	}
	return nil
}

func (s *Spill) fileOf(stream string) int {
	if s.of != nil {
		return s.of(stream)
	}
	h := fnv.New64a()
	io.WriteString(h, stream)
	return int(h.Sum64() >> (6 * s.depth) % Files)
}

// Each hands over the records of the files, small files together; those of one
// stream are in one hand, in the order in which they were added. A file is gone
// afterwards. When fold fails, Each ends with its error.
func (s *Spill) Each(fold func([]eventstore.Record) error) error {
	return s.EachFile(func(records []eventstore.Record, _ []int) error {
		if len(records) == 0 {
			return nil
		}
		return fold(records)
	})
}

// EachFile is Each, and says which files have nothing left after a hand. For one
// that was too large for a single hand there may be a hand without records.
func (s *Spill) EachFile(fold func(records []eventstore.Record, ended []int) error) error {
	var together []eventstore.Record
	var ended []int
	var size int64
	hand := func() error {
		if len(ended) == 0 {
			return nil
		}
		records, files := together, ended
		together, ended, size = nil, nil, 0
		return fold(records, files)
	}
	for i, f := range s.files {
		if f == nil {
			continue
		}
		if size+s.sizes[i] > togetherBytes {
			if err := hand(); err != nil {
				return err
			}
		}
		if err := s.w[i].Flush(); err != nil {
			return fmt.Errorf("spill: %w", err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("spill: %w", err)
		}
		var err error
		if s.sizes[i] > togetherBytes && s.depth+1 < maxDepth {
			err = s.deal(f, s.sizes[i], func(records []eventstore.Record) error { return fold(records, nil) })
		} else {
			size += s.sizes[i]
			together = slices.Grow(together, s.count[i])
			err = readRecords(f, s.sizes[i], func(r eventstore.Record) error {
				together = append(together, r)
				return nil
			})
		}
		if err != nil {
			return err
		}
		ended = append(ended, i)
		f.Close()
		s.files[i] = nil
		if err := s.disk.Remove(f.Name()); err != nil {
			return fmt.Errorf("spill: %w", err)
		}
	}
	return hand()
}

// deal deals one large file out to files of its own.
func (s *Spill) deal(f disk.File, size int64, fold func([]eventstore.Record) error) error {
	dir := f.Name() + ".d"
	if err := s.disk.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("spill: %w", err)
	}
	deeper := &Spill{disk: s.disk, dir: dir, depth: s.depth + 1}
	defer deeper.Close()
	if err := readRecords(f, size, deeper.Add); err != nil {
		return err
	}
	if err := deeper.Each(fold); err != nil {
		return err
	}
	return s.disk.Remove(dir)
}

func readRecords(f disk.File, size int64, each func(eventstore.Record) error) error {
	in := reader{Reader: bufio.NewReaderSize(f, int(min(size, 256<<10))), names: map[string]string{}}
	for {
		r, err := in.record()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("spill: read %s: %w", f.Name(), err)
		}
		if err := each(r); err != nil {
			return err
		}
	}
}

// A record in a file: revision and position, event id, then stream, type, data
// and metadata, each after its length.

func appendRecord(b []byte, r eventstore.Record) []byte {
	b = binary.AppendUvarint(b, uint64(r.Revision))
	b = binary.AppendUvarint(b, r.Position.Commit)
	b = binary.AppendUvarint(b, r.Position.Prepare)
	b = append(b, r.ID[:]...)
	b = appendPart(b, r.Stream)
	b = appendPart(b, r.Type)
	b = appendPart(b, r.Data)
	return appendPart(b, r.Metadata)
}

func appendPart[T string | []byte](b []byte, part T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(part))), part...)
}

// reader reads the records of one file. Their bytes lie together in blocks, and
// equal names are one string: many records, few allocations.
type reader struct {
	*bufio.Reader
	names map[string]string
	block []byte
	err   error // of the record that is being read
}

const blockBytes = 64 << 10

// record fails with io.EOF between two records only.
func (in *reader) record() (r eventstore.Record, err error) {
	if _, err := in.Peek(1); err != nil {
		return r, err
	}
	in.err = nil
	r.Revision = eventstore.Revision(in.number())
	r.Position = eventstore.Position{Commit: in.number(), Prepare: in.number()}
	in.fill(r.ID[:])
	r.Stream, r.Type = in.name(), in.name()
	r.Data, r.Metadata, r.JSON = in.bytes(), in.bytes(), true
	if errors.Is(in.err, io.EOF) {
		in.err = io.ErrUnexpectedEOF
	}
	return r, in.err
}

func (in *reader) number() (n uint64) {
	if in.err == nil {
		n, in.err = binary.ReadUvarint(in)
	}
	return n
}

func (in *reader) fill(b []byte) {
	if in.err == nil {
		_, in.err = io.ReadFull(in, b)
	}
}

func (in *reader) bytes() []byte {
	n := in.number()
	if in.err == nil && n > eventstore.MaxAppendSize {
		in.err = fmt.Errorf("a part of %d bytes", n)
	}
	if in.err != nil {
		return nil
	}
	if int(n) > len(in.block) {
		in.block = make([]byte, max(int(n), blockBytes))
	}
	b := in.block[:n:n]
	in.block = in.block[n:]
	in.fill(b)
	return b
}

// name leaves nothing in the block.
func (in *reader) name() string {
	before := in.block
	b := in.bytes()
	if len(before) >= len(b) {
		in.block = before
	}
	if name, known := in.names[string(b)]; known {
		return name
	}
	name := string(b)
	in.names[name] = name
	return name
}
