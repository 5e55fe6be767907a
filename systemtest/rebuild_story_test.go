package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docket-orders/docket/projections"
)

// TestStoryOfABugFix is what an operator does: the views have a bug, a docket with
// the fix is deployed and waits; the difference says which orders and fields it
// changes, and nothing else; a rebuild that may change that alone switches, one that
// may change something else does not; the way back, and the fix again.
func TestStoryOfABugFix(t *testing.T) {
	began := time.Now()
	fixed, err := builtTwo()
	if err != nil {
		t.Fatal(err)
	}
	w := newRebuildWorld(t, oneWithFiles, nil)
	w.serve()
	at := w.nodes[0]
	wrong := w.inCountry(oldCountry)
	f := w.traffic("story")
	f.forSome("writes", w.modest(), time.Second) // these have no country
	f.settled()
	nowhere := append(slices.Sorted(maps.Keys(f.wrote)), lastOfImport)
	if len(wrong) == 0 || len(nowhere) == 0 {
		t.Fatalf("%d orders are in %s, %d nowhere: there is no bug to fix", len(wrong), oldCountry, len(nowhere))
	}

	// The fix is deployed.
	s := at.get()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-s.done; err != nil {
		t.Fatalf("docket serve did not end well: %v\n%s", err, s.log)
	}
	s.done <- nil
	w.startNode(0, fixed, "--on-upgrade", "ask")
	o := operator{w, fixed}
	second := o.newest()
	w.ask(0).ready(t, second)
	if g := w.serves(0); g != 1 {
		t.Errorf("generation %d is served before anybody has switched", g)
	}
	o.says(1, "diff") // something would change

	var d projections.Difference
	if err := json.Unmarshal([]byte(o.says(1, "diff", "--json").stdout), &d); err != nil {
		t.Fatal(err)
	}
	o.differsIn(d, wrong, nowhere)

	// Something else may change: it does not switch. The country may: it does.
	o.says(0, "cancel")
	o.says(2, "diff") // there is nothing to compare
	o.says(1, "rebuild", "--switch-only", "/state")
	if g := w.serves(0); g != 1 {
		t.Errorf("generation %d is served though more than /state differs", g)
	}
	o.says(0, "cancel")
	o.says(0, "rebuild", "--switch-only", "/country", "--reason", "RSA is no code of a country")
	third := w.serves(0)
	if third <= second {
		t.Errorf("generation %d is served after the switch", third)
	}
	o.countries(newCountry, len(wrong), noCountry, len(nowhere))
	w.reconciled(fixed)

	// The way back is to a version that this docket does not carry.
	o.says(1, "rollback")
	o.says(0, "rollback", "--accept-stale")
	if g := w.serves(0); g != 1 {
		t.Errorf("generation %d is served after the rollback", g)
	}
	o.countries(oldCountry, len(wrong), newCountry, 0)
	o.says(0, "rollback") // from the rollback
	if g := w.serves(0); g != third {
		t.Errorf("generation %d is served, not %d again", g, third)
	}
	o.countries(newCountry, len(wrong), oldCountry, 0)
	w.caughtUp()
	w.reconciled(fixed)
	list := o.says(0, "list")
	w.tidied("at the end")
	t.Logf("%d orders from %s to %s, %d from nowhere to %s, in %v:\n%s", len(wrong), oldCountry, newCountry, len(nowhere), noCountry, time.Since(began).Round(time.Millisecond), list.stdout)
}

// operator types commands.
type operator struct {
	*rebuildWorld
	program string
}

// says runs docket projections, and wants it to end with a status.
func (o operator) says(status int, args ...string) ran {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), rebuildTime())
	defer cancel()
	s := o.nodes[0].get()
	run := runProgram(ctx, o.program, slices.Concat([]string{"projections"}, args, []string{"--server", s.base, "--key", s.key})...)
	o.t.Logf("docket projections %s: %d\n%.3000s%.1000s", strings.Join(args, " "), run.status, run.stdout, run.stderr)
	if run.status != status {
		o.t.Errorf("docket projections %s ended with %d, not %d", strings.Join(args, " "), run.status, status)
	}
	return run
}

// newest is the generation of the rebuild that began last, once there is one.
func (o operator) newest() int {
	o.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		all, err := o.ask(0).list(o.t.Context())
		if len(all) > 0 {
			return all[0].Generation
		}
		if time.Since(began) > startTimeout {
			o.t.Fatalf("no rebuild has begun by itself: %v", err)
		}
	}
}

// inCountry lists the orders of a country.
func (w *rebuildWorld) inCountry(country string) (orders []string) {
	w.t.Helper()
	got, err := w.nodes[0].get().do(w.t.Context(), w.through, request{method: "GET", path: "/v1/orders?limit=1000&country=" + url.QueryEscape(country)})
	var page struct{ Items []struct{ ID string } }
	if err != nil || json.Unmarshal(got.body, &page) != nil {
		w.t.Fatalf("orders in %s: %v %d %.300s", country, err, got.status, got.body)
	}
	for _, o := range page.Items {
		orders = append(orders, o.ID)
	}
	return orders
}

// countries wants so many orders in two of them.
func (o operator) countries(one string, ofOne int, two string, ofTwo int) {
	o.t.Helper()
	if a, b := len(o.inCountry(one)), len(o.inCountry(two)); a != ofOne || b != ofTwo {
		o.t.Errorf("%d orders are in %s and %d in %s, not %d and %d", a, one, b, two, ofOne, ofTwo)
	}
}

// differsIn wants the difference of exactly these orders in their country, and what
// is counted by it.
func (o operator) differsIn(d projections.Difference, wrong, nowhere []string) {
	o.t.Helper()
	want := int64(len(wrong) + len(nowhere)) // of the latter, one was there before
	for _, s := range d.Stores {
		switch {
		case s.Changed != want || s.OnlyOld+s.OnlyNew != 0 || len(s.ParkedOld)+len(s.ParkedNew) != 0 || s.Equal != int64(len(o.known)-len(wrong)-1):
			o.t.Errorf("%s: %d documents changed, not %d; %+v", s.Store, s.Changed, want, s)
		case len(s.Fields) != 1 || s.Fields[0].Path != "/country" || s.Fields[0].Orders != want:
			o.t.Errorf("%s: fields %+v", s.Store, s.Fields)
		}
		for _, f := range s.Fields {
			for _, one := range f.Samples {
				before, after := `"`+oldCountry+`"`, `"`+newCountry+`"`
				known := slices.Contains(wrong, one.OrderID)
				if slices.Contains(nowhere, one.OrderID) {
					before, after, known = "", `"`+noCountry+`"`, true
				}
				if !known || strings.Trim(string(one.Before), `"`) != strings.Trim(before, `"`) || string(one.After) != after ||
					len(one.Events) == 0 || one.Events[0].Type != "OrderPlaced" {
					o.t.Errorf("%s: sample %s", s.Store, shownSample(one))
				}
			}
		}
		for _, one := range s.Figures {
			if !strings.Contains(one.Figure, "country") {
				o.t.Errorf("%s: %+v", s.Store, one)
			}
		}
		if s.FiguresChanged == 0 {
			o.t.Errorf("%s: no figure changed", s.Store)
		}
	}
	if len(d.Stores) == 0 {
		o.t.Error("no store was compared")
	}
}

func shownSample(c projections.Changed) string {
	return fmt.Sprintf("%s at %d: %s from %s to %s, by %+v", c.OrderID, c.Revision, c.Path, c.Before, c.After, c.Events)
}
