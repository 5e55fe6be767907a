package order

import (
	"maps"
	"slices"

	"github.com/docket-orders/docket/domain/money"
)

// content is a running hash (FNV-1a, 64 bits) of what a command brought. A
// repeated id is a repetition when the content is the same: the state keeps
// eight bytes instead of the text. Somebody who makes two contents collide has
// only their own second command taken for a repetition.
type content uint64

func contentOf(kind string) content { return content(14695981039346656037).str(kind) }

func (c content) byte(b byte) content { return (c ^ content(b)) * 1099511628211 }

func (c content) num(n int64) content {
	for shift := 0; shift < 64; shift += 8 {
		c = c.byte(byte(n >> shift))
	}
	return c
}

// str hashes the length too, so that "ab","c" differs from "a","bc".
func (c content) str(texts ...string) content {
	for _, s := range texts {
		c = c.num(int64(len(s)))
		for i := range len(s) {
			c = c.byte(s[i])
		}
	}
	return c
}

func (c content) amount(a money.Amount) content {
	return c.num(a.Units(a.Scale())).num(int64(a.Scale())).str(string(a.Currency()))
}

func (c content) address(a *Address) content {
	if a == nil {
		return c.byte(0)
	}
	return c.byte(1).str(a.Name, a.Company, a.Street, a.PostalCode, a.City, a.State, a.Country, a.Phone)
}

func (c content) metadata(m map[string]string) content {
	c = c.num(int64(len(m)))
	if len(m) == 0 {
		return c
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		c = c.str(k, m[k])
	}
	return c
}

func (c content) line(l Line) content {
	return c.str(l.ID, l.SKU, l.Title).num(l.Quantity).amount(l.UnitPrice).metadata(l.Metadata)
}

func (c content) units(lines []LineQuantity) content {
	c = c.num(int64(len(lines)))
	for _, l := range lines {
		c = c.str(l.LineID).num(l.Quantity)
	}
	return c
}

func placedContent(e Placed) content {
	c := contentOf("placed").str(e.Number, string(e.Kind), string(e.Currency), e.Customer.ID, e.Customer.Name, e.Customer.Email)
	if e.Source != nil {
		c = c.str(e.Source.System, e.Source.ID, e.Source.Status)
	}
	c = c.num(int64(len(e.Lines)))
	for _, l := range e.Lines {
		c = c.line(l)
	}
	c = c.amount(e.Shipping).amount(e.Discount).amount(e.Tax).address(e.BillingAddress).address(e.ShippingAddress)
	return c.num(int64(len(e.Tags))).str(e.Tags...).metadata(e.Metadata)
}

func editContent(changes []LineChange, reason string) content {
	c := contentOf("edit").str(reason).num(int64(len(changes)))
	for _, ch := range changes {
		c = c.str(ch.Op, ch.LineID).num(ch.Quantity).amount(ch.UnitPrice)
		if ch.Line != nil {
			c = c.line(*ch.Line)
		}
	}
	return c
}

func returnedContent(lines []ReturnedLine) content {
	c := contentOf("received").num(int64(len(lines)))
	for _, l := range lines {
		c = c.str(l.LineID, l.Condition).num(l.Quantity)
	}
	return c
}

func noteContent(text, author string) content { return contentOf("note").str(text, author) }

func holdContent(reason string) content { return contentOf("hold").str(reason) }

// paymentContent is that of the payment's first event: captured at once, or
// authorised.
func paymentContent(captured bool, method string, amount money.Amount, reference string) content {
	kind := "authorised"
	if captured {
		kind = "captured"
	}
	return contentOf(kind).str(method, reference).amount(amount)
}

func captureContent(amount money.Amount, reference string) content {
	return contentOf("capture").amount(amount).str(reference)
}

func returnContent(lines []LineQuantity, reason string) content {
	return contentOf("return").units(lines).str(reason)
}

func refundContent(payment, forReturn string, amount money.Amount, reason string) content {
	return contentOf("refund").str(payment, forReturn, reason).amount(amount)
}

func cancellationContent(lines []LineQuantity, reason string) content {
	return contentOf("cancellation").units(lines).str(reason)
}

func parcelContent(carrier, tracking string) content {
	return contentOf("parcel").str(carrier, tracking)
}
