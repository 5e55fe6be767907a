package ordertest_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
)

// The generator is worth something only when everything that can happen to an
// order happens in it.
func TestHistoriesHoldEveryEvent(t *testing.T) {
	seen := map[string]bool{}
	for seed := range int64(400) {
		history := ordertest.History(seed, 30)
		if !reflect.DeepEqual(history, ordertest.History(seed, 30)) {
			t.Fatalf("seed %d gives two histories", seed)
		}
		for _, e := range history {
			seen[fmt.Sprintf("%T", e)] = true
		}
		if _, ok := history[0].(order.Placed); !ok {
			t.Fatalf("seed %d begins with %T", seed, history[0])
		}
	}
	if len(seen) != 27 {
		t.Errorf("%d kinds of event, want all 27: %v", len(seen), seen)
	}
}
