package order

import (
	"time"

	"github.com/docket-orders/docket/domain/money"
)

// Command asks for a change. The set is closed. At is the business time, set by
// whoever sends the command; ids of new things (payments, holds ...) arrive in
// the command too, so that deciding again gives the same answer.
type Command interface {
	isCommand()
	// Name of the command as the history shows it: "cancel".
	Name() string
}

// Place makes a new order.
type Place struct {
	Number          string            `json:"number,omitempty"`
	Customer        Customer          `json:"customer,omitzero"`
	Currency        money.Currency    `json:"currency"`
	Lines           []Line            `json:"lines"`
	Shipping        money.Amount      `json:"shipping,omitempty"`
	Discount        money.Amount      `json:"discount,omitempty"`
	Tax             money.Amount      `json:"tax,omitempty"`
	BillingAddress  *Address          `json:"billingAddress,omitempty"`
	ShippingAddress *Address          `json:"shippingAddress,omitempty"`
	Tags            []string          `json:"tags,omitempty"`
	Metadata        map[string]string `json:"metadata,omitempty"`
	At              time.Time         `json:"at,omitzero"`
}

type Confirm struct {
	At time.Time `json:"at,omitzero"`
}

type ChangeShippingAddress struct {
	Address Address   `json:"address"`
	At      time.Time `json:"at,omitzero"`
}

// ProposeEdit suggests changes of lines. EditID is new.
type ProposeEdit struct {
	EditID  string       `json:"editId,omitempty"`
	Changes []LineChange `json:"changes"`
	Reason  string       `json:"reason,omitempty"`
	At      time.Time    `json:"at,omitzero"`
}

type ConfirmEdit struct {
	EditID string    `json:"-"`
	At     time.Time `json:"at,omitzero"`
}

type DeclineEdit struct {
	EditID string    `json:"-"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

type SetTags struct {
	Tags []string  `json:"tags"`
	At   time.Time `json:"at,omitzero"`
}

type SetMetadata struct {
	Metadata map[string]string `json:"metadata"`
	At       time.Time         `json:"at,omitzero"`
}

type AddNote struct {
	NoteID string    `json:"noteId,omitempty"`
	Text   string    `json:"text"`
	Author string    `json:"-"`
	At     time.Time `json:"at,omitzero"`
}

type PlaceHold struct {
	HoldID string    `json:"holdId,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

type ReleaseHold struct {
	HoldID string    `json:"-"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// AddPayment authorises a payment, or captures it at once with Capture.
type AddPayment struct {
	PaymentID string       `json:"paymentId,omitempty"`
	Method    string       `json:"method"`
	Amount    money.Amount `json:"amount"`
	Reference string       `json:"reference,omitempty"`
	Capture   bool         `json:"capture,omitempty"`
	At        time.Time    `json:"at,omitzero"`
}

// CapturePayment takes Amount of what is authorised; no amount takes the rest.
// CaptureID tells a second, equal capture from a repetition of the first.
type CapturePayment struct {
	PaymentID string       `json:"-"`
	CaptureID string       `json:"captureId,omitempty"`
	Amount    money.Amount `json:"amount,omitempty"`
	Reference string       `json:"reference,omitempty"`
	At        time.Time    `json:"at,omitzero"`
}

type FailPayment struct {
	PaymentID string    `json:"-"`
	Reason    string    `json:"reason,omitempty"`
	At        time.Time `json:"at,omitzero"`
}

type VoidPayment struct {
	PaymentID string    `json:"-"`
	Reason    string    `json:"reason,omitempty"`
	At        time.Time `json:"at,omitzero"`
}

// Dispatch sends a parcel; no lines means everything that has not left.
type Dispatch struct {
	ShipmentID     string         `json:"shipmentId,omitempty"`
	Lines          []LineQuantity `json:"lines,omitempty"`
	Carrier        string         `json:"carrier,omitempty"`
	TrackingNumber string         `json:"trackingNumber,omitempty"`
	At             time.Time      `json:"at,omitzero"`
}

type UpdateShipment struct {
	ShipmentID     string    `json:"-"`
	Carrier        string    `json:"carrier,omitempty"`
	TrackingNumber string    `json:"trackingNumber,omitempty"`
	At             time.Time `json:"at,omitzero"`
}

type Deliver struct {
	ShipmentID string    `json:"-"`
	At         time.Time `json:"at,omitzero"`
}

type RequestReturn struct {
	ReturnID string         `json:"returnId,omitempty"`
	Lines    []LineQuantity `json:"lines"`
	Reason   string         `json:"reason,omitempty"`
	At       time.Time      `json:"at,omitzero"`
}

type ReceiveReturn struct {
	ReturnID string         `json:"-"`
	Lines    []ReturnedLine `json:"lines"`
	At       time.Time      `json:"at,omitzero"`
}

type RejectReturn struct {
	ReturnID string    `json:"-"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at,omitzero"`
}

type GrantRefund struct {
	RefundID  string       `json:"refundId,omitempty"`
	PaymentID string       `json:"paymentId"`
	Amount    money.Amount `json:"amount"`
	ReturnID  string       `json:"returnId,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	At        time.Time    `json:"at,omitzero"`
}

type CompleteRefund struct {
	RefundID  string    `json:"-"`
	Reference string    `json:"reference,omitempty"`
	At        time.Time `json:"at,omitzero"`
}

type FailRefund struct {
	RefundID string    `json:"-"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at,omitzero"`
}

// Cancel ends the order, or with Lines takes these units off it; then
// CancellationID tells a second, equal cancellation from a repetition.
type Cancel struct {
	CancellationID string         `json:"cancellationId,omitempty"`
	Lines          []LineQuantity `json:"lines,omitempty"`
	Reason         string         `json:"reason,omitempty"`
	At             time.Time      `json:"at,omitzero"`
}

// Adopt takes over the history of an order from another system, whole or in
// parts. History holds ordinary events; the first of all parts is Placed, the
// rest is in order of business time, ties by stage (StageOf); within one part
// Decide sorts. First numbers the part by its first step: the count of steps
// that earlier parts brought. Steps already there are passed over, so a part
// may be sent again; a part that would leave a hole is refused. The last part
// says so and carries the claim; it may have no steps.
type Adopt struct {
	First   int64     `json:"first,omitempty"`
	History []Event   `json:"-"` // on the wire: see eventstore/codec
	Last    bool      `json:"last,omitempty"`
	Claim   Claim     `json:"claim,omitzero"` // with Last
	Odd     []Anomaly `json:"odd,omitempty"`  // with Last: what the importer saw
}

func (Place) isCommand()                 {}
func (Confirm) isCommand()               {}
func (ChangeShippingAddress) isCommand() {}
func (ProposeEdit) isCommand()           {}
func (ConfirmEdit) isCommand()           {}
func (DeclineEdit) isCommand()           {}
func (SetTags) isCommand()               {}
func (SetMetadata) isCommand()           {}
func (AddNote) isCommand()               {}
func (PlaceHold) isCommand()             {}
func (ReleaseHold) isCommand()           {}
func (AddPayment) isCommand()            {}
func (CapturePayment) isCommand()        {}
func (FailPayment) isCommand()           {}
func (VoidPayment) isCommand()           {}
func (Dispatch) isCommand()              {}
func (UpdateShipment) isCommand()        {}
func (Deliver) isCommand()               {}
func (RequestReturn) isCommand()         {}
func (ReceiveReturn) isCommand()         {}
func (RejectReturn) isCommand()          {}
func (GrantRefund) isCommand()           {}
func (CompleteRefund) isCommand()        {}
func (FailRefund) isCommand()            {}
func (Cancel) isCommand()                {}
func (Adopt) isCommand()                 {}

func (Place) Name() string                 { return "place" }
func (Confirm) Name() string               { return "confirm" }
func (ChangeShippingAddress) Name() string { return "change-shipping-address" }
func (ProposeEdit) Name() string           { return "propose-edit" }
func (ConfirmEdit) Name() string           { return "confirm-edit" }
func (DeclineEdit) Name() string           { return "decline-edit" }
func (SetTags) Name() string               { return "set-tags" }
func (SetMetadata) Name() string           { return "set-metadata" }
func (AddNote) Name() string               { return "add-note" }
func (PlaceHold) Name() string             { return "place-hold" }
func (ReleaseHold) Name() string           { return "release-hold" }
func (AddPayment) Name() string            { return "add-payment" }
func (CapturePayment) Name() string        { return "capture-payment" }
func (FailPayment) Name() string           { return "fail-payment" }
func (VoidPayment) Name() string           { return "void-payment" }
func (Dispatch) Name() string              { return "dispatch" }
func (UpdateShipment) Name() string        { return "update-shipment" }
func (Deliver) Name() string               { return "deliver" }
func (RequestReturn) Name() string         { return "request-return" }
func (ReceiveReturn) Name() string         { return "receive-return" }
func (RejectReturn) Name() string          { return "reject-return" }
func (GrantRefund) Name() string           { return "grant-refund" }
func (CompleteRefund) Name() string        { return "complete-refund" }
func (FailRefund) Name() string            { return "fail-refund" }
func (Cancel) Name() string                { return "cancel" }
func (Adopt) Name() string                 { return "adopt" }
