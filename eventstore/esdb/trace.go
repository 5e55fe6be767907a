package esdb

import (
	"context"
	"errors"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/docket-orders/docket/eventstore"
)

// spans makes one span per call of the port; a subscription has one from
// beginning to end, with an event per resumption.
type spans struct{ tracer trace.Tracer }

const (
	attrStream   = attribute.Key("eventstore.stream")
	attrExpected = attribute.Key("eventstore.expected")
	attrEvents   = attribute.Key("eventstore.events")
	attrPosition = attribute.Key("eventstore.position")
	attrRevision = attribute.Key("eventstore.revision")
	attrOutcome  = attribute.Key("eventstore.outcome")
)

type span struct{ trace.Span }

func (s spans) start(ctx context.Context, what, stream string) (context.Context, span) {
	ctx, sp := s.tracer.Start(ctx, "eventstore "+what, trace.WithSpanKind(trace.SpanKindClient))
	if sp.IsRecording() {
		sp.SetAttributes(attribute.String("db.system", "eventstoredb"), attrStream.String(stream))
	}
	return ctx, span{sp}
}

// wrote ends the span of a write.
func (s span) wrote(expected eventstore.Expected, events int, out eventstore.Appended, err error) {
	if s.IsRecording() {
		s.SetAttributes(attrExpected.String(expected.String()), attrEvents.Int(events))
		if err == nil {
			s.SetAttributes(attrPosition.String(out.Position.String()), attrRevision.Int64(int64(out.Revision)))
		}
	}
	s.done(err)
}

// read ends the span of a read.
func (s span) read(from string, events int, err error) {
	if s.IsRecording() {
		s.SetAttributes(attrPosition.String(from), attrEvents.Int(events))
	}
	s.done(err)
}

func (s span) done(err error) {
	if s.IsRecording() {
		s.SetAttributes(attrOutcome.String(outcomeName(err)))
		if err != nil {
			s.RecordError(err)
			s.SetStatus(codes.Error, outcomeName(err))
		}
	}
	s.End()
}

func (s span) resumed(at eventstore.Position, err error) {
	if s.IsRecording() {
		s.AddEvent("resumed", trace.WithAttributes(attrPosition.String(at.String()), attribute.String("error", err.Error())))
	}
}

func outcomeName(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, eventstore.ErrConflict):
		return "conflict"
	case errors.Is(err, eventstore.ErrDeleted):
		return "deleted"
	case errors.Is(err, eventstore.ErrStreamNotFound):
		return "not-found"
	case errors.Is(err, eventstore.ErrTooLarge):
		return "too-large"
	case errors.Is(err, eventstore.ErrOutcomeUnknown):
		return "unknown"
	case errors.Is(err, eventstore.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "given-up"
	}
	return "failed"
}

func revisionText(r eventstore.Revision) string {
	if r == eventstore.EndRevision {
		return "end"
	}
	return strconv.FormatInt(int64(r), 10)
}
