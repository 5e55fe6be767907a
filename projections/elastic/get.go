package elastic

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// mostIDs of one request that reads documents whole, and of one that reads a
	// field or two of each.
	mostIDs, mostFields = 256, 4096
)

// wanted names a document to get in real time.
type wanted struct {
	Index string `json:"_index"`
	ID    string `json:"_id"`
	// Fields of the source to return; nil for all of it.
	Fields []string `json:"_source,omitempty"`
}

// got is a document as it is, or what is known of one that is not there.
type got struct {
	ID    string `json:"_id"`
	Found bool   `json:"found"`
	place
	Source jsontext.Value `json:"_source"`
	Error  *exception     `json:"error"`
}

// get reads documents in real time, in the order in which they are named.
func (c *cluster) get(ctx context.Context, all []wanted) ([]got, error) {
	out := make([]got, 0, len(all))
	for i := 0; i < len(all); {
		most := mostIDs
		if all[i].Fields != nil {
			most = mostFields
		}
		n := min(most, len(all)-i)
		part, err := c.getOnce(ctx, all[i:i+n])
		if err != nil {
			return nil, err
		}
		out, i = append(out, part...), i+n
	}
	return out, nil
}

// getOnce is one request, or two where its answer is too large.
func (c *cluster) getOnce(ctx context.Context, all []wanted) ([]got, error) {
	var answer struct {
		Docs []got `json:"docs"`
	}
	body := encoded(object{"docs": all})
	err := c.ask(ctx, &answer, func(ctx context.Context) (*esapi.Response, error) {
		return c.es.Mget(bytes.NewReader(body), c.es.Mget.WithContext(ctx))
	})
	if half := len(all) / 2; errors.Is(err, errTooLarge) && half > 0 {
		first, err := c.getOnce(ctx, all[:half])
		if err != nil {
			return nil, err
		}
		rest, err := c.getOnce(ctx, all[half:])
		return slices.Concat(first, rest), err
	}
	if err != nil {
		return nil, err
	}
	if len(answer.Docs) != len(all) {
		return nil, errors.New("elasticsearch leaves out some of the documents")
	}
	for _, doc := range answer.Docs {
		if e := doc.Error; e != nil {
			if len(e.Roots) > 0 {
				e = &e.Roots[0]
			}
			return nil, &refusal{status: itemStatus(e.Type), kind: e.Type, reason: e.Reason}
		}
	}
	return answer.Docs, nil
}

// itemStatus is the status that Elasticsearch leaves out beside a document that
// it could not get: what is not about the index passes.
func itemStatus(kind string) int {
	if kind == "index_not_found_exception" {
		return 404
	}
	return 503
}
