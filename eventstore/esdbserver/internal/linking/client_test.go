package linking_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// patience is how long tests wait for what must come.
const patience = time.Minute

// rig is a protocol server over a store of its own, and the official client.
type rig struct {
	*testing.T
	store       *sqlite.Store
	server      *esdbservertest.Server
	client      *esdb.Client
	projections *esdb.ProjectionClient
}

func serve(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, store: openStore(t)}
	r.server = esdbservertest.Run(t, esdbserver.Options{Store: r.store})
	r.client = esdbservertest.Client(t, esdbservertest.Insecure(r.server.Address))
	r.projections = esdb.NewProjectionClientFromExistingClient(r.client)
	return r
}

func openStore(t *testing.T) *sqlite.Store {
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

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// restart ends the server and starts another one on the same store.
func (r *rig) restart() {
	r.Helper()
	r.server.Stop()
	r.server.Start()
}

// eventually calls check until it is content.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	until := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (r *rig) append(stream string, n int) {
	r.Helper()
	for range n {
		_, err := r.client.AppendToStream(r.Context(), stream, esdb.AppendToStreamOptions{}, esdb.EventData{
			EventID: uuid.New(), EventType: "Placed", ContentType: esdb.ContentTypeJson, Data: []byte(`{}`),
		})
		r.must(err)
	}
}

// read is what the client gets from a stream with links resolved.
func (r *rig) read(stream string) (events []*esdb.ResolvedEvent) {
	r.Helper()
	read, err := r.client.ReadStream(r.Context(), stream, esdb.ReadStreamOptions{From: esdb.Start{}, ResolveLinkTos: true}, math.MaxInt64)
	r.must(err)
	defer read.Close()
	for {
		event, err := read.Recv()
		var failed *esdb.Error
		switch {
		case errors.Is(err, io.EOF), errors.As(err, &failed) && failed.Code() == esdb.ErrorCodeResourceNotFound:
			return events
		case err != nil:
			r.Fatal(err)
		}
		events = append(events, event)
	}
}

// links waits until as many links are in a stream as are wanted, and wants
// them to be these: "<stream>/<revision>", or "-" for one without target.
func (r *rig) links(stream string, want ...string) {
	r.Helper()
	var got []string
	eventually(r.T, func() error {
		got = nil
		for _, e := range r.read(stream) {
			switch {
			case e.Link == nil || e.Link.EventType != "$>":
				got = append(got, "no link")
			case e.Event == nil:
				got = append(got, "-")
			default:
				got = append(got, fmt.Sprintf("%s/%d", e.Event.StreamID, e.Event.EventNumber))
			}
		}
		if len(got) < len(want) {
			return fmt.Errorf("%s has %q, want %q", stream, got, want)
		}
		return nil
	})
	if !slices.Equal(got, want) {
		r.Errorf("%s has %q, want %q", stream, got, want)
	}
}

func (r *rig) status(name string) *esdb.ProjectionStatus {
	r.Helper()
	status, err := r.projections.GetStatus(r.Context(), name, esdb.GenericProjectionOptions{})
	r.must(err)
	return status
}

func (r *rig) enable(names ...string) {
	r.Helper()
	for _, name := range names {
		r.must(r.projections.Enable(r.Context(), name, esdb.GenericProjectionOptions{}))
	}
}

func (r *rig) disable(name string) {
	r.Helper()
	r.must(r.projections.Disable(r.Context(), name, esdb.GenericProjectionOptions{}))
}

// TestLinksAreResolved: what the projections write, clients read and follow.
func TestLinksAreResolved(t *testing.T) {
	r := serve(t)
	r.append("order-1", 2)
	r.append("shop-9", 1)
	if got := r.read("$ce-order"); got != nil {
		t.Fatalf("nobody enabled a projection, and there are %d links", len(got))
	}
	r.enable("$by_category", "$by_event_type")
	r.links("$ce-order", "order-1/0", "order-1/1")
	r.links("$et-Placed", "order-1/0", "order-1/1", "shop-9/0")

	sub, err := r.client.SubscribeToStream(t.Context(), "$ce-order", esdb.SubscribeToStreamOptions{From: esdb.Start{}, ResolveLinkTos: true})
	r.must(err)
	defer sub.Close()
	r.append("order-2", 1)
	for _, want := range []string{"order-1/0", "order-1/1", "order-2/0"} {
		for {
			e := sub.Recv()
			if e.SubscriptionDropped != nil {
				t.Fatal(e.SubscriptionDropped.Error)
			}
			if e.EventAppeared == nil {
				continue
			}
			if got := fmt.Sprintf("%s/%d", e.EventAppeared.Event.StreamID, e.EventAppeared.Event.EventNumber); got != want || e.EventAppeared.OriginalEvent().StreamID != "$ce-order" {
				t.Fatalf("subscription got %s, want %s", got, want)
			}
			break
		}
	}
	// The source of a link can be found again.
	for _, e := range r.read("$ce-order") {
		var md struct {
			Commit   uint64 `json:"$c"`
			Prepare  uint64 `json:"$p"`
			Original string `json:"$o"`
			CausedBy string `json:"$causedBy"`
		}
		r.must(json.Unmarshal(e.Link.UserMetadata, &md))
		if md.Commit != e.Event.Position.Commit || md.Prepare != e.Event.Position.Prepare || md.Original != e.Event.StreamID || md.CausedBy != e.Event.EventID.String() {
			t.Errorf("link %s to %+v", e.Link.UserMetadata, e.Event)
		}
	}
}

// TestDeletedStreamsAndLinks: links to what is gone come without their event,
// and the deletion itself has a link.
func TestDeletedStreamsAndLinks(t *testing.T) {
	r := serve(t)
	r.enable("$by_category", "$by_event_type")
	r.append("order-1", 1)
	r.append("order-2", 1)
	_, err := r.client.DeleteStream(t.Context(), "order-1", esdb.DeleteStreamOptions{})
	r.must(err)
	_, err = r.client.TombstoneStream(t.Context(), "order-2", esdb.TombstoneStreamOptions{})
	r.must(err)
	r.links("$ce-order", "-", "-", "$$order-1/0", "-")
	r.links("$et-$deleted", "$$order-1/0", "-")
}

// TestRestartInTheMiddle: a server that is stopped and started goes on where
// it was, with what it was told.
func TestRestartInTheMiddle(t *testing.T) {
	r := serve(t)
	r.enable("$by_category")
	r.append("order-1", 2)
	r.links("$ce-order", "order-1/0", "order-1/1")
	r.restart()
	r.append("order-1", 1)
	r.links("$ce-order", "order-1/0", "order-1/1", "order-1/2")
	r.disable("$by_category")
	r.append("order-1", 1)
	r.restart()
	if got := r.status("$by_category").Status; got != "Stopped" {
		t.Errorf("a disabled projection is %s after a restart", got)
	}
	r.append("order-1", 1)
	r.enable("$by_category")
	r.links("$ce-order", "order-1/0", "order-1/1", "order-1/2", "order-1/3", "order-1/4")
	r.must(r.projections.RestartSubsystem(t.Context(), esdb.GenericProjectionOptions{}))
	r.append("order-1", 1)
	r.links("$ce-order", "order-1/0", "order-1/1", "order-1/2", "order-1/3", "order-1/4", "order-1/5")
}

// TestServerStartsProjections: with Options.Projections nobody has to.
func TestServerStartsProjections(t *testing.T) {
	r := serve(t)
	r.append("order-1", 1)
	r.server.Stop()
	r.server.Options.Projections = true
	r.server.Start()
	r.links("$ce-order", "order-1/0")
	r.links("$et-Placed", "order-1/0")
}

// TestReset: links that somebody deleted are written again, others are not.
func TestReset(t *testing.T) {
	r := serve(t)
	r.enable("$by_category")
	r.append("order-1", 2)
	r.append("shop-1", 2)
	r.links("$ce-order", "order-1/0", "order-1/1")
	r.links("$ce-shop", "shop-1/0", "shop-1/1")
	_, err := r.client.DeleteStream(t.Context(), "$ce-order", esdb.DeleteStreamOptions{})
	r.must(err)
	r.must(r.projections.Reset(t.Context(), "$by_category", esdb.ResetProjectionOptions{}))
	r.append("order-1", 1)
	r.append("shop-1", 1)
	r.links("$ce-order", "order-1/0", "order-1/1", "order-1/2")
	r.links("$ce-shop", "shop-1/0", "shop-1/1", "shop-1/2")
	if got := r.status("$by_category").Epoch; got != 0 {
		t.Errorf("the epoch after the first reset is %d", got)
	}
}

// TestForeignEventsBetweenLinks: what somebody else writes to a stream of links
// stays, and the links go on behind it; a tombstoned one holds up nothing.
func TestForeignEventsBetweenLinks(t *testing.T) {
	r := serve(t)
	r.enable("$by_category")
	r.append("order-1", 1)
	r.links("$ce-order", "order-1/0")
	r.append("$ce-order", 1)
	r.append("order-1", 1)
	eventually(t, func() error {
		if events := r.read("$ce-order"); len(events) != 3 || events[1].Link != nil || events[2].Event.EventNumber != 1 {
			return fmt.Errorf("$ce-order has %d events", len(events))
		}
		return nil
	})
	_, err := r.client.TombstoneStream(t.Context(), "$ce-order", esdb.TombstoneStreamOptions{})
	r.must(err)
	r.append("order-1", 1)
	r.append("shop-1", 1)
	r.links("$ce-shop", "shop-1/0")
	if got := r.status("$by_category").Status; got != "Running" {
		t.Errorf("the projection is %s", got)
	}
}

const script = `fromAll().when({$any: function(s, e) {}}).outputState()`

// TestManagement: the life of a projection of a user, which processes nothing,
// and is there after a restart.
func TestManagement(t *testing.T) {
	r := serve(t)
	ctx, p, none := t.Context(), r.projections, esdb.GenericProjectionOptions{}
	r.must(p.Create(ctx, "mine", script, esdb.CreateProjectionOptions{}))
	refused(t, "create again", p.Create(ctx, "mine", script, esdb.CreateProjectionOptions{}), codes.Unknown, "received Conflict instead")
	refused(t, "create a system projection", p.Create(ctx, "$by_category", script, esdb.CreateProjectionOptions{}), codes.Unknown, "received Conflict instead")
	refused(t, "create without a name", p.Create(ctx, "", script, esdb.CreateProjectionOptions{}), codes.Unknown, "Exception was thrown by handler")
	refused(t, "track without emit", p.Create(ctx, "tracked", script, esdb.CreateProjectionOptions{TrackEmittedStreams: true}), codes.Unknown, "Exception was thrown by handler")
	expectStatus := func(want string, version int64) {
		t.Helper()
		if s := r.status("mine"); s.Status != want || s.Version != version || s.Mode != "Continuous" || !strings.Contains(s.StateReason, "no JavaScript") {
			t.Errorf("%+v; want %s, version %d", s, want, version)
		}
	}
	expectStatus("Running", 0)
	r.must(p.Update(ctx, "mine", script+" ", esdb.UpdateProjectionOptions{}))
	expectStatus("Running", 1)
	refused(t, "delete what runs", p.Delete(ctx, "mine", esdb.DeleteProjectionOptions{}), codes.Unknown, "received OperationFailed instead")
	r.must(p.Abort(ctx, "mine", none))
	expectStatus("Aborted/Stopped", 1)
	r.restart()
	expectStatus("Aborted/Stopped", 1)
	r.must(p.Enable(ctx, "mine", none))
	r.must(p.Enable(ctx, "mine", none))
	expectStatus("Running", 1)
	for name, get := range map[string]func() (any, error){
		"state": func() (any, error) {
			v, err := p.GetState(ctx, "mine", esdb.GetStateProjectionOptions{})
			return v.GetStructValue().AsMap(), err
		},
		"result": func() (any, error) {
			v, err := p.GetResult(ctx, "mine", esdb.GetResultProjectionOptions{})
			return v.GetStructValue().AsMap(), err
		},
	} {
		if got, err := get(); err != nil || len(got.(map[string]any)) != 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	r.must(p.Reset(ctx, "mine", esdb.ResetProjectionOptions{}))
	r.must(p.Disable(ctx, "mine", none))
	expectStatus("Stopped", 1)
	r.must(p.Delete(ctx, "mine", esdb.DeleteProjectionOptions{}))
	r.restart()
	for name, err := range map[string]error{
		"enable": p.Enable(ctx, "mine", none), "disable": p.Disable(ctx, "mine", none),
		"update": p.Update(ctx, "mine", script, esdb.UpdateProjectionOptions{}),
		"delete": p.Delete(ctx, "mine", esdb.DeleteProjectionOptions{}),
		"reset":  p.Reset(ctx, "mine", esdb.ResetProjectionOptions{}),
	} {
		refused(t, name+" what is not there", err, codes.NotFound, "Projection 'mine' not found")
	}
	_, err := p.GetState(ctx, "mine", esdb.GetStateProjectionOptions{})
	refused(t, "state of what is not there", err, codes.NotFound, "Projection 'mine' not found")
	_, err = p.GetStatus(ctx, "mine", none)
	var failed *esdb.Error
	if !errors.As(err, &failed) || failed.Code() != esdb.ErrorCodeResourceNotFound {
		t.Errorf("status of what is not there: %v", err)
	}
	refused(t, "delete a system projection", p.Delete(ctx, "$by_category", esdb.DeleteProjectionOptions{}), codes.Unknown, "received OperationFailed instead")
}

// TestSystemProjections: all are there, and those that are not supported say so.
func TestSystemProjections(t *testing.T) {
	r := serve(t)
	all, err := r.projections.ListAll(t.Context(), esdb.GenericProjectionOptions{})
	r.must(err)
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
		if s.Status != "Stopped" {
			t.Errorf("%s is %s", s.Name, s.Status)
		}
	}
	if want := []string{"$by_category", "$by_correlation_id", "$by_event_type", "$stream_by_category", "$streams"}; !slices.Equal(names, want) {
		t.Errorf("there are %q, want %q", names, want)
	}
	err = r.projections.Enable(t.Context(), "$streams", esdb.GenericProjectionOptions{})
	refused(t, "enable $streams", err, codes.Unimplemented, "does not run")
	if s := r.status("$streams"); s.Status != "Stopped" || !strings.Contains(s.StateReason, "does not run") {
		t.Errorf("%+v", s)
	}
	r.append("order-1", 1)
	r.enable("$by_category")
	r.links("$ce-order", "order-1/0")
	eventually(t, func() error {
		if s := r.status("$by_category"); s.Progress != 100 || s.EventsProcessedAfterRestart != 1 || s.Status != "Running" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// TestSilentProjection: one without a query never answers what its state is.
func TestSilentProjection(t *testing.T) {
	r := serve(t)
	r.must(r.projections.Create(t.Context(), "mine", "", esdb.CreateProjectionOptions{}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := r.projections.GetState(ctx, "mine", esdb.GetStateProjectionOptions{})
	refused(t, "state", err, codes.DeadlineExceeded, "")
}

// TestBounds: clients cannot fill the server's memory with projections.
func TestBounds(t *testing.T) {
	r := serve(t)
	long := strings.Repeat("x", 1_000_000)
	for i := range 17 {
		err := r.projections.Create(t.Context(), fmt.Sprint("long-", i), long, esdb.CreateProjectionOptions{})
		if i < 16 {
			r.must(err)
			continue
		}
		refused(t, "17 MB of queries", err, codes.ResourceExhausted, "")
	}
	refused(t, "a longer query", r.projections.Update(t.Context(), "long-0", long+long, esdb.UpdateProjectionOptions{}), codes.ResourceExhausted, "")
	err := r.projections.Create(t.Context(), "longer", long[:500_000]+strings.Repeat("x", 600_000), esdb.CreateProjectionOptions{})
	if status.Code(err) == codes.OK {
		t.Error("a query that no event can hold was taken")
	}
	for i := range 984 {
		r.must(r.projections.Create(t.Context(), fmt.Sprint("short-", i), "x", esdb.CreateProjectionOptions{}))
	}
	refused(t, "the 1001st projection", r.projections.Create(t.Context(), "one more", "x", esdb.CreateProjectionOptions{}), codes.ResourceExhausted, "")
}

// TestRights: administrators and operators manage projections, nobody else.
func TestRights(t *testing.T) {
	o, caFile := esdbservertest.Secure(t, esdbserver.Options{Store: openStore(t)})
	address := esdbservertest.Start(t, o)
	for _, c := range []struct {
		login   string
		allowed bool
	}{{"admin:changeit", true}, {"ops:changeit", true}, {"", false}} {
		p := esdb.NewProjectionClientFromExistingClient(esdbservertest.Client(t, esdbservertest.SecureConnection(address, c.login, caFile)))
		ctx, none, name := t.Context(), esdb.GenericProjectionOptions{}, "of-"+c.login
		for what, err := range map[string]error{
			"create":  p.Create(ctx, name, script, esdb.CreateProjectionOptions{}),
			"update":  p.Update(ctx, name, script, esdb.UpdateProjectionOptions{}),
			"enable":  p.Enable(ctx, "$by_category", none),
			"reset":   p.Reset(ctx, "$by_category", esdb.ResetProjectionOptions{}),
			"disable": p.Disable(ctx, "$by_category", none),
			"restart": p.RestartSubsystem(ctx, none),
		} {
			if c.allowed && err != nil {
				t.Errorf("%q: %s: %v", c.login, what, err)
			} else if !c.allowed {
				refused(t, what, err, codes.PermissionDenied, "Access Denied")
			}
		}
		_, err := p.GetState(ctx, "$by_category", esdb.GetStateProjectionOptions{})
		if (err == nil) != c.allowed {
			t.Errorf("%q: state: %v", c.login, err)
		}
		_, err = p.ListAll(ctx, none)
		if (err == nil) != c.allowed {
			t.Errorf("%q: list: %v", c.login, err)
		}
	}
}

func refused(t *testing.T, what string, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("%s: %v; want %s with %q", what, err, code, text)
	}
}

// TestBacklog: a projection that is far behind takes links together, and
// catches up with a log faster than that was written.
func TestBacklog(t *testing.T) {
	r := serve(t)
	const events, batch = 20_000, 500
	for n := range events / batch {
		list := make([]eventstore.Event, batch)
		for i := range list {
			list[i] = eventstore.Event{ID: uuid.New(), Type: fmt.Sprint("Type", i%10), JSON: true, Data: []byte(`{}`)}
		}
		_, err := r.store.Append(t.Context(), fmt.Sprint("order-", n), eventstore.NoStream, list)
		r.must(err)
	}
	began := time.Now()
	r.enable("$by_category")
	eventually(t, func() error {
		if s := r.status("$by_category"); s.EventsProcessedAfterRestart < events {
			return fmt.Errorf("%d of %d events, %s", s.EventsProcessedAfterRestart, events, s.Status)
		}
		return nil
	})
	t.Logf("%d links in %s", events, time.Since(began))
	links := r.read("$ce-order")
	if len(links) != events {
		t.Fatalf("%d links, want %d", len(links), events)
	}
	// 2,048 records are a step, and one stream's links of a step an append.
	stamps := map[time.Time]int{}
	for _, e := range links {
		stamps[e.Link.CreatedDate]++
	}
	if len(stamps) > events/20 {
		t.Errorf("%d links were written in %d appends", events, len(stamps))
	}
}
