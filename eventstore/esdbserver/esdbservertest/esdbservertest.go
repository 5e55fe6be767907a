// Package esdbservertest starts the protocol server inside a test, on loopback.
//
// Start is for most tests, StartTLS for those with users and passwords. Run
// gives a Server that can be stopped and started again on its port, and
// Follower a node that sends clients to another one.
package esdbservertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore/esdbserver"
)

// Start serves the store of the options until the test ends, and returns its
// address, host:port, on which it listens already.
func Start(t testing.TB, o esdbserver.Options) (address string) {
	t.Helper()
	return Run(t, o).Address
}

// StartTLS is Start for a secure server with a self-made certificate, unless
// the options bring one. The connection string carries admin's password and
// the authority to trust, which is in caFile as well.
func StartTLS(t testing.TB, o esdbserver.Options) (connection, caFile string) {
	t.Helper()
	o, caFile = Secure(t, o)
	return SecureConnection(Start(t, o), "admin:changeit", caFile), caFile
}

// Secure gives options a self-made certificate, whose authority is in caFile.
func Secure(t testing.TB, o esdbserver.Options) (secured esdbserver.Options, caFile string) {
	t.Helper()
	certificate, caPEM, err := esdbserver.SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(caFile, caPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	o.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	return o, caFile
}

// Insecure is the connection string of a server without TLS.
func Insecure(address string) string { return fmt.Sprintf("esdb://%s?tls=false", address) }

// SecureConnection is the connection string of a server with TLS; login is
// user:password, or empty for nobody.
func SecureConnection(address, login, caFile string) string {
	if login != "" {
		login += "@"
	}
	return fmt.Sprintf("esdb://%s%s?tlsCaFile=%s", login, address, caFile)
}

// Server is a server that can be stopped and started again. It is used by one
// goroutine.
type Server struct {
	Address string             // host:port, the same after each Start
	Options esdbserver.Options // may be changed while it is stopped

	t      testing.TB
	server *esdbserver.Server // nil while it is stopped
	served chan error
}

// Run starts a server that runs until the test ends or Stop is called.
func Run(t testing.TB, o esdbserver.Options) *Server {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{Address: "127.0.0.1:0", Options: o, t: t}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start serves again on the same port.
func (s *Server) Start() {
	s.t.Helper()
	if s.server != nil {
		s.t.Fatal("the server runs already")
	}
	listener := s.listen()
	server, err := esdbserver.New(context.WithoutCancel(s.t.Context()), s.Options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Address, s.server, s.served = listener.Addr().String(), server, make(chan error, 1)
	go func() { s.served <- server.Serve(listener) }()
}

// listen waits for the port if it is not free at once: connections of the time
// before may linger.
func (s *Server) listen() net.Listener {
	s.t.Helper()
	until := time.Now().Add(30 * time.Second)
	for {
		listener, err := net.Listen("tcp", s.Address)
		if err == nil {
			return listener
		}
		if time.Now().After(until) {
			s.t.Fatal(err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Stop closes the server as Close does, and leaves the store open. Stopping
// twice is harmless.
func (s *Server) Stop() {
	if s.server == nil {
		return
	}
	if err := s.server.Close(); err != nil {
		s.t.Error(err)
	}
	if err := <-s.served; err != nil {
		s.t.Error(err)
	}
	s.server = nil
}
