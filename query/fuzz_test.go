package query

import (
	"testing"
	"time"
)

// FuzzParseInstant: what is read is an instant that can be stored, and is read
// again as it is written.
func FuzzParseInstant(f *testing.F) {
	for _, text := range []string{"2018-01-31T12:00:00Z", "2018-01-31t12:00:00.123456789+02:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999-00:00", "2016-12-31T23:59:60Z", "2018-01-31", "2018-01-31T24:00:00Z", "2018-02-30T00:00:00Z", "2018-01-31T12:00:00,5Z"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := ParseInstant(text)
		if err != nil {
			return
		}
		if at.Year() < 1 || at.Year() > 9999 || at.IsZero() || at.Location() != time.UTC || !at.Equal(at.Truncate(time.Microsecond)) {
			t.Fatalf("%q is %v", text, at)
		}
		if again, err := ParseInstant(at.Format(time.RFC3339Nano)); err != nil || !again.Equal(at) {
			t.Fatalf("%q is %v, which is %v, %v", text, at, again, err)
		}
	})
}

// FuzzParsePoint: a point says at most one thing of what was known; what is
// refused says why in bounded words.
func FuzzParsePoint(f *testing.F) {
	for _, text := range []string{"now", "17", "position:4711", "2018-01-31T12:00:00Z", "effective:2018-01-31T12:00:00Z", "17,effective:2018-01-31T12:00:00Z", "now,effective:2018-01-31T12:00:00Z", ",", "effective:", "9223372036854775807", "position:18446744073709551615", "effective:effective:2018-01-31T12:00:00Z"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cut, err := ParsePoint(text)
		switch {
		case err != nil && len(err.Error()) > 1000+len(text):
			t.Fatalf("%q: %v", text, err)
		case err == nil && len(cut.knowledge()) > 1:
			t.Fatalf("%q says %v", text, cut.knowledge())
		case err == nil && cut.IsNow() != (text == "now"):
			t.Fatalf("%q: now %t", text, cut.IsNow())
		case err == nil && cut.Revision != nil && *cut.Revision < 0:
			t.Fatalf("%q is revision %d", text, *cut.Revision)
		}
	})
}
