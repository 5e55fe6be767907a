package query

import (
	"errors"
	"fmt"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/view"
)

// Refusals of reads. Field names the query parameter or header.
var (
	ErrOrderUnknown    = order.ErrUnknown // the write side's, so that there is one
	ErrCustomerUnknown = domain.Reject(domain.NotFound, "unknown-customer", "there is no such customer")
	ErrRevisionUnknown = domain.Reject(domain.NotFound, "unknown-revision", "the order has not reached this revision")
	ErrPositionUnknown = domain.Reject(domain.NotFound, "unknown-position", "the log has not reached this position")
	// ErrCutBefore, ErrCutFuture: see Service.Events.
	ErrCutBefore = domain.Reject(domain.NotFound, "before-the-order", "the order was not there yet")
	ErrCutFuture = domain.Reject(domain.Invalid, "cut-in-future", "this instant has not come yet")
	ErrCuts      = domain.Reject(domain.Invalid, "several-cuts", "at most one of atRevision, atPosition and asOf may be given").At("asOf")
	// ErrHistoryUnreadable: an event of the order cannot be read or applied; Detail
	// says which and why. Looking at the order before that event is possible.
	ErrHistoryUnreadable = domain.Reject(domain.Conflict, "history-unreadable", "an event of the order cannot be read")
	ErrTokenInvalid      = domain.Reject(domain.Invalid, "token-invalid", "this is not a consistency token").At("Consistency-Token")
	ErrTokenForeign      = domain.Reject(domain.Conflict, "token-foreign", "the consistency token is of another log, or of the time before a restore: the write it names may be gone; read without it, and look").At("Consistency-Token")
	ErrCursorInvalid     = domain.Reject(domain.Invalid, "cursor-invalid", "this is not a cursor").At("cursor")
	ErrCursorQuestion    = domain.Reject(domain.Invalid, "cursor-of-another-question", "the cursor belongs to another question: filters and sort must stay the same").At("cursor")
	ErrCursorForeign     = domain.Reject(domain.Conflict, "cursor-foreign", "the cursor is of another log, or of the time before a restore; begin the list again without it").At("cursor")
)

var (
	// ErrNotReady: no generation is open yet. Repeat later.
	ErrNotReady = errors.New("views are not open yet")
	// ErrUnavailable: the store that answers this question does not answer, or is
	// being filled again. Repeat later.
	ErrUnavailable = errors.New("the views that answer this are not available")
	// ErrBehind: the views do not hold the write of the token yet; see
	// BehindError.
	ErrBehind = errors.New("views are behind the consistency token")
	// ErrParked: the order of the token is parked before that write; see
	// ParkedError.
	ErrParked = errors.New("the order's events cannot be applied")
)

// BehindError says how far the order of the token is, and how far it should be.
// Repeating the read later helps. It matches ErrBehind.
type BehindError struct {
	OrderID      string
	Have, Want   eventstore.Revision // Have is -1 when the views do not have the order, or do not find it yet
	HavePosition string              // of the document; empty when there is none
	WantPosition string
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("order %s: views hold revision %d, the consistency token wants %d", e.OrderID, e.Have, e.Want)
}

// Is makes errors.Is(err, ErrBehind) hold.
func (e *BehindError) Is(target error) bool { return target == ErrBehind }

// ParkedError says why waiting is of no use. It matches ErrParked.
type ParkedError struct {
	OrderID  string
	Want     eventstore.Revision
	Degraded view.Degraded
}

func (e *ParkedError) Error() string {
	return fmt.Sprintf("order %s: the event at revision %d could not be applied: %s", e.OrderID, e.Degraded.Revision, e.Degraded.Reason)
}

// Is makes errors.Is(err, ErrParked) hold.
func (e *ParkedError) Is(target error) bool { return target == ErrParked }
