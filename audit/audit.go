// Package audit answers what happened to an order and who did it: its history
// in words, where each field of its document came from, and which commands were
// refused.
//
// It promises that every answer is folded from the log by the projections' own
// Apply, never read from a view; and that what it says of an order at a cut
// does not change when more is recorded later. httpapi asks; the log answers.
//
// history.go folds and notes who changed what, summary.go has the words for
// every event; refusals.go records what was refused, rates.go how often.
package audit

import (
	"encoding/json"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// Entry is one event of an order's history, for people and programs.
type Entry struct {
	Revision    eventstore.Revision `json:"revision"`
	Position    eventstore.Position `json:"position"`
	ID          string              `json:"id"`   // event id
	Type        string              `json:"type"` // stored name: OrderPlaced
	Summary     string              `json:"summary"`
	RecordedAt  time.Time           `json:"recordedAt"`
	At          time.Time           `json:"at"`          // business time
	EffectiveAt time.Time           `json:"effectiveAt"` // business time, never before its subject's
	Actor       string              `json:"actor,omitempty"`
	Command     string              `json:"command"`
	CommandID   string              `json:"commandId"`
	Reason      string              `json:"reason,omitempty"`
	Correlation string              `json:"correlationId,omitempty"`
	Causation   string              `json:"causationId,omitempty"`
	TraceParent string              `json:"traceparent,omitempty"`
	Data        json.RawMessage     `json:"data"` // the event's fields
}

// Origin says what last set one field of an order.
type Origin struct {
	Path  string          `json:"path"`  // see query.FieldChange
	Value json.RawMessage `json:"value"` // null: it is no longer there
	// Revision, and the rest, of the event that set it; Summary says it in
	// words.
	Revision   eventstore.Revision `json:"revision"`
	Type       string              `json:"type"`
	Summary    string              `json:"summary"`
	Command    string              `json:"command"`
	Actor      string              `json:"actor,omitempty"`
	At         time.Time           `json:"at"`
	RecordedAt time.Time           `json:"recordedAt"`
}

// Refused is a recorded refusal.
type Refused struct {
	ID          string              `json:"id"` // event id
	OrderID     string              `json:"orderId"`
	Revision    eventstore.Revision `json:"revision"` // of the order; -1: it did not exist
	Command     string              `json:"command"`
	Target      string              `json:"target,omitempty"` // id of the part that the command names
	CommandID   string              `json:"commandId"`
	Code        string              `json:"code"`
	Reason      string              `json:"reason"`
	Field       string              `json:"field,omitempty"`
	Actor       string              `json:"actor,omitempty"`
	Correlation string              `json:"correlationId,omitempty"`
	Causation   string              `json:"causationId,omitempty"`
	TraceParent string              `json:"traceparent,omitempty"`
	RecordedAt  time.Time           `json:"recordedAt"`
	// Unrecorded is how many refusals of this caller, on any order, were not
	// recorded since its last recorded one, because they came too fast or the
	// store failed. The first of them came at UnrecordedSince.
	Unrecorded      int64     `json:"unrecorded,omitempty"`
	UnrecordedSince time.Time `json:"unrecordedSince,omitzero"`
}
