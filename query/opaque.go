package query

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// Tokens and cursors are texts that callers carry and do not read: base64url
// without padding of
//
//	kind and version  1 byte
//	log id           16 bytes
//	epoch             4 bytes, big endian
//	content           what the kind says
//	CRC-32C           4 bytes over all before
//
// There is no secret in them: the checksum finds accidents, not forgers, and
// whatever a forger writes is only a question that could have been asked anyhow.
const (
	kindToken  = 0x11
	kindCursor = 0x21

	opaqueHead = 1 + 16 + 4
	opaqueTail = 4

	// maxOpaque bounds what is looked at, in characters.
	maxOpaque = 4096
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(kind byte, log eventstore.LogIdentity, content []byte) string {
	raw := make([]byte, 0, opaqueHead+len(content)+opaqueTail)
	raw = append(raw, kind)
	raw = append(raw, log.ID[:]...)
	raw = binary.BigEndian.AppendUint32(raw, log.Epoch)
	raw = append(raw, content...)
	raw = binary.BigEndian.AppendUint32(raw, crc32.Checksum(raw, castagnoli))
	return base64.RawURLEncoding.EncodeToString(raw)
}

// unseal is the inverse of seal. Exactly the texts that seal makes are accepted.
func unseal(kind byte, text string) (log eventstore.LogIdentity, content []byte, err error) {
	if len(text) > maxOpaque {
		return log, nil, fmt.Errorf("longer than %d characters", maxOpaque)
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	// Decoding passes over line breaks and left-over bits; encoding again finds
	// both.
	if err != nil || base64.RawURLEncoding.EncodeToString(raw) != text {
		return log, nil, fmt.Errorf("not base64url")
	}
	if len(raw) < opaqueHead+opaqueTail {
		return log, nil, fmt.Errorf("too short")
	}
	body, sum := raw[:len(raw)-opaqueTail], raw[len(raw)-opaqueTail:]
	if binary.BigEndian.Uint32(sum) != crc32.Checksum(body, castagnoli) {
		return log, nil, fmt.Errorf("checksum differs: it was cut or changed on the way")
	}
	switch {
	case body[0]>>4 != kind>>4:
		return log, nil, fmt.Errorf("it is something else")
	case body[0] != kind:
		return log, nil, fmt.Errorf("version %d is not known here", body[0]&0xf)
	}
	log.ID = uuid.UUID(body[1:17])
	log.Epoch = binary.BigEndian.Uint32(body[17:21])
	return log, body[opaqueHead:], nil
}
