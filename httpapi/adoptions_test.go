package httpapi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"
)

// history of an order of another system: placed, then a payment per extra step.
func history(id string, steps ...string) string {
	placed := fmt.Sprintf(`{"type":"OrderPlaced","data":{"number":%q,"kind":"order","source":{"system":"shop","id":%[1]q,"status":"done"},`+
		`"customer":{"id":"c-1"},"currency":"GBP","lines":[{"id":"1","sku":"A","quantity":6,"unitPrice":{"amount":"2.55","currency":"GBP"}}],`+
		`"shipping":{"amount":"0.00","currency":"GBP"},"discount":{"amount":"0.00","currency":"GBP"},"tax":{"amount":"0.00","currency":"GBP"},`+
		`"at":"2010-12-01T08:26:00Z"}}`, id)
	return "[" + strings.Join(append([]string{placed}, steps...), ",") + "]"
}

func paid(id, amount string) string {
	return fmt.Sprintf(`{"type":"OrderPaymentCaptured","data":{"paymentId":%q,"method":"card","amount":{"amount":%q,"currency":"GBP"},"at":"2010-12-02T08:26:00Z"}}`, id, amount)
}

func (r *rig) adopt(body string, headers ...string) []AdoptionAnswer {
	r.t.Helper()
	a := r.post("/v1/adoptions", body, append(headers, "Content-Type: application/x-ndjson")...).is(200)
	var answers []AdoptionAnswer
	for line := range bytes.Lines(a.body) {
		var one AdoptionAnswer
		if err := json.Unmarshal(line, &one); err != nil {
			r.t.Fatalf("%v in %s", err, line)
		}
		answers = append(answers, one)
	}
	return answers
}

func TestAdoptionAnswersEveryLine(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Limits.AdoptionLineBytes = 4000 })
	whole := `{"id":"a","key":"k","last":true,"history":` + history("a", paid("p", "15.30")) + `,"claim":{"keepsPayments":true}}`
	lines := []string{
		whole,
		whole,
		`{"id":"b","history":` + history("b") + `}`,
		`{"id":"b","first":1,"last":true,"history":[` + paid("p", "1.00") + `],"claim":{"keepsPayments":true},"odd":[{"kind":"repeated-row"}]}`,
		``,
		`{"id":"c","first":4,"last":true,"history":[` + paid("p", "1.00") + `]}`,
		`nonsense`,
		`{"id":"d","history":"x"}`,
		`{"id":"d","colour":1}`,
		`{"id":"d e"}`,
		`{"id":"d","history":[{"type":"OrderEaten","data":{}}]}`,
		`{"id":"d","history":[{"type":"OrderConfirmed","data":{"at":"x"}}]}`,
		`{"id":"` + strings.Repeat("x", 5000) + `"}`,
		"{\"id\":\"d\xff\"}",
		`{"id":"e","last":true,"history":` + history("e") + `}`,
	}
	got := r.adopt(strings.Join(lines, "\n")) // the last line has no end
	want := []struct {
		line   int64
		id     string
		status string
		events bool
		code   string
		at     string
	}{
		{1, "a", "adopted", true, "", ""},
		{2, "a", "repeated", false, "", ""},
		{3, "b", "adopted", true, "", ""},
		{4, "b", "adopted", true, "", ""},
		{6, "c", "refused", false, "", ""},
		{7, "", "refused", false, "invalid-body", ""},
		{8, "d", "refused", false, "invalid-body", "/history"},
		{9, "", "refused", false, "invalid-body", "/colour"},
		{10, "", "refused", false, "id-invalid", "/id"},
		{11, "d", "refused", false, "invalid-body", "/history/0/type"},
		{12, "d", "refused", false, "invalid-body", "/history/0/data/at"},
		{13, "", "refused", false, "body-too-large", ""},
		{14, "", "refused", false, "invalid-body", ""},
		{15, "e", "adopted", true, "", ""},
	}
	if len(got) != len(want) {
		t.Fatalf("%d answers, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		g := got[i]
		if g.Line != w.line || g.ID != w.id || g.Status != w.status || (g.Events > 0) != w.events || (g.Problem != nil) != (w.status == "refused") {
			t.Errorf("answer %d is %+v, want %+v", i, g, w)
			continue
		}
		if w.code != "" && g.Problem.Code != w.code {
			t.Errorf("answer %d: %+v, want %s", i, g.Problem, w.code)
		}
		if w.at != "" && *g.Problem.Errors[0].Pointer != w.at {
			t.Errorf("answer %d: %s, want %s", i, *g.Problem.Errors[0].Pointer, w.at)
		}
	}
	kinds := map[string]bool{}
	for _, a := range got[3].Anomalies {
		kinds[a.Kind] = true
	}
	if !kinds["paid-differs"] || !kinds["repeated-row"] {
		t.Errorf("anomalies %+v", got[3].Anomalies)
	}
	r.caughtUp()
	if list := decoded[ListAnswer](r.get("/v1/orders?source=shop").is(200)); *list.Total != 3 {
		t.Errorf("%d orders", *list.Total)
	}
}

func TestPartsOfOneOrderStayInSequence(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Limits.AdoptionWorkers = 3 })
	const orders, parts = 20, 15
	var body strings.Builder
	for part := range parts {
		for o := range orders {
			id := fmt.Sprintf("o-%d", o)
			if part == 0 {
				fmt.Fprintf(&body, `{"id":%q,"history":%s}`+"\n", id, history(id))
				continue
			}
			fmt.Fprintf(&body, `{"id":%q,"first":%d,"last":%v,"history":[%s]}`+"\n", id, part, part == parts-1, paid(fmt.Sprint("p", part), "1.00"))
		}
	}
	answers := r.adopt(body.String())
	if len(answers) != orders*parts {
		t.Fatalf("%d answers", len(answers))
	}
	for i, a := range answers {
		if a.Line != int64(i+1) || a.Status != "adopted" {
			t.Fatalf("answer %+v: %+v", a, a.Problem)
		}
	}
	for _, a := range r.adopt(body.String()) {
		if a.Status != "repeated" && a.Status != "refused" {
			t.Fatalf("sent again: %+v", a)
		}
	}
}

// TestAdoptionsStreamBothWays: the answer to a line comes before the next line
// is sent.
func TestAdoptionsStreamBothWays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in, out := io.Pipe()
	req, err := http.NewRequest("POST", r.server.URL+"/v1/adoptions", in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	go func() { fmt.Fprintf(out, `{"id":"o-0","last":true,"history":%s}`+"\n", history("o-0")) }()
	res, err := r.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answers := bufio.NewScanner(res.Body)
	for i := range 5 {
		if !answers.Scan() || !strings.Contains(answers.Text(), `"status":"adopted"`) {
			t.Fatalf("answer %d: %s %v", i, answers.Text(), answers.Err())
		}
		id := fmt.Sprintf("o-%d", i+1)
		fmt.Fprintf(out, `{"id":%q,"last":true,"history":%s}`+"\n", id, history(id))
	}
	out.Close()
	if !answers.Scan() || answers.Scan() {
		t.Error("the answers do not end with the lines")
	}
}

func TestAdoptionEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Limits.AdoptionIdle = 50 * time.Millisecond })
	in, out := io.Pipe()
	req, err := http.NewRequest("POST", r.server.URL+"/v1/adoptions", in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	go func() { fmt.Fprintf(out, `{"id":"o-0","last":true,"history":%s}`+"\n", history("o-0")) }()
	res, err := r.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body) // nothing more is sent
	if !strings.Contains(string(data), "adopted") || err == nil {
		t.Errorf("a stream that stands still ended well: %q %v", data, err)
	}
	out.Close()
	r.get("/v1/orders/o-0").is(200)
}

func TestAdoptionsWantLines(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.post("/v1/adoptions", `{}`).problem(415, "unsupported-media-type")
	r.post("/v1/adoptions?dryRun=true", ``, "Content-Type: application/x-ndjson").problem(400, "invalid-parameter")
	if got := r.adopt(""); len(got) != 0 {
		t.Errorf("answers to nothing: %+v", got)
	}
}
