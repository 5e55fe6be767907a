package reconcile

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/internal/spill"
	"github.com/docket-orders/docket/projections"
)

const (
	// batchOrders are folded and inspected together.
	batchOrders = 256
	// pageIDs are listed at once.
	pageIDs = 4096
	// maxKey bounds an id or a customer that waits in a file. The log has none as
	// long; another program may have written one.
	maxKey = 16 << 10
	// progressEvery so many events there is a report.
	progressEvery = 5000
)

// compareOrder looks at one order.
func (u *part) compareOrder(ctx context.Context, id string) error {
	u.step("comparing", 0, 1)
	h, err := u.read(ctx, id)
	if err != nil {
		return err
	}
	kept, err := u.inspect(ctx, []projections.Change{{Order: projections.Empty(id)}})
	if err != nil {
		return err
	}
	u.of.Compared.Events = h.last() + 1
	if len(h.events) > 0 {
		u.of.Compared.Streams = 1
	}
	if kept[0].Found || kept[0].Same {
		u.of.Compared.Documents = 1
	}
	if len(h.events) == 0 && h.bad == nil && u.of.Compared.Documents == 0 {
		u.doubt(fmt.Sprintf("neither the log nor the views know an order %s", id))
		return nil
	}
	return u.lookAndFind(ctx, []string{id})
}

// lookAndFind takes down what is wrong with these orders.
func (u *part) lookAndFind(ctx context.Context, ids []string) error {
	findings, err := u.look(ctx, ids)
	if err != nil {
		return err
	}
	for _, f := range findings {
		u.differs(f)
	}
	return nil
}

// compareAll compares every order, and counts the expected side. The log is
// read once, up to the barrier, and dealt to files by order; beside the events
// goes a mark for every order that the views keep. Then it is compared file by
// file, by as many goroutines as there are processors.
func (u *part) compareAll(ctx context.Context) (*tally, error) {
	s := spill.New(u.Disk, u.dir)
	defer s.Close()
	if err := u.spillLog(ctx, s); err != nil {
		return nil, err
	}
	if err := u.spillKept(ctx, s); err != nil {
		return nil, err
	}
	parked, err := u.parked(ctx)
	if err != nil {
		return nil, err
	}
	_, counts := u.sink.(projections.SelfCounting)
	t, err := newTally(u.Disk, u.dir, u.report.Barrier, parked, counts)
	if err != nil {
		return nil, err
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	batches := make(chan []stream)
	var working sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for batch := range batches {
				if ctx.Err() != nil {
					continue // drain
				}
				if err := u.guarded(func() error { return u.compareBatch(ctx, batch, t) }); err != nil {
					stop(err)
				}
			}
		})
	}
	var done int64
	err = s.Each(func(records []eventstore.Record) error {
		all := u.byOrder(records)
		for batch := range slices.Chunk(all, batchOrders) {
			select {
			case batches <- batch:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			done += int64(len(batch))
			u.step("comparing", done, u.of.Compared.Documents)
			if err := u.journal.flushSome(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	close(batches)
	working.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return t, err
}

// spillLog reads the log up to the barrier.
func (u *part) spillLog(ctx context.Context, s *spill.Spill) error {
	u.step("reading", 0, 0)
	filter := eventstore.Filter{Prefixes: []string{u.Namespace.Prefix(codec.Category)}}
	last := eventstore.Start
	for record, err := range u.Store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, filter, 0) {
		if errors.Is(err, eventstore.ErrCorrupt) {
			return fmt.Errorf("the log is damaged, docket eventstore verify says where: %w", err)
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if u.report.Barrier.Before(record.Position) {
			break
		}
		if !last.Before(record.Position) {
			return fmt.Errorf("read the log: position %s comes after %s", record.Position, last)
		}
		last = record.Position
		if err := s.Add(record); err != nil {
			return err
		}
		if u.of.Compared.Events++; u.of.Compared.Events%progressEvery == 0 {
			u.step("reading", u.of.Compared.Events, 0)
		}
	}
	return nil
}

// spillKept puts a record without a type beside the events of every order that
// the views keep; ids that no stream can have it looks at itself.
func (u *part) spillKept(ctx context.Context, s *spill.Spill) error {
	after := ""
	for {
		ids, err := u.sink.IDs(ctx, after, pageIDs)
		if err != nil {
			return ofViews("list the orders in the views", err)
		}
		for _, id := range ids {
			if len(id) > maxKey {
				err = u.lookAndFind(ctx, []string{id})
			} else {
				err = s.Add(eventstore.Record{Stream: u.Namespace.Stream(codec.Category, id)})
			}
			if err != nil {
				return err
			}
		}
		u.of.Compared.Documents += int64(len(ids))
		if len(ids) < pageIDs {
			return nil
		}
		after = ids[len(ids)-1]
	}
}

// stream is what was spilled of one order: its events, in order.
type stream struct {
	id      string
	records []eventstore.Record
}

// byOrder groups records; a mark makes a group, and is not in it.
func (u *part) byOrder(records []eventstore.Record) []stream {
	var all []stream
	var counts []int
	at := map[string]int{}
	for _, record := range records {
		i, known := at[record.Stream]
		if !known {
			id, _ := u.Namespace.ID(codec.Category, record.Stream)
			i = len(all)
			at[record.Stream] = i
			all, counts = append(all, stream{id: id}), append(counts, 0)
		}
		counts[i]++
	}
	grouped := make([]eventstore.Record, len(records))
	for i, n := range counts {
		all[i].records, grouped = grouped[:0:n], grouped[n:]
	}
	for _, record := range records {
		if s := &all[at[record.Stream]]; record.Type != "" {
			s.records = append(s.records, record)
		}
	}
	return all
}

// compareBatch folds orders up to the barrier and compares them with what is
// kept now. Most are the same; the others may have moved, and are looked at
// again.
func (u *part) compareBatch(ctx context.Context, batch []stream, t *tally) error {
	var suspects []string
	var want []projections.Change
	var streams int64
	for _, s := range batch {
		if len(s.records) == 0 {
			suspects = append(suspects, s.id)
			continue
		}
		h := historyOf(u.Namespace, s.id, s.records)
		if h.bad == nil {
			streams++
		}
		_, isParked := t.parked[s.id]
		w := u.fold(h, lastApplied(h, t.parked))
		if isParked || u.unreadable(h, t.parked) {
			suspects = append(suspects, s.id)
		}
		if w.there {
			want = append(want, w.Change)
		}
	}
	kept, err := u.inspect(ctx, want)
	if err != nil {
		return err
	}
	for i, k := range kept {
		if _, isParked := t.parked[want[i].Order.ID]; !k.Same && !isParked {
			suspects = append(suspects, want[i].Order.ID)
		}
	}
	if err := u.count(t, want, streams, len(suspects)); err != nil {
		return err
	}
	if err := u.lookAndFind(ctx, suspects); err != nil {
		return err
	}
	return u.forget(t, want, suspects)
}

// forget takes orders off the tally again that were deleted: the log may still
// deliver their events, but nobody need keep what they make.
func (u *part) forget(t *tally, counted []projections.Change, suspects []string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer func() {
		for _, id := range suspects {
			delete(u.gone, id)
		}
	}()
	for _, change := range counted {
		if u.gone[change.Order.ID] {
			if err := t.count(change, -1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (u *part) count(t *tally, want []projections.Change, streams int64, suspects int) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.of.Compared.Streams += streams
	u.of.Compared.Again += int64(suspects)
	for _, change := range want {
		if err := t.count(change, 1); err != nil {
			return err
		}
	}
	return nil
}

// differs takes down an order that differs, and what it may explain.
func (u *part) differs(f Finding) {
	number := u.find(f)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.orders++
	if int64(len(u.repairs)) <= u.mostRepairs() {
		u.repairs = append(u.repairs, repair{f.ID, number})
	}
}
