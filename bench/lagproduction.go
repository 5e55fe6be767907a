package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/internal/testservers"
)

var lagProductionQuestion = question{
	name:  "lag-production",
	about: "from the acknowledgement of an event to its document being written in Redis, and to being found by a search in Elasticsearch, both fed at once at 2,000 events a second in open loop, and at 500: events of Olist, 500 orders in turns",
	ask:   askLagProduction,
}

func askLagProduction(ctx context.Context, e *env) error {
	olist, err := e.olist(ctx)
	if err != nil {
		return err
	}
	appends, _, err := readAppends(ctx, olist)
	if err != nil {
		return err
	}
	servers := startProduction()
	defer servers.Close()
	written := &watched{shown: map[string]time.Time{}}
	d, err := servers.open(ctx, e.folder("lag-production"), servers.elastic.URL, func(o *embedded.Options) {
		written.Backend, o.Cache.Backend = o.Cache.Backend, written
	})
	if err != nil {
		return err
	}
	defer d.Close()
	found := &watched{shown: map[string]time.Time{}}
	looking, stop := context.WithCancel(ctx)
	looked := make(chan error, 1)
	go func() { looked <- look(looking, servers.elastic, found) }()
	defer stop()

	rounds, seconds := min(e.rounds, 3), 20
	if e.quick {
		rounds, seconds = 2, 5
	}
	next := func(rate, seconds int) (turns [][]appended) {
		orders := rate * seconds / 6 // of about six events each
		turns, appends = roundRobin(appends[:orders], 500), appends[orders:]
		return turns
	}
	// Neither the first lanes nor the first answers of a cold Java count.
	if _, _, err := appendInTurns(ctx, d.Store, lagRate, next(lagRate, 3)); err != nil {
		return err
	}
	for _, rate := range []int{lagRate, lagRate / 4} {
		figures := map[string][]float64{}
		for range rounds {
			idle, began := idleTime(), time.Now()
			acked, behind, err := appendInTurns(ctx, d.Store, rate, next(rate, seconds))
			if err != nil {
				return err
			}
			if err := d.Views.CaughtUp(ctx); err != nil {
				return err
			}
			figures["busy"] = append(figures["busy"], 100*(1-(idleTime()-idle)/(time.Since(began).Seconds()*float64(runtime.NumCPU()))))
			if err := found.await(ctx, looked, acked); err != nil {
				return err
			}
			for name, w := range map[string]*watched{"redis": written, "elastic": found} {
				lags, err := w.lags(acked)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				figures[name+"50"], figures[name+"99"] = append(figures[name+"50"], quantile(lags, 0.5)), append(figures[name+"99"], quantile(lags, 0.99))
			}
			figures["late"] = append(figures["late"], behind)
		}
		at := fmt.Sprintf("%d events/s: ", rate)
		e.measure(at+"Redis, p50", "ms", figures["redis50"], noGoal)
		e.measure(at+"Redis, p99", "ms", figures["redis99"], atMost(250))
		e.measure(at+"searchable in Elasticsearch, p50", "ms", figures["elastic50"], noGoal)
		e.measure(at+"searchable in Elasticsearch, p99", "ms", figures["elastic99"], atMost(1500))
		e.measure(at+"p99 of how late an append was begun", "ms", figures["late"], noGoal)
		e.measure(at+"all processors of the machine, busy", "%", figures["busy"], noGoal)
	}
	e.note("the index has a refresh every second, and nobody asks for another; a search every %v looks what has become visible, and its time is that of its answer; log, docket, both servers and this program share the machine", lookEvery)
	return nil
}

const (
	lookEvery = 25 * time.Millisecond
	// overlap is for how many writes back it is looked again: those of several
	// requests do not become visible in the order of their numbers.
	overlap = 3000
)

// look notes, until ctx ends, what searches find that they did not before.
func look(ctx context.Context, node *testservers.ElasticsearchServer, found *watched) error {
	known := map[string]int64{} // events of an order that were found
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for last := int64(0); ; {
		answer, err := node.Do(http.MethodPost, "/docket-orders-1/_search?filter_path=hits.hits.fields,hits.hits.sort", fmt.Sprintf(
			`{"size":10000,"_source":false,"track_total_hits":false,"fields":["id","revision"],"query":{"range":{"_seq_no":{"gte":%d}}},"sort":["_seq_no"]}`, max(0, last-overlap)))
		if err != nil {
			return err
		}
		now := time.Now()
		var page struct {
			Hits struct {
				Hits []struct {
					Fields struct {
						ID       []string
						Revision []int64
					}
					Sort []int64
				}
			}
		}
		if err := json.Unmarshal([]byte(answer), &page); err != nil {
			return err
		}
		found.mu.Lock()
		for _, hit := range page.Hits.Hits {
			id, revision := hit.Fields.ID[0], hit.Fields.Revision[0]
			found.note(id, known[id], revision, now)
			known[id], last = revision, max(last, hit.Sort[0])
		}
		found.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// idleTime is for how many seconds the processors of this machine had nothing to do,
// together, since it was started.
func idleTime() (idle float64) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, ticks float64 // of 1/100 s
	if _, err := fmt.Sscanf(string(stat), "cpu %f %f %f %f", &user, &nice, &system, &ticks); err != nil {
		return 0
	}
	return ticks / 100
}

// await returns when everything that was acknowledged is shown.
func (w *watched) await(ctx context.Context, ended <-chan error, acked map[string]time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := w.lags(acked)
		if err == nil {
			return nil
		}
		select {
		case failed := <-ended:
			return fmt.Errorf("look: %w", failed)
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
