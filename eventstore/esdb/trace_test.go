package esdb

import (
	"context"
	"slices"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// recorder keeps the spans that have ended.
type recorder struct {
	noop.TracerProvider
	mu    sync.Mutex
	ended []*recordedSpan
}

type recordedSpan struct {
	noop.Span
	recorder   *recorder
	name       string
	attributes map[attribute.Key]string
	events     []string
}

func (r *recorder) Tracer(string, ...trace.TracerOption) trace.Tracer { return r.tracer() }

type recordingTracer struct {
	noop.Tracer
	recorder *recorder
}

func (r *recorder) tracer() trace.Tracer { return recordingTracer{recorder: r} }

func (t recordingTracer) Start(ctx context.Context, name string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	return ctx, &recordedSpan{recorder: t.recorder, name: name, attributes: map[attribute.Key]string{}}
}

func (s *recordedSpan) IsRecording() bool { return true }

func (s *recordedSpan) SetAttributes(kv ...attribute.KeyValue) {
	for _, a := range kv {
		s.attributes[a.Key] = a.Value.String()
	}
}

func (s *recordedSpan) AddEvent(name string, _ ...trace.EventOption) {
	s.events = append(s.events, name)
}

func (s *recordedSpan) End(...trace.SpanEndOption) {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	s.recorder.ended = append(s.recorder.ended, s)
}

// last is the span of that name that ended last.
func (r *recorder) last(t *testing.T, name string) *recordedSpan {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Backward(r.ended) {
		if s.name == name {
			return s
		}
	}
	t.Fatalf("no span %q", name)
	return nil
}

// TestSpans: one span per call, with stream, expectation, position and outcome;
// a subscription has one in all.
func TestSpans(t *testing.T) {
	noLeaks(t)
	p := newProxy(t, esdbservertest.Start(t, esdbserver.Options{Store: embedded(t, t.TempDir())}))
	r := &recorder{}
	s, err := Open(t.Context(), esdbservertest.Insecure(p.address), Options{Logger: quiet(), Tracer: r})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Append(t.Context(), "order-1", eventstore.NoStream, []eventstore.Event{event()})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.last(t, "eventstore append").attributes; got[attrStream] != "order-1" || got[attrExpected] != "no_stream" || got[attrEvents] != "1" || got[attrPosition] != out.Position.String() || got[attrOutcome] != "ok" {
		t.Errorf("append: %v", got)
	}
	if _, err := s.Append(t.Context(), "order-1", 7, []eventstore.Event{event()}); err == nil {
		t.Fatal("no conflict")
	}
	if got := r.last(t, "eventstore append").attributes; got[attrOutcome] != "conflict" || got[attrExpected] != "7" {
		t.Errorf("conflict: %v", got)
	}
	for range s.ReadStream(t.Context(), "order-2", 0, eventstore.Forwards, 0) {
	}
	if got := r.last(t, "eventstore read-stream").attributes; got[attrOutcome] != "not-found" || got[attrStream] != "order-2" {
		t.Errorf("read: %v", got)
	}
	sub, err := s.Subscribe(t.Context(), out.Position, eventstore.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sub.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.cut()
	until(t, func() error {
		_, err := s.Append(t.Context(), "order-1", 0, []eventstore.Event{event()})
		return err
	})
	for {
		n, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n.Kind == eventstore.Delivered {
			break
		}
	}
	sub.Close()
	if got := r.last(t, "eventstore subscription"); got.attributes[attrPosition] != out.Position.String() || !slices.Contains(got.events, "resumed") {
		t.Errorf("subscription: %v, %v", got.attributes, got.events)
	}
}
