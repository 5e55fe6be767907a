package main

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// nothing stands for a value that is not there.
const nothing = "(none)"

// inWords is a JSON value on one line, for people: amounts of money as 12.34
// EUR, objects as their fields, lists with semicolons. What it cannot read is
// left as it is.
func inWords(value []byte) string {
	v := jsontext.Value(value)
	if len(v) == 0 || !v.IsValid() {
		if len(v) == 0 {
			return nothing
		}
		return oneLine(string(value))
	}
	return words(jsontext.NewDecoder(strings.NewReader(string(value))))
}

func words(d *jsontext.Decoder) string {
	switch d.PeekKind() {
	case '{':
		return objectWords(d)
	case '[':
		_, _ = d.ReadToken()
		var parts []string
		for d.PeekKind() != ']' {
			parts = append(parts, words(d))
		}
		_, _ = d.ReadToken()
		if len(parts) == 0 {
			return nothing
		}
		return strings.Join(parts, "; ")
	}
	token, err := d.ReadToken()
	if err != nil || token.Kind() == 'n' || token.Kind() == '"' && token.String() == "" {
		return nothing
	}
	return oneLine(token.String())
}

func objectWords(d *jsontext.Decoder) string {
	value, _ := d.ReadValue()
	var money struct {
		Amount   string `json:"amount"`
		Currency string `json:"currency"`
	}
	if json.Unmarshal(value, &money, json.RejectUnknownMembers(true)) == nil && money.Currency != "" {
		return oneLine(money.Amount + " " + money.Currency)
	}
	d = jsontext.NewDecoder(strings.NewReader(string(value)))
	_, _ = d.ReadToken()
	var parts []string
	for d.PeekKind() != '}' {
		name, _ := d.ReadToken()
		part := oneLine(name.String()) + " "
		nested := d.PeekKind() == '['
		if text := words(d); nested && text != nothing {
			part += "(" + text + ")"
		} else {
			part += text
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return nothing
	}
	return strings.Join(parts, ", ")
}

// oneLine makes text that others wrote fit for a table on a terminal: no line
// breaks, no tabs, nothing that steers it.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// clockTime is how tables show an instant: UTC, to the second.
func clockTime(t time.Time) string { return t.UTC().Format(time.DateTime) }

// happenedAt is when something happened, where that is not when it was recorded.
func happenedAt(at, recorded time.Time) string {
	if clockTime(at) == clockTime(recorded) {
		return ""
	}
	return clockTime(at)
}

// plural is "1 order" or "2 orders".
func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if stem, y := strings.CutSuffix(one, "y"); y {
		one = stem + "ie"
	}
	return grouped(n) + " " + one + "s"
}

// grouped writes a number with commas: 99,441.
func grouped(n int64) string {
	if n < 0 {
		return "-" + grouped(-n)
	}
	if n < 1000 {
		return strconv.FormatInt(n, 10)
	}
	rest := strconv.FormatInt(n%1000, 10)
	return grouped(n/1000) + "," + strings.Repeat("0", 3-len(rest)) + rest
}
