// Package esdbserver puts the gRPC protocol of EventStoreDB in front of an
// event store, so that any EventStoreDB client talks to it.
//
// It promises what clients observe of a single-node EventStoreDB, for the
// services Streams, PersistentSubscriptions, Projections (management, and the
// system projections $by_category and $by_event_type), Gossip and
// ServerFeatures. What it does not do is answered UNIMPLEMENTED. It knows the
// port eventstore, and no adapter and nothing of orders. cmd starts it.
//
// appends.go, batch.go and deletes.go are what writes, discovery.go what
// clients ask first; calls.go stands around every call, limits.go says what a
// client may cost. Reads, persistent subscriptions and projections have
// packages of their own below internal.
package esdbserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/projections"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"

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
	// is allowed to everybody. LoadTLS and SelfSigned make one.
	TLS *tls.Config
	// AdminPassword is that of the user admin, and OpsPassword that of ops, when
	// the store does not have these users yet; empty: "changeit", as in
	// EventStoreDB.
	AdminPassword, OpsPassword string
	// Users are further users of a secure server. Who is in the store already
	// gets this password and these groups.
	Users []User
	// Advertise is the host:port that gossip names; empty: the one that the
	// client who asks has dialled.
	Advertise string
	// Projections starts the system projections with the server.
	Projections bool
	// ReadOnly and AppendOnly are prefixes of the names of streams on which a
	// program depends that serves its own log: clients may not write to the
	// first, and not delete the second or set their metadata. They are told that
	// access is denied.
	ReadOnly, AppendOnly []string
}

// User may use a secure server. The groups $admins and $ops are those of
// EventStoreDB; every other one has the meaning that access lists give it.
type User struct {
	Login    string // without ":"
	Password string
	Groups   []string
}

// Server serves one store. It is made by New, serves on any number of
// listeners, and is ended by Close. All methods may be called from many
// goroutines.
type Server struct {
	options     Options
	grpc        *grpc.Server
	guard       *access.Guard
	reader      *reading.Reader
	groups      *groups.Service
	projections *linking.Service

	connections connections
	inflow      *inflow
	held        held
	closing     chan struct{}
	close       sync.Once
	// answering is held for reading by every call but those that deliver events.
	answering sync.RWMutex

	maxReceiving time.Duration // shorter in tests
}

// New prepares what the protocol expects in the store ($users among it), and
// starts persistent subscriptions and projections. Connections to a listener
// that is made before New wait until Serve.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	accounts, err := o.accounts()
	if err != nil {
		return nil, err
	}
	if err := access.Announce(ctx, o.Store, accounts); err != nil {
		return nil, err
	}
	s := &Server{
		options: o, guard: access.Open(),
		connections: connections{most: maxConnections}, closing: make(chan struct{}),
		maxReceiving: maxReceiving,
	}
	s.inflow = newInflow(o.transport())
	if o.TLS != nil {
		if err := access.KeepUsers(ctx, o.Store, accounts); err != nil {
			return nil, err
		}
		if s.guard, err = access.New(ctx, access.Options{Store: o.Store, Logger: o.Logger}); err != nil {
			return nil, fmt.Errorf("follow users and access lists: %w", err)
		}
	}
	s.guard.Reserve(o.ReadOnly, o.AppendOnly)
	if err := s.startServices(ctx); err != nil {
		s.guard.Close()
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

func (s *Server) startServices(ctx context.Context) error {
	o := s.options
	s.reader = reading.New(reading.Options{Store: o.Store, Guard: s.guard, Logger: o.Logger, HangUp: s.inflow.hangUp})
	var err, err2 error
	s.groups, err = groups.New(ctx, groups.Options{Store: o.Store, Guard: s.guard, Logger: o.Logger})
	s.projections, err2 = linking.New(ctx, linking.Options{Store: o.Store, Guard: s.guard, Logger: o.Logger, Running: o.Projections})
	if err == nil && err2 == nil {
		return nil
	}
	s.reader.Close()
	if err == nil {
		s.groups.Close()
	}
	if err2 == nil {
		s.projections.Close()
	}
	return errors.Join(err, err2)
}

// accounts are the users that the store should have.
func (o Options) accounts() ([]access.Account, error) {
	const defaultPassword = "changeit"
	accounts := []access.Account{
		{Login: "admin", FullName: "Event Store Administrator", Password: o.AdminPassword, Groups: []string{"$admins"}},
		{Login: "ops", FullName: "Event Store Operations", Password: o.OpsPassword, Groups: []string{"$ops"}},
	}
	for i := range accounts {
		if accounts[i].Password == "" {
			accounts[i].Password = defaultPassword
		}
	}
	for _, u := range o.Users {
		if u.Login == "" || strings.Contains(u.Login, ":") || u.Password == "" {
			return nil, fmt.Errorf("user %q: a user has a login without \":\", and a password", u.Login)
		}
		accounts = append(accounts, access.Account{Login: u.Login, FullName: u.Login, Password: u.Password, Groups: u.Groups, Replace: true})
	}
	return accounts, nil
}

// Serve answers on the listener until Close, and closes it. It returns nil
// after Close.
func (s *Server) Serve(l net.Listener) error {
	err := s.grpc.Serve(&boundedListener{Listener: l, connections: &s.connections})
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// closeWait is how long Close waits for calls that are being answered.
const closeWait = 10 * time.Second

// readersWait is how long Close waits for clients to take what they asked for.
const readersWait = time.Second

// settled waits until all calls have ended, and reports whether they did. Who
// does not read what is sent to him keeps nobody else waiting.
func (s *Server) settled(stopped <-chan struct{}) bool {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		select {
		case <-stopped:
		case <-time.After(readersWait):
			s.answering.Lock()
			defer s.answering.Unlock()
		}
	}()
	select {
	case <-stopped:
		return true
	case <-answered:
	case <-time.After(closeWait):
	}
	select {
	case <-stopped:
		return true
	default:
		return false
	}
}

// Close ends all calls: what was accepted is written and answered, what is
// still being received and subscriptions end with UNAVAILABLE, and checkpoints
// are kept. Closing twice is harmless.
func (s *Server) Close() error {
	s.close.Do(func() {
		close(s.closing)
		stopped := make(chan struct{})
		go func() {
			s.grpc.GracefulStop()
			close(stopped)
		}()
		s.reader.Close()
		s.groups.Close()
		s.projections.Close()
		if !s.settled(stopped) {
			s.options.Logger.Warn("calls are cut off that did not end in time")
			s.grpc.Stop()
			<-stopped
		}
		s.guard.Close()
	})
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
