package httpapi

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/docket-orders/docket/audit"
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
	Items []audit.Refused `json:"items"`          // the newest last
	Total int64           `json:"total"`          // that are recorded of the order
	Next  string          `json:"next,omitempty"` // before of the page of older ones; absent on the last one
	// Incomplete: refusals of this order were left out, or may have been.
	Incomplete bool `json:"incomplete,omitzero"`
}

// Bounds of what is answered of a history.
const (
	maxEntries      = 1000
	defaultRefusals = 100
)

// getOrderAsOf answers the order at a cut, for which there is no view to validate
// against.
func (s *server) getOrderAsOf(w http.ResponseWriter, r *request, cut query.Cut) error {
	if r.query.has("include") {
		return badParameter("include", "actions are those of now; leave it out, or leave out what asks for the past")
	}
	id, err := s.pastOf(r)
	if err != nil {
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
	id, err := s.pastOf(r)
	if err != nil {
		return err
	}
	var after *eventstore.Revision
	if r.query.has("after") {
		revision, _ := query.ParseRevision(r.query.text("after"))
		after = &revision
	}
	page, err := s.o.Audit.HistoryPage(r.Context(), id, r.query.cut(), after, r.query.integer("limit", maxEntries))
	if errors.Is(err, audit.ErrNoSuchEvent) {
		return badParameter("after", "there is no event of revision %d at this cut", *after)
	}
	if err != nil {
		return err
	}
	body := HistoryAnswer{ID: id, Revision: int64(page.Revision), Events: page.Entries}
	if page.More {
		body.Next = strconv.FormatInt(int64(page.Entries[len(page.Entries)-1].Revision), 10)
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
	id, err := s.pastOf(r)
	if err != nil {
		return err
	}
	d, err := s.o.Audit.Diff(r.Context(), id, r.query.point("from"), r.query.point("to"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, DiffAnswer{
		ID:      id,
		From:    PointAnswer{r.query.text("from"), int64(d.From)},
		To:      PointAnswer{cmp.Or(r.query.text("to"), "now"), int64(d.To)},
		Changes: d.Changes,
	})
}

func (s *server) getWhy(w http.ResponseWriter, r *request) error {
	id, err := s.pastOf(r)
	if err != nil {
		return err
	}
	why, err := s.o.Audit.Why(r.Context(), id, r.query.cut(), r.query.text("field"))
	if err != nil {
		return err
	}
	body := WhyAnswer{ID: id, Revision: int64(why.Revision), Fields: why.Fields}
	w.Header().Set("Read-Revision", strconv.FormatInt(body.Revision, 10))
	return writeJSON(w, http.StatusOK, body)
}

// getRefusals answers for an order that never came to be too, when somebody was
// refused there.
func (s *server) getRefusals(w http.ResponseWriter, r *request) error {
	id, err := s.pastOf(r)
	if err != nil {
		return err
	}
	before := eventstore.EndRevision
	if r.query.has("before") {
		before, _ = query.ParseRevision(r.query.text("before"))
	}
	page, err := s.o.Refusals.Of(r.Context(), id, before, r.query.integer("limit", defaultRefusals))
	if err != nil {
		return err
	}
	if page.Total == 0 {
		if _, err := s.o.Query.OrderFromLog(r.Context(), id); err != nil {
			return err
		}
	}
	body := RefusalsAnswer{ID: id, Items: page.Items, Total: page.Total, Incomplete: page.Incomplete}
	if page.Next > 0 {
		body.Next = strconv.FormatInt(int64(page.Next), 10)
		linkNext(w, r, "before", body.Next)
	}
	return writeJSON(w, http.StatusOK, body)
}

// pastOf is the order whose past is asked for. It is answered from the log, which
// holds every acknowledged write: a token need not be waited for, only be of
// this log.
func (s *server) pastOf(r *request) (id string, err error) {
	read, err := s.readOf(r)
	switch {
	case err != nil:
		return "", err
	case read.Token != nil && read.Token.Log != s.o.Log:
		return "", query.ErrTokenForeign
	}
	if id = r.PathValue("id"); !order.ValidID(id) {
		return "", query.ErrOrderUnknown
	}
	return id, nil
}
