package sqlite

import (
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/eventstoretest"
)

func TestConformance(t *testing.T) {
	eventstoretest.Run(t, func(t *testing.T, dir string) eventstore.Store {
		return openTest(t, dir)
	})
}
