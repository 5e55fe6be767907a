package query

import (
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

func TestParsePoint(t *testing.T) {
	noon := time.Date(2018, 1, 31, 12, 0, 0, 0, time.UTC)
	seventeen, place := eventstore.Revision(17), eventstore.At64(4711)
	split := eventstore.Position{Commit: 4711, Prepare: 4700}
	for text, want := range map[string]Cut{
		"now":                       {},
		"17":                        {Revision: &seventeen},
		"position:4711":             {Position: &place},
		"position:4711/4700":        {Position: &split},
		"2018-01-31T12:00:00Z":      {AsOf: &noon},
		"2018-01-31T14:00:00+02:00": {AsOf: &noon},
		// Finer than what is stored.
		"2018-01-31T12:00:00.0000001Z":        {AsOf: &noon},
		"effective:2018-01-31T12:00:00Z":      {EffectiveAt: &noon},
		"17,effective:2018-01-31T12:00:00Z":   {Revision: &seventeen, EffectiveAt: &noon},
		"position:4711,effective:" + noonText: {Position: &place, EffectiveAt: &noon},
		"now,effective:" + noonText:           {EffectiveAt: &noon},
		"2018-01-31t12:00:00z":                {AsOf: &noon},
		"2018-01-31t14:00:00.000+02:00":       {AsOf: &noon},
		"effective:2018-01-31T12:00:00z":      {EffectiveAt: &noon},
		noonText + ",effective:" + noonText:   {AsOf: &noon, EffectiveAt: &noon},
	} {
		got, err := ParsePoint(text)
		if err != nil || !same(got.Revision, want.Revision) || !same(got.Position, want.Position) ||
			!sameTime(got.AsOf, want.AsOf) || !sameTime(got.EffectiveAt, want.EffectiveAt) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

const noonText = "2018-01-31T12:00:00Z"

func same[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

func TestBadPoints(t *testing.T) {
	for _, text := range []string{
		"", " ", "Now", "-1", "+1", "017", "1.5", "1e3", "9223372036854775807", "99999999999999999999", "١٧",
		"position:", "position:-1", "position:x", "position:1/", "position:007", "position:18446744073709551615", "position:18446744073709551616",
		"2018-01-31", "2018-01-31T12:00:00", "2018-01-31 12:00:00Z", "2018-02-30T12:00:00Z", "0000-01-01T00:00:00Z", "2018-01-31T12:00:00,5Z",
		"effective:", "effective:17", "effective:2018-01-31", "Effective:" + noonText,
		"17,", ",17", "17,18", "17,position:4", "effective:" + noonText + ",17", "now,17", "now,now", "now,", "now,now,effective:" + noonText,
		"2018-01-31T7:59:00Z", "2018-01-31T12:00:60Z", "2018-01-31T12:00:00+24:00", "2018-1-31T12:00:00Z", "2018-01-31T12:00:00.Z", "2018-01-31T12:00:00",
		"effective:" + noonText + ",effective:" + noonText, "17,effective:" + noonText + ",", strings.Repeat("9", 5000), "\x00",
	} {
		if c, err := ParsePoint(text); err == nil || !strings.HasPrefix(strings.TrimPrefix(err.Error(), "effective: "), "want ") {
			t.Errorf("%.60q: %+v, %v", text, c, err)
		}
	}
}

// What is nearly an instant is refused with words that help.
func TestRefusedInstantsSayWhy(t *testing.T) {
	for text, want := range map[string]string{
		"2016-12-31T23:59:60Z":       "leap second",
		"2016-12-31t23:59:60.5z":     "leap second",
		"2017-01-01T00:59:60+01:00":  "leap second",
		"2026-11-21":                 "give an instant: 2026-11-21T23:59:59Z",
		"2026-11-31":                 "such as 2018-01-31T12:00:00Z",
		"2026-11-21T7:59:00Z":        "such as 2018-01-31T12:00:00Z",
		"2026-11-21T12:00:00,5Z":     "such as 2018-01-31T12:00:00Z",
		"0000-01-01T00:00:00Z":       "years 1 to 9999",
		"2026-11-21T12:00:00+02:00 ": "such as 2018-01-31T12:00:00Z",
	} {
		if at, err := ParseInstant(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v", text, at, err)
		}
		for _, point := range []string{text, "effective:" + text, text + ",effective:" + noonText} {
			if _, err := ParsePoint(point); err == nil || strings.Contains(want, "leap") != strings.Contains(err.Error(), "leap") {
				t.Errorf("%s: %v", point, err)
			}
		}
	}
}
