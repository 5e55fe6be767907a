package redis_test

import (
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// TestRememberedHeadDecidesNothing: what another process has done to an order since
// it was written here is what counts.
func TestRememberedHeadDecidesNothing(t *testing.T) {
	address, ns := "redis://"+testservers.Redis(t), eventstore.Namespace(testservers.Namespace(t))
	sinkOf := func() projections.Sink {
		sink, err := open(t, address, ns).Open(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		return sink
	}
	here, elsewhere := sinkOf(), sinkOf()
	at := func(first, revision int64) projections.Change {
		return projections.Change{First: first, Order: view.Order{ID: "o", Revision: revision}}
	}
	write := func(s projections.Sink, c projections.Change, want projections.Result) {
		t.Helper()
		outcomes, err := s.Write(t.Context(), projections.Batch{Changes: []projections.Change{c}})
		if err != nil {
			t.Fatal(err)
		}
		if outcomes[0].Result != want {
			t.Errorf("revisions %d to %d: outcome %d, want %d", c.First, c.Order.Revision, outcomes[0].Result, want)
		}
	}
	replace := func(c *projections.Change) {
		t.Helper()
		if err := elsewhere.Replace(t.Context(), "o", c); err != nil {
			t.Fatal(err)
		}
	}
	write(here, at(0, 3), projections.Applied)
	older := at(0, 1)
	replace(&older)
	write(here, at(3, 3), projections.Gap)
	write(here, at(2, 3), projections.Applied)
	replace(nil)
	write(here, at(3, 3), projections.Gap)
	write(here, at(4, 4), projections.Gap)
	newer := at(0, 7)
	replace(&newer)
	write(here, at(4, 4), projections.Already)
	write(here, at(8, 8), projections.Applied)
}
