package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/docket-orders/docket/view"
)

// walked is what going through all orders of a server showed: the figures that
// no question of the API sums up.
type walked struct {
	orders, events int

	withoutCustomer  int
	withoutConfirmed int
	withoutDispatch  int
	withoutDelivery  int
	lifecycleTimes   int // placed, confirmed, dispatched, delivered

	mostLines, mostPayments int
	longest                 []string // orders with mostLines

	// Of orders that the source says were delivered, and when.
	deliveredSeconds, deliveredOrders int64

	countries, skus   map[string]bool
	repeatedSKUs      int // pairs of order and SKU on more than one line
	priceDecimals     int
	repeatedRows      int
	smallest, biggest int64 // quantity
}

// walk goes through the orders of two servers side by side, and counts those
// that differ in anything but position and updatedAt.
func walk(ctx context.Context, one, two *server) (*walked, int, error) {
	seen := &walked{countries: map[string]bool{}, skus: map[string]bool{}}
	different := 0
	var cursorOne, cursorTwo string
	for {
		pageOne, err := next(ctx, one, cursorOne)
		if err != nil {
			return nil, 0, err
		}
		pageTwo, err := next(ctx, two, cursorTwo)
		if err != nil {
			return nil, 0, err
		}
		if pageOne.Total != pageTwo.Total || len(pageOne.Items) != len(pageTwo.Items) {
			return nil, 0, fmt.Errorf("interleaved, there are %d orders instead of %d", pageTwo.Total, pageOne.Total)
		}
		for i, a := range pageOne.Items {
			seen.see(a)
			if textOne, textTwo := comparable(a), comparable(pageTwo.Items[i]); !bytes.Equal(textOne, textTwo) {
				if different++; different <= 3 {
					fmt.Fprintf(os.Stderr, "differ when interleaved:\n  %s\n  %s\n", textOne, textTwo)
				}
			}
		}
		if cursorOne, cursorTwo = pageOne.Next, pageTwo.Next; cursorOne == "" || cursorTwo == "" {
			if cursorOne != cursorTwo {
				return nil, 0, fmt.Errorf("interleaved, the list ends elsewhere")
			}
			return seen, different, nil
		}
	}
}

func next(ctx context.Context, s *server, cursor string) (p page, err error) {
	params := []string{"limit", "1000", "sort", "number"}
	if cursor != "" {
		params = append(params, "cursor", cursor)
	}
	err = s.get(ctx, &p, "/v1/orders", params...)
	return p, err
}

// comparable is the document without what depends on when it was written.
func comparable(o view.Order) []byte {
	o.Position, o.UpdatedAt = "", time.Time{}
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // it came as JSON
	}
	return text
}

func (w *walked) see(o view.Order) {
	w.orders++
	w.events += int(o.Revision) + 1
	w.lifecycleTimes++
	if o.Customer.ID == "" {
		w.withoutCustomer++
	}
	if o.ConfirmedAt == nil {
		w.withoutConfirmed++
	} else {
		w.lifecycleTimes++
	}
	dispatched, delivered := false, false
	for _, s := range o.Shipments {
		dispatched = dispatched || s.DispatchedAt != nil
		delivered = delivered || s.DeliveredAt != nil
		if s.DeliveredAt != nil && o.Source != nil && o.Source.Status == "delivered" {
			w.deliveredOrders++
			w.deliveredSeconds += int64(s.DeliveredAt.Sub(o.PlacedAt) / time.Second)
		}
	}
	if dispatched {
		w.lifecycleTimes++
	} else {
		w.withoutDispatch++
	}
	if delivered {
		w.lifecycleTimes++
	} else {
		w.withoutDelivery++
	}
	if len(o.Lines) > w.mostLines {
		w.mostLines, w.longest = len(o.Lines), nil
	}
	if len(o.Lines) == w.mostLines {
		w.longest = append(w.longest, o.ID)
	}
	w.mostPayments = max(w.mostPayments, len(o.Payments))
	w.countries[o.Country] = true
	times := map[string]int{}
	for _, l := range o.Lines {
		times[l.SKU]++
		w.priceDecimals = max(w.priceDecimals, l.UnitPrice.Scale())
		w.smallest, w.biggest = min(w.smallest, l.Quantity), max(w.biggest, l.Quantity)
	}
	for sku, n := range times {
		w.skus[strings.Clone(sku)] = true
		if n > 1 {
			w.repeatedSKUs++
		}
	}
	for _, a := range o.Anomalies {
		if a.Kind == "repeated-row" {
			number, _, _ := strings.Cut(a.Detail, " ")
			n, err := strconv.Atoi(number)
			if err != nil {
				panic(fmt.Sprintf("order %s: %q does not begin with a count", o.ID, a.Detail))
			}
			w.repeatedRows += n
		}
	}
}

// averageDays from placing to delivery, six decimals, in whole arithmetic.
func (w *walked) averageDays() string {
	if w.deliveredOrders == 0 {
		return "none"
	}
	per := w.deliveredOrders * 86_400
	millionths := (w.deliveredSeconds*1_000_000*2 + per) / (2 * per)
	return fmt.Sprintf("%d.%06d", millionths/1_000_000, millionths%1_000_000)
}
