package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
)

// Options of a Backend. The zero value works.
type Options struct {
	Namespace eventstore.Namespace
	Logger    *slog.Logger
	Guard     guard.Options // Name and Passes are set by the package
}

// Backend is the generations of one namespace in one Redis. Methods may be called
// from many goroutines.
type Backend struct {
	namespace eventstore.Namespace
	prefix    string // of all keys
	server    *server
	scripts   *scripts
	logger    *slog.Logger

	mu   sync.Mutex
	gone map[int]string // nonces of generations that were found lost here
}

var (
	_ projections.Backend      = (*Backend)(nil)
	_ projections.Sink         = (*Store)(nil)
	_ projections.SelfCounting = (*Store)(nil)
	_ query.Hot                = (*Store)(nil)
)

// Open prepares a Backend. It does not ask the server, which may be down. The
// address is redis://[USER:PASSWORD@]HOST:PORT[/DB], redis+cluster://HOST:PORT,HOST:PORT...,
// or redis+sentinel://HOST:PORT,HOST:PORT.../MASTER[/DB]; with rediss in place of
// redis it is TLS (?ca=FILE for authorities of your own).
func Open(address string, o Options) (*Backend, error) {
	options, err := parseAddress(address)
	if err != nil {
		return nil, fmt.Errorf("address of Redis: %w", err)
	}
	s, err := connect(options, o.Guard)
	if err != nil {
		return nil, fmt.Errorf("client of Redis: %w", err)
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Backend{prefix: prefix(o.Namespace, projections.Name), namespace: o.Namespace, server: s, scripts: loadScripts(), logger: logger, gone: map[int]string{}}, nil
}

// For is the generations of another projection in the same Redis, by the same
// connections: Guard is the same, and to Close either closes both. A projection
// is called [a-z][a-z0-9_]*.
func (b *Backend) For(projection string) *Backend {
	return &Backend{
		prefix: prefix(b.namespace, projection), namespace: b.namespace,
		server: b.server, scripts: b.scripts, logger: b.logger, gone: map[int]string{},
	}
}

// Open implements projections.Backend; the sink is a *Store. A generation that the
// registry does not know is made, by several processes at once as well as by one;
// what an older one left under its keys is removed. Of a known one every key must
// be there.
func (b *Backend) Open(ctx context.Context, generation int) (projections.Sink, error) {
	s, err := b.open(ctx, generation)
	if err != nil {
		return nil, fmt.Errorf("open generation %d: %w", generation, err)
	}
	return s, nil
}

func (b *Backend) open(ctx context.Context, generation int) (*Store, error) {
	keys := newGenerationKeys(b.prefix, generation)
	state, nonce, err := b.register(ctx, "open", generation, strings.ToLower(rand.Text()))
	if err != nil {
		return nil, err
	}
	if state == "making" {
		if err := b.everywhere(ctx, &b.scripts.mark, keys, nonce); err != nil {
			return nil, err
		}
		if _, nonce, err = b.register(ctx, "made", generation, nonce); err != nil {
			return nil, err
		}
	}
	if err := b.everywhere(ctx, &b.scripts.here, keys, nonce); err != nil {
		if errors.Is(err, projections.ErrLost) {
			b.lose(generation, nonce)
		}
		return nil, err
	}
	b.lose(generation, "")
	return &Store{backend: b, server: b.server, scripts: b.scripts, keys: keys, nonce: nonce, generation: generation}, nil
}

// register takes a step in the registry; see registry.lua.
func (b *Backend) register(ctx context.Context, step string, generation int, args ...any) (state, nonce string, err error) {
	c := &call{script: &b.scripts.registry, keys: []string{registryKey(b.prefix)}, args: append([]any{step, generation}, args...)}
	if err := b.server.one(ctx, c); err != nil {
		return "", "", err
	}
	answer := list(c.reply)
	if len(answer) != 2 {
		return "", "", fmt.Errorf("registry of generations: unexpected answer %v", c.reply)
	}
	return text(answer[0]), text(answer[1]), nil
}

// everywhere runs a script on the keys of every slot of a generation.
func (b *Backend) everywhere(ctx context.Context, s *script, keys *generationKeys, nonce string) error {
	var calls []*call
	keys.each(func(keys []string, kinds string) {
		calls = append(calls, &call{script: s, keys: keys, args: []any{nonce, kinds}})
	})
	return b.server.all(ctx, calls)
}

// Drop implements projections.Backend. After this Backend found the generation
// lost, it drops only that one: what another process has made of it since stays.
// Keys are known by name, and freed by Redis in the background.
func (b *Backend) Drop(ctx context.Context, generation int) error {
	_, nonce, err := b.register(ctx, "drop", generation, b.lost(generation))
	if err == nil && nonce != "" {
		if err = b.everywhere(ctx, &b.scripts.unmark, newGenerationKeys(b.prefix, generation), nonce); err == nil {
			_, _, err = b.register(ctx, "dropped", generation, nonce)
		}
	}
	if err != nil {
		return fmt.Errorf("drop generation %d: %w", generation, err)
	}
	b.lose(generation, "")
	return nil
}

// Generations implements projections.Backend. One that was not dropped to its end
// is among them.
func (b *Backend) Generations(ctx context.Context) ([]int, error) {
	c := &call{command: "HKEYS", keys: []string{registryKey(b.prefix)}}
	if err := b.server.one(ctx, c); err != nil {
		if errors.Is(err, projections.ErrLost) { // another type: the next Open puts it right
			return nil, nil
		}
		return nil, fmt.Errorf("list generations: %w", err)
	}
	var found []int
	for _, field := range list(c.reply) {
		if n, err := strconv.Atoi(text(field)); err == nil {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return found, nil
}

// lose remembers which of a number was found lost; none when it is empty.
func (b *Backend) lose(generation int, nonce string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if nonce != "" && b.gone[generation] != nonce {
		b.logger.Warn("Redis has lost a generation, or a part of it", "generation", generation)
	}
	b.gone[generation] = nonce
}

func (b *Backend) lost(generation int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gone[generation]
}

// Guard tells how the server is doing.
func (b *Backend) Guard() *guard.Guard { return b.server.guard }

// Close ends the connections.
func (b *Backend) Close() error { return b.server.client.Close() }
