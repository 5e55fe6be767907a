// Package projectionstest checks that a store keeps what projections.Sink and
// query.Views promise.
package projectionstest

import (
	"testing"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
)

// Sink is what a store's generation must be.
type Sink interface {
	projections.Sink
	query.Views
}

// Run runs the suite. open makes a backend of its own, empty, for each call;
// the sinks that it opens must also answer query.Views.
func Run(t *testing.T, open func(t testing.TB) projections.Backend) {}
