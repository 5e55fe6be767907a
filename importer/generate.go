package importer

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
)

// Lifecycle is one generated order: its commands in order of business time,
// the first of which places it.
type Lifecycle struct {
	OrderID string
	Steps   []Step
}

// Step is one command and the key that makes sending it again harmless.
type Step struct {
	Command order.Command
	Key     string
}

// Generate makes n whole lifecycles, placed over the year that begins at from,
// in order of their placing: paid at once or later, sent in one parcel or two,
// delivered, sent back and refunded, held, edited, cancelled, or still open. The
// same arguments give the same commands, and all of them are accepted when each
// order's are sent in order. No business time is beyond from plus a year.
func Generate(seed uint64, n int, from time.Time) iter.Seq[Lifecycle] {
	return func(yield func(Lifecycle) bool) {
		const year = 365 * 24 * time.Hour
		random := rand.New(rand.NewPCG(seed, uint64(n)))
		starts := make([]time.Duration, n)
		for i := range starts {
			starts[i] = time.Duration(random.Int64N(int64(year / time.Second)))
		}
		slices.Sort(starts)
		from = from.UTC().Truncate(time.Second)
		for i, start := range starts {
			l := life{
				// Every order draws from its own source.
				random: rand.New(rand.NewPCG(seed, uint64(i)+1)),
				id:     fmt.Sprintf("demo-%d-%05d", seed, i+1),
				now:    from.Add(start * time.Second),
				end:    from.Add(year),
			}
			l.live()
			if !yield(Lifecycle{l.id, l.steps}) {
				return
			}
		}
	}
}

// life is an order being lived through.
type life struct {
	random *rand.Rand
	id     string
	now    time.Time
	end    time.Time // nothing is known beyond
	over   bool      // the end was reached
	steps  []Step

	shop  shop
	lines []order.Line
	due   money.Amount
	ids   int
}

// do sends one command, unless its time is beyond the end.
func (l *life) do(c order.Command) {
	if !l.over {
		l.steps = append(l.steps, Step{c, fmt.Sprintf("generate:%s:%d", l.id, len(l.steps))})
	}
}

// pass lets between least and most go by.
func (l *life) pass(least, most time.Duration) {
	l.now = l.now.Add(least + time.Duration(l.random.Int64N(int64((most-least)/time.Second)))*time.Second)
	l.over = l.over || l.now.After(l.end)
}

// chance is true percent times of a hundred.
func (l *life) chance(percent int) bool { return l.random.IntN(100) < percent }

func (l *life) newID(kind string) string {
	l.ids++
	return kind + "-" + strconv.Itoa(l.ids)
}

func pick[T any](l *life, from []T) T { return from[l.random.IntN(len(from))] }

const (
	hour = time.Hour
	day  = 24 * hour
)

// live is the story, from placing to whatever the end is.
func (l *life) live() {
	l.place()
	if l.chance(6) {
		l.pass(hour, 2*day)
		l.do(order.Cancel{Reason: pick(l, cancelReasons), At: l.now})
		return
	}
	payment := l.pay()
	if payment == "" {
		return // never paid; still open
	}
	l.pass(time.Minute, 6*hour)
	l.do(order.Confirm{At: l.now})
	l.talk()
	if l.chance(10) {
		l.edit()
	}
	if l.chance(8) {
		l.hold()
	}
	if l.chance(5) {
		l.pass(hour, day)
		l.do(order.Cancel{Reason: pick(l, cancelReasons), At: l.now})
		l.refund(payment, "", l.due)
		return
	}
	l.ship()
	if l.chance(12) {
		l.sendBack(payment)
	}
}

// place chooses who buys what, where.
func (l *life) place() {
	l.shop = pick(l, shops)
	// A person always has the same name.
	person := l.random.IntN(60)
	name := l.shop.first[person%len(l.shop.first)] + " " + l.shop.last[person/7%len(l.shop.last)]
	where := pick(l, l.shop.cities)
	address := order.Address{
		Name:       name,
		Street:     fmt.Sprintf("%s %d", pick(l, l.shop.streets), 1+l.random.IntN(120)),
		PostalCode: fmt.Sprintf(l.shop.postal, l.random.IntN(l.shop.postals)),
		City:       where.city, State: where.state, Country: l.shop.country,
	}
	customer := order.Customer{
		ID:    fmt.Sprintf("%s-%03d", l.shop.country, person),
		Name:  name,
		Email: fmt.Sprintf("customer%03d@%s.example.com", person, l.shop.mail),
	}
	if l.chance(10) {
		customer = order.Customer{} // a guest
	}
	for _, at := range l.random.Perm(len(products))[:1+l.random.IntN(4)] {
		p := products[at]
		price := money.Minor(p.cents, l.shop.currency)
		if l.shop.currency.Decimals() == 0 {
			price = money.Minor(p.cents*3/2, l.shop.currency) // yen
		}
		l.lines = append(l.lines, order.Line{
			ID: strconv.Itoa(len(l.lines) + 1), SKU: p.sku, Title: p.title,
			Quantity: 1 + int64(l.random.IntN(4)), UnitPrice: price,
		})
	}
	shipping := money.Minor(l.shop.shipping, l.shop.currency)
	l.due = shipping.Add(l.items())
	tags := []string{"generated"}
	if l.chance(15) {
		tags = append(tags, "gift")
	}
	l.do(order.Place{
		Customer: customer, Currency: l.shop.currency, Lines: slices.Clone(l.lines),
		Shipping: shipping, ShippingAddress: &address, Tags: tags, At: l.now,
	})
}

func (l *life) items() money.Amount {
	sum := money.Zero(l.shop.currency)
	for _, line := range l.lines {
		sum = sum.Add(line.UnitPrice.Times(line.Quantity))
	}
	return sum
}

// pay pays what is due, perhaps at the second attempt; it returns the payment,
// or nothing when the customer never does.
func (l *life) pay() string {
	method := pick(l, l.shop.methods)
	if l.chance(7) {
		failed := l.newID("payment")
		l.pass(time.Minute, hour)
		l.do(order.AddPayment{PaymentID: failed, Method: method, Amount: l.due, At: l.now})
		l.pass(time.Minute, hour)
		l.do(order.FailPayment{PaymentID: failed, Reason: "declined by the bank", At: l.now})
		if l.chance(30) {
			return ""
		}
	}
	payment := l.newID("payment")
	l.pass(time.Minute, 5*hour)
	if l.chance(60) {
		l.do(order.AddPayment{PaymentID: payment, Method: method, Amount: l.due, Capture: true, At: l.now})
		return payment
	}
	l.do(order.AddPayment{PaymentID: payment, Method: method, Amount: l.due, At: l.now})
	l.pass(time.Minute, 2*day)
	l.do(order.CapturePayment{PaymentID: payment, CaptureID: l.newID("capture"), At: l.now})
	return payment
}

// talk leaves a note now and then.
func (l *life) talk() {
	if l.chance(20) {
		l.pass(time.Minute, hour)
		l.do(order.AddNote{NoteID: l.newID("note"), Text: pick(l, notes), Author: "service", At: l.now})
	}
}

// edit takes units more of a line, paid with a second payment, or lets a
// proposal go.
func (l *life) edit() {
	edit, line := l.newID("edit"), &l.lines[0]
	l.pass(time.Minute, 4*hour)
	l.do(order.ProposeEdit{EditID: edit, Reason: "customer wrote",
		Changes: []order.LineChange{{Op: "quantity", LineID: line.ID, Quantity: line.Quantity + 1}}, At: l.now})
	l.pass(time.Minute, 4*hour)
	if l.chance(30) {
		l.do(order.DeclineEdit{EditID: edit, Reason: "customer changed their mind", At: l.now})
		return
	}
	l.do(order.ConfirmEdit{EditID: edit, At: l.now})
	line.Quantity++
	l.pass(time.Minute, hour)
	l.do(order.AddPayment{PaymentID: l.newID("payment"), Method: pick(l, l.shop.methods), Amount: line.UnitPrice, Capture: true, At: l.now})
}

// hold stops the order for a while.
func (l *life) hold() {
	hold := l.newID("hold")
	l.pass(time.Minute, hour)
	l.do(order.PlaceHold{HoldID: hold, Reason: pick(l, holdReasons), At: l.now})
	l.pass(hour, 3*day)
	l.do(order.ReleaseHold{HoldID: hold, Reason: "checked", At: l.now})
}

// ship sends everything, in two parcels when the first line goes alone.
func (l *life) ship() {
	var parcels [][]order.LineQuantity
	if len(l.lines) > 1 && l.chance(30) {
		parcels = append(parcels, []order.LineQuantity{{LineID: l.lines[0].ID, Quantity: l.lines[0].Quantity}})
	}
	parcels = append(parcels, nil) // all that has not left
	var sent []string
	for _, units := range parcels {
		parcel := l.newID("parcel")
		l.pass(2*hour, 2*day)
		l.do(order.Dispatch{ShipmentID: parcel, Lines: units, Carrier: pick(l, l.shop.carriers),
			TrackingNumber: fmt.Sprintf("%s%09d", l.shop.country, l.random.IntN(1_000_000_000)), At: l.now})
		sent = append(sent, parcel)
	}
	for _, parcel := range sent {
		l.pass(12*hour, 5*day)
		l.do(order.Deliver{ShipmentID: parcel, At: l.now})
	}
}

// sendBack returns one unit of a line, mostly for its price.
func (l *life) sendBack(payment string) {
	line, back := l.lines[len(l.lines)-1], l.newID("return")
	l.pass(day, 14*day)
	l.do(order.RequestReturn{ReturnID: back, Reason: pick(l, returnReasons),
		Lines: []order.LineQuantity{{LineID: line.ID, Quantity: 1}}, At: l.now})
	l.pass(day, 7*day)
	if l.chance(15) {
		l.do(order.RejectReturn{ReturnID: back, Reason: "not within 14 days", At: l.now})
		return
	}
	l.do(order.ReceiveReturn{ReturnID: back, At: l.now,
		Lines: []order.ReturnedLine{{LineID: line.ID, Quantity: 1, Condition: pick(l, []string{"new", "opened", "damaged"})}}})
	l.refund(payment, back, line.UnitPrice)
}

func (l *life) refund(payment, back string, amount money.Amount) {
	refund := l.newID("refund")
	l.pass(time.Minute, day)
	l.do(order.GrantRefund{RefundID: refund, PaymentID: payment, Amount: amount, ReturnID: back, At: l.now})
	l.pass(hour, 3*day)
	if l.chance(5) {
		l.do(order.FailRefund{RefundID: refund, Reason: "account is closed", At: l.now})
		return
	}
	l.do(order.CompleteRefund{RefundID: refund, Reference: "R" + strconv.Itoa(l.random.IntN(1_000_000)), At: l.now})
}
