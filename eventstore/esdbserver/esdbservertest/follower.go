package esdbservertest

import (
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Follower serves, without TLS, as a node of a cluster whose leader is at the
// address given: it answers gossip and features, and every other call with
// not-leader, which sends clients to the leader.
func Follower(t testing.TB, leader string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	node := follower{self: endpoint(t, listener.Addr().String()), leader: endpoint(t, leader)}
	server := grpc.NewServer(grpc.UnknownServiceHandler(node.redirect))
	gossip.RegisterGossipServer(server, node)
	serverfeatures.RegisterServerFeaturesServer(server, node)
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

func endpoint(t testing.TB, address string) *gossip.EndPoint {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return &gossip.EndPoint{Address: host, Port: uint32(n)}
}

type follower struct {
	gossip.UnimplementedGossipServer
	serverfeatures.UnimplementedServerFeaturesServer
	self, leader *gossip.EndPoint
}

func (f follower) Read(context.Context, *shared.Empty) (*gossip.ClusterInfo, error) {
	return &gossip.ClusterInfo{Members: []*gossip.MemberInfo{
		{InstanceId: &shared.UUID{}, State: gossip.MemberInfo_Follower, IsAlive: true, HttpEndPoint: f.self},
		{InstanceId: &shared.UUID{}, State: gossip.MemberInfo_Leader, IsAlive: true, HttpEndPoint: f.leader},
	}}, nil
}

func (f follower) GetSupportedMethods(context.Context, *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	return &serverfeatures.SupportedMethods{EventStoreServerVersion: "24.10.0"}, nil
}

func (f follower) redirect(_ any, stream grpc.ServerStream) error {
	stream.SetTrailer(metadata.Pairs("exception", "not-leader",
		"leader-endpoint-host", f.leader.Address, "leader-endpoint-port", strconv.FormatUint(uint64(f.leader.Port), 10)))
	// Go's client reports EOF when its call ends while it is sending.
	for stream.RecvMsg(new(shared.Empty)) == nil {
	}
	return status.Error(codes.NotFound, "Leader info available")
}
