// Package money counts money exactly: a whole number of units at an explicit
// decimal scale, in an ISO 4217 currency. There is no float in it.
//
// Amounts are canonical: the scale is the smallest one that holds the value and
// is not below the currency's minor unit. So == is equality of value, and 2.550
// BRL is written 2.55. Unit prices may have up to MaxScale decimals; totals are
// rounded to the minor unit, half away from zero (Rounded).
//
// Arithmetic on two currencies or beyond 64 bits panics, since it means that a
// rule forgot to look: rules bound what they accept (Sum and TimesChecked
// report overflow), and the amounts of stored events were bounded once.
package money

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// MaxScale is the largest number of decimals an amount may have.
const MaxScale = 6

// Amount is an amount of money. The zero value has no currency; it is neutral
// in Add and Sub.
type Amount struct {
	units    int64
	scale    uint8
	currency Currency
}

var (
	// ErrSyntax: the text is not a plain decimal number.
	ErrSyntax = errors.New("not a decimal number such as 12.34")
	// ErrScale: more than MaxScale decimals.
	ErrScale = fmt.Errorf("more than %d decimals", MaxScale)
	// ErrRange: beyond 64 bits.
	ErrRange = errors.New("amount is too large")
)

// New makes an amount of units at scale decimals: New(1234, 2, "EUR") is
// 12.34 EUR.
func New(units int64, scale int, c Currency) Amount {
	if scale < 0 || scale > MaxScale {
		panic(fmt.Sprintf("money: scale %d", scale))
	}
	a, err := canonical(units, uint8(scale), c)
	if err != nil {
		panic("money: " + err.Error())
	}
	return a
}

// Minor makes an amount of whole minor units (cents).
func Minor(units int64, c Currency) Amount { return New(units, c.Decimals(), c) }

// Zero is nothing, in c.
func Zero(c Currency) Amount { return Minor(0, c) }

// Parse reads decimal text: an optional minus, digits, and at most MaxScale
// decimals after a point. No exponent, no plus, no spaces, no separators.
func Parse(text string, c Currency) (Amount, error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, frac, point := strings.Cut(digits, ".")
	if !allDigits(whole) || point && !allDigits(frac) {
		return Amount{}, ErrSyntax
	}
	frac = strings.TrimRight(frac, "0")
	if len(frac) > MaxScale {
		return Amount{}, ErrScale
	}
	units, err := strconv.ParseInt(whole+frac, 10, 64)
	if err != nil {
		return Amount{}, ErrRange
	}
	if negative {
		units = -units
	}
	return canonical(units, uint8(len(frac)), c)
}

// MustParse is Parse for constants of tests and examples.
func MustParse(text string, c Currency) Amount {
	a, err := Parse(text, c)
	if err != nil {
		panic(fmt.Sprintf("money: %q: %v", text, err))
	}
	return a
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// canonical gives the amount its smallest scale not below the minor unit.
func canonical(units int64, scale uint8, c Currency) (Amount, error) {
	if units == math.MinInt64 { // it has no opposite
		return Amount{}, ErrRange
	}
	least := uint8(c.Decimals())
	for scale > least && units%10 == 0 {
		units, scale = units/10, scale-1
	}
	if scale < least {
		var ok bool
		if units, ok = mul(units, pow10[least-scale]); !ok {
			return Amount{}, ErrRange
		}
		scale = least
	}
	return Amount{units, scale, c}, nil
}

// Currency of the amount.
func (a Amount) Currency() Currency { return a.currency }

// Scale is the number of decimals the amount is written with.
func (a Amount) Scale() int { return int(a.scale) }

// IsZero reports whether the amount is nothing, in whatever currency.
func (a Amount) IsZero() bool { return a.units == 0 }

// Sign is -1, 0 or 1.
func (a Amount) Sign() int {
	switch {
	case a.units < 0:
		return -1
	case a.units > 0:
		return 1
	}
	return 0
}

// Units is the amount in units of 10^-scale; it panics when the amount has more
// decimals than that.
func (a Amount) Units(scale int) int64 {
	if scale < int(a.scale) && a.units != 0 {
		panic(fmt.Sprintf("money: %s has more than %d decimals", a, scale))
	}
	if a.units == 0 {
		return 0
	}
	n, ok := mul(a.units, pow10[scale-int(a.scale)])
	if !ok {
		panic("money: " + ErrRange.Error())
	}
	return n
}

// MinorUnits is the amount in whole minor units; it panics when it has more
// decimals: round it first.
func (a Amount) MinorUnits() int64 { return a.Units(a.currency.Decimals()) }

// WholeMinor reports whether the amount needs no more decimals than the
// currency's minor unit.
func (a Amount) WholeMinor() bool { return int(a.scale) == a.currency.Decimals() }

// Neg is the amount with the other sign.
func (a Amount) Neg() Amount { a.units = -a.units; return a }

// Add is a plus b.
func (a Amount) Add(b Amount) Amount {
	sum, err := Sum(a, b)
	if err != nil {
		panic("money: " + err.Error())
	}
	return sum
}

// Sub is a minus b.
func (a Amount) Sub(b Amount) Amount { return a.Add(b.Neg()) }

// Times is the amount n times; it panics beyond 64 bits.
func (a Amount) Times(n int64) Amount {
	p, err := a.TimesChecked(n)
	if err != nil {
		panic("money: " + err.Error())
	}
	return p
}

// TimesChecked is Times that reports ErrRange.
func (a Amount) TimesChecked(n int64) (Amount, error) {
	units, ok := mul(a.units, n)
	if !ok {
		return Amount{}, ErrRange
	}
	return canonical(units, a.scale, a.currency)
}

// Sum adds amounts of one currency; it reports ErrRange, and an error for two
// currencies. The sum of none is the zero value.
func Sum(amounts ...Amount) (Amount, error) {
	var sum Amount
	for _, b := range amounts {
		switch {
		case b.currency == "":
			continue
		case sum.currency == "":
			sum = b
			continue
		case sum.currency != b.currency:
			return Amount{}, fmt.Errorf("cannot add %s to %s", b.currency, sum.currency)
		}
		scale := max(sum.scale, b.scale)
		x, ok1 := mul(sum.units, pow10[scale-sum.scale])
		y, ok2 := mul(b.units, pow10[scale-b.scale])
		if !ok1 || !ok2 || y > 0 && x > math.MaxInt64-y || y < 0 && x < -math.MaxInt64-y {
			return Amount{}, ErrRange
		}
		var err error
		if sum, err = canonical(x+y, scale, sum.currency); err != nil {
			return Amount{}, err
		}
	}
	return sum, nil
}

// Cmp compares two amounts of one currency: -1, 0 or 1.
func (a Amount) Cmp(b Amount) int { return a.Sub(b).Sign() }

// Rounded is the amount at the currency's minor unit, half away from zero.
func (a Amount) Rounded() Amount {
	p := pow10[int(a.scale)-a.currency.Decimals()]
	q, r := a.units/p, a.units%p
	if r >= p-r && r > 0 {
		q++
	}
	if -r >= p+r && r < 0 {
		q--
	}
	return Minor(q, a.currency)
}

// Allocate splits the amount, in minor units, in proportion to weights, by the
// largest remainder: the parts add up to the amount exactly, and a part never
// differs from its exact share by a minor unit or more. Ties go to the earlier
// part. Weights must not be negative; when all are zero the first part gets
// everything. The amount must be whole minor units; the sum of the weights must
// fit 64 bits.
func (a Amount) Allocate(weights []int64) []Amount {
	if len(weights) == 0 {
		return nil
	}
	total, negative := a.MinorUnits(), a.units < 0
	if negative {
		total = -total
	}
	var sum uint64
	for _, w := range weights {
		if w < 0 {
			panic("money: negative weight")
		}
		var carry uint64
		if sum, carry = bits.Add64(sum, uint64(w), 0); carry > 0 {
			panic("money: weights beyond 64 bits")
		}
	}
	parts := make([]int64, len(weights))
	if sum == 0 {
		parts[0] = total
	} else {
		rest, left := make([]uint64, len(weights)), total
		for i, w := range weights {
			hi, lo := bits.Mul64(uint64(total), uint64(w))
			q, r := bits.Div64(hi, lo, sum)
			parts[i], rest[i] = int64(q), r
			left -= int64(q)
		}
		for ; left > 0; left-- {
			best := 0
			for i := range rest {
				if rest[i] > rest[best] {
					best = i
				}
			}
			parts[best]++
			rest[best] = 0
		}
	}
	out := make([]Amount, len(parts))
	for i, p := range parts {
		if negative {
			p = -p
		}
		out[i] = Minor(p, a.currency)
	}
	return out
}

// Decimal is the number without its currency: "12.34".
func (a Amount) Decimal() string { return string(a.appendDecimal(make([]byte, 0, 24))) }

func (a Amount) appendDecimal(b []byte) []byte {
	units, scale := a.units, int(a.scale)
	if units < 0 {
		b, units = append(b, '-'), -units
	}
	from := len(b)
	b = strconv.AppendInt(b, units, 10)
	if scale == 0 {
		return b
	}
	for len(b)-from <= scale {
		b = slices.Insert(b, from, '0')
	}
	return slices.Insert(b, len(b)-scale, '.')
}

// String is the number and its currency: "12.34 BRL".
func (a Amount) String() string { return a.Decimal() + " " + string(a.currency) }

var pow10 = [...]int64{1, 10, 100, 1_000, 10_000, 100_000, 1_000_000}

// mul multiplies, and reports whether the product fits 64 bits with a sign to
// spare, so that the smallest int64 (which has no negative) never appears.
func mul(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(abs(a), abs(b))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	if (a < 0) != (b < 0) {
		return -int64(lo), true
	}
	return int64(lo), true
}

func abs(n int64) uint64 {
	if n < 0 {
		return uint64(-n)
	}
	return uint64(n)
}
