// Package reading answers Streams.Read: reads of streams and of the log both
// ways, and catch-up subscriptions to either, with filters and links.
//
// It promises what clients observe of EventStoreDB: only the messages that the
// kind of request allows, in the order of stream or log, without gap or repeat;
// a subscription is confirmed first, told when it has caught up, and when it
// turns out slow it goes back to the store and nobody else notices. It refuses
// shapes of requests that EventStoreDB refuses, and filters that cost too much.
// The server calls it for each request.
//
// request.go   which requests are allowed
// filter.go    which records of the log are wanted
// read.go      reads
// follow.go    subscriptions
// tail.go      the newest part of the log, shared by all subscriptions
// pages.go     how many read the store at once
// deliver.go   what is sent
// frame.go     events as they go over the wire
package reading

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// Options of a Reader. Store, Guard and HangUp are required.
type Options struct {
	Store  eventstore.Store
	Guard  *access.Guard
	Logger *slog.Logger
	// HangUp closes the connection of the call whose context it is given.
	HangUp func(context.Context)
}

// Reader answers reads. All methods may be called from many goroutines.
type Reader struct {
	Options
	tail  *tail
	pages *pages
}

// New makes a reader; Close ends its subscriptions.
func New(o Options) *Reader {
	return &Reader{Options: o, tail: newTail(o.Store), pages: newPages(o.HangUp)}
}

// Close ends all subscriptions with UNAVAILABLE. It does not wait for those
// whose clients do not read: they end with their connections.
func (r *Reader) Close() { r.tail.close() }

// Read is the handler of Streams.Read.
func (r *Reader) Read(req *streams.ReadReq, out streams.Streams_ReadServer) error {
	q, err := decode(req)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(out.Context())
	defer cancel()
	defer context.AfterFunc(r.tail.ctx, cancel)()
	a := &answer{Reader: r, request: q, ctx: ctx}
	a.out = sender{out, &a.sending}
	a.encoder.textIDs = q.textIDs
	if err := a.allowed(); err != nil {
		return err
	}
	switch {
	case q.subscription && q.stream == "":
		return a.followLog()
	case q.subscription:
		return a.followStream()
	case q.stream == "":
		return a.readLog()
	}
	return a.readStream()
}

// answer is one call of Read.
type answer struct {
	*Reader
	request
	ctx     context.Context // of the call; ends with the reader as well
	out     sender
	sending atomic.Int64 // see sender
	encoder encoder
}

func (a *answer) allowed() error { return a.Guard.Check(a.ctx, access.Read, a.source()) }

// failed is the answer when the store, or this reader, has ended.
func (a *answer) failed(err error) error {
	if a.tail.ctx.Err() != nil {
		return wire.Unavailable("Server Is Shutting Down")
	}
	return wire.OfStore(err, a.source())
}
