package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// Refusal is a command that was refused: who wanted what, which rule said no,
// and where the order stood.
type Refusal struct {
	OrderID  string
	Revision eventstore.Revision // of the order it was decided on; -1: it did not exist
	Command  string              // name: "cancel"
	Target   string              // id of the part of the order that the command names: "p1"; see targetOf
	Code     string              // of the rule: "order-departed", or "key-reused", "precondition-failed", "at-in-future"
	Reason   string              // the rule's words, with the figures of the case
	Field    string              // JSON Pointer into the command, when the rule names one

	CommandID     uuid.UUID
	Fingerprint   string
	Actor         string
	CorrelationID string
	CausationID   string
	TraceParent   string
	At            time.Time // the writer's clock
}

// tell completes a refusal with what err says and hands it on. Errors that are
// no refusal, and dry runs, are nobody's business.
func (o *Orders) tell(ctx context.Context, r Refusal, req Request, err error) {
	if o.refused == nil || req.DryRun {
		return
	}
	var (
		rejection    *domain.Rejection
		precondition *PreconditionError
	)
	r.Reason = err.Error()
	switch {
	// While an append may have happened nothing was refused.
	case errors.Is(err, eventstore.ErrOutcomeUnknown):
		return
	case errors.As(err, &rejection):
		r.Code, r.Reason, r.Field = rejection.Code, rejection.Error(), rejection.Field
	case errors.As(err, &precondition):
		r.Code = "precondition-failed"
		r.Reason = fmt.Sprintf("%v, If-Match wants %v", precondition, *req.IfMatch)
	case errors.Is(err, ErrKeyReused):
		r.Code = "key-reused"
	case errors.Is(err, ErrFuture):
		r.Code, r.Field = "at-in-future", "/at"
	default:
		return
	}
	o.refused(ctx, r)
}

// targetOf is the id of the part of the order that a command is about: the
// payment, parcel, return, refund, change or hold that must be there already;
// "" for a command on the whole order, and for one that makes a new part.
func targetOf(cmd order.Command) string {
	switch c := cmd.(type) {
	case order.CapturePayment:
		return c.PaymentID
	case order.FailPayment:
		return c.PaymentID
	case order.VoidPayment:
		return c.PaymentID
	case order.UpdateShipment:
		return c.ShipmentID
	case order.Deliver:
		return c.ShipmentID
	case order.ReceiveReturn:
		return c.ReturnID
	case order.RejectReturn:
		return c.ReturnID
	case order.GrantRefund:
		return c.PaymentID
	case order.CompleteRefund:
		return c.RefundID
	case order.FailRefund:
		return c.RefundID
	case order.ReleaseHold:
		return c.HoldID
	case order.ConfirmEdit:
		return c.EditID
	case order.DeclineEdit:
		return c.EditID
	}
	return ""
}
