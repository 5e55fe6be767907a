package reconcile_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/reconcile/expected"
	"github.com/docket-orders/docket/reconcile/reconciletest"
	"github.com/docket-orders/docket/view"
)

// The projector's fold and the second one say the same of everything that real
// and made-up orders do, after every event.

func TestFoldsAgreeOnGeneratedOrders(t *testing.T) {
	for seed := range int64(2_000) {
		foldsAgree(t, reconciletest.Recorded("o", ordertest.History(seed, 1+int(seed)%60)))
	}
}

func TestFoldsAgreeOnAdoptedOrders(t *testing.T) {
	for seed := range int64(1_500) {
		foldsAgree(t, reconciletest.Recorded("o", reconciletest.Adopted(seed, 1+int(seed)%40)))
	}
}

func TestFoldsAgreeOnLongOrders(t *testing.T) {
	for seed := range int64(150) {
		foldsAgree(t, reconciletest.Recorded("o", reconciletest.Long(seed, 100)))
	}
}

// Also on what no decider would have let pass: events twice, and in any order.
func TestFoldsAgreeOnShuffledOrders(t *testing.T) {
	for seed := range int64(1_000) {
		events := ordertest.History(seed, 30)
		if seed%2 == 0 {
			events = reconciletest.Adopted(seed, 30)
		}
		events = slices.Concat(events, events)
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		foldsAgree(t, reconciletest.Recorded("o", events))
	}
}

func TestFoldsAgreeOnRealOrders(t *testing.T) {
	for _, events := range reconciletest.Excerpt(t) {
		foldsAgree(t, events)
	}
}

// foldsAgree compares the folds at every revision, where the invariants hold too.
func foldsAgree(t *testing.T, events []codec.Recorded) {
	t.Helper()
	rows := expected.Rows()
	var doc view.Order
	for i := range events {
		doc = projections.Apply(doc, events[i])
		got := rows.Order(events[i].OrderID, events[:i+1])
		if difference := differing(doc, got); difference != "" {
			t.Fatalf("order %s at revision %d: %s\nafter\n%s", doc.ID, i, difference, told(t, events[:i+1]))
		}
		if len(got.Violations) > 0 {
			t.Fatalf("order %s at revision %d: %v\nafter\n%s", doc.ID, i, got.Violations, told(t, events[:i+1]))
		}
	}
}

// differing says where what is expected differs from what the projector makes
// of the document; empty when it does not.
func differing(doc view.Order, got expected.Order) string {
	if !reflect.DeepEqual(doc, got.Document) {
		want, err1 := json.MarshalIndent(doc, "", " ")
		have, err2 := json.MarshalIndent(got.Document, "", " ")
		if err := errors.Join(err1, err2); err != nil {
			return err.Error()
		}
		if string(want) != string(have) {
			return firstLine("document", string(want), string(have))
		}
	}
	want, have := comparable(projections.Contributions(doc)), got.Counted
	if !reflect.DeepEqual(want, have) {
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(have)
		return "counted: projector " + string(a) + "\nexpected " + string(b)
	}
	words := strings.Fields(projections.OrderWords(doc))
	texts := projections.Words(strings.Join(got.Texts, "\n"))
	if a, b := set(words), set(texts); !slices.Equal(a, b) {
		return "words: projector " + strings.Join(a, " ") + "\nexpected " + strings.Join(b, " ")
	}
	return ""
}

// comparable is a contribution as package expected has it.
func comparable(c projections.Contribution) expected.Counted {
	s := c.Sums
	out := expected.Counted{
		Currency: c.Currency, Day: c.Day, Customer: c.Customer,
		Orders: s.Orders, Lines: s.Lines, Units: s.Units, Items: s.Items, Shipping: s.Shipping,
		Grand: s.Grand, Paid: s.Paid, Rounding: s.Rounding,
	}
	for _, g := range c.Groups {
		out.Groups = append(out.Groups, expected.Group(g))
	}
	for _, m := range c.Methods {
		out.Methods = append(out.Methods, expected.Method(m))
	}
	for _, p := range c.Products {
		out.Products = append(out.Products, expected.Product(p))
	}
	return out
}

func set(words []string) []string {
	words = slices.Clone(words)
	slices.Sort(words)
	return slices.Compact(words)
}

// firstLine shows where two texts part.
func firstLine(what, want, have string) string {
	a, b := strings.Split(want, "\n"), strings.Split(have, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return what + ": projector " + strings.Join(a[max(0, i-4):i+1], "\n") + "\nexpected " + b[i]
		}
	}
	return what + ": one is longer"
}

func told(t *testing.T, events []codec.Recorded) string {
	var plain []order.Event
	for _, e := range events {
		plain = append(plain, e.Event)
	}
	text, err := codec.MarshalHistory(plain)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), `{"type"`, "\n"+`{"type"`)
}
