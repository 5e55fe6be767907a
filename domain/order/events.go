package order

import (
	"time"

	"github.com/docket-orders/docket/domain/money"
)

// Event is one fact in the life of an order. The set is closed; the catalogue
// of stored names is eventstore/codec.
type Event interface {
	isEvent()
	// OccurredAt is the business time: when it happened, as the decider set it.
	OccurredAt() time.Time
}

// Placed is the first event of every order.
type Placed struct {
	Number          string            `json:"number"`
	Kind            Kind              `json:"kind"`
	Source          *Source           `json:"source,omitempty"` // adopted orders
	Customer        Customer          `json:"customer"`
	Currency        money.Currency    `json:"currency"`
	Lines           []Line            `json:"lines"`
	Shipping        money.Amount      `json:"shipping"` // whole minor units, as Discount and Tax
	Discount        money.Amount      `json:"discount"` // positive: taken off
	Tax             money.Amount      `json:"tax"`      // added on top
	BillingAddress  *Address          `json:"billingAddress,omitempty"`
	ShippingAddress *Address          `json:"shippingAddress,omitempty"`
	Tags            []string          `json:"tags,omitempty"`
	Metadata        map[string]string `json:"metadata,omitempty"`
	At              time.Time         `json:"at"`
}

// Confirmed: the shop accepted the order.
type Confirmed struct {
	At time.Time `json:"at"`
}

// ShippingAddressChanged replaces the address.
type ShippingAddressChanged struct {
	Address Address   `json:"address"`
	At      time.Time `json:"at"`
}

// EditProposed: a change of lines waits for somebody's yes.
type EditProposed struct {
	EditID  string       `json:"editId"`
	Changes []LineChange `json:"changes"`
	Reason  string       `json:"reason,omitempty"`
	At      time.Time    `json:"at"`
}

// EditConfirmed carries the lines in force from now on, whole: cancelled units
// are not in them. What happened to units of a line that stays (shipped ...)
// stays too.
type EditConfirmed struct {
	EditID string    `json:"editId"`
	Lines  []Line    `json:"lines"`
	At     time.Time `json:"at"`
}

// EditDeclined ends a proposal without effect.
type EditDeclined struct {
	EditID string    `json:"editId"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// TagsSet replaces all tags: sorted, each once.
type TagsSet struct {
	Tags []string  `json:"tags"`
	At   time.Time `json:"at"`
}

// MetadataSet replaces all metadata.
type MetadataSet struct {
	Metadata map[string]string `json:"metadata"`
	At       time.Time         `json:"at"`
}

// NoteAdded: a remark for people.
type NoteAdded struct {
	NoteID string    `json:"noteId"`
	Text   string    `json:"text"`
	Author string    `json:"author,omitempty"`
	At     time.Time `json:"at"`
}

// HoldPlaced keeps the order from being shipped until the hold is released.
type HoldPlaced struct {
	HoldID string    `json:"holdId"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// HoldReleased ends one hold.
type HoldReleased struct {
	HoldID string    `json:"holdId"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// PaymentAuthorised: the money is promised.
type PaymentAuthorised struct {
	PaymentID string       `json:"paymentId"`
	Method    string       `json:"method"`
	Amount    money.Amount `json:"amount"`
	Reference string       `json:"reference,omitempty"` // the provider's
	At        time.Time    `json:"at"`
}

// PaymentCaptured: the money is here. An authorisation may be captured in
// several steps; a payment captured without one names its method here.
type PaymentCaptured struct {
	PaymentID string       `json:"paymentId"`
	CaptureID string       `json:"captureId,omitempty"`
	Method    string       `json:"method,omitempty"`
	Amount    money.Amount `json:"amount"`
	Reference string       `json:"reference,omitempty"`
	At        time.Time    `json:"at"`
}

// PaymentFailed: the provider said no. What was captured stays captured.
type PaymentFailed struct {
	PaymentID string    `json:"paymentId"`
	Method    string    `json:"method,omitempty"` // when nothing was authorised before
	Reason    string    `json:"reason,omitempty"`
	At        time.Time `json:"at"`
}

// PaymentVoided gives up what is authorised and not captured.
type PaymentVoided struct {
	PaymentID string    `json:"paymentId"`
	Reason    string    `json:"reason,omitempty"`
	At        time.Time `json:"at"`
}

// ShipmentDispatched: a parcel left with these units.
type ShipmentDispatched struct {
	ShipmentID     string         `json:"shipmentId"`
	Lines          []LineQuantity `json:"lines"`
	Carrier        string         `json:"carrier,omitempty"`
	TrackingNumber string         `json:"trackingNumber,omitempty"`
	At             time.Time      `json:"at"`
}

// ShipmentUpdated corrects carrier and tracking number.
type ShipmentUpdated struct {
	ShipmentID     string    `json:"shipmentId"`
	Carrier        string    `json:"carrier,omitempty"`
	TrackingNumber string    `json:"trackingNumber,omitempty"`
	At             time.Time `json:"at"`
}

// ShipmentDelivered: the parcel arrived. Lines is set only on adopted history
// that knows no dispatch: what arrived, and so had been shipped. When the
// dispatch of a parcel that has arrived comes later in the stream (adopted, in
// order of business time), its units count as shipped and delivered, unless the
// delivery named units: those were counted. On a dispatched parcel Lines says
// nothing new.
type ShipmentDelivered struct {
	ShipmentID string         `json:"shipmentId"`
	Lines      []LineQuantity `json:"lines,omitempty"`
	At         time.Time      `json:"at"`
}

// ReturnRequested: the customer wants to send units back.
type ReturnRequested struct {
	ReturnID string         `json:"returnId"`
	Lines    []LineQuantity `json:"lines"`
	Reason   string         `json:"reason,omitempty"`
	At       time.Time      `json:"at"`
}

// ReturnReceived: these units came back, perhaps fewer than requested. It ends
// the return.
type ReturnReceived struct {
	ReturnID string         `json:"returnId"`
	Lines    []ReturnedLine `json:"lines"`
	At       time.Time      `json:"at"`
}

// ReturnRejected ends a requested return without goods.
type ReturnRejected struct {
	ReturnID string    `json:"returnId"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
}

// RefundGranted: the shop owes this back on that payment.
type RefundGranted struct {
	RefundID  string       `json:"refundId"`
	PaymentID string       `json:"paymentId"`
	Amount    money.Amount `json:"amount"`
	ReturnID  string       `json:"returnId,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	At        time.Time    `json:"at"`
}

// RefundCompleted: the money went back.
type RefundCompleted struct {
	RefundID  string    `json:"refundId"`
	Reference string    `json:"reference,omitempty"`
	At        time.Time `json:"at"`
}

// RefundFailed: the provider could not send it; it may be granted anew.
type RefundFailed struct {
	RefundID string    `json:"refundId"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
}

// LinesCancelled takes units that have not left off the order; a line of which
// nothing is left is gone. Discount and Tax are the order's from now on: the
// cancelled units' share is gone.
type LinesCancelled struct {
	CancellationID string         `json:"cancellationId"`
	Lines          []LineQuantity `json:"lines"`
	Reason         string         `json:"reason,omitempty"`
	Discount       money.Amount   `json:"discount"`
	Tax            money.Amount   `json:"tax"`
	At             time.Time      `json:"at"`
}

// Cancelled ends the whole order. Lines and totals stay as they were.
type Cancelled struct {
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// AdoptionCompleted ends the adopted history: what was odd about it. From here
// on the order is bound by all rules.
type AdoptionCompleted struct {
	Anomalies []Anomaly `json:"anomalies,omitempty"`
	At        time.Time `json:"at"` // that of the last event of the history
}

func (e Placed) OccurredAt() time.Time                 { return e.At }
func (e Confirmed) OccurredAt() time.Time              { return e.At }
func (e ShippingAddressChanged) OccurredAt() time.Time { return e.At }
func (e EditProposed) OccurredAt() time.Time           { return e.At }
func (e EditConfirmed) OccurredAt() time.Time          { return e.At }
func (e EditDeclined) OccurredAt() time.Time           { return e.At }
func (e TagsSet) OccurredAt() time.Time                { return e.At }
func (e MetadataSet) OccurredAt() time.Time            { return e.At }
func (e NoteAdded) OccurredAt() time.Time              { return e.At }
func (e HoldPlaced) OccurredAt() time.Time             { return e.At }
func (e HoldReleased) OccurredAt() time.Time           { return e.At }
func (e PaymentAuthorised) OccurredAt() time.Time      { return e.At }
func (e PaymentCaptured) OccurredAt() time.Time        { return e.At }
func (e PaymentFailed) OccurredAt() time.Time          { return e.At }
func (e PaymentVoided) OccurredAt() time.Time          { return e.At }
func (e ShipmentDispatched) OccurredAt() time.Time     { return e.At }
func (e ShipmentUpdated) OccurredAt() time.Time        { return e.At }
func (e ShipmentDelivered) OccurredAt() time.Time      { return e.At }
func (e ReturnRequested) OccurredAt() time.Time        { return e.At }
func (e ReturnReceived) OccurredAt() time.Time         { return e.At }
func (e ReturnRejected) OccurredAt() time.Time         { return e.At }
func (e RefundGranted) OccurredAt() time.Time          { return e.At }
func (e RefundCompleted) OccurredAt() time.Time        { return e.At }
func (e RefundFailed) OccurredAt() time.Time           { return e.At }
func (e LinesCancelled) OccurredAt() time.Time         { return e.At }
func (e Cancelled) OccurredAt() time.Time              { return e.At }
func (e AdoptionCompleted) OccurredAt() time.Time      { return e.At }

func (Placed) isEvent()                 {}
func (Confirmed) isEvent()              {}
func (ShippingAddressChanged) isEvent() {}
func (EditProposed) isEvent()           {}
func (EditConfirmed) isEvent()          {}
func (EditDeclined) isEvent()           {}
func (TagsSet) isEvent()                {}
func (MetadataSet) isEvent()            {}
func (NoteAdded) isEvent()              {}
func (HoldPlaced) isEvent()             {}
func (HoldReleased) isEvent()           {}
func (PaymentAuthorised) isEvent()      {}
func (PaymentCaptured) isEvent()        {}
func (PaymentFailed) isEvent()          {}
func (PaymentVoided) isEvent()          {}
func (ShipmentDispatched) isEvent()     {}
func (ShipmentUpdated) isEvent()        {}
func (ShipmentDelivered) isEvent()      {}
func (ReturnRequested) isEvent()        {}
func (ReturnReceived) isEvent()         {}
func (ReturnRejected) isEvent()         {}
func (RefundGranted) isEvent()          {}
func (RefundCompleted) isEvent()        {}
func (RefundFailed) isEvent()           {}
func (LinesCancelled) isEvent()         {}
func (Cancelled) isEvent()              {}
func (AdoptionCompleted) isEvent()      {}
