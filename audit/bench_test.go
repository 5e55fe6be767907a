package audit_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/query"
)

// BenchmarkWhy asks where fields of an order of 1,000 lines come from that was
// edited 100 times, one line or all of them at a time.
func BenchmarkWhy(b *testing.B) {
	for _, changed := range []int{1, 1000} {
		w := newWorld(b)
		lines := make([]order.Line, 1000)
		for i := range lines {
			lines[i] = order.Line{ID: fmt.Sprint(i), SKU: "MUG", Title: "Mug", Quantity: 1, UnitPrice: money.Minor(750, "EUR"), Metadata: map[string]string{"a": "b"}}
		}
		w.do("o", order.Place{Currency: "EUR", Lines: lines, At: dawn})
		for n := range 100 {
			for i := range changed {
				lines[i].Quantity = int64(2 + n%5)
			}
			typ, data, err := codec.Encode(order.EditConfirmed{EditID: fmt.Sprint(n), Lines: lines, At: w.now()})
			if err != nil {
				b.Fatal(err)
			}
			meta := codec.EncodeMeta(codec.Meta{CommandID: uuid.New(), Command: "confirm-edit", Version: codec.Version(typ), RecordedAt: w.tick()})
			if _, err := w.store.Append(b.Context(), "order-o", eventstore.At(eventstore.Revision(n)), []eventstore.Event{{ID: uuid.New(), Type: typ, JSON: true, Data: data, Metadata: meta}}); err != nil {
				b.Fatal(err)
			}
		}
		for _, field := range []string{"/status", "/lines/7/quantity", ""} {
			b.Run(fmt.Sprintf("%d changed/field %q", changed, field), func(b *testing.B) {
				for b.Loop() {
					if _, err := w.auditor.Why(b.Context(), "o", query.Cut{}, field); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("%d changed/the order itself", changed), func(b *testing.B) {
			for b.Loop() {
				if _, err := w.queries.OrderAsOf(b.Context(), "o", query.Cut{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
