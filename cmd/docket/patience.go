package main

import (
	"context"
	"errors"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/importer"
)

// An import that takes hours does not end because the event store is away for a
// minute: what fails for now is tried again, first after firstPatience, then
// after twice as long, up to longestPatience, until allPatience is used up.
const (
	firstPatience   = 100 * time.Millisecond
	longestPatience = 5 * time.Second
	allPatience     = 10 * time.Minute
)

// patiently does something that may be done twice until it does not fail for
// now.
func patiently(ctx context.Context, do func() error) error {
	for pause, waited := firstPatience, time.Duration(0); ; pause = min(2*pause, longestPatience) {
		err := do()
		if err == nil || !passes(err) || waited >= allPatience {
			return err
		}
		select {
		case <-time.After(pause):
			waited += pause
		case <-ctx.Done():
			return err
		}
	}
}

// passes reports whether an error is one that waiting cures, with an operator's
// help perhaps, but without docket's being started again.
func passes(err error) bool {
	var problem *problemError
	if errors.As(err, &problem) {
		switch problem.Code {
		case "event-store-unavailable", "outcome-unknown", "view-unavailable", "overloaded", "busy", "too-many-requests":
			return true
		}
		return false
	}
	for _, passing := range []error{eventstore.ErrUnavailable, eventstore.ErrOutcomeUnknown, eventstore.ErrOverloaded, command.ErrBusy} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// patientTarget sends again what failed for now; its key keeps it one.
type patientTarget struct{ importer.Target }

func (t patientTarget) Adopt(ctx context.Context, orderID string, a order.Adopt, key string) (out importer.Outcome, err error) {
	err = patiently(ctx, func() error {
		out, err = t.Target.Adopt(ctx, orderID, a, key)
		return err
	})
	return out, err
}
