package codec

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// recordedAtLayout has a fixed width, so that StampMeta can write in place.
const recordedAtLayout = "2006-01-02T15:04:05.000000Z"

// EncodeMeta returns the metadata of an event. RecordedAt comes last and is cut
// to microseconds. Text that is not UTF-8 is repaired.
func EncodeMeta(m Meta) []byte {
	b := make([]byte, 0, 320)
	b = append(b, `{"commandId":"`...)
	b = append(b, m.CommandID.String()...)
	b = append(b, '"')
	b = appendText(b, `,"command":`, m.Command)
	b = appendText(b, `,"fingerprint":`, m.Fingerprint)
	if m.CorrelationID != "" {
		b = appendText(b, `,"$correlationId":`, m.CorrelationID)
	}
	if m.CausationID != "" {
		b = appendText(b, `,"$causationId":`, m.CausationID)
	}
	if m.Actor != "" {
		b = appendText(b, `,"actor":`, m.Actor)
	}
	if m.TraceParent != "" {
		b = appendText(b, `,"traceparent":`, m.TraceParent)
	}
	b = append(b, `,"v":`...)
	b = strconv.AppendInt(b, int64(m.Version), 10)
	b = append(b, `,"recordedAt":"`...)
	b = m.RecordedAt.UTC().AppendFormat(b, recordedAtLayout)
	return append(b, `"}`...)
}

func appendText(b []byte, key, text string) []byte {
	b = append(b, key...)
	// The only error is about invalid UTF-8, which is replaced all the same.
	b, _ = jsontext.AppendQuote(b, text)
	return b
}

// StampMeta overwrites RecordedAt in what EncodeMeta returned, in place. It
// panics when metadata is something else.
func StampMeta(metadata []byte, at time.Time) {
	const before, after = `"recordedAt":"`, `"}`
	end := len(metadata) - len(after)
	begin := end - len(recordedAtLayout)
	if begin < len(before) || string(metadata[begin-len(before):begin]) != before || string(metadata[end:]) != after {
		panic(fmt.Sprintf("codec: cannot stamp metadata %.400s", metadata))
	}
	// AppendFormat may write past its result, so not in place.
	var text [64]byte
	copy(metadata[begin:end], at.UTC().AppendFormat(text[:0], recordedAtLayout))
}

// DecodeMeta reads the metadata of an event. Fields it does not know are passed
// over: other tools may add their own.
func DecodeMeta(metadata []byte) (Meta, error) {
	if m, ok := plainMeta(string(metadata)); ok {
		return m, nil
	}
	var m Meta
	if err := json.Unmarshal(metadata, &m); err != nil {
		return Meta{}, fmt.Errorf("metadata: %w", err)
	}
	return m, nil
}

// plainMeta reads what EncodeMeta wrote where no text has an escape, as nearly all
// that is stored, in a small part of the time. It is not ok with anything else.
func plainMeta(s string) (m Meta, ok bool) {
	text := func(key string) (value string, found bool) {
		rest, found := strings.CutPrefix(s, key)
		if !found {
			return "", false
		}
		end := strings.IndexByte(rest, '"')
		if end < 0 || !plain(rest[:end]) {
			s = "" // what follows is not found either
			return "", false
		}
		s = rest[end+1:]
		return rest[:end], true
	}
	id, ok := text(`{"commandId":"`)
	if !ok {
		return m, false
	}
	var err error
	if m.CommandID, err = uuid.Parse(id); err != nil {
		return m, false
	}
	m.Command, _ = text(`,"command":"`)
	m.Fingerprint, _ = text(`,"fingerprint":"`)
	m.CorrelationID, _ = text(`,"$correlationId":"`)
	m.CausationID, _ = text(`,"$causationId":"`)
	m.Actor, _ = text(`,"actor":"`)
	m.TraceParent, _ = text(`,"traceparent":"`)
	// A version of one digit: there is no other yet.
	const version = `,"v":`
	if !strings.HasPrefix(s, version) || len(s) == len(version) {
		return m, false
	}
	digit := s[len(version)]
	if digit < '0' || digit > '9' {
		return m, false
	}
	m.Version, s = int(digit-'0'), s[len(version)+1:]
	at, _ := text(`,"recordedAt":"`)
	if len(at) != len(recordedAtLayout) || at[19] != '.' || s != "}" {
		return m, false
	}
	m.RecordedAt, err = time.Parse(recordedAtLayout, at)
	return m, err == nil
}

// plain reports whether a text stands in JSON as it is.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
