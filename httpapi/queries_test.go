package httpapi

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

func TestGetOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.placed("o-1").header.Get("Consistency-Token")
	a := r.get("/v1/orders/o-1", "Consistency-Token: "+token, "Prefer: wait=20").is(200).
		has("Read-Revision", "0").has("Read-Source", "")
	tag := a.header.Get("ETag")
	if !strings.HasPrefix(tag, `"0.g`) || a.header.Get("Read-Position") == "" || a.header.Get("Read-Lag-Ms") == "" {
		t.Errorf("headers %v", a.header)
	}
	if doc := decoded[OrderAnswer](a); doc.ID != "o-1" || doc.Totals.Grand.Decimal() != "23.10" || doc.Actions != nil {
		t.Errorf("order %s", a.body)
	}
	if strings.Contains(string(a.body), "null") {
		t.Errorf("null in %s", a.body)
	}
	same := r.get("/v1/orders/o-1", "If-None-Match: "+tag).is(304).has("ETag", tag)
	if len(same.body) != 0 {
		t.Errorf("304 with %q", same.body)
	}
	r.get("/v1/orders/o-1", `If-None-Match: "9.g9", W/`+tag).is(304)
	r.get("/v1/orders/o-1", `If-None-Match: "9.g9"`).is(200)
	r.send("HEAD", "/v1/orders/o-1", "").is(200).has("ETag", tag)
	// The ETag of the view is good for a command.
	r.post("/v1/orders/o-1/confirm", `{}`, "If-Match: "+tag).is(200)

	r.get("/v1/orders/nobody").problem(404, "unknown-order")
	r.get("/v1/orders/a%20b").problem(404, "unknown-order")
	r.get("/v1/orders/o-1?colour=red").problem(400, "invalid-parameter")
	p := r.get("/v1/orders/o-1?include=everything").problem(400, "invalid-parameter")
	if p.Errors[0].Parameter != "include" || !strings.Contains(p.Detail, "actions") {
		t.Errorf("problem %+v", p)
	}
}

func TestReadFromTheLogWhenTheViewHasNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	a := r.get("/v1/orders/o-1").is(200) // whether or not the view was faster
	if src := a.header.Get("Read-Source"); src != "" && src != "log" {
		t.Errorf("Read-Source %q", src)
	}
}

func TestConsistencyTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	for i := range 5 {
		token := r.post("/v1/orders/o-1/notes", fmt.Sprintf(`{"text":"%d"}`, i)).is(200).header.Get("Consistency-Token")
		a := r.get("/v1/orders/o-1", "Consistency-Token: "+token, "Prefer: wait=20").is(200)
		if doc := decoded[OrderAnswer](a); doc.Revision != int64(i+1) || len(doc.Notes) != i+1 {
			t.Errorf("revision %d with %d notes after note %d", doc.Revision, len(doc.Notes), i)
		}
		list := decoded[ListAnswer](r.get("/v1/orders", "Consistency-Token: "+token, "Prefer: wait=20").is(200))
		if len(list.Items) != 1 || list.Items[0].Revision < int64(i+1) {
			t.Errorf("list %+v", list)
		}
	}
	r.get("/v1/orders/o-1", "Consistency-Token: nonsense").problem(400, "token-invalid")
	r.get("/v1/orders/o-1", "Prefer: wait=soon").problem(400, "invalid-header")
	other := newRig(t)
	foreign := other.placed("o-1").header.Get("Consistency-Token")
	r.get("/v1/orders/o-1", "Consistency-Token: "+foreign).problem(409, "token-foreign")
}

func TestReadModelBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Limits.WaitTime = 20 * time.Millisecond })
	r.placed("o-1")
	r.caughtUp()
	identity, err := r.store.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	future := query.Token{Log: identity, OrderID: "o-1", Revision: 7, Position: eventstore.At64(1 << 40)}.String()
	for _, path := range []string{"/v1/orders/o-1", "/v1/orders", "/v1/customers/c-1", "/v1/customers/c-1/orders", "/v1/stats"} {
		for _, prefer := range []string{"wait=0", "wait=60"} { // at most MaxWait
			a := r.get(path, "Consistency-Token: "+future, "Prefer: "+prefer).has("Retry-After", "1")
			if p := a.problem(503, "read-model-behind"); p.WantedPosition != "1099511627776" || p.ReadPosition == "" {
				t.Errorf("%s: %s", path, a.body)
			}
		}
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	actions := func(list []ActionAnswer) map[string]ActionAnswer {
		m := map[string]ActionAnswer{}
		for _, a := range list {
			m[a.Action] = a
		}
		return m
	}
	got := decoded[ActionsAnswer](r.get("/v1/orders/o-1/actions").is(200).has("Read-Revision", "0"))
	by := actions(got.Actions)
	if got.ID != "o-1" || !by["confirm"].Allowed || by["deliver"].Allowed || by["deliver"].Code == "" || by["deliver"].Reason == "" {
		t.Errorf("actions %+v", got)
	}
	r.post("/v1/orders/o-1/confirm", `{}`).is(200)
	if by := actions(decoded[ActionsAnswer](r.get("/v1/orders/o-1/actions").is(200)).Actions); by["confirm"].Allowed || !by["confirm"].Done {
		t.Errorf("confirm a confirmed order: %+v", by["confirm"])
	}
	r.post("/v1/orders/o-1/cancel", `{}`).is(200)
	doc := decoded[OrderAnswer](r.get("/v1/orders/o-1?include=actions").is(200))
	by = actions(doc.Actions)
	if by["dispatch"].Allowed || by["dispatch"].Code != "order-cancelled" || by["cancel"].Allowed || !by["add-note"].Allowed {
		t.Errorf("actions of a cancelled order %+v", doc.Actions)
	}
	r.get("/v1/orders/nobody/actions").problem(404, "unknown-order")
	r.get("/v1/orders/o-1/actions?x=1").problem(400, "invalid-parameter")
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 7 {
		r.placed(fmt.Sprintf("o-%d", i))
	}
	r.post("/v1/orders/o-3/confirm", `{}`).is(200)
	r.post("/v1/orders/o-4/cancel", `{}`).is(200)
	r.send("PUT", "/v1/orders/o-5/tags", `{"tags":["a,b","gift"]}`).is(200)
	r.caughtUp()
	for question, want := range map[string]int64{
		"":                                        7,
		"status=confirmed":                        1,
		"status=confirmed&status=cancelled":       2,
		"status=placed&tag=gift":                  1,
		"tag=a%2Cb":                               1,
		"tag=a&tag=b":                             0,
		"sku=TEA&country=PT":                      7,
		"customer=c-1":                            7,
		"customer=c-2":                            0,
		"q=GREEN+prado":                           7,
		"q=o-":                                    0,
		"currency=EUR&minTotal=23.10":             7,
		"currency=EUR&maxTotal=23.09":             0,
		"currency=EUR&minTotal=1&maxTotal=100":    7,
		"placedFrom=2020-01-01":                   7,
		"placedTo=2020-01-01T00:00:00Z":           0,
		"updatedFrom=2020-01-01T00:00:00.5Z":      7,
		"kind=order&paymentStatus=none":           7,
		"fulfilmentStatus=shipped":                0,
		"source=nowhere":                          0,
		"anomaly=no-lines":                        0,
		"deliveredFrom=2020-01-01&limit=1":        0,
		"sort=total&currency=EUR":                 7,
		"sort=-number&limit=1000":                 7,
		"country=" + url.QueryEscape("Portugal+"): 0,
	} {
		a := r.get("/v1/orders?" + question).is(200)
		got := decoded[ListAnswer](a)
		if got.Total == nil || *got.Total != want || int64(len(got.Items)) != want {
			t.Errorf("%s: %v of %v, want %d", question, len(got.Items), got.Total, want)
		}
	}
	without := decoded[ListAnswer](r.get("/v1/orders?total=false&facets=status&facets=tag").is(200))
	if without.Total != nil || len(without.Facets) != 2 || fmt.Sprint(without.Facets["status"]) != "[{placed 5} {cancelled 1} {confirmed 1}]" {
		t.Errorf("facets %+v", without.Facets)
	}
}

func TestListRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for question, name := range map[string]string{
		"colour=red":                           "colour",
		"asOf=2020-01-01T00:00:00Z":            "asOf",
		"Status=placed":                        "Status",
		"status=open":                          "status",
		"status=":                              "status",
		"kind=invoice":                         "kind",
		"limit=0":                              "limit",
		"limit=1001":                           "limit",
		"limit=+1":                             "limit",
		"limit=1e2":                            "limit",
		"limit=10&limit=20":                    "limit",
		"sort=name":                            "sort",
		"sort=total":                           "currency",
		"minTotal=1":                           "currency",
		"minTotal=1&currency=EUR&currency=USD": "currency",
		"minTotal=x&currency=EUR":              "minTotal",
		"minTotal=1.001&currency=EUR":          "minTotal",
		"minTotal=2&maxTotal=1&currency=EUR":   "maxTotal",
		"currency=euro":                        "currency",
		"placedFrom=yesterday":                 "placedFrom",
		"placedFrom=2020-02-30":                "placedFrom",
		"placedFrom=2020-02-02&placedTo=2020-02-01": "placedTo",
		"facets=customer":                  "facets",
		"total=maybe":                      "total",
		"cursor=nonsense":                  "cursor",
		"q=---":                            "q",
		"tag=%ff":                          "tag",
		"tag=a%00b":                        "tag",
		"tag=" + strings.Repeat("x", 2000): "tag",
		strings.Repeat("tag=x&", 101):      "tag",
	} {
		p := r.get("/v1/orders?" + question)
		p.is(400)
		body := decoded[Problem](p)
		if len(body.Errors) != 1 || body.Errors[0].Parameter != name || body.Errors[0].Detail == "" {
			t.Errorf("%s: %s, want %s named", question, p.body, name)
		}
	}
	r.get("/v1/orders?a=%zz").problem(400, "invalid-parameter")
	r.get("/v1/orders?a;b").problem(400, "invalid-parameter")
	p := r.get("/v1/orders?status=open").problem(400, "invalid-parameter")
	if !strings.Contains(p.Detail, "placed, confirmed, cancelled") {
		t.Errorf("what is allowed is not said: %s", p.Detail)
	}
}

func TestWalkByLinks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 7 {
		r.placed(fmt.Sprintf("o-%d", i))
	}
	r.caughtUp()
	for _, first := range []string{"/v1/orders?limit=2&sort=number&country=PT", "/v1/customers/c-1/orders?limit=3"} {
		seen := map[string]bool{}
		for path := first; path != ""; {
			a := r.get(path).is(200)
			page := decoded[ListAnswer](a)
			for _, o := range page.Items {
				if seen[o.ID] {
					t.Fatalf("%s: %s is there twice", first, o.ID)
				}
				seen[o.ID] = true
			}
			link := a.header.Get("Link")
			if (page.Next == "") != (link == "") {
				t.Fatalf("next %q, Link %q", page.Next, link)
			}
			path = strings.TrimPrefix(strings.TrimSuffix(link, `>; rel="next"`), "<")
		}
		if len(seen) != 7 {
			t.Errorf("%s: %d orders", first, len(seen))
		}
	}
	next := decoded[ListAnswer](r.get("/v1/orders?limit=2").is(200)).Next
	r.get("/v1/orders?limit=2&status=placed&cursor="+url.QueryEscape(next)).problem(400, "cursor-of-another-question")
}

func TestCustomersAndStats(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	r.placed("o-2")
	r.caughtUp()
	c := decoded[view.CustomerSummary](r.get("/v1/customers/c-1").is(200))
	if c.Name != "Ana Prado" || len(c.Totals) != 1 || c.Totals[0].Orders != 2 || c.Totals[0].Grand.Decimal() != "46.20" {
		t.Errorf("customer %+v", c)
	}
	r.get("/v1/customers/nobody").problem(404, "unknown-customer")
	r.get("/v1/customers/a%2Fb").problem(404, "unknown-customer")
	r.get("/v1/customers/nobody/orders").problem(404, "unknown-customer")
	stats := decoded[view.Stats](r.get("/v1/stats?top=1").is(200))
	if len(stats.Currencies) != 1 || stats.Currencies[0].Orders != 2 || *stats.Currencies[0].Customers != 1 ||
		stats.Currencies[0].Top.ByUnits[0].SKU != "MUG-RED" {
		t.Errorf("stats %+v", stats)
	}
	ranged := decoded[view.Stats](r.get("/v1/stats?from=2020-01-01&to=2020-12-31").is(200))
	if len(ranged.Currencies) != 0 {
		t.Errorf("stats of another year %+v", ranged)
	}
	for question, name := range map[string]string{
		"from=2020-02-30": "from", "from=2020-02-02&to=2020-02-01": "to", "top=0": "top", "top=1001": "top",
		"top=3&from=2020-01-01": "top", "currency=EUR": "currency", "from=2020-01-01T00:00:00Z": "from",
	} {
		p := r.get("/v1/stats?" + question).is(400)
		if body := decoded[Problem](p); body.Errors[0].Parameter != name {
			t.Errorf("%s: %s", question, p.body)
		}
	}
}
