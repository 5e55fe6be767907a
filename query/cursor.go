package query

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/eventstore"
)

// questionHash tells questions apart: of everything that decides which orders
// are in the list and in which order. Limit, facets and total do not.
type questionHash [16]byte

// cursorHead is the question's hash, Key.Int and the length of Key.Text (2
// bytes), big endian; the text and the id are the rest.
const cursorHead = len(questionHash{}) + 8 + 2

func sealCursor(log eventstore.LogIdentity, question questionHash, k Key) string {
	content := make([]byte, 0, cursorHead+len(k.Text)+len(k.ID))
	content = append(content, question[:]...)
	content = binary.BigEndian.AppendUint64(content, uint64(k.Int))
	content = binary.BigEndian.AppendUint16(content, uint16(len(k.Text)))
	content = append(content, k.Text...)
	return seal(kindCursor, log, append(content, k.ID...))
}

// openCursor is the key in a cursor that was given for this very question; no
// key for the empty cursor.
func openCursor(log eventstore.LogIdentity, question questionHash, text string) (*Key, error) {
	if text == "" {
		return nil, nil
	}
	from, content, err := unseal(kindCursor, text)
	if err != nil {
		return nil, ErrCursorInvalid.With(err.Error())
	}
	if from != log {
		return nil, ErrCursorForeign
	}
	if len(content) < cursorHead {
		return nil, ErrCursorInvalid.With("it is too short")
	}
	if questionHash(content) != question {
		return nil, ErrCursorQuestion
	}
	textLength := int(binary.BigEndian.Uint16(content[cursorHead-2:]))
	rest := content[cursorHead:]
	if len(rest) <= textLength {
		return nil, ErrCursorInvalid.With("it names no order")
	}
	return &Key{
		Int:  int64(binary.BigEndian.Uint64(content[len(questionHash{}):])),
		Text: string(rest[:textLength]),
		ID:   string(rest[textLength:]),
	}, nil
}

// hash of the question. Only what is set is written, so that a filter that a
// later version adds leaves the cursors of today valid.
func (q Question) hash() questionHash {
	var b []byte
	write := func(name, value string) { b = fmt.Appendf(b, "%q=%q\n", name, value) }
	for _, f := range append(q.filters(), filter{name: "q", values: q.Words}) {
		values := slices.Clone(f.values)
		slices.Sort(values)
		for _, v := range slices.Compact(values) {
			write(f.name, v)
		}
	}
	for _, r := range q.ranges() {
		writeTime(write, r.name+"From", r.from)
		writeTime(write, r.name+"To", r.to)
	}
	writeAmount(write, "minTotal", q.MinTotal)
	writeAmount(write, "maxTotal", q.MaxTotal)
	write("sort", string(q.Sort.By))
	write("descending", strconv.FormatBool(q.Sort.Desc))
	return truncated(b)
}

func writeTime(write func(name, value string), name string, t *time.Time) {
	if t != nil {
		write(name, strconv.FormatInt(t.UnixMicro(), 10))
	}
}

func writeAmount(write func(name, value string), name string, a *money.Amount) {
	if a != nil {
		write(name, a.String())
	}
}

// customerOrdersHash is the question "the orders of this customer".
func customerOrdersHash(id string) questionHash {
	return truncated(fmt.Appendf(nil, "orders of customer %q", id))
}

func truncated(b []byte) (h questionHash) {
	sum := sha256.Sum256(b)
	copy(h[:], sum[:])
	return h
}
