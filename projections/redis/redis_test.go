package redis_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/redis"

	goredis "github.com/redis/go-redis/v9"
)

// open makes a backend, closed with the test.
func open(t testing.TB, address string, ns eventstore.Namespace) *redis.Backend {
	t.Helper()
	b, err := redis.Open(address, redis.Options{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// suite is the store at an address, with namespaces of its own.
func suite(address string) projectionstest.Store {
	var namespaces sync.Map // of backends
	return projectionstest.Store{
		Answers: projectionstest.Hot,
		Open: func(t testing.TB) projections.Backend {
			ns := eventstore.Namespace(testservers.Namespace(t))
			b := open(t, address, ns)
			namespaces.Store(b, ns)
			return b
		},
		Again: func(t testing.TB, b projections.Backend) projections.Backend {
			ns, _ := namespaces.Load(b)
			return open(t, address, ns.(eventstore.Namespace))
		},
		Nudge: func(t testing.TB, b projections.Backend, generation int) {
			ns, _ := namespaces.Load(b)
			nudge(t, client(t, address), string(ns.(eventstore.Namespace)))
		},
	}
}

// client is another program's.
func client(t testing.TB, address string) goredis.UniversalClient {
	t.Helper()
	hosts := strings.Split(address[strings.Index(address, "://")+3:], ",")
	c := goredis.NewUniversalClient(&goredis.UniversalOptions{Addrs: hosts, Protocol: 2})
	t.Cleanup(func() { c.Close() })
	return c
}

// nudge raises the first sum of the first row of generation 1 that it comes to,
// and leaves another row beside it.
func nudge(t testing.TB, c goredis.UniversalClient, ns string) {
	t.Helper()
	for b := range redis.Buckets {
		key := bucketKey(ns, b, "sums")
		rows, err := c.HGetAll(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		for field, value := range rows {
			if field[0] != 'a' {
				continue
			}
			raised := []byte(value)
			raised[7]++
			if err := c.HSet(t.Context(), key, field, raised, "aEUR\x001999-01-01", raised).Err(); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("there is nothing to nudge")
}

func TestConformance(t *testing.T) {
	projectionstest.Run(t, suite("redis://"+testservers.Redis(t)))
}

func TestConformanceOnCluster(t *testing.T) {
	projectionstest.Run(t, suite("redis+cluster://"+strings.Join(testservers.RedisCluster(t), ",")))
}
