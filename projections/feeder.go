package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/google/uuid"
)

const (
	// checkpointEvery is how often the checkpoints of lanes without events are
	// moved: an idle projection does not write.
	checkpointEvery = time.Second
	// touchedEvery is how often, at most, those of lanes with events are moved in a
	// store that other processes share. A store of this process alone moves them
	// with every round, in the same transaction.
	touchedEvery = 200 * time.Millisecond
	// lastWords bounds the write of the checkpoints when the feeder is stopped.
	lastWords = 2 * time.Second
)

// feeder carries the log into lanes of one generation, all or some, catching up
// and live by the same code. One goroutine reads ahead and decodes; one applies,
// in rounds of what has arrived.
type feeder struct {
	*applier
	log     eventstore.LogIdentity
	clock   func() time.Time
	lanes   []Checkpoint     // as in the sink; belongs to run
	at      [Lanes]int       // of each lane in lanes; -1 when it is another's
	flushed time.Time        // when all of them were written
	last    [Lanes]uuid.UUID // the last event of each lane; nil when its record has it
	moved   time.Time        // when those of lanes with events were written
	// Of a share of the lanes only, else nil: leave, when closed, ends run after the
	// round in hand, as a write without an answer does, and at idle, which comes every
	// touchedEvery, checkpoints are moved, those of lanes without events now and then:
	// other processes look at them.
	leave <-chan struct{}
	idle  <-chan time.Time
	turns chan turn
	done  chan struct{} // closed when run has returned

	mu        sync.Mutex
	processed eventstore.Position // everything up to here is applied or parked
	caughtUp  bool
	stepped   chan struct{} // closed, and replaced, when processed moves
	end       error         // why run returned
	broken    error         // why the log cannot be read further; nil when it can
}

// turn is something to do to one order between two rounds.
type turn struct {
	task    orderTask
	orderID string
	answer  chan error
}

type orderTask func(ctx context.Context, orderID string) error

// newFeeder feeds lanes of a sink, which are claimed.
func newFeeder(a *applier, lanes []Checkpoint, log eventstore.LogIdentity, clock func() time.Time) *feeder {
	return &feeder{
		applier: a, log: log, clock: clock, lanes: lanes, at: placesOf(lanes), flushed: clock(),
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
	f.end = err
	f.mu.Unlock()
	close(f.done)
	return err
}

func (f *feeder) feed(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	f.recent = &recent{}
	defer func() { f.recent = nil }()
	in, reading := newInbox(), sync.WaitGroup{}
	// The reader looks at where the lanes were when it began. Those of others it
	// passes over altogether.
	var began [Lanes]eventstore.Position
	for lane, at := range f.at {
		if began[lane] = eventstore.End; at >= 0 {
			began[lane] = f.lanes[at].Position
		}
	}
	reading.Go(func() { f.read(ctx, &began, f.processed, in) })
	defer reading.Wait()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			f.lastFlush(ctx)
			return nil
		case <-f.leave:
			f.lastFlush(ctx)
			return nil
		case <-f.idle:
			all := f.clock().Sub(f.flushed) >= checkpointEvery
			if err := f.flush(ctx, all); errors.Is(err, ErrLaneLost) {
				return err
			}
		case t := <-f.turns:
			t.answer <- t.task(ctx, t.orderID)
		case <-in.ready:
			d := in.take()
			if err := f.round(ctx, d); err != nil {
				return err
			}
			if d.err != nil {
				f.lastFlush(ctx)
				return d.err
			}
		}
		if f.leave != nil && f.unsure.Load() {
			return nil
		}
	}
}

// read delivers the log from a position on, and subscribes again when the
// subscription breaks.
func (f *feeder) read(ctx context.Context, began *[Lanes]eventstore.Position, from eventstore.Position, in *inbox) {
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

// ahead are records of lanes as they are to be once everything up to a position is
// applied: of all that are behind it, or of those among them that have had events
// since they were written last.
func (f *feeder) ahead(upto eventstore.Position, all, touched bool) (checkpoints []Checkpoint) {
	for _, c := range f.lanes {
		last := f.last[c.Lane]
		if !c.Position.Before(upto) || !all && (!touched || last == uuid.Nil) {
			continue
		}
		if c.Position, c.Log = upto, f.log; last != uuid.Nil {
			c.EventID = last
		}
		checkpoints = append(checkpoints, c)
	}
	return checkpoints
}

// wrote notes the records that were written; all of them, if all.
func (f *feeder) wrote(checkpoints []Checkpoint, now time.Time, all bool) {
	for _, c := range checkpoints {
		f.lanes[f.at[c.Lane]], f.last[c.Lane] = c, uuid.Nil
	}
	if len(checkpoints) > 0 {
		f.moved = now
	}
	if all {
		f.flushed = now
	}
}

// round applies what has arrived. With it, or a little later in a store that others
// share, the checkpoints of the lanes that it touched are moved; now and then, those
// of all.
func (f *feeder) round(ctx context.Context, d delivery) error {
	all := groupByOrder(d.arrivals)
	for _, a := range d.arrivals {
		f.last[LaneOf(a.orderID)] = a.eventID
	}
	now := f.clock()
	due := now.Sub(f.flushed) >= checkpointEvery
	checkpoints := f.ahead(d.upto, due, f.leave == nil || now.Sub(f.moved) >= touchedEvery)
	if len(all) > 0 || len(checkpoints) > 0 {
		if err := f.apply(ctx, all, checkpoints); err != nil {
			return err
		}
	}
	f.wrote(checkpoints, now, due)
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

// lastFlush writes the checkpoints when the feeder ends; when that fails, a
// little is read again at the next start.
func (f *feeder) lastFlush(ctx context.Context) {
	if err := f.flush(context.WithoutCancel(ctx), true); err != nil {
		f.logger.Warn("last checkpoints not written", "error", err)
	}
}

// flush writes the checkpoints of the lanes that are behind what is applied: of all,
// or of those that have had events.
func (f *feeder) flush(ctx context.Context, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	now := f.clock()
	checkpoints := slices.DeleteFunc(f.ahead(f.position(), all, true), func(c Checkpoint) bool { return !f.ours(c.Lane) })
	if len(checkpoints) > 0 {
		if _, err := f.record(ctx, Batch{Checkpoints: checkpoints}); err != nil {
			return err
		}
	}
	f.wrote(checkpoints, now, all)
	return nil
}

// position up to which everything is applied or parked.
func (f *feeder) position() eventstore.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.processed
}

// ended is closed when run has returned.
func (f *feeder) ended() <-chan struct{} { return f.done }

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
	if f.end != nil {
		return f.end
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
