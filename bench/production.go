package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	eventsqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/redis"
)

// production is the servers that keep the views of one question. They end with
// it.
type production struct {
	*testservers.Program
	elastic *testservers.ElasticsearchServer
	redis   *testservers.RedisServer
}

func startProduction() *production {
	p := &production{Program: testservers.NewProgram("bench")}
	p.elastic, p.redis = startElasticsearch(p), testservers.StartRedis(p)
	return p
}

// startElasticsearch starts a node that compiles as one that runs for long does.
func startElasticsearch(t testservers.TB) *testservers.ElasticsearchServer {
	return testservers.StartElasticsearch(t, "-Xms1g", "-Xmx2g", "-XX:TieredStopAtLevel=4")
}

// elasticAddress is as --search takes it.
func elasticAddress(url string) string {
	return "elasticsearch://" + strings.TrimPrefix(url, "http://")
}

// open opens a docket with the servers for its views; search is the URL of
// Elasticsearch, or of what stands before it. prepare, which may be nil, changes
// the options.
func (p *production) open(ctx context.Context, dir, search string, prepare func(*embedded.Options)) (*embedded.Docket, error) {
	o := embedded.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	var err error
	if o.Search, err = embedded.Elasticsearch(elasticAddress(search), elastic.Options{}); err != nil {
		return nil, err
	}
	if o.Cache, err = embedded.Redis("redis://"+p.redis.Address, redis.Options{}); err != nil {
		return nil, err
	}
	if prepare != nil {
		prepare(&o)
	}
	d, err := embedded.Open(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	if err := d.Views.CaughtUp(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// logOf is a folder with a log and nothing else.
func (e *env) logOf(ctx context.Context, name string, appends []appended) (string, error) {
	dir := filepath.Join(e.folder(name), "data")
	store, err := eventsqlite.Open(ctx, dir, eventsqlite.Options{})
	if err != nil {
		return "", err
	}
	if err := appendConcurrently(ctx, store, writers, appends); err != nil {
		return "", err
	}
	return dir, store.Close()
}
