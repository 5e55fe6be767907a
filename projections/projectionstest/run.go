// Package projectionstest checks that a store of views keeps what
// projections.Sink, projections.Backend and query.Views promise: each promise
// of their comments is a case. The answers to questions are compared with those
// of a naive evaluation over all documents.
//
// The tests of every adapter call Run. Reference is an adapter in memory that
// keeps no more than what is promised, and fails on demand: for the tests of
// the suite itself, and of the runner.
package projectionstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// Sink is what a generation must be: writable, and able to answer.
type Sink interface {
	projections.Sink
	query.Views
}

// Open makes a backend of its own, empty, for each call. Its sinks must answer
// query.Views too.
type Open func(t testing.TB) projections.Backend

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"a new generation is empty", newGeneration},
		{"documents read back as written", roundTrip},
		{"documents only move forward", forward},
		{"a gap holds back checkpoints, not the others", gap},
		{"a refused document holds back checkpoints, not the others", refused},
		{"checkpoints move by compare and set", checkpoints},
		{"one of many claims wins", claims},
		{"orders are parked and released with the checkpoints", parking},
		{"generations are apart and survive closing", generations},
		{"closing waits for calls", closing},
		{"counters follow the documents", counters},
		{"folded histories", histories},
		{"many write at once", concurrentWriters},
		{"questions see what a refresh made visible", visible},
		{"list questions", questions},
		{"walks visit every order once", walks},
		{"full text", fullText},
		{"customers", customers},
		{"stats", statistics},
		{"page, total and facets are of one instant", oneInstant},
		{"what is healthy is the same", inspectHealthy},
		{"what differs is shown", inspectDifferences},
		{"ids of everything that is kept", listIDs},
		{"figures are those of the documents", figuresFollow},
		{"an order is replaced whatever is kept", replaces},
		{"a recount follows the contributions", recounts},
		{"inspection beside the feeder", besideTheFeeder},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open) })
	}
}

// fixture is a generation, and what should be in it.
type fixture struct {
	*testing.T
	Sink
	ctx  context.Context
	docs map[string]view.Order
}

func start(t *testing.T, open Open) *fixture {
	t.Helper()
	f := &fixture{T: t, ctx: t.Context(), docs: map[string]view.Order{}}
	f.Sink = openGeneration(t, open(t), 1)
	t.Cleanup(func() { f.Sink.Close() })
	return f
}

func openGeneration(t testing.TB, b projections.Backend, generation int) Sink {
	t.Helper()
	sink, err := b.Open(t.Context(), generation)
	if err != nil {
		t.Fatal(err)
	}
	both, ok := sink.(Sink)
	if !ok {
		t.Fatalf("%T does not answer query.Views", sink)
	}
	return both
}

// results writes a batch and returns its outcomes' results.
func (f *fixture) results(batch projections.Batch) []projections.Result {
	f.Helper()
	outcomes, err := f.Write(f.ctx, batch)
	if err != nil {
		f.Fatalf("write: %v", err)
	}
	if len(outcomes) != len(batch.Changes) {
		f.Fatalf("%d outcomes for %d changes", len(outcomes), len(batch.Changes))
	}
	results := make([]projections.Result, len(outcomes))
	for i, o := range outcomes {
		if results[i] = o.Result; (o.Err != nil) != (o.Result == projections.Refused) {
			f.Fatalf("outcome %d is %v with error %v", i, o.Result, o.Err)
		}
		if o.Result == projections.Applied {
			doc := batch.Changes[i].Order
			f.docs[doc.ID] = doc
		}
	}
	return results
}

// put writes documents that must be applied, from their first event.
func (f *fixture) put(docs ...view.Order) {
	f.Helper()
	for chunk := range slices.Chunk(docs, 200) {
		var batch projections.Batch
		for _, doc := range chunk {
			batch.Changes = append(batch.Changes, ChangeTo(doc, 0))
		}
		for i, result := range f.results(batch) {
			if result != projections.Applied {
				f.Fatalf("document %s: result %v", chunk[i].ID, result)
			}
		}
	}
}

func (f *fixture) refresh() {
	f.Helper()
	if err := f.Refresh(f.ctx); err != nil {
		f.Fatalf("refresh: %v", err)
	}
}

// all is every document that should be there.
func (f *fixture) all() []view.Order { return slices.Collect(maps.Values(f.docs)) }

// lane reads one checkpoint.
func (f *fixture) lane(lane int) projections.Checkpoint {
	f.Helper()
	all, err := f.Checkpoints(f.ctx)
	if err != nil || len(all) != projections.Lanes {
		f.Fatalf("%d checkpoints, %v", len(all), err)
	}
	return all[lane]
}

// checkCounters compares everything that is counted with a recomputation.
func (f *fixture) checkCounters() {
	f.Helper()
	f.refresh()
	t := newTallies()
	for _, doc := range f.docs {
		t.add(projections.Contributions(doc), 1)
		t.addCustomer(projections.Contributions(doc), 1)
	}
	for _, q := range []query.StatsQuestion{
		{}, {Top: 5}, {Top: 1000}, {From: "2018-01-30"}, {To: "2018-01-31"}, {From: "2018-01-30", To: "2018-02-01"}, {From: "2030-01-01"},
	} {
		got, err := f.Stats(f.ctx, q)
		f.same(fmt.Sprintf("stats %+v", q), got, stats(q, t), err)
	}
	for i := range 45 {
		id := fmt.Sprintf("c%d", i)
		got, ok, err := f.Customer(f.ctx, id)
		want, wantOK := summarise(id, f.all(), t)
		f.same("customer "+id, []any{got, ok}, []any{want, wantOK}, err)
	}
}

// checkDocuments compares every document, and the list of all.
func (f *fixture) checkDocuments() {
	f.Helper()
	ids := slices.Sorted(maps.Keys(f.docs))
	got, err := f.Documents(f.ctx, append(ids, "absent"))
	f.same("documents", got, f.docs, err)
	f.refresh()
	q := query.Question{Sort: query.Sort{By: query.ByPlacedAt}, Limit: query.MaxLimit, Facets: query.Facets}
	page, err := f.Orders(f.ctx, q)
	f.samePage(q, page, answer(f.all(), q), err)
}

// same fails where got is not want as JSON, which is what documents are: an
// empty map that JSON leaves out may come back as none.
func (f *fixture) same(what string, got, want any, err error) {
	f.Helper()
	if err != nil {
		f.Fatalf("%s: %v", what, err)
	}
	if reflect.DeepEqual(got, want) {
		return
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if a != nil && bytes.Equal(a, b) {
		return
	}
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	from := max(0, at-200)
	f.Fatalf("%s differs at byte %d:\n got ...%s\nwant ...%s", what, at, a[from:min(len(a), at+300)], b[from:min(len(b), at+300)])
}

// samePage compares pages: the ids first, since they say more.
func (f *fixture) samePage(q query.Question, got, want query.Page, err error) {
	f.Helper()
	if err != nil {
		f.Fatalf("%s: %v", describe(q), err)
	}
	if q.WithoutTotal {
		got.Total, want.Total = 0, 0
	}
	f.same("ids of "+describe(q), ids(got.Items), ids(want.Items), nil)
	f.same("items of "+describe(q), present(got.Items), want.Items, nil)
	f.same("total of "+describe(q), got.Total, want.Total, nil)
	f.same("next of "+describe(q), got.Next, want.Next, nil)
	if len(q.Facets) > 0 {
		f.same("facets of "+describe(q), got.Facets, want.Facets, nil)
	}
}

func ids(docs []view.Order) []string {
	out := []string{}
	for i := range docs {
		out = append(out, docs[i].ID)
	}
	return out
}

// present is the same list, but never nil.
func present[T any](list []T) []T { return append([]T{}, list...) }

var unset = regexp.MustCompile(`"\w+":(null|false),?`)

// describe is the question as JSON, without what it does not set.
func describe(q query.Question) string {
	data, err := json.Marshal(q)
	if err != nil {
		panic(err)
	}
	return unset.ReplaceAllString(string(data), "")
}

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 2)) }
