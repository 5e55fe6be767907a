package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	"github.com/redis/go-redis/extra/redisotel/v9"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// pipelineCalls and pipelineBytes bound what is sent at once; a single call
	// may be larger by one document.
	pipelineCalls = 512
	pipelineBytes = 4 << 20
)

// server asks Redis, one server or many, behind the guard.
type server struct {
	client goredis.UniversalClient
	guard  *guard.Guard
}

// quiet ends the library's own lines on standard error: what fails is returned, and
// counted by the guard. It has one logger for all clients.
var quiet = sync.OnceFunc(func() { goredis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

func connect(o *goredis.UniversalOptions, g guard.Options) (*server, error) {
	quiet()
	g.Name, g.Passes = "redis", passes
	client := goredis.NewUniversalClient(o)
	if err := redisotel.InstrumentMetrics(client); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	client.AddHook(newTracing())
	return &server{client, guard.New(g)}, nil
}

// call is one script on the keys of one slot, or a plain command.
type call struct {
	script  *script
	command string // without a script: HMGET, HGETALL
	keys    []string
	args    []any // strings, []byte or int
	reply   any   // string, int64, nil, or []any of these
}

func (c *call) size() (n int) {
	for _, a := range c.args {
		switch a := a.(type) {
		case string:
			n += len(a)
		case []byte:
			n += len(a)
		}
	}
	return n
}

func (c *call) queue(ctx context.Context, pipe goredis.Pipeliner, whole bool) *goredis.Cmd {
	switch {
	case c.script == nil:
		return pipe.Do(ctx, append([]any{c.command, c.keys[0]}, c.args...)...)
	case whole:
		return pipe.Eval(ctx, c.script.source, c.keys, c.args...)
	}
	return pipe.EvalSha(ctx, c.script.sha, c.keys, c.args...)
}

// one makes a single call.
func (s *server) one(ctx context.Context, c *call) error { return s.all(ctx, []*call{c}) }

// all makes the calls, in few round trips, and repeats those of a round trip
// that failed. A key of another type than ours is a lost one.
func (s *server) all(ctx context.Context, calls []*call) error {
	for len(calls) > 0 {
		n, size := 0, 0
		for n < len(calls) && n < pipelineCalls && (n == 0 || size+calls[n].size() <= pipelineBytes) {
			size += calls[n].size()
			n++
		}
		part := calls[:n]
		calls = calls[n:]
		if err := s.guard.Do(ctx, func(ctx context.Context) error { return s.trip(ctx, part) }); err != nil {
			return failure(ctx, err)
		}
	}
	return nil
}

// trip is one round trip, and another for scripts that a server does not know.
func (s *server) trip(ctx context.Context, calls []*call) error {
	unknown, err := s.send(ctx, calls, false)
	if err == nil && len(unknown) > 0 {
		unknown, err = s.send(ctx, unknown, true)
	}
	if err == nil && len(unknown) > 0 {
		err = errors.New("the server does not keep scripts")
	}
	return err
}

func (s *server) send(ctx context.Context, calls []*call, whole bool) (unknown []*call, err error) {
	pipe := s.client.Pipeline()
	commands := make([]*goredis.Cmd, len(calls))
	for i, c := range calls {
		commands[i] = c.queue(ctx, pipe, whole)
	}
	// Every command says itself what became of it, but where no connection could
	// be made for them: a password that is refused.
	if _, err := pipe.Exec(ctx); err != nil && !slices.ContainsFunc(commands, func(c *goredis.Cmd) bool { return c.Err() != nil }) {
		return nil, err
	}
	for i, command := range commands {
		c := calls[i]
		c.reply, err = command.Result()
		switch {
		case err == nil, errors.Is(err, goredis.Nil):
		case goredis.HasErrorPrefix(err, "NOSCRIPT"):
			unknown = append(unknown, c)
			continue
		case goredis.HasErrorPrefix(err, "WRONGTYPE"):
			return nil, fmt.Errorf("%w: %s is of another type", projections.ErrLost, c.keys[0])
		default:
			return nil, err
		}
		if c.reply == "LOST" {
			return nil, fmt.Errorf("%w: %s", projections.ErrLost, c.keys[0])
		}
	}
	return unknown, nil
}

// outages are answers of a server that cannot serve now.
var outages = [...]string{
	"LOADING", "CLUSTERDOWN", "READONLY", "OOM", "TRYAGAIN", "MASTERDOWN", "BUSY", "MISCONF", "NOREPLICAS", "MOVED", "ASK",
	"NOAUTH", "WRONGPASS", "NOPERM", "max number of clients",
}

// passes reports whether a failure is that of the server rather than its answer.
func passes(err error) bool {
	var answer goredis.Error
	if errors.As(err, &answer) {
		for _, prefix := range outages {
			if goredis.HasErrorPrefix(err, prefix) {
				return true
			}
		}
		return false
	}
	return !errors.Is(err, projections.ErrLost) && !errors.Is(err, context.Canceled)
}

// failure says what an error means to callers: their own giving up is no failure
// of the server.
func failure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, guard.ErrRejected), passes(err), errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", projections.ErrUnavailable, err)
	}
	return err
}
