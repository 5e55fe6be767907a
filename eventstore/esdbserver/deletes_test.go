package esdbserver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// deleteRaw deletes softly, tombstoneRaw for good: the outcome is "ok", "wev
// <last revision>" or "deleted".
func deleteRaw(t *testing.T, conn *grpc.ClientConn, stream string, expected eventstore.Expected) outcome {
	t.Helper()
	o := &streams.DeleteReq_Options{StreamIdentifier: streamNamed(stream)}
	switch none := (&shared.Empty{}); expected {
	case eventstore.NoStream:
		o.ExpectedStreamRevision = &streams.DeleteReq_Options_NoStream{NoStream: none}
	case eventstore.Any:
		o.ExpectedStreamRevision = &streams.DeleteReq_Options_Any{Any: none}
	case eventstore.StreamExists:
		o.ExpectedStreamRevision = &streams.DeleteReq_Options_StreamExists{StreamExists: none}
	default:
		o.ExpectedStreamRevision = &streams.DeleteReq_Options_Revision{Revision: uint64(expected)}
	}
	var trailer metadata.MD
	resp, err := streams.NewStreamsClient(conn).Delete(patiently(t), &streams.DeleteReq{Options: o}, grpc.Trailer(&trailer))
	return ended(t, stream, expected, resp.GetPosition(), err, trailer)
}

func tombstoneRaw(t *testing.T, conn *grpc.ClientConn, stream string, expected eventstore.Expected) outcome {
	t.Helper()
	o := &streams.TombstoneReq_Options{StreamIdentifier: streamNamed(stream)}
	switch none := (&shared.Empty{}); expected {
	case eventstore.NoStream:
		o.ExpectedStreamRevision = &streams.TombstoneReq_Options_NoStream{NoStream: none}
	case eventstore.Any:
		o.ExpectedStreamRevision = &streams.TombstoneReq_Options_Any{Any: none}
	case eventstore.StreamExists:
		o.ExpectedStreamRevision = &streams.TombstoneReq_Options_StreamExists{StreamExists: none}
	default:
		o.ExpectedStreamRevision = &streams.TombstoneReq_Options_Revision{Revision: uint64(expected)}
	}
	var trailer metadata.MD
	resp, err := streams.NewStreamsClient(conn).Tombstone(patiently(t), &streams.TombstoneReq{Options: o}, grpc.Trailer(&trailer))
	return ended(t, stream, expected, resp.GetPosition(), err, trailer)
}

// ended wants the position with a success, and with a conflict the text and the
// trailers that clients look for.
func ended(t *testing.T, stream string, expected eventstore.Expected, position interface {
	GetCommitPosition() uint64
	GetPreparePosition() uint64
}, err error, trailer metadata.MD,
) outcome {
	t.Helper()
	if err == nil {
		if c, p := position.GetCommitPosition(), position.GetPreparePosition(); c == 0 || c != p {
			t.Errorf("position %d/%d", c, p)
		}
		return "ok"
	}
	if got := fmt.Sprint(trailer.Get("exception")); got != "[wrong-expected-version]" {
		return refused(t, stream, err, trailer)
	}
	actual := trailer.Get("actual-version")[0]
	text := fmt.Sprintf("Delete failed due to WrongExpectedVersion. Stream: %s, Expected version: %d, Actual version: %s", stream, expected, actual)
	s := status.Convert(err)
	if s.Code() != codes.FailedPrecondition || s.Message() != text ||
		fmt.Sprint(trailer.Get("stream-name"), trailer.Get("expected-version")) != fmt.Sprint([]string{stream}, []int64{int64(expected)}) {
		t.Errorf("conflict told as %v %v", err, trailer)
	}
	return outcome("wev " + actual)
}

func TestDeleteAndTombstone(t *testing.T) {
	store, conn := served(t)
	never := func(*testing.T, string) {}
	onlyMetadata := func(t *testing.T, stream string) {
		setMetadata(t, store, stream, eventstore.StreamMetadata{MaxCount: 9})
	}
	written := func(t *testing.T, stream string) { appendDirectly(t, store, stream, none, "ab") }
	deleted := func(t *testing.T, stream string) { written(t, stream); softDelete(t, store, stream) }
	tombstoned := func(t *testing.T, stream string) { written(t, stream); tombstone(t, store, stream) }
	for _, c := range []struct {
		name            string
		state           func(*testing.T, string)
		expected        []eventstore.Expected
		soft, tombstone outcome
	}{
		{"never", never, []eventstore.Expected{anyState, none}, "wev -1", "ok"},
		{"never", never, []eventstore.Expected{exists, 0, 7}, "wev -1", "wev -1"},
		{"metadata", onlyMetadata, []eventstore.Expected{anyState, none, exists}, "ok", "ok"},
		{"metadata", onlyMetadata, []eventstore.Expected{0}, "wev -1", "wev -1"},
		{"written", written, []eventstore.Expected{anyState, exists, 1}, "ok", "ok"},
		{"written", written, []eventstore.Expected{0, 2, none}, "wev 1", "wev 1"},
		{"deleted", deleted, []eventstore.Expected{anyState, none, 1}, "ok", "ok"},
		{"deleted", deleted, []eventstore.Expected{exists}, "deleted", "deleted"},
		{"deleted", deleted, []eventstore.Expected{0, 2}, "wev 1", "wev 1"},
		{"tombstoned", tombstoned, []eventstore.Expected{anyState, none, exists, 0, 1, 2}, "deleted", "deleted"},
	} {
		for _, expected := range c.expected {
			t.Run(fmt.Sprintf("%s/%v", c.name, expected), func(t *testing.T) {
				soft, hard := "soft-"+uuid.NewString(), "hard-"+uuid.NewString()
				c.state(t, soft)
				c.state(t, hard)
				if got := deleteRaw(t, conn, soft, expected); got != c.soft {
					t.Errorf("delete: %q, want %q", got, c.soft)
				}
				if got := tombstoneRaw(t, conn, hard, expected); got != c.tombstone {
					t.Errorf("tombstone: %q, want %q", got, c.tombstone)
				}
				if got := visible(t, store, hard); c.tombstone == "ok" && got != "deleted" {
					t.Errorf("a tombstoned stream reads %s", got)
				}
			})
		}
	}
}

// What the case table of deletes says of reads and metadata afterwards.
func TestRecreate(t *testing.T) {
	store, conn := served(t)
	hidden := eventstore.StreamMetadata{TruncateBefore: eventstore.EndRevision}
	jsonMetadata := func(t *testing.T, stream string) {
		setMetadata(t, store, stream, eventstore.StreamMetadata{MaxCount: 50})
	}
	for _, c := range []struct {
		row                int
		before             func(t *testing.T, stream string)
		request            func(t *testing.T, stream string) outcome
		want               outcome
		visible            string
		truncate, metadata int64 // 0: not looked at; metadata is the metastream's revision
	}{
		{row: 1, before: func(t *testing.T, s string) {
			appendDirectly(t, store, s, none, "ab")
		}, request: func(t *testing.T, s string) outcome { return deleteRaw(t, conn, s, 1) }, want: "ok", visible: "not found"},
		{row: 2, before: func(t *testing.T, s string) {
			appendDirectly(t, store, s, none, "ab")
			softDelete(t, store, s)
		}, request: func(t *testing.T, s string) outcome {
			return unaryAppend(t, conn, s, none, "cde")
		}, want: "ok 4", visible: "[2 3 4]", truncate: 2, metadata: 1},
		{row: 5, before: func(t *testing.T, s string) {
			appendDirectly(t, store, s, none, "ab")
			softDelete(t, store, s)
		}, request: func(t *testing.T, s string) outcome {
			return unaryAppend(t, conn, s, none, "ab")
		}, want: "ok 1, no position", visible: "not found"},
		{row: 8, before: func(t *testing.T, s string) {
			appendDirectly(t, store, s, none, "ab")
			md := hidden
			md.MaxCount, md.Custom = 100, map[string]any{"k": 1, "$acl": map[string]any{"$r": "x"}}
			setMetadata(t, store, s, md)
		}, request: func(t *testing.T, s string) outcome {
			out := unaryAppend(t, conn, s, 1, "cde")
			md, _, err := store.StreamMetadata(t.Context(), s)
			if err != nil || md.MaxCount != 100 || len(md.Custom) != 2 {
				t.Errorf("metadata is not kept: %v %v", md, err)
			}
			return out
		}, want: "ok 4", visible: "[2 3 4]", truncate: 2},
		{row: 10, before: func(t *testing.T, s string) {
			appendDirectly(t, store, s, none, "ab")
			softDelete(t, store, s)
		}, request: func(t *testing.T, s string) outcome { jsonMetadata(t, s); return "ok" }, want: "ok", visible: "[]", truncate: 2},
		{row: 12, before: func(t *testing.T, s string) {
			appendDirectly(t, store, s, none, "ab")
			softDelete(t, store, s)
		}, request: func(t *testing.T, s string) outcome { return tombstoneRaw(t, conn, s, 1) }, want: "ok", visible: "deleted"},
		{row: 15, before: func(t *testing.T, s string) {
			appendDirectly(t, store, s, none, "ab")
			softDelete(t, store, s)
		}, request: func(t *testing.T, s string) outcome { return deleteRaw(t, conn, s, anyState) }, want: "ok", visible: "not found"},
		{row: 17, before: func(t *testing.T, s string) {
			appendDirectly(t, store, s, none, "ab")
			setMetadata(t, store, s, eventstore.StreamMetadata{Custom: map[string]any{"$acl": map[string]any{"$r": "x"}}})
		}, request: func(t *testing.T, s string) outcome {
			out := deleteRaw(t, conn, s, anyState)
			md, _, err := store.StreamMetadata(t.Context(), s)
			if err != nil || md.Custom != nil {
				t.Errorf("metadata is kept: %v %v", md, err)
			}
			return out
		}, want: "ok", visible: "not found"},
	} {
		t.Run(fmt.Sprint(c.row), func(t *testing.T) {
			stream := "s-" + uuid.NewString()
			c.before(t, stream)
			if got := c.request(t, stream); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := visible(t, store, stream); got != c.visible {
				t.Errorf("visible are %s, want %s", got, c.visible)
			}
			if c.truncate == 0 {
				return
			}
			md, revision, err := store.StreamMetadata(t.Context(), stream)
			if err != nil || int64(md.TruncateBefore) != c.truncate || c.metadata > 0 && int64(revision) != c.metadata {
				t.Errorf("metadata %v at %v: %v", md, revision, err)
			}
		})
	}
}

func TestDeleteIsRefused(t *testing.T) {
	_, conn := served(t)
	for _, stream := range []string{"$all", "$$s", "$$$settings"} {
		for _, got := range []outcome{deleteRaw(t, conn, stream, anyState), tombstoneRaw(t, conn, stream, anyState)} {
			if want := "code = PermissionDenied desc = Access Denied map["; !strings.Contains(string(got), want) || !strings.Contains(string(got), "exception:[access-denied]") {
				t.Errorf("%s: %s", stream, got)
			}
		}
	}
	client := streams.NewStreamsClient(conn)
	for name, c := range map[string]struct {
		options *streams.DeleteReq_Options
		want    codes.Code
	}{
		"no options":     {nil, codes.Unknown},
		"no expectation": {&streams.DeleteReq_Options{StreamIdentifier: streamNamed("s")}, codes.InvalidArgument},
		"no name":        {&streams.DeleteReq_Options{ExpectedStreamRevision: &streams.DeleteReq_Options_Any{Any: &shared.Empty{}}}, codes.Unknown},
		"no revision": {&streams.DeleteReq_Options{
			StreamIdentifier: streamNamed("s"), ExpectedStreamRevision: &streams.DeleteReq_Options_Revision{Revision: 1 << 63},
		}, codes.Unknown},
	} {
		if _, err := client.Delete(patiently(t), &streams.DeleteReq{Options: c.options}); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// Must-honour 8, through the client: without a position it panics, and without
// the name of a deleted stream.
func TestDeleteThroughTheClient(t *testing.T) {
	c := esdbservertest.Client(t, esdbservertest.Insecure(esdbservertest.Start(t, esdbserver.Options{Store: openStore(t)})))
	for _, stream := range []string{"s", "größe 100%\tof it\n", "日本語"} {
		if _, err := c.AppendToStream(patiently(t), stream, esdb.AppendToStreamOptions{ExpectedRevision: esdb.NoStream{}}, clientEvent()); err != nil {
			t.Fatal(err)
		}
		deleted, err := c.DeleteStream(patiently(t), stream, esdb.DeleteStreamOptions{ExpectedRevision: esdb.Revision(0)})
		if err != nil || deleted.Position.Commit == 0 {
			t.Fatal(deleted, err)
		}
		deleted, err = c.TombstoneStream(patiently(t), stream, esdb.TombstoneStreamOptions{ExpectedRevision: esdb.Revision(0)})
		if err != nil || deleted.Position.Commit == 0 {
			t.Fatal(deleted, err)
		}
		if _, err = c.AppendToStream(patiently(t), stream, esdb.AppendToStreamOptions{}, clientEvent()); code(err) != esdb.ErrorCodeStreamDeleted {
			t.Fatal(err)
		}
		if _, err = c.DeleteStream(patiently(t), stream, esdb.DeleteStreamOptions{}); code(err) != esdb.ErrorCodeStreamDeleted {
			t.Fatal(err)
		}
	}
}

func clientEvent() esdb.EventData {
	return esdb.EventData{EventID: uuid.New(), EventType: "Something", ContentType: esdb.ContentTypeJson, Data: []byte(`{"a":1}`)}
}
