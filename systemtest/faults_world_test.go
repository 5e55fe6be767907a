package systemtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/google/uuid"
)

// faultWorld is an event store behind its protocol, a network that fails, and
// docket's adapter on the other side, with some who use it.
type faultWorld struct {
	t    *testing.T
	host string     // where its servers listen
	rng  *rand.Rand // of the goroutine that made the world
	plan faultPlan

	store   *sqlite.Store
	serves  eventstore.Store // store, or what a planted bug makes of it
	server  *esdbserver.Server
	served  chan error
	tap     *tap
	address string // of the server
	network *faultNetwork
	adapter *esdb.Store
	uses    eventstore.Store // adapter, or what a planted bug makes of it

	clock atomic.Int64 // the moments of the schedule, each of them once
	last  map[string]*atomic.Int64

	healed chan struct{} // closed when no fault comes any more

	mu        sync.Mutex
	appends   []*faultAppend
	reads     []*faultRead
	subs      []*faultSubscription
	recovered []time.Duration // from healed on, one for each that goes on
	hit, late int             // faults at their stage, and those whose stage never came
	attempts  int
	doubts    int
	stagesHit []stage
	troubles  []string // what nobody may be told
}

// planted makes a bug of the server's store or of the adapter.
type planted struct {
	below, above func(eventstore.Store) eventstore.Store
}

// patience of those who use the store, for one attempt.
const faultPatience = 400 * time.Millisecond

// matching is the filter of some subscriptions.
var matching = eventstore.Filter{Prefixes: []string{"order-"}}

func newFaultWorld(t *testing.T, dir, host string, rng *rand.Rand, p faultPlan, bug planted) (w *faultWorld, err error) {
	ctx := t.Context()
	w = &faultWorld{t: t, host: host, rng: rng, plan: p, healed: make(chan struct{}), last: map[string]*atomic.Int64{}}
	if w.store, err = sqlite.Open(ctx, dir, sqlite.Options{Logger: silent}); err != nil {
		return nil, err
	}
	for i := range p.streams {
		w.last[w.stream(i)] = &atomic.Int64{}
		w.last[w.stream(i)].Store(-1)
	}
	if err := w.past(ctx); err != nil {
		return nil, err
	}
	w.serves = w.store
	if bug.below != nil {
		w.serves = bug.below(w.serves)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(w.host, "0"))
	if err != nil {
		return nil, err
	}
	w.address = listener.Addr().String()
	if err := w.serve(listener); err != nil {
		return nil, err
	}
	if w.network, err = newFaultNetwork(w.host, w.address, p.resets); err != nil {
		return nil, err
	}
	w.adapter, err = esdb.Open(ctx, fmt.Sprintf("esdb://%s?tls=false&defaultDeadline=250&gossipTimeout=1&discoveryInterval=10", w.network.address),
		esdb.Options{Logger: silent})
	if err != nil {
		return nil, err
	}
	w.uses = w.adapter
	if bug.above != nil {
		w.uses = bug.above(w.uses)
	}
	return w, nil
}

// stream is one that is written to; the subscription with a filter sees two of
// three.
func (w *faultWorld) stream(i int) string {
	if i%3 == 2 {
		return fmt.Sprintf("other-%d", i)
	}
	return fmt.Sprintf("order-%d", i)
}

// past is what is there before anybody comes: enough for a subscription to be
// behind, and to be told of positions between.
func (w *faultWorld) past(ctx context.Context) error {
	for i := range 6 {
		for _, stream := range []string{"order-old", "other-old"} {
			events := make([]eventstore.Event, 3)
			if stream == "other-old" {
				events = make([]eventstore.Event, 60)
			}
			for n := range events {
				events[n] = faultEvent(uuid.New())
			}
			if _, err := w.store.Append(ctx, stream, eventstore.Expected(i*len(events)-1), events); err != nil {
				return err
			}
		}
	}
	return nil
}

// faultEvent says in its content which one it is.
func faultEvent(id uuid.UUID) eventstore.Event {
	return eventstore.Event{ID: id, Type: "Counted", JSON: true, Data: fmt.Appendf(nil, `{"id":%q,"pad":"%0*d"}`, id, 10+int(id[0]), 0), Metadata: []byte(`{}`)}
}

func (w *faultWorld) serve(l net.Listener) (err error) {
	w.tap = newTap(l)
	if w.server, err = esdbserver.New(context.WithoutCancel(w.t.Context()), esdbserver.Options{Store: w.serves, Logger: silent}); err != nil {
		return err
	}
	w.served = make(chan error, 1)
	server, tap, served := w.server, w.tap, w.served
	go func() { served <- server.Serve(tap) }()
	return nil
}

// suffer brings a fault about and returns when it is there.
func (w *faultWorld) suffer(f fault, rng *rand.Rand) error {
	switch f {
	case faultServerDies:
		w.tap.closeBroken(true)
		w.tap.Listener.Close()
		return nil
	case faultServerStops:
		return w.stop()
	}
	return w.network.suffer(f, rng)
}

func (w *faultWorld) stop() error {
	err := w.server.Close()
	return errors.Join(err, <-w.served)
}

// heal ends a fault.
func (w *faultWorld) heal(f fault) error {
	switch f {
	case faultServerStops, faultServerDies:
		if f == faultServerDies {
			_ = w.server.Close()
			<-w.served // it says that its listener is gone
		}
		l, err := listenAgain(w.address)
		if err != nil {
			return err
		}
		return w.serve(l)
	}
	w.tap.closeBroken(false)
	return w.network.heal()
}

func (w *faultWorld) trouble(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.troubles = append(w.troubles, fmt.Sprintf(format, args...))
}

// close ends everything but the store, which is looked at afterwards.
func (w *faultWorld) close() error {
	err := w.adapter.Close()
	w.network.close()
	return errors.Join(err, w.stop())
}

// faultPlan is what happens in a schedule; all of it follows from a seed.
type faultPlan struct {
	streams, writers int

	resets bool // connections end by a reset
	steps  []faultStep
}

// faultStep is one fault.
type faultStep struct {
	fault     fault
	stage     stage
	nth       int           // time that a call passes the stage
	immediate bool          // whatever the stage is: before any call
	length    time.Duration // until it ends
	seed      uint64
}

func (s faultStep) String() string {
	if s.immediate {
		return fmt.Sprintf("%v between calls for %v", s.fault, s.length)
	}
	return fmt.Sprintf("%v at %v %d for %v", s.fault, s.stage, s.nth, s.length)
}

func newFaultPlan(rng *rand.Rand) faultPlan {
	p := faultPlan{streams: 1 + rng.IntN(4), writers: 2 + rng.IntN(3), resets: rng.IntN(2) == 0}
	for range 1 + rng.IntN(3) {
		s := faultStep{
			fault: fault(rng.IntN(int(faults))), stage: stage(rng.IntN(int(stages))), nth: 1 + rng.IntN(6),
			immediate: rng.IntN(12) == 0, length: time.Duration(1+rng.IntN(60)) * time.Millisecond, seed: rng.Uint64(),
		}
		if rng.IntN(6) == 0 {
			s.length += time.Duration(rng.IntN(300)) * time.Millisecond // longer than a deadline
		}
		if s.fault == faultReset {
			p.resets = true
		}
		p.steps = append(p.steps, s)
	}
	return p
}

// A fault waits for its stage until so many attempts to append have come and gone,
// or so long.
const (
	stageAttempts = 30
	stagePatience = time.Second
)

// awaitStage returns when the stage has come, or may not come any more.
func (w *faultWorld) awaitStage(ctx context.Context, there <-chan struct{}) {
	attempts := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.attempts
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for began, before := time.Now(), attempts(); time.Since(began) < stagePatience && attempts() < before+stageAttempts; {
		select {
		case <-there:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// disturb brings about the faults of the plan, one after the other.
func (w *faultWorld) disturb(ctx context.Context) {
	defer func() { w.tap.set.Store(nil); close(w.healed) }()
	for _, s := range w.plan.steps {
		rng := rand.New(rand.NewPCG(s.seed, 0))
		began := make(chan error, 1)
		there := make(chan struct{})
		set := &trigger{stage: s.stage, fire: func() (bool, bool) {
			close(there)
			if s.fault == faultServerStops {
				go func() { began <- w.suffer(s.fault, rng) }() // it waits for the call that stands here
			} else {
				began <- w.suffer(s.fault, rng)
			}
			return s.fault.loses()
		}}
		set.nth.Store(int32(s.nth))
		if !s.immediate {
			w.tap.set.Store(set)
			w.awaitStage(ctx, there)
		}
		if w.tap.set.CompareAndSwap(set, nil) || s.immediate {
			began <- w.suffer(s.fault, rng)
			w.late++
		} else {
			w.hit++
			w.stagesHit = append(w.stagesHit, s.stage)
		}
		err := <-began
		select {
		case <-time.After(s.length):
		case <-ctx.Done():
		}
		if err := errors.Join(err, w.heal(s.fault)); err != nil {
			w.trouble("%v: %v", s, err)
			return
		}
	}
}
