package command

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestDerivedIDs: they are stored, so they never change.
func TestDerivedIDs(t *testing.T) {
	id := KeyID("shop", "1", "k")
	for _, c := range []struct{ got, want string }{
		{id.String(), "cb92ab98-3a23-534c-9230-50d7c68885c8"},
		{OrderIDFor("shop", "k"), "7hrem4cgd0xmd1zsdcgtkznqbw"},
		{eventID("order-1", id, 0, []byte(`{"n":1}`), []byte(`{}`)).String(), "c5e63982-ebb3-5bd7-8fb2-6281c3b1d537"},
		{entityID("order-1", id)("payment"), "kew44x9s4tx4h"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
	seen := map[string]bool{}
	for _, u := range []uuid.UUID{
		id, KeyID("shop", "", "k"), KeyID("shop", "k", ""), KeyID("sho", "p1", "k"), KeyID("shop", "1k", ""),
		eventID("order-1", id, 0, nil, nil), eventID("order-1", id, 1, nil, nil), eventID("order-2", id, 0, nil, nil), eventID("order-1", uuid.Nil, 0, nil, nil),
		eventID("order-1", id, 0, []byte("ab"), nil), eventID("order-1", id, 0, []byte("a"), []byte("b")), eventID("order-1", id, 0, nil, []byte("ab")),
	} {
		if seen[u.String()] {
			t.Errorf("%s twice", u)
		}
		seen[u.String()] = true
	}
	if id := OrderIDFor("", ""); !order.ValidID(id) {
		t.Errorf("%q is not an order id", id)
	}
}

// TestMemoryAgainstAModel: find gives the newest of the last 1,000 commands.
func TestMemoryAgainstAModel(t *testing.T) {
	ids := make([]uuid.UUID, 40)
	for i := range ids {
		ids[i] = KeyID("", "", fmt.Sprint(i))
	}
	rapid.Check(t, func(t *rapid.T) {
		var m memory
		var model []handled
		revision := eventstore.Revision(0)
		for range rapid.IntRange(0, 60).Draw(t, "commands") {
			id := rapid.SampledFrom(ids).Draw(t, "id")
			if len(model) > 0 && model[len(model)-1].id == id {
				continue // would be recognised
			}
			n := rapid.IntRange(1, 3).Draw(t, "events")
			model = append(model, handled{id, revision, uint32(n), hashed(id.String())})
			m = m.clone()
			for range n {
				m = m.add(id, id.String(), revision)
				revision++
			}
		}
		for _, id := range ids {
			var want handled
			for _, h := range model {
				if h.id == id {
					want = h
				}
			}
			if got, ok := m.find(id); got != want || ok != (want.events > 0) {
				t.Fatalf("%v, %v; want %v", got, ok, want)
			}
		}
		data := append(m.appendBinary(nil), "rest"...)
		got, rest, ok := readMemory(data)
		if !ok || string(rest) != "rest" || !slices.Equal(got, m) {
			t.Fatalf("%v, %q, %v", got, rest, ok)
		}
	})
}

func TestCacheIsBoundedAndKeepsTheNewest(t *testing.T) {
	c := newCache[string](2)
	c.put("a", 5, "a5")
	c.put("a", 4, "a4")
	if v, ok := c.get("a"); !ok || v != "a5" {
		t.Errorf("%q, %v", v, ok)
	}
	c.put("b", 1, "b1")
	c.get("a")
	c.put("c", 1, "c1")
	var held []string
	for _, k := range []string{"a", "b", "c"} {
		if _, ok := c.get(k); ok {
			held = append(held, k)
		}
	}
	if !reflect.DeepEqual(held, []string{"a", "c"}) {
		t.Errorf("holds %v", held)
	}
	c.drop("a")
	c.drop("a")
	if _, ok := c.get("a"); ok || len(c.entries) != 1 || c.order.Len() != 1 {
		t.Error("not dropped")
	}
}
