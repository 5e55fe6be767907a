package importer

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	for _, c := range []struct {
		zone, text, want string
		skipped          bool
	}{
		{"UTC", "2017-10-15 00:30:00", "2017-10-15T00:30:00Z", false},
		{"America/Sao_Paulo", "2017-10-14 23:59:59", "2017-10-15T02:59:59Z", false},
		{"America/Sao_Paulo", "2017-10-15 00:00:00", "2017-10-15T03:00:00Z", true},
		{"America/Sao_Paulo", "2017-10-15 00:59:59", "2017-10-15T03:59:59Z", true},
		{"America/Sao_Paulo", "2017-10-15 01:00:00", "2017-10-15T03:00:00Z", false},
		{"America/Sao_Paulo", "2018-02-17 23:30:00", "2018-02-18T01:30:00Z", false}, // twice: the first
		{"America/Sao_Paulo", "2018-02-18 00:00:00", "2018-02-18T03:00:00Z", false},
		{"Europe/London", "2011-10-30 01:30:00", "2011-10-30T00:30:00Z", false}, // twice
		{"Pacific/Kiritimati", "2011-01-01 00:00:00", "2010-12-31T10:00:00Z", false},
		{"Etc/GMT+12", "2011-01-01 00:00:00", "2011-01-01T12:00:00Z", false},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, ok := clock{zone}.Read(c.text)
		if got := at.Time().Format(time.RFC3339); !ok || got != c.want || at.skipped != c.skipped {
			t.Errorf("%s in %s: %s, skipped %v; want %s, %v", c.text, c.zone, got, at.skipped, c.want, c.skipped)
		}
	}
	for _, text := range []string{"", "2017-10-15", "2017-10-15T00:30:00", "2017-13-15 00:30:00", "2017-10-15 24:00:00", "2017-10-15 00:30:00 "} {
		if _, ok := (clock{}).Read(text); ok {
			t.Errorf("%q was read", text)
		}
	}
}
