package reading_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// server is a protocol server over a store of its own.
type server struct {
	testing.TB
	store   *sqlite.Store
	address string
	close   func()
	dial    []grpc.DialOption
	conn    *grpc.ClientConn // made when first needed
}

func serve(t testing.TB) *server { return serveAt(t, nil) }

// serveAt is serve with the clock of the store.
func serveAt(t testing.TB, now func() time.Time) *server {
	t.Helper()
	s := &server{TB: t, store: open(t, now), dial: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}}
	s.run(esdbserver.Options{})
	return s
}

func (s *server) run(o esdbserver.Options) {
	s.Helper()
	o.Store = s.store
	running := esdbservertest.Run(s, o)
	s.address, s.close = running.Address, running.Stop
}

func open(t testing.TB, now func() time.Time) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{Now: now})
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

// client is the official one.
func (s *server) client() *esdb.Client {
	s.Helper()
	return esdbservertest.Client(s, esdbservertest.Insecure(s.address))
}

// write appends n events to a stream and answers the position of the last.
func (s *server) write(stream string, n int) eventstore.Position {
	s.Helper()
	events := make([]eventstore.Event, n)
	for i := range events {
		events[i] = eventstore.Event{ID: uuid.New(), Type: "Happened", JSON: true, Data: fmt.Appendf(nil, `{"n":%d}`, i), Metadata: []byte(`{"by":"test"}`)}
	}
	return s.append(stream, events...)
}

func (s *server) append(stream string, events ...eventstore.Event) eventstore.Position {
	s.Helper()
	out, err := s.store.Append(s.Context(), stream, eventstore.Any, events)
	if err != nil {
		s.Fatal(err)
	}
	return out.Position
}

func (s *server) head() eventstore.Position {
	s.Helper()
	head, err := s.store.Head(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return head
}

func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// delete, tombstone and metadata do that to a stream.
func (s *server) delete(stream string) eventstore.Position {
	s.Helper()
	at, err := s.store.Delete(s.Context(), stream, eventstore.Any)
	if err != nil {
		s.Fatal(err)
	}
	return at
}

func (s *server) tombstone(stream string) eventstore.Position {
	s.Helper()
	at, err := s.store.Tombstone(s.Context(), stream, eventstore.Any)
	if err != nil {
		s.Fatal(err)
	}
	return at
}

func (s *server) metadata(stream string, md eventstore.StreamMetadata) {
	s.Helper()
	if _, err := s.store.SetStreamMetadata(s.Context(), stream, eventstore.Any, md); err != nil {
		s.Fatal(err)
	}
}

// link appends a link to a stream.
func (s *server) link(stream, data string) eventstore.Position {
	s.Helper()
	return s.append(stream, eventstore.Event{ID: uuid.New(), Type: wire.TypeLink, Data: []byte(data)})
}

// stubs is a client that sees messages as they are.
func (s *server) stubs() streams.StreamsClient {
	s.Helper()
	if s.conn == nil {
		conn, err := grpc.NewClient(s.address, s.dial...)
		if err != nil {
			s.Fatal(err)
		}
		s.conn = conn
		s.Cleanup(func() {
			if err := conn.Close(); err != nil {
				s.Error(err)
			}
		})
	}
	return streams.NewStreamsClient(s.conn)
}

// call is a Read under way.
type call struct {
	testing.TB
	in     streams.Streams_ReadClient
	hangUp context.CancelFunc
}

// open begins a Read; it ends with the test.
func (s *server) open(req *streams.ReadReq) *call {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Minute)
	s.Cleanup(cancel)
	in, err := s.stubs().Read(ctx, req)
	if err != nil {
		s.Fatal(err)
	}
	return &call{s, in, cancel}
}

// read is all that a Read answers, in words.
func (s *server) read(req *streams.ReadReq) (messages []string) {
	s.Helper()
	c := s.open(req)
	for {
		m := c.next()
		if m == "end" {
			return messages
		}
		messages = append(messages, m)
		if strings.HasPrefix(m, "error ") {
			return messages
		}
	}
}

// subscribe begins a subscription that is confirmed.
func (s *server) subscribe(req *streams.ReadReq) *call {
	s.Helper()
	c := s.open(req)
	c.expect("confirmation")
	return c
}

// expect receives exactly these messages.
func (c *call) expect(want ...string) {
	c.Helper()
	for _, w := range want {
		if got := c.next(); got != w {
			c.Fatalf("got %q, want %q", got, w)
		}
	}
}

// next is the next message in words: "stream/revision" for an event, with
// "link > target" for a link that was resolved.
func (c *call) next() string {
	c.Helper()
	m, err := c.in.Recv()
	if errors.Is(err, io.EOF) {
		return "end"
	}
	if err != nil {
		words := "error " + status.Code(err).String()
		trailer := c.in.Trailer()
		for _, key := range []string{"exception", "stream-name"} {
			words += strings.Join(append([]string{""}, trailer.Get(key)...), " ")
		}
		return words
	}
	switch m := m.Content.(type) {
	case *streams.ReadResp_Event:
		return inWords(m.Event)
	case *streams.ReadResp_Confirmation:
		if _, err := uuid.Parse(m.Confirmation.SubscriptionId); err != nil {
			c.Errorf("subscription id: %v", err)
		}
		return "confirmation"
	case *streams.ReadResp_Checkpoint_:
		if m.Checkpoint.CommitPosition != m.Checkpoint.PreparePosition {
			c.Errorf("checkpoint %v", m.Checkpoint)
		}
		return fmt.Sprint("checkpoint ", m.Checkpoint.CommitPosition)
	case *streams.ReadResp_CaughtUp_:
		return "caught up"
	case *streams.ReadResp_StreamNotFound_:
		return "not found " + string(m.StreamNotFound.StreamIdentifier.StreamName)
	}
	return fmt.Sprintf("unexpected %T", m.Content)
}

func inWords(e *streams.ReadResp_ReadEvent) string {
	name := func(r *streams.ReadResp_ReadEvent_RecordedEvent) string {
		if r == nil {
			return "nothing"
		}
		if r.StreamRevision == uint64(eventstore.EndRevision) {
			return string(r.StreamIdentifier.StreamName) + "/end"
		}
		return fmt.Sprintf("%s/%d", r.StreamIdentifier.StreamName, r.StreamRevision)
	}
	if e.Link != nil {
		return name(e.Link) + " > " + name(e.Event)
	}
	return name(e.Event)
}
