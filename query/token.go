package query

import (
	"encoding/binary"

	"github.com/docket-orders/docket/eventstore"
)

// Token names a write. A command's answer carries it, and a read that brings it
// sees that write or is told that it is not there yet.
type Token struct {
	Log      eventstore.LogIdentity
	OrderID  string
	Revision eventstore.Revision
	Position eventstore.Position
}

// tokenHead is revision, commit and prepare position, 8 bytes each, big endian;
// the order id is the rest.
const tokenHead = 24

// String is the token as callers carry it.
func (t Token) String() string {
	content := make([]byte, 0, tokenHead+len(t.OrderID))
	content = binary.BigEndian.AppendUint64(content, uint64(t.Revision))
	content = binary.BigEndian.AppendUint64(content, t.Position.Commit)
	content = binary.BigEndian.AppendUint64(content, t.Position.Prepare)
	return seal(kindToken, t.Log, append(content, t.OrderID...))
}

// ParseToken reads what String wrote, and refuses everything else with
// ErrTokenInvalid.
func ParseToken(text string) (Token, error) {
	log, content, err := unseal(kindToken, text)
	if err != nil {
		return Token{}, ErrTokenInvalid.With(err.Error())
	}
	if len(content) <= tokenHead {
		return Token{}, ErrTokenInvalid.With("it names no order")
	}
	t := Token{
		Log:      log,
		OrderID:  string(content[tokenHead:]),
		Revision: eventstore.Revision(binary.BigEndian.Uint64(content)),
		Position: eventstore.Position{Commit: binary.BigEndian.Uint64(content[8:]), Prepare: binary.BigEndian.Uint64(content[16:])},
	}
	if t.Revision < 0 {
		return Token{}, ErrTokenInvalid.With("its revision is negative")
	}
	return t, nil
}
