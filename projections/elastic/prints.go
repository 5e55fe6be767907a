package elastic

import (
	"bytes"
	"context"

	"github.com/docket-orders/docket/projections"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Prints implements projections.Inspector. Nothing is counted here, so nothing
// is kept of contributions.
func (s *Store) Prints(ctx context.Context, ids []string) ([]projections.Print, error) {
	out := make([]projections.Print, len(ids))
	err := s.kept(ctx, ids, func(i int, id string, source []byte) {
		_, out[i] = apart(source)
	})
	if err != nil {
		return nil, wrap(err, "compare %d orders", len(ids))
	}
	return out, nil
}

// Read implements projections.Inspector.
func (s *Store) Read(ctx context.Context, ids []string) ([]projections.Stored, error) {
	out := make([]projections.Stored, len(ids))
	err := s.kept(ctx, ids, func(i int, id string, source []byte) {
		beside, p := apart(source)
		doc, ok := decode(id, source)
		if source != nil && !ok {
			p.Revision = -1
		}
		out[i] = projections.Stored{Print: p, Document: doc, Words: beside.Words}
	})
	if err != nil {
		return nil, wrap(err, "read %d orders", len(ids))
	}
	return out, nil
}

// kept calls yield with the source of each order, or with none, as many at once
// as one request asks for.
func (s *Store) kept(ctx context.Context, ids []string, yield func(i int, id string, source []byte)) error {
	return s.call(ctx, func() error {
		for first := 0; first < len(ids); first += mostIDs {
			var all []wanted
			var of []int
			for i := first; i < min(first+mostIDs, len(ids)); i++ {
				yield(i, ids[i], nil)
				if id := ids[i]; id != "" && len(id) <= longestID { // no other can be kept
					all, of = append(all, wanted{Index: s.alias, ID: id}), append(of, i)
				}
			}
			found, err := s.cluster.get(ctx, all)
			if err != nil {
				return err
			}
			for k, f := range found {
				if f.Found {
					yield(of[k], f.ID, f.Source)
				}
			}
		}
		return nil
	})
}

// docMember begins the last member of a source that docket wrote. It is not
// within a text: there its quotes would have backslashes.
var docMember = []byte(`,"doc":`)

// apart takes a source to pieces without decoding the document. What another
// program wrote in another form is decoded.
func apart(source []byte) (beside columns, p projections.Print) {
	if len(source) == 0 {
		return beside, projections.Print{Revision: -1}
	}
	at := bytes.Index(source, docMember)
	if at < 0 || json.Unmarshal(append(bytes.Clone(source[:at]), '}'), &beside) != nil {
		var stored struct {
			columns
			Doc jsontext.Value `json:"doc"`
		}
		if json.Unmarshal(source, &stored) != nil || stored.Doc == nil {
			return beside, projections.Print{Revision: -1, Document: projections.PrintOf(source)}
		}
		return stored.columns, printOf(stored.columns, stored.Doc)
	}
	return beside, printOf(beside, source[at+len(docMember):len(source)-1])
}

func printOf(beside columns, document []byte) projections.Print {
	return projections.Print{
		Revision: beside.Revision, Document: projections.PrintOf(document), Words: projections.WordsPrint(beside.Words),
	}
}
