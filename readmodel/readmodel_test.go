package readmodel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/readmodel"
	"github.com/docket-orders/docket/view"
)

type note struct {
	Texts []string `json:"texts"`
}

func notes() readmodel.View[note] {
	return readmodel.View[note]{
		Name: "notes", Version: 3,
		Apply: func(n note, e readmodel.Event) note {
			if added, ok := e.Event.(order.NoteAdded); ok {
				n.Texts = append(n.Texts, added.Text)
			}
			return n
		},
		Contributions: func(n note) readmodel.Contributions {
			if len(n.Texts) == 0 {
				return readmodel.Contributions{}
			}
			return readmodel.Contributions{
				Lists: []string{"b", "a", "b"}, At: time.Date(2024, 2, 29, 23, 59, 59, 1_999_999, time.FixedZone("west", -3600)),
				Groups: []readmodel.Group{{By: "first", Key: n.Texts[0]}, {By: "first", Key: n.Texts[0]}, {By: "last"}},
				Units:  int64(len(n.Texts)), Amount: money.Minor(5, "EUR"),
			}
		},
	}
}

func noted(revision int, text string) readmodel.Event {
	return codec.Recorded{
		OrderID: "o", Revision: eventstore.Revision(revision), Position: eventstore.At64(uint64(revision) + 10),
		Event: order.NoteAdded{NoteID: fmt.Sprint(revision), Text: text}, Meta: codec.Meta{RecordedAt: time.Unix(int64(revision), 0)},
	}
}

// A row carries the document, is at the revision and position of the event, and
// is found and counted as the view says: lists and groups once, times to the
// microsecond in UTC, empty keys not at all.
func TestRows(t *testing.T) {
	fold := notes().Definition().Fold
	row := fold.Apply(projections.Empty("o"), noted(0, "<one>"))
	row = fold.Apply(row, noted(1, "two"))

	want := projections.Empty("o")
	want.Model, want.Kind, want.Tags = json.RawMessage(`{"texts":["\u003cone\u003e","two"]}`), "notes", []string{"a", "b"}
	want.PlacedAt = time.Date(2024, 3, 1, 0, 59, 59, 1_999_000, time.UTC)
	want.UpdatedAt, want.Revision, want.Position = time.Unix(1, 0), 1, eventstore.At64(11).String()
	if !reflect.DeepEqual(row, want) {
		t.Errorf("%+v\nwant\n%+v", row, want)
	}
	counted := projections.Contribution{
		Currency: "EUR", Day: "2024-03-01", Sums: projections.Sums{Orders: 1, Units: 2, Grand: 5},
		Groups: []projections.Group{{Dimension: "first", Key: "<one>"}},
	}
	if got := fold.Contributions(row); !reflect.DeepEqual(got, counted) {
		t.Errorf("%+v, want %+v", got, counted)
	}
	if words := fold.Words(row); words != "" {
		t.Errorf("found by %q", words)
	}
}

// A document that says nothing is in no list and counted nowhere, always at the
// same place.
func TestRowsOfNothing(t *testing.T) {
	fold := notes().Definition().Fold
	row := fold.Apply(projections.Empty("o"), codec.Recorded{OrderID: "o", Event: order.Confirmed{}})
	if len(row.Tags) != 0 || !row.PlacedAt.Equal(time.Unix(0, 0)) || string(row.Model) != `{"texts":null}` {
		t.Errorf("%+v", row)
	}
	if got := fold.Contributions(row); !reflect.DeepEqual(got, projections.Contribution{}) {
		t.Errorf("%+v", got)
	}
}

// What Apply was given stays as it is.
func TestRowsAreNotShared(t *testing.T) {
	fold := notes().Definition().Fold
	first := fold.Apply(projections.Empty("o"), noted(0, "one"))
	was := string(first.Model)
	fold.Apply(first, noted(1, "two"))
	fold.Apply(first, noted(1, "other"))
	if string(first.Model) != was {
		t.Errorf("%s, was %s", first.Model, was)
	}
}

// A document that cannot be read or written, and figures without a currency, are
// panics of that order, which parks it.
func TestPanicsAreOfOneOrder(t *testing.T) {
	v := notes()
	v.Contributions = func(note) readmodel.Contributions {
		return readmodel.Contributions{Groups: []readmodel.Group{{By: "all", Key: "yes"}}}
	}
	d := v.Definition()
	panics(t, "currency", func() { d.Fold.Contributions(view.Order{Model: json.RawMessage(`{}`)}) })
	panics(t, "document", func() { d.Fold.Apply(view.Order{Model: json.RawMessage(`[]`)}, noted(0, "")) })
	odd := readmodel.View[struct{ F func() }]{Name: "odd", Version: 1, Apply: func(d struct{ F func() }, _ readmodel.Event) struct{ F func() } { return d }}
	panics(t, "document", func() { odd.Definition().Fold.Apply(view.Order{}, noted(0, "")) })
}

// A view that cannot be kept is a mistake in the program, said at once.
func TestDefinitions(t *testing.T) {
	answer := func(context.Context, readmodel.Reader[note], readmodel.Asked) (any, error) { return nil, nil }
	for say, spoil := range map[string]func(*readmodel.View[note]){
		"called ":    func(v *readmodel.View[note]) { v.Name = "Notes" },
		"not orders": func(v *readmodel.View[note]) { v.Name = "orders" },
		"a-z":        func(v *readmodel.View[note]) { v.Name = "a-b" },
		"no version": func(v *readmodel.View[note]) { v.Version = 0 },
		"no Apply":   func(v *readmodel.View[note]) { v.Apply = nil },
		"question": func(v *readmodel.View[note]) {
			v.Questions = []readmodel.Question[note]{{Name: "orders", Answer: answer}}
		},
		"with an": func(v *readmodel.View[note]) { v.Questions = []readmodel.Question[note]{{Name: "all"}} },
		"each once": func(v *readmodel.View[note]) {
			v.Questions = []readmodel.Question[note]{{Name: "a", Answer: answer}, {Name: "a", Answer: answer}}
		},
		"parameter": func(v *readmodel.View[note]) {
			v.Questions = []readmodel.Question[note]{{Name: "a", Answer: answer, Params: []readmodel.Param{{Name: "limit"}}}}
		},
		"Min to Max": func(v *readmodel.View[note]) {
			v.Questions = []readmodel.Question[note]{{Name: "a", Answer: answer, Params: []readmodel.Param{{Name: "n", Min: 2, Max: 3}}}}
		},
	} {
		v := notes()
		spoil(&v)
		panics(t, say, func() { v.Definition() })
	}
	words := readmodel.View[map[string]string]{Name: "words", Version: 1, Apply: func(d map[string]string, _ readmodel.Event) map[string]string { return d }}
	panics(t, "no struct", func() { words.Definition() })
	if d := notes().Definition(); d.Name != "notes" || d.Version != 3 {
		t.Errorf("%+v", d)
	}
}

func panics(t *testing.T, say string, do func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if said := fmt.Sprint(recover()); !strings.Contains(said, say) {
			t.Errorf("%q, want something about %q", said, say)
		}
	}()
	do()
}
