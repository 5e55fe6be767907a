package readmodel

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// Live is a read model as a process keeps it: Views in the stores, Queries to
// them. Its methods may be called from many goroutines.
type Live struct {
	Definition
	Views   *projections.Stores
	Queries *query.Service
}

// Row is the document of one order.
type Row[D any] struct {
	OrderID  string `json:"orderId"`
	Revision int64  `json:"revision"` // of the last event in it
	Position string `json:"position"` // of that event
	Document D      `json:"document"`
	// Degraded says why the document lags behind its order.
	Degraded *view.Degraded `json:"degraded,omitempty"`
}

// Page of a list.
type Page[D any] struct {
	Items []Row[D] `json:"items"`
	Total int64    `json:"total"`          // of the list, not of the page
	Next  string   `json:"next,omitempty"` // cursor of the next page
}

// NextPage is Next, for who does not know D.
func (p Page[D]) NextPage() string { return p.Next }

// Figure is the sum over the documents of a group, in one currency.
type Figure struct {
	Group  string       `json:"group"`
	Orders int64        `json:"orders"`
	Units  int64        `json:"units"`
	Amount money.Amount `json:"amount"`
}

// Selection of documents.
type Selection struct {
	Lists    []string   // in any of these; at least one
	From, To *time.Time // of Contributions.At; From included, To excluded
	Newest   bool       // the latest first; else the earliest
}

// reader asks for one caller.
type reader struct {
	queries *query.Service
	read    query.Read
	fresh   *query.Freshness // of the answer that was given last
}

// Reader answers what a Question asks the stores. What it returns is as new as
// the caller's consistency token wants, and fails like questions about orders.
type Reader[D any] struct{ reader }

// Order is the document of one order, query.ErrOrderUnknown without one. While
// the store does not answer, it is folded from the log.
func (r Reader[D]) Order(ctx context.Context, id string) (Row[D], error) {
	row, _, err := r.document(ctx, id)
	return row, err
}

// document is Order, and where it comes from.
func (r Reader[D]) document(ctx context.Context, id string) (Row[D], query.Source, error) {
	answer, err := r.queries.Order(ctx, id, r.read)
	*r.fresh = answer.Freshness
	if err != nil {
		return Row[D]{}, "", err
	}
	row, err := rowOf[D](answer.Order)
	return row, answer.Source, err
}

// List is a page of a selection: an order whose place does not change is on one
// page exactly.
func (r Reader[D]) List(ctx context.Context, s Selection, a Asked) (Page[D], error) {
	answer, err := r.queries.List(ctx, query.Question{
		Tag: s.Lists, PlacedFrom: s.From, PlacedTo: s.To, Sort: query.Sort{By: query.ByPlacedAt, Desc: s.Newest}, Limit: a.Limit,
	}, a.Cursor, r.read)
	if err != nil {
		return Page[D]{}, err
	}
	*r.fresh = answer.Freshness
	page := Page[D]{Items: make([]Row[D], len(answer.Items)), Total: answer.Total, Next: sealCursor(a.Now, answer.Cursor)}
	for i, item := range answer.Items {
		if page.Items[i], err = rowOf[D](item); err != nil {
			return Page[D]{}, err
		}
	}
	return page, nil
}

// Figures of the groups of one kind, by group and then by currency.
func (r Reader[D]) Figures(ctx context.Context, by string) ([]Figure, error) {
	answer, err := r.queries.Stats(ctx, query.StatsQuestion{}, r.read)
	if err != nil {
		return nil, err
	}
	*r.fresh = answer.Freshness
	out := []Figure{}
	for _, c := range answer.Stats.Currencies {
		for _, g := range c.By[by] {
			out = append(out, Figure{Group: g.Key, Orders: g.Orders, Units: g.Units, Amount: g.Grand})
		}
	}
	slices.SortFunc(out, func(a, b Figure) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Amount.Currency(), b.Amount.Currency()))
	})
	return out, nil
}

func rowOf[D any](o view.Order) (Row[D], error) {
	row := Row[D]{OrderID: o.ID, Revision: o.Revision, Position: o.Position, Degraded: o.Degraded}
	if len(o.Model) == 0 {
		return row, nil
	}
	if err := json.Unmarshal(o.Model, &row.Document); err != nil {
		return Row[D]{}, projections.ErrDamaged
	}
	return row, nil
}

// Document of one order, as it is kept; see Reader.Order.
func (l Live) Document(ctx context.Context, id string, read query.Read) (Row[json.RawMessage], query.Source, query.Freshness, error) {
	var fresh query.Freshness
	row, source, err := Reader[json.RawMessage]{reader{l.Queries, read, &fresh}}.document(ctx, id)
	return row, source, fresh, err
}

// Check says what Ask would refuse of a question before it asks anything.
func (l Live) Check(question string, given url.Values) error {
	_, _, err := l.asked(question, given, time.Time{})
	return err
}

// Ask puts one of the questions, with what came in a query string. ErrQuestion
// where there is none of that name, ErrParameter where it is not asked as it
// says.
func (l Live) Ask(ctx context.Context, question string, given url.Values, now time.Time, read query.Read) (any, query.Freshness, error) {
	q, a, err := l.asked(question, given, now)
	if err != nil {
		return nil, query.Freshness{}, err
	}
	var fresh query.Freshness
	answer, err := q.answer(ctx, reader{l.Queries, read, &fresh}, a)
	return answer, fresh, err
}

func (l Live) asked(question string, given url.Values, now time.Time) (Asking, Asked, error) {
	i := slices.IndexFunc(l.Questions, func(q Asking) bool { return q.Name == question })
	if i < 0 {
		return Asking{}, Asked{}, ErrQuestion
	}
	a, err := l.Questions[i].asked(given, now)
	return l.Questions[i], a, err
}
