package elastic

import (
	"bytes"
	"context"
	"net/http"

	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/go-json-experiment/json/jsontext"
)

// refresh makes what was written before visible to questions.
func (c *cluster) refresh(ctx context.Context, alias string) error {
	var answer struct {
		Shards struct {
			Failed int `json:"failed"`
		} `json:"_shards"`
	}
	err := c.ask(ctx, &answer, func(ctx context.Context) (*esapi.Response, error) {
		r := c.es.Indices.Refresh
		return r(r.WithContext(ctx), r.WithIndex(alias))
	})
	if err == nil && answer.Shards.Failed > 0 {
		err = &refusal{status: http.StatusServiceUnavailable, kind: "refresh", reason: "some shards were not refreshed"}
	}
	return err
}

// found is the answer of a search.
type found struct {
	TimedOut bool `json:"timed_out"`
	Shards   struct {
		Total  int `json:"total"`
		Failed int `json:"failed"`
	} `json:"_shards"`
	Hits struct {
		Total struct {
			Value int64 `json:"value"`
		} `json:"total"`
		Hits []hit `json:"hits"`
	} `json:"hits"`
	Aggregations jsontext.Value `json:"aggregations"`
}

type hit struct {
	ID     string           `json:"_id"`
	Source jsontext.Value   `json:"_source"`
	Sort   []jsontext.Value `json:"sort"`
}

// search asks an alias; none where the body names a point in time. All shards
// answer, or it fails: Elasticsearch is told so, and its answer is looked at. A
// preference says from which copies.
func (c *cluster) search(ctx context.Context, alias string, body object, preference ...string) (f found, err error) {
	data := encoded(body)
	err = c.ask(ctx, &f, func(ctx context.Context) (*esapi.Response, error) {
		s := c.es.Search
		options := []func(*esapi.SearchRequest){
			s.WithContext(ctx), s.WithBody(bytes.NewReader(data)), s.WithAllowPartialSearchResults(false),
		}
		if alias != "" {
			options = append(options, s.WithIndex(alias))
			for _, p := range preference {
				options = append(options, s.WithPreference(p))
			}
		}
		return s(options...)
	})
	if err == nil && (f.TimedOut || f.Shards.Failed > 0 || f.Shards.Total == 0) {
		err = &refusal{status: http.StatusServiceUnavailable, kind: "search", reason: "some shards did not answer"}
	}
	return f, err
}
