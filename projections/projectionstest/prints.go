package projectionstest

import (
	"context"
	"encoding/json"

	"github.com/docket-orders/docket/projections"
)

func (h *handle) Prints(ctx context.Context, ids []string) ([]projections.Print, error) {
	all, err := h.Read(ctx, ids)
	out := make([]projections.Print, len(all))
	for i := range all {
		out[i] = all[i].Print
	}
	return out, err
}

func (h *handle) Read(ctx context.Context, ids []string) ([]projections.Stored, error) {
	out := make([]projections.Stored, len(ids))
	return out, h.everything(func() {
		for i, id := range ids {
			kept, k := h.slot(id).entries[id], &out[i]
			k.Revision = -1
			if kept.json == nil {
				continue
			}
			contribution, _ := json.Marshal(kept.contribution) // they always encode
			k.Print = projections.Print{
				Revision: kept.events - 1, Document: projections.PrintOf(kept.json),
				Contribution: projections.PrintOf(contribution), Words: projections.WordsPrint(kept.words),
			}
			k.Contribution, k.Words, _ = kept.contribution, kept.words, json.Unmarshal(kept.json, &k.Document)
		}
	})
}
