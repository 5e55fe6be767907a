package waiting_test

import (
	"errors"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/docs/examples/waiting"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/redis"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/readmodel"
)

// allStores are the views of docket: in its folder, and behind a network.
var allStores = map[string]func(t *testing.T) opener{
	"sqlite": func(*testing.T) opener {
		return func() (search, cache *embedded.Views, err error) { return nil, nil, nil }
	},
	"elasticsearch and redis": func(t *testing.T) opener {
		namespace := eventstore.Namespace(testservers.Namespace(t))
		index, keys := testservers.Elasticsearch(t), testservers.Redis(t)
		return func() (search, cache *embedded.Views, err error) {
			search, err = embedded.Elasticsearch("elasticsearch"+index[len("http"):], elastic.Options{Namespace: namespace})
			if err == nil {
				cache, err = embedded.Redis("redis://"+keys, redis.Options{Namespace: namespace})
			}
			return search, cache, err
		}
	},
}

type opener func() (search, cache *embedded.Views, err error)

// world is a docket over a folder, opened again and again with other views.
type world struct {
	*embedded.Docket
	t      *testing.T
	dir    string
	stores opener
	read   query.Read // with the token of the last write
}

func newWorld(t *testing.T, stores opener) *world {
	return &world{t: t, dir: t.TempDir(), stores: stores}
}

func (w *world) open(models ...readmodel.Model) {
	w.t.Helper()
	search, cache, err := w.stores()
	if err != nil {
		w.t.Fatal(err)
	}
	w.Docket, err = embedded.Open(w.t.Context(), filepath.Join(w.dir, "docket"), embedded.Options{
		Logger: silent, Models: models, Search: search, Cache: cache, Lease: time.Second,
		Keep: time.Hour, Upgrade: projections.ThenAsk,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	opened := w.Docket
	w.t.Cleanup(func() {
		if w.Docket == opened {
			w.close()
		}
	})
}

func (w *world) close() {
	w.t.Helper()
	if err := w.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.Docket = nil
}

func (w *world) model() readmodel.Live { return w.Models[0] }

func (w *world) caughtUp() {
	w.t.Helper()
	err, away := w.CaughtUp(w.t.Context(), time.Minute)
	for _, m := range w.model().Views.Managers() {
		sink, _ := m.Live()
		err = errors.Join(err, sink.Refresh(w.t.Context()))
	}
	if err := errors.Join(err, away); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) ask(question string, params url.Values) any {
	w.t.Helper()
	answer, _, err := w.model().Ask(w.t.Context(), question, params, time.Now(), w.read)
	if err != nil {
		w.t.Fatalf("%s %v: %v", question, params, err)
	}
	return answer
}

// fill has the excerpt of real invoices, and generated lives in all their stages.
func (w *world) fill() {
	w.t.Helper()
	direct := importer.Direct{Orders: w.Orders}
	if _, err := importer.Excerpt(w.t.Context(), direct, importer.Options{}); err != nil {
		w.t.Fatal(err)
	}
	for life := range importer.Generate(1, 150, time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)) {
		for i, step := range life.Steps {
			if len(life.OrderID)%2 == 0 && i > 3 {
				break
			}
			if _, err := direct.Handle(w.t.Context(), life.OrderID, step.Command, step.Key); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// fold makes the documents of a view from the log, one event after the other.
func (w *world) fold(v readmodel.View[waiting.Order]) map[string]waiting.Order {
	w.t.Helper()
	docs := map[string]waiting.Order{}
	for record, err := range w.Store.ReadAll(w.t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{codec.Category + "-"}}, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := codec.Decode(record, "")
		if err != nil {
			w.t.Fatal(err)
		}
		docs[e.OrderID] = v.Apply(docs[e.OrderID], e)
	}
	return docs
}

// placesAndSees writes, and asks with the token of that.
func (w *world) placesAndSees() {
	w.t.Helper()
	id, dispatched := "waits-here", "half"
	for _, c := range []order.Command{
		order.Place{
			Customer: order.Customer{ID: "c", Name: "Ana Prado"}, Currency: "EUR",
			Lines:           []order.Line{{ID: "1", SKU: "MUG", Quantity: 5, UnitPrice: money.Minor(750, "EUR")}},
			ShippingAddress: &order.Address{Country: "NZ"}, At: time.Now().AddDate(0, 0, -30),
		},
		order.Confirm{},
		order.Dispatch{ShipmentID: dispatched, Lines: []order.LineQuantity{{LineID: "1", Quantity: 2}}},
	} {
		result, err := w.Orders.Handle(w.t.Context(), id, c, command.Request{Actor: "ann"})
		if err != nil {
			w.t.Fatal(err)
		}
		token := query.Token{Log: w.Log, OrderID: id, Revision: result.Revision, Position: result.Position}
		w.read = query.Read{Token: &token, Wait: time.Minute}
	}
	page := w.ask("longer-than", url.Values{"days": {"29"}, "country": {"NZ"}}).(readmodel.Page[waiting.Order])
	if len(page.Items) != 1 || page.Items[0].OrderID != id || page.Items[0].Document.Units != 3 || page.Items[0].Document.Value != money.Minor(2250, "EUR") {
		w.t.Errorf("%+v", page)
	}
}

// waitsForASwitch returns when the newer version is made beside the older one.
func (w *world) waitsForASwitch() {
	w.t.Helper()
	list, err := w.model().Views.Rebuilds(w.t.Context())
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; err == nil && (len(list) == 0 || list[0].Version != w.model().Version); <-tick.C {
		list, err = w.model().Views.Rebuilds(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if r, err := w.model().Views.Await(w.t.Context(), list[0].Generation, nil); err != nil || r.Phase != projections.PhaseReady {
		w.t.Fatal(r, err)
	}
}

func (w *world) switches(to int) {
	w.t.Helper()
	if n, err := w.model().Views.Switch(w.t.Context(), to); err != nil || n != to {
		w.t.Fatal(n, err)
	}
}

func (w *world) rollsBack(to int) {
	w.t.Helper()
	if n, err := w.model().Views.Rollback(w.t.Context(), true); err != nil || n != to {
		w.t.Fatal(n, err)
	}
}
