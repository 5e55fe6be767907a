package money

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MarshalJSON writes {"amount":"12.34","currency":"BRL"}; the zero value, which
// has no currency, is null.
func (a Amount) MarshalJSON() ([]byte, error) {
	return a.AppendJSON(make([]byte, 0, 48)), nil
}

// AppendJSON appends what MarshalJSON returns.
func (a Amount) AppendJSON(b []byte) []byte {
	if a.currency == "" {
		return append(b, "null"...)
	}
	b = append(b, `{"amount":"`...)
	b = a.appendDecimal(b)
	b = append(b, `","currency":"`...)
	b = append(b, a.currency...)
	return append(b, `"}`...)
}

// UnmarshalJSON reads what MarshalJSON wrote; a number instead of text, another
// field, or a currency that ISO 4217 does not list is an error.
func (a *Amount) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*a = Amount{}
		return nil
	}
	if parsed, ok := parseWritten(data); ok {
		*a = parsed
		return nil
	}
	var raw struct {
		Amount   *string `json:"amount"`
		Currency *string `json:"currency"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf(`money is written {"amount":"12.34","currency":"EUR"}: %w`, err)
	}
	if raw.Amount == nil || raw.Currency == nil {
		return fmt.Errorf(`money is written {"amount":"12.34","currency":"EUR"}`)
	}
	c, err := ParseCurrency(*raw.Currency)
	if err != nil {
		return err
	}
	parsed, err := Parse(*raw.Amount, c)
	if err != nil {
		return fmt.Errorf("amount %.40q: %w", *raw.Amount, err)
	}
	*a = parsed
	return nil
}

// parseWritten reads exactly the form that MarshalJSON writes, many times faster
// than the general way, which has the last word on everything else.
func parseWritten(data []byte) (a Amount, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"amount":"`))
	if !ok {
		return a, false
	}
	amount, rest, ok := bytes.Cut(rest, []byte(`","currency":"`))
	if !ok {
		return a, false
	}
	code, ok := bytes.CutSuffix(rest, []byte(`"}`))
	if !ok {
		return a, false
	}
	c, ok := intern[string(code)]
	if !ok {
		return a, false
	}
	a, err := Parse(string(amount), c)
	return a, err == nil
}
