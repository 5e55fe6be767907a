package sqlite_test

import (
	"testing"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/sqlite"
)

func TestConformance(t *testing.T) {
	projectionstest.Run(t, func(t testing.TB) projections.Backend { return sqlite.NewBackend(t.TempDir(), sqlite.Options{}) })
}
