package query

import (
	"context"
	"errors"

	"github.com/docket-orders/docket/view"
)

// List answers a page of orders. cursor is empty for the first page, else what
// the page before gave; Question.After is not used. Without a sort the newest
// come first; Limit 0 is DefaultLimit.
func (s *Service) List(ctx context.Context, q Question, cursor string, read Read) (ListAnswer, error) {
	if q.Sort.By == "" {
		q.Sort = Sort{By: ByPlacedAt, Desc: true}
	}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	if err := q.Validate(); err != nil {
		return ListAnswer{}, err
	}
	if read.Token != nil {
		q.Holding = &Holding{OrderID: read.Token.OrderID, Revision: int64(read.Token.Revision)}
	}
	answer, err := page(ctx, s, s.search, q.hash(), cursor, func() error { return s.awaitSearch(ctx, read) }, func(v Search, after *Key) (Page, error) {
		q.After = after
		return v.Orders(ctx, q)
	})
	if errors.Is(err, ErrBehind) && !errors.As(err, new(*BehindError)) {
		// The store holds the write, and does not find it yet.
		err = behind(view.Order{}, false, *read.Token)
	}
	return answer, err
}

// CustomerOrders lists a customer's orders, newest first; ErrCustomerUnknown
// where Customer says so. Limit 0 is DefaultLimit.
func (s *Service) CustomerOrders(ctx context.Context, id string, limit int, cursor string, read Read) (ListAnswer, error) {
	if limit == 0 {
		limit = DefaultLimit
	}
	if limit < 1 || limit > MaxLimit {
		return ListAnswer{}, ErrLimit
	}
	return page(ctx, s, s.hot, customerOrdersHash(id), cursor, func() error { return s.awaitHot(ctx, read) }, func(v Hot, after *Key) (Page, error) {
		page, err := v.CustomerOrders(ctx, id, limit, after)
		if err != nil || len(page.Items) > 0 || after != nil {
			return page, err
		}
		_, found, err := v.Customer(ctx, id)
		if err == nil && !found {
			err = ErrCustomerUnknown
		}
		return page, err
	})
}

// page answers one page of a list, whatever it lists.
func page[V any](ctx context.Context, s *Service, from *side[V], question questionHash, cursor string, await func() error, list func(V, *Key) (Page, error)) (ListAnswer, error) {
	after, err := openCursor(s.options.Log, question, cursor)
	if err != nil {
		return ListAnswer{}, err
	}
	if err := await(); err != nil {
		return ListAnswer{}, err
	}
	page, generation, err := ask(from, func(v V) (Page, error) { return list(v, after) })
	if err != nil {
		return ListAnswer{}, err
	}
	if page.Items == nil {
		page.Items = []view.Order{}
	}
	for i := range page.Items {
		from.joinDegraded(&page.Items[i])
	}
	answer := ListAnswer{Page: page}
	if page.Next != nil {
		answer.Cursor = sealCursor(s.options.Log, question, *page.Next)
	}
	answer.Freshness, err = from.freshness(ctx, generation)
	return answer, err
}

// Customer answers a customer with the totals over their orders.
func (s *Service) Customer(ctx context.Context, id string, read Read) (CustomerAnswer, error) {
	if err := s.awaitHot(ctx, read); err != nil {
		return CustomerAnswer{}, err
	}
	found := false
	customer, generation, err := ask(s.hot, func(v Hot) (customer view.CustomerSummary, err error) {
		customer, found, err = v.Customer(ctx, id)
		return customer, err
	})
	if err != nil {
		return CustomerAnswer{}, err
	}
	if !found {
		return CustomerAnswer{}, ErrCustomerUnknown
	}
	fresh, err := s.hot.freshness(ctx, generation)
	return CustomerAnswer{Customer: customer, Freshness: fresh}, err
}

// Stats sums over documents.
func (s *Service) Stats(ctx context.Context, q StatsQuestion, read Read) (StatsAnswer, error) {
	if err := q.Validate(); err != nil {
		return StatsAnswer{}, err
	}
	if err := s.awaitHot(ctx, read); err != nil {
		return StatsAnswer{}, err
	}
	stats, generation, err := ask(s.hot, func(v Hot) (view.Stats, error) { return v.Stats(ctx, q) })
	if err != nil {
		return StatsAnswer{}, err
	}
	fresh, err := s.hot.freshness(ctx, generation)
	return StatsAnswer{Stats: stats, Freshness: fresh}, err
}
