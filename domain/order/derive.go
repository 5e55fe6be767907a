package order

import "github.com/docket-orders/docket/domain/money"

// Totals of an order's lines in force.
type Totals struct {
	Items    money.Amount // whole minor units, rounded once, half away from zero
	Rounding money.Amount // rounded minus exact: Items minus Rounding is the exact sum
	Grand    money.Amount // Items + Shipping - Discount + Tax
}

// TotalsOf adds up the lines in force (cancelled units already taken off). It
// fails when the amounts are in two currencies or leave 64 bits. An order
// without lines has the currency of shipping.
func TotalsOf(lines []Line, shipping, discount, tax money.Amount) (Totals, error) {
	exact := shipping.Sub(shipping)
	for _, l := range lines {
		amount, err := l.UnitPrice.TimesChecked(l.Quantity)
		if err != nil {
			return Totals{}, err
		}
		if exact, err = money.Sum(exact, amount); err != nil {
			return Totals{}, err
		}
	}
	items := exact.Rounded()
	rounding, err := money.Sum(items, exact.Neg())
	if err != nil {
		return Totals{}, err
	}
	grand, err := money.Sum(items, shipping, discount.Neg(), tax)
	if err != nil {
		return Totals{}, err
	}
	return Totals{Items: items, Rounding: rounding, Grand: grand}, nil
}

// PaymentStatusOf derives the payment axis: what was captured and given back,
// against the grand total; authorisedOpen says that an authorisation still has
// something to capture. On documents with a negative total (credit notes) the
// signs turn.
func PaymentStatusOf(captured, refunded, grand money.Amount, authorisedOpen bool) PaymentStatus {
	if captured.IsZero() {
		if authorisedOpen {
			return PaymentStatusAuthorised
		}
		return PaymentStatusNone
	}
	if grand.Sign() < 0 {
		captured, refunded, grand = captured.Neg(), refunded.Neg(), grand.Neg()
	}
	if refunded.Sign() > 0 {
		if refunded.Cmp(captured) >= 0 {
			return PaymentStatusRefunded
		}
		return PaymentStatusPartiallyRefunded
	}
	switch captured.Cmp(grand) {
	case -1:
		return PaymentStatusPartiallyPaid
	case 1:
		return PaymentStatusOverpaid
	}
	return PaymentStatusPaid
}

// Units of one line in force, and what happened to them. A unit delivered is
// also shipped, a unit returned is also delivered.
type Units struct {
	Ordered, Shipped, Delivered, Returned int64
}

// FulfilmentStatusOf derives the fulfilment axis from the units of every line.
// A document without a line of positive quantity is judged by its parcels:
// dispatched counts those that left, delivered or not; delivered those that
// arrived.
func FulfilmentStatusOf(lines []Units, dispatched, delivered int) FulfilmentStatus {
	var shippedAny, deliveredAny, returnedAny, units bool
	shippedAll, deliveredAll, returnedAll := true, true, true
	for _, l := range lines {
		if l.Ordered <= 0 {
			continue
		}
		units = true
		shippedAny, shippedAll = shippedAny || l.Shipped > 0, shippedAll && l.Shipped >= l.Ordered
		deliveredAny, deliveredAll = deliveredAny || l.Delivered > 0, deliveredAll && l.Delivered >= l.Ordered
		returnedAny, returnedAll = returnedAny || l.Returned > 0, returnedAll && l.Returned >= l.Ordered
	}
	if !units {
		shippedAny, deliveredAny = dispatched > 0, delivered > 0
		deliveredAll = delivered >= dispatched
	}
	switch {
	case returnedAny && returnedAll:
		return FulfilmentStatusReturned
	case returnedAny:
		return FulfilmentStatusPartiallyReturned
	case deliveredAny && deliveredAll:
		return FulfilmentStatusDelivered
	case deliveredAny:
		return FulfilmentStatusPartiallyDelivered
	case shippedAny && shippedAll:
		return FulfilmentStatusShipped
	case shippedAny:
		return FulfilmentStatusPartiallyShipped
	}
	return FulfilmentStatusNone
}
