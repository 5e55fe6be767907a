package linking

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/projections"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// FuzzLinks: whatever a record is, its link is one that is found again, with
// metadata that is JSON; and no record is taken for a link that no projection
// wrote.
func FuzzLinks(f *testing.F) {
	f.Add("order-1", "Placed", true, []byte(`{}`), []byte(`{"$correlationId":"x"}`), int64(3))
	f.Add("$$order-1", "$metadata", true, []byte(`{"$tb":9223372036854775807}`), []byte(nil), int64(0))
	f.Add("order-1", "$streamDeleted", false, []byte(nil), []byte(nil), int64(eventstore.EndRevision))
	f.Add("$ce-order", "$>", false, []byte("3@order-1"), []byte(`{"$v":"3:-1:1:1","$c":1,"$p":1}`), int64(0))
	f.Add("a-\xff", "\xff", true, []byte("\"\xff\""), []byte(`{"$correlationId":"\u0000"}`), int64(0))
	f.Fuzz(func(t *testing.T, stream, typ string, isJSON bool, data, metadata []byte, revision int64) {
		r := eventstore.Record{
			Event:  eventstore.Event{ID: uuid.New(), Type: typ, JSON: isJSON, Data: data, Metadata: metadata},
			Stream: stream, Revision: eventstore.Revision(max(revision, 0)), Position: eventstore.At64(42),
		}
		if source, ok := sourceOf(r); ok {
			t.Fatalf("%q is taken for a link to %s", metadata, source)
		}
		for i := range kinds {
			k := &kinds[i]
			if !k.supported() {
				continue
			}
			group, l, ok := k.rule(r)
			if !ok {
				continue
			}
			e := l.event(k, noEpoch, k.to+group)
			if !json.Valid(e.Metadata) {
				t.Fatalf("%s: metadata %q", k.name, e.Metadata)
			}
			if source, ok := sourceOf(eventstore.Record{Event: e, Stream: k.to + group}); !ok || source != r.Position {
				t.Fatalf("%s: the link is not found again: %s, %v", k.name, source, ok)
			}
		}
	})
}

// FuzzRequests decodes bytes as each request of the service, and sends it:
// nothing panics, no answer is without an end, and what is kept of it is what
// a server finds that starts later.
func FuzzRequests(f *testing.F) {
	for _, m := range []proto.Message{
		&projections.CreateReq{Options: &projections.CreateReq_Options{Query: "fromAll()", Mode: &projections.CreateReq_Options_Continuous_{
			Continuous: &projections.CreateReq_Options_Continuous{Name: "mine", EmitEnabled: true, TrackEmittedStreams: true}}}},
		&projections.CreateReq{Options: &projections.CreateReq_Options{Mode: &projections.CreateReq_Options_Transient_{
			Transient: &projections.CreateReq_Options_Transient{Name: "mine"}}}},
		&projections.CreateReq{Options: &projections.CreateReq_Options{Mode: &projections.CreateReq_Options_OneTime{}}},
		&projections.UpdateReq{Options: &projections.UpdateReq_Options{Name: "$by_category", Query: "x", EmitOption: &projections.UpdateReq_Options_EmitEnabled{EmitEnabled: true}}},
		&projections.DisableReq{Options: &projections.DisableReq_Options{Name: "$by_event_type", WriteCheckpoint: true}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	store, err := sqlite.Open(f.Context(), f.TempDir(), sqlite.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { store.Close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		o := Options{Store: store, Guard: access.Open(), Logger: slog.New(slog.DiscardHandler)}
		s, err := New(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		send(t, data, s.Create)
		send(t, data, s.Update)
		send(t, data, s.Enable)
		send(t, data, s.Disable)
		send(t, data, s.Reset)
		send(t, data, s.State)
		send(t, data, s.Result)
		s.mu.Lock()
		for _, p := range s.known {
			s.stop(p, false)
		}
		s.mu.Unlock()
		later, err := New(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer later.Close()
		for name, p := range s.known {
			if found := later.known[name]; p.Mode != transient && (found == nil || found.definition != p.definition) {
				t.Errorf("%+v is kept as %+v", p.definition, found)
			}
		}
		for name := range s.known {
			_, _ = s.Disable(t.Context(), &projections.DisableReq{Options: &projections.DisableReq_Options{Name: name}})
		}
		send(t, data, s.Delete)
		for name, p := range s.known {
			if _, err := s.Delete(t.Context(), &projections.DeleteReq{Options: &projections.DeleteReq_Options{Name: name}}); (err == nil) == (p.kind != nil) {
				t.Errorf("delete %q: %v", name, err)
			}
		}
		// The next one begins without definitions.
		if _, err := store.Delete(t.Context(), definitionStream, eventstore.Any); err != nil && !errors.Is(err, eventstore.ErrConflict) {
			t.Fatal(err)
		}
	})
}

// send calls a method with what the bytes say.
func send[Request any, Message interface {
	*Request
	proto.Message
}, Response any](t *testing.T, data []byte, method func(context.Context, Message) (Response, error)) {
	request := Message(new(Request))
	if proto.Unmarshal(data, request) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, _ = method(ctx, request)
}
