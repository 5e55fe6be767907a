// Package audittest answers questions about the past of orders in the dumbest
// way there is, and compares. Where audit and query stop reading early, follow
// the catalogue's subjects, walk structs and note changes while they fold, this
// looks at every event every time, finds subjects by the names of JSON fields,
// flattens documents as maps, and folds every prefix from its first event. The
// one thing both sides share is projections.Apply: what an event does to a
// document is reconcile's question.
//
// Tests call it, over real logs.
package audittest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// Answers is who is asked. A test that plants a bug replaces one of them.
type Answers struct {
	Order   func(ctx context.Context, id string, cut query.Cut) (view.Order, error)
	History func(ctx context.Context, id string, cut query.Cut) ([]audit.Entry, error)
	Diff    func(ctx context.Context, id string, from, to query.Cut) ([]query.FieldChange, error)
	Why     func(ctx context.Context, id string, cut query.Cut, field string) ([]audit.Origin, error)
}

// Of asks the program itself.
func Of(queries *query.Service, auditor *audit.Auditor) Answers {
	return Answers{
		Order: queries.OrderAsOf, History: auditor.History,
		Diff: func(ctx context.Context, id string, from, to query.Cut) ([]query.FieldChange, error) {
			d, err := auditor.Diff(ctx, id, from, to)
			return d.Changes, err
		},
		Why: func(ctx context.Context, id string, cut query.Cut, field string) ([]audit.Origin, error) {
			why, err := auditor.Why(ctx, id, cut, field)
			return why.Fields, err
		},
	}
}

// Compare asks about n random cuts of random orders of ids: always for the order
// there, and in turn for its history, the difference from another cut, and why a
// field of it is what it is. Cuts are of every kind, most of them next to an
// event, a few of them refused. It answers how many answers were compared and
// how they differ from the naive ones, at most twenty: then it stops. The log
// must not grow meanwhile; now is the time up to which instants have come. The
// same log and seed ask the same.
func Compare(ctx context.Context, ask Answers, store eventstore.Store, ns eventstore.Namespace, ids []string, n int, now time.Time, seed uint64) (checked int, differences []string, err error) {
	head, err := store.Head(ctx)
	if err != nil {
		return 0, nil, err
	}
	c := &comparison{ask: ask, random: rand.New(rand.NewPCG(seed, 4)), head: head, now: now}
	pasts := map[string][]event{}
	for turn := range n {
		id := ids[c.random.IntN(len(ids))]
		past := pasts[id]
		if past == nil {
			if past, err = read(ctx, store, ns, id); err != nil {
				return c.checked, c.differences, err
			}
			pasts[id] = past
		}
		if err := c.question(ctx, turn, id, past); err != nil {
			return c.checked, c.differences, err
		}
		if len(c.differences) >= mostDifferences {
			break
		}
	}
	return c.checked, c.differences, nil
}

const mostDifferences = 20

type comparison struct {
	ask         Answers
	random      *rand.Rand
	head        eventstore.Position
	now         time.Time
	checked     int
	differences []string
}

func (c *comparison) question(ctx context.Context, turn int, id string, past []event) error {
	cut, now := c.cut(past), moment{c.head, c.now}
	at := now.look(past, cut)
	doc, err := c.ask.Order(ctx, id, cut)
	if err := c.outcome(id, cut, "order", at.refusal, err, func() string {
		return unequal([]string{text(doc)}, []string{text(at.document())})
	}); err != nil {
		return err
	}

	switch turn % 3 {
	case 0:
		history, err := c.ask.History(ctx, id, cut)
		return c.outcome(id, cut, "history", at.refusal, err, func() string {
			return unequal(toldHistory(history), at.history())
		})
	case 1:
		other := c.cut(past)
		from := now.look(past, other)
		refused := from.refusal
		if refused == "" {
			refused = at.refusal
		}
		changes, err := c.ask.Diff(ctx, id, other, cut)
		return c.outcome(id, cut, "diff from "+show(other), refused, err, func() string {
			return unequal(toldChanges(changes), difference(from.document(), at.document()))
		})
	default:
		field, refused := c.field(at), at.refusal
		var origins []string
		if refused == "" {
			if origins = at.why(field); len(origins) == 0 {
				refused = audit.ErrFieldUnknown.Code
			}
		}
		told, err := c.ask.Why(ctx, id, cut, field)
		return c.outcome(id, cut, fmt.Sprintf("why %q", field), refused, err, func() string {
			return unequal(toldOrigins(told), origins)
		})
	}
}

// outcome notes a difference; it fails with an error that is not a refusal.
func (c *comparison) outcome(id string, cut query.Cut, question, refused string, err error, compare func() string) error {
	c.checked++
	var refusal *domain.Rejection
	if err != nil && !errors.As(err, &refusal) {
		return fmt.Errorf("%s of %s at %s: %w", question, id, show(cut), err)
	}
	var got string
	if refusal != nil {
		got = refusal.Code
	}
	var how string
	switch {
	case got != refused:
		how = fmt.Sprintf("refused with %q, not %q", got, refused)
	case refused == "":
		how = compare()
	}
	if how != "" {
		c.differences = append(c.differences, fmt.Sprintf("%s at %s: %s: %s", id, show(cut), question, how))
	}
	return nil
}

// cut draws a cut, near something that happened to the order.
func (c *comparison) cut(past []event) (cut query.Cut) {
	e := past[c.random.IntN(len(past))]
	near := func(t time.Time) *time.Time {
		switch c.random.IntN(6) {
		case 0:
			t = t.Add(-time.Microsecond)
		case 1:
			t = t.Add(time.Microsecond)
		case 2:
			t = t.Add(time.Duration(c.random.Int64N(int64(48*time.Hour))) - 24*time.Hour)
		case 3:
			if c.random.IntN(20) == 0 {
				t = c.now.Add(time.Duration(c.random.Int64N(3)-1) * time.Microsecond)
			}
		}
		return &t
	}
	switch c.random.IntN(5) {
	case 0:
		revision := e.revision
		if c.random.IntN(20) == 0 {
			revision += eventstore.Revision(c.random.IntN(5) - 2)
		}
		cut.Revision = &revision
	case 1:
		position := e.position
		switch c.random.IntN(8) {
		case 0:
			position = eventstore.At64(position.Commit - 1)
		case 1:
			position = eventstore.At64(1 + c.random.Uint64N(c.head.Commit+1))
		}
		cut.Position = &position
	case 2, 3:
		cut.AsOf = near(e.recordedAt)
	}
	if c.random.IntN(5) < 2 {
		cut.EffectiveAt = near(past[c.random.IntN(len(past))].effectiveAt)
	}
	if c.random.IntN(100) == 0 {
		cut.Revision, cut.AsOf = &e.revision, &e.recordedAt
	}
	return cut
}

// field draws a field to ask about: all, one, what is above one, one that is not
// there, one that was, an empty list.
func (c *comparison) field(at sight) string {
	if at.refusal != "" {
		return ""
	}
	values := flatten(at.document())
	fields := paths(values)
	field := fields[c.random.IntN(len(fields))]
	switch c.random.IntN(8) {
	case 0, 1:
		return ""
	case 2, 3:
		return field[:strings.LastIndex(field, "/")]
	case 4:
		return field + "x"
	case 6: // perhaps one that is no longer there
		fields = paths(flatten(fold(at.events[:1+c.random.IntN(len(at.events))])))
		return fields[c.random.IntN(len(fields))]
	case 7: // perhaps all of something that is no longer there
		fields = paths(flatten(fold(at.events[:1+c.random.IntN(len(at.events))])))
		field = fields[c.random.IntN(len(fields))]
		return field[:strings.LastIndex(field, "/")]
	case 5: // what emptied it
		fields = slices.DeleteFunc(fields, func(path string) bool { return values[path] != "[]" })
		if len(fields) > 0 {
			return fields[c.random.IntN(len(fields))]
		}
	}
	return field
}

func show(cut query.Cut) string {
	var parts []string
	if cut.Revision != nil {
		parts = append(parts, fmt.Sprintf("revision %d", *cut.Revision))
	}
	if cut.Position != nil {
		parts = append(parts, fmt.Sprintf("position %s", cut.Position))
	}
	if cut.AsOf != nil {
		parts = append(parts, "as of "+cut.AsOf.Format(time.RFC3339Nano))
	}
	if cut.EffectiveAt != nil {
		parts = append(parts, "effective at "+cut.EffectiveAt.Format(time.RFC3339Nano))
	}
	return strings.Join(append(parts, "now")[:max(1, len(parts))], ", ")
}

// unequal shows the first difference of two lists; "" when there is none.
func unequal(got, want []string) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return "lacks " + want[i]
		case i >= len(want):
			return "has " + got[i]
		case got[i] != want[i]:
			return "got " + got[i] + ", want " + want[i]
		}
	}
	return ""
}

func paths(fields map[string]string) []string {
	var all []string
	for path := range fields {
		all = append(all, path)
	}
	slices.Sort(all)
	return all
}
