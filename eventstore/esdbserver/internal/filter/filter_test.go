package filter

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dlclark/regexp2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
)

func record(stream, typ string) *eventstore.Record {
	return &eventstore.Record{Stream: stream, Event: eventstore.Event{Type: typ}}
}

func made(t testing.TB, o Options) *Filter {
	t.Helper()
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMatch(t *testing.T) {
	streams := func(regex string, prefixes ...string) *Filter {
		return made(t, Options{Regex: regex, Prefixes: prefixes})
	}
	types := func(regex string, prefixes ...string) *Filter {
		return made(t, Options{ByType: true, Regex: regex, Prefixes: prefixes})
	}
	python := `^(?!(\$.+$|PersistentConfig\d+$))`
	for _, c := range []struct {
		filter *Filter
		record *eventstore.Record
		want   bool
	}{
		{nil, record("s", "T"), true},
		{streams("", "a", "s"), record("s-1", "T"), true},
		{streams("", "a", "s"), record("t", "a"), false},
		{types("", "a", "s"), record("t", "a"), true},
		{streams("", ""), record("t", "a"), true}, // every name begins with nothing
		{streams("", "rder"), record("order-1", "a"), false},
		{streams(""), record("s", "T"), false},
		{streams("^a", "s"), record("s", "T"), false}, // prefixes do not count then
		{types(`^[^\$].*`), record("s", "$metadata"), false},
		{types(`^[^\$].*`), record("$s", "T"), true},
		{types(python), record("s", "$metadata"), false},
		{types(python), record("s", "$"), true},
		{types(python), record("s", "PersistentConfig1"), false},
		{types(python), record("s", "PersistentConfig1a"), true},
		{types(`^(?!(.*$))`), record("s", "T"), false},
		{types(`^A|B$`), record("s", "AX"), true},
		{types(`^A|B$`), record("s", "XB"), true},
		{types(`^A|B$`), record("s", "XBX"), false},
		{streams(`rder`), record("order-1", ""), true},
		{streams(`Rder`), record("order-1", ""), false},
		{streams(`(?i)Rder`), record("order-1", ""), true},
		{streams(`^(?<word>o.)\k<word>$`), record("oxox", ""), true}, // RE2 has no references
		{streams(`^é\p{Lu}$`), record("éÄ", ""), true},
		{streams(`x$`), record(strings.Repeat("y", maxMatched)+"x", ""), false}, // too long to be looked at whole
	} {
		// Asked twice, as the second answer is remembered.
		for range 2 {
			got, err := c.filter.Match(c.record)
			if err != nil || got != c.want {
				t.Errorf("%+v of %q/%q: %v, %v", c.filter, c.record.Stream, c.record.Type, got, err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, o := range map[string]Options{
		"does not compile":  {Regex: "("},
		"too long":          {Regex: strings.Repeat("a", MaxRegexBytes+1)},
		"too many prefixes": {Prefixes: make([]string, MaxPrefixBytes)},
		"long prefixes":     {Prefixes: []string{strings.Repeat("a", MaxPrefixBytes), "b"}},
	} {
		if _, err := New(o); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	made(t, Options{Regex: strings.Repeat("a", MaxRegexBytes), Prefixes: make([]string, MaxPrefixBytes)})
}

// TestVerdictsAreForgotten, so that a log of many names costs no memory.
func TestVerdictsAreForgotten(t *testing.T) {
	f := made(t, Options{Regex: "7$"})
	for n := range 3 * maxVerdicts {
		name := fmt.Sprint("order-", n)
		if ok, err := f.Match(record(name, "")); ok != strings.HasSuffix(name, "7") || err != nil {
			t.Fatalf("%s: %v, %v", name, ok, err)
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
		f := made(t, Options{Regex: pattern})
		for _, name := range names {
			begin := time.Now()
			_, err := f.Match(record(name, ""))
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

// TestSlowRegularExpressionsAreGivenUp: none takes long enough by itself. Who
// goes on nevertheless is answered again.
func TestSlowRegularExpressionsAreGivenUp(t *testing.T) {
	f := made(t, Options{Regex: `^(a+)+$`})
	for n := range 1_000_000 {
		if _, err := f.Match(record(strings.Repeat("a", 18)+fmt.Sprint(n)+"!", "")); err != nil {
			if status.Code(err) != codes.InvalidArgument {
				t.Error(err)
			}
			if ok, err := f.Match(record("aaa", "")); !ok || err != nil {
				t.Errorf("the next name: %v, %v", ok, err)
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
		f.Add(pattern, "order-1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", true)
	}
	f.Fuzz(func(t *testing.T, pattern, prefix, name string, byType bool) {
		begin := time.Now()
		// A pattern that is never given up would otherwise just stand still.
		defer time.AfterFunc(20*time.Second, func() { panic(fmt.Sprintf("%q of %q hangs", pattern, name)) }).Stop()
		made, err := New(Options{ByType: byType, Regex: pattern, Prefixes: []string{prefix}})
		if err != nil {
			if status.Code(err) != codes.InvalidArgument {
				t.Fatal(err)
			}
			return
		}
		first, err := made.Match(record(name, name))
		if took := time.Since(begin); took > 5*time.Second {
			t.Fatalf("took %v", took)
		}
		if err != nil {
			return
		}
		if second, err := made.Match(record(name, name)); err != nil || second != first {
			t.Fatalf("%v, then %v, %v", first, second, err)
		}
		if pattern == "" && first != strings.HasPrefix(name, prefix) {
			t.Fatalf("prefix %q of %q: %v", prefix, name, first)
		}
	})
}
