package systemtest

import (
	"testing"
	"time"
)

// TestDifferencesUnderTraffic rebuilds the views without a change while orders are
// written and read: nothing differs, in any store.
func TestDifferencesUnderTraffic(t *testing.T) {
	differences := int(setting(t, "DOCKET_EMPTY_DIFFERENCES", 20))
	shared := max(3, differences/4) // they take ten times as long
	t.Run("files", func(t *testing.T) { emptyDifferences(t, oneWithFiles, differences-shared) })
	t.Run("shared", func(t *testing.T) { emptyDifferences(t, twoShare, shared) })
}

func emptyDifferences(t *testing.T, dockets, differences int) {
	began := time.Now()
	w := newRebuildWorld(t, dockets, nil)
	w.serve()
	f := w.traffic("differences")
	ctx, ready := t.Context(), time.Since(began)
	compared := int64(0)
	s := f.during("rebuilds", w.modest(), func() {
		for n := 0; n < differences && !t.Failed(); n++ {
			r := w.ask(n % len(w.nodes))
			generation, err := r.begin(ctx, rebuildWish{Then: "ask", Share: 1})
			if err != nil {
				t.Error(err)
				return
			}
			r.ready(t, generation)
			d, err := w.ask((n+1)%len(w.nodes)).difference(ctx, true)
			if err != nil {
				t.Errorf("difference %d: %v", n+1, err)
				return
			}
			for _, one := range d.Stores {
				if compared += one.Equal; !one.Empty() || one.Equal < int64(len(w.known)) {
					t.Errorf("difference %d, generation %d in place of %d: %+v", n+1, d.To, d.From, one)
				}
			}
			if d.To != generation || !d.Empty() {
				t.Errorf("difference %d is of generation %d, not %d", n+1, d.To, generation)
			}
			// Every other one is switched to, so that the next is compared with it.
			if n%2 == 0 {
				err = r.cancel(ctx, generation)
			} else {
				_, err = r.switchOver(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	f.settled()
	w.tidied("at the end")
	t.Log(s)
	if s.failures() > 0 {
		t.Errorf("requests failed: %v", s.failed)
	}
	t.Logf("%d differences, %d documents compared, in %v after %v", differences, compared, (time.Since(began) - ready).Round(time.Millisecond), ready.Round(time.Millisecond))
}
