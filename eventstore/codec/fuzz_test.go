package codec

import (
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// FuzzMeta: what is said of an event comes back, also when it is stamped later;
// what is no metadata is refused.
func FuzzMeta(f *testing.F) {
	f.Add("place", "f00d", "c", "", "shop", "00-1-2-00", int64(1), int64(1517400000), []byte(`{"v":1}`))
	f.Add("\x00", "\"", "\\", "\u2028", "\u202e", "<&>", int64(-1), int64(-62135596800), []byte(`{"v":1e9,"recordedAt":""}`))
	f.Fuzz(func(t *testing.T, command, fingerprint, correlation, causation, actor, trace string, version, second int64, raw []byte) {
		if m, err := DecodeMeta(raw); err == nil {
			if _, err := DecodeMeta(EncodeMeta(m)); err != nil && m.RecordedAt.Year() >= 0 && m.RecordedAt.Year() <= 9999 {
				t.Fatalf("%s was read as %+v, and cannot be written: %v", raw, m, err)
			}
		}
		for _, text := range []string{command, fingerprint, correlation, causation, actor, trace} {
			if !utf8.ValidString(text) {
				return
			}
		}
		at := time.Unix(second%250_000_000_000, 123_456_000).UTC()
		if at.Year() < 1 || at.Year() > 9999 {
			return
		}
		m := Meta{CommandID: uuid.NewSHA1(uuid.Nil, raw), Command: command, Fingerprint: fingerprint, CorrelationID: correlation,
			CausationID: causation, Actor: actor, TraceParent: trace, Version: int(version), RecordedAt: time.Unix(0, 0)}
		text := EncodeMeta(m)
		StampMeta(text, at)
		m.RecordedAt = at
		if got, err := DecodeMeta(text); err != nil || got != m {
			t.Fatalf("%+v came back as %+v, %v", m, got, err)
		}
	})
}

// FuzzHistory: a history that is read is written the same, and what is refused
// says where.
func FuzzHistory(f *testing.F) {
	data, err := MarshalHistory(samples())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`[]`))
	f.Add([]byte(`[{"type":"OrderPlaced","data":{"lines":[null]}}]`))
	f.Add([]byte(`[{"type":"OrderConfirmed","type":"OrderConfirmed","data":{"at":"2018-01-31T12:00:00Z"}}]`))
	f.Add([]byte(`[{"type":"Nothing","data":{}}] `))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := UnmarshalHistory(data)
		if err != nil {
			if !errors.As(err, new(*HistoryError)) {
				t.Fatalf("%s: %v", data, err)
			}
			return
		}
		written, err := MarshalHistory(events)
		if err != nil {
			t.Fatalf("%s was read, and cannot be written: %v", data, err)
		}
		again, err := UnmarshalHistory(written)
		if err != nil {
			t.Fatalf("%s is written %s: %v", data, written, err)
		}
		if twice, err := MarshalHistory(again); err != nil || string(twice) != string(written) {
			t.Fatalf("%s, then %s, %v", written, twice, err)
		}
	})
}
