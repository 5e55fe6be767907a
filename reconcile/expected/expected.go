// Package expected says what the log's events make of an order: an independent
// second fold, against which reconciliation holds what the views keep.
//
// It promises to share nothing with package projections: neither code nor
// approach. Where projections.Apply changes a document event by event, here
// each event is booked by its row in a table, line by line of the catalogue,
// into accounts (units per line, money per payment, things by id), and the
// document is read off the accounts when all is booked. Every result is checked
// against invariants that look at the events alone; a violation says that this
// package, not the view, is wrong. Package reconcile calls it.
package expected

import (
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/view"
)

// Order is what is expected of one order.
type Order struct {
	Document view.Order
	Counted  Counted
	Texts    []string // whose words the full text must find the order by
	// Violations of the invariants: this fold is not to be believed. None for
	// a fold that is right.
	Violations []Violation
}

// Violation is one broken invariant.
type Violation struct {
	Invariant string // its name: "money-conserved"
	Detail    string // with the figures
}

// Counted is what one order adds to everything that is counted: whole numbers,
// money in minor units, Rounding in millionths. The zero value is of an order
// that was never placed.
type Counted struct {
	Currency money.Currency
	Day      string // of placedAt in UTC: 2018-01-31
	Customer string // empty for a guest

	Orders, Lines, Units, Items, Shipping, Grand, Paid, Rounding int64

	Groups   []Group // dimension and key, each once, in the order of dimensions
	Methods  []Method
	Products []Product
}

// Group is a value of a dimension of statistics, such as status or tag.
type Group struct{ Dimension, Key string }

// Method is what was captured by one method of payment.
type Method struct {
	Method             string
	Payments, Captured int64
}

// Product is the units of one SKU and their exact amount: the sum over its lines
// of whole units of the currency, and that of the millionths beside them.
type Product struct {
	SKU                       string
	Units, Amount, Millionths int64
}
