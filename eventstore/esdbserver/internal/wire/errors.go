// Package wire has what all services of the protocol share: refusals as
// EventStoreDB's clients recognise them, identifiers, positions and the
// metadata of events.
//
// It promises that clients find in a refusal the status, the detail text and
// the trailers that they look for; some compare texts, so they are kept
// literally. The services use it; it knows no service.
package wire

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
)

// Refusal is an answer with a status and trailers. The server's interceptors
// send the trailers, so a handler just returns it.
type Refusal struct {
	Code    codes.Code
	Detail  string
	Trailer metadata.MD // lower-case keys
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Detail) }

// GRPCStatus is what google.golang.org/grpc sends.
func (r *Refusal) GRPCStatus() *status.Status { return status.New(r.Code, r.Detail) }

func refuse(code codes.Code, detail string, trailer ...string) *Refusal {
	for i, text := range trailer {
		trailer[i] = printable(text)
	}
	return &Refusal{Code: code, Detail: detail, Trailer: metadata.Pairs(trailer...)}
}

// printable replaces what cannot stand in a header: with it the whole answer
// would be lost. Letters outside of ASCII arrive as they are.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, text)
}

// AccessDenied: who is known is not allowed to.
func AccessDenied() error {
	return refuse(codes.PermissionDenied, "Access Denied", "exception", "access-denied")
}

// Unauthenticated: the user or the password is wrong.
func Unauthenticated() error {
	return refuse(codes.Unauthenticated, "Unauthenticated")
}

// StreamDeleted: the stream was tombstoned.
func StreamDeleted(stream string) error {
	return refuse(codes.FailedPrecondition, fmt.Sprintf("Event stream '%s' is deleted.", stream),
		"exception", "stream-deleted", "stream-name", stream)
}

// DeleteConflict: a delete or tombstone did not find the stream where it
// expected it. An append answers with a message instead.
func DeleteConflict(c *eventstore.ConflictError) error {
	expected, actual := strconv.FormatInt(int64(c.Expected), 10), strconv.FormatInt(int64(c.Current), 10)
	return refuse(codes.FailedPrecondition,
		fmt.Sprintf("Delete failed due to WrongExpectedVersion. Stream: %s, Expected version: %s, Actual version: %s", c.Stream, expected, actual),
		"exception", "wrong-expected-version", "stream-name", c.Stream, "expected-version", expected, "actual-version", actual)
}

// AppendTooLarge: the events of one append exceed eventstore.MaxAppendSize.
func AppendTooLarge() error {
	return refuse(codes.InvalidArgument, fmt.Sprintf("Maximum Append Size of %d Exceeded.", eventstore.MaxAppendSize),
		"exception", "maximum-append-size-exceeded", "maximum-append-size", strconv.Itoa(eventstore.MaxAppendSize))
}

// MissingMetadata: a proposed message lacks type or content-type.
func MissingMetadata(key string) error {
	return refuse(codes.InvalidArgument, fmt.Sprintf("Required Metadata Property '%s' is missing", key),
		"exception", "missing-required-metadata-property", "required-metadata-properties", "type,content-type")
}

// BadRequest: the shape of the request is not one that the protocol allows.
func BadRequest(format string, args ...any) error {
	return refuse(codes.InvalidArgument, fmt.Sprintf(format, args...))
}

// Unhandled is what EventStoreDB answers where its handler throws. The reason
// stands behind the text that clients look for.
func Unhandled(format string, args ...any) error {
	return refuse(codes.Unknown, "Exception was thrown by handler. "+fmt.Sprintf(format, args...))
}

// TimedOut: the server has waited long enough; whether something was written is
// not known.
func TimedOut(format string, args ...any) error {
	return refuse(codes.Aborted, "Operation timed out: "+fmt.Sprintf(format, args...))
}

// Unavailable: the store does not take the request now.
func Unavailable(detail string) error { return refuse(codes.Unavailable, detail) }

// GroupExists, GroupMissing, GroupFailed, GroupFull and GroupDropped are the
// refusals of persistent subscriptions; stream is "$all" for the log.
func GroupExists(stream, group string) error {
	return refuse(codes.AlreadyExists, fmt.Sprintf("Subscription group %s on stream %s already exists.", group, stream),
		"exception", "persistent-subscription-exists", "stream-name", stream, "group-name", group)
}

// GroupMissing: see GroupExists.
func GroupMissing(stream, group string) error {
	return refuse(codes.NotFound, fmt.Sprintf("Subscription group %s on stream %s does not exist.", group, stream),
		"exception", "persistent-subscription-does-not-exist", "stream-name", stream, "group-name", group)
}

// GroupFailed: see GroupExists.
func GroupFailed(stream, group, reason string) error {
	return refuse(codes.Internal, fmt.Sprintf("Subscription group %s on stream %s failed: '%s'", group, stream, reason),
		"exception", "persistent-subscription-failed", "stream-name", stream, "group-name", group, "reason", reason)
}

// GroupFull: see GroupExists.
func GroupFull(stream, group string) error {
	return refuse(codes.FailedPrecondition, fmt.Sprintf("Maximum subscriptions reached for subscription group %s on stream %s.", group, stream),
		"exception", "maximum-subscribers-reached", "stream-name", stream, "group-name", group)
}

// GroupDropped: see GroupExists.
func GroupDropped(stream, group string) error {
	return refuse(codes.Canceled, fmt.Sprintf("Subscription group %s on stream %s was dropped.", group, stream),
		"exception", "persistent-subscription-dropped", "stream-name", stream, "group-name", group)
}
