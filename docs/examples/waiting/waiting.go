// Package waiting is a read model of a user's own, whole: which orders have been
// waiting for a parcel for longer than so many days, for how many units, of what
// value, and where. docs/read-models.md tells how it comes to life.
package waiting

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/readmodel"
)

// View is what docket is given.
var View = readmodel.View[Order]{
	Name: "waiting", Version: 1,
	Apply:         apply,
	Contributions: contributions,
	Questions: []readmodel.Question[Order]{
		{
			Name: "longer-than", Doc: "Orders with units that nobody has sent for longer than so many days, the longest first.",
			Params: []readmodel.Param{
				{Name: "days", Doc: "So many days.", Max: 36500, Default: 7},
				{Name: "country", Doc: "Only to this country."},
			},
			Answer: longerThan,
		},
		{Name: "by-country", Doc: "How many orders and units wait, and their value, by country.", Answer: byCountry},
	},
}

// Order is the document: what an order waits for.
type Order struct {
	Number   string          `json:"number"`
	Customer string          `json:"customer,omitempty"`
	Country  string          `json:"country,omitempty"`
	Since    time.Time       `json:"since"`             // it was placed
	Units    int64           `json:"units"`             // that nobody has sent
	Value    money.Amount    `json:"value"`             // of them, in whole minor units
	Lines    map[string]Line `json:"lines"`             // by line id
	Parcels  map[string]bool `json:"parcels,omitempty"` // by id: its units are known
	Over     bool            `json:"over,omitempty"`    // it was cancelled, or is no order
}

// Line is what was ordered and sent of it.
type Line struct {
	Ordered int64        `json:"ordered"`
	Sent    int64        `json:"sent"`
	Price   money.Amount `json:"price"` // of one
}

func apply(o Order, e readmodel.Event) Order {
	switch event := e.Event.(type) {
	case order.Placed:
		o.Number, o.Customer, o.Since = event.Number, event.Customer.Name, event.At
		o.Value, o.Over = money.Zero(event.Currency), event.Kind != order.KindOrder
		for _, a := range []*order.Address{event.BillingAddress, event.ShippingAddress} {
			if a != nil {
				o.Country = a.Country
			}
		}
		o = ordered(o, event.Lines)
	case order.ShippingAddressChanged:
		o.Country = event.Address.Country
	case order.EditConfirmed:
		o = ordered(o, event.Lines)
	case order.LinesCancelled:
		o = cancelled(o, event.Lines)
	case order.ShipmentDispatched:
		if !o.Parcels[event.ShipmentID] {
			o = sent(o, event.ShipmentID, event.Lines, true)
		}
	case order.ShipmentDelivered: // adopted orders know of some parcels only that they came
		if _, known := o.Parcels[event.ShipmentID]; !known {
			o = sent(o, event.ShipmentID, event.Lines, len(event.Lines) > 0)
		}
	case order.Cancelled:
		o.Over = true
	default:
		return o
	}
	return counted(o)
}

// ordered puts the lines in force in place of those that were.
func ordered(o Order, lines []order.Line) Order {
	now := make(map[string]Line, len(lines))
	for _, l := range lines {
		now[l.ID] = Line{Ordered: l.Quantity, Sent: o.Lines[l.ID].Sent, Price: l.UnitPrice}
	}
	o.Lines = now
	return o
}

// cancelled takes units off their lines; a line of nothing is gone.
func cancelled(o Order, lines []order.LineQuantity) Order {
	o = moved(o, lines, func(l *Line, units int64) { l.Ordered -= units })
	for _, q := range lines {
		if l := o.Lines[q.LineID]; l.Ordered == 0 && l.Sent == 0 {
			delete(o.Lines, q.LineID)
		}
	}
	return o
}

// sent takes a parcel. One that came before anybody said what is in it is told
// when it is said to have left.
func sent(o Order, parcel string, lines []order.LineQuantity, told bool) Order {
	parcels := maps.Clone(o.Parcels)
	if parcels == nil {
		parcels = map[string]bool{}
	}
	parcels[parcel] = told
	o.Parcels = parcels
	return moved(o, lines, func(l *Line, units int64) { l.Sent += units })
}

// moved changes lines of a copy: a document that was given out stays as it is.
func moved(o Order, lines []order.LineQuantity, move func(l *Line, units int64)) Order {
	o.Lines = maps.Clone(o.Lines)
	for _, q := range lines {
		if l, ok := o.Lines[q.LineID]; ok {
			move(&l, q.Quantity)
			o.Lines[q.LineID] = l
		}
	}
	return o
}

// counted adds up what waits.
func counted(o Order) Order {
	o.Units, o.Value = 0, money.Zero(o.Value.Currency())
	if o.Over {
		return o
	}
	for _, id := range slices.Sorted(maps.Keys(o.Lines)) {
		if l := o.Lines[id]; l.Ordered > l.Sent {
			o.Units += l.Ordered - l.Sent
			o.Value = o.Value.Add(l.Price.Times(l.Ordered - l.Sent))
		}
	}
	o.Value = o.Value.Rounded()
	return o
}

// contributions: an order that waits is in the list of all that do, and in that
// of its country; it is counted under its country. Any other is found by its id
// alone.
func contributions(o Order) readmodel.Contributions {
	if o.Units <= 0 {
		return readmodel.Contributions{}
	}
	country := o.Country
	if country == "" {
		country = "unknown"
	}
	return readmodel.Contributions{
		Lists: []string{everywhere, to(country)}, At: o.Since,
		Groups: []readmodel.Group{{By: "country", Key: country}}, Units: o.Units, Amount: o.Value,
	}
}

const everywhere = "all"

func to(country string) string { return "to " + country }

func longerThan(ctx context.Context, r readmodel.Reader[Order], a readmodel.Asked) (any, error) {
	list, before := everywhere, a.Now.AddDate(0, 0, -int(a.Number("days")))
	if country := a.Text("country"); country != "" {
		list = to(country)
	}
	return r.List(ctx, readmodel.Selection{Lists: []string{list}, To: &before}, a)
}

func byCountry(ctx context.Context, r readmodel.Reader[Order], a readmodel.Asked) (any, error) {
	return r.Figures(ctx, "country")
}
