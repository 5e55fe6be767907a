package groups_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// patience is how long tests wait for what must come.
const patience = time.Minute

// rig is a protocol server over a store of its own.
type rig struct {
	testing.TB
	store  *sqlite.Store
	server *esdbservertest.Server
	*esdb.Client
}

// serve starts a server. Tests with one run side by side: some wait for its
// ticks.
func serve(t testing.TB) *rig {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	store := openStore(t)
	r := &rig{TB: t, store: store, server: esdbservertest.Run(t, esdbserver.Options{Store: store})}
	r.connect()
	return r
}

func openStore(t testing.TB) *sqlite.Store {
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

func (r *rig) connect() {
	r.Helper()
	r.Client = esdbservertest.Client(r, esdbservertest.Insecure(r.server.Address))
}

// restart ends the server and starts another one on the same store.
func (r *rig) restart() {
	r.Helper()
	r.server.Stop()
	r.server.Start()
	r.connect()
}

// raw is a client without any convenience.
func (r *rig) raw() persistent.PersistentSubscriptionsClient {
	r.Helper()
	conn, err := grpc.NewClient(r.server.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	return persistent.NewPersistentSubscriptionsClient(conn)
}

// write appends events to a stream; their names are their data.
func (r *rig) write(stream string, names ...string) eventstore.Appended {
	r.Helper()
	events := make([]eventstore.Event, len(names))
	for i, n := range names {
		events[i] = eventstore.Event{ID: uuid.New(), Type: "Happened", Data: []byte(n)}
	}
	return r.append(stream, events...)
}

func (r *rig) append(stream string, events ...eventstore.Event) eventstore.Appended {
	r.Helper()
	out, err := r.store.Append(r.Context(), stream, eventstore.Any, events)
	if err != nil {
		r.Fatal(err)
	}
	return out
}

// names are prefix0, prefix1, ... n of them.
func names(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return out
}

// settings are the client's defaults, changed.
func settings(changes ...func(*esdb.PersistentSubscriptionSettings)) *esdb.PersistentSubscriptionSettings {
	s := esdb.SubscriptionSettingsDefault()
	for _, change := range changes {
		change(&s)
	}
	return &s
}

// eager writes a checkpoint after each event.
func eager(s *esdb.PersistentSubscriptionSettings) {
	s.CheckpointLowerBound, s.CheckpointUpperBound = 1, 1
}

func (r *rig) create(stream, group string, from esdb.StreamPosition, s *esdb.PersistentSubscriptionSettings) {
	r.Helper()
	if err := r.CreatePersistentSubscription(r.Context(), stream, group, esdb.PersistentStreamSubscriptionOptions{StartFrom: from, Settings: s}); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) createAll(group string, from esdb.AllPosition, f *esdb.SubscriptionFilter, s *esdb.PersistentSubscriptionSettings) {
	r.Helper()
	if err := r.CreatePersistentSubscriptionToAll(r.Context(), group, esdb.PersistentAllSubscriptionOptions{StartFrom: from, Filter: f, Settings: s}); err != nil {
		r.Fatal(err)
	}
}

// info of a group; stream is "$all" for the log.
func (r *rig) info(stream, group string) *esdb.PersistentSubscriptionInfo {
	r.Helper()
	var info *esdb.PersistentSubscriptionInfo
	var err error
	if stream == "$all" {
		info, err = r.GetPersistentSubscriptionInfoToAll(r.Context(), group, esdb.GetPersistentSubscriptionOptions{})
	} else {
		info, err = r.GetPersistentSubscriptionInfo(r.Context(), stream, group, esdb.GetPersistentSubscriptionOptions{})
	}
	if err != nil {
		r.Fatal(err)
	}
	return info
}

// until waits for a condition.
func (r *rig) until(what string, holds func() bool) {
	r.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			r.Fatalf("waited in vain until %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// consumer is a subscription of the official client whose events arrive on a
// channel.
type consumer struct {
	t   testing.TB
	sub *esdb.PersistentSubscription
	// events is closed when the subscription is dropped; err says why then.
	events chan *esdb.EventAppeared
	err    error
}

func (r *rig) consume(stream, group string, slots uint32) *consumer {
	r.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	r.Cleanup(cancel)
	o := esdb.SubscribeToPersistentSubscriptionOptions{BufferSize: slots}
	var sub *esdb.PersistentSubscription
	var err error
	if stream == "$all" {
		sub, err = r.SubscribeToPersistentSubscriptionToAll(ctx, group, o)
	} else {
		sub, err = r.SubscribeToPersistentSubscription(ctx, stream, group, o)
	}
	if err != nil {
		r.Fatal(err)
	}
	c := &consumer{t: r, sub: sub, events: make(chan *esdb.EventAppeared, 10_000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(c.events)
		for {
			e := sub.Recv()
			if e.SubscriptionDropped != nil {
				c.err = e.SubscriptionDropped.Error
				return
			}
			c.events <- e.EventAppeared
		}
	}()
	r.Cleanup(func() { c.close(); <-ended })
	return c
}

func (c *consumer) close() { c.sub.Close() }

// next waits for the next event.
func (c *consumer) next() *esdb.EventAppeared {
	c.t.Helper()
	select {
	case e, ok := <-c.events:
		if !ok {
			c.t.Fatalf("dropped: %v", c.err)
		}
		return e
	case <-time.After(patience):
		c.t.Fatal("no event came")
	}
	return nil
}

// dropped waits for the end of the subscription and answers its reason.
func (c *consumer) dropped() error {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-c.events:
			if !ok {
				return c.err
			}
		case <-deadline:
			c.t.Fatal("it was not dropped")
		}
	}
}

// expect waits for events with this data, in this order, and answers them; a
// number behind "+" is the count of retries.
func (c *consumer) expect(want ...string) []*esdb.EventAppeared {
	c.t.Helper()
	var got []string
	var events []*esdb.EventAppeared
	for range want {
		e := c.next()
		events = append(events, e)
		got = append(got, text(e))
	}
	equal(c.t, got, want)
	return events
}

func text(e *esdb.EventAppeared) string {
	data := "(unresolved)"
	if e.Event.Event != nil {
		data = string(e.Event.Event.Data)
	}
	if e.RetryCount > 0 {
		return fmt.Sprintf("%s+%d", data, e.RetryCount)
	}
	return data
}

func (c *consumer) ack(events ...*esdb.EventAppeared) {
	c.t.Helper()
	for _, e := range events {
		if err := c.sub.Ack(e.Event); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *consumer) nack(action esdb.NackAction, events ...*esdb.EventAppeared) {
	c.t.Helper()
	for _, e := range events {
		if err := c.sub.Nack("because", action, e.Event); err != nil {
			c.t.Fatal(err)
		}
	}
}

// expectOnly is expect, and checks that no other event has come.
func (c *consumer) expectOnly(want ...string) {
	c.t.Helper()
	for _, e := range c.expect(want...) {
		c.ack(e)
	}
	select {
	case e, ok := <-c.events:
		c.t.Errorf("one more event: %v, %v", e, ok)
	default:
	}
}

func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// code is that of the official client's error.
func code(err error) esdb.ErrorCode {
	var e *esdb.Error
	if !errors.As(err, &e) {
		return -1
	}
	return e.Code()
}

// refused checks status and trailers; trailers are "key=value".
func refused(t testing.TB, err error, trailer metadata.MD, want codes.Code, trailers ...string) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Fatalf("%v, want %s", err, want)
	}
	for _, kv := range trailers {
		k, v, _ := strings.Cut(kv, "=")
		if got := trailer.Get(k); len(got) != 1 || got[0] != v {
			t.Errorf("trailer %s is %q, want %q (%v)", k, got, v, err)
		}
	}
}

// reason of a parked entry, whose metadata must be whole.
func reason(t testing.TB, metadata []byte) string {
	t.Helper()
	var entry struct {
		Added    time.Time `json:"added"`
		Reason   *string   `json:"reason"`
		Revision *int64    `json:"subscriptionEventNumber"`
	}
	if err := json.Unmarshal(metadata, &entry); err != nil || entry.Added.IsZero() || entry.Reason == nil || entry.Revision == nil {
		t.Fatalf("metadata %s: %v", metadata, err)
	}
	return *entry.Reason
}
