package projections_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/eventstore/eventstoretest"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/reconcile/expected"
	"github.com/docket-orders/docket/view"
)

// lease of the lanes in virtual time.
const lease = time.Second

// shared is a log, a store of views, and processes that share it: they come, are
// paused, and go. All of it lives in a bubble of virtual time.
type shared struct {
	*world
	rng       *rand.Rand
	faults    *projectionstest.Faults
	witness   *witness
	processes []*process // that are not gone
	killed    []*process
	started   int
	did       map[string]int
}

// process runs a manager.
type process struct {
	name   string
	link   *projectionstest.Link
	m      *projections.Manager
	cancel context.CancelFunc
	ended  chan error
}

func newShared(t *testing.T, seed uint64, spill string) *shared {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	w := &world{
		t: t, ctx: ctx, store: eventstoretest.NewReference(seed), backend: projectionstest.NewReference(),
		spill: spill, expected: map[string][]codec.Recorded{},
	}
	return &shared{
		world: w, rng: rand.New(rand.NewPCG(seed, 5)), faults: projectionstest.NewFaults(seed),
		witness: &witness{t: t, backend: w.backend, since: map[string]time.Time{}, documents: map[string][]string{}},
		did:     map[string]int{},
	}
}

// start begins another process.
func (s *shared) start() *process {
	s.started++
	p := &process{name: fmt.Sprint("p", s.started), ended: make(chan error, 1)}
	p.link = s.faults.Link(&witnessed{s.backend, s.witness, p.name})
	p.m = projections.NewManager(projections.Options{
		Store: s.store, Backend: p.link, SpillDir: s.spill, Owner: p.name, StoreName: "reference", Lease: lease,
	})
	ctx, cancel := context.WithCancel(s.ctx)
	p.cancel = cancel
	go func() { p.ended <- p.m.Run(ctx) }()
	s.processes = append(s.processes, p)
	s.witness.runs(p.name, true)
	s.did["started"]++
	return p
}

func (s *shared) some() *process { return s.processes[s.rng.IntN(len(s.processes))] }

// kill ends a process without a last word.
func (s *shared) kill(p *process) {
	s.witness.runs(p.name, false)
	p.link.Cut()
	p.cancel()
	s.gone(p)
	s.killed = append(s.killed, p)
	s.did["killed"]++
}

// stop ends a process as it should be ended.
func (s *shared) stop(p *process) {
	p.cancel()
	if err := <-p.ended; err != nil {
		s.t.Errorf("%s: %v", p.name, err)
	}
	s.witness.runs(p.name, false)
	s.gone(p)
	s.did["stopped"]++
}

// abandon lets nothing run on after a failure.
func (s *shared) abandon() {
	for len(s.processes) > 0 {
		s.kill(s.processes[0])
	}
	for _, p := range s.killed {
		<-p.ended
	}
	s.killed = nil
	s.faults.Counts()
}

// end stops what still runs, and waits for what was killed and what is still on its
// way.
func (s *shared) end() {
	for len(s.processes) > 0 {
		s.stop(s.processes[0])
	}
	for _, p := range s.killed {
		<-p.ended
	}
	s.killed = nil
	s.did["lost calls"], s.did["late calls"] = s.faults.Counts()
	s.did["claims"] = s.witness.claims
}

func (s *shared) gone(p *process) {
	s.processes = slices.DeleteFunc(s.processes, func(q *process) bool { return q == p })
}

func (s *shared) pause(p *process) {
	s.witness.runs(p.name, false)
	p.link.Pause()
	s.did["paused"]++
}

func (s *shared) resume(p *process) {
	p.link.Resume()
	s.witness.runs(p.name, true)
}

// grow appends one to three events to an order.
func (s *shared) grow(id string) {
	s.mu.Lock()
	n := len(s.expected[id])
	s.mu.Unlock()
	var events []order.Event
	if n == 0 {
		p := placed
		p.Customer.ID = fmt.Sprint("c", s.rng.IntN(3))
		events = append(events, p)
	}
	for range 1 + s.rng.IntN(2) {
		n++
		events = append(events, order.NoteAdded{NoteID: fmt.Sprint("n", n), Text: fmt.Sprint("note ", n), At: later(n)})
	}
	s.appendTo(id, events...)
	s.witness.learns(id, s.expected[id])
	s.did["events"] += len(events)
}

// atRest waits until everything is applied or parked, as seen by some process.
func (s *shared) atRest() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	if err := s.some().m.CaughtUp(ctx); err != nil {
		for _, p := range s.processes {
			status, err := p.m.Status(s.ctx)
			s.t.Logf("%s: %+v, %v", p.name, status, err)
		}
		s.t.Fatalf("not at rest: %v", err)
	}
}

// checkStored compares what is stored with the log; of the orders in prefix only
// so many events count.
func (s *shared) checkStored(generation int, prefix map[string]int) {
	s.t.Helper()
	sink, err := s.backend.Open(s.ctx, generation)
	s.must(err)
	docs, err := sink.Documents(s.ctx, slices.Collect(maps.Keys(s.expected)))
	s.must(err)
	for id, events := range s.expected {
		if n, cut := prefix[id]; cut {
			events = events[:n]
		}
		got, want := docs[id], expectedDocument(id, events)
		got.Position, want.Position = "", ""
		if g, e := asJSON(s.t, got), asJSON(s.t, want); g != e {
			s.t.Errorf("order %s, lane %d\nis     %s\nshould %s", id, projections.LaneOf(id), g, e)
		}
	}
	parked, err := sink.Parked(s.ctx)
	s.must(err)
	for _, p := range parked {
		if _, cut := prefix[p.OrderID]; !cut {
			s.t.Errorf("parked: %+v", p)
		}
	}
	if len(parked) < len(prefix) {
		s.t.Errorf("parked: %v, not %v", parked, prefix)
	}
}

// witness stands right before the store, and knows which process says what, and
// whether it runs.
type witness struct {
	t       *testing.T
	backend *projectionstest.Reference

	mu        sync.Mutex
	owners    [projections.Lanes]string
	owned     [projections.Lanes]time.Time // when a process that ran had the lane last
	since     map[string]time.Time         // since when a process runs
	documents map[string][]string          // by order: what the log says at each revision
	claims    int
	longest   time.Duration // that a lane was not owned while somebody could have
}

// runs notes that a process runs from now on, or does not.
func (w *witness) runs(process string, runs bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look()
	if delete(w.since, process); runs {
		w.since[process] = time.Now()
	}
}

// learns what the log says of an order.
func (w *witness) learns(id string, events []codec.Recorded) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := len(w.documents[id]); n < len(events); n++ {
		doc := expectedDocument(id, events[:n+1])
		doc.Position = ""
		w.documents[id] = append(w.documents[id], asJSON(w.t, doc))
	}
}

// look notes for how long lanes were without an owner that runs. Time counts while
// one process runs all along. mu is held.
func (w *witness) look() {
	now := time.Now()
	eldest := now
	for _, since := range w.since {
		if since.Before(eldest) {
			eldest = since
		}
	}
	for lane, owner := range w.owners {
		if _, runs := w.since[owner]; runs {
			w.owned[lane] = now
		}
		from := w.owned[lane]
		if from.Before(eldest) {
			from = eldest
		}
		w.longest = max(w.longest, now.Sub(from))
	}
}

// watch looks all the time, until ctx ends.
func (w *witness) watch(ctx context.Context) {
	tick := time.NewTicker(lease / 20)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.mu.Lock()
			w.look()
			w.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// witnessed is the store as one process speaks to it.
type witnessed struct {
	projections.Backend
	witness *witness
	process string
}

type witnessedSink struct {
	projections.Sink
	*witnessed
	generation int
}

func (b *witnessed) Open(ctx context.Context, n int) (projections.Sink, error) {
	sink, err := b.Backend.Open(ctx, n)
	return &witnessedSink{sink, b, n}, err
}

func (s *witnessedSink) Claim(ctx context.Context, lane int, owner string, token uint64) (projections.Checkpoint, error) {
	w := s.witness
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := s.Sink.Claim(ctx, lane, owner, token)
	if err == nil {
		w.owners[lane] = owner
		w.owned[lane] = time.Now() // also by one that was stopped since it asked: a sign of life
		w.claims++
	}
	return c, err
}

func (s *witnessedSink) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	w := s.witness
	w.mu.Lock()
	defer w.mu.Unlock()
	outcomes, err := s.Sink.Write(ctx, batch)
	moved := err == nil
	for i, o := range outcomes {
		moved = moved && (o.Result == projections.Applied || o.Result == projections.Already)
		if o.Result != projections.Applied {
			continue
		}
		doc := batch.Changes[i].Order
		doc.Position = ""
		if says := w.documents[doc.ID]; doc.Revision >= int64(len(says)) || asJSON(w.t, doc) != says[doc.Revision] {
			w.t.Errorf("%s wrote what the log does not say: %s", s.process, asJSON(w.t, doc))
		}
	}
	for _, c := range batch.Checkpoints {
		if owner := w.owners[c.Lane]; moved && owner != s.process {
			w.t.Errorf("%s moved the checkpoint of lane %d, which is %s's", s.process, c.Lane, owner)
		}
	}
	return outcomes, err
}

// appendPoison gives an order an event that no program can read.
func (s *shared) appendPoison(id string) {
	s.appendRaw(codec.Category, id, len(s.expected[id]), poison())
}

// owns reports whether a process has a lane.
func (s *shared) owns(p *process) bool {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	return slices.Contains(s.witness.owners[:], p.name)
}

// asked repeats what operators ask for until it is done: the store comes and goes.
func (s *shared) asked(what string, do func(ctx context.Context) error) {
	s.t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	again := time.NewTicker(lease / 4)
	defer again.Stop()
	for ; ; <-again.C {
		ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %v", what, err)
		}
	}
}

// goes lets time go by: a fault lasts so long, or the next one comes then. Nothing
// is waited for, and in the bubble it takes no time.
func (s *shared) goes(d time.Duration) {
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-over.C:
	case <-s.ctx.Done():
	}
}

var errNotYet = errors.New("refused for now")

// flush makes the store lose the generation.
func (s *shared) flush() error {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	s.witness.owners = [projections.Lanes]string{}
	s.did["flushed"]++
	return s.backend.Drop(s.ctx, 1)
}

// expectedDocument is what the independent fold of reconciliation makes of events.
func expectedDocument(id string, events []codec.Recorded) view.Order {
	return rows.Order(id, events).Document
}

var rows = expected.Rows()
