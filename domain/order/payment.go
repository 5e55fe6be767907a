package order

import "fmt"

// addPayment notes money that is promised or, with Capture, here. More than the
// order costs is a status (overpaid), not an error.
func addPayment(s State, c AddPayment) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.newID(c.PaymentID, "/paymentId")
	k.name(c.Method, "/method")
	k.words(c.Reference, "/reference")
	k.paid(c.Amount, c.Amount.Currency(), "/amount")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	if p := find(s.Payments, c.PaymentID); p != nil {
		return repeated(p.Content == paymentContent(c.Capture, c.Method, c.Amount, c.Reference), "/paymentId")
	}
	if c.Amount.Currency() != s.Currency {
		return nil, ErrOtherCurrency.At("/amount")
	}
	if s.Status == StatusCancelled {
		return nil, ErrCancelled
	}
	if len(s.Payments) >= MaxEntities {
		return nil, ErrTooMany.With("payments")
	}
	if !within(s.captured().Add(c.Amount)) {
		return nil, ErrAmountLarge.At("/amount")
	}
	if c.Capture {
		return []Event{PaymentCaptured{PaymentID: c.PaymentID, Method: c.Method, Amount: c.Amount, Reference: c.Reference, At: at}}, nil
	}
	return []Event{PaymentAuthorised{PaymentID: c.PaymentID, Method: c.Method, Amount: c.Amount, Reference: c.Reference, At: at}}, nil
}

// capturePayment takes what was promised, or a part of it.
func capturePayment(s State, c CapturePayment) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.PaymentID, "/paymentId")
	k.newID(c.CaptureID, "/captureId")
	k.words(c.Reference, "/reference")
	theRest := c.Amount.Currency() == ""
	if !theRest {
		k.paid(c.Amount, c.Amount.Currency(), "/amount")
	}
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	p := find(s.Payments, c.PaymentID)
	if p == nil {
		return nil, ErrUnknownPayment
	}
	if was, ok := used(p.Captures, c.CaptureID); ok {
		// What the rest was, only the first answer knows.
		return repeated(theRest || was == captureContent(c.Amount, c.Reference), "/captureId")
	}
	if s.Status == StatusCancelled {
		return nil, ErrCancelled
	}
	rest := p.rest()
	if rest.Sign() <= 0 {
		return nil, ErrPaymentSettled
	}
	if theRest {
		c.Amount = rest
	}
	if c.Amount.Currency() != s.Currency {
		return nil, ErrOtherCurrency.At("/amount")
	}
	if c.Amount.Cmp(rest) > 0 {
		return nil, ErrAboveAuthorised.With(fmt.Sprintf("%s is left, asked %s", rest, c.Amount)).At("/amount")
	}
	if len(p.Captures) >= MaxEntities {
		return nil, ErrTooMany.With("captures of a payment")
	}
	if !within(s.captured().Add(c.Amount)) {
		return nil, ErrAmountLarge.At("/amount")
	}
	return []Event{PaymentCaptured{PaymentID: c.PaymentID, CaptureID: c.CaptureID, Amount: c.Amount, Reference: c.Reference, At: at}}, nil
}

// failPayment notes that the provider gives no more; what was captured stays.
func failPayment(s State, c FailPayment) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.PaymentID, "/paymentId")
	k.words(c.Reason, "/reason")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	p := find(s.Payments, c.PaymentID)
	switch {
	case p == nil:
		return nil, ErrUnknownPayment
	case p.Progress == refused:
		return nil, nil
	case !p.open():
		return nil, ErrPaymentSettled
	}
	return []Event{PaymentFailed{PaymentID: c.PaymentID, Reason: c.Reason, At: at}}, nil
}

// voidPayment gives up what is authorised and not captured.
func voidPayment(s State, c VoidPayment) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.PaymentID, "/paymentId")
	k.words(c.Reason, "/reason")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	p := find(s.Payments, c.PaymentID)
	switch {
	case p == nil:
		return nil, ErrUnknownPayment
	case p.Progress == voided:
		return nil, nil
	case !p.open():
		return nil, ErrPaymentSettled
	}
	return []Event{PaymentVoided{PaymentID: c.PaymentID, Reason: c.Reason, At: at}}, nil
}
