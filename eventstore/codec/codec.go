// Package codec is the contract of what is stored: the one place that lists
// event names, their fields, versions, personal fields and subjects. A stored
// event's type is its Go name with "Order" in front (OrderPlaced); its version
// is in the metadata only. Old versions are upcast, step by step, while
// decoding; an unknown type or a newer version is an error that says so, and
// stops the reader.
//
// command encodes; everything that reads the log decodes.
package codec

import (
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// Meta is the metadata that docket stores with every event.
type Meta struct {
	CommandID     uuid.UUID `json:"commandId"`
	Command       string    `json:"command"`     // name of the command: "cancel"
	Fingerprint   string    `json:"fingerprint"` // of the request that carried it; hex
	CorrelationID string    `json:"$correlationId,omitempty"`
	CausationID   string    `json:"$causationId,omitempty"`
	Actor         string    `json:"actor,omitempty"`
	TraceParent   string    `json:"traceparent,omitempty"` // W3C Trace Context
	Version       int       `json:"v"`                     // of the event's fields
	// RecordedAt is the writer's clock, never decreasing within a stream;
	// as-of questions ask for it. Microseconds, UTC.
	RecordedAt time.Time `json:"recordedAt"`
}

// Recorded is a decoded event with what is known about it.
type Recorded struct {
	OrderID  string
	Revision eventstore.Revision
	Position eventstore.Position
	EventID  uuid.UUID
	Type     string // stored name: "OrderPlaced"
	Event    order.Event
	Meta     Meta
}
