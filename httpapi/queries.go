package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// OrderAnswer is an order, with include=actions also what may be done to it.
type OrderAnswer struct {
	view.Order
	Actions []ActionAnswer `json:"actions,omitempty"`
}

// ListAnswer is a page of orders.
type ListAnswer struct {
	Items  []view.Order             `json:"items"`
	Total  *int64                   `json:"total,omitempty"` // all that match; absent with total=false
	Facets map[string][]query.Count `json:"facets,omitempty"`
	Next   string                   `json:"next,omitempty"` // cursor of the next page; absent on the last one
}

// ActionsAnswer lists what may be done to an order now.
type ActionsAnswer struct {
	ID       string         `json:"id"`
	Revision int64          `json:"revision"`
	Actions  []ActionAnswer `json:"actions"`
}

// ActionAnswer is one action. One that is not allowed has the rule that refuses
// it, or there is nothing left for it to do.
type ActionAnswer struct {
	Action  string `json:"action"` // name of the command
	Allowed bool   `json:"allowed"`
	Done    bool   `json:"done,omitempty"`
	Code    string `json:"code,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

func (s *server) getOrder(w http.ResponseWriter, r *request) error {
	id := r.PathValue("id")
	if !order.ValidID(id) {
		return query.ErrOrderUnknown
	}
	if cut := r.query.cut(); !cut.IsNow() {
		return s.getOrderAsOf(w, r, cut)
	}
	read, err := s.readHot(r)
	if err != nil {
		return err
	}
	found, err := s.o.Query.Order(r.Context(), id, read)
	if err != nil {
		return err
	}
	body := OrderAnswer{Order: found.Order}
	tag := fmt.Sprintf(`"%d.g%d"`, found.Order.Revision, found.Generation)
	h := w.Header()
	h.Set("Read-Revision", strconv.FormatInt(found.Order.Revision, 10))
	h.Set("Read-Position", found.Order.Position)
	if found.Source == query.FromLog {
		h.Set("Read-Source", "log")
	}
	freshness(h, found.Freshness)
	if slices.Contains(r.query.texts("include"), "actions") {
		// From the aggregate, so they may be newer than the view; they change
		// with time alone, so there is no validator for them.
		actions, err := s.actionsOf(r, id)
		if err != nil {
			return err
		}
		body.Actions = actions.Actions
		return writeJSON(w, http.StatusOK, body)
	}
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache")
	if found.Order.Degraded == nil && noneMatch(r.Request, tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return writeJSON(w, http.StatusOK, body)
}

// noneMatch reports whether If-None-Match names the tag.
func noneMatch(r *http.Request, tag string) bool {
	for _, line := range r.Header.Values("If-None-Match") {
		for part := range strings.SplitSeq(line, ",") {
			part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
			if part == tag || part == "*" {
				return true
			}
		}
	}
	return false
}

func (s *server) getActions(w http.ResponseWriter, r *request) error {
	id := r.PathValue("id")
	if !order.ValidID(id) {
		return order.ErrUnknown
	}
	body, err := s.actionsOf(r, id)
	if err != nil {
		return err
	}
	w.Header().Set("Read-Revision", strconv.FormatInt(body.Revision, 10))
	return writeJSON(w, http.StatusOK, body)
}

func (s *server) listOrders(w http.ResponseWriter, r *request) error {
	question, err := questionOf(r.query)
	if err != nil {
		return err
	}
	read, err := s.readSearch(r)
	if err != nil {
		return err
	}
	page, err := s.o.Query.List(r.Context(), question, r.query.text("cursor"), read)
	if err != nil {
		return err
	}
	return writeList(w, r, page, question.WithoutTotal)
}

// questionOf reads the filters; the values are of the right form already.
func questionOf(v values) (query.Question, error) {
	q := query.Question{
		Status: v.texts("status"), PaymentStatus: v.texts("paymentStatus"), FulfilmentStatus: v.texts("fulfilmentStatus"),
		Kind: v.texts("kind"), Source: v.texts("source"), Customer: v.texts("customer"), Tag: v.texts("tag"),
		Anomaly: v.texts("anomaly"), Currency: v.texts("currency"), Country: v.texts("country"), State: v.texts("state"),
		SKU:        v.texts("sku"),
		PlacedFrom: v.instant("placedFrom"), PlacedTo: v.instant("placedTo"),
		DeliveredFrom: v.instant("deliveredFrom"), DeliveredTo: v.instant("deliveredTo"),
		UpdatedFrom: v.instant("updatedFrom"), UpdatedTo: v.instant("updatedTo"),
		Limit: v.integer("limit", query.DefaultLimit), Facets: v.texts("facets"),
		WithoutTotal: v.text("total") == "false",
	}
	by, desc := strings.CutPrefix(cmp.Or(v.text("sort"), "-placedAt"), "-")
	q.Sort = query.Sort{By: query.SortBy(by), Desc: desc}
	for _, bound := range []struct {
		name string
		to   **money.Amount
	}{{"minTotal", &q.MinTotal}, {"maxTotal", &q.MaxTotal}} {
		if !v.has(bound.name) {
			continue
		}
		if len(q.Currency) != 1 {
			return q, query.ErrCurrency
		}
		currency, err := money.ParseCurrency(q.Currency[0])
		if err != nil {
			return q, badParameter("currency", "%v", err)
		}
		amount, err := money.Parse(v.text(bound.name), currency)
		if err != nil {
			return q, badParameter(bound.name, "want decimal text such as 12.34: %v", err)
		}
		*bound.to = &amount
	}
	if v.has("q") {
		q.Words = projections.Words(v.text("q"))
		if len(q.Words) == 0 {
			return q, badParameter("q", "has no letter and no digit")
		}
	}
	return q, nil
}

func (s *server) getCustomer(w http.ResponseWriter, r *request) error {
	id := r.PathValue("id")
	if !order.ValidID(id) {
		return query.ErrCustomerUnknown
	}
	read, err := s.readHot(r)
	if err != nil {
		return err
	}
	found, err := s.o.Query.Customer(r.Context(), id, read)
	if err != nil {
		return err
	}
	freshness(w.Header(), found.Freshness)
	return writeJSON(w, http.StatusOK, found.Customer)
}

func (s *server) getCustomerOrders(w http.ResponseWriter, r *request) error {
	id := r.PathValue("id")
	if !order.ValidID(id) {
		return query.ErrCustomerUnknown
	}
	read, err := s.readHot(r)
	if err != nil {
		return err
	}
	page, err := s.o.Query.CustomerOrders(r.Context(), id, r.query.integer("limit", query.DefaultLimit), r.query.text("cursor"), read)
	if err != nil {
		return err
	}
	return writeList(w, r, page, false)
}

func (s *server) getStats(w http.ResponseWriter, r *request) error {
	question := query.StatsQuestion{From: r.query.text("from"), To: r.query.text("to"), Top: r.query.integer("top", 0)}
	read, err := s.readHot(r)
	if err != nil {
		return err
	}
	found, err := s.o.Query.Stats(r.Context(), question, read)
	if err != nil {
		return err
	}
	freshness(w.Header(), found.Freshness)
	return writeJSON(w, http.StatusOK, found.Stats)
}

func writeList(w http.ResponseWriter, r *request, page query.ListAnswer, withoutTotal bool) error {
	body := ListAnswer{Items: page.Items, Facets: page.Facets, Next: page.Cursor}
	if !withoutTotal {
		body.Total = &page.Total
	}
	if page.Cursor != "" {
		linkNext(w, r, "cursor", page.Cursor)
	}
	freshness(w.Header(), page.Freshness)
	return writeJSON(w, http.StatusOK, body)
}

// readHot is what accompanies a question to the hot views: the token of a write.
// Where the caller waits for it, that is over.
func (s *server) readHot(r *request) (query.Read, error) { return s.read(r, s.o.Query.AwaitHot) }

// readSearch is readHot of a question for lists.
func (s *server) readSearch(r *request) (query.Read, error) { return s.read(r, s.o.Query.AwaitSearch) }

func (s *server) read(r *request, await func(context.Context, query.Read) error) (query.Read, error) {
	read, err := s.readOf(r)
	if err != nil || read.Token == nil || read.Wait == 0 {
		return read, err
	}
	err = s.waiting(r, func() error { return await(r.Context(), read) })
	return query.Read{Token: read.Token}, err
}

// readOf is the token of a write, and how long to wait for it.
func (s *server) readOf(r *request) (query.Read, error) {
	prefer, err := parsePrefer(r.Request, s.o.Limits.WaitTime)
	if err != nil {
		return query.Read{}, err
	}
	raw, err := header(r.Request, "Consistency-Token")
	if err != nil || raw == "" {
		return query.Read{}, err
	}
	token, err := query.ParseToken(raw)
	if err != nil {
		return query.Read{}, err
	}
	return query.Read{Token: &token, Wait: prefer.wait}, nil
}

// freshness tells which generation answered and how far behind the log it was.
func freshness(h http.Header, f query.Freshness) {
	if f.Generation != 0 {
		h.Set("Read-Generation", strconv.Itoa(f.Generation))
	}
	if f.LagUnknown {
		return
	}
	h.Set("Read-Lag-Ms", strconv.FormatInt(max(f.Lag.Age, 0).Round(time.Millisecond).Milliseconds(), 10))
}

// actionsOf folds the order and asks its rules.
func (s *server) actionsOf(r *request, id string) (ActionsAnswer, error) {
	state, revision, err := s.o.Orders.Load(r.Context(), id)
	if err != nil {
		return ActionsAnswer{}, err
	}
	if revision < 0 {
		return ActionsAnswer{}, order.ErrUnknown
	}
	body := ActionsAnswer{ID: id, Revision: int64(revision), Actions: []ActionAnswer{}}
	for _, a := range order.Actions(state, s.o.Now().UTC()) {
		one := ActionAnswer{Action: a.Name, Allowed: a.Allowed()}
		switch {
		case one.Allowed:
		case a.Refused != nil:
			one.Code, one.Reason = a.Refused.Code, a.Refused.Error()
		default:
			one.Done = true
		}
		body.Actions = append(body.Actions, one)
	}
	return body, nil
}
