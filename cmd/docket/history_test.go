package main

import (
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

func TestHistory(t *testing.T) {
	day := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	long := time.Date(2010, 12, 1, 8, 26, 0, 0, time.UTC)
	h := history{
		HistoryAnswer: httpapi.HistoryAnswer{ID: "a", Events: []audit.Entry{
			{Revision: 0, Position: eventstore.At64(7), Summary: "placed: 1 line, 7.50 EUR", RecordedAt: day, At: long, Actor: "shop", Command: "place", CommandID: "c1"},
			{Revision: 1, Position: eventstore.At64(9), Summary: "cancelled - changed her mind", RecordedAt: day.Add(time.Minute), At: day.Add(time.Minute + 300*time.Millisecond), Actor: "ann", Command: "cancel", CommandID: "c2", Reason: "changed\ther\x1b mind", Correlation: "k"},
		}},
		Refusals: []audit.Refused{
			{Revision: 1, Command: "confirm", Target: "x7", Code: "order-cancelled", Reason: "the order is cancelled", Actor: "bob", RecordedAt: day.Add(2 * time.Minute), Unrecorded: 2, UnrecordedSince: day},
			{Revision: -1, Command: "cancel", Code: "unknown-order", Reason: "no such order", Actor: "bob", RecordedAt: day.Add(-time.Minute)},
		},
	}
	var narrow, wide strings.Builder
	if err := writeHistory(&narrow, h, false); err != nil {
		t.Fatal(err)
	}
	want := `
order a: 2 events, 2 refused commands; times are UTC; in brackets the revision at which one was refused

REVISION  RECORDED             HAPPENED             WHO   WHAT                      REASON
-         2026-03-01 09:29:00                       bob   refused: cancel           no such order (unknown-order)
0         2026-03-01 09:30:00  2010-12-01 08:26:00  shop  placed: 1 line, 7.50 EUR
1         2026-03-01 09:31:00                       ann   cancelled                 changed her� mind
(1)       2026-03-01 09:32:00                       bob   refused: confirm x7       the order is cancelled (order-cancelled); not recorded: 2 earlier refusals of this caller, on any order, from 2026-03-01 09:30:00 on
`
	if got := narrow.String(); got != want[1:] {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	h.RefusalsTotal, h.RefusalsIncomplete = 1200, true
	var some strings.Builder
	if err := writeHistory(&some, h, false); err != nil {
		t.Fatal(err)
	}
	if got, want := some.String(), "order a: 2 events, the newest 2 of 1,200 refused commands (others came too fast to be recorded, or may have); times"; !strings.HasPrefix(got, want) {
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
	err := writeWhy(&b, httpapi.WhyAnswer{ID: "a", Revision: 3, Fields: []audit.Origin{
		{Path: "/status", Value: raw(`"placed"`), Summary: "placed", Command: "place", Actor: "shop", At: at.Add(-time.Hour), RecordedAt: at},
		{Path: "/notes/1/text", Value: raw(`"` + strings.Repeat("é", 80) + `"`), Revision: 3, Summary: "note added", Command: "addNote", At: at, RecordedAt: at},
	}})
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("é", longestValue-1) + "…"
	blank := strings.Repeat(" ", longestValue)
	want := `
order a at revision 3: 2 fields; times are UTC

FIELD          VALUE` + blank[5:] + `  SET BY      REVISION  RECORDED             HAPPENED             WHO   COMMAND
/status        placed` + blank[6:] + `  placed      0         2026-03-01 09:30:00  2026-03-01 08:30:00  shop  place
/notes/1/text  ` + value + `  note added  3         2026-03-01 09:30:00                             addNote
`
	if got := b.String(); got != want[1:] {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A reason is told once, however long it is: shortened on a page, whole in a
// wide one.
func TestLongReasonIsToldOnce(t *testing.T) {
	reason := "it came  with a crack, " + strings.Repeat("and again, ", 10) + "so he sent it back"
	h := history{HistoryAnswer: httpapi.HistoryAnswer{ID: "a", Events: []audit.Entry{
		{Summary: "Order cancelled - " + strings.Join(strings.Fields(reason), " ")[:79] + "…", Reason: reason},
	}}}
	for wide, want := range map[bool]string{false: "and again, and…", true: "so he sent it back"} {
		var b strings.Builder
		if err := writeHistory(&b, h, wide); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); strings.Count(got, "with a crack") != 1 || !strings.Contains(got, want) {
			t.Errorf("wide %t:\n%s", wide, got)
		}
	}
}

// What takes two places of a line does not push the columns apart.
func TestColumnsOfWideCharacters(t *testing.T) {
	var b strings.Builder
	o := view.Order{Lines: []view.Line{{ID: "1", SKU: "A", Title: "茶碗", Quantity: 2}, {ID: "2", SKU: "B", Title: "cup\tand\x1b[31m pot", Quantity: 3}}}
	if err := writeParts(&b, o); err != nil {
		t.Fatal(err)
	}
	want := `
LINE  SKU  TITLE             QUANTITY  PRICE  TOTAL  SHIPPED  DELIVERED  RETURNED
1     A    茶碗              2         0      0      0        0          0
2     B    cup and�[31m pot  3         0      0      0        0          0
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := shortened(strings.Repeat("茶", 40), 21); shownWidth(got) > 21 || !strings.HasSuffix(got, "…") {
		t.Errorf("%q takes %d places", got, shownWidth(got))
	}
}

// A problem is told once.
func TestProblemsInWords(t *testing.T) {
	at := func(pointer string) *string { return &pointer }
	for want, p := range map[string]httpapi.Problem{
		"asOf: is empty (bad)": {
			Title: "Wrong", Detail: "asOf: is empty", Code: "bad", Errors: []httpapi.FieldError{{Parameter: "asOf", Detail: "is empty"}},
		},
		"no such line (bad); at /lines/0": {
			Title: "Wrong", Detail: "no such line", Code: "bad", Errors: []httpapi.FieldError{{Pointer: at("/lines/0"), Detail: "no such line"}},
		},
		"two things (bad); /a: is missing; /b: is empty": {
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

func TestValueWithAMinus(t *testing.T) {
	for given, want := range map[string]string{
		"order list --sort -total --currency GBP": "order list --sort=-total --currency GBP",
		"order list --sort total":                 "order list --sort total",
		"order list --sort --limit 3":             "order list --sort --limit 3",
		"order list --sort":                       "order list --sort",
		"order get a --at-revision -1 --json":     "order get a --at-revision=-1 --json",
		"order get a --at-revision=0 -1":          "order get a --at-revision=0 -1",
		"order list --words -x":                   "order list --words -x",
		"order get -- -1":                         "order get -- -1",
		"order get --json -- --sort -1":           "order get --json -- --sort -1",
	} {
		if got := strings.Join(joinMinus(strings.Fields(given)), " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// What the command line itself can see to be wrong is wrong usage, and says
// so; most of all an empty value, which would ask another question.
func TestWrongUsage(t *testing.T) {
	const noon = "2018-01-31T12:00:00Z"
	for _, c := range []struct {
		want string
		args []string
	}{
		{"--as-of: it is empty", []string{"get", "x", "--as-of", ""}},
		{"--as-of: it is empty", []string{"get", "x", "--as-of="}},
		{"--at-revision: it is empty", []string{"history", "x", "--at-revision", ""}},
		{"--at-position: it is empty", []string{"why", "x", "--at-position", ""}},
		{"--effective-at: it is empty", []string{"get", "x", "--effective-at", "", "--as-of", noon}},
		{"it is empty", []string{"diff", "x", "0", ""}},
		{"it is empty", []string{"diff", "x", ""}},
		{"it is empty", []string{"why", "x", ""}},
		{"--placed-from: it is empty", []string{"list", "--placed-from", ""}},
		{"--cursor: it is empty", []string{"list", "--cursor", ""}},
		{"--customer: it is empty", []string{"list", "--customer", ""}},
		{"--tag: it is empty", []string{"list", "--tag", "a,b", "--tag", ""}},
		{`"tomorrow": want a time such as`, []string{"get", "x", "--as-of", "tomorrow"}},
		{`"-1": want the revision`, []string{"get", "x", "--at-revision=-1"}},
		{`"-1": want the revision`, []string{"get", "x", "--at-revision", "-1"}},
		{`"soon": want a position`, []string{"get", "x", "--at-position", "soon"}},
		{"give one of them", []string{"get", "x", "--at-revision", "1", "--at-position", "2"}},
		{"give one of them", []string{"history", "x", "--at-revision", "1", "--as-of", noon}},
		{`"0,1": want a revision such as 17`, []string{"diff", "x", "0,1"}},
		{`"" is not an order's id`, []string{"history", ""}},
		{`"../../x" is not an order's id`, []string{"history", "../../x"}},
		{`"" is not an order's id`, []string{"get", ""}},
	} {
		var stdout, stderr strings.Builder
		status := run(t.Context(), append([]string{"order", "--data", t.TempDir()}, c.args...), &stdout, &stderr)
		if got := stderr.String(); status != exitUsage || !strings.Contains(got, c.want) || strings.Contains(got, "perhaps try") || stdout.Len() > 0 {
			t.Errorf("%q: status %d, %s%s", c.args, status, got, stdout.String())
		}
	}
	var stderr strings.Builder
	if status := run(t.Context(), []string{"reconcile", "run", "--repair", "--order", "", "--data", t.TempDir()}, &stderr, &stderr); status != exitUsage || !strings.Contains(stderr.String(), "not an order's id") {
		t.Errorf("status %d: %s", status, stderr.String())
	}
}

// A flag of several values is given once, with commas, or repeatedly.
func TestSeveralValues(t *testing.T) {
	var c config
	if _, err := kong.Must(&c).Parse([]string{"order", "list", "--tag", "a,b", "-q", "x", "--tag", "c"}); err != nil {
		t.Fatal(err)
	}
	if got := c.Order.List.parameters().Encode(); got != "q=x&tag=a&tag=b&tag=c" {
		t.Error(got)
	}
}

// More may be found than was expected.
func TestProgressPastItsTotal(t *testing.T) {
	var b strings.Builder
	newProgress(&b).show("comparing", 301, 300)
	if got := b.String(); got != "comparing: 301 of 301\n" {
		t.Error(got)
	}
}

func TestPointsInWords(t *testing.T) {
	for want, c := range map[string]cutFlags{
		"":                        {},
		"as it was at revision 2": {AtRevision: "2"},
		"as it was at position 9": {AtPosition: "9"},
		"as it was known at T":    {AsOf: "T"},
		"as it was true at E, by what is known now":            {EffectiveAt: "E"},
		"as it was true at E, by what was known at revision 2": {EffectiveAt: "E", AtRevision: "2"},
		"as it was true at E, by what was known at T":          {EffectiveAt: "E", AsOf: "T"},
	} {
		if got := c.words(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
