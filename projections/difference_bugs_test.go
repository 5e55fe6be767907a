package projections_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// after is Apply and then something about its document.
func after(change func(doc view.Order, e codec.Recorded) view.Order) projections.Fold {
	return projections.Fold{Apply: func(doc view.Order, e codec.Recorded) view.Order {
		return change(projections.Apply(doc, e), e)
	}}
}

// instead is Apply of another event in place of one.
func instead(change func(e order.Event) order.Event) projections.Fold {
	return projections.Fold{Apply: func(doc view.Order, e codec.Recorded) view.Order {
		e.Event = change(e.Event)
		return projections.Apply(doc, e)
	}}
}

func counting(change func(doc view.Order, c *projections.Contribution)) projections.Fold {
	return projections.Fold{Contributions: func(doc view.Order) projections.Contribution {
		c := projections.Contributions(doc)
		if c.Currency != "" {
			change(doc, &c)
		}
		return c
	}}
}

// projectorBugs are ten that one makes. within are the fields that its fix may
// change, and no fewer; nil where figures change that no field explains.
var projectorBugs = []struct {
	name   string
	fold   projections.Fold
	within []string
}{
	{"wrong field", after(func(doc view.Order, _ codec.Recorded) view.Order { doc.City = doc.State; return doc }), []string{"/city"}},
	{"double count", counting(func(_ view.Order, c *projections.Contribution) { c.Sums.Units *= 2 }), nil},
	{"missed event type", projections.Fold{Apply: func(doc view.Order, e codec.Recorded) view.Order {
		notes := doc.Notes
		doc = projections.Apply(doc, e)
		if _, missed := e.Event.(order.NoteAdded); missed && notes != nil {
			doc.Notes = notes
		}
		return doc
	}}, []string{"/notes"}},
	{"swapped order", projections.Fold{Apply: func(doc view.Order, e codec.Recorded) view.Order {
		tags := doc.Tags
		doc = projections.Apply(doc, e)
		if _, set := e.Event.(order.TagsSet); set && len(tags) > 0 {
			doc.Tags = tags // as if it had come before
		}
		return doc
	}}, []string{"/tags"}},
	{"rounding", after(func(doc view.Order, _ codec.Recorded) view.Order {
		if doc.Currency != "" {
			doc.Totals.Rounding = money.Zero(doc.Currency)
		}
		return doc
	}), []string{"totals/rounding"}},
	{"forgotten upcast", instead(func(e order.Event) order.Event {
		if e, ok := e.(order.HoldPlaced); ok {
			e.Reason = "" // it was called otherwise once
			return e
		}
		return e
	}), []string{"/holds/*/reason"}},
	{"wrong customer total", counting(func(doc view.Order, c *projections.Contribution) {
		if doc.Status == "cancelled" {
			c.Customer = ""
		}
	}), nil},
	{"tag lost", instead(func(e order.Event) order.Event {
		if e, ok := e.(order.TagsSet); ok && len(e.Tags) > 1 {
			e.Tags = slices.Clone(e.Tags[:len(e.Tags)-1])
			return e
		}
		return e
	}), []string{"/tags"}},
	{"wrong status mapping", after(func(doc view.Order, _ codec.Recorded) view.Order {
		if doc.Status == "cancelled" {
			doc.Status = "closed"
		}
		return doc
	}), []string{"/status"}},
	{"full text words", projections.Fold{Words: func(doc view.Order) string {
		return strings.Join(slices.DeleteFunc(strings.Fields(projections.OrderWords(doc)), func(w string) bool { return strings.HasPrefix(w, "w") }), " ")
	}}, []string{projections.WordsPath}},
}

// TestPlantedProjectorBugs: each bug and its fix differ exactly as a naive fold of
// both says, under traffic, in every store.
func TestPlantedProjectorBugs(t *testing.T) {
	checked := 0
	for round := range times(t, 1) {
		for _, b := range backends {
			for i, bug := range projectorBugs {
				t.Run(b.name+"/"+bug.name, func(t *testing.T) {
					if b.name == "elastic" && os.Getenv("DOCKET_TEST_DIFFERENCES") == "" && i%4 != 0 && i != 9 {
						return // each takes seconds there: all with the variable
					}
					seed := uint64(1000*round + 10*i + 1)
					g := generate(t, seed, 150, b.open(t), bug.fold, projections.Fold{})
					var oldFold *projections.Fold
					if bug.within == nil || i%2 == 0 || b.search && b.name != "elastic" {
						oldFold = &bug.fold
					}
					d, c := g.compare(seed, oldFold)
					want := g.naive(c, b.counts, b.search)
					want.check(t, g, d)
					checked++
					t.Logf("%d changed, %d fields, %d figures, %d recounted", d.Changed, len(d.Fields), d.FiguresChanged, d.Recounted)
					whole := projections.Difference{Stores: []projections.StoreDifference{d}}
					sees := b.search || bug.name != "full text words"
					if !b.counts && bug.within == nil {
						sees = false
					}
					if whole.Empty() == sees {
						t.Errorf("the bug is seen: %v", !sees)
					}
					if !sees {
						return
					}
					if got := whole.Within(bug.within); got != (bug.within != nil) {
						t.Errorf("within %v: %v", bug.within, got)
					}
					if whole.Within([]string{"/number", "/lines"}) {
						t.Error("within other fields")
					}
				})
			}
		}
	}
	t.Logf("%d differences of planted bugs", checked)
}

// TestFixesGoBackToo: what a bug would change when it is the candidate.
func TestFixesGoBackToo(t *testing.T) {
	for i, bug := range projectorBugs {
		t.Run(bug.name, func(t *testing.T) {
			seed := uint64(7000 + i)
			g := generate(t, seed, 100, backends[0].open(t), projections.Fold{}, bug.fold)
			d, c := g.compare(seed, &projections.Fold{})
			g.naive(c, true, true).check(t, g, d)
		})
	}
}

// TestEqualGenerationsUnderTraffic: nothing differs, whatever moves.
func TestEqualGenerationsUnderTraffic(t *testing.T) {
	n := times(t, 20)
	for i := range n {
		b := backends[i%(len(backends)-1)]
		if i%10 == 9 { // where each takes seconds
			b = backends[len(backends)-1]
		}
		t.Run(b.name, func(t *testing.T) {
			seed := uint64(40_000 + i)
			g := generate(t, seed, 300, b.open(t), projections.Fold{}, projections.Fold{})
			d, c := g.compare(seed, nil)
			if !d.Empty() || d.Equal != int64(len(c.at)) {
				t.Errorf("%+v", d)
			}
		})
	}
	t.Logf("%d empty differences", n)
}
