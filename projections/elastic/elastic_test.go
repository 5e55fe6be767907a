package elastic_test

import (
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/projectionstest"
)

// addressOf makes Open's address of a node's URLs.
func addressOf(urls ...string) string {
	for i := range urls {
		urls[i] = strings.TrimPrefix(urls[i], "http://")
	}
	return "elasticsearch://" + strings.Join(urls, ",")
}

func openAt(t testing.TB, address string, o elastic.Options) *elastic.Backend {
	t.Helper()
	b, err := elastic.Open(address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// shards of the indices: DOCKET_TEST_ELASTICSEARCH_SHARDS, or one.
func shards(t testing.TB) int {
	text := os.Getenv("DOCKET_TEST_ELASTICSEARCH_SHARDS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("DOCKET_TEST_ELASTICSEARCH_SHARDS=%q is no number of shards", text)
	}
	return n
}

// TestConformance runs the suite on the node, or all nodes, that testservers has.
func TestConformance(t *testing.T) {
	urls := testservers.ElasticsearchNodes(t)
	o := elastic.Options{Shards: shards(t)}
	namespaces := map[projections.Backend]eventstore.Namespace{}
	open := func(t testing.TB, of eventstore.Namespace) projections.Backend {
		o.Namespace = of
		b := openAt(t, addressOf(slices.Clone(urls)...), o)
		namespaces[b] = of
		return b
	}
	projectionstest.Run(t, projectionstest.Store{
		Answers: projectionstest.Search,
		Late:    true,
		Open: func(t testing.TB) projections.Backend {
			of := eventstore.Namespace(testservers.Namespace(t))
			t.Cleanup(func() { remove(t, urls[0], of) })
			return open(t, of)
		},
		Again:     func(t testing.TB, b projections.Backend) projections.Backend { return open(t, namespaces[b]) },
		Questions: 300,
	})
	t.Logf("%d nodes, %d shards, %d backends", len(urls), o.Shards, len(namespaces))
}

// remove what a namespace leaves.
func remove(t testing.TB, node string, of eventstore.Namespace) {
	r, err := http.NewRequest("DELETE", node+"/"+string(of)+"-docket-orders-control-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return
	}
	answer.Body.Close()
}
