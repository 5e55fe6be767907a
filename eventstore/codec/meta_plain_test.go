package codec

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// FuzzPlainMeta: what is read the quick way is what JSON says; and what EncodeMeta
// writes without an escape is read that way.
func FuzzPlainMeta(f *testing.F) {
	whole := Meta{
		CommandID: uuid.MustParse("0b5e1f7a-3c1d-4a4e-9d1c-1f2e3d4c5b6a"), Command: "cancel", Fingerprint: "00ff",
		CorrelationID: "c", CausationID: "d", Actor: "me", TraceParent: "00-1-2-01", Version: 2,
		RecordedAt: time.Date(2018, 1, 31, 23, 59, 59, 123456000, time.UTC),
	}
	for _, m := range []Meta{whole, {}, {Version: 1, RecordedAt: whole.RecordedAt}, {Version: 12, Actor: "a\"b", RecordedAt: whole.RecordedAt}} {
		data := EncodeMeta(m)
		got, ok := plainMeta(string(data))
		if want := m.Version < 10 && plain(m.Actor); ok != want || ok && got != m {
			f.Errorf("%s: %v, %+v", data, ok, got)
		}
		f.Add(data)
		for i := range data { // one byte changed, and one missing
			changed := append([]byte(nil), data...)
			changed[i] ^= 1
			f.Add(changed)
			f.Add(append(append([]byte(nil), data[:i]...), data[i+1:]...))
		}
	}
	f.Add([]byte(`{"commandId":"0b5e1f7a-3c1d-4a4e-9d1c-1f2e3d4c5b6a","v":1,"recordedAt":"2018-01-31T23:59:59,123456Z"}`))
	f.Add([]byte(`{"commandId":"0b5e1f7a-3c1d-4a4e-9d1c-1f2e3d4c5b6a","actor":"é","v":1,"recordedAt":"2018-01-31T23:59:59.123456Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		quick, ok := plainMeta(string(data))
		if !ok {
			return
		}
		var want Meta
		if err := json.Unmarshal(data, &want); err != nil || quick != want {
			t.Errorf("%s\nquick %+v\nJSON  %+v, %v", data, quick, want, err)
		}
	})
}

func BenchmarkDecodeMeta(b *testing.B) {
	data := EncodeMeta(Meta{CommandID: uuid.New(), Command: "cancel", Fingerprint: "00ff", Actor: "me", Version: 1, RecordedAt: time.Unix(1, 0)})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeMeta(data); err != nil {
			b.Fatal(err)
		}
	}
}
