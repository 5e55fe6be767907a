package command

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

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

// memory is the commands handled last, oldest first. It is shared: clone it
// before add.
type memory []handled

func (m memory) clone() memory { return slices.Clone(m) }

// add notes the event at revision, written by command id.
func (m memory) add(id uuid.UUID, fingerprint string, revision eventstore.Revision) memory {
	if n := len(m); n > 0 && m[n-1].id == id && m[n-1].last()+1 == revision {
		m[n-1].events++
		return m
	}
	if len(m) == maxRemembered {
		m = m[1:]
	}
	return append(m, handled{id: id, first: revision, events: 1, fingerprint: hashed(fingerprint)})
}

// find returns the newest command with this id.
func (m memory) find(id uuid.UUID) (handled, bool) {
	for i := len(m) - 1; i >= 0; i-- {
		if m[i].id == id {
			return m[i], true
		}
	}
	return handled{}, false
}

// handledSize is the width of a command in a snapshot.
const handledSize = 16 + 8 + 4 + 16

func (m memory) appendBinary(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(m)))
	for _, h := range m {
		b = append(b, h.id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(h.first))
		b = binary.BigEndian.AppendUint32(b, h.events)
		b = append(b, h.fingerprint[:]...)
	}
	return b
}

// readMemory returns what appendBinary wrote and the bytes after it.
func readMemory(b []byte) (m memory, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint32(b))
	b = b[4:]
	if n > maxRemembered || len(b) < n*handledSize {
		return nil, nil, false
	}
	m = make(memory, n)
	for i := range m {
		m[i] = handled{
			id:          uuid.UUID(b[:16]),
			first:       eventstore.Revision(binary.BigEndian.Uint64(b[16:])),
			events:      binary.BigEndian.Uint32(b[24:]),
			fingerprint: [16]byte(b[28:44]),
		}
		b = b[handledSize:]
	}
	return m, b, true
}
