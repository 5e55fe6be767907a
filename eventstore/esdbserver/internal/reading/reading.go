// Package reading answers Streams.Read: reads of streams and of the log both
// ways, and catch-up subscriptions to either, with filters and links.
package reading

import (
	"log/slog"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// Options of a Reader. Store and Guard are required.
type Options struct {
	Store  eventstore.Store
	Guard  *access.Guard
	Logger *slog.Logger
}

// Reader answers reads. All methods may be called from many goroutines.
type Reader struct{ Options }

// New makes a reader; Close ends its subscriptions.
func New(o Options) *Reader { return &Reader{o} }

// Read is the handler of Streams.Read.
func (r *Reader) Read(req *streams.ReadReq, stream streams.Streams_ReadServer) error {
	return wire.Unhandled("reads are not served yet")
}

// Close ends all subscriptions with UNAVAILABLE.
func (r *Reader) Close() {}
