package query

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// Forms of what people write, for messages and documents.
const (
	InstantForm = "want a time such as 2018-01-31T12:00:00Z (RFC 3339)"
	PointForm   = "want a revision such as 17, position:4711, a time such as 2018-01-31T12:00:00Z (what was known then), " +
		"effective:2018-01-31T12:00:00Z (what was true then), one of the first three or now and effective:... with a comma between, or now"
)

// What is wrong with texts that are nearly instants.
var (
	errInstant = errors.New(InstantForm)
	errLeap    = errors.New("want a time without the leap second :60, which is not kept: give the second before or after (RFC 3339)")
)

// instantForm is RFC 3339; time.Parse takes more than that.
var instantForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:([0-9]{2})(\.[0-9]{1,20})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`)

// ParseInstant reads RFC 3339 with a zone, in UTC, cut to microseconds, the
// precision that is stored. Years before 1 do not exist; its first instant is
// kept for "no time".
func ParseInstant(text string) (time.Time, error) {
	upper := strings.ToUpper(text) // 2018-01-31t12:00:00z is the same
	form := instantForm.FindStringSubmatch(upper)
	if form == nil {
		if _, err := time.Parse(time.DateOnly, text); err == nil {
			return time.Time{}, fmt.Errorf("want an instant, not a day (RFC 3339); give an instant: %sT23:59:59Z", text)
		}
		return time.Time{}, errInstant
	}
	if form[1] == "60" {
		return time.Time{}, errLeap
	}
	t, err := time.Parse(time.RFC3339Nano, upper)
	if err != nil {
		return time.Time{}, errInstant
	}
	t = t.UTC().Truncate(time.Microsecond)
	if t.Year() < 1 || t.Year() > 9999 || t.IsZero() {
		return time.Time{}, errors.New(InstantForm + ", years 1 to 9999")
	}
	return t, nil
}

// ParseRevision reads the number of an event of an order, from 0.
func ParseRevision(text string) (eventstore.Revision, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || text != strconv.FormatInt(n, 10) || n < 0 || eventstore.Revision(n) == eventstore.EndRevision {
		return 0, errors.New("want the revision of an event, a whole number from 0")
	}
	return eventstore.Revision(n), nil
}

// ParsePosition reads a place in the log as answers give it.
func ParsePosition(text string) (eventstore.Position, error) {
	var p eventstore.Position
	if p.UnmarshalText([]byte(text)) != nil || p.String() != text || p == eventstore.End {
		return p, errors.New("want a position of the log, a whole number such as 4711")
	}
	return p, nil
}

// ParsePoint reads a point in the life of an order, in one of the forms that
// PointForm tells.
func ParsePoint(text string) (Cut, error) {
	if text == "now" {
		return Cut{}, nil
	}
	var c Cut
	known, effective, both := strings.Cut(text, ",")
	if both && known != "now" {
		if err := c.known(known); err != nil {
			return Cut{}, err
		}
	}
	if !both {
		effective = text
	}
	if instant, ok := strings.CutPrefix(effective, "effective:"); ok {
		t, err := ParseInstant(instant)
		if err != nil {
			return Cut{}, fmt.Errorf("effective: %w", err)
		}
		c.EffectiveAt = &t
		return c, nil
	}
	if both {
		return Cut{}, errors.New(PointForm)
	}
	return c, c.known(text)
}

// known reads one of the forms that say what was known.
func (c *Cut) known(text string) error {
	if position, ok := strings.CutPrefix(text, "position:"); ok {
		p, err := ParsePosition(position)
		c.Position = &p
		return err
	}
	if text != "" && strings.Trim(text, "0123456789") == "" {
		r, err := ParseRevision(text)
		c.Revision = &r
		return err
	}
	t, err := ParseInstant(text)
	if errors.Is(err, errInstant) {
		return errors.New(PointForm)
	}
	c.AsOf = &t
	return err
}
