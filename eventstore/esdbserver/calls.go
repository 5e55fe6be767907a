package esdbserver

import (
	"context"
	"errors"
	"runtime/debug"

	"google.golang.org/grpc"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// unary stands around every call with one request and one answer: it finds out
// who calls, keeps a panic inside the call, and sends the trailers of a
// refusal.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if refusal := s.refusal(&err, recover(), info.FullMethod); refusal != nil {
			resp = nil
			if failed := grpc.SetTrailer(ctx, refusal.Trailer); failed != nil {
				s.options.Logger.Error("trailers of an answer are lost", "method", info.FullMethod, "error", failed)
			}
		}
	}()
	ctx, err = s.guard.Authenticate(ctx)
	if err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

// stream is unary for calls that stream.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer func() {
		if refusal := s.refusal(&err, recover(), info.FullMethod); refusal != nil {
			ss.SetTrailer(refusal.Trailer)
		}
	}()
	ctx, err := s.guard.Authenticate(ss.Context())
	if err != nil {
		return err
	}
	return handle(srv, &callerStream{ServerStream: ss, ctx: ctx})
}

// callerStream carries the caller in its context.
type callerStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (c *callerStream) Context() context.Context { return c.ctx }

// refusal is the one that a call ends with, nil when it ends otherwise. A panic
// ends the call alone.
func (s *Server) refusal(err *error, panicked any, method string) *wire.Refusal {
	if panicked != nil {
		s.options.Logger.Error("a call panicked", "method", method, "panic", panicked, "stack", string(debug.Stack()))
		*err = wire.Unhandled("")
	}
	var refusal *wire.Refusal
	if errors.As(*err, &refusal) {
		// A refusal that was wrapped would reach the client as UNKNOWN.
		*err = refusal
	}
	return refusal
}
