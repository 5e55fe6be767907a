package esdbserver

import (
	"container/list"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/reading"
)

// What clients may cost. Those of one append are in appends.go and batch.go,
// those of passwords in internal/access.
const (
	maxConnections = 1024
	maxHandshake   = 10 * time.Second // of a connection: TLS and HTTP/2
	maxCalls       = 1024             // open at once on one connection; clients wait for more
	maxHeaders     = 16 << 10         // bytes of a call's headers
	// maxMessage is the largest message that is received, a little below 16 MiB
	// as in EventStoreDB.
	maxMessage = 16<<20 - 10000
	// A call may have this much on the way before its handler reads it.
	callWindow       = 256 << 10
	connectionWindow = 1 << 20
	// maxHeld is how many bytes of events appends may hold that are not in the
	// store yet, all together: received in part, or waiting for their turn. An
	// event holds eventCost more than its bytes.
	maxHeld   = 128 << 20
	eventCost = 256
	// minPing is how often clients may ping. Go's does every 10 s, also while it
	// has no call.
	minPing = time.Second
	// A peer that is silent for pingAfter is asked whether it is there, and has
	// pingWait to answer.
	pingAfter = 10 * time.Second
	pingWait  = 20 * time.Second
	// maxIdle ends connections without calls; clients make a new one.
	maxIdle = 30 * time.Minute
)

func (s *Server) grpcOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingWait, MaxConnectionIdle: maxIdle}),
		grpc.ConnectionTimeout(maxHandshake),
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.ForceServerCodecV2(reading.Codec()),
		grpc.StaticStreamWindowSize(callWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
	}
	return append(options, grpc.Creds(s.inflow))
}

func (o Options) transport() credentials.TransportCredentials {
	if o.TLS != nil {
		return credentials.NewTLS(o.TLS)
	}
	return insecure.NewCredentials()
}

// connections counts those that are open. When there are too many, the oldest one
// that has not made a call gives way to a new one, and without such a one the new
// one is closed at once: who only connects keeps nobody out.
type connections struct {
	most int

	mu     sync.Mutex
	open   int
	silent list.List // of *boundedConn without a call, oldest first
}

func (c *connections) admit(raw net.Conn) (*boundedConn, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == c.most {
		oldest := c.silent.Front()
		if oldest == nil {
			return nil, false
		}
		c.leave(oldest.Value.(*boundedConn))
		oldest.Value.(*boundedConn).Conn.Close()
	}
	conn := &boundedConn{Conn: raw, connections: c}
	conn.silent, conn.counted = c.silent.PushBack(conn), true
	c.open++
	return conn, true
}

// leave is called with the lock held.
func (c *connections) leave(conn *boundedConn) {
	if conn.counted {
		conn.counted = false
		c.open--
	}
	conn.speaks()
}

// boundedListener lets in whom connections admit.
type boundedListener struct {
	net.Listener
	connections *connections
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conn, ok := l.connections.admit(raw); ok {
			return conn, nil
		}
		raw.Close()
	}
}

// boundedConn's fields are guarded by the lock of connections.
type boundedConn struct {
	net.Conn
	connections *connections
	counted     bool
	silent      *list.Element
}

func (c *boundedConn) Close() error {
	c.connections.mu.Lock()
	c.connections.leave(c)
	c.connections.mu.Unlock()
	return c.Conn.Close()
}

// calls is told of the first call.
func (c *boundedConn) calls() {
	c.connections.mu.Lock()
	defer c.connections.mu.Unlock()
	c.speaks()
}

// speaks is called with the lock held.
func (c *boundedConn) speaks() {
	if c.silent != nil {
		c.connections.silent.Remove(c.silent)
		c.silent = nil
	}
}

// held counts bytes of events, up to maxHeld.
type held struct{ bytes atomic.Int64 }

func (h *held) take(bytes int64) bool {
	if h.bytes.Add(bytes) > maxHeld {
		h.give(bytes)
		return false
	}
	return true
}

func (h *held) give(bytes int64) { h.bytes.Add(-bytes) }
