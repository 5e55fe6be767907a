package order

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

// ValidID reports whether id follows the pattern of ids of orders, customers
// and things within an order: [A-Za-z0-9][A-Za-z0-9._~-]{0,63}.
func ValidID(id string) bool { return matches(id, "._~-") }

// validNumber is ValidID with what people write into invoice numbers.
func validNumber(number string) bool { return matches(number, "._~-*$=/# ") }

func matches(s, punctuation string) bool {
	if s == "" || len(s) > MaxIDLength {
		return false
	}
	for i := range len(s) {
		switch b := s[i]; {
		case '0' <= b && b <= '9', 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z':
		case i > 0 && slices.Contains([]byte(punctuation), b):
		default:
			return false
		}
	}
	return true
}

// NumberFor is the number people say on the phone for an order that was given
// none: 10 Crockford base32 characters (50 bits) of the id's SHA-256 and a
// check character (modulo 37).
func NumberFor(orderID string) string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ*~$=U"
	sum := sha256.Sum256([]byte(orderID))
	n := binary.BigEndian.Uint64(sum[:8]) >> 14
	number := make([]byte, 11)
	number[10] = alphabet[n%37]
	for i := 9; i >= 0; i-- {
		number[i] = alphabet[n%32]
		n /= 32
	}
	return string(number)
}

// WithNumber fills the number of an order that is placed or adopted without
// one. It does not change c.
func WithNumber(c Command, orderID string) Command {
	switch c := c.(type) {
	case Place:
		if c.Number == "" {
			c.Number = NumberFor(orderID)
		}
		return c
	case Adopt:
		for i, e := range c.History {
			if placed, ok := e.(Placed); ok && placed.Number == "" {
				placed.Number = NumberFor(orderID)
				c.History = slices.Clone(c.History)
				c.History[i] = placed
			}
		}
		return c
	}
	return c
}

// WithIDs fills the empty ids of new things; derive makes one for a role:
// "edit", "note", "hold", "payment", "capture", "shipment", "return", "refund"
// or "cancellation".
func WithIDs(c Command, derive func(role string) string) Command {
	fill := func(id *string, role string) {
		if *id == "" {
			*id = derive(role)
		}
	}
	switch c := c.(type) {
	case ProposeEdit:
		fill(&c.EditID, "edit")
		return c
	case AddNote:
		fill(&c.NoteID, "note")
		return c
	case PlaceHold:
		fill(&c.HoldID, "hold")
		return c
	case AddPayment:
		fill(&c.PaymentID, "payment")
		return c
	case CapturePayment:
		fill(&c.CaptureID, "capture")
		return c
	case Dispatch:
		fill(&c.ShipmentID, "shipment")
		return c
	case RequestReturn:
		fill(&c.ReturnID, "return")
		return c
	case GrantRefund:
		fill(&c.RefundID, "refund")
		return c
	case Cancel:
		if len(c.Lines) > 0 {
			fill(&c.CancellationID, "cancellation")
		}
		return c
	}
	return c
}

// BusinessTime is when the command says it happened; zero when it does not
// say. For an adoption it is the latest time of the part.
func BusinessTime(c Command) time.Time {
	if a, ok := c.(Adopt); ok {
		var last time.Time
		for _, e := range a.History {
			if e != nil && e.OccurredAt().After(last) {
				last = e.OccurredAt()
			}
		}
		return last
	}
	var at time.Time
	onTime(c, func(t *time.Time) { at = *t })
	return at
}

// WithTime fills the business time of a command that does not say. An adoption
// carries the times of its history and stays as it is.
func WithTime(c Command, now time.Time) Command {
	return onTime(c, func(t *time.Time) {
		if t.IsZero() {
			*t = now
		}
	})
}

// stamp is a business time as events carry it: UTC, whole microseconds.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// onTime answers c with f applied to its business time.
func onTime(c Command, f func(at *time.Time)) Command {
	switch c := c.(type) {
	case Place:
		f(&c.At)
		return c
	case Confirm:
		f(&c.At)
		return c
	case ChangeShippingAddress:
		f(&c.At)
		return c
	case ProposeEdit:
		f(&c.At)
		return c
	case ConfirmEdit:
		f(&c.At)
		return c
	case DeclineEdit:
		f(&c.At)
		return c
	case SetTags:
		f(&c.At)
		return c
	case SetMetadata:
		f(&c.At)
		return c
	case AddNote:
		f(&c.At)
		return c
	case PlaceHold:
		f(&c.At)
		return c
	case ReleaseHold:
		f(&c.At)
		return c
	case AddPayment:
		f(&c.At)
		return c
	case CapturePayment:
		f(&c.At)
		return c
	case FailPayment:
		f(&c.At)
		return c
	case VoidPayment:
		f(&c.At)
		return c
	case Dispatch:
		f(&c.At)
		return c
	case UpdateShipment:
		f(&c.At)
		return c
	case Deliver:
		f(&c.At)
		return c
	case RequestReturn:
		f(&c.At)
		return c
	case ReceiveReturn:
		f(&c.At)
		return c
	case RejectReturn:
		f(&c.At)
		return c
	case GrantRefund:
		f(&c.At)
		return c
	case CompleteRefund:
		f(&c.At)
		return c
	case FailRefund:
		f(&c.At)
		return c
	case Cancel:
		f(&c.At)
		return c
	}
	return c
}
