package esdb

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
)

var errClosed = errors.New("event store is closed")

// outcome is what an error of the client says of the request.
type outcome int

const (
	// refused: the server said no and did nothing. Asking again is of no use.
	refused outcome = iota + 1
	// unsent: nobody was asked.
	unsent
	// unknown: the server may have done it.
	unknown
)

// reason is an error of the client, understood.
type reason struct {
	outcome  outcome
	conflict bool // wrong expected version
	missing  bool // stream not found
	deleted  bool // stream tombstoned, or soft-deleted and expected to exist
	// precondition: FAILED_PRECONDITION and nothing that the client knows.
	precondition bool
	invalid      bool // the server does not take the request as it is
	// broken: the connection is of no use any more.
	broken bool
	// failing: the server answered, with a failure of its own.
	failing bool
	err     error
}

// understand sorts an error that came out of the client. connected is what
// client.call told. The client's FromError sees only an error that is not
// wrapped, and the errors of opening a read are not the client's at all.
func understand(connected bool, err error) reason {
	if !connected {
		return reason{outcome: unsent, err: err}
	}
	r := reason{outcome: unknown, err: err}
	var e *esdb.Error
	if errors.As(err, &e) {
		switch e.Code() {
		case esdb.ErrorCodeWrongExpectedVersion:
			return reason{outcome: refused, conflict: true, err: err}
		case esdb.ErrorCodeStreamDeleted:
			return reason{outcome: refused, deleted: true, err: err}
		case esdb.ErrorCodeConnectionClosed, esdb.ErrorCodeNotLeader:
			r.outcome = unsent // the node did not do it; the client knows the leader now
			return r
		}
		if e.Code() == esdb.ErrorCodeResourceNotFound && status.Code(err) != codes.NotFound {
			return reason{outcome: refused, missing: true, err: err} // a message, not a status
		}
	}
	switch status.Code(err) {
	case codes.PermissionDenied:
		r.outcome, r.err = refused, fmt.Errorf("the user of the connection string is not allowed to: %w", err)
	case codes.Unauthenticated:
		r.outcome, r.err = refused, fmt.Errorf("user or password of the connection string are wrong: %w", err)
	case codes.FailedPrecondition:
		r.outcome, r.precondition = refused, true
	case codes.InvalidArgument, codes.OutOfRange:
		r.outcome, r.invalid = refused, true
	case codes.Unimplemented, codes.NotFound, codes.AlreadyExists:
		r.outcome = refused
	case codes.Unavailable:
		r.broken = true
		// What the client wraps failed before it had sent everything, and a
		// server begins to append when it has everything.
		if _, whole := err.(*esdb.Error); !whole {
			r.outcome = unsent
		}
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.ResourceExhausted:
		r.failing = !errors.Is(err, io.EOF)
	case codes.DeadlineExceeded:
		r.broken = true // a new connection gets past one that is stuck
	}
	return r
}

// failed wraps the error of the last attempt of many, when nothing was changed.
func (r reason) failed() error {
	if r.outcome == refused || r.failing || errors.Is(r.err, errClosed) || errors.Is(r.err, eventstore.ErrUnavailable) {
		return r.err
	}
	return unavailable(r.err)
}

// ended is why a context ended: the store was closed, or its owner ended it.
func ended(ctx context.Context) error {
	if context.Cause(ctx) == errClosed {
		return errClosed
	}
	return ctx.Err()
}
