package eventstore

import (
	"strings"
	"testing"
)

func TestParseNamespace(t *testing.T) {
	for _, ok := range []string{"", "a", "0", "acme", "a1b2", strings.Repeat("z", 16)} {
		if ns, err := ParseNamespace(ok); err != nil || string(ns) != ok {
			t.Errorf("%q: %q, %v", ok, ns, err)
		}
	}
	for _, wrong := range []string{"A", "a.b", "a-b", "a b", " ", "é", "a\n", strings.Repeat("z", 17)} {
		if ns, err := ParseNamespace(wrong); err == nil {
			t.Errorf("%q was accepted as %q", wrong, ns)
		}
	}
}

func TestStreamNames(t *testing.T) {
	for _, c := range []struct {
		ns           Namespace
		category, id string
		stream       string
	}{
		{"", "order", "536365", "order-536365"},
		{"acme", "order", "536365", "acme.order-536365"},
		{"acme", "projection", "orders", "acme.projection-orders"},
		{"", "order", "a-b.c", "order-a-b.c"},
	} {
		if got := c.ns.Stream(c.category, c.id); got != c.stream {
			t.Errorf("%+v: stream %q", c, got)
		}
		if id, ok := c.ns.ID(c.category, c.stream); !ok || id != c.id {
			t.Errorf("%+v: id %q, %v", c, id, ok)
		}
		if !(Filter{Prefixes: []string{c.ns.Prefix(c.category)}}).Matches(c.stream) {
			t.Errorf("%+v: its prefix does not select it", c)
		}
	}
}

func TestStreamsOfOthersAreNotTaken(t *testing.T) {
	for _, c := range []struct {
		ns     Namespace
		stream string
	}{
		{"", "acme.order-1"}, {"acme", "order-1"}, {"acme", "acme2.order-1"},
		{"", "orders-1"}, {"", "snapshot-order-1"}, {"", "$$order-1"}, {"", "order"},
	} {
		if id, ok := c.ns.ID("order", c.stream); ok {
			t.Errorf("%q holds %q as order %q", c.ns, c.stream, id)
		}
	}
}
