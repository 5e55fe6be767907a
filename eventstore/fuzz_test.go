package eventstore

import (
	"encoding/json"
	"testing"
)

// FuzzStreamMetadata: limits that are read are written the same, and none of
// them is negative.
func FuzzStreamMetadata(f *testing.F) {
	for _, text := range []string{`{"$maxCount":1,"owner":"x"}`, `{"$tb":9223372036854775807}`, `{"$maxAge":9223372036854775807}`, `{"$maxCount":-1}`, `{"$maxAge":1.5}`, `null`, `[]`, `{"$tb":"1"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var md StreamMetadata
		if json.Unmarshal(text, &md) != nil {
			return
		}
		if md.MaxCount < 0 || md.MaxAge < 0 || md.TruncateBefore < 0 {
			t.Fatalf("%s: %+v", text, md)
		}
		md.FirstVisible(EndRevision)
		first, err := json.Marshal(md)
		if err != nil {
			t.Fatalf("%s cannot be written: %v", text, err)
		}
		var again StreamMetadata
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatalf("%s is written %s: %v", text, first, err)
		}
		if second, err := json.Marshal(again); err != nil || string(second) != string(first) {
			t.Fatalf("%s, then %s, %v", first, second, err)
		}
	})
}

// FuzzPosition: a place in the log is written as it was read.
func FuzzPosition(f *testing.F) {
	for _, text := range []string{"0", "4711", "4711/4712", "18446744073709551615", "-1", "end", "01", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var p, again Position
		if p.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(p.String())); err != nil || again != p {
			t.Fatalf("%q is %s, which is %s, %v", text, p, again, err)
		}
	})
}
