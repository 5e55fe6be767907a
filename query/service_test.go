package query_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	events "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// world is a whole docket without its edges, over files in a folder of the
// test.
type world struct {
	t       *testing.T
	store   *events.Store
	orders  *command.Orders
	backend *sqlite.Backend
	log     eventstore.LogIdentity
	manager *projections.Manager // set by feed
	options query.Options
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	store, err := events.Open(t.Context(), dir, events.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: store, orders: command.New(command.Options{Store: store}), backend: sqlite.NewBackend(dir, sqlite.Options{})}
	t.Cleanup(func() {
		if err := errors.Join(w.orders.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	if w.log, err = store.Log(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.manager = projections.NewManager(projections.Options{Store: store, Backend: w.backend, SpillDir: filepath.Join(dir, "tmp")})
	w.options = query.Options{Store: store, Log: w.log, Hot: query.SideOf[query.Hot](w.manager), Search: query.SideOf[query.Search](w.manager)}
	return w
}

func (w *world) live() (query.Views, int) {
	sink, generation := w.manager.Live()
	if sink == nil {
		return nil, 0
	}
	return sink.(query.Views), generation
}

// over is the options with one generation behind both sides.
func over(o query.Options, live func() (query.Views, int), progress query.Progress) query.Options {
	o.Hot = query.Side[query.Hot]{Progress: progress, Live: func() (query.Hot, int) {
		if v, n := live(); v != nil {
			return v, n
		}
		return nil, 0
	}}
	o.Search = query.Side[query.Search]{Progress: progress, Live: func() (query.Search, int) {
		if v, n := live(); v != nil {
			return v, n
		}
		return nil, 0
	}}
	return o
}

// feed starts the runner and returns when it has caught up.
func (w *world) feed() {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.manager.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	if err := w.manager.Started(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.caughtUp()
}

func (w *world) caughtUp() {
	w.t.Helper()
	if err := w.manager.CaughtUp(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) do(id string, cmd order.Command) query.Token {
	w.t.Helper()
	result, err := w.orders.Handle(w.t.Context(), id, cmd, command.Request{})
	if err != nil {
		w.t.Fatalf("%s %s: %v", cmd.Name(), id, err)
	}
	return query.Token{Log: w.log, OrderID: id, Revision: result.Revision, Position: result.Position}
}

// place makes order n: number, total and time follow from n, though several
// orders share a time and a total.
func (w *world) place(n int) query.Token {
	w.t.Helper()
	return w.do(fmt.Sprintf("order-%04d", n), order.Place{
		Number: fmt.Sprintf("N%04d", n*7919%10000), Currency: "EUR",
		Customer: order.Customer{ID: fmt.Sprintf("c%d", n%3), Name: "Ann Example"},
		Lines:    []order.Line{{SKU: "MUG", Title: "Mug", Quantity: int64(1 + n%5), UnitPrice: money.Minor(750, "EUR")}},
		At:       time.Date(2020, 1, 1+n%11, 0, 0, 0, 0, time.UTC),
	})
}

// standing is a runner that applies nothing and knows one parked order.
type standing struct {
	parked string
	at     int64         // added to the revision of why
	waits  chan struct{} // closed by the first Wait
	once   sync.Once
}

var why = view.Degraded{Reason: "a field is too long", Revision: 1}

func (s *standing) Wait(ctx context.Context, id string, _ eventstore.Revision) error {
	if id == s.parked {
		return projections.ErrParked
	}
	s.once.Do(func() { close(s.waits) })
	<-ctx.Done()
	return ctx.Err()
}

func (s *standing) ParkedOrder(id string) (view.Degraded, bool) {
	if id == s.parked {
		d := why
		d.Revision += s.at
		return d, true
	}
	return view.Degraded{}, false
}

func (*standing) Incomplete() error { return nil }

func (s *standing) Lag(context.Context) (projections.Lag, error) {
	return projections.Lag{Events: 3, Age: time.Second}, nil
}

// unfed is a service over an empty generation that nobody feeds.
func (w *world) unfed(parked string) (*query.Service, *standing) {
	w.t.Helper()
	sink, err := w.backend.Open(w.t.Context(), 7)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { sink.Close() })
	progress := &standing{parked: parked, waits: make(chan struct{})}
	o := over(w.options, func() (query.Views, int) { return sink.(query.Views), 7 }, progress)
	return query.New(o), progress
}

func TestOrderFromTheView(t *testing.T) {
	w := newWorld(t)
	w.place(1)
	w.do("order-0001", order.Confirm{})
	w.feed()
	got, err := query.New(w.options).Order(t.Context(), "order-0001", query.Read{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Source != query.FromView || got.Generation < 1 || got.Order.Status != "confirmed" || got.Order.Revision != 1 || got.Order.Degraded != nil {
		t.Errorf("got %+v", got)
	}
}

func TestMissingOrderIsFoldedFromTheLog(t *testing.T) {
	w := newWorld(t)
	w.place(1)
	w.do("order-0001", order.Confirm{})
	s, _ := w.unfed("")
	got, err := s.Order(t.Context(), "order-0001", query.Read{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Source != query.FromLog || got.Order.Status != "confirmed" || got.Order.Revision != 1 || got.Generation != 7 || got.Lag.Events != 3 {
		t.Errorf("got %+v", got)
	}
	if _, err := s.Order(t.Context(), "order-0002", query.Read{}); !errors.Is(err, query.ErrOrderUnknown) {
		t.Errorf("an order that is nowhere: %v", err)
	}
}

func TestParkedOrderIsMarked(t *testing.T) {
	w := newWorld(t)
	token := w.place(1)
	w.do("order-0001", order.Confirm{})
	s, _ := w.unfed("order-0001")

	got, err := s.Order(t.Context(), "order-0001", query.Read{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Source != query.FromLog || got.Order.Revision != 0 || got.Order.Status != "placed" || got.Order.Degraded == nil || *got.Order.Degraded != why {
		t.Errorf("without a document: got %+v", got.Order)
	}

	w.feed()
	o := over(w.options, w.live, &standing{parked: "order-0001"})
	s = query.New(o)
	list, err := s.List(t.Context(), query.Question{}, "", query.Read{Token: &token})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].Degraded == nil {
		t.Errorf("in a list: got %+v", list.Items)
	}
	got, err = s.Order(t.Context(), "order-0001", query.Read{})
	if err != nil || got.Source != query.FromView || got.Order.Degraded == nil {
		t.Errorf("by id: got %+v, %v", got, err)
	}
}

// Of an order whose very first event cannot be applied nothing is known, but
// its answer has the shape of all others.
func TestParkedBeforeItsFirstEvent(t *testing.T) {
	w := newWorld(t)
	w.place(1)
	sink, err := w.backend.Open(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	o := over(w.options, func() (query.Views, int) { return sink.(query.Views), 7 }, &standing{parked: "order-0001", at: -1})
	got, err := query.New(o).Order(t.Context(), "order-0001", query.Read{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Order.ID != "order-0001" || got.Order.Degraded == nil || got.Order.Lines == nil || got.Order.Holds == nil || got.Order.Number != "" {
		t.Errorf("got %+v", got.Order)
	}
}

func TestOrderWithAnEventNobodyCanRead(t *testing.T) {
	w := newWorld(t)
	w.place(1)
	stream := eventstore.Namespace("").Stream(codec.Category, "order-0001")
	bad := eventstore.Event{ID: command.KeyID("", "", "bad"), Type: "OrderBewitched", JSON: true, Data: []byte("{}"), Metadata: []byte("{}")}
	if _, err := w.store.Append(t.Context(), stream, eventstore.At(0), []eventstore.Event{bad}); err != nil {
		t.Fatal(err)
	}
	s, _ := w.unfed("")
	got, err := s.Order(t.Context(), "order-0001", query.Read{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Order.Revision != 0 || got.Order.Degraded == nil || got.Order.Degraded.Revision != 1 {
		t.Errorf("got %+v", got.Order)
	}
	if _, err := s.OrderAt(t.Context(), "order-0001", 1); !errors.Is(err, query.ErrHistoryUnreadable) {
		t.Errorf("at the bad revision: %v", err)
	}
}

func TestTokenIsBehind(t *testing.T) {
	w := newWorld(t)
	token := w.place(1)
	s, progress := w.unfed("")
	for _, wait := range []time.Duration{0, time.Millisecond} {
		_, err := s.Order(t.Context(), "order-0001", query.Read{Token: &token, Wait: wait})
		var behind *query.BehindError
		if !errors.Is(err, query.ErrBehind) || !errors.As(err, &behind) || behind.Have != -1 || behind.Want != 0 || behind.WantPosition == "" {
			t.Errorf("wait %s: %v", wait, err)
		}
	}
	select {
	case <-progress.waits:
	default:
		t.Error("it did not wait")
	}
	if _, err := s.List(t.Context(), query.Question{}, "", query.Read{Token: &token}); !errors.Is(err, query.ErrBehind) {
		t.Errorf("list: %v", err)
	}
	if _, err := s.Stats(t.Context(), query.StatsQuestion{}, query.Read{Token: &token}); !errors.Is(err, query.ErrBehind) {
		t.Errorf("stats: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Order(ended, "order-0001", query.Read{Token: &token, Wait: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("caller gone: %v", err)
	}

	// The view has the order, but not its next event.
	w.feed()
	next := token
	next.Revision++
	var behind *query.BehindError
	_, err := query.New(w.options).Order(t.Context(), "order-0001", query.Read{Token: &next})
	if !errors.Is(err, query.ErrBehind) || !errors.As(err, &behind) || behind.Have != 0 || behind.Want != 1 {
		t.Errorf("one event behind: %v", err)
	}
}

// TestTokenAfterARestore: views may still be those of the time before it, in which
// the order had more events, at lower positions.
func TestTokenAfterARestore(t *testing.T) {
	w := newWorld(t)
	token := w.place(1)
	w.feed()
	s := query.New(w.options)
	if _, err := s.Order(t.Context(), "order-0001", query.Read{Token: &token}); err != nil {
		t.Fatal(err)
	}
	token.Position.Commit += 10
	if _, err := s.Order(t.Context(), "order-0001", query.Read{Token: &token}); !errors.Is(err, query.ErrBehind) {
		t.Errorf("an older life of the order is shown: %v", err)
	}
}

func TestTokenOfAParkedOrderIsAnsweredAtOnce(t *testing.T) {
	w := newWorld(t)
	token := w.place(1)
	s, _ := w.unfed("order-0001")
	_, err := s.Order(t.Context(), "order-0001", query.Read{Token: &token, Wait: time.Hour})
	var parked *query.ParkedError
	if !errors.Is(err, query.ErrParked) || !errors.As(err, &parked) || parked.Degraded != why {
		t.Errorf("got %v", err)
	}
}

func TestTokenOfAnotherLog(t *testing.T) {
	w := newWorld(t)
	token := w.place(1)
	s, _ := w.unfed("")
	token.Log.Epoch++
	if _, err := s.Order(t.Context(), "order-0001", query.Read{Token: &token, Wait: time.Hour}); !errors.Is(err, query.ErrTokenForeign) {
		t.Errorf("got %v", err)
	}
}

// A reader that brings the token of its own write sees it, in every kind of
// answer, while many write.
func TestReadYourWrites(t *testing.T) {
	w := newWorld(t)
	w.feed()
	s := query.New(w.options)
	var writers sync.WaitGroup
	for n := range 8 {
		writers.Go(func() {
			for i := range 10 {
				token := w.place(n*10 + i)
				read := query.Read{Token: &token, Wait: time.Minute}
				if got, err := s.Order(t.Context(), token.OrderID, read); err != nil || got.Source != query.FromView {
					t.Errorf("%s by id: %+v, %v", token.OrderID, got.Freshness, err)
				}
				list, err := s.List(t.Context(), query.Question{IDs: []string{token.OrderID}}, "", read)
				if err != nil || len(list.Items) != 1 || list.Total != 1 {
					t.Errorf("%s in a list: %d, %v", token.OrderID, len(list.Items), err)
				}
			}
		})
	}
	writers.Wait()
}

var sorts = []query.Sort{
	{By: query.ByPlacedAt}, {By: query.ByPlacedAt, Desc: true},
	{By: query.ByTotal}, {By: query.ByTotal, Desc: true},
	{By: query.ByNumber}, {By: query.ByNumber, Desc: true},
	{By: query.ByUpdatedAt},
}

// Whatever is inserted during a walk, what was there is seen exactly once, in
// order, though the service restarts and the generation is switched on the way.
func TestCursorWalkUnderInserts(t *testing.T) {
	const there, pages = 120, 13
	for _, sort := range sorts {
		t.Run(fmt.Sprintf("%s %v", sort.By, sort.Desc), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for n := range there {
				w.place(2 * n)
			}
			w.feed()
			question := query.Question{Sort: sort, Currency: []string{"EUR"}, Limit: pages}
			seen, last, cursor := map[string]int{}, (*view.Order)(nil), ""
			for page := 0; ; page++ {
				if page > there {
					t.Fatal("the walk does not end")
				}
				if page == 3 {
					if err := w.manager.Rebuild(t.Context(), nil); err != nil {
						t.Fatal(err)
					}
				}
				answer, err := query.New(w.options).List(t.Context(), question, cursor, query.Read{})
				if err != nil {
					t.Fatal(err)
				}
				for i := range answer.Items {
					o := &answer.Items[i]
					seen[o.ID]++
					if last != nil && compare(sort, *last, *o) >= 0 {
						t.Errorf("%s comes after %s", o.ID, last.ID)
					}
					last = o
				}
				if cursor = answer.Cursor; cursor == "" {
					break
				}
				if page < 5 { // before and behind the place of the walk
					w.place(2*page + 1)
					w.place(2*(there-page) + 1)
					w.caughtUp()
				}
			}
			for n := range there {
				if id := fmt.Sprintf("order-%04d", 2*n); seen[id] != 1 {
					t.Errorf("%s was seen %d times", id, seen[id])
				}
			}
		})
	}
}

func compare(by query.Sort, a, b view.Order) int {
	c := 0
	switch by.By {
	case query.ByPlacedAt:
		c = a.PlacedAt.Compare(b.PlacedAt)
	case query.ByUpdatedAt:
		c = a.UpdatedAt.Compare(b.UpdatedAt)
	case query.ByTotal:
		c = a.Totals.Grand.Cmp(b.Totals.Grand)
	case query.ByNumber:
		c = compareText(a.Number, b.Number)
	}
	if c == 0 {
		c = compareText(a.ID, b.ID)
	}
	if by.Desc {
		c = -c
	}
	return c
}

func compareText(a, b string) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

func TestCustomerOrdersWalk(t *testing.T) {
	w := newWorld(t)
	for n := range 60 {
		w.place(n)
	}
	w.feed()
	s := query.New(w.options)
	var ids []string
	cursor := ""
	for range 60 {
		page, err := s.CustomerOrders(t.Context(), "c1", 7, cursor, query.Read{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Items {
			ids = append(ids, o.ID)
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
		if _, err := s.CustomerOrders(t.Context(), "c2", 7, cursor, query.Read{}); !errors.Is(err, query.ErrCursorQuestion) {
			t.Fatalf("the cursor of another customer: %v", err)
		}
	}
	slices.Sort(ids)
	if len(ids) != 20 || len(slices.Compact(ids)) != 20 {
		t.Errorf("seen: %v", ids)
	}
	if _, err := s.CustomerOrders(t.Context(), "c1", query.MaxLimit+1, "", query.Read{}); !errors.Is(err, query.ErrLimit) {
		t.Errorf("too large a page: %v", err)
	}
	if _, err := s.CustomerOrders(t.Context(), "nobody", 0, "", query.Read{}); !errors.Is(err, query.ErrCustomerUnknown) {
		t.Errorf("the orders of no customer: %v", err)
	}
	c, err := s.Customer(t.Context(), "c1", query.Read{})
	if err != nil || len(c.Customer.Totals) != 1 || c.Customer.Totals[0].Orders != 20 {
		t.Errorf("customer: %+v, %v", c, err)
	}
	if _, err := s.Customer(t.Context(), "nobody", query.Read{}); !errors.Is(err, query.ErrCustomerUnknown) {
		t.Errorf("no customer: %v", err)
	}
}

// A generation that is closed by a switch between the choice and the answer
// costs nobody an error.
func TestSwitchDuringAQuestion(t *testing.T) {
	w := newWorld(t)
	w.place(1)
	w.feed()
	closed, err := w.backend.Open(t.Context(), 9)
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	asked := 0
	o := over(w.options, func() (query.Views, int) {
		if asked++; asked%2 == 1 {
			return closed.(query.Views), 9
		}
		return w.live()
	}, w.manager)
	s := query.New(o)
	if got, err := s.Order(t.Context(), "order-0001", query.Read{}); err != nil || got.Generation == 9 {
		t.Errorf("by id: generation %d, %v", got.Generation, err)
	}
	if got, err := s.List(t.Context(), query.Question{}, "", query.Read{}); err != nil || len(got.Items) != 1 {
		t.Errorf("list: %+v, %v", got, err)
	}
	o = over(w.options, func() (query.Views, int) { return closed.(query.Views), 9 }, w.manager)
	if _, err := query.New(o).Order(t.Context(), "order-0001", query.Read{}); !errors.Is(err, query.ErrNotReady) {
		t.Errorf("nothing but closed ones: %v", err)
	}
	o = over(w.options, func() (query.Views, int) { return nil, 0 }, w.manager)
	if _, err := query.New(o).Stats(t.Context(), query.StatsQuestion{}, query.Read{}); !errors.Is(err, query.ErrNotReady) {
		t.Errorf("none is open: %v", err)
	}
}

func TestOrderAtAndPreview(t *testing.T) {
	w := newWorld(t)
	w.place(1)
	w.do("order-0001", order.Confirm{})
	s, _ := w.unfed("")

	for revision, status := range map[eventstore.Revision]string{0: "placed", 1: "confirmed"} {
		if o, err := s.OrderAt(t.Context(), "order-0001", revision); err != nil || o.Status != status || o.Revision != int64(revision) {
			t.Errorf("at %d: %s at %d, %v", revision, o.Status, o.Revision, err)
		}
	}
	for _, revision := range []eventstore.Revision{-1, 2, eventstore.EndRevision} {
		if _, err := s.OrderAt(t.Context(), "order-0001", revision); !errors.Is(err, query.ErrRevisionUnknown) {
			t.Errorf("at %d: %v", revision, err)
		}
	}
	if _, err := s.OrderAt(t.Context(), "order-0002", 0); !errors.Is(err, query.ErrOrderUnknown) {
		t.Errorf("an order that is nowhere: %v", err)
	}

	dry, err := w.orders.Handle(t.Context(), "order-0001", order.Cancel{Reason: "changed my mind"}, command.Request{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Preview(t.Context(), "order-0001", 1, dry.Events)
	if err != nil || o.Status != "cancelled" {
		t.Errorf("cancelled: %s, %v", o.Status, err)
	}
	if o, err := s.OrderFromLog(t.Context(), "order-0001"); err != nil || o.Status != "confirmed" {
		t.Errorf("and still %s, %v", o.Status, err)
	}
}

func TestStatsAndQuestionsAreChecked(t *testing.T) {
	w := newWorld(t)
	w.place(1)
	w.feed()
	s := query.New(w.options)
	got, err := s.Stats(t.Context(), query.StatsQuestion{Top: 1}, query.Read{})
	if err != nil || len(got.Stats.Currencies) != 1 || got.Stats.Currencies[0].Orders != 1 {
		t.Errorf("stats: %+v, %v", got, err)
	}
	if _, err := s.Stats(t.Context(), query.StatsQuestion{Top: -1}, query.Read{}); !errors.Is(err, query.ErrTop) {
		t.Errorf("top -1: %v", err)
	}
	if _, err := s.List(t.Context(), query.Question{Limit: -1}, "", query.Read{}); !errors.Is(err, query.ErrLimit) {
		t.Errorf("limit -1: %v", err)
	}
	if _, err := s.List(t.Context(), query.Question{}, "nonsense", query.Read{}); !errors.Is(err, query.ErrCursorInvalid) {
		t.Errorf("nonsense cursor: %v", err)
	}
}
