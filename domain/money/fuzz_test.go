package money_test

import (
	"errors"
	"testing"

	"github.com/docket-orders/docket/domain/money"
)

// FuzzParse: what is read is written as it was meant, and what is refused is
// refused by name.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"12.34", "-0", "0.0000001", "9223372036854775807", "-9223372036854775808", "1e5", " 1", "007.50", ".5", "1.", ""} {
		f.Add(text, "EUR")
		f.Add(text, "JPY")
	}
	f.Fuzz(func(t *testing.T, text, code string) {
		c, err := money.ParseCurrency(code)
		if err != nil {
			return
		}
		a, err := money.Parse(text, c)
		if err != nil {
			if !errors.Is(err, money.ErrSyntax) && !errors.Is(err, money.ErrScale) && !errors.Is(err, money.ErrRange) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := money.Parse(a.Decimal(), c)
		if err != nil || again != a {
			t.Fatalf("%q is %s, which is %v %v", text, a.Decimal(), again, err)
		}
		if a.Neg().Neg() != a || a.Scale() < c.Decimals() || a.Scale() > max(money.MaxScale, c.Decimals()) {
			t.Fatalf("%q: %v of scale %d", text, a, a.Scale())
		}
	})
}
