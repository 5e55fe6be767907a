package projectionstest

import (
	"context"

	"github.com/docket-orders/docket/projections"
)

// Reference is a backend in memory, as unlike a database as possible.
type Reference struct{}

// NewReference makes a backend without generations.
func NewReference() *Reference { return &Reference{} }

// FailWrites makes the next n writes of every generation fail as a whole,
// before anything is applied.
func (r *Reference) FailWrites(n int) {}

// BreakWrites makes the next n writes of every generation fail after some of
// the documents are applied, before the checkpoints.
func (r *Reference) BreakWrites(n int) {}

// Refuse makes every generation refuse documents of this order; a nil reason
// accepts them again.
func (r *Reference) Refuse(orderID string, reason error) {}

// Open opens a generation, and makes it, empty, when it is not there.
func (r *Reference) Open(ctx context.Context, generation int) (projections.Sink, error) {
	return nil, nil
}

// Drop removes a generation.
func (r *Reference) Drop(ctx context.Context, generation int) error { return nil }

// Generations lists what is there, ascending.
func (r *Reference) Generations(ctx context.Context) ([]int, error) { return nil, nil }
