package reconcile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is written down of one finding: a report is read by people,
// and a run's stream must stay small.
const (
	maxFields = 12
	maxValue  = 200 // bytes of a value's JSON
	maxText   = 1000
)

// cut is the finding without what is too long, or no text; Detail says what was
// left out. What another program wrote may be any bytes.
func (f Finding) cut() Finding {
	f.ID = cutText(f.ID, maxValue)
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
			if !utf8.Valid(*value) {
				*value = bytes.ToValidUTF8(*value, []byte(string(utf8.RuneError)))
			}
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

// cutText is the beginning of a text, whole characters, as oneLine makes it.
func cutText(s string, n int) string {
	if len(s) <= n {
		return oneLine(s)
	}
	for least := n - utf8.UTFMax; n > least && !utf8.RuneStart(s[n]); {
		n--
	}
	return oneLine(s[:n]) + "…"
}

// oneLine makes bytes that anybody wrote text that can be encoded and shown.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r):
			return utf8.RuneError
		}
		return r // RuneError where it was no text
	}, s)
}
