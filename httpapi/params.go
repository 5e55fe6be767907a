package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docket-orders/docket/query"
)

// paramKind is the form of a query parameter's value.
type paramKind uint8

const (
	text    paramKind = iota
	integer           // min to max
	instant           // RFC 3339, or a day, which is its first instant in UTC
	day               // 2018-01-31
	boolean           // true or false
	decimal           // 12.34
	moment            // RFC 3339
	place             // in the log: 4711
	point             // query.ParsePoint
)

// param is a query parameter of a route: what the request is checked against
// and what the document says.
type param struct {
	name     string
	kind     paramKind
	many     bool // may be repeated: any of the values
	required bool
	allowed  []string // closed set; empty for an open one
	min, max int64    // of an integer
	doc      string
	example  string
}

// Bounds of the query string.
const (
	maxValues      = query.MaxValues // of one repeatable parameter
	maxValueLength = 1024
)

// values are query parameters that were checked.
type values url.Values

// checkQuery refuses what the route does not know, and every value that is not
// of its parameter's form, so that the getters below cannot fail.
func checkQuery(raw string, params []param) (values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errQueryMalformed()
	}
	for _, name := range sortedKeys(q) {
		i := slices.IndexFunc(params, func(p param) bool { return p.name == name })
		if i < 0 {
			return nil, badParameter(printable(name), "unknown parameter; %s", allowedNames(params))
		}
		p := params[i]
		given := q[name]
		switch {
		case len(given) > 1 && !p.many:
			return nil, badParameter(name, "is there %d times, allowed is once", len(given))
		case len(given) > maxValues:
			return nil, badParameter(name, "is there %d times, allowed are %d", len(given), maxValues)
		}
		for _, v := range given {
			if complaint := p.check(v); complaint != "" {
				return nil, badParameter(name, "%s", complaint)
			}
		}
	}
	for _, p := range params {
		if p.required && len(q[p.name]) == 0 {
			return nil, badParameter(p.name, "is missing: %s", p.doc)
		}
	}
	return values(q), nil
}

func errQueryMalformed() *Problem {
	return problem("invalid-parameter", "the query string is not well-formed")
}

func allowedNames(params []param) string {
	if len(params) == 0 {
		return "none is allowed here"
	}
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.name
	}
	return "allowed are " + strings.Join(names, ", ")
}

// check says what is wrong with a value, "" when nothing is.
func (p param) check(v string) string {
	switch {
	case v == "":
		return "is empty"
	case len(v) > maxValueLength:
		return "is longer than " + strconv.Itoa(maxValueLength) + " bytes"
	case !utf8.ValidString(v):
		return "is not text in UTF-8"
	case strings.ContainsRune(v, 0):
		return "holds a NUL character"
	case len(p.allowed) > 0 && !slices.Contains(p.allowed, v):
		return "unknown value; allowed are " + strings.Join(p.allowed, ", ")
	}
	switch p.kind {
	case integer:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < p.min || n > p.max || v != strconv.FormatInt(n, 10) {
			return "want a whole number from " + strconv.FormatInt(p.min, 10) + " to " + strconv.FormatInt(p.max, 10)
		}
	case instant:
		if _, err := parseInstantOrDay(v); err != nil {
			return err.Error() + ", or a day such as 2018-01-31" + plusHint(v)
		}
	case day:
		if t, err := time.Parse(time.DateOnly, v); err != nil || t.Year() < 1 {
			return "want a day such as 2018-01-31"
		}
	case moment:
		if _, err := query.ParseInstant(v); err != nil {
			return err.Error() + plusHint(v)
		}
	case place:
		if _, err := query.ParsePosition(v); err != nil {
			return err.Error()
		}
	case point:
		if _, err := query.ParsePoint(v); err != nil {
			return err.Error() + plusHint(v)
		}
	case boolean:
		if v != "true" && v != "false" {
			return "want true or false"
		}
	}
	return ""
}

// plusHint helps who wrote a zone such as +02:00 as it is: a plus in a query
// string is a space.
func plusHint(v string) string {
	if strings.Contains(v, " ") {
		return "; a + is written %2B in a query string"
	}
	return ""
}

func parseInstantOrDay(v string) (time.Time, error) {
	if len(v) == len(time.DateOnly) {
		return query.ParseInstant(v + "T00:00:00Z")
	}
	return query.ParseInstant(v)
}

func (v values) text(name string) string    { return url.Values(v).Get(name) }
func (v values) texts(name string) []string { return v[name] }
func (v values) has(name string) bool       { return len(v[name]) > 0 }

// is reports whether a boolean parameter is there and true.
func (v values) is(name string) bool { return v.text(name) == "true" }

func (v values) integer(name string, otherwise int) int {
	if !v.has(name) {
		return otherwise
	}
	n, _ := strconv.Atoi(v.text(name))
	return n
}

func (v values) instant(name string) *time.Time {
	if !v.has(name) {
		return nil
	}
	t, _ := parseInstantOrDay(v.text(name))
	return &t
}

func (v values) moment(name string) *time.Time {
	if !v.has(name) {
		return nil
	}
	t, _ := query.ParseInstant(v.text(name))
	return &t
}

// point is the cut a parameter names; now when it is absent.
func (v values) point(name string) query.Cut {
	if !v.has(name) {
		return query.Cut{}
	}
	cut, _ := query.ParsePoint(v.text(name))
	return cut
}

// cut is what cutParams say together.
func (v values) cut() query.Cut {
	cut := query.Cut{AsOf: v.moment("asOf"), EffectiveAt: v.moment("effectiveAt")}
	if v.has("atRevision") {
		revision, _ := query.ParseRevision(v.text("atRevision"))
		cut.Revision = &revision
	}
	if v.has("atPosition") {
		position, _ := query.ParsePosition(v.text("atPosition"))
		cut.Position = &position
	}
	return cut
}

func sortedKeys(q url.Values) []string {
	names := make([]string, 0, len(q))
	for name := range q {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// printable makes a name from outside fit for an answer.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.ToValidUTF8(s, "?")
}

// header returns the value of a header that may be there once at most.
func header(r *http.Request, name string) (string, error) {
	given := r.Header.Values(name)
	if len(given) > 1 {
		return "", badHeader(name, "is there %d times, allowed is once", len(given))
	}
	if len(given) == 0 {
		return "", nil
	}
	return strings.TrimSpace(given[0]), nil
}

// preferences are what docket knows of the Prefer header (RFC 7240); others are
// passed over, as the RFC wants.
type preferences struct {
	representation bool
	wait           time.Duration
	waits          bool
}

func parsePrefer(r *http.Request, maxWait time.Duration) (preferences, error) {
	var p preferences
	for _, line := range r.Header.Values("Prefer") {
		for part := range strings.SplitSeq(line, ",") {
			part, _, _ = strings.Cut(part, ";")
			name, value, _ := strings.Cut(part, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "return":
				p.representation = value == "representation"
			case "wait":
				n, err := strconv.ParseUint(value, 10, 16)
				if err != nil {
					return p, badHeader("Prefer", "wait wants a number of seconds")
				}
				p.waits = true
				p.wait = min(time.Duration(n)*time.Second, maxWait)
			}
		}
	}
	return p, nil
}
