package redis

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	goredis "github.com/redis/go-redis/v9"
)

// tracing makes a span of each pipeline. The library's own hook writes out every
// argument first, to name the span, though nobody may look: whole documents.
type tracing struct{ tracer trace.Tracer }

func newTracing() tracing {
	return tracing{otel.Tracer("github.com/docket-orders/docket/projections/redis")}
}

func (tracing) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (tracing) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (t tracing) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, commands []goredis.Cmder) error {
		ctx, span := t.tracer.Start(ctx, "redis.pipeline", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.String("db.system", "redis"), attribute.Int("db.redis.num_cmd", len(commands))))
		defer span.End()
		err := next(ctx, commands)
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, err.Error())
		}
		return err
	}
}
