package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

const (
	// longestRead bounds any answer while a store is sick.
	longestRead = 20 * time.Second
	// readerRest leaves the machine to others.
	readerRest = 5 * time.Millisecond
	// otherShows bounds what a healthy store takes to show a write while the
	// other one is sick.
	otherShows = 20 * time.Second
)

// viewReader reads while stores are sick.
type viewReader struct {
	*sickCampaign
	sick      []*sickStore
	restarted bool // docket is killed meanwhile
}

func (r *viewReader) isSick(name string) bool {
	return slices.ContainsFunc(r.sick, func(s *sickStore) bool { return s.name == name })
}

// readOrders asks for what lies in Redis. An order is always answered, and from
// the log no older than what was acknowledged; the rest may be refused for now
// while Redis is sick.
func (r *viewReader) readOrders(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		r.ledger.mu.Lock()
		a := r.ledger.acknowledged[(n*7919)%len(r.ledger.acknowledged)]
		if n%2 == 0 {
			a = r.ledger.acknowledged[len(r.ledger.acknowledged)-1]
		}
		r.ledger.mu.Unlock()
		got, ok := r.ask(ctx, "/v1/orders/"+a.order)
		if !ok {
			continue
		}
		var doc orderAnswer
		fromLog := got.header.Get("Read-Source") == "log"
		switch {
		case got.status != http.StatusOK:
			r.t.Errorf("order %s: %d %.300s", a.order, got.status, got.body)
		case json.Unmarshal(got.body, &doc) != nil || doc.ID != a.order || fromLog && doc.Revision < a.answer.Revision:
			r.t.Errorf("order %s at %d or later: %.300s", a.order, a.answer.Revision, got.body)
		}
		r.count(got, fromLog)
		for _, path := range []string{"/v1/customers/c-" + a.order, "/v1/stats"} {
			if got, ok := r.ask(ctx, path); ok && (path == "/v1/stats" || got.status != http.StatusNotFound) {
				r.wholeOrNotNow(path, got, r.isSick("redis"))
			}
		}
	}
}

// readLists asks for what lies in Elasticsearch.
func (r *viewReader) readLists(ctx context.Context) {
	rng := rand.New(rand.NewPCG(uint64(r.schedules), 7))
	for ctx.Err() == nil {
		path := pick(rng, "/v1/orders?limit=5&facets=status", "/v1/orders?q=example&limit=3&sort=number", "/v1/orders?tag=gift&limit=2&sort=-updatedAt")
		if got, ok := r.ask(ctx, path); ok {
			r.wholeOrNotNow(path, got, r.isSick("elasticsearch"))
		}
	}
}

// wholeOrNotNow: a store that is well answers; one that is sick may be excused,
// in words and with the time to come again.
func (r *viewReader) wholeOrNotNow(path string, got reply, sick bool) {
	switch {
	case got.status == http.StatusOK:
	case got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || got.code() == "":
		r.t.Errorf("%s: %d %v %.300s", path, got.status, got.header, got.body)
	case !sick && !r.restarted:
		r.t.Errorf("%s is refused though its store is well: %.300s", path, got.body)
	}
	r.count(got, false)
}

// ask sends a question; not ok: docket went, or the schedule is over.
func (r *viewReader) ask(ctx context.Context, path string) (reply, bool) {
	s := r.server(ctx)
	if s == nil {
		return reply{}, false
	}
	select {
	case <-ctx.Done():
		return reply{}, false
	case <-time.After(readerRest):
	}
	began := time.Now()
	got, err := s.do(ctx, r.network, request{method: "GET", path: path})
	took := time.Since(began)
	if err != nil {
		if ctx.Err() == nil && !r.restarted {
			r.t.Errorf("%s: %v", path, err)
		}
		return got, false
	}
	if took > longestRead {
		r.t.Errorf("%s took %v", path, took)
	}
	r.sickCounts.mu.Lock()
	r.slowest = max(r.slowest, took)
	r.sickCounts.mu.Unlock()
	return got, true
}

func (r *viewReader) count(got reply, fromLog bool) {
	r.sickCounts.mu.Lock()
	defer r.sickCounts.mu.Unlock()
	switch {
	case got.status == http.StatusServiceUnavailable:
		r.notNow++
	case fromLog:
		r.fromLog++
	default:
		r.answers++
	}
}

// otherGoesOn writes while one store is sick, and waits until the other one shows
// it. docket says that it is ready.
func (r *viewReader) otherGoesOn(ctx context.Context) {
	s := r.server(ctx)
	if got, err := s.do(ctx, r.network, request{method: "GET", path: "/readyz"}); !r.restarted && (err != nil || got.status != http.StatusOK) {
		r.t.Errorf("/readyz: %v %d %s", err, got.status, got.body)
	}
	if len(r.sick) > 1 {
		return
	}
	id := fmt.Sprintf("probe-%d", time.Now().UnixNano())
	if _, ok := r.send(ctx, s, id, request{method: "POST", path: "/v1/orders", key: id, body: placeBody(id, "Probe")}); !ok {
		r.t.Errorf("the order %s is not taken", id)
		return
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last reply
	for began := time.Now(); time.Since(began) < otherShows; <-tick.C {
		path := "/v1/orders/" + id
		if r.isSick("redis") {
			path = "/v1/orders?limit=1&customer=" + url.QueryEscape("c-"+id)
		}
		got, ok := r.ask(ctx, path)
		last = got
		if !ok || got.status != http.StatusOK || got.header.Get("Read-Source") == "log" {
			continue
		}
		var list struct{ Total *int }
		if json.Unmarshal(got.body, &list) == nil && (list.Total == nil || *list.Total == 1) {
			r.sickCounts.mu.Lock()
			r.seen++
			r.sickCounts.mu.Unlock()
			return
		}
	}
	r.t.Errorf("while %s is sick, the other store does not show an order after %v: %d %v %.300s", r.sick[0].name, otherShows, last.status, last.header, last.body)
}

// steadyLog is a network on which no command is refused for now: the log is well
// all the time.
type steadyLog struct {
	t     *testing.T
	under http.RoundTripper
}

// RoundTrip passes everything on.
func (l steadyLog) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.under.RoundTrip(r)
	if err == nil && r.Method != http.MethodGet && answer.StatusCode >= 500 {
		text, err := io.ReadAll(answer.Body)
		l.t.Errorf("%s %s: %d %s (%v)", r.Method, r.URL.Path, answer.StatusCode, text, err)
	}
	return answer, err
}
