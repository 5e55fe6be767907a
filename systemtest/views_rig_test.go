package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/internal/testservers"
)

// production is a log behind gRPC, an Elasticsearch and a Redis, for dockets that
// share them under a namespace of their own.
type production struct {
	namespace     string
	dir           string
	log           *logServer
	search, cache string // as the flags of docket take them
}

// newProduction takes the addresses of stores that run.
func newProduction(t *testing.T, search, cache string) *production {
	t.Helper()
	p := &production{namespace: testservers.Namespace(t), dir: t.TempDir(), search: search, cache: cache}
	p.log = &logServer{t: t, data: filepath.Join(p.dir, "log"), address: "127.0.0.1:0"}
	return p
}

// sharedProduction is on servers that other tests use too.
func sharedProduction(t *testing.T) *production {
	t.Helper()
	return newProduction(t, elasticsearchOf(testservers.Elasticsearch(t)), "redis://"+testservers.Redis(t))
}

// elasticsearchOf makes an address of docket's of a URL.
func elasticsearchOf(url string) string {
	return "elasticsearch://" + strings.TrimPrefix(url, "http://")
}

// onTheLog are the flags of any docket on this log.
func (p *production) onTheLog() []string {
	p.log.start()
	return []string{"--namespace", p.namespace, "--eventstore", p.log.connection}
}

// serve starts a docket with views in these stores, and a folder of its own.
func (p *production) serve(t *testing.T, name string, flags ...string) *server {
	t.Helper()
	return start(t, filepath.Join(p.dir, name), slices.Concat(p.onTheLog(), []string{"--search", p.search, "--cache", p.cache, "--lease", lease.String()}, flags)...)
}

// serveLocally starts a docket with views in its folder.
func (p *production) serveLocally(t *testing.T, name string) *server {
	t.Helper()
	return start(t, filepath.Join(p.dir, name), p.onTheLog()...)
}

// laneShown is a lane as GET /v1/projections tells of it.
type laneShown struct {
	Lane  int
	Owner string
	Here  bool // with the docket that was asked
}

// generationShown is the live generation of one store.
type generationShown struct {
	Store     string
	State     string
	CaughtUp  bool
	Parked    int
	Problem   string
	LagEvents int
	LagMs     int64
	Lanes     []laneShown
}

// generations asks a docket about its views.
func (s *server) generations(ctx context.Context, through http.RoundTripper) ([]generationShown, error) {
	got, err := s.do(ctx, through, request{method: "GET", path: "/v1/projections"})
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct{ Generations []generationShown }
	}
	if err := json.Unmarshal(got.body, &list); err != nil || got.status != http.StatusOK || len(list.Items) != 1 {
		return nil, fmt.Errorf("GET /v1/projections: %d %.300s (%v)", got.status, got.body, err)
	}
	return list.Items[0].Generations, nil
}
