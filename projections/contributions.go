package projections

import "github.com/docket-orders/docket/view"

// Contributions is what a document adds to everything that is counted.
func Contributions(doc view.Order) Contribution { return Contribution{} }
