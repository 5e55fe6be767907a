package readmodel

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/docket-orders/docket/query"
)

func TestAsked(t *testing.T) {
	t.Parallel()
	q := Asking{Name: "late", Params: []Param{{Name: "days", Min: -5, Max: 90, Default: 7}, {Name: "who"}, {Name: "must", Required: true}}}
	now := time.Date(2026, 3, 1, 12, 0, 0, 1234567, time.UTC)
	for given, want := range map[string]error{
		"must=x": nil, "must=x&days=-5": nil, "must=x&days=90&limit=1000&who=%C3%A3": nil,
		"": ErrParameter, "must=": ErrParameter, "must=%00": ErrParameter, "must=%FF": ErrParameter, "must=x&must=x": ErrParameter,
		"must=x&days=91": ErrParameter, "must=x&days=-6": ErrParameter, "must=x&days=%2B7": ErrParameter, "must=x&days=07": ErrParameter, "must=x&days=": ErrParameter,
		"must=x&limit=0": ErrParameter, "must=x&limit=1001": ErrParameter, "must=x&Days=7": ErrParameter, "must=x&=": ErrParameter, "must=x&cursor=1.a&cursor=1.a": ErrParameter,
		"must=x&cursor=": query.ErrCursorInvalid, "must=x&cursor=abc": query.ErrCursorInvalid, "must=x&cursor=1.": query.ErrCursorInvalid, "must=x&cursor=.a": query.ErrCursorInvalid,
		"must=x&cursor=-1.a": query.ErrCursorInvalid, "must=x&cursor=9223372036854775807.a": query.ErrCursorInvalid,
	} {
		values, err := url.ParseQuery(given)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := q.asked(values, now); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %+v, %v", given, a, err)
		}
	}
	a, err := q.asked(url.Values{"must": {"x"}}, now)
	if err != nil || a.Number("days") != 7 || a.Limit != query.DefaultLimit || a.Text("must") != "x" || a.Text("who") != "" || a.Cursor != "" {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestLaterPagesAreOfTheSameInstant: what a question selects by the clock is the
// same on every page.
func TestLaterPagesAreOfTheSameInstant(t *testing.T) {
	t.Parallel()
	q := Asking{Name: "late"}
	first, err := q.asked(nil, time.Date(2026, 3, 1, 12, 0, 0, 1234567, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	second, err := q.asked(url.Values{"cursor": {sealCursor(first.Now, "abc")}}, first.Now.Add(time.Hour))
	if err != nil || !second.Now.Equal(first.Now) || second.Cursor != "abc" {
		t.Errorf("%+v, %v, first %v", second, err, first.Now)
	}
	if sealCursor(first.Now, "") != "" {
		t.Error("the last page has a cursor")
	}
}
