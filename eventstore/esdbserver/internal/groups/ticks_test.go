package groups_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups"
)

// bare is the service alone, on a clock that the test moves.
type bare struct {
	*rig
	service *groups.Service
	raw     persistent.PersistentSubscriptionsClient
	now     atomic.Int64
	ticks   chan time.Time
}

// serveBare serves a group "g" on stream "s", from its start. store is what the
// service sees of the rig's store.
func serveBare(t testing.TB, store func(eventstore.Store) eventstore.Store, changes ...func(*persistent.CreateReq_Options)) *bare {
	t.Helper()
	b := &bare{rig: &rig{TB: t, store: openStore(t)}, ticks: make(chan time.Time)}
	b.now.Store(time.Now().UnixNano())
	service, err := groups.New(t.Context(), groups.Options{
		Store: store(b.rig.store), Guard: access.Open(), Logger: slog.New(slog.DiscardHandler),
		Now:   func() time.Time { return time.Unix(0, b.now.Load()) },
		Ticks: func(time.Duration) (<-chan time.Time, func()) { return b.ticks, func() {} },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.serve(service)
	if _, err := b.raw.Create(t.Context(), createRequest("s", "g", changes...)); err != nil {
		t.Fatal(err)
	}
	return b
}

// serve answers with the service from now on.
func (b *bare) serve(service *groups.Service) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer()
	persistent.RegisterPersistentSubscriptionsServer(server, service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	b.Cleanup(func() {
		service.Close()
		server.Stop()
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	b.service, b.server = service, &esdbservertest.Server{Address: listener.Addr().String()}
	b.raw = b.rig.raw()
}

func whole(s eventstore.Store) eventstore.Store { return s }

// tick moves the clock and has the group look at it.
func (b *bare) tick(d time.Duration) {
	b.now.Add(int64(d))
	select {
	case b.ticks <- time.Time{}:
	case <-time.After(patience):
		b.Fatal("the group does not look at its clock")
	}
}

func (b *bare) status() *persistent.SubscriptionInfo {
	b.Helper()
	resp, err := b.raw.GetInfo(b.Context(), &persistent.GetInfoReq{Options: &persistent.GetInfoReq_Options{
		GroupName: "g", StreamOption: &persistent.GetInfoReq_Options_StreamIdentifier{StreamIdentifier: name("s")}}})
	if err != nil {
		b.Fatal(err)
	}
	return resp.GetSubscriptionInfo()
}

func (b *bare) open(slots int32) persistent.PersistentSubscriptions_ReadClient {
	b.Helper()
	stream := openRaw(b, b.raw, readRequest("s", "g", slots))
	confirmed(b, stream, "s::g")
	return stream
}

func TestCheckpointByTime(t *testing.T) {
	b := serveBare(t, whole, func(o *persistent.CreateReq_Options) { o.Settings.MinCheckpointCount = 2 })
	b.write("s", names("e", 5)...)
	stream := b.open(10)
	var ids []*persistent.ReadResp_ReadEvent
	for range 5 {
		ids = append(ids, event(t, stream))
	}
	ack := func(e *persistent.ReadResp_ReadEvent) {
		t.Helper()
		before := b.status().TotalInFlightMessages
		if err := stream.Send(ackOf(e.GetEvent().GetId())); err != nil {
			t.Fatal(err)
		}
		b.until("the ack has come", func() bool { return b.status().TotalInFlightMessages == before-1 })
	}
	ack(ids[0])
	b.tick(10 * time.Second)
	equal(t, b.status().LastCheckpointedEventPosition, "") // one is too few
	ack(ids[2])
	ack(ids[1])
	b.tick(0)
	equal(t, b.status().LastCheckpointedEventPosition, "2")
	ack(ids[3])
	ack(ids[4])
	b.tick(1900 * time.Millisecond)
	equal(t, b.status().LastCheckpointedEventPosition, "2")
	b.tick(100 * time.Millisecond)
	equal(t, b.status().LastCheckpointedEventPosition, "4")
}

// Consumers that take nothing hold nobody up, and cost no more than their
// slots, however much they have in flight.
func TestSilentConsumers(t *testing.T) {
	b := serveBare(t, whole, func(o *persistent.CreateReq_Options) { o.Settings.MaxRetryCount = 1_000_000 })
	b.open(50) // and they read no more
	b.open(50)
	const n, size = 100, 500 << 10 // 50 MB
	before := heap()
	for i := range n {
		data := append(bytes.Repeat([]byte("x"), size), fmt.Sprint(i)...)
		b.append("s", eventstore.Event{ID: uuid.New(), Type: "T", Data: data})
	}
	b.until("they have all", func() bool { return b.status().TotalInFlightMessages == n })
	if grown := heap() - before; grown > 16 {
		t.Errorf("memory grew by %d MB", grown)
	}
	other := b.open(1)
	next := make(chan *persistent.ReadResp_ReadEvent)
	go func() {
		defer close(next)
		for {
			resp, err := other.Recv()
			if err != nil {
				return
			}
			next <- resp.GetEvent()
		}
	}()
	seen := map[string]bool{}
	deadline := time.After(patience)
	for len(seen) < n {
		select {
		case e := <-next:
			seen[string(e.GetEvent().GetData()[size:])] = true
			if err := other.Send(ackOf(e.GetEvent().GetId())); err != nil {
				t.Fatal(err)
			}
		case <-deadline:
			t.Fatalf("only %d of %d events came", len(seen), n)
		case <-time.After(50 * time.Millisecond):
			// What the silent ones have had for too long goes round.
			b.tick(time.Minute)
		}
	}
	if grown := heap() - before; grown > 16 {
		t.Errorf("memory grew by %d MB", grown)
	}
}

// heap is the memory in use, in MB.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc >> 20)
}

// sick is a store whose appends to parked streams and checkpoints fail while it
// is said so.
type sick struct {
	eventstore.Store
	ill      atomic.Bool
	attempts atomic.Int64
	deaf     atomic.Bool // the log cannot be followed
}

func (s *sick) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	if s.deaf.Load() {
		s.attempts.Add(1)
		return nil, errors.New("the network is down")
	}
	return s.Store.Subscribe(ctx, from, filter)
}

func (s *sick) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	if strings.HasPrefix(stream, "$persistentsubscription-") && s.ill.Load() {
		s.attempts.Add(1)
		return eventstore.Appended{}, errors.New("the disk is on fire")
	}
	return s.Store.Append(ctx, stream, expected, events)
}

// What cannot be parked now is parked later, and the checkpoint waits for it.
func TestParkingFails(t *testing.T) {
	store := &sick{}
	b := serveBare(t, func(s eventstore.Store) eventstore.Store { store.Store = s; return store },
		func(o *persistent.CreateReq_Options) {
			o.Settings.MinCheckpointCount, o.Settings.MaxCheckpointCount = 1, 1
		})
	b.write("s", "e0", "e1")
	stream := b.open(1)
	id := event(t, stream).GetEvent().GetId()
	store.ill.Store(true)
	park := &persistent.ReadReq_Nack{Ids: []*shared.UUID{id}, Action: persistent.ReadReq_Nack_Park}
	if err := stream.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Nack_{Nack: park}}); err != nil {
		t.Fatal(err)
	}
	b.until("it was tried", func() bool { return store.attempts.Load() == 1 })
	b.tick(time.Second)
	b.tick(time.Second)
	b.until("it was tried again", func() bool { return store.attempts.Load() >= 2 })
	if s := b.status(); s.LastCheckpointedEventPosition != "" || s.TotalInFlightMessages != 1 {
		t.Errorf("%v", s)
	}
	store.ill.Store(false)
	b.tick(time.Second)
	equal(t, string(event(t, stream).GetEvent().GetData()), "e1")
	equal(t, b.parked("s", "g"), []string{"0@s Client explicitly NAK'ed message.\n"})
	b.until("the checkpoint is written", func() bool { return b.status().LastCheckpointedEventPosition == "0" })
}

// Nothing but timeouts and checkpoints waits for a tick.
func TestReplayWaitsForNoTick(t *testing.T) {
	b := serveBare(t, whole)
	b.write("s", "e0")
	stream := b.open(1)
	park := &persistent.ReadReq_Nack{Ids: []*shared.UUID{event(t, stream).GetEvent().GetId()}, Action: persistent.ReadReq_Nack_Park}
	if err := stream.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Nack_{Nack: park}}); err != nil {
		t.Fatal(err)
	}
	b.until("it is parked", func() bool { return b.status().ParkedMessageCount == 1 })
	_, err := b.raw.ReplayParked(t.Context(), &persistent.ReplayParkedReq{Options: &persistent.ReplayParkedReq_Options{
		GroupName: "g", StreamOption: &persistent.ReplayParkedReq_Options_StreamIdentifier{StreamIdentifier: name("s")}}})
	if err != nil {
		t.Fatal(err)
	}
	if e := event(t, stream); e.GetLink() == nil || string(e.GetEvent().GetData()) != "e0" {
		t.Errorf("%v", e)
	}
}

// What was written while the log could not be followed is delivered when it
// can be again.
func TestLogThatCannotBeFollowed(t *testing.T) {
	store := &sick{}
	b := serveBare(t, func(s eventstore.Store) eventstore.Store { store.Store = s; return store })
	store.deaf.Store(true)
	stream := b.open(10)
	b.until("it was tried", func() bool { return store.attempts.Load() > 0 })
	b.write("s", "e0")
	store.deaf.Store(false)
	equal(t, string(event(t, stream).GetEvent().GetData()), "e0")
	b.write("s", "e1")
	equal(t, string(event(t, stream).GetEvent().GetData()), "e1")
}

// A server that ends without its last checkpoint goes on from the one before:
// events come again, none is left out.
func TestEndWithoutLastCheckpoint(t *testing.T) {
	store := &sick{}
	b := serveBare(t, func(s eventstore.Store) eventstore.Store { store.Store = s; return store },
		func(o *persistent.CreateReq_Options) {
			o.Settings.MinCheckpointCount, o.Settings.MaxCheckpointCount = 2, 2
		})
	b.write("s", names("e", 5)...)
	stream := b.open(5)
	for i := range 5 {
		if i == 2 {
			b.until("the first two are noted", func() bool { return b.status().LastCheckpointedEventPosition == "1" })
			store.ill.Store(true)
		}
		if err := stream.Send(ackOf(event(t, stream).GetEvent().GetId())); err != nil {
			t.Fatal(err)
		}
	}
	b.until("all is done", func() bool { return b.status().TotalInFlightMessages == 0 })
	b.service.Close()

	service, err := groups.New(t.Context(), groups.Options{Store: b.rig.store, Guard: access.Open()})
	if err != nil {
		t.Fatal(err)
	}
	b.serve(service)
	stream = b.open(5)
	for _, want := range []string{"e2", "e3", "e4"} {
		equal(t, string(event(t, stream).GetEvent().GetData()), want)
	}
}

// What somebody else wrote among definitions or checkpoints is said, and passed
// over.
func TestForeignEventsAmongDefinitions(t *testing.T) {
	for stream, data := range map[string]string{
		"$persistentSubscriptionConfig":           "not JSON",
		"$persistentsubscription-s::g-checkpoint": `"C:1/P:1"`,
	} {
		b := serveBare(t, whole)
		b.service.Close()
		b.write(stream, data)
		var logged bytes.Buffer
		service, err := groups.New(t.Context(), groups.Options{Store: b.rig.store, Guard: access.Open(), Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		b.serve(service)
		b.status()
		if !strings.Contains(logged.String(), stream) {
			t.Errorf("%s: logged is %q", stream, logged.String())
		}
	}
}
