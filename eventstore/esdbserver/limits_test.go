package esdbserver

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// start serves with limits that change makes smaller.
func start(t *testing.T, change func(*Server)) (address string) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), Options{Store: store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	change(s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		for _, err := range []error{s.Close(), <-served, store.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func patiently(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// An append that trickles does not hold the server for ever.
func TestAnAppendHasToArrive(t *testing.T) {
	conn := dial(t, start(t, func(s *Server) { s.maxReceiving = 50 * time.Millisecond }))
	call, err := streams.NewStreamsClient(conn).Append(patiently(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := call.RecvMsg(new(streams.AppendResp)); status.Code(err) != codes.Aborted || !strings.HasPrefix(status.Convert(err).Message(), "Operation timed out") {
		t.Error(err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	address := start(t, func(s *Server) { s.connections.most = 3 })
	works := func(conn *grpc.ClientConn) bool {
		_, err := gossip.NewGossipClient(conn).Read(patiently(t), &shared.Empty{})
		return err == nil
	}
	var conns []*grpc.ClientConn
	for range 3 {
		conn := dial(t, address)
		if !works(conn) {
			t.Fatal("a connection within the bound is refused")
		}
		conns = append(conns, conn)
	}
	if works(dial(t, address)) {
		t.Error("a connection beyond the bound is served")
	}
	conns[0].Close()
	for until := time.Now().Add(time.Minute); !works(dial(t, address)); <-time.After(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("a connection that is closed is counted for ever")
		}
	}
}

// Who only connects gives way to somebody who calls.
func TestSilentConnectionsGiveWay(t *testing.T) {
	address := start(t, func(s *Server) { s.connections.most = 3 })
	for range 20 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	var serving []*grpc.ClientConn
	for range 3 {
		conn := dial(t, address)
		serving = append(serving, conn)
		if _, err := gossip.NewGossipClient(conn).Read(patiently(t), &shared.Empty{}, grpc.WaitForReady(true)); err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range serving {
		if _, err := gossip.NewGossipClient(conn).Read(patiently(t), &shared.Empty{}); err != nil {
			t.Error(err)
		}
	}
}

func TestHeadersAreBounded(t *testing.T) {
	conn := dial(t, start(t, func(*Server) {}))
	ctx := metadata.AppendToOutgoingContext(patiently(t), "connection-name", strings.Repeat("x", 2*maxHeaders))
	if _, err := gossip.NewGossipClient(conn).Read(ctx, &shared.Empty{}); err == nil {
		t.Error("headers of any size are read")
	}
	if _, err := gossip.NewGossipClient(conn).Read(patiently(t), &shared.Empty{}); err != nil {
		t.Error(err)
	}
}

// pinged opens a connection without calls, pings it, and tells how it ended:
// nil when every ping was answered.
func pinged(t *testing.T, address string, pings int, every time.Duration) *http2.GoAwayFrame {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for sent := range pings {
		<-tick.C
		if err := framer.WritePing(false, [8]byte{1, byte(sent)}); err != nil {
			t.Fatal(err)
		}
		for answered := false; !answered; {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			switch f := frame.(type) {
			case *http2.GoAwayFrame:
				return f
			case *http2.PingFrame:
				answered = f.IsAck() && f.Data == [8]byte{1, byte(sent)}
			}
		}
	}
	return nil
}

// Must-honour 1: clients ping also while they have no call. Six pings that are
// further apart than the bound stand for those of every 10 s.
func TestKeepAlive(t *testing.T) {
	if minPing > 5*time.Second || maxMessage < 16<<20-10000 {
		t.Fatal("clients would be turned away")
	}
	address := start(t, func(*Server) {})
	if end := pinged(t, address, 6, minPing+20*time.Millisecond); end != nil {
		t.Errorf("pings of a client without calls: %v %s", end.ErrCode, end.DebugData())
	}
	if end := pinged(t, address, 100, time.Millisecond); end == nil || end.ErrCode != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("a flood of pings: %v", end)
	}
}

// What appends hold together is bounded, and given back however they end.
func TestWhatAppendsHoldIsBounded(t *testing.T) {
	var server *Server
	conn := dial(t, start(t, func(s *Server) { server, s.maxReceiving = s, time.Second }))
	client := streams.NewStreamsClient(conn)
	event := &streams.AppendReq_ProposedMessage{
		Id: wire.UUID(uuid.New(), true), Metadata: map[string]string{"type": "Something", "content-type": "application/json"}, Data: make([]byte, 1000),
	}
	appendOnce := func(ctx context.Context, stream string, complete bool) error {
		call, err := client.Append(ctx)
		if err != nil {
			return err
		}
		options := &streams.AppendReq_Options{
			StreamIdentifier:       wire.Stream(stream),
			ExpectedStreamRevision: &streams.AppendReq_Options_Any{Any: &shared.Empty{}},
		}
		for _, m := range []*streams.AppendReq{
			{Content: &streams.AppendReq_Options_{Options: options}}, {Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: event}},
		} {
			if err := call.Send(m); err != nil {
				return err
			}
		}
		if complete {
			_, err = call.CloseAndRecv()
			return err
		}
		return call.RecvMsg(new(streams.AppendResp))
	}
	batchOnce := func(ctx context.Context, final bool) (*streams.BatchAppendResp, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		call, err := client.BatchAppend(ctx)
		if err != nil {
			return nil, err
		}
		if err := call.Send(&streams.BatchAppendReq{
			CorrelationId: wire.UUID(uuid.New(), true), IsFinal: final,
			Options: &streams.BatchAppendReq_Options{
				StreamIdentifier:       wire.Stream("s"),
				ExpectedStreamPosition: &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}},
			},
			ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{Id: event.Id, Metadata: event.Metadata, Data: event.Data}},
		}); err != nil {
			return nil, err
		}
		return call.Recv()
	}
	ctx := patiently(t)
	server.held.take(maxHeld)
	if err := appendOnce(ctx, "s", true); status.Code(err) != codes.Unavailable {
		t.Errorf("an append beyond the bound: %v", err)
	}
	if resp, err := batchOnce(ctx, true); err != nil || resp.GetError().GetMessage() != "Server Is Busy" {
		t.Errorf("an append of a batch beyond the bound: %v %v", resp, err)
	}
	server.held.give(maxHeld)
	if err := appendOnce(ctx, "s", true); err != nil {
		t.Error(err)
	}
	if resp, err := batchOnce(ctx, true); err != nil || resp.GetSuccess() == nil {
		t.Errorf("got %v %v", resp, err)
	}
	if err := appendOnce(ctx, "", true); status.Code(err) != codes.Unknown {
		t.Error(err)
	}
	if err := appendOnce(ctx, "s", false); status.Code(err) != codes.Aborted {
		t.Errorf("an append that is not completed: %v", err)
	}
	if resp, err := batchOnce(ctx, false); err != nil || resp.GetError() == nil {
		t.Errorf("an append of a batch that is not completed: %v %v", resp, err)
	}
	left, cancel := context.WithCancel(ctx)
	cancel()
	_ = appendOnce(left, "s", false) // whatever it says, it is gone
	for until := time.Now().Add(time.Minute); server.held.bytes.Load() != 0; <-time.After(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d bytes are held by nobody", server.held.bytes.Load())
		}
	}
}
