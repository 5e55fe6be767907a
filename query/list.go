package query

import (
	"context"

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
	return s.page(ctx, q.hash(), cursor, read, func(v Views, after *Key) (Page, error) {
		q.After = after
		return v.Orders(ctx, q)
	})
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
	return s.page(ctx, customerOrdersHash(id), cursor, read, func(v Views, after *Key) (Page, error) {
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
func (s *Service) page(ctx context.Context, question questionHash, cursor string, read Read, list func(Views, *Key) (Page, error)) (ListAnswer, error) {
	after, err := openCursor(s.options.Log, question, cursor)
	if err != nil {
		return ListAnswer{}, err
	}
	if err := s.awaitSearchable(ctx, read); err != nil {
		return ListAnswer{}, err
	}
	page, generation, err := ask(s, func(v Views) (Page, error) { return list(v, after) })
	if err != nil {
		return ListAnswer{}, err
	}
	if page.Items == nil {
		page.Items = []view.Order{}
	}
	for i := range page.Items {
		s.joinDegraded(&page.Items[i])
	}
	answer := ListAnswer{Page: page}
	if page.Next != nil {
		answer.Cursor = sealCursor(s.options.Log, question, *page.Next)
	}
	answer.Freshness, err = s.freshness(ctx, generation)
	return answer, err
}

// Customer answers a customer with the totals over their orders.
func (s *Service) Customer(ctx context.Context, id string, read Read) (CustomerAnswer, error) {
	if err := s.awaitSearchable(ctx, read); err != nil {
		return CustomerAnswer{}, err
	}
	found := false
	customer, generation, err := ask(s, func(v Views) (customer view.CustomerSummary, err error) {
		customer, found, err = v.Customer(ctx, id)
		return customer, err
	})
	if err != nil {
		return CustomerAnswer{}, err
	}
	if !found {
		return CustomerAnswer{}, ErrCustomerUnknown
	}
	fresh, err := s.freshness(ctx, generation)
	return CustomerAnswer{Customer: customer, Freshness: fresh}, err
}

// Stats sums over documents.
func (s *Service) Stats(ctx context.Context, q StatsQuestion, read Read) (StatsAnswer, error) {
	if err := q.Validate(); err != nil {
		return StatsAnswer{}, err
	}
	if err := s.awaitSearchable(ctx, read); err != nil {
		return StatsAnswer{}, err
	}
	stats, generation, err := ask(s, func(v Views) (view.Stats, error) { return v.Stats(ctx, q) })
	if err != nil {
		return StatsAnswer{}, err
	}
	fresh, err := s.freshness(ctx, generation)
	return StatsAnswer{Stats: stats, Freshness: fresh}, err
}
