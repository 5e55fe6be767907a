package projections_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/view"
)

// What two generations differ by, computed as plainly as can be: every order is
// folded from its first event by either fold, up to the revision at which it was
// compared, and the two documents are compared as maps of leaves.

// naive is the difference that there should be.
type naive struct {
	equal, changed int64
	orders         map[string]map[string]leafPair // pattern, order: its first path
	figures        map[projections.FigureKey][8]int64
	recounted      int64
}

type leafPair struct{ path, before, after string }

func naiveDoc(t *testing.T, fold projections.Fold, events []codec.Recorded, upTo int64) (c projections.Change) {
	t.Helper()
	doc := view.Order{}
	for _, e := range events[:upTo+1] {
		doc = fold.Apply(doc, e)
	}
	return projections.Change{Order: doc, Contribution: fold.Contributions(doc), Words: fold.Words(doc)}
}

// whole fills in this program's own.
func whole(f projections.Fold) projections.Fold {
	if f.Apply == nil {
		f.Apply = projections.Apply
	}
	if f.Contributions == nil {
		f.Contributions = projections.Contributions
	}
	if f.Words == nil {
		f.Words = projections.OrderWords
	}
	return f
}

func (g *generations) naive(c *cut, counts, search bool) naive {
	n := naive{orders: map[string]map[string]leafPair{}, figures: map[projections.FigureKey][8]int64{}}
	old, new := whole(g.folds[0]), whole(g.folds[1])
	var olds, news []projections.Change
	for id, at := range c.at {
		if at[0] != at[1] || at[0] < 0 {
			g.t.Errorf("order %s is compared at %d and %d", id, at[0], at[1])
			continue
		}
		a, b := naiveDoc(g.t, old, g.events[id], at[0]), naiveDoc(g.t, new, g.events[id], at[1])
		olds, news = append(olds, a), append(news, b)
		before, after := leaves(a.Order), leaves(b.Order)
		paths := slices.Collect(maps.Keys(before))
		for path := range after {
			paths = append(paths, path)
		}
		slices.Sort(paths)
		differs := false
		note := func(pattern string, p leafPair) {
			differs = true
			if n.orders[pattern] == nil {
				n.orders[pattern] = map[string]leafPair{}
			}
			if _, there := n.orders[pattern][id]; !there {
				n.orders[pattern][id] = p
			}
		}
		for _, path := range slices.Compact(paths) {
			if before[path] != after[path] {
				note(starred(path), leafPair{path, before[path], after[path]})
			}
		}
		if search && a.Words != b.Words && (!differs || new.Words(a.Order) != a.Words) {
			note(projections.WordsPath, leafPair{projections.WordsPath, missing(a.Words, b.Words), missing(b.Words, a.Words)})
		}
		if differs {
			n.changed++
		} else {
			n.equal++
		}
		if counts && !reflect.DeepEqual(new.Contributions(a.Order), a.Contribution) && !reflect.DeepEqual(a.Contribution, b.Contribution) {
			n.recounted++
		}
	}
	if counts {
		for _, side := range []struct {
			changes []projections.Change
			times   int64
		}{{olds, -1}, {news, 1}} {
			for key, values := range projectionstest.Figures(side.changes) {
				if key.Of == projections.FigureFacet {
					continue
				}
				sum := n.figures[key]
				for i := range sum {
					sum[i] += side.times * values[i]
				}
				if n.figures[key] = sum; sum == [8]int64{} {
					delete(n.figures, key)
				}
			}
		}
	}
	return n
}

// missing are the words of a that b does not have, as a JSON list.
func missing(a, b string) string {
	var out []string
	for _, w := range strings.Fields(a) {
		if !slices.Contains(strings.Fields(b), w) {
			out = append(out, w)
		}
	}
	if out == nil {
		return ""
	}
	data, _ := json.Marshal(out)
	return string(data)
}

// leaves of a document by path; nothing and empty lists are none.
func leaves(doc view.Order) map[string]string {
	data, _ := json.Marshal(doc)
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		panic(err)
	}
	out := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, money := v["currency"]; money && len(v) == 2 && v["amount"] != nil {
				break
			}
			for name, member := range v {
				walk(path+"/"+name, member)
			}
			return
		case []any:
			if path == "/tags" {
				break
			}
			seen := map[string]int{}
			for i, element := range v {
				name := fmt.Sprint(i)
				if object, ok := element.(map[string]any); ok && object["id"] != nil {
					name = object["id"].(string)
					if seen[name]++; seen[name] > 1 {
						name += fmt.Sprint("#", seen[name])
					}
				}
				walk(path+"/"+name, element)
			}
			return
		case nil:
			return
		}
		text, _ := json.Marshal(v)
		out[path] = string(text)
	}
	walk("", v)
	return out
}

// starred is a path with * for the names that are not those of fields.
func starred(path string) string {
	tokens := strings.Split(path, "/")
	for i := 2; i < len(tokens); i++ {
		switch tokens[i-1] {
		case "holds", "lines", "cancelledLines", "payments", "refunds", "shipments", "returns", "edits", "notes", "anomalies", "metadata", "received", "changes":
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, "/")
}

// check compares a difference with what there should be.
func (n naive) check(t *testing.T, g *generations, d projections.StoreDifference) {
	t.Helper()
	if d.Equal != n.equal || d.Changed != n.changed || d.OnlyOld != 0 || d.OnlyNew != 0 || d.Recounted != n.recounted {
		t.Errorf("%d equal, %d changed, %d only old, %d only new, %d recounted; want %d, %d, 0, 0, %d", d.Equal, d.Changed, d.OnlyOld, d.OnlyNew, d.Recounted, n.equal, n.changed, n.recounted)
	}
	if len(d.Missing)+len(d.Extra)+len(d.ParkedOld)+len(d.ParkedNew) != 0 {
		t.Errorf("missing %v, extra %v, parked %v and %v", d.Missing, d.Extra, d.ParkedOld, d.ParkedNew)
	}
	if len(d.Fields) != len(n.orders) {
		t.Errorf("%d fields, want %v", len(d.Fields), slices.Sorted(maps.Keys(n.orders)))
	}
	for _, f := range d.Fields {
		want := n.orders[f.Path]
		if f.Orders != int64(len(want)) {
			t.Errorf("%s: %d orders, want %d", f.Path, f.Orders, len(want))
		}
		ids := slices.Sorted(maps.Keys(want))
		ids = ids[:min(projections.MaxSamples, len(ids))]
		var got []string
		for _, s := range f.Samples {
			got = append(got, s.OrderID)
			w := want[s.OrderID]
			if s.Path != w.path || !sameValue(s.Before, w.before) && f.Path != projections.WordsPath || !sameValue(s.After, w.after) && f.Path != projections.WordsPath {
				t.Errorf("%s of %s: %s is %s, then %s; want %+v", f.Path, s.OrderID, s.Path, s.Before, s.After, w)
			}
			g.checkEvents(s)
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%s: samples of %v, want %v", f.Path, got, ids)
		}
	}
	if d.FiguresChanged != int64(len(n.figures)) || len(d.Figures) != min(projections.MaxFigures, len(n.figures)) {
		t.Errorf("%d figures differ, %d listed, want %d", d.FiguresChanged, len(d.Figures), len(n.figures))
	}
	byName := map[string][8]int64{}
	for key, v := range n.figures {
		byName[strings.Join(strings.Fields(fmt.Sprint(key.Of, " ", key.Currency, " ", key.Dimension, " ", key.Key, " ", strings.ReplaceAll(key.Day, "*", ""))), " ")] = v
	}
	for _, f := range d.Figures {
		v, there := byName[strings.Join(strings.Fields(f.Figure), " ")]
		var got []int64
		for i := range f.Names {
			got = append(got, f.After[i]-f.Before[i])
		}
		want := slices.DeleteFunc(slices.Clone(v[:]), func(n int64) bool { return n == 0 })
		if !there || !slices.Equal(got, want) && !strings.HasPrefix(f.Figure, "product") {
			t.Errorf("%s: %v changed by %v, want %v", f.Figure, f.Names, got, want)
		}
	}
}

func sameValue(got json.RawMessage, want string) bool {
	if got == nil || want == "" {
		return got == nil && want == ""
	}
	var a, b any
	return json.Unmarshal(got, &a) == nil && json.Unmarshal([]byte(want), &b) == nil && reflect.DeepEqual(a, b)
}

// checkEvents wants the last event at which the field got its value, as the new
// fold has it, or the old one where the new never sets it.
func (g *generations) checkEvents(s projections.Changed) {
	g.t.Helper()
	events := g.events[s.OrderID][:s.Revision+1]
	for _, fold := range []projections.Fold{whole(g.folds[1]), whole(g.folds[0])} {
		last, value := -1, func(doc view.Order) string {
			if s.Path == projections.WordsPath {
				return fold.Words(doc)
			}
			return leaves(doc)[s.Path]
		}
		doc, before := view.Order{}, ""
		for i, e := range events {
			doc = fold.Apply(doc, e)
			if now := value(doc); now != before {
				last, before = i, now
			}
		}
		if last < 0 {
			continue
		}
		if len(s.Events) != 1 || s.Events[0].Revision != int64(last) || s.Events[0].Type != events[last].Type || s.Events[0].Position != events[last].Position {
			g.t.Errorf("%s of %s: set by %+v, want event %d, %s", s.Path, s.OrderID, s.Events, last, events[last].Type)
		}
		return
	}
	g.t.Errorf("%s of %s: nobody sets it", s.Path, s.OrderID)
}
