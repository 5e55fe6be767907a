package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/view"
	"github.com/google/uuid"
)

// Name of the projection.
const Name = "orders"

// Backend is one store's generations of the projection.
//
// A generation that is dropped may still be answering: Close of a sink waits
// for the calls that are inside it, and every later call fails with ErrClosed.
// A reader that sees ErrClosed asks Live again and repeats its question.
type Backend interface {
	// Open opens a generation, and makes it, empty, when it is not there.
	Open(ctx context.Context, generation int) (Sink, error)
	// Drop removes a closed generation; one that is not there is no error.
	Drop(ctx context.Context, generation int) error
	// Generations lists what is there, ascending.
	Generations(ctx context.Context) ([]int, error)
}

var (
	// ErrClosed: the sink was closed, perhaps by a switch of generations.
	ErrClosed = errors.New("generation is closed")
	// ErrParked: the order is parked, its view does not move.
	ErrParked = errors.New("order is parked")
	// ErrRebuilding: one rebuild at a time.
	ErrRebuilding = errors.New("a rebuild is running")
)

// Options of a Manager. Store, Backend and SpillDir are required.
type Options struct {
	Store     eventstore.Store
	Namespace eventstore.Namespace
	Backend   Backend
	SpillDir  string  // folder for the temporary files of a rebuild
	Disk      disk.FS // under them; the operating system's when nil
	Owner     string  // of the lanes; a new id when empty
	Fold      Fold    // of every generation; the zero value is this program's own
	Logger    *slog.Logger
	Clock     func() time.Time
}

// bigLog is the number of events from which an empty generation is built by
// spilling rather than by following the log.
const bigLog = 5000

// Manager keeps the projection's generations: it feeds the live one, rebuilds,
// switches, and tells who waits. All methods may be called from many
// goroutines; Run once.
type Manager struct {
	Options
	registry registry

	started  chan struct{} // closed when live is set
	decided  chan struct{} // closed when Run knows what becomes of the live generation
	finished chan struct{} // closed when Run has returned
	failed   chan error    // what ended a feeder
	feeders  sync.WaitGroup
	running  context.Context // of Run; set before started is closed
	rebuilds chan struct{}   // holds the token of the one rebuild

	mu        sync.Mutex
	live      *generation
	progress  *Progress // of the rebuild that runs
	lastError string    // of the last rebuild
	ended     error     // why Run returned, when it had to
	stuck     error     // why the live generation stays frozen
	waiters   map[string][]chan struct{}
}

// generation is one open generation. feeder is nil while it is frozen or being
// built.
type generation struct {
	number, version int
	applier         *applier
	feeder          *feeder
	stop            context.CancelFunc
}

// NewManager prepares a manager; Run starts it.
func NewManager(o Options) *Manager {
	if o.Disk == nil {
		o.Disk = disk.OS()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Owner == "" {
		o.Owner = uuid.NewString()
	}
	m := &Manager{
		Options: o, registry: newRegistry(o.Store, o.Namespace),
		started: make(chan struct{}), decided: make(chan struct{}), finished: make(chan struct{}), failed: make(chan error, 1), rebuilds: make(chan struct{}, 1),
		waiters: map[string][]chan struct{}{},
	}
	m.rebuilds <- struct{}{}
	return m
}

// Run opens the live generation and feeds it until ctx ends (then it returns
// nil) or something fails that waiting does not cure: an event that this
// program does not know, a lost lane. A generation that another version built,
// or that belongs to another epoch of the log, answers frozen while its
// successor is built. When Run returns, all generations are closed.
func (m *Manager) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer close(m.finished)
	defer m.closeAll()
	defer m.feeders.Wait()
	defer stop()
	err := m.start(ctx)
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-m.failed:
		}
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	err = fmt.Errorf("projection %s: %w", Name, err)
	m.mu.Lock()
	m.ended = err
	m.mu.Unlock()
	return err
}

func (m *Manager) closeAll() {
	m.mu.Lock()
	g := m.live
	m.live = nil
	m.mu.Unlock()
	if g != nil {
		if err := g.applier.sink.Close(); err != nil {
			m.Logger.Warn("generation not closed cleanly", "generation", g.number, "error", err)
		}
	}
}

func (m *Manager) start(ctx context.Context) error {
	if m.SpillDir == "" {
		return errors.New("no folder for the temporary files of a rebuild")
	}
	if err := m.spills().Sweep(); err != nil {
		return err
	}
	live, err := m.whichIsLive(ctx)
	if err != nil {
		return err
	}
	log, err := m.Store.Log(ctx)
	if err != nil {
		return fmt.Errorf("identify log: %w", err)
	}
	g, err := m.openLive(ctx, live, log)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.live, m.running = g, ctx
	m.mu.Unlock()
	// Nobody rebuilds before it is decided what becomes of this generation.
	<-m.rebuilds
	close(m.started)
	decided := sync.OnceFunc(func() { m.rebuilds <- struct{}{}; close(m.decided) })
	defer decided()

	lanes, err := g.applier.sink.Checkpoints(ctx)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("read checkpoints: %w", err)
	}
	problem := lanesWrong(lanes)
	if err != nil {
		problem = err.Error()
	}
	if problem != "" {
		m.Logger.Error("views are damaged, and rebuilt", "generation", live.Generation, "problem", problem)
		decided()
		m.feeders.Go(func() { m.succeed(ctx) })
		return nil
	}
	if live.Version != Version || !ofLog(lanes, log) {
		m.Logger.Info("views are rebuilt", "generation", live.Generation, "version", live.Version, "now", Version)
		decided()
		m.feeders.Go(func() { m.succeed(ctx) })
		return nil
	}
	lanes, err = claim(ctx, g.applier.sink, m.Owner)
	if err != nil {
		return err
	}
	if lowest(lanes) == eventstore.Start {
		big, err := m.logIsBig(ctx)
		if err != nil {
			return err
		}
		if big {
			var unreadable error // by the log: trying again does not cure it
			err := g.applier.untilDone(ctx, "build the views", func() error {
				err := build(ctx, g.applier, lanes, log, m.spills(), Progress{Generation: g.number}, m.report(nil))
				if errors.Is(err, eventstore.ErrCorrupt) {
					unreadable, err = err, nil
				}
				return err
			})
			m.endReport(nil)
			if err = cmp.Or(err, unreadable); err != nil {
				return err
			}
		}
	}
	m.feed(g, lanes, log)
	return nil
}

// succeed rebuilds until it works: the live generation cannot be fed.
func (m *Manager) succeed(ctx context.Context) {
	var pause backoff
	for {
		err := m.Rebuild(ctx, nil)
		if err == nil || ctx.Err() != nil {
			return
		}
		if errors.Is(err, eventstore.ErrReadOnly) {
			// No switch before an operator has acted and docket was started again.
			m.Logger.Error("views are not rebuilt, and stay as they are", "error", err)
			m.mu.Lock()
			m.stuck = err
			m.mu.Unlock()
			m.wake([]string{""})
			return
		}
		if final(err) {
			m.fail(err)
			return
		}
		m.Logger.Warn("rebuild failed, trying again", "error", err)
		if pause.wait(ctx) != nil {
			return
		}
	}
}

func (m *Manager) fail(err error) {
	select {
	case m.failed <- err:
	default: // one is enough
	}
}

// openLive opens the generation in force. One that cannot be opened is made anew,
// and so is one that shows another log: nobody is to see that as this one.
func (m *Manager) openLive(ctx context.Context, live switched, log eventstore.LogIdentity) (*generation, error) {
	refused := eventstore.RefusalOf(m.Store) != nil // then nothing is dropped
	g, err := m.open(ctx, live.Generation, live.Version)
	switch {
	case err == nil && (refused || !ofAnotherLog(ctx, g.applier.sink, log)):
		return g, nil
	case err == nil:
		m.Logger.Warn("views are of another log, and are made anew", "generation", live.Generation)
		if err := g.applier.sink.Close(); err != nil {
			return nil, fmt.Errorf("close generation %d: %w", live.Generation, err)
		}
	case refused || !errors.Is(err, ErrDamaged):
		return nil, err
	default:
		m.Logger.Error("views cannot be opened, and are made anew", "generation", live.Generation, "error", err)
	}
	if err := m.Backend.Drop(ctx, live.Generation); err != nil {
		return nil, fmt.Errorf("drop generation %d: %w", live.Generation, err)
	}
	return m.open(ctx, live.Generation, Version)
}

// ofAnotherLog reports whether a generation was made from another log, not only
// in another epoch of this one. Checkpoints that cannot be read do not say so.
func ofAnotherLog(ctx context.Context, sink Sink, log eventstore.LogIdentity) bool {
	lanes, err := sink.Checkpoints(ctx)
	return err == nil && slices.ContainsFunc(lanes, func(c Checkpoint) bool {
		return c.Position != eventstore.Start && c.Log.ID != log.ID
	})
}

// whichIsLive finds the live generation, and makes the first one live. Without
// the log's word for it, because the log lost its end and takes no more events,
// it is the newest that is there; then none is dropped: views may hold the last
// trace of what was lost.
func (m *Manager) whichIsLive(ctx context.Context) (switched, error) {
	live, _, err := m.registry.live(ctx)
	if err != nil {
		return live, err
	}
	known := live.Generation != 0
	if !known {
		live = switched{Generation: 1, Version: Version, At: m.Clock()}
	}
	if eventstore.RefusalOf(m.Store) != nil {
		numbers, err := m.Backend.Generations(ctx)
		if err != nil {
			return live, fmt.Errorf("list generations: %w", err)
		}
		if len(numbers) > 0 && !slices.Contains(numbers, live.Generation) {
			live.Generation = numbers[len(numbers)-1]
		}
		return live, nil
	}
	if !known {
		err := m.registry.makeLive(ctx, live, eventstore.NoStream)
		if errors.Is(err, eventstore.ErrConflict) { // another docket began at the same time
			live, _, err = m.registry.live(ctx)
		}
		if err != nil {
			return live, err
		}
	}
	return live, m.dropOthers(ctx, live.Generation)
}

// dropOthers removes generations that an unfinished rebuild or switch left.
// Nobody else is building one: one process feeds a backend.
func (m *Manager) dropOthers(ctx context.Context, live int) error {
	numbers, err := m.Backend.Generations(ctx)
	if err != nil {
		return fmt.Errorf("list generations: %w", err)
	}
	for _, n := range numbers {
		if n != live {
			if err := m.Backend.Drop(ctx, n); err != nil {
				return fmt.Errorf("drop generation %d: %w", n, err)
			}
		}
	}
	return nil
}

func (m *Manager) open(ctx context.Context, number, version int) (*generation, error) {
	sink, err := m.Backend.Open(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("open generation %d: %w", number, err)
	}
	a := &applier{
		sink: sink, store: m.Store, namespace: m.Namespace, folding: m.Fold.complete(), moved: m.wake,
		logger: m.Logger.With("projection", Name, "generation", number),
	}
	if err := a.loadParked(ctx); err != nil {
		sink.Close()
		return nil, err
	}
	return &generation{number: number, version: version, applier: a}, nil
}

// lanesWrong says what is wrong with the lanes of a generation; nothing when
// each is there once, in order.
func lanesWrong(lanes []Checkpoint) string {
	for i, c := range lanes {
		if c.Lane != i {
			return fmt.Sprintf("checkpoints: lane %d is where lane %d should be", c.Lane, i)
		}
	}
	if len(lanes) != Lanes {
		return fmt.Sprintf("checkpoints: %d lanes, not %d", len(lanes), Lanes)
	}
	return ""
}

// ofLog reports whether the checkpoints were made on this log and epoch.
func ofLog(lanes []Checkpoint, log eventstore.LogIdentity) bool {
	for _, c := range lanes {
		if c.Position != eventstore.Start && c.Log != log {
			return false
		}
	}
	return true
}

// claim makes owner the owner of all lanes. A lane whose token moves meanwhile
// is being claimed by somebody else: that is tried a few times only.
func claim(ctx context.Context, sink Sink, owner string) ([]Checkpoint, error) {
	const attempts = 3
	for attempt := 1; ; attempt++ {
		lanes, err := sink.Checkpoints(ctx)
		for i := 0; i < len(lanes) && err == nil; i++ {
			lanes[i], err = sink.Claim(ctx, i, owner, lanes[i].Token)
		}
		if err == nil {
			return lanes, nil
		}
		if attempt == attempts || !errors.Is(err, ErrLaneLost) {
			return nil, fmt.Errorf("claim lanes: %w", err)
		}
	}
}

func (m *Manager) logIsBig(ctx context.Context) (bool, error) {
	n := 0
	for _, err := range m.Store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, m.orders(), bigLog) {
		if err != nil {
			return false, fmt.Errorf("read log: %w", err)
		}
		n++
	}
	return n == bigLog, nil
}

func (m *Manager) orders() eventstore.Filter {
	return eventstore.Filter{Prefixes: []string{m.Namespace.Prefix(codec.Category)}}
}

// feed starts the feeder of a generation, for as long as Run runs.
func (m *Manager) feed(g *generation, lanes []Checkpoint, log eventstore.LogIdentity) {
	ctx, stop := context.WithCancel(m.running)
	f := newFeeder(g.applier, lanes, log, m.Clock)
	m.mu.Lock()
	g.feeder, g.stop = f, stop
	m.mu.Unlock()
	m.wake([]string{""}) // who came before there was a feeder looks again
	m.feeders.Go(func() {
		defer stop()
		if err := f.run(ctx); err != nil {
			if now, _ := m.generation(); now == g {
				m.fail(err)
			}
		}
	})
}

// generation is the live one and its feeder; nil before Run has opened it, and
// a nil feeder while it is frozen or being built.
func (m *Manager) generation() (*generation, *feeder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == nil {
		return nil, nil
	}
	return m.live, m.live.feeder
}

// over is why there is no live generation any more.
func (m *Manager) over() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended != nil {
		return m.ended
	}
	return ErrClosed
}

// Started returns when Live has an answer, or with the reason why it will have
// none.
func (m *Manager) Started(ctx context.Context) error {
	select {
	case <-m.started:
		return nil
	case <-m.finished:
		return m.over()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Live is the generation that answers questions, and its number; nil and 0
// before Run has opened it and after Run has returned. It may be closed by a
// switch at any time: see Backend.
func (m *Manager) Live() (Sink, int) {
	g, _ := m.generation()
	if g == nil {
		return nil, 0
	}
	return g.applier.sink, g.number
}

// Wait returns when the live generation has the order at revision or later;
// ErrParked at once when the order is parked before that revision.
func (m *Manager) Wait(ctx context.Context, orderID string, revision eventstore.Revision) error {
	if err := m.Started(ctx); err != nil {
		return err
	}
	for {
		// Waiting begins before looking, so that nothing happens between.
		moved := m.await(orderID)
		g, _ := m.generation()
		if g == nil {
			return m.over()
		}
		if p, ok := g.applier.parkedOrder(orderID); ok && p.Revision <= int64(revision) {
			m.giveUp(orderID, moved)
			return fmt.Errorf("%w: event %d: %s", ErrParked, p.Revision, p.Reason)
		}
		docs, err := g.applier.sink.Documents(ctx, []string{orderID})
		if doc, ok := docs[orderID]; ok && doc.Revision >= int64(revision) {
			m.giveUp(orderID, moved)
			return nil
		}
		if now, _ := m.generation(); errors.Is(err, ErrClosed) && now != g {
			m.giveUp(orderID, moved)
			continue // a switch came between
		}
		if err != nil {
			m.giveUp(orderID, moved)
			return fmt.Errorf("wait for order %s: %w", orderID, err)
		}
		select {
		case <-moved:
		case <-m.running.Done():
			return m.over()
		case <-ctx.Done():
			m.giveUp(orderID, moved)
			return ctx.Err()
		}
	}
}

func (m *Manager) await(orderID string) chan struct{} {
	moved := make(chan struct{})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiters[orderID] = append(m.waiters[orderID], moved)
	return moved
}

func (m *Manager) giveUp(orderID string, moved chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := slices.DeleteFunc(m.waiters[orderID], func(c chan struct{}) bool { return c == moved })
	if len(left) == 0 {
		delete(m.waiters, orderID)
	} else {
		m.waiters[orderID] = left
	}
}

// wake lets those who wait for these orders look again.
func (m *Manager) wake(orderIDs []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiters) == 0 {
		return
	}
	for _, id := range orderIDs {
		for _, moved := range m.waiters[id] {
			close(moved)
		}
		delete(m.waiters, id)
	}
}

// CaughtUp returns when everything that was in the log at the call is applied
// or parked. It fails with eventstore.ErrReadOnly while the live generation
// cannot be fed and the log takes no switch to another.
func (m *Manager) CaughtUp(ctx context.Context) error {
	if err := m.Started(ctx); err != nil {
		return err
	}
	target, err := m.lastEvent(ctx)
	if err != nil {
		return err
	}
	return m.reach(ctx, target)
}

// lastEvent is the position of the last event of an order. The head itself may
// be another stream's, about which a subscription need not tell.
func (m *Manager) lastEvent(ctx context.Context) (eventstore.Position, error) {
	for r, err := range m.Store.ReadAll(ctx, eventstore.End, eventstore.Backwards, m.orders(), 1) {
		if err != nil {
			return eventstore.Start, fmt.Errorf("read end of log: %w", err)
		}
		return r.Position, nil
	}
	return eventstore.Start, nil
}

// reach waits for the live generation, whichever it is by then.
func (m *Manager) reach(ctx context.Context, target eventstore.Position) error {
	for {
		changed := m.await("") // no order has this id: told of switches only
		g, f := m.generation()
		if g == nil {
			return m.over()
		}
		if f != nil {
			m.giveUp("", changed)
			err := f.reach(ctx, target)
			if now, _ := m.generation(); now == g || err == nil {
				return err
			}
			continue
		}
		m.mu.Lock()
		stuck := m.stuck
		m.mu.Unlock()
		if stuck != nil {
			m.giveUp("", changed)
			return fmt.Errorf("the views stay as they are: %w", stuck)
		}
		select {
		case <-changed:
		case <-m.running.Done():
			return m.over()
		case <-ctx.Done():
			m.giveUp("", changed)
			return ctx.Err()
		}
	}
}

// ParkedOrder says whether and why an order is parked in the live generation.
func (m *Manager) ParkedOrder(id string) (view.Degraded, bool) {
	g, _ := m.generation()
	if g == nil {
		return view.Degraded{}, false
	}
	p, ok := g.applier.parkedOrder(id)
	return view.Degraded{Reason: p.Reason, Revision: p.Revision}, ok
}

// Parked lists the parked orders of the live generation by order id.
func (m *Manager) Parked(ctx context.Context) ([]Parked, error) {
	if err := m.Started(ctx); err != nil {
		return nil, err
	}
	g, _ := m.generation()
	if g == nil {
		return nil, m.over()
	}
	return g.applier.allParked(), nil
}

// Retry applies a parked order's stream again from the log. It fails with
// ErrParked when the order stays parked, and when the sink does not do it within
// about a second; an order that is not parked is fine. One that is parked, but
// of which there is neither stream nor document, is released.
func (m *Manager) Retry(ctx context.Context, orderID string) error {
	return m.inTurn(ctx, func(f *feeder) orderTask { return f.retry }, orderID)
}

// Reproject makes what the live generation keeps of an order what its stream
// says, whatever is kept and at whatever revision, and removes it when there is
// no stream. It runs in turn with the events that come in, so that none is lost
// and no document goes back behind the log. It fails with ErrParked when an
// event cannot be applied: the order is then kept up to there, and parked. It
// fails with ErrRebuilding while the live generation is not fed, with
// eventstore.ErrCorrupt, changing nothing, when the log cannot be read, and when
// the sink does not do it within about a second: the events do not wait longer.
func (m *Manager) Reproject(ctx context.Context, orderID string) error {
	return m.inTurn(ctx, func(f *feeder) orderTask { return f.reproject }, orderID)
}

// inTurn does something to an order between two rounds of the live feeder.
func (m *Manager) inTurn(ctx context.Context, task func(*feeder) orderTask, orderID string) error {
	if err := m.Started(ctx); err != nil {
		return err
	}
	for {
		g, f := m.generation()
		switch {
		case g == nil:
			return m.over()
		case f == nil:
			return ErrRebuilding
		}
		err := f.inTurn(ctx, task(f), orderID)
		if now, _ := m.generation(); errors.Is(err, ErrClosed) && now != g && now != nil {
			continue // a switch came between
		}
		return err
	}
}
