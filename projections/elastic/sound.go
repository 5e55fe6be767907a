package elastic

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/go-json-experiment/json/jsontext"
)

// keptMapping is what Elasticsearch says of a mapping.
type keptMapping struct {
	Dynamic jsontext.Value `json:"dynamic"`
	Meta    struct {
		Format int `json:"format"`
	} `json:"_meta"`
	Properties map[string]jsontext.Value `json:"properties"`
}

// mapping of the one index behind an alias.
func (c *cluster) mapping(ctx context.Context, alias string) (kept keptMapping, err error) {
	var answer map[string]struct {
		Mappings keptMapping `json:"mappings"`
	}
	err = c.ask(ctx, &answer, func(ctx context.Context) (*esapi.Response, error) {
		g := c.es.Indices.GetMapping
		return g(g.WithContext(ctx), g.WithIndex(alias))
	})
	for _, index := range answer {
		kept = index.Mappings
	}
	return kept, err
}

// Sound implements projections.Inspector: the index has the mapping that it was
// made with. That Lucene's files are whole, Elasticsearch checks itself: where
// they are not, it fails the shard, and every call with it.
func (s *Store) Sound(ctx context.Context) (wrong []string, err error) {
	err = s.call(ctx, func() error {
		kept, err := s.cluster.mapping(ctx, s.alias)
		if err != nil {
			return err
		}
		tell := func(format string, args ...any) { wrong = append(wrong, clean(fmt.Sprintf(format, args...))) }
		want := mapping()
		if !sameJSON(kept.Dynamic, encoded(want["dynamic"])) {
			tell("mapping: it takes unknown fields (dynamic is %s)", shown(kept.Dynamic))
		}
		fields := want["properties"].(object)
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if field, there := kept.Properties[name]; !there || !sameJSON(field, encoded(fields[name])) {
				tell("mapping: %s is %s, not %s", name, shown(field), encoded(fields[name]))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(kept.Properties)) {
			if fields[name] == nil {
				tell("mapping: there is a field %s", name)
			}
		}
		return nil
	})
	return wrong, wrap(err, "look whether the views are sound")
}
