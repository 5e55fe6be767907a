package esdbserver_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// plain sends bytes as they are.
type plain struct{}

func (plain) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (plain) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}
func (plain) Name() string { return "proto" }

// Whatever bytes a client sends as messages of a call that writes, the call ends
// with a status that the protocol names, and no handler panics.
func FuzzWritingCalls(f *testing.F) {
	methods := []string{
		streams.Streams_Append_FullMethodName, streams.Streams_BatchAppend_FullMethodName,
		streams.Streams_Delete_FullMethodName, streams.Streams_Tombstone_FullMethodName,
	}
	encode := func(m proto.Message) []byte {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		return data
	}
	event := proposedMessage(proposed(named('a')))
	f.Add(byte(0), encode(optionsMessage(appendOptions("s", anyState))), encode(event), encode(event))
	f.Add(byte(0), encode(optionsMessage(appendOptions("$$s", 7))), encode(event), []byte{})
	chunk := &streams.BatchAppendReq{
		CorrelationId: text(uuid.Nil), Options: batchOptions("s", anyState),
		ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{batchMessage(named('b'))},
	}
	final := proto.Clone(chunk).(*streams.BatchAppendReq)
	final.IsFinal = true
	f.Add(byte(1), encode(chunk), encode(chunk), encode(final))
	f.Add(byte(1), encode(final), encode(final), encode(chunk))
	expected := &streams.DeleteReq{Options: &streams.DeleteReq_Options{
		StreamIdentifier: streamNamed("s"), ExpectedStreamRevision: &streams.DeleteReq_Options_Revision{Revision: 3},
	}}
	f.Add(byte(2), encode(expected), []byte{}, []byte{})
	f.Add(byte(3), encode(expected), []byte{}, []byte{})

	var logged loggedLines
	address := esdbservertest.Start(f, esdbserver.Options{Store: openStore(f), Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	conn := dial(f, address, grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
	allowed := map[codes.Code]bool{
		codes.OK: true, codes.Unknown: true, codes.InvalidArgument: true, codes.PermissionDenied: true,
		codes.FailedPrecondition: true,
		codes.Internal:           true, // what grpc answers to bytes that are no message
	}
	f.Fuzz(func(t *testing.T, method byte, a, b, c []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		name := methods[int(method)%len(methods)]
		call, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, name)
		if err != nil {
			t.Fatal(err)
		}
		messages := [][]byte{a, b, c}
		if name == streams.Streams_Delete_FullMethodName || name == streams.Streams_Tombstone_FullMethodName {
			messages = messages[:1]
		}
		for _, m := range messages {
			if err := call.SendMsg(m); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
		if err := call.CloseSend(); err != nil {
			t.Fatal(err)
		}
		answers := 0
		for ; ; answers++ {
			var answer []byte
			if err = call.RecvMsg(&answer); err != nil {
				break
			}
		}
		if err == io.EOF {
			err = nil
		}
		if s := status.Convert(err); !allowed[s.Code()] || s.Code() == codes.Internal && !strings.Contains(s.Message(), "unmarshal") {
			t.Errorf("%s ended with %v", name, err)
		}
		if answers > len(messages) {
			t.Errorf("%d answers to %d messages", answers, len(messages))
		}
		if strings.Contains(logged.String(), "panicked") {
			t.Fatal(logged.String())
		}
	})
}
