// Package filter selects records of the log by stream name or event type, by a
// regular expression or by prefixes, as EventStoreDB does.
//
// It promises the dialect of .NET (unanchored, case-sensitive, with
// lookaheads), which clients use in their defaults, and an end to every match:
// an expression that takes too long fails instead of holding a reader up. It
// refuses expressions that do not compile. Catch-up subscriptions (reading)
// and persistent subscriptions (groups) use it.
package filter

import (
	"fmt"
	"strings"
	"time"

	"github.com/dlclark/regexp2"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

const (
	// maxExpression bounds an expression, in bytes; maxPrefixes the number of
	// prefixes.
	maxExpression = 16 << 10
	maxPrefixes   = 10_000
	// matchTimeout bounds one match; ordinary ones take microseconds.
	matchTimeout = 500 * time.Millisecond
)

// Options of a filter, as they stand on the wire. A regular expression wins
// over prefixes; without either nothing matches.
type Options struct {
	ByType   bool     `json:"byType"` // event types; otherwise stream names
	Regex    string   `json:"regex,omitempty"`
	Prefixes []string `json:"prefixes,omitempty"`
}

// Filter selects records. It may be used by many goroutines; nil selects every
// record.
type Filter struct {
	byType   bool
	regex    *regexp2.Regexp
	prefixes []string
}

// New makes a filter, or refuses with INVALID_ARGUMENT.
func New(o Options) (*Filter, error) {
	f := &Filter{byType: o.ByType, prefixes: o.Prefixes}
	switch {
	case len(o.Regex) > maxExpression:
		return nil, wire.BadRequest("The regular expression is longer than %d bytes.", maxExpression)
	case len(o.Prefixes) > maxPrefixes:
		return nil, wire.BadRequest("The filter has more than %d prefixes.", maxPrefixes)
	case o.Regex != "":
		var err error
		if f.regex, err = regexp2.Compile(o.Regex, regexp2.None); err != nil {
			return nil, wire.BadRequest("The regular expression is none: %v.", err)
		}
		f.regex.MatchTimeout = matchTimeout
	}
	return f, nil
}

// Match reports whether the record is selected. It fails when the regular
// expression takes too long for it: the caller must not take that for a no.
func (f *Filter) Match(r *eventstore.Record) (bool, error) {
	if f == nil {
		return true, nil
	}
	name := r.Stream
	if f.byType {
		name = r.Type
	}
	if f.regex != nil {
		ok, err := f.regex.MatchString(name)
		if err != nil {
			return false, fmt.Errorf("match the filter with %.100q: %w", name, err)
		}
		return ok, nil
	}
	for _, p := range f.prefixes {
		if strings.HasPrefix(name, p) {
			return true, nil
		}
	}
	return false, nil
}
