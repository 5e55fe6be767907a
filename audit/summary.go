package audit

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

const (
	// longestQuote bounds a text of the order within a summary, in characters;
	// Entry.Data has it whole.
	longestQuote = 80
	// mostListed bounds how many things of a kind a summary names.
	mostListed = 3
)

// summary says in a clerk's words what an event means for its order, on one
// line, and the reason that the event itself gives, which ends the words too.
// before and after are the order's document around it.
func summary(e order.Event, before, after view.Order) (words, reason string) {
	words, reason = inWords(e, before, after)
	if _, adopted := e.(order.AdoptionCompleted); !adopted && unchanged(before, after) {
		// Only an adoption claims no change in its words.
		words += " (" + missing(e, before) + "nothing changed)"
	}
	return words + becauseOf(reason), reason
}

// What is Summary without the reason at its end: for who shows Reason apart.
func (e Entry) What() string { return strings.TrimSuffix(e.Summary, becauseOf(e.Reason)) }

// becauseOf is how a reason ends a summary.
func becauseOf(reason string) string {
	if reason = quote(reason); reason == "" {
		return ""
	}
	return " - " + reason
}

// unchanged reports that the documents say the same of the order, whichever
// event they stand at. It is asked of every event: lists, which may be long, are
// not put into fields to be compared.
func unchanged(before, after view.Order) bool {
	before.Revision, before.Position, before.UpdatedAt = after.Revision, after.Position, after.UpdatedAt
	b, a := reflect.ValueOf(before), reflect.ValueOf(after)
	for i := range b.NumField() {
		if b.Field(i).Kind() == reflect.Slice && !reflect.DeepEqual(b.Field(i).Interface(), a.Field(i).Interface()) {
			return false
		}
	}
	return len(query.Diff(before, after)) == 0
}

// missing says what the event names that the order does not have, if that is
// why it changed nothing.
func missing(e order.Event, before view.Order) string {
	type named struct {
		what  string
		there bool
	}
	var n named
	switch e := e.(type) {
	case order.EditConfirmed:
		n = named{"change", has(before.Edits, func(x view.Edit) bool { return x.ID == e.EditID })}
	case order.EditDeclined:
		n = named{"change", has(before.Edits, func(x view.Edit) bool { return x.ID == e.EditID })}
	case order.HoldReleased:
		n = named{"hold", has(before.Holds, func(x view.Hold) bool { return x.ID == e.HoldID })}
	case order.PaymentVoided:
		n = named{"payment", has(before.Payments, func(x view.Payment) bool { return x.ID == e.PaymentID })}
	case order.ShipmentUpdated:
		n = named{"parcel", has(before.Shipments, func(x view.Shipment) bool { return x.ID == e.ShipmentID })}
	case order.ReturnRejected:
		n = named{"return", has(before.Returns, func(x view.Return) bool { return x.ID == e.ReturnID })}
	case order.RefundCompleted:
		n = named{"refund", has(before.Refunds, func(x view.Refund) bool { return x.ID == e.RefundID })}
	case order.RefundFailed:
		n = named{"refund", has(before.Refunds, func(x view.Refund) bool { return x.ID == e.RefundID })}
	}
	if n.what == "" || n.there {
		return ""
	}
	return "no such " + n.what + ": "
}

func has[T any](all []T, is func(T) bool) bool { return slices.ContainsFunc(all, is) }

func inWords(e order.Event, before, after view.Order) (words, reason string) {
	switch e := e.(type) {
	case order.Placed:
		return placed(e, before, after), ""
	case order.Confirmed:
		return "Order confirmed" + again(before.ConfirmedAt != nil), ""
	case order.ShippingAddressChanged:
		return "Shipping address changed" + place(e.Address), ""
	case order.EditProposed:
		return "Change " + e.EditID + " proposed: " + few(e.Changes, func(c order.LineChange) string { return lineChange(c, before) }), e.Reason
	case order.EditConfirmed:
		return fmt.Sprintf("Change %s confirmed: now %s, %s", e.EditID, count(int64(len(e.Lines)), "line"), amount(after.Totals.Grand)), ""
	case order.EditDeclined:
		return "Change " + e.EditID + " declined", e.Reason
	case order.TagsSet:
		if len(e.Tags) == 0 {
			return "All tags removed", ""
		}
		return "Tags are now " + few(e.Tags, quote), ""
	case order.MetadataSet:
		if len(e.Metadata) == 0 {
			return "All further details removed", ""
		}
		return "Further details are now " + few(slices.Sorted(maps.Keys(e.Metadata)), quote), ""
	case order.NoteAdded:
		if e.Author != "" {
			return "Note by " + quote(e.Author) + ": " + quote(e.Text), ""
		}
		return "Note: " + quote(e.Text), ""
	case order.HoldPlaced:
		return "Hold " + e.HoldID + " placed: nothing is shipped until it is released", e.Reason
	case order.HoldReleased:
		return "Hold " + e.HoldID + " released", e.Reason
	case order.PaymentAuthorised:
		return "Payment " + e.PaymentID + " authorised: " + amount(e.Amount) + by(e.Method), ""
	case order.PaymentCaptured:
		method := e.Method
		if method == "" {
			method = payment(after, e.PaymentID).Method
		}
		return "Payment " + e.PaymentID + " captured: " + amount(e.Amount) + by(method), ""
	case order.PaymentFailed:
		return "Payment " + e.PaymentID + " failed" + by(e.Method), e.Reason
	case order.PaymentVoided:
		return "Payment " + e.PaymentID + " voided: what was not captured is given up", e.Reason
	case order.ShipmentDispatched:
		return "Parcel " + e.ShipmentID + " left with " + units(e.Lines) + tracking(e.Carrier, e.TrackingNumber), ""
	case order.ShipmentUpdated:
		if e.Carrier == "" && e.TrackingNumber == "" {
			return "Parcel " + e.ShipmentID + ": carrier and tracking number removed", ""
		}
		return "Parcel " + e.ShipmentID + ": carrier and tracking number corrected" + tracking(e.Carrier, e.TrackingNumber), ""
	case order.ShipmentDelivered:
		if len(e.Lines) > 0 {
			return "Parcel " + e.ShipmentID + " arrived with " + units(e.Lines), ""
		}
		return "Parcel " + e.ShipmentID + " arrived", ""
	case order.ReturnRequested:
		return "Return " + e.ReturnID + " asked for: " + unitsOf(e.Lines, before), e.Reason
	case order.ReturnReceived:
		return "Return " + e.ReturnID + " came back: " + received(e.Lines, before), ""
	case order.ReturnRejected:
		return "Return " + e.ReturnID + " rejected", e.Reason
	case order.RefundGranted:
		words := "Refund " + e.RefundID + " granted: " + amount(e.Amount) + " on payment " + e.PaymentID
		if e.ReturnID != "" {
			words += " for return " + e.ReturnID
		}
		return words, e.Reason
	case order.RefundCompleted:
		return "Refund " + e.RefundID + " paid back" + refunded(before, e.RefundID), ""
	case order.RefundFailed:
		return "Refund " + e.RefundID + " could not be paid back" + refunded(before, e.RefundID), e.Reason
	case order.LinesCancelled:
		return linesCancelled(e.Lines, before), e.Reason
	case order.Cancelled:
		return "Order cancelled" + again(before.CancelledAt != nil), e.Reason
	case order.AdoptionCompleted:
		if len(e.Anomalies) == 0 {
			return "History taken over from another system", ""
		}
		return "History taken over from another system, where it was odd: " + few(oddities(e.Anomalies), quote), ""
	}
	panic(fmt.Sprintf("audit: no words for event %T", e))
}

func placed(e order.Placed, before, after view.Order) string {
	if before.Kind != "" {
		return "Order placed" + again(true)
	}
	words := "Order placed"
	switch e.Kind {
	case order.KindCreditNote:
		words = "Credit note written"
	case order.KindAdjustment:
		words = "Adjustment written"
	}
	words += ": " + count(int64(len(e.Lines)), "line") + ", " + amount(after.Totals.Grand)
	switch {
	case e.Customer.Name != "":
		words += ", for " + quote(e.Customer.Name)
	case e.Customer.ID != "":
		words += ", for customer " + e.Customer.ID
	}
	if e.Source != nil {
		words += " (in " + quote(e.Source.System) + ")"
	}
	return words
}

func again(before bool) string {
	if before {
		return " a second time"
	}
	return ""
}

func lineChange(c order.LineChange, before view.Order) string {
	switch c.Op {
	case "add":
		if c.Line == nil {
			return "add a line"
		}
		return fmt.Sprintf("add %s of %s at %s", count(c.Line.Quantity, "unit"), article(c.Line.SKU, c.Line.Title), amount(c.Line.UnitPrice))
	case "remove":
		return "remove " + line(c.LineID, before)
	case "reprice":
		return line(c.LineID, before) + " at " + amount(c.UnitPrice)
	case "quantity":
		return line(c.LineID, before) + " to " + count(c.Quantity, "unit")
	}
	return c.Op + " " + line(c.LineID, before)
}

func linesCancelled(lines []order.LineQuantity, before view.Order) string {
	switch len(lines) {
	case 0:
		return "Lines cancelled, but none is named"
	case 1:
		return capital(line(lines[0].LineID, before)) + ": " + count(lines[0].Quantity, "unit") + " cancelled"
	}
	return units(lines) + " cancelled: " + unitsOf(lines, before)
}

func unitsOf(lines []order.LineQuantity, before view.Order) string {
	return few(lines, func(q order.LineQuantity) string {
		return count(q.Quantity, "unit") + " of " + line(q.LineID, before)
	})
}

func received(lines []order.ReturnedLine, before view.Order) string {
	return few(lines, func(l order.ReturnedLine) string {
		words := count(l.Quantity, "unit")
		if l.Condition != "" {
			words += " (" + quote(l.Condition) + ")"
		}
		return words + " of " + line(l.LineID, before)
	})
}

// line names a line by its id and what is on it, if it is there.
func line(id string, doc view.Order) string {
	for i := range doc.Lines {
		if l := &doc.Lines[i]; l.ID == id && l.SKU+l.Title != "" {
			return "line " + id + " (" + article(l.SKU, l.Title) + ")"
		}
	}
	return "line " + id
}

func article(sku, title string) string {
	if title != "" {
		return quote(title)
	}
	return quote(sku)
}

func payment(doc view.Order, id string) view.Payment {
	for _, p := range doc.Payments {
		if p.ID == id {
			return p
		}
	}
	return view.Payment{}
}

func refunded(doc view.Order, id string) string {
	for _, r := range doc.Refunds {
		if r.ID == id {
			return ": " + amount(r.Amount)
		}
	}
	return ""
}

// oddities are the kinds of the anomalies, each once, in words.
func oddities(anomalies []order.Anomaly) (kinds []string) {
	for _, a := range anomalies {
		if kind := strings.ReplaceAll(a.Kind, "-", " "); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func units(lines []order.LineQuantity) string {
	var n int64
	for _, l := range lines {
		n += l.Quantity
	}
	return count(n, "unit")
}

func count(n int64, what string) string {
	switch n {
	case 0:
		return "no " + what + "s"
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func amount(a money.Amount) string {
	if a == (money.Amount{}) {
		return "no amount"
	}
	return a.String()
}

func by(method string) string {
	if method == "" {
		return ""
	}
	return " by " + quote(strings.ReplaceAll(method, "_", " "))
}

func place(a order.Address) string {
	there := strings.Join(slices.DeleteFunc([]string{a.City, a.Country}, func(s string) bool { return s == "" }), ", ")
	if there == "" {
		return ""
	}
	return " to " + quote(there)
}

func tracking(carrier, number string) string {
	if there := strings.TrimSpace(carrier + " " + number); there != "" {
		return " (" + quote(there) + ")"
	}
	return ""
}

// few names the first few of a list.
func few[T any](all []T, words func(T) string) string {
	if len(all) == 0 {
		return "none named"
	}
	named := make([]string, 0, mostListed)
	for _, x := range all[:min(len(all), mostListed)] {
		named = append(named, words(x))
	}
	if more := len(all) - len(named); more > 0 {
		return strings.Join(named, ", ") + fmt.Sprintf(", and %d more", more)
	}
	return strings.Join(named, ", ")
}

// quote is a text of the order on one line, cut where it is long.
func quote(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if runes := []rune(text); len(runes) > longestQuote {
		return string(runes[:longestQuote-1]) + "…"
	}
	return text
}

func capital(words string) string { return strings.ToUpper(words[:1]) + words[1:] }
