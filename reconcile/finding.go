package reconcile

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Bounds of what is written down of one finding: a report is read by people,
// and a run's stream must stay small.
const (
	maxFields = 12
	maxValue  = 200 // bytes of a value's JSON
	maxText   = 1000
)

// cut is the finding without what is too long; Detail says what was left out.
func (f Finding) cut() Finding {
	left := len(f.Fields) - maxFields
	if left > 0 {
		f.Fields = f.Fields[:maxFields]
	}
	short := false
	fields := f.Fields
	f.Fields = nil
	for _, c := range fields {
		c.Path = cutText(c.Path, maxValue)
		for _, value := range []*json.RawMessage{&c.Before, &c.After} {
			if len(*value) > maxValue {
				*value, short = quoted(cutText(string(*value), maxValue)), true
			}
		}
		f.Fields = append(f.Fields, c)
	}
	f.Detail = cutText(f.Detail, maxText)
	if left > 0 {
		f.Detail = joined(f.Detail, fmt.Sprintf("%d more fields differ", left))
	}
	if short {
		f.Detail = joined(f.Detail, "long values are cut, as text")
	}
	return f
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

func quoted(text string) json.RawMessage {
	data, err := json.Marshal(text)
	if err != nil {
		panic(err) // text always encodes
	}
	return data
}

// cutText is the beginning of a text, whole characters.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
