package elastic

import (
	"bytes"
	"context"
	standard "encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Inspect implements projections.Inspector. Elasticsearch keeps the source of a
// document as it was written, and indexes nothing but what stands in it: what
// is the same to the last byte is the same in every index entry. Of a
// contribution nothing is kept; Kept has what follows from the kept document.
func (s *Store) Inspect(ctx context.Context, want []projections.Change) (out []projections.Kept, err error) {
	docs, refused := encodeAll(want)
	err = s.call(ctx, func() error {
		var all []wanted
		var of []int
		for i := range docs {
			if id := docs[i].id; id != "" && len(id) <= longestID { // no other can be kept
				all, of = append(all, wanted{Index: s.alias, ID: id}), append(of, i)
			}
		}
		out = make([]projections.Kept, len(want))
		for i := range out {
			out[i].Same = refused[i] != nil
		}
		for first := 0; first < len(all); first += mostIDs {
			end := min(first+mostIDs, len(all))
			found, err := s.cluster.get(ctx, all[first:end])
			if err != nil {
				return err
			}
			for k, f := range found {
				if i := of[first+k]; f.Found {
					out[i] = compare(f, &docs[i], refused[i])
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrap(err, "inspect %d orders", len(want))
	}
	return out, nil
}

// compare what is kept with what should be.
func compare(kept got, want *document, refused error) projections.Kept {
	k := projections.Kept{Found: true}
	if refused == nil && (bytes.Equal(kept.Source, want.source) || sameJSON(kept.Source, want.source)) {
		k.Same = true
		return k
	}
	var fields, should map[string]jsontext.Value
	if err := json.Unmarshal(kept.Source, &fields); err != nil {
		k.Unreadable = clean("document: " + err.Error())
		return k
	}
	if doc, there := fields["doc"]; !there {
		k.NoDocument, k.Unreadable = true, "there is no document"
	} else if err := json.Unmarshal(doc, &k.Document); err != nil {
		k.Document, k.Unreadable = view.Order{}, clean("document: "+err.Error())
	} else if k.Contribution, err = contribution(k.Document); err != nil {
		k.Unreadable = clean(err.Error())
	}
	if refused != nil {
		k.Rows = []string{clean("document: kept, although it is refused: " + refused.Error())}
		return k
	}
	if k.Document.Revision != want.revision {
		return k
	}
	if err := json.Unmarshal(want.source, &should); err != nil {
		panic(fmt.Sprintf("elastic: read what was just written: %v", err))
	}
	for _, name := range slices.Sorted(maps.Keys(should)) {
		if value, there := fields[name]; name != "doc" && !(there && sameJSON(value, should[name])) {
			k.Rows = append(k.Rows, clean(fmt.Sprintf("%s: %.200s, not %.200s", name, shown(value), should[name])))
		}
	}
	if again, err := standard.Marshal(&k.Document); err == nil && sameJSON(again, should["doc"]) && !sameJSON(fields["doc"], should["doc"]) {
		k.Rows = append(k.Rows, "document: JSON that docket does not write")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if _, ours := should[name]; !ours && name != "doc" {
			k.Rows = append(k.Rows, clean(fmt.Sprintf("%s: %.200s, not nothing", name, fields[name])))
		}
	}
	return k
}

func shown(value jsontext.Value) string {
	if value == nil {
		return "nothing"
	}
	return string(value)
}

// contribution of a document that another program may have changed.
func contribution(doc view.Order) (c projections.Contribution, err error) {
	defer func() {
		if p := recover(); p != nil {
			c, err = projections.Contribution{}, fmt.Errorf("document: %v", p)
		}
	}()
	return projections.Contributions(doc), nil
}

// clean is text that JSON can carry: another program may have left other bytes.
func clean(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// sameJSON ignores the order of members, and space. Numbers are compared as they
// are written: to a double some of docket's would be the same.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	read := func(data []byte) (v any, err error) {
		d := standard.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		err = d.Decode(&v)
		return v, err
	}
	x, errX := read(a)
	y, errY := read(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

// Figures implements projections.Inspector: none are kept.
func (s *Store) Figures(ctx context.Context, _ func(projections.Figure) error) ([]projections.Checkpoint, error) {
	return s.Checkpoints(ctx)
}

// Miscounted implements projections.SelfCounting: nothing is counted.
func (s *Store) Miscounted(ctx context.Context, _ func(kept, should projections.Figure) error) (int64, error) {
	return 0, s.call(ctx, func() error { return s.gone(ctx) })
}

// Recount implements projections.Inspector: nothing is counted.
func (s *Store) Recount(ctx context.Context) (int, error) {
	return 0, s.call(ctx, func() error { return s.gone(ctx) })
}

// Replace implements projections.Inspector. It compares with what it found: who
// else writes the order at the same time wins, and Replace fails with
// projections.ErrUnavailable.
func (s *Store) Replace(ctx context.Context, orderID string, change *projections.Change) error {
	var d document
	if change != nil {
		var err error
		if d, err = encode(change); err == nil && d.id != orderID {
			err = fmt.Errorf("the document is of order %s", d.id)
		}
		if err != nil {
			return wrap(fmt.Errorf("%w: %w", projections.ErrRefused, err), "replace order %s", orderID)
		}
	}
	return wrap(s.call(ctx, func() error {
		if orderID == "" || len(orderID) > longestID {
			return nil // none can be kept
		}
		found, err := s.cluster.get(ctx, []wanted{{Index: s.alias, ID: orderID, Fields: revisionFields()}})
		if err != nil {
			return err
		}
		op := operation{id: orderID, source: d.source}
		if found[0].Found {
			op.at = &found[0].place
		} else if change == nil {
			return nil
		}
		outcomes, err := s.cluster.bulk(ctx, s.alias, []operation{op})
		if err != nil {
			return err
		}
		switch o := outcomes[0]; {
		case o == nil:
			return nil
		case o.kind == conflict:
			return fmt.Errorf("%w: it changed meanwhile", projections.ErrUnavailable)
		case o.passes():
			return o
		case o.status == http.StatusBadRequest, o.status == http.StatusRequestEntityTooLarge:
			if gone := s.gone(ctx); gone != nil {
				return gone
			}
			return fmt.Errorf("%w: %w", projections.ErrRefused, o)
		default:
			return o
		}
	}), "replace order %s", orderID)
}
