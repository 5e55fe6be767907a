package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/projections"
)

// Twenty runs while orders are imported, placed, and changed again and again:
// no healthy order and no figure is ever reported, and nothing is left open.
func TestNothingHealthyIsReportedUnderLoad(t *testing.T) {
	w := filled(t, 200)
	hot := w.ids(10)
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	failed := make(chan error, 100)
	work := func(do func(n int) error) {
		working.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := do(n); err != nil && ctx.Err() == nil {
					failed <- err
					return
				}
			}
		})
	}
	for k := range 4 { // the same few orders, all the time
		work(func(n int) error {
			_, err := w.orders.Handle(ctx, hot[(n+k)%len(hot)], note(fmt.Sprintf("note %d of %d", n, k)), command.Request{})
			var refused *domain.Rejection
			if errors.As(err, &refused) || errors.Is(err, command.ErrBusy) {
				return nil
			}
			return err
		})
	}
	for k := range 8 { // new orders and their lives
		work(func(n int) error {
			for life := range importer.Generate(uint64(1000*(k+1)+n), 20, start) {
				if err := w.send(life); err != nil || ctx.Err() != nil {
					return err
				}
			}
			return nil
		})
	}
	var again int64
	for range 20 {
		report := w.run(Request{Repair: true})
		wantClean(t, report)
		again += report.Compared.Again
	}
	stop()
	working.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if again == 0 {
		t.Error("no order moved while it was compared: there was no load")
	}
	w.caughtUp()
	last := w.run(Request{})
	wantClean(t, last)
	t.Logf("%d orders looked at again; %d events in the end", again, last.Compared.Events)
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
	w.reconciler.Projection = busy{w.manager, w, "special"}
	wantClean(t, w.run(Request{OrderID: "special"}))
	report := w.run(Request{})
	wantClean(t, report)

	set("customer.name", `"Somebody Else"`, "").do(w, w.other(), "special")
	report = w.run(Request{Repair: true})
	f := only(t, report, Content, "special")
	if f.Outcome != "repaired" || len(f.Fields) != 1 || f.Fields[0].Path != "/customer/name" {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}
