package codec

import (
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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
	var m Meta
	if err := json.Unmarshal(metadata, &m); err != nil {
		return Meta{}, fmt.Errorf("metadata: %w", err)
	}
	return m, nil
}
