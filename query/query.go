// Package query is the read side: the questions the API may ask, consistency
// tokens, cursors, and the port to the views that answer.
//
// It promises that a reader with a token sees that write or is told that it is
// not there yet; that a cursor walk shows an order whose sort value does not
// change exactly once; and that totals and facets belong to the same instant as
// the page. What an order was at a cut is folded from the log, never read from a
// view. httpapi and audit ask; adapters of Views answer.
//
// order.go answers one order, list.go lists, wait.go waits for a token; side.go
// asks the store that answers: one may answer lists and another the rest, each as
// far as it is, and away without the other. cut.go, timetravel.go and diff.go look back, and point.go reads what people write for
// a cut.
package query

import (
	"context"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/view"
)

// Views answers all questions from one generation of the orders projection. All
// stores give equal answers to equal questions. Methods may be called from many
// goroutines. They fail with projections.ErrUnavailable while the store does not
// answer, with projections.ErrLost when it lost the generation, and with
// projections.ErrClosed after a switch.
type Views interface {
	Hot
	Search
}

// Search answers questions over many orders.
type Search interface {
	// Orders answers a list question: page, total and facets of one instant.
	Orders(ctx context.Context, q Question) (Page, error)
	// Documents returns what is stored of these orders, as projections.Sink says.
	Documents(ctx context.Context, ids []string) (map[string]view.Order, error)
}

// Hot answers questions about one order, one customer, and sums.
type Hot interface {
	// Order by id, as written last.
	Order(ctx context.Context, id string) (view.Order, bool, error)
	// Customer with the totals over all their orders.
	Customer(ctx context.Context, id string) (view.CustomerSummary, bool, error)
	// CustomerOrders lists a customer's orders, newest first, ties by id
	// descending.
	CustomerOrders(ctx context.Context, id string, limit int, after *Key) (Page, error)
	// Stats sums over documents by the day they were placed.
	Stats(ctx context.Context, q StatsQuestion) (view.Stats, error)
}

// Question selects, sorts and pages orders. Within one field any of the values
// may match; all fields that are set must match. Ranges include From and
// exclude To.
type Question struct {
	IDs                        []string
	Status                     []string
	PaymentStatus              []string
	FulfilmentStatus           []string
	Kind                       []string
	Source                     []string // source.system
	Customer                   []string // customer.id
	Tag                        []string
	Anomaly                    []string // kind
	Currency                   []string
	Country                    []string
	State                      []string
	SKU                        []string // of a line in force
	PlacedFrom, PlacedTo       *time.Time
	DeliveredFrom, DeliveredTo *time.Time
	UpdatedFrom, UpdatedTo     *time.Time
	MinTotal, MaxTotal         *money.Amount // of totals.grand, both included; Currency has one value then
	Words                      []string      // see projections.Words: all must be there
	Sort                       Sort
	Limit                      int      // 1 to MaxLimit
	After                      *Key     // continue after this key, in sort order
	Facets                     []string // dimensions to count over all that match
	WithoutTotal               bool     // Page.Total is not wanted
	// Holding, when set, is an order that the instant of the answer must hold. A
	// store whose questions see what is written only later makes it visible, and
	// answers in that same instant; ErrBehind when it does not have it. A store
	// whose questions see every write passes over it: the caller has waited.
	Holding *Holding
}

// Holding is an order at a revision, or later.
type Holding struct {
	OrderID  string
	Revision int64
}

// Sort of a list; ties by id in the same direction.
type Sort struct {
	By   SortBy
	Desc bool
}

// SortBy names a sort value.
type SortBy string

const (
	ByPlacedAt  SortBy = "placedAt"
	ByUpdatedAt SortBy = "updatedAt"
	ByTotal     SortBy = "total" // totals.grand; one currency only
	ByNumber    SortBy = "number"
)

// Key is a place in a sorted list: the sort value and the id of an order. Int
// holds microseconds since 1970 UTC, or minor units; Text a number.
type Key struct {
	Int  int64  `json:"i,omitempty"`
	Text string `json:"t,omitempty"`
	ID   string `json:"id"`
}

// MaxLimit and DefaultLimit bound a page.
const (
	MaxLimit     = 1000
	DefaultLimit = 50
)

// Facets that may be asked for, each a field of Question.
var Facets = []string{"status", "paymentStatus", "fulfilmentStatus", "kind", "source", "tag", "anomaly", "currency", "country", "state"}

// Page of a list.
type Page struct {
	Items  []view.Order
	Total  int64              // all that match
	Facets map[string][]Count // by count descending, then value
	Next   *Key               // nil on the last page
}

// Count of a facet value.
type Count struct {
	Value string `json:"value"`
	Count int64  `json:"count"`
}

// StatsQuestion asks for sums over documents placed on the days From to To,
// both included, UTC, written 2018-01-31; empty for no bound. Top asks for that
// many products; only without a range.
type StatsQuestion struct {
	From, To string
	Top      int
}
