package command

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Name spaces of derived ids. They are part of what is stored and never change.
var (
	keySpace   = uuid.MustParse("6d2b1a3e-54f0-5c0e-8a57-1f0f6b7e9c01")
	eventSpace = uuid.MustParse("6d2b1a3e-54f0-5c0e-8a57-1f0f6b7e9c02")
)

// KeyID is the command id of an idempotency key: the same caller, order and key
// always give the same one. orderID is empty for a create that names no id.
func KeyID(caller, orderID, key string) uuid.UUID {
	return uuid.NewSHA1(keySpace, joined(caller, orderID, key))
}

// OrderIDFor is the id of an order that is created with a key and without an
// id: 26 letters and digits.
func OrderIDFor(caller, key string) string {
	return shortText(joined("order", caller, key))
}

// eventID is the identity of the index-th event that a decision on a command
// made for a stream. The stream is part of it, since one key may be used on two
// orders, and so is what was decided: a store takes an append of known ids for a
// repeat and need not say so, and then what it holds must be what was given. Two
// processes that decide on one command at once have different ids, and the
// slower one meets a conflict.
func eventID(stream string, command uuid.UUID, index int, data, metadata []byte) uuid.UUID {
	return uuid.NewSHA1(eventSpace, joined(stream, string(command[:]), strconv.Itoa(index), string(data), string(metadata)))
}

// entityID makes ids for what a command creates (payments, holds ...), the same
// ones whenever the command is sent again.
func entityID(stream string, command uuid.UUID) func(kind string) string {
	return func(kind string) string {
		return shortText(joined("entity", stream, string(command[:]), kind))[:13]
	}
}

// joined keeps the parts apart: each is preceded by its length.
func joined(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

// crockford leaves out letters that are taken for digits.
var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// shortText is 26 characters of the hash.
func shortText(data []byte) string {
	sum := sha256.Sum256(data)
	return strings.Clone(crockford.EncodeToString(sum[:])[:26])
}
