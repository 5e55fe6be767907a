package expected

import (
	"slices"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
)

// Accounts are what the events of one order were booked into. Nothing in them
// is derived: statuses and totals are read off when all is booked.
type Accounts struct {
	id      string
	placing order.Placed // the first; its Kind is empty before

	confirmedAt, cancelledAt *time.Time
	cancelReason             string
	parcelsTo                *order.Address
	tags                     []string
	metadata                 map[string]string
	anomalies                []order.Anomaly
	shipping, discount, tax  money.Amount

	lines    []line // in force, in order
	index    map[string]int
	taken    []cancellation
	payments []payment
	refunds  []refund
	parcels  []parcel
	returns  []sentBack
	edits    []edit
	holds    []hold // not released
	notes    []note

	revision  eventstore.Revision
	position  eventstore.Position
	updatedAt time.Time
}

func (a *Accounts) placed() bool { return a.placing.Kind != "" }

// line is a line in force and what happened to its units.
type line struct {
	order.Line
	cancelled, shipped, delivered, returned int64

	emptied bool // the event at hand cancelled units of it
}

// left is the quantity in force.
func (l *line) left() int64 { return l.Quantity - l.cancelled }

// cancellation is units that were taken off a line.
type cancellation struct {
	lineID, sku string
	units       int64
	reason      string
	at          time.Time
}

type payment struct {
	name
	method, reference, reason string
	authorised, captured      money.Amount
	exhausted                 bool   // a capture reached what is authorised
	ended                     string // failed or voided, the last of them
	at                        time.Time
}

type refund struct {
	name
	paymentID, returnID, reason, reference string
	amount                                 money.Amount
	ended                                  string // completed or failed, the first of them
	at                                     time.Time
}

type parcel struct {
	name
	units             []order.LineQuantity
	carrier, tracking string
	left, arrived     *time.Time
}

type sentBack struct {
	name
	asked  []order.LineQuantity
	came   []order.ReturnedLine
	reason string
	ended  string // received or rejected, the last of them
	at     time.Time
}

type edit struct {
	name
	changes []order.LineChange
	reason  string
	ended   string // confirmed or declined, the last of them
	at      time.Time
}

type hold struct {
	name
	reason string
	at     time.Time
}

type note struct {
	name
	text, author string
	at           time.Time
}

// name is the id by which an account is found.
type name string

func (n *name) is(id string) bool { return string(*n) == id }
func (n *name) call(id string)    { *n = name(id) }

// account is a pointer to a T that has a name.
type account[T any] interface {
	*T
	is(id string) bool
	call(id string)
}

// find is the account with this id, nil when nothing began it.
func find[P account[T], T any](list []T, id string) *T {
	for i := range list {
		if P(&list[i]).is(id) {
			return &list[i]
		}
	}
	return nil
}

// begin is the account with this id, a new one when nothing began it before.
func begin[P account[T], T any](list *[]T, id string) (a *T, begins bool) {
	if a := find[P](*list, id); a != nil {
		return a, false
	}
	*list = append(*list, *new(T))
	a = &(*list)[len(*list)-1]
	P(a).call(id)
	return a, true
}

// drop closes the account with this id.
func drop[P account[T], T any](list *[]T, id string) {
	*list = slices.DeleteFunc(*list, func(t T) bool { return P(&t).is(id) })
}

// replaceLines puts lines in force. What happened to the units of a line that
// stays is carried over; the quantity is told without cancelled units.
func (a *Accounts) replaceLines(lines []order.Line) {
	now := make([]line, len(lines))
	for i := range lines {
		now[i].Line = lines[i]
		if was := a.line(lines[i].ID); was != nil {
			now[i].shipped, now[i].delivered, now[i].returned = was.shipped, was.delivered, was.returned
		}
	}
	a.lines, a.index = now, nil
}

// closeEmptied closes the lines of which the event at hand cancelled the last
// unit, unless some had been shipped.
func (a *Accounts) closeEmptied() {
	before := len(a.lines)
	a.lines = slices.DeleteFunc(a.lines, func(l line) bool { return l.emptied && l.left() == 0 && l.shipped == 0 })
	if len(a.lines) != before {
		a.index = nil
	}
	for i := range a.lines {
		a.lines[i].emptied = false
	}
}

// load says what is in a parcel, once: the units are shipped, and have arrived
// if the parcel has.
func (a *Accounts) load(p *parcel, units []order.LineQuantity) {
	if len(p.units) > 0 {
		return
	}
	p.units = units
	a.book(units, func(l *line, n int64) { l.shipped += n })
	if p.arrived != nil {
		a.book(units, func(l *line, n int64) { l.delivered += n })
	}
}

// book counts units on their lines; units of a line that is not in force are
// passed over.
func (a *Accounts) book(units []order.LineQuantity, count func(l *line, n int64)) {
	for i := range units {
		if l := a.line(units[i].LineID); l != nil {
			count(l, units[i].Quantity)
		}
	}
}

// manyLines is from how many lines on they are found by an index.
const manyLines = 16

// line is the line in force with this id, the last of several, or nil.
func (a *Accounts) line(id string) *line {
	if len(a.lines) > manyLines {
		if a.index == nil {
			a.index = make(map[string]int, len(a.lines))
			for i := range a.lines {
				a.index[a.lines[i].ID] = i
			}
		}
		if i, ok := a.index[id]; ok {
			return &a.lines[i]
		}
		return nil
	}
	for i := len(a.lines) - 1; i >= 0; i-- {
		if a.lines[i].ID == id {
			return &a.lines[i]
		}
	}
	return nil
}
