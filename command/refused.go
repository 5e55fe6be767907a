package command

import (
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// Refusal is a command that was refused: who wanted what, which rule said no,
// and where the order stood.
type Refusal struct {
	OrderID  string
	Revision eventstore.Revision // of the order it was decided on; -1: it did not exist
	Command  string              // name: "cancel"
	Code     string              // of the rule: "order-departed", or "key-reused", "precondition-failed", "at-in-future"
	Reason   string              // the rule's words, with the figures of the case
	Field    string              // JSON Pointer into the command, when the rule names one

	CommandID     uuid.UUID
	Fingerprint   string
	Actor         string
	CorrelationID string
	CausationID   string
	TraceParent   string
	At            time.Time // the writer's clock
}
