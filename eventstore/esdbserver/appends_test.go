package esdbserver_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

func TestAppendThroughTheClient(t *testing.T) {
	store := openStore(t)
	c := esdbservertest.Client(t, esdbservertest.Insecure(esdbservertest.Start(t, esdbserver.Options{Store: store})))
	json := clientEvent()
	json.Metadata = []byte(`{"by":"me"}`)
	binary := esdb.EventData{EventID: uuid.New(), EventType: "Otherthing", ContentType: esdb.ContentTypeBinary, Data: []byte{0, 1, 2}}
	out, err := c.AppendToStream(patiently(t), "s", esdb.AppendToStreamOptions{ExpectedRevision: esdb.NoStream{}}, json, binary)
	if err != nil || out.NextExpectedVersion != 1 || out.CommitPosition == 0 || out.CommitPosition != out.PreparePosition {
		t.Fatal(out, err)
	}
	var got []eventstore.Record
	for record, err := range store.ReadStream(t.Context(), "s", 0, eventstore.Forwards, 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, record)
	}
	for i, want := range []esdb.EventData{json, binary} {
		r := got[i]
		if r.ID != uuid.UUID(want.EventID) || r.Type != want.EventType || r.JSON != (i == 0) ||
			!bytes.Equal(r.Data, want.Data) || !bytes.Equal(r.Metadata, want.Metadata) {
			t.Errorf("event %d is stored as %+v", i, r)
		}
	}
	if got[1].Position.Commit != out.CommitPosition {
		t.Errorf("position %d, told %d", got[1].Position.Commit, out.CommitPosition)
	}
	_, err = c.AppendToStream(patiently(t), "s", esdb.AppendToStreamOptions{ExpectedRevision: esdb.NoStream{}}, clientEvent())
	if code(err) != esdb.ErrorCodeWrongExpectedVersion || !strings.Contains(err.Error(), "expecting 'no_stream' but got '1'") {
		t.Fatal(err)
	}
}

func without(m *streams.AppendReq_ProposedMessage, key string) *streams.AppendReq_ProposedMessage {
	delete(m.Metadata, key)
	return m
}

// The order in which an append is checked: every row breaks one rule, and as
// many of the later ones as it can.
func TestAppendChecksInOrder(t *testing.T) {
	store, conn := served(t)
	id := uuid.New()
	big := func() *streams.AppendReq_ProposedMessage {
		m := proposed(uuid.Nil)
		m.Metadata["type"], m.Data = "", make([]byte, eventstore.MaxAppendSize+1)
		return m
	}
	typeless := proposed(id)
	typeless.Metadata["type"] = ""
	idless := proposed(id)
	idless.Id = nil
	mangled := proposed(id)
	mangled.Id = &shared.UUID{Value: &shared.UUID_String_{String_: "nonsense"}}
	revision := func(stream string, n uint64) *streams.AppendReq {
		return optionsMessage(&streams.AppendReq_Options{
			StreamIdentifier: streamNamed(stream), ExpectedStreamRevision: &streams.AppendReq_Options_Revision{Revision: n},
		})
	}
	const handler = "Exception was thrown by handler."
	missing := map[string][]string{"exception": {"missing-required-metadata-property"}, "required-metadata-properties": {"type,content-type"}}
	for _, c := range []struct {
		check    int
		messages []*streams.AppendReq
		code     codes.Code
		detail   string // the beginning of it
		trailer  map[string][]string
	}{
		{check: 1, code: codes.Unknown, detail: handler},
		{check: 1, messages: []*streams.AppendReq{{}}, code: codes.Unknown, detail: handler},
		{check: 1, messages: []*streams.AppendReq{proposedMessage(big())}, code: codes.Unknown, detail: handler},
		{check: 2, messages: []*streams.AppendReq{optionsMessage(&streams.AppendReq_Options{StreamIdentifier: streamNamed("$all")}), {}}, code: codes.InvalidArgument},
		{
			check: 3, messages: []*streams.AppendReq{optionsMessage(appendOptions("$all", anyState)), {}}, code: codes.PermissionDenied, detail: "Access Denied",
			trailer: map[string][]string{"exception": {"access-denied"}},
		},
		{check: 4, messages: []*streams.AppendReq{revision("", 1<<63), {}, proposedMessage(big())}, code: codes.Unknown, detail: handler},
		{check: 4, messages: []*streams.AppendReq{revision("", 1<<63), revision("", 1)}, code: codes.Unknown, detail: handler},
		{
			check: 5, messages: []*streams.AppendReq{revision("", 1<<63), proposedMessage(without(big(), "type"))}, code: codes.InvalidArgument,
			detail: "Required Metadata Property 'type' is missing", trailer: missing,
		},
		{
			check: 5, messages: []*streams.AppendReq{revision("", 1<<63), proposedMessage(without(big(), "content-type"))}, code: codes.InvalidArgument,
			detail: "Required Metadata Property 'content-type' is missing", trailer: missing,
		},
		{
			check: 7, messages: []*streams.AppendReq{revision("", 1<<63), proposedMessage(big())}, code: codes.InvalidArgument,
			detail:  "Maximum Append Size of 1048576 Exceeded.",
			trailer: map[string][]string{"exception": {"maximum-append-size-exceeded"}, "maximum-append-size": {"1048576"}},
		},
		{check: 8, messages: []*streams.AppendReq{revision("", 1<<63), proposedMessage(proposed(uuid.Nil))}, code: codes.Unknown, detail: handler},
		{check: 8, messages: []*streams.AppendReq{revision("", 1<<63), proposedMessage(idless)}, code: codes.Unknown, detail: handler},
		{check: 8, messages: []*streams.AppendReq{revision("", 1<<63), proposedMessage(mangled)}, code: codes.Unknown, detail: handler},
		{check: 8, messages: []*streams.AppendReq{revision("", 1<<63), proposedMessage(typeless)}, code: codes.Unknown, detail: handler},
		{check: 9, messages: []*streams.AppendReq{revision("", 1<<63), proposedMessage(proposed(id))}, code: codes.Unknown, detail: handler + ` "" is not the name`},
		{check: 9, messages: []*streams.AppendReq{revision("$$", 1<<63), proposedMessage(proposed(id))}, code: codes.Unknown, detail: handler + ` "$$" is not the name`},
		{check: 9, messages: []*streams.AppendReq{revision("$$$$s", 1<<63), proposedMessage(proposed(id))}, code: codes.Unknown, detail: handler},
		{check: 9, messages: []*streams.AppendReq{revision("\xff", 1), proposedMessage(proposed(id))}, code: codes.Unknown, detail: handler},
		{check: 9, messages: []*streams.AppendReq{revision(strings.Repeat("s", 5000), 1), proposedMessage(proposed(id))}, code: codes.Unknown, detail: handler},
		{check: 10, messages: []*streams.AppendReq{revision("s", 1<<63), proposedMessage(proposed(id))}, code: codes.Unknown, detail: handler},
		{check: 10, messages: []*streams.AppendReq{revision("s", math.MaxUint64-1), proposedMessage(proposed(id))}, code: codes.Unknown, detail: handler},
	} {
		before := events(t, store)
		_, trailer, err := appendRaw(patiently(t), conn, c.messages...)
		s := status.Convert(err)
		if s.Code() != c.code || !strings.HasPrefix(s.Message(), c.detail) {
			t.Errorf("check %d: %v, want %v %q", c.check, err, c.code, c.detail)
		}
		trailer.Delete("content-type")
		for key, want := range c.trailer {
			if fmt.Sprint(trailer.Get(key)) != fmt.Sprint(want) {
				t.Errorf("check %d: %s is %v, want %v", c.check, key, trailer.Get(key), want)
			}
		}
		if events(t, store) != before {
			t.Errorf("check %d: something was written", c.check)
		}
	}
	// The largest number stands for no stream.
	if _, _, err := appendRaw(patiently(t), conn, revision("s", math.MaxUint64), proposedMessage(proposed(id))); err != nil {
		t.Error(err)
	}
}

func TestAppendSize(t *testing.T) {
	_, conn := served(t)
	sized := func(n int) *streams.AppendReq {
		m := proposed(uuid.New())
		m.Metadata["type"], m.CustomMetadata = "1234", []byte("12")
		m.Data = make([]byte, n-10)
		return proposedMessage(m)
	}
	const half = eventstore.MaxAppendSize / 2
	for _, c := range []struct {
		sizes []int
		want  codes.Code
	}{
		{[]int{2 * half}, codes.OK},
		{[]int{2*half + 1}, codes.InvalidArgument},
		{[]int{half, half}, codes.OK},
		{[]int{half, half - 10, 11}, codes.InvalidArgument},
		{[]int{8 << 20}, codes.InvalidArgument},
		{[]int{16<<20 - 20_000}, codes.InvalidArgument}, // must-honour 1: received, and refused for its size
		{[]int{17 << 20}, codes.ResourceExhausted},
	} {
		messages := []*streams.AppendReq{optionsMessage(appendOptions("s", anyState))}
		for _, n := range c.sizes {
			messages = append(messages, sized(n))
		}
		if _, _, err := appendRaw(patiently(t), conn, messages...); status.Code(err) != c.want {
			t.Errorf("%v: %v, want %v", c.sizes, err, c.want)
		}
	}
}

func TestAppendOfVeryManyEvents(t *testing.T) {
	_, conn := served(t)
	messages := []*streams.AppendReq{optionsMessage(appendOptions("s", anyState))}
	tiny := proposed(uuid.New())
	tiny.Metadata["type"], tiny.Data = "a", nil
	for range 1<<16 + 1 {
		messages = append(messages, proposedMessage(tiny))
	}
	if _, _, err := appendRaw(patiently(t), conn, messages...); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}

// Must-honour 4: Go's client says "EOF" when the call ends while it is sending.
func TestAppendToAnEndedStreamAlwaysSaysSo(t *testing.T) {
	store := openStore(t)
	c := esdbservertest.Client(t, esdbservertest.Insecure(esdbservertest.Start(t, esdbserver.Options{Store: store})))
	tombstone(t, store, "ended")
	for i := range 300 {
		var batch []esdb.EventData
		for range i%50 + 1 {
			batch = append(batch, clientEvent())
		}
		if _, err := c.AppendToStream(patiently(t), "ended", esdb.AppendToStreamOptions{}, batch...); code(err) != esdb.ErrorCodeStreamDeleted {
			t.Fatalf("append %d: %v", i, err)
		}
		if _, err := c.AppendToStream(patiently(t), "$all", esdb.AppendToStreamOptions{}, batch...); code(err) != esdb.ErrorCodeAccessDenied {
			t.Fatalf("append %d: %v", i, err)
		}
	}
}

// A client that goes on sending after it was refused is read for a while, and
// costs no memory.
func TestAppendDoesNotDrainForEver(t *testing.T) {
	_, conn := served(t)
	call, err := streams.NewStreamsClient(conn).Append(patiently(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Send(optionsMessage(appendOptions("s", anyState))); err != nil {
		t.Fatal(err)
	}
	m := proposed(uuid.New())
	m.Data = make([]byte, 1<<20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	sent := 0
	for ; sent < 1000 && call.Send(proposedMessage(m)) == nil; sent++ {
	}
	if sent < 32 || sent > 128 {
		t.Errorf("the server read about %d MiB of a refused append", sent)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if err := call.RecvMsg(new(streams.AppendResp)); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}

// An append whose outcome its client does not learn is written or not; the
// server goes on.
func TestAppendOfAClientThatLeaves(t *testing.T) {
	store, conn := served(t)
	for i := range 50 {
		ctx, cancel := context.WithCancel(patiently(t))
		call, err := streams.NewStreamsClient(conn).Append(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*streams.AppendReq{optionsMessage(appendOptions("s", anyState)), proposedMessage(proposed(uuid.New()))} {
			if err := call.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		if i%2 == 0 {
			if err := call.CloseSend(); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
	}
	if got := unaryAppend(t, conn, "other", none, "a"); got != "ok 0" {
		t.Error(got)
	}
	if n := events(t, store); n > 60 {
		t.Errorf("%d events of 50 appends", n)
	}
}

// Messages that are refused before their end are not counted for ever.
func TestOversizedMessagesAreForgotten(t *testing.T) {
	_, conn := served(t)
	huge := proposed(uuid.New())
	huge.Data = make([]byte, 17<<20)
	for i := range 600 {
		_, _, err := appendRaw(patiently(t), conn, optionsMessage(appendOptions("s", anyState)), proposedMessage(huge))
		if status.Code(err) != codes.ResourceExhausted {
			t.Fatal(i, err)
		}
	}
}
