package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// Options of a Service. Store, Live, Progress and Log are needed.
type Options struct {
	Store     eventstore.Store
	Namespace eventstore.Namespace
	// Live is the generation that answers now, and its number; nil before one
	// is open.
	Live     func() (Views, int)
	Progress Progress
	// Log that tokens and cursors must come from.
	Log eventstore.LogIdentity
}

// Progress is what the service asks the runner of the projection;
// *projections.Manager has it.
type Progress interface {
	// Wait returns when the live generation holds the order at revision or
	// later; with projections.ErrParked when it never will.
	Wait(ctx context.Context, orderID string, revision eventstore.Revision) error
	// ParkedOrder tells whether an event of the order could not be applied.
	ParkedOrder(orderID string) (view.Degraded, bool)
	// Lag of the live generation.
	Lag(ctx context.Context) (projections.Lag, error)
}

// Service answers the questions of the API. Its methods may be called from many
// goroutines.
type Service struct {
	options Options
}

// New makes a service; it holds nothing that needs closing.
func New(o Options) *Service { return &Service{options: o} }

// Read is what accompanies a question.
type Read struct {
	// Token of a write that the answer must contain.
	Token *Token
	// Wait at most so long for it; zero: answer at once.
	Wait time.Duration
}

// Source says where an answer comes from.
type Source string

const (
	FromView Source = "view"
	FromLog  Source = "log" // folded from the order's stream, since no view has it yet
)

// Freshness says which generation answered, and how far it was behind the log.
type Freshness struct {
	Generation int
	Lag        projections.Lag
}

// OrderAnswer is one order.
type OrderAnswer struct {
	Order  view.Order // its position is that of its last applied event
	Source Source
	Freshness
}

// ListAnswer is one page of orders.
type ListAnswer struct {
	Page
	Cursor string // continues after this page; empty on the last one
	Freshness
}

// CustomerAnswer is one customer.
type CustomerAnswer struct {
	Customer view.CustomerSummary
	Freshness
}

// StatsAnswer is sums over documents.
type StatsAnswer struct {
	Stats view.Stats
	Freshness
}

// Refusals of reads. Field names the query parameter or header.
var (
	ErrOrderUnknown    = domain.Reject(domain.NotFound, "order-unknown", "there is no such order")
	ErrCustomerUnknown = domain.Reject(domain.NotFound, "customer-unknown", "there is no such customer")
	ErrRevisionUnknown = domain.Reject(domain.NotFound, "revision-unknown", "the order has not reached this revision")
	ErrTokenInvalid    = domain.Reject(domain.Invalid, "token-invalid", "this is not a consistency token").At("Consistency-Token")
	ErrTokenForeign    = domain.Reject(domain.Conflict, "token-foreign", "the consistency token is of another log, or of the time before a restore").At("Consistency-Token")
	ErrCursorInvalid   = domain.Reject(domain.Invalid, "cursor-invalid", "this is not a cursor").At("cursor")
	ErrCursorQuestion  = domain.Reject(domain.Invalid, "cursor-of-another-question", "the cursor belongs to another question: filters and sort must stay the same").At("cursor")
	ErrCursorForeign   = domain.Reject(domain.Conflict, "cursor-foreign", "the cursor is of another log, or of the time before a restore").At("cursor")
)

var (
	// ErrNotReady: no generation is open yet. Repeat later.
	ErrNotReady = errors.New("views are not open yet")
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
	Have, Want   eventstore.Revision // Have is -1 when the views do not have the order
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

// Order answers one order. Degraded is set when the order is parked. An order
// that the view does not have is folded from the log.
func (s *Service) Order(ctx context.Context, id string, read Read) (OrderAnswer, error) {
	return OrderAnswer{}, ErrOrderUnknown
}

// OrderFromLog folds the order's stream, up to the event at which the order is
// parked.
func (s *Service) OrderFromLog(ctx context.Context, id string) (view.Order, error) {
	return view.Order{}, ErrOrderUnknown
}

// OrderAt folds the order's stream up to and including revision;
// ErrRevisionUnknown when it is not there.
func (s *Service) OrderAt(ctx context.Context, id string, revision eventstore.Revision) (view.Order, error) {
	return view.Order{}, ErrOrderUnknown
}

// Preview is the order as it would be with events on top of revision base; base
// is -1 for an order that is not there.
func (s *Service) Preview(ctx context.Context, id string, base eventstore.Revision, events []codec.Recorded) (view.Order, error) {
	return view.Order{}, ErrOrderUnknown
}

// List answers a page of orders. cursor is empty for the first page, else what
// the page before gave; Question.After is not used.
func (s *Service) List(ctx context.Context, q Question, cursor string, read Read) (ListAnswer, error) {
	return ListAnswer{}, nil
}

// Customer answers a customer with the totals over their orders.
func (s *Service) Customer(ctx context.Context, id string, read Read) (CustomerAnswer, error) {
	return CustomerAnswer{}, ErrCustomerUnknown
}

// CustomerOrders lists a customer's orders, newest first. A customer without
// orders has an empty list. limit 0 is DefaultLimit.
func (s *Service) CustomerOrders(ctx context.Context, id string, limit int, cursor string, read Read) (ListAnswer, error) {
	return ListAnswer{}, nil
}

// Stats sums over documents.
func (s *Service) Stats(ctx context.Context, q StatsQuestion, read Read) (StatsAnswer, error) {
	return StatsAnswer{}, nil
}
