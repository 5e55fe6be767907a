package expected

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/view"
)

// The invariants know nothing of the table or the accounts. They look at the
// events and at what came out, and say what must hold between the two, one law
// after the other:
//
//	folds                 no row panics, nor does what is read off
//	last-event            the document is at the last event, and none is missing
//	identity              who, where and what it is called come from the events that may say so
//	things-told           every payment, parcel, return ... is what its own events say, and no more
//	quantities-conserved  units in force, shipped, delivered and returned add up per line
//	money-conserved       totals add up, and are what lines, captures and refunds add up to
//	status-derivable      the axes follow from the figures of the document
//	counted               what is counted is what the document shows
//
// Those that speak of identity, lines and charges want the placing first, where
// every decider puts it.
func violations(events []codec.Recorded, o *Order) []Violation {
	c := check{events: events, o: o, d: &o.Document}
	c.lastEvent()
	c.shipments()
	if placing, ok := events[0].Event.(order.Placed); ok && placing.Kind != "" {
		c.identity(&placing)
		c.quantities(&placing)
		c.charges(&placing)
		c.totals()
	}
	c.payments()
	c.refunds()
	c.returns()
	c.edits()
	c.notes()
	c.holds()
	c.flows()
	c.paymentStatus()
	c.fulfilmentStatus()
	c.counted()
	c.texts()
	return c.broken
}

// enough violations to see what is wrong.
const enough = 20

type check struct {
	events []codec.Recorded
	o      *Order
	d      *view.Order
	packed []packing // by shipments
	broken []Violation
}

// fail is called where something does not hold, so that what holds costs
// nothing.
func (c *check) fail(invariant, format string, args ...any) {
	if len(c.broken) < enough {
		c.broken = append(c.broken, Violation{invariant, fmt.Sprintf(format, args...)})
	}
}

func (c *check) lastEvent() {
	const law = "last-event"
	for i := range c.events {
		if e := &c.events[i]; int(e.Revision) != i || e.OrderID != c.d.ID {
			c.fail(law, "event %d is of order %s, revision %d; the order is %s", i, e.OrderID, e.Revision, c.d.ID)
			break
		}
	}
	last := &c.events[len(c.events)-1]
	if c.d.Revision != int64(last.Revision) || c.d.Position != last.Position.String() || c.d.UpdatedAt != last.Meta.RecordedAt {
		c.fail(law, "document at revision %d, position %s, updated %s; the last event is %d at %s, recorded %s",
			c.d.Revision, c.d.Position, c.d.UpdatedAt, last.Revision, last.Position, last.Meta.RecordedAt)
	}
	if c.d.Degraded != nil {
		c.fail(law, "degraded: %s", c.d.Degraded.Reason)
	}
}

// identity: each field comes from the last event that may set it; the placing
// is the first.
func (c *check) identity(placing *order.Placed) {
	const law = "identity"
	d := c.d
	status, reason := order.StatusPlaced, ""
	var confirmed, cancelled *time.Time
	address, tags, metadata := placing.ShippingAddress, placing.Tags, placing.Metadata
	var anomalies []order.Anomaly
	for i := range c.events {
		switch e := c.events[i].Event.(type) {
		case order.Confirmed:
			confirmed = &e.At
			if status == order.StatusPlaced {
				status = order.StatusConfirmed
			}
		case order.Cancelled:
			status, reason, cancelled = order.StatusCancelled, e.Reason, &e.At
		case order.ShippingAddressChanged:
			address = &e.Address
		case order.TagsSet:
			tags = e.Tags
		case order.MetadataSet:
			metadata = e.Metadata
		case order.AdoptionCompleted:
			anomalies = e.Anomalies
		}
	}
	if d.Number != placing.Number || d.Kind != string(placing.Kind) || d.Currency != placing.Currency ||
		order.Customer(d.Customer) != placing.Customer || d.PlacedAt != placing.At {
		c.fail(law, "order %s (%s, %s) of %v at %s; the placing says %s (%s, %s) of %v at %s", d.Number, d.Kind, d.Currency, d.Customer, d.PlacedAt,
			placing.Number, placing.Kind, placing.Currency, placing.Customer, placing.At)
	}
	if !same((*order.Source)(d.Source), placing.Source) {
		c.fail(law, "source %v, the placing says %v", d.Source, placing.Source)
	}
	if d.Status != string(status) || d.CancelReason != reason || !same(d.ConfirmedAt, confirmed) || !same(d.CancelledAt, cancelled) {
		c.fail(law, "status %s (confirmed %v, cancelled %v because %q), the events say %s (%v, %v, %q)",
			d.Status, d.ConfirmedAt, d.CancelledAt, d.CancelReason, status, confirmed, cancelled, reason)
	}
	if !same((*order.Address)(d.ShippingAddress), address) || !same((*order.Address)(d.BillingAddress), placing.BillingAddress) {
		c.fail(law, "addresses %v and %v, the events say %v and %v", d.ShippingAddress, d.BillingAddress, address, placing.BillingAddress)
	}
	if address == nil {
		address = placing.BillingAddress
	}
	if address == nil {
		address = &order.Address{}
	}
	if d.Country != address.Country || d.State != address.State || d.City != address.City {
		c.fail(law, "in %s, %s, %s; the address is %v", d.City, d.State, d.Country, *address)
	}
	if !slices.Equal(d.Tags, tags) || !maps.Equal(d.Metadata, metadata) {
		c.fail(law, "tags %v and metadata %v, the events say %v and %v", d.Tags, d.Metadata, tags, metadata)
	}
	if !slices.EqualFunc(d.Anomalies, anomalies, func(a view.Anomaly, b order.Anomaly) bool { return order.Anomaly(a) == b }) {
		c.fail(law, "anomalies %v, the adoption says %v", d.Anomalies, anomalies)
	}
}

func same[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}
