package esdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
)

// The client gives up for good when it cannot find a node, and then a call that
// was about to ask for its connection waits for ever. So a client is used for
// one connection only: it connects before anybody may call it, and after the
// first sign that the connection is broken nobody may call it any more. Those
// who are in it finish, the last one closes it, and a new client takes over.

const (
	// patience is how long calls wait for a connection that was lost. When it
	// has been away for longer they fail at once.
	patience = 3 * time.Second
	// What failed is tried again after about firstPause, doubled each time up to
	// longestPause; connecting begins with the interval of the connection string.
	firstPause   = 25 * time.Millisecond
	longestPause = 2 * time.Second
	// A connection that lasted for steady is replaced at once, another after
	// shortPause at most.
	steady     = 100 * time.Millisecond
	shortPause = 100 * time.Millisecond
	// refreshEvery is how often a link to a cluster looks for its node anew.
	refreshEvery = 15 * time.Second
)

// link keeps one client connected.
type link struct {
	name     string
	config   esdb.Configuration
	interval time.Duration // between two attempts to connect, at first
	logger   *slog.Logger
	log      *knownLog
	leads    bool            // its node has all that the leader has
	others   []*link         // of the store: they hear when this one has connected
	news     chan struct{}   // one of them has
	root     context.Context // ends when the store is closed
	work     sync.WaitGroup  // the goroutine that connects

	mu         sync.Mutex
	current    *client // nil while there is no connection
	connecting bool    // a goroutine is at it
	closed     bool
	changed    chan struct{} // closed, and replaced, when anything here changes
	failures   int           // attempts that failed since the last success
	failure    error         // of the last of them
	lost       time.Time     // since when there is none
	began      time.Time     // when the last connection was made
	pause      time.Duration // before the next attempt
}

// client is one client of the official kind.
type client struct {
	link *link
	*esdb.Client
	users int  // under link.mu
	gone  bool // likewise: it was retired, perhaps before it was the current one
	// door is held by whoever is about to ask the client for its connection;
	// shut, under it, says that nobody may any more.
	door chan struct{}
	shut bool
}

// errRetired: the client is not to be called any more; nothing was sent.
var errRetired = errors.New("connection is being replaced")

func newLink(root context.Context, name string, conn connection, preference esdb.NodePreference, log *knownLog, logger *slog.Logger) *link {
	l := &link{name: name, config: conn.config, interval: conn.interval, log: log, logger: logger, root: root, news: make(chan struct{}, 1), changed: make(chan struct{})}
	l.config.NodePreference = preference
	return l
}

// acquire waits for a connection: until ctx ends, or for patience after it was
// lost. What it returns is to be released.
func (l *link) acquire(ctx context.Context) (*client, error) {
	c, err := l.await(ctx, func() bool { return time.Since(l.lost) >= patience })
	if err != nil {
		return nil, err
	}
	return c, nil
}

// await waits for a connection until enough says so, which is asked under mu.
func (l *link) await(ctx context.Context, enough func() bool) (*client, error) {
	for {
		l.mu.Lock()
		if c := l.current; c != nil {
			c.users++
			l.mu.Unlock()
			return c, nil
		}
		l.connect()
		changed, failure, over := l.changed, l.failure, enough()
		l.mu.Unlock()
		switch {
		case l.root.Err() != nil:
			return nil, errClosed
		case ctx.Err() != nil:
			return nil, unavailable(ended(ctx))
		case over && failure != nil:
			return nil, unavailable(failure)
		case over:
			return nil, unavailable(errConnecting)
		}
		timer := time.NewTimer(patience / 10)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		case <-l.root.Done():
		}
		timer.Stop()
	}
}

var errConnecting = errors.New("no connection yet")

// first waits for the first connection, until so many attempts have failed.
func (l *link) first(ctx context.Context, attempts int) error {
	c, err := l.await(ctx, func() bool { return l.failures >= attempts })
	if err == nil {
		l.release(c)
	}
	return err
}

func unavailable(cause error) error { return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, cause) }

func (l *link) release(c *client) {
	l.mu.Lock()
	c.users--
	last := c.users == 0 && l.current != c
	l.mu.Unlock()
	if last {
		c.Close()
	}
}

// replace lets go of a client that is not to be used any more.
func (l *link) replace(c *client) {
	l.mu.Lock()
	was := l.current == c
	c.gone = true
	if was {
		l.current = nil
		l.connect()
		l.tell()
	}
	idle := was && c.users == 0
	l.mu.Unlock()
	if idle {
		c.Close()
	}
}

// tell wakes those who wait. The caller holds mu.
func (l *link) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// connect starts the goroutine that connects, unless it runs. The caller holds
// mu.
func (l *link) connect() {
	if l.connecting || l.closed {
		return
	}
	l.connecting, l.lost = true, time.Now()
	if l.pause = min(l.pause, shortPause); time.Since(l.began) > steady {
		l.pause = 0
	}
	l.work.Go(func() {
		for l.rest() {
			c, err := l.dial()
			if l.settled(c, err) {
				return
			}
			l.logger.Debug("event store does not answer", "connection", l.name, "error", err)
		}
	})
}

// rest waits before the next attempt; false when the store is closed.
func (l *link) rest() bool {
	l.mu.Lock()
	pause := l.pause
	l.pause = min(max(2*pause, l.interval), max(longestPause, l.interval))
	l.mu.Unlock()
	select {
	case <-time.After(jittered(pause)):
		return true
	case <-l.news:
		return true
	case <-l.root.Done():
		return false
	}
}

// ready tells whether there is a connection.
func (l *link) ready() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current != nil
}

// settled keeps what an attempt has brought, and tells whether it was the last.
func (l *link) settled(c *client, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.tell()
	closed := l.root.Err() != nil
	if err == nil && c.gone {
		c.Close()
		err = errRetired
	}
	switch {
	case err != nil:
		l.failures++
		l.failure = err
	case closed:
		c.Close()
	default:
		l.current, l.began, l.failures, l.failure = c, time.Now(), 0, nil
		for _, other := range l.others {
			select {
			case other.news <- struct{}{}:
			default: // it has not heard the last one yet
			}
		}
	}
	l.connecting = err != nil && !closed
	return !l.connecting
}

// jittered is d give or take half of it.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d+1) }

// dial makes a client that has found its node. A call whose context has ended
// does just that: the client looks for a node before it looks at the context.
func (l *link) dial() (*client, error) {
	config := l.config
	c := &client{link: l, door: make(chan struct{}, 1)}
	config.Logger = c.logged
	var err error
	if c.Client, err = esdb.NewClient(&config); err != nil {
		return nil, err
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	c.door <- struct{}{}
	connected, err := c.inside(ended, func(ctx context.Context) error {
		_, err := c.Client.ReadStream(ctx, identityStream, esdb.ReadStreamOptions{}, 1)
		return err
	})
	if !connected {
		return nil, err
	}
	if err := c.identify(l.root, l.log); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// refresh looks for the node anew from time to time: one that has lost the
// leadership stays connected, and answers as the follower that it is.
func (l *link) refresh(every time.Duration) {
	l.work.Go(func() {
		for {
			select {
			case <-time.After(jittered(every)):
			case <-l.root.Done():
				return
			}
			if c, err := l.dial(); err == nil {
				l.swap(c)
			}
		}
	})
}

// swap puts c in the place of the client that works; whoever uses that finishes.
func (l *link) swap(c *client) {
	l.mu.Lock()
	old := l.current
	if old == nil || l.root.Err() != nil || c.gone {
		old = c // it is not needed: a connection is being made, or none any more
	} else {
		l.current, l.began = c, time.Now()
	}
	idle := old.users == 0
	l.mu.Unlock()
	if idle {
		old.Close()
	}
}

// close ends the link after everybody has released what they acquired.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true // nobody begins to connect any more
	l.mu.Unlock()
	l.work.Wait()
	l.mu.Lock()
	c := l.current
	l.current = nil
	idle := c != nil && c.users == 0
	l.tell()
	l.mu.Unlock()
	if idle {
		c.Close()
	}
}

// call lets one goroutine at a time through the door, in which the client asks
// for its connection, and runs f to its end. connected tells whether the client
// had a connection; without one nothing was sent.
func (c *client) call(ctx context.Context, f func(context.Context) error) (connected bool, err error) {
	select {
	case c.door <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if c.shut {
		<-c.door
		return false, errRetired
	}
	return c.inside(ctx, f)
}

// inside runs f, which begins in the door.
func (c *client) inside(ctx context.Context, f func(context.Context) error) (connected bool, err error) {
	through := &through{Context: ctx, leave: func() { connected = true; <-c.door }}
	err = guarded(func() error { return f(through) })
	if !connected {
		// The client did not get as far as the context: it is dead. Whoever is
		// about to tell it of a failure waits for ever, unless it is closed; then
		// it panics, which guarded turns into an error.
		c.shut = true
		<-c.door
		c.Close()
		c.link.replace(c)
	}
	return connected, err
}

// through is a context that notices when somebody looks at it: the client does
// as soon as it has its connection.
type through struct {
	context.Context
	once  sync.Once
	leave func()
}

func (t *through) Deadline() (time.Time, bool) {
	t.once.Do(t.leave)
	return t.Context.Deadline()
}

// retire shuts the door for good and waits until nobody is in it.
func (c *client) retire() {
	c.door <- struct{}{}
	c.shut = true
	<-c.door
	c.link.replace(c)
}

// logged is the client's logger. A call that failed because the connection did
// is told here, in its own goroutine, before it makes the client look for
// another connection.
func (c *client) logged(level, format string, args ...any) {
	if level == esdb.LogError && len(args) == 1 {
		if err, ok := args[0].(error); ok && status.Code(err) == codes.Unavailable {
			c.retire()
		}
	}
	c.link.logger.Debug("EventStoreDB client: "+fmt.Sprintf(format, args...), "level", level, "connection", c.link.name)
}

// guarded turns a panic of the client into an error: some answers of a server
// make it panic, and that must not end docket.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("EventStoreDB client panicked: %v", p)
		}
	}()
	return f()
}
