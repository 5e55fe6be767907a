package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"

	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esutil"
)

var projectElasticQuestion = question{
	name:  "project-elasticsearch",
	about: "projecting Olist from zero into Elasticsearch (docket projections rebuild), its events interleaved, against the client library's BulkIndexer putting the same bodies, encoded before, into an index of the same mapping and settings; either until all of it can be searched for",
	ask:   askProjectElastic,
}

func askProjectElastic(ctx context.Context, e *env) error {
	appends, changes, rounds, err := e.replayed(ctx)
	if err != nil {
		return err
	}
	servers := testservers.NewProgram("bench")
	defer servers.Close()
	node := startElasticsearch(servers)
	backend, err := elastic.Open(elasticAddress(node.URL), elastic.Options{})
	if err != nil {
		return err
	}
	defer backend.Close()
	p, err := newProjection(ctx, e, "elasticsearch", roundRobin(appends, 5_000), projections.Options{
		StoreName: "elasticsearch", Backend: backend, Lease: embedded.DefaultLease,
	})
	if err != nil {
		return err
	}
	defer p.close()
	b, err := readBulk(node, "docket-orders-1")
	if err != nil {
		return err
	}
	if len(b.ids) != len(changes) {
		return fmt.Errorf("%d documents in Elasticsearch, want %d", len(b.ids), len(changes))
	}
	ingest := func() (seconds float64, err error) {
		if seconds, err = timed(func() error { return errors.Join(b.ingest(ctx), refresh(node, bulkIndex)) }); err != nil {
			return 0, err
		}
		return seconds, b.remove()
	}
	rebuild := func() (float64, error) {
		return timed(func() error {
			_, err := p.rebuild(ctx)
			return errors.Join(err, refresh(node, "docket-orders-*"))
		})
	}
	rounds += 3
	projected, ingested, err := inTurns(1, rounds, rebuild, ingest)
	if err != nil {
		return err
	}
	ordersPerSecond(projected, len(b.ids))
	ordersPerSecond(ingested, len(b.ids))
	e.compare(fmt.Sprintf("%d orders from their events", len(changes)), "orders/s", projected, "bulk ingest", ingested, atLeast(0.8))
	e.measure("documents written per order", "", []float64{p.written(len(changes), rounds+1)}, atMost(1.1))
	e.note("one node on this machine, both sides with an index of %s shard and a refresh every %s; the BulkIndexer has its default settings (a worker per CPU, 5 MB a request) and gets bodies of %d bytes on average, in no order, as docket writes them; a round of each before the first that counts, since the node compiles what it runs often",
		b.setting("number_of_shards"), b.setting("refresh_interval"), b.bytes/len(b.ids))
	return nil
}

// inTurns times two things round by round, each first in every second round; some
// rounds before do not count.
func inTurns(before, rounds int, one, other func() (seconds float64, err error)) (ones, others []float64, err error) {
	for round := range before + rounds {
		var seconds [2]float64
		for k := range 2 {
			which := (k + round) % 2
			if seconds[which], err = []func() (float64, error){one, other}[which](); err != nil {
				return nil, nil, err
			}
		}
		if round >= before {
			ones, others = append(ones, seconds[0]), append(others, seconds[1])
		}
	}
	return ones, others, nil
}

// ordersPerSecond makes of what n took in seconds how many of them were done in one.
func ordersPerSecond(seconds []float64, n int) {
	for i := range seconds {
		seconds[i] = float64(n) / seconds[i]
	}
}

// bulk is the documents of an index, as they were sent, and how it was made.
type bulk struct {
	node   *testservers.ElasticsearchServer
	index  struct{ Settings, Mappings json.RawMessage }
	ids    []string
	bodies [][]byte
	bytes  int
}

// readBulk reads an index; name may be an alias.
func readBulk(node *testservers.ElasticsearchServer, name string) (*bulk, error) {
	b := &bulk{node: node}
	made, err := node.Do(http.MethodGet, "/"+name, "")
	if err != nil {
		return nil, err
	}
	var indices map[string]struct {
		Settings struct{ Index map[string]any }
		Mappings json.RawMessage
	}
	if err := json.Unmarshal([]byte(made), &indices); err != nil {
		return nil, err
	}
	for _, i := range indices {
		for _, own := range []string{"uuid", "version", "creation_date", "provided_name"} {
			delete(i.Settings.Index, own)
		}
		settings, err := json.Marshal(i.Settings.Index)
		if err != nil {
			return nil, err
		}
		b.index.Settings, b.index.Mappings = settings, i.Mappings
	}
	if err := refresh(node, name); err != nil {
		return nil, err
	}
	for after := ""; ; {
		page, err := node.Do(http.MethodPost, "/"+name+"/_search", `{"size":500,"sort":["id"]`+after+`}`)
		if err != nil {
			return nil, err
		}
		var found struct {
			Hits struct {
				Hits []struct {
					ID     string          `json:"_id"`
					Source json.RawMessage `json:"_source"`
					Sort   json.RawMessage `json:"sort"`
				} `json:"hits"`
			} `json:"hits"`
		}
		if err := json.Unmarshal([]byte(page), &found); err != nil {
			return nil, err
		}
		if len(found.Hits.Hits) == 0 {
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(b.ids), func(i, k int) {
				b.ids[i], b.ids[k] = b.ids[k], b.ids[i]
				b.bodies[i], b.bodies[k] = b.bodies[k], b.bodies[i]
			})
			return b, nil
		}
		for _, hit := range found.Hits.Hits {
			b.ids, b.bodies, b.bytes = append(b.ids, hit.ID), append(b.bodies, slices.Clone(hit.Source)), b.bytes+len(hit.Source)
			after = `,"search_after":` + string(hit.Sort)
		}
	}
}

// refresh makes searchable what was written: an index that nobody searches is not
// refreshed by itself, so that its documents are in no segment yet.
func refresh(node *testservers.ElasticsearchServer, name string) error {
	_, err := node.Do(http.MethodPost, "/"+name+"/_refresh", "")
	return err
}

// setting of the index, as Elasticsearch tells it.
func (b *bulk) setting(name string) any {
	var all map[string]any
	_ = json.Unmarshal(b.index.Settings, &all) // readBulk encoded it
	return all[name]
}

const bulkIndex = "bench-bulk"

// ingest makes an index and puts every body into it.
func (b *bulk) ingest(ctx context.Context) error {
	index, err := json.Marshal(map[string]any{"settings": b.index.Settings, "mappings": b.index.Mappings})
	if err != nil {
		return err
	}
	if _, err := b.node.Do(http.MethodPut, "/"+bulkIndex, string(index)); err != nil {
		return err
	}
	client, err := elasticsearch.NewClient(elasticsearch.Config{Addresses: []string{b.node.URL}})
	if err != nil {
		return err
	}
	indexer, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{Client: client, Index: bulkIndex})
	if err != nil {
		return err
	}
	for i, id := range b.ids {
		item := esutil.BulkIndexerItem{Action: "create", DocumentID: id, Body: bytes.NewReader(b.bodies[i])}
		if err := indexer.Add(ctx, item); err != nil {
			return errors.Join(err, indexer.Close(ctx))
		}
	}
	if err := indexer.Close(ctx); err != nil {
		return err
	}
	if s := indexer.Stats(); s.NumCreated != uint64(len(b.ids)) {
		return fmt.Errorf("bulk ingest: %d of %d documents were created", s.NumCreated, len(b.ids))
	}
	return nil
}

func (b *bulk) remove() error {
	_, err := b.node.Do(http.MethodDelete, "/"+bulkIndex, "")
	return err
}
