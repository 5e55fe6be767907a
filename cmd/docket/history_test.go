package main

import (
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/query"
)

func TestHistory(t *testing.T) {
	day := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	long := time.Date(2010, 12, 1, 8, 26, 0, 0, time.UTC)
	h := history{
		HistoryAnswer: httpapi.HistoryAnswer{ID: "a", Events: []audit.Entry{
			{Revision: 0, Position: eventstore.At64(7), Summary: "placed: 1 line, 7.50 EUR", RecordedAt: day, At: long, Actor: "shop", Command: "place", CommandID: "c1"},
			{Revision: 1, Position: eventstore.At64(9), Summary: "cancelled - changed\ther\x1b mind", RecordedAt: day.Add(time.Minute), At: day.Add(time.Minute + 300*time.Millisecond), Actor: "ann", Command: "cancel", CommandID: "c2", Reason: "changed\ther\x1b mind", Correlation: "k"},
		}},
		Refusals: []audit.Refused{
			{Revision: 1, Command: "confirm", Code: "order-cancelled", Reason: "the order is cancelled", Actor: "bob", RecordedAt: day.Add(2 * time.Minute), Unrecorded: 2},
			{Revision: -1, Command: "cancel", Code: "unknown-order", Reason: "no such order", Actor: "bob", RecordedAt: day.Add(-time.Minute)},
		},
	}
	var narrow, wide strings.Builder
	if err := writeHistory(&narrow, h, false); err != nil {
		t.Fatal(err)
	}
	want := `
order a: 2 events, 2 refused commands; times are UTC

REVISION  RECORDED             HAPPENED             WHO   WHAT                      REASON
-         2026-03-01 09:29:00                       bob   refused: cancel           no such order (unknown-order)
0         2026-03-01 09:30:00  2010-12-01 08:26:00  shop  placed: 1 line, 7.50 EUR
1         2026-03-01 09:31:00                       ann   cancelled                 changed her� mind
-         2026-03-01 09:32:00                       bob   refused: confirm          the order is cancelled (order-cancelled); 2 refusals before it came too fast to be recorded
`
	if got := narrow.String(); got != want[1:] {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := writeHistory(&wide, history{HistoryAnswer: h.HistoryAnswer}, true); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Split(wide.String(), "\n")[2], "REASON             POSITION  COMMAND    CORRELATION"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want ... %q", got, want)
	}
}

func TestDiff(t *testing.T) {
	var b strings.Builder
	changes := []query.FieldChange{
		{Path: "/revision", Before: raw(`0`), After: raw(`2`)},
		{Path: "/status", Before: raw(`"placed"`), After: raw(`"confirmed"`)},
		{Path: "/lines/1/quantity", Before: raw(`2`), After: raw(`1`)},
		{Path: "/cancelledLines/1", After: raw(`{"lineId":"1","sku":"MUG","quantity":1,"reason":"","unitPrice":{"amount":"7.50","currency":"EUR"}}`)},
		{Path: "/deliveredAt", Before: raw(`"2018-01-31T12:00:00Z"`)},
	}
	now := httpapi.PointAnswer{Point: "now", Revision: 2}
	if err := writeDiff(&b, httpapi.DiffAnswer{ID: "a", From: httpapi.PointAnswer{Point: "0"}, To: now, Changes: changes}); err != nil {
		t.Fatal(err)
	}
	if err := writeDiff(&b, httpapi.DiffAnswer{ID: "a", From: now, To: now}); err != nil {
		t.Fatal(err)
	}
	want := `
order a, revision 0 to now (revision 2): 4 fields

~ /status            placed -> confirmed
~ /lines/1/quantity  2 -> 1
+ /cancelledLines/1  lineId 1, sku MUG, quantity 1, reason (none), unitPrice 7.50 EUR
- /deliveredAt       2018-01-31T12:00:00Z
order a, now (revision 2) to now (revision 2): no difference
`
	if got := b.String(); got != want[1:] {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhy(t *testing.T) {
	at := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	var b strings.Builder
	err := writeWhy(&b, []audit.Origin{
		{Path: "/status", Value: raw(`"placed"`), Summary: "placed", Command: "place", Actor: "shop", At: at},
		{Path: "/notes/1/text", Value: raw(`"` + strings.Repeat("é", 80) + `"`), Revision: 3, Summary: "note added", Command: "addNote", At: at},
	})
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("é", longestValue-1) + "…"
	blank := strings.Repeat(" ", longestValue)
	want := `
FIELD          VALUE` + blank[5:] + `  SET BY      REVISION  AT                   WHO   COMMAND
/status        placed` + blank[6:] + `  placed      0         2026-03-01 09:30:00  shop  place
/notes/1/text  ` + value + `  note added  3         2026-03-01 09:30:00        addNote
`
	if got := b.String(); got != want[1:] {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A problem is told once.
func TestProblemsInWords(t *testing.T) {
	at := func(pointer string) *string { return &pointer }
	for want, p := range map[string]httpapi.Problem{
		"Wrong: asOf: is empty (bad)": {
			Title: "Wrong", Detail: "asOf: is empty", Code: "bad", Errors: []httpapi.FieldError{{Parameter: "asOf", Detail: "is empty"}},
		},
		"Wrong: no such line (bad); at /lines/0": {
			Title: "Wrong", Detail: "no such line", Code: "bad", Errors: []httpapi.FieldError{{Pointer: at("/lines/0"), Detail: "no such line"}},
		},
		"Wrong: two things (bad); /a: is missing; /b: is empty": {
			Title: "Wrong", Detail: "two things", Code: "bad",
			Errors: []httpapi.FieldError{{Pointer: at("/a"), Detail: "is missing"}, {Pointer: at("/b"), Detail: "is empty"}},
		},
		"Gone (gone)": {Title: "Gone", Code: "gone"},
	} {
		if got := (&problemError{p}).Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestSortWithAMinus(t *testing.T) {
	for given, want := range map[string]string{
		"order list --sort -total --currency GBP": "order list --sort=-total --currency GBP",
		"order list --sort total":                 "order list --sort total",
		"order list --sort --limit 3":             "order list --sort --limit 3",
		"order list --sort":                       "order list --sort",
	} {
		if got := strings.Join(joinSort(strings.Fields(given)), " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
