package order

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
)

// check looks at the shape of a command, whatever the state. It keeps the first
// refusal; later looks change nothing.
type check struct{ refusal *domain.Rejection }

// err is nil when nothing was refused.
func (c *check) err() error {
	if c.refusal == nil {
		return nil
	}
	return c.refusal
}

func (c *check) that(ok bool, rule *domain.Rejection, field string) {
	if !ok && c.refusal == nil {
		c.refusal = rule.At(field)
	}
}

// time answers the business time as events carry it.
func (c *check) time(at time.Time, field string) time.Time {
	at = stamp(at)
	c.that(!at.IsZero() && at.Year() >= 1 && at.Year() <= 9999, ErrTime, field)
	return at
}

// words is text on one line.
func (c *check) words(text, field string) {
	c.text(text, field, MaxText, "")
}

// name is text on one line that must not be empty, as long as an id.
func (c *check) name(text, field string) {
	c.that(text != "", ErrTextMissing, field)
	c.text(text, field, MaxIDLength, "")
}

// text may hold the control characters in allowed, and none that hides: see
// hidden.
func (c *check) text(text, field string, limit int, allowed string) {
	if len(text) > limit {
		c.that(false, ErrTextLong.With(fmt.Sprintf("%d bytes, at most %d", len(text), limit)), field)
	}
	c.that(utf8.ValidString(text), ErrText, field)
	for at, r := range text {
		if hidden(r) && !strings.ContainsRune(allowed, r) {
			c.that(false, ErrText.With(fmt.Sprintf("U+%04X at byte %d", r, at)), field)
			return
		}
	}
}

// hidden reports whether a character is there without being seen, or changes how
// the others are seen: controls, separators of lines, and format characters
// such as the overrides of direction and the space without width. What scripts
// cannot be written without is not hidden: joiners, marks of direction, signs
// that enclose digits.
func hidden(r rune) bool {
	if r < 0x80 {
		return r < ' ' || r == 0x7f
	}
	switch r {
	case '\u200c', '\u200d', '\u200e', '\u200f', '\u061c':
		return false
	case '\u2028', '\u2029':
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// code is a name that programs compare. Letters that look like others of
// another script are no part of it.
func (c *check) code(text, field string) {
	c.name(text, field)
	foreign := func(r rune) bool { return r > '~' }
	c.that(!strings.ContainsFunc(text, foreign) && strings.TrimSpace(text) == text, ErrCode, field)
}

// id is the id of a thing that is named.
func (c *check) id(id, field string) {
	c.that(ValidID(id), ErrID, field)
}

// newID is the id of a new thing.
func (c *check) newID(id, field string) {
	c.that(id != "", ErrIDMissing, field)
	c.id(id, field)
}

func (c *check) currency(currency money.Currency, field string) {
	_, err := money.ParseCurrency(string(currency))
	c.that(err == nil, ErrCurrency, field)
}

func (c *check) customer(x Customer, field string) {
	c.that(x.ID == "" || ValidID(x.ID), ErrID, field+"/id")
	c.words(x.Name, field+"/name")
	c.words(x.Email, field+"/email")
	c.that(x.Email == "" || validEmail(x.Email), ErrEmail, field+"/email")
}

// validEmail looks for what every address has; whether it works, only a
// message can tell.
func validEmail(s string) bool {
	local, host, ok := strings.Cut(s, "@")
	return ok && len(s) <= 254 && local != "" && host != "" && !strings.Contains(host, "@") &&
		!strings.ContainsFunc(s, unicode.IsSpace) && !strings.HasPrefix(host, ".") && !strings.HasSuffix(host, ".")
}

func (c *check) address(a *Address, field string) {
	if a == nil {
		return
	}
	c.addressText(*a, field)
	c.that(a.Country == "" || isCountry(a.Country), ErrCountry, field+"/country")
}

func (c *check) addressText(a Address, field string) {
	for _, x := range [...][2]string{{"name", a.Name}, {"company", a.Company}, {"street", a.Street},
		{"postalCode", a.PostalCode}, {"city", a.City}, {"state", a.State}, {"country", a.Country}, {"phone", a.Phone}} {
		c.words(x[1], field+"/"+x[0])
	}
}

// tags answers them sorted, each once.
func (c *check) tags(tags []string, field string) []string {
	for i, t := range tags {
		c.name(t, fmt.Sprintf("%s/%d", field, i))
	}
	tags = slices.Clone(tags)
	slices.Sort(tags)
	tags = slices.Compact(tags)
	c.that(len(tags) <= MaxTags, ErrTooManyTags, field)
	return tags
}

// metadata has keys that programs compare; those of another system are as they
// are.
func (c *check) metadata(m map[string]string, field string) { c.metadataWith(c.code, m, field) }

func (c *check) oddMetadata(m map[string]string, field string) { c.metadataWith(c.name, m, field) }

func (c *check) metadataWith(key func(text, field string), m map[string]string, field string) {
	c.that(len(m) <= MaxMetadata, ErrTooMuchMeta, field)
	pointer := strings.NewReplacer("~", "~0", "/", "~1")
	for _, k := range slices.Sorted(maps.Keys(m)) {
		at := field + "/" + pointer.Replace(k)
		key(k, at)
		c.words(m[k], at)
	}
}

// lines answers them with the empty ids filled: the smallest numbers that no
// other line has.
func (c *check) lines(lines []Line, currency money.Currency, field string) []Line {
	c.that(len(lines) > 0, ErrNoLines, field)
	c.that(len(lines) <= MaxLines, ErrTooManyLines, field)
	lines = slices.Clone(lines)
	nameLines(lines)
	seen := make(map[string]bool, len(lines))
	for i, l := range lines {
		at := fmt.Sprintf("%s/%d", field, i)
		c.line(l, currency, at)
		c.that(!seen[l.ID], ErrLineRepeated, at+"/id")
		seen[l.ID] = true
	}
	return lines
}

// nameLines gives lines without an id the smallest numbers that are free.
func nameLines(lines []Line) {
	taken := make(map[string]bool, len(lines))
	for _, l := range lines {
		taken[l.ID] = true
	}
	next := 1
	for i := range lines {
		if lines[i].ID != "" {
			continue
		}
		for taken[fmt.Sprint(next)] {
			next++
		}
		lines[i].ID = fmt.Sprint(next)
		next++
	}
}

func (c *check) line(l Line, currency money.Currency, field string) {
	c.id(l.ID, field+"/id")
	c.code(l.SKU, field+"/sku")
	c.words(l.Title, field+"/title")
	c.quantity(l.Quantity, field+"/quantity")
	c.price(l.UnitPrice, currency, field+"/unitPrice")
	c.metadata(l.Metadata, field+"/metadata")
}

func (c *check) quantity(n int64, field string) {
	c.that(n >= 1 && n <= MaxQuantity, ErrQuantity, field)
}

func (c *check) price(p money.Amount, currency money.Currency, field string) {
	c.that(p.Currency() == currency, ErrOtherCurrency, field)
	c.that(p.Sign() >= 0, ErrPriceNegative, field)
	c.that(c.refusal != nil || within(p), ErrAmountLarge, field)
}

// charge answers an amount of the whole order; absent is nothing.
func (c *check) charge(a money.Amount, currency money.Currency, field string) money.Amount {
	a = c.minor(a, currency, field)
	c.that(a.Sign() >= 0, ErrAmountNegative, field)
	return a
}

// minor answers an amount in whole minor units, of either sign.
func (c *check) minor(a money.Amount, currency money.Currency, field string) money.Amount {
	if a.Currency() == "" {
		a = money.Zero(currency)
	}
	c.that(a.Currency() == currency, ErrOtherCurrency, field)
	c.that(a.WholeMinor(), ErrDecimals, field)
	c.that(within(a), ErrAmountLarge, field)
	return a
}

// paid is an amount that moves: more than nothing.
func (c *check) paid(a money.Amount, currency money.Currency, field string) {
	c.that(a.Currency() == currency, ErrOtherCurrency, field)
	c.that(a.WholeMinor(), ErrDecimals, field)
	c.that(a.Sign() > 0, ErrAmountZero, field)
	c.that(within(a), ErrAmountLarge, field)
}

func within(a money.Amount) bool {
	minor := a.Rounded().MinorUnits()
	return -MaxMinorUnits <= minor && minor <= MaxMinorUnits
}

// totals of lines whose amounts were checked.
func (c *check) totals(lines []Line, shipping, discount, tax money.Amount, field string) Totals {
	if c.refusal != nil {
		return Totals{}
	}
	t, err := TotalsOf(lines, shipping, discount, tax)
	c.that(err == nil && within(t.Items) && within(t.Grand), ErrAmountLarge, field)
	return t
}

// units are lines of a parcel, a return or a cancellation: each line once.
func (c *check) units(lines []LineQuantity, field string) {
	seen := make(map[string]bool, len(lines))
	for i, l := range lines {
		at := fmt.Sprintf("%s/%d", field, i)
		c.id(l.LineID, at+"/lineId")
		c.quantity(l.Quantity, at+"/quantity")
		c.that(!seen[l.LineID], ErrLineRepeated, at+"/lineId")
		seen[l.LineID] = true
	}
}

func isCountry(code string) bool {
	return len(code) == 2 && slices.Contains(countries, code)
}

// countries are the officially assigned codes of ISO 3166-1 alpha-2.
var countries = strings.Fields(`
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT
JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY
MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ
OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ
TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW`)
