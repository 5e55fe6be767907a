package sqlite_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
	"github.com/ncruces/go-sqlite3"
)

const batchSize = 500

// spread makes the suite's documents look like those of a real shop: two years of
// days, many customers, products and numbers; values that go together, so that
// the combinations in use are hundreds.
func spread(n int) []view.Order {
	docs := projectionstest.Documents(1, n)
	for i := range docs {
		d := &docs[i]
		h := i * 7919
		d.PlacedAt = d.PlacedAt.Add(time.Duration(h%600) * 24 * time.Hour).Add(time.Duration(i) * time.Second)
		d.UpdatedAt = d.PlacedAt.Add(24 * time.Hour)
		if d.DeliveredAt != nil {
			at := d.PlacedAt.Add(72 * time.Hour)
			d.DeliveredAt = &at
		}
		d.Kind, d.State, d.Country = "order", fmt.Sprintf("S%d", (h%27)*(h%27)/27), "BR"
		if d.Currency != "BRL" {
			d.Currency, d.State, d.Country = "GBP", "", "GB"
		}
		d.Source = &view.Source{System: "shop-" + string(d.Currency), ID: d.ID}
		d.Tags = []string{"shop:" + d.FulfilmentStatus}
		if i%50 == 0 {
			d.Tags = append(d.Tags, "vip")
		}
		if i%100 > 1 {
			d.Anomalies = []view.Anomaly{}
		}
		for _, a := range []*money.Amount{&d.Totals.Items, &d.Totals.Shipping, &d.Totals.Discount, &d.Totals.Tax, &d.Totals.Grand, &d.Totals.Paid, &d.Totals.Refunded} {
			*a = money.Minor(a.MinorUnits(), d.Currency)
		}
		d.Totals.Rounding = money.Zero(d.Currency)
		d.Number = fmt.Sprintf("N%08d", h%100_000_007)
		if d.Customer.ID != "" {
			d.Customer.ID = fmt.Sprintf("customer-%d", h%(n*9/10+1))
		}
		for j := range d.Payments {
			p := &d.Payments[j]
			p.Captured = money.Minor(p.Captured.MinorUnits(), d.Currency)
		}
		for j := range d.Lines {
			l := &d.Lines[j]
			l.UnitPrice = money.New(l.UnitPrice.Units(money.MaxScale)/1000, 3, d.Currency)
			l.Total = l.UnitPrice.Times(l.Quantity)
			l.SKU = fmt.Sprintf("SKU-%d", (h+j)%(n/3+1))
		}
	}
	return docs
}

func changes(docs []view.Order) []projections.Change {
	out := make([]projections.Change, len(docs))
	for i, d := range docs {
		out[i] = projectionstest.ChangeTo(d, 0)
	}
	return out
}

func openStore(b *testing.B) *sqlite.Store {
	sink, err := sqlite.NewBackend(b.TempDir(), sqlite.Options{}).Open(b.Context(), 1)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { sink.Close() })
	return sink.(*sqlite.Store)
}

func write(b *testing.B, s *sqlite.Store, all []projections.Change) {
	for batch := range slices.Chunk(all, batchSize) {
		if _, err := s.Write(b.Context(), projections.Batch{Changes: batch}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrite writes 20,000 documents: new ones, and each again with another
// status. Compare with BenchmarkPlainInsert.
func BenchmarkWrite(b *testing.B) {
	docs := spread(20_000)
	insert := changes(docs)
	for i := range docs {
		docs[i].Revision += 2
		docs[i].Status = "cancelled"
		docs[i].UpdatedAt = docs[i].UpdatedAt.Add(time.Hour)
	}
	update := changes(docs)
	for _, c := range []struct {
		name   string
		before []projections.Change
		batch  []projections.Change
	}{{"insert", nil, insert}, {"update", insert, update}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				s := openStore(b)
				write(b, s, c.before)
				b.StartTimer()
				write(b, s, c.batch)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(docs)), "µs/doc")
		})
	}
}

// BenchmarkPlainInsert encodes the same documents and inserts them into a table
// of id and JSON, as plainly as can be.
func BenchmarkPlainInsert(b *testing.B) {
	docs := spread(20_000)
	size := 0
	for b.Loop() {
		conn, err := sqlite3.Open(filepath.Join(b.TempDir(), "plain.db"))
		if err != nil {
			b.Fatal(err)
		}
		check := func(err error) {
			if err != nil {
				b.Fatal(err)
			}
		}
		check(conn.Exec(`PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE docs (id TEXT PRIMARY KEY, document BLOB) WITHOUT ROWID`))
		stmt, _, err := conn.Prepare(`INSERT INTO docs VALUES (?, ?)`)
		check(err)
		for batch := range slices.Chunk(docs, batchSize) {
			check(conn.Exec(`BEGIN`))
			for _, d := range batch {
				data, err := json.Marshal(d)
				check(err)
				size += len(data)
				check(stmt.BindText(1, d.ID))
				check(stmt.BindBlob(2, data))
				check(stmt.Exec())
			}
			check(conn.Exec(`COMMIT`))
		}
		check(stmt.Close())
		check(conn.Close())
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(docs)), "µs/doc")
	b.ReportMetric(float64(size)/float64(b.N*len(docs)), "bytes/doc")
}

// BenchmarkQuestions asks 100,000 orders, and reports the 99th percentile.
func BenchmarkQuestions(b *testing.B) {
	docs := spread(100_000)
	s := openStore(b)
	write(b, s, changes(docs))
	day := func(n int) *time.Time { t := docs[0].PlacedAt.AddDate(0, 0, n); return &t }
	newest := query.Sort{By: query.ByPlacedAt, Desc: true}
	low := money.MustParse("100.00", "BRL")
	for _, c := range []struct {
		name string
		q    query.Question
	}{
		{"all", query.Question{}},
		{"status", query.Question{Status: []string{"confirmed"}}},
		{"status+state", query.Question{Status: []string{"cancelled"}, State: []string{"SP"}}},
		{"tag by total", query.Question{Tag: []string{"vip"}, Currency: []string{"BRL"}, Sort: query.Sort{By: query.ByTotal}}},
		{"rare shape", query.Question{Tag: []string{"vip"}, Anomaly: []string{"no-lines"}, State: []string{"S3"}}},
		{"month", query.Question{PlacedFrom: day(100), PlacedTo: day(130)}},
		{"half of all by number", query.Question{PlacedFrom: day(300), Sort: query.Sort{By: query.ByNumber}}},
		{"delivered+status", query.Question{DeliveredFrom: day(100), DeliveredTo: day(400), Status: []string{"placed"}}},
		{"least total", query.Question{Currency: []string{"BRL"}, MinTotal: &low, Sort: query.Sort{By: query.ByTotal, Desc: true}}},
		{"customer", query.Question{Customer: []string{"customer-7919"}}},
		{"sku", query.Question{SKU: []string{"SKU-7919"}}},
		{"text rare", query.Question{Words: []string{"c7"}}},
		{"text one", query.Question{Words: []string{"sku", "7919"}}},
		{"text frequent", query.Question{Words: []string{"cafe"}}},
		{"text in most", query.Question{Words: []string{"sao", "example"}}},
		{"text and status", query.Question{Words: []string{"cafe"}, Status: []string{"cancelled"}}},
		{"facets of all", query.Question{Facets: query.Facets}},
		{"facets of a status", query.Question{Facets: query.Facets, Status: []string{"confirmed"}}},
		{"facets of half", query.Question{Facets: query.Facets, PlacedFrom: day(300)}},
		{"facets of a text", query.Question{Facets: query.Facets, Words: []string{"cafe"}}},
	} {
		if c.q.Sort.By == "" {
			c.q.Sort = newest
		}
		c.q.Limit = query.DefaultLimit
		b.Run(c.name, func(b *testing.B) {
			percentile(b, func() {
				page, err := s.Orders(b.Context(), c.q)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(page.Total), "matches")
			})
		})
	}
	b.Run("by id", func(b *testing.B) {
		i := 0
		percentile(b, func() {
			i = (i + 7919) % len(docs)
			if _, ok, err := s.Order(b.Context(), docs[i].ID); !ok || err != nil {
				b.Fatal(ok, err)
			}
		})
	})
	for name, q := range map[string]query.StatsQuestion{"stats": {}, "stats top": {Top: 10}, "stats of a year": {From: "2018-06-01", To: "2019-05-31"}} {
		b.Run(name, func(b *testing.B) {
			percentile(b, func() {
				if _, err := s.Stats(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func percentile(b *testing.B, ask func()) {
	b.ReportAllocs()
	runtime.GC()
	var times []time.Duration
	for b.Loop() {
		start := time.Now()
		ask()
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
}

// large is what an order of a real shop, imported with its history, is: about
// 2.5 KB.
func large(n int) (all []projections.Change) {
	docs := spread(n)
	for i := range docs {
		d := &docs[i]
		at := d.PlacedAt
		d.Payments = append(d.Payments, view.Payment{ID: "p9", Method: "credit_card", Status: "captured", Authorised: money.Zero(d.Currency), Captured: money.Zero(d.Currency), At: at})
		d.Shipments = []view.Shipment{{ID: "s1", Status: "delivered", DispatchedAt: &at, DeliveredAt: &at, Carrier: "carrier", TrackingNumber: d.ID, Lines: []view.LineQuantity{{LineID: "1", Quantity: 1}}}}
		d.BillingAddress = d.ShippingAddress
		d.Notes = []view.Note{{ID: "n1", Author: "customer", Text: strings.Repeat("produto recebido antes do prazo ", 8), At: at}}
		d.Anomalies = []view.Anomaly{{Kind: "no-lines", Detail: strings.Repeat("as found ", 20)}}
		all = append(all, projectionstest.ChangeTo(*d, 0))
	}
	return all
}

// BenchmarkInspect looks at 20,000 healthy documents.
func BenchmarkInspect(b *testing.B) {
	all, size := large(20_000), 0
	for _, c := range all {
		data, err := json.Marshal(c.Order)
		if err != nil {
			b.Fatal(err)
		}
		size += len(data)
	}
	s := openStore(b)
	write(b, s, all)
	b.ReportAllocs()
	for b.Loop() {
		for batch := range slices.Chunk(all, batchSize) {
			kept, err := s.Inspect(b.Context(), batch)
			if err != nil {
				b.Fatal(err)
			}
			for i := range kept {
				if !kept[i].Same {
					b.Fatalf("%s: %+v", batch[i].Order.ID, kept[i])
				}
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(all)), "µs/doc")
	b.ReportMetric(float64(size)/float64(len(all)), "bytes/doc")
}

// BenchmarkRecount counts 20,000 healthy documents again.
func BenchmarkRecount(b *testing.B) {
	docs := large(20_000)
	s := openStore(b)
	write(b, s, docs)
	b.ReportAllocs()
	for b.Loop() {
		if changed, err := s.Recount(b.Context()); changed != 0 || err != nil {
			b.Fatal(changed, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(docs)), "µs/doc")
}

// BenchmarkFigures walks the figures of 20,000 documents.
func BenchmarkFigures(b *testing.B) {
	docs := large(20_000)
	s := openStore(b)
	write(b, s, docs)
	b.ReportAllocs()
	figures := 0
	for b.Loop() {
		if _, err := s.Figures(b.Context(), func(projections.Figure) error { figures++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(figures)/float64(b.N), "figures")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(docs)), "µs/doc")
}
