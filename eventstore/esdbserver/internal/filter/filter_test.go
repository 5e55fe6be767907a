package filter_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/filter"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

func record(stream, typ string) *eventstore.Record {
	return &eventstore.Record{Stream: stream, Event: eventstore.Event{Type: typ}}
}

func TestMatch(t *testing.T) {
	placed, system := record("order-1", "OrderPlaced"), record("$users", "$User")
	for name, c := range map[string]struct {
		options        filter.Options
		placed, system bool
	}{
		"prefix of streams":                  {filter.Options{Prefixes: []string{"cart-", "order-"}}, true, false},
		"prefix of types":                    {filter.Options{ByType: true, Prefixes: []string{"$"}}, false, true},
		"prefix is not a substring":          {filter.Options{Prefixes: []string{"rder"}}, false, false},
		"expression on streams":              {filter.Options{Regex: `^\$`}, false, true},
		"expression is not anchored":         {filter.Options{ByType: true, Regex: "Place"}, true, false},
		"expression is case-sensitive":       {filter.Options{ByType: true, Regex: "place"}, false, false},
		"expression wins over prefixes":      {filter.Options{Regex: "^cart", Prefixes: []string{"order-"}}, false, false},
		"neither":                            {filter.Options{}, false, false},
		"empty prefix":                       {filter.Options{Prefixes: []string{""}}, true, true},
		"Go's exclusion of system events":    {filter.Options{ByType: true, Regex: `^[^\$].*`}, true, false},
		"Python's exclusion (lookahead)":     {filter.Options{ByType: true, Regex: `^(?!(\$.+$|PersistentConfig\d+$))`}, true, false},
		"Python's exclusion of everything":   {filter.Options{ByType: true, Regex: `^(?!(.*$))`}, false, false},
		"Python's inclusion, loose anchors":  {filter.Options{ByType: true, Regex: `^Order|User$`}, true, true},
		"Python's inclusion of nothing here": {filter.Options{ByType: true, Regex: `^Cart|Paid$`}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := filter.New(c.options)
			if err != nil {
				t.Fatal(err)
			}
			for r, want := range map[*eventstore.Record]bool{placed: c.placed, system: c.system} {
				if got, err := f.Match(r); got != want || err != nil {
					t.Errorf("%s in %s: %v, %v; want %v", r.Type, r.Stream, got, err, want)
				}
			}
		})
	}
}

func TestNilMatchesEverything(t *testing.T) {
	var f *filter.Filter
	if ok, err := f.Match(record("s", "t")); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestRefusals(t *testing.T) {
	for name, o := range map[string]filter.Options{
		"does not compile":  {Regex: "("},
		"too long":          {Regex: strings.Repeat("a", filter.MaxRegexBytes+1)},
		"too many prefixes": {Prefixes: make([]string, filter.MaxPrefixBytes)},
		"long prefixes":     {Prefixes: []string{strings.Repeat("a", filter.MaxPrefixBytes), "b"}},
	} {
		_, err := filter.New(o)
		if !refused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := filter.New(filter.Options{Regex: strings.Repeat("a", filter.MaxRegexBytes), Prefixes: make([]string, filter.MaxPrefixBytes)}); err != nil {
		t.Errorf("the longest expression: %v", err)
	}
}

func refused(err error) bool {
	refusal := new(wire.Refusal)
	return errors.As(err, &refusal) && refusal.Code == codes.InvalidArgument
}

// An expression made to take for ever fails, and does not answer no.
func TestEndlessMatchFails(t *testing.T) {
	f, err := filter.New(filter.Options{Regex: `^(a+)+$`})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if ok, err := f.Match(record(strings.Repeat("a", 60)+"!", "t")); ok || !refused(err) {
			t.Errorf("matched: %v, %v", ok, err)
		}
	}
	if ok, err := f.Match(record("aaa", "t")); !ok || err != nil {
		t.Errorf("the next one: %v, %v", ok, err)
	}
}

// What was decided for a name holds for the next record of it, and names that
// come once cost nothing in the end.
func TestManyNames(t *testing.T) {
	f, err := filter.New(filter.Options{Regex: "7$"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for n := range 5000 {
			name := fmt.Sprint("order-", n)
			if ok, err := f.Match(record(name, "t")); ok != strings.HasSuffix(name, "7") || err != nil {
				t.Fatalf("%s: %v, %v", name, ok, err)
			}
		}
	}
}

func FuzzNew(f *testing.F) {
	f.Add(`^(?!(\$.+$))`, "order-1")
	f.Add(`^[^\$].*`, "$users")
	f.Add(`(a{1000}){1000}`, "aaaa")
	f.Add(`(?<n>x)\k<n>`, "xx")
	f.Fuzz(func(t *testing.T, regex, name string) {
		made, err := filter.New(filter.Options{Regex: regex})
		if err != nil {
			return
		}
		first, err := made.Match(record(name, "t"))
		if err != nil {
			return
		}
		if second, err := made.Match(record(name, "t")); second != first || err != nil || regex == "" && second {
			t.Errorf("matched %v, then %v, %v", first, second, err)
		}
	})
}
