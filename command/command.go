// Package command is the write side: it loads an aggregate, lets its decider
// decide, and appends the outcome at the revision it was decided on.
//
// It promises: a command is acknowledged only when its events are durable; no
// lost update under any race or retry; the same command id has one effect and
// one answer; an unknown outcome is never reported as a failure that invites a
// duplicate. It refuses with *domain.Rejection values and the errors below.
// httpapi and importer call it.
//
// Orders.Handle (orders.go) fills in what a command leaves open; loop.go is the
// one loop around every decider; load.go folds what it starts from, by way of
// cache.go and snapshots.go; memory.go remembers the commands an aggregate has
// handled; turns.go keeps commands on one stream from racing and gathers those
// that wait into groups; clock.go dates what is recorded; key.go derives ids.
package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/google/uuid"
)

// Request is what accompanies a command.
type Request struct {
	// CommandID identifies the command for ever; see KeyID. Event ids derive
	// from it. Zero: a new one is made. An order remembers the last 1,000
	// commands that wrote events: an older one that comes again is decided
	// afresh.
	CommandID uuid.UUID
	// Fingerprint of the request; a repeated CommandID with another one is
	// refused with ErrKeyReused.
	Fingerprint   string
	Actor         string
	CorrelationID string
	CausationID   string
	TraceParent   string
	// IfMatch, when set, must be the order's revision (NoStream: must not
	// exist), otherwise *PreconditionError.
	IfMatch *eventstore.Expected
	// DryRun decides and writes nothing.
	DryRun bool
}

// Result is what a command did.
type Result struct {
	ID       string
	Revision eventstore.Revision // of the order after the command; -1: does not exist (dry run of a no-op)
	// Position of the last event written by this command, Start when none were.
	// On a store that is no eventstore.Sequencer it may be that of a later event
	// of the same append.
	Position eventstore.Position
	// Events the command caused, in order; none when there was nothing to do.
	// On a dry run, those it would cause.
	Events []codec.Recorded
	// Replayed: the command had been handled before, this is its first answer.
	Replayed bool
	State    order.State // after the command
}

var (
	// ErrKeyReused: this command id came before with another request.
	ErrKeyReused = errors.New("idempotency key was used for another request")
	// ErrBusy: other writers were faster a bounded number of times; nothing
	// was written.
	ErrBusy = errors.New("order is busy, nothing was written")
	// ErrFuture: the business time is in the future.
	ErrFuture = errors.New("business time is in the future")
)

// PreconditionError: the order is not at the revision that IfMatch named.
type PreconditionError struct {
	Current eventstore.Expected
}

func (e *PreconditionError) Error() string {
	return fmt.Sprintf("order is at revision %s", e.Current)
}

// Snapshots keeps folded states beside the log. A snapshot may be lost at any
// time without harm. data is opaque to the store.
type Snapshots interface {
	// Load returns the newest snapshot of a stream; ok is false when none is
	// there.
	Load(ctx context.Context, stream string) (revision int64, data []byte, ok bool, err error)
	Save(ctx context.Context, stream string, revision int64, data []byte) error
	Drop(ctx context.Context, stream string) error
}
