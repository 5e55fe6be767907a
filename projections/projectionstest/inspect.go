package projectionstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// inspect asks about one change.
func (f *fixture) inspect(change projections.Change) projections.Kept {
	f.Helper()
	kept, err := f.Inspect(f.ctx, []projections.Change{change})
	if err != nil || len(kept) != 1 {
		f.Fatalf("inspect: %d answers, %v", len(kept), err)
	}
	return kept[0]
}

// checkHealthy expects everything to be as it should, in every way that an
// inspector can tell.
func (f *fixture) checkHealthy() {
	f.Helper()
	ids := slices.Sorted(maps.Keys(f.docs))
	var all []projections.Change
	for _, id := range ids {
		all = append(all, ChangeTo(f.docs[id], 0))
	}
	kept, err := f.Inspect(f.ctx, all)
	if err != nil || len(kept) != len(all) {
		f.Fatalf("inspect: %d answers to %d changes, %v", len(kept), len(all), err)
	}
	for i, k := range kept {
		f.same("kept of order "+ids[i], k, projections.Kept{Found: true, Same: true}, nil)
	}
	got, err := f.IDs(f.ctx, "", len(ids)+1)
	f.same("ids", present(got), present(ids), err)
	wrong, err := f.Sound(f.ctx)
	f.same("what is not sound", present(wrong), []string{}, err)
	f.checkFigures()
}

// checkFigures compares what is counted with what the documents say.
func (f *fixture) checkFigures() {
	f.Helper()
	var all []projections.Change
	for _, doc := range f.docs {
		all = append(all, ChangeTo(doc, 0))
	}
	f.sameFigures(Figures(all))
}

// sameFigures expects the figures that a store of this role keeps, and that one
// which counts for itself finds them to be what is kept.
func (f *fixture) sameFigures(want allFigures) {
	f.Helper()
	got, lanes := f.figures()
	now, err := f.Checkpoints(f.ctx)
	f.same("checkpoints", lanes, now, err)
	if sink, self := f.Sink.(projections.SelfCounting); self {
		everyDay := false
		for key := range got {
			everyDay = everyDay || key.Day == projections.EveryDay
		}
		maps.DeleteFunc(want, func(key projections.FigureKey, _ [8]int64) bool {
			return !f.counts() || key.Of == projections.FigureFacet || key.Day == projections.EveryDay && !everyDay
		})
		compared, err := sink.Miscounted(f.ctx, func(kept, should projections.Figure) error {
			return fmt.Errorf("kept %+v, should be %+v", kept, should)
		})
		if err != nil || (compared > 0) != (len(want) > 0) {
			f.Errorf("of %d figures, %d compared: %v", len(want), compared, err)
		}
	}
	for key, v := range got {
		if want[key] != v {
			f.Errorf("%+v is %v, should be %v", key, v, want[key])
		}
	}
	for key, v := range want {
		if _, there := got[key]; !there {
			f.Errorf("%+v is not there, should be %v", key, v)
		}
	}
}

// figures reads all of them; each comes once.
func (f *fixture) figures() (allFigures, []projections.Checkpoint) {
	f.Helper()
	got := allFigures{}
	lanes, err := f.Figures(f.ctx, func(fig projections.Figure) error {
		if _, twice := got[fig.FigureKey]; twice {
			return fmt.Errorf("%+v comes twice", fig.FigureKey)
		}
		got[fig.FigureKey] = fig.Values
		return nil
	})
	if err != nil {
		f.Fatalf("figures: %v", err)
	}
	maps.DeleteFunc(got, func(_ projections.FigureKey, v [8]int64) bool { return v == [8]int64{} })
	return got, lanes
}

// replace makes doc what is kept of its order.
func (f *fixture) replace(change projections.Change) {
	f.Helper()
	if err := f.Replace(f.ctx, change.Order.ID, &change); err != nil {
		f.Fatalf("replace: %v", err)
	}
	f.docs[change.Order.ID] = change.Order
}

// recount expects some changes, or none.
func (f *fixture) recount(some bool) {
	f.Helper()
	changed, err := f.Recount(f.ctx)
	if err != nil || (changed > 0) != some {
		f.Fatalf("recount changed %d rows, %v", changed, err)
	}
}

func inspectHealthy(t *testing.T, s Store) {
	f := start(t, s)
	f.checkHealthy()
	docs := Documents(30, 300)
	f.put(docs...)
	f.checkHealthy()
	r := random(30)
	for _, doc := range docs[:200] {
		next := later(r, f.docs[doc.ID])
		f.results(projections.Batch{Changes: []projections.Change{ChangeTo(next, 0)}})
	}
	f.checkHealthy()

	// The mark of a parked order belongs to the answer, not to what is kept.
	marked := ChangeTo(f.docs[docs[0].ID], 0)
	marked.Order.Degraded = &view.Degraded{Reason: "no", Revision: 9}
	f.same("marked", f.inspect(marked), projections.Kept{Found: true, Same: true}, nil)

	// What was never placed is kept, and counts for facets at the most.
	bare := view.Order{ID: "bare", Revision: 1}
	f.put(bare)
	f.checkHealthy()
}

func inspectDifferences(t *testing.T, s Store) {
	f := start(t, s)
	docs := Documents(31, 60)
	for i := range docs {
		docs[i].Revision += 2
	}
	f.put(docs...)
	kept := docs[0]
	want := func(name string, c projections.Change, rows bool) {
		f.Helper()
		k := f.inspect(c)
		if !k.Found || k.Same || k.Unreadable != "" || (len(k.Rows) > 0) != rows {
			f.Errorf("%s: %+v", name, k)
		}
		f.same(name+": document", k.Document, kept, nil)
		if f.counts() {
			f.same(name+": contribution", k.Contribution, projections.Contributions(kept), nil)
		}
	}
	if k := f.inspect(ChangeTo(Documents(32, 80)[79], 0)); !reflect.DeepEqual(k, projections.Kept{}) {
		t.Errorf("missing: %+v", k)
	}
	noted := kept
	noted.Notes = append(slices.Clone(kept.Notes), view.Note{ID: "x", At: kept.PlacedAt})
	if k := f.inspect(ChangeTo(noted, 0)); k.Same || !k.Found {
		t.Errorf("another document: %+v", k)
	} else {
		f.same("another document", k.Document, kept, nil)
	}
	older, newer := kept, kept
	older.Revision, newer.Revision = kept.Revision-1, kept.Revision+1
	want("an older one wanted", ChangeTo(older, 0), false)
	want("a newer one wanted", ChangeTo(newer, 0), false)
	other := ChangeTo(kept, 0)
	other.Contribution.Sums.Paid++
	if k := f.inspect(other); !k.Found || k.Same && f.counts() {
		t.Errorf("another contribution: %+v", k)
	} else if f.counts() {
		f.same("contribution", k.Contribution, projections.Contributions(kept), nil)
		f.same("its document", k.Document, kept, nil)
	}

	// Each change of a batch has its own answer.
	answers, err := f.Inspect(f.ctx, []projections.Change{ChangeTo(docs[1], 0), ChangeTo(noted, 0), ChangeTo(docs[2], 0), ChangeTo(view.Order{ID: "absent"}, 0)})
	if err != nil || !answers[0].Same || answers[1].Same || !answers[2].Same || answers[3].Found {
		t.Errorf("answers %+v, %v", answers, err)
	}
}

func listIDs(t *testing.T, s Store) {
	f := start(t, s)
	f.put(Documents(33, 100)...)
	want := slices.Sorted(maps.Keys(f.docs))
	for _, limit := range []int{1, 7, 100, 1000} {
		got, after := []string{}, ""
		for {
			page, err := f.IDs(f.ctx, after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("%d ids, at most %d: %v", len(page), limit, err)
			}
			if len(page) == 0 {
				break
			}
			if page[0] <= after {
				t.Fatalf("after %q comes %q", after, page[0])
			}
			got, after = append(got, page...), page[len(page)-1]
		}
		f.same(fmt.Sprint("ids by ", limit), got, want, nil)
	}
}

func figuresFollow(t *testing.T, s Store) {
	f := start(t, s)
	cp, err := f.Claim(f.ctx, 7, "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	cp.Position = eventstore.At64(70)
	r := random(34)
	docs := Documents(34, 200)
	for i := range docs { // fractions of both signs, that carry
		for j := range docs[i].Lines {
			l := &docs[i].Lines[j]
			l.Total = l.UnitPrice.Times(l.Quantity * 333)
		}
	}
	f.put(docs...)
	f.results(projections.Batch{Checkpoints: []projections.Checkpoint{cp}})
	f.checkFigures()
	for range 3 {
		var batch projections.Batch
		for _, doc := range docs {
			batch.Changes = append(batch.Changes, ChangeTo(later(r, f.docs[doc.ID]), 0))
		}
		f.results(batch)
		f.checkFigures()
	}

	// They are what Counters says, too.
	want := allFigures{}
	for _, doc := range f.docs {
		for _, c := range projections.Counters(projections.Contributions(doc)) {
			s := c.Sums
			want.add(projections.FigureKey{Of: projections.FigureSums, Currency: c.Currency, Dimension: c.Dimension, Key: c.Key, Day: c.Day},
				s.Orders, s.Lines, s.Units, s.Items, s.Shipping, s.Grand, s.Paid, s.Rounding)
		}
	}
	got, _ := f.figures()
	for key, v := range got {
		if key.Of == projections.FigureSums && key.Day != projections.EveryDay && want[key] != v {
			t.Errorf("%+v is %v, should be %v", key, v, want[key])
		}
	}

	stop, n := errors.New("enough"), 0
	if len(got) == 0 && !f.counts() {
		return
	}
	if _, err := f.Figures(f.ctx, func(projections.Figure) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("after %d figures: %v", n, err)
	}
}

func replaces(t *testing.T, s Store) {
	f := start(t, s)
	r := random(35)
	docs := Documents(35, 60)
	f.put(docs[:50]...)
	for i, doc := range docs[:50] {
		other := later(r, doc)
		switch i % 5 {
		case 0: // the same again
			other = doc
		case 1: // other content at the same revision
			other.Revision = doc.Revision
		case 2: // back
			f.results(projections.Batch{Changes: []projections.Change{ChangeTo(other, 0)}})
			other = doc
		case 3: // gone
			if err := f.Replace(f.ctx, doc.ID, nil); err != nil {
				t.Fatal(err)
			}
			delete(f.docs, doc.ID)
			continue
		}
		f.replace(ChangeTo(other, other.Revision))
	}
	for _, doc := range docs[50:] { // not there before
		f.replace(ChangeTo(doc, 0))
	}
	if err := f.Replace(f.ctx, "never there", nil); err != nil {
		t.Fatal(err)
	}
	f.checkHealthy()
	f.checkDocuments()
	f.checkCounters()
	f.recount(false)

	// The next event goes on from what was replaced, and one before it does not.
	doc := f.docs[docs[2].ID]
	next := later(r, doc)
	next.Revision = doc.Revision + 1
	f.same("next", f.results(projections.Batch{Changes: []projections.Change{ChangeTo(next, next.Revision)}}), []projections.Result{projections.Applied}, nil)
	f.same("again", f.results(projections.Batch{Changes: []projections.Change{ChangeTo(doc, 0)}}), []projections.Result{projections.Already}, nil)
	gone := docs[3]
	gone.Revision = 9
	f.same("gone", f.results(projections.Batch{Changes: []projections.Change{ChangeTo(gone, 4)}}), []projections.Result{projections.Gap}, nil)
	f.checkHealthy()

	large := doc
	large.Notes = []view.Note{{ID: "large", Text: strings.Repeat("x", projections.MaxDocument)}}
	change := ChangeTo(large, 0)
	if err := f.Replace(f.ctx, large.ID, &change); !errors.Is(err, projections.ErrRefused) {
		t.Errorf("a large document: %v", err)
	}
	f.checkHealthy()
}

// recounts poisons counters the only way the port allows: by contributions that
// are not those of the documents.
func recounts(t *testing.T, s Store) {
	f := start(t, s)
	docs := Documents(36, 120)
	f.put(docs...)
	f.recount(false)
	var kept []projections.Change
	for i, doc := range docs {
		c := ChangeTo(doc, 0)
		if i%3 == 0 {
			c.Contribution.Sums.Grand += 1000
			c.Contribution.Day = "2001-02-03"
			c.Contribution.Products = append(slices.Clone(c.Contribution.Products), projections.ProductSum{SKU: "zzz", Units: 1, Millionths: -1})
			f.replace(c)
		}
		kept = append(kept, c)
	}
	// Figures follow what is kept, right or wrong, and a recount agrees.
	f.sameFigures(Figures(kept))
	f.recount(false)
	f.sameFigures(Figures(kept))
	if k := f.inspect(ChangeTo(docs[0], 0)); k.Same {
		t.Errorf("a wrong contribution: %+v", k)
	}
	for _, doc := range docs {
		f.replace(ChangeTo(doc, 0))
	}
	f.recount(false)
	f.checkHealthy()
	f.checkCounters()
}

// nudgedFigures are found, and are those of the documents after a recount.
func nudgedFigures(t *testing.T, s Store) {
	f := start(t, s)
	f.put(Documents(38, 60)...)
	s.Nudge(t, f.backend, 1)
	wrong := 0
	if sink, self := f.Sink.(projections.SelfCounting); self {
		_, err := sink.Miscounted(f.ctx, func(kept, should projections.Figure) error {
			if kept.FigureKey != should.FigureKey || kept.Values == should.Values {
				t.Errorf("kept %+v, should be %+v", kept, should)
			}
			wrong++
			return nil
		})
		stop := errors.New("enough")
		if _, again := sink.Miscounted(f.ctx, func(projections.Figure, projections.Figure) error { return stop }); err != nil || !errors.Is(again, stop) {
			t.Errorf("miscounted: %v, and when told to stop: %v", err, again)
		}
	} else {
		got, _ := f.figures()
		var all []projections.Change
		for _, doc := range f.docs {
			all = append(all, ChangeTo(doc, 0))
		}
		wrong = differing(got, Figures(all))
	}
	if wrong < 2 {
		t.Errorf("%d figures are wrong", wrong)
	}
	f.recount(true)
	f.recount(false)
	f.checkAll()
}

// besideTheFeeder inspects while batches are written. Each document says in
// every part which of its versions it is.
func besideTheFeeder(t *testing.T, s Store) {
	f := start(t, s)
	doc := Documents(37, 1)[0]
	version := func(n int64) view.Order {
		v := doc
		v.Revision, v.Status, v.Number = n, fmt.Sprint("s", n), fmt.Sprint("N", n)
		v.UpdatedAt = doc.UpdatedAt.Add(time.Duration(n) * time.Second)
		return v
	}
	f.put(version(0))
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := int64(1); n <= 200; n++ {
			if _, err := f.Write(f.ctx, projections.Batch{Changes: []projections.Change{ChangeTo(version(n), n)}}); err != nil {
				t.Errorf("write: %v", err)
			}
		}
	})
	for asking := true; asking; {
		wanted := version(200)
		k := f.inspect(ChangeTo(wanted, 0))
		if asking = !k.Same; !asking {
			break
		}
		if k.Unreadable != "" || !k.Found || k.Document.Number != fmt.Sprint("N", k.Document.Revision) {
			t.Fatalf("%+v", k)
		}
		if _, self := f.Sink.(projections.SelfCounting); self {
			continue // its figures are of no instant
		}
		seen := map[string]int64{}
		_, err := f.Figures(f.ctx, func(fig projections.Figure) error {
			if fig.Of == projections.FigureFacet && fig.Dimension == "status" {
				seen[fig.Key] = fig.Values[0]
			}
			return nil
		})
		if data, _ := json.Marshal(seen); err != nil || len(seen) != 1 {
			t.Fatalf("statuses %s, %v", data, err)
		}
	}
	writing.Wait()
	f.docs[doc.ID] = version(200)
	f.checkHealthy()
}
