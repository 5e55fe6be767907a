package elastic

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// sorts says where the sort values are.
var sorts = map[query.SortBy]string{
	query.ByPlacedAt: "placed", query.ByUpdatedAt: "updated", query.ByTotal: "total", query.ByNumber: "number",
}

// Orders implements query.Search. A question is one request, which one copy of
// the index answers from one instant. Two kinds take more, in a point in time:
// one that must hold an order, and one with more values of a facet than a
// request counts.
func (s *Store) Orders(ctx context.Context, q query.Question) (page query.Page, err error) {
	err = s.call(ctx, func() (err error) {
		body, err := request(q)
		if err != nil {
			return err
		}
		if q.Holding == nil {
			page, err = s.page(ctx, q, s.alias, body)
			if !errors.Is(err, errManyValues) {
				return err
			}
			return s.at(ctx, preference(body), func(pit object) (err error) {
				body["pit"] = pit
				page, err = s.pageCounted(ctx, q, body)
				return err
			})
		}
		return s.holding(ctx, *q.Holding, preference(body), func(pit object) (err error) {
			body["pit"] = pit
			page, err = s.pageCounted(ctx, q, body)
			return err
		})
	})
	if err != nil {
		return query.Page{}, wrap(err, "list orders")
	}
	return page, nil
}

// holding answers in an instant that holds the order: in the first one where it
// does, else in one after a refresh.
func (s *Store) holding(ctx context.Context, want query.Holding, preference string, answer func(pit object) error) error {
	for refreshed := false; ; refreshed = true {
		held := false
		err := s.at(ctx, preference, func(pit object) error {
			f, err := s.cluster.search(ctx, "", object{
				"pit": pit, "size": 0,
				"query": object{"bool": object{"filter": []object{
					{"ids": object{"values": []string{want.OrderID}}},
					{"range": object{"revision": object{"gte": want.Revision}}},
				}}},
			})
			if held = f.Hits.Total.Value > 0; err != nil || !held {
				return err
			}
			return answer(pit)
		})
		switch {
		case err != nil || held:
			return err
		case refreshed:
			return query.ErrBehind
		}
		if err := s.refresh(ctx); err != nil {
			return err
		}
	}
}

// request is the body for a question.
func request(q query.Question) (object, error) {
	column, ok := sorts[q.Sort.By]
	if !ok {
		return nil, fmt.Errorf("unknown sort %q", q.Sort.By)
	}
	if q.Limit < 1 || q.Limit > query.MaxLimit {
		return nil, fmt.Errorf("limit %d is not 1 to %d", q.Limit, query.MaxLimit)
	}
	order := "asc"
	if q.Sort.Desc {
		order = "desc"
	}
	body := object{
		"size":             q.Limit + 1,
		"query":            object{"bool": object{"filter": filters(q, column)}},
		"sort":             []object{{column: order}, {"id": order}},
		"track_total_hits": !q.WithoutTotal,
	}
	if q.After != nil {
		var value any = q.After.Int
		if q.Sort.By == query.ByNumber {
			value = q.After.Text
		}
		body["search_after"] = []any{value, q.After.ID}
	}
	if len(q.Facets) > 0 {
		facets := object{}
		for _, f := range q.Facets {
			facets[f] = object{"terms": object{"field": f, "size": mostValues, "shard_size": mostValues}}
		}
		body["aggs"] = facets
	}
	return body, nil
}

// filters of a question. What has no sort value or no id is of another program,
// and in no list.
func filters(q query.Question, sort string) []object {
	all := []object{{"exists": object{"field": sort}}, {"exists": object{"field": "id"}}}
	for _, f := range []struct {
		column string
		values []string
	}{
		{"id", q.IDs}, {"status", q.Status}, {"paymentStatus", q.PaymentStatus}, {"fulfilmentStatus", q.FulfilmentStatus},
		{"kind", q.Kind}, {"source", q.Source}, {"customer", q.Customer}, {"tag", q.Tag}, {"anomaly", q.Anomaly},
		{"currency", q.Currency}, {"country", q.Country}, {"state", q.State}, {"sku", q.SKU},
	} {
		if len(f.values) > 0 {
			all = append(all, object{"terms": object{f.column: f.values}})
		}
	}
	for _, r := range []struct {
		column   string
		from, to *time.Time
	}{
		{"placed", q.PlacedFrom, q.PlacedTo}, {"updated", q.UpdatedFrom, q.UpdatedTo}, {"delivered", q.DeliveredFrom, q.DeliveredTo},
	} {
		bounds := object{}
		if r.from != nil {
			bounds["gte"] = micros(*r.from)
		}
		if r.to != nil {
			bounds["lt"] = micros(*r.to)
		}
		if len(bounds) > 0 {
			all = append(all, object{"range": object{r.column: bounds}})
		}
	}
	for bound, amount := range map[string]*money.Amount{"gte": q.MinTotal, "lte": q.MaxTotal} {
		if amount != nil {
			all = append(all, object{"term": object{"currency": string(amount.Currency())}},
				object{"range": object{"total": object{bound: amount.MinorUnits()}}})
		}
	}
	for _, w := range q.Words {
		all = append(all, object{"term": object{"words": w}})
	}
	return all
}

// preference of a question: all of its pages come from the same copies of the
// index, which do not become visible at the same instant.
func preference(body object) string {
	h := fnv.New64a()
	h.Write(encoded([]any{body["query"], body["sort"]}))
	return "docket-" + strconv.FormatUint(h.Sum64(), 16)
}

// page answers a question with one request; errManyValues when that does not
// count the facets to the end. Where the documents are too large for one answer
// it gives fewer of them.
func (s *Store) page(ctx context.Context, q query.Question, alias string, body object) (query.Page, error) {
	f, err := s.cluster.search(ctx, alias, body, preference(body))
	for errors.Is(err, errTooLarge) && q.Limit > 1 {
		q.Limit /= 2
		body["size"] = q.Limit + 1
		f, err = s.cluster.search(ctx, alias, body, preference(body))
	}
	if err != nil {
		return query.Page{}, err
	}
	page := query.Page{Items: make([]view.Order, 0, len(f.Hits.Hits))}
	if !q.WithoutTotal {
		page.Total = f.Hits.Total.Value
	}
	for i, hit := range f.Hits.Hits {
		if i == q.Limit {
			break
		}
		if doc, ok := decode(hit.ID, hit.Source); ok {
			page.Items = append(page.Items, doc)
		} else {
			s.backend.options.Logger.Warn("an order in a list cannot be read", "index", s.index, "id", hit.ID)
		}
	}
	if len(f.Hits.Hits) > q.Limit {
		if page.Next, err = keyOf(f.Hits.Hits[q.Limit-1], q.Sort.By); err != nil {
			return query.Page{}, err
		}
	}
	if len(q.Facets) > 0 {
		page.Facets, err = readFacets(f.Aggregations)
	}
	return page, err
}

// keyOf a hit.
func keyOf(h hit, by query.SortBy) (*query.Key, error) {
	var key query.Key
	var value any = &key.Int
	if by == query.ByNumber {
		value = &key.Text
	}
	if len(h.Sort) < 2 { // in a point in time Elasticsearch adds one of its own
		return nil, fmt.Errorf("order %s comes without its sort values", h.ID)
	}
	return &key, errors.Join(json.Unmarshal(h.Sort[0], value), json.Unmarshal(h.Sort[1], &key.ID))
}

const (
	// pitTime is for how long Elasticsearch keeps a point in time that is not
	// asked.
	pitTime = "1m"
	// mostValues of a facet are counted by one request: all ten facets together
	// stay below the 65,536 buckets that Elasticsearch allows.
	mostValues = 5000
)

// errManyValues: a facet has more than mostValues.
var errManyValues = errors.New("a facet has too many values for one request")

type termsAnswer struct {
	Buckets []struct {
		Key   string `json:"key"`
		Count int64  `json:"doc_count"`
	} `json:"buckets"`
	Error int64 `json:"doc_count_error_upper_bound"`
	Other int64 `json:"sum_other_doc_count"`
}

func readFacets(aggregations jsontext.Value) (map[string][]query.Count, error) {
	var answers map[string]termsAnswer
	if err := json.Unmarshal(aggregations, &answers); err != nil {
		return nil, fmt.Errorf("read facets: %w", err)
	}
	all := make(map[string][]query.Count, len(answers))
	for name, a := range answers {
		if a.Error != 0 || a.Other != 0 {
			return nil, errManyValues
		}
		counts := make([]query.Count, 0, len(a.Buckets))
		for _, b := range a.Buckets {
			counts = append(counts, query.Count{Value: b.Key, Count: b.Count})
		}
		all[name] = ranked(counts)
	}
	return all, nil
}
