package elastic

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/docket-orders/docket/projections"
	"github.com/go-json-experiment/json"
)

const (
	// idsPage is how many ids one request lists, at most.
	idsPage = 10_000
	// maxStrays bounds what is kept of documents that stand under another id than
	// the one they name. More are a matter for a rebuild.
	maxStrays = 10_000
)

// strays are the ids of documents whose column id says another, or nothing:
// other programs write such. Lists by that column do not tell of them. They are
// looked for when a walk over all ids begins.
type strays struct {
	mu  sync.Mutex
	ids []string // ascending
}

// IDs implements projections.Inspector.
func (s *Store) IDs(ctx context.Context, after string, limit int) (ids []string, err error) {
	err = s.call(ctx, func() error {
		if after == "" {
			if err := s.refresh(ctx); err != nil {
				return err
			}
			if err := s.findStrays(ctx); err != nil {
				return err
			}
		}
		ids, err = s.ids(ctx, after, limit)
		return err
	})
	return ids, wrap(err, "list orders after %q", after)
}

// ids lists by the column, and puts the strays between.
func (s *Store) ids(ctx context.Context, after string, limit int) ([]string, error) {
	s.strays.mu.Lock()
	strays := s.strays.ids
	s.strays.mu.Unlock()
	limit = min(limit, idsPage)
	f, err := s.cluster.search(ctx, s.alias, object{
		"size": limit, "_source": false, "track_total_hits": false,
		"query": object{"bool": object{
			"filter":   []object{{"range": object{"id": object{"gt": after}}}},
			"must_not": []object{{"ids": object{"values": strays}}},
		}},
		"sort": []object{{"id": "asc"}},
	})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, hit := range f.Hits.Hits {
		all = append(all, hit.ID)
	}
	from, found := slices.BinarySearch(strays, after)
	if found {
		from++
	}
	all = append(all, strays[from:min(len(strays), from+limit)]...)
	slices.Sort(all)
	return all[:min(limit, len(all))], nil
}

// findStrays walks over all documents of one instant.
func (s *Store) findStrays(ctx context.Context) error {
	var all []string
	err := s.at(ctx, "", func(pit object) error {
		body := object{
			"pit": pit, "size": idsPage, "_source": false, "track_total_hits": false,
			"sort": []object{{"id": "asc"}, {"_shard_doc": "asc"}},
		}
		for {
			f, err := s.cluster.search(ctx, "", body)
			if err != nil {
				return err
			}
			for _, hit := range f.Hits.Hits {
				var id string
				if len(hit.Sort) == 0 || json.Unmarshal(hit.Sort[0], &id) != nil || id != hit.ID {
					all = append(all, hit.ID)
				}
			}
			hits := f.Hits.Hits
			switch {
			case len(all) > maxStrays:
				return fmt.Errorf("%w (more than %d documents stand under other ids than they name)", projections.ErrDamaged, maxStrays)
			case len(hits) < idsPage:
				return nil
			}
			body["search_after"] = hits[len(hits)-1].Sort
		}
	})
	if err != nil {
		return err
	}
	slices.Sort(all)
	s.strays.mu.Lock()
	defer s.strays.mu.Unlock()
	s.strays.ids = all
	return nil
}
