package projections

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/internal/spill"
)

const (
	// buildOrders is how many documents a build writes at once, at least: the
	// more, the less often a page of an index is written.
	buildOrders = 4096
	// progressEvery is how many events pass between two reports.
	progressEvery = 5000
)

// build fills an empty sink from the whole log: the events are spilled to files
// by stream, then folded file by file, so that each document is written about
// once and memory does not grow with the log. The lanes stand at the head that
// was seen at the start when it returns.
func build(ctx context.Context, a *applier, lanes []Checkpoint, log eventstore.LogIdentity, place spill.Place, p Progress, report func(Progress)) error {
	head, err := a.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("build generation: %w", err)
	}
	dir, err := place.Folder()
	if err != nil {
		return fmt.Errorf("build generation: %w", err)
	}
	defer place.Disk.RemoveAll(dir)
	s := spill.New(place.Disk, dir)
	defer s.Close()

	p.Phase, p.Head = "reading", head
	report(p)
	filter := eventstore.Filter{Prefixes: []string{a.namespace.Prefix(codec.Category)}}
	for r, err := range a.store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, filter, 0) {
		if err != nil {
			return fmt.Errorf("build generation: read log: %w", err)
		}
		if head.Before(r.Position) {
			break
		}
		if err := s.Add(r); err != nil {
			return err
		}
		if id, ok := a.namespace.ID(codec.Category, r.Stream); ok {
			lanes[LaneOf(id)].EventID = r.ID
		}
		p.Position = r.Position
		if p.Events++; p.Events%progressEvery == 0 {
			report(p)
		}
	}

	p.Phase = "folding"
	report(p)
	if err := foldSpilled(ctx, a, s, func(written int) {
		p.Orders += int64(written)
		report(p)
	}); err != nil {
		return err
	}
	for i := range lanes {
		lanes[i].Position, lanes[i].Log = head, log
	}
	return a.write(ctx, folded{batch: Batch{Checkpoints: lanes}})
}

// foldSpilled folds and writes all files. Two goroutines take turns at the sink:
// while it writes the one's documents, the other folds and encodes its own.
func foldSpilled(ctx context.Context, a *applier, s *spill.Spill, report func(written int)) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	chunks := make(chan []work)
	var builders sync.WaitGroup
	var reporting sync.Mutex
	for range 2 {
		builders.Go(func() {
			for chunk := range chunks {
				f, err := a.fold(ctx, chunk)
				if err == nil {
					err = a.write(ctx, f)
				}
				if err != nil {
					fail(err)
					return
				}
				reporting.Lock()
				report(len(f.batch.Changes))
				reporting.Unlock()
			}
		})
	}
	hand := func(chunk []work) error {
		select {
		case chunks <- chunk:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var waiting []work
	err := s.Each(func(records []eventstore.Record) error {
		waiting = append(waiting, groupRecords(a.namespace, records)...)
		if len(waiting) < buildOrders {
			return nil
		}
		chunk := waiting
		waiting = nil
		return hand(chunk)
	})
	if err == nil {
		err = hand(waiting)
	}
	close(chunks)
	builders.Wait()
	return cmp.Or(err, context.Cause(ctx))
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

// spillPrefix begins the names of the folders of builds; those that a crash left
// are removed at the next start.
const spillPrefix = "rebuild-"

func (m *Manager) spills() spill.Place {
	return spill.Place{Disk: m.Disk, Dir: m.SpillDir, Prefix: spillPrefix}
}
