package order

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Decide answers a command with the events it causes, or refuses it. A command
// is judged in this order: its own shape, whether the order is there, whether
// the command repeats what was done (then there is nothing to do), and only
// then what the order allows.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Place:
		return place(s, c)
	case Adopt:
		return adopt(s, c)
	case Confirm:
		return confirm(s, c)
	case Cancel:
		if len(c.Lines) > 0 {
			return cancelLines(s, c)
		}
		return cancel(s, c)
	case ChangeShippingAddress:
		return changeShippingAddress(s, c)
	case ProposeEdit:
		return proposeEdit(s, c)
	case ConfirmEdit:
		return confirmEdit(s, c)
	case DeclineEdit:
		return declineEdit(s, c)
	case SetTags:
		return setTags(s, c)
	case SetMetadata:
		return setMetadata(s, c)
	case AddNote:
		return addNote(s, c)
	case PlaceHold:
		return placeHold(s, c)
	case ReleaseHold:
		return releaseHold(s, c)
	case AddPayment:
		return addPayment(s, c)
	case CapturePayment:
		return capturePayment(s, c)
	case FailPayment:
		return failPayment(s, c)
	case VoidPayment:
		return voidPayment(s, c)
	case Dispatch:
		return dispatch(s, c)
	case UpdateShipment:
		return updateShipment(s, c)
	case Deliver:
		return deliver(s, c)
	case RequestReturn:
		return requestReturn(s, c)
	case ReceiveReturn:
		return receiveReturn(s, c)
	case RejectReturn:
		return rejectReturn(s, c)
	case GrantRefund:
		return grantRefund(s, c)
	case CompleteRefund:
		return completeRefund(s, c)
	case FailRefund:
		return failRefund(s, c)
	}
	panic(fmt.Sprintf("order: no rule for command %T", c))
}

// place makes the order, unless this very order is there already.
func place(s State, c Place) ([]Event, error) {
	var k check
	e := Placed{
		Number: c.Number, Kind: KindOrder, Customer: c.Customer, Currency: c.Currency,
		BillingAddress: c.BillingAddress, ShippingAddress: c.ShippingAddress, Metadata: c.Metadata,
	}
	e.At = k.time(c.At, "/at")
	k.that(validNumber(c.Number), ErrNumber, "/number")
	k.customer(c.Customer, "/customer")
	k.currency(c.Currency, "/currency")
	e.Lines = k.lines(c.Lines, c.Currency, "/lines")
	e.Shipping = k.charge(c.Shipping, c.Currency, "/shipping")
	e.Discount = k.charge(c.Discount, c.Currency, "/discount")
	e.Tax = k.charge(c.Tax, c.Currency, "/tax")
	k.address(c.BillingAddress, "/billingAddress")
	k.address(c.ShippingAddress, "/shippingAddress")
	e.Tags = k.tags(c.Tags, "/tags")
	k.metadata(c.Metadata, "/metadata")
	totals := k.totals(e.Lines, e.Shipping, e.Discount, e.Tax, "/lines")
	k.that(k.refusal != nil || e.Discount.Cmp(totals.Items) <= 0, ErrDiscount, "/discount")
	if err := k.err(); err != nil {
		return nil, err
	}
	if s.Status == StatusNone {
		return []Event{e}, nil
	}
	if s.Placing == placedContent(e) {
		return nil, nil
	}
	return nil, ErrExists
}

// confirm says that the shop accepts the order.
func confirm(s State, c Confirm) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	switch s.Status {
	case StatusConfirmed:
		return nil, nil
	case StatusCancelled:
		return nil, ErrCancelled
	}
	return []Event{Confirmed{At: at}}, nil
}

// changeShippingAddress is possible until the first parcel leaves.
func changeShippingAddress(s State, c ChangeShippingAddress) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.address(&c.Address, "/address")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	if s.Address != nil && *s.Address == c.Address {
		return nil, nil
	}
	if s.Status == StatusCancelled {
		return nil, ErrCancelled
	}
	if s.departed() {
		return nil, ErrDeparted
	}
	return []Event{ShippingAddressChanged{Address: c.Address, At: at}}, nil
}

// setTags replaces all tags, of any document in any status.
func setTags(s State, c SetTags) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	tags := k.tags(c.Tags, "/tags")
	if err := s.exists(&k, at); err != nil {
		return nil, err
	}
	if slices.Equal(s.Tags, tags) {
		return nil, nil
	}
	return []Event{TagsSet{Tags: tags, At: at}}, nil
}

// setMetadata replaces all metadata, of any document in any status.
func setMetadata(s State, c SetMetadata) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.metadata(c.Metadata, "/metadata")
	if err := s.exists(&k, at); err != nil {
		return nil, err
	}
	if maps.Equal(s.Metadata, c.Metadata) {
		return nil, nil
	}
	return []Event{MetadataSet{Metadata: c.Metadata, At: at}}, nil
}

// addNote is possible on any document in any status.
func addNote(s State, c AddNote) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.newID(c.NoteID, "/noteId")
	k.that(c.Text != "", ErrTextMissing, "/text")
	k.text(c.Text, "/text", MaxText, "\n\t")
	k.words(c.Author, "/author")
	if err := s.exists(&k, at); err != nil {
		return nil, err
	}
	if was, ok := used(s.Notes, c.NoteID); ok {
		return repeated(was == noteContent(c.Text, c.Author), "/noteId")
	}
	if len(s.Notes) >= MaxEntities {
		return nil, ErrTooMany.With("notes")
	}
	return []Event{NoteAdded{NoteID: c.NoteID, Text: c.Text, Author: c.Author, At: at}}, nil
}

// placeHold keeps parcels from leaving.
func placeHold(s State, c PlaceHold) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.newID(c.HoldID, "/holdId")
	k.words(c.Reason, "/reason")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	if h := find(s.Holds, c.HoldID); h != nil {
		return repeated(h.Content == holdContent(c.Reason), "/holdId")
	}
	if s.Status == StatusCancelled {
		return nil, ErrCancelled
	}
	if len(s.Holds) >= MaxEntities {
		return nil, ErrTooMany.With("holds")
	}
	return []Event{HoldPlaced{HoldID: c.HoldID, Reason: c.Reason, At: at}}, nil
}

// releaseHold ends one hold, whatever became of the order.
func releaseHold(s State, c ReleaseHold) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.HoldID, "/holdId")
	k.words(c.Reason, "/reason")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	h := find(s.Holds, c.HoldID)
	if h == nil {
		return nil, ErrUnknownHold
	}
	if !h.open() {
		return nil, nil
	}
	return []Event{HoldReleased{HoldID: c.HoldID, Reason: c.Reason, At: at}}, nil
}

// exists gives what the check refused, and asks for a document whose history
// is not being adopted at the moment.
func (s State) exists(k *check, at time.Time) error {
	switch {
	case k.refusal != nil:
		return k.refusal
	case s.Status == StatusNone:
		return ErrUnknown
	case s.Adoption.running():
		return ErrAdopting
	case at.Before(s.PlacedAt):
		return ErrBeforePlaced.At("/at")
	}
	return nil
}

// accepts is exists, and asks for an order: neither a credit note nor an
// adjustment.
func (s State) accepts(k *check, at time.Time) error {
	if err := s.exists(k, at); err != nil {
		return err
	}
	if s.Kind != KindOrder {
		return ErrNotAnOrder
	}
	return nil
}

// departed reports whether any parcel left.
func (s State) departed() bool { return len(s.Shipments) > 0 }

// repeated answers a command whose new thing is there: nothing to do when it is
// the same thing.
func repeated(same bool, field string) ([]Event, error) {
	if same {
		return nil, nil
	}
	return nil, ErrIDInUse.At(field)
}
