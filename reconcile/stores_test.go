package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
)

// away is a store that does not answer, or whose generation is being made again.
type away struct {
	*projections.Manager
	why error
}

func (a away) Incomplete() error { return a.why }

// fails is a sink that fails in the middle of a comparison.
type fails struct {
	projections.Sink
	why error
}

func (f fails) Inspect(context.Context, []projections.Change) ([]projections.Kept, error) {
	return nil, f.why
}

// twoStores is a world whose reconciler compares the views in the folder and a
// shared store.
func twoStores(t *testing.T) (w, other *world) {
	w = filled(t, 40)
	other = &world{TB: t, dir: t.TempDir(), shared: &sharedStore{"redis", projectionstest.NewReference()}, store: w.store, orders: w.orders}
	other.project(projections.Fold{})
	other.caughtUp()
	w.reconciler.Stores = append(w.reconciler.Stores, other.reconciler.Stores...)
	return w, other
}

func TestTwoStores(t *testing.T) {
	w, other := twoStores(t)
	report := w.run(Request{})
	wantClean(t, report)
	if len(report.Stores) != 2 {
		t.Fatal(text(t, report))
	}
	for i, name := range []string{"sqlite", "redis"} {
		s, alone := report.Stores[i], w.reconciler.Stores[i]
		single := New(Options{Store: w.store, Namespace: ns, Stores: []Store{alone}, SpillDir: w.reconciler.SpillDir})
		of, err := single.Run(t.Context(), NewID(), Request{}, nil)
		if err != nil || of.Stores != nil {
			t.Fatalf("%v: %s", err, text(t, of))
		}
		if s.Store != name || s.Verdict != Clean || s.Generation != of.Generation || s.Compared.Documents != of.Compared.Documents || s.Compared.Figures != of.Compared.Figures || !s.Compared.Complete {
			t.Errorf("%s: %+v, alone %+v", name, s, of.Compared)
		}
	}
	if c := report.Compared; c.Documents != 2*c.Streams {
		t.Errorf("%+v", c)
	}

	// Each finding says where, and each store is repaired by itself.
	ids := w.ids(10)
	set("status", `"lost"`, "").do(w, w.other(), ids[0])
	other.spoil(ids[1:2])
	report = w.run(Request{Repair: true})
	where := map[string]string{}
	for _, f := range report.Findings {
		if f.Outcome != outcomeRepaired {
			t.Errorf("%s", asJSON(t, f))
		}
		if f.Entity == entityOrder {
			where[f.ID] = f.Store
		}
	}
	if len(where) != 2 || where[ids[0]] != "sqlite" || where[ids[1]] != "redis" || report.Verdict != Drift {
		t.Fatal(text(t, report))
	}
	for _, s := range report.Stores {
		if s.Verdict != Drift || s.Repaired == 0 || s.Counts[Content] != 1 {
			t.Errorf("%+v", s)
		}
	}
	wantClean(t, w.run(Request{}))
}

// A store that cannot be asked is unknown, whatever keeps it; the others are
// judged, and repaired. Nothing of it is taken for a difference.
func TestOneStoreCannotBeAsked(t *testing.T) {
	w, other := twoStores(t)
	whole := other.reconciler.Stores[0]
	for name, c := range map[string]struct {
		views Projection
		says  string
	}{
		"down":            {away{other.manager, fmt.Errorf("%w: connection refused", projections.ErrUnavailable)}, "redis: the store could not be asked"},
		"being made":      {away{other.manager, fmt.Errorf("%w: being made again", projections.ErrLost)}, "redis: the store lost its views"},
		"down meanwhile":  {over{other.manager, fails{other.sink(), projections.ErrUnavailable}}, "redis: the store could not be asked"},
		"flushed":         {over{other.manager, fails{other.sink(), projections.ErrLost}}, "redis: the store lost its views"},
		"broken":          {over{other.manager, fails{other.sink(), errors.New("odd answer")}}, "redis: the views cannot be used"},
		"never caught up": {stuck{other.manager}, "redis: the run ended early: the views did not move"},
	} {
		t.Run(name, func(t *testing.T) {
			w.reconciler.Stores[1].Projection = c.views
			w.reconciler.patience = time.Minute
			if name == "never caught up" {
				w.reconciler.patience = 10 * time.Millisecond
			}
			set("status", `"lost"`, "").do(w, w.other(), "special")
			report := w.run(Request{Repair: true})
			if f := only(t, report, Content, "special"); f.Store != "sqlite" || f.Outcome != outcomeRepaired {
				t.Errorf("%+v", f)
			}
			sqlite, redis := report.Stores[0], report.Stores[1]
			if report.Verdict != Unknown || sqlite.Verdict != Drift || !sqlite.Compared.Complete || redis.Verdict != Unknown || redis.Compared.Complete || len(redis.Counts) > 0 {
				t.Errorf("%s", text(t, report))
			}
			if len(report.Reasons) != 1 || !strings.HasPrefix(report.Reasons[0], c.says) {
				t.Errorf("reasons: %q", report.Reasons)
			}
		})
	}
	w.reconciler.Stores[1] = whole
	wantClean(t, w.run(Request{}))
}

// beating is a sink whose beats move, though nothing is applied.
type beating struct {
	projections.Sink
	n *uint64
}

func (b beating) Checkpoints(ctx context.Context) ([]projections.Checkpoint, error) {
	lanes, err := b.Sink.Checkpoints(ctx)
	for i := range lanes {
		*b.n++
		lanes[i].Beat, lanes[i].Owner = *b.n, fmt.Sprint(*b.n)
	}
	return lanes, err
}

type stuckOver struct {
	stuck
	sink projections.Sink
}

func (s stuckOver) Live() (projections.Sink, int) { return s.sink, 1 }

// Signs of life are no progress.
func TestBeatsAreNoProgress(t *testing.T) {
	w := filled(t, 5)
	w.reconciler.Stores[0].Projection = stuckOver{stuck{w.manager}, beating{w.sink(), new(uint64)}}
	w.reconciler.patience = 10 * time.Millisecond
	if report := w.run(Request{}); report.Verdict != Unknown || !strings.Contains(report.Reasons[0], "did not move") {
		t.Fatal(text(t, report))
	}
}
