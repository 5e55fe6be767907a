package command

import (
	"context"
	"log/slog"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
)

// Options of the write side. Store is needed, the rest has defaults.
type Options struct {
	Store     eventstore.Store
	Namespace eventstore.Namespace
	Snapshots Snapshots        // nil: none are kept
	Clock     func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: slog.Default()
	// CacheEntries bounds the folded orders kept in memory; 0: DefaultCacheEntries.
	CacheEntries int
	// SnapshotEvery so many events a snapshot is written; 0: DefaultSnapshotEvery.
	SnapshotEvery int
	// AuditEvery so many loads from a snapshot one is compared with a full
	// replay; 0: DefaultAuditEvery.
	AuditEvery int
}

// Orders handles commands on orders. It may be used by many goroutines.
type Orders struct {
}

// New starts the write side. Close it.
func New(o Options) *Orders { return &Orders{} }

// Handle decides cmd on the order and records the outcome.
func (o *Orders) Handle(ctx context.Context, orderID string, cmd order.Command, req Request) (Result, error) {
	panic("not built")
}

// Load folds the order as it is now; revision -1 when it does not exist.
func (o *Orders) Load(ctx context.Context, orderID string) (order.State, eventstore.Revision, error) {
	panic("not built")
}

// Metrics counts what happened since the start.
func (o *Orders) Metrics() Metrics { return Metrics{} }

// Close waits for the snapshots that are being written.
func (o *Orders) Close() error { return nil }
