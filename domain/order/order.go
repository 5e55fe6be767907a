// Package order holds the rules of an order: what may be done to it, by Decide,
// and what it is after that, by Evolve. It refuses with values (the Err
// variables), never panics on what a person may send, and knows neither time
// nor storage. command drives it; projections and the audit read its events.
//
// An order has three axes that move on their own: its status, its payment and
// its fulfilment.
package order

import (
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
)

// Decider is the order aggregate.
var Decider = domain.Decider[State, Command, Event]{
	Category: "order", Decide: Decide, Evolve: Evolve,
}

// Kind of document. Everything but KindOrder exists only on adopted history.
type Kind string

const (
	KindOrder      Kind = "order"
	KindCreditNote Kind = "creditNote"
	KindAdjustment Kind = "adjustment"
)

// Status is the order's own axis.
type Status string

const (
	StatusNone      Status = ""
	StatusPlaced    Status = "placed"
	StatusConfirmed Status = "confirmed"
	StatusCancelled Status = "cancelled"
)

// PaymentStatus is derived from the payments and refunds, against the total.
type PaymentStatus string

const (
	PaymentStatusNone              PaymentStatus = "none"
	PaymentStatusAuthorised        PaymentStatus = "authorised"    // nothing captured, an authorisation open
	PaymentStatusPartiallyPaid     PaymentStatus = "partiallyPaid" // captured less than the total
	PaymentStatusPaid              PaymentStatus = "paid"
	PaymentStatusOverpaid          PaymentStatus = "overpaid" // a state, not an error
	PaymentStatusPartiallyRefunded PaymentStatus = "partiallyRefunded"
	PaymentStatusRefunded          PaymentStatus = "refunded" // all that was captured went back
)

// FulfilmentStatus is derived from quantities shipped, delivered and returned.
type FulfilmentStatus string

const (
	FulfilmentStatusNone               FulfilmentStatus = "unfulfilled"
	FulfilmentStatusPartiallyShipped   FulfilmentStatus = "partiallyShipped"
	FulfilmentStatusShipped            FulfilmentStatus = "shipped" // every unit has left
	FulfilmentStatusPartiallyDelivered FulfilmentStatus = "partiallyDelivered"
	FulfilmentStatusDelivered          FulfilmentStatus = "delivered"
	FulfilmentStatusPartiallyReturned  FulfilmentStatus = "partiallyReturned"
	FulfilmentStatusReturned           FulfilmentStatus = "returned"
)

// Source says which system an adopted order comes from, under which id and in
// which state that system left it.
type Source struct {
	System string `json:"system"`
	ID     string `json:"id"`
	Status string `json:"status,omitempty"`
}

// Customer who ordered; all empty for a guest.
type Customer struct {
	ID    string `json:"id,omitempty"`
	Name  string `json:"name,omitempty"`
	Email string `json:"email,omitempty"`
}

// Address for parcels or bills. Country is ISO 3166-1 alpha-2 on new orders; on
// adopted ones it is what the source wrote.
type Address struct {
	Name       string `json:"name,omitempty"`
	Company    string `json:"company,omitempty"`
	Street     string `json:"street,omitempty"`
	PostalCode string `json:"postalCode,omitempty"`
	City       string `json:"city,omitempty"`
	State      string `json:"state,omitempty"`
	Country    string `json:"country,omitempty"`
	Phone      string `json:"phone,omitempty"`
}

// Line is one thing ordered, a number of times. The same SKU may stand on
// several lines; ID tells them apart within the order. A command may leave it
// out: then it is the line's number.
type Line struct {
	ID        string            `json:"id,omitempty"`
	SKU       string            `json:"sku"`
	Title     string            `json:"title,omitempty"`
	Quantity  int64             `json:"quantity"`
	UnitPrice money.Amount      `json:"unitPrice"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// LineQuantity names units of a line.
type LineQuantity struct {
	LineID   string `json:"lineId"`
	Quantity int64  `json:"quantity"`
}

// ReturnedLine is what came back, and how it looked.
type ReturnedLine struct {
	LineID    string `json:"lineId"`
	Quantity  int64  `json:"quantity"`
	Condition string `json:"condition,omitempty"` // "new", "opened", "damaged", or the shop's own word
}

// LineChange is one step of an edit. Exactly what Op needs is set:
// "add" Line; "remove" LineID; "reprice" LineID and UnitPrice;
// "quantity" LineID and Quantity.
type LineChange struct {
	Op        string       `json:"op"`
	Line      *Line        `json:"line,omitempty"`
	LineID    string       `json:"lineId,omitempty"`
	UnitPrice money.Amount `json:"unitPrice,omitempty"`
	Quantity  int64        `json:"quantity,omitzero"`
}

// Anomaly is a broken business rule that an adopted order came with.
type Anomaly struct {
	Kind   string `json:"kind"` // one of the Anomaly constants
	Detail string `json:"detail,omitempty"`
	LineID string `json:"lineId,omitempty"`
}

// Kinds of anomaly. The first group is decided by the domain when the last part
// of a history is adopted; the second is told by the importer.
const (
	AnomalyNoLines                      = "no-lines"
	AnomalyNoPayment                    = "no-payment"
	AnomalyPaidDiffers                  = "paid-differs"               // captured differs from the grand total, both there
	AnomalyConfirmedBeforePlaced        = "confirmed-before-placed"    // business times
	AnomalyShippedBeforePlaced          = "shipped-before-placed"      //
	AnomalyShippedBeforeConfirmed       = "shipped-before-confirmed"   //
	AnomalyDeliveredBeforePlaced        = "delivered-before-placed"    //
	AnomalyDeliveredBeforeConfirmed     = "delivered-before-confirmed" //
	AnomalyDeliveredBeforeShipped       = "delivered-before-shipped"   //
	AnomalyDeliveredWithoutDate         = "delivered-without-date"     // claimed delivered, no delivery in the history
	AnomalyDeliveredWithoutShipment     = "delivered-without-shipment"
	AnomalyDeliveredWithoutConfirmation = "delivered-without-confirmation"
	AnomalyCancelledWithShipment        = "cancelled-with-shipment"
	AnomalyCancelledWithDelivery        = "cancelled-with-delivery"
	AnomalyNegativeQuantity             = "negative-quantity" // on a document that is an order
	AnomalyNegativePrice                = "negative-price"    // on a document that is an order
	AnomalyOverShipped                  = "over-shipped"      // more shipped, delivered or returned than ordered
	AnomalyOverRefunded                 = "over-refunded"
	AnomalyUnknownReference             = "unknown-reference" // an event names a line, payment ... that is not there

	AnomalySeveralTimestamps = "several-timestamps" // rows of one document disagree on its time
	AnomalyRepeatedRow       = "repeated-row"       // a row repeats an earlier one in every column
	AnomalyNoSuchLocalTime   = "no-such-local-time" // skipped by a change to summer time
	AnomalySourceConflict    = "source-conflict"    // rows of one document disagree on something else
)

// Claim is what the source says of the whole order, told with the last part of
// its history: which aspects it keeps at all, and what it says was reached.
// Anomalies about an aspect the source does not keep are not looked for.
type Claim struct {
	KeepsConfirmation bool `json:"keepsConfirmation,omitempty"`
	KeepsPayments     bool `json:"keepsPayments,omitempty"`
	KeepsFulfilment   bool `json:"keepsFulfilment,omitempty"`
	Delivered         bool `json:"delivered,omitempty"`
}

// Limits of new orders; each has a refusal that names it.
const (
	MaxLines         = 2_000
	MaxQuantity      = 1_000_000
	MaxTags          = 100
	MaxMetadata      = 100               // keys
	MaxText          = 2_000             // bytes of one text: note, reason, title, address field
	MaxEntities      = 1_000             // payments, shipments, returns, refunds, holds, edits, notes: of each
	MaxIDLength      = 64                // of every id in an order
	MaxMinorUnits    = 1_000_000_000_000 // of an order and of a line; views count millionths of it in 64 bits
	MaxPriceDecimals = money.MaxScale
)
