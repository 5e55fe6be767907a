package httpapi

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/query"
)

// lived makes an order of four events, and answers when each was recorded and at
// which position: placed, tagged, confirmed, tagged again.
func (r *rig) lived(id string) []audit.Entry {
	r.t.Helper()
	r.placed(id)
	path := "/v1/orders/" + id
	r.send("PUT", path+"/tags", `{"tags":["gift"]}`, "X-Correlation-Id: call-7").is(200)
	r.post(path+"/confirm", `{}`).is(200)
	r.send("PUT", path+"/tags", `{"tags":["web"]}`).is(200)
	history := decoded[HistoryAnswer](r.get(path + "/events").is(200))
	if len(history.Events) != 4 {
		r.t.Fatalf("history %+v", history)
	}
	return history.Events
}

func stamp(t time.Time) string { return url.QueryEscape(t.Format(time.RFC3339Nano)) }

func TestOrderAsItWas(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	events := r.lived("o-1")
	confirmed := events[2]
	for _, question := range []string{
		"atRevision=2",
		"atPosition=" + confirmed.Position.String(),
		"asOf=" + stamp(confirmed.RecordedAt),
		"asOf=" + url.QueryEscape(confirmed.RecordedAt.In(time.FixedZone("", 2*3600)).Format(time.RFC3339Nano)),
		"effectiveAt=" + stamp(confirmed.EffectiveAt),
		"atRevision=2&effectiveAt=" + stamp(events[3].EffectiveAt),
	} {
		a := r.get("/v1/orders/o-1?"+question).is(200).
			has("Read-Source", "log").has("Read-Revision", "2").has("Read-Position", confirmed.Position.String()).
			has("ETag", "").has("Cache-Control", "no-store")
		doc := decoded[OrderAnswer](a)
		if doc.Status != "confirmed" || fmt.Sprint(doc.Tags) != "[gift]" || doc.Revision != 2 || strings.Contains(string(a.body), "null") {
			t.Errorf("%s: %s", question, a.body)
		}
		// Nothing there is to compare with a view.
		r.get("/v1/orders/o-1?"+question, "If-None-Match: *").is(200)
	}
	// What is recorded later changes nothing.
	before := r.get("/v1/orders/o-1?atRevision=1").is(200)
	r.post("/v1/orders/o-1/cancel", `{}`).is(200)
	if after := r.get("/v1/orders/o-1?atRevision=1").is(200); string(after.body) != string(before.body) {
		t.Errorf("the past became\n%s, was\n%s", after.body, before.body)
	}
	r.send("HEAD", "/v1/orders/o-1?atRevision=1", "").is(200).has("Read-Revision", "1")
}

// TestBadCuts asks every route that takes a cut what cannot be answered.
func TestBadCuts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	events := r.lived("o-1")
	head := events[3].Position
	future := stamp(time.Now().Add(24 * time.Hour))
	past := "2001-01-01T00:00:00Z"
	for _, c := range []struct {
		question, code, parameter string
		status                    int
		detail                    string
	}{
		{"asOf=" + past, "before-the-order", "asOf", 404, "recorded at"},
		{"effectiveAt=" + past, "before-the-order", "effectiveAt", 404, "begins at"},
		{"atPosition=0", "before-the-order", "atPosition", 404, "position"},
		{"asOf=" + future, "cut-in-future", "asOf", 400, "it is"},
		{"effectiveAt=" + future, "cut-in-future", "effectiveAt", 400, "it is"},
		{"atRevision=4", "unknown-revision", "atRevision", 404, "asked for 4, the last is 3"},
		{"atRevision=9223372036854775806", "unknown-revision", "atRevision", 404, "the last is 3"},
		{"atPosition=" + strconv.FormatUint(head.Commit+1000, 10), "unknown-position", "atPosition", 404, head.String()},
		{"atPosition=18446744073709551614", "unknown-position", "atPosition", 404, ""},
		{"atRevision=1&asOf=" + past, "several-cuts", "asOf", 400, "at most one"},
		{"atRevision=1&atPosition=1", "several-cuts", "atPosition", 400, "given are atRevision and atPosition"},
		{"atRevision=1&atPosition=1&asOf=" + past + "&effectiveAt=" + past, "several-cuts", "asOf", 400, ""},

		{"asOf=", "invalid-parameter", "asOf", 400, "is empty"},
		{"asOf=yesterday", "invalid-parameter", "asOf", 400, "2018-01-31T12:00:00Z"},
		{"asOf=2018-01-31", "invalid-parameter", "asOf", 400, "give an instant: 2018-01-31T23:59:59Z"},
		{"asOf=2016-12-31T23:59:60Z", "invalid-parameter", "asOf", 400, "leap second"},
		{"asOf=2018-01-31T7:59:00Z", "invalid-parameter", "asOf", 400, "RFC 3339"},
		{"asOf=2001-01-01t00:00:00z", "before-the-order", "asOf", 404, "recorded at"},
		{"asOf=2018-01-31T12:00:00", "invalid-parameter", "asOf", 400, "RFC 3339"},
		{"asOf=2018-02-30T12:00:00Z", "invalid-parameter", "asOf", 400, "RFC 3339"},
		{"asOf=2018-01-31T12:00:00+02:00", "invalid-parameter", "asOf", 400, "%2B"},
		{"asOf=99999-01-31T12:00:00Z", "invalid-parameter", "asOf", 400, "RFC 3339"},
		{"asOf=0001-01-01T00:00:00Z", "invalid-parameter", "asOf", 400, "years 1 to 9999"},
		{"asOf=1517400000", "invalid-parameter", "asOf", 400, "RFC 3339"},
		{"asOf=%00", "invalid-parameter", "asOf", 400, "NUL"},
		{"asOf=%ff", "invalid-parameter", "asOf", 400, "UTF-8"},
		{"asOf=" + past + "&asOf=" + past, "invalid-parameter", "asOf", 400, "once"},
		{"asof=" + past, "invalid-parameter", "asof", 400, "asOf"},
		{"effectiveAt=now", "invalid-parameter", "effectiveAt", 400, "RFC 3339"},
		{"effectiveAt=" + strings.Repeat("2", 2000), "invalid-parameter", "effectiveAt", 400, "longer"},
		{"atRevision=-1", "invalid-parameter", "atRevision", 400, "whole number"},
		{"atRevision=1.0", "invalid-parameter", "atRevision", 400, "whole number"},
		{"atRevision=01", "invalid-parameter", "atRevision", 400, "whole number"},
		{"atRevision=9223372036854775807", "invalid-parameter", "atRevision", 400, "whole number"},
		{"atRevision=99999999999999999999", "invalid-parameter", "atRevision", 400, "whole number"},
		{"atRevision=", "invalid-parameter", "atRevision", 400, "is empty"},
		{"atPosition=-1", "invalid-parameter", "atPosition", 400, "4711"},
		{"atPosition=1/", "invalid-parameter", "atPosition", 400, "4711"},
		{"atPosition=0x10", "invalid-parameter", "atPosition", 400, "4711"},
		{"atPosition=18446744073709551615", "invalid-parameter", "atPosition", 400, "4711"},
		{"atPosition=18446744073709551616", "invalid-parameter", "atPosition", 400, "4711"},
		{"atPosition=", "invalid-parameter", "atPosition", 400, "is empty"},
	} {
		for _, path := range []string{"/v1/orders/o-1", "/v1/orders/o-1/events", "/v1/orders/o-1/why"} {
			p := r.get(path+"?"+c.question).problem(c.status, c.code)
			if c.parameter != "" && (len(p.Errors) != 1 || p.Errors[0].Parameter != c.parameter) || !strings.Contains(p.Detail, c.detail) {
				t.Errorf("%s?%s: %+v", path, c.question, p)
			}
		}
	}
	for _, id := range []string{"nobody", "a%20b", strings.Repeat("x", 65), "%00"} {
		for _, route := range []string{"?atRevision=0", "?asOf=" + past, "?effectiveAt=" + past, "?atPosition=1", "/events", "/why", "/diff?from=0"} {
			r.get("/v1/orders/"+id+route).problem(404, "unknown-order")
		}
	}
	p := r.get("/v1/orders/o-1?atRevision=0&include=actions").problem(400, "invalid-parameter")
	if p.Errors[0].Parameter != "include" || !strings.Contains(p.Detail, "now") {
		t.Errorf("problem %+v", p)
	}
}

// TestThePastTakesTokens: every route that the log answers takes the headers of
// a read, and refuses what it cannot vouch for.
func TestThePastTakesTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.placed("o-1").header.Get("Consistency-Token")
	foreign := query.Token{Log: eventstore.LogIdentity{ID: uuid.New()}, OrderID: "o-1"}.String()
	for _, route := range []string{"?atRevision=0", "/events", "/diff?from=0", "/why", "/refusals"} {
		path := "/v1/orders/o-1" + route
		r.get(path, "Consistency-Token: "+token, "Prefer: wait=1").is(200)
		r.get(path, "Consistency-Token: nonsense").problem(400, "token-invalid")
		r.get(path, "Consistency-Token: "+foreign).problem(409, "token-foreign")
		r.get(path, "Prefer: wait=long").problem(400, "invalid-header")
	}
}

// TestAnswersUnderWrites: an answer about now is of one moment, however fast the
// order changes.
func TestAnswersUnderWrites(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.lived("o-1")[0]
	// A few writes go beside each question: the history stays short.
	writes := make(chan int, 4)
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range writes {
			_, err := r.orders.Handle(context.WithoutCancel(t.Context()), "o-1", order.SetTags{Tags: []string{strconv.Itoa(i)}}, command.Request{Actor: "w"})
			if err != nil {
				t.Error(err)
			}
		}
	})
	defer writer.Wait()
	defer close(writes)
	written := 0
	ask := func(path string) reply {
		for range cap(writes) {
			written++
			writes <- written
		}
		return r.get(path).is(200)
	}
	later := url.QueryEscape(first.EffectiveAt.Add(48 * time.Hour).Format(time.RFC3339Nano))
	r.get("/v1/orders/o-1/why?effectiveAt="+later).problem(400, "cut-in-future")
	for range 15 {
		now := stamp(time.Now())
		for question, forwards := range map[string]bool{
			"from=now&to=0": false, "from=0": true, "from=0&to=effective:" + now: true, "from=effective:" + now + "&to=0": false,
			"from=now&to=now,effective:" + stamp(first.EffectiveAt): false,
		} {
			a := ask("/v1/orders/o-1/diff?" + question)
			body := decoded[DiffAnswer](a)
			i := slices.IndexFunc(body.Changes, func(c query.FieldChange) bool { return c.Path == "/revision" })
			if i < 0 {
				t.Fatalf("%s: %s", question, a.body)
			}
			told, of := body.Changes[i].Before, body.From.Revision
			if forwards {
				told, of = body.Changes[i].After, body.To.Revision
			}
			if string(told) != strconv.FormatInt(of, 10) {
				t.Fatalf("%s: the revision is %d, and in the changes %s", question, of, told)
			}
		}
		for _, question := range []string{"", "&effectiveAt=" + now} {
			why := decoded[WhyAnswer](ask("/v1/orders/o-1/why?field=/revision" + question))
			if string(why.Fields[0].Value) != strconv.FormatInt(why.Revision, 10) {
				t.Fatalf("%s: the revision is %d, and the field %s", question, why.Revision, why.Fields[0].Value)
			}
		}
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.lived("o-1")
	a := r.get("/v1/orders/o-1/events").is(200).has("Read-Revision", "3").has("Link", "")
	body := decoded[HistoryAnswer](a)
	if body.ID != "o-1" || body.Revision != 3 || body.Next != "" {
		t.Errorf("%s", a.body)
	}
	for i, want := range []string{"OrderPlaced", "OrderTagsSet", "OrderConfirmed", "OrderTagsSet"} {
		e := body.Events[i]
		if e.Type != want || int(e.Revision) != i || e.Summary == "" || e.Actor != "local" || e.RecordedAt.IsZero() ||
			e.Correlation == "" || e.TraceParent == "" || len(e.Data) < 10 || e.CommandID == "" {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if e := body.Events[1]; e.Command != "set-tags" || e.Correlation != "call-7" || !strings.Contains(string(e.Data), `"gift"`) {
		t.Errorf("tags: %+v", e)
	}
	if cut := decoded[HistoryAnswer](r.get("/v1/orders/o-1/events?atRevision=1").is(200)); cut.Revision != 1 || len(cut.Events) != 2 {
		t.Errorf("at 1: %+v", cut)
	}

	// Page by page it is the same, forwards along the links.
	for _, question := range []string{"limit=1", "limit=3", "limit=3&atRevision=3", "limit=2&effectiveAt=" + stamp(body.Events[3].EffectiveAt)} {
		var paged []audit.Entry
		pages := 0
		for path := "/v1/orders/o-1/events?" + question; path != ""; pages++ {
			a := r.get(path).is(200)
			page := decoded[HistoryAnswer](a)
			if len(page.Events) == 0 || len(page.Events) > 3 || page.Revision != 3 || (page.Next == "") != (a.header.Get("Link") == "") {
				t.Fatalf("%s: %s", path, a.body)
			}
			paged = append(paged, page.Events...)
			path = strings.TrimSuffix(strings.TrimPrefix(a.header.Get("Link"), "<"), `>; rel="next"`)
		}
		if fmt.Sprint(paged) != fmt.Sprint(body.Events) || pages < 2 {
			t.Errorf("%s: %d pages of %d events", question, pages, len(paged))
		}
	}
	if end := decoded[HistoryAnswer](r.get("/v1/orders/o-1/events?after=3").is(200)); len(end.Events) != 0 || end.Events == nil || end.Revision != 3 {
		t.Errorf("after the end: %+v", end)
	}
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "after=-1", "after=", "after=4", "after=1&atRevision=0", "include=refusals"} {
		r.get("/v1/orders/o-1/events?"+bad).problem(400, "invalid-parameter")
	}
}

// TestALongHistoryIsPaged: more events than a page may have.
func TestALongHistoryIsPaged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	events := make([]eventstore.Event, maxEntries+4)
	for i := range events {
		now := time.Now()
		typ, data, err := codec.Encode(order.TagsSet{Tags: []string{fmt.Sprint(i)}, At: now})
		if err != nil {
			t.Fatal(err)
		}
		meta := codec.EncodeMeta(codec.Meta{CommandID: uuid.New(), Command: "set-tags", Version: codec.Version(typ), RecordedAt: now})
		events[i] = eventstore.Event{ID: uuid.New(), Type: typ, JSON: true, Data: data, Metadata: meta}
	}
	if _, err := r.store.Append(t.Context(), "order-o-1", eventstore.At(0), events); err != nil {
		t.Fatal(err)
	}
	first := decoded[HistoryAnswer](r.get("/v1/orders/o-1/events").is(200))
	if len(first.Events) != maxEntries || first.Next != strconv.Itoa(maxEntries-1) || first.Revision != maxEntries+4 {
		t.Fatalf("%d events, next %s, revision %d", len(first.Events), first.Next, first.Revision)
	}
	second := decoded[HistoryAnswer](r.get("/v1/orders/o-1/events?after=" + first.Next).is(200))
	if len(second.Events) != 5 || second.Next != "" || second.Events[0].Revision != maxEntries {
		t.Errorf("%d events, next %s", len(second.Events), second.Next)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	events := r.lived("o-1")
	changed := func(body DiffAnswer, path string) *query.FieldChange {
		for i := range body.Changes {
			if body.Changes[i].Path == path {
				return &body.Changes[i]
			}
		}
		return nil
	}
	a := r.get("/v1/orders/o-1/diff?from=0").is(200)
	body := decoded[DiffAnswer](a)
	if body.ID != "o-1" || body.From != (PointAnswer{"0", 0}) || body.To != (PointAnswer{"now", 3}) {
		t.Errorf("%s", a.body)
	}
	if c := changed(body, "/status"); c == nil || string(c.Before) != `"placed"` || string(c.After) != `"confirmed"` {
		t.Errorf("%s", a.body)
	}
	if c := changed(body, "/tags"); c != nil {
		t.Errorf("the tags are as they were: %s", a.body)
	}
	position := "position:" + events[2].Position.String()
	for _, question := range []string{
		"from=0&to=2", "from=0&to=" + position, "from=0&to=" + stamp(events[2].RecordedAt), "from=0&to=effective:" + stamp(events[2].EffectiveAt),
		"from=0&to=2,effective:" + stamp(events[3].EffectiveAt), "from=" + stamp(events[0].RecordedAt) + "&to=" + position,
	} {
		a := r.get("/v1/orders/o-1/diff?" + question).is(200)
		body := decoded[DiffAnswer](a)
		if c := changed(body, "/tags"); body.From.Revision != 0 || body.To.Revision != 2 || c == nil || string(c.Before) != `["web"]` || string(c.After) != `["gift"]` {
			t.Errorf("%s: %s", question, a.body)
		}
	}
	back := decoded[DiffAnswer](r.get("/v1/orders/o-1/diff?from=now&to=0").is(200))
	if c := changed(back, "/status"); c == nil || string(c.After) != `"placed"` {
		t.Errorf("backwards %+v", back)
	}
	if same := decoded[DiffAnswer](r.get("/v1/orders/o-1/diff?from=2&to=2").is(200)); same.Changes == nil || len(same.Changes) != 0 {
		t.Errorf("no difference: %+v", same)
	}
}

func TestBadPoints(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.lived("o-1")
	future, past := stamp(time.Now().Add(24*time.Hour)), "2001-01-01T00:00:00Z"
	p := r.get("/v1/orders/o-1/diff").problem(400, "invalid-parameter")
	if len(p.Errors) != 1 || p.Errors[0].Parameter != "from" || !strings.Contains(p.Detail, "position:4711") {
		t.Errorf("problem %+v", p)
	}
	r.get("/v1/orders/o-1/diff?to=0").problem(400, "invalid-parameter")
	for point, want := range map[string]struct {
		status int
		code   string
	}{
		"":                            {400, "invalid-parameter"},
		"-1":                          {400, "invalid-parameter"},
		"007":                         {400, "invalid-parameter"},
		"99999999999999999999":        {400, "invalid-parameter"},
		"yesterday":                   {400, "invalid-parameter"},
		"position:x":                  {400, "invalid-parameter"},
		"position:":                   {400, "invalid-parameter"},
		"2018-01-31":                  {400, "invalid-parameter"},
		"effective:2018-01-31":        {400, "invalid-parameter"},
		"effective:" + past + ",1":    {400, "invalid-parameter"},
		"1,2":                         {400, "invalid-parameter"},
		"%00":                         {400, "invalid-parameter"},
		"2018-01-31T12:00:00+02:00":   {400, "invalid-parameter"},
		"4":                           {404, "unknown-revision"},
		"position:99999999":           {404, "unknown-position"},
		past:                          {404, "before-the-order"},
		"position:0":                  {404, "before-the-order"},
		"effective:" + past:           {404, "before-the-order"},
		"3,effective:" + past:         {404, "before-the-order"},
		future:                        {400, "cut-in-future"},
		"effective:" + future:         {400, "cut-in-future"},
		"0,effective:" + future:       {400, "cut-in-future"},
		"position:1,effective:" + "x": {400, "invalid-parameter"},
	} {
		for _, parameter := range []string{"from", "to"} {
			question := "from=0&to=" + point
			if parameter == "from" {
				question = "from=" + point
			}
			p := r.get("/v1/orders/o-1/diff?"+question).problem(want.status, want.code)
			if len(p.Errors) != 1 || p.Errors[0].Parameter != parameter || p.Detail == "" {
				t.Errorf("%s: %+v", question, p)
			}
		}
	}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.lived("o-1")
	all := decoded[WhyAnswer](r.get("/v1/orders/o-1/why").is(200).has("Read-Revision", "3"))
	if all.ID != "o-1" || all.Revision != 3 || len(all.Fields) < 20 {
		t.Errorf("%+v", all)
	}
	for question, want := range map[string]struct {
		revision int
		value    string
	}{
		"field=/status":              {2, `"confirmed"`},
		"field=/status&atRevision=1": {0, `"placed"`},
		"field=/tags":                {3, `["web"]`},
		"field=/tags&atRevision=2":   {1, `["gift"]`},
		"field=/lines/1/quantity":    {0, `2`},
	} {
		a := r.get("/v1/orders/o-1/why?" + question).is(200)
		body := decoded[WhyAnswer](a)
		if len(body.Fields) != 1 || int(body.Fields[0].Revision) != want.revision || string(body.Fields[0].Value) != want.value ||
			body.Fields[0].Actor != "local" || body.Fields[0].Command == "" {
			t.Errorf("%s: %s", question, a.body)
		}
	}
	if lines := decoded[WhyAnswer](r.get("/v1/orders/o-1/why?field=/lines").is(200)); len(lines.Fields) < 6 {
		t.Errorf("lines: %+v", lines)
	}
	p := r.get("/v1/orders/o-1/why?field=/colour").problem(404, "unknown-field")
	if len(p.Errors) != 1 || p.Errors[0].Parameter != "field" {
		t.Errorf("problem %+v", p)
	}
	for _, hostile := range []string{"status", "/status/", "//", "/", "/lines/%2e%2e", "/" + strings.Repeat("x/", 500), "%25"} {
		r.get("/v1/orders/o-1/why?field="+hostile).problem(404, "unknown-field")
	}
	r.get("/v1/orders/o-1/why?field=").problem(400, "invalid-parameter")
	r.get("/v1/orders/o-1/why?field=%00").problem(400, "invalid-parameter")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	none := decoded[RefusalsAnswer](r.get("/v1/orders/o-1/refusals").is(200))
	if none.Items == nil || len(none.Items) != 0 || none.ID != "o-1" {
		t.Errorf("%+v", none)
	}
	r.get("/v1/orders/o-2/refusals").problem(404, "unknown-order")
	r.get("/v1/orders/a%20b/refusals").problem(404, "unknown-order")

	refused := r.post("/v1/orders/o-1/shipments", `{}`, "Idempotency-Key: k-1", "X-Correlation-Id: call-8").problem(409, "not-confirmed")
	r.send("PUT", "/v1/orders/o-1/tags", `{"tags":["x"]}`, `If-Match: "7"`).problem(412, "precondition-failed")
	r.post("/v1/orders/o-1/shipments?dryRun=true", `{}`).problem(409, "not-confirmed")
	// Not a refusal by a rule: the request was never a command.
	r.post("/v1/orders/o-1/shipments", `{"x":1}`).problem(400, "invalid-body")
	r.post("/v1/orders/o-2/confirm", `{}`).problem(404, "unknown-order")

	found := decoded[RefusalsAnswer](r.get("/v1/orders/o-1/refusals").is(200)).Items
	if len(found) != 2 || found[0].Code != "not-confirmed" || found[1].Code != "precondition-failed" {
		t.Fatalf("found %+v", found)
	}
	if f := found[0]; f.OrderID != "o-1" || f.Revision != 0 || f.Command != "dispatch" || f.Reason != refused.Detail || f.Actor != "local" ||
		f.Correlation != "call-8" || !strings.Contains(f.TraceParent, refused.TraceID) || f.CommandID == "" || f.RecordedAt.IsZero() || f.ID == "" {
		t.Errorf("found %+v", f)
	}
	if newest := decoded[RefusalsAnswer](r.get("/v1/orders/o-1/refusals?limit=1").is(200)).Items; len(newest) != 1 || newest[0] != found[1] {
		t.Errorf("the newest is %+v", newest)
	}
	newest := r.get("/v1/orders/o-1/refusals?limit=1").is(200).has("Link", `</v1/orders/o-1/refusals?before=1&limit=1>; rel="next"`)
	if page := decoded[RefusalsAnswer](newest); page.Total != 2 || page.Next != "1" || page.Incomplete {
		t.Errorf("%s", newest.body)
	}
	older := r.get("/v1/orders/o-1/refusals?before=1&limit=1").is(200).has("Link", "")
	if page := decoded[RefusalsAnswer](older); len(page.Items) != 1 || page.Items[0] != found[0] || page.Total != 2 || page.Next != "" {
		t.Errorf("%s", older.body)
	}
	never := decoded[RefusalsAnswer](r.get("/v1/orders/o-2/refusals").is(200)).Items
	if len(never) != 1 || never[0].Revision != -1 || never[0].Command != "confirm" {
		t.Errorf("found %+v", never)
	}
	r.get("/v1/orders/o-2").problem(404, "unknown-order")
	for _, bad := range []string{"limit=0", "limit=1001", "limit=-1", "x=1", "before=0", "before=-1", "before=x", "before=1&before=2"} {
		r.get("/v1/orders/o-1/refusals?"+bad).problem(400, "invalid-parameter")
	}
	// The history of the order is not longer for it, and the views are none the
	// wiser.
	if history := decoded[HistoryAnswer](r.get("/v1/orders/o-1/events").is(200)); len(history.Events) != 1 {
		t.Errorf("history %+v", history)
	}
	r.caughtUp()
	if list := decoded[ListAnswer](r.get("/v1/orders").is(200)); *list.Total != 1 {
		t.Errorf("%d orders", *list.Total)
	}
	metrics := string(r.get("/metrics").is(200).body)
	for _, want := range []string{"docket_refusals_recorded_total 3", "docket_refusals_unrecorded_total 0"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
}

// TestAFloodOfRefusals: a caller who is refused again and again is answered as
// before, and the log stays short.
func TestAFloodOfRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 150 {
		r.post("/v1/orders/o-1/confirm", `{}`).problem(404, "unknown-order")
	}
	page := decoded[RefusalsAnswer](r.get("/v1/orders/o-1/refusals?limit=1000").is(200))
	if !page.Incomplete || page.Total != int64(len(page.Items)) {
		t.Errorf("incomplete %t, total %d", page.Incomplete, page.Total)
	}
	found := page.Items
	if len(found) < 60 || len(found) > 90 {
		t.Errorf("%d refusals were recorded", len(found))
	}
}
