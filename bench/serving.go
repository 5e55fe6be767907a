package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// readWhileWriting asks a server from 64 connections while 16 place orders, each
// client as fast as it is answered.
func (e *env) readWhileWriting(ctx context.Context, dir string, paths []string) error {
	const readers, writing = 64, 16
	length := 10 * time.Second
	if e.quick {
		length = 3 * time.Second
	}
	s, err := e.serveDocket(ctx, dir)
	if err != nil {
		return err
	}
	defer s.stop()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: readers}}
	defer client.CloseIdleConnections()
	var read50, read99, reads, shed, write50, write99, writes []float64
	for round := range min(e.rounds, 3) {
		var (
			mu     sync.Mutex
			took   []float64
			failed error
			all    sync.WaitGroup
			placed loaded

			turnedAway int
		)
		end := time.Now().Add(length)
		for n := range readers {
			all.Go(func() {
				var mine []float64
				var away int
				var err error
				for i := n; err == nil && time.Now().Before(end); i += readers {
					start := time.Now()
					answered := false
					if answered, err = get(ctx, client, s.url+paths[i%len(paths)]); answered {
						mine = append(mine, time.Since(start).Seconds()*1e3)
					} else {
						away++
					}
				}
				mu.Lock()
				defer mu.Unlock()
				took, turnedAway, failed = append(took, mine...), turnedAway+away, errors.Join(failed, err)
			})
		}
		all.Go(func() {
			got, err := e.generate(ctx, s, load{plan: "place", run: fmt.Sprint("rw", round), clients: writing, length: length})
			mu.Lock()
			defer mu.Unlock()
			placed, failed = got, errors.Join(failed, err)
		})
		all.Wait()
		if failed != nil {
			return failed
		}
		if len(took) == 0 {
			return errors.New("not one question was answered")
		}
		slices.Sort(took)
		shed = append(shed, float64(turnedAway)/length.Seconds())
		reads, read50, read99 = append(reads, float64(len(took))/length.Seconds()), append(read50, quantile(took, 0.5)), append(read99, quantile(took, 0.99))
		writes, write50, write99 = append(writes, placed.Rate), append(write50, placed.P50), append(write99, placed.P99)
	}
	e.measure("64 clients reading over HTTP while 16 write: reads", "answers/s", reads, noGoal)
	e.measure("searches turned away, since too many waited", "answers/s", shed, noGoal)
	e.measure("their reads, p50", "ms", read50, noGoal)
	e.measure("their reads, p99", "ms", read99, noGoal)
	e.measure("16 clients writing meanwhile: orders placed", "orders/s", writes, noGoal)
	e.measure("their writes, p50", "ms", write50, noGoal)
	e.measure("their writes, p99", "ms", write99, noGoal)
	return nil
}

// get reads an answer to its end; answered is false when the server was too busy
// for the question.
func get(ctx context.Context, client *http.Client, address string) (answered bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return false, err
	case answer.StatusCode == http.StatusServiceUnavailable || answer.StatusCode == http.StatusTooManyRequests:
		return false, nil
	case answer.StatusCode != http.StatusOK:
		return false, fmt.Errorf("GET %s: %s: %.300s", address, answer.Status, body)
	}
	return true, nil
}

// readPaths is what a shop asks: of ten questions seven are of one order, two
// list, and one searches.
func readPaths(b *bare) ([]string, error) {
	ids, err := b.texts(`SELECT id FROM orders ORDER BY random() LIMIT 7000`)
	if err != nil {
		return nil, err
	}
	var paths []string
	for i, id := range ids {
		paths = append(paths, "/v1/orders/"+id)
		if i%7 == 0 {
			month := time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, i%18, 0)
			paths = append(paths,
				"/v1/orders?status=confirmed&state=RJ",
				"/v1/orders?"+url.Values{"fulfilmentStatus": {"delivered"}, "placedFrom": {month.Format(time.RFC3339)}, "placedTo": {month.AddDate(0, 1, 0).Format(time.RFC3339)}}.Encode(),
				"/v1/orders?q=curitiba+perfumery")
		}
	}
	return paths, nil
}
