package esdb

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/docket-orders/docket/eventstore"
)

const (
	// searchWindow is how many records the server examines between two
	// checkpoints of a filtered subscription.
	searchWindow = 256
	// ahead is how many notices are taken from the server before they are asked
	// for.
	ahead = 32
)

// feed is a subscription as the server has it.
type feed struct {
	client *client
	*esdb.Subscription
}

func (f *feed) close() {
	f.Close()
	f.client.link.release(f.client)
}

// subscribe begins after from; it takes over what acquire gave.
func (c *client) subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (*feed, reason) {
	opts := esdb.SubscribeToAllOptions{From: place(from)}
	if len(filter.Prefixes) > 0 {
		opts.Filter = &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: filter.Prefixes}
		opts.MaxSearchWindow, opts.CheckpointInterval = searchWindow, 1
	}
	out := &feed{client: c}
	connected, err := c.call(ctx, func(ctx context.Context) (err error) {
		out.Subscription, err = c.SubscribeToAll(ctx, opts)
		return err
	})
	if err == nil {
		return out, reason{}
	}
	r := understand(connected, err)
	if r.broken && ctx.Err() == nil {
		c.retire()
	}
	c.link.release(c)
	return nil, r
}

// next is the next notice after the position last. What is not news is passed
// over: a checkpoint on the record that was just delivered, for one.
func (f *feed) next(last eventstore.Position) (eventstore.Notice, reason) {
	for {
		var e *esdb.SubscriptionEvent
		if err := guarded(func() error { e = f.Recv(); return nil }); err != nil {
			return eventstore.Notice{}, understand(true, err)
		}
		switch {
		case e.SubscriptionDropped != nil:
			return eventstore.Notice{}, understand(true, e.SubscriptionDropped.Error)
		case e.EventAppeared != nil && e.EventAppeared.OriginalEvent() == nil:
			return eventstore.Notice{}, understand(true, errNoEvent)
		case e.EventAppeared != nil:
			rec := record(e.EventAppeared.OriginalEvent())
			if last.Before(rec.Position) {
				return eventstore.Notice{Kind: eventstore.Delivered, Record: rec, Position: rec.Position}, reason{}
			}
		case e.CheckPointReached != nil:
			at := eventstore.Position{Commit: e.CheckPointReached.Commit, Prepare: e.CheckPointReached.Prepare}
			if last.Before(at) {
				return eventstore.Notice{Kind: eventstore.Checkpoint, Position: at}, reason{}
			}
		case e.FellBehind == nil:
			// Caught up. Some servers say so with a message that this client reads
			// as an empty one.
			return eventstore.Notice{Kind: eventstore.CaughtUp, Position: last}, reason{}
		}
	}
}

// readForwards delivers what is in the log when it begins. With a filter that is
// a subscription, ended when it has caught up.
func (s *Store) readForwards(ctx context.Context, from eventstore.Position, filter eventstore.Filter, limit int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		ctx, cancel := s.under(ctx)
		defer cancel()
		fail := func(err error) { yield(eventstore.Record{}, fmt.Errorf("read the log: %w", err)) }
		if from == eventstore.End {
			if ctx.Err() != nil {
				fail(ended(ctx))
			}
			return
		}
		head, err := s.Head(ctx)
		if err != nil {
			fail(err)
			return
		}
		scan := &scan{store: s, filter: filter, limit: limit, from: from, head: head, inclusive: from != eventstore.Start, yield: yield}
		retry := s.resumption()
		for scan.more() {
			before := scan.from
			r := scan.run(ctx)
			if r.err == nil {
				continue
			}
			if before != scan.from {
				retry.progress()
			}
			if err := retry.again(ctx, r); err != nil {
				fail(err)
				return
			}
		}
	}
}

// scan is a forward read of the log up to head.
type scan struct {
	store     *Store
	filter    eventstore.Filter
	limit     int
	head      eventstore.Position
	yield     func(eventstore.Record, error) bool
	from      eventstore.Position
	inclusive bool // the record at from was not looked at
	delivered int
	stopped   bool
}

func (sc *scan) more() bool {
	if sc.inclusive {
		return !sc.stopped && !sc.head.Before(sc.from)
	}
	return !sc.stopped && sc.from.Before(sc.head)
}

// take delivers a record and tells whether to go on.
func (sc *scan) take(rec eventstore.Record) bool {
	if sc.head.Before(rec.Position) {
		sc.stopped = true
		return false
	}
	sc.from, sc.inclusive = rec.Position, false
	if sc.filter.Matches(rec.Stream) {
		sc.delivered++
		sc.stopped = !sc.yield(rec, nil) || sc.delivered == sc.limit
	}
	return sc.more()
}

// run reads over one connection.
func (sc *scan) run(ctx context.Context) reason {
	c, r := sc.store.upTo(ctx, sc.head)
	if r.err != nil {
		return r
	}
	if len(sc.filter.Prefixes) == 0 || sc.inclusive {
		// The record at from, and without a filter all that follow.
		count := uint64(1)
		if len(sc.filter.Prefixes) == 0 {
			count = everything
		}
		reading, r := c.open(ctx, func(ctx context.Context, c *esdb.Client) (*esdb.ReadStream, error) {
			return c.ReadAll(ctx, esdb.ReadAllOptions{Direction: esdb.Forwards, From: place(sc.from)}, count)
		})
		if r.err != nil {
			return r
		}
		defer reading.close()
		return sc.read(reading, count)
	}
	feed, r := c.subscribe(ctx, sc.from, sc.filter)
	if r.err != nil {
		return r
	}
	defer feed.close()
	for {
		n, r := feed.next(sc.from)
		switch {
		case r.err != nil:
			return r
		case n.Kind == eventstore.CaughtUp:
			sc.stopped = true
			return reason{}
		case n.Kind == eventstore.Checkpoint:
			sc.from = n.Position
			if !sc.more() {
				return reason{}
			}
		case !sc.take(n.Record):
			return reason{}
		}
	}
}

// read takes what a plain read of the log delivers. It begins with the record at
// from, which after an interruption was delivered already.
func (sc *scan) read(reading *reading, count uint64) reason {
	for {
		e, r := reading.next()
		switch {
		case r.err == io.EOF:
			sc.stopped = sc.stopped || count == everything || sc.inclusive
			return reason{}
		case r.err != nil:
			return r
		}
		rec := record(e)
		if !sc.inclusive && !sc.from.Before(rec.Position) {
			continue
		}
		if !sc.take(rec) {
			return reason{}
		}
	}
}

const (
	// lateness is how long a forward read waits for a follower that does not
	// have everything yet; then the leader is read.
	lateness = time.Second
	// lateEvery is how often it looks.
	lateEvery = 50 * time.Millisecond
)

// upTo is a connection to a node that has everything up to head.
func (s *Store) upTo(ctx context.Context, head eventstore.Position) (*client, reason) {
	if !s.followers {
		l := s.readers
		if !l.ready() {
			l = s.leader() // which is the same node
		}
		c, err := l.acquire(ctx)
		return c, reason{outcome: unsent, err: err}
	}
	for began := time.Now(); time.Since(began) < lateness; {
		c, err := s.readers.acquire(ctx)
		if err != nil {
			break
		}
		if at, r := c.last(ctx); r.err == nil && !at.Before(head) {
			return c, reason{}
		}
		c.link.release(c)
		select {
		case <-time.After(lateEvery):
		case <-ctx.Done():
			return nil, reason{outcome: unsent, err: ended(ctx)}
		}
	}
	c, err := s.leader().acquire(ctx)
	return c, reason{outcome: unsent, err: err}
}

// last is the end of the log as the node of this connection knows it.
func (c *client) last(ctx context.Context) (at eventstore.Position, r reason) {
	c.link.mu.Lock()
	c.users++
	c.link.mu.Unlock()
	reading, r := c.open(ctx, func(ctx context.Context, c *esdb.Client) (*esdb.ReadStream, error) {
		return c.ReadAll(ctx, esdb.ReadAllOptions{Direction: esdb.Backwards, From: esdb.End{}}, 1)
	})
	if r.err != nil {
		return at, r
	}
	defer reading.close()
	e, r := reading.next()
	if r.err == nil {
		at = record(e).Position
	}
	return at, r
}

// Subscribe is eventstore.Store. What breaks underneath is mended: the
// subscription goes on behind the last notice, over another connection and
// perhaps at another node. Next fails when the server refuses to go on, when the
// store is closed, and when its ctx ends, after which it may be called again.
func (s *Store) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	_, sp := s.spans.start(ctx, "subscription", "$all")
	fail := func(err error) (eventstore.Subscription, error) {
		sp.done(err)
		return nil, fmt.Errorf("subscribe from %s: %w", from, err)
	}
	if err := s.enter(); err != nil {
		return fail(err)
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	sub := &subscription{store: s, filter: filter, span: sp, last: from, notices: make(chan eventstore.Notice, ahead), done: make(chan struct{})}
	sub.ctx, sub.cancel = s.under(context.WithoutCancel(ctx))
	unwatch := context.AfterFunc(ctx, sub.cancel) // while it begins
	feed, err := sub.begin(ctx)
	if !unwatch() {
		if err == nil {
			feed.close()
		}
		err = ended(ctx)
	}
	if err != nil {
		sub.cancel()
		return fail(err)
	}
	if sp.IsRecording() {
		sp.SetAttributes(attrPosition.String(from.String()))
	}
	s.subscriptions.Go(func() { sub.run(feed) })
	return sub, nil
}

type subscription struct {
	store  *Store
	filter eventstore.Filter
	span   span
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	last    eventstore.Position // of the last notice taken from the server; run's
	notices chan eventstore.Notice
	done    chan struct{} // closed when run has returned
	failure error         // why; readable after done
	once    sync.Once
}

// begin subscribes for the first time, with the attempts of a read.
func (sub *subscription) begin(ctx context.Context) (*feed, error) {
	s := sub.store
	if sub.last == eventstore.End {
		// Where that is must be known: nothing may be missed if the connection is
		// lost before the first notice.
		head, err := s.Head(ctx)
		if err != nil {
			return nil, err
		}
		sub.last = head
	}
	retry := s.resumption()
	for {
		feed, r := sub.connect()
		if r.err == nil {
			return feed, nil
		}
		if err := retry.again(sub.ctx, r); err != nil {
			return nil, err
		}
	}
}

// connect subscribes behind the last notice. A follower that does not know the
// position yet refuses it; the leader has it.
func (sub *subscription) connect() (*feed, reason) {
	var r reason
	for _, l := range []*link{sub.store.readers, sub.store.leader()} {
		c, err := l.acquire(sub.ctx)
		if err != nil {
			return nil, reason{outcome: unsent, err: err}
		}
		var feed *feed
		if feed, r = c.subscribe(sub.ctx, sub.last, sub.filter); r.err == nil || !r.invalid {
			return feed, r
		}
	}
	return nil, r
}

// run takes notices from the server until the subscription is closed or refused.
func (sub *subscription) run(feed *feed) {
	defer close(sub.done)
	defer func() { sub.span.done(nil) }()
	pause := firstPause
	for {
		moved, r := sub.pump(feed)
		feed.close()
		if moved {
			pause = firstPause
		}
		sub.span.resumed(sub.last, r.err)
		for feed = nil; feed == nil; pause = min(2*pause, longestPause) {
			if sub.ctx.Err() != nil {
				sub.failure = ended(sub.ctx)
				return
			}
			if r.outcome == refused {
				sub.failure = fmt.Errorf("subscription after %s: %w", sub.last, r.err)
				return
			}
			sub.store.logger.Debug("subscription is resumed", "position", sub.last, "error", r.err)
			select {
			case <-time.After(jittered(pause)):
			case <-sub.ctx.Done():
			}
			if feed, r = sub.connect(); r.err != nil {
				feed = nil
				sub.store.health.note(r)
			}
		}
	}
}

// pump hands over notices until the feed breaks.
func (sub *subscription) pump(feed *feed) (moved bool, r reason) {
	for {
		n, r := feed.next(sub.last)
		if r.err != nil {
			return moved, r
		}
		select {
		case sub.notices <- n:
			sub.last, moved = n.Position, true
			if n.Kind == eventstore.Delivered {
				sub.store.log.saw(n.Position)
			}
		case <-sub.ctx.Done():
			return moved, reason{outcome: unsent, err: ended(sub.ctx)}
		}
	}
}

// Next is eventstore.Subscription. What was taken from the server is delivered
// before a failure is told.
func (sub *subscription) Next(ctx context.Context) (eventstore.Notice, error) {
	if err := ctx.Err(); err != nil {
		return eventstore.Notice{}, err
	}
	select {
	case n := <-sub.notices:
		return n, nil
	default:
	}
	select {
	case n := <-sub.notices:
		return n, nil
	case <-ctx.Done():
		return eventstore.Notice{}, ended(ctx)
	case <-sub.done:
	}
	select {
	case n := <-sub.notices:
		return n, nil
	default:
		return eventstore.Notice{}, sub.failure
	}
}

// Close ends the subscription and waits until it is over.
func (sub *subscription) Close() error {
	sub.once.Do(func() { sub.cancel() })
	<-sub.done
	return nil
}
