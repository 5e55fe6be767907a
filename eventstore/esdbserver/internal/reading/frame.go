package reading

import (
	"encoding/binary"
	"strconv"
	"strings"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that Codec is in front of
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// frame is a ReadResp as it goes over the wire. Any number of streams may send
// the same one.
type frame struct {
	bytes   mem.SliceBuffer
	buffers [1]mem.Buffer // bytes
}

func newFrame(b []byte) *frame {
	f := &frame{bytes: b}
	f.buffers[0] = &f.bytes
	return f
}

// Codec is the one of protocol buffers, which also sends what this package has
// encoded already. The server must be made with it.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return f.buffers[:], nil
	}
	return c.CodecV2.Marshal(v)
}

// The fields of the messages ReadResp, ReadEvent, RecordedEvent, UUID and
// StreamIdentifier. The messages are written by hand: the generated code needs
// a map and a dozen small objects for each event.
const (
	respEvent = 1

	readEventEvent  = 1
	readEventLink   = 2
	readEventCommit = 3

	recordedID       = 1
	recordedStream   = 2
	recordedRevision = 3
	recordedPrepare  = 4
	recordedCommit   = 5
	recordedSystem   = 6
	recordedCustom   = 7
	recordedData     = 8

	uuidStructured = 1
	uuidText       = 2
	uuidMost       = 1
	uuidLeast      = 2

	streamName = 3
	mapKey     = 1
	mapValue   = 2
)

// recorded is a record on its way into a RecordedEvent, with what must be known
// before the first byte is written: protocol buffers put lengths in front.
type recorded struct {
	*eventstore.Record
	textID      bool
	most, least uint64
	typeName    string
	content     string
	created     [20]byte
	createdLen  int
	size        int
}

func (r *recorded) set(rec *eventstore.Record, textID bool) {
	r.Record, r.textID = rec, textID
	r.most, r.least = binary.BigEndian.Uint64(rec.ID[:8]), binary.BigEndian.Uint64(rec.ID[8:])
	// A string that is not UTF-8 would make the whole message unreadable.
	r.typeName = strings.ToValidUTF8(rec.Type, "\uFFFD")
	r.content = wire.ContentBinary
	if rec.JSON {
		r.content = wire.ContentJSON
	}
	r.createdLen = len(strconv.AppendInt(r.created[:0], wire.Ticks(rec.Created.UnixNano()), 10))
	r.size = sizeBytes(recordedID, r.idSize()) +
		sizeBytes(recordedStream, sizeBytes(streamName, len(rec.Stream))) +
		sizeVarint(recordedRevision, uint64(rec.Revision)) +
		sizeVarint(recordedPrepare, rec.Position.Prepare) +
		sizeVarint(recordedCommit, rec.Position.Commit) +
		sizeEntry(wire.KeyType, len(r.typeName)) +
		sizeEntry(wire.KeyContentType, len(r.content)) +
		sizeEntry(wire.KeyCreated, r.createdLen)
	if len(rec.Metadata) > 0 {
		r.size += sizeBytes(recordedCustom, len(rec.Metadata))
	}
	if len(rec.Data) > 0 {
		r.size += sizeBytes(recordedData, len(rec.Data))
	}
}

func (r *recorded) idSize() int {
	if r.textID {
		return sizeBytes(uuidText, 36)
	}
	return sizeBytes(uuidStructured, sizeVarint(uuidMost, r.most)+sizeVarint(uuidLeast, r.least))
}

func (r *recorded) append(b []byte) []byte {
	b = appendHead(b, recordedID, r.idSize())
	if r.textID {
		b = appendHead(b, uuidText, 36)
		b = appendUUID(b, r.ID)
	} else {
		b = appendHead(b, uuidStructured, sizeVarint(uuidMost, r.most)+sizeVarint(uuidLeast, r.least))
		b = appendVarint(b, uuidMost, r.most)
		b = appendVarint(b, uuidLeast, r.least)
	}
	b = appendHead(b, recordedStream, sizeBytes(streamName, len(r.Stream)))
	b = append(appendHead(b, streamName, len(r.Stream)), r.Stream...)
	b = appendVarint(b, recordedRevision, uint64(r.Revision))
	b = appendVarint(b, recordedPrepare, r.Position.Prepare)
	b = appendVarint(b, recordedCommit, r.Position.Commit)
	b = append(appendEntry(b, wire.KeyType, len(r.typeName)), r.typeName...)
	b = append(appendEntry(b, wire.KeyContentType, len(r.content)), r.content...)
	b = append(appendEntry(b, wire.KeyCreated, r.createdLen), r.created[:r.createdLen]...)
	if len(r.Metadata) > 0 {
		b = append(appendHead(b, recordedCustom, len(r.Metadata)), r.Metadata...)
	}
	if len(r.Data) > 0 {
		b = append(appendHead(b, recordedData, len(r.Data)), r.Data...)
	}
	return b
}

// encoder makes frames. The zero value is ready; it is used by one goroutine.
type encoder struct {
	textIDs     bool
	event, link recorded
	whole       bool // each frame in memory of its own
	block       []byte
}

// Frames that nobody shares are cut out of blocks of this size.
const blockBytes = 16 << 10

// frame is the message for a record, or for a link and what it names: then
// target is nil when that cannot be read.
func (e *encoder) frame(rec *eventstore.Record, isLink bool, target *eventstore.Record) *frame {
	var event, link *recorded
	if !isLink || target != nil {
		event = &e.event
		if isLink {
			event.set(target, e.textIDs)
		} else {
			event.set(rec, e.textIDs)
		}
	}
	if isLink {
		link = &e.link
		link.set(rec, e.textIDs)
	}
	size := sizeAlways(readEventCommit, rec.Position.Commit)
	if event != nil {
		size += sizeBytes(readEventEvent, event.size)
	}
	if link != nil {
		size += sizeBytes(readEventLink, link.size)
	}
	b := e.room(sizeBytes(respEvent, size))
	b = appendHead(b, respEvent, size)
	if event != nil {
		b = event.append(appendHead(b, readEventEvent, event.size))
	}
	if link != nil {
		b = link.append(appendHead(b, readEventLink, link.size))
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, readEventCommit, protowire.VarintType), rec.Position.Commit)
	return newFrame(b)
}

// alone is a frame in memory of its own, which may live long.
func (e *encoder) alone(rec *eventstore.Record, isLink bool, target *eventstore.Record) *frame {
	e.whole = true
	return e.frame(rec, isLink, target)
}

func (e *encoder) room(n int) []byte {
	if e.whole || n > blockBytes/4 {
		return make([]byte, 0, n)
	}
	if n > len(e.block) {
		e.block = make([]byte, blockBytes)
	}
	b := e.block[:0:n]
	e.block = e.block[n:]
	return b
}

func sizeBytes(field protowire.Number, n int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(n)
}

// sizeVarint is 0 for 0, which is not written.
func sizeVarint(field protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return sizeAlways(field, v)
}

func sizeAlways(field protowire.Number, v uint64) int {
	return protowire.SizeTag(field) + protowire.SizeVarint(v)
}

func sizeEntry(key string, value int) int {
	return sizeBytes(recordedSystem, sizeBytes(mapKey, len(key))+sizeBytes(mapValue, value))
}

func appendHead(b []byte, field protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(n))
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

// appendEntry writes an entry of the map up to its value.
func appendEntry(b []byte, key string, value int) []byte {
	b = appendHead(b, recordedSystem, sizeBytes(mapKey, len(key))+sizeBytes(mapValue, value))
	b = append(appendHead(b, mapKey, len(key)), key...)
	return appendHead(b, mapValue, value)
}

func appendUUID(b []byte, id [16]byte) []byte {
	const hex = "0123456789abcdef"
	for i, c := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, hex[c>>4], hex[c&15])
	}
	return b
}
