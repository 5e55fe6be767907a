package groups_test

import (
	"io"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// What the official client cannot say, or does not show.

func readRequest(stream, group string, slots int32) *persistent.ReadReq {
	return &persistent.ReadReq{Content: &persistent.ReadReq_Options_{Options: &persistent.ReadReq_Options{
		StreamOption: &persistent.ReadReq_Options_StreamIdentifier{StreamIdentifier: name(stream)},
		GroupName:    group, BufferSize: slots,
		UuidOption: &persistent.ReadReq_Options_UUIDOption{Content: &persistent.ReadReq_Options_UUIDOption_String_{}},
	}}}
}

func openRaw(t testing.TB, c persistent.PersistentSubscriptionsClient, first *persistent.ReadReq, o ...grpc.CallOption) persistent.PersistentSubscriptions_ReadClient {
	t.Helper()
	stream, err := c.Read(t.Context(), o...)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(first); err != nil {
		t.Fatal(err)
	}
	return stream
}

func confirmed(t testing.TB, stream persistent.PersistentSubscriptions_ReadClient, id string) {
	t.Helper()
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, resp.GetSubscriptionConfirmation().GetSubscriptionId(), id)
}

func event(t testing.TB, stream persistent.PersistentSubscriptions_ReadClient) *persistent.ReadResp_ReadEvent {
	t.Helper()
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetEvent() == nil {
		t.Fatalf("not an event: %v", resp)
	}
	return resp.GetEvent()
}

func ackOf(ids ...*shared.UUID) *persistent.ReadReq {
	return &persistent.ReadReq{Content: &persistent.ReadReq_Ack_{Ack: &persistent.ReadReq_Ack{Id: []byte("not looked at"), Ids: ids}}}
}

func TestEventsOnTheWire(t *testing.T) {
	r := serve(t)
	at := r.write("s", "e0", "e1").Position
	r.create("s", "g", esdb.Start{}, nil)
	raw := r.raw()
	asText := openRaw(t, raw, readRequest("s", "g", 1))
	confirmed(t, asText, "s::g")
	e := event(t, asText)
	if _, ok := e.GetCount().(*persistent.ReadResp_ReadEvent_RetryCount); !ok || e.GetRetryCount() != 0 {
		t.Errorf("count is %v", e.GetCount())
	}
	if e.GetCommitPosition() != at.Commit-1 || e.GetEvent().GetCommitPosition() != at.Commit-1 || e.GetEvent().GetPreparePosition() != at.Commit-1 {
		t.Errorf("positions of %v", e)
	}
	if e.GetEvent().GetMetadata()["created"] == "" || e.GetLink() != nil {
		t.Errorf("event is %v", e)
	}
	id, err := uuid.Parse(e.GetEvent().GetId().GetString_())
	if err != nil {
		t.Fatalf("the id is no text: %v", e.GetEvent().GetId())
	}
	// Either form of an id is known, and unknown ids are not minded.
	if err := asText.Send(ackOf(&shared.UUID{Value: &shared.UUID_String_{String_: uuid.NewString()}}, structured(id))); err != nil {
		t.Fatal(err)
	}
	if e := event(t, asText); string(e.GetEvent().GetData()) != "e1" {
		t.Errorf("%v", e)
	}
	if err := asText.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := asText.Recv(); err != io.EOF {
		t.Errorf("after the client has closed its side: %v", err)
	}
	first := readRequest("s", "g", 1)
	first.GetOptions().UuidOption = &persistent.ReadReq_Options_UUIDOption{Content: &persistent.ReadReq_Options_UUIDOption_Structured{}}
	asNumbers := openRaw(t, raw, first)
	confirmed(t, asNumbers, "s::g")
	e = event(t, asNumbers)
	if e.GetEvent().GetId().GetStructured() == nil || e.GetRetryCount() != 1 {
		t.Errorf("%v", e)
	}
}

func structured(id uuid.UUID) *shared.UUID {
	most, least := esdb.UUIDAsInt64(id)
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{MostSignificantBits: most, LeastSignificantBits: least}}}
}

func TestOneConsumerAcksWhatAnotherHas(t *testing.T) {
	r := serve(t)
	r.write("s", "e0")
	r.create("s", "g", esdb.Start{}, nil)
	raw := r.raw()
	a := openRaw(t, raw, readRequest("s", "g", 1))
	confirmed(t, a, "s::g")
	id := event(t, a).GetEvent().GetId()
	b := openRaw(t, raw, readRequest("s", "g", 1))
	confirmed(t, b, "s::g")
	if err := b.Send(ackOf(id)); err != nil {
		t.Fatal(err)
	}
	r.until("nothing is in flight", func() bool { return r.info("s", "g").Stats.TotalInFlightMessages == 0 })
}

func TestRequestsThatAreNone(t *testing.T) {
	r := serve(t)
	r.create("s", "g", esdb.Start{}, nil)
	raw := r.raw()
	for name, c := range map[string]struct {
		first, second *persistent.ReadReq
		want          codes.Code
	}{
		"ack first":      {ackOf(), nil, codes.Unknown},
		"nothing first":  {&persistent.ReadReq{}, nil, codes.Unknown},
		"no buffer":      {readRequest("s", "g", 0), nil, codes.InvalidArgument},
		"options again":  {readRequest("s", "g", 1), readRequest("s", "g", 1), codes.Unknown},
		"nothing later":  {readRequest("s", "g", 1), &persistent.ReadReq{}, codes.Unknown},
		"no id":          {readRequest("s", "g", 1), ackOf(&shared.UUID{}), codes.InvalidArgument},
		"id of nonsense": {readRequest("s", "g", 1), ackOf(&shared.UUID{Value: &shared.UUID_String_{String_: "x"}}), codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			stream := openRaw(t, raw, c.first)
			if c.second != nil {
				confirmed(t, stream, "s::g")
				if err := stream.Send(c.second); err != nil {
					t.Fatal(err)
				}
			}
			_, err := stream.Recv()
			refused(t, err, nil, c.want)
		})
	}
	for name, req := range map[string]*persistent.ListReq{
		"list of nothing": {Options: &persistent.ListReq_Options{}},
		"list of a stream without a name": {Options: &persistent.ListReq_Options{ListOption: &persistent.ListReq_Options_ListForStream{
			ListForStream: &persistent.ListReq_StreamOption{}}}},
	} {
		_, err := raw.List(t.Context(), req)
		t.Log(name)
		refused(t, err, nil, codes.InvalidArgument)
	}
}

// Every call takes a request without anything in it.
func TestEmptyRequests(t *testing.T) {
	r := serve(t)
	raw, ctx := r.raw(), t.Context()
	_, err := raw.Create(ctx, &persistent.CreateReq{})
	refused(t, err, nil, codes.Internal)
	_, err = raw.Update(ctx, &persistent.UpdateReq{})
	refused(t, err, nil, codes.Internal)
	_, err = raw.Delete(ctx, &persistent.DeleteReq{})
	refused(t, err, nil, codes.NotFound)
	_, err = raw.ReplayParked(ctx, &persistent.ReplayParkedReq{})
	refused(t, err, nil, codes.NotFound)
	_, err = raw.GetInfo(ctx, &persistent.GetInfoReq{})
	refused(t, err, nil, codes.NotFound)
	_, err = raw.List(ctx, &persistent.ListReq{})
	refused(t, err, nil, codes.InvalidArgument)
}
