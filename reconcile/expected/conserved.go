package expected

import (
	"maps"
	"slices"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/view"
)

const quantitiesConserved = "quantities-conserved"

// quantities: the lines are those put in force last, less what was cancelled
// since, and what happened to their units is what parcels and returns say. On
// adopted orders units may be told of a line that is not there: of these
// orders, only lines in force from the beginning are counted after.
func (c *check) quantities(placing *order.Placed) {
	own := placing.Source == nil
	s := putInForce(placing.Lines, nil, own)
	taken := 0
	for i := range c.events {
		switch e := c.events[i].Event.(type) {
		case order.EditConfirmed:
			s = putInForce(e.Lines, s, own)
		case order.LinesCancelled:
			taken = c.cancelled(s, i, &e, taken)
		}
	}
	if taken != len(c.d.CancelledLines) {
		c.fail(quantitiesConserved, "%d times units were cancelled, the events say %d", len(c.d.CancelledLines), taken)
	}
	for i := range c.d.Shipments {
		for _, u := range c.d.Shipments[i].Lines {
			if l := s.of(u.LineID); l != nil {
				l.shipped += u.Quantity
				if c.d.Shipments[i].DeliveredAt != nil {
					l.delivered += u.Quantity
				}
			}
		}
	}
	for i := range c.d.Returns {
		for _, u := range c.d.Returns[i].Received {
			if l := s.of(u.LineID); l != nil {
				l.returned += u.Quantity
			}
		}
	}
	c.lines(s)
}

// cancelled holds the units of a cancellation, which is event number at, against
// those the document lists from number taken on, and answers how many agree by
// now. A line of which nothing is left, and nothing had left, is gone.
func (c *check) cancelled(s *stock, at int, e *order.LinesCancelled, taken int) int {
	for _, u := range e.Lines {
		l := s.of(u.LineID)
		if l == nil {
			continue // passed over
		}
		l.left -= u.Quantity
		says := view.CancelledLine{LineID: u.LineID, SKU: l.SKU, Quantity: u.Quantity, Reason: e.Reason, At: e.At}
		if taken < len(c.d.CancelledLines) && c.d.CancelledLines[taken] == says {
			taken++
		} else if !l.gone {
			c.fail(quantitiesConserved, "number %d of %d times units were cancelled is not %+v", taken, len(c.d.CancelledLines), says)
		}
	}
	for _, u := range e.Lines {
		if l := s.of(u.LineID); l != nil && l.left == 0 && (!l.sure || c.shippedBefore(u.LineID, at) == 0) {
			l.gone = true
		}
	}
	return taken
}

// shippedBefore is how many units of a line were in the parcels that were heard
// of before event number at.
func (c *check) shippedBefore(lineID string, at int) (n int64) {
	for _, p := range c.packed {
		if p.at >= at {
			continue
		}
		for i := range p.units {
			if p.units[i].LineID == lineID {
				n += p.units[i].Quantity
			}
		}
	}
	return n
}

// lines compares those of the document with the stock.
func (c *check) lines(s *stock) {
	next := 0
	for i := range s.lines {
		l := &s.lines[i]
		if next == len(c.d.Lines) || c.d.Lines[next].ID != l.ID {
			if !l.gone {
				c.fail(quantitiesConserved, "line %s with %d units is not number %d of %d", l.ID, l.left, next, len(c.d.Lines))
			}
			continue
		}
		has := &c.d.Lines[next]
		next++
		if l.sure && l.gone {
			c.fail(quantitiesConserved, "line %s is there, all its units were cancelled", l.ID)
		}
		if has.Quantity != l.left || has.SKU != l.SKU || has.Title != l.Title || has.UnitPrice != l.UnitPrice || !maps.Equal(has.Metadata, l.Metadata) {
			c.fail(quantitiesConserved, "line %+v, the events say %d left of %+v", *has, l.left, *l.Line)
		}
		if l.sure && (has.Shipped != l.shipped || has.Delivered != l.delivered || has.Returned != l.returned) {
			c.fail(quantitiesConserved, "line %s: %d shipped, %d delivered, %d returned; parcels and returns say %d, %d, %d",
				l.ID, has.Shipped, has.Delivered, has.Returned, l.shipped, l.delivered, l.returned)
		}
	}
	if next != len(c.d.Lines) {
		c.fail(quantitiesConserved, "%d lines, of which the events put %d in force", len(c.d.Lines), next)
	}
}

// stock is the lines that one event put in force.
type stock struct {
	lines []stocked
	index map[string]int // of many lines
}

type stocked struct {
	*order.Line
	left                         int64 // without what was cancelled since
	shipped, delivered, returned int64
	sure                         bool // all that is told of it counts
	gone                         bool // for lack of units; where not sure: perhaps
}

func putInForce(lines []order.Line, before *stock, own bool) *stock {
	s := &stock{lines: make([]stocked, len(lines))}
	if len(lines) > manyLines {
		s.index = make(map[string]int, len(lines))
	}
	for i := range lines {
		l := &lines[i]
		s.lines[i] = stocked{Line: l, left: l.Quantity, sure: own || before == nil}
		if before != nil && !own {
			was := before.of(l.ID)
			s.lines[i].sure = was != nil && was.sure && !was.gone
		}
		if s.index != nil {
			s.index[l.ID] = i
		}
	}
	return s
}

func (s *stock) of(id string) *stocked {
	if s.index != nil {
		if i, ok := s.index[id]; ok {
			return &s.lines[i]
		}
		return nil
	}
	for i := range s.lines {
		if s.lines[i].ID == id {
			return &s.lines[i]
		}
	}
	return nil
}

const moneyConserved = "money-conserved"

// charges come from the placing, discount and tax from the last cancellation of
// units that there was.
func (c *check) charges(placing *order.Placed) {
	shipping, discount, tax := placing.Shipping, placing.Discount, placing.Tax
	for i := range c.events {
		if e, ok := c.events[i].Event.(order.LinesCancelled); ok {
			discount, tax = e.Discount, e.Tax
		}
	}
	t := &c.d.Totals
	if t.Shipping.Cmp(shipping) != 0 || t.Discount.Cmp(discount) != 0 || t.Tax.Cmp(tax) != 0 {
		c.fail(moneyConserved, "shipping %s, discount %s, tax %s; the events say %s, %s, %s", t.Shipping, t.Discount, t.Tax, shipping, discount, tax)
	}
}

// totals of a placed order: nothing is lost between the lines and the grand
// total but half a minor unit, once.
func (c *check) totals() {
	t := &c.d.Totals
	exact := money.Zero(c.d.Currency)
	for i := range c.d.Lines {
		l := &c.d.Lines[i]
		if l.Total != l.UnitPrice.Times(l.Quantity) {
			c.fail(moneyConserved, "line %s: %d times %s is not %s", l.ID, l.Quantity, l.UnitPrice, l.Total)
		}
		exact = exact.Add(l.Total)
	}
	if t.Items.Sub(t.Rounding) != exact {
		c.fail(moneyConserved, "items %s less rounding %s is not the sum of the lines, %s", t.Items, t.Rounding, exact)
	}
	unit := money.Minor(1, c.d.Currency)
	half := t.Rounding.Add(t.Rounding) // compared with a whole unit
	if half.Sign() < 0 {
		half = half.Neg()
	}
	if !t.Items.WholeMinor() || half.Cmp(unit) > 0 || half == unit && t.Rounding.Sign() != exact.Sign() {
		c.fail(moneyConserved, "%s was rounded to %s", exact, t.Items)
	}
	if t.Grand != t.Items.Add(t.Shipping).Add(t.Tax).Sub(t.Discount) {
		c.fail(moneyConserved, "grand total %s of items %s, shipping %s, discount %s, tax %s", t.Grand, t.Items, t.Shipping, t.Discount, t.Tax)
	}
}

// flows: what was paid is all captures, and what every payment captured; what
// was refunded is the completed refunds.
func (c *check) flows() {
	var captures, captured, refunded money.Amount
	for i := range c.events {
		if e, ok := c.events[i].Event.(order.PaymentCaptured); ok {
			captures = captures.Add(e.Amount)
		}
	}
	for i := range c.d.Payments {
		captured = captured.Add(c.d.Payments[i].Captured)
	}
	for i := range c.d.Refunds {
		if r := &c.d.Refunds[i]; r.Status == "completed" {
			refunded = refunded.Add(r.Amount)
		}
	}
	t := &c.d.Totals
	if t.Paid.Cmp(captures) != 0 || t.Paid.Cmp(captured) != 0 {
		c.fail(moneyConserved, "paid %s, captures of %s, payments of %s", t.Paid, captures, captured)
	}
	if t.Refunded.Cmp(refunded) != 0 {
		c.fail(moneyConserved, "refunded %s, completed refunds of %s", t.Refunded, refunded)
	}
	if cur := c.d.Currency; cur != "" && (t.Paid.Currency() != cur || t.Refunded.Currency() != cur) {
		c.fail(moneyConserved, "an order in %s, paid %s, refunded %s", c.d.Currency, t.Paid, t.Refunded)
	}
}

const statusDerivable = "status-derivable"

// paymentStatus: what the status claims is so. On a document with a negative
// total the signs turn.
func (c *check) paymentStatus() {
	paid, refunded, grand := c.d.Totals.Paid, c.d.Totals.Refunded, c.d.Totals.Grand
	if grand.Sign() < 0 {
		paid, refunded, grand = paid.Neg(), refunded.Neg(), grand.Neg()
	}
	open := false
	for i := range c.d.Payments {
		p := &c.d.Payments[i]
		open = open || p.Status == "authorised" && p.Captured.Cmp(p.Authorised) < 0
	}
	nothing, back := paid.IsZero(), refunded.Sign() > 0
	var so bool
	switch order.PaymentStatus(c.d.PaymentStatus) {
	case order.PaymentStatusNone:
		so = nothing && !open
	case order.PaymentStatusAuthorised:
		so = nothing && open
	case order.PaymentStatusPartiallyPaid:
		so = !nothing && !back && paid.Cmp(grand) < 0
	case order.PaymentStatusPaid:
		so = !nothing && !back && paid.Cmp(grand) == 0
	case order.PaymentStatusOverpaid:
		so = !nothing && !back && paid.Cmp(grand) > 0
	case order.PaymentStatusPartiallyRefunded:
		so = !nothing && back && refunded.Cmp(paid) < 0
	case order.PaymentStatusRefunded:
		so = !nothing && back && refunded.Cmp(paid) >= 0
	}
	if !so {
		c.fail(statusDerivable, "payment status %s: paid %s and refunded %s of %s, an authorisation open: %t",
			c.d.PaymentStatus, c.d.Totals.Paid, c.d.Totals.Refunded, c.d.Totals.Grand, open)
	}
}

// fulfilmentStatus: what the status claims is so, and deliveredAt is that of
// the last parcel exactly if everything arrived.
func (c *check) fulfilmentStatus() {
	lines, parcels := 0, len(c.d.Shipments)
	var some, all [3]int // lines of which some units, or all, were shipped, delivered, returned
	for i := range c.d.Lines {
		l := &c.d.Lines[i]
		if l.Quantity <= 0 {
			continue
		}
		lines++
		for stage, n := range [...]int64{l.Shipped, l.Delivered, l.Returned} {
			if n > 0 {
				some[stage]++
			}
			if n >= l.Quantity {
				all[stage]++
			}
		}
	}
	arrivals, last := 0, time.Time{}
	for i := range c.d.Shipments {
		if at := c.d.Shipments[i].DeliveredAt; at != nil {
			if arrivals++; arrivals == 1 || at.After(last) {
				last = *at
			}
		}
	}
	if lines == 0 { // then whole parcels count
		lines = parcels
		some = [3]int{parcels, arrivals, 0}
		all = some
	}
	var so bool
	switch order.FulfilmentStatus(c.d.FulfilmentStatus) {
	case order.FulfilmentStatusReturned:
		so = some[2] > 0 && all[2] == lines
	case order.FulfilmentStatusPartiallyReturned:
		so = some[2] > 0 && all[2] < lines
	case order.FulfilmentStatusDelivered:
		so = some[2] == 0 && some[1] > 0 && all[1] == lines
	case order.FulfilmentStatusPartiallyDelivered:
		so = some[2] == 0 && some[1] > 0 && all[1] < lines
	case order.FulfilmentStatusShipped:
		so = some[2] == 0 && some[1] == 0 && some[0] > 0 && all[0] == lines
	case order.FulfilmentStatusPartiallyShipped:
		so = some[2] == 0 && some[1] == 0 && some[0] > 0 && all[0] < lines
	case order.FulfilmentStatusNone:
		so = some == [3]int{}
	}
	if !so {
		c.fail(statusDerivable, "fulfilment status %s: of %d lines or parcels some of %d, all of %d (shipped, delivered, returned)",
			c.d.FulfilmentStatus, lines, some, all)
	}
	whole := some[1] > 0 && all[1] == lines
	if (c.d.DeliveredAt != nil) != whole || whole && arrivals > 0 && *c.d.DeliveredAt != last {
		c.fail(statusDerivable, "delivered %v; everything arrived: %t, last at %s", c.d.DeliveredAt, whole, last)
	}
}

// counted: sums over lines, payments and products come to the totals of the
// document, and every value it has stands once in its dimension.
func (c *check) counted() {
	const law = "counted"
	d, n := c.d, &c.o.Counted
	if d.Kind == "" {
		if n.Orders != 0 || n.Groups != nil || n.Products != nil || n.Methods != nil || n.Currency != "" {
			c.fail(law, "%+v of an order that was never placed", *n)
		}
		return
	}
	if n.Orders != 1 || n.Currency != d.Currency || n.Customer != d.Customer.ID || n.Day != d.PlacedAt.UTC().Format(time.DateOnly) {
		c.fail(law, "%d orders of %q in %s on %s; the document is of %q in %s at %s",
			n.Orders, n.Customer, n.Currency, n.Day, d.Customer.ID, d.Currency, d.PlacedAt)
	}
	minor := func(units int64) money.Amount { return money.Minor(units, d.Currency) }
	fine := func(units int64) money.Amount { return money.New(units, money.MaxScale, d.Currency) }
	t := &d.Totals
	if minor(n.Items) != t.Items || minor(n.Shipping) != t.Shipping || minor(n.Grand) != t.Grand || minor(n.Paid) != t.Paid || fine(n.Rounding) != t.Rounding {
		c.fail(law, "sums %d, %d, %d, %d, %d of %+v", n.Items, n.Shipping, n.Grand, n.Paid, n.Rounding, *t)
	}
	var units, sold, payments, paid, captured int64
	exact := money.Zero(d.Currency)
	for i := range d.Lines {
		units += d.Lines[i].Quantity
	}
	for i := range n.Products {
		p := &n.Products[i]
		sold += p.Units
		exact = exact.Add(money.New(p.Amount, 0, d.Currency)).Add(fine(p.Millionths))
		if i > 0 && n.Products[i-1].SKU >= p.SKU {
			c.fail(law, "product %q comes twice or late", p.SKU)
		}
	}
	if n.Lines != int64(len(d.Lines)) || n.Units != units || sold != units || exact != t.Items.Sub(t.Rounding) {
		c.fail(law, "%d lines of %d units, products of %d units for %s; the document has %d of %d for %s",
			n.Lines, n.Units, sold, exact, len(d.Lines), units, t.Items.Sub(t.Rounding))
	}
	for i := range d.Payments {
		if p := &d.Payments[i]; p.Status == "captured" || !p.Captured.IsZero() {
			paid++
		}
	}
	for i := range n.Methods {
		payments, captured = payments+n.Methods[i].Payments, captured+n.Methods[i].Captured
		if i > 0 && n.Methods[i-1].Method >= n.Methods[i].Method {
			c.fail(law, "method %q comes twice or late", n.Methods[i].Method)
		}
	}
	if payments != paid || minor(captured) != t.Paid {
		c.fail(law, "methods of %d payments for %d; the document has %d for %s", payments, captured, paid, t.Paid)
	}
	c.groups(law)
}

// groups: every value of the document stands there once, and nothing else.
func (c *check) groups(law string) {
	d, has := c.d, c.o.Counted.Groups
	values := 0
	value := func(dimension, key string) {
		if key == "" {
			return
		}
		values++
		if !slices.Contains(has, Group{dimension, key}) {
			c.fail(law, "not counted under %s %q", dimension, key)
		}
	}
	value("status", d.Status)
	value("paymentStatus", d.PaymentStatus)
	value("fulfilmentStatus", d.FulfilmentStatus)
	value("kind", d.Kind)
	value("country", d.Country)
	value("state", d.State)
	if d.Source != nil {
		value("source", d.Source.System)
	}
	for i, tag := range d.Tags {
		if !slices.Contains(d.Tags[:i], tag) {
			value("tag", tag)
		}
	}
	for i := range d.Anomalies {
		kind := d.Anomalies[i].Kind
		if !slices.ContainsFunc(d.Anomalies[:i], func(a view.Anomaly) bool { return a.Kind == kind }) {
			value("anomaly", kind)
		}
	}
	if values != len(has) {
		c.fail(law, "counted in %d groups, the document has %d values", len(has), values)
	}
}

// texts: none of the document's is missing or empty.
func (c *check) texts() {
	d, n := c.d, 0
	is := func(texts ...string) {
		for _, text := range texts {
			if text != "" {
				n++
			}
		}
	}
	is(d.Number, d.Customer.Name, d.Customer.Email)
	is(d.Tags...)
	for i := range d.Lines {
		is(d.Lines[i].SKU, d.Lines[i].Title)
	}
	for i := range d.Notes {
		is(d.Notes[i].Text)
	}
	for i := range d.Shipments {
		is(d.Shipments[i].TrackingNumber)
	}
	for _, a := range [...]*view.Address{d.BillingAddress, d.ShippingAddress} {
		if a != nil {
			is(a.Name, a.Company, a.Street, a.PostalCode, a.City, a.State, a.Country, a.Phone)
		}
	}
	if n != len(c.o.Texts) || slices.Contains(c.o.Texts, "") {
		c.fail("counted", "found by %d texts, the document has %d", len(c.o.Texts), n)
	}
}
