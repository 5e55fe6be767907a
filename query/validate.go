package query

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
)

// Bounds of a question.
const (
	MaxValues = 100 // of one filter
	MaxWords  = 32
	MaxTop    = 1000
	maxValue  = 256 // bytes of one value
)

// Refusals of questions; Field names the query parameter.
var (
	ErrLimit    = domain.Reject(domain.Invalid, "limit-out-of-range", fmt.Sprintf("limit is 1 to %d", MaxLimit)).At("limit")
	ErrSort     = domain.Reject(domain.Invalid, "unknown-sort", "sort is placedAt, updatedAt, total or number, with a minus in front for descending").At("sort")
	ErrCurrency = domain.Reject(domain.Invalid, "currency-needed", "amounts compare within one currency: name exactly one").At("currency")
	ErrRange    = domain.Reject(domain.Invalid, "range-is-empty", "the range ends before it begins")
	ErrFacet    = domain.Reject(domain.Invalid, "unknown-facet", "facets are "+strings.Join(Facets, ", ")).At("facets")
	ErrValue    = domain.Reject(domain.Invalid, "filter-invalid", "this value cannot match anything")
	ErrValues   = domain.Reject(domain.Invalid, "too-many-values", fmt.Sprintf("a filter has at most %d values", MaxValues))
	ErrWords    = domain.Reject(domain.Invalid, "too-many-words", fmt.Sprintf("a search has at most %d words", MaxWords)).At("q")
	ErrAmount   = domain.Reject(domain.Invalid, "amount-invalid", "an amount to compare with is of the currency asked for, in whole minor units")
	ErrDay      = domain.Reject(domain.Invalid, "day-invalid", "a day is written 2018-01-31")
	ErrTop      = domain.Reject(domain.Invalid, "top-out-of-range", fmt.Sprintf("top is 0 to %d, and only without from and to", MaxTop)).At("top")
)

// What the three axes and the kinds of an order may be asked for.
var (
	statuses           = words(order.StatusPlaced, order.StatusConfirmed, order.StatusCancelled)
	paymentStatuses    = words(order.PaymentStatusNone, order.PaymentStatusAuthorised, order.PaymentStatusPartiallyPaid, order.PaymentStatusPaid, order.PaymentStatusOverpaid, order.PaymentStatusPartiallyRefunded, order.PaymentStatusRefunded)
	fulfilmentStatuses = words(order.FulfilmentStatusNone, order.FulfilmentStatusPartiallyShipped, order.FulfilmentStatusShipped, order.FulfilmentStatusPartiallyDelivered, order.FulfilmentStatusDelivered, order.FulfilmentStatusPartiallyReturned, order.FulfilmentStatusReturned)
	kinds              = words(order.KindOrder, order.KindCreditNote, order.KindAdjustment)
)

func words[S ~string](values ...S) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

// filter is one list of values of a question, under its parameter's name.
type filter struct {
	name    string
	values  []string
	allowed []string // nil: any
}

func (q Question) filters() []filter {
	return []filter{
		{"id", q.IDs, nil},
		{"status", q.Status, statuses},
		{"paymentStatus", q.PaymentStatus, paymentStatuses},
		{"fulfilmentStatus", q.FulfilmentStatus, fulfilmentStatuses},
		{"kind", q.Kind, kinds},
		{"source", q.Source, nil},
		{"customer", q.Customer, nil},
		{"tag", q.Tag, nil},
		{"anomaly", q.Anomaly, nil},
		{"currency", q.Currency, nil},
		{"country", q.Country, nil},
		{"state", q.State, nil},
		{"sku", q.SKU, nil},
	}
}

// timeRange is one range of a question, under its parameters' names.
type timeRange struct {
	name     string // placed: parameters placedFrom and placedTo
	from, to *time.Time
}

func (q Question) ranges() []timeRange {
	return []timeRange{
		{"placed", q.PlacedFrom, q.PlacedTo},
		{"delivered", q.DeliveredFrom, q.DeliveredTo},
		{"updated", q.UpdatedFrom, q.UpdatedTo},
	}
}

// Validate refuses what cannot be asked with a *domain.Rejection whose Field is
// the parameter's name. Every store may rely on it.
func (q Question) Validate() error {
	if q.Limit < 1 || q.Limit > MaxLimit {
		return ErrLimit.With(fmt.Sprintf("it was %d", q.Limit))
	}
	if !slices.Contains([]SortBy{ByPlacedAt, ByUpdatedAt, ByTotal, ByNumber}, q.Sort.By) {
		return ErrSort.With(fmt.Sprintf("it was %.40q", q.Sort.By))
	}
	for _, f := range q.filters() {
		if err := f.validate(); err != nil {
			return err
		}
	}
	for _, code := range q.Currency {
		if _, err := money.ParseCurrency(code); err != nil {
			return ErrValue.At("currency").With(err.Error())
		}
	}
	for _, r := range q.ranges() {
		if r.from != nil && r.to != nil && r.to.Before(*r.from) {
			return ErrRange.At(r.name + "To")
		}
	}
	if len(q.Words) > MaxWords {
		return ErrWords.With(fmt.Sprintf("there are %d", len(q.Words)))
	}
	for _, name := range q.Facets {
		if !slices.Contains(Facets, name) {
			return ErrFacet.With(fmt.Sprintf("%.40q is not one", name))
		}
	}
	return q.validateMoney()
}

func (f filter) validate() error {
	if len(f.values) > MaxValues {
		return ErrValues.At(f.name).With(fmt.Sprintf("there are %d", len(f.values)))
	}
	for _, v := range f.values {
		switch {
		case v == "":
			return ErrValue.At(f.name).With("it is empty")
		case len(v) > maxValue:
			return ErrValue.At(f.name).With(fmt.Sprintf("it is longer than %d bytes", maxValue))
		case !utf8.ValidString(v) || strings.ContainsRune(v, 0):
			return ErrValue.At(f.name).With("it is not text")
		case f.allowed != nil && !slices.Contains(f.allowed, v):
			return ErrValue.At(f.name).With(fmt.Sprintf("%.40q is none of %s", v, strings.Join(f.allowed, ", ")))
		}
	}
	return nil
}

func (q Question) validateMoney() error {
	if q.MinTotal == nil && q.MaxTotal == nil && q.Sort.By != ByTotal {
		return nil
	}
	if len(q.Currency) != 1 {
		return ErrCurrency
	}
	for _, bound := range []struct {
		name   string
		amount *money.Amount
	}{{"minTotal", q.MinTotal}, {"maxTotal", q.MaxTotal}} {
		if a := bound.amount; a != nil && (string(a.Currency()) != q.Currency[0] || !a.WholeMinor()) {
			return ErrAmount.At(bound.name).With(fmt.Sprintf("it was %s, the currency asked for is %s", a, q.Currency[0]))
		}
	}
	if q.MinTotal != nil && q.MaxTotal != nil && q.MaxTotal.Cmp(*q.MinTotal) < 0 {
		return ErrRange.At("maxTotal")
	}
	return nil
}

// Validate refuses what cannot be asked, as Question.Validate does.
func (q StatsQuestion) Validate() error {
	for _, day := range []struct{ name, text string }{{"from", q.From}, {"to", q.To}} {
		if _, err := time.Parse(time.DateOnly, day.text); day.text != "" && err != nil {
			return ErrDay.At(day.name).With(fmt.Sprintf("it was %.20q", day.text))
		}
	}
	if q.From != "" && q.To != "" && q.To < q.From {
		return ErrRange.At("to")
	}
	if q.Top < 0 || q.Top > MaxTop || q.Top > 0 && (q.From != "" || q.To != "") {
		return ErrTop
	}
	return nil
}
