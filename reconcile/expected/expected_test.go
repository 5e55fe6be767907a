package expected

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/reconcile/reconciletest"
)

func TestTableIsTheCatalogue(t *testing.T) {
	if rows, types := slices.Sorted(maps.Keys(Rows())), codec.Types(); !slices.Equal(rows, types) {
		t.Errorf("rows\n%v\nevent types\n%v", rows, types)
	}
}

func TestNoEventsNoOrder(t *testing.T) {
	if got := Rows().Order("o", nil); !reflect.DeepEqual(got, Order{}) {
		t.Errorf("got %+v", got)
	}
}

// What no store should hold is a violation and not the end of the program.
func TestWhatCannotBeFolded(t *testing.T) {
	placed := order.Placed{Kind: order.KindOrder, Currency: "EUR", Shipping: eur(0), Discount: eur(0), Tax: eur(0)}
	for name, events := range map[string][]order.Event{
		"two currencies": {placed, order.PaymentCaptured{PaymentID: "p", Amount: eur(1)}, order.PaymentCaptured{PaymentID: "p", Amount: money.Minor(1, "BRL")}},
		"beyond 64 bits": {placed, order.EditConfirmed{Lines: []order.Line{{ID: "1", Quantity: 1 << 40, UnitPrice: eur(1 << 40)}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Rows().Order("o", reconciletest.Recorded("o", events)); len(got.Violations) == 0 || got.Violations[0].Invariant != "folds" {
				t.Errorf("violations %v", got.Violations)
			}
		})
	}
	events := reconciletest.Recorded("o", []order.Event{placed})
	events[0].Type = "OrderForgotten"
	if got := Rows().Order("o", events); len(got.Violations) == 0 || !strings.Contains(got.Violations[0].Detail, "OrderForgotten") {
		t.Errorf("violations %v of an unknown type", got.Violations)
	}
}

func TestGapsAreSeen(t *testing.T) {
	events := reconciletest.Recorded("o", ordertest.History(1, 20))
	if got := Rows().Order("o", slices.Delete(slices.Clone(events), 5, 6)); len(got.Violations) == 0 {
		t.Error("a missing event was not seen")
	}
	if got := Rows().Order("o", events[1:]); len(got.Violations) == 0 {
		t.Error("a missing first event was not seen")
	}
}

func TestInvariantsHold(t *testing.T) {
	rows := Rows()
	for seed := range int64(3_000) {
		events := reconciletest.Recorded("o", ordertest.History(seed, 1+int(seed)%70))
		if got := rows.Order("o", events); len(got.Violations) > 0 {
			t.Fatalf("seed %d: %v", seed, got.Violations)
		}
	}
	for seed := range int64(3_000) {
		events := reconciletest.Recorded("o", reconciletest.Adopted(seed, 1+int(seed)%50))
		if got := rows.Order("o", events); len(got.Violations) > 0 {
			t.Fatalf("adopted, seed %d: %v", seed, got.Violations)
		}
	}
	for seed := range int64(500) {
		events := reconciletest.Recorded("o", reconciletest.Long(seed, 100))
		if got := rows.Order("o", events); len(got.Violations) > 0 {
			t.Fatalf("long, seed %d: %v", seed, got.Violations)
		}
	}
	for id, events := range reconciletest.Excerpt(t) {
		if got := rows.Order(id, events); len(got.Violations) > 0 {
			t.Fatalf("order %s: %v", id, got.Violations)
		}
	}
}

// The invariants believe no table that has one of these bugs.
func TestPlantedBugsAreToldApart(t *testing.T) {
	twice := func(r Row) Row { return func(a *Accounts, e codec.Recorded) { r(a, e); r(a, e) } }
	missed := func(*Accounts, codec.Recorded) {}
	bugs := map[string]func(t Table){
		"a missed capture":           func(t Table) { t["OrderPaymentCaptured"] = missed },
		"a missed arrival":           func(t Table) { t["OrderShipmentDelivered"] = missed },
		"a missed change of address": func(t Table) { t["OrderShippingAddressChanged"] = missed },
		"a capture booked twice":     func(t Table) { t["OrderPaymentCaptured"] = twice(t["OrderPaymentCaptured"]) },
		"units cancelled twice":      func(t Table) { t["OrderLinesCancelled"] = twice(t["OrderLinesCancelled"]) },
		"units returned twice":       func(t Table) { t["OrderReturnReceived"] = twice(t["OrderReturnReceived"]) },
		"a refund counted when granted": func(t Table) {
			after(t, "OrderRefundGranted", func(a *Accounts, e order.RefundGranted) { find(a.refunds, e.RefundID).ended = "completed" })
		},
		"a failed refund counted": func(t Table) {
			t["OrderRefundFailed"] = row(func(a *Accounts, e order.RefundFailed) {
				if r := find(a.refunds, e.RefundID); r != nil {
					r.ended, r.at = "completed", e.At
				}
			})
		},
		"text and author of notes swapped": func(t Table) {
			after(t, "OrderNoteAdded", func(a *Accounts, e order.NoteAdded) {
				n := find(a.notes, e.NoteID)
				n.text, n.author = n.author, n.text
			})
		},
		"payments in the wrong order": func(t Table) {
			after(t, "OrderPaymentCaptured", func(a *Accounts, _ order.PaymentCaptured) { slices.Reverse(a.payments) })
		},
		"lines in the wrong order": func(t Table) {
			after(t, "OrderPlaced", func(a *Accounts, _ order.Placed) { slices.Reverse(a.lines) })
		},
		"prices rounded per unit": func(t Table) {
			after(t, "OrderPlaced", func(a *Accounts, _ order.Placed) {
				for i := range a.lines {
					a.lines[i].UnitPrice = a.lines[i].UnitPrice.Rounded()
				}
			})
		},
		"cancelled units added": func(t Table) {
			after(t, "OrderLinesCancelled", func(a *Accounts, e order.LinesCancelled) {
				a.book(e.Lines, func(l *line, n int64) { l.cancelled -= 2 * n })
			})
		},
		"cancelled units only listed": func(t Table) {
			after(t, "OrderLinesCancelled", func(a *Accounts, e order.LinesCancelled) {
				a.book(e.Lines, func(l *line, n int64) { l.cancelled -= n })
			})
		},
		"an emptied line stays": func(t Table) {
			t["OrderLinesCancelled"] = row(func(a *Accounts, e order.LinesCancelled) {
				for _, u := range e.Lines {
					if l := a.line(u.LineID); l != nil {
						l.cancelled += u.Quantity
						a.taken = append(a.taken, cancellation{u.LineID, l.SKU, u.Quantity, e.Reason, e.At})
					}
				}
				a.discount, a.tax = e.Discount, e.Tax
			})
		},
		"discount and tax stay when units are cancelled": func(t Table) {
			was := t["OrderLinesCancelled"]
			t["OrderLinesCancelled"] = func(a *Accounts, e codec.Recorded) {
				discount, tax := a.discount, a.tax
				was(a, e)
				a.discount, a.tax = discount, tax
			}
		},
		"a discount added": func(t Table) {
			after(t, "OrderPlaced", func(a *Accounts, _ order.Placed) { a.discount = a.discount.Neg() })
		},
		"tax booked as shipping": func(t Table) {
			after(t, "OrderPlaced", func(a *Accounts, _ order.Placed) { a.shipping, a.tax = a.tax, a.shipping })
		},
		"confirmed when cancelled": func(t Table) {
			t["OrderCancelled"] = row(func(a *Accounts, e order.Cancelled) { a.confirmedAt = &e.At })
		},
		"parcels to the billing address": func(t Table) {
			after(t, "OrderPlaced", func(a *Accounts, e order.Placed) { a.parcelsTo = e.BillingAddress })
		},
		"another currency": func(t Table) {
			after(t, "OrderPlaced", func(a *Accounts, _ order.Placed) { a.placing.Currency = "USD" })
		},
		"an edit forgets what was shipped": func(t Table) {
			after(t, "OrderEditConfirmed", func(a *Accounts, _ order.EditConfirmed) {
				for i := range a.lines {
					a.lines[i].shipped = 0
				}
			})
		},
		"an edit carried out when proposed": func(t Table) {
			after(t, "OrderEditProposed", func(a *Accounts, e order.EditProposed) {
				for _, c := range e.Changes {
					if l := a.line(c.LineID); l != nil && c.Op == "quantity" {
						l.Quantity = c.Quantity
					}
				}
			})
		},
		"a late departure delivers nothing": func(t Table) {
			t["OrderShipmentDispatched"] = row(func(a *Accounts, e order.ShipmentDispatched) {
				if p, _ := begin(&a.parcels, e.ShipmentID); p.left == nil {
					p.left, p.carrier, p.tracking = &e.At, e.Carrier, e.TrackingNumber
					p.units = e.Lines
					a.book(e.Lines, func(l *line, n int64) { l.shipped += n })
				}
			})
		},
		"an arrival without departure ships nothing": func(t Table) {
			t["OrderShipmentDelivered"] = row(func(a *Accounts, e order.ShipmentDelivered) {
				p, begins := begin(&a.parcels, e.ShipmentID)
				if begins {
					p.units = e.Lines
				}
				if p.arrived == nil {
					p.arrived = &e.At
					a.book(p.units, func(l *line, n int64) { l.delivered += n })
				}
			})
		},
		"a part captured is all": func(t Table) {
			after(t, "OrderPaymentCaptured", func(a *Accounts, e order.PaymentCaptured) { find(a.payments, e.PaymentID).exhausted = true })
		},
		"a voided payment stays open": func(t Table) { t["OrderPaymentVoided"] = missed },
		"any hold is released": func(t Table) {
			t["OrderHoldReleased"] = row(func(a *Accounts, _ order.HoldReleased) { a.holds = a.holds[min(1, len(a.holds)):] })
		},
		"tags added to tags": func(t Table) {
			t["OrderTagsSet"] = row(func(a *Accounts, e order.TagsSet) { a.tags = slices.Concat(a.tags, e.Tags) })
		},
		"the first confirmation counts": func(t Table) {
			t["OrderConfirmed"] = row(func(a *Accounts, e order.Confirmed) {
				if a.confirmedAt == nil {
					a.confirmedAt = &e.At
				}
			})
		},
		"the order before shines through": func(t Table) {
			was, sum := t["OrderPaymentCaptured"], map[string]int{}
			t["OrderPaymentCaptured"] = func(a *Accounts, e codec.Recorded) {
				was(a, e)
				if sum[e.OrderID]++; sum[e.OrderID]%7 == 0 {
					a.payments[0].captured = a.payments[0].captured.Add(a.payments[0].captured)
				}
			}
		},
	}
	all := histories(t)
	for name, plant := range bugs {
		t.Run(name, func(t *testing.T) {
			rows := Rows()
			plant(rows)
			if !toldApart(rows, all) {
				t.Error("no history gives it away")
			}
		})
	}
}

// after books something more, or other, after a row.
func after[E order.Event](t Table, typ string, more func(*Accounts, E)) {
	was := t[typ]
	t[typ] = func(a *Accounts, e codec.Recorded) {
		was(a, e)
		more(a, e.Event.(E))
	}
}

// A row that misreads one field, whichever, is told apart: all that events say
// is in the document, but for these fields.
func TestEveryFieldIsLookedAt(t *testing.T) {
	silent := map[string]string{
		"OrderPaymentCaptured/CaptureID":     "only a decider asks for it",
		"OrderLinesCancelled/CancellationID": "only a decider asks for it",
		"OrderHoldReleased/Reason":           "a released hold is gone",
		"OrderHoldReleased/At":               "a released hold is gone",
		"OrderShipmentUpdated/At":            "parcels show when they left and arrived",
		"OrderTagsSet/At":                    "",
		"OrderMetadataSet/At":                "",
		"OrderShippingAddressChanged/At":     "",
		"OrderAdoptionCompleted/At":          "",
	}
	events, all := map[string]reflect.Type{}, histories(t)
	for _, h := range all {
		for _, e := range h {
			events[e.Type] = reflect.TypeOf(e.Event)
		}
	}
	for _, typ := range codec.Types() {
		if events[typ] == nil {
			t.Fatalf("no history has %s", typ)
		}
		for i := range events[typ].NumField() {
			name := typ + "/" + events[typ].Field(i).Name
			t.Run(name, func(t *testing.T) {
				rows := Rows()
				was := rows[typ]
				rows[typ] = func(a *Accounts, e codec.Recorded) {
					misread := reflect.New(events[typ]).Elem()
					misread.Set(reflect.ValueOf(e.Event))
					misread.Field(i).Set(other(misread.Field(i)))
					e.Event = misread.Interface().(order.Event)
					was(a, e)
				}
				_, unread := silent[name]
				if apart := toldApart(rows, all); apart == unread {
					t.Errorf("told apart: %t", apart)
				}
			})
		}
	}
}

// other is a value like v that is not v, where it can be.
func other(v reflect.Value) reflect.Value {
	switch x := v.Interface().(type) {
	case time.Time:
		return reflect.ValueOf(x.Add(time.Second))
	case money.Amount:
		return reflect.ValueOf(x.Add(money.Minor(1, x.Currency())))
	case order.Address:
		x.City += "x"
		return reflect.ValueOf(x)
	case order.Customer:
		x.ID += "x"
		return reflect.ValueOf(x)
	case map[string]string:
		return reflect.ValueOf(map[string]string{"x": "y"})
	}
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		out.SetString(v.String() + "x")
	case reflect.Slice:
		if v.Len() == 0 {
			return v
		}
		out.Set(v.Slice(0, v.Len()-1))
	case reflect.Pointer: // nil, which it was not
	default:
		panic("cannot change " + v.Type().String())
	}
	return out
}

// toldApart says whether the invariants see what is wrong with a table.
func toldApart(rows Table, histories [][]codec.Recorded) bool {
	return slices.ContainsFunc(histories, func(events []codec.Recorded) bool {
		return len(rows.Order(events[0].OrderID, events).Violations) > 0
	})
}

func eur(cents int64) money.Amount { return money.Minor(cents, "EUR") }

// histories are some of each sort.
func histories(t *testing.T) [][]codec.Recorded {
	var all [][]codec.Recorded
	for seed := range int64(600) {
		all = append(all, reconciletest.Recorded("o", ordertest.History(seed, 1+int(seed)%60)), reconciletest.Recorded("o", reconciletest.Adopted(seed, 1+int(seed)%40)))
	}
	for seed := range int64(100) {
		all = append(all, reconciletest.Recorded("o", reconciletest.Long(seed, 100)))
	}
	return slices.AppendSeq(all, maps.Values(reconciletest.Excerpt(t)))
}

// typical is the life of most imported orders: 6 events.
func typical() []codec.Recorded {
	at := ordertest.Start
	units := []order.LineQuantity{{LineID: "1", Quantity: 3}, {LineID: "2", Quantity: 2}}
	return reconciletest.Recorded("o", []order.Event{
		order.Placed{
			Number: "N1", Kind: order.KindOrder, Currency: "EUR", Customer: order.Customer{ID: "c1", Name: "Ann"},
			Lines: []order.Line{
				{ID: "1", SKU: "apple", Quantity: 3, UnitPrice: money.MustParse("1.005", "EUR")},
				{ID: "2", SKU: "pear", Quantity: 2, UnitPrice: eur(200)},
			},
			Shipping: eur(500), Discount: eur(100), Tax: eur(50),
			BillingAddress: &order.Address{City: "Rome", Country: "IT"}, Tags: []string{"vip"}, At: at,
		},
		order.PaymentCaptured{PaymentID: "p", Method: "card", Amount: eur(1152), At: at},
		order.Confirmed{At: at},
		order.ShipmentDispatched{ShipmentID: "s", Lines: units, Carrier: "DHL", TrackingNumber: "T1", At: at},
		order.ShipmentDelivered{ShipmentID: "s", At: at},
		order.AdoptionCompleted{At: at},
	})
}

func BenchmarkOrder(b *testing.B) {
	rows, events := Rows(), typical()
	b.ReportAllocs()
	for b.Loop() {
		if got := rows.Order("o", events); len(got.Violations) > 0 {
			b.Fatal(got.Violations)
		}
	}
	b.ReportMetric(float64(b.N*len(events))/b.Elapsed().Seconds(), "events/s")
}
