package projectionstest

import (
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

func generations(t *testing.T, s Store) {
	b := s.Open(t)
	list := func(want ...int) {
		t.Helper()
		got, err := b.Generations(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("generations %v, %v; want %v", got, err, want)
		}
	}
	list()
	first := s.generation(t, b, 1)
	second := s.generation(t, b, 12)
	list(1, 12)
	docs := Documents(13, 60)
	first.put(docs...)
	second.put(docs[:20]...)
	cp, err := second.Claim(t.Context(), 5, "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	cp.Position = eventstore.At64(77)
	parked := []projections.Parked{{OrderID: "p", Revision: 1, Position: eventstore.At64(3), Reason: "no"}}
	second.results(projections.Batch{Park: parked, Checkpoints: []projections.Checkpoint{cp}})

	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatalf("close again: %v", err)
	}
	if _, err := second.Checkpoints(t.Context()); !errors.Is(err, projections.ErrClosed) {
		t.Fatalf("closed: %v", err)
	}
	first.checkDocuments()

	second.open(12)
	second.checkDocuments()
	second.checkCounters()
	second.same("checkpoint", second.lane(5), cp, nil)
	got, err := second.Parked(t.Context())
	second.same("parked", got, parked, err)

	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Drop(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := b.Drop(t.Context(), 1); err != nil {
		t.Fatalf("drop again: %v", err)
	}
	list(12)
	second.checkDocuments()
	second.Close()
	fresh := s.generation(t, b, 1)
	fresh.checkDocuments()
	fresh.checkCounters()
	fresh.Close()
}

// calls are all that a sink can be asked, by name. Each may be made at any time:
// with the answer that another owner has the lane nothing is wrong.
func (f *fixture) calls(doc view.Order) map[string]func() error {
	change := ChangeTo(doc, 0)
	calls := map[string]func() error{
		"Checkpoints": func() error { _, err := f.Checkpoints(f.ctx); return err },
		"Claim": func() error {
			_, err := f.Claim(f.ctx, 0, "me", 0)
			if errors.Is(err, projections.ErrLaneLost) {
				err = nil
			}
			return err
		},
		"Beat":      func() error { _, err := f.Beat(f.ctx, []projections.Checkpoint{{Lane: 1}}); return err },
		"Documents": func() error { _, err := f.Documents(f.ctx, []string{doc.ID}); return err },
		"Write": func() error {
			_, err := f.Write(f.ctx, projections.Batch{Changes: []projections.Change{change}})
			return err
		},
		"Inspect": func() error { _, err := f.Inspect(f.ctx, []projections.Change{change}); return err },
		"IDs":     func() error { _, err := f.IDs(f.ctx, "", 10); return err },
		"Prints":  func() error { _, err := f.Prints(f.ctx, []string{doc.ID}); return err },
		"Read":    func() error { _, err := f.Read(f.ctx, []string{doc.ID}); return err },
		"Figures": func() error {
			_, err := f.Figures(f.ctx, func(projections.Figure) error { return nil })
			return err
		},
		"Replace": func() error { return f.Replace(f.ctx, doc.ID, &change) },
		"Recount": func() error { _, err := f.Recount(f.ctx); return err },
		"Sound":   func() error { _, err := f.Sound(f.ctx); return err },
		"Parked":  func() error { _, err := f.Parked(f.ctx); return err },
		"Refresh": func() error { return f.Refresh(f.ctx) },
	}
	all := []reflect.Type{reflect.TypeFor[projections.Sink]()}
	if sink, counting := f.Sink.(projections.SelfCounting); counting {
		all = append(all, reflect.TypeFor[projections.SelfCounting]())
		calls["Miscounted"] = func() error {
			_, err := sink.Miscounted(f.ctx, func(projections.Figure, projections.Figure) error { return nil })
			return err
		}
	}
	if f.search != nil {
		all = append(all, reflect.TypeFor[query.Search]())
		calls["Orders"] = func() error {
			_, err := f.search.Orders(f.ctx, query.Question{Sort: query.Sort{By: query.ByNumber}, Limit: 50})
			return err
		}
	}
	if f.hot != nil {
		all = append(all, reflect.TypeFor[query.Hot]())
		calls["Order"] = func() error { _, _, err := f.hot.Order(f.ctx, doc.ID); return err }
		calls["Customer"] = func() error { _, _, err := f.hot.Customer(f.ctx, "c1"); return err }
		calls["CustomerOrders"] = func() error { _, err := f.hot.CustomerOrders(f.ctx, "c1", 10, nil); return err }
		calls["Stats"] = func() error { _, err := f.hot.Stats(f.ctx, query.StatsQuestion{}); return err }
	}
	for _, methods := range all {
		for i := range methods.NumMethod() {
			if name := methods.Method(i).Name; name != "Close" && calls[name] == nil {
				f.Errorf("%s is not called", name)
			}
		}
	}
	return calls
}

func closing(t *testing.T, s Store) {
	f := start(t, s)
	docs := Documents(14, 50)
	f.put(docs...)
	var ran, wg sync.WaitGroup
	for name, call := range f.calls(docs[0]) {
		ran.Add(1)
		wg.Go(func() {
			err := call()
			ran.Done()
			for err == nil {
				err = call()
			}
			if !errors.Is(err, projections.ErrClosed) {
				t.Errorf("%s while closing: %v", name, err)
			}
		})
	}
	ran.Wait()
	if err := f.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	wg.Wait()
}
