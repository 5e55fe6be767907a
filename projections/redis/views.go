package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// Order implements query.Hot.
func (s *Store) Order(ctx context.Context, id string) (doc view.Order, ok bool, err error) {
	found, err := s.Documents(ctx, []string{id})
	doc, ok = found[id]
	return doc, ok, err
}

// Customer implements query.Hot. Totals, and when they ordered first and last, are
// of one instant; the name is that of the newest order's document.
func (s *Store) Customer(ctx context.Context, id string) (sum view.CustomerSummary, found bool, err error) {
	err = s.with(func() error {
		if id == "" { // of guests nobody asks
			return nil
		}
		c := &call{script: &s.scripts.customer, keys: s.keys.customers[bucketOf(id)], args: []any{s.nonce, id}}
		if err := s.server.one(ctx, c); err != nil {
			return err
		}
		answer := list(c.reply)
		if len(answer) < 2 {
			return nil
		}
		_, first, _, ok := placed(text(answer[0]))
		_, last, newest, alsoOK := placed(text(answer[1]))
		if !ok || !alsoOK {
			return nil // another program's entry, until a recount removes it
		}
		found = true
		sum = view.CustomerSummary{ID: id, FirstAt: micros(first), LastAt: micros(last), Totals: totalsOf(answer[2:])}
		docs := map[string]view.Order{}
		if err := s.documents(ctx, []string{newest}, docs); err != nil {
			return err
		}
		if doc := docs[newest]; doc.Customer.ID == id {
			sum.Name, sum.Email = doc.Customer.Name, doc.Customer.Email
		}
		return nil
	})
	return sum, found && err == nil, wrap(err, "read customer")
}

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

func totalsOf(answer []any) []view.CustomerTotal {
	out := []view.CustomerTotal{}
	for i := 0; i+1 < len(answer); i += 2 {
		v, _, ok := unpack(text(answer[i+1]), 5)
		currency, err := money.ParseCurrency(text(answer[i]))
		if !ok || err != nil || v[0] == 0 {
			continue
		}
		out = append(out, view.CustomerTotal{
			Currency: currency, Orders: v[0],
			Items: money.Minor(v[1], currency), Grand: money.Minor(v[2], currency), Paid: money.Minor(v[3], currency),
			Rounding: money.New(v[4], money.MaxScale, currency),
		})
	}
	slices.SortFunc(out, func(a, b view.CustomerTotal) int { return cmp.Compare(a.Currency, b.Currency) })
	return out
}

// CustomerOrders implements query.Hot. The page is of one instant; its documents
// are fetched then, each as written last. One that is not there yet, since its
// customer is written first, is left out.
func (s *Store) CustomerOrders(ctx context.Context, id string, limit int, after *query.Key) (page query.Page, err error) {
	page.Items = []view.Order{}
	err = s.with(func() error {
		if id == "" {
			return nil
		}
		from := ""
		if after != nil {
			from = place(id, after.Int, after.ID)
		}
		c := &call{script: &s.scripts.page, keys: s.keys.customers[bucketOf(id)][listKey : listKey+1], args: []any{s.nonce, id, from, limit + 1}}
		if err := s.server.one(ctx, c); err != nil {
			return err
		}
		answer := list(c.reply)
		if len(answer) != 2 {
			return fmt.Errorf("unexpected answer %v", c.reply)
		}
		page.Total, _ = answer[0].(int64)
		var ids []string
		var last query.Key
		for i, entry := range list(answer[1]) {
			if i == limit {
				page.Next = &last
				break
			}
			_, at, order, _ := placed(text(entry)) // of another program's entry, no order
			ids = append(ids, order)
			last = query.Key{Int: at, ID: order}
		}
		docs := map[string]view.Order{}
		for part := range slices.Chunk(ids, documentsAtOnce) {
			if err := s.documents(ctx, part, docs); err != nil {
				return err
			}
		}
		for _, id := range ids {
			if doc, ok := docs[id]; ok {
				page.Items = append(page.Items, doc)
			}
		}
		return nil
	})
	return page, wrap(err, "list a customer's orders")
}
