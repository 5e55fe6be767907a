package systemtest

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/docket-orders/docket/internal/testservers"
)

// sickStore is a store of views that fails in every way there is, behind a
// network that does.
type sickStore struct {
	name       string // as docket calls it
	network    *faultNetwork
	sicknesses []sickness
}

// sickness is a way in which a store lets docket down.
type sickness struct {
	name       string
	begin, end func() error
	weight     int // how often, among the others
}

// server is what tests do to one of their own.
type storeServer interface {
	Kill()
	Restart()
	Pause()
	Resume()
}

func nothing() error { return nil }

// doing makes an error of what reports its own to the test.
func doing(do ...func()) func() error {
	return func() error {
		for _, one := range do {
			one()
		}
		return nil
	}
}

// newSickStore puts a network before a server. rng is of the goroutine that
// begins sicknesses.
func newSickStore(t *testing.T, name, address string, server storeServer, rng *rand.Rand) *sickStore {
	t.Helper()
	network, err := newFaultNetwork("127.0.0.1", address, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.close)
	s := &sickStore{name: name, network: network}
	for f := range faultServerStops {
		s.sicknesses = append(s.sicknesses, sickness{f.String(), func() error { return network.suffer(f, rng) }, network.heal, 2})
	}
	s.sicknesses = append(s.sicknesses,
		sickness{"paused", doing(server.Pause), doing(server.Resume), 4},
		sickness{"killed", doing(server.Kill), doing(server.Restart), 2},
	)
	return s
}

// newSickRedis starts a Redis of this test alone.
func newSickRedis(t *testing.T, rng *rand.Rand) *sickStore {
	t.Helper()
	server := testservers.StartRedis(t)
	s := newSickStore(t, "redis", server.Address, server, rng)
	limit := func(bytes string) func() error {
		return func() error {
			_, err := server.Do("CONFIG", "SET", "maxmemory", bytes)
			return err
		}
	}
	s.sicknesses = append(s.sicknesses,
		sickness{"full", limit("1000000"), limit("0"), 2},
		sickness{"flushed", doing(server.Flush), nothing, 4},
		sickness{"empty after a restart", doing(server.Flush, server.Kill), doing(server.Restart), 2},
	)
	return s
}

// newSickElasticsearch starts an Elasticsearch of this test alone.
func newSickElasticsearch(t *testing.T, rng *rand.Rand) *sickStore {
	t.Helper()
	server := testservers.StartElasticsearch(t)
	s := newSickStore(t, "elasticsearch", strings.TrimPrefix(server.URL, "http://"), server, rng)
	blocked := func(how string) func() error {
		return func() error {
			_, err := server.Do("PUT", "/_all/_settings", `{"index.blocks.read_only_allow_delete":`+how+`}`)
			return err
		}
	}
	s.sicknesses = append(s.sicknesses,
		sickness{"full", blocked("true"), blocked("null"), 2},
		sickness{"flushed", doing(server.Flush), nothing, 2},
		sickness{"empty after a restart", doing(server.Flush, server.Kill), doing(server.Restart), 1},
	)
	for i := range s.sicknesses {
		if s.sicknesses[i].name == "killed" {
			s.sicknesses[i].weight = 1 // its start takes seconds
		}
	}
	return s
}

// choose is one of the sicknesses.
func (s *sickStore) choose(rng *rand.Rand) sickness {
	total := 0
	for _, one := range s.sicknesses {
		total += one.weight
	}
	at := rng.IntN(total)
	for _, one := range s.sicknesses {
		if at -= one.weight; at < 0 {
			return one
		}
	}
	panic("weights that do not add up")
}
