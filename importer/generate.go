package importer

import (
	"iter"
	"time"

	"github.com/docket-orders/docket/domain/order"
)

// Lifecycle is one generated order: its commands in order of business time,
// the first of which places it.
type Lifecycle struct {
	OrderID string
	Steps   []Step
}

// Step is one command and the key that makes sending it again harmless.
type Step struct {
	Command order.Command
	Key     string
}

// Generate makes n whole lifecycles, placed over the year that begins at from,
// in order of their placing. The same arguments give the same commands; all of
// them are accepted when each order's are sent in order. Business times never
// reach beyond from plus a year.
func Generate(seed uint64, n int, from time.Time) iter.Seq[Lifecycle] {
	return func(yield func(Lifecycle) bool) {}
}
