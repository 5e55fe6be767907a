package elastic_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/query"
)

// TestForeignWriter: whatever another program does to a document, an inspection
// shows what is wrong, the next event is applied or asks for the stream, and
// Replace puts it right.
func TestForeignWriter(t *testing.T) {
	n := startNode(t)
	_, s := n.open(guard.Options{})
	all := written(t, s, 9, 40).Changes
	update := func(id, fields string) { n.do("POST", n.orders()+"/_update/"+id, `{"doc":`+fields+`}`) }
	put := func(id, query, body string) { n.do("PUT", n.orders()+"/_doc/"+id+query, body) }
	for i, c := range []struct {
		name string
		do   func(id string)
		kept func(k projections.Kept) bool
		next projections.Result // of the next event alone
	}{
		{"nothing", func(string) {}, func(k projections.Kept) bool { return k.Same }, projections.Applied},
		{"raised its version", func(id string) {
			for range 3 {
				n.do("POST", n.orders()+"/_update/"+id, `{"doc":{"kind":"order"},"detect_noop":false}`)
			}
			update(id, `{"kind":"`+all[1].Order.Kind+`"}`)
		}, func(k projections.Kept) bool { return k.Same }, projections.Applied},
		{"raised its version far", func(id string) {
			source := n.do("GET", n.orders()+"/_source/"+id, "")
			put(id, "?version=4611686018427387904&version_type=external", source)
		}, func(k projections.Kept) bool { return k.Same }, projections.Applied},
		{"deleted", func(id string) { n.do("DELETE", n.orders()+"/_doc/"+id, "") },
			func(k projections.Kept) bool { return !k.Found }, projections.Gap},
		{"a column", func(id string) { update(id, `{"status":"lost"}`) },
			func(k projections.Kept) bool {
				return k.Document.ID != "" && len(k.Rows) == 1 && strings.HasPrefix(k.Rows[0], `status: "lost", not "`)
			}, projections.Applied},
		{"a column taken away", func(id string) { update(id, `{"words":null}`) },
			func(k projections.Kept) bool {
				return len(k.Rows) == 1 && strings.HasPrefix(k.Rows[0], "words: null, not")
			}, projections.Applied},
		{"the revision's column", func(id string) { update(id, `{"revision":999}`) },
			func(k projections.Kept) bool { return len(k.Rows) == 1 }, projections.Applied},
		{"the document", func(id string) { update(id, `{"doc":{"city":"Elsewhere"}}`) },
			func(k projections.Kept) bool { return k.Document.City == "Elsewhere" && len(k.Rows) == 0 }, projections.Applied},
		{"the document's revision", func(id string) { update(id, `{"doc":{"revision":999}}`) },
			func(k projections.Kept) bool { return k.Document.Revision == 999 }, projections.Already},
		{"a document of another shape", func(id string) { update(id, `{"doc":{"totals":"many"}}`) },
			func(k projections.Kept) bool { return k.Unreadable != "" && k.Document.ID == "" }, projections.Applied},
		{"no document", func(id string) { put(id, "", `{"id":"`+id+`","status":"x"}`) },
			func(k projections.Kept) bool { return k.NoDocument }, projections.Gap},
		{"a sum beyond its type", func(id string) {
			update(id, `{"doc":{"totals":{"items":{"amount":"99999999999999999999","currency":"BRL"}}}}`)
		}, func(k projections.Kept) bool { return !k.Same && k.Found }, projections.Applied},
	} {
		change := all[i]
		c.do(change.Order.ID)
		kept, err := s.Inspect(t.Context(), []projections.Change{change})
		if err != nil || !kept[0].Found != (c.name == "deleted") || !c.kept(kept[0]) {
			t.Errorf("%s: kept %+v, %v", c.name, kept[0], err)
		}
		if err := s.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if page, err := s.Orders(t.Context(), newest(100)); err != nil || len(page.Items) < 30 {
			t.Errorf("%s: %d orders in the list, %v", c.name, len(page.Items), err)
		}
		next := change
		next.Order.Revision, next.First = 6, 6
		outcomes, err := s.Write(t.Context(), projections.Batch{Changes: []projections.Change{next}})
		if err != nil || outcomes[0].Result != c.next {
			t.Errorf("%s: the next event is %+v, %v", c.name, outcomes, err)
		}
		if err := s.Replace(t.Context(), change.Order.ID, &change); err != nil {
			t.Errorf("%s: replace: %v", c.name, err)
		}
		if kept, err := s.Inspect(t.Context(), []projections.Change{change}); err != nil || !kept[0].Same {
			t.Errorf("%s: after replace %+v, %v", c.name, kept, err)
		}
		want(t, s, projections.Batch{Changes: []projections.Change{next}}, projections.Applied)
	}
}

// TestStrays: documents that stand under another id than they name are listed
// where they stand, once, and can be removed.
func TestStrays(t *testing.T) {
	n := startNode(t)
	_, s := n.open(guard.Options{})
	var ids []string
	for _, c := range written(t, s, 10, 30).Changes {
		ids = append(ids, c.Order.ID)
	}
	slices.Sort(ids)
	strays := []string{"0-first", ids[10] + "-between", "~last", ids[20] + "-nameless"}
	for _, id := range strays[:3] {
		n.do("PUT", n.orders()+"/_doc/"+id, fmt.Sprintf(`{"id":%q,"status":"x"}`, ids[5]))
	}
	n.do("PUT", n.orders()+"/_doc/"+strays[3], `{"status":"x"}`)
	want := slices.Sorted(slices.Values(append(slices.Clone(ids), strays...)))
	for _, limit := range []int{1, 3, 1000} {
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			page, err := s.IDs(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %d: %q, want %q", limit, got, want)
		}
	}
	for _, id := range strays {
		if err := s.Replace(t.Context(), id, nil); err != nil {
			t.Error(err)
		}
	}
	if got, err := s.IDs(t.Context(), "", 1000); err != nil || !slices.Equal(got, ids) {
		t.Errorf("after their removal %q, %v", got, err)
	}
}

// TestSound: a mapping that another program changed is told.
func TestSound(t *testing.T) {
	n := startNode(t)
	_, s := n.open(guard.Options{})
	if wrong, err := s.Sound(t.Context()); err != nil || len(wrong) > 0 {
		t.Fatalf("%q, %v", wrong, err)
	}
	n.do("PUT", n.orders()+"/_mapping", `{"dynamic":true,"properties":{"status":{"type":"keyword","ignore_above":3},"colour":{"type":"keyword"}}}`)
	wrong, err := s.Sound(t.Context())
	if err != nil || len(wrong) != 3 {
		t.Errorf("%q, %v", wrong, err)
	}
}

// TestManyValues: facets are counted to the end, however many values there are,
// beside the same page.
func TestManyValues(t *testing.T) {
	n := startNode(t)
	_, s := n.open(guard.Options{})
	docs := projectionstest.Documents(11, 60)
	total := 0
	counted := map[string]int64{}
	var batch projections.Batch
	for i := range docs {
		docs[i].Tags = []string{"common"}
		for range 100 {
			docs[i].Tags = append(docs[i].Tags, fmt.Sprintf("tag %d", total))
			total++
		}
		for _, tag := range docs[i].Tags {
			counted[tag]++
		}
		batch.Changes = append(batch.Changes, projectionstest.ChangeTo(docs[i], 0))
	}
	want(t, s, batch, projections.Applied)
	if err := s.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	plain := newest(60)
	all, err := s.Orders(t.Context(), plain)
	if err != nil || len(all.Items) != 60 {
		t.Fatalf("%d orders, %v", len(all.Items), err)
	}
	q := newest(7)
	q.Facets = []string{"tag", "kind"}
	var page query.Page
	for at := 0; at < 21; at += 7 {
		if at == 14 {
			q.Holding = &query.Holding{OrderID: docs[0].ID, Revision: docs[0].Revision}
		}
		if page, err = s.Orders(t.Context(), q); err != nil || page.Total != 60 || len(page.Items) != 7 || page.Next == nil {
			t.Fatalf("%d of %d orders, %v", len(page.Items), page.Total, err)
		}
		for i := range page.Items {
			if page.Items[i].ID != all.Items[at+i].ID {
				t.Errorf("place %d has %s, want %s", at+i, page.Items[i].ID, all.Items[at+i].ID)
			}
		}
		q.After = page.Next
	}
	tags := page.Facets["tag"]
	if len(tags) != len(counted) || tags[0].Value != "common" || tags[0].Count != 60 || len(page.Facets["kind"]) == 0 {
		t.Errorf("%d tags, want %d; the first is %+v", len(tags), len(counted), tags[0])
	}
	for i, tag := range tags {
		if counted[tag.Value] != tag.Count || i > 1 && tags[i-1].Value >= tag.Value {
			t.Fatalf("%+v after %+v", tag, tags[i-1])
		}
	}
}
