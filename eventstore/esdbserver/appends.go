package esdbserver

import (
	"context"
	"errors"
	"io"
	"math"
	"time"
	"unicode/utf8"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// What one append may cost before it reaches the store, which bounds the sum of
// its events itself (eventstore.MaxAppendSize).
const (
	maxEvents     = 1 << 16          // events of one append
	maxStreamName = 4096             // bytes
	maxDrained    = 64 << 20         // bytes that are read after an append was refused
	maxReceiving  = 30 * time.Second // from its beginning until its last message
)

// Append is the handler of Streams.Append.
//
// A refusal is answered when the client has sent everything: Go's client
// reports EOF instead of the reason when its call ends while it is sending.
func (s streamsService) Append(in streams.Streams_AppendServer) error {
	ctx := in.Context()
	call := &appendCall{guard: s.server.guard, proposal: proposal{held: &s.server.held}}
	received := make(chan error, 1)
	go func() {
		received <- s.server.contain("Append", func() error { return call.receive(ctx, in) })
	}()
	timer := time.NewTimer(s.server.maxReceiving)
	defer timer.Stop()
	select {
	case err := <-received:
		defer call.release()
		if err != nil {
			return err
		}
	case <-timer.C:
		defer call.abandon(received)
		return wire.TimedOut("the append was not complete after %v", s.server.maxReceiving)
	case <-s.server.closing:
		defer call.abandon(received)
		return shuttingDown()
	}
	out, err := s.server.append(ctx, call.proposal)
	resp, err := appendResponse(out, err, call.stream)
	if err != nil {
		return err
	}
	return in.SendAndClose(resp)
}

// appendCall is what one call of Append has sent.
type appendCall struct {
	guard *access.Guard
	proposal
}

// abandon releases the call when it has stopped receiving, which it does when its
// handler returns.
func (c *appendCall) abandon(received <-chan error) {
	go func() {
		<-received
		c.release()
	}()
}

// receive reads messages until the client has sent its last, and returns why
// the append is refused.
func (c *appendCall) receive(ctx context.Context, in streams.Streams_AppendServer) error {
	var refused error
	drained := 0
	for first := true; ; first = false {
		req, err := in.Recv()
		switch {
		case err == io.EOF && first:
			return wire.Unhandled("The append has no options.")
		case err == io.EOF && refused == nil:
			return c.complete()
		case err == io.EOF:
			return refused
		case err != nil:
			return err
		case refused != nil:
			m := req.GetProposedMessage()
			if drained += len(m.GetData()) + len(m.GetCustomMetadata()) + 1; drained > maxDrained {
				return refused
			}
		case first:
			refused = c.begin(ctx, req)
		default:
			refused = c.message(req)
		}
		if refused != nil {
			c.release()
		}
	}
}

func (c *appendCall) begin(ctx context.Context, req *streams.AppendReq) error {
	options := req.GetOptions()
	if options == nil {
		return wire.Unhandled("The first message of an append must be its options.")
	}
	c.stream = string(options.GetStreamIdentifier().GetStreamName())
	switch e := options.GetExpectedStreamRevision().(type) {
	case *streams.AppendReq_Options_Revision:
		c.atRevision(e.Revision)
	case *streams.AppendReq_Options_NoStream:
		c.expected = eventstore.NoStream
	case *streams.AppendReq_Options_Any:
		c.expected = eventstore.Any
	case *streams.AppendReq_Options_StreamExists:
		c.expected = eventstore.StreamExists
	default:
		return wire.BadRequest("The expected stream revision is missing.")
	}
	return c.guard.Check(ctx, access.Write, c.stream)
}

func (c *appendCall) message(req *streams.AppendReq) error {
	m := req.GetProposedMessage()
	if m == nil {
		return wire.Unhandled("Only proposed messages may follow the options of an append.")
	}
	err := c.add(m)
	switch {
	case errors.Is(err, eventstore.ErrTooLarge):
		return wire.AppendTooLarge()
	case errors.Is(err, eventstore.ErrOverloaded):
		return wire.OfStore(err, c.stream)
	}
	return err
}

// proposal is an append that is being received.
type proposal struct {
	stream   string
	expected eventstore.Expected
	// outOfRange: the expected revision is none that a stream can have.
	outOfRange bool
	events     []eventstore.Event
	size       int
	// held is what all appends of the server hold, and cost this one's part of it.
	held *held
	cost int64
}

// release gives back what the proposal holds.
func (p *proposal) release() {
	if p.cost > 0 {
		p.held.give(p.cost)
	}
	p.events, p.cost = nil, 0
}

// atRevision reads a revision on the wire, where the largest number stands for
// NoStream.
func (p *proposal) atRevision(revision uint64) {
	p.expected = eventstore.Expected(revision)
	p.outOfRange = revision > math.MaxInt64 && revision != math.MaxUint64
}

// proposedMessage is the same in Append and BatchAppend.
type proposedMessage interface {
	GetId() *shared.UUID
	GetMetadata() map[string]string
	GetCustomMetadata() []byte
	GetData() []byte
}

// add checks a message and keeps it as an event. It fails with a refusal, with
// eventstore.ErrTooLarge, or with ErrOverloaded when all appends together hold
// too much.
func (p *proposal) add(m proposedMessage) error {
	metadata := m.GetMetadata()
	for _, key := range [...]string{wire.KeyType, wire.KeyContentType} {
		if _, ok := metadata[key]; !ok {
			return wire.MissingMetadata(key)
		}
	}
	e := eventstore.Event{
		Type:     metadata[wire.KeyType],
		JSON:     metadata[wire.KeyContentType] == wire.ContentJSON,
		Data:     m.GetData(),
		Metadata: m.GetCustomMetadata(),
	}
	size := p.size + eventstore.AppendSize([]eventstore.Event{e})
	if size > eventstore.MaxAppendSize {
		return eventstore.ErrTooLarge
	}
	if len(p.events) == maxEvents {
		return wire.BadRequest("An append has at most %d events.", maxEvents)
	}
	id, err := wire.ParseUUID(m.GetId())
	switch {
	case err != nil:
		return wire.Unhandled("The id of an event is wrong: %v.", err)
	case id == uuid.Nil:
		return wire.Unhandled("The id of an event is empty.")
	case e.Type == "":
		return wire.Unhandled("The type of an event is empty.")
	}
	cost := int64(size - p.size + eventCost)
	if !p.held.take(cost) {
		return eventstore.ErrOverloaded
	}
	e.ID = id
	p.events, p.size, p.cost = append(p.events, e), size, p.cost+cost
	return nil
}

// complete checks what is looked at when all events are there.
func (p *proposal) complete() error {
	if err := checkName(p.stream); err != nil {
		return err
	}
	if p.outOfRange {
		return wire.Unhandled("The expected revision is out of range.")
	}
	return nil
}

// checkName refuses what cannot be the name of a stream.
func checkName(stream string) error {
	const meta = "$$"
	switch {
	case stream == "", stream == meta, stream == wire.All, len(stream) > 4 && stream[:4] == meta+meta:
		return wire.Unhandled("%.60q is not the name of a stream.", stream)
	case len(stream) > maxStreamName:
		return wire.Unhandled("The name of a stream has at most %d bytes.", maxStreamName)
	case !utf8.ValidString(stream):
		return wire.Unhandled("The name of a stream is not UTF-8.")
	}
	return nil
}

// append hands a proposal that was found complete to the store.
func (s *Server) append(ctx context.Context, p proposal) (eventstore.Appended, error) {
	out, err := s.options.Store.Append(ctx, p.stream, p.expected, p.events)
	s.guard.Written(p.stream)
	return out, err
}

// appendResponse is the answer to an append that reached the store.
func appendResponse(out eventstore.Appended, err error, stream string) (*streams.AppendResp, error) {
	var conflict *eventstore.ConflictError
	switch {
	case errors.As(err, &conflict):
		return &streams.AppendResp{Result: &streams.AppendResp_WrongExpectedVersion_{WrongExpectedVersion: wrongExpectedVersion(conflict)}}, nil
	case err != nil:
		return nil, wire.OfStore(err, stream)
	}
	success := &streams.AppendResp_Success{}
	if out.Revision < 0 {
		success.CurrentRevisionOption = &streams.AppendResp_Success_NoStream{NoStream: &shared.Empty{}}
	} else {
		success.CurrentRevisionOption = &streams.AppendResp_Success_CurrentRevision{CurrentRevision: uint64(out.Revision)}
	}
	if out.Position == eventstore.Start {
		success.PositionOption = &streams.AppendResp_Success_NoPosition{NoPosition: &shared.Empty{}}
	} else {
		success.PositionOption = &streams.AppendResp_Success_Position{Position: &streams.AppendResp_Position{
			CommitPosition: out.Position.Commit, PreparePosition: out.Position.Prepare,
		}}
	}
	return &streams.AppendResp{Result: &streams.AppendResp_Success_{Success: success}}, nil
}

// wrongExpectedVersion tells everything twice, in the fields of today and in
// those of version 20.6.
func wrongExpectedVersion(c *eventstore.ConflictError) *streams.AppendResp_WrongExpectedVersion {
	out := &streams.AppendResp_WrongExpectedVersion{}
	switch none := (&shared.Empty{}); c.Expected {
	case eventstore.Any:
		out.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedAny{ExpectedAny: none}
		out.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_Any_20_6_0{Any_20_6_0: none}
	case eventstore.StreamExists:
		out.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: none}
		out.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_StreamExists_20_6_0{StreamExists_20_6_0: none}
	case eventstore.NoStream:
		out.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: none}
		out.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{ExpectedRevision_20_6_0: math.MaxUint64}
	default:
		out.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision{ExpectedRevision: uint64(c.Expected)}
		out.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{ExpectedRevision_20_6_0: uint64(c.Expected)}
	}
	if c.Current < 0 {
		none := &shared.Empty{}
		out.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentNoStream{CurrentNoStream: none}
		out.CurrentRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_NoStream_20_6_0{NoStream_20_6_0: none}
	} else {
		out.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentRevision{CurrentRevision: uint64(c.Current)}
		out.CurrentRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_CurrentRevision_20_6_0{CurrentRevision_20_6_0: uint64(c.Current)}
	}
	return out
}
