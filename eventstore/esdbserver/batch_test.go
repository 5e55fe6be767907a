package esdbserver_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

func batchMessages(n int) (out []*streams.BatchAppendReq_ProposedMessage) {
	for range n {
		out = append(out, batchMessage(uuid.New()))
	}
	return out
}

func bigMessage(bytes int) *streams.BatchAppendReq_ProposedMessage {
	m := batchMessage(uuid.New())
	m.Data = make([]byte, bytes)
	return m
}

func TestBatchAppendInChunks(t *testing.T) {
	store, conn := served(t)
	for _, correlation := range []*shared.UUID{text(uuid.New()), structured(uuid.New())} {
		stream := uuid.NewString()
		call := openBatch(t, conn)
		send(t, call, &streams.BatchAppendReq{CorrelationId: correlation, Options: batchOptions(stream, none), ProposedMessages: batchMessages(2)})
		send(t, call, &streams.BatchAppendReq{CorrelationId: correlation, ProposedMessages: batchMessages(3)})
		// Options that are repeated say nothing.
		send(t, call, &streams.BatchAppendReq{CorrelationId: correlation, Options: batchOptions("another", exists), ProposedMessages: batchMessages(1)})
		send(t, call, &streams.BatchAppendReq{CorrelationId: correlation, IsFinal: true})
		resp := recv(t, call)
		if !proto.Equal(resp.CorrelationId, correlation) || string(resp.StreamIdentifier.GetStreamName()) != stream {
			t.Errorf("answered to %v on %v", resp.CorrelationId, resp.StreamIdentifier)
		}
		if s := resp.GetSuccess(); s.GetCurrentRevision() != 5 || s.GetPosition().GetCommitPosition() == 0 {
			t.Errorf("got %v", resp)
		}
		endBatch(t, call)
		if got := visible(t, store, stream); got != "[0 1 2 3 4 5]" {
			t.Errorf("written are %s", got)
		}
	}
}

// What is wrong with one append is answered to it alone, once, whatever still
// comes of it; the call goes on.
func TestBatchAppendAnswersEachOnce(t *testing.T) {
	store, conn := served(t)
	options := func(stream string, change func(*streams.BatchAppendReq_Options)) *streams.BatchAppendReq_Options {
		o := batchOptions(stream, anyState)
		if change != nil {
			change(o)
		}
		return o
	}
	typeless := batchMessage(uuid.New())
	delete(typeless.Metadata, "type")
	tombstone(t, store, "ended")
	for name, c := range map[string]struct {
		options  *streams.BatchAppendReq_Options
		messages []*streams.BatchAppendReq_ProposedMessage
		code     codes.Code
		message  string
		detail   proto.Message
	}{
		"conflict":     {batchOptions("missing", exists), batchMessages(1), 6, "WrongExpectedVersion", &shared.WrongExpectedVersion{}},
		"tombstoned":   {options("ended", nil), batchMessages(1), 5, "StreamDeleted", &shared.StreamDeleted{StreamIdentifier: streamNamed("ended")}},
		"denied":       {options("$all", nil), batchMessages(1), 7, "AccessDenied", &shared.AccessDenied{}},
		"too large":    {options("s", nil), []*streams.BatchAppendReq_ProposedMessage{bigMessage(eventstore.MaxAppendSize)}, 3, "MaximumAppendSizeExceeded", &shared.MaximumAppendSizeExceeded{MaxAppendSize: 1048576}},
		"no type":      {options("s", nil), []*streams.BatchAppendReq_ProposedMessage{typeless}, 3, "BadRequest", &shared.BadRequest{}},
		"no id":        {options("s", nil), []*streams.BatchAppendReq_ProposedMessage{batchMessage(uuid.Nil)}, 3, "BadRequest", &shared.BadRequest{}},
		"no name":      {options("", nil), batchMessages(1), 3, "BadRequest", &shared.BadRequest{}},
		"no revision":  {options("s", func(o *streams.BatchAppendReq_Options) { o.ExpectedStreamPosition = nil }), batchMessages(1), 3, "BadRequest", &shared.BadRequest{}},
		"out of range": {batchOptions("s", -9), batchMessages(1), 3, "BadRequest", &shared.BadRequest{}},
		"deadline over": {options("s", func(o *streams.BatchAppendReq_Options) {
			o.DeadlineOption = &streams.BatchAppendReq_Options_Deadline{Deadline: durationpb.New(0)}
		}), batchMessages(1), 4, "Timeout", &shared.Timeout{}},
		"deadline over, 21.10": {options("s", func(o *streams.BatchAppendReq_Options) {
			o.DeadlineOption = &streams.BatchAppendReq_Options_Deadline_21_10_0{Deadline_21_10_0: timestamppb.New(time.Now().Add(-time.Second))}
		}), batchMessages(1), 4, "Timeout", &shared.Timeout{}},
	} {
		t.Run(name, func(t *testing.T) {
			before := events(t, store)
			call := openBatch(t, conn)
			correlation := text(uuid.New())
			send(t, call, &streams.BatchAppendReq{CorrelationId: correlation, Options: c.options, ProposedMessages: c.messages})
			for range 3 {
				send(t, call, &streams.BatchAppendReq{CorrelationId: correlation, Options: batchOptions("s", anyState), ProposedMessages: batchMessages(1)})
			}
			send(t, call, &streams.BatchAppendReq{CorrelationId: correlation, Options: batchOptions("s", anyState), ProposedMessages: batchMessages(1), IsFinal: true})
			resp := recv(t, call)
			got := detail(t, resp)
			if e := resp.GetError(); e.Code != int32(c.code) || e.Message != c.message || fmt.Sprintf("%T", got) != fmt.Sprintf("%T", c.detail) {
				t.Errorf("got %v, want %v %s", resp, c.code, c.message)
			}
			switch c.detail.(type) {
			case *shared.MaximumAppendSizeExceeded, *shared.StreamDeleted:
				if !proto.Equal(got.(proto.Message), c.detail) {
					t.Errorf("got %v, want %v", got, c.detail)
				}
			case *shared.BadRequest:
				if got.(*shared.BadRequest).Message == "" {
					t.Error("no text says what is wrong")
				}
			}
			if !proto.Equal(resp.CorrelationId, correlation) || resp.StreamIdentifier == nil {
				t.Errorf("answered to %v on %v", resp.CorrelationId, resp.StreamIdentifier)
			}
			// The call still works, and nothing else is answered to the one refused.
			next := structured(uuid.New())
			send(t, call, &streams.BatchAppendReq{CorrelationId: next, Options: batchOptions(uuid.NewString(), none), ProposedMessages: batchMessages(1), IsFinal: true})
			if resp := recv(t, call); resp.GetSuccess() == nil || !proto.Equal(resp.CorrelationId, next) {
				t.Errorf("the next append: %v", resp)
			}
			endBatch(t, call)
			if n := events(t, store) - before; n != 1 {
				t.Errorf("%d events were written", n)
			}
		})
	}
}

func TestBatchAppendWithFarDeadlines(t *testing.T) {
	_, conn := served(t)
	call := openBatch(t, conn)
	python, node := batchOptions(uuid.NewString(), none), batchOptions(uuid.NewString(), none)
	python.DeadlineOption = &streams.BatchAppendReq_Options_Deadline{Deadline: &durationpb.Duration{Seconds: 315576000000}}
	node.DeadlineOption = &streams.BatchAppendReq_Options_Deadline_21_10_0{Deadline_21_10_0: timestamppb.New(time.Now().Add(time.Minute))}
	for _, o := range []*streams.BatchAppendReq_Options{python, node} {
		send(t, call, &streams.BatchAppendReq{CorrelationId: text(uuid.New()), Options: o, ProposedMessages: batchMessages(1), IsFinal: true})
		if resp := recv(t, call); resp.GetSuccess() == nil {
			t.Error(resp)
		}
	}
	endBatch(t, call)
}

// An append whose final chunk does not come is answered once, in the structured
// form, and its events are dropped.
func TestBatchAppendThatIsNotCompleted(t *testing.T) {
	store, conn := served(t)
	for name, deadline := range map[string]*streams.BatchAppendReq_Options_Deadline{
		"own":     {Deadline: durationpb.New(20 * time.Millisecond)},
		"default": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := uuid.New()
			o := batchOptions("s", anyState)
			if deadline != nil {
				o.DeadlineOption = deadline
			}
			call := openBatch(t, conn)
			send(t, call, &streams.BatchAppendReq{CorrelationId: text(id), Options: o, ProposedMessages: batchMessages(1)})
			resp := recv(t, call)
			if _, ok := detail(t, resp).(*shared.Timeout); !ok || !proto.Equal(resp.CorrelationId, structured(id)) {
				t.Errorf("got %v", resp)
			}
			// Now nobody knows the id: without options it is ignored.
			send(t, call, &streams.BatchAppendReq{CorrelationId: text(id), ProposedMessages: batchMessages(1), IsFinal: true})
			endBatch(t, call)
			if got := visible(t, store, "s"); got != "not found" {
				t.Errorf("written are %s", got)
			}
		})
	}
}

func TestBatchAppendEndsWithAWrongChunk(t *testing.T) {
	_, conn := served(t)
	typeless := batchMessage(uuid.New())
	delete(typeless.Metadata, "type")
	id := text(uuid.New())
	for name, c := range map[string]struct {
		chunks []*streams.BatchAppendReq
		want   codes.Code
	}{
		"a chunk without options": {[]*streams.BatchAppendReq{
			{CorrelationId: id, Options: batchOptions("s", anyState)},
			{CorrelationId: id, ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{typeless}},
		}, codes.InvalidArgument},
		"no correlation id": {[]*streams.BatchAppendReq{{Options: batchOptions("s", anyState)}}, codes.InvalidArgument},
	} {
		call := openBatch(t, conn)
		for _, chunk := range c.chunks {
			send(t, call, chunk)
		}
		if resp, err := call.Recv(); status.Code(err) != c.want {
			t.Errorf("%s: %v %v, want %v", name, resp, err, c.want)
		}
	}
	// Without options and never heard of: ignored.
	call := openBatch(t, conn)
	send(t, call, &streams.BatchAppendReq{CorrelationId: id, ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{typeless}, IsFinal: true})
	endBatch(t, call)
}

// Responses come as appends are done; the appends to one stream are done in
// turn.
func TestBatchAppendManyAtOnce(t *testing.T) {
	store, conn := served(t)
	call := openBatch(t, conn)
	const appends, streamsOf = 600, 7
	go func() {
		for i := range appends {
			o := batchOptions(fmt.Sprintf("s-%d", i%streamsOf), eventstore.Expected(i/streamsOf-1))
			if call.Send(&streams.BatchAppendReq{CorrelationId: structured(numbered(i)), Options: o, ProposedMessages: batchMessages(1), IsFinal: true}) != nil {
				return
			}
		}
		call.CloseSend()
	}()
	answered := map[string]bool{}
	for {
		resp, err := call.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if resp.GetSuccess() == nil {
			t.Fatalf("got %v", resp)
		}
		answered[resp.CorrelationId.String()] = true
	}
	if len(answered) != appends || events(t, store) < appends {
		t.Errorf("%d answered, %d written", len(answered), events(t, store))
	}
}

func numbered(i int) (id uuid.UUID) {
	copy(id[:], fmt.Sprintf("number %09d", i))
	return id
}

// What a call may hold is bounded: appends that are never completed, and
// answers that nobody reads.
func TestBatchAppendIsBounded(t *testing.T) {
	_, conn := served(t)
	t.Run("appends without end", func(t *testing.T) {
		call := openBatch(t, conn)
		go func() {
			for call.Send(&streams.BatchAppendReq{CorrelationId: structured(uuid.New()), Options: batchOptions("s", anyState)}) == nil {
			}
		}()
		for {
			_, err := call.Recv()
			if err == nil {
				continue // one that was given up after its time
			}
			if status.Code(err) != codes.Unavailable {
				t.Error(err)
			}
			return
		}
	})
	t.Run("bytes without end", func(t *testing.T) {
		call := openBatch(t, conn)
		go func() {
			for range 20 {
				if call.Send(&streams.BatchAppendReq{
					CorrelationId: structured(uuid.New()), Options: batchOptions("s", anyState),
					ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{bigMessage(1 << 19), bigMessage(1 << 18), bigMessage(1 << 17), bigMessage(1 << 16)},
				}) != nil {
					return
				}
			}
		}()
		for {
			resp := recv(t, call)
			if _, ok := detail(t, resp).(*emptypb.Empty); ok && resp.GetError().Code == 0 && strings.Contains(resp.GetError().Message, "Busy") {
				return
			}
		}
	})
	t.Run("answers that nobody reads", func(t *testing.T) {
		call := openBatch(t, conn)
		var sent atomic.Int64
		go func() {
			for call.Send(&streams.BatchAppendReq{
				CorrelationId: structured(uuid.New()), Options: batchOptions("s", -9), IsFinal: true,
				ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{bigMessage(1 << 10)},
			}) == nil {
				sent.Add(1)
			}
		}()
		// What is answered fits no window: the server reads no more.
		for before, same := int64(-1), 0; same < 20; {
			<-time.After(20 * time.Millisecond)
			if now := sent.Load(); now == before && now > 0 {
				same++
			} else {
				before, same = now, 0
			}
			if before > 1e6 {
				t.Fatalf("%d appends were taken without an answer being read", before)
			}
		}
		if resp := recv(t, call); resp.GetError() == nil {
			t.Errorf("got %v", resp)
		}
	})
}

// Must-honour 5 with two calls at once: answers go to the call that asked.
func TestBatchAppendCallsAreApart(t *testing.T) {
	conn := dial(t, esdbservertest.Start(t, esdbserver.Options{Store: openStore(t)}))
	one, two := openBatch(t, conn), openBatch(t, conn)
	same := text(uuid.New())
	for i, call := range []streams.Streams_BatchAppendClient{one, two} {
		send(t, call, &streams.BatchAppendReq{CorrelationId: same, Options: batchOptions(fmt.Sprint("s", i), none), ProposedMessages: batchMessages(i + 1)})
	}
	var revisions []uint64
	for _, call := range []streams.Streams_BatchAppendClient{two, one} {
		send(t, call, &streams.BatchAppendReq{CorrelationId: same, IsFinal: true})
		revisions = append(revisions, recv(t, call).GetSuccess().GetCurrentRevision())
		endBatch(t, call)
	}
	if !slices.Equal(revisions, []uint64{1, 0}) {
		t.Errorf("revisions %v", revisions)
	}
}
