// Package reconcile compares the log with what the views keep of it, reports
// every difference, and repairs it.
//
// It promises: what differs is found, whoever made it differ; nothing healthy
// is ever reported, also while orders change and views are behind; a repair is
// verified; and a run that could not look at everything says so. The expected
// side is package expected, never the projector's own fold. It holds a bounded
// part of the orders in memory. httpapi starts runs and reads their reports;
// every run is a stream of events of its own, reconciliation-<id>.
//
// A run chooses the head of the log as its barrier and waits for the views. It
// reads the log once, deals the events to files by order, folds file by file,
// and asks the views about every order (compare.go). What is not the same is
// looked at again, each time at the revision that is kept, until it is healthy
// or was seen twice to be wrong (look.go). Beside that it adds up what the
// orders count, and compares all figures at one instant, to which events and
// parked orders after the barrier are carried over (tally.go, advance.go). A store
// whose figures are of no one instant is asked instead which of them are not the
// sum of the contributions that it keeps, and each of these is compared with the
// order. What the views consist of, and the rows of parked orders, are looked at
// as well (structure.go).
//
// A run goes over the stores one after another, with one barrier for all. Each is
// compared by itself (store.go): its views are waited for, the log is read for
// it, and what cannot be told of it is unknown and keeps nobody from judging the
// others. Nothing supposes that this process alone writes to a store.
//
// An order whose stream was deleted may be kept as its events made it, for the
// log may still deliver them, or not be kept; anything else is an orphan. A
// stream whose beginning was truncated cannot be compared, and is said so.
package reconcile

import (
	"context"
	"log/slog"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
)

// Category begins the names of the runs' streams.
const Category = "reconciliation"

// Store is one store of views. Each is compared for itself: what one cannot tell
// is unknown, and the others are judged.
type Store struct {
	Name string
	Projection
}

// StoresOf are the stores that this process keeps with the log.
func StoresOf(all *projections.Stores) []Store {
	var stores []Store
	for _, m := range all.Managers() {
		stores = append(stores, Store{m.StoreName, m})
	}
	return stores
}

// Projection is what reconciliation needs of the runner of a store;
// *projections.Manager has it.
type Projection interface {
	// Live is the generation that answers; its sink is a projections.Inspector.
	Live() (projections.Sink, int)
	// CaughtUp returns when everything that was in the log at the call is
	// applied or parked, by whatever process.
	CaughtUp(ctx context.Context) error
	// Incomplete is why there is no generation, or why it lacks what it should
	// hold: the store does not answer, or lost what it kept. Else nil.
	Incomplete() error
	Parked(ctx context.Context) ([]projections.Parked, error)
	// Reproject makes what is kept of an order what its stream says, whatever
	// is kept, and removes it when there is no stream. The live fold makes the
	// document, in turn with the events that come in. A parked order is tried
	// again; projections.ErrParked when it stays, or becomes, parked.
	Reproject(ctx context.Context, orderID string) error
}

// Options of a Reconciler; all but Fold, Disk, Logger and Clock are needed.
type Options struct {
	Store     eventstore.Store
	Namespace eventstore.Namespace
	Stores    []Store
	Fold      projections.Fold // of all stores; the zero value is this program's own
	SpillDir  string           // folder for the temporary files of a run
	Disk      disk.FS          // under them; nil: the operating system's
	Logger    *slog.Logger
	Clock     func() time.Time
}

// Request is what is asked of a run.
type Request struct {
	Repair  bool   `json:"repair"`
	OrderID string `json:"orderId,omitempty"` // only this order; empty: everything
	// MaxRepairs is above how many differing entities nothing is repaired; nil:
	// the larger of 0.1 % of the orders and 1,000. Orders are counted, and those
	// figures to which no order that differs adds.
	MaxRepairs *int   `json:"maxRepairs,omitempty"`
	Actor      string `json:"actor,omitempty"`
}

// Class of a difference.
type Class string

const (
	Missing   Class = "missing"   // the log has the order, the view has not
	Orphan    Class = "orphan"    // the view has it, the log has not
	Stale     Class = "stale"     // the view is at an earlier revision, although it had time
	Ahead     Class = "ahead"     // the view is at a revision that the log does not have
	Content   Class = "content"   // same revision, other content
	Aggregate Class = "aggregate" // a figure, or what an order adds to figures
	Parked    Class = "parked"    // an event of the order could not be applied, or a row says so
	Structure Class = "structure" // the store's own indexes, full text or lanes disagree with its rows or with the log
)

// Finding is one difference. It shows values, names and addresses among them, as
// they are in the view and in the log: a run's stream holds personal data where
// views do. Long values and many fields are cut; Detail says so.
type Finding struct {
	Class Class `json:"class"`
	// Store in which it is; empty where the run compared one store only.
	Store string `json:"store,omitempty"`
	// Entity is what differs: order, customer, product, method, sums, facet;
	// stray, rows that belong to no order; or view, all of it.
	Entity string `json:"entity"`
	ID     string `json:"id"` // of the order or customer; for a figure its name in words
	// Revision of the log, Kept that of the view; -1 where there is none; both
	// absent for figures.
	Revision *int64 `json:"revision,omitempty"`
	Kept     *int64 `json:"kept,omitempty"`
	// Fields that differ: before is what the view keeps, after what it should.
	Fields []query.FieldChange `json:"fields,omitempty"`
	Detail string              `json:"detail,omitempty"`
	// Outcome of the repair: repaired, failed, or empty when none was tried; tried
	// while it is repaired, and for good when the run did not get to the end of it.
	Outcome string `json:"outcome,omitempty"`
	Error   string `json:"error,omitempty"` // why the repair failed
}

// Verdict of a run.
type Verdict string

const (
	Clean   Verdict = "clean"   // everything was compared and nothing differs
	Drift   Verdict = "drift"   // differences were found, repaired or not
	Unknown Verdict = "unknown" // not everything could be compared, or the expected side contradicts itself
)

// Report is what a run found, as far as it is.
type Report struct {
	ID      string  `json:"id"`
	State   string  `json:"state"` // running, ended; or interrupted: its process is gone
	Verdict Verdict `json:"verdict,omitempty"`
	Request
	StartedAt  time.Time  `json:"startedAt"`
	EndedAt    *time.Time `json:"endedAt,omitempty"`
	Generation int        `json:"generation"` // of the first store that answered
	// Barrier is the position up to which both sides were compared.
	Barrier  eventstore.Position `json:"barrier"`
	Progress Progress            `json:"progress"`
	Compared Compared            `json:"compared"` // in all stores together
	// Stores tells of each store, where the run compared several.
	Stores   []StoreReport   `json:"stores,omitempty"`
	Counts   map[Class]int64 `json:"counts"` // of all findings
	Findings []Finding       `json:"findings"`
	// Unlisted findings were counted only: so many are written down at most.
	Unlisted int64 `json:"unlisted,omitempty"`
	Repaired int64 `json:"repaired"`
	// Recounted rows of figures were changed, where the figures were counted again.
	Recounted int64 `json:"recounted,omitempty"`
	// Reasons why the verdict is unknown, or why nothing was repaired, and what
	// to do.
	Reasons []string `json:"reasons,omitempty"`
}

// StoreReport is what a run found in one store.
type StoreReport struct {
	Store      string          `json:"store"`
	Generation int             `json:"generation"` // 0: none was open
	Verdict    Verdict         `json:"verdict,omitempty"`
	Compared   Compared        `json:"compared"`
	Counts     map[Class]int64 `json:"counts"`
	Repaired   int64           `json:"repaired"`
}

// Compared is the statement of completeness. Of several stores together, Events
// and Streams are those of the log, and the rest is added up.
type Compared struct {
	Events    int64 `json:"events"`    // of orders, read from the log up to the barrier
	Streams   int64 `json:"streams"`   // orders in the log, each with contiguous revisions
	Documents int64 `json:"documents"` // kept order documents that were compared
	Customers int64 `json:"customers"`
	Figures   int64 `json:"figures"` // counted rows but those of customers
	Again     int64 `json:"again"`   // orders that were looked at a second time
	// Complete: every position up to the barrier was read, every stream is
	// contiguous, every entity was compared.
	Complete bool `json:"complete"`
}

// Progress of a run. Phases: waiting, reading, comparing, counting, again,
// repairing, verifying.
type Progress struct {
	Phase string `json:"phase"`
	Store string `json:"store,omitempty"` // in which, where there are several
	Done  int64  `json:"done"`
	Total int64  `json:"total,omitempty"` // 0: not known
}
