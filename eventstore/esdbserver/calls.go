package esdbserver

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// unary stands around every call with one request and one answer: it finds out
// who calls, keeps a panic inside the call, and sends the trailers of a
// refusal.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	err = s.around(ctx, info.FullMethod, func(ctx context.Context) error {
		resp, err = handle(ctx, req)
		return err
	})
	return resp, err
}

// stream is unary for calls that stream.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return s.around(ss.Context(), info.FullMethod, func(ctx context.Context) error {
		return handle(srv, &callerStream{ServerStream: ss, ctx: ctx})
	})
}

func (s *Server) around(ctx context.Context, method string, handle func(context.Context) error) error {
	if method != streams.Streams_Read_FullMethodName && method != persistent.PersistentSubscriptions_Read_FullMethodName {
		s.answering.RLock()
		defer s.answering.RUnlock()
	}
	err := s.contain(method, func() error {
		ctx, err := s.admit(ctx)
		if err != nil {
			return err
		}
		return handle(ctx)
	})
	var refusal *wire.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	if failed := grpc.SetTrailer(ctx, refusal.Trailer); failed != nil {
		s.options.Logger.Error("the trailers of an answer are lost", "method", method, "error", failed)
	}
	return refusal // one that is wrapped would reach the client as UNKNOWN
}

// admit finds out who calls, and refuses calls while the server is closing.
func (s *Server) admit(ctx context.Context) (context.Context, error) {
	select {
	case <-s.closing:
		return ctx, shuttingDown()
	default:
		return s.guard.Authenticate(ctx)
	}
}

func shuttingDown() error { return wire.Unavailable("Server Is Not Ready: it is shutting down") }

// callerStream carries the caller in its context.
type callerStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (c *callerStream) Context() context.Context { return c.ctx }

// contain runs f, and answers with its panic, which ends this call and not the
// process.
func (s *Server) contain(method string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.options.Logger.Error("a call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
			err = wire.Unhandled("")
		}
	}()
	return f()
}
