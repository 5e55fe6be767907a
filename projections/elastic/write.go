package elastic

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/docket-orders/docket/projections"
)

// writeAttempts bounds how often a document is written again that others write,
// too, or that the cluster is too busy for.
const writeAttempts = 12

// Write implements projections.Sink. Documents come first, each compared with
// what is stored; then what is parked, then the checkpoints.
func (s *Store) Write(ctx context.Context, batch projections.Batch) (out []projections.Outcome, err error) {
	docs, refused := encodeAll(batch.Changes)
	err = s.call(ctx, func() error {
		w := &writing{Store: s, docs: docs, outcomes: make([]projections.Outcome, len(docs))}
		for i := range docs {
			if refused[i] != nil {
				w.outcomes[i] = projections.Outcome{Result: projections.Refused, Err: refused[i]}
			} else {
				w.open = append(w.open, i)
			}
		}
		lanes, err := w.run(ctx, batch.Checkpoints)
		if err != nil {
			return err
		}
		out = w.outcomes
		for _, o := range out {
			if o.Result > projections.Already {
				return nil
			}
		}
		if err := s.park(ctx, batch); err != nil {
			return fmt.Errorf("park %d orders: %w", len(batch.Park), err)
		}
		return s.move(ctx, batch.Checkpoints, lanes)
	})
	if err != nil {
		return nil, wrap(err, "write %d documents", len(batch.Changes))
	}
	return out, nil
}

// writing is the documents of one batch.
type writing struct {
	*Store
	docs     []document
	outcomes []projections.Outcome
	open     []int // documents without an outcome
}

// run brings every document to its outcome. The lanes are looked at first, and
// returned: who has lost one writes nothing.
func (w *writing) run(ctx context.Context, checkpoints []projections.Checkpoint) (lanes []got, err error) {
	at := make(map[int]*place, len(w.docs)) // of those that were looked at and are there
	// What begins with the first event needs no look: it is made, and only where
	// that fails there is something to compare with.
	var look []int
	for _, i := range w.open {
		if w.docs[i].first > 0 {
			look = append(look, i)
		}
	}
	for attempt := 0; ; attempt++ {
		if attempt == writeAttempts {
			return nil, fmt.Errorf("%w: order %s is not written after %d attempts", projections.ErrUnavailable, w.docs[w.open[0]].id, attempt)
		}
		if err := pause(ctx, attempt); err != nil {
			return nil, err
		}
		if attempt == 0 {
			lanes, err = w.look(ctx, look, at, checkpoints)
		} else {
			_, err = w.look(ctx, look, at, nil)
		}
		if err != nil || len(w.open) == 0 {
			return lanes, err
		}
		if look, err = w.put(ctx, at); err != nil || len(w.open) == 0 {
			return lanes, err
		}
	}
}

// look reads what is stored of documents, and lanes. Documents that are not to
// be written get their outcome.
func (w *writing) look(ctx context.Context, docs []int, at map[int]*place, checkpoints []projections.Checkpoint) ([]got, error) {
	var all []wanted
	for _, i := range docs {
		all = append(all, wanted{Index: w.alias, ID: w.docs[i].id, Fields: revisionFields()})
	}
	for _, cp := range checkpoints {
		all = append(all, wanted{Index: w.backend.names.control(), ID: laneID(w.index, cp.Lane)})
	}
	if len(all) == 0 {
		return nil, nil
	}
	found, err := w.cluster.get(ctx, all)
	if err != nil {
		return nil, err
	}
	lanes := found[len(docs):]
	for i, cp := range checkpoints {
		if kept := readLane(cp.Lane, lanes[i]); kept.Token != cp.Token {
			return nil, w.laneLost(ctx, cp, kept)
		}
	}
	decided := map[int]bool{}
	for k, i := range docs {
		stored := int64(-1)
		delete(at, i)
		if f := &found[k]; f.Found {
			stored, at[i] = revisionOf(f.ID, f.Source), &f.place
		}
		switch d := &w.docs[i]; {
		case stored >= d.revision:
			w.outcomes[i].Result = projections.Already
		case stored < d.first-1:
			w.outcomes[i].Result = projections.Gap
		default:
			continue
		}
		decided[i] = true
	}
	w.open = slices.DeleteFunc(w.open, func(i int) bool { return decided[i] })
	return lanes, nil
}

// put writes the open documents once. It leaves those open that changed
// meanwhile, which are to be looked at again, and those that the cluster was too
// busy for.
func (w *writing) put(ctx context.Context, at map[int]*place) (look []int, err error) {
	ops := make([]operation, len(w.open))
	for k, i := range w.open {
		ops[k] = operation{id: w.docs[i].id, at: at[i], source: w.docs[i].source}
	}
	outcomes, err := w.cluster.bulk(ctx, w.alias, ops)
	if err != nil {
		return nil, err
	}
	var open []int
	suspect := false
	for k, i := range w.open {
		switch o := outcomes[k]; {
		case o == nil:
			w.outcomes[i].Result = projections.Applied
		case o.kind == conflict:
			look, open = append(look, i), append(open, i)
		case o.status == http.StatusTooManyRequests:
			open = append(open, i)
		case o.passes():
			return nil, o
		case o.status == http.StatusBadRequest, o.status == http.StatusRequestEntityTooLarge:
			w.outcomes[i] = projections.Outcome{Result: projections.Refused, Err: o}
			suspect = true
		default:
			return nil, o
		}
	}
	w.open = open
	if suspect { // is it the document, or the index?
		err = w.gone(ctx)
	}
	return look, err
}
