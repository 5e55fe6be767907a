package codec

import (
	"testing"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"pgregory.net/rapid"
)

// TestWholeHistoriesSurvive: what the decider makes of an order is the same
// after it was stored.
func TestWholeHistoriesSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := ordertest.Events(t)
		data, err := MarshalHistory(events)
		if err != nil {
			t.Fatal(err)
		}
		read, err := UnmarshalHistory(data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		again, err := MarshalHistory(read)
		if err != nil || string(again) != string(data) {
			t.Fatalf("%s\nthen\n%s, %v", data, again, err)
		}
		var s, stored order.State
		for i, e := range events {
			if !ordertest.Same(read[i], e) {
				t.Fatalf("%+v became %+v", e, read[i])
			}
			s, stored = order.Evolve(s, e), order.Evolve(stored, read[i])
			if !ordertest.Same(s, stored) {
				t.Fatalf("after %+v the state is\n%+v\nand after %+v\n%+v", e, s, read[i], stored)
			}
		}
	})
}
