package elastic

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/docket-orders/docket/query"
	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/go-json-experiment/json"
)

// valuesPage is how many values of a facet are counted by one request of
// several.
const valuesPage = 10_000

// at opens a point in time for f. It is of one copy of each shard.
func (s *Store) at(ctx context.Context, preference string, f func(pit object) error) error {
	var opened struct {
		ID string `json:"id"`
	}
	err := s.cluster.ask(ctx, &opened, func(ctx context.Context) (*esapi.Response, error) {
		o := s.cluster.es.OpenPointInTime
		return o([]string{s.alias}, pitTime, o.WithContext(ctx), o.WithPreference(preference))
	})
	if err != nil {
		return err
	}
	defer func() {
		body := encoded(object{"id": opened.ID})
		// One that stays open is closed by Elasticsearch.
		_ = s.cluster.ask(context.WithoutCancel(ctx), nil, func(ctx context.Context) (*esapi.Response, error) {
			c := s.cluster.es.ClosePointInTime
			return c(c.WithContext(ctx), c.WithBody(bytes.NewReader(body)))
		})
	}()
	return f(object{"id": opened.ID, "keep_alive": pitTime})
}

// pageCounted is page in the point in time of the body, with the facets to the
// end, however many values there are.
func (s *Store) pageCounted(ctx context.Context, q query.Question, body object) (query.Page, error) {
	page, err := s.page(ctx, q, "", body)
	if err != errManyValues {
		return page, err
	}
	counting := maps.Clone(body)
	facets := q.Facets
	delete(body, "aggs")
	q.Facets = nil
	if page, err = s.page(ctx, q, "", body); err != nil {
		return page, err
	}
	delete(counting, "sort")
	delete(counting, "search_after")
	counting["size"], counting["track_total_hits"] = 0, false
	page.Facets = make(map[string][]query.Count, len(facets))
	for _, facet := range facets {
		if page.Facets[facet], err = s.count(ctx, facet, counting); err != nil {
			return query.Page{}, err
		}
	}
	return page, nil
}

// count counts every value of a facet, page by page.
func (s *Store) count(ctx context.Context, facet string, body object) ([]query.Count, error) {
	counts := []query.Count{}
	composite := object{"size": valuesPage, "sources": []object{{"value": object{"terms": object{"field": facet}}}}}
	for {
		body["aggs"] = object{"values": object{"composite": composite}}
		f, err := s.cluster.search(ctx, "", body)
		if err != nil {
			return nil, err
		}
		var answer struct {
			Values struct {
				After   map[string]string `json:"after_key"`
				Buckets []struct {
					Key   map[string]string `json:"key"`
					Count int64             `json:"doc_count"`
				} `json:"buckets"`
			} `json:"values"`
		}
		if err := json.Unmarshal(f.Aggregations, &answer); err != nil {
			return nil, fmt.Errorf("read facet %s: %w", facet, err)
		}
		for _, b := range answer.Values.Buckets {
			counts = append(counts, query.Count{Value: b.Key["value"], Count: b.Count})
		}
		if answer.Values.After == nil {
			return ranked(counts), nil
		}
		composite["after"] = answer.Values.After
	}
}

// ranked sorts by count descending, then value by its bytes.
func ranked(counts []query.Count) []query.Count {
	slices.SortFunc(counts, func(a, b query.Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	return counts
}
