// Package projectionstest checks that a store of views keeps what
// projections.Sink, projections.Backend and the questions of its role promise:
// each promise of their comments is a case. The answers to questions are compared
// with those of a naive evaluation over all documents.
//
// sinks.go has the cases of writing, lanes.go those of owners, closing.go those
// of generations, search.go and hot.go those of questions, inspect.go those of
// reconciliation, processes.go those of a store that several processes share.
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

// Sink is a generation that answers all questions.
type Sink interface {
	projections.Sink
	query.Views
}

// Role of a store: which questions it answers.
type Role uint8

const (
	Both   Role = iota // query.Views
	Hot                // query.Hot
	Search             // query.Search
)

// Store is what the suite runs on. Only Open must be given.
type Store struct {
	// Open makes a backend of its own, empty, for each call: on a server that
	// others use at the same time, in a namespace of its own. The suite drops
	// every generation that it made.
	Open func(t testing.TB) projections.Backend
	// Answers says what questions its sinks must answer.
	Answers Role
	// Late says that questions see what was written only after a Refresh, or
	// where Question.Holding asks for it.
	Late bool
	// Again opens the generations of a backend that Open made as another process
	// would: nothing is shared but the server. Nil for a store of one process.
	Again func(t testing.TB, b projections.Backend) projections.Backend
	// Nudge changes a figure of a generation, and leaves one that belongs to
	// nothing, as another program would. May be nil.
	Nudge func(t testing.TB, b projections.Backend, generation int)
	// Questions is how many random list questions are asked each time; 0: 600.
	Questions int
}

func (s Store) answers(r Role) bool { return s.Answers == Both || s.Answers == r }

// Run runs the suite: every case that is about something the store has.
func Run(t *testing.T, s Store) {
	if s.Questions == 0 {
		s.Questions = 600
	}
	search, hot, shared, nudged := s.answers(Search), s.answers(Hot), s.Again != nil, s.Nudge != nil
	for _, c := range []struct {
		name    string
		applies bool
		run     func(*testing.T, Store)
	}{
		{"a new generation is empty", true, newGeneration},
		{"documents read back as written", true, roundTrip},
		{"documents only move forward", true, forward},
		{"a gap holds back checkpoints, not the others", true, gap},
		{"a refused document holds back checkpoints, not the others", true, refused},
		{"checkpoints move by compare and set", true, checkpoints},
		{"one of many claims wins", true, claims},
		{"many lanes are claimed as one is", true, claimsOfMany},
		{"a beat is a sign of life and nothing else", true, beats},
		{"orders are parked and released with the checkpoints", true, parking},
		{"generations are apart and survive closing", true, generations},
		{"closing waits for calls", true, closing},
		{"counters follow the documents", true, counters},
		{"folded histories", true, histories},
		{"many write at once", true, concurrentWriters},
		{"what is filled before anybody asks is whole at the end", true, filled},
		{"questions see what a refresh made visible", search, visible},
		{"questions hold what they are told to", search, holding},
		{"list questions", search, questions},
		{"walks visit every order once", search, walks},
		{"full text", search, fullText},
		{"page, total and facets are of one instant", search, oneInstant},
		{"orders by id are those written last", hot, byID},
		{"customers", hot, customers},
		{"stats", hot, statistics},
		{"what is healthy is the same", true, inspectHealthy},
		{"what differs is shown", true, inspectDifferences},
		{"ids of everything that is kept", true, listIDs},
		{"figures are those of the documents", true, figuresFollow},
		{"an order is replaced whatever is kept", true, replaces},
		{"a recount follows the contributions", hot, recounts},
		{"a recount puts nudged figures right", nudged, nudgedFigures},
		{"inspection beside the feeder", true, besideTheFeeder},
		{"processes open one generation at once", shared, openedAtOnce},
		{"one process sees what another wrote", shared, anotherProcess},
		{"a former owner comes late", shared, formerOwner},
		{"processes write the same orders at once", shared, sameOrders},
		{"what another process dropped is gone", shared, droppedElsewhere},
	} {
		if c.applies {
			t.Run(c.name, func(t *testing.T) { c.run(t, s) })
		}
	}
}

// fixture is a generation, and what should be in it.
type fixture struct {
	*testing.T
	projections.Sink
	hot     query.Hot    // nil where the store does not answer it
	search  query.Search // so too
	store   Store
	backend projections.Backend
	ctx     context.Context
	docs    map[string]view.Order
}

func start(t *testing.T, s Store) *fixture {
	t.Helper()
	return s.generation(t, s.Open(t), 1)
}

// generation opens one, and drops it at the end.
func (s Store) generation(t *testing.T, b projections.Backend, number int) *fixture {
	t.Helper()
	f := &fixture{T: t, store: s, backend: b, ctx: t.Context(), docs: map[string]view.Order{}}
	t.Cleanup(func() {
		f.Close()
		if err := b.Drop(context.WithoutCancel(f.ctx), number); err != nil {
			t.Errorf("drop generation %d: %v", number, err)
		}
	})
	f.open(number)
	return f
}

// open opens the generation, perhaps again.
func (f *fixture) open(number int) {
	f.Helper()
	sink, err := f.backend.Open(f.ctx, number)
	if err != nil {
		f.Fatalf("open generation %d: %v", number, err)
	}
	f.Sink = sink
	if f.store.answers(Hot) {
		f.hot = sink.(query.Hot)
	}
	if f.store.answers(Search) {
		f.search = sink.(query.Search)
	}
}

// another is the same generation, opened by another process.
func (f *fixture) another() *fixture {
	f.Helper()
	g := &fixture{T: f.T, store: f.store, backend: f.store.Again(f.T, f.backend), ctx: f.ctx, docs: f.docs}
	g.open(1)
	f.Cleanup(func() { g.Close() })
	return g
}

// counts reports whether the store keeps figures: one that answers hot questions
// does, and so does any that does not count for itself.
func (f *fixture) counts() bool {
	_, self := f.Sink.(projections.SelfCounting)
	return f.hot != nil || !self
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
	if f.hot == nil {
		return
	}
	t := newTallies()
	for _, doc := range f.docs {
		t.add(projections.Contributions(doc), 1)
		t.addCustomer(projections.Contributions(doc), 1)
	}
	for _, q := range []query.StatsQuestion{
		{}, {Top: 5}, {Top: 1000}, {From: "2018-01-30"}, {To: "2018-01-31"}, {From: "2018-01-30", To: "2018-02-01"}, {From: "2030-01-01"},
	} {
		got, err := f.hot.Stats(f.ctx, q)
		f.same(fmt.Sprintf("stats %+v", q), got, stats(q, t), err)
	}
	for i := range 45 {
		id := fmt.Sprintf("c%d", i)
		got, ok, err := f.hot.Customer(f.ctx, id)
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
	if f.search == nil {
		return
	}
	q := query.Question{Sort: query.Sort{By: query.ByPlacedAt}, Limit: query.MaxLimit, Facets: query.Facets}
	page, err := f.search.Orders(f.ctx, q)
	f.samePage(q, page, answer(f.all(), q), err)
}

// checkAll asks about everything.
func (f *fixture) checkAll() {
	f.Helper()
	f.checkDocuments()
	f.checkCounters()
	f.checkHealthy()
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
