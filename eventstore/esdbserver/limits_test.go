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
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

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
	address := start(t, func(s *Server) { s.connections = make(chan struct{}, 3) })
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
