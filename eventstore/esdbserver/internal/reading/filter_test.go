package reading

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/dlclark/regexp2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
)

func filterOf(t testing.TB, byType bool, regex string, prefixes ...string) *filter {
	t.Helper()
	f, err := newFilter(options(byType, regex, prefixes...), true)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func options(byType bool, regex string, prefixes ...string) *streams.ReadReq_Options_FilterOptions {
	o := &streams.ReadReq_Options_FilterOptions{
		Window:                       &streams.ReadReq_Options_FilterOptions_Max{Max: 32},
		CheckpointIntervalMultiplier: 1,
	}
	e := &streams.ReadReq_Options_FilterOptions_Expression{Regex: regex, Prefix: prefixes}
	o.Filter = &streams.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: e}
	if byType {
		o.Filter = &streams.ReadReq_Options_FilterOptions_EventType{EventType: e}
	}
	return o
}

func TestFilters(t *testing.T) {
	record := func(stream, eventType string) *eventstore.Record {
		return &eventstore.Record{Event: eventstore.Event{Type: eventType}, Stream: stream}
	}
	python := `^(?!(\$.+$|PersistentConfig\d+$))`
	for _, c := range []struct {
		filter *filter
		record *eventstore.Record
		want   bool
	}{
		{nil, record("s", "T"), true},
		{filterOf(t, false, "", "a", "s"), record("s-1", "T"), true},
		{filterOf(t, false, "", "a", "s"), record("t", "a"), false},
		{filterOf(t, true, "", "a", "s"), record("t", "a"), true},
		{filterOf(t, false, "", ""), record("t", "a"), true}, // every name begins with nothing
		{filterOf(t, false, ""), record("s", "T"), false},
		{filterOf(t, true, `^[^\$].*`), record("s", "$metadata"), false},
		{filterOf(t, true, `^[^\$].*`), record("$s", "T"), true},
		{filterOf(t, true, python), record("s", "$metadata"), false},
		{filterOf(t, true, python), record("s", "$"), true},
		{filterOf(t, true, python), record("s", "PersistentConfig1"), false},
		{filterOf(t, true, python), record("s", "PersistentConfig1a"), true},
		{filterOf(t, true, `^A|B$`), record("s", "AX"), true},
		{filterOf(t, true, `^A|B$`), record("s", "XB"), true},
		{filterOf(t, true, `^A|B$`), record("s", "XBX"), false},
		{filterOf(t, false, `rder`), record("order-1", ""), true},
		{filterOf(t, false, `Rder`), record("order-1", ""), false},
		{filterOf(t, false, `(?i)Rder`), record("order-1", ""), true},
		{filterOf(t, false, `^(?<word>o.)\k<word>$`), record("oxox", ""), true}, // RE2 has no references
		{filterOf(t, false, `^é\p{Lu}$`), record("éÄ", ""), true},
		{filterOf(t, false, `x$`), record(strings.Repeat("y", maxMatched)+"x", ""), false}, // too long to be looked at whole
	} {
		// Asked twice, as the second answer is remembered.
		for range 2 {
			got, err := c.filter.selects(c.record)
			if err != nil || got != c.want {
				t.Errorf("%+v of %q/%q: %v, %v", c.filter, c.record.Stream, c.record.Type, got, err)
			}
		}
	}
}

// TestVerdictsAreForgotten, so that a log of many names costs no memory.
func TestVerdictsAreForgotten(t *testing.T) {
	f := filterOf(t, false, "^o")
	for n := range 3 * maxVerdicts {
		if _, err := f.selects(&eventstore.Record{Stream: strings.Repeat("o", n%5) + time.Duration(n).String()}); err != nil {
			t.Fatal(err)
		}
		if len(f.verdicts) > maxVerdicts {
			t.Fatalf("%d verdicts", len(f.verdicts))
		}
	}
}

// hostile patterns take for ever with a name that almost matches.
var hostile = []string{`^(a+)+$`, `^(a|a)*$`, `^(a|aa)+$`, `(x+x+)+y`, `^(([a-z])+.)+[A-Z]([a-z])+$`}

func TestHostileRegularExpressionsAreGivenUp(t *testing.T) {
	names := []string{strings.Repeat("a", 5000), strings.Repeat("a", 40) + "!", strings.Repeat("x", 40), strings.Repeat("x", maxMatched)}
	given := 0
	for _, pattern := range hostile {
		f := filterOf(t, false, pattern)
		for _, name := range names {
			begin := time.Now()
			_, err := f.selects(&eventstore.Record{Stream: name})
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("%s took %v", pattern, took)
			}
			if err != nil {
				given++
				if status.Code(err) != codes.InvalidArgument {
					t.Error(err)
				}
			}
		}
	}
	if given < len(hostile)-1 {
		t.Errorf("only %d of the patterns were given up", given)
	}
	regexp2.StopTimeoutClock()
}

// TestSlowRegularExpressionsAreGivenUp: none takes long enough by itself.
func TestSlowRegularExpressionsAreGivenUp(t *testing.T) {
	f := filterOf(t, false, `^(a+)+$`)
	for n := range 1_000_000 {
		if _, err := f.selects(&eventstore.Record{Stream: strings.Repeat("a", 18) + fmt.Sprint(n) + "!"}); err != nil {
			if status.Code(err) != codes.InvalidArgument {
				t.Error(err)
			}
			regexp2.StopTimeoutClock()
			return
		}
	}
	t.Error("it was never given up")
}

// FuzzFilter: whatever a client sends as a filter is refused or works, within
// bounds, and a filter gives the same answer twice.
func FuzzFilter(f *testing.F) {
	for _, pattern := range append(hostile, "", "(", `^[^\$].*`, `^(?!(\$.+$))`, `(?<a>b)\k<a>`, `[a-z-[aeiou]]`, `\p{L}{2,3}?`, `(?(a)b|c)`, `(((((a{99}){99}){99}){99}){99})`, strings.Repeat("(", 2000)) {
		f.Add(pattern, "order-1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", true, uint32(32), uint32(1))
	}
	f.Fuzz(func(t *testing.T, pattern, prefix, name string, byType bool, window, multiplier uint32) {
		o := options(byType, pattern, prefix)
		o.Window = &streams.ReadReq_Options_FilterOptions_Max{Max: window}
		o.CheckpointIntervalMultiplier = multiplier
		begin := time.Now()
		// A pattern that is never given up would otherwise just stand still.
		defer time.AfterFunc(20*time.Second, func() { panic(fmt.Sprintf("%q of %q hangs", pattern, name)) }).Stop()
		made, err := newFilter(o, true)
		if (window == 0 || multiplier == 0) && err == nil {
			t.Fatal("no interval, and not refused")
		}
		if err != nil {
			if status.Code(err) != codes.InvalidArgument {
				t.Fatal(err)
			}
			return
		}
		record := &eventstore.Record{Event: eventstore.Event{Type: name}, Stream: name}
		first, err := made.selects(record)
		if took := time.Since(begin); took > 5*time.Second {
			t.Fatalf("took %v", took)
		}
		if err != nil {
			return
		}
		if second, err := made.selects(record); err != nil || second != first {
			t.Fatalf("%v, then %v, %v", first, second, err)
		}
		if pattern == "" && first != strings.HasPrefix(name, prefix) {
			t.Fatalf("prefix %q of %q: %v", prefix, name, first)
		}
	})
}
