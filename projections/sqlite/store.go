package sqlite

import (
	"context"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// Store is one generation: a projections.Sink and query.Views.
type Store struct{}

func open(path string, generation int, o Options) (*Store, error) { return &Store{}, nil }

func (s *Store) Checkpoints(ctx context.Context) ([]projections.Checkpoint, error) { return nil, nil }
func (s *Store) Claim(ctx context.Context, lane int, owner string, token uint64) (projections.Checkpoint, error) {
	return projections.Checkpoint{}, nil
}
func (s *Store) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	return nil, nil
}
func (s *Store) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	return nil, nil
}
func (s *Store) Parked(ctx context.Context) ([]projections.Parked, error) { return nil, nil }
func (s *Store) Refresh(ctx context.Context) error                        { return nil }
func (s *Store) Close() error                                             { return nil }
func (s *Store) Order(ctx context.Context, id string) (view.Order, bool, error) {
	return view.Order{}, false, nil
}
func (s *Store) Orders(ctx context.Context, q query.Question) (query.Page, error) {
	return query.Page{}, nil
}
func (s *Store) Customer(ctx context.Context, id string) (view.CustomerSummary, bool, error) {
	return view.CustomerSummary{}, false, nil
}
func (s *Store) CustomerOrders(ctx context.Context, id string, limit int, after *query.Key) (query.Page, error) {
	return query.Page{}, nil
}
func (s *Store) Stats(ctx context.Context, q query.StatsQuestion) (view.Stats, error) {
	return view.Stats{}, nil
}
