package projectionstest

import (
	"context"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// HotOnly and SearchOnly are the reference as a store of one role.
type (
	HotOnly    struct{ *Reference }
	SearchOnly struct{ *Reference }
)

// Open implements projections.Backend.
func (r HotOnly) Open(ctx context.Context, number int) (projections.Sink, error) {
	sink, err := r.Reference.Open(ctx, number)
	return hotOnly{sink, sink.(query.Hot)}, err
}

// Open implements projections.Backend.
func (r SearchOnly) Open(ctx context.Context, number int) (projections.Sink, error) {
	sink, err := r.Reference.Open(ctx, number)
	return searchOnly{sink, sink.(query.Search)}, err
}

type hotOnly struct {
	projections.Sink
	query.Hot
}

func (h hotOnly) Figures(ctx context.Context, yield func(projections.Figure) error) ([]projections.Checkpoint, error) {
	return h.Sink.Figures(ctx, func(f projections.Figure) error {
		if f.Of == projections.FigureFacet {
			return nil
		}
		return yield(f)
	})
}

func (h hotOnly) Miscounted(ctx context.Context, yield func(kept, should projections.Figure) error) (compared int64, err error) {
	sink := h.Sink.(*handle)
	type wrong struct{ kept, should projections.Figure }
	var all []wrong
	err = sink.everything(func() {
		for _, slot := range sink.slots {
			kept, should := figures(nil, slot.counted), figures(nil, talliesOf(slot.entries))
			for key := range kept {
				should.add(key) // with zeros, where it belongs to nothing
			}
			for key, values := range should {
				if compared++; kept[key] != values {
					all = append(all, wrong{projections.Figure{FigureKey: key, Values: kept[key]}, projections.Figure{FigureKey: key, Values: values}})
				}
			}
		}
	})
	for _, w := range all {
		if err == nil {
			err = yield(w.kept, w.should)
		}
	}
	return compared, err
}

type searchOnly struct {
	projections.Sink
	query.Search
}

func (s searchOnly) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	return s.Sink.Documents(ctx, ids)
}

func (s searchOnly) Figures(ctx context.Context, _ func(projections.Figure) error) ([]projections.Checkpoint, error) {
	return s.Checkpoints(ctx)
}

func (s searchOnly) Recount(ctx context.Context) (int, error) { return 0, s.Refresh(ctx) }

func (s searchOnly) Miscounted(ctx context.Context, _ func(kept, should projections.Figure) error) (int64, error) {
	return 0, s.Refresh(ctx)
}

// Nudge counts an order that is nowhere.
func Nudge(r *Reference, number int) {
	g, _ := r.generations.Load(number)
	slot := g.(*generation).slots[0]
	slot.Lock()
	defer slot.Unlock()
	slot.counted.add(projections.Contributions(Documents(99, 1)[0]), 1)
}
