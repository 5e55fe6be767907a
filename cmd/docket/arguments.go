package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/query"
)

// Arguments whose form the command line itself can see to be wrong. The parser
// refuses an empty one that is given: a variable that was not set would
// otherwise ask another question, such as how an order is now. "" is one that
// was not given.
type (
	orderID    string
	instant    string
	revision   string
	position   string
	point      string
	givenText  string
	pathName   string
	givenTexts []string
	parsedText interface{ ~string }
)

// UnmarshalText reads an order's id.
func (t *orderID) UnmarshalText(text []byte) error {
	if !order.ValidID(string(text)) {
		return fmt.Errorf("%.80q is not an order's id: want up to %d letters, digits, and . _ ~ - after the first", text, order.MaxIDLength)
	}
	*t = orderID(text)
	return nil
}

// UnmarshalText reads a time.
func (t *instant) UnmarshalText(text []byte) error { return checked(t, text, query.ParseInstant) }

// UnmarshalText reads the number of an event of an order.
func (t *revision) UnmarshalText(text []byte) error { return checked(t, text, query.ParseRevision) }

// UnmarshalText reads a place in the log.
func (t *position) UnmarshalText(text []byte) error { return checked(t, text, query.ParsePosition) }

// UnmarshalText reads a point in the life of an order.
func (t *point) UnmarshalText(text []byte) error { return checked(t, text, query.ParsePoint) }

// UnmarshalText takes any text that is not empty.
func (t *givenText) UnmarshalText(text []byte) error {
	return checked(t, text, func(string) (any, error) { return nil, nil })
}

// UnmarshalText takes a name that is part of a path. Which names there are is the
// API's to say.
func (t *pathName) UnmarshalText(text []byte) error {
	if strings.Trim(string(text), ".") == "" {
		return fmt.Errorf("%.80q is no name", text)
	}
	*t = pathName(text)
	return nil
}

// UnmarshalText adds texts with commas between, which are not empty together.
func (t *givenTexts) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errEmpty
	}
	*t = append(*t, kong.SplitEscaped(string(text), ',')...)
	return nil
}

var errEmpty = errors.New("it is empty; leave it out if it is not meant")

// checked keeps a text that can be parsed. What it means is the API's to say.
func checked[T parsedText, V any](t *T, text []byte, parse func(string) (V, error)) error {
	if len(text) == 0 {
		return errEmpty
	}
	if _, err := parse(string(text)); err != nil {
		return fmt.Errorf("%.80q: %w", text, err)
	}
	*t = T(text)
	return nil
}

// joinMinus lets a value with a minus in front stand apart from its flag, where
// it would be taken for flags: --sort -total. No flag is a digit.
func joinMinus(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		flag := args[i]
		if flag == "--" {
			return append(joined, args[i:]...)
		}
		if i+1 < len(args) && strings.HasPrefix(flag, "--") && !strings.Contains(flag, "=") {
			value, minus := strings.CutPrefix(args[i+1], "-")
			digit := value != "" && '0' <= value[0] && value[0] <= '9'
			if minus && (digit || flag == "--sort" && value != "" && value[0] != '-') {
				flag += "=" + args[i+1]
				i++
			}
		}
		joined = append(joined, flag)
	}
	return joined
}
