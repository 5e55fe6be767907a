package reading

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// tail is the newest part of the log, kept in memory for everybody who follows
// it: one subscription of the store feeds a ring, and each follower walks the
// ring with a cursor of its own. Who is slower than the ring is long reads the
// store again; nobody waits for another, and memory does not grow with
// followers that stand still. It costs nothing while nobody follows. All
// methods may be called from many goroutines.
type tail struct {
	store eventstore.Store
	ctx   context.Context
	close context.CancelFunc
	// The ring holds at most so many records, of at most so many bytes.
	records, bytes int

	mu  sync.Mutex
	run *run // nil: nobody follows
}

const (
	ringRecords = 16 << 10
	ringBytes   = 32 << 20
	// A follower takes at most so much from the ring at once, and keeps it from
	// being freed until it has delivered it.
	batchRecords = 256
	batchBytes   = 256 << 10
	// Followers are woken again after this time for each that was woken, and at
	// least once in longestPause: on a busy log each wakes for several records.
	pausePerFollower = 50 * time.Microsecond
	longestPause     = 5 * time.Millisecond
)

func newTail(store eventstore.Store) *tail {
	t := &tail{store: store, records: ringRecords, bytes: ringBytes}
	t.ctx, t.close = context.WithCancel(context.Background())
	return t
}

// run is the time between the first follower and the last one's leaving.
type run struct {
	tail      *tail
	followers int // guarded by tail.mu
	stop      context.CancelFunc
	dirty     chan struct{} // the ring grew since followers were woken

	mu sync.Mutex
	// ring holds everything after base.
	ring  []*entry
	base  eventstore.Position
	bytes int
	// grown is closed when followers are woken; waiting counts those who took it.
	grown   chan struct{}
	waiting int
	err     error // why nothing comes any more
}

// entry is a record, with its forms on the wire: each is made when somebody
// asks for it, and shared by all who do.
type entry struct {
	record    eventstore.Record
	run       *run // in whose ring it is, or was; nil: it is one follower's own
	forms     [forms]atomic.Pointer[frame]
	formBytes int        // of the forms that are kept; guarded by run.mu
	links     sync.Mutex // held while a link is resolved
}

// size is asked with run.mu held.
func (e *entry) size() int {
	r := &e.record
	return len(r.Data) + len(r.Metadata) + len(r.Type) + len(r.Stream) + e.formBytes + 512
}

func (t *tail) join(ctx context.Context) (*run, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.run == nil || t.run.failed() {
		r, err := t.start(ctx)
		if err != nil {
			return nil, err
		}
		t.run = r
	}
	t.run.followers++
	return t.run, nil
}

func (t *tail) leave(r *run) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.followers--
	if r.followers > 0 {
		return
	}
	r.stop()
	if t.run == r {
		t.run = nil
	}
}

func (t *tail) start(ctx context.Context) (*run, error) {
	head, err := t.store.Head(ctx)
	if err != nil {
		return nil, err
	}
	runCtx, stop := context.WithCancel(t.ctx)
	sub, err := t.store.Subscribe(runCtx, head, eventstore.Filter{})
	if err != nil {
		stop()
		return nil, err
	}
	r := &run{tail: t, stop: stop, base: head, dirty: make(chan struct{}, 1), grown: make(chan struct{})}
	go r.fill(runCtx, sub)
	go r.announce(runCtx)
	return r, nil
}

// fill takes what the store delivers into the ring.
func (r *run) fill(ctx context.Context, sub eventstore.Subscription) {
	for {
		n, err := sub.Next(ctx)
		if err != nil {
			r.fail(errors.Join(err, sub.Close()))
			return
		}
		if n.Kind == eventstore.Delivered {
			r.add(&entry{record: n.Record, run: r})
		}
	}
}

func (r *run) add(e *entry) {
	r.mu.Lock()
	r.ring = append(r.ring, e)
	r.bytes += e.size()
	r.shrink()
	r.mu.Unlock()
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

// shrink is called with the lock held.
func (r *run) shrink() {
	for len(r.ring) > r.tail.records || r.bytes > r.tail.bytes {
		oldest := r.ring[0]
		r.base = oldest.record.Position
		r.bytes -= oldest.size()
		r.ring[0] = nil
		r.ring = r.ring[1:]
	}
}

// keep has all who follow share a form of an entry, as long as that is in the
// ring. It counts there: what a link names may be far larger than the link.
func (r *run) keep(e *entry, form int, f *frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.base.Before(e.record.Position) || e.forms[form].Load() != nil {
		return
	}
	e.forms[form].Store(f)
	e.formBytes += len(f.bytes)
	r.bytes += len(f.bytes)
	r.shrink()
}

func (r *run) fail(err error) {
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
	r.wake()
}

func (r *run) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err != nil
}

// announce wakes followers at once after a quiet time, and rarely on a busy log.
func (r *run) announce(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-r.dirty:
		case <-ctx.Done():
			return
		}
		woken := r.wake()
		pause.Reset(min(time.Duration(woken)*pausePerFollower, longestPause))
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *run) wake() (woken int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.grown)
	r.grown = make(chan struct{})
	woken, r.waiting = r.waiting, 0
	return woken
}

// covers reports whether the ring holds everything after a position.
func (r *run) covers(p eventstore.Position) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !p.Before(r.base)
}

// after appends to batch what follows a position; when nothing does, grown is
// closed when something may. ok is false when the ring is already past it.
func (r *run) after(p eventstore.Position, batch []*entry) (_ []*entry, grown <-chan struct{}, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.Before(r.base) {
		return batch, nil, false, nil
	}
	i, found := slices.BinarySearchFunc(r.ring, p, func(e *entry, p eventstore.Position) int { return e.record.Position.Compare(p) })
	if found {
		i++
	}
	for size := 0; i < len(r.ring) && len(batch) < batchRecords && size < batchBytes; i++ {
		batch = append(batch, r.ring[i])
		size += r.ring[i].size()
	}
	if len(batch) == 0 {
		if r.err != nil {
			return batch, nil, true, r.err
		}
		r.waiting++
	}
	return batch, r.grown, true, nil
}

// cursor is a follower's place in the log. It is used by one goroutine.
type cursor struct {
	tail   *tail
	run    *run
	filter eventstore.Filter // what is asked of the store; the ring is not filtered
	at     eventstore.Position
	// target is where the log ended when catching up began; live tells that it
	// was reached.
	target eventstore.Position
	live   bool
	store  eventstore.Subscription // nil: the ring has what comes next
	own    entry                   // the record from there
	batch  []*entry                // from the ring, not taken yet
	buffer [batchRecords]*entry
	// take and give stand around reading the store.
	take func() error
	give func()
}

// follow makes a cursor behind from; who made it closes it.
func (t *tail) follow(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (*cursor, error) {
	r, err := t.join(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow the log: %w", err)
	}
	c := &cursor{tail: t, run: r, filter: filter, at: from, take: func() error { return nil }, give: func() {}}
	c.target, err = t.store.Head(ctx)
	if err != nil {
		t.leave(r)
		return nil, fmt.Errorf("follow the log: %w", err)
	}
	return c, nil
}

func (c *cursor) close() error {
	c.tail.leave(c.run)
	if c.store != nil {
		return c.leaveStore()
	}
	return nil
}

func (c *cursor) leaveStore() error {
	err := c.store.Close()
	c.store, c.own.record = nil, eventstore.Record{}
	c.give()
	return err
}

// next is the next record of the log, or nil when the follower has everything
// that was there when it began to catch up. An entry is valid until next is
// called again, if it is in no ring.
func (c *cursor) next(ctx context.Context) (*entry, error) {
	for {
		switch {
		case len(c.batch) > 0:
			e := c.batch[0]
			c.batch[0], c.batch = nil, c.batch[1:]
			c.at = e.record.Position
			return e, nil
		case c.store != nil:
			if e, err := c.fromStore(ctx); e != nil || err != nil {
				return e, err
			}
		case !c.live && !c.at.Before(c.target):
			c.live = true
			return nil, nil
		default:
			if err := c.fromRing(ctx); err != nil {
				return nil, err
			}
		}
	}
}

// fromStore reads on until the ring covers the rest.
func (c *cursor) fromStore(ctx context.Context) (*entry, error) {
	if !c.at.Before(c.target) && c.run.covers(c.at) {
		return nil, c.leaveStore()
	}
	n, err := c.store.Next(ctx)
	if err != nil {
		return nil, err
	}
	if c.at.Before(n.Position) {
		c.at = n.Position
	}
	if n.Kind != eventstore.Delivered {
		return nil, nil
	}
	c.own.record = n.Record
	return &c.own, nil
}

// fromRing fills the batch, waits, or turns to the store.
func (c *cursor) fromRing(ctx context.Context) error {
	batch, grown, ok, err := c.run.after(c.at, c.buffer[:0])
	switch {
	case err != nil:
		return err
	case !ok:
		return c.fallBack(ctx)
	case len(batch) > 0:
		c.batch = batch
		return nil
	}
	select {
	case <-grown:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *cursor) fallBack(ctx context.Context) (err error) {
	if c.target, err = c.tail.store.Head(ctx); err != nil {
		return err
	}
	c.live = false
	if err := c.take(); err != nil {
		return err
	}
	if c.store, err = c.tail.store.Subscribe(ctx, c.at, c.filter); err != nil {
		c.give()
	}
	return err
}
