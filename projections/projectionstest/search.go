package projectionstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

func visible(t *testing.T, s Store) {
	f := start(t, s)
	for _, doc := range Documents(20, 30) {
		f.put(doc)
		if s.Late {
			f.refresh()
		}
		page, err := f.search.Orders(f.ctx, query.Question{IDs: []string{doc.ID}, Sort: query.Sort{By: query.ByPlacedAt}, Limit: 1})
		f.same("the new order", page.Items, []view.Order{doc}, err)
	}
}

// holding asks for orders right after they were written, without a refresh.
func holding(t *testing.T, s Store) {
	f := start(t, s)
	r := random(27)
	ask := func(id string, revision int64) (query.Page, error) {
		return f.search.Orders(f.ctx, query.Question{
			Sort: query.Sort{By: query.ByNumber}, Limit: query.MaxLimit, Facets: query.Facets,
			Holding: &query.Holding{OrderID: id, Revision: revision},
		})
	}
	everything := query.Question{Sort: query.Sort{By: query.ByNumber}, Limit: query.MaxLimit, Facets: query.Facets}
	for _, doc := range Documents(27, 15) {
		for range 2 {
			f.put(doc)
			page, err := ask(doc.ID, doc.Revision)
			f.samePage(everything, page, answer(f.all(), everything), err)
			doc = later(r, doc)
		}
		older, err := ask(doc.ID, 0) // any revision from there on will do
		f.same("total, holding an older revision", older.Total, len(f.docs), err)
	}
	if !s.Late {
		return // it passes over what it is told
	}
	kept := pick(r, f.all())
	for name, held := range map[string]query.Holding{
		"an order that is not there":         {OrderID: "absent", Revision: 0},
		"a revision that is not there":       {OrderID: kept.ID, Revision: kept.Revision + 1},
		"an order whose id differs by case":  {OrderID: strings.ToUpper(kept.ID) + "X", Revision: 0},
		"a revision that will never be kept": {OrderID: kept.ID, Revision: 1 << 39},
	} {
		if page, err := ask(held.OrderID, held.Revision); !errors.Is(err, query.ErrBehind) {
			t.Errorf("%s: %d orders, %v", name, page.Total, err)
		}
	}

	// Many wait at once, each for an order of its own.
	var wg sync.WaitGroup
	for lane, doc := range Documents(28, 40)[:16] {
		doc.ID = fmt.Sprint("held-", lane)
		wg.Go(func() {
			for range 5 {
				outcomes, err := f.Write(f.ctx, projections.Batch{Changes: []projections.Change{ChangeTo(doc, 0)}})
				if err != nil || outcomes[0].Result != projections.Applied {
					t.Errorf("write %s: %v, %v", doc.ID, outcomes, err)
					return
				}
				page, err := f.search.Orders(f.ctx, query.Question{
					IDs: []string{doc.ID}, Sort: query.Sort{By: query.ByNumber}, Limit: 1,
					Holding: &query.Holding{OrderID: doc.ID, Revision: doc.Revision},
				})
				if err != nil || len(page.Items) != 1 || page.Items[0].Revision != doc.Revision {
					t.Errorf("%s at %d: %+v, %v", doc.ID, doc.Revision, page.Items, err)
					return
				}
				doc.Revision++
			}
		})
	}
	wg.Wait()
}

var sorts = []query.SortBy{query.ByPlacedAt, query.ByUpdatedAt, query.ByTotal, query.ByNumber}

// question is a random question about docs; most of them match something.
func question(r *rand.Rand, docs []view.Order) query.Question {
	doc := pick(r, docs)
	q := query.Question{
		Sort:         query.Sort{By: pick(r, sorts), Desc: r.IntN(2) == 0},
		Limit:        1 + r.IntN(60),
		WithoutTotal: r.IntN(8) == 0,
	}
	if r.IntN(2) == 0 {
		q.Facets = slices.Clone(query.Facets)
		r.Shuffle(len(q.Facets), func(i, j int) { q.Facets[i], q.Facets[j] = q.Facets[j], q.Facets[i] })
		q.Facets = q.Facets[:1+r.IntN(len(q.Facets))]
	}
	with := func(value string, from []string) []string {
		values := []string{value}
		for range r.IntN(2) {
			values = append(values, pick(r, from))
		}
		return slices.DeleteFunc(values, func(v string) bool { return v == "" })
	}
	between := func(at time.Time) (from, to *time.Time) {
		a, b := at.Add(-time.Duration(r.IntN(72))*time.Hour), at.Add(time.Duration(r.IntN(72))*time.Hour+time.Duration(r.IntN(2))*time.Nanosecond)
		switch r.IntN(3) {
		case 0:
			return &a, nil
		case 1:
			return nil, &b
		}
		return &a, &b
	}
	for range r.IntN(4) {
		switch r.IntN(18) {
		case 0:
			q.IDs = []string{doc.ID, pick(r, docs).ID, "absent", strings.ToUpper(doc.ID)}
		case 1:
			q.Status = with(doc.Status, statuses)
		case 2:
			q.PaymentStatus = with(doc.PaymentStatus, paid)
		case 3:
			q.FulfilmentStatus = with(doc.FulfilmentStatus, fulfilled)
		case 4:
			q.Kind = with(doc.Kind, kinds)
		case 5:
			q.Source = with("olist", systems)
		case 6:
			if q.Customer = []string{"c3", "c4", "absent"}; doc.Customer.ID != "" {
				q.Customer[0] = doc.Customer.ID
			}
		case 7:
			q.Tag = with(pick(r, tags), tags)
		case 8:
			q.Anomaly = with(pick(r, anomalies), anomalies)
		case 9:
			q.Country = with(doc.Country, countries)
		case 10:
			q.State = with(doc.State, states)
		case 11:
			q.SKU = []string{"SKU-3", fmt.Sprint("SKU-", r.IntN(32))}
		case 12:
			q.PlacedFrom, q.PlacedTo = between(doc.PlacedAt)
		case 13:
			q.UpdatedFrom, q.UpdatedTo = between(doc.UpdatedAt.Add(-60 * time.Hour))
		case 14:
			q.DeliveredFrom, q.DeliveredTo = between(doc.PlacedAt.Add(24 * time.Hour))
		case 15:
			q.Currency = []string{string(doc.Currency), "USD"}
		case 16:
			low, high := doc.Totals.Grand, doc.Totals.Grand.Add(money.Minor(r.Int64N(4000), doc.Currency))
			q.Currency, q.MinTotal, q.MaxTotal = []string{string(doc.Currency)}, &low, &high
			if r.IntN(2) == 0 {
				q.MaxTotal = nil
			}
		case 17:
			if words := strings.Fields(projections.OrderWords(doc)); len(words) > 0 {
				q.Words = []string{pick(r, words)}
				if r.IntN(2) == 0 {
					q.Words = append(q.Words, pick(r, words))
				}
			}
		}
	}
	if q.Sort.By == query.ByTotal {
		q.Currency = []string{string(doc.Currency)}
		if q.MinTotal != nil {
			q.Currency = []string{string(q.MinTotal.Currency())}
		}
	}
	if r.IntN(3) == 0 {
		after := keyOf(&doc, q.Sort.By) // whether or not the order matches
		q.After = &after
	}
	return q
}

func questions(t *testing.T, s Store) {
	f := start(t, s)
	r := random(21)
	docs := Documents(21, 600)
	f.put(docs...)
	f.refresh()
	for range s.Questions {
		q := question(r, docs)
		page, err := f.search.Orders(f.ctx, q)
		f.samePage(q, page, answer(docs, q), err)
	}
	// And after every document was written again, most of them with other
	// values.
	for i := range docs {
		docs[i] = later(r, docs[i])
	}
	f.put(docs...)
	f.refresh()
	for range s.Questions {
		q := question(r, docs)
		page, err := f.search.Orders(f.ctx, q)
		f.samePage(q, page, answer(docs, q), err)
	}
}

// walks goes through random questions page by page.
func walks(t *testing.T, s Store) {
	f := start(t, s)
	r := random(22)
	docs := Documents(22, 400)
	f.put(docs...)
	f.refresh()
	for i := range 60 {
		q := question(r, docs)
		q.After, q.Facets, q.WithoutTotal = nil, nil, false
		if i < 8 { // everything, in every order
			q = query.Question{Sort: query.Sort{By: sorts[i%4], Desc: i < 4}, Limit: 7}
		}
		whole := q
		whole.Limit = len(docs)
		want := answer(docs, whole)
		var got []string
		for {
			page, err := f.search.Orders(f.ctx, q)
			if err != nil {
				t.Fatalf("%s: %v", describe(q), err)
			}
			f.same("total along the walk", page.Total, want.Total, nil)
			got = append(got, ids(page.Items)...)
			if page.Next == nil {
				break
			}
			if len(page.Items) != q.Limit || len(got) > len(docs) {
				t.Fatalf("%s: %d items, %d so far, and more to come", describe(q), len(page.Items), len(got))
			}
			q.After = page.Next
		}
		f.same("walk of "+describe(q), present(got), ids(want.Items), nil)
	}
}

func fullText(t *testing.T, s Store) {
	f := start(t, s)
	doc := func(id, title, name string) view.Order {
		d := Documents(23, 1)[0]
		d.ID, d.Number, d.Customer.Name, d.Customer.Email = id, "N-"+id, name, ""
		d.Notes, d.Tags, d.ShippingAddress = []view.Note{}, []string{}, nil
		d.Lines = []view.Line{{ID: "1", SKU: "K7/b.2", Title: title, Quantity: 1, UnitPrice: money.Zero(d.Currency), Total: money.Zero(d.Currency)}}
		return d
	}
	f.put(
		doc("a", "CAFÉ crème", "José"),
		doc("b", "cafe mug", "JOSE maria"),
		doc("c", "cafeteria", "not josé's"),
		doc("d", `AND OR NOT NEAR "quoted" * ^`, "x"),
		doc("e", "日本 茶 ﬁne Straße", "Łukasz"),
		doc("f", strings.Repeat("long", 200), "foo_bar 3.14"),
	)
	f.refresh()
	for _, c := range []struct{ text, want string }{
		{"café", "a b"}, {"CAFE", "a b"}, {"cafe\u0301", "a b"}, {"caf", ""}, {"cafe jose", "a b"}, {"jose", "a b c"},
		{"creme jose", "a"}, {"near", "d"}, {"and or not", "d"}, {`"quoted"`, "d"}, {"quoted cafe", ""}, {"日本", "e"}, {"茶", "e"},
		{"fine", "e"}, {"STRASSE", "e"}, {"łukasz", "e"}, {strings.Repeat("LONG", 200), "f"}, {"foo", "f"}, {"bar foo", "f"}, {"3.14", "f"},
		{"14", "f"}, {"k7", "a b c d e f"}, {"N-d", "d"}, {"b 2 k7 mug", "b"},
	} {
		words := projections.Words(c.text)
		if len(words) == 0 {
			t.Fatalf("%q has no words", c.text)
		}
		page, err := f.search.Orders(f.ctx, query.Question{Words: words, Sort: query.Sort{By: query.ByNumber}, Limit: 10})
		f.same(fmt.Sprintf("%.20q", c.text), strings.Join(ids(page.Items), " "), c.want, err)
	}
	// A changed text is found by its new words only.
	changed := doc("a", "tea", "José")
	changed.Revision = f.docs["a"].Revision + 1
	f.put(changed)
	f.refresh()
	for text, want := range map[string]int64{"tea": 1, "cafe": 1, "creme": 0, "jose": 3} {
		page, err := f.search.Orders(f.ctx, query.Question{Words: projections.Words(text), Sort: query.Sort{By: query.ByNumber}, Limit: 10})
		f.same(text, page.Total, want, err)
	}
}

// oneInstant asks while documents change, all of them in each batch.
func oneInstant(t *testing.T, s Store) {
	f := start(t, s)
	docs := Documents(26, 40)
	for i := range docs {
		docs[i].Status, docs[i].Tags = "placed", []string{"0"}
	}
	f.put(docs...)
	f.refresh()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for round := range 40 {
			var batch projections.Batch
			for i := range docs {
				docs[i].Revision++
				docs[i].Status = statuses[round%2*2]
				docs[i].Tags = []string{fmt.Sprint(round)}
				if (round+i)%2 == 0 {
					docs[i].Status = "cancelled"
				}
				batch.Changes = append(batch.Changes, ChangeTo(docs[i], 0))
			}
			if _, err := f.Write(f.ctx, batch); err != nil {
				t.Errorf("write: %v", err)
			}
			if err := f.Refresh(f.ctx); err != nil {
				t.Errorf("refresh: %v", err)
			}
		}
	}()
	for asked := 0; ; asked++ {
		select {
		case <-done:
			if asked == 0 {
				t.Error("nothing was asked while writing")
			}
			return
		default:
		}
		for _, q := range []query.Question{
			{},
			{Status: []string{"cancelled"}},
			{Words: projections.Words("example")},
			{PlacedFrom: &firstPlaced, Status: []string{"placed", "confirmed"}},
		} {
			q.Sort, q.Limit, q.Facets = query.Sort{By: query.ByUpdatedAt}, 100, []string{"status", "tag"}
			page, err := f.search.Orders(f.ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			// The facets must be those of the very items of the page.
			want := answer(page.Items, query.Question{Sort: q.Sort, Limit: q.Limit, Facets: q.Facets})
			f.same("facets beside the page", page.Facets, want.Facets, nil)
			f.same("total beside the page", page.Total, int64(len(page.Items)), nil)
		}
	}
}
