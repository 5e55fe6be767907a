package reading

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// sink takes what a Read sends, and hangs up when a subscription is live.
type sink struct {
	grpc.ServerStream
	t      *testing.T
	ctx    context.Context
	hangUp context.CancelFunc
	kinds  []string
}

func (s *sink) Context() context.Context       { return s.ctx }
func (s *sink) Send(m *streams.ReadResp) error { return s.SendMsg(m) }
func (s *sink) SendMsg(m any) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	data, err := Codec().Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	var resp streams.ReadResp
	if err := Codec().Unmarshal(data, &resp); err != nil {
		s.t.Fatal(err)
	}
	kind := strings.TrimPrefix(fmt.Sprintf("%T", resp.Content), "*streams.ReadResp_")
	s.kinds = append(s.kinds, kind)
	if kind == "CaughtUp_" {
		s.hangUp()
	}
	return nil
}

// FuzzRead: whatever arrives as a request is answered with the messages that
// its kind allows and a status that the protocol names, and ends.
func FuzzRead(f *testing.F) {
	store, err := sqlite.Open(context.Background(), f.TempDir(), sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { store.Close() })
	for n := range 40 {
		e := eventstore.Event{ID: uuid.New(), Type: "T", Data: []byte("0@s0")}
		if n%7 == 0 {
			e.Type = wire.TypeLink
		}
		if _, err := store.Append(context.Background(), fmt.Sprint("s", n%3), eventstore.Any, []eventstore.Event{e}); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := store.Tombstone(context.Background(), "s2", eventstore.Any); err != nil {
		f.Fatal(err)
	}
	reader := New(Options{Store: store, Guard: access.Open(), Logger: slog.New(slog.DiscardHandler)})
	f.Cleanup(reader.Close)

	stream := func(name string) *streams.ReadReq_Options_Stream {
		return &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: wire.Stream(name),
			RevisionOption:   &streams.ReadReq_Options_StreamOptions_Revision{Revision: 3},
		}}
	}
	log := &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{
		AllOption: &streams.ReadReq_Options_AllOptions_Position{Position: &streams.ReadReq_Options_Position{CommitPosition: 5, PreparePosition: 5}},
	}}
	empty := &shared.Empty{}
	text := &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{String_: empty}}
	none := &streams.ReadReq_Options_NoFilter{NoFilter: empty}
	some := &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{
		Window: &streams.ReadReq_Options_FilterOptions_Max{Max: 32}, CheckpointIntervalMultiplier: 1,
		Filter: &streams.ReadReq_Options_FilterOptions_StreamIdentifier{
			StreamIdentifier: &streams.ReadReq_Options_FilterOptions_Expression{Regex: "s[01]"}},
	}}
	follow := &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
	for _, o := range []*streams.ReadReq_Options{
		{StreamOption: stream("s0"), CountOption: &streams.ReadReq_Options_Count{Count: 3}, FilterOption: none, UuidOption: text},
		{StreamOption: stream("s2"), CountOption: follow, FilterOption: none, UuidOption: text},
		{StreamOption: stream("s1"), CountOption: follow, FilterOption: none, UuidOption: text, ResolveLinks: true},
		{StreamOption: log, CountOption: follow, FilterOption: some, UuidOption: text, ResolveLinks: true},
		{StreamOption: log, CountOption: &streams.ReadReq_Options_Count{Count: 1<<64 - 1}, FilterOption: some, UuidOption: text, ReadDirection: 1},
	} {
		b, err := proto.Marshal(&streams.ReadReq{Options: o})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var req streams.ReadReq
		if proto.Unmarshal(b, &req) != nil {
			return // gRPC refuses it
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out := &sink{t: t, ctx: ctx, hangUp: cancel}
		err := reader.Read(&req, out)
		follow := req.GetOptions().GetSubscription() != nil
		for i, kind := range out.kinds {
			allowed := kind == "Event" || !follow && kind == "StreamNotFound_" ||
				follow && (kind == "CaughtUp_" || kind == "Checkpoint_" && req.GetOptions().GetFilter() != nil)
			if follow && (kind == "Confirmation") != (i == 0) || !follow && kind == "Confirmation" || !allowed && kind != "Confirmation" {
				t.Fatalf("message %d of %v", i, out.kinds)
			}
		}
		if n := req.GetOptions().GetCount(); !follow && uint64(len(out.kinds)) > max(n, 1) {
			t.Fatalf("%d messages for a count of %d", len(out.kinds), n)
		}
		switch code := status.Code(err); code {
		case codes.OK, codes.InvalidArgument, codes.Unknown, codes.FailedPrecondition:
		case codes.Canceled:
			if !follow {
				t.Fatal(err)
			}
		default:
			t.Fatal(err)
		}
	})
}
