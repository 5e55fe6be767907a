package importer_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/importer"
)

// decided is a target that lets the rules decide and keeps nothing else.
type decided struct {
	t *testing.T

	mu     sync.Mutex
	orders map[string]order.State
}

// Adopt implements importer.Target. Whatever stands in a file, what is made of
// it is decided the same when it comes again.
func (d *decided) Adopt(_ context.Context, id string, a order.Adopt, _ string) (importer.Outcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cmd := order.WithNumber(a, id)
	events, err := order.Decide(d.orders[id], cmd)
	if err != nil {
		return importer.Outcome{}, err
	}
	s := d.orders[id]
	for _, e := range events {
		s = order.Evolve(s, e)
	}
	d.orders[id] = s
	if again, err := order.Decide(s, cmd); err != nil || len(again) != 0 {
		d.t.Errorf("order %s again: %d events, %v", id, len(again), err)
	}
	return importer.Outcome{Events: len(events)}, nil
}

// FuzzOnlineRetail: a file of rows is refused, or every invoice in it becomes an
// order or is refused.
func FuzzOnlineRetail(f *testing.F) {
	f.Add(retailHeader + retailRow)
	f.Add(retailHeader + retailRow + strings.Replace(retailRow, "536365", "C536365", 1) + strings.Replace(retailRow, ",6,", ",-6,", 1))
	f.Add(retailHeader + strings.Replace(retailRow, "2.55", "0.001", 1) + strings.Replace(retailRow, "17850", "", 1))
	f.Add(retailHeader + strings.Replace(retailRow, "2.55", "9223372036854775807", 1))
	f.Add(retailHeader + strings.Replace(retailRow, ",6,", ",9223372036854775807,", 1))
	f.Add("\ufeff" + strings.ReplaceAll(retailHeader+retailRow, "\n", "\r\n"))
	f.Add(retailHeader + strings.Replace(retailRow, "WHITE", "\"WHITE\n\"\"\u202e\"", 1))
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "r.csv")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d := &decided{t: t, orders: map[string]order.State{}}
		report, err := importer.OnlineRetail(context.Background(), file, d, importer.Options{InFlight: 1})
		if err == nil && len(d.orders) > strings.Count(text, "\n")+1 {
			t.Errorf("%d orders of %d rows: %+v", len(d.orders), strings.Count(text, "\n"), report)
		}
	})
}

// FuzzOlist is the same for the files of Olist that hold figures.
func FuzzOlist(f *testing.F) {
	orders, items, payments := "olist_orders_dataset.csv", "olist_order_items_dataset.csv", "olist_order_payments_dataset.csv"
	f.Add(smallOlist[orders], smallOlist[items], smallOlist[payments])
	f.Add(strings.ReplaceAll(smallOlist[orders], "2017", "0000"), smallOlist[items], smallOlist[payments])
	f.Add(smallOlist[orders], strings.ReplaceAll(smallOlist[items], "29.99", "-99999999999999"), strings.ReplaceAll(smallOlist[payments], "48.21", "0.001"))
	f.Add(smallOlist[orders], strings.ReplaceAll(smallOlist[items], "p1", "\u202e"), strings.ReplaceAll(smallOlist[payments], ",1,", ",2147483648,"))
	f.Fuzz(func(t *testing.T, first, second, third string) {
		dir := t.TempDir()
		for name, text := range smallOlist {
			switch name {
			case orders:
				text = first
			case items:
				text = second
			case payments:
				text = third
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d := &decided{t: t, orders: map[string]order.State{}}
		report, err := importer.Olist(context.Background(), dir, d, importer.Options{InFlight: 1})
		if err == nil && len(d.orders) > strings.Count(first, "\n")+1 {
			t.Errorf("%d orders: %+v", len(d.orders), report)
		}
	})
}
