package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/projections"
)

// Twenty runs while orders are imported, placed, and changed again and again:
// no healthy order and no figure is ever reported, and nothing is left open.
// The load keeps pace with the runs: each step of a run lets some of it go on.
func TestNothingHealthyIsReportedUnderLoad(t *testing.T) {
	w := filled(t, 100)
	const runs, perStep, hotWriters, placers = 20, 8, 4, 8
	hot := w.ids(10)
	tokens, parts := make(chan struct{}, 4*perStep), make(chan struct{}, 4*perStep)
	failed := make(chan error, hotWriters+placers+1)
	var working sync.WaitGroup
	work := func(do func(n int) error) {
		working.Go(func() {
			n := 0
			for range tokens {
				if err := do(n); err != nil {
					failed <- err
					return
				}
				n++
			}
		})
	}
	for k := range hotWriters { // the same few orders, all the time
		work(func(n int) error {
			for i := range 5 {
				_, err := w.orders.Handle(t.Context(), hot[(n+i+k)%len(hot)], note(fmt.Sprintf("note %d of %d", n, k)), command.Request{})
				var refused *domain.Rejection
				if err != nil && !errors.As(err, &refused) && !errors.Is(err, command.ErrBusy) {
					return err
				}
			}
			return nil
		})
	}
	for k := range placers { // new orders and their lives
		work(func(n int) error {
			for life := range importer.Generate(uint64(1000*(k+1)+n), 1, start) {
				if err := w.send(life); err != nil {
					return err
				}
			}
			return nil
		})
	}
	working.Go(func() { // an import of real orders, part by part in business time
		report, err := importer.Excerpt(t.Context(), paced{importer.Direct{Orders: w.orders}, parts}, importer.Options{Interleave: true, InFlight: 8})
		if err == nil && (report.Made != report.Orders || report.RefusedCount > 0) {
			err = fmt.Errorf("the import beside the runs made %d of %d orders, %d refused", report.Made, report.Orders, report.RefusedCount)
		}
		failed <- err
	})
	var again int64
	for range runs {
		report, err := w.reconciler.Run(t.Context(), NewID(), Request{Repair: true}, func(Progress) {
			for range perStep {
				for _, load := range []chan struct{}{tokens, parts} {
					select {
					case load <- struct{}{}:
					default: // they have enough to do
					}
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		wantClean(t, report)
		again += report.Compared.Again
	}
	close(tokens)
	close(parts)
	working.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Error(err)
		}
	}
	if again == 0 {
		t.Error("no order moved while it was compared: there was no load")
	}
	w.caughtUp()
	last := w.run(Request{})
	wantClean(t, last)
	t.Logf("%d orders looked at again; %d events in the end", again, last.Compared.Events)
}

// paced imports orders under other ids, a part for each permission.
type paced struct {
	importer.Direct
	parts <-chan struct{}
}

func (p paced) Adopt(ctx context.Context, orderID string, a order.Adopt, key string) (importer.Outcome, error) {
	<-p.parts
	return p.Direct.Adopt(ctx, "live-"+orderID, a, key)
}

// busy are views of which one order changes whenever somebody waits for them.
type busy struct {
	*projections.Manager
	w  *world
	id string
}

func (b busy) CaughtUp(ctx context.Context) error {
	b.w.do(b.id, note("again"))
	return b.Manager.CaughtUp(ctx)
}

// An order that moves at every look is healthy as long as it is right at every
// revision, and is found when it is not.
func TestAnOrderThatNeverStandsStill(t *testing.T) {
	w := filled(t, 5)
	w.reconciler.Stores[0].Projection = busy{w.manager, w, "special"}
	wantClean(t, w.run(Request{OrderID: "special"}))
	report := w.run(Request{})
	wantClean(t, report)

	// Who wrote the order a moment ago would make it right with the next event.
	set("customer.name", `"Somebody Else"`, "").do(w, w.other(), "special")
	if err := w.restart(); err != nil {
		t.Fatal(err)
	}
	w.reconciler.Stores[0].Projection = busy{w.manager, w, "special"}
	report = w.run(Request{Repair: true})
	f := only(t, report, Content, "special")
	if f.Outcome != "repaired" || len(f.Fields) != 1 || f.Fields[0].Path != "/customer/name" {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}
