package sqlite

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
	"github.com/ncruces/go-sqlite3"
)

const eventColumns = `position, stream, revision, id, type, json, data, metadata, created, checksum`

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// row is one row of the events table as SQLite holds it: its byte slices are
// valid until the statement steps on.
type row struct {
	position, stream, revision int64
	id, typ, data, metadata    []byte
	json                       bool
	created                    int64
	checksum                   uint32
}

// scan reads the columns of eventColumns.
func (r *row) scan(stmt *sqlite3.Stmt) {
	r.position = stmt.ColumnInt64(0)
	r.stream = stmt.ColumnInt64(1)
	r.revision = stmt.ColumnInt64(2)
	r.id = stmt.ColumnRawBlob(3)
	r.typ = stmt.ColumnRawText(4)
	r.json = stmt.ColumnInt64(5) != 0
	r.data = stmt.ColumnRawBlob(6)
	r.metadata = stmt.ColumnRawBlob(7)
	r.created = stmt.ColumnInt64(8)
	r.checksum = uint32(stmt.ColumnInt64(9))
}

// sum is the CRC-32C over every column and the stream's name, each part that
// varies preceded by its length. buf is scratch space.
func (r *row) sum(streamName string, buf []byte) (uint32, []byte) {
	buf = buf[:0]
	buf = binary.LittleEndian.AppendUint64(buf, uint64(r.position))
	buf = binary.LittleEndian.AppendUint64(buf, uint64(r.stream))
	buf = binary.LittleEndian.AppendUint64(buf, uint64(r.revision))
	buf = binary.LittleEndian.AppendUint64(buf, uint64(r.created))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(streamName)))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(r.id)))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(r.typ)))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(r.data)))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(r.metadata)))
	if r.json {
		buf = append(buf, 1)
	} else {
		buf = append(buf, 0)
	}
	buf = append(buf, streamName...)
	buf = append(buf, r.id...)
	buf = append(buf, r.typ...)
	sum := crc32.Update(0, castagnoli, buf)
	sum = crc32.Update(sum, castagnoli, r.data)
	return crc32.Update(sum, castagnoli, r.metadata), buf
}

// verify compares the row with its checksum.
func (r *row) verify(streamName string, a *arena) error {
	var sum uint32
	sum, a.scratch = r.sum(streamName, a.scratch)
	if sum != r.checksum || len(r.id) != len(uuid.UUID{}) {
		return corrupt(uint64(r.position), "stream %q revision %d: checksum does not match", streamName, r.revision)
	}
	return nil
}

// record copies a verified row out of SQLite's memory.
func (r *row) record(streamName string, a *arena) eventstore.Record {
	rec := eventstore.Record{
		Event: eventstore.Event{
			Type:     a.typeName(r.typ),
			JSON:     r.json,
			Data:     a.copy(r.data),
			Metadata: a.copy(r.metadata),
		},
		Stream:   streamName,
		Revision: eventstore.Revision(r.revision),
		Position: eventstore.At64(uint64(r.position)),
		Created:  time.Unix(0, r.created).UTC(),
	}
	copy(rec.ID[:], r.id)
	return rec
}

// corrupt makes the error for damage found at a position of the log.
func corrupt(position uint64, format string, args ...any) error {
	return fmt.Errorf("%w: position %d: %s (run: docket eventstore verify)", eventstore.ErrCorrupt, position, fmt.Sprintf(format, args...))
}

// arena gives the records of one page their bytes out of few large blocks.
// A block lives as long as any record cut from it.
type arena struct {
	block   []byte
	scratch []byte
	types   map[string]string
}

const (
	arenaBlock = 64 << 10
	// maxTypeNames bounds the interned names of event types, and maxTypeName
	// their length in bytes.
	maxTypeNames = 1024
	maxTypeName  = 256
)

func (a *arena) copy(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if len(b) > arenaBlock/4 {
		return append([]byte(nil), b...)
	}
	if len(b) > cap(a.block)-len(a.block) {
		a.block = make([]byte, 0, arenaBlock)
	}
	n := len(a.block)
	a.block = append(a.block, b...)
	return a.block[n:len(a.block):len(a.block)]
}

func (a *arena) typeName(b []byte) string {
	if len(b) > maxTypeName {
		return string(b)
	}
	if s, ok := a.types[string(b)]; ok {
		return s
	}
	if a.types == nil || len(a.types) >= maxTypeNames {
		a.types = map[string]string{}
	}
	s := string(b)
	a.types[s] = s
	return s
}
