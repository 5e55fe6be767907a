package projections

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
)

const (
	// checkpointEvery is how often the checkpoints of lanes without events are
	// moved: an idle projection does not write.
	checkpointEvery = time.Second
	// lastWords bounds the write of the checkpoints when the feeder is stopped.
	lastWords = 2 * time.Second
)

// feeder carries the log into one generation, catching up and live by the same
// code. One goroutine reads ahead and decodes; one applies, in rounds of what
// has arrived.
type feeder struct {
	*applier
	log     eventstore.LogIdentity
	clock   func() time.Time
	lanes   []Checkpoint // as in the sink or newer; belongs to run
	flushed time.Time    // when all of them were written
	turns   chan turn
	done    chan struct{} // closed when run has returned

	mu        sync.Mutex
	processed eventstore.Position // everything up to here is applied or parked
	caughtUp  bool
	stepped   chan struct{} // closed, and replaced, when processed moves
	ended     error         // why run returned
	broken    error         // why the log cannot be read further; nil when it can
}

// turn is something to do to one order between two rounds.
type turn struct {
	task    orderTask
	orderID string
	answer  chan error
}

type orderTask func(ctx context.Context, orderID string) error

// newFeeder feeds a sink whose lanes are claimed.
func newFeeder(a *applier, lanes []Checkpoint, log eventstore.LogIdentity, clock func() time.Time) *feeder {
	return &feeder{
		applier: a, log: log, clock: clock, lanes: lanes, flushed: clock(),
		turns: make(chan turn), done: make(chan struct{}),
		processed: lowest(lanes), stepped: make(chan struct{}),
	}
}

// lowest position of the lanes; the start of the log where there are none.
func lowest(lanes []Checkpoint) eventstore.Position {
	if len(lanes) == 0 {
		return eventstore.Start
	}
	low := lanes[0].Position
	for _, c := range lanes[1:] {
		if c.Position.Before(low) {
			low = c.Position
		}
	}
	return low
}

// run feeds until ctx ends, then it returns nil, or until something fails that
// waiting does not cure.
func (f *feeder) run(ctx context.Context) error {
	err := f.feed(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	f.mu.Lock()
	f.ended = err
	f.mu.Unlock()
	close(f.done)
	return err
}

func (f *feeder) feed(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	in, reading := newInbox(), sync.WaitGroup{}
	// The reader looks at where the lanes were when it began.
	began := make([]eventstore.Position, len(f.lanes))
	for i, c := range f.lanes {
		began[i] = c.Position
	}
	reading.Go(func() { f.read(ctx, began, f.processed, in) })
	defer reading.Wait()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			f.flush(context.WithoutCancel(ctx))
			return nil
		case t := <-f.turns:
			t.answer <- t.task(ctx, t.orderID)
		case <-in.ready:
			d := in.take()
			if err := f.round(ctx, d); err != nil {
				return err
			}
			if d.err != nil {
				f.flush(context.WithoutCancel(ctx))
				return d.err
			}
		}
	}
}

// read delivers the log from a position on, and subscribes again when the
// subscription breaks.
func (f *feeder) read(ctx context.Context, began []eventstore.Position, from eventstore.Position, in *inbox) {
	filter := eventstore.Filter{Prefixes: []string{f.namespace.Prefix(codec.Category)}}
	var pause backoff
	for ctx.Err() == nil {
		err := func() error {
			sub, err := f.store.Subscribe(ctx, from, filter)
			if err != nil {
				return err
			}
			defer sub.Close()
			for {
				n, err := sub.Next(ctx)
				if err != nil {
					return err
				}
				pause.failures = 0
				from = n.Position
				if n.Kind != eventstore.Delivered {
					in.mark(n.Position, n.Kind == eventstore.CaughtUp)
					continue
				}
				id, ok := f.namespace.ID(codec.Category, n.Record.Stream)
				if !ok || !began[LaneOf(id)].Before(n.Position) {
					in.mark(n.Position, false) // applied before the last stop
					continue
				}
				a := f.decode(n.Record)
				if a.poison != nil && final(a.poison) {
					in.fail(fmt.Errorf("stopped at position %s: %w", n.Position, a.poison))
					return nil
				}
				if err := in.put(ctx, a); err != nil {
					return err
				}
			}
		}()
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			f.logger.Debug("subscription broke", "error", err, "position", from)
			if errors.Is(err, eventstore.ErrCorrupt) {
				f.cannotRead(err)
			}
			_ = pause.wait(ctx) // ends with ctx, as the loop does
		}
	}
}

// cannotRead tells those who wait that the log is damaged. It is read again all
// the same: a sector may come back.
func (f *feeder) cannotRead(err error) {
	text := err.Error()
	if f.problem.Swap(&text) == nil {
		f.logger.Error("projection cannot read the log", "error", text)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
	close(f.stepped)
	f.stepped = make(chan struct{})
}

// round applies what has arrived and moves the checkpoints of the lanes it
// touched; now and then, those of all.
func (f *feeder) round(ctx context.Context, d delivery) error {
	all := groupByOrder(d.arrivals)
	touched := map[int]bool{}
	for _, a := range d.arrivals {
		lane := LaneOf(a.orderID)
		f.lanes[lane].EventID = a.eventID
		touched[lane] = true
	}
	due := f.clock().Sub(f.flushed) >= checkpointEvery
	var checkpoints []Checkpoint
	for i := range f.lanes {
		if c := &f.lanes[i]; c.Position.Before(d.upto) && (due || touched[i]) {
			c.Position, c.Log = d.upto, f.log
			checkpoints = append(checkpoints, *c)
		}
	}
	if len(all) > 0 || len(checkpoints) > 0 {
		if err := f.apply(ctx, all, checkpoints); err != nil {
			return err
		}
	}
	if due {
		f.flushed = f.clock()
	}
	f.mu.Lock()
	if f.processed.Before(d.upto) {
		f.processed = d.upto
	}
	if f.caughtUp = d.caughtUp; f.broken != nil {
		f.broken = nil
		f.problem.Store(nil)
	}
	close(f.stepped)
	f.stepped = make(chan struct{})
	f.mu.Unlock()
	return nil
}

// groupByOrder keeps the order of arrival within an order.
func groupByOrder(arrivals []arrival) []work {
	var all []work
	at := make(map[string]int, len(arrivals)/4)
	for i, a := range arrivals {
		k, ok := at[a.orderID]
		if !ok {
			k = len(all)
			at[a.orderID] = k
			all = append(all, work{orderID: a.orderID})
		}
		if w := &all[k]; w.events == nil {
			// What arrives together mostly stands together: no copy.
			w.events = arrivals[i : i+1 : i+1]
		} else if n := len(w.events); i > 0 && arrivals[i-1].orderID == a.orderID && &w.events[n-1] == &arrivals[i-1] {
			first := i - n
			w.events = arrivals[first : i+1 : i+1]
		} else {
			w.events = append(w.events, a)
		}
	}
	return all
}

// flush writes the checkpoints of all lanes; when that fails, a little is read
// again at the next start.
func (f *feeder) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	upto, _ := f.position()
	var checkpoints []Checkpoint
	for i := range f.lanes {
		if c := &f.lanes[i]; c.Position.Before(upto) {
			c.Position, c.Log = upto, f.log
			checkpoints = append(checkpoints, *c)
		}
	}
	if len(checkpoints) == 0 {
		return
	}
	if _, err := f.sink.Write(ctx, Batch{Checkpoints: checkpoints}); err != nil {
		f.logger.Warn("last checkpoints not written", "error", err)
	}
}

// position up to which everything is applied or parked, and whether the store
// said that this is all there is.
func (f *feeder) position() (upto eventstore.Position, caughtUp bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.processed, f.caughtUp
}

// reach returns when everything up to a position is applied or parked, and with
// eventstore.ErrCorrupt when the log cannot be read up to there.
func (f *feeder) reach(ctx context.Context, target eventstore.Position) error {
	for {
		f.mu.Lock()
		reached, stepped, broken := !f.processed.Before(target), f.stepped, f.broken
		f.mu.Unlock()
		if reached {
			return nil
		}
		if broken != nil {
			return fmt.Errorf("the views do not reach position %s: %w", target, broken)
		}
		select {
		case <-stepped:
		case <-f.done:
			return f.failure()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failure is why the feeder ended: ErrClosed when it was told to.
func (f *feeder) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended != nil {
		return f.ended
	}
	return ErrClosed
}

// inTurn lets run do something to an order between two rounds.
func (f *feeder) inTurn(ctx context.Context, task orderTask, id string) error {
	t := turn{task, id, make(chan error, 1)}
	select {
	case f.turns <- t:
	case <-f.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-t.answer:
		return err
	case <-f.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}
