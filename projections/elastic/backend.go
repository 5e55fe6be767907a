package elastic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/elastic/go-elasticsearch/v8/esapi"
)

// Options of a Backend. The zero value works.
type Options struct {
	Namespace eventstore.Namespace
	Logger    *slog.Logger
	Guard     guard.Options // Name and Passes are set by the package
	Shards    int           // of a new generation; 1
	Replicas  int           // of a new generation; 0: one where the cluster has room for it; -1: none
	Refresh   time.Duration // of the indices; 1 s
}

// Backend is the generations in one cluster. Its methods may be called from many
// goroutines, and by many processes at once.
type Backend struct {
	options Options
	names   names
	cluster *cluster
}

var (
	_ projections.Backend      = (*Backend)(nil)
	_ projections.Sink         = (*Store)(nil)
	_ projections.LaneClaimer  = (*Store)(nil)
	_ projections.SelfCounting = (*Store)(nil)
	_ query.Search             = (*Store)(nil)
)

// Open prepares a Backend. It does not ask the cluster, which may be down. The
// address is elasticsearch://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?tls=true&ca=FILE&apiKey=KEY],
// where a CA file alone says tls, too.
func Open(addr string, o Options) (*Backend, error) {
	a, err := parseAddress(addr)
	if err != nil {
		return nil, fmt.Errorf("address of elasticsearch: %w", err)
	}
	if o.Shards == 0 {
		o.Shards = 1
	}
	if o.Refresh == 0 {
		o.Refresh = defaultRefresh
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := newCluster(a, o.Guard)
	if err != nil {
		return nil, fmt.Errorf("elasticsearch client: %w", err)
	}
	return &Backend{o, namesOf(o.Namespace, projections.Name), c}, nil
}

// For is the generations of another projection in the same cluster, by the same
// connections: Guard is the same, and to Close either closes both. A projection
// is called [a-z][a-z0-9_]*.
func (b *Backend) For(projection string) *Backend {
	return &Backend{b.options, namesOf(b.options.Namespace, projection), b.cluster}
}

// names of what is in the cluster for one projection: what all of them begin
// with, "docket-orders-" after the namespace.
type names string

func namesOf(n eventstore.Namespace, projection string) names {
	prefix := ""
	if n != "" {
		prefix = string(n) + "-"
	}
	return names(prefix + "docket-" + projection + "-")
}

func (n names) control() string      { return string(n) + "control" } // an alias
func (n names) controlIndex() string { return n.control() + "-1" }
func (n names) pattern() string      { return string(n) + "*" }

// shared is the alias for other programs.
func (n names) shared(generation int) string { return string(n) + strconv.Itoa(generation) }

func (n names) index(generation int, incarnation string) string {
	return n.shared(generation) + "-" + incarnation
}

// only is docket's own alias.
func (n names) only(generation int, incarnation string) string {
	return n.index(generation, incarnation) + ".only"
}

var indexForm = regexp.MustCompile(`^([1-9][0-9]{0,8}|0)-[0-9a-f]{8}$`)

// generation of an index.
func (n names) generation(index string) (int, bool) {
	if len(index) <= len(n) || index[:len(n)] != string(n) {
		return 0, false
	}
	m := indexForm.FindStringSubmatch(index[len(n):])
	if m == nil {
		return 0, false
	}
	number, err := strconv.Atoi(m[1])
	return number, err == nil
}

// openAttempts bounds how often Open begins again because another process opens
// or drops the same generation.
const openAttempts = 10

// Open opens a generation, and makes it, empty, when it is not there: when there
// is no record of it, or it was dropped. What it returns is a *Store.
func (b *Backend) Open(ctx context.Context, generation int) (projections.Sink, error) {
	s, err := b.open(ctx, generation)
	if err != nil {
		return nil, fmt.Errorf("open generation %d: %w", generation, err)
	}
	return s, nil
}

func (b *Backend) open(ctx context.Context, generation int) (*Store, error) {
	if err := b.cluster.create(ctx, b.names.controlIndex(), 1, b.options.controlIndex(), b.names.control()); err != nil {
		return nil, err
	}
	for range openAttempts {
		r, at, err := b.record(ctx, generation)
		if err != nil {
			return nil, err
		}
		switch r.State {
		case ready:
			there, err := b.cluster.hasAlias(ctx, b.names.only(generation, r.Incarnation))
			if err == nil && !there {
				err = projections.ErrLost
			}
			if err != nil {
				return nil, err
			}
			return newStore(b, generation, r.Incarnation), b.checkFormat(ctx, generation, r.Incarnation)
		case making:
			if err := b.removeOthers(ctx, generation, r.Incarnation); err != nil {
				return nil, err
			}
			index := object{"settings": b.options.settings(), "mappings": mapping()}
			err := b.cluster.create(ctx, b.names.index(generation, r.Incarnation), b.options.Shards, index,
				b.names.only(generation, r.Incarnation), b.names.shared(generation))
			if err != nil {
				return nil, err
			}
			r.State = ready
		default:
			r = record{generation, newIncarnation(), making}
		}
		if _, err := b.decide(ctx, r, at); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: other processes open and drop it all the time", projections.ErrUnavailable)
}

// checkFormat refuses an index that another docket wrote in another way.
func (b *Backend) checkFormat(ctx context.Context, generation int, incarnation string) error {
	kept, err := b.cluster.mapping(ctx, b.names.only(generation, incarnation))
	if err == nil && kept.Meta.Format > formatVersion {
		err = fmt.Errorf("its index has layout %d, this docket knows %d: start the docket that made it, or a newer one", kept.Meta.Format, formatVersion)
	}
	return err
}

// Drop removes a closed generation. Another process that has it open learns that
// it is closed.
func (b *Backend) Drop(ctx context.Context, generation int) error {
	if err := b.drop(ctx, generation); err != nil {
		return fmt.Errorf("drop generation %d: %w", generation, err)
	}
	return nil
}

func (b *Backend) drop(ctx context.Context, generation int) error {
	r, at, err := b.record(ctx, generation)
	if err != nil && !missing(err) {
		return err
	}
	if r.State != "" && r.State != dropped {
		// The record first: whoever misses the index then knows why.
		done, err := b.decide(ctx, record{generation, r.Incarnation, dropped}, at)
		if err == nil && !done {
			err = fmt.Errorf("%w: another process opens it", projections.ErrUnavailable)
		}
		if err != nil {
			return err
		}
	}
	if err := b.removeOthers(ctx, generation, ""); err != nil || r.State == "" {
		return err
	}
	return b.removeRecords(ctx, generation, r.Incarnation)
}

// removeOthers removes the indices of a generation but for one incarnation's.
func (b *Backend) removeOthers(ctx context.Context, generation int, incarnation string) error {
	indices, err := b.cluster.indices(ctx, b.names.pattern())
	if err != nil {
		return err
	}
	for _, index := range indices {
		if n, ok := b.names.generation(index); ok && n == generation && index != b.names.index(generation, incarnation) {
			if err := b.cluster.remove(ctx, index); err != nil {
				return err
			}
		}
	}
	return nil
}

// Generations lists the indices that are there, ascending.
func (b *Backend) Generations(ctx context.Context) ([]int, error) {
	indices, err := b.cluster.indices(ctx, b.names.pattern())
	if err != nil {
		return nil, fmt.Errorf("list generations: %w", err)
	}
	var found []int
	for _, index := range indices {
		if n, ok := b.names.generation(index); ok {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// Guard tells how the cluster is doing.
func (b *Backend) Guard() *guard.Guard { return b.cluster.guard }

// Close ends the connections that are idle.
func (b *Backend) Close() error {
	b.cluster.transport.CloseIdleConnections()
	return nil
}

// create makes an index with its aliases; one that is there is no error. It
// returns when the index can be asked.
func (c *cluster) create(ctx context.Context, index string, shards int, body object, aliases ...string) error {
	all := object{}
	for _, alias := range aliases {
		all[alias] = object{}
	}
	body["aliases"] = all
	data := encoded(body)
	err := c.ask(ctx, nil, func(ctx context.Context) (*esapi.Response, error) {
		return c.es.Indices.Create(index, c.es.Indices.Create.WithContext(ctx), c.es.Indices.Create.WithBody(bytes.NewReader(data)))
	})
	if r := (*refusal)(nil); !errors.As(err, &r) || r.kind != "resource_already_exists_exception" {
		return err
	}
	// Perhaps another process is just making it.
	return c.ask(ctx, nil, func(ctx context.Context) (*esapi.Response, error) {
		h := c.es.Cluster.Health
		return h(h.WithContext(ctx), h.WithIndex(index), h.WithWaitForActiveShards(strconv.Itoa(shards)), h.WithTimeout(shardTimeout))
	})
}

// remove an index; one that is not there is no error.
func (c *cluster) remove(ctx context.Context, index string) error {
	err := c.ask(ctx, nil, func(ctx context.Context) (*esapi.Response, error) {
		return c.es.Indices.Delete([]string{index}, c.es.Indices.Delete.WithContext(ctx))
	})
	if missing(err) {
		return nil
	}
	return err
}

// indices whose names match a pattern.
func (c *cluster) indices(ctx context.Context, pattern string) ([]string, error) {
	var answer map[string]struct{}
	err := c.ask(ctx, &answer, func(ctx context.Context) (*esapi.Response, error) {
		g := c.es.Indices.GetAlias
		return g(g.WithContext(ctx), g.WithIndex(pattern))
	})
	var all []string
	for index := range answer {
		all = append(all, index)
	}
	return all, err
}

// hasAlias reports whether there is an alias of this name, of one index.
func (c *cluster) hasAlias(ctx context.Context, alias string) (bool, error) {
	var answer map[string]struct{}
	err := c.ask(ctx, &answer, func(ctx context.Context) (*esapi.Response, error) {
		g := c.es.Indices.GetAlias
		return g(g.WithContext(ctx), g.WithName(alias))
	})
	if r := (*refusal)(nil); errors.As(err, &r) && r.status == http.StatusNotFound && r.own {
		return false, nil
	}
	return len(answer) == 1, err
}
