package projections

import (
	"context"
	"errors"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/view"
	"github.com/google/uuid"
)

// Lanes is the number of lanes of a generation. Events of one order are always
// in one lane, in order.
const Lanes = 64

// Sink is one generation of the orders projection in one store: documents, what
// they contribute to the counters, parked orders, and a checkpoint per lane.
//
// A sink need not be transactional. What it must keep: a document only moves
// forward in revision; counters change by the new contribution minus the one
// the sink itself keeps for that document, so that a repeated write changes
// nothing; a checkpoint moves only after everything in the same batch is
// applied or parked. All methods may be called from many goroutines, but the
// lanes of one generation are written by one owner at a time.
type Sink interface {
	// Checkpoints returns the record of every lane, in lane order; the zero
	// Position where nothing is applied yet.
	Checkpoints(ctx context.Context) ([]Checkpoint, error)

	// Claim makes owner the owner of a lane: it compares token with the stored
	// one, raises it, and returns the record as it is now. ErrLaneLost when the
	// token differs. With an empty owner the lane is nobody's.
	Claim(ctx context.Context, lane int, owner string, token uint64) (Checkpoint, error)

	// Beat raises the beat of these lanes, as a sign of life, and changes
	// nothing else; of each record Lane and Token count. Lanes whose stored token
	// differs belong to another owner by now: they are left alone and returned.
	Beat(ctx context.Context, lanes []Checkpoint) (lost []int, err error)

	// Documents returns what is stored of these orders, as written last, in
	// real time (not only what is searchable). Absent ones are left out. What
	// comes back is equal as JSON.
	Documents(ctx context.Context, ids []string) (map[string]view.Order, error)

	// Write applies a batch. Each change has an outcome of its own, in the
	// order of batch.Changes. When every outcome is Applied or Already and no
	// error is returned, the batch's parkings, releases and checkpoints were
	// recorded too; otherwise none of these was (the changes that were applied
	// stay). An error means that the store as a whole failed or that a lane was
	// lost (ErrLaneLost): the batch may be written again, whole.
	Write(ctx context.Context, batch Batch) ([]Outcome, error)

	// Parked lists the orders that are parked here, by order id.
	Parked(ctx context.Context) ([]Parked, error)

	// Refresh returns when everything written before the call is visible to
	// questions.
	Refresh(ctx context.Context) error

	// Inspector is what reconciliation asks of the sink.
	Inspector

	Close() error
}

// LaneClaimer is a Sink that claims many lanes at the price of a few: where each
// request has one, a rebuild would spend it 128 times.
type LaneClaimer interface {
	// ClaimLanes is Claim for all of these, of which Lane and Token count. Those
	// whose token differs are another's, and left out of what it returns.
	ClaimLanes(ctx context.Context, lanes []Checkpoint, owner string) ([]Checkpoint, error)
}

// Filler is a Sink that is filled faster when it knows that nobody asks it questions
// yet: it may leave until the end what only questions need. What a crash leaves
// between the two is whole when the sink was opened again.
type Filler interface {
	// BeginFill is called before the first write of a build.
	BeginFill(ctx context.Context) error
	// EndFill makes up for what was left. worked is told how long each part of it
	// took, and rests as the build does; its error ends it. It may be called again.
	EndFill(ctx context.Context, worked func(time.Duration) error) error
}

// Checkpoint says how far one lane is: every matching event at or before
// Position is applied or parked.
type Checkpoint struct {
	Lane     int
	Position eventstore.Position
	EventID  uuid.UUID // of the last event of this lane; nil when it never had one
	Owner    string
	Token    uint64 // raised with every change of owner
	Beat     uint64 // raised by the owner as a sign of life
	Log      eventstore.LogIdentity
}

// Batch is one write to a sink.
type Batch struct {
	Changes []Change
	Park    []Parked
	Release []string // order ids that are no longer parked
	// Checkpoints to move to. The stored Token must equal the one given.
	Checkpoints []Checkpoint
}

// Change is the new document of one order, made by folding its events First to
// Revision (the document's) onto the stored one. It applies when the stored
// revision is at least First-1 and below Revision.
type Change struct {
	First        int64
	Order        view.Order
	Contribution Contribution
	Words        string // full text: see Words
}

// Outcome of one change.
type Outcome struct {
	Result Result
	Err    error // for Refused: why
}

// Result of a change.
type Result uint8

const (
	Applied Result = iota
	Already        // the stored revision is the same or newer
	Gap            // the stored revision is below First-1: read the stream again
	Refused        // the store will not have this document, now or later
)

// Parked is an order whose next event could not be applied. Its later events
// wait in the log.
type Parked struct {
	OrderID  string              `json:"orderId"`
	Revision int64               `json:"revision"` // of the first event that is not applied
	Position eventstore.Position `json:"position"`
	Reason   string              `json:"reason"`
	// Store is where it is parked, in a list over several stores; else empty.
	Store string `json:"store,omitempty"`
}

// MaxDocument bounds one document, in bytes of its JSON. Every store refuses a
// larger one, and takes any that is not.
const MaxDocument = 8 << 20

var (
	// ErrLaneLost: another owner has the lane.
	ErrLaneLost = errors.New("lane belongs to another owner")
	// ErrRefused: the store will not have this document, now or later.
	ErrRefused = errors.New("document is refused")
	// ErrUnavailable: the store as a whole does not answer for now; asking again
	// later may help. Nothing is parked for it.
	ErrUnavailable = errors.New("the store of the views does not answer")
	// ErrLost: the store answers, but what it kept of the generation, or a part
	// of it, is gone: it was flushed, or came back empty. The generation is made
	// again from the log, under its number.
	ErrLost = errors.New("the store has lost the generation")
	// ErrDamaged: the generation cannot be used as it is, now or later; a
	// rebuild makes another.
	ErrDamaged = errors.New("the views are damaged: docket projections rebuild orders makes them again")
)

// Contribution is what one document adds to everything that is counted.
type Contribution struct {
	Currency money.Currency `json:"c"`
	Day      string         `json:"d"` // of placedAt in UTC: 2018-01-31
	Sums     Sums           `json:"s"`
	Groups   []Group        `json:"g"` // each of them gets Sums
	Methods  []MethodSum    `json:"m,omitempty"`
	Products []ProductSum   `json:"p,omitempty"` // one per SKU
	Customer string         `json:"u,omitempty"` // empty for a guest
}

// Sums in whole numbers: money in minor units, but Rounding in millionths of
// the currency, since it has more decimals.
type Sums struct {
	Orders   int64 `json:"o"`
	Lines    int64 `json:"l"`
	Units    int64 `json:"u"`
	Items    int64 `json:"i"`
	Shipping int64 `json:"s"`
	Grand    int64 `json:"g"`
	Paid     int64 `json:"p"`
	Rounding int64 `json:"r"`
}

// Group is a value of a dimension: status, paymentStatus, fulfilmentStatus,
// kind, tag, country, state, anomaly. Days and months are not groups: they
// follow from Day.
type Group struct {
	Dimension string `json:"d"`
	Key       string `json:"k"`
}

// MethodSum counts captured payments of one method, in minor units.
type MethodSum struct {
	Method   string `json:"m"`
	Payments int64  `json:"n"`
	Captured int64  `json:"c"`
}

// ProductSum counts one SKU. Its amount is exact: whole units of the currency
// and millionths, apart, so that no sum of orders leaves 64 bits. Stores add
// the two as they are; Normal carries.
type ProductSum struct {
	SKU        string `json:"k"`
	Units      int64  `json:"u"`
	Amount     int64  `json:"a"`
	Millionths int64  `json:"f,omitempty"`
}

// Plus adds n times q, which is 1 or -1; the SKU stays.
func (p ProductSum) Plus(q ProductSum, n int64) ProductSum {
	p.Units, p.Amount, p.Millionths = p.Units+n*q.Units, p.Amount+n*q.Amount, p.Millionths+n*q.Millionths
	return p
}

// Normal is the same sum with 0 to 999,999 millionths.
func (p ProductSum) Normal() ProductSum {
	p.Amount, p.Millionths = p.Amount+p.Millionths/million, p.Millionths%million
	if p.Millionths < 0 {
		p.Amount, p.Millionths = p.Amount-1, p.Millionths+million
	}
	return p
}

const million = 1_000_000
