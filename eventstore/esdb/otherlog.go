package esdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/docket-orders/docket/eventstore"
)

// A connection string names machines, not a log. While docket runs, somebody may
// put another log behind it: an emptied volume, a cluster restored elsewhere, the
// same log as it was yesterday. What was decided on the old one must not be written
// there, and positions in the old one must not be looked up there. So a client is
// called only after it was seen to reach the log of before, at least as long as it
// was known to be; and it is given up when its connection ends: underneath, gRPC
// would make another one, unseen, to whoever listens there by then.

// identifyTimeout is how long a new connection may take to show its log.
const identifyTimeout = 5 * time.Second

var (
	// errOtherLog: the store that answers has another log than at the start.
	errOtherLog = errors.New("another log than docket was started on is there now: stop docket, and name the right store or another folder")
	// errRaised: positions may name other events now.
	errRaised = errors.New("the epoch of the log was raised: start docket again")
	// errShorterLog: the leader's log ends before what it had acknowledged.
	errShorterLog = errors.New("the log is shorter than it was: if it was restored from a backup, stop every docket, run docket eventstore raise-epoch, and start them again")
)

// knownLog is what is known of the log: its identity, from when it was first read,
// and how long it was at least.
type knownLog struct {
	identity atomic.Pointer[eventstore.LogIdentity]
	end      atomic.Uint64 // commit position of a record that was there
}

func (k *knownLog) learn(log eventstore.LogIdentity) { k.identity.CompareAndSwap(nil, &log) }

// forget makes every log do that comes next.
func (k *knownLog) forget() { k.identity.Store(nil) }

// saw notes that there is a record at a position.
func (k *knownLog) saw(p eventstore.Position) {
	for end := k.end.Load(); p.Commit > end && p != eventstore.End; end = k.end.Load() {
		if k.end.CompareAndSwap(end, p.Commit) {
			return
		}
	}
}

// identify begins to watch the connection of a client that nobody uses yet, and
// looks which log is at its other end. What a server does not let docket do is no
// failure here: calls will hear of it.
func (c *client) identify(root context.Context, log *knownLog) error {
	ctx, cancel := context.WithCancel(context.Background()) // it ends with the connection
	ended := context.AfterFunc(root, cancel)
	late := time.AfterFunc(identifyTimeout, cancel)
	watch, r := c.watch(ctx)
	if r.err == nil {
		r = c.checkIdentity(ctx, log)
	}
	if r.err == nil && c.link.leads {
		r = c.checkEnd(ctx, log)
	}
	inTime := late.Stop() && ended()
	switch {
	case r.err != nil && (r.broken || !inTime || isOther(r.err) || errors.Is(r.err, errRetired)):
		cancel()
		return r.err
	case !inTime:
		cancel()
		return errors.New("the event store does not show its log in time")
	case watch == nil:
		cancel()
		return nil
	}
	go func() {
		defer cancel()
		for {
			var e *esdb.SubscriptionEvent
			// An event there is another epoch: the next connection looks.
			if guarded(func() error { e = watch.Recv(); return nil }) != nil || e.SubscriptionDropped != nil || e.EventAppeared != nil {
				c.retire()
				return
			}
		}
	}()
	return nil
}

func isOther(err error) bool {
	return errors.Is(err, errOtherLog) || errors.Is(err, errRaised) || errors.Is(err, errShorterLog)
}

// watch is a subscription in which little ever comes. It ends with the connection.
func (c *client) watch(ctx context.Context) (watch *esdb.Subscription, r reason) {
	for range 2 { // a follower may send the client to the leader
		connected, err := c.call(ctx, func(ctx context.Context) (err error) {
			watch, err = c.SubscribeToStream(ctx, identityStream, esdb.SubscribeToStreamOptions{From: esdb.End{}})
			return err
		})
		if err == nil {
			return watch, reason{}
		}
		watch, r = nil, understand(connected, err)
		if r.broken = r.broken || !connected; r.broken || r.outcome != unsent {
			break
		}
	}
	return nil, r
}

// checkIdentity compares; before anything was learned every log will do.
func (c *client) checkIdentity(ctx context.Context, log *knownLog) reason {
	known := log.identity.Load()
	if known == nil {
		return reason{}
	}
	var found eventstore.LogIdentity
	r := c.each(ctx, func(ctx context.Context) (*esdb.ReadStream, error) {
		return c.ReadStream(ctx, identityStream, esdb.ReadStreamOptions{Direction: esdb.Forwards, From: esdb.Start{}}, everything)
	}, func(e *esdb.RecordedEvent) { found = nextIdentity(found, record(e)) })
	switch {
	case r.missing:
		r.err = fmt.Errorf("%w: it has no stream %s", errOtherLog, identityStream)
	case r.err == nil && found.ID == known.ID && found.Epoch != known.Epoch:
		r.err = fmt.Errorf("%w (from %d to %d)", errRaised, known.Epoch, found.Epoch)
	case r.err == nil && found.ID != known.ID:
		r.err = fmt.Errorf("%w: %s instead of %s", errOtherLog, found.ID, known.ID)
	}
	return r
}

// checkEnd compares the end of the leader's log with what was there.
func (c *client) checkEnd(ctx context.Context, log *knownLog) reason {
	known, found := log.end.Load(), uint64(0)
	if known == 0 {
		return reason{}
	}
	r := c.each(ctx, func(ctx context.Context) (*esdb.ReadStream, error) {
		return c.ReadAll(ctx, esdb.ReadAllOptions{Direction: esdb.Backwards, From: esdb.End{}}, 1)
	}, func(e *esdb.RecordedEvent) { found = e.Position.Commit })
	if r.err == nil && found < known {
		r.err = fmt.Errorf("%w (it ends at %d, and had an event at %d)", errShorterLog, found, known)
	}
	return r
}

// each reads over a client that nobody else uses yet.
func (c *client) each(ctx context.Context, open func(context.Context) (*esdb.ReadStream, error), visit func(*esdb.RecordedEvent)) reason {
	var stream *esdb.ReadStream
	connected, err := c.call(ctx, func(ctx context.Context) (err error) {
		stream, err = open(ctx)
		return err
	})
	if err != nil {
		r := understand(connected, err)
		r.broken = r.broken || !connected
		return r
	}
	defer stream.Close()
	for {
		e, r := (&reading{stream: stream}).next()
		switch {
		case r.err == io.EOF:
			return reason{}
		case r.err != nil:
			return r
		}
		visit(e)
	}
}
