package httpapi

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/reconcile"
)

func TestFailuresAreTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		code   string
		retry  bool
	}{
		{eventstore.ErrOutcomeUnknown, 503, "outcome-unknown", true},
		{fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, command.ErrBusy), 503, "outcome-unknown", true},
		{fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, context.DeadlineExceeded), 503, "outcome-unknown", true},
		{fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, order.ErrUnknown), 503, "outcome-unknown", true},
		{command.ErrBusy, 503, "busy", true},
		{eventstore.ErrOverloaded, 503, "overloaded", true},
		{eventstore.ErrReadOnly, 503, "read-only", true},
		{eventstore.ErrUnavailable, 503, "event-store-unavailable", true},
		{fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, eventstore.ErrUnavailable), 503, "outcome-unknown", true},
		{eventstore.ErrTooLarge, 413, "change-too-large", false},
		{eventstore.ErrDeleted, 410, "order-deleted", false},
		{eventstore.ErrCorrupt, 500, "internal", false},
		{eventstore.ErrConflict, 500, "internal", false},
		{&query.BehindError{}, 503, "read-model-behind", true},
		{&query.ParkedError{}, 503, "read-model-parked", false},
		{projections.ErrParked, 503, "read-model-parked", false},
		{fmt.Errorf("list: %w: %w", query.ErrUnavailable, query.ErrNotReady), 503, "view-unavailable", true},
		{fmt.Errorf("retry: %w", projections.ErrUnavailable), 503, "view-unavailable", true},
		{fmt.Errorf("retry: %w", projections.ErrLost), 503, "view-unavailable", true},
		{query.ErrNotReady, 503, "unavailable", true},
		{projections.ErrClosed, 503, "unavailable", true},
		{reconcile.ErrClosed, 503, "unavailable", true},
		{context.Canceled, 503, "unavailable", true},
		{order.ErrDeparted, 409, "departed", false},
		{&command.PreconditionError{Current: eventstore.NoStream}, 412, "precondition-failed", false},
	} {
		p := problemOf(fmt.Errorf("append order-1 at 3: %w", c.err))
		if p.Status != c.status || p.Code != c.code || (p.retryAfter > 0) != c.retry {
			t.Errorf("%v: %+v, want %d %s", c.err, p, c.status, c.code)
		}
		if strings.Contains(p.Error(), "append order-1") && c.status != 503 {
			t.Errorf("%v: the chain is told: %s", c.err, p.Error())
		}
	}
}

func TestStoreThatRefusesWrites(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	r.caughtUp()
	r.ready()
	r.under.RequirePosition(eventstore.At64(1 << 40)) // a view has seen more than the log holds
	a := r.post("/v1/orders/o-1/confirm", `{}`)
	a.problem(503, "read-only")
	if a.header.Get("Idempotency-Key") == "" || a.header.Get("Retry-After") == "" {
		t.Errorf("headers %v", a.header)
	}
	r.get("/v1/orders/o-1").is(200)
	got := decoded[ReadyAnswer](r.get("/readyz").is(200))
	if got.Commands || !got.Reads || !got.Ready || len(got.Impaired) != 1 {
		t.Errorf("ready %+v", got)
	}
}
