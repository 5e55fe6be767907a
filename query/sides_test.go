package query_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// remote is a store behind a network, with everything that can be wrong with it.
type remote struct {
	query.Views
	query.Progress
	generation int
	fails      error // of every question
	hangs      bool  // until the question is given up
	closed     bool  // no generation is open
	lacking    error
	holding    *query.Holding // of the last list
}

func (r *remote) ask(ctx context.Context) error {
	if r.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return r.fails
}

func (r *remote) Incomplete() error { return r.lacking }

func (r *remote) Order(ctx context.Context, id string) (view.Order, bool, error) {
	if err := r.ask(ctx); err != nil {
		return view.Order{}, false, err
	}
	return r.Views.Order(ctx, id)
}

func (r *remote) Customer(ctx context.Context, id string) (view.CustomerSummary, bool, error) {
	if err := r.ask(ctx); err != nil {
		return view.CustomerSummary{}, false, err
	}
	return r.Views.Customer(ctx, id)
}

func (r *remote) CustomerOrders(ctx context.Context, id string, limit int, after *query.Key) (query.Page, error) {
	if err := r.ask(ctx); err != nil {
		return query.Page{}, err
	}
	return r.Views.CustomerOrders(ctx, id, limit, after)
}

func (r *remote) Stats(ctx context.Context, q query.StatsQuestion) (view.Stats, error) {
	if err := r.ask(ctx); err != nil {
		return view.Stats{}, err
	}
	return r.Views.Stats(ctx, q)
}

func (r *remote) Documents(ctx context.Context, ids []string) (map[string]view.Order, error) {
	if err := r.ask(ctx); err != nil && !errors.Is(err, query.ErrBehind) {
		return nil, err
	}
	return r.Views.Documents(ctx, ids)
}

func (r *remote) Orders(ctx context.Context, q query.Question) (query.Page, error) {
	r.holding = q.Holding
	if err := r.ask(ctx); err != nil {
		return query.Page{}, err
	}
	return r.Views.Orders(ctx, q)
}

func sideOf[V any](r *remote) query.Side[V] {
	return query.Side[V]{Remote: true, Progress: r, Live: func() (none V, _ int) {
		if r.closed {
			return none, 0
		}
		return any(r).(V), r.generation
	}}
}

// apart is a service over two stores: hot, made by SQLite, and search, made by
// the reference. Each may be spoilt, or not be fed.
type apart struct {
	*world
	hot, search *remote
	s           *query.Service
}

func newApart(t *testing.T) *apart {
	w := newWorld(t)
	a := &apart{world: w, hot: &remote{generation: 1}, search: &remote{generation: 1}}
	a.options.Hot, a.options.Search = sideOf[query.Hot](a.hot), sideOf[query.Search](a.search)
	a.s = query.New(a.options)
	return a
}

// behind opens a store that nobody feeds.
func (a *apart) unfed(r *remote, parked string) {
	a.t.Helper()
	sink, err := sqlite.NewBackend(a.t.TempDir(), sqlite.Options{}).Open(a.t.Context(), 7)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { sink.Close() })
	r.Views, r.generation = sink.(query.Views), 7
	r.Progress = &standing{parked: parked, waits: make(chan struct{})}
}

// fed keeps a store with the log, and returns when it has caught up.
func (a *apart) fed(r *remote, backend projections.Backend) {
	a.t.Helper()
	m := projections.NewManager(projections.Options{Store: a.store, Backend: backend, SpillDir: filepath.Join(a.t.TempDir(), "tmp")})
	a.manager = m
	a.feed()
	sink, n := m.Live()
	if err := sink.Refresh(a.t.Context()); err != nil { // its lists are seconds old
		a.t.Fatal(err)
	}
	r.Views, r.generation, r.Progress = sink.(query.Views), n, m
}

func TestEachStoreAnswersItsOwn(t *testing.T) {
	a := newApart(t)
	token := a.place(1)
	a.fed(a.hot, a.backend)
	a.unfed(a.search, "")
	read := query.Read{Token: &token}

	if got, err := a.s.Order(t.Context(), token.OrderID, read); err != nil || got.Source != query.FromView || got.Lag.Events != 0 || got.Generation != 1 {
		t.Errorf("by id: %+v, %v", got.Freshness, err)
	}
	if got, err := a.s.Customer(t.Context(), "c1", read); err != nil || len(got.Customer.Totals) != 1 {
		t.Errorf("customer: %+v, %v", got, err)
	}
	if got, err := a.s.List(t.Context(), query.Question{}, "", query.Read{}); err != nil || len(got.Items) != 0 || got.Lag.Events != 3 || got.Generation != 7 {
		t.Errorf("list without a token: %+v, %v", got, err)
	}
	var behind *query.BehindError
	if _, err := a.s.List(t.Context(), query.Question{}, "", read); !errors.As(err, &behind) || behind.Have != -1 {
		t.Errorf("list with a token: %v", err)
	}
	if err := a.s.AwaitHot(t.Context(), read); err != nil {
		t.Errorf("wait for the hot store: %v", err)
	}
	if err := a.s.AwaitSearch(t.Context(), read); !errors.As(err, &behind) {
		t.Errorf("wait for the other: %v", err)
	}

	a.fed(a.search, projectionstest.NewReference())
	if got, err := a.s.List(t.Context(), query.Question{}, "", read); err != nil || len(got.Items) != 1 || got.Generation != 1 {
		t.Errorf("list when it is there: %+v, %v", got, err)
	}
	if h := a.search.holding; h == nil || h.OrderID != token.OrderID || h.Revision != int64(token.Revision) {
		t.Errorf("the store was asked to hold %+v", h)
	}
}

// TestStoreOfOrdersAway: an order by id comes from the log, and what cannot says so
// at once; lists do not notice.
func TestStoreOfOrdersAway(t *testing.T) {
	for name, spoil := range map[string]func(*remote){
		"does not answer":             func(r *remote) { r.fails = projections.ErrUnavailable },
		"lost the generation":         func(r *remote) { r.fails = projections.ErrLost },
		"is made again":               func(r *remote) { r.lacking = projections.ErrLost },
		"was away at the start":       func(r *remote) { r.closed, r.lacking = true, projections.ErrUnavailable },
		"was not opened yet":          func(r *remote) { r.closed = true },
		"hangs":                       func(r *remote) { r.hangs = true },
		"is lost in the middle of it": func(r *remote) { r.fails = errors.Join(projections.ErrUnavailable, projections.ErrLost) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApart(t)
			a.place(1)
			token := a.do("order-0001", order.Confirm{})
			a.fed(a.search, projectionstest.NewReference())
			a.unfed(a.hot, "")
			spoil(a.hot)
			read := query.Read{Token: &token}

			got, err := a.s.Order(t.Context(), "order-0001", read)
			if err != nil || got.Source != query.FromLog || got.Order.Revision != 1 || got.Order.Status != "confirmed" {
				t.Errorf("by id: %+v, %v", got, err)
			}
			if _, err := a.s.Order(t.Context(), "order-0002", query.Read{}); !errors.Is(err, query.ErrOrderUnknown) {
				t.Errorf("an order that is nowhere: %v", err)
			}
			if err := a.s.AwaitHot(t.Context(), query.Read{Token: &token, Wait: time.Hour}); err != nil {
				t.Errorf("it is waited for: %v", err)
			}
			if list, err := a.s.List(t.Context(), query.Question{}, "", read); err != nil || len(list.Items) != 1 {
				t.Errorf("list: %+v, %v", list, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err = a.s.Customer(ctx, "c1", read)
			_, err2 := a.s.Stats(ctx, query.StatsQuestion{}, read)
			_, err3 := a.s.CustomerOrders(ctx, "c1", 10, "", read)
			for _, err := range []error{err, err2, err3} {
				if !errors.Is(err, query.ErrUnavailable) && !a.hot.hangs {
					t.Errorf("customer and sums: %v, %v, %v", err, err2, err3)
				}
				if err == nil {
					t.Error("an answer from nowhere")
				}
			}
		})
	}
}

func TestStoreOfListsAway(t *testing.T) {
	a := newApart(t)
	token := a.place(1)
	a.fed(a.hot, a.backend)
	a.unfed(a.search, "")
	read := query.Read{Token: &token}
	for _, spoil := range []func(){
		func() { a.search.fails = projections.ErrUnavailable },
		func() { a.search.fails, a.search.lacking = nil, projections.ErrLost },
		func() { a.search.closed = true },
	} {
		spoil()
		for _, read := range []query.Read{{}, read} {
			if _, err := a.s.List(t.Context(), query.Question{}, "", read); !errors.Is(err, query.ErrUnavailable) {
				t.Errorf("list: %v", err)
			}
		}
		if got, err := a.s.Order(t.Context(), token.OrderID, read); err != nil || got.Source != query.FromView {
			t.Errorf("by id: %+v, %v", got, err)
		}
	}
}

// TestStoreThatDoesNotFindYet: the write is in the store, and its searches do not
// see it.
func TestStoreThatDoesNotFindYet(t *testing.T) {
	a := newApart(t)
	token := a.place(1)
	a.fed(a.search, projectionstest.NewReference())
	a.search.fails = query.ErrBehind
	var behind *query.BehindError
	_, err := a.s.List(t.Context(), query.Question{}, "", query.Read{Token: &token})
	if !errors.As(err, &behind) || behind.Have != -1 || behind.Want != token.Revision || behind.WantPosition == "" {
		t.Errorf("got %v", err)
	}
}

// TestParkedInOneStore: what one store refuses is degraded there, and nowhere
// else.
func TestParkedInOneStore(t *testing.T) {
	a := newApart(t)
	token := a.place(1)
	a.fed(a.hot, a.backend)
	refusing := projectionstest.NewReference()
	refusing.Refuse("order-0001", errors.New("too long"))
	a.fed(a.search, refusing)
	read := query.Read{Token: &token, Wait: time.Hour}
	if got, err := a.s.Order(t.Context(), "order-0001", read); err != nil || got.Order.Degraded != nil || got.Source != query.FromView {
		t.Errorf("by id: %+v, %v", got, err)
	}
	var parked *query.ParkedError
	if _, err := a.s.List(t.Context(), query.Question{}, "", read); !errors.As(err, &parked) || parked.Degraded.Reason == "" {
		t.Errorf("list: %v", err)
	}
	if list, err := a.s.List(t.Context(), query.Question{}, "", query.Read{}); err != nil || len(list.Items) != 0 {
		t.Errorf("list without a token: %+v, %v", list, err)
	}
}

// TestTokenTheLogCannotFollow: the view is away, and an event before the token's
// write cannot be applied.
func TestTokenTheLogCannotFollow(t *testing.T) {
	a := newApart(t)
	token := a.place(1)
	bad := eventstore.Event{ID: [16]byte{1}, Type: "OrderBewitched", JSON: true, Data: []byte("{}"), Metadata: []byte("{}")}
	if _, err := a.store.Append(t.Context(), eventstore.Namespace("").Stream(codec.Category, "order-0001"), eventstore.At(0), []eventstore.Event{bad}); err != nil {
		t.Fatal(err)
	}
	a.unfed(a.hot, "")
	a.hot.closed = true
	if got, err := a.s.Order(t.Context(), "order-0001", query.Read{Token: &token}); err != nil || got.Order.Degraded == nil {
		t.Errorf("up to the bad event: %+v, %v", got, err)
	}
	token.Revision = 1
	var parked *query.ParkedError
	if _, err := a.s.Order(t.Context(), "order-0001", query.Read{Token: &token}); !errors.As(err, &parked) || parked.Degraded.Revision != 1 {
		t.Errorf("behind it: %v", err)
	}
	token.OrderID = "order-0002"
	if got, err := a.s.Order(t.Context(), "order-0001", query.Read{Token: &token}); err != nil || got.Order.Degraded == nil {
		t.Errorf("the token of another order: %+v, %v", got, err)
	}
}

// TestCursorGoesOnInAnotherStore: a list begun in one store ends in another, as it
// does where --search comes or goes between two pages.
func TestCursorGoesOnInAnotherStore(t *testing.T) {
	a := newApart(t)
	for n := range 30 {
		a.place(n)
	}
	a.fed(a.hot, a.backend)
	a.fed(a.search, projectionstest.NewReference())
	both := []*remote{a.search, a.hot}
	for _, sort := range sorts {
		var seen []string
		cursor := ""
		for page := range 31 {
			o := a.options
			o.Search = sideOf[query.Search](both[page%2])
			got, err := query.New(o).List(t.Context(), query.Question{Sort: sort, Currency: []string{"EUR"}, Limit: 4}, cursor, query.Read{})
			if err != nil || got.Total != 30 {
				t.Fatalf("%v: total %d, %v", sort, got.Total, err)
			}
			for _, o := range got.Items {
				seen = append(seen, o.ID)
			}
			if cursor = got.Cursor; cursor == "" {
				break
			}
		}
		slices.Sort(seen)
		if len(seen) != 30 || len(slices.Compact(seen)) != 30 {
			t.Errorf("%v: saw %d orders", sort, len(seen))
		}
	}
}
