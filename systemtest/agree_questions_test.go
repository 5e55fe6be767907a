package systemtest

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// asker makes random questions about orders that are there: paths of the API.
type asker struct {
	rng  *rand.Rand
	docs []view.Order // a sample of what is there
}

var listSorts = []string{"placedAt", "-placedAt", "updatedAt", "-updatedAt", "total", "-total", "number", "-number"}

// question is one about an order, a customer, sums, or many orders.
func (a *asker) question() string {
	switch chance := a.rng.IntN(100); {
	case chance < 12:
		return a.order()
	case chance < 24:
		return a.customer()
	case chance < 34:
		return a.stats()
	}
	return a.list()
}

func (a *asker) order() string {
	id := pick(a.rng, a.docs...).ID
	if a.rng.IntN(10) == 0 {
		id = pick(a.rng, "absent", strings.ToLower(id), strings.ToUpper(id), id+".", "no order")
	}
	return "/v1/orders/" + url.PathEscape(id)
}

func (a *asker) customer() string {
	id := pick(a.rng, a.docs...).Customer.ID
	if id == "" || a.rng.IntN(20) == 0 {
		id = pick(a.rng, "absent", strings.ToUpper(id)+"X")
	}
	path := "/v1/customers/" + url.PathEscape(id)
	if a.rng.IntN(2) == 0 {
		path += fmt.Sprintf("/orders?limit=%d", 1+a.rng.IntN(6))
	}
	return path
}

func (a *asker) stats() string {
	v := url.Values{}
	if a.rng.IntN(3) == 0 {
		v.Set("top", fmt.Sprint(1+a.rng.IntN(100)))
	} else {
		day := pick(a.rng, a.docs...).PlacedAt
		if a.rng.IntN(3) > 0 {
			v.Set("from", day.Format(time.DateOnly))
		}
		if a.rng.IntN(3) > 0 {
			v.Set("to", day.AddDate(0, 0, a.rng.IntN(60)).Format(time.DateOnly))
		}
	}
	return "/v1/stats?" + v.Encode()
}

// list is a question with up to four filters, most of which match something.
func (a *asker) list() string {
	v := url.Values{}
	v.Set("limit", fmt.Sprint(1+a.rng.IntN(60)))
	if a.rng.IntN(2) == 0 {
		facets := slices.Clone(query.Facets)
		a.rng.Shuffle(len(facets), func(i, j int) { facets[i], facets[j] = facets[j], facets[i] })
		v["facets"] = facets[:1+a.rng.IntN(len(facets))]
	}
	if a.rng.IntN(10) == 0 {
		v.Set("total", "false")
	}
	for range a.rng.IntN(5) {
		a.filter(v, pick(a.rng, a.docs...))
	}
	sort := pick(a.rng, listSorts...)
	if strings.HasSuffix(sort, "total") && len(v["currency"]) != 1 {
		v.Set("currency", string(pick(a.rng, a.docs...).Currency))
	}
	v.Set("sort", sort)
	return "/v1/orders?" + v.Encode()
}

// filter adds one that doc passes, and others beside it or not.
func (a *asker) filter(v url.Values, doc view.Order) {
	other := pick(a.rng, a.docs...)
	values := func(name string, of func(view.Order) string) {
		all := []string{of(doc)}
		if a.rng.IntN(3) == 0 {
			all = append(all, of(other))
		}
		if all = slices.DeleteFunc(all, func(s string) bool { return s == "" }); len(all) > 0 {
			v[name] = all
		}
	}
	between := func(name string, at time.Time) {
		if a.rng.IntN(3) > 0 {
			v.Set(name+"From", at.Add(-time.Duration(a.rng.IntN(30*24))*time.Hour).Format(time.RFC3339Nano))
		}
		if a.rng.IntN(3) > 0 {
			v.Set(name+"To", at.Add(time.Duration(a.rng.IntN(30*24))*time.Hour+time.Microsecond).Format(time.RFC3339Nano))
		}
	}
	switch a.rng.IntN(17) {
	case 0:
		values("status", func(o view.Order) string { return o.Status })
	case 1:
		values("paymentStatus", func(o view.Order) string { return o.PaymentStatus })
	case 2:
		values("fulfilmentStatus", func(o view.Order) string { return o.FulfilmentStatus })
	case 3:
		values("kind", func(o view.Order) string { return o.Kind })
	case 4:
		values("source", func(o view.Order) string {
			if o.Source == nil {
				return "absent"
			}
			return o.Source.System
		})
	case 5:
		values("customer", func(o view.Order) string { return o.Customer.ID })
	case 6:
		values("tag", func(o view.Order) string { return a.one(o.Tags) })
	case 7:
		values("anomaly", func(o view.Order) string {
			if len(o.Anomalies) == 0 {
				return ""
			}
			return pick(a.rng, o.Anomalies...).Kind
		})
	case 8:
		values("currency", func(o view.Order) string { return string(o.Currency) })
	case 9:
		values("country", func(o view.Order) string { return o.Country })
	case 10:
		values("state", func(o view.Order) string { return o.State })
	case 11:
		values("sku", func(o view.Order) string {
			if len(o.Lines) == 0 {
				return ""
			}
			return pick(a.rng, o.Lines...).SKU
		})
	case 12:
		between("placed", doc.PlacedAt)
	case 13:
		between("updated", doc.UpdatedAt)
	case 14:
		if doc.DeliveredAt != nil {
			between("delivered", *doc.DeliveredAt)
		}
	case 15:
		v["currency"] = []string{string(doc.Currency)}
		v.Set(pick(a.rng, "minTotal", "maxTotal"), doc.Totals.Grand.Decimal())
	case 16:
		if words := strings.Fields(projections.OrderWords(doc)); len(words) > 0 {
			all := []string{a.dressed(pick(a.rng, words...))}
			for range a.rng.IntN(3) {
				all = append(all, a.dressed(pick(a.rng, words...)))
			}
			v.Set("q", strings.Join(all, pick(a.rng, " ", "-", ", ")))
		}
	}
}

func (a *asker) one(from []string) string {
	if len(from) == 0 {
		return ""
	}
	return pick(a.rng, from...)
}

// dressed is a word as somebody else may write it: other case, with accents that
// count for nothing. Now and then it is only the beginning of the word.
func (a *asker) dressed(word string) string {
	letters := []rune(word)
	if a.rng.IntN(8) == 0 {
		letters = letters[:1+a.rng.IntN(len(letters))]
	}
	var out strings.Builder
	shout := a.rng.IntN(2) == 0
	for _, r := range letters {
		if shout && unicode.ToLower(unicode.ToUpper(r)) == r {
			r = unicode.ToUpper(r)
		}
		out.WriteRune(r)
		if strings.ContainsRune("aeiouAEIOU", r) && a.rng.IntN(4) == 0 {
			out.WriteRune(pick(a.rng, '\u0301', '\u0308', '\u0302'))
		}
	}
	return out.String()
}
