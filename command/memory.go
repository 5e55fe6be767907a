package command

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// maxRemembered bounds the commands an aggregate remembers. An older one that
// comes again is decided afresh.
const maxRemembered = 1000

// handled is a command that wrote events.
type handled struct {
	id          uuid.UUID
	first       eventstore.Revision // of its first event
	events      uint32              // how many, contiguous
	fingerprint [16]byte            // hashed
}

func (h handled) last() eventstore.Revision {
	return h.first + eventstore.Revision(h.events) - 1
}

// hashed gives fingerprints one width.
func hashed(fingerprint string) [16]byte {
	sum := sha256.Sum256([]byte(fingerprint))
	return [16]byte(sum[:16])
}

// memory is the commands handled last, oldest first, packed as in a snapshot: one
// load in many looks for a command in it, so it is never unpacked. It is shared:
// clone it before add.
type memory []byte

// handledSize is the width of a command: id, revision of its first event, number
// of events, fingerprint.
const handledSize = 16 + 8 + 4 + 16

// clone has room for one more.
func (m memory) clone() memory {
	return append(make(memory, 0, len(m)+handledSize), m...)
}

// at reads the command that is packed at an offset.
func (m memory) at(offset int) handled {
	b := m[offset : offset+handledSize]
	return handled{
		id:          uuid.UUID(b[:16]),
		first:       eventstore.Revision(binary.BigEndian.Uint64(b[16:])),
		events:      binary.BigEndian.Uint32(b[24:]),
		fingerprint: [16]byte(b[28:]),
	}
}

// add notes the event at revision, written by command id.
func (m memory) add(id uuid.UUID, fingerprint string, revision eventstore.Revision) memory {
	if newest := len(m) - handledSize; newest >= 0 {
		if h := m.at(newest); h.id == id && h.last()+1 == revision {
			binary.BigEndian.PutUint32(m[newest+24:], h.events+1)
			return m
		}
	}
	if len(m) == maxRemembered*handledSize {
		m = m[:copy(m, m[handledSize:])]
	}
	m = append(m, id[:]...)
	m = binary.BigEndian.AppendUint64(m, uint64(revision))
	m = binary.BigEndian.AppendUint32(m, 1)
	sum := hashed(fingerprint)
	return append(m, sum[:]...)
}

// find returns the newest command with this id.
func (m memory) find(id uuid.UUID) (handled, bool) {
	for i := len(m) - handledSize; i >= 0; i -= handledSize {
		if uuid.UUID(m[i:i+16]) == id {
			return m.at(i), true
		}
	}
	return handled{}, false
}

func (m memory) appendBinary(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(m)/handledSize)), m...)
}

// readMemory returns what appendBinary wrote, not copied, and the bytes after it.
func readMemory(b []byte) (m memory, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint32(b))
	b = b[4:]
	if n > maxRemembered || len(b) < n*handledSize {
		return nil, nil, false
	}
	n *= handledSize
	return memory(b[:n:n]), b[n:], true
}
