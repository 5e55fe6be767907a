package audit_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/audit/audittest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

const seed = 20180131

// Every answer about the past is that of a naive fold, and the comparison sees
// the bugs one would make.
func TestThePastByBruteForce(t *testing.T) {
	w := newWorld(t)
	t.Logf("seed %d", seed)
	ids := w.fill(rand.New(rand.NewPCG(seed, 1)))
	compare := func(t *testing.T, ask audittest.Answers, n int) []string {
		t.Helper()
		checked, differences, err := audittest.Compare(t.Context(), ask, w.store, "", ids, n, w.now(), seed)
		if err != nil {
			t.Fatal(err)
		}
		if len(differences) == 0 && checked != 2*n {
			t.Fatalf("%d answers, want %d", checked, 2*n)
		}
		return differences
	}
	t.Run("as it is", func(t *testing.T) {
		for _, d := range compare(t, audittest.Of(w.queries, w.auditor), 5000) {
			t.Errorf("%.2000s", d)
		}
	})
	// A fold may begin with a document that was kept, unless that is newer than
	// the cut.
	t.Run("kept documents", func(t *testing.T) {
		ask := audittest.Of(w.queries, w.auditor)
		ask.Order = w.fromKept(ids, true)
		for _, d := range compare(t, ask, 500) {
			t.Errorf("%.2000s", d)
		}
	})
	for bug, plant := range w.bugs(ids) {
		t.Run(bug, func(t *testing.T) {
			ask := audittest.Of(w.queries, w.auditor)
			plant(&ask)
			if differences := compare(t, ask, 500); len(differences) == 0 {
				t.Error("nobody sees it")
			}
		})
	}
}

// fromKept answers an order starting from the document of its middle, which it
// may do for cuts that are not before it.
func (w *world) fromKept(ids []string, careful bool) func(context.Context, string, query.Cut) (view.Order, error) {
	w.t.Helper()
	kept := map[string]view.Order{}
	for _, id := range ids {
		now, err := w.queries.OrderAsOf(w.t.Context(), id, query.Cut{})
		if err != nil {
			w.t.Fatal(err)
		}
		if kept[id], err = w.queries.OrderAt(w.t.Context(), id, eventstore.Revision(now.Revision/2)); err != nil {
			w.t.Fatal(err)
		}
	}
	return func(ctx context.Context, id string, cut query.Cut) (view.Order, error) {
		events, err := w.queries.Events(ctx, id, cut)
		if err != nil {
			return view.Order{}, err
		}
		doc := kept[id]
		if careful && (cut.EffectiveAt != nil || int64(events[len(events)-1].Revision) < doc.Revision) {
			return query.Fold(ctx, id, events, nil)
		}
		for _, e := range events {
			if int64(e.Revision) > doc.Revision {
				doc = projections.Apply(doc, e.Recorded)
			}
		}
		return doc, nil
	}
}

// bugs are mistakes that are easily made, one and more per question.
func (w *world) bugs(ids []string) map[string]func(*audittest.Answers) {
	right := audittest.Of(w.queries, w.auditor)
	folded := func(sort func(a, b query.CutEvent) int) func(*audittest.Answers) {
		return func(ask *audittest.Answers) {
			ask.Order = func(ctx context.Context, id string, cut query.Cut) (view.Order, error) {
				events, err := w.queries.Events(ctx, id, cut)
				if err != nil {
					return view.Order{}, err
				}
				if cut.EffectiveAt != nil {
					slices.SortStableFunc(events, sort)
				}
				return query.Fold(ctx, id, events, nil)
			}
		}
	}
	before := func(t *time.Time) *time.Time {
		if t == nil {
			return nil
		}
		just := t.Add(-time.Microsecond)
		return &just
	}
	return map[string]func(*audittest.Answers){
		"starts from a snapshot newer than the cut": func(ask *audittest.Answers) { ask.Order = w.fromKept(ids, false) },
		"effective at folds by revision":            folded(func(a, b query.CutEvent) int { return int(a.Revision - b.Revision) }),
		"effective at folds by business time": folded(func(a, b query.CutEvent) int {
			return a.Event.OccurredAt().Compare(b.Event.OccurredAt())
		}),
		"as of leaves its instant out": func(ask *audittest.Answers) {
			ask.Order = func(ctx context.Context, id string, cut query.Cut) (view.Order, error) {
				cut.AsOf = before(cut.AsOf)
				return right.Order(ctx, id, cut)
			}
		},
		"effective at leaves its instant out": func(ask *audittest.Answers) {
			ask.Order = func(ctx context.Context, id string, cut query.Cut) (view.Order, error) {
				cut.EffectiveAt = before(cut.EffectiveAt)
				return right.Order(ctx, id, cut)
			}
		},
		"the last of the folded events dates the document": func(ask *audittest.Answers) {
			ask.Order = func(ctx context.Context, id string, cut query.Cut) (view.Order, error) {
				doc, err := right.Order(ctx, id, cut)
				if err != nil {
					return doc, err
				}
				events, err := w.queries.Events(ctx, id, cut)
				doc.Revision = int64(events[len(events)-1].Revision)
				return doc, err
			}
		},
		"history is always by revision": func(ask *audittest.Answers) {
			ask.History = func(ctx context.Context, id string, cut query.Cut) ([]audit.Entry, error) {
				entries, err := right.History(ctx, id, cut)
				slices.SortFunc(entries, func(a, b audit.Entry) int { return int(a.Revision - b.Revision) })
				return entries, err
			}
		},
		"diff forgets what is gone": func(ask *audittest.Answers) {
			ask.Diff = func(ctx context.Context, id string, from, to query.Cut) ([]query.FieldChange, error) {
				changes, err := right.Diff(ctx, id, from, to)
				return slices.DeleteFunc(changes, func(c query.FieldChange) bool { return c.After == nil }), err
			}
		},
		"why blames the newest event": func(ask *audittest.Answers) {
			ask.Why = func(ctx context.Context, id string, cut query.Cut, field string) ([]audit.Origin, error) {
				origins, err := right.Why(ctx, id, cut, field)
				for i := range origins {
					origins[i].Revision = slices.MaxFunc(origins, func(a, b audit.Origin) int { return int(a.Revision - b.Revision) }).Revision
				}
				return origins, err
			}
		},
		"why goes by revision": func(ask *audittest.Answers) {
			ask.Why = func(ctx context.Context, id string, cut query.Cut, field string) ([]audit.Origin, error) {
				if _, err := right.Why(ctx, id, cut, field); err != nil {
					return nil, err
				}
				cut.EffectiveAt = nil
				return right.Why(ctx, id, cut, field)
			}
		},
	}
}

// What was known does not change when more becomes known: every answer for a
// past cut stays as it was, whatever is recorded later and however far it is
// dated back.
func TestThePastStaysAsItWas(t *testing.T) {
	w := newWorld(t)
	random := rand.New(rand.NewPCG(seed, 2))
	ids := w.lives(12, random)
	w.tick() // every instant near an event has come
	type asked struct {
		id  string
		cut query.Cut
	}
	answers := map[asked]string{}
	ask := func(id string, cut query.Cut) string {
		doc, err := w.queries.OrderAsOf(t.Context(), id, cut)
		if err != nil {
			return err.Error()
		}
		history, err := w.auditor.History(t.Context(), id, cut)
		if err != nil {
			t.Fatal(err)
		}
		why, err := w.auditor.Why(t.Context(), id, cut, "")
		if err != nil {
			t.Fatal(err)
		}
		changes, err := w.auditor.Diff(t.Context(), id, query.Cut{Revision: new(eventstore.Revision)}, cut)
		if err != nil {
			t.Fatal(err)
		}
		return inJSON(t, doc) + inJSON(t, history) + inJSON(t, why) + inJSON(t, changes)
	}
	for _, id := range ids {
		history, err := w.auditor.History(t.Context(), id, query.Cut{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range history {
			between := e.RecordedAt.Add(time.Microsecond)
			for _, cut := range []query.Cut{
				{Revision: &e.Revision}, {Position: &e.Position}, {AsOf: &e.RecordedAt}, {AsOf: &between},
				{Revision: &e.Revision, EffectiveAt: &e.EffectiveAt}, {AsOf: &e.RecordedAt, EffectiveAt: &e.At},
			} {
				answers[asked{id, cut}] = ask(id, cut)
			}
		}
	}
	for _, id := range ids {
		state, _ := w.do(id, noteNow(w))
		w.live(id, state, 10, random)
	}
	for question, was := range answers {
		if is := ask(question.id, question.cut); is != was {
			t.Fatalf("%s at %+v:\nwas %s\nis  %s", question.id, question.cut, was, is)
		}
	}
	t.Logf("%d cuts of %d orders", len(answers), len(ids))
}
