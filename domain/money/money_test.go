package money_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/docket-orders/docket/domain/money"
	"pgregory.net/rapid"
)

var currencies = []money.Currency{"EUR", "JPY", "KWD"}

// amounts below limit units at any scale and sign.
func amount(t *rapid.T, c money.Currency, limit int64) money.Amount {
	return money.New(rapid.Int64Range(-limit, limit).Draw(t, "units"), rapid.IntRange(c.Decimals(), money.MaxScale).Draw(t, "scale"), c)
}

func currency(t *rapid.T) money.Currency {
	return rapid.SampledFrom(currencies).Draw(t, "currency")
}

// exact is the amount as a fraction.
func exact(a money.Amount) *big.Rat {
	r, ok := new(big.Rat).SetString(a.Decimal())
	if !ok {
		panic("not a number: " + a.Decimal())
	}
	return r
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"12.34": "12.34", "12.3": "12.30", "12": "12.00", "-0.001": "-0.001", "2.5500": "2.55", "0": "0.00", "-0": "0.00",
		"000.1": "0.10", "92233720368547758.07": "92233720368547758.07", "1.0000000000": "1.00",
	} {
		if got, err := money.Parse(text, "EUR"); err != nil || got.Decimal() != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		"": money.ErrSyntax, "-": money.ErrSyntax, ".5": money.ErrSyntax, "5.": money.ErrSyntax, "+1": money.ErrSyntax, "1e3": money.ErrSyntax,
		" 1": money.ErrSyntax, "1,000": money.ErrSyntax, "1.2.3": money.ErrSyntax, "--1": money.ErrSyntax, "NaN": money.ErrSyntax, "١": money.ErrSyntax,
		"0.0000001": money.ErrScale, "92233720368547758.08": money.ErrRange, "9223372036854775807": money.ErrRange, strings.Repeat("9", 60): money.ErrRange,
	} {
		if got, err := money.Parse(text, "EUR"); !errors.Is(err, want) {
			t.Errorf("%q is %s, %v; want %v", text, got, err, want)
		}
	}
}

func TestWrittenAndReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := currency(t)
		a := amount(t, c, 1<<50)
		if back, err := money.Parse(a.Decimal(), c); err != nil || back != a {
			t.Fatalf("%s is read as %s, %v", a, back, err)
		}
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back money.Amount
		if err := json.Unmarshal(b, &back); err != nil || back != a {
			t.Fatalf("%s is read as %s, %v", b, back, err)
		}
	})
}

func TestJSON(t *testing.T) {
	if b, err := json.Marshal(money.MustParse("12.3", "BRL")); err != nil || string(b) != `{"amount":"12.30","currency":"BRL"}` {
		t.Errorf("%s, %v", b, err)
	}
	if b, err := json.Marshal(money.Amount{}); err != nil || string(b) != "null" {
		t.Errorf("%s, %v", b, err)
	}
	for _, text := range []string{`12.3`, `"12.3"`, `{}`, `{"amount":12.3,"currency":"BRL"}`, `{"amount":"12.3"}`, `{"currency":"BRL"}`,
		`{"amount":"12.3","currency":"brl"}`, `{"amount":"12.3","currency":"XXX"}`, `{"amount":"1e3","currency":"BRL"}`, `{"amount":null,"currency":"BRL"}`, `[]`} {
		var a money.Amount
		if err := json.Unmarshal([]byte(text), &a); err == nil {
			t.Errorf("%s is read as %s", text, a)
		}
	}
}

// TestArithmetic against fractions of unlimited size.
func TestArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := currency(t)
		a, b := amount(t, c, 1<<40), amount(t, c, 1<<40)
		n := rapid.Int64Range(-1000, 1000).Draw(t, "n")
		for _, x := range []struct {
			name string
			got  money.Amount
			want *big.Rat
		}{
			{"a+b", a.Add(b), new(big.Rat).Add(exact(a), exact(b))},
			{"a-b", a.Sub(b), new(big.Rat).Sub(exact(a), exact(b))},
			{"-a", a.Neg(), new(big.Rat).Neg(exact(a))},
			{"a*n", a.Times(n), new(big.Rat).Mul(exact(a), big.NewRat(n, 1))},
		} {
			if exact(x.got).Cmp(x.want) != 0 || x.got.Currency() != c {
				t.Fatalf("%s of %s and %s is %s", x.name, a, b, x.got)
			}
			if x.got != money.MustParse(x.got.Decimal(), c) {
				t.Fatalf("%s is not canonical", x.got)
			}
		}
		if a.Cmp(b) != exact(a).Cmp(exact(b)) || a.Sign() != exact(a).Sign() || a.IsZero() != (exact(a).Sign() == 0) {
			t.Fatalf("%s against %s: %d", a, b, a.Cmp(b))
		}
	})
}

// TestRounded: half away from zero, never further than half a minor unit.
func TestRounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := currency(t)
		a := amount(t, c, 1<<50)
		r := a.Rounded()
		if !r.WholeMinor() {
			t.Fatalf("%s rounds to %s", a, r)
		}
		half := big.NewRat(1, 2)
		for range c.Decimals() {
			half.Quo(half, big.NewRat(10, 1))
		}
		away := new(big.Rat).Sub(exact(r), exact(a))
		switch new(big.Rat).Abs(away).Cmp(half) {
		case 1:
			t.Fatalf("%s rounds to %s", a, r)
		case 0:
			if away.Sign() != a.Sign() {
				t.Fatalf("half of %s rounds to %s, towards zero", a, r)
			}
		}
		if a.Neg().Rounded() != r.Neg() {
			t.Fatalf("%s and its opposite round differently", a)
		}
	})
	for text, want := range map[string]string{"0.005": "0.01", "-0.005": "-0.01", "0.004999": "0.00", "1.015": "1.02", "-2.5": "-2.50"} {
		if got := money.MustParse(text, "EUR").Rounded().Decimal(); got != want {
			t.Errorf("%s rounds to %s, want %s", text, got, want)
		}
	}
}

// TestAllocate: nothing is lost, nobody is a minor unit off, more weight never
// gets less.
func TestAllocate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := currency(t)
		total := money.Minor(rapid.Int64Range(-1<<50, 1<<50).Draw(t, "total"), c)
		weights := rapid.SliceOfN(rapid.Int64Range(0, rapid.SampledFrom([]int64{1, 10, 1 << 50}).Draw(t, "most")), 1, 20).Draw(t, "weights")
		parts := total.Allocate(weights)
		sum, of := money.Zero(c), new(big.Int)
		for i, p := range parts {
			sum = sum.Add(p)
			of.Add(of, big.NewInt(weights[i]))
		}
		if len(parts) != len(weights) || sum != total {
			t.Fatalf("%s by %v is %v", total, weights, parts)
		}
		if of.Sign() == 0 {
			if parts[0] != total {
				t.Fatalf("%s by nothing is %v", total, parts)
			}
			return
		}
		for i, p := range parts {
			share := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(total.MinorUnits()), big.NewInt(weights[i])), of)
			if off := share.Sub(share, big.NewRat(p.MinorUnits(), 1)); off.Abs(off).Cmp(big.NewRat(1, 1)) >= 0 {
				t.Fatalf("%s by %v is %v: part %d", total, weights, parts, i)
			}
			for j := range parts {
				if weights[i] > weights[j] && p.Cmp(parts[j])*total.Sign() < 0 {
					t.Fatalf("%s by %v is %v: part %d is less than part %d", total, weights, parts, i, j)
				}
			}
		}
	})
	if got := money.Minor(5, "EUR").Allocate(nil); got != nil {
		t.Errorf("%v", got)
	}
	if got := money.Minor(1, "EUR").Allocate([]int64{1, 1}); got[0].MinorUnits() != 1 {
		t.Errorf("a tie goes to %v", got)
	}
}

func TestOverflow(t *testing.T) {
	most := money.New(1<<63-1, 2, "EUR")
	if _, err := most.TimesChecked(2); !errors.Is(err, money.ErrRange) {
		t.Error(err)
	}
	if _, err := money.Minor(1, "EUR").TimesChecked(-1 << 63); !errors.Is(err, money.ErrRange) {
		t.Error(err)
	}
	if _, err := money.Sum(most, money.Minor(1, "EUR")); !errors.Is(err, money.ErrRange) {
		t.Error(err)
	}
	if _, err := money.Sum(most.Neg(), money.Minor(-1, "EUR")); !errors.Is(err, money.ErrRange) {
		t.Error(err)
	}
	if _, err := money.Sum(most, money.MustParse("0.001", "EUR")); !errors.Is(err, money.ErrRange) {
		t.Error(err)
	}
	if _, err := money.Sum(most, money.Zero("USD")); err == nil || errors.Is(err, money.ErrRange) {
		t.Errorf("two currencies: %v", err)
	}
	for name, f := range map[string]func(){
		"smallest":        func() { money.New(-1<<63, 2, "EUR") },
		"add":             func() { most.Add(most) },
		"two currencies":  func() { most.Add(money.Zero("USD")) },
		"times":           func() { most.Times(3) },
		"finer units":     func() { money.MustParse("0.001", "EUR").MinorUnits() },
		"negative weight": func() { most.Allocate([]int64{-1}) },
		"large weights":   func() { most.Allocate([]int64{1<<63 - 1, 1<<63 - 1, 1<<63 - 1}) },
		"scale":           func() { money.New(1, 7, "EUR") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			f()
		}()
	}
}

func TestNothing(t *testing.T) {
	var none money.Amount
	a := money.MustParse("1.5", "EUR")
	if none.Add(a) != a || a.Add(none) != a || a.Sub(none) != a || !none.IsZero() || none.Currency() != "" {
		t.Error("the zero value is not neutral")
	}
	if sum, err := money.Sum(); err != nil || sum != none {
		t.Errorf("sum of none: %v, %v", sum, err)
	}
	if none.Rounded() != none || none.Neg() != none || none.Times(3) != none || none.MinorUnits() != 0 {
		t.Error("the zero value does not stay itself")
	}
}

func TestCurrencies(t *testing.T) {
	for code, decimals := range map[string]int{"EUR": 2, "BRL": 2, "GBP": 2, "JPY": 0, "KWD": 3} {
		if c, err := money.ParseCurrency(code); err != nil || c.Decimals() != decimals {
			t.Errorf("%s: %d decimals, %v", code, c.Decimals(), err)
		}
	}
	for _, code := range []string{"", "eur", "XXX", "XAU", "EURO", "\x00\x00\x00"} {
		if c, err := money.ParseCurrency(code); err == nil {
			t.Errorf("%q is %s", code, c)
		}
	}
}
