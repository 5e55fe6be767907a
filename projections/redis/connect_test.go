package redis_test

import (
	"errors"
	"testing"
	"time"

	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/redis"

	goredis "github.com/redis/go-redis/v9"
)

// TestTLSAndUsers: a server that wants both is used with both, and with nothing
// less.
func TestTLSAndUsers(t *testing.T) {
	authority := testservers.NewAuthority(t)
	server := testservers.StartSecureRedis(t, authority, "ann", "s3cret/word")
	ca := "?ca=" + authority.CAFile
	healthy(t, generation(t, open(t, "rediss://ann:s3cret%2Fword@"+server.Address+ca, ""), 100), batchOf(100).Changes)
	for name, address := range map[string]string{
		"another password":      "rediss://ann:other@" + server.Address + ca,
		"no user":               "rediss://" + server.Address + ca,
		"no TLS":                "redis://ann:s3cret%2Fword@" + server.Address,
		"an unknown authority":  "rediss://ann:s3cret%2Fword@" + server.Address,
		"a server that is gone": "redis://127.0.0.1:1",
	} {
		b, err := redis.Open(address, redis.Options{Guard: guard.Options{Attempts: 1, Timeout: 5 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Open(t.Context(), 1); !errors.Is(err, projections.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		b.Close()
	}
}

// TestSentinel: the master is found through a sentinel, and the next one too.
func TestSentinel(t *testing.T) {
	servers := testservers.StartRedisSentinel(t)
	s := generation(t, open(t, servers.URL(), ""), 100)
	healthy(t, s, batchOf(100).Changes)
	// The replica has everything that was written before this.
	last := goredis.NewClient(&goredis.Options{Addr: servers.Master.Address, Protocol: 2, ReadTimeout: time.Minute})
	defer last.Close()
	on := last.Conn()
	defer on.Close()
	if err := on.Set(t.Context(), "last", "", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := on.Wait(t.Context(), 1, 30*time.Second).Result(); err != nil || n != 1 {
		t.Fatalf("%d replicas follow, %v", n, err)
	}
	servers.Master.Kill()
	if err := servers.AwaitFailover(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; {
		_, err := s.Beat(t.Context(), []projections.Checkpoint{{Lane: 1}})
		if err == nil {
			break
		}
		if !errors.Is(err, projections.ErrUnavailable) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
	healthy(t, s, batchOf(100).Changes)
	write(t, s, 300)
}
