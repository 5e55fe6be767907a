package readmodel

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/query"
)

// Question is one that a View answers: GET /v1/read-models/NAME/QUESTION.
type Question[D any] struct {
	// Name of lower case letters, digits and hyphens.
	Name string
	// Doc says in a sentence what is answered.
	Doc string
	// Params that may be given, beside limit and cursor.
	Params []Param
	// Answer asks r and returns what is written as JSON: a Page mostly. It ends
	// with ctx; a *domain.Rejection as error is answered as a problem of its own.
	Answer func(ctx context.Context, r Reader[D], a Asked) (any, error)
}

// Param of a question: a whole number from Min to Max, or, where Max is 0, a text
// of 1 to 200 characters.
type Param struct {
	Name, Doc string
	Min, Max  int64
	Required  bool
	Default   int64 // of a number that is not given
}

// Asked is what came with a question, checked.
type Asked struct {
	// Now is when the question was asked: of a further page, when the first one was,
	// so that a selection that goes by it is the same on all of them.
	Now    time.Time
	Limit  int    // of a page; 0: query.DefaultLimit
	Cursor string // of the page before; empty: the first page

	numbers map[string]int64
	texts   map[string]string
}

// Number that was given under a name, or its Default.
func (a Asked) Number(name string) int64 { return a.numbers[name] }

// Text that was given under a name; empty when none was.
func (a Asked) Text(name string) string { return a.texts[name] }

// Refusals of questions.
var (
	ErrQuestion  = domain.Reject(domain.NotFound, "unknown-question", "the read model has no such question")
	ErrParameter = domain.Reject(domain.Invalid, "invalid-parameter", "the question is not asked like this")
)

const (
	limitName, cursorName = "limit", "cursor"
	// longestText of a parameter, in characters.
	longestText = 200
)

// checkParams panics where two of them cannot be told apart.
func checkParams(of string, params []Param) {
	seen := map[string]bool{"": true, limitName: true, cursorName: true}
	for _, p := range params {
		if seen[p.Name] || p.Min > p.Max || p.Max != 0 && !p.Required && (p.Default < p.Min || p.Default > p.Max) {
			panic(fmt.Sprintf("readmodel: parameter %q of %s: want each name once, not limit or cursor, and a Default from Min to Max", p.Name, of))
		}
		seen[p.Name] = true
	}
}

// asked checks what came with a question, at an instant.
func (q Asking) asked(given url.Values, now time.Time) (Asked, error) {
	a := Asked{Now: now.Truncate(time.Microsecond), numbers: map[string]int64{}, texts: map[string]string{}}
	if given.Has(cursorName) {
		var err error
		if a.Now, a.Cursor, err = openCursor(given.Get(cursorName)); err != nil {
			return Asked{}, err
		}
	}
	known := map[string]bool{cursorName: true, limitName: true}
	for _, p := range append([]Param{{Name: limitName, Min: 1, Max: query.MaxLimit, Default: query.DefaultLimit}}, q.Params...) {
		known[p.Name] = true
		if !given.Has(p.Name) {
			if p.Required {
				return Asked{}, ErrParameter.At(p.Name).With(p.Name + " is wanted")
			}
			a.numbers[p.Name] = p.Default
			continue
		}
		text := given.Get(p.Name)
		if p.Max == 0 {
			if text == "" || !utf8.ValidString(text) || strings.ContainsRune(text, 0) || utf8.RuneCountInString(text) > longestText {
				return Asked{}, ErrParameter.At(p.Name).With(fmt.Sprintf("%s takes 1 to %d characters of UTF-8, without NUL", p.Name, longestText))
			}
			a.texts[p.Name] = text
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < p.Min || n > p.Max || text != strconv.FormatInt(n, 10) {
			return Asked{}, ErrParameter.At(p.Name).With(fmt.Sprintf("%s takes a whole number from %d to %d, not %.40q", p.Name, p.Min, p.Max, text))
		}
		a.numbers[p.Name] = n
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch {
		case !known[name]:
			return Asked{}, ErrParameter.At(name).With(fmt.Sprintf("there is no %.40q in it", name))
		case len(given[name]) > 1:
			return Asked{}, ErrParameter.At(name).With(name + " may be given once")
		}
	}
	a.Limit = int(a.numbers[limitName])
	return a, nil
}

// A cursor of a page is that of the list behind it, with the instant of the first
// page, in microseconds, and a dot in front.

func sealCursor(now time.Time, cursor string) string {
	if cursor == "" {
		return ""
	}
	return strconv.FormatInt(now.UnixMicro(), 10) + "." + cursor
}

func openCursor(text string) (now time.Time, cursor string, err error) {
	instant, cursor, _ := strings.Cut(text, ".")
	micros, err := strconv.ParseInt(instant, 10, 64)
	if err != nil || cursor == "" || micros < 0 || micros > lastInstant {
		return time.Time{}, "", query.ErrCursorInvalid
	}
	return time.UnixMicro(micros).UTC(), cursor, nil
}

// lastInstant that a cursor may tell: the end of the year 9999.
var lastInstant = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).UnixMicro()
