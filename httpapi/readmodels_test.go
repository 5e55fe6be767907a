package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/readmodel"
)

// basket is what the test's read model keeps of an order.
type basket struct {
	Placed  time.Time     `json:"placed"`
	Country string        `json:"country"`
	Units   int64         `json:"units"`
	Worth   money.Amount  `json:"worth"`
	Notes   []string      `json:"notes"`
	Took    time.Duration `json:"took"` // which only encoding/json writes
}

// shelf is a view of baskets whose rule can be changed under it.
type shelf struct {
	doubles atomic.Bool
	holds   chan struct{} // nil, or what an order is held by until it is closed
}

var errNobody = domain.Reject(domain.NotFound, "nobody-there", "nobody is there")

func (s *shelf) view(name string) readmodel.View[basket] {
	ask := func(lists func(a readmodel.Asked) readmodel.Selection) func(context.Context, readmodel.Reader[basket], readmodel.Asked) (any, error) {
		return func(ctx context.Context, r readmodel.Reader[basket], a readmodel.Asked) (any, error) {
			return r.List(ctx, lists(a), a)
		}
	}
	return readmodel.View[basket]{
		Name: name, Version: 3, Apply: s.apply, Contributions: contributions,
		Questions: []readmodel.Question[basket]{
			{
				Name: "older", Doc: "Baskets placed so long ago.",
				Params: []readmodel.Param{{Name: "hours", Doc: "since then", Max: 1000, Default: 0}},
				Answer: ask(func(a readmodel.Asked) readmodel.Selection {
					to := a.Now.Add(-time.Duration(a.Number("hours")) * time.Hour)
					return readmodel.Selection{Lists: []string{"all"}, To: &to, Newest: true}
				}),
			},
			{
				Name: "sent-to", Params: []readmodel.Param{{Name: "country", Required: true}},
				Answer: ask(func(a readmodel.Asked) readmodel.Selection {
					return readmodel.Selection{Lists: []string{"to " + a.Text("country")}}
				}),
			},
			{
				Name: "by-country",
				Answer: func(ctx context.Context, r readmodel.Reader[basket], _ readmodel.Asked) (any, error) {
					return r.Figures(ctx, "country")
				},
			},
			{
				Name: "nobody", Params: []readmodel.Param{{Name: "how"}},
				Answer: func(_ context.Context, _ readmodel.Reader[basket], a readmodel.Asked) (any, error) {
					switch a.Text("how") {
					case "parameter":
						return nil, readmodel.ErrParameter.At("how").With("not like this")
					case "failure":
						return nil, errors.New("secret")
					case "panic":
						panic("secret")
					case "unwritable":
						return func() {}, nil
					}
					return nil, errNobody
				},
			},
		},
	}
}

func (s *shelf) apply(doc basket, e readmodel.Event) basket {
	switch e := e.Event.(type) {
	case order.Placed:
		if s.holds != nil {
			<-s.holds
		}
		doc.Placed, doc.Worth, doc.Took = e.At, money.Zero(e.Currency), time.Second
		if e.ShippingAddress != nil {
			doc.Country = e.ShippingAddress.Country
		}
		for _, l := range e.Lines {
			doc.Units += l.Quantity
			doc.Worth = doc.Worth.Add(l.UnitPrice.Times(l.Quantity))
		}
		if s.doubles.Load() {
			doc.Units *= 2
		}
	case order.NoteAdded:
		if e.Text == "poison" {
			panic("a note that cannot be taken")
		}
		doc.Notes = append(slices.Clone(doc.Notes), e.Text)
	}
	return doc
}

func contributions(doc basket) readmodel.Contributions {
	return readmodel.Contributions{
		Lists: []string{"all", "to " + doc.Country}, At: doc.Placed,
		Groups: []readmodel.Group{{By: "country", Key: doc.Country}}, Units: doc.Units, Amount: doc.Worth,
	}
}

// newShelfRig is a docket with two read models, baskets and others.
func newShelfRig(t *testing.T, change ...func(*Options)) (*rig, *shelf) {
	t.Helper()
	s := &shelf{}
	return newModelRig(t, []readmodel.Model{s.view("baskets"), (&shelf{}).view("others")}, change...), s
}

func newModelRig(t *testing.T, models []readmodel.Model, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, log: &logged{}}
	d, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{Models: models, Keep: time.Hour, Logger: newLogger(r.log)})
	if err != nil {
		t.Fatal(err)
	}
	lifetime, end := context.WithCancel(context.Background())
	r.options = Options{
		Orders: d.Orders, Query: d.Queries, Projections: d.Views, Models: d.Models, Store: d.Store, Log: d.Log, Audit: d.Auditor,
		Refusals: d.Refusals, Reconcile: d.Reconciler, Lifetime: lifetime, Logger: newLogger(r.log),
	}
	for _, f := range change {
		f(&r.options)
	}
	r.store, r.under, r.orders, r.manager = d.Store, d.Embedded, d.Orders, d.Manager
	r.server = httptest.NewServer(New(r.options))
	t.Cleanup(func() {
		r.server.Close()
		end()
		if err := d.Close(); err != nil {
			t.Errorf("docket: %v", err)
		}
	})
	return r
}

// allCaughtUp waits until every projection has seen everything.
func (r *rig) allCaughtUp() {
	r.t.Helper()
	r.get("/v1/projections", "Prefer: wait=20").is(200).has("Preference-Applied", "wait")
}

// shownBasket is a row as HTTP shows it.
type shownBasket struct {
	OrderID  string `json:"orderId"`
	Revision int64  `json:"revision"`
	Position string `json:"position"`
	Document basket `json:"document"`
	Degraded any    `json:"degraded"`
}

type shownPage struct {
	Items []shownBasket `json:"items"`
	Total int64         `json:"total"`
	Next  string        `json:"next"`
}

// rows reads what encoding/json has written.
func rows[T any](a reply) (v T) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.t.Fatalf("%s: %v in %s", a.what, err, a.body)
	}
	return v
}

const baskets = "/v1/read-models/baskets"

func TestReadModelsAreListed(t *testing.T) {
	t.Parallel()
	r, _ := newShelfRig(t)
	got := decoded[ReadModelsAnswer](r.get("/v1/read-models").is(200))
	if len(got.Items) != 2 || got.Items[0].Name != "baskets" || got.Items[0].Version != 3 || got.Items[1].Name != "others" {
		t.Fatalf("%+v", got)
	}
	asked := got.Items[0].Questions
	if len(asked) != 4 || asked[0].Name != "older" || asked[0].Doc != "Baskets placed so long ago." {
		t.Fatalf("%+v", asked)
	}
	hours, country := asked[0].Parameters[0], asked[1].Parameters[0]
	if hours.Name != "hours" || hours.Type != "integer" || hours.Doc != "since then" || hours.Required || *hours.Min != 0 || *hours.Max != 1000 || *hours.Default != 0 {
		t.Errorf("%+v", hours)
	}
	if country.Type != "text" || !country.Required || country.Min != nil || country.Max != nil || country.Default != nil {
		t.Errorf("%+v", country)
	}
	if asked[2].Parameters == nil {
		t.Error("a question without parameters has none, not null")
	}
	r.get("/v1/read-models?x=1").problem(400, "invalid-parameter")
	r.post("/v1/read-models", `{}`).problem(405, "method-not-allowed")

	none := newRig(t)
	if got := decoded[ReadModelsAnswer](none.get("/v1/read-models").is(200)); got.Items == nil || len(got.Items) != 0 {
		t.Errorf("%+v", got)
	}
	if p := none.get(baskets+"/older").problem(404, "unknown-read-model"); !strings.Contains(p.Detail, "this docket has none") {
		t.Errorf("%+v", p)
	}
	if p := none.get("/v1/projections/baskets/rebuilds").problem(404, "unknown-projection"); !strings.HasSuffix(p.Detail, ": there is orders") {
		t.Errorf("%+v", p)
	}
}

// TestReadModelDocument: with the token of a write it is there at once.
func TestReadModelDocument(t *testing.T) {
	t.Parallel()
	r, _ := newShelfRig(t)
	token := r.placed("o-1").header.Get("Consistency-Token")
	a := r.get(baskets+"/orders/o-1", "Consistency-Token: "+token, "Prefer: wait=20").is(200).has("Read-Revision", "0").has("Read-Generation", "1")
	got := rows[shownBasket](a)
	if got.OrderID != "o-1" || got.Revision != 0 || got.Position == "" || got.Position != a.header.Get("Read-Position") || got.Degraded != nil {
		t.Errorf("%s", a.body)
	}
	if d := got.Document; d.Units != 3 || d.Country != "PT" || d.Worth.String() != "18.20 EUR" || d.Took != time.Second || d.Notes != nil {
		t.Errorf("%+v", d)
	}
	if a.header.Get("Read-Lag-Ms") == "" || a.header.Get("Read-Source") != "" {
		t.Errorf("%v", a.header)
	}
	token = r.post("/v1/orders/o-1/notes", `{"text":"<ring> twice"}`).is(200).header.Get("Consistency-Token")
	a = r.get(baskets+"/orders/o-1", "Consistency-Token: "+token, "Prefer: wait=20").is(200).has("Read-Revision", "1")
	if got := rows[shownBasket](a).Document; !slices.Equal(got.Notes, []string{"<ring> twice"}) || got.Units != 3 {
		t.Errorf("%s", a.body)
	}
	r.get(baskets+"/orders/nobody").problem(404, "unknown-order")
	for _, id := range []string{"%00", "%20", "a%2Fb", strings.Repeat("x", 300), "%FF"} {
		r.get(baskets+"/orders/"+id).problem(404, "unknown-order")
	}
	r.get(baskets+"/orders/o-1", "Consistency-Token: rubbish").problem(400, "token-invalid")
	r.get(baskets+"/orders/o-1", "Prefer: wait=soon").problem(400, "invalid-header")
	r.get(baskets+"/orders/o-1?asOf=2020-01-01T00:00:00Z").problem(400, "invalid-parameter")
	foreign, err := query.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	foreign.Log.Epoch++
	r.get(baskets+"/orders/o-1", "Consistency-Token: "+foreign.String()).problem(409, "token-foreign")
	// An order has no document of a read model, and no field of that name.
	if body := string(r.get("/v1/orders/o-1").is(200).body); strings.Contains(body, `"model"`) {
		t.Error(body)
	}
	schema := openapi(t)["components"].(map[string]any)["schemas"].(map[string]any)["view.Order"].(map[string]any)
	if properties := schema["properties"].(map[string]any); properties["model"] != nil || properties["revision"] == nil {
		t.Errorf("%v", properties)
	}
	if checkFieldPath("/model") == "" {
		t.Error("an order has a field /model")
	}
}

// TestReadModelQuestions: lists page by page with totals, also when they go by the
// clock, and figures.
func TestReadModelQuestions(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64 // hours
	r, _ := newShelfRig(t, func(o *Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(clock.Load()) * time.Hour) }
	})
	var token string
	for i := range 7 {
		token = r.placed(fmt.Sprintf("o-%d", i)).header.Get("Consistency-Token")
	}
	with := []string{"Consistency-Token: " + token, "Prefer: wait=20"}
	if got := rows[shownPage](r.get(baskets+"/older?hours=5", with...).is(200)); got.Total != 0 || got.Items == nil || len(got.Items) != 0 || got.Next != "" {
		t.Errorf("%+v", got)
	}
	clock.Store(6)
	var met []string
	path := baskets + "/older?hours=5&limit=3"
	for page := 0; path != ""; page++ {
		a := r.get(path, with...).is(200).has("Read-Generation", "1")
		got := rows[shownPage](a)
		if got.Total != 7 || page > 2 {
			t.Fatalf("page %d: %s", page, a.body)
		}
		for _, one := range got.Items {
			met = append(met, one.OrderID)
		}
		link, next := a.header.Get("Link"), ""
		if got.Next != "" {
			next = baskets + "/older?" + url.Values{"cursor": {got.Next}, "hours": {"5"}, "limit": {"3"}}.Encode()
			if link != "<"+next+`>; rel="next"` {
				t.Errorf("%s", link)
			}
		} else if link != "" {
			t.Errorf("%s on the last page", link)
		}
		path = next
		clock.Add(1)
	}
	slices.Sort(met)
	if strings.Join(met, " ") != "o-0 o-1 o-2 o-3 o-4 o-5 o-6" {
		t.Errorf("%v", met)
	}

	r.allCaughtUp()
	if got := rows[shownPage](r.get(baskets + "/sent-to?country=PT&limit=1").is(200)); got.Total != 7 || len(got.Items) != 1 || got.Items[0].Document.Units != 3 {
		t.Errorf("%+v", got)
	}
	for _, text := range []string{"NO", "P", "PT%20", "%27%20OR%201%3D1--", "%22%5D%7D", "*", "%E2%80%AE", strings.Repeat("%C3%A3", 120)} {
		if got := rows[shownPage](r.get(baskets + "/sent-to?country=" + text).is(200)); got.Total != 0 || len(got.Items) != 0 {
			t.Errorf("%s: %+v", text, got)
		}
	}
	figures := rows[[]readmodel.Figure](r.get(baskets+"/by-country").is(200).has("Read-Generation", "1"))
	if len(figures) != 1 || figures[0].Group != "PT" || figures[0].Orders != 7 || figures[0].Units != 21 || figures[0].Amount.String() != "127.40 EUR" {
		t.Errorf("%+v", figures)
	}
}

func TestReadModelQuestionsRefused(t *testing.T) {
	t.Parallel()
	r, _ := newShelfRig(t)
	r.placed("o-1")
	r.allCaughtUp()
	next := func(path string) string { return rows[shownPage](r.get(path).is(200)).Next }
	r.placed("o-2")
	r.allCaughtUp()
	cursor := next(baskets + "/sent-to?country=PT&limit=1")
	if cursor == "" {
		t.Fatal("no cursor")
	}
	for path, code := range map[string]string{
		"older?hours=":                                "invalid-parameter",
		"older?hours=1001":                            "invalid-parameter",
		"older?hours=-1":                              "invalid-parameter",
		"older?hours=%2B1":                            "invalid-parameter",
		"older?hours=01":                              "invalid-parameter",
		"older?hours=1e2":                             "invalid-parameter",
		"older?hours=99999999999999999999":            "invalid-parameter",
		"older?hours=1&hours=1":                       "invalid-parameter",
		"older?limit=0":                               "invalid-parameter",
		"older?limit=1001":                            "invalid-parameter",
		"older?limit=1&limit=2":                       "invalid-parameter",
		"older?days=1":                                "invalid-parameter",
		"older?%2Fdays=1":                             "invalid-parameter",
		"older?Days=1":                                "invalid-parameter",
		"older?=1":                                    "invalid-parameter",
		"older?%FF%00=1":                              "invalid-parameter",
		"older?" + strings.Repeat("x", 5000):          "invalid-parameter",
		"older?hours=%zz":                             "invalid-parameter",
		"older?a;b=1":                                 "invalid-parameter",
		"older?cursor=":                               "cursor-invalid",
		"older?cursor=x":                              "cursor-invalid",
		"older?cursor=1.x":                            "cursor-invalid",
		"older?cursor=-1.x":                           "cursor-invalid",
		"older?cursor=99999999999999999.x":            "cursor-invalid",
		"older?cursor=" + cursor:                      "cursor-of-another-question",
		"sent-to?country=PT&cursor=x" + cursor:        "cursor-invalid",
		"sent-to?country=ES&cursor=" + cursor:         "cursor-of-another-question",
		"sent-to":                                     "invalid-parameter",
		"sent-to?country=":                            "invalid-parameter",
		"sent-to?country=%00":                         "invalid-parameter",
		"sent-to?country=%FF":                         "invalid-parameter",
		"sent-to?country=" + strings.Repeat("x", 201): "invalid-parameter",
		"sent-to?country=" + strings.Repeat("%C3%A3", 199): "invalid-parameter",
		"nobody?how=parameter":                             "invalid-parameter",
	} {
		// A token that is waited for changes nothing: it is refused at once.
		if path == "older?cursor="+cursor || strings.HasPrefix(path, "sent-to?country=ES") {
			r.get(baskets+"/"+path).problem(400, code)
			continue
		}
		if p := r.get(baskets+"/"+path).problem(400, code); len(p.Errors) != 1 && !strings.Contains(p.Detail, "well-formed") && !strings.Contains(p.Detail, "the list that is asked for") || len(p.Detail) > 400 {
			t.Errorf("%s: %+v", path, p)
		}
	}
	r.get(baskets+"/nobody").problem(404, "nobody-there")
	for _, how := range []string{"failure", "panic", "unwritable"} {
		if p := r.get(baskets+"/nobody?how="+how).problem(500, "internal"); strings.Contains(p.Error(), "secret") {
			t.Errorf("%+v", p)
		}
	}
	for _, name := range []string{"younger", "Older", "older%00", "%FF", "orders", strings.Repeat("q", 5000)} {
		if p := r.get(baskets+"/"+name).problem(404, "unknown-question"); !strings.HasSuffix(p.Detail, ": there is orders/{id}, older, sent-to, by-country, nobody") {
			t.Errorf("%+v", p)
		}
	}
	for _, name := range []string{"orders", "Baskets", "%00", strings.Repeat("b", 5000)} {
		for _, path := range []string{"/older", "/orders/o-1"} {
			if p := r.get("/v1/read-models/"+name+path).problem(404, "unknown-read-model"); !strings.HasSuffix(p.Detail, ": there is baskets, others") {
				t.Errorf("%+v", p)
			}
		}
	}
	r.post(baskets+"/older", `{}`).problem(405, "method-not-allowed")
	r.get(baskets).problem(404, "not-found")
	// What is wrong with a question is told before anything is waited for.
	ahead := query.Token{Log: r.options.Log, OrderID: "o-1", Revision: 17, Position: eventstore.Position{Commit: 1 << 40, Prepare: 1 << 40}}.String()
	r.get(baskets+"/older?hours=x", "Consistency-Token: "+ahead, "Prefer: wait=30").problem(400, "invalid-parameter")
	r.get(baskets+"/older", "Consistency-Token: "+ahead).problem(503, "read-model-behind")
	r.get(baskets+"/by-country", "Consistency-Token: "+ahead).problem(503, "read-model-behind")
	r.get(baskets+"/orders/o-1", "Consistency-Token: "+ahead).problem(503, "read-model-behind")
}

func (r *rig) keysOf() map[string]string {
	r.t.Helper()
	standing := map[string]string{}
	for _, one := range decoded[ProjectionsAnswer](r.get("/v1/projections").is(200)).Items {
		var parts []string
		for _, g := range one.Generations {
			parts = append(parts, fmt.Sprintf("%d %s", g.Generation, g.State))
		}
		standing[one.Name] = strings.Join(parts, ", ")
	}
	return standing
}

// TestReadModelIsRebuilt: by its name, with a difference to show, to a switch and
// back; the orders and the other read model stay as they are.
func TestReadModelIsRebuilt(t *testing.T) {
	t.Parallel()
	r, shelf := newShelfRig(t)
	const of = "/v1/projections/baskets"
	for i := range 5 {
		r.placed(fmt.Sprintf("o-%d", i))
	}
	r.allCaughtUp()
	items := decoded[ProjectionsAnswer](r.get("/v1/projections").is(200)).Items
	if len(items) != 3 || items[0].Name != "orders" || items[0].Version != projections.Version || items[1].Name != "baskets" || items[1].Version != 3 || items[2].Name != "others" {
		t.Fatalf("%+v", items)
	}
	if p := r.get(of+"/diff").problem(404, "no-candidate"); !strings.Contains(p.Detail, "POST "+of+"/rebuilds") {
		t.Errorf("%+v", p)
	}
	r.post(of+"/rebuilds", `{"then":"switch-only","fields":["/totals/grand"]}`).problem(400, "invalid-body")
	for _, path := range []string{"", "/model/", "/model/lines/0", "model/units", "/revision", "/model/" + strings.Repeat("x", 100)} {
		r.post(of+"/rebuilds", `{"then":"switch-only","fields":["`+path+`"]}`).problem(400, "invalid-body")
	}

	shelf.doubles.Store(true)
	a := r.post(of+"/rebuilds", `{"reason":"twice as many"}`).is(202).has("Location", of+"/rebuilds/2")
	if rb := decoded[RebuildAnswer](a); rb.Projection != "baskets" || rb.Generation != 2 {
		t.Fatalf("%s", a.body)
	}
	if rb := r.over(of + "/rebuilds/2"); rb.Phase != projections.PhaseReady || rb.Projection != "baskets" {
		t.Fatalf("%+v %+v", rb, rb.Failure)
	}
	if got := r.keysOf(); got["baskets"] != "1 live, 2 ready" || got["orders"] != "1 live" || got["others"] != "1 live" {
		t.Errorf("%v", got)
	}
	if p := r.post(of+"/rebuilds", `{}`).problem(409, "rebuild-running"); p.Generation != 2 || !strings.Contains(p.Detail, "DELETE "+of+"/rebuilds/2") || !strings.Contains(p.Detail, "GET "+of+"/diff") {
		t.Errorf("%+v", p)
	}
	r.get(ofOrders+"/diff").problem(404, "no-candidate")
	r.get(ofOrders+"/rebuilds/2").problem(404, "unknown-rebuild")
	if got := decoded[RebuildsAnswer](r.get(ofOrders + "/rebuilds").is(200)).Items; len(got) != 0 {
		t.Errorf("%+v", got)
	}
	item := decoded[ProjectionsAnswer](r.get("/v1/projections").is(200)).Items[1]
	if item.Rebuild == nil || item.Rebuild.Projection != "baskets" || len(item.Next) != 3 || item.Next[0].Command != "docket projections diff baskets" || item.Next[1].Command != "docket projections switch --generation 2 baskets" {
		t.Errorf("%+v", item)
	}
	d := decoded[GenerationsAnswer](r.get(of + "/diff").is(200))
	if d.Same || d.From != 1 || d.To != 2 || d.Stores[0].Changed != 5 || d.Stores[0].FiguresChanged == 0 || len(d.Stores[0].Fields) != 1 || d.Stores[0].Fields[0].Path != "/model/units" {
		t.Errorf("%+v", d)
	}

	stream := r.events(of + "/rebuilds/2")
	for kind := ""; kind != "end"; {
		var rb RebuildAnswer
		if kind, _, rb = stream.next(); kind == "" || rb.Projection != "baskets" {
			t.Fatalf("%q %+v", kind, rb)
		}
	}
	orders := r.get("/v1/orders/o-1").is(200)
	r.post(of+"/switch", ``).is(200)
	got := rows[shownBasket](r.get(baskets+"/orders/o-1").is(200).has("Read-Generation", "2"))
	if got.Document.Units != 6 {
		t.Errorf("%+v", got)
	}
	if got := rows[[]readmodel.Figure](r.get(baskets + "/by-country").is(200)); got[0].Units != 30 {
		t.Errorf("%+v", got)
	}
	if got := rows[shownBasket](r.get("/v1/read-models/others/orders/o-1").is(200).has("Read-Generation", "1")); got.Document.Units != 3 {
		t.Errorf("%+v", got)
	}
	if again := r.get("/v1/orders/o-1").is(200).has("Read-Generation", "1"); string(again.body) != string(orders.body) {
		t.Errorf("%s, was %s", again.body, orders.body)
	}
	if got := decoded[SwitchAnswer](r.post(of+"/rollback", `{}`).is(200)); got != (SwitchAnswer{1, 2}) {
		t.Errorf("%+v", got)
	}
	r.get(baskets+"/orders/o-1").is(200).has("Read-Generation", "1")
	reprojected := decoded[ReprojectionAnswer](r.post(of+"/orders/o-1/reprojections", ``).is(200))
	if len(reprojected.Stores) != 1 || len(reprojected.Stores[0].Changes) != 1 || reprojected.Stores[0].Changes[0].Path != "/model/units" {
		t.Errorf("%+v", reprojected)
	}
	r.send("DELETE", of+"/generations/2", "").is(200)
	r.send("DELETE", of+"/generations/1", "").problem(409, "generation-in-force")
	r.until("it is dropped", func() bool { return r.keysOf()["baskets"] == "1 live" })

	// What differs in nothing but a field that may, and in what is counted of it, is
	// switched to by itself.
	r.post(of+"/rebuilds", `{"then":"switch-only","fields":["/model/units"]}`).is(202)
	if rb := r.over(of + "/rebuilds/3"); rb.Phase != projections.PhaseSwitched {
		t.Errorf("%+v %+v", rb, rb.Failure)
	}
	metrics := string(r.get("/metrics").is(200).body)
	for _, want := range []string{
		`docket_store_up{projection="baskets",store="sqlite"} 1`, `docket_store_up{projection="orders",store="sqlite"} 1`,
		`docket_projection_lag_events{projection="others",store="sqlite"} 0`, `docket_rebuild_generation{projection="baskets"} 3`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(metrics, `docket_rebuild_generation{projection="orders"}`) {
		t.Error("the orders were never rebuilt")
	}
}

// TestReadModelParks: an order that one read model cannot take is parked there,
// alone; /readyz tells, and is ready.
func TestReadModelParks(t *testing.T) {
	t.Parallel()
	r, _ := newShelfRig(t)
	r.placed("o-1")
	r.placed("o-2")
	token := r.post("/v1/orders/o-1/notes", `{"text":"poison"}`).is(200).header.Get("Consistency-Token")
	r.get(baskets+"/orders/o-1", "Consistency-Token: "+token, "Prefer: wait=20").problem(503, "read-model-parked")
	r.get("/v1/orders/o-1", "Consistency-Token: "+token, "Prefer: wait=20").is(200).has("Read-Revision", "1")
	r.allCaughtUp()
	for name, want := range map[string]int{"orders": 0, "baskets": 1, "others": 1} {
		if got := decoded[ParkedAnswer](r.get("/v1/projections/" + name + "/parked").is(200)).Items; len(got) != want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	r.post("/v1/projections/baskets/parked/o-1/retry", ``).problem(503, "read-model-parked")
	r.post(ofOrders+"/parked/o-1/retry", ``).problem(404, "not-parked")
	if got := rows[shownBasket](r.get(baskets+"/orders/o-1").is(200).has("Read-Revision", "0")); got.Degraded == nil {
		t.Errorf("%+v", got)
	}
	r.get(baskets + "/orders/o-2").is(200)
	r.ready()
	ready := decoded[ReadyAnswer](r.get("/readyz").is(200))
	if !slices.Equal(ready.Impaired, []string{
		"read model baskets: orders are parked; see /v1/projections/baskets/parked", "read model others: orders are parked; see /v1/projections/others/parked",
	}) || len(ready.Stores) != 1 {
		t.Errorf("%+v", ready)
	}
}

// TestReadModelHoldsNobodyBack: one that does not follow is waited for at the
// start, but not for long.
func TestReadModelHoldsNobodyBack(t *testing.T) {
	t.Parallel()
	s := &shelf{holds: make(chan struct{})}
	let := sync.OnceFunc(func() { close(s.holds) })
	r := newModelRig(t, []readmodel.Model{s.view("baskets")})
	t.Cleanup(let)
	r.placed("o-1")
	r.caughtUp()
	again := newServer(r.options)
	again.modelPatience = 50 * time.Millisecond
	again.awaitStart()
	w := httptest.NewRecorder()
	again.handler().ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/readyz", nil))
	if w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	r.get("/v1/projections", "Prefer: wait=0").is(200).has("Preference-Applied", "")
	let()
	r.allCaughtUp()
	r.get(baskets + "/orders/o-1").is(200)
}

// TestReadModelImpaired: what is said of one that does not follow.
func TestReadModelImpaired(t *testing.T) {
	t.Parallel()
	r, _ := newShelfRig(t)
	p := projectionsOf(r.options)[1]
	state := func(g projections.GenerationStatus) []storeState {
		g.Generation, g.State = 1, "live"
		return []storeState{{name: "sqlite", open: true, number: 1, status: projections.Status{Name: p.name, Generations: []projections.GenerationStatus{g}}}}
	}
	for want, all := range map[string][]storeState{
		"": state(projections.GenerationStatus{Lag: projections.Lag{Events: 3, Age: time.Second}}),
		"read model baskets: the view does not move; see /v1/projections": state(projections.GenerationStatus{Wedged: true}),
		"read model baskets: it is 1m0s behind in sqlite":                 state(projections.GenerationStatus{Lag: projections.Lag{Events: 3, Age: time.Minute}}),
	} {
		if got := strings.Join(p.impaired(all), "; "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	closed := projection{name: "shut", stores: newStores(r.store, projections.NewStores(projections.NewManager(projections.Options{Store: r.store})), nil)}
	if got := closed.impaired(nil); !slices.Equal(got, []string{"read model shut: its view is not open"}) {
		t.Errorf("%v", got)
	}
}
