package order

import (
	"fmt"

	"github.com/docket-orders/docket/domain/money"
)

// cancel allows a change of mind until the first parcel leaves. Captured money
// stays captured until it is refunded, and authorisations until they are voided.
func cancel(s State, c Cancel) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.words(c.Reason, "/reason")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	if s.Status == StatusCancelled {
		return nil, nil // asking twice changes nothing
	}
	if s.departed() {
		return nil, ErrDeparted
	}
	return []Event{Cancelled{Reason: c.Reason, At: at}}, nil
}

// cancelLines takes units that have not left off the order, and with them
// their share of discount and tax.
func cancelLines(s State, c Cancel) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.newID(c.CancellationID, "/cancellationId")
	k.units(c.Lines, "/lines")
	k.words(c.Reason, "/reason")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	if was, ok := used(s.Cancels, c.CancellationID); ok {
		return repeated(was == cancellationContent(c.Lines, c.Reason), "/cancellationId")
	}
	if s.Status == StatusCancelled {
		return nil, ErrCancelled
	}
	if len(s.Cancels) >= MaxEntities {
		return nil, ErrTooMany.With("cancellations")
	}
	if s.departed() && (s.unshipped() == nil || unitsIn(s.Lines) <= 1) {
		return nil, ErrDeparted
	}
	if err := s.has(c.Lines, (*LineState).unshipped); err != nil {
		return nil, err
	}
	kept := shortened(s.Lines, c.Lines)
	if unitsIn(kept) == 0 {
		return nil, ErrLastUnits
	}
	e := LinesCancelled{CancellationID: c.CancellationID, Lines: c.Lines, Reason: c.Reason, At: at}
	e.Discount, e.Tax = s.share(kept)
	return []Event{e}, nil
}

// share is what is left of discount and tax when only these lines stay: by the
// value of the lines before and after, largest remainder, and no discount above
// what is left.
func (s State) share(kept []*LineState) (discount, tax money.Amount) {
	none := money.Zero(s.Currency)
	before, err1 := TotalsOf(plain(s.Lines), none, none, none)
	after, err2 := TotalsOf(plain(kept), none, none, none)
	if err1 != nil || err2 != nil {
		return s.Discount, s.Tax // adopted sums that nearly leave 64 bits
	}
	stays := max(0, after.Items.MinorUnits())
	goes := max(0, before.Items.MinorUnits()-stays)
	weights := []int64{stays, goes}
	discount, tax = s.Discount.Allocate(weights)[0], s.Tax.Allocate(weights)[0]
	if discount.Sign() > 0 && s.Discount.Cmp(before.Items) <= 0 && discount.Cmp(after.Items) > 0 {
		discount = after.Items
	}
	return discount, tax
}

// has refuses units that their line does not have, by the given count.
func (s State) has(units []LineQuantity, count func(*LineState) int64) error {
	at := positions(s.Lines)
	for i, u := range units {
		p := at(u.LineID)
		if p < 0 {
			return ErrUnknownLine.At(fmt.Sprintf("/lines/%d/lineId", i))
		}
		if n := count(s.Lines[p]); u.Quantity > n {
			return ErrNotEnough.With(fmt.Sprintf("%d of line %s, asked %d", n, u.LineID, u.Quantity)).At(fmt.Sprintf("/lines/%d/quantity", i))
		}
	}
	return nil
}

// unshipped lists the units that may still leave; nil when there are none.
func (s State) unshipped() []LineQuantity {
	var units []LineQuantity
	for _, l := range s.Lines {
		if n := l.unshipped(); n > 0 {
			units = append(units, LineQuantity{l.ID, n})
		}
	}
	return units
}

// unitsIn counts the units ordered; what adopted lines may have below nothing
// does not count.
func unitsIn(lines []*LineState) int64 {
	var n int64
	for _, l := range lines {
		n += max(0, l.Quantity)
	}
	return n
}
