package wire

import (
	"context"
	"errors"

	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
)

// OfStore turns what a store answered about a stream into what clients
// recognise. A conflict and a stream that was not found are answers of their
// own, and the callers' business.
func OfStore(err error, stream string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, eventstore.ErrDeleted):
		return StreamDeleted(stream)
	case errors.Is(err, eventstore.ErrTooLarge):
		return AppendTooLarge()
	case errors.Is(err, eventstore.ErrOverloaded):
		return Unavailable("Server Is Too Busy")
	case errors.Is(err, eventstore.ErrReadOnly):
		return Unavailable("Server Is Not Ready: " + err.Error())
	case errors.Is(err, eventstore.ErrOutcomeUnknown):
		return TimedOut("%v", err)
	case errors.Is(err, eventstore.ErrUnavailable):
		return Unavailable("Server Is Not Ready: " + err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	return Unhandled("%v", err)
}
