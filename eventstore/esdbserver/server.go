// Package esdbserver puts the gRPC protocol of EventStoreDB in front of an
// event store, so that any EventStoreDB client talks to it.
//
// It promises what clients observe of a single-node EventStoreDB, for the
// services Streams, PersistentSubscriptions, Projections (management, and the
// system projections $by_category and $by_event_type), Gossip and
// ServerFeatures. What it does not do is answered UNIMPLEMENTED. It knows the
// port eventstore, and no adapter and nothing of orders. cmd starts it.
package esdbserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/projections"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/linking"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/reading"
)

// Options of a server. Store is required, the rest works as it is.
type Options struct {
	Store  eventstore.Store // stays open when the server is closed
	Logger *slog.Logger     // nil: slog.Default()
	// TLS, when set, makes the server a secure one: clients authenticate with
	// user and password, and access lists hold. nil: insecure mode, everything
	// is allowed to everybody.
	TLS *tls.Config
	// AdminPassword is that of the user admin, and OpsPassword that of ops, when
	// the store has no users yet; empty: "changeit", as in EventStoreDB.
	AdminPassword, OpsPassword string
	// Advertise is the host:port that gossip names; empty: the one listened on.
	Advertise string
	// Projections starts the system projections with the server.
	Projections bool
}

// Server serves one store. It is made by New, serves on any number of
// listeners, and is ended by Close.
type Server struct {
	options     Options
	grpc        *grpc.Server
	guard       *access.Guard
	reader      *reading.Reader
	groups      *groups.Service
	projections *linking.Service

	maxReceiving time.Duration // shorter in tests
}

// New prepares what the protocol expects in the store ($users among it), and
// starts persistent subscriptions and projections.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Server{options: o, guard: access.Open(), maxReceiving: maxReceiving}
	s.reader = reading.New(reading.Options{Store: o.Store, Guard: s.guard, Logger: o.Logger})
	var err, err2 error
	s.groups, err = groups.New(ctx, groups.Options{Store: o.Store, Guard: s.guard, Logger: o.Logger})
	s.projections, err2 = linking.New(ctx, linking.Options{Store: o.Store, Guard: s.guard, Logger: o.Logger, Running: o.Projections})
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	s.grpc = grpc.NewServer(s.grpcOptions()...)
	streams.RegisterStreamsServer(s.grpc, streamsService{server: s})
	persistent.RegisterPersistentSubscriptionsServer(s.grpc, s.groups)
	projections.RegisterProjectionsServer(s.grpc, s.projections)
	gossip.RegisterGossipServer(s.grpc, gossipService{instance: uuid.New(), advertise: o.Advertise})
	features := &featuresService{}
	serverfeatures.RegisterServerFeaturesServer(s.grpc, features)
	features.methods = supportedMethods(s.grpc.GetServiceInfo())
	return s, nil
}

const (
	// maxMessage is the largest message that is received, a little below 16 MiB
	// as in EventStoreDB.
	maxMessage = 16<<20 - 10000
	// minPing is how often clients may ping. Go's does every 10 s, also while it
	// has no call.
	minPing = time.Second
)

func (s *Server) grpcOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 20 * time.Second}),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
	}
	if s.options.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.options.TLS)))
	}
	return options
}

// Serve answers on the listener until Close, and closes it. It returns nil
// after Close.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Close ends all calls: what was accepted is written, subscriptions end with
// UNAVAILABLE, and checkpoints are kept.
func (s *Server) Close() error {
	s.reader.Close()
	s.groups.Close()
	s.projections.Close()
	s.grpc.Stop()
	return nil
}

// streamsService is event_store.client.streams.Streams.
type streamsService struct {
	streams.UnimplementedStreamsServer
	server *Server
}

func (s streamsService) Read(req *streams.ReadReq, out streams.Streams_ReadServer) error {
	return s.server.reader.Read(req, out)
}
