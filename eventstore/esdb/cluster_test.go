package esdb

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// cluster is two servers that say of themselves what they are told to.
type cluster struct {
	gossip.UnimplementedGossipServer
	address          string
	leader, follower *sqlite.Store

	mu      sync.Mutex
	members []*gossip.MemberInfo
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{leader: embedded(t, t.TempDir()), follower: embedded(t, t.TempDir())}
	for _, node := range []struct {
		store *sqlite.Store
		state gossip.MemberInfo_VNodeState
	}{{c.leader, gossip.MemberInfo_Leader}, {c.follower, gossip.MemberInfo_Follower}} {
		host, port, err := net.SplitHostPort(esdbservertest.Start(t, esdbserver.Options{Store: node.store}))
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		c.members = append(c.members, &gossip.MemberInfo{State: node.state, IsAlive: true, HttpEndPoint: &gossip.EndPoint{Address: host, Port: uint32(n)}})
	}
	c.address = serve(t, func(s *grpc.Server) { gossip.RegisterGossipServer(s, c) })
	return c
}

func (c *cluster) Read(context.Context, *shared.Empty) (*gossip.ClusterInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &gossip.ClusterInfo{Members: c.members}, nil
}

// replicate gives the follower what the leader has.
func (c *cluster) replicate(t *testing.T) {
	t.Helper()
	has, err := c.follower.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for rec, err := range c.leader.ReadAll(t.Context(), eventstore.At64(has.Commit+1), eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.follower.Append(t.Context(), rec.Stream, eventstore.Expected(rec.Revision-1), []eventstore.Event{rec.Event})
		if err != nil || out.Position != rec.Position {
			t.Fatalf("replicate %s: %+v, %v", rec.Position, out, err)
		}
	}
}

// serve runs a gRPC server of the test until it ends.
func serve(t *testing.T, register func(*grpc.Server)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// TestFollowersFeedProjections: subscriptions are the follower's, decisions rest
// on the leader, and a forward read has what the leader has.
func TestFollowersFeedProjections(t *testing.T) {
	noLeaks(t)
	c := newCluster(t)
	s := open(t, "esdb+discover://"+c.address+"?tls=false")
	count := func() (n int) {
		t.Helper()
		for _, err := range s.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{"order-"}}, 0) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	write := func(expected eventstore.Expected) {
		t.Helper()
		if _, err := s.Append(t.Context(), "order-1", expected, []eventstore.Event{event()}); err != nil {
			t.Fatal(err)
		}
	}
	write(eventstore.NoStream)
	c.replicate(t)
	sub, err := s.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{Prefixes: []string{"order-"}})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	next := func(ctx context.Context) (eventstore.Record, error) {
		for {
			if n, err := sub.Next(ctx); err != nil || n.Kind == eventstore.Delivered {
				return n.Record, err
			}
		}
	}
	if _, err := next(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The follower does not have the second event: reads do, the subscription not.
	write(0)
	if n := count(); n != 2 {
		t.Errorf("a forward read shows %d events, want 2", n)
	}
	n := 0
	for _, err := range s.ReadStream(t.Context(), "order-1", 0, eventstore.Forwards, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("the stream shows %d events, want 2", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	if rec, err := next(ctx); err == nil {
		t.Errorf("the subscription shows revision %d, which the follower does not have", rec.Revision)
	}
	cancel()
	// A forward read waits for it, too.
	done := make(chan int, 1)
	go func() { done <- count() }()
	c.replicate(t)
	if n := <-done; n != 2 {
		t.Errorf("a forward read shows %d events, want 2", n)
	}
	if rec, err := next(t.Context()); err != nil || rec.Revision != 1 {
		t.Errorf("revision %d, %v; want 1", rec.Revision, err)
	}
}

// TestAnotherLeader: a node that is no leader any more, and says nothing of it,
// is left for the new one.
func TestAnotherLeader(t *testing.T) {
	noLeaks(t)
	c := newCluster(t)
	s, err := Open(t.Context(), "esdb+discover://"+c.address+"?tls=false", Options{Logger: quiet(), refresh: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c.replicate(t)
	c.mu.Lock()
	c.members = []*gossip.MemberInfo{
		{State: gossip.MemberInfo_Follower, IsAlive: true, HttpEndPoint: c.members[0].HttpEndPoint},
		{State: gossip.MemberInfo_Leader, IsAlive: true, HttpEndPoint: c.members[1].HttpEndPoint},
	}
	c.mu.Unlock()
	// Somebody else writes to it.
	theirs, err := c.follower.Append(t.Context(), "order-theirs", eventstore.NoStream, []eventstore.Event{event()})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new leader is asked", func() bool {
		head, err := s.Head(t.Context())
		return err == nil && head == theirs.Position
	})
	for _, l := range s.leaders { // each has looked again
		eventually(t, "the old leader is left", func() bool {
			c, err := l.acquire(t.Context())
			if err != nil {
				return false
			}
			defer l.release(c)
			at, r := c.last(t.Context())
			return r.err == nil && at == theirs.Position
		})
	}
	if _, err := s.Append(t.Context(), "order-1", eventstore.Any, []eventstore.Event{event()}); err != nil {
		t.Fatal(err)
	}
	if head, err := c.follower.Head(t.Context()); err != nil || head == theirs.Position {
		t.Errorf("the new leader did not get the append: %s, %v", head, err)
	}
}

// hostile answers what no server should.
type hostile struct {
	streams.UnimplementedStreamsServer
	serverfeatures.UnimplementedServerFeaturesServer
}

func (hostile) Read(req *streams.ReadReq, out streams.Streams_ReadServer) error {
	name := string(req.GetOptions().GetStream().GetStreamIdentifier().GetStreamName())
	answer := &streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: &streams.ReadResp_CaughtUp{}}}
	if name == identityStream {
		answer.Content = &streams.ReadResp_Event{Event: &streams.ReadResp_ReadEvent{Event: &streams.ReadResp_ReadEvent_RecordedEvent{
			Id:               &shared.UUID{Value: &shared.UUID_String_{String_: event().ID.String()}},
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(name)},
			Metadata:         map[string]string{"type": typeBegun, "content-type": "application/json", "created": "17000000000000000"},
		}}}
	}
	if req.GetOptions().GetFilter() != nil {
		_ = out.Send(&streams.ReadResp{Content: &streams.ReadResp_Confirmation{Confirmation: &streams.ReadResp_SubscriptionConfirmation{SubscriptionId: "x"}}})
	}
	if req.GetOptions().GetFilter() != nil || name == "order-empty" {
		answer.Content = &streams.ReadResp_Event{Event: &streams.ReadResp_ReadEvent{}}
	}
	return out.Send(answer)
}

func (hostile) Append(in streams.Streams_AppendServer) error {
	for {
		if _, err := in.Recv(); err != nil {
			in.SetTrailer(metadata.Pairs("exception", "stream-deleted"))
			return status.Error(codes.FailedPrecondition, "no stream-name")
		}
	}
}

func (hostile) Delete(context.Context, *streams.DeleteReq) (*streams.DeleteResp, error) {
	return &streams.DeleteResp{}, nil
}

// TestHostileServer: answers that make the client panic are errors.
func TestHostileServer(t *testing.T) {
	noLeaks(t)
	address := serve(t, func(s *grpc.Server) {
		streams.RegisterStreamsServer(s, hostile{})
		serverfeatures.RegisterServerFeaturesServer(s, hostile{})
	})
	s := open(t, esdbservertest.Insecure(address))
	if _, err := s.Append(t.Context(), "order-1", eventstore.NoStream, []eventstore.Event{event()}); !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("append: %v, want an unknown outcome", err)
	}
	if _, err := s.Delete(t.Context(), "order-1", 0); !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("delete: %v, want an unknown outcome", err)
	}
	for rec, err := range s.ReadStream(t.Context(), "order-1", 0, eventstore.Forwards, 0) {
		if err == nil {
			t.Errorf("read delivers %+v", rec)
		}
	}
	if _, err := s.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{}); err == nil {
		t.Error("a subscription that was not confirmed began")
	}
	for rec, err := range s.ReadStream(t.Context(), "order-empty", 0, eventstore.Forwards, 0) {
		if err == nil {
			t.Errorf("read delivers %+v", rec)
		}
	}
	sub, err := s.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{Prefixes: []string{"order-"}})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	soon, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if n, err := sub.Next(soon); err == nil {
		t.Errorf("a subscription delivers %+v", n)
	}
}

// TestCredentials: who may not, or is not who he says, is told so at once.
func TestCredentials(t *testing.T) {
	noLeaks(t)
	secured, caFile := esdbservertest.Secure(t, esdbserver.Options{Store: embedded(t, t.TempDir())})
	address := esdbservertest.Start(t, secured)
	for login, want := range map[string]string{"admin:wrong": "user or password", "": "not allowed"} {
		_, err := Open(t.Context(), esdbservertest.SecureConnection(address, login, caFile), Options{Logger: quiet()})
		if err == nil || errors.Is(err, eventstore.ErrUnavailable) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "admin:wrong") {
			t.Errorf("login %q: %v, want %s", login, err, want)
		}
	}
	// A certificate of somebody else is no answer.
	_, strange := esdbservertest.Secure(t, esdbserver.Options{})
	if _, err := Open(t.Context(), esdbservertest.SecureConnection(address, "admin:changeit", strange)+"&maxDiscoverAttempts=1", Options{Logger: quiet()}); !errors.Is(err, eventstore.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("certificate of an unknown authority: %v", err)
	}
}
