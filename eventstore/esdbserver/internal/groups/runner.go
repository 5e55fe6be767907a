package groups

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/filter"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// runner is one group at work: a goroutine that owns the state machine, feeds
// it from the store, and does what it says.
type runner struct {
	def    definition
	source source
	book   book
	tail   *tail
	logger *slog.Logger
	now    func() time.Time
	ticks  func(time.Duration) (<-chan time.Time, func())

	inbox  chan func() // what is done by the goroutine
	ctx    context.Context
	cancel context.CancelCauseFunc // the cause is what consumers are told
	done   chan struct{}

	// Only the goroutine touches what follows.
	group     *competing.Group
	consumers map[competing.ConsumerID]*consumer
	lastID    competing.ConsumerID
	// read is the place up to which the source was read. behind: there may be
	// more. failing: the store could not be read, and is left alone until the next
	// tick.
	read    competing.Place
	behind  bool
	failing bool
	grown   <-chan struct{} // nil while there are no consumers
	unwatch func()
	// replayNext is the parked revision to be replayed next, replayEnd the first
	// one that is not.
	replayNext, replayEnd eventstore.Revision
	complaint             string // the last one that was logged
	measured              measure
}

// prepare loads where the group stands; start sets it to work.
func (s *Service) prepare(ctx context.Context, def definition) (*runner, error) {
	r := &runner{
		def: def, tail: s.tail, logger: s.Logger, now: s.Now, ticks: s.Ticks,
		inbox: make(chan func(), 16), done: make(chan struct{}),
		consumers: map[competing.ConsumerID]*consumer{}, behind: true,
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	r.book = book{store: s.Store, def: &r.def, now: s.Now}
	r.source = source{store: s.Store, def: &r.def}
	if def.Filter != nil {
		var err error
		if r.source.filter, err = filter.New(*def.Filter); err != nil {
			return nil, err
		}
	}
	checkpoint, err := s.checkpointOf(ctx, &def)
	if err != nil {
		return nil, err
	}
	first, _, err := r.book.parkedRange(ctx)
	if err != nil {
		return nil, err
	}
	if r.read = def.StartsAfter; checkpoint > 0 {
		r.read = checkpoint
	}
	r.replayNext, r.replayEnd = first, first
	r.group = competing.New(def.settings(), r.read, checkpoint, competing.Place(first), s.Now())
	r.measured.at = s.Now()
	return r, nil
}

func (r *runner) start() { go r.run() }

// stop ends the group: its checkpoint is written, and its consumers are told
// why. It returns when that is done.
func (r *runner) stop(why error) {
	r.cancel(why)
	<-r.done
}

// do has the goroutine call f, and waits for it, at most as long as ctx lasts.
// It fails with what consumers are told when the group has ended.
func (r *runner) do(ctx context.Context, f func()) error {
	called := make(chan struct{})
	if err := r.post(func() { f(); close(called) }); err != nil {
		return err
	}
	select {
	case <-called:
		return nil
	case <-r.done:
		return context.Cause(r.ctx)
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// post has the goroutine call f some time.
func (r *runner) post(f func()) error {
	select {
	case r.inbox <- f:
		return nil
	case <-r.done:
		return context.Cause(r.ctx)
	}
}

func (r *runner) run() {
	defer close(r.done)
	defer r.end()
	ticks, stop := r.ticks(tickPeriod)
	defer stop()
	always := make(chan struct{})
	close(always)
	for {
		r.settle()
		r.watch()
		var more chan struct{}
		if r.fetch() {
			more = always
		}
		select {
		case f := <-r.inbox:
			f()
			r.drain()
		case <-r.grown:
			r.behind = true
		case <-ticks:
			r.failing = false
			r.group.Tick(r.now())
		case <-more:
		case <-r.ctx.Done():
			return
		}
	}
}

// watch follows the source as long as there are consumers.
func (r *runner) watch() {
	switch wanted := r.group.Consumers() > 0; {
	case wanted && r.grown == nil:
		r.grown, r.unwatch = r.tail.watch(r.def.Stream)
		r.behind = true
	case !wanted && r.grown != nil:
		r.unwatch()
		r.grown = nil
	}
}

// drain does what else is waiting, so that one write or one read serves many
// requests.
func (r *runner) drain() {
	for range cap(r.inbox) {
		select {
		case f := <-r.inbox:
			f()
		default:
			return
		}
	}
}

// settle does what the state machine says, until it says no more.
func (r *runner) settle() {
	for again := true; again && r.ctx.Err() == nil; {
		w := r.group.Step(r.now())
		r.send(w)
		// What was parked makes room for what is next.
		again = len(w.Parks) > 0
		r.park(w.Parks)
		if w.Checkpoint > 0 {
			err := r.book.writeCheckpoint(r.ctx, w.Checkpoint)
			r.complain(err)
			r.group.Checkpointed(w.Checkpoint, err == nil, r.now())
		}
		if w.Truncate > 0 {
			err := r.book.letGo(r.ctx, eventstore.Revision(w.Truncate))
			r.complain(err)
			r.group.Truncated(w.Truncate, err == nil)
		}
	}
}

func (r *runner) park(parks []competing.Park) {
	if len(parks) == 0 {
		return
	}
	written, err := r.book.park(r.ctx, parks)
	r.complain(err)
	for i, p := range parks {
		r.group.Parked(p.Message, i < written)
	}
}

// send hands messages to the streams of consumers, with their bodies.
func (r *runner) send(w competing.Work) {
	for _, p := range w.Revoked {
		if c := r.consumers[p.To]; c != nil {
			c.outbox.revoke(p.Message)
		}
	}
	for _, p := range w.Pushes {
		e := p.Message.Event.(*event)
		r.consumers[p.To].outbox.put(delivery{message: p.Message, event: e, body: e.body, retries: p.Message.Retries})
		e.body = nil
	}
}

// fetch reads a page of what is to be replayed and a page of the source, as
// far as there is room, and reports whether it did: there may be more then.
func (r *runner) fetch() (read bool) {
	if r.group.Consumers() == 0 || r.failing || r.ctx.Err() != nil {
		return false
	}
	var err error
	if room := min(r.group.ReplayRoom(), int(r.def.ReadBatchSize)); r.replayNext < r.replayEnd && room > 0 {
		read, err = true, r.fetchParked(room)
	}
	batch := int(r.def.ReadBatchSize)
	if err == nil && r.behind && r.group.Room() >= batch {
		read = true
		r.read, r.behind, err = r.source.read(r.ctx, r.group, r.read, batch)
	}
	if err != nil {
		r.complain(err)
		// Until the next tick, or consumers would be kept waiting by a store that
		// fails slowly.
		r.failing, r.behind = true, true
	}
	return read
}

// fetchParked reads at most limit entries that are to be replayed.
func (r *runner) fetchParked(limit int) error {
	read := 0
	for rec, err := range r.book.store.ReadStream(r.ctx, r.def.key().parked(), r.replayNext, eventstore.Forwards, limit) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			r.replayNext = r.replayEnd
			return nil
		case err != nil:
			return err
		}
		if rec.Revision >= r.replayEnd {
			break
		}
		m, err := r.source.parkedMessage(r.ctx, &rec)
		if err != nil {
			return err
		}
		read++
		r.replayNext = rec.Revision + 1
		if m != nil {
			r.group.Replay(m)
		}
		r.group.ReplayPassed(placeOfRevision(rec.Revision))
		if r.group.ReplayRoom() == 0 {
			return nil
		}
	}
	if read < limit {
		r.replayNext = r.replayEnd
		r.group.ReplayPassed(competing.Place(r.replayEnd))
	}
	return nil
}

// replay has the parked events below end sent again.
func (r *runner) replay(end eventstore.Revision) {
	r.replayEnd = max(r.replayEnd, end)
}

// complain logs what went wrong, once while it stays the same.
func (r *runner) complain(err error) {
	switch {
	case r.ctx.Err() != nil:
	case err == nil:
	case err.Error() != r.complaint:
		r.complaint = err.Error()
		r.logger.Error("persistent subscription is hindered", "stream", r.def.Stream, "group", r.def.Group, "error", err)
	}
}

// lastWrite bounds the write of the last checkpoint.
const lastWrite = 5 * time.Second

// end writes the last checkpoint and tells the consumers.
func (r *runner) end() {
	if r.grown != nil {
		r.unwatch()
	}
	if place := r.group.Last(); place > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), lastWrite)
		defer cancel()
		if err := r.book.writeCheckpoint(ctx, place); err != nil {
			r.logger.Error("persistent subscription ends without its last checkpoint: events will come again",
				"stream", r.def.Stream, "group", r.def.Group, "error", err)
		}
	}
	for _, c := range r.consumers {
		c.outbox.close(context.Cause(r.ctx))
	}
}

// join adds a consumer.
func (r *runner) join(c *consumer) (err error) {
	// It is waited for in any case: who has joined must leave.
	stopped := r.do(context.Background(), func() {
		r.lastID++
		if err = r.group.Join(r.lastID, c.slots); err != nil {
			err = wire.GroupFull(r.def.Stream, r.def.Group)
			return
		}
		c.id = r.lastID
		c.measured.at = r.now()
		r.consumers[c.id] = c
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// leave removes a consumer; what it did not acknowledge goes to others.
func (r *runner) leave(c *consumer) {
	// A group that has ended has no consumers.
	_ = r.post(func() {
		delete(r.consumers, c.id)
		r.group.Leave(c.id)
	})
}
