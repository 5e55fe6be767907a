// Package esdbservertest starts the protocol server inside a test, on loopback.
package esdbservertest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"

	"github.com/docket-orders/docket/eventstore/esdbserver"
)

// Start serves the store of the options until the test ends, and returns its
// address, host:port, on which it listens already.
func Start(t testing.TB, o esdbserver.Options) (address string) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := esdbserver.New(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// Insecure is the connection string of a server without TLS.
func Insecure(address string) string { return fmt.Sprintf("esdb://%s?tls=false", address) }
