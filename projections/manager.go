package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/google/uuid"
)

// Name of the projection.
const Name = "orders"

// Backend is one store's generations of the projection.
//
// A generation that is dropped may still be answering: Close of a sink waits
// for the calls that are inside it, and every later call fails with ErrClosed.
// A reader that sees ErrClosed asks Live again and repeats its question.
//
// In a shared store several processes open a generation, also at the same time,
// and any of them may drop one that others still have open. What was opened
// before a drop or a loss never touches what is made under the same number after
// it: its calls fail with ErrLost, or ErrClosed.
type Backend interface {
	// Open opens a generation, and makes it, empty, when it is not there. ErrLost
	// when only a part of it is there: it must be dropped first.
	Open(ctx context.Context, generation int) (Sink, error)
	// Drop removes a generation, whole or not; one that is not there is no error.
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

// Edition is a version of the projection that a program carries: generations of it
// are fed, and read.
type Edition struct {
	Version int
	Fold    Fold // the zero value is this program's own
}

// Options of a Manager. Store, Backend and SpillDir are required.
type Options struct {
	Store     eventstore.Store
	Namespace eventstore.Namespace
	Backend   Backend
	// Projection is its name; empty: Name.
	Projection string
	// StoreName says in status, metrics and logs which store this is; empty:
	// "sqlite".
	StoreName string
	// Lease, when above zero, says that the store is shared: other processes run
	// a Manager over the same generations, and lanes are dealt among them. A lane
	// whose beat stands still for a lease is taken over.
	Lease    time.Duration
	SpillDir string  // folder for the temporary files of a rebuild
	Disk     disk.FS // under them; the operating system's when nil
	Owner    string  // of the lanes; a new id when empty
	Fold     Fold    // of every generation; the zero value is this program's own
	// Editions that this program carries: the first is the one that it makes
	// generations of; the others are fed beside it, so that a rollback to them
	// finds them up to date. Empty: Version, with Fold.
	Editions []Edition
	// Keep is for how long the generation that was in force before a switch is kept
	// up to date for a rollback; 0: it is not kept.
	Keep time.Duration
	// Upgrade says what becomes of the generation that is begun by itself where the
	// one in force is of an older version; empty: ThenSwitch.
	Upgrade Then
	Logger  *slog.Logger
	Clock   func() time.Time
}

// bigLog is the number of events from which an empty generation is built by
// spilling rather than by following the log.
const bigLog = 5000

// Manager makes what is kept of the projection in one store follow the registry:
// it opens and feeds the generation in force, the one before and the one that is
// being made, serves one of them, and tells who waits. All methods may be called
// from many goroutines; Run once.
type Manager struct {
	Options
	registry registry
	group    *Stores // that a rebuild and a switch concern together; this alone, or several

	started  chan struct{} // closed when live is set
	starting sync.Once
	decided  chan struct{} // closed when it is known what becomes of the generation in force
	deciding sync.Once
	finished chan struct{} // closed when Run has returned
	stirred  chan struct{} // told that the registry says more, or a generation has changed
	feeders  sync.WaitGroup
	running  context.Context // of Run; set before started is closed
	looking  turnstile       // held to read which orders others parked
	looked   time.Time       // when they were read last; belongs to looking
	sweeping atomic.Bool

	mu       sync.Mutex
	open     map[int]*generation // by number
	live     *generation         // the one that is served
	kept     bool                // keepUp has done all it can, once
	stands   standing            // of the registry, as it was read last
	troubles map[int]string      // why a generation cannot be opened or filled, by number
	closing  int                 // number of the generation that is being closed; 0: none
	left     []int               // generations in the store that the registry gave up
	ended    error               // why Run returned, when it had to
	closed   bool                // Run is over, or about to be: nothing becomes live any more
	stuck    error               // why the generation in force stays frozen
	away     error               // why none is served
	still    stillness
	waiters  map[string][]chan struct{}
}

// generation is one open generation. What can change belongs to Manager.mu.
type generation struct {
	number, version int
	applier         *applier
	feeder          feeding // nil while it is frozen or being built
	stop            context.CancelFunc
	over            chan struct{} // closed when it is no longer fed; nil when it never is
	failure         error         // why, or what was seen of one that is not fed here
	broken          string        // why it cannot be fed though its version is carried: it must be made again
	complete        bool          // it lacks nothing but what is new in the log
	lacking         error         // why a question to it is refused
	moved           time.Time     // when others were seen to feed it
	seen            eventstore.Position
	progress        *Progress // while it is filled
}

// feeding keeps one generation with the log: a feeder of all lanes, or, where
// the store is shared, a sharer of those that are this process's. run once; the
// rest may be called from many goroutines.
type feeding interface {
	// run feeds until ctx ends, then it returns nil, or until something fails
	// that waiting does not cure.
	run(ctx context.Context) error
	// ended is closed when run has returned, and failure is then why: ErrClosed
	// when it was told to.
	ended() <-chan struct{}
	failure() error
	// position up to which everything is applied or parked, in all lanes,
	// whoever has them.
	position() eventstore.Position
	// reach returns when everything up to a position is applied or parked, by
	// whomever, and with eventstore.ErrCorrupt when the log cannot be read.
	reach(ctx context.Context, target eventstore.Position) error
	// inTurn does something to an order between two rounds; a sharer takes the
	// order's lane first.
	inTurn(ctx context.Context, task orderTask, orderID string) error
}

// turnstile is a lock that is held while stores are asked, by one who may be told
// to stop waiting for it.
type turnstile chan struct{}

func (t turnstile) lock(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turnstile) unlock() { <-t }

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
	if o.StoreName == "" {
		o.StoreName = "sqlite"
	}
	if o.Projection == "" {
		o.Projection = Name
	}
	if o.Owner == "" {
		o.Owner = uuid.NewString()
	}
	if len(o.Editions) == 0 {
		o.Editions = []Edition{{Version, o.Fold}}
	}
	if o.Upgrade == "" {
		o.Upgrade = ThenSwitch
	}
	m := &Manager{
		Options: o, registry: newRegistry(o.Store, o.Namespace, o.Projection),
		started: make(chan struct{}), decided: make(chan struct{}), finished: make(chan struct{}), stirred: make(chan struct{}, 1),
		looking: make(turnstile, 1), open: map[int]*generation{}, troubles: map[int]string{}, waiters: map[string][]chan struct{}{},
	}
	m.group = &Stores{managers: []*Manager{m}}
	m.group.prepare()
	return m
}

// shared says whether other processes keep the same generations.
func (m *Manager) shared() bool { return m.Lease > 0 }

// own is the version that this program makes generations of.
func (m *Manager) own() int { return m.Editions[0].Version }

// edition is the one that feeds generations of a version.
func (m *Manager) edition(version int) (Edition, bool) {
	for _, e := range m.Editions {
		if e.Version == version {
			return e, true
		}
	}
	return Edition{}, false
}

// reads reports whether a generation of a version may be shown: one of a newer
// program may not.
func (m *Manager) reads(version int) bool {
	return slices.ContainsFunc(m.Editions, func(e Edition) bool { return version <= e.Version })
}

// Run keeps what the registry says open and fed until ctx ends (then it returns
// nil) or something fails that waiting does not cure: an event that this program
// does not know, and, in a store of its own, a lost lane. A generation that no
// running program feeds, or that belongs to another epoch of the log, answers
// frozen while its successor is made. A shared store may come and go as it likes.
// When Run returns, all generations are closed.
func (m *Manager) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer close(m.finished)
	defer m.closeAll()
	defer m.feeders.Wait()
	defer stop()
	err := m.run(ctx)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	err = fmt.Errorf("projection %s: %w", m.Projection, err)
	m.mu.Lock()
	m.ended = err
	m.mu.Unlock()
	return err
}

func (m *Manager) run(ctx context.Context) error {
	if m.SpillDir == "" {
		return errors.New("no folder for the temporary files of a rebuild")
	}
	if err := m.spills().Sweep(); err != nil {
		return err
	}
	m.mu.Lock()
	m.running = ctx
	m.mu.Unlock()
	if m.group.managers[0] == m {
		m.feeders.Go(func() { m.group.conduct(ctx) })
	}
	return m.keep(ctx)
}

func (m *Manager) closeAll() {
	m.mu.Lock()
	open := slices.Collect(maps.Values(m.open))
	m.open, m.live, m.closed = nil, nil, true
	m.mu.Unlock()
	for _, g := range open {
		if err := g.applier.sink.Close(); err != nil {
			m.Logger.Warn("generation not closed cleanly", "generation", g.number, "error", err)
		}
	}
	m.group.tell()
}

// stir makes keep look again, and all who wait for what becomes of a rebuild.
func (m *Manager) stir() {
	signal(m.stirred)
	m.group.tell()
}

// generation is the one that is served and its feeder; nil before Run has opened
// one, and a nil feeder while it is frozen or being built.
func (m *Manager) generation() (*generation, feeding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == nil {
		return nil, nil
	}
	return m.live, m.live.feeder
}

// over is why no generation is served: any more, or yet.
func (m *Manager) over() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.ended != nil:
		return m.ended
	case m.closed || m.running != nil && m.running.Err() != nil:
		return ErrClosed
	case m.away != nil:
		return m.away
	}
	return fmt.Errorf("%s: %w yet", m.StoreName, ErrUnavailable)
}

// ready is Started, except that nobody waits for a shared store: it may be down
// for long.
func (m *Manager) ready(ctx context.Context) error {
	if !m.shared() {
		return m.Started(ctx)
	}
	if g, _ := m.generation(); g == nil {
		return m.over()
	}
	return nil
}

// Started returns when Live has an answer, or with the reason why it will have
// none. A shared store that is down is waited for, and so is a generation that
// this program may read.
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
// before Run has opened one that it may show, and after Run has returned. It may
// be closed by a switch at any time, and, in a shared store, gone: see Backend.
func (m *Manager) Live() (Sink, int) {
	g, _ := m.generation()
	if g == nil {
		return nil, 0
	}
	return g.applier.sink, g.number
}

// Incomplete is why the generation that is served lacks what it should hold, while
// it is made from the log, or why none is: its store does not answer, or holds
// none that this program may show. nil when it lacks nothing but what is new in
// the log.
func (m *Manager) Incomplete() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == nil {
		return m.away
	}
	return m.live.lacking
}
