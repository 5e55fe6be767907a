package esdbserver

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// version is that of the EventStoreDB whose protocol is spoken. Clients parse
// it: three numbers.
const version = "24.10.0"

// gossipService is event_store.client.gossip.Gossip of a single node.
type gossipService struct {
	gossip.UnimplementedGossipServer
	instance  uuid.UUID
	advertise string // host:port, or empty
}

// Read answers with one member, the leader.
func (g gossipService) Read(ctx context.Context, _ *shared.Empty) (*gossip.ClusterInfo, error) {
	host, port := g.endpoint(ctx)
	return &gossip.ClusterInfo{Members: []*gossip.MemberInfo{{
		InstanceId:   wire.UUID(g.instance, false),
		TimeStamp:    wire.Ticks(time.Now().UnixNano()),
		State:        gossip.MemberInfo_Leader,
		IsAlive:      true,
		HttpEndPoint: &gossip.EndPoint{Address: host, Port: port},
	}}}, nil
}

// endpoint is what is advertised, else what the caller dialled: that can be
// reached, also through a proxy, and clients that compare texts stay on the
// connection they have.
func (g gossipService) endpoint(ctx context.Context) (host string, port uint32) {
	candidates := []string{g.advertise}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		candidates = append(candidates, md.Get(":authority")...)
	}
	if p, ok := peer.FromContext(ctx); ok && p.LocalAddr != nil {
		candidates = append(candidates, p.LocalAddr.String())
	}
	for _, c := range candidates {
		host, port, err := net.SplitHostPort(c)
		n, err2 := strconv.ParseUint(port, 10, 16)
		if err == nil && err2 == nil && host != "" && n > 0 {
			return host, uint32(n)
		}
	}
	return "localhost", 2113
}

// featuresService is event_store.client.server_features.ServerFeatures.
type featuresService struct {
	serverfeatures.UnimplementedServerFeaturesServer
	methods []*serverfeatures.SupportedMethod
}

// GetSupportedMethods lists every method that is served.
func (f featuresService) GetSupportedMethods(context.Context, *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	return &serverfeatures.SupportedMethods{Methods: f.methods, EventStoreServerVersion: version}, nil
}

// supportedMethods describes the services registered, in lower case as clients
// look for them.
func supportedMethods(services map[string]grpc.ServiceInfo) []*serverfeatures.SupportedMethod {
	features := map[string][]string{
		"event_store.client.streams.streams/read":                             {"position", "events"},
		"event_store.client.streams.streams/batchappend":                      {"deadline_duration"},
		"event_store.client.projections.projections/create":                   {"track_emitted_streams"},
		"event_store.client.persistent_subscriptions.persistentsubscriptions": {"stream", "all"},
	}
	var out []*serverfeatures.SupportedMethod
	for _, name := range slices.Sorted(maps.Keys(services)) {
		for _, m := range services[name].Methods {
			service, method := strings.ToLower(name), strings.ToLower(m.Name)
			out = append(out, &serverfeatures.SupportedMethod{
				ServiceName: service, MethodName: method,
				Features: append(slices.Clone(features[service]), features[service+"/"+method]...),
			})
		}
	}
	return out
}
