package order

import (
	"errors"
	"fmt"

	"github.com/docket-orders/docket/domain"
)

// proposeEdit writes down a change that would be possible now.
func proposeEdit(s State, c ProposeEdit) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.newID(c.EditID, "/editId")
	k.words(c.Reason, "/reason")
	k.changes(c.Changes, "/changes")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	if x := find(s.Edits, c.EditID); x != nil {
		return repeated(x.Content == editContent(c.Changes, c.Reason), "/editId")
	}
	if s.Status == StatusCancelled {
		return nil, ErrCancelled
	}
	if len(s.Edits) >= MaxEntities {
		return nil, ErrTooMany.With("edits")
	}
	if _, err := s.edited(c.Changes); err != nil {
		return nil, err
	}
	return []Event{EditProposed{EditID: c.EditID, Changes: c.Changes, Reason: c.Reason, At: at}}, nil
}

// confirmEdit carries out a proposal, if it still fits the order.
func confirmEdit(s State, c ConfirmEdit) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.EditID, "/editId")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	x := find(s.Edits, c.EditID)
	if x == nil {
		return nil, ErrUnknownEdit
	}
	switch x.Progress {
	case done:
		return nil, nil
	case refused:
		return nil, ErrEditSettled
	}
	if s.Status == StatusCancelled {
		return nil, ErrCancelled
	}
	lines, err := s.edited(x.Changes)
	if err != nil {
		return nil, ErrEditStale.With(err.Error())
	}
	return []Event{EditConfirmed{EditID: c.EditID, Lines: lines, At: at}}, nil
}

// declineEdit drops a proposal, whatever became of the order.
func declineEdit(s State, c DeclineEdit) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.EditID, "/editId")
	k.words(c.Reason, "/reason")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	x := find(s.Edits, c.EditID)
	if x == nil {
		return nil, ErrUnknownEdit
	}
	switch x.Progress {
	case refused:
		return nil, nil
	case done:
		return nil, ErrEditSettled
	}
	return []Event{EditDeclined{EditID: c.EditID, Reason: c.Reason, At: at}}, nil
}

// changes checks their shape: each has exactly the fields its op needs.
func (c *check) changes(changes []LineChange, field string) {
	c.that(len(changes) > 0, ErrChangesMissing, field)
	c.that(len(changes) <= MaxLines, ErrTooManyLines, field)
	for i, ch := range changes {
		at := fmt.Sprintf("%s/%d", field, i)
		line, id, price, quantity := ch.Line != nil, ch.LineID != "", ch.UnitPrice.Currency() != "", ch.Quantity != 0
		var ok bool
		switch ch.Op {
		case "add":
			ok = line && !id && !price && !quantity
		case "remove":
			ok = !line && id && !price && !quantity
		case "reprice":
			ok = !line && id && price && !quantity
		case "quantity":
			ok = !line && id && !price
		}
		c.that(ok, ErrChange, at)
		if !ok {
			return
		}
		if line {
			named := *ch.Line
			if named.ID == "" {
				named.ID = "1" // any: it is given one when the edit is confirmed
			}
			c.line(named, named.UnitPrice.Currency(), at+"/line")
			continue
		}
		c.id(ch.LineID, at+"/lineId")
		if price {
			c.price(ch.UnitPrice, ch.UnitPrice.Currency(), at+"/unitPrice")
		}
		if ch.Op == "quantity" {
			c.quantity(ch.Quantity, at+"/quantity")
		}
	}
}

// edited is the lines with the changes carried out in order. Lines that are
// not touched are not judged: an adopted order may have come with odd ones.
func (s State) edited(changes []LineChange) ([]Line, error) {
	e := lineEdit{s: s, at: make(map[string]int, len(s.Lines))}
	for i, l := range s.Lines {
		e.at[l.ID] = i
		e.lines = append(e.lines, &LineState{Line: l.Line, Shipped: l.Shipped})
	}
	for i, ch := range changes {
		if refusal := e.step(ch); refusal != nil {
			return nil, refusal.At(fmt.Sprintf("/changes/%d", i))
		}
	}
	var lines []Line
	for _, l := range e.lines {
		if l != nil && l.Quantity != 0 {
			lines = append(lines, l.Line)
		}
	}
	if len(lines) == 0 {
		return nil, ErrNoLines.At("/changes")
	}
	if len(lines) > MaxLines {
		return nil, ErrTooManyLines.At("/changes")
	}
	nameLines(lines)
	return lines, s.affordable(lines)
}

// affordable refuses lines that push the sums out of their bounds, or the items
// below the discount.
func (s State) affordable(lines []Line) error {
	after, err := TotalsOf(lines, s.Shipping, s.Discount, s.Tax)
	if err != nil || !within(after.Items) || !within(after.Grand) {
		return ErrAmountLarge.At("/changes")
	}
	before, err := s.Totals()
	if err != nil {
		return errors.Join(ErrAmountLarge, err)
	}
	if s.Discount.Cmp(after.Items) > 0 && after.Items.Cmp(before.Items) < 0 {
		return ErrDiscount.At("/changes")
	}
	return nil
}

// lineEdit is lines while an edit changes them; a removed one is nil.
type lineEdit struct {
	s     State
	lines []*LineState
	at    map[string]int
}

func (e *lineEdit) step(ch LineChange) *domain.Rejection {
	if ch.Op == "add" {
		if ch.Line.UnitPrice.Currency() != e.s.Currency {
			return ErrOtherCurrency
		}
		if _, taken := e.at[ch.Line.ID]; taken && ch.Line.ID != "" {
			return ErrLineRepeated
		}
		e.at[ch.Line.ID] = len(e.lines)
		e.lines = append(e.lines, &LineState{Line: *ch.Line})
		return nil
	}
	i, ok := e.at[ch.LineID]
	if !ok {
		return ErrUnknownLine
	}
	l := e.lines[i]
	switch ch.Op {
	case "remove":
		if l.Shipped != 0 {
			return ErrBelowShipped
		}
		e.lines[i] = nil
		delete(e.at, ch.LineID)
	case "quantity":
		if ch.Quantity < l.Shipped {
			return ErrBelowShipped
		}
		l.Quantity = ch.Quantity
	case "reprice":
		if ch.UnitPrice.Currency() != e.s.Currency {
			return ErrOtherCurrency
		}
		l.UnitPrice = ch.UnitPrice
	}
	return nil
}
