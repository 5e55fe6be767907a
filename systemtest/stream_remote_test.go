package systemtest

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/disk"
)

// TestRemoteHistoriesAreLinearizable is TestStreamHistoriesAreLinearizable with
// docket's adapter and the protocol server between the clients and the store; a
// kill takes the server's store away.
func TestRemoteHistoriesAreLinearizable(t *testing.T) {
	streamHistories(t, setting(t, "DOCKET_REMOTE_HISTORIES", 100), openBehindProtocol, true)
}

// behindProtocol is the adapter, with everything behind it.
type behindProtocol struct {
	*esdb.Store
	server *esdbserver.Server
	served chan error
	store  *sqlite.Store
}

func openBehindProtocol(ctx context.Context, dir, v string, d disk.FS) (eventstore.Store, error) {
	store, err := sqlite.Open(ctx, dir, sqlite.Options{VFS: v, Disk: d, Logger: silent})
	if err != nil {
		return nil, err
	}
	b := &behindProtocol{store: store, served: make(chan error, 1)}
	if b.server, err = esdbserver.New(ctx, esdbserver.Options{Store: store, Logger: silent}); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, b.server.Close(), store.Close())
	}
	go func() { b.served <- b.server.Serve(listener) }()
	b.Store, err = esdb.Open(ctx, "esdb://"+listener.Addr().String()+"?tls=false", esdb.Options{Logger: silent})
	if err != nil {
		return nil, errors.Join(err, b.end())
	}
	return b, nil
}

func (b *behindProtocol) Close() error { return errors.Join(b.Store.Close(), b.end()) }

func (b *behindProtocol) end() error {
	return errors.Join(b.server.Close(), <-b.served, b.store.Close())
}
