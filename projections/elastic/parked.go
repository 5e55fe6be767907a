package elastic

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/go-json-experiment/json"
)

// parkedPage is how many parked orders one request lists.
const parkedPage = 1000

// parkedOrder is projections.Parked as it is kept.
type parkedOrder struct {
	Revision int64  `json:"revision"`
	Position string `json:"position"`
	Reason   string `json:"reason"`
}

// parkedID has a hash, since an order's id may be longer than Elasticsearch's.
func parkedID(of, orderID string) string {
	sum := sha256.Sum256([]byte(orderID))
	return of + "-parked-" + hex.EncodeToString(sum[:16])
}

// Parked implements projections.Sink.
func (s *Store) Parked(ctx context.Context) (out []projections.Parked, err error) {
	err = s.call(ctx, func() (err error) {
		if _, err = s.records(ctx); err == nil {
			out, err = s.backend.parked(ctx, s.index)
		}
		return err
	})
	return out, wrap(err, "read parked orders")
}

// parked lists the orders that are parked beside an index, by order id.
func (b *Backend) parked(ctx context.Context, of string) ([]projections.Parked, error) {
	control := b.names.control()
	if err := b.cluster.refresh(ctx, control); err != nil {
		return nil, err
	}
	var out []projections.Parked
	query := object{
		"size": parkedPage,
		"query": object{"bool": object{"filter": []object{
			{"term": object{"kind": "parked"}}, {"term": object{"of": of}},
		}}},
		"sort":             []object{{"order": "asc"}},
		"track_total_hits": false,
	}
	for {
		found, err := b.cluster.search(ctx, control, query)
		if err != nil {
			return nil, err
		}
		for _, hit := range found.Hits.Hits {
			var r controlRecord
			var p parkedOrder
			if json.Unmarshal(hit.Source, &r) != nil || json.Unmarshal(r.Data, &p) != nil {
				continue // another program's; it parks nothing
			}
			parked := projections.Parked{OrderID: r.Order, Revision: p.Revision, Reason: p.Reason}
			if parked.Position.UnmarshalText([]byte(p.Position)) != nil {
				parked.Position = eventstore.Start // it is shown, and nothing follows from it
			}
			out = append(out, parked)
		}
		hits := found.Hits.Hits
		if len(hits) < parkedPage {
			slices.SortFunc(out, func(a, b projections.Parked) int { return cmp.Compare(a.OrderID, b.OrderID) })
			return out, nil
		}
		query["search_after"] = hits[len(hits)-1].Sort
	}
}

// park records what a batch parks and releases.
func (s *Store) park(ctx context.Context, batch projections.Batch) error {
	sources := map[string][]byte{} // by id; nil to release
	for _, id := range batch.Release {
		sources[parkedID(s.index, id)] = nil
	}
	for _, p := range batch.Park {
		sources[parkedID(s.index, p.OrderID)] = controlRecord{
			Kind: "parked", Of: s.index, Order: p.OrderID,
			Data: encoded(parkedOrder{p.Revision, p.Position.String(), p.Reason}),
		}.encode()
	}
	ids := slices.Sorted(maps.Keys(sources))
	return s.settle(ctx, ids, nil, func(id string, _ got) ([]byte, error) { return sources[id], nil })
}
