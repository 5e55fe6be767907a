package audit

import (
	"fmt"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/view"
)

// summary says in a clerk's words what the event means for the order, and why it
// happened where the event says so.
func summary(e order.Event, before, after view.Order) (words, reason string) {
	return fmt.Sprintf("%T", e), ""
}
