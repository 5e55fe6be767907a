package reconcile

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/internal/logtest"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/sqlite"
	"github.com/ncruces/go-sqlite3"
)

const ns eventstore.Namespace = "acme"

// world is a whole docket without its edges, over files in a folder of the
// test.
type world struct {
	testing.TB
	dir        string
	shared     *sharedStore // nil: the views are in the folder
	store      eventstore.Store
	orders     *command.Orders
	manager    *projections.Manager
	reconciler *Reconciler
	stop       func() error // the views
}

// sharedStore is where views are that several processes keep.
type sharedStore struct {
	name    string
	backend projections.Backend
}

// newWorld starts the views on an empty log.
func newWorld(t testing.TB) *world { return newWorldAt(t, nil) }

func newWorldAt(t testing.TB, shared *sharedStore) *world {
	w := &world{TB: t, dir: t.TempDir(), shared: shared}
	w.store, _, _ = logtest.Open(t, w.dir)
	w.orders = command.New(command.Options{Store: w.store, Namespace: ns})
	t.Cleanup(func() {
		if err := errors.Join(w.orders.Close(), w.store.Close()); err != nil {
			t.Error(err)
		}
	})
	w.project(projections.Fold{})
	return w
}

// folded is the same log with views of its own, made by another fold.
func (w *world) folded(t testing.TB, fold projections.Fold) *world {
	other := &world{TB: t, dir: t.TempDir(), store: w.store, orders: w.orders}
	other.project(fold)
	other.caughtUp()
	return other
}

func (w *world) project(fold projections.Fold) {
	o := projections.Options{Store: w.store, Namespace: ns, SpillDir: filepath.Join(w.dir, "tmp"), Fold: fold}
	if o.Backend = sqlite.NewBackend(w.dir, sqlite.Options{}); w.shared != nil {
		o.Backend, o.StoreName, o.Lease = w.shared.backend, w.shared.name, 5*time.Second
	}
	w.manager = projections.NewManager(o)
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- w.manager.Run(ctx) }()
	w.stop = sync.OnceValue(func() error {
		stop()
		return <-ran
	})
	ended := w.stop
	w.Cleanup(func() {
		if err := ended(); err != nil {
			w.Error(err)
		}
	})
	if err := w.manager.Started(w.Context()); err != nil {
		w.Fatal(err)
	}
	w.reconciler = New(Options{Store: w.store, Namespace: ns, Stores: []Store{{w.manager.StoreName, w.manager}}, Fold: fold, SpillDir: filepath.Join(w.dir, "tmp")})
}

// restart ends the views and starts them again, over the same file.
func (w *world) restart() error {
	w.Helper()
	if err := w.stop(); err != nil {
		return err
	}
	w.project(projections.Fold{})
	return w.manager.CaughtUp(w.Context())
}

// filled is a world with the orders of the excerpt, so many generated ones, and
// one to which happens what happens to none of these.
func filled(t testing.TB, generated int) *world {
	w := newWorld(t)
	if _, err := importer.Excerpt(t.Context(), importer.Direct{Orders: w.orders}, importer.Options{}); err != nil {
		t.Fatal(err)
	}
	w.generate(1, generated)
	w.place("special")
	at := time.Date(2020, 1, 3, 0, 0, 0, 0, time.UTC)
	w.do("special", order.SetTags{Tags: []string{"gift", "vip"}, At: at})
	w.do("special", order.ChangeShippingAddress{Address: order.Address{City: "Lyon", Country: "FR"}, At: at})
	w.do("special", order.Cancel{Lines: []order.LineQuantity{{LineID: "l1", Quantity: 1}}, Reason: "one is enough", At: at})
	w.caughtUp()
	return w
}

// start of the year of generated lives.
var start = time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)

// generate sends generated lives, many at the same time.
func (w *world) generate(seed uint64, n int) {
	w.Helper()
	lives := make(chan importer.Lifecycle)
	failed := make(chan error, 1)
	const senders = 64
	ended := make(chan struct{})
	for range senders {
		go func() {
			defer func() { ended <- struct{}{} }()
			for life := range lives {
				if err := w.send(life); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		}()
	}
	for life := range importer.Generate(seed, n, start) {
		lives <- life
	}
	close(lives)
	for range senders {
		<-ended
	}
	select {
	case err := <-failed:
		w.Fatal(err)
	default:
	}
}

func (w *world) send(life importer.Lifecycle) error {
	for _, step := range life.Steps {
		if _, err := (importer.Direct{Orders: w.orders}).Handle(context.Background(), life.OrderID, step.Command, step.Key); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) caughtUp() {
	w.Helper()
	if err := w.manager.CaughtUp(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) do(id string, cmd order.Command) {
	w.Helper()
	if _, err := w.orders.Handle(w.Context(), id, cmd, command.Request{}); err != nil {
		w.Fatalf("%s %s: %v", cmd.Name(), id, err)
	}
}

// place makes an order of one mug.
func (w *world) place(id string) {
	w.Helper()
	w.do(id, order.Place{
		Currency: "EUR", Customer: order.Customer{ID: "c1", Name: "Ann Example"},
		Lines: []order.Line{{ID: "l1", SKU: "MUG", Title: "Mug", Quantity: 2, UnitPrice: money.Minor(750, "EUR")}},
		At:    time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC),
	})
}

func note(text string) order.Command {
	return order.AddNote{Text: text, At: time.Date(2020, 1, 3, 0, 0, 0, 0, time.UTC)}
}

// run reconciles, and compares the report with what its stream says later.
func (w *world) run(request Request) Report {
	w.Helper()
	report, err := w.reconciler.Run(w.Context(), NewID(), request, nil)
	if err != nil {
		w.Fatal(err)
	}
	again, err := w.reconciler.Report(w.Context(), "")
	if err != nil {
		w.Fatal(err)
	}
	if a, b := text(w, report), text(w, again); a != b {
		w.Fatalf("the run answered\n%s\nits stream says\n%s", a, b)
	}
	return report
}

// other is another program's connection to the views.
func (w *world) other() *sqlite3.Conn {
	w.Helper()
	path := filepath.Join(w.dir, "views", "orders-1.db")
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { c.Close() })
	if err := errors.Join(c.BusyTimeout(time.Minute), fts5Register(c)); err != nil {
		w.Fatal(err)
	}
	return c
}

// tamper runs a statement there.
func (w *world) tamper(c *sqlite3.Conn, sql string, args ...any) (changed int64) {
	w.Helper()
	s, _, err := c.Prepare(sql)
	if err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
	defer s.Close()
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			err = s.BindText(i+1, arg)
		case []byte:
			err = s.BindBlob(i+1, arg)
		case int:
			err = s.BindInt64(i+1, int64(arg))
		}
		if err != nil {
			w.Fatal(err)
		}
	}
	if err := s.Exec(); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
	return c.Changes()
}

// ids of orders in the log, as many as asked for, in its order.
func (w *world) ids(n int) (ids []string) {
	w.Helper()
	filter := eventstore.Filter{Prefixes: []string{ns.Prefix(codec.Category)}}
	for r, err := range w.store.ReadAll(w.Context(), eventstore.Start, eventstore.Forwards, filter, 0) {
		if err != nil {
			w.Fatal(err)
		}
		if id, _ := ns.ID(codec.Category, r.Stream); r.Revision == 0 && len(ids) < n {
			ids = append(ids, id)
		}
	}
	if len(ids) < n {
		w.Fatalf("%d orders in the log, want %d", len(ids), n)
	}
	return ids
}
