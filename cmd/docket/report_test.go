package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/reconcile"
)

func TestReport(t *testing.T) {
	started := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	ended := started.Add(1500 * time.Millisecond)
	whole := reconcile.Compared{Events: 3897, Streams: 301, Documents: 301, Customers: 1, Figures: 1234, Complete: true}
	at := func(n int64) *int64 { return &n }
	cases := map[string]struct {
		report reconcile.Report
		want   string
	}{
		"clean": {
			reconcile.Report{
				ID: "r1", State: "ended", Verdict: reconcile.Clean, StartedAt: started, EndedAt: &ended, Generation: 2,
				Barrier: eventstore.At64(3901), Compared: whole,
			}, `
clean: the views say what the log says

run       r1, 2026-03-01 09:30:00 UTC, took 1.5s, generation 2 of the views
compared  the log up to position 3901: 3,897 events of 301 orders
          the views: 301 order documents, 1 customer, 1,234 figures
          complete: every position was read, every stream is contiguous, every entity was compared
`,
		},
		"drift": {
			reconcile.Report{
				ID: "r2", State: "ended", Verdict: reconcile.Drift, StartedAt: started, EndedAt: &ended, Generation: 1,
				Request: reconcile.Request{Repair: true, Actor: "ann"},
				Barrier: eventstore.At64(3901), Compared: whole,
				Counts:   map[reconcile.Class]int64{reconcile.Content: 2, reconcile.Missing: 1, reconcile.Aggregate: 1, "mixed": 1},
				Repaired: 3,
				Findings: []reconcile.Finding{
					{
						Class: reconcile.Content, Entity: "order", ID: "536365", Revision: at(3), Kept: at(3), Outcome: "repaired",
						Fields: []query.FieldChange{
							{Path: "/totals/paid", Before: raw(`{"amount":"10.00","currency":"GBP"}`), After: raw(`{"amount":"139.12","currency":"GBP"}`)},
							{Path: "/tags", Before: raw(`["gift\nwrap","web"]`), After: raw(`[]`)},
							{Path: "/holds/h1", Before: raw(`{"id":"h1","reason":"fraud","lines":[{"lineId":"1"}]}`)},
							{Path: "/city", After: raw(`"Leeds"`)},
						},
					},
					{Class: reconcile.Content, Entity: "order", ID: "2", Revision: at(1), Kept: at(1), Outcome: "failed", Error: "it differs again", Detail: "total: 12, not 13"},
					{Class: reconcile.Missing, Entity: "order", ID: "3", Revision: at(4), Kept: at(-1), Outcome: "repaired"},
					{Class: reconcile.Aggregate, Entity: "sums", ID: "GBP, status paid, every day", Detail: "grand", Outcome: "repaired"},
				},
			}, `
drift: 5 differences found, 3 repaired

run       r2, 2026-03-01 09:30:00 UTC by ann, took 1.5s, with --repair, generation 1 of the views
compared  the log up to position 3901: 3,897 events of 301 orders
          the views: 301 order documents, 1 customer, 1,234 figures
          complete: every position was read, every stream is contiguous, every entity was compared

MISSING, 1: the log has them, the views have not
  order 3, revision 4 in the log: repaired

CONTENT, 2: the same revision, other content
  order 536365, revision 3: repaired
    ~ /totals/paid  10.00 GBP -> 139.12 GBP
    ~ /tags         gift wrap; web -> (none)
    - /holds/h1     id h1, reason fraud, lines (lineId 1)
    + /city         Leeds
  order 2, revision 1: NOT repaired: it differs again
    total: 12, not 13

AGGREGATE, 1: figures that the orders do not add up to
  sums GBP, status paid, every day, grand: repaired

MIXED, 1
  and 1 more, see --json

What to do next; more in docs/operating.md:
  missing       rows were deleted, or an older view file was put back: --repair; of many, docket projections rebuild orders
  content       rows were changed by hand, or the projector has a bug: --repair; what a repair does not cure is a bug
  aggregate     counters were changed by hand: --repair counts them again
  not repaired  what differs again after a repair is not cured by another: see its reason
`,
		},
		"all repaired": {
			reconcile.Report{
				ID: "r3", State: "ended", Verdict: reconcile.Drift, StartedAt: started, EndedAt: &ended, Generation: 1,
				Request: reconcile.Request{Repair: true, OrderID: "a"}, Barrier: eventstore.At64(9),
				Compared: reconcile.Compared{Events: 3, Streams: 1, Documents: 1, Again: 1, Complete: true},
				Counts:   map[reconcile.Class]int64{reconcile.Stale: 1}, Repaired: 1,
				Findings: []reconcile.Finding{{Class: reconcile.Stale, Entity: "order", ID: "a", Revision: at(2), Kept: at(1), Outcome: "repaired"}},
			}, `
drift: 1 difference found, all repaired

run       r3, 2026-03-01 09:30:00 UTC, took 1.5s, with --repair, only order a, generation 1 of the views
compared  the log up to position 9: 3 events of 1 order
          the views: 1 order document, 0 customers, 0 figures
          1 order that changed or differed at the first look, a second time
          complete: every event of the order was read, its revisions are contiguous, all that is kept of it was compared

STALE, 1: the views stand at an earlier revision, although they had time
  order a, revision 1 in the views, 2 in the log: repaired

What to do next; more in docs/operating.md:
  run it again: clean says that the repair held; then look for the cause, since nothing should differ by itself
`,
		},
		"several stores": {
			reconcile.Report{
				ID: "r6", State: "ended", Verdict: reconcile.Unknown, StartedAt: started, EndedAt: &ended, Generation: 3,
				Request: reconcile.Request{Repair: true}, Barrier: eventstore.At64(9),
				Compared: reconcile.Compared{Events: 3, Streams: 1, Documents: 3, Figures: 7},
				Stores: []reconcile.StoreReport{
					{Store: "sqlite", Generation: 3, Verdict: reconcile.Clean, Compared: reconcile.Compared{Documents: 1, Customers: 1, Figures: 7, Complete: true}},
					{Store: "elasticsearch", Generation: 3, Verdict: reconcile.Drift, Compared: reconcile.Compared{Documents: 2, Complete: true}, Counts: map[reconcile.Class]int64{reconcile.Orphan: 1}, Repaired: 1},
					{Store: "redis", Verdict: reconcile.Unknown},
				},
				Counts: map[reconcile.Class]int64{reconcile.Orphan: 1}, Repaired: 1,
				Findings: []reconcile.Finding{{Class: reconcile.Orphan, Store: "elasticsearch", Entity: "order", ID: "a", Revision: at(-1), Kept: at(1), Outcome: "repaired"}},
				Reasons:  []string{"redis: the store could not be asked"},
			}, `
could not tell: not everything could be compared; 1 difference found, all repaired

run       r6, 2026-03-01 09:30:00 UTC, took 1.5s, with --repair, generation 3 of the views
compared  the log up to position 9: 3 events of 1 order
          sqlite: 1 order document, 1 customer, 7 figures
          elasticsearch: 2 order documents, 1 difference, 1 repaired
          redis: 0 order documents, NOT complete
          NOT complete
because   redis: the store could not be asked

ORPHAN, 1: the views have them, the log has not
  elasticsearch: order a, revision 1 in the views: repaired

What to do next; more in docs/operating.md:
  run it again: clean says that the repair held; then look for the cause, since nothing should differ by itself
`,
		},
		"could not tell": {
			reconcile.Report{
				ID: "r4", State: "ended", Verdict: reconcile.Unknown, StartedAt: started, EndedAt: &ended, Generation: 1,
				Barrier: eventstore.At64(9), Reasons: []string{"the views did not reach position 9"},
			}, `
could not tell: not everything could be compared

run       r4, 2026-03-01 09:30:00 UTC, took 1.5s, generation 1 of the views
compared  the log up to position 9: 0 events of 0 orders
          the views: 0 order documents, 0 customers, 0 figures
          NOT complete
because   the views did not reach position 9

What to do next; more in docs/operating.md:
  not known  see to the reasons above, then run it again; until then take nothing for right
`,
		},
		"interrupted": {
			reconcile.Report{
				ID: "r6", State: "interrupted", StartedAt: started, Generation: 1, Barrier: eventstore.At64(9), Request: reconcile.Request{Repair: true},
				Counts: map[reconcile.Class]int64{reconcile.Stale: 2, reconcile.Structure: 1}, Repaired: 1,
				Findings: []reconcile.Finding{
					{Class: reconcile.Stale, Entity: "order", ID: "a", Revision: at(2), Kept: at(1), Outcome: "repaired"},
					{Class: reconcile.Stale, Entity: "order", ID: "b", Revision: at(2), Kept: at(1), Outcome: "tried"},
					{Class: reconcile.Structure, Entity: "view", ID: "orders, generation 1", Detail: "ids: twice"},
				},
			}, `
interrupted: its process ended before the run did, so it is not known whether the views are right; 1 difference known to be repaired

run       r6, 2026-03-01 09:30:00 UTC, with --repair, generation 1 of the views
compared  the log up to position 9: 0 events of 0 orders
          the views: 0 order documents, 0 customers, 0 figures
          NOT complete

STALE, 2: the views stand at an earlier revision, although they had time
  order a, revision 1 in the views, 2 in the log: repaired
  order b, revision 1 in the views, 2 in the log: perhaps repaired, its run did not get to the end of it

STRUCTURE, 1: the view file's own indexes, full text or lanes disagree with its rows or with the log
  view orders, generation 1, ids: twice

What to do next; more in docs/operating.md:
  stale      an older row or view file was put back: --repair
  structure  no repair cures it, and it may hide other differences: docket projections rebuild orders, then look at the disk
`,
		},
		"running": {
			reconcile.Report{
				ID: "r5", State: "running", StartedAt: started, Generation: 1, Barrier: eventstore.At64(9),
				Progress: reconcile.Progress{Phase: "comparing", Done: 1200, Total: 99441},
			}, `
running: comparing 1,200 of 99,441

run       r5, 2026-03-01 09:30:00 UTC, for 1m30s, generation 1 of the views
compared  the log up to position 9: 0 events of 0 orders
          the views: 0 order documents, 0 customers, 0 figures
          NOT complete
`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := writeReport(&b, c.report, started.Add(90*time.Second)); err != nil {
				t.Fatal(err)
			}
			if got, want := b.String(), c.want[1:]; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }

// Long lists are cut, and say so.
func TestLongReportIsCut(t *testing.T) {
	r := reconcile.Report{State: "ended", Verdict: reconcile.Drift, Counts: map[reconcile.Class]int64{reconcile.Content: 5000}, Unlisted: 4970}
	for range 30 {
		f := reconcile.Finding{Class: reconcile.Content, Entity: "order", ID: "x"}
		for range 12 {
			f.Fields = append(f.Fields, query.FieldChange{Path: "/a", After: raw("1")})
		}
		r.Findings = append(r.Findings, f)
	}
	var b strings.Builder
	if err := writeReport(&b, r, time.Time{}); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if got := strings.Count(text, "\n  order x"); got != shownFindings {
		t.Errorf("%d findings are shown", got)
	}
	for _, want := range []string{"and 6 fields more, see --json", "and 4,990 more, see --json; 4,970 were counted only"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said:\n%s", want, text)
		}
	}
}
