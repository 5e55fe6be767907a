package projections_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	storesqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/view"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
)

// onSQLite is a world of the stores that users run; damage runs SQL on the file
// of the views, as another program would.
func onSQLite(t *testing.T) (w *world, files func(*projections.Options), damage func(sql string)) {
	w = newWorld(t, 0)
	store, err := storesqlite.Open(w.ctx, t.TempDir(), storesqlite.Options{})
	w.must(err)
	t.Cleanup(func() { store.Close() })
	w.store = store
	views := t.TempDir()
	files = func(o *projections.Options) { o.Backend = sqlite.NewBackend(views, sqlite.Options{}) }
	damage = func(sql string) {
		t.Helper()
		conn, err := sqlite3.Open(filepath.Join(views, "views", "orders-1.db"))
		w.must(err)
		defer conn.Close()
		w.must(errors.Join(fts5.Register(conn), conn.Exec(`PRAGMA busy_timeout=20000`), conn.Exec(sql)))
	}
	return w, files, damage
}

// document is what the live generation keeps.
func (w *world) document(m *projections.Manager, id string) (view.Order, bool) {
	w.t.Helper()
	sink, _ := m.Live()
	docs, err := sink.Documents(w.ctx, []string{id})
	w.must(err)
	doc, ok := docs[id]
	return doc, ok
}

// checkKept is check, and holds every column and figure against the log.
func (w *world) checkKept(m *projections.Manager) {
	w.t.Helper()
	w.check(m)
	sink, _ := m.Live()
	var all []projections.Change
	w.mu.Lock()
	for id, events := range w.expected {
		doc := fold(view.Order{}, events...)
		now, _ := w.document(m, id)
		doc.Position = now.Position
		all = append(all, projectionstest.ChangeTo(doc, 0))
	}
	w.mu.Unlock()
	kept, err := sink.Inspect(w.ctx, all)
	w.must(err)
	for i, k := range kept {
		if !k.Same {
			w.t.Errorf("order %s is kept as %+v", all[i].Order.ID, k)
		}
	}
	ids, err := sink.IDs(w.ctx, "", len(all)+1)
	w.must(err)
	if len(ids) != len(all) {
		w.t.Errorf("%d orders are kept, of %d", len(ids), len(all))
	}
	want := projectionstest.Figures(all)
	_, err = sink.Figures(w.ctx, func(f projections.Figure) error {
		if want[f.FigureKey] != f.Values {
			w.t.Errorf("%+v is %v, should be %v", f.FigureKey, f.Values, want[f.FigureKey])
		}
		delete(want, f.FigureKey)
		return nil
	})
	w.must(err)
	for key, v := range want {
		w.t.Errorf("%+v is not there, should be %v", key, v)
	}
}

// Orders are written anew all the time while events come in: who has seen a
// revision never sees an older one, and nothing is lost.
func TestReprojectBesideTheFeed(t *testing.T) {
	w, files, _ := onSQLite(t)
	w.feed("early", 20)
	m, _ := w.run(files)
	w.must(m.CaughtUp(w.ctx)) // fed
	ctx, stop := context.WithCancel(w.ctx)
	var busy, writing sync.WaitGroup
	for g := range 3 {
		busy.Go(func() {
			for n := g; ctx.Err() == nil; n++ {
				id := fmt.Sprint([]string{"early", "live"}[n%2], n%20)
				if err := m.Reproject(ctx, id); err != nil && ctx.Err() == nil {
					t.Errorf("reproject %s: %v", id, err)
				}
			}
		})
	}
	busy.Go(func() {
		seen := map[string]int64{}
		for n := 0; ctx.Err() == nil; n++ {
			id := fmt.Sprint("live", n%20)
			sink, _ := m.Live()
			docs, err := sink.Documents(ctx, []string{id})
			doc, ok := docs[id]
			if last, before := seen[id]; err == nil && (before && !ok || ok && doc.Revision < last) {
				t.Errorf("order %s went from revision %d back to %d, %v", id, last, doc.Revision, ok)
			}
			if ok {
				seen[id] = doc.Revision
			}
		}
	})
	writing.Go(func() { w.feed("live", 20) })
	writing.Go(func() {
		for n := range 60 {
			id := fmt.Sprint("token", n%3)
			w.appendTo(id, order.NoteAdded{NoteID: fmt.Sprint(n), Text: "x", At: t0})
			w.must(m.Wait(w.ctx, id, eventstore.Revision(n/3)))
			if doc, ok := w.document(m, id); !ok || doc.Revision < int64(n/3) {
				t.Errorf("order %s is at %d after revision %d was waited for", id, doc.Revision, n/3)
			}
			w.must(m.Reproject(w.ctx, id))
		}
	})
	writing.Wait()
	stop()
	busy.Wait()
	w.checkKept(m)
}

// between does something once, when a stream has been read to its end and before
// the reader knows.
type between struct {
	eventstore.Store
	do atomic.Pointer[func()]
}

func (b *between) ReadStream(ctx context.Context, stream string, from eventstore.Revision, d eventstore.Direction, limit int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		for r, err := range b.Store.ReadStream(ctx, stream, from, d, limit) {
			if !yield(r, err) {
				return
			}
		}
		if do := b.do.Swap(nil); do != nil {
			(*do)()
		}
	}
}

// An event that comes between the reading of a stream and the writing of its
// document waits for its turn: the document does not go back behind it.
func TestReprojectTakesItsTurn(t *testing.T) {
	w, files, _ := onSQLite(t)
	b := &between{Store: w.store}
	w.store = b
	m, _ := w.run(files)
	w.appendTo("o", placed)
	w.must(m.CaughtUp(w.ctx))
	early := make(chan bool, 1)
	do := func() {
		w.appendTo("o", order.Confirmed{At: later(1)})
		// Long enough for a feeder that is not kept waiting.
		ctx, cancel := context.WithTimeout(w.ctx, 200*time.Millisecond)
		defer cancel()
		early <- m.Wait(ctx, "o", 1) == nil
	}
	b.do.Store(&do)
	w.must(m.Reproject(w.ctx, "o"))
	if <-early {
		t.Error("the event was applied in the middle of a reprojection")
	}
	w.must(m.Wait(w.ctx, "o", 1))
	w.checkKept(m)
}

// Another program damages orders while events come in. Once all are written
// anew and counted again, nothing is left of it.
func TestReprojectCuresDamage(t *testing.T) {
	w, files, damage := onSQLite(t)
	w.feed("o", 24)
	m, _ := w.run(files)
	w.must(m.CaughtUp(w.ctx))
	var writing sync.WaitGroup
	writing.Go(func() { w.feed("live", 24) })
	damage(`
		DELETE FROM orders WHERE id = 'o1';
		DELETE FROM docs WHERE n = (SELECT n FROM orders WHERE id = 'o2');
		UPDATE docs SET document = x'00' WHERE n = (SELECT n FROM orders WHERE id = 'o3');
		UPDATE docs SET contribution = x'00', skus = 'x' WHERE n = (SELECT n FROM orders WHERE id = 'o4');
		UPDATE orders SET revision = 99 WHERE id = 'o5';
		UPDATE docs SET document = CAST(json_set(document, '$.revision', 99) AS BLOB) WHERE n = (SELECT n FROM orders WHERE id = 'o6');
		UPDATE orders SET id = 'orphan' WHERE id = 'o7';
		UPDATE orders SET shape = 999 WHERE id = 'o8';
		DELETE FROM fts WHERE rowid = (SELECT n FROM orders WHERE id = 'o9');
		UPDATE sums SET orders = orders + 1; DELETE FROM customers`)
	for i := range 24 {
		w.appendTo(fmt.Sprint("o", i), order.NoteAdded{NoteID: "late", Text: "after the damage", At: t0})
	}
	writing.Wait()
	// What is broken keeps nothing else from moving.
	w.must(m.CaughtUp(w.ctx))
	if doc, ok := w.document(m, "o3"); !ok || len(doc.Notes) == 0 {
		t.Errorf("the next event did not write the unreadable document anew: %v", ok)
	}
	for i := range 24 {
		w.must(m.Reproject(w.ctx, fmt.Sprint("o", i)))
	}
	w.must(m.Reproject(w.ctx, "orphan"))
	if _, ok := w.document(m, "orphan"); ok {
		t.Error("the orphan is still there")
	}
	sink, _ := m.Live()
	changed, err := sink.Recount(w.ctx)
	w.must(err)
	if changed == 0 {
		t.Error("nothing was counted anew")
	}
	w.checkKept(m)
	if parked, _ := m.Parked(w.ctx); len(parked) != 0 {
		t.Errorf("parked %v", parked)
	}
}

// Who waits for a revision that another program took away is told when it is
// back.
func TestReprojectWakes(t *testing.T) {
	w, files, damage := onSQLite(t)
	m, _ := w.run(files)
	w.appendTo("o", placed, order.Confirmed{At: later(1)})
	w.must(m.Wait(w.ctx, "o", 1))
	damage(`DELETE FROM orders; DELETE FROM docs; DELETE FROM skus; DELETE FROM fts`)
	waited := make(chan error, 1)
	go func() { waited <- m.Wait(w.ctx, "o", 1) }()
	w.until(func() bool { return projections.Awaited(m, "o") })
	w.must(m.Reproject(w.ctx, "o"))
	w.must(<-waited)
	sink, _ := m.Live()
	_, err := sink.Recount(w.ctx)
	w.must(err)
	w.checkKept(m)
}

func TestReprojectParksAndReleases(t *testing.T) {
	w := newWorld(t, 40)
	var broken atomic.Bool
	broken.Store(true)
	m, stop := w.run(func(o *projections.Options) {
		o.Fold.Apply = func(doc view.Order, e codec.Recorded) view.Order {
			if _, dispatched := e.Event.(order.ShipmentDispatched); dispatched && broken.Load() {
				panic("out of order")
			}
			return projections.Apply(doc, e)
		}
	})
	w.appendTo("o", placed, order.Confirmed{At: later(1)})
	w.must(m.CaughtUp(w.ctx))
	w.appendTo("o", dispatchedAll, deliveredAll)
	w.must(m.CaughtUp(w.ctx))
	for range 2 {
		if err := m.Reproject(w.ctx, "o"); !errors.Is(err, projections.ErrParked) || !strings.Contains(err.Error(), "out of order") {
			t.Fatalf("reproject: %v", err)
		}
		if p, ok := m.ParkedOrder("o"); !ok || p.Revision != 2 {
			t.Errorf("parked %v %+v", ok, p)
		}
		if doc, _ := w.document(m, "o"); doc.Revision != 1 {
			t.Errorf("document at %d", doc.Revision)
		}
	}

	// An order that is not parked yet parks: its document goes back to what can
	// be applied.
	broken.Store(false)
	w.appendTo("p", placed, order.Confirmed{At: later(1)}, dispatchedAll)
	w.must(m.Wait(w.ctx, "p", 2))
	broken.Store(true)
	if err := m.Reproject(w.ctx, "p"); !errors.Is(err, projections.ErrParked) {
		t.Errorf("reproject: %v", err)
	}
	if doc, _ := w.document(m, "p"); doc.Revision != 1 {
		t.Errorf("document at %d", doc.Revision)
	}
	if err := m.Wait(w.ctx, "p", 2); !errors.Is(err, projections.ErrParked) {
		t.Errorf("wait: %v", err)
	}

	broken.Store(false)
	w.must(m.Reproject(w.ctx, "o"))
	w.must(m.Reproject(w.ctx, "p"))
	w.must(m.Wait(w.ctx, "o", 3))
	w.appendTo("o", order.NoteAdded{NoteID: "n", Text: "flows again", At: t0})
	w.checkKept(m)
	w.must(stop())
	m, _ = w.run()
	if parked, _ := m.Parked(w.ctx); len(parked) != 0 {
		t.Errorf("after a restart %v are parked", parked)
	}
	w.checkKept(m)
}

func TestReprojectOfARefusedDocument(t *testing.T) {
	w := newWorld(t, 41)
	m, _ := w.run()
	w.appendTo("o", placed)
	w.check(m)
	w.backend.Refuse("o", errors.New("mapping error"))
	if err := m.Reproject(w.ctx, "o"); !errors.Is(err, projections.ErrParked) || !strings.Contains(err.Error(), "mapping error") {
		t.Errorf("reproject: %v", err)
	}
	w.backend.Refuse("o", nil)
	w.must(m.Reproject(w.ctx, "o"))
	w.checkKept(m)
}

// What is not in the log is not kept, and not parked.
func TestReprojectOfWhatIsNotThere(t *testing.T) {
	w := newWorld(t, 42)
	m, _ := w.run()
	w.appendTo("bad", placed)
	w.appendRaw(codec.Category, "bad", 1, poison())
	w.appendTo("deleted", placed)
	w.must(m.CaughtUp(w.ctx))
	sink, _ := m.Live()
	orphan := projectionstest.ChangeTo(fold(view.Order{}, recorded("orphan", 0, placed)...), 0)
	w.must(sink.Replace(w.ctx, "orphan", &orphan))
	_, err := w.store.Tombstone(w.ctx, eventstore.Namespace("").Stream(codec.Category, "bad"), eventstore.At(1))
	w.must(err)
	_, err = w.store.Delete(w.ctx, eventstore.Namespace("").Stream(codec.Category, "deleted"), eventstore.At(0))
	w.must(err)
	for _, id := range []string{"orphan", "bad", "deleted", "never"} {
		w.must(m.Reproject(w.ctx, id))
		if _, ok := w.document(m, id); ok {
			t.Errorf("%s is still there", id)
		}
		if _, parked := m.ParkedOrder(id); parked {
			t.Errorf("%s is parked", id)
		}
		delete(w.expected, id)
	}
	w.checkKept(m)
}

// rotten cannot read the streams any more.
type rotten struct {
	eventstore.Store
	spoilt atomic.Bool
}

func (r *rotten) ReadStream(ctx context.Context, stream string, from eventstore.Revision, d eventstore.Direction, limit int) iter.Seq2[eventstore.Record, error] {
	if r.spoilt.Load() {
		return func(yield func(eventstore.Record, error) bool) { yield(eventstore.Record{}, eventstore.ErrCorrupt) }
	}
	return r.Store.ReadStream(ctx, stream, from, d, limit)
}

// A log that cannot be read takes nothing from the view.
func TestReprojectFromARottenLog(t *testing.T) {
	w := newWorld(t, 43)
	r := &rotten{Store: w.store}
	w.store = r
	m, _ := w.run()
	w.appendTo("o", placed)
	w.must(m.Wait(w.ctx, "o", 0))
	r.spoilt.Store(true)
	if err := m.Reproject(w.ctx, "o"); !errors.Is(err, eventstore.ErrCorrupt) {
		t.Errorf("reproject: %v", err)
	}
	if _, parked := m.ParkedOrder("o"); parked {
		t.Error("the order is parked")
	}
	w.checkKept(m)
}

// A frozen generation is not written.
func TestReprojectWhileNothingIsFed(t *testing.T) {
	w := newWorld(t, 44)
	w.appendTo("o", placed)
	m, stop := w.run()
	w.must(m.CaughtUp(w.ctx))
	w.must(stop())
	if err := m.Reproject(w.ctx, "o"); !errors.Is(err, projections.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	w.appendRaw("projection", projections.Name, 1, eventstore.Event{Type: "ProjectionSwitched", JSON: true,
		Data: fmt.Appendf(nil, `{"generation":1,"version":%d,"at":"2024-01-01T00:00:00Z"}`, projections.Version-1)})
	stuck := &unreadable{Store: w.store, release: make(chan struct{})}
	w.store = stuck
	m, _ = w.run()
	if err := m.Reproject(w.ctx, "o"); !errors.Is(err, projections.ErrRebuilding) {
		t.Errorf("while frozen: %v", err)
	}
	close(stuck.release)
	w.must(m.CaughtUp(w.ctx))
	w.must(m.Reproject(w.ctx, "o"))
	w.checkKept(m)
}

// unreadable holds back the log until it is released: a rebuild waits.
type unreadable struct {
	eventstore.Store
	release chan struct{}
}

func (u *unreadable) Head(ctx context.Context) (eventstore.Position, error) {
	select {
	case <-u.release:
		return u.Store.Head(ctx)
	case <-ctx.Done():
		return eventstore.Start, ctx.Err()
	}
}

// The fold of the options makes every document: fed, built, settled, retried,
// reprojected.
func TestFoldOfTheOptions(t *testing.T) {
	w := newWorld(t, 45)
	fold := projections.Fold{
		Apply: func(doc view.Order, e codec.Recorded) view.Order {
			doc = projections.Apply(doc, e)
			doc.City = "Planted"
			return doc
		},
		Contributions: func(doc view.Order) projections.Contribution {
			c := projections.Contributions(doc)
			c.Customer = "planted"
			return c
		},
		Words: func(doc view.Order) string { return "planted words" },
	}
	check := func(m *projections.Manager, what string) {
		t.Helper()
		w.must(m.CaughtUp(w.ctx))
		sink, _ := m.Live()
		for id := range w.expected {
			doc, ok := w.document(m, id)
			kept, err := sink.Inspect(w.ctx, []projections.Change{{Order: doc, Contribution: fold.Contributions(doc), Words: fold.Words(doc)}})
			w.must(err)
			if !ok || doc.City != "Planted" || !kept[0].Same {
				t.Errorf("%s: order %s in %q, %+v", what, id, doc.City, kept[0])
			}
		}
	}
	views := sqlite.NewBackend(t.TempDir(), sqlite.Options{})
	with := func(o *projections.Options) { o.Fold, o.Backend = fold, views }
	for i := range 6 {
		w.appendTo(fmt.Sprint("o", i), placed, order.Confirmed{At: later(1)})
	}
	m, _ := w.run(with)
	check(m, "fed")
	w.appendTo("o1", dispatchedAll)
	check(m, "fed on")
	w.must(m.Reproject(w.ctx, "o1"))
	check(m, "reprojected")
	w.must(m.Rebuild(w.ctx, nil))
	check(m, "rebuilt")
}
