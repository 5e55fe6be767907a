package esdbserver_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// heldStore holds appends to the stream "held" until they are let go, and
// panics for "panic".
type heldStore struct {
	eventstore.Store
	held, release chan struct{}
}

func (h *heldStore) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	switch stream {
	case "held":
		h.held <- struct{}{}
		<-h.release
	case "panic":
		panic("planted")
	}
	return h.Store.Append(ctx, stream, expected, events)
}

// loggedLines is a logger's output.
type loggedLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *loggedLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *loggedLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestAPanicEndsItsCallAlone(t *testing.T) {
	var logged loggedLines
	store := &heldStore{Store: openStore(t)}
	conn := dial(t, esdbservertest.Start(t, esdbserver.Options{Store: store, Logger: slog.New(slog.NewTextHandler(&logged, nil))}))
	for range 3 {
		_, _, err := appendRaw(patiently(t), conn, optionsMessage(appendOptions("panic", anyState)), proposedMessage(proposed(uuid.New())))
		if s := status.Convert(err); s.Code() != codes.Unknown || !strings.HasPrefix(s.Message(), "Exception was thrown by handler.") || strings.Contains(s.Message(), "planted") {
			t.Error(err)
		}
		call := openBatch(t, conn)
		if got := batchAppendOn(t, call, "panic"); got != "*shared.Unknown" {
			t.Error(got)
		}
		if got := batchAppendOn(t, call, uuid.NewString()); got != "ok" {
			t.Error(got)
		}
		endBatch(t, call)
	}
	if !strings.Contains(logged.String(), "planted") || !strings.Contains(logged.String(), "stack=") {
		t.Errorf("logged is %s", logged.String())
	}
}

// Close waits for what was accepted, and ends what was not.
func TestCloseWaitsForAppends(t *testing.T) {
	store := &heldStore{Store: openStore(t), held: make(chan struct{}), release: make(chan struct{})}
	server := esdbservertest.Run(t, esdbserver.Options{Store: store})
	conn := dial(t, server.Address)
	ctx := patiently(t)
	batch := openBatch(t, conn)
	send(t, batch, &streams.BatchAppendReq{CorrelationId: text(uuid.New()), Options: batchOptions("held", anyState), ProposedMessages: batchMessages(1), IsFinal: true})
	<-store.held
	accepted := make(chan error, 1)
	go func() {
		_, _, err := appendRaw(ctx, conn, optionsMessage(appendOptions("held", anyState)), proposedMessage(proposed(uuid.New())))
		accepted <- err
	}()
	<-store.held
	receiving, err := streams.NewStreamsClient(conn).Append(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := receiving.Send(optionsMessage(appendOptions("s", anyState))); err != nil {
		t.Fatal(err)
	}
	// The server has heard of that append when it answers what came after it.
	if _, err := gossip.NewGossipClient(conn).Read(ctx, &shared.Empty{}); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		server.Stop()
		close(closed)
	}()
	if err := receiving.RecvMsg(new(streams.AppendResp)); status.Code(err) != codes.Unavailable {
		t.Errorf("an append that was not complete: %v", err)
	}
	select {
	case <-closed:
		t.Fatal("Close did not wait for what was accepted")
	case err := <-accepted:
		t.Fatal("answered too early:", err)
	default:
	}
	close(store.release)
	if err := <-accepted; err != nil {
		t.Errorf("an append that was accepted: %v", err)
	}
	if resp := recv(t, batch); resp.GetSuccess() == nil {
		t.Errorf("an append of a batch that was accepted: %v", resp)
	}
	if _, err := batch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the batch ends with %v", err)
	}
	select {
	case <-closed:
	case <-ctx.Done():
		t.Fatal("Close does not end")
	}
	if got := visible(t, store, "held"); got != "[0 1]" {
		t.Errorf("written are %s", got)
	}
}

func TestCloseEndsSubscriptions(t *testing.T) {
	store := openStore(t)
	server := esdbservertest.Run(t, esdbserver.Options{Store: store})
	c := esdbservertest.Client(t, esdbservertest.Insecure(server.Address))
	appendDirectly(t, store, "s", none, "a")
	subscription, err := c.SubscribeToStream(context.Background(), "s", esdb.SubscribeToStreamOptions{From: esdb.Start{}})
	if err != nil {
		t.Fatal(err)
	}
	for subscription.Recv().EventAppeared == nil {
	}
	started := time.Now()
	server.Stop()
	for {
		e := subscription.Recv()
		if e.SubscriptionDropped == nil {
			continue
		}
		if status.Code(e.SubscriptionDropped.Error) != codes.Unavailable {
			t.Errorf("dropped with %v", e.SubscriptionDropped.Error)
		}
		break
	}
	if took := time.Since(started); took > 9*time.Second {
		t.Errorf("Close waited %v for a subscription", took)
	}
}

func TestSeveralListeners(t *testing.T) {
	server, err := esdbserver.New(t.Context(), esdbserver.Options{Store: openStore(t), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 2)
	var conns []*grpc.ClientConn
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { served <- server.Serve(l) }()
		conns = append(conns, dial(t, l.Addr().String()))
	}
	if got := unaryAppend(t, conns[0], "s", none, "a"); got != "ok 0" {
		t.Error(got)
	}
	if got := unaryAppend(t, conns[1], "s", 0, "b"); got != "ok 1" {
		t.Error(got)
	}
	for range 2 { // closing twice is harmless
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(l); err != nil {
		t.Errorf("Serve after Close: %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("Serve after Close left the listener open")
	}
}

// Clients that dial between Listen and Serve wait, and are served.
func TestClientsMayComeBeforeServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, l.Addr().String())
	answered := make(chan outcome, 1)
	go func() { answered <- unaryAppend(t, conn, "s", none, "a") }()
	server, err := esdbserver.New(t.Context(), esdbserver.Options{Store: openStore(t), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	if got := <-answered; got != "ok 0" {
		t.Error(got)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
