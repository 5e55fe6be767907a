package projections

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/docket-orders/docket/view"
	"github.com/docket-orders/docket/view/fields"
)

// explain finds the events behind the samples: for each the last that set the
// field, as the candidate's version folds the order, or, where that never does,
// as the version in force does, if it is carried here.
func (c *comparison) explain(ctx context.Context) error {
	samples := map[string][]*Changed{} // by order
	for _, f := range c.found.fields {
		for i := range f.Samples {
			s := &f.Samples[i]
			samples[s.OrderID] = append(samples[s.OrderID], s)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(samples)) {
		left := samples[id]
		for _, fold := range []*Fold{&c.Fold, c.OldFold} {
			if fold == nil || len(left) == 0 {
				continue
			}
			set, err := c.setters(ctx, *fold, id, left)
			if err != nil {
				return err
			}
			left = slices.DeleteFunc(slices.Clone(left), func(s *Changed) bool {
				by, told := set[s.Path]
				if told {
					s.Events = []EventRef{by}
				}
				return told
			})
		}
	}
	return nil
}

// setters names, for each sample's path, the event that set it last. What is so
// from the beginning was set by the first event. Of an order that cannot be folded
// to its end it tells what came before.
func (c *comparison) setters(ctx context.Context, fold Fold, id string, samples []*Changed) (map[string]EventRef, error) {
	set := map[string]EventRef{}
	upTo := int64(0)
	for _, s := range samples {
		upTo = max(upTo, s.Revision)
	}
	mark := func(path string, e arrival) {
		for _, s := range samples {
			if path == s.Path || strings.HasPrefix(path, s.Path+"/") {
				set[s.Path] = EventRef{Revision: e.revision, Position: e.position, Type: e.event.Type}
			}
		}
	}
	_, _, err := c.replay(ctx, fold, id, upTo, func(e arrival, before, after view.Order) {
		if e.revision == 0 {
			for _, f := range fields.Fields(after) {
				mark(f.Path, e)
			}
		} else {
			for _, change := range fields.Diff(before, after) {
				mark(change.Path, e)
			}
		}
		was, _ := c.wordsOf(&fold, before)
		if is, _ := c.wordsOf(&fold, after); was != is {
			mark(WordsPath, e)
		}
	})
	return set, err
}
