package query_test

import (
	stdjson "encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"
)

// full sets everything below v to something, lists and maps to one thing each.
func full(v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(day(1)))
		return
	case money.Amount:
		v.Set(reflect.ValueOf(money.Minor(100, "EUR")))
		return
	case stdjson.RawMessage:
		v.Set(reflect.ValueOf(stdjson.RawMessage(`{"key":"text"}`)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Int64:
		v.SetInt(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		full(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		full(v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"key": "text"}))
	case reflect.Struct:
		for i := range v.NumField() {
			full(v.Field(i))
		}
	default:
		panic(v.Type())
	}
}

// eachLeaf calls change for everything below v that holds a value.
func eachLeaf(v reflect.Value, change func(reflect.Value)) {
	switch v.Interface().(type) {
	case time.Time, money.Amount, stdjson.RawMessage:
		change(v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		eachLeaf(v.Elem(), change)
	case reflect.Slice:
		eachLeaf(v.Index(0), change)
	case reflect.Struct:
		for i := range v.NumField() {
			eachLeaf(v.Field(i), change)
		}
	default:
		change(v)
	}
}

// Every field of the document is compared, and found under a path of its own.
func TestDiffSeesEveryField(t *testing.T) {
	var before, after view.Order
	full(reflect.ValueOf(&before).Elem())
	full(reflect.ValueOf(&after).Elem())
	if d := query.Diff(before, after); len(d) != 0 {
		t.Fatalf("equal documents: %v", d)
	}
	seen := map[string]bool{}
	eachLeaf(reflect.ValueOf(&after).Elem(), func(v reflect.Value) {
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		switch v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(day(2)))
		case money.Amount:
			v.Set(reflect.ValueOf(money.Minor(101, "EUR")))
		case stdjson.RawMessage:
			v.Set(reflect.ValueOf(stdjson.RawMessage(`{"key":"other"}`)))
		default:
			switch v.Kind() {
			case reflect.String:
				v.SetString("other")
			case reflect.Int64:
				v.SetInt(8)
			case reflect.Map:
				v.Set(reflect.ValueOf(map[string]string{"key": "other"}))
			}
		}
		d := query.Diff(before, after)
		if len(d) == 0 {
			t.Errorf("a change of %v is not seen", was)
		}
		if len(d) == 1 { // an id takes all fields of its element along
			if seen[d[0].Path] || d[0].Before == nil || d[0].After == nil {
				t.Errorf("%s is told twice or by halves", d[0].Path)
			}
			seen[d[0].Path] = true
		}
		v.Set(was)
	})
	if d := query.Diff(before, after); len(d) != 0 {
		t.Fatalf("the test left changes behind: %v", d)
	}
	if len(seen) < 100 {
		t.Errorf("only %d paths: %v", len(seen), slices.Sorted(maps.Keys(seen)))
	}
}

// documents are the stages of a random order.
func documents(t *rapid.T) []view.Order {
	doc := projections.Empty("o")
	docs := []view.Order{doc}
	for i, e := range ordertest.Events(t) {
		doc = projections.Apply(doc, codec.Recorded{OrderID: "o", Revision: eventstore.Revision(i), Position: eventstore.At64(uint64(i) + 1), Event: e,
			Meta: codec.Meta{RecordedAt: day(i)}})
		docs = append(docs, doc)
	}
	return docs
}

// Documents differ exactly when their difference says so, and the differences
// lead from one to the other, both ways.
func TestDiffAccountsForAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := documents(t)
		before, after := rapid.SampledFrom(docs).Draw(t, "before"), rapid.SampledFrom(docs).Draw(t, "after")
		if rapid.Bool().Draw(t, "dateless") { // so that more pairs are equal
			before.Revision, before.Position, before.UpdatedAt = after.Revision, after.Position, after.UpdatedAt
		}
		changes := query.Diff(before, after)
		if (len(changes) == 0) != (written(t, before) == written(t, after)) {
			t.Fatalf("%d changes between\n%s\n%s", len(changes), written(t, before), written(t, after))
		}
		if !slices.IsSortedFunc(changes, func(a, b query.FieldChange) int { return strings.Compare(a.Path, b.Path) }) {
			t.Fatalf("not by path: %v", changes)
		}
		back := query.Diff(after, before)
		if len(back) != len(changes) {
			t.Fatalf("%d changes forth, %d back", len(changes), len(back))
		}
		fields := map[string]string{}
		for _, f := range query.Fields(before) {
			fields[f.Path] = string(f.Value)
		}
		for i, c := range changes {
			if c.Path != back[i].Path || string(c.Before) != string(back[i].After) || string(c.After) != string(back[i].Before) {
				t.Fatalf("forth %v, back %v", c, back[i])
			}
			if was, ok := fields[c.Path]; ok != (c.Before != nil) || was != string(c.Before) {
				if c.Before == nil || c.After == nil || was != "" { // else the elements changed places
					t.Fatalf("%s was %q, not %s", c.Path, was, c.Before)
				}
				continue
			}
			delete(fields, c.Path)
			if c.After != nil {
				fields[c.Path] = string(c.After)
			}
		}
		for _, f := range query.Fields(after) {
			if got := fields[f.Path]; got != string(f.Value) && !f.Hollow() {
				t.Fatalf("%s becomes %q, not %s", f.Path, got, f.Value)
			}
			delete(fields, f.Path)
		}
		for path, value := range fields {
			if !(query.Field{Path: path, Value: []byte(value)}).Hollow() {
				t.Fatalf("%s is left with %s", path, value)
			}
		}
	})
}

func written(t interface{ Fatal(...any) }, doc view.Order) string {
	data, err := json.Marshal(doc, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestDiffOfOddDocuments(t *testing.T) {
	line := func(id string, n int64) view.Line { return view.Line{ID: id, Quantity: n} }
	lines := func(l ...view.Line) view.Order { return view.Order{Lines: l} }
	long := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		before, after view.Order
		want          string
	}{
		"nil and empty":           {view.Order{}, view.Order{Lines: []view.Line{}, Metadata: map[string]string{}, ShippingAddress: &view.Address{}}, ""},
		"amount, tags":            {view.Order{Tags: []string{"a"}}, view.Order{Totals: view.Totals{Paid: money.Minor(5, "EUR")}}, `/tags ["a"] []; /totals/paid  {"amount":"0.05","currency":"EUR"}`},
		"amount that became zero": {view.Order{Totals: view.Totals{Paid: money.Minor(5, "EUR")}}, view.Order{Totals: view.Totals{Paid: money.Zero("EUR")}}, `/totals/paid {"amount":"0.05","currency":"EUR"} {"amount":"0.00","currency":"EUR"}`},
		"names with signs":        {view.Order{}, view.Order{Metadata: map[string]string{"a/b~c": "1"}, Notes: nil}, `/metadata/a~1b~0c  "1"`},
		"metadata like money":     {view.Order{}, view.Order{Metadata: map[string]string{"amount": "1", "currency": "2"}}, `/metadata/amount  "1"; /metadata/currency  "2"`},
		"same id twice":           {lines(line("a", 1), line("a", 2)), lines(line("a", 1), line("a", 3)), `/lines/a#2/quantity 2 3`},
		"a name that is taken":    {lines(line("a", 1), line("a#2", 2), line("a", 3)), lines(line("a", 1), line("a#2", 2), line("a", 4)), `/lines/a#3/quantity 3 4`},
		"ids with slashes":        {lines(line("a/b", 1)), lines(line("a/b", 2)), `/lines/a~1b/quantity 1 2`},
		"other places":            {lines(line("a", 1), line("b", 1)), lines(line("b", 1), line("a", 1)), `/lines ["a","b"] ["b","a"]`},
		"not a text":              {view.Order{City: "\xff"}, view.Order{City: "\xfe"}, ""},
		"a time too late":         {view.Order{}, view.Order{PlacedAt: long}, "*"},
		"a pointer to it":         {view.Order{}, view.Order{Shipments: []view.Shipment{{ID: "s", DeliveredAt: &long}}}, "*"},
	} {
		var got []string
		for _, d := range query.Diff(c.before, c.after) {
			got = append(got, fmt.Sprintf("%s %s %s", d.Path, d.Before, d.After))
		}
		if text := strings.Join(got, "; "); text != c.want && (c.want != "*" || text == "") {
			t.Errorf("%s: %s", name, text)
		}
		query.Fields(c.after)
	}
}

// A comparison costs what changed: lines that an edit wrote anew as they were
// are not looked into, and neither is what nobody asked about.
func TestDiffCostsWhatChanged(t *testing.T) {
	lines := func() []view.Line {
		lines := make([]view.Line, 1000)
		for i := range lines {
			lines[i] = view.Line{ID: fmt.Sprint(i), SKU: "MUG", Quantity: 1, UnitPrice: money.Minor(750, "EUR"), Total: money.Minor(750, "EUR")}
		}
		return lines
	}
	before, after := projections.Empty("o"), projections.Empty("o")
	before.Lines, after.Lines = lines(), lines()
	after.Status, after.Lines[7].Quantity = "confirmed", 2
	if d := query.DiffAt(before, after, "/lines/7"); len(d) != 1 || d[0].Path != "/lines/7/quantity" {
		t.Errorf("below a line: %+v", d)
	}
	if d := query.DiffAt(before, after, "/lines/70"); len(d) != 0 {
		t.Errorf("below another line: %+v", d)
	}
	for _, path := range []string{"/lines/7/quantity", "/lines/7", "/lines", "/status", "/holds", "/totals", "", "/lines/7/quantity/x", "/line", "status"} {
		var want []query.Field
		for _, f := range query.Fields(after) {
			if path == "" || f.Path == path || strings.HasPrefix(f.Path, path+"/") {
				want = append(want, f)
			}
		}
		if got := query.FieldsAt(after, path); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("fields at %q: %d, want %d", path, len(got), len(want))
		}
	}
	for path, most := range map[string]float64{"/status": 40, "/lines/7/quantity": 400, "": 400} {
		if d := query.DiffAt(before, after, path); len(d) == 0 {
			t.Errorf("%q: no change", path)
		}
		if n := testing.AllocsPerRun(5, func() { query.DiffAt(before, after, path) }); n > most {
			t.Errorf("%q: %.0f allocations", path, n)
		}
	}
}
