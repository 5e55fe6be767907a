package esdbserver

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// What one call of BatchAppend may hold.
const (
	maxPending      = 1024             // appends whose final chunk is not there
	maxPendingBytes = 16 << 20         // of events of all of them
	maxInFlight     = 256              // appends that the store has; no more is received
	maxFlightBytes  = 16 << 20         // of their events; likewise
	maxChunkWait    = 2 * time.Second  // from the first chunk of an append until its final one
	maxBatchWrite   = 30 * time.Second // from then until the store has answered
)

// BatchAppend is the handler of Streams.BatchAppend: any number of appends,
// each in chunks that carry its correlation id. An append gets one response, and
// those to different streams in the order in which they are done. Appends to
// one stream are done in the order of their final chunks.
func (s streamsService) BatchAppend(in streams.Streams_BatchAppendServer) error {
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	call := &batchCall{
		server: s.server, ctx: ctx, out: in,
		pending:  map[uuid.UUID]*batch{},
		expired:  make(chan *batch),
		answered: make(chan batchAnswer, maxInFlight),
		last:     map[string]chan struct{}{},
	}
	defer call.abandon()
	return call.run(receive(ctx, in))
}

type received struct {
	req *streams.BatchAppendReq
	err error
}

// receive hands over what the client sends until its call ends.
func receive(ctx context.Context, in streams.Streams_BatchAppendServer) <-chan received {
	out := make(chan received)
	go func() {
		for {
			req, err := in.Recv()
			select {
			case out <- received{req, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// batchCall is one call. Its fields belong to the goroutine of run.
type batchCall struct {
	server *Server
	ctx    context.Context
	out    streams.Streams_BatchAppendServer

	pending      map[uuid.UUID]*batch
	pendingBytes int
	expired      chan *batch

	inFlight    int
	flightBytes int
	answered    chan batchAnswer
	// last is closed when the store has answered the last append to a stream.
	last map[string]chan struct{}
}

// batch is an append that is being received.
type batch struct {
	proposal
	correlation *shared.UUID // as it was received
	id          uuid.UUID
	deadline    time.Time // of the write; zero: none was asked for
	timer       *time.Timer
	// refused: it was answered, and what still comes of it is ignored.
	refused bool
}

// batchAnswer is what the store said.
type batchAnswer struct {
	*batch
	out  eventstore.Appended
	err  error
	done chan struct{} // of the append
}

func (c *batchCall) run(requests <-chan received) error {
	closing := c.server.closing
	var end error
	for {
		from := requests
		if end != nil || c.inFlight == maxInFlight || c.flightBytes >= maxFlightBytes {
			from = nil
		}
		if end != nil && c.inFlight == 0 {
			if end == io.EOF {
				return nil
			}
			return end
		}
		var err error
		select {
		case r := <-from:
			if r.err != nil && r.err != io.EOF {
				return r.err // the client is gone
			}
			if end = r.err; end == nil {
				err = c.chunk(r.req)
			}
		case b := <-c.expired:
			err = c.expire(b)
		case a := <-c.answered:
			err = c.answer(a)
		case <-closing:
			if closing = nil; end == nil {
				end = shuttingDown()
			}
		case <-c.ctx.Done():
			return wire.OfStore(c.ctx.Err(), "")
		}
		if err != nil {
			return err
		}
	}
}

// chunk takes one message. An error ends the whole call.
func (c *batchCall) chunk(req *streams.BatchAppendReq) error {
	id, err := wire.ParseUUID(req.GetCorrelationId())
	if err != nil {
		return wire.BadRequest("The correlation id is wrong: %v.", err)
	}
	b, known := c.pending[id]
	if !known {
		if req.GetOptions() == nil {
			return nil
		}
		if len(c.pending) == maxPending {
			return wire.Unavailable("Server Is Too Busy: too many appends lack their final chunk")
		}
		b = &batch{id: id, correlation: req.GetCorrelationId(), proposal: proposal{held: &c.server.held}}
		c.begin(b)
		if err := c.open(b, req.GetOptions()); err != nil {
			return err
		}
	}
	if err := c.take(b, req); err != nil {
		return err
	}
	if req.GetIsFinal() {
		c.forget(b)
		if !b.refused {
			c.write(b)
		}
	}
	return nil
}

// begin keeps b until its final chunk is there or does not come.
func (c *batchCall) begin(b *batch) {
	c.pending[b.id] = b
	b.timer = time.AfterFunc(maxChunkWait, func() {
		select {
		case c.expired <- b:
		case <-c.ctx.Done():
		}
	})
}

func (c *batchCall) forget(b *batch) {
	b.timer.Stop()
	delete(c.pending, b.id)
	c.pendingBytes -= b.size
}

// abandon gives up what is pending when the call ends.
func (c *batchCall) abandon() {
	for _, b := range c.pending {
		b.timer.Stop()
		b.release()
	}
}

// open reads the options of a new append.
func (c *batchCall) open(b *batch, options *streams.BatchAppendReq_Options) error {
	b.stream = string(options.GetStreamIdentifier().GetStreamName())
	missing := false
	switch e := options.GetExpectedStreamPosition().(type) {
	case *streams.BatchAppendReq_Options_StreamPosition:
		b.atRevision(e.StreamPosition)
	case *streams.BatchAppendReq_Options_NoStream:
		b.expected = eventstore.NoStream
	case *streams.BatchAppendReq_Options_Any:
		b.expected = eventstore.Any
	case *streams.BatchAppendReq_Options_StreamExists:
		b.expected = eventstore.StreamExists
	default:
		missing = true
	}
	if err := c.server.guard.Check(c.ctx, access.Write, b.stream); err != nil {
		return c.refuse(b, batchFailure(b, err))
	}
	if err := b.complete(); err != nil {
		return c.refuse(b, badRequest(err))
	}
	if missing {
		return c.refuse(b, badRequest(errors.New("the expected stream position is missing")))
	}
	wait, asked := requestedWait(options)
	if asked && wait <= 0 {
		return c.refuse(b, timedOut())
	}
	if asked {
		b.deadline = time.Now().Add(wait)
		b.timer.Reset(min(wait, maxChunkWait))
	}
	return nil
}

// requestedWait is how long the client waits for an append.
func requestedWait(options *streams.BatchAppendReq_Options) (wait time.Duration, asked bool) {
	switch d := options.GetDeadlineOption().(type) {
	case *streams.BatchAppendReq_Options_Deadline_21_10_0:
		return time.Until(d.Deadline_21_10_0.AsTime()), true
	case *streams.BatchAppendReq_Options_Deadline:
		return d.Deadline.AsDuration(), true
	}
	return 0, false
}

// take keeps the events of a chunk. What is wrong in a chunk without options
// ends the call.
func (c *batchCall) take(b *batch, req *streams.BatchAppendReq) error {
	if b.refused {
		return nil
	}
	for _, m := range req.GetProposedMessages() {
		before := b.size
		err := b.add(m)
		switch {
		case err == nil:
			if c.pendingBytes += b.size - before; c.pendingBytes > maxPendingBytes {
				return c.refuse(b, busy())
			}
		case errors.Is(err, eventstore.ErrTooLarge):
			return c.refuse(b, appendTooLarge())
		case errors.Is(err, eventstore.ErrOverloaded):
			return c.refuse(b, busy())
		case req.GetOptions() == nil:
			return err
		default:
			return c.refuse(b, badRequest(err))
		}
	}
	return nil
}

// refuse answers b for good. It stays known until its final chunk or its time
// is over, so that nothing that follows is taken for a new append.
func (c *batchCall) refuse(b *batch, failure batchError) error {
	c.pendingBytes -= b.size
	b.release()
	b.refused, b.size = true, 0
	return c.out.Send(b.failed(failure))
}

// expire answers b when its final chunk did not come in time.
func (c *batchCall) expire(b *batch) error {
	if c.pending[b.id] != b {
		return nil // it came just now
	}
	c.forget(b)
	b.release()
	if b.refused {
		return nil
	}
	b.correlation = wire.UUID(b.id, false)
	return c.out.Send(b.failed(timedOut()))
}

// write hands b to the store, after the append to the same stream before it.
func (c *batchCall) write(b *batch) {
	c.inFlight++
	c.flightBytes += b.size
	before, done := c.last[b.stream], make(chan struct{})
	c.last[b.stream] = done
	go func() {
		defer close(done)
		a := batchAnswer{batch: b, done: done}
		defer func() { c.answered <- a }() // there is room for every append in flight
		ctx, cancel := context.WithTimeout(c.ctx, maxBatchWrite)
		defer cancel()
		if !b.deadline.IsZero() {
			ctx, cancel = context.WithDeadline(ctx, b.deadline)
			defer cancel()
		}
		if before != nil {
			<-before
		}
		defer b.release()
		a.err = c.server.contain("BatchAppend", func() (err error) {
			a.out, err = c.server.append(ctx, b.proposal)
			return err
		})
	}()
}

func (c *batchCall) answer(a batchAnswer) error {
	c.inFlight--
	c.flightBytes -= a.size
	if c.last[a.stream] == a.done {
		delete(c.last, a.stream)
	}
	if a.err != nil {
		return c.out.Send(a.failed(batchFailure(a.batch, a.err)))
	}
	return c.out.Send(a.succeeded(a.out))
}
