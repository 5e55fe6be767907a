package projectionstest

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// What documents are made of: few values, so that questions match many, with
// ties in every sort, accents, cases, and guests.
var (
	statuses    = []string{"placed", "confirmed", "confirmed", "confirmed", "cancelled"}
	paid        = []string{"none", "authorised", "paid", "paid", "overpaid"}
	fulfilled   = []string{"none", "shipped", "delivered", "delivered", "delivered"}
	kinds       = []string{"order", "order", "order", "creditNote", "adjustment"}
	currencies  = []money.Currency{"BRL", "BRL", "BRL", "GBP", "JPY", "KWD"}
	systems     = []string{"olist", "online-retail", "shop", ""}
	countries   = []string{"BR", "GB", "FR", ""}
	states      = []string{"SP", "RJ", "MG", ""}
	tags        = []string{"olist:delivered", "gift", "vip", "a,b", `quo"ted`, "Ärger"}
	anomalies   = []string{"no-lines", "paid-differs", "delivered-before-handover"}
	methods     = []string{"credit_card", "voucher", "boleto"}
	titles      = []string{"Café crème", "CAFE MUG", "naïve lamp", "Straße 9", "ﬁne clock", "T-Light holder 3.14", "日本 茶"}
	people      = []string{"José Álvarez", "jose alvarez", "Zoë O'Neil", "Łukasz", ""}
	firstPlaced = time.Date(2018, 1, 28, 22, 0, 0, 0, time.UTC)
)

// Documents makes n orders with distinct ids, some of which differ by case
// only. The same seed gives the same documents.
func Documents(seed uint64, n int) []view.Order {
	r := rand.New(rand.NewPCG(seed, 1))
	docs := make([]view.Order, n)
	for i := range docs {
		id := "o" + strconv.Itoa(i)
		switch i % 3 {
		case 1:
			id = "O" + strconv.Itoa(i-1)
		case 2:
			var b [8]byte
			for j := range b {
				b[j] = byte(r.Uint32())
			}
			id = hex.EncodeToString(b[:]) + "-" + strconv.Itoa(i)
		}
		docs[i] = document(r, id)
	}
	return docs
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// document makes a random order at a revision of 0 to 5.
func document(r *rand.Rand, id string) view.Order {
	doc := view.Order{
		ID: id, Number: fmt.Sprintf("N%03d", r.IntN(300)), Kind: pick(r, kinds),
		PlacedAt:  firstPlaced.Add(time.Duration(r.IntN(9*24)) * time.Hour),
		UpdatedAt: firstPlaced.Add(time.Duration(r.IntN(1_000_000)) * time.Millisecond),
		Currency:  pick(r, currencies),
		Country:   pick(r, countries), State: pick(r, states), City: "São Paulo",
		Holds: []view.Hold{}, Tags: []string{}, CancelledLines: []view.CancelledLine{}, Refunds: []view.Refund{},
		Shipments: []view.Shipment{}, Returns: []view.Return{}, Edits: []view.Edit{}, Notes: []view.Note{},
		Anomalies: []view.Anomaly{}, Revision: r.Int64N(6), Position: strconv.Itoa(r.IntN(1_000_000)),
	}
	if system := pick(r, systems); system != "" {
		doc.Source = &view.Source{System: system, ID: id, Status: "delivered"}
	}
	if c := r.IntN(40); c > 0 {
		doc.Customer = view.Customer{ID: "c" + strconv.Itoa(c), Name: pick(r, people), Email: fmt.Sprintf("c%d@example.org", c)}
	}
	if doc.Country != "" {
		doc.ShippingAddress = &view.Address{Name: doc.Customer.Name, Street: "Rua " + pick(r, titles), City: doc.City, State: doc.State, Country: doc.Country}
	}
	if r.IntN(3) == 0 {
		doc.Metadata = map[string]string{"channel": "web", "<&>": "\u2028"}
	}
	axes(r, &doc)
	lines(r, &doc)
	return doc
}

// axes gives the order new statuses, tags and anomalies.
func axes(r *rand.Rand, doc *view.Order) {
	doc.Status, doc.PaymentStatus, doc.FulfilmentStatus = pick(r, statuses), pick(r, paid), pick(r, fulfilled)
	doc.DeliveredAt = nil
	if doc.FulfilmentStatus == "delivered" {
		at := doc.PlacedAt.Add(time.Duration(r.IntN(72)) * time.Hour)
		doc.DeliveredAt = &at
	}
	doc.Tags = []string{}
	for range r.IntN(3) {
		doc.Tags = append(doc.Tags, pick(r, tags)) // a tag may come twice
	}
	doc.Anomalies = []view.Anomaly{}
	for range r.IntN(3) {
		doc.Anomalies = append(doc.Anomalies, view.Anomaly{Kind: pick(r, anomalies), Detail: "as found"})
	}
	doc.Notes = []view.Note{}
	if r.IntN(3) == 0 {
		doc.Notes = append(doc.Notes, view.Note{ID: "n1", Text: `rare ` + pick(r, titles) + ` AND "NEAR"`, Author: "ann", At: doc.PlacedAt.Add(1234 * time.Microsecond)})
	}
}

// lines gives the order new lines and payments, and the totals that follow.
func lines(r *rand.Rand, doc *view.Order) {
	c := doc.Currency
	sign := int64(1)
	if doc.Kind != "order" {
		sign = -1
	}
	doc.Lines = []view.Line{}
	exact, shipping := money.Zero(c), money.Minor(r.Int64N(3)*500, c)
	for i := range r.IntN(4) {
		price := money.New(1+r.Int64N(9)*1255, c.Decimals()+1, c)
		l := view.Line{ID: strconv.Itoa(i + 1), SKU: "SKU-" + strconv.Itoa(r.IntN(30)), Title: pick(r, titles), Quantity: sign * (1 + r.Int64N(4)), UnitPrice: price}
		l.Total = price.Times(l.Quantity)
		exact = exact.Add(l.Total)
		doc.Lines = append(doc.Lines, l)
	}
	items := exact.Rounded()
	doc.Payments = []view.Payment{}
	paid := money.Zero(c)
	for i := range r.IntN(3) {
		p := view.Payment{ID: "p" + strconv.Itoa(i), Method: pick(r, methods), Status: "captured", Authorised: money.Zero(c), Captured: money.Minor(r.Int64N(4)*1000, c), At: doc.PlacedAt}
		paid = paid.Add(p.Captured)
		doc.Payments = append(doc.Payments, p)
	}
	doc.Totals = view.Totals{
		Items: items, Shipping: shipping, Discount: money.Zero(c), Tax: money.Zero(c), Grand: items.Add(shipping),
		Rounding: items.Sub(exact), Paid: paid, Refunded: money.Zero(c),
	}
}

// later is the order some revisions on, with other statuses, perhaps other
// lines, and now and then another customer, country, currency, day or number.
func later(r *rand.Rand, doc view.Order) view.Order {
	doc.Revision += 1 + r.Int64N(4)
	doc.UpdatedAt = doc.UpdatedAt.Add(time.Duration(1+r.IntN(5)) * time.Second)
	doc.Position = strconv.Itoa(1_000_000 + r.IntN(1_000_000))
	axes(r, &doc)
	switch r.IntN(6) {
	case 0:
		doc.Customer = view.Customer{}
	case 1:
		doc.Customer = view.Customer{ID: "c" + strconv.Itoa(r.IntN(40)), Name: pick(r, people)}
	case 2:
		doc.Currency, doc.Country, doc.State = pick(r, currencies), pick(r, countries), pick(r, states)
		lines(r, &doc)
	case 3:
		doc.PlacedAt, doc.Number = doc.PlacedAt.Add(26*time.Hour), fmt.Sprintf("N%03d", r.IntN(300))
	case 4:
		lines(r, &doc)
	}
	return doc
}

// ChangeTo is the change that writes doc, folded from its event first on.
func ChangeTo(doc view.Order, first int64) projections.Change {
	return projections.Change{
		First: first, Order: doc,
		Contribution: projections.Contributions(doc), Words: projections.OrderWords(doc),
	}
}
