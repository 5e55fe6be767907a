package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/redis"
	"github.com/docket-orders/docket/query"
	goredis "github.com/redis/go-redis/v9"
)

var readsProductionQuestion = question{
	name:  "reads-production",
	about: "questions over orders of Olist, by the query service in this process, against the bare question to the store: HGET of an order, HGETALL of the sums, the same _search with the same body; what is answered is read to its end and not decoded",
	ask:   askReadsProduction,
}

// searches is how many questions of a kind differ.
const searches = 36

func askReadsProduction(ctx context.Context, e *env) error {
	appends, changes, _, err := e.replayed(ctx)
	if err != nil {
		return err
	}
	servers := startProduction()
	defer servers.Close()
	dir, err := e.logOf(ctx, "reads-production", appends)
	if err != nil {
		return err
	}
	lists := []struct {
		name  string
		times int
		of    func(i int) query.Question
	}{
		{"Elasticsearch: filtered list with total", 300, func(i int) query.Question { return listQuestion(i, "SP") }},
		{"Elasticsearch: full text with total", 240, textQuestion},
		{"Elasticsearch: facets", 120, func(i int) query.Question { return facetsQuestion(i, "RJ") }},
	}
	// What docket sends is what is sent bare.
	target, err := url.Parse(servers.elastic.URL)
	if err != nil {
		return err
	}
	record := &recorder{next: httputil.NewSingleHostReverseProxy(target)}
	between := httptest.NewServer(record)
	defer between.Close()
	d, err := servers.open(ctx, dir, between.URL, nil)
	if err != nil {
		return err
	}
	sent := make([][]search, len(lists))
	for k, l := range lists {
		for i := range searches {
			if _, err := d.Queries.List(ctx, l.of(i), "", query.Read{}); err != nil {
				return errors.Join(fmt.Errorf("%s: %w", l.name, err), d.Close())
			}
			sent[k] = append(sent[k], record.last())
		}
	}
	if err := d.Close(); err != nil {
		return err
	}
	if d, err = servers.open(ctx, dir, servers.elastic.URL, nil); err != nil {
		return err
	}
	defer d.Close()

	all := redisReadings(ctx, d, servers, changes)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	for k, l := range lists {
		all = append(all, reading{l.name, l.times, 0, func(i int) error {
			_, err := d.Queries.List(ctx, l.of(i%searches), "", query.Read{})
			return err
		}, func(i int) error { return sent[k][i%searches].ask(ctx, client, servers.elastic.URL) }})
	}
	if err := e.readAll(all, "bare", noGoal); err != nil {
		return err
	}
	e.note("%d orders; docket decodes each document into a view.Order, says how far the views are behind, and makes a cursor", len(changes))
	return nil
}

// redisReadings are the questions to Redis.
func redisReadings(ctx context.Context, d *embedded.Docket, servers *production, changes []projections.Change) []reading {
	client := goredis.NewClient(&goredis.Options{Addr: servers.redis.Address})
	servers.Cleanup(func() { client.Close() })
	random := rand.New(rand.NewPCG(1, 2))
	ids := make([]string, 5000)
	for i := range ids {
		ids[i] = changes[random.IntN(len(changes))].Order.ID
	}
	return []reading{
		{"Redis: by id", 4000, 2, func(i int) error {
			answer, err := d.Queries.Order(ctx, ids[i%len(ids)], query.Read{})
			if err == nil && answer.Source != query.FromView {
				err = errors.New("the log answered")
			}
			return err
		}, func(i int) error {
			id := ids[i%len(ids)]
			h := fnv.New32a()
			h.Write([]byte(id))
			return client.HGet(ctx, fmt.Sprintf("{docket:1:%d}:docs", h.Sum32()%redis.Buckets), id).Err()
		}},
		{"Redis: sums over everything", 60, 0, func(int) error {
			_, err := d.Queries.Stats(ctx, query.StatsQuestion{}, query.Read{})
			return err
		}, func(int) error {
			pipe := client.Pipeline()
			for b := range redis.Buckets {
				pipe.HGetAll(ctx, fmt.Sprintf("{docket:1:%d}:sums", b))
				pipe.HGetAll(ctx, fmt.Sprintf("{docket:1:c%d}:counts", b))
			}
			_, err := pipe.Exec(ctx)
			return err
		}},
	}
}

// search is a request of docket's.
type search struct {
	uri  string
	body []byte
}

// ask reads the answer to its end.
func (s search) ask(ctx context.Context, client *http.Client, server string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server+s.uri, bytes.NewReader(s.body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// recorder keeps the last search that passes.
type recorder struct {
	next http.Handler
	mu   sync.Mutex
	kept search
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if strings.HasSuffix(q.URL.Path, "/_search") {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		r.mu.Lock()
		r.kept = search{q.URL.RequestURI(), body}
		r.mu.Unlock()
	}
	r.next.ServeHTTP(w, q)
}

func (r *recorder) last() search {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept
}
