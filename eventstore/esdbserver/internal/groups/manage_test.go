package groups_test

//lint:file-ignore SA1019 clients of older protocols send the deprecated fields

import (
	"math"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

func TestUnknownGroup(t *testing.T) {
	r := serve(t)
	ctx, raw := t.Context(), r.raw()
	for name, call := range map[string]func(*metadata.MD) error{
		"update": func(md *metadata.MD) error {
			_, err := raw.Update(ctx, updateRequest("s", "g"), grpc.Trailer(md))
			return err
		},
		"delete": func(md *metadata.MD) error {
			_, err := raw.Delete(ctx, &persistent.DeleteReq{Options: &persistent.DeleteReq_Options{
				GroupName: "g", StreamOption: &persistent.DeleteReq_Options_StreamIdentifier{StreamIdentifier: name("s")}}}, grpc.Trailer(md))
			return err
		},
		"info": func(md *metadata.MD) error {
			_, err := raw.GetInfo(ctx, &persistent.GetInfoReq{Options: &persistent.GetInfoReq_Options{
				GroupName: "g", StreamOption: &persistent.GetInfoReq_Options_StreamIdentifier{StreamIdentifier: name("s")}}}, grpc.Trailer(md))
			return err
		},
		"replay": func(md *metadata.MD) error {
			_, err := raw.ReplayParked(ctx, &persistent.ReplayParkedReq{Options: &persistent.ReplayParkedReq_Options{
				GroupName: "g", StreamOption: &persistent.ReplayParkedReq_Options_StreamIdentifier{StreamIdentifier: name("s")}}}, grpc.Trailer(md))
			return err
		},
		"read": func(md *metadata.MD) error {
			_, err := openRaw(t, raw, readRequest("s", "g", 10), grpc.Trailer(md)).Recv()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var md metadata.MD
			refused(t, call(&md), md, codes.NotFound, "exception=persistent-subscription-does-not-exist", "stream-name=s", "group-name=g")
		})
	}
	var md metadata.MD
	_, err := raw.GetInfo(ctx, &persistent.GetInfoReq{Options: &persistent.GetInfoReq_Options{GroupName: "g", StreamOption: &persistent.GetInfoReq_Options_All{}}}, grpc.Trailer(&md))
	refused(t, err, md, codes.NotFound, "stream-name=$all", "group-name=g")
}

func name(stream string) *shared.StreamIdentifier {
	return &shared.StreamIdentifier{StreamName: []byte(stream)}
}

func TestExistingGroup(t *testing.T) {
	r := serve(t)
	raw := r.raw()
	for range 2 {
		var md metadata.MD
		_, err := raw.Create(t.Context(), createRequest("s", "g"), grpc.Trailer(&md))
		if err != nil {
			refused(t, err, md, codes.AlreadyExists, "exception=persistent-subscription-exists", "stream-name=s", "group-name=g")
			return
		}
	}
	t.Error("a group was created twice")
}

// Two groups whose progress would be in the same streams are one group.
func TestGroupsOfOneID(t *testing.T) {
	r := serve(t)
	r.create("a", "b::c", esdb.Start{}, nil)
	err := r.CreatePersistentSubscription(t.Context(), "a::b", "c", esdb.PersistentStreamSubscriptionOptions{})
	equal(t, code(err), esdb.ErrorCodeResourceAlreadyExists)
}

// createRequest is a good one, of a group that begins at the start; changes
// spoil it.
func createRequest(stream, group string, changes ...func(*persistent.CreateReq_Options)) *persistent.CreateReq {
	o := &persistent.CreateReq_Options{
		GroupName: group,
		StreamOption: &persistent.CreateReq_Options_Stream{Stream: &persistent.CreateReq_StreamOptions{
			StreamIdentifier: name(stream), RevisionOption: &persistent.CreateReq_StreamOptions_Start{}}},
		Settings: &persistent.CreateReq_Settings{
			MaxRetryCount: 10, MinCheckpointCount: 10, MaxCheckpointCount: 1000, LiveBufferSize: 500, ReadBatchSize: 20, HistoryBufferSize: 500,
			NamedConsumerStrategy: persistent.CreateReq_RoundRobin,
			MessageTimeout:        &persistent.CreateReq_Settings_MessageTimeoutMs{MessageTimeoutMs: 30_000},
			CheckpointAfter:       &persistent.CreateReq_Settings_CheckpointAfterMs{CheckpointAfterMs: 2000},
		},
	}
	for _, change := range changes {
		change(o)
	}
	return &persistent.CreateReq{Options: o}
}

func updateRequest(stream, group string) *persistent.UpdateReq {
	return &persistent.UpdateReq{Options: &persistent.UpdateReq_Options{
		GroupName: group,
		StreamOption: &persistent.UpdateReq_Options_Stream{Stream: &persistent.UpdateReq_StreamOptions{
			StreamIdentifier: name(stream), RevisionOption: &persistent.UpdateReq_StreamOptions_Start{}}},
		Settings: &persistent.UpdateReq_Settings{
			MaxRetryCount: 3, MaxCheckpointCount: 7, LiveBufferSize: 100, ReadBatchSize: 10, HistoryBufferSize: 100,
			NamedConsumerStrategy: persistent.UpdateReq_Pinned,
			MessageTimeout:        &persistent.UpdateReq_Settings_MessageTimeoutTicks{MessageTimeoutTicks: 50_000_000},
			CheckpointAfter:       &persistent.UpdateReq_Settings_CheckpointAfterTicks{},
		},
	}}
}

func all(o *persistent.CreateReq_AllOptions) func(*persistent.CreateReq_Options) {
	return func(options *persistent.CreateReq_Options) {
		options.StreamOption = &persistent.CreateReq_Options_All{All: o}
	}
}

func at(commit, prepare uint64) *persistent.CreateReq_AllOptions {
	return &persistent.CreateReq_AllOptions{AllOption: &persistent.CreateReq_AllOptions_Position{
		Position: &persistent.CreateReq_Position{CommitPosition: commit, PreparePosition: prepare}}}
}

func TestGroupsThatCannotBe(t *testing.T) {
	r := serve(t)
	raw := r.raw()
	for name, change := range map[string]func(*persistent.CreateReq_Options){
		"unknown strategy":         func(o *persistent.CreateReq_Options) { o.Settings.ConsumerStrategy = "Fair" },
		"unknown legacy strategy":  func(o *persistent.CreateReq_Options) { o.Settings.NamedConsumerStrategy = 9 },
		"batch as large as buffer": func(o *persistent.CreateReq_Options) { o.Settings.ReadBatchSize = 500 },
		"no batch":                 func(o *persistent.CreateReq_Options) { o.Settings.ReadBatchSize = 0 },
		"negative buffer":          func(o *persistent.CreateReq_Options) { o.Settings.LiveBufferSize = -1 },
		"negative retries":         func(o *persistent.CreateReq_Options) { o.Settings.MaxRetryCount = -1 },
		"negative timeout": func(o *persistent.CreateReq_Options) {
			o.Settings.MessageTimeout = &persistent.CreateReq_Settings_MessageTimeoutMs{MessageTimeoutMs: -1}
		},
		"endless checkpoint time": func(o *persistent.CreateReq_Options) {
			o.Settings.CheckpointAfter = &persistent.CreateReq_Settings_CheckpointAfterTicks{CheckpointAfterTicks: math.MaxInt64}
		},
		"no settings":           func(o *persistent.CreateReq_Options) { o.Settings = nil },
		"no group":              func(o *persistent.CreateReq_Options) { o.GroupName = "" },
		"$all as a stream":      func(o *persistent.CreateReq_Options) { o.GetStream().StreamIdentifier = nil },
		"no stream":             func(o *persistent.CreateReq_Options) { o.StreamOption = nil },
		"name that is not text": func(o *persistent.CreateReq_Options) { o.GetStream().StreamIdentifier = name("\xff") },
		"name without end":      func(o *persistent.CreateReq_Options) { o.GroupName = strings.Repeat("g", 5000) },
		"negative start":        startAt(1<<64 - 3),
		"start past any event":  startAt(math.MaxInt64),
		"beyond the log":        all(at(1000, 1000)),
		"prepare after commit":  all(at(1, 2)),
		"only one is the end":   all(at(1<<64-1, 5)),
	} {
		t.Run(name, func(t *testing.T) {
			var md metadata.MD
			request := createRequest("s", "g", change)
			if strings.HasPrefix(name, "$all") {
				request = createRequest("$all", "g")
			}
			_, err := raw.Create(t.Context(), request, grpc.Trailer(&md))
			refused(t, err, md, codes.Internal, "exception=persistent-subscription-failed", "group-name="+request.Options.GroupName)
			if len(md.Get("reason")) != 1 || len(md.Get("stream-name")) != 1 {
				t.Errorf("trailers %v", md)
			}
		})
	}
	for name, f := range map[string]*persistent.CreateReq_AllOptions_FilterOptions{
		"filter of nothing":     {},
		"filter that is broken": {Filter: &persistent.CreateReq_AllOptions_FilterOptions_EventType{EventType: &persistent.CreateReq_AllOptions_FilterOptions_Expression{Regex: "("}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := at(0, 0)
			o.FilterOption = &persistent.CreateReq_AllOptions_Filter{Filter: f}
			_, err := raw.Create(t.Context(), createRequest("", "g", all(o)))
			refused(t, err, nil, codes.InvalidArgument)
		})
	}
	list, err := raw.List(t.Context(), listAll())
	if err != nil || len(list.Subscriptions) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func startAt(revision uint64) func(*persistent.CreateReq_Options) {
	return func(o *persistent.CreateReq_Options) {
		o.GetStream().RevisionOption = &persistent.CreateReq_StreamOptions_Revision{Revision: revision}
	}
}

func listAll() *persistent.ListReq {
	return &persistent.ListReq{Options: &persistent.ListReq_Options{ListOption: &persistent.ListReq_Options_ListAllSubscriptions{}}}
}

// What clients of older protocols send.
func TestLegacyCreate(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 4)...)
	for group, c := range map[string]struct {
		revision uint64
		want     []string
	}{"revision": {2, []string{"e2", "e3", "new"}}, "end": {1<<64 - 1, []string{"new"}}} {
		_, err := r.raw().Create(t.Context(), createRequest("", group, func(o *persistent.CreateReq_Options) {
			o.StreamOption, o.StreamIdentifier, o.Settings.Revision = nil, name("s-"+group), c.revision
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.raw().Create(t.Context(), createRequest("", "two", func(o *persistent.CreateReq_Options) {
		o.StreamOption, o.StreamIdentifier, o.Settings.Revision = nil, name("s"), 2
	}))
	if err != nil {
		t.Fatal(err)
	}
	r.consume("s", "two", 10).expect("e2", "e3")
	_, err = r.raw().Update(t.Context(), &persistent.UpdateReq{Options: &persistent.UpdateReq_Options{
		StreamIdentifier: name("s"), GroupName: "two", Settings: updateRequest("", "").Options.Settings}})
	if err != nil {
		t.Fatal(err)
	}
	r.consume("s", "two", 10).expect("e0", "e1")
	equal(t, r.info("s-end", "end").Settings.StartFrom, any(esdb.End{}))
}

func TestUpdate(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 5)...)
	r.createAll("filtered", esdb.Start{}, &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"s"}}, nil)
	r.create("s", "g", esdb.StreamRevision{Value: 1}, nil)
	c := r.consume("s", "g", 2)
	c.ack(c.expect("e1", "e2")...)
	c.expect("e3", "e4")
	var md metadata.MD
	if _, err := r.raw().Update(t.Context(), updateRequest("s", "g"), grpc.Trailer(&md)); err != nil {
		t.Fatal(err)
	}
	refused(t, c.dropped(), nil, codes.Canceled)
	info := r.info("s", "g")
	equal(t, info.Settings.StartFrom, any(esdb.Start{}))
	equal(t, *info.Settings, esdb.PersistentSubscriptionSettings{
		StartFrom: esdb.Start{}, MessageTimeout: 5000, CheckpointAfter: math.MaxInt32, MaxRetryCount: 3, CheckpointUpperBound: 7,
		LiveBufferSize: 100, HistoryBufferSize: 100, ReadBatchSize: 10, ConsumerStrategyName: esdb.ConsumerStrategyPinned,
	})
	// The new start does not count any more, and what was done is done.
	r.consume("s", "g", 10).expect("e3", "e4")

	// An update has no filter: the group keeps its own.
	if err := r.UpdatePersistentSubscriptionToAll(t.Context(), "filtered", esdb.PersistentAllSubscriptionOptions{StartFrom: esdb.End{}, Settings: settings()}); err != nil {
		t.Fatal(err)
	}
	equal(t, r.info("$all", "filtered").Settings.StartFrom, any(esdb.Start{})) // Go's client says start for end
	r.consume("$all", "filtered", 10).expect("e0", "e1", "e2", "e3", "e4")
}

func TestDropTrailers(t *testing.T) {
	r := serve(t)
	r.create("s", "g", esdb.Start{}, nil)
	var md metadata.MD
	stream := openRaw(t, r.raw(), readRequest("s", "g", 1), grpc.Trailer(&md))
	confirmed(t, stream, "s::g")
	if err := r.DeletePersistentSubscription(t.Context(), "s", "g", esdb.DeletePersistentSubscriptionOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := stream.Recv()
	refused(t, err, md, codes.Canceled, "exception=persistent-subscription-dropped", "stream-name=s", "group-name=g")
}

// A group that is created again under its name knows nothing of the one before.
func TestDelete(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 4)...)
	for range 3 {
		r.create("s", "g", esdb.Start{}, settings(eager))
		c := r.consume("s", "g", 1)
		c.ack(c.expect("e0")...)
		c.nack(esdb.NackActionPark, c.expect("e1")...)
		c.expect("e2")
		r.until("progress is written", func() bool {
			s := r.info("s", "g").Stats
			return s.ParkedMessagesCount == 1 && s.LastCheckpointedEventRevision != nil && *s.LastCheckpointedEventRevision == 1
		})
		if err := r.DeletePersistentSubscription(t.Context(), "s", "g", esdb.DeletePersistentSubscriptionOptions{}); err != nil {
			t.Fatal(err)
		}
		refused(t, c.dropped(), nil, codes.Canceled)
		for _, suffix := range []string{"checkpoint", "parked"} {
			for rec, err := range r.store.ReadStream(t.Context(), "$persistentsubscription-s::g-"+suffix, 0, eventstore.Forwards, 0) {
				if err == nil {
					t.Errorf("%s has %s", suffix, rec.Data)
				}
			}
		}
		_, err := r.SubscribeToPersistentSubscription(t.Context(), "s", "g", esdb.SubscribeToPersistentSubscriptionOptions{})
		equal(t, code(err), esdb.ErrorCodeResourceNotFound)
	}
}

func TestMaxSubscribers(t *testing.T) {
	r := serve(t)
	r.create("s", "g", esdb.Start{}, settings(func(s *esdb.PersistentSubscriptionSettings) { s.MaxSubscriberCount = 1 }))
	first := r.consume("s", "g", 1)
	var md metadata.MD
	_, err := openRaw(t, r.raw(), readRequest("s", "g", 1), grpc.Trailer(&md)).Recv()
	refused(t, err, md, codes.FailedPrecondition, "exception=maximum-subscribers-reached", "stream-name=s", "group-name=g")
	if !strings.HasSuffix(err.Error(), "desc = Maximum subscriptions reached for subscription group g on stream s.") {
		t.Error(err) // Python's client looks at the text
	}
	first.close()
	r.until("the first has left", func() bool { return len(r.info("s", "g").Connections) == 0 })
	r.consume("s", "g", 1)
}

func TestInfo(t *testing.T) {
	r := serve(t)
	r.write("s", names("e", 9)...)
	r.create("s", "g", esdb.StreamRevision{Value: 2}, settings(eager, func(s *esdb.PersistentSubscriptionSettings) {
		s.ExtraStatistics, s.MaxSubscriberCount, s.ReadBatchSize, s.CheckpointAfter = true, 3, 7, 0
	}))
	c := r.consume("s", "g", 3)
	c.ack(c.expect("e2", "e3")...)
	c.expect("e4", "e5", "e6")
	var info *esdb.PersistentSubscriptionInfo
	r.until("the checkpoint is written", func() bool {
		info = r.info("s", "g")
		return info.Stats.LastCheckpointedEventRevision != nil && *info.Stats.LastCheckpointedEventRevision == 3
	})
	want := settings(eager)
	want.StartFrom, want.ExtraStatistics, want.MaxSubscriberCount, want.ReadBatchSize = esdb.Revision(2), true, 3, 7
	want.CheckpointAfter = math.MaxInt32
	equal(t, info.Settings, want)
	equal(t, info.EventSource+" "+info.GroupName+" "+info.Status, "s g Live")
	s := info.Stats
	if *s.LastKnownEventRevision != 8 || s.TotalItems != 5 || s.TotalInFlightMessages != 3 || s.LiveBufferCount != 2 || s.ParkedMessagesCount != 0 {
		t.Errorf("%+v", s)
	}
	if len(info.Connections) != 1 {
		t.Fatalf("connections: %+v", info.Connections)
	}
	conn := info.Connections[0]
	if !strings.HasPrefix(conn.From, "127.0.0.1:") || conn.Username != "anonymous" || conn.ConnectionName != "<unknown>" ||
		conn.InFlightMessages != 3 || conn.AvailableSlots != 0 || conn.TotalItemsProcessed != 5 || len(conn.ExtraStatistics) != 14 {
		t.Errorf("%+v", conn)
	}
}

func TestInfoOfGroupsOnTheLog(t *testing.T) {
	r := serve(t)
	r.createAll("g", esdb.Position{Commit: 1, Prepare: 1}, nil, nil)
	info := r.info("$all", "g")
	equal(t, info.Settings.StartFrom, any(&esdb.Position{Commit: 1, Prepare: 1}))
	if info.Stats.LastKnownPosition == nil || info.Stats.LastKnownPosition.Commit == 0 || info.Stats.LastCheckpointedPosition != nil {
		t.Errorf("%+v", info.Stats)
	}
	r.createAll("end", esdb.End{}, nil, nil)
	equal(t, r.info("$all", "end").Settings.StartFrom, any(esdb.End{}))
}

func TestList(t *testing.T) {
	r := serve(t)
	ctx, o := t.Context(), esdb.ListPersistentSubscriptionsOptions{}
	groups := func(list []esdb.PersistentSubscriptionInfo, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, info := range list {
			out = append(out, info.EventSource+"::"+info.GroupName)
		}
		return strings.Join(out, " ")
	}
	equal(t, groups(r.ListAllPersistentSubscriptions(ctx, o)), "")
	for _, stream := range []string{"s", "$all"} {
		_, err := r.ListPersistentSubscriptionsForStream(ctx, stream, o)
		equal(t, code(err), esdb.ErrorCodeResourceNotFound)
	}
	r.create("s", "b", esdb.Start{}, nil)
	r.create("s", "a", esdb.Start{}, nil)
	r.create("/other/s", "/g/", esdb.Start{}, nil)
	r.createAll("l", esdb.Start{}, nil, nil)
	equal(t, groups(r.ListAllPersistentSubscriptions(ctx, o)), "$all::l /other/s::/g/ s::a s::b")
	equal(t, groups(r.ListPersistentSubscriptionsForStream(ctx, "s", o)), "s::a s::b")
	equal(t, groups(r.ListPersistentSubscriptionsToAll(ctx, o)), "$all::l")
}

func TestRestartSubsystem(t *testing.T) {
	r := serve(t)
	r.write("s", "e0", "e1")
	r.create("s", "g", esdb.Start{}, nil)
	c := r.consume("s", "g", 1)
	c.ack(c.expect("e0")...)
	c.expect("e1")
	if err := r.RestartPersistentSubscriptionSubsystem(t.Context(), esdb.RestartPersistentSubscriptionSubsystemOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(t, c.dropped(), nil, codes.Canceled)
	r.consume("s", "g", 1).expect("e1")
}

// Groups are the business of $admins and $ops; to consume one must be allowed
// to read the stream.
func TestRights(t *testing.T) {
	r := serve(t)
	secured, caFile := esdbservertest.Secure(t, esdbserver.Options{Store: r.store, Users: []esdbserver.User{{Login: "ann", Password: "secret"}}})
	address := esdbservertest.Start(t, secured)
	as := func(login string) *esdb.Client {
		return esdbservertest.Client(t, esdbservertest.SecureConnection(address, login, caFile))
	}
	admin, ops, ann, nobody := as("admin:changeit"), as("ops:changeit"), as("ann:secret"), as("")
	ctx := t.Context()
	create := func(c *esdb.Client, stream string) error {
		return c.CreatePersistentSubscription(ctx, stream, "g", esdb.PersistentStreamSubscriptionOptions{})
	}
	for _, c := range []*esdb.Client{admin, ops} {
		if err := create(c, "s"); err != nil {
			t.Fatal(err)
		}
		if err := c.DeletePersistentSubscription(ctx, "s", "g", esdb.DeletePersistentSubscriptionOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(admin, "s"); err != nil {
		t.Fatal(err)
	}
	if err := create(admin, "$settings"); err != nil {
		t.Fatal(err)
	}
	read := func(c *esdb.Client, stream string) error {
		sub, err := c.SubscribeToPersistentSubscription(ctx, stream, "g", esdb.SubscribeToPersistentSubscriptionOptions{})
		if err == nil {
			sub.Close()
		}
		return err
	}
	info := func(c *esdb.Client) error {
		_, err := c.GetPersistentSubscriptionInfo(ctx, "s", "g", esdb.GetPersistentSubscriptionOptions{})
		return err
	}
	list := func(c *esdb.Client) error {
		_, err := c.ListAllPersistentSubscriptions(ctx, esdb.ListPersistentSubscriptionsOptions{})
		return err
	}
	for name, err := range map[string]error{
		"ann reads s": read(ann, "s"), "ann asks": info(ann), "ann lists": list(ann), "admin reads $settings": read(admin, "$settings"),
		"ops restarts": ops.RestartPersistentSubscriptionSubsystem(ctx, esdb.RestartPersistentSubscriptionSubsystemOptions{}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"ann creates": create(ann, "t"), "ann reads $settings": read(ann, "$settings"),
		"ann updates":  ann.UpdatePersistentSubscription(ctx, "s", "g", esdb.PersistentStreamSubscriptionOptions{Settings: settings()}),
		"ann deletes":  ann.DeletePersistentSubscription(ctx, "s", "g", esdb.DeletePersistentSubscriptionOptions{}),
		"ann replays":  ann.ReplayParkedMessages(ctx, "s", "g", esdb.ReplayParkedMessagesOptions{}),
		"ann restarts": ann.RestartPersistentSubscriptionSubsystem(ctx, esdb.RestartPersistentSubscriptionSubsystemOptions{}),
		"nobody reads": read(nobody, "s"), "nobody asks": info(nobody), "nobody lists": list(nobody), "nobody creates": create(nobody, "t"),
	} {
		if code(err) != esdb.ErrorCodeAccessDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A link that anybody can write shows a consumer no stream of the system.
func TestLinksToSystemStreams(t *testing.T) {
	r := serve(t)
	secured, caFile := esdbservertest.Secure(t, esdbserver.Options{Store: r.store, Users: []esdbserver.User{{Login: "ann", Password: "secret"}}})
	address := esdbservertest.Start(t, secured)
	r.write("open", "e")
	for _, target := range []string{"0@$user-admin", "0@open"} {
		r.append("mine", eventstore.Event{ID: uuid.New(), Type: "$>", Data: []byte(target)})
	}
	r.Client = esdbservertest.Client(t, esdbservertest.SecureConnection(address, "admin:changeit", caFile))
	for login, want := range map[string][]string{"ann:secret": {"", "open"}, "admin:changeit": {"$user-admin", "open"}} {
		group, _, _ := strings.Cut(login, ":")
		r.create("mine", group, esdb.Start{}, settings(func(s *esdb.PersistentSubscriptionSettings) { s.ResolveLinkTos = true }))
		client := esdbservertest.Client(t, esdbservertest.SecureConnection(address, login, caFile))
		sub, err := client.SubscribeToPersistentSubscription(t.Context(), "mine", group, esdb.SubscribeToPersistentSubscriptionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, stream := range want {
			e := sub.Recv()
			if e.EventAppeared == nil {
				t.Fatal(e.SubscriptionDropped.Error)
			}
			got := ""
			if event := e.EventAppeared.Event.Event; event != nil {
				got = event.StreamID
			}
			equal(t, got, stream)
		}
		sub.Close()
	}
}
