package esdbserver_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

func openStore(t testing.TB) eventstore.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// code is that of a client's error, -1 for none.
func code(err error) esdb.ErrorCode {
	var e *esdb.Error
	if !errors.As(err, &e) {
		return -1
	}
	return e.Code()
}

// dial connects without the client, for what it cannot say.
func dial(t testing.TB, address string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	options = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, options...)
	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// served is an insecure server with its store.
func served(t testing.TB) (eventstore.Store, *grpc.ClientConn) {
	t.Helper()
	store := openStore(t)
	return store, dial(t, esdbservertest.Start(t, esdbserver.Options{Store: store}))
}

// patiently bounds what waits for a server; the busiest machine is faster.
func patiently(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// named is the id that stands for a letter.
func named(letter rune) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceOID, []byte(string(letter))) }

func structured(id uuid.UUID) *shared.UUID {
	u := uuid.UUID(id)
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
		MostSignificantBits: bits(u[:8]), LeastSignificantBits: bits(u[8:]),
	}}}
}

func bits(b []byte) (n int64) {
	for _, x := range b {
		n = n<<8 | int64(x)
	}
	return n
}

func text(id uuid.UUID) *shared.UUID {
	return &shared.UUID{Value: &shared.UUID_String_{String_: id.String()}}
}

func streamNamed(name string) *shared.StreamIdentifier {
	return &shared.StreamIdentifier{StreamName: []byte(name)}
}

func appendOptions(stream string, expected eventstore.Expected) *streams.AppendReq_Options {
	o := &streams.AppendReq_Options{StreamIdentifier: streamNamed(stream)}
	switch expected {
	case eventstore.NoStream:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_NoStream{NoStream: &shared.Empty{}}
	case eventstore.Any:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Any{Any: &shared.Empty{}}
	case eventstore.StreamExists:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_StreamExists{StreamExists: &shared.Empty{}}
	default:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: uint64(expected)}
	}
	return o
}

func optionsMessage(o *streams.AppendReq_Options) *streams.AppendReq {
	return &streams.AppendReq{Content: &streams.AppendReq_Options_{Options: o}}
}

func proposed(id uuid.UUID) *streams.AppendReq_ProposedMessage {
	return &streams.AppendReq_ProposedMessage{
		Id: structured(id), Data: []byte(`{"a":1}`),
		Metadata: map[string]string{"type": "Something", "content-type": "application/json"},
	}
}

func proposedMessage(m *streams.AppendReq_ProposedMessage) *streams.AppendReq {
	return &streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: m}}
}

// appendRaw sends messages as they are and half-closes.
func appendRaw(ctx context.Context, conn *grpc.ClientConn, messages ...*streams.AppendReq) (*streams.AppendResp, metadata.MD, error) {
	var trailer metadata.MD
	call, err := streams.NewStreamsClient(conn).Append(ctx, grpc.Trailer(&trailer))
	if err != nil {
		return nil, nil, err
	}
	for _, m := range messages {
		if err := call.Send(m); err != nil {
			if err != io.EOF {
				return nil, nil, err
			}
			break
		}
	}
	resp, err := call.CloseAndRecv()
	return resp, trailer, err
}

// outcome is the answer to an append or a delete in a few words: "ok 3",
// "ok none", "wev 5", "wev none", "deleted", each with ", no position" where it
// is an ok without one.
type outcome string

func ok(none bool, revision uint64, position bool) outcome {
	out := fmt.Sprintf("ok %d", revision)
	if none {
		out = "ok none"
	}
	if !position {
		out += ", no position"
	}
	return outcome(out)
}

func wev(none bool, revision uint64) outcome {
	if none {
		return "wev none"
	}
	return outcome(fmt.Sprintf("wev %d", revision))
}

// append is one of the two ways to append.
type appender func(t *testing.T, conn *grpc.ClientConn, stream string, expected eventstore.Expected, letters string) outcome

func unaryAppend(t *testing.T, conn *grpc.ClientConn, stream string, expected eventstore.Expected, letters string) outcome {
	t.Helper()
	messages := []*streams.AppendReq{optionsMessage(appendOptions(stream, expected))}
	for _, letter := range letters {
		messages = append(messages, proposedMessage(proposed(named(letter))))
	}
	resp, trailer, err := appendRaw(patiently(t), conn, messages...)
	if err != nil {
		return refused(t, stream, err, trailer)
	}
	switch r := resp.Result.(type) {
	case *streams.AppendResp_Success_:
		_, none := r.Success.CurrentRevisionOption.(*streams.AppendResp_Success_NoStream)
		_, position := r.Success.PositionOption.(*streams.AppendResp_Success_Position)
		if p := r.Success.GetPosition(); p.GetCommitPosition() != p.GetPreparePosition() {
			t.Errorf("commit and prepare differ: %v", p)
		}
		return ok(none, r.Success.GetCurrentRevision(), position)
	case *streams.AppendResp_WrongExpectedVersion_:
		w := r.WrongExpectedVersion
		_, none := w.CurrentRevisionOption.(*streams.AppendResp_WrongExpectedVersion_CurrentNoStream)
		checkTwins(t, w, expected)
		return wev(none, w.GetCurrentRevision())
	}
	t.Fatalf("neither success nor conflict: %v", resp)
	return ""
}

// checkTwins wants every fact of a conflict twice.
func checkTwins(t *testing.T, w *streams.AppendResp_WrongExpectedVersion, expected eventstore.Expected) {
	t.Helper()
	_, none := w.CurrentRevisionOption.(*streams.AppendResp_WrongExpectedVersion_CurrentNoStream)
	_, noneOld := w.CurrentRevisionOption_20_6_0.(*streams.AppendResp_WrongExpectedVersion_NoStream_20_6_0)
	same := none == noneOld && w.GetCurrentRevision() == w.GetCurrentRevision_20_6_0() && w.CurrentRevisionOption_20_6_0 != nil
	switch e := w.ExpectedRevisionOption.(type) {
	case *streams.AppendResp_WrongExpectedVersion_ExpectedAny:
		_, old := w.ExpectedRevisionOption_20_6_0.(*streams.AppendResp_WrongExpectedVersion_Any_20_6_0)
		same = same && old && expected == eventstore.Any
	case *streams.AppendResp_WrongExpectedVersion_ExpectedStreamExists:
		_, old := w.ExpectedRevisionOption_20_6_0.(*streams.AppendResp_WrongExpectedVersion_StreamExists_20_6_0)
		same = same && old && expected == eventstore.StreamExists
	case *streams.AppendResp_WrongExpectedVersion_ExpectedNoStream:
		same = same && w.GetExpectedRevision_20_6_0() == math.MaxUint64 && expected == eventstore.NoStream
	case *streams.AppendResp_WrongExpectedVersion_ExpectedRevision:
		_, old := w.ExpectedRevisionOption_20_6_0.(*streams.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0)
		same = same && old && w.GetExpectedRevision_20_6_0() == e.ExpectedRevision && e.ExpectedRevision == uint64(expected)
	default:
		same = false
	}
	if !same {
		t.Errorf("the old and the new fields differ, or do not tell %v: %v", expected, w)
	}
}

// refused is the outcome of a status.
func refused(t *testing.T, stream string, err error, trailer metadata.MD) outcome {
	t.Helper()
	if status.Convert(err).Message() == fmt.Sprintf("Event stream '%s' is deleted.", stream) &&
		fmt.Sprint(trailer.Get("exception"), trailer.Get("stream-name")) == fmt.Sprint([]string{"stream-deleted"}, []string{stream}) {
		return "deleted"
	}
	return outcome(fmt.Sprintf("%v %v", err, trailer))
}

func batchOptions(stream string, expected eventstore.Expected) *streams.BatchAppendReq_Options {
	o := &streams.BatchAppendReq_Options{StreamIdentifier: streamNamed(stream)}
	switch none := (&emptypb.Empty{}); expected {
	case eventstore.NoStream:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_NoStream{NoStream: none}
	case eventstore.Any:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_Any{Any: none}
	case eventstore.StreamExists:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamExists{StreamExists: none}
	default:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: uint64(expected)}
	}
	return o
}

func batchMessage(id uuid.UUID) *streams.BatchAppendReq_ProposedMessage {
	m := proposed(id)
	return &streams.BatchAppendReq_ProposedMessage{Id: m.Id, Data: m.Data, Metadata: m.Metadata}
}

// openBatch opens a call of BatchAppend.
func openBatch(t testing.TB, conn *grpc.ClientConn) streams.Streams_BatchAppendClient {
	t.Helper()
	call, err := streams.NewStreamsClient(conn).BatchAppend(patiently(t))
	if err != nil {
		t.Fatal(err)
	}
	return call
}

func send(t testing.TB, call streams.Streams_BatchAppendClient, req *streams.BatchAppendReq) {
	t.Helper()
	if err := call.Send(req); err != nil {
		t.Fatal(err)
	}
}

func recv(t testing.TB, call streams.Streams_BatchAppendClient) *streams.BatchAppendResp {
	t.Helper()
	resp, err := call.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// endBatch half-closes and wants no response that was not read.
func endBatch(t testing.TB, call streams.Streams_BatchAppendClient) {
	t.Helper()
	if err := call.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if resp, err := call.Recv(); err != io.EOF {
		t.Fatalf("after the end: %v %v", resp, err)
	}
}

// detail is that of a failed append of a batch.
func detail(t testing.TB, resp *streams.BatchAppendResp) any {
	t.Helper()
	if n := len(resp.GetError().GetDetails()); n != 1 {
		t.Fatalf("%d details: %v", n, resp)
	}
	m, err := resp.GetError().GetDetails()[0].UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func batchAppend(t *testing.T, conn *grpc.ClientConn, stream string, expected eventstore.Expected, letters string) outcome {
	t.Helper()
	req := &streams.BatchAppendReq{CorrelationId: text(uuid.New()), Options: batchOptions(stream, expected), IsFinal: true}
	for _, letter := range letters {
		req.ProposedMessages = append(req.ProposedMessages, batchMessage(named(letter)))
	}
	call := openBatch(t, conn)
	send(t, call, req)
	resp := recv(t, call)
	endBatch(t, call)
	if resp.CorrelationId.GetString_() != req.CorrelationId.GetString_() || string(resp.StreamIdentifier.GetStreamName()) != stream {
		t.Errorf("answered to %v on %v", resp.CorrelationId, resp.StreamIdentifier)
	}
	if s := resp.GetSuccess(); s != nil {
		_, none := s.CurrentRevisionOption.(*streams.BatchAppendResp_Success_NoStream)
		_, position := s.PositionOption.(*streams.BatchAppendResp_Success_Position)
		return ok(none, s.GetCurrentRevision(), position)
	}
	switch d := detail(t, resp).(type) {
	case *shared.WrongExpectedVersion:
		_, none := d.CurrentStreamRevisionOption.(*shared.WrongExpectedVersion_CurrentNoStream)
		if c := resp.GetError(); c.Code != 6 || c.Message != "WrongExpectedVersion" || !tells(d, expected) {
			t.Errorf("conflict told as %v, expected %v", c, expected)
		}
		return wev(none, d.GetCurrentStreamRevision())
	case *shared.StreamDeleted:
		if c := resp.GetError(); c.Code != 5 || c.Message != "StreamDeleted" || string(d.GetStreamIdentifier().GetStreamName()) != stream {
			t.Errorf("deleted told as %v", c)
		}
		return "deleted"
	}
	return outcome(resp.String())
}

func tells(d *shared.WrongExpectedVersion, expected eventstore.Expected) bool {
	switch e := d.ExpectedStreamPositionOption.(type) {
	case *shared.WrongExpectedVersion_ExpectedAny:
		return expected == eventstore.Any
	case *shared.WrongExpectedVersion_ExpectedNoStream:
		return expected == eventstore.NoStream
	case *shared.WrongExpectedVersion_ExpectedStreamExists:
		return expected == eventstore.StreamExists
	case *shared.WrongExpectedVersion_ExpectedStreamPosition:
		return e.ExpectedStreamPosition == uint64(expected)
	}
	return false
}

func base64Of(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// batchAppendOn appends one event, and tells the type of the detail or "ok".
func batchAppendOn(t testing.TB, call streams.Streams_BatchAppendClient, stream string) string {
	t.Helper()
	send(t, call, &streams.BatchAppendReq{
		CorrelationId: text(uuid.New()), Options: batchOptions(stream, eventstore.Any), IsFinal: true,
		ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{batchMessage(uuid.New())},
	})
	resp := recv(t, call)
	if resp.GetSuccess() != nil {
		return "ok"
	}
	return fmt.Sprintf("%T", detail(t, resp))
}
