package esdb

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

// A connection string names machines, not a log. While docket runs, somebody may
// put another log behind it: an emptied volume, a cluster restored elsewhere. What
// was decided on the old one must not be written there, and positions in the old
// one must not be looked up there. So a client is called only after it was seen to
// reach the log of before, and is given up when its connection ends: underneath,
// gRPC would make another one, unseen, to whoever listens there by then.

// identifyTimeout is how long a new connection may take to show its log.
const identifyTimeout = 5 * time.Second

// errOtherLog: the store that answers has another log than at the start.
var errOtherLog = errors.New("another log than docket was started on is there now: stop docket, and name the right store or another folder")

// knownLog is the log of the store, from when it was first read.
type knownLog struct{ id atomic.Pointer[uuid.UUID] }

func (k *knownLog) learn(id uuid.UUID) { k.id.CompareAndSwap(nil, &id) }

// check compares; before anything was learned every log will do.
func (k *knownLog) check(id uuid.UUID) error {
	if known := k.id.Load(); known != nil && *known != id {
		return fmt.Errorf("%w: %s instead of %s", errOtherLog, id, known)
	}
	return nil
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
		r = c.checkLog(ctx, log)
	}
	inTime := late.Stop() && ended()
	switch {
	case r.err != nil && (r.broken || !inTime || errors.Is(r.err, errOtherLog) || errors.Is(r.err, errRetired)):
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
			if guarded(func() error { e = watch.Recv(); return nil }) != nil || e.SubscriptionDropped != nil {
				c.retire()
				return
			}
		}
	}()
	return nil
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

func (c *client) checkLog(ctx context.Context, log *knownLog) reason {
	if log.id.Load() == nil {
		return reason{}
	}
	var stream *esdb.ReadStream
	connected, err := c.call(ctx, func(ctx context.Context) (err error) {
		stream, err = c.ReadStream(ctx, identityStream, esdb.ReadStreamOptions{Direction: esdb.Forwards, From: esdb.Start{}}, 1)
		return err
	})
	if err != nil {
		r := understand(connected, err)
		r.broken = r.broken || !connected
		return r
	}
	defer stream.Close()
	e, r := (&reading{stream: stream}).next()
	switch {
	case r.missing:
		r.err = fmt.Errorf("%w: it has no stream %s", errOtherLog, identityStream)
	case r.err == nil:
		r.err = log.check(e.EventID)
	}
	return r
}
