package projectionstest_test

import (
	"testing"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
)

func TestReference(t *testing.T) {
	projectionstest.Run(t, func(t testing.TB) projections.Backend { return projectionstest.NewReference() })
}
