package money

import (
	"encoding/json"
	"testing"
)

// TestQuickReadAgreesWithTheGeneralOne: whatever the quick way reads, the
// general way reads the same.
func TestQuickReadAgreesWithTheGeneralOne(t *testing.T) {
	for text, quick := range map[string]bool{
		`{"amount":"12.34","currency":"EUR"}`:                true,
		`{"amount":"-0.001","currency":"GBP"}`:               true,
		`{"amount":"9223372036854775807","currency":"JPY"}`:  true,
		`{"amount":"12.34","currency":"XXX"}`:                false,
		`{"amount":"1e3","currency":"EUR"}`:                  false,
		`{"amount":"","currency":"EUR"}`:                     false,
		`{"amount": "1.00","currency":"EUR"}`:                false,
		`{"currency":"EUR","amount":"1.00"}`:                 false,
		`{"amount":"1.00","currency":"EUR","x":1}`:           false,
		`{"amount":"1.00","currency":"EUR"} `:                false,
		`{"amount":"1.00","currency":"EUR","amount":"2.00"}`: false,
	} {
		a, ok := parseWritten([]byte(text))
		if ok != quick {
			t.Errorf("%s: quick is %v", text, ok)
			continue
		}
		if !ok {
			continue
		}
		// A space sends the same value the general way.
		var b Amount
		if err := json.Unmarshal([]byte("{ "+text[1:]), &b); err != nil || a != b {
			t.Errorf("%s: %v quickly, %v generally, %v", text, a, b, err)
		}
	}
}
