package reading

import (
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/dlclark/regexp2"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

const (
	// defaultWindow is how many events a page examines when the client names no
	// window.
	defaultWindow = 32
	// MaxFilterBytes bounds the prefixes of a filter taken together, and
	// MaxRegexBytes its regular expression: a subscription keeps them.
	MaxFilterBytes = 64 << 10
	MaxRegexBytes  = 4 << 10
	// matchTimeout is after how long a regular expression is given up; the clock
	// behind it moves each 100 ms. A name longer than maxMatched bytes is looked
	// at so far only: what is remembered while backtracking grows with it.
	matchTimeout = 50 * time.Millisecond
	maxMatched   = 2 << 10
	// Nor may names take this long on average, once all together took a second.
	maxAverage = time.Millisecond
	// maxVerdicts bounds the names whose matching is remembered.
	maxVerdicts = 1 << 10
)

// filter selects records by stream name or by event type. It is used by one
// goroutine.
type filter struct {
	byType   bool
	prefixes []string
	regex    *regexp2.Regexp // nil: the prefixes count
	verdicts map[string]bool // of the regular expression
	matched  int64           // how many names it was asked about
	spent    time.Duration   // on them
	// interval is after how many examined records a subscription tells how far
	// it came.
	interval uint64
}

func newFilter(o *streams.ReadReq_Options_FilterOptions, subscription bool) (*filter, error) {
	f := &filter{}
	var e *streams.ReadReq_Options_FilterOptions_Expression
	switch v := o.GetFilter().(type) {
	case *streams.ReadReq_Options_FilterOptions_StreamIdentifier:
		e = v.StreamIdentifier
	case *streams.ReadReq_Options_FilterOptions_EventType:
		e, f.byType = v.EventType, true
	default:
		return nil, wire.BadRequest("The filter names neither streams nor event types.")
	}
	window := uint64(defaultWindow)
	switch v := o.GetWindow().(type) {
	case *streams.ReadReq_Options_FilterOptions_Max:
		window = uint64(v.Max)
	case *streams.ReadReq_Options_FilterOptions_Count:
	default:
		return nil, wire.BadRequest("The window of the filter is missing.")
	}
	f.interval = window * uint64(o.GetCheckpointIntervalMultiplier())
	if subscription && f.interval == 0 {
		return nil, wire.BadRequest("The checkpoint interval of the filter is zero.")
	}
	if e.GetRegex() != "" {
		return f, f.compile(e.GetRegex())
	}
	f.prefixes = e.GetPrefix()
	size := 0
	for _, p := range f.prefixes {
		size += len(p)
	}
	if size > MaxFilterBytes || len(f.prefixes) > MaxFilterBytes/8 {
		return nil, wire.BadRequest("The prefixes of the filter are more than %d bytes.", MaxFilterBytes)
	}
	return f, nil
}

// compile takes a pattern in the dialect of .NET, which has what Go's regexp
// refuses: clients exclude with lookaheads.
func (f *filter) compile(pattern string) error {
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

// selects reports whether a record is wanted; a nil filter selects all. It
// fails when the regular expression takes too long.
func (f *filter) selects(r *eventstore.Record) (bool, error) {
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

func (f *filter) matches(name string) (bool, error) {
	if verdict, known := f.verdicts[name]; known {
		return verdict, nil
	}
	begin := time.Now()
	verdict, err := f.regex.MatchString(name)
	f.matched++
	f.spent += time.Since(begin)
	if err != nil || f.spent > time.Second && f.spent/time.Duration(f.matched) > maxAverage {
		return false, wire.BadRequest("The regular expression of the filter takes too long for %.100q.", name)
	}
	if len(f.verdicts) >= maxVerdicts {
		clear(f.verdicts)
	}
	f.verdicts[name] = verdict
	return verdict, nil
}
