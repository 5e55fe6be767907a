// Package esdb is the event store of production: an EventStoreDB (KurrentDB)
// node or cluster, through its official client.
//
// It promises the port eventstore as it stands, and that a lost connection, a
// new leader or a server that was started again is bridged: appends whose
// outcome is unknown are made again with the same ids, reads and subscriptions
// go on behind the last record. It refuses nothing that the port allows, never
// sets Appended.Repeated, and keeps no state but what is in the server; but a
// server that comes back with another log gets nothing. cmd opens it; whoever
// has the port calls it.
//
// The client's traps are kept in link.go (connections), errors.go (what an error
// means) and otherlog.go (who answers).
package esdb

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/docket-orders/docket/eventstore"
)

// DefaultConnections is how many connections appends are spread over: one
// connection has one goroutine that writes frames.
const DefaultConnections = 2

// Options of a store. The zero value works.
type Options struct {
	Logger *slog.Logger         // nil: slog.Default()
	Tracer trace.TracerProvider // nil: otel.GetTracerProvider()
	// Connections to the leader that appends and reads are spread over; 0:
	// DefaultConnections.
	Connections int

	refresh time.Duration // 0: refreshEvery
}

// Store is an event store behind a network. All methods may be called from many
// goroutines.
//
// Appends, reads of streams, Head, Log and the backward reads of the log go to
// the leader: decisions rest on them. Subscriptions and forward reads of the log
// go to the node that the connection string prefers, in a cluster a follower
// unless it says otherwise. What comes from a follower may be late, never
// wrong: a forward read of the log waits until it has what the leader had when
// the read began. This client cannot tell a server that only the leader will do:
// in a cluster the leader is looked for every 15 seconds, and until then what a
// node shows that has lost the leadership may be late. A decision on it is
// refused by the expected revision.
type Store struct {
	logger   *slog.Logger
	spans    spans
	deadline time.Duration

	leaders []*link
	next    atomic.Uint32 // round robin over leaders
	readers *link
	log     knownLog
	// followers: readers may be at another node than leaders.
	followers bool
	root      context.Context // ends with Close
	cancel    context.CancelFunc
	health    *health

	mu     sync.RWMutex // held while a call is counted
	closed bool
	calls  sync.WaitGroup
	// subscriptions are counted as calls begin them, and end by themselves.
	subscriptions sync.WaitGroup
	once          sync.Once
}

var _ eventstore.Remote = (*Store)(nil)

// Open connects to the store that an EventStoreDB connection string names,
// esdb://HOST:PORT?tls=false for one, and finds or makes the identity of its
// log. It fails when the string is wrong, and when the store does not answer
// within the attempts that the string allows (maxDiscoverAttempts, ten).
//
// The string is read by the official client's rules. Its nodePreference is that
// of subscriptions and forward reads of the log; everything else prefers the
// leader. Keys that the client does not know are logged and left out. Errors
// never contain the password.
func Open(ctx context.Context, connectionString string, o Options) (_ *Store, err error) {
	conn, err := parseConnection(connectionString)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Tracer == nil {
		o.Tracer = otel.GetTracerProvider()
	}
	if o.Connections <= 0 {
		o.Connections = DefaultConnections
	}
	for _, key := range conn.unknown {
		o.Logger.Warn("connection string: setting is not known and has no effect", "setting", key)
	}
	s := &Store{logger: o.Logger, spans: spans{o.Tracer.Tracer("github.com/docket-orders/docket/eventstore/esdb")}, deadline: conn.deadline}
	s.root, s.cancel = context.WithCancel(context.Background())
	for i := range o.Connections {
		s.leaders = append(s.leaders, newLink(s.root, fmt.Sprintf("leader %d", i+1), conn, esdb.NodePreferenceLeader, &s.log, o.Logger))
	}
	s.readers = newLink(s.root, "readers", conn, conn.readers, &s.log, o.Logger)
	s.followers = conn.cluster && conn.readers != esdb.NodePreferenceLeader
	all := append(slices.Clone(s.leaders), s.readers)
	for _, l := range all {
		l.leads, l.others = l != s.readers || !s.followers, all
	}
	s.health = newHealth(s)
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err = s.leaders[0].first(ctx, conn.attempts); err == nil {
		_, err = s.Log(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open event store at %s: %w", conn.hosts, err)
	}
	s.health.start()
	for _, l := range append(s.leaders, s.readers) {
		if conn.cluster {
			l.refresh(cmp.Or(o.refresh, refreshEvery))
		}
	}
	return s, nil
}

// leader is the link for the next call that needs the leader, one that has a
// connection if there is one.
func (s *Store) leader() *link {
	at, n := s.next.Add(1), uint32(len(s.leaders))
	for i := range n {
		if l := s.leaders[(at+i)%n]; l.ready() {
			return l
		}
	}
	return s.leaders[at%n]
}

// enter counts a call that Close waits for.
func (s *Store) enter() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errClosed
	}
	s.calls.Add(1)
	return nil
}

func (s *Store) leave() { s.calls.Done() }

// Close waits for accepted appends, ends reads and subscriptions, and closes the
// connections.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel() // no further attempts; those that are under way end
	s.calls.Wait()
	s.once.Do(func() {
		s.health.wait()
		s.subscriptions.Wait()
		for _, l := range append(s.leaders, s.readers) {
			l.close()
		}
	})
	return nil
}
