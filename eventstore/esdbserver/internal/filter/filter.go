// Package filter selects records of the log by stream name or event type, by a
// regular expression or by prefixes, as EventStoreDB does.
//
// It promises the dialect of .NET (unanchored, case-sensitive, with
// lookaheads), which clients use in their defaults, and an end to every match:
// an expression that takes too long fails instead of holding a reader up. It
// refuses expressions that do not compile, and what is too large to be kept.
// Catch-up subscriptions (reading) and persistent subscriptions (groups) use
// it.
package filter

import (
	"strings"
	"time"

	"github.com/dlclark/regexp2"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

const (
	// MaxPrefixBytes bounds the prefixes of a filter taken together, and
	// MaxRegexBytes its regular expression: a subscription keeps them.
	MaxPrefixBytes = 64 << 10
	MaxRegexBytes  = 4 << 10
	// matchTimeout is after how long a regular expression is given up; the clock
	// behind it moves each 100 ms. A name longer than maxMatched bytes is looked
	// at so far only: what is remembered while backtracking grows with it.
	matchTimeout = 50 * time.Millisecond
	maxMatched   = 2 << 10
	// Nor may names take maxAverage on average, once all together took maxSpent.
	maxAverage = time.Millisecond
	maxSpent   = time.Second
	// maxVerdicts bounds the names whose matching is remembered.
	maxVerdicts = 1 << 10
)

// Options of a filter, as they stand on the wire. A regular expression wins
// over prefixes; without either nothing matches.
type Options struct {
	ByType   bool     `json:"byType"` // event types; otherwise stream names
	Regex    string   `json:"regex,omitempty"`
	Prefixes []string `json:"prefixes,omitempty"`
}

// Filter selects records. It is used by one goroutine; nil selects every
// record.
type Filter struct {
	byType   bool
	prefixes []string
	regex    *regexp2.Regexp // nil: the prefixes count
	verdicts map[string]bool // of the regular expression
	matched  int64           // how many names it was asked about
	spent    time.Duration   // on them
}

// New makes a filter, or refuses with INVALID_ARGUMENT.
func New(o Options) (*Filter, error) {
	f := &Filter{byType: o.ByType}
	if o.Regex != "" {
		return f, f.compile(o.Regex)
	}
	size := 0
	for _, p := range o.Prefixes {
		size += len(p)
	}
	if size > MaxPrefixBytes || len(o.Prefixes) > MaxPrefixBytes/8 {
		return nil, wire.BadRequest("The prefixes of the filter are more than %d bytes.", MaxPrefixBytes)
	}
	f.prefixes = o.Prefixes
	return f, nil
}

// compile takes a pattern in the dialect of .NET, which has what Go's regexp
// refuses: clients exclude with lookaheads.
func (f *Filter) compile(pattern string) error {
	if len(pattern) > MaxRegexBytes {
		return wire.BadRequest("The regular expression of the filter is longer than %d bytes.", MaxRegexBytes)
	}
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return wire.BadRequest("The regular expression of the filter is invalid: %v", err)
	}
	re.MatchTimeout = matchTimeout
	f.regex, f.verdicts = re, map[string]bool{}
	return nil
}

// Match reports whether the record is selected. It fails with INVALID_ARGUMENT
// when the regular expression takes too long, which is not a no: who goes on
// asks again.
func (f *Filter) Match(r *eventstore.Record) (bool, error) {
	if f == nil {
		return true, nil
	}
	name := r.Stream
	if f.byType {
		name = r.Type
	}
	if f.regex != nil {
		return f.matches(name[:min(len(name), maxMatched)])
	}
	for _, p := range f.prefixes {
		if strings.HasPrefix(name, p) {
			return true, nil
		}
	}
	return false, nil
}

func (f *Filter) matches(name string) (bool, error) {
	if verdict, known := f.verdicts[name]; known {
		return verdict, nil
	}
	begin := time.Now()
	verdict, err := f.regex.MatchString(name)
	f.matched++
	f.spent += time.Since(begin)
	if err != nil || f.spent > maxSpent && f.spent/time.Duration(f.matched) > maxAverage {
		f.matched, f.spent = 0, 0
		return false, wire.BadRequest("The regular expression of the filter takes too long for %.100q.", name)
	}
	if len(f.verdicts) >= maxVerdicts {
		clear(f.verdicts)
	}
	f.verdicts[strings.Clone(name)] = verdict // name may be a part of something long
	return verdict, nil
}
