package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/internal/spill"
)

const (
	// buildOrders is how many documents a build writes at once, at most: the more,
	// the less often a page of an index is written. One that rests writes fewer: a
	// piece of work is felt as long as it takes.
	buildOrders, pacedOrders = 4096, 512
	// builders fold and write at the same time: while the sink writes the one's
	// documents, the other folds and encodes its own.
	builders = 2
	// readPiece is for how long a build that rests reads the log without a rest.
	readPiece = 20 * time.Millisecond
	// progressEvery is how many events pass between two reports.
	progressEvery = 5000
)

// plan is what a build is told.
type plan struct {
	// lanes are claimed. Those that stand at the start of the log are filled, each
	// stands at the head when it is.
	lanes []Checkpoint
	log   eventstore.LogIdentity
	place spill.Place
	// share of its time that the build works; 0 is all of it, as 1 is. ask, which
	// may be nil, says how quick the store is meanwhile: when it gets slow the build
	// works less.
	share    float64
	ask      probe
	unasked  bool     // nobody asks the generation questions before it is filled
	progress Progress // to begin with
	report   func(Progress)
}

// build fills empty lanes from the whole log: the events are spilled to files by
// lane, then folded file by file, so that each document is written about once and
// memory does not grow with the log. The checkpoint of a lane moves to the head
// that was seen at the start as soon as its documents are written: whoever goes on
// after a crash fills what is left.
func build(ctx context.Context, a *applier, b plan) error {
	head, err := a.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("build generation: %w", err)
	}
	dir, err := b.place.Folder()
	if err != nil {
		return fmt.Errorf("build generation: %w", err)
	}
	defer b.place.Disk.RemoveAll(dir)
	s := spill.NewBy(b.place.Disk, dir, func(stream string) int {
		id, _ := a.namespace.ID(codec.Category, stream)
		return LaneOf(id)
	})
	defer s.Close()

	f := &filling{applier: a, plan: b, at: placesOf(b.lanes), head: head, pace: newPace(b.share)}
	for _, c := range b.lanes {
		if c.Position != eventstore.Start {
			f.at[c.Lane] = -1
		}
	}
	f.progress.Head = head
	if f.pace != nil && b.ask != nil {
		watching, stop := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() { f.pace.watch(watching, b.ask) })
		defer watch.Wait()
		defer stop()
	}
	filler, _ := a.sink.(Filler)
	if filler != nil && b.unasked {
		if err := a.untilDone(ctx, "begin to fill", func() error { return filler.BeginFill(ctx) }); err != nil {
			return err
		}
	}
	if err := f.read(ctx, s); err != nil {
		return err
	}
	if err := f.foldAll(ctx, s); err != nil {
		return err
	}
	if filler != nil && b.unasked {
		worked := func(d time.Duration) error { return f.pace.worked(ctx, d) }
		return a.untilDone(ctx, "end filling", func() error { return filler.EndFill(ctx, worked) })
	}
	return nil
}

// filling is one build.
type filling struct {
	*applier
	plan
	at   [Lanes]int // of each lane that is filled in lanes; -1 for the others
	head eventstore.Position
	pace *pace

	orders int64 // there are in the log, of these lanes

	mu    sync.Mutex // of all below, and of what of plan changes
	meter meter
	state [Lanes]laneState
}

// laneState is what of a lane is under way.
type laneState struct {
	chunks int  // handed out, and not written
	ended  bool // all of them were handed out
}

// read spills the events of the lanes.
func (f *filling) read(ctx context.Context, s *spill.Spill) error {
	filter := eventstore.Filter{Prefixes: []string{f.namespace.Prefix(codec.Category)}}
	f.phase("reading")
	began := time.Now()
	for r, err := range f.store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, filter, 0) {
		if err != nil {
			return fmt.Errorf("build generation: read log: %w", err)
		}
		if f.head.Before(r.Position) {
			break
		}
		if f.pace != nil && time.Since(began) > readPiece {
			if err := f.pace.worked(ctx, time.Since(began)); err != nil {
				return err
			}
			began = time.Now()
		}
		f.progress.Position = r.Position
		id, ok := f.namespace.ID(codec.Category, r.Stream)
		if !ok {
			continue
		}
		at := f.at[LaneOf(id)]
		if at < 0 || !f.ours(LaneOf(id)) {
			continue // somebody else's
		}
		if err := s.Add(r); err != nil {
			return err
		}
		f.lanes[at].EventID = r.ID
		if r.Revision == 0 {
			f.orders++
		}
		if f.progress.Events++; f.progress.Events%progressEvery == 0 {
			f.wrote(0)
		}
	}
	return nil
}

// chunk is documents that are written together: all events of some orders.
type chunk struct {
	orders []work
	lanes  []int // that they are in; and those that end with it, even without any
}

// foldAll folds and writes all files. It ends with the lanes of which there was
// nothing.
func (f *filling) foldAll(ctx context.Context, s *spill.Spill) error {
	f.progress.Total = f.orders
	f.phase("folding")
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	chunks := make(chan chunk)
	var working sync.WaitGroup
	count, most := builders, buildOrders
	if f.pace != nil {
		count, most = 1, pacedOrders
	}
	for range count {
		working.Go(func() {
			for c := range chunks {
				began := time.Now()
				err := f.write(ctx, c)
				if err == nil {
					err = f.pace.worked(ctx, time.Since(began))
				}
				if err != nil {
					fail(err)
					return
				}
			}
		})
	}
	hand := func(orders []work, ended []int) error {
		c := f.handOut(orders, ended)
		select {
		case chunks <- c:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := s.EachFile(func(records []eventstore.Record, ended []int) error {
		orders := groupRecords(f.namespace, records)
		var last [Lanes]int // by lane: the number of orders up to the last of it
		for i, w := range orders {
			last[LaneOf(w.orderID)] = i + 1
		}
		for from := 0; ; {
			to := min(from+most, len(orders))
			var with []int
			ended = slices.DeleteFunc(ended, func(lane int) bool {
				if last[lane] <= to {
					with = append(with, lane)
				}
				return last[lane] <= to
			})
			if err := hand(orders[from:to:to], with); err != nil || to == len(orders) {
				return err
			}
			from = to
		}
	})
	if err == nil {
		err = hand(nil, f.never())
	}
	close(chunks)
	working.Wait()
	return cmp.Or(err, context.Cause(ctx))
}

// never are the lanes of which there was no event.
func (f *filling) never() (lanes []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for lane, at := range f.at {
		if at >= 0 && !f.state[lane].ended {
			lanes = append(lanes, lane)
		}
	}
	return lanes
}

// handOut notes what is under way with a chunk. Lanes that were lost meanwhile are
// left out.
func (f *filling) handOut(orders []work, ended []int) chunk {
	c := chunk{orders: slices.DeleteFunc(orders, func(w work) bool { return !f.ours(LaneOf(w.orderID)) })}
	var in [Lanes]bool
	for _, w := range c.orders {
		in[LaneOf(w.orderID)] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, lane := range ended {
		in[lane], f.state[lane].ended = true, true
	}
	for lane, here := range in {
		if here {
			c.lanes = append(c.lanes, lane)
			f.state[lane].chunks++
		}
	}
	return c
}

// write writes a chunk, and with it the checkpoints of the lanes of which nothing
// else is under way. Of two chunks that end a lane at the same time the one that
// is written last moves it afterwards.
func (f *filling) write(ctx context.Context, c chunk) error {
	what, err := f.fold(ctx, c.orders)
	if err != nil {
		return err
	}
	f.mu.Lock()
	var whole []int
	for _, lane := range c.lanes {
		if s := f.state[lane]; s.ended && s.chunks == 1 {
			whole = append(whole, lane)
		}
	}
	f.mu.Unlock()
	if err := f.move(ctx, what, whole); err != nil {
		return err
	}
	f.mu.Lock()
	var late []int
	for _, lane := range c.lanes {
		if f.state[lane].chunks--; f.state[lane].ended && f.state[lane].chunks == 0 && !slices.Contains(whole, lane) {
			late = append(late, lane)
		}
	}
	f.mu.Unlock()
	if len(late) > 0 {
		if err := f.move(ctx, folded{}, late); err != nil {
			return err
		}
	}
	f.wrote(len(what.batch.Changes))
	return nil
}

// move writes what was folded, and moves lanes that are whole with it to the head.
// What took long may have lost some of them to other processes: the rest is
// written all the same.
func (f *filling) move(ctx context.Context, what folded, lanes []int) error {
	for {
		var checkpoints []Checkpoint
		for _, lane := range lanes {
			if f.ours(lane) {
				c := f.lanes[f.at[lane]]
				c.Position, c.Log = f.head, f.log
				checkpoints = append(checkpoints, c)
			}
		}
		again := folded{trouble: slices.Clone(what.trouble)} // write uses up what it is given
		again.batch.Changes, again.batch.Checkpoints = slices.Clone(what.batch.Changes), checkpoints
		err := f.applier.write(ctx, again)
		if err == nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, c := range checkpoints {
				f.lanes[f.at[c.Lane]] = c
			}
			return nil
		}
		if f.claimed == nil || !errors.Is(err, ErrLaneLost) {
			return err
		}
		var lost []int
		failed := f.untilDone(ctx, "look for lost lanes", func() (err error) {
			lost, err = f.sink.Beat(ctx, checkpoints)
			return err
		})
		if failed != nil {
			return failed
		}
		if len(lost) == 0 { // another's, in which something was to be parked
			return err
		}
		gone := func(orderID string) bool { return slices.Contains(lost, LaneOf(orderID)) }
		lanes = slices.DeleteFunc(lanes, func(lane int) bool { return slices.Contains(lost, lane) })
		what.batch.Changes = slices.DeleteFunc(what.batch.Changes, func(c Change) bool { return gone(c.Order.ID) })
		what.trouble = slices.DeleteFunc(what.trouble, gone)
	}
}

// phase begins a phase.
func (f *filling) phase(name string) {
	f.mu.Lock()
	f.progress.Phase = name
	f.meter.begin(time.Now())
	f.mu.Unlock()
	f.wrote(0)
}

// wrote reports, documents having been written.
func (f *filling) wrote(documents int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &f.progress
	p.Orders += int64(documents)
	done, part := p.Orders, 0.0
	if p.Total > 0 {
		part = float64(done) / float64(p.Total)
	}
	if p.Phase == "reading" {
		done, part = p.Events, float64(p.Position.Commit)/float64(max(p.Head.Commit, 1))
	}
	p.Rate = f.meter.rate(time.Now(), done)
	p.ETAMs = left(part, p.Rate, done).Milliseconds()
	f.report(*p)
}

func groupRecords(ns eventstore.Namespace, records []eventstore.Record) []work {
	var all []work
	at := map[string]int{}
	for _, r := range records {
		i, ok := at[r.Stream]
		if !ok {
			id, _ := ns.ID(codec.Category, r.Stream)
			i = len(all)
			at[r.Stream] = i
			all = append(all, work{orderID: id})
		}
		all[i].records = append(all[i].records, r)
	}
	return all
}

// spills is where builds have their folders; those that a crash left are removed
// at the next start. Managers of several stores may have the same place.
func (m *Manager) spills() spill.Place {
	prefix := "rebuild-"
	if m.shared() {
		prefix = m.StoreName + "-rebuild-"
	}
	return spill.Place{Disk: m.Disk, Dir: m.SpillDir, Prefix: prefix}
}
