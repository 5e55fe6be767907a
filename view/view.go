// Package view holds the documents that readers see. It has no behaviour: what
// fills a document is projections.Apply, what stores it an adapter, and what
// asks for it query.
package view

import (
	"encoding/json"
	"time"

	"github.com/docket-orders/docket/domain/money"
)

// Order is the denormalised order document. Arrays are never null in JSON.
type Order struct {
	ID               string            `json:"id"`
	Number           string            `json:"number"`
	Kind             string            `json:"kind"`
	Source           *Source           `json:"source,omitempty"`
	Customer         Customer          `json:"customer"`
	Status           string            `json:"status"`
	PaymentStatus    string            `json:"paymentStatus"`
	FulfilmentStatus string            `json:"fulfilmentStatus"`
	Holds            []Hold            `json:"holds"` // placed and not released, in order
	Tags             []string          `json:"tags"`
	Currency         money.Currency    `json:"currency"`
	Lines            []Line            `json:"lines"`
	CancelledLines   []CancelledLine   `json:"cancelledLines"`
	Totals           Totals            `json:"totals"`
	Payments         []Payment         `json:"payments"`
	Refunds          []Refund          `json:"refunds"`
	Shipments        []Shipment        `json:"shipments"`
	Returns          []Return          `json:"returns"`
	Edits            []Edit            `json:"edits"`
	Notes            []Note            `json:"notes"`
	BillingAddress   *Address          `json:"billingAddress,omitempty"`
	ShippingAddress  *Address          `json:"shippingAddress,omitempty"`
	Country          string            `json:"country,omitempty"` // of the shipping address, else of the billing address
	State            string            `json:"state,omitempty"`
	City             string            `json:"city,omitempty"`
	Metadata         map[string]string `json:"metadata,omitempty"`
	Anomalies        []Anomaly         `json:"anomalies"`
	CancelReason     string            `json:"cancelReason,omitempty"`
	PlacedAt         time.Time         `json:"placedAt"`
	ConfirmedAt      *time.Time        `json:"confirmedAt,omitempty"`
	CancelledAt      *time.Time        `json:"cancelledAt,omitempty"`
	// DeliveredAt is the business time at which the last delivered shipment
	// arrived, once fulfilmentStatus has reached delivered; else absent. It
	// stays when units are returned.
	DeliveredAt *time.Time `json:"deliveredAt,omitempty"`
	UpdatedAt   time.Time  `json:"updatedAt"` // recordedAt of the last applied event
	Revision    int64      `json:"revision"`
	Position    string     `json:"position"` // of the last applied event; see eventstore.Position

	// Model is the document of a read model that is not docket's own, where a store
	// keeps that in place of an order; see readmodel. An order has none.
	Model json.RawMessage `json:"model,omitempty"`

	// Degraded says why this document lags behind its stream: an event could
	// not be applied. It is joined when answering, never stored.
	Degraded *Degraded `json:"degraded,omitempty"`
}

// Degraded is the mark of a parked order.
type Degraded struct {
	Reason   string `json:"reason"`
	Revision int64  `json:"revision"` // of the first event that is not applied
}

type Source struct {
	System string `json:"system"`
	ID     string `json:"id"`
	Status string `json:"status,omitempty"`
}

type Customer struct {
	ID    string `json:"id,omitempty"`
	Name  string `json:"name,omitempty"`
	Email string `json:"email,omitempty"`
}

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

// Line in force, with what happened to its units.
type Line struct {
	ID        string            `json:"id"`
	SKU       string            `json:"sku"`
	Title     string            `json:"title,omitempty"`
	Quantity  int64             `json:"quantity"` // without cancelled units
	UnitPrice money.Amount      `json:"unitPrice"`
	Total     money.Amount      `json:"total"` // exact: quantity times unit price
	Shipped   int64             `json:"shipped"`
	Delivered int64             `json:"delivered"`
	Returned  int64             `json:"returned"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// CancelledLine is units taken off the order.
type CancelledLine struct {
	LineID   string    `json:"lineId"`
	SKU      string    `json:"sku"`
	Quantity int64     `json:"quantity"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
}

// Totals of the lines in force. Grand = Items + Shipping - Discount + Tax.
// Items minus Rounding is the exact sum of the lines.
type Totals struct {
	Items    money.Amount `json:"items"`
	Shipping money.Amount `json:"shipping"`
	Discount money.Amount `json:"discount"`
	Tax      money.Amount `json:"tax"`
	Grand    money.Amount `json:"grand"`
	Rounding money.Amount `json:"rounding"`
	Paid     money.Amount `json:"paid"` // captured, refunds not taken off
	Refunded money.Amount `json:"refunded"`
}

type Hold struct {
	ID     string    `json:"id"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Payment status: authorised, captured, failed, voided. A partly captured
// authorisation stays authorised.
type Payment struct {
	ID         string       `json:"id"`
	Method     string       `json:"method"`
	Status     string       `json:"status"`
	Authorised money.Amount `json:"authorised"` // zero when captured at once
	Captured   money.Amount `json:"captured"`
	Reference  string       `json:"reference,omitempty"`
	Reason     string       `json:"reason,omitempty"`
	At         time.Time    `json:"at"` // of its last event
}

// Refund status: granted, completed, failed.
type Refund struct {
	ID        string       `json:"id"`
	PaymentID string       `json:"paymentId"`
	ReturnID  string       `json:"returnId,omitempty"`
	Amount    money.Amount `json:"amount"`
	Status    string       `json:"status"`
	Reference string       `json:"reference,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	At        time.Time    `json:"at"`
}

// Shipment status: dispatched, delivered.
type Shipment struct {
	ID             string         `json:"id"`
	Status         string         `json:"status"`
	Lines          []LineQuantity `json:"lines"`
	Carrier        string         `json:"carrier,omitempty"`
	TrackingNumber string         `json:"trackingNumber,omitempty"`
	DispatchedAt   *time.Time     `json:"dispatchedAt,omitempty"`
	DeliveredAt    *time.Time     `json:"deliveredAt,omitempty"`
}

type LineQuantity struct {
	LineID    string `json:"lineId"`
	Quantity  int64  `json:"quantity"`
	Condition string `json:"condition,omitempty"` // of received returns
}

// Return status: requested, received, rejected.
type Return struct {
	ID       string         `json:"id"`
	Status   string         `json:"status"`
	Lines    []LineQuantity `json:"lines"`    // requested
	Received []LineQuantity `json:"received"` // what came
	Reason   string         `json:"reason,omitempty"`
	At       time.Time      `json:"at"`
}

// Edit status: proposed, confirmed, declined.
type Edit struct {
	ID      string       `json:"id"`
	Status  string       `json:"status"`
	Changes []LineChange `json:"changes"`
	Reason  string       `json:"reason,omitempty"`
	At      time.Time    `json:"at"`
}

// LineChange is one proposed change: op add, remove, reprice or quantity.
type LineChange struct {
	Op        string       `json:"op"`
	LineID    string       `json:"lineId,omitempty"`
	SKU       string       `json:"sku,omitempty"`
	Title     string       `json:"title,omitempty"`
	Quantity  int64        `json:"quantity,omitempty"`
	UnitPrice money.Amount `json:"unitPrice,omitempty"`
}

type Note struct {
	ID     string    `json:"id"`
	Text   string    `json:"text"`
	Author string    `json:"author,omitempty"`
	At     time.Time `json:"at"`
}

type Anomaly struct {
	Kind   string `json:"kind"`
	Detail string `json:"detail,omitempty"`
	LineID string `json:"lineId,omitempty"`
}

// CustomerSummary is a customer with the totals over their orders, one sum per
// currency.
type CustomerSummary struct {
	ID      string          `json:"id"`
	Name    string          `json:"name,omitempty"`  // of the newest order
	Email   string          `json:"email,omitempty"` // of the newest order
	FirstAt time.Time       `json:"firstOrderAt"`
	LastAt  time.Time       `json:"lastOrderAt"`
	Totals  []CustomerTotal `json:"totals"` // by currency code
}

// CustomerTotal counts every document of the customer, credit notes included.
type CustomerTotal struct {
	Currency money.Currency `json:"currency"`
	Orders   int64          `json:"orders"`
	Items    money.Amount   `json:"items"`
	Grand    money.Amount   `json:"grand"`
	Paid     money.Amount   `json:"paid"`
	Rounding money.Amount   `json:"rounding"`
}

// Stats is sums over documents, per currency.
type Stats struct {
	Currencies []CurrencyStats `json:"currencies"`
}

// CurrencyStats is the sums of one currency: over all, and by each dimension.
type CurrencyStats struct {
	Currency money.Currency `json:"currency"`
	// Customers is the number of distinct customers; absent when the question
	// has a range, since distinct counts do not add up over days.
	Customers *int64 `json:"customers,omitempty"`
	Sums
	By       map[string][]GroupStats `json:"by"`            // status, paymentStatus, fulfilmentStatus, kind, tag, day, month, country, state, anomaly; groups by key
	Payments []MethodStats           `json:"payments"`      // captured, by method
	Top      *TopProducts            `json:"top,omitempty"` // with top=N
}

// Sums are what is counted of documents.
type Sums struct {
	Orders   int64        `json:"orders"`
	Lines    int64        `json:"lines"`
	Units    int64        `json:"units"`
	Items    money.Amount `json:"items"`
	Shipping money.Amount `json:"shipping"`
	Grand    money.Amount `json:"grand"`
	Paid     money.Amount `json:"paid"`
	Rounding money.Amount `json:"rounding"`
}

type GroupStats struct {
	Key string `json:"key"`
	Sums
}

type MethodStats struct {
	Method   string       `json:"method"`
	Payments int64        `json:"payments"`
	Captured money.Amount `json:"captured"`
}

type TopProducts struct {
	ByUnits  []ProductStats `json:"byUnits"`
	ByAmount []ProductStats `json:"byAmount"`
}

type ProductStats struct {
	SKU    string       `json:"sku"`
	Units  int64        `json:"units"`
	Amount money.Amount `json:"amount"` // exact sum of quantity times unit price
}
