package order

import (
	"fmt"
	"maps"
)

// requestReturn asks to send delivered units back.
func requestReturn(s State, c RequestReturn) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.newID(c.ReturnID, "/returnId")
	k.that(len(c.Lines) > 0, ErrNoLines, "/lines")
	k.units(c.Lines, "/lines")
	k.words(c.Reason, "/reason")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	if r := find(s.Returns, c.ReturnID); r != nil {
		return repeated(r.Content == returnContent(c.Lines, c.Reason), "/returnId")
	}
	if len(s.Returns) >= MaxEntities {
		return nil, ErrTooMany.With("returns")
	}
	if s.returnable() == nil {
		return nil, ErrNothingToReturn
	}
	if err := s.has(c.Lines, (*LineState).returnable); err != nil {
		return nil, err
	}
	return []Event{ReturnRequested{ReturnID: c.ReturnID, Lines: c.Lines, Reason: c.Reason, At: at}}, nil
}

// receiveReturn notes what came back: what was asked, or fewer units. It ends
// the return.
func receiveReturn(s State, c ReceiveReturn) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.ReturnID, "/returnId")
	k.that(len(c.Lines) > 0, ErrNoLines, "/lines")
	k.that(len(c.Lines) <= MaxLines, ErrTooManyLines, "/lines")
	for i, l := range c.Lines {
		field := fmt.Sprintf("/lines/%d", i)
		k.id(l.LineID, field+"/lineId")
		k.quantity(l.Quantity, field+"/quantity")
		k.text(l.Condition, field+"/condition", MaxIDLength, "")
	}
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	r := find(s.Returns, c.ReturnID)
	if r == nil {
		return nil, ErrUnknownReturn
	}
	if r.Progress == done && r.Received == returnedContent(c.Lines) {
		return nil, nil
	}
	asked := r.asked()
	if len(asked) == 0 {
		return nil, ErrReturnSettled
	}
	// One line may come back in several conditions.
	for i, l := range c.Lines {
		left, known := asked[l.LineID]
		if !known {
			return nil, ErrUnknownLine.With("not part of this return").At(fmt.Sprintf("/lines/%d/lineId", i))
		}
		if l.Quantity > left {
			return nil, ErrNotEnough.With(fmt.Sprintf("more of line %s than was asked back", l.LineID)).At(fmt.Sprintf("/lines/%d/quantity", i))
		}
		asked[l.LineID] = left - l.Quantity
	}
	return []Event{ReturnReceived{ReturnID: c.ReturnID, Lines: c.Lines, At: at}}, nil
}

// asked is what may still be received; nothing when the return has ended.
func (r *ReturnState) asked() map[string]int64 {
	asked := map[string]int64{}
	for _, l := range r.Lines {
		asked[l.LineID] += l.Quantity
	}
	maps.DeleteFunc(asked, func(_ string, n int64) bool { return n <= 0 }) // adopted
	return asked
}

// rejectReturn ends a request without goods.
func rejectReturn(s State, c RejectReturn) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.ReturnID, "/returnId")
	k.words(c.Reason, "/reason")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	r := find(s.Returns, c.ReturnID)
	switch {
	case r == nil:
		return nil, ErrUnknownReturn
	case r.Progress == refused:
		return nil, nil
	case r.Progress == done:
		return nil, ErrReturnSettled
	}
	return []Event{ReturnRejected{ReturnID: c.ReturnID, Reason: c.Reason, At: at}}, nil
}

// returnable lists the units that may be asked back; nil when there are none.
func (s State) returnable() []LineQuantity {
	var units []LineQuantity
	for _, l := range s.Lines {
		if n := l.returnable(); n > 0 {
			units = append(units, LineQuantity{l.ID, n})
		}
	}
	return units
}
