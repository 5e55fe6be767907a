package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/view"
)

// TestCheckSeesDifferences: a check that could not fail would prove nothing.
func TestCheckSeesDifferences(t *testing.T) {
	var f facts
	if err := json.Unmarshal([]byte(`{"orders": {"value": 3}, "sum": {"value": "13591643.7"}}`), &f); err != nil {
		t.Fatal(err)
	}
	good := &check{facts: f}
	good.equal("orders", fact[int](good, "orders"), int64(3))
	good.amount("sum", fact[string](good, "sum"), money.MustParse("13591643.70", "BRL"))
	var out strings.Builder
	if !good.print(&out) || good.failed != nil {
		t.Errorf("equal figures are wrong: %v\n%s", good.failed, &out)
	}
	for name, spoil := range map[string]func(c *check){
		"count":        func(c *check) { c.equal("orders", fact[int](c, "orders"), 4) },
		"amount":       func(c *check) { c.amount("sum", fact[string](c, "sum"), money.MustParse("13591643.71", "BRL")) },
		"no figure":    func(c *check) { c.equal("lines", fact[int](c, "lines"), 0) },
		"another form": func(c *check) { c.equal("sum", fact[int](c, "sum"), 0) },
		"nothing":      func(*check) {},
	} {
		bad := &check{facts: f}
		spoil(bad)
		if bad.print(&out) && bad.failed == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}

func TestWithoutData(t *testing.T) {
	if ok, err := run(t.Context(), t.TempDir(), "", "", &sites{way: embedded}); ok || err == nil || !strings.Contains(err.Error(), "needed") {
		t.Errorf("without facts.json: %v, %v", ok, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "facts.json"), []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, err := run(t.Context(), dir, "", "", &sites{way: embedded}); ok || err == nil || !strings.Contains(err.Error(), "data sets are needed") {
		t.Errorf("without the sets: %v, %v", ok, err)
	}
}

// TestComparableLeavesOut: position and updatedAt, and nothing else.
func TestComparableLeavesOut(t *testing.T) {
	a := view.Order{ID: "1", Status: "placed", Position: "7", UpdatedAt: time.Unix(1, 0)}
	b := view.Order{ID: "1", Status: "placed", Position: "8", UpdatedAt: time.Unix(2, 0)}
	if string(comparable(a)) != string(comparable(b)) {
		t.Error("position or updatedAt counts")
	}
	b.Revision++
	if string(comparable(a)) == string(comparable(b)) {
		t.Error("the revision does not count")
	}
}

func TestAverageDays(t *testing.T) {
	w := walked{deliveredSeconds: 86_400*3 + 1, deliveredOrders: 2}
	if got := w.averageDays(); got != "1.500006" {
		t.Errorf("got %s", got)
	}
}
