package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/projections"
)

// aDifference has something of everything.
func aDifference() httpapi.GenerationsAnswer {
	at := func(n uint64) eventstore.Position { return eventstore.Position{Commit: n, Prepare: n} }
	store := projections.StoreDifference{
		Store: "sqlite", Equal: 99012, Changed: 429, OnlyOld: 2, OnlyNew: 1,
		Fields: []projections.FieldDifference{
			{Path: "/lines/*/quantity", Orders: 1, Samples: []projections.Changed{{
				OrderID: "o-9", Revision: 2, Path: "/lines/L1/quantity", Before: json.RawMessage(`3`),
			}}},
			{Path: "/totals/discount", Orders: 428, Samples: []projections.Changed{
				{
					OrderID: "o-17", Revision: 4, Path: "/totals/discount",
					Before: json.RawMessage(`{"amount":"0.00","currency":"EUR"}`), After: json.RawMessage(`{"amount":"1.50","currency":"EUR"}`),
					Events: []projections.EventRef{{Revision: 0, Position: at(1204), Type: "OrderPlaced"}},
				},
				{OrderID: "o-18", Revision: 1, Path: "/totals/discount", After: json.RawMessage(`"` + strings.Repeat("long\\u001b[31m", 20) + `"`)},
			}},
		},
		Figures:        []projections.FigureDifference{{Figure: "sums EUR status placed", Names: []string{"orders", "grand"}, Before: []int64{1000, 250}, After: []int64{1000, 100}}},
		FiguresChanged: 7,
		Missing:        []string{"o-1", "o-2"}, Extra: []string{"o-3"},
		ParkedNew: []projections.Parked{{OrderID: "o-4", Revision: 3, Position: at(77), Reason: "no such line\nL9"}},
	}
	other := store
	other.Store = "redis"
	return httpapi.GenerationsAnswer{Difference: projections.Difference{
		From: 3, To: 4, Versions: [2]int{1, 2}, At: at(158214), Made: time.Date(2026, 11, 21, 20, 40, 3, 0, time.UTC),
		Stores: []projections.StoreDifference{store, other, {Store: "elasticsearch", Equal: 99441}},
	}}
}

const theDifference = `generation 3 -> 4 (version 1 -> 2), everything up to position 158214, compared 2026-11-21 20:40:03 UTC

STORE          SAME    CHANGED  ONLY IN 3  ONLY IN 4  FIGURES CHANGED  PARKED ONLY IN 4
sqlite         99,012  429      2          1          7                1
redis          99,012  429      2          1          7                1
elasticsearch  99,441  0        0          0          0                0

In sqlite and redis:

/totals/discount differs in 428 orders
  o-17, revision 4  0.00 EUR -> 1.50 EUR                                        OrderPlaced (event 0, position 1204)
  o-18, revision 1  (none) -> long�[31mlong�[31mlong�[31mlong�[31mlong�[31mlo…

/lines/*/quantity differs in 1 order
  o-9, revision 2, /lines/L1/quantity  3 -> (none)

2 orders are only in generation 3: o-1, o-2

1 order is only in generation 4: o-3

7 figures differ
  sums EUR status placed  grand 250 -> 100
  and 6 more

parked only in generation 4: 1 order
  o-4  event 3, position 77  no such line L9
`

func TestDifferenceAsAPage(t *testing.T) {
	t.Parallel()
	var page strings.Builder
	if err := writeDifference(&page, aDifference()); err != nil {
		t.Fatal(err)
	}
	if page.String() != theDifference {
		t.Errorf("got:\n%s\nwant:\n%s", &page, theDifference)
	}
	page.Reset()
	same := aDifference()
	same.Same, same.Stores, same.Versions = true, same.Stores[2:], [2]int{2, 2}
	if err := writeDifference(&page, same); err != nil {
		t.Fatal(err)
	}
	if want := `generation 3 -> 4, everything up to position 158214, compared 2026-11-21 20:40:03 UTC

STORE          SAME
elasticsearch  99,441

nothing differs: no document, no figure, nothing parked
`; page.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &page, want)
	}
}

// TestDifferenceIsReadBack: what HTTP answers is what the page is made of.
func TestDifferenceIsReadBack(t *testing.T) {
	t.Parallel()
	sent, err := json.Marshal(aDifference())
	if err != nil {
		t.Fatal(err)
	}
	var got httpapi.GenerationsAnswer
	if err := json.Unmarshal(sent, &got); err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	if err := writeDifference(&page, got); err != nil || page.String() != theDifference {
		t.Errorf("%v, got:\n%s", err, &page)
	}
}

func TestRebuildInWords(t *testing.T) {
	t.Parallel()
	position := func(n uint64) eventstore.Position { return eventstore.Position{Commit: n, Prepare: n} }
	seen := func(phase projections.Phase, p *progressSeen) rebuildSeen {
		r := rebuildSeen{Progress: p}
		r.Generation, r.Phase = 4, phase
		return r
	}
	reading := &progressSeen{projections.Progress{Events: 512334, Position: position(430), Head: position(1000)}, 120400.4, 12300}
	folding := &progressSeen{Progress: projections.Progress{Events: 600000, Orders: 43000}}
	failed := seen(projections.PhaseFailed, nil)
	failed.Failure = &projections.Failure{Message: "it cannot be folded", Store: "redis", OrderID: "o-1", Revision: 3, Position: position(17), Type: "OrderNoteAdded"}
	for want, r := range map[string]rebuildSeen{
		"generation 4: reading the log, 512,334 events (43 %), 120,400 events/s, 12s left": seen(projections.PhaseReading, reading),
		"generation 4: reading the log":                    seen(projections.PhaseReading, nil),
		"generation 4: making documents, 43,000 orders":    seen(projections.PhaseFolding, folding),
		"generation 4: applying what came meanwhile":       seen(projections.PhaseFollowing, folding),
		"generation 4: comparing it with what is in force": seen(projections.PhaseComparing, nil),
		"generation 4: ready, waits for a switch":          seen(projections.PhaseReady, nil),
		"generation 4: failed: redis: it cannot be folded; order o-1, event 3, OrderNoteAdded, at position 17: see docket order history o-1": failed,
	} {
		if got := rebuildWords(r); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestRebuildLine: elsewhere than on a terminal there is a line per phase.
func TestRebuildLine(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	line := newRebuildLine(&said)
	for range 3 {
		for _, phase := range []projections.Phase{projections.PhaseFollowing, projections.PhaseFollowing, projections.PhaseComparing} {
			var r rebuildSeen
			r.Generation, r.Phase = 4, phase
			line.show(r)
		}
	}
	line.end()
	if lines := strings.Count(said.String(), "\n"); lines != 6 || strings.ContainsAny(said.String(), "\r\x1b") {
		t.Errorf("%d lines: %q", lines, &said)
	}
}
