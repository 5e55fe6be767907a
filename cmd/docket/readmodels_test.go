package main

import (
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/readmodel"
)

// sent is where an order goes: the read model of docket-with-models.
type sent struct {
	Country string       `json:"country"`
	Placed  time.Time    `json:"placed"`
	Items   money.Amount `json:"items"`
	Notes   []string     `json:"notes,omitempty"`
}

var sending = readmodel.View[sent]{
	Name: "sending", Version: 1,
	Apply: func(doc sent, e readmodel.Event) sent {
		if placed, ok := e.Event.(order.Placed); ok {
			doc.Placed, doc.Items = placed.At, money.Zero(placed.Currency)
			if placed.ShippingAddress != nil {
				doc.Country = placed.ShippingAddress.Country
			}
			for _, l := range placed.Lines {
				doc.Items = doc.Items.Add(l.UnitPrice.Times(l.Quantity))
			}
			doc.Items = doc.Items.Rounded()
		}
		return doc
	},
	Contributions: func(doc sent) readmodel.Contributions {
		return readmodel.Contributions{
			Lists: []string{"to " + doc.Country}, At: doc.Placed,
			Groups: []readmodel.Group{{By: "country", Key: doc.Country}}, Units: 1, Amount: doc.Items,
		}
	},
	Questions: []readmodel.Question[sent]{
		{
			Name: "to", Doc: "Orders that go to a country, the latest first.",
			Params: []readmodel.Param{{Name: "country", Required: true}, {Name: "days", Max: 10000, Default: 10000}},
			Answer: func(ctx context.Context, r readmodel.Reader[sent], a readmodel.Asked) (any, error) {
				from := a.Now.AddDate(0, 0, -int(a.Number("days")))
				return r.List(ctx, readmodel.Selection{Lists: []string{"to " + a.Text("country")}, From: &from, Newest: true}, a)
			},
		},
		{
			Name: "by-country", Doc: "Sums.",
			Answer: func(ctx context.Context, r readmodel.Reader[sent], _ readmodel.Asked) (any, error) {
				return r.Figures(ctx, "country")
			},
		},
	},
}

// mainWithModels is docket as somebody runs it who has a read model.
func mainWithModels() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(runWith(ctx, []readmodel.Model{sending}, os.Args[1:], os.Stdout, os.Stderr))
}

func TestAnswersOfReadModels(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"items":[{"orderId":"o-1","revision":3,"position":"9","document":{"total":{"amount":"1.50","currency":"EUR"},"who":"Ana\u001b[31m"}},` +
			`{"orderId":"o-2","revision":0,"position":"8","document":{"who":null,"tags":["a","b"]}}],"total":1200,"next":"17.abc"}`: `
ORDER  TOTAL     WHO       TAGS
o-1    1.50 EUR  Ana�[31m
o-2              (none)    a; b
2 of 1,200 orders; go on with cursor=17.abc
`,
		`{"items":[],"total":0}`: "\n0 of 0 orders\n",
		`[{"group":"PT","orders":2,"amount":{"amount":"3.00","currency":"EUR"}},{"group":"ES","orders":1,"amount":{"amount":"0.00","currency":"EUR"}}]`: `
GROUP  ORDERS  AMOUNT
PT     2       3.00 EUR
ES     1       0.00 EUR
`,
		`[]`:             "\n",
		`17`:             "\nVALUE\n17\n",
		`null`:           "\nVALUE\n(none)\n",
		`["a"]`:          "\nVALUE\na\n",
		`{"items":null}`: "\nITEMS\n(none)\n",
		`{"a":1,"b":{"c":[true]}}`: `
A  B
1  c (true)
`,
	} {
		var page strings.Builder
		if err := writeAnswer(&page, json.RawMessage(answer)); err != nil || "\n"+page.String() != want {
			t.Errorf("%s: %v, got:\n%s\nwant:%s", answer, err, &page, want)
		}
	}
}
