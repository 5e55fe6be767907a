package order

import "fmt"

// grantRefund promises money back, out of what one payment brought. It is
// possible on a cancelled order too.
func grantRefund(s State, c GrantRefund) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.newID(c.RefundID, "/refundId")
	k.id(c.PaymentID, "/paymentId")
	k.that(c.ReturnID == "" || ValidID(c.ReturnID), ErrID, "/returnId")
	k.words(c.Reason, "/reason")
	k.paid(c.Amount, c.Amount.Currency(), "/amount")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	if r := find(s.Refunds, c.RefundID); r != nil {
		return repeated(r.Content == refundContent(c.PaymentID, c.ReturnID, c.Amount, c.Reason), "/refundId")
	}
	p := find(s.Payments, c.PaymentID)
	if p == nil {
		return nil, ErrUnknownPayment.At("/paymentId")
	}
	if len(s.Refunds) >= MaxEntities {
		return nil, ErrTooMany.With("refunds")
	}
	left := p.refundable()
	if left.Sign() <= 0 {
		return nil, ErrNothingToRefund
	}
	if c.Amount.Currency() != s.Currency {
		return nil, ErrOtherCurrency.At("/amount")
	}
	if c.Amount.Cmp(left) > 0 {
		return nil, ErrAboveCaptured.With(fmt.Sprintf("%s is left, asked %s", left, c.Amount)).At("/amount")
	}
	if c.ReturnID != "" && find(s.Returns, c.ReturnID) == nil {
		return nil, ErrUnknownReturn.At("/returnId")
	}
	return []Event{RefundGranted{RefundID: c.RefundID, PaymentID: c.PaymentID, Amount: c.Amount, ReturnID: c.ReturnID, Reason: c.Reason, At: at}}, nil
}

// completeRefund: the money went back.
func completeRefund(s State, c CompleteRefund) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.RefundID, "/refundId")
	k.words(c.Reference, "/reference")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	r := find(s.Refunds, c.RefundID)
	switch {
	case r == nil:
		return nil, ErrUnknownRefund
	case r.Progress == done:
		return nil, nil
	case r.Progress == refused:
		return nil, ErrRefundSettled
	}
	return []Event{RefundCompleted{RefundID: c.RefundID, Reference: c.Reference, At: at}}, nil
}

// failRefund: it could not be sent, and may be granted anew.
func failRefund(s State, c FailRefund) ([]Event, error) {
	var k check
	at := k.time(c.At, "/at")
	k.id(c.RefundID, "/refundId")
	k.words(c.Reason, "/reason")
	if err := s.accepts(&k, at); err != nil {
		return nil, err
	}
	r := find(s.Refunds, c.RefundID)
	switch {
	case r == nil:
		return nil, ErrUnknownRefund
	case r.Progress == refused:
		return nil, nil
	case r.Progress == done:
		return nil, ErrRefundSettled
	}
	return []Event{RefundFailed{RefundID: c.RefundID, Reason: c.Reason, At: at}}, nil
}
