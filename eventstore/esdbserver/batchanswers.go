package esdbserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// batchError is why an append of a batch failed. Clients decide by the type of
// the detail, not by the code.
type batchError struct {
	code    codes.Code
	message string
	detail  proto.Message
}

func timedOut() batchError {
	return batchError{codes.DeadlineExceeded, "Timeout", &shared.Timeout{}}
}

func busy() batchError { return batchError{codes.OK, "Server Is Busy", &emptypb.Empty{}} }

func appendTooLarge() batchError {
	return batchError{codes.InvalidArgument, "MaximumAppendSizeExceeded", &shared.MaximumAppendSizeExceeded{MaxAppendSize: eventstore.MaxAppendSize}}
}

// badRequest carries the text of what is wrong.
func badRequest(err error) batchError {
	text := err.Error()
	var refusal *wire.Refusal
	if errors.As(err, &refusal) {
		text = refusal.Detail
	}
	return batchError{codes.InvalidArgument, "BadRequest", &shared.BadRequest{Message: text}}
}

// batchFailure is what the store or the guard answered to b.
func batchFailure(b *batch, err error) batchError {
	var conflict *eventstore.ConflictError
	var refusal *wire.Refusal
	switch {
	case errors.As(err, &conflict):
		return batchError{codes.AlreadyExists, "WrongExpectedVersion", batchConflict(conflict)}
	case errors.Is(err, eventstore.ErrDeleted):
		return batchError{codes.NotFound, "StreamDeleted", &shared.StreamDeleted{StreamIdentifier: wire.Stream(b.stream)}}
	case errors.Is(err, eventstore.ErrTooLarge):
		return appendTooLarge()
	case errors.Is(err, eventstore.ErrOverloaded):
		return busy()
	case errors.Is(err, eventstore.ErrReadOnly), errors.Is(err, eventstore.ErrUnavailable):
		return batchError{codes.OK, "Server Is Not Ready", &emptypb.Empty{}}
	case errors.Is(err, eventstore.ErrOutcomeUnknown), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return timedOut()
	case errors.As(err, &refusal) && refusal.Code == codes.PermissionDenied:
		return batchError{codes.PermissionDenied, "AccessDenied", &shared.AccessDenied{}}
	}
	return batchError{codes.Unknown, "Unknown", &shared.Unknown{}}
}

func batchConflict(c *eventstore.ConflictError) *shared.WrongExpectedVersion {
	out := &shared.WrongExpectedVersion{}
	switch none := (&emptypb.Empty{}); c.Expected {
	case eventstore.Any:
		out.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedAny{ExpectedAny: none}
	case eventstore.StreamExists:
		out.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: none}
	case eventstore.NoStream:
		out.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: none}
	default:
		out.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedStreamPosition{ExpectedStreamPosition: uint64(c.Expected)}
	}
	if c.Current < 0 {
		out.CurrentStreamRevisionOption = &shared.WrongExpectedVersion_CurrentNoStream{CurrentNoStream: &emptypb.Empty{}}
	} else {
		out.CurrentStreamRevisionOption = &shared.WrongExpectedVersion_CurrentStreamRevision{CurrentStreamRevision: uint64(c.Current)}
	}
	return out
}

// response is the frame of every answer to b.
func (b *batch) response() *streams.BatchAppendResp {
	out := &streams.BatchAppendResp{CorrelationId: b.correlation, StreamIdentifier: wire.Stream(b.stream)}
	switch none := (&emptypb.Empty{}); b.expected {
	case eventstore.Any:
		out.ExpectedStreamPosition = &streams.BatchAppendResp_Any{Any: none}
	case eventstore.StreamExists:
		out.ExpectedStreamPosition = &streams.BatchAppendResp_StreamExists{StreamExists: none}
	case eventstore.NoStream:
		out.ExpectedStreamPosition = &streams.BatchAppendResp_NoStream{NoStream: none}
	default:
		out.ExpectedStreamPosition = &streams.BatchAppendResp_StreamPosition{StreamPosition: uint64(b.expected)}
	}
	return out
}

// failed carries exactly one detail: EventStoreDB's own message has room for no
// more.
func (b *batch) failed(e batchError) *streams.BatchAppendResp {
	detail, err := anypb.New(e.detail)
	if err != nil {
		panic(fmt.Sprintf("esdbserver: %T cannot be encoded: %v", e.detail, err))
	}
	out := b.response()
	out.Result = &streams.BatchAppendResp_Error{Error: &status.Status{
		Code: int32(e.code), Message: e.message, Details: []*anypb.Any{detail},
	}}
	return out
}

func (b *batch) succeeded(a eventstore.Appended) *streams.BatchAppendResp {
	success := &streams.BatchAppendResp_Success{}
	if a.Revision < 0 {
		success.CurrentRevisionOption = &streams.BatchAppendResp_Success_NoStream{NoStream: &emptypb.Empty{}}
	} else {
		success.CurrentRevisionOption = &streams.BatchAppendResp_Success_CurrentRevision{CurrentRevision: uint64(a.Revision)}
	}
	if a.Position == eventstore.Start {
		success.PositionOption = &streams.BatchAppendResp_Success_NoPosition{NoPosition: &emptypb.Empty{}}
	} else {
		success.PositionOption = &streams.BatchAppendResp_Success_Position{Position: &shared.AllStreamPosition{
			CommitPosition: a.Position.Commit, PreparePosition: a.Position.Prepare,
		}}
	}
	out := b.response()
	out.Result = &streams.BatchAppendResp_Success_{Success: success}
	return out
}
