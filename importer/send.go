package importer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
)

// defaultInFlight adoptions wait for their answer at once: enough for a group
// commit to be worth it, and few in memory.
const defaultInFlight = 128

// queued parts may wait behind one that is on its way: several of one order
// often follow each other, and the others should not wait for them. It bounds
// how far the order of sending departs from that of business time.
const queued = 32

// maxAppend bounds the events of one part: an append is at most 1 MiB, and
// metadata needs room too.
const maxAppend = 1<<20 - 32<<10

// document is one order's history as the source tells it, in our words.
type document struct {
	id      string
	history []order.Event // Placed first, then as the domain sorts
	claim   order.Claim
	odd     []order.Anomaly
	file    string // where it begins
	line    int
}

// documents is what reading the files left: many orders in compact form, built
// one by one. build may be called from many goroutines.
type documents struct {
	system string
	count  int
	build  func(i int) (document, error) // the error refuses this document
}

// part of an order's history: count steps from the first.
type part struct {
	doc          int32
	first, count int32 // count -1: all
}

// sender sends documents to a target and keeps the report.
type sender struct {
	docs   documents
	target Target
	opts   Options

	mu     sync.Mutex
	report *Report
	done   int
	total  int

	// By document; each is touched only by the goroutine that sends it.
	refused, made []bool
}

// send adopts all documents. The parts of one order go one after the other, by
// one goroutine; different orders go at the same time.
func send(ctx context.Context, docs documents, target Target, opts Options, report *Report) error {
	s := &sender{docs: docs, target: target, opts: opts, report: report,
		refused: make([]bool, docs.count), made: make([]bool, docs.count)}
	report.Orders = docs.count
	parts := s.parts()
	s.total = len(parts)

	lanes := opts.InFlight
	if lanes <= 0 {
		lanes = defaultInFlight
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queues := make([]chan part, lanes)
	var working sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan part, queued)
		working.Go(func() {
			for p := range queues[i] {
				if ctx.Err() != nil {
					continue // drain
				}
				if err := s.sendPart(ctx, p); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, p := range parts {
		select {
		case queues[int(p.doc)%lanes] <- p:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	for _, q := range queues {
		close(q)
	}
	working.Wait()
	opts.tell(Progress{Phase: "sending orders", Done: s.done, Total: s.total})
	report.finish()
	return context.Cause(ctx)
}

// parts in the order in which they are sent.
func (s *sender) parts() []part {
	if !s.opts.Interleave {
		parts := make([]part, s.docs.count)
		for i := range parts {
			parts[i] = part{doc: int32(i), count: -1}
		}
		return parts
	}
	type step struct {
		at int64 // microseconds
		part
	}
	var steps []step
	for i := range s.docs.count {
		doc, err := s.docs.build(i)
		if err != nil {
			steps = append(steps, step{part: part{doc: int32(i), count: -1}}) // refused when its turn comes
			continue
		}
		// No step comes before the order it belongs to: the effective time.
		var at int64
		for k, e := range doc.history {
			at = max(at, e.OccurredAt().UnixMicro())
			steps = append(steps, step{at, part{int32(i), int32(k), 1}})
		}
	}
	slices.SortFunc(steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.doc, b.doc), cmp.Compare(a.first, b.first))
	})
	parts := make([]part, len(steps))
	for i, st := range steps {
		parts[i] = st.part
	}
	return parts
}

func (s *sender) sendPart(ctx context.Context, p part) error {
	if s.refused[p.doc] {
		s.note(func(*Report) {})
		return nil
	}
	doc, err := s.docs.build(int(p.doc))
	if err != nil {
		s.refuse(p, doc, err)
		return nil
	}
	first, end := int(p.first), len(doc.history)
	if p.count >= 0 {
		end = first + int(p.count)
	}
	a := order.Adopt{First: int64(first), History: doc.history[first:end]}
	if end == len(doc.history) {
		a.Last, a.Claim, a.Odd = true, doc.claim, doc.odd
	}
	if err := fits(a.History); err != nil {
		s.refuse(p, doc, err)
		return nil
	}
	// The key says which steps, so that an import of another granularity finds
	// the steps already there instead of a key used for something else.
	key := fmt.Sprintf("%s:%s:%d+%d", s.docs.system, doc.id, first, end-first)
	out, err := s.target.Adopt(ctx, doc.id, a, key)
	var rejection *domain.Rejection
	switch {
	case errors.As(err, &rejection):
		s.refuse(p, doc, rejection)
		return nil
	case errors.Is(err, command.ErrKeyReused):
		s.refuse(p, doc, errors.New("it was imported before with another content"))
		return nil
	case err != nil:
		return fmt.Errorf("adopt order %s: %w", doc.id, err)
	}
	if out.Events > 0 && !out.Replayed {
		s.made[p.doc] = true
	}
	s.note(func(r *Report) {
		if !out.Replayed {
			r.Events += out.Events
		}
		if !a.Last {
			return
		}
		if s.made[p.doc] {
			r.Made++
		} else {
			r.AlreadyThere++
		}
		seen := map[string]bool{}
		for _, odd := range out.Anomalies {
			r.Anomalies[odd.Kind]++
			if !seen[odd.Kind] {
				seen[odd.Kind] = true
				r.OddOrders[odd.Kind]++
			}
		}
	})
	return nil
}

// fits measures histories that might be too large for one append.
func fits(history []order.Event) error {
	if len(history) == 0 {
		return nil
	}
	placed, _ := history[0].(order.Placed)
	if len(placed.Lines) < 200 && len(history) < 1000 {
		return nil // far from it
	}
	size := 0
	for _, e := range history {
		data, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("measure %T: %w", e, err)
		}
		size += len(data)
	}
	if size > maxAppend {
		return fmt.Errorf("its history takes %d bytes, more than the %d that are written at once", size, maxAppend)
	}
	return nil
}

func (s *sender) refuse(p part, doc document, why error) {
	s.refused[p.doc] = true
	s.note(func(r *Report) {
		r.refuse(doc.file, doc.line, fmt.Sprintf("order %s: %v", doc.id, why))
	})
}

// note updates the report and the progress.
func (s *sender) note(update func(*Report)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	update(s.report)
	s.done++
	if s.done%500 == 0 {
		s.opts.tell(Progress{Phase: "sending orders", Done: s.done, Total: s.total})
	}
}

// sorted is the history in the order in which the domain adopts it: the placing
// first, then by business time, ties by stage.
func sorted(history []order.Event) []order.Event {
	slices.SortStableFunc(history[1:], func(a, b order.Event) int {
		return cmp.Or(a.OccurredAt().Compare(b.OccurredAt()), cmp.Compare(order.StageOf(a), order.StageOf(b)))
	})
	return history
}
