package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/query"
)

// HistoryAnswer is what happened to an order: by revision, or with effectiveAt
// in the order of effective times.
type HistoryAnswer struct {
	ID       string        `json:"id"`
	Revision int64         `json:"revision"` // of the order at the cut
	Events   []audit.Entry `json:"events"`
	Next     string        `json:"next,omitempty"` // after of the next page; absent on the last one
}

// DiffAnswer is how an order differs between two points.
type DiffAnswer struct {
	ID      string              `json:"id"`
	From    PointAnswer         `json:"from"`
	To      PointAnswer         `json:"to"`
	Changes []query.FieldChange `json:"changes"` // by path; none when the order is the same at both
}

// PointAnswer is a point as it was asked for, and the revision the order had
// there.
type PointAnswer struct {
	Point    string `json:"point"`
	Revision int64  `json:"revision"`
}

// WhyAnswer says where each field of an order comes from.
type WhyAnswer struct {
	ID       string         `json:"id"`
	Revision int64          `json:"revision"` // of the order at the cut
	Fields   []audit.Origin `json:"fields"`   // by path
}

// RefusalsAnswer lists refused commands on an order.
type RefusalsAnswer struct {
	ID    string          `json:"id"`
	Items []audit.Refused `json:"items"` // the newest last
}

// Bounds of what is answered of a history.
const (
	maxEntries      = 1000
	defaultRefusals = 100
)

// getOrderAsOf answers the order at a cut. It is folded from the log, which
// holds every acknowledged write: there is no token to wait for, and no view to
// validate against.
func (s *server) getOrderAsOf(w http.ResponseWriter, r *request, id string, cut query.Cut) error {
	if r.query.has("include") {
		return badParameter("include", "actions are those of now; leave it out, or leave out what asks for the past")
	}
	if _, err := s.read(r); err != nil {
		return err
	}
	doc, err := s.o.Query.OrderAsOf(r.Context(), id, cut)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Read-Source", string(query.FromLog))
	h.Set("Read-Revision", strconv.FormatInt(doc.Revision, 10))
	h.Set("Read-Position", doc.Position)
	return writeJSON(w, http.StatusOK, OrderAnswer{Order: doc})
}

func (s *server) getHistory(w http.ResponseWriter, r *request) error {
	id, err := orderID(r)
	if err != nil {
		return err
	}
	entries, err := s.o.Audit.History(r.Context(), id, r.query.cut())
	if err != nil {
		return err
	}
	body := HistoryAnswer{ID: id, Revision: -1}
	for _, e := range entries {
		body.Revision = max(body.Revision, int64(e.Revision))
	}
	first := 0
	if r.query.has("after") {
		after, _ := query.ParseRevision(r.query.text("after"))
		if first = 1 + slices.IndexFunc(entries, func(e audit.Entry) bool { return e.Revision == after }); first == 0 {
			return badParameter("after", "there is no event of revision %d at this cut", after)
		}
	}
	last := min(first+r.query.integer("limit", maxEntries), len(entries))
	body.Events = entries[first:last]
	if last < len(entries) {
		body.Next = strconv.FormatInt(int64(entries[last-1].Revision), 10)
		linkNext(w, r, "after", body.Next)
	}
	w.Header().Set("Read-Revision", strconv.FormatInt(body.Revision, 10))
	return writeJSON(w, http.StatusOK, body)
}

// linkNext tells where the next page is: this question with a parameter set.
func linkNext(w http.ResponseWriter, r *request, name, value string) {
	next := url.Values{}
	for n, given := range r.query {
		next[n] = given
	}
	next[name] = []string{value}
	w.Header().Set("Link", "<"+r.URL.EscapedPath()+"?"+next.Encode()+`>; rel="next"`)
}

func (s *server) getDiff(w http.ResponseWriter, r *request) error {
	id, err := orderID(r)
	if err != nil {
		return err
	}
	body := DiffAnswer{ID: id}
	from, to := r.query.point("from"), r.query.point("to")
	if body.From, err = s.pointAt(r.Context(), id, "from", r.query.text("from"), from); err != nil {
		return err
	}
	if body.To, err = s.pointAt(r.Context(), id, "to", cmp.Or(r.query.text("to"), "now"), to); err != nil {
		return err
	}
	if to.IsNow() {
		to = at(body.To.Revision)
	}
	if body.Changes, err = s.o.Audit.Diff(r.Context(), id, from, to); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, body)
}

// at is now, whatever is recorded meanwhile: the revision that was reached.
func at(revision int64) query.Cut {
	reached := eventstore.Revision(revision)
	return query.Cut{Revision: &reached}
}

// pointAt is where the order stood at a point that the parameter names.
func (s *server) pointAt(ctx context.Context, id, parameter, text string, cut query.Cut) (PointAnswer, error) {
	doc, err := s.o.Query.OrderAsOf(ctx, id, cut)
	// A refused cut is the fault of the parameter that holds it.
	var refused *domain.Rejection
	if errors.As(err, &refused) && !errors.Is(err, query.ErrOrderUnknown) && !errors.Is(err, query.ErrHistoryUnreadable) {
		return PointAnswer{}, refused.At(parameter)
	}
	return PointAnswer{Point: text, Revision: doc.Revision}, err
}

func (s *server) getWhy(w http.ResponseWriter, r *request) error {
	id, err := orderID(r)
	if err != nil {
		return err
	}
	cut := r.query.cut()
	doc, err := s.o.Query.OrderAsOf(r.Context(), id, cut)
	if err != nil {
		return err
	}
	if cut.IsNow() {
		cut = at(doc.Revision)
	}
	body := WhyAnswer{ID: id, Revision: doc.Revision}
	if body.Fields, err = s.o.Audit.Why(r.Context(), id, cut, r.query.text("field")); err != nil {
		return err
	}
	w.Header().Set("Read-Revision", strconv.FormatInt(body.Revision, 10))
	return writeJSON(w, http.StatusOK, body)
}

// getRefusals answers for an order that never came to be too, when somebody was
// refused there.
func (s *server) getRefusals(w http.ResponseWriter, r *request) error {
	id, err := orderID(r)
	if err != nil {
		return err
	}
	found, err := s.o.Refusals.Of(r.Context(), id, r.query.integer("limit", defaultRefusals))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		if _, err := s.o.Query.OrderFromLog(r.Context(), id); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, RefusalsAnswer{ID: id, Items: found})
}

func orderID(r *request) (string, error) {
	id := r.PathValue("id")
	if !order.ValidID(id) {
		return "", query.ErrOrderUnknown
	}
	return id, nil
}
