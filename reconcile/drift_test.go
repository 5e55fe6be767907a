package reconcile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
)

func fts5Register(c *sqlite3.Conn) error { return fts5.Register(c) }

func text(t testing.TB, report Report) string {
	t.Helper()
	report.Progress = Progress{}
	data, err := json.MarshalIndent(report, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// wantClean wants a run that compared everything and found nothing.
func wantClean(t testing.TB, report Report) {
	t.Helper()
	if report.Verdict != Clean || !report.Compared.Complete || len(report.Findings) != 0 {
		t.Fatalf("not clean: %s", text(t, report))
	}
}

func TestNothingDiffers(t *testing.T) {
	w := filled(t, 300)
	report := w.run(Request{})
	wantClean(t, report)
	c := report.Compared
	if c.Events == 0 || c.Streams < 300 || c.Documents != c.Streams || c.Customers == 0 || c.Figures == 0 || c.Again != 0 {
		t.Errorf("%+v", c)
	}
}

// damage is one way in which another program makes the views of an order wrong.
type damage struct {
	class Class
	field string // a field that the finding names, or a word of its detail
	do    func(w *world, c *sqlite3.Conn, id string) (changed int64)
}

const (
	ofOrder = ` WHERE id = ?1`
	byN     = ` WHERE n = (SELECT n FROM orders WHERE id = ?1)`
)

// sql is a damage of one statement or more.
func sql(class Class, field string, statements ...string) damage {
	return damage{class, field, func(w *world, c *sqlite3.Conn, id string) (changed int64) {
		for _, s := range statements {
			changed += w.tamper(c, s, id)
		}
		return changed
	}}
}

// set changes one field of a document; the finding names field.
func set(path, value, field string) damage {
	return sql(Content, field,
		`UPDATE docs SET document = CAST(json_set(document, '$.`+path+`', json('`+value+`')) AS BLOB)`+byN)
}

func damages() map[string]damage {
	return map[string]damage{
		"document deleted": sql(Missing, "there is no document", `DELETE FROM docs`+byN),
		"everything deleted": sql(Missing, "", `DELETE FROM docs`+byN, `DELETE FROM skus`+byN,
			`DELETE FROM fts WHERE rowid = (SELECT n FROM orders WHERE id = ?1)`, `DELETE FROM orders`+ofOrder),
		"row deleted": sql(Missing, "", `DELETE FROM orders`+ofOrder),

		"status":      set("status", `"lost"`, "/status"),
		"name":        set("customer.name", `"Somebody Else"`, "/customer/name"),
		"total":       set("totals.grand.amount", `"0.01"`, "/totals/grand"),
		"placed":      set("placedAt", `"1999-12-31T00:00:00Z"`, "/placedAt"),
		"position":    set("position", `"1"`, "/position"),
		"a new field": set("colour", `"red"`, "JSON that docket does not write"),
		"not JSON":    sql(Content, "document", `UPDATE docs SET document = CAST('{"id":' AS BLOB)`+byN),
		"column":      sql(Content, "total", `UPDATE orders SET total = total + 1`+ofOrder),
		"number":      sql(Content, "number", `UPDATE orders SET number = 'X'`+ofOrder),
		"words":       sql(Content, "full text", `DELETE FROM fts WHERE rowid = (SELECT n FROM orders WHERE id = ?1)`),
		"SKUs":        sql(Content, "sku", `DELETE FROM skus`+byN),
		"shape":       sql(Content, "shape", `UPDATE orders SET shape = 999999`+ofOrder),

		"old version": {Stale, "", (*world).putBack},
		"ahead": sql(Ahead, "", `UPDATE docs SET document = CAST(json_set(document, '$.revision', 1000) AS BLOB)`+byN,
			`UPDATE orders SET revision = 1000`+ofOrder),

		"grand contributed":  sql(Aggregate, "/contribution/grand", `UPDATE docs SET contribution = CAST(json_set(contribution, '$.s.g', 1 + json_extract(contribution, '$.s.g')) AS BLOB)`+byN),
		"day contributed":    sql(Aggregate, "/contribution/day", `UPDATE docs SET contribution = CAST(json_set(contribution, '$.d', '1999-12-31') AS BLOB)`+byN),
		"nothing to read":    sql(Content, "contribution", `UPDATE docs SET contribution = x'00'`+byN),
		"group contributed":  sql(Aggregate, "/contribution/groups/tag/x", `UPDATE docs SET contribution = CAST(json_insert(contribution, '$.g[#]', json('{"d":"tag","k":"x"}')) AS BLOB)`+byN),
		"nobody contributed": sql(Aggregate, "/contribution/customer", `UPDATE docs SET contribution = CAST(json_set(contribution, '$.u', 'nobody') AS BLOB)`+byN),
	}
}

// putBack writes the order as it was after its first event.
func (w *world) putBack(c *sqlite3.Conn, id string) int64 {
	w.Helper()
	var doc view.Order
	for r, err := range w.store.ReadStream(w.Context(), ns.Stream(codec.Category, id), 0, eventstore.Forwards, 1) {
		if err != nil {
			w.Fatal(err)
		}
		e, err := codec.Decode(r, ns)
		if err != nil {
			w.Fatal(err)
		}
		doc = projections.Apply(doc, e)
	}
	document, err := json.Marshal(doc)
	if err != nil {
		w.Fatal(err)
	}
	contribution, err := json.Marshal(projections.Contributions(doc))
	if err != nil {
		w.Fatal(err)
	}
	return w.tamper(c, `UPDATE docs SET document = ?2, contribution = ?3`+byN, id, document, contribution) +
		w.tamper(c, `UPDATE orders SET revision = 0`+ofOrder, id)
}

// A thousand differences by another program: all found, rightly classed, and
// repaired; the next run is clean.
func TestThousandDifferences(t *testing.T) {
	w := filled(t, 1500)
	c := w.other()
	want := map[string]damage{}
	kinds := damages()
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	how := map[string]string{}
	const ordersWrong = 820
	for i, id := range w.ids(ordersWrong + 10) {
		name := names[i%len(names)]
		if len(want) == ordersWrong {
			break
		}
		if name == "old version" && w.length(id) < 2 {
			continue
		}
		if kinds[name].do(w, c, id) == 0 {
			t.Fatalf("%s of order %s changed nothing", name, id)
		}
		want[id], how[id] = kinds[name], name
	}
	for i := range 50 {
		id := fmt.Sprintf("orphan-%d", i)
		w.tamper(c, `INSERT INTO orders (id, revision, shape, placed, updated, total, number, words) VALUES (?1, 0, 1, 0, 0, 0, 'X', 0)`, id)
		if i%2 == 0 {
			w.tamper(c, `INSERT INTO docs (n, contribution, skus, document) SELECT n, CAST('{}' AS BLOB), '[]', CAST('{"id":"'||id||'"}' AS BLOB) FROM orders WHERE id = ?1`, id)
		}
		want[id], how[id] = damage{class: Orphan}, "orphan"
	}
	nudged := map[string]int64{
		"product":  w.tamper(c, `UPDATE products SET units = units + 1 WHERE sku IN (SELECT sku FROM products ORDER BY sku LIMIT 40)`),
		"customer": w.tamper(c, `UPDATE customers SET grand = grand - 1 WHERE customer IN (SELECT customer FROM customers ORDER BY customer LIMIT 70)`),
		"method":   w.tamper(c, `UPDATE methods SET captured = captured + 5 WHERE day IN (SELECT day FROM methods ORDER BY day LIMIT 10)`),
		"sums":     w.tamper(c, `UPDATE sums SET lines = lines + 1 WHERE day IN (SELECT day FROM sums WHERE day <> '*' ORDER BY day LIMIT 1)`),
		"facet":    w.tamper(c, `UPDATE shapes SET orders = orders + 1 WHERE id IN (1, 2, 3)`),
	}

	put := int64(len(want))
	for _, n := range nudged {
		put += n
	}
	if put < 1000 {
		t.Fatalf("%d differences, want a thousand", put)
	}

	report := w.run(Request{Repair: true})
	found := map[string]int64{}
	for _, f := range report.Findings {
		if f.Outcome != "repaired" {
			t.Errorf("not repaired: %+v", f)
		}
		if f.Entity != "order" {
			found[f.Entity]++
			if f.Class != Aggregate || len(f.Fields) == 0 {
				t.Errorf("%+v", f)
			}
			continue
		}
		d, damaged := want[f.ID]
		if !damaged {
			t.Errorf("healthy order reported: %+v", f)
			continue
		}
		delete(want, f.ID)
		named := strings.Contains(f.Detail, d.field)
		for _, field := range f.Fields {
			named = named || strings.HasPrefix(field.Path, d.field)
		}
		if f.Class != d.class || !named {
			t.Errorf("%s: %s", how[f.ID], asJSON(t, f))
		}
	}
	for id := range want {
		t.Errorf("%s of order %s was not found", how[id], id)
	}
	for entity, n := range nudged {
		// A row of sums or facets is of many figures, and many rows are of one.
		least := n
		if entity == "sums" || entity == "facet" {
			least = 1
		}
		if found[entity]+report.Unlisted < least {
			t.Errorf("%d of %d differences of %s found", found[entity], n, entity)
		}
	}
	if report.Verdict != Drift || !report.Compared.Complete || report.Repaired != report.found() || t.Failed() {
		report.Findings = nil
		t.Fatalf("%s", text(t, report))
	}
	wantClean(t, w.run(Request{}))
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// length of an order's stream.
func (w *world) length(id string) (n int) {
	w.Helper()
	for _, err := range w.store.ReadStream(w.Context(), ns.Stream(codec.Category, id), 0, eventstore.Forwards, 0) {
		if err != nil {
			w.Fatal(err)
		}
		n++
	}
	return n
}
