package query

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// Forms of what people write, for messages and documents.
const (
	InstantForm = "want a time such as 2018-01-31T12:00:00Z (RFC 3339)"
	PointForm   = "want a revision such as 17, position:4711, a time such as 2018-01-31T12:00:00Z (what was known then), " +
		"effective:2018-01-31T12:00:00Z (what was true then), one of the first three and effective:... with a comma between, or now"
)

// ParseInstant reads RFC 3339 with a zone, in UTC, cut to microseconds, the
// precision that is stored. Years before 1 do not exist; its first instant is
// kept for "no time".
func ParseInstant(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || strings.Contains(text, ",") || len(text) > 40 {
		return time.Time{}, errors.New(InstantForm)
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
	if both {
		if err := c.known(known); err != nil {
			return Cut{}, err
		}
	} else {
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
	if err != nil {
		return errors.New(PointForm)
	}
	c.AsOf = &t
	return nil
}
