package sqlite_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
	"github.com/ncruces/go-sqlite3"
)

// healthy is what a sink shows when nothing is wrong.
type healthy struct {
	sink    projectionstest.Sink
	changes map[string]projections.Change
	figures map[projections.FigureKey][8]int64
}

func healthySink(t *testing.T, s projectionstest.Sink, docs []view.Order) *healthy {
	t.Helper()
	h := &healthy{s, map[string]projections.Change{}, nil}
	var batch projections.Batch
	for _, doc := range docs {
		h.changes[doc.ID] = projectionstest.ChangeTo(doc, 0)
		batch.Changes = append(batch.Changes, h.changes[doc.ID])
	}
	if _, err := s.Write(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	h.figures = projectionstest.Figures(batch.Changes)
	return h
}

func (h *healthy) read(t *testing.T) map[projections.FigureKey][8]int64 {
	t.Helper()
	figures := map[projections.FigureKey][8]int64{}
	_, err := h.sink.Figures(t.Context(), func(f projections.Figure) error {
		figures[f.FigureKey] = f.Values
		return nil
	})
	if err != nil {
		t.Fatalf("figures: %v", err)
	}
	return figures
}

// differing are the orders that are not what they should be, each with what is
// kept, and the figures that are not.
func (h *healthy) differing(t *testing.T) (orders map[string]projections.Kept, figures []projections.FigureKey) {
	t.Helper()
	ids := slices.Sorted(maps.Keys(h.changes))
	var all []projections.Change
	for _, id := range ids {
		all = append(all, h.changes[id])
	}
	kept, err := h.sink.Inspect(t.Context(), all)
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	orders = map[string]projections.Kept{}
	for i, k := range kept {
		if !k.Same {
			orders[ids[i]] = k
		}
	}
	there, err := h.sink.IDs(t.Context(), "", 1000)
	if err != nil {
		t.Fatalf("ids: %v", err)
	}
	for _, id := range there {
		if _, ok := h.changes[id]; !ok {
			orders[id] = projections.Kept{Found: true}
		}
	}
	now := h.read(t)
	for key, v := range now {
		if h.figures[key] != v {
			figures = append(figures, key)
		}
	}
	for key := range h.figures {
		if _, ok := now[key]; !ok {
			figures = append(figures, key)
		}
	}
	return orders, figures
}

// repair is what reconciliation does.
func (h *healthy) repair(t *testing.T, orders map[string]projections.Kept, figures []projections.FigureKey) {
	t.Helper()
	for id := range orders {
		var change *projections.Change
		if c, ok := h.changes[id]; ok {
			change = &c
		}
		if err := h.sink.Replace(t.Context(), id, change); err != nil {
			t.Fatalf("replace %s: %v", id, err)
		}
	}
	if len(figures) == 0 && len(orders) == 0 {
		return
	}
	if _, err := h.sink.Recount(t.Context()); err != nil {
		t.Fatalf("recount: %v", err)
	}
}

// TestForeignDamage: whatever another program changes in the file is shown, is
// repaired, and is not there afterwards. The damage is to order "o0" or "O3"
// where it is to one.
func TestForeignDamage(t *testing.T) {
	const o0 = `(SELECT n FROM orders WHERE id = 'o0')`
	for _, c := range []struct {
		name, sql string
		says      string               // of the order, in what is kept of it; empty: nothing of it differs
		figure    projections.FigureOf // that differs, if any must
	}{
		{"order deleted from all tables", `DELETE FROM docs WHERE n = ` + o0 + `; DELETE FROM skus WHERE n = ` + o0 + `; DELETE FROM fts WHERE rowid = ` + o0 + `; DELETE FROM orders WHERE id = 'o0'`, "missing", "stray"},
		{"row deleted from orders", `DELETE FROM orders WHERE id = 'o0'`, "missing", "stray"},
		{"last row deleted from orders", `DELETE FROM orders WHERE n = (SELECT max(n) FROM orders)`, "", "stray"},
		{"orders.n", `UPDATE orders SET n = 7777 WHERE id = 'o0'`, "there is no document", "stray"},
		{"orders.n 0", `UPDATE orders SET n = 0 WHERE id = 'o0'`, "there is no document", "stray"},
		{"orders.id", `UPDATE orders SET id = 'other' WHERE id = 'o0'`, "missing", ""},
		{"orders.revision", `UPDATE orders SET revision = revision + 3 WHERE id = 'o0'`, "revision: ", ""},
		{"orders.shape to another", `UPDATE orders SET shape = (SELECT max(id) FROM shapes) WHERE id = 'o0'`, " of its shape: ", "stray"},
		{"orders.shape to none", `UPDATE orders SET shape = 7777 WHERE id = 'o0'`, "shape: 7777, which is not there", "stray"},
		{"orders.placed", `UPDATE orders SET placed = placed + 1 WHERE id = 'o0'`, "placed: ", ""},
		{"orders.updated", `UPDATE orders SET updated = updated + 1 WHERE id = 'o0'`, "updated: ", ""},
		{"orders.delivered", `UPDATE orders SET delivered = coalesce(delivered, 0) + 1 WHERE id = 'o0'`, "delivered: ", ""},
		{"orders.delivered none", `UPDATE orders SET delivered = NULL WHERE delivered IS NOT NULL`, "", "several"},
		{"orders.total", `UPDATE orders SET total = total + 1 WHERE id = 'o0'`, "total: ", ""},
		{"orders.number", `UPDATE orders SET number = 'X' WHERE id = 'o0'`, "number: X, not ", ""},
		{"orders.customer", `UPDATE orders SET customer = 'X' WHERE id = 'o0'`, "customer: X, not ", ""},
		{"orders.customer none", `UPDATE orders SET customer = NULL WHERE id = 'o0'`, "customer: nothing, not ", ""},
		{"orders.words", `UPDATE orders SET words = words + 1 WHERE id = 'o0'`, "words: ", ""},
		{"an orphan", `INSERT INTO orders (n, id, revision, shape, placed, updated, total, number, words) VALUES (7777, 'orphan', 1, 1, 0, 0, 0, '', 0)`, "", "stray"},
		{"a whole orphan", `INSERT INTO orders SELECT 7777, 'orphan', revision, shape, placed, updated, delivered, total, number, customer, words FROM orders WHERE id = 'o0';
			INSERT INTO docs SELECT 7777, contribution, skus, document FROM docs WHERE n = ` + o0, "", "stray"},

		{"an order without id", `INSERT INTO orders SELECT 7777, '', revision, shape, placed, updated, delivered, total, number, customer, words FROM orders WHERE id = 'o0';
			INSERT INTO docs SELECT 7777, contribution, skus, document FROM docs WHERE n = ` + o0, "", "stray"},
		{"an order twice", `DROP INDEX by_id; INSERT INTO orders SELECT 7777, id, revision, shape, placed, updated, delivered, total, number, customer, words FROM orders WHERE id = 'o0';
			INSERT INTO docs SELECT 7777, contribution, skus, document FROM docs WHERE n = ` + o0, "id: there is another row", "stray"},
		{"an order twice, before it", `DROP INDEX by_id; INSERT INTO orders SELECT -7, id, revision, shape, placed, updated, delivered, total, number, customer, words FROM orders WHERE id = 'o0'`, "there is no document", "stray"},
		{"an id that is no text", `UPDATE orders SET id = CAST(x'6fff00' AS TEXT) WHERE id = 'o0'`, "missing", ""},
		{"bytes that are no text", `UPDATE docs SET skus = CAST(x'ff' AS TEXT) WHERE n = ` + o0 + `; INSERT INTO skus VALUES (CAST(x'ff00' AS TEXT), ` + o0 + `)`, "skus: \uFFFD, not ", ""},

		{"docs row deleted", `DELETE FROM docs WHERE n = ` + o0, "there is no document", ""},
		{"docs.n", `UPDATE docs SET n = 7777 WHERE n = ` + o0, "there is no document", "stray"},
		{"document field", `UPDATE docs SET document = CAST(json_set(document, '$.city', 'X') AS BLOB) WHERE n = ` + o0, "content", ""},
		{"document revision back", `UPDATE docs SET document = CAST(json_set(document, '$.revision', -1) AS BLOB) WHERE n = ` + o0, "content", ""},
		{"document with another member", `UPDATE docs SET document = CAST(json_set(document, '$.more', 1) AS BLOB) WHERE n = ` + o0, "document: JSON that docket does not write", ""},
		{"document cut", `UPDATE docs SET document = substr(document, 1, 100) WHERE n = ` + o0, "unreadable: document: ", ""},
		{"document empty", `UPDATE docs SET document = x'' WHERE n = ` + o0, "unreadable: document: ", ""},
		{"document with more behind", `UPDATE docs SET document = CAST(document || '{' AS BLOB) WHERE n = ` + o0, "unreadable: document: ", ""},
		{"document with a member twice", `UPDATE docs SET document = CAST(replace(document, '{"id":"o0"', '{"customer":{"email":"X"},"id":"o0"') AS BLOB) WHERE n = ` + o0, "content", ""},
		{"document of another type", `UPDATE docs SET document = CAST('{"id":7}' AS BLOB) WHERE n = ` + o0, "unreadable: document: ", ""},
		{"document of another order", `UPDATE docs SET document = (SELECT document FROM docs JOIN orders USING (n) WHERE id = 'O3') WHERE n = ` + o0, "content", ""},
		{"contribution", `UPDATE docs SET contribution = CAST(json_set(contribution, '$.s.g', 12345) AS BLOB) WHERE n = ` + o0, "contribution", ""},
		{"contribution empty", `UPDATE docs SET contribution = CAST('{}' AS BLOB) WHERE n = ` + o0, "contribution", ""},
		{"contribution cut", `UPDATE docs SET contribution = substr(contribution, 1, 20) WHERE n = ` + o0, "unreadable: contribution: ", ""},
		{"contribution and document cut", `UPDATE docs SET contribution = x'', document = x''`, "unreadable: document: ", "several"},
		{"docs.skus", `UPDATE docs SET skus = '["X"]' WHERE n = ` + o0, `skus: ["X"], not `, ""},
		{"docs.skus unreadable", `UPDATE docs SET skus = 'X' WHERE n = ` + o0, "skus: X, not ", ""},

		{"skus row deleted", `DELETE FROM skus WHERE n = ` + o0, ": not indexed", ""},
		{"skus row added", `INSERT INTO skus VALUES ('X', ` + o0 + `)`, "sku X: indexed, and not of the order", ""},
		{"skus row renamed", `UPDATE skus SET sku = sku || 'X' WHERE n = ` + o0, "indexed, and not of the order", ""},
		{"skus row of no order", `INSERT INTO skus VALUES ('X', 7777)`, "", "stray"},

		{"full text deleted", `DELETE FROM fts WHERE rowid = ` + o0, "full text: ", ""},
		{"full text of others", `DELETE FROM fts WHERE rowid = ` + o0 + `; INSERT INTO fts (rowid, words) VALUES (` + o0 + `, 'other words')`, "full text: ", ""},
		{"full text of all", `DELETE FROM fts`, "full text: ", "several"},
		{"full text moved", `UPDATE fts SET rowid = 7777, words = 'moved' WHERE rowid = ` + o0, "full text: ", "stray"},
		{"full text of no order", `INSERT INTO fts (rowid, words) VALUES (7777, 'x')`, "", "stray"},

		{"shapes.orders", `UPDATE shapes SET orders = orders + 1 WHERE id = 1`, "", "facet"},
		{"shapes.orders, so that no facet differs", `UPDATE shapes SET orders = orders + 1 WHERE id = 1;
			UPDATE shapes SET orders = orders + 1 WHERE id = 2; UPDATE shapes SET orders = orders - 1 WHERE id = 2`, "", "facet"},
		{"shapes.status", `UPDATE shapes SET status = 'X' WHERE id = (SELECT shape FROM orders WHERE id = 'o0')`, "status of its shape: X, not ", "facet"},
		{"shapes.tag", `UPDATE shapes SET tag = 'X' WHERE id = (SELECT shape FROM orders WHERE id = 'o0')`, "tag of its shape: X, not ", "facet"},
		{"shapes row deleted", `DELETE FROM shapes WHERE id = (SELECT shape FROM orders WHERE id = 'o0')`, "which is not there", "facet"},
		{"shapes row added", `INSERT INTO shapes SELECT 7777, 3, 'X', paymentStatus, fulfilmentStatus, kind, source, currency, country, state, tag, anomaly FROM shapes WHERE id = 1`, "", "facet"},

		{"groupsets.currency", `UPDATE groupsets SET currency = 'CHF' WHERE id = 1`, "", "sums"},
		{"groupsets.groups", `UPDATE groupsets SET groups = '[{"d":"status","k":"X"}]' WHERE id = 2`, "", "sums"},
		{"groupsets.groups unreadable", `UPDATE groupsets SET groups = 'X' WHERE id = 2`, "", "sums"},
		{"groupsets row deleted", `DELETE FROM groupsets WHERE id = 1`, "", "sums"},
		{"groupsets all deleted", `DELETE FROM groupsets`, "", "sums"},
		{"sums row of no combination", `INSERT INTO groupsets VALUES (7777, 'BRL', '[{"d":"status","k":"X"}]'); INSERT INTO sums SELECT 7777, '*', 1, 1, 1, 1, 1, 1, 1, 1`, "", "sums"},
		{"sums.day", `UPDATE sums SET day = '2001-01-01' WHERE groupset = 1 AND day = (SELECT min(day) FROM sums WHERE groupset = 1)`, "", "sums"},
		{"sums of all days", `UPDATE sums SET orders = orders + 1 WHERE day = '*' AND groupset = (SELECT max(groupset) FROM sums)`, "", "sums"},
		{"sums row deleted", `DELETE FROM sums WHERE groupset = 1`, "", "sums"},
		{"methods.payments", `UPDATE methods SET payments = payments + 1`, "", "method"},
		{"methods.captured", `UPDATE methods SET captured = 0 WHERE captured > 0`, "", "method"},
		{"methods.method", `UPDATE methods SET method = method || 'X'`, "", "method"},
		{"methods deleted", `DELETE FROM methods`, "", "method"},
		{"products.units", `UPDATE products SET units = units - 1`, "", "product"},
		{"products.amount", `UPDATE products SET amount = amount - 1`, "", "product"},
		{"products.millionths", `UPDATE products SET millionths = millionths + 1`, "", "product"},
		{"products row added", `INSERT INTO products VALUES ('BRL', 'X', 1, 1, 1)`, "", "product"},
		{"products deleted", `DELETE FROM products`, "", "product"},
		{"customers.orders", `UPDATE customers SET orders = orders + 1`, "", "customer"},
		{"customers.rounding", `UPDATE customers SET rounding = rounding + 1`, "", "customer"},
		{"customers row added", `INSERT INTO customers VALUES ('X', 'BRL', 1, 1, 1, 1, 1)`, "", "customer"},
		{"customers deleted", `DELETE FROM customers`, "", "customer"},
		{"sums.orders", `UPDATE sums SET orders = orders + 1`, "", "sums"},
		{"sums.lines", `UPDATE sums SET lines = lines + 1`, "", "sums"},
		{"sums.units", `UPDATE sums SET units = units + 1`, "", "sums"},
		{"sums.items", `UPDATE sums SET items = items + 1`, "", "sums"},
		{"sums.shipping", `UPDATE sums SET shipping = shipping + 1`, "", "sums"},
		{"sums.grand", `UPDATE sums SET grand = grand + 1`, "", "sums"},
		{"sums.paid", `UPDATE sums SET paid = paid + 1`, "", "sums"},
		{"sums.rounding", `UPDATE sums SET rounding = rounding + 1`, "", "sums"},
		{"customers.items", `UPDATE customers SET items = items + 1`, "", "customer"},
		{"customers.grand", `UPDATE customers SET grand = grand + 1`, "", "customer"},
		{"customers.paid", `UPDATE customers SET paid = paid + 1`, "", "customer"},
	} {
		damaged := func(t *testing.T, live bool) {
			dir := t.TempDir()
			docs := projectionstest.Documents(50, 60)
			docs[0].Revision = 3
			docs[0].Customer = view.Customer{ID: "c1", Name: "Zoë"}
			docs[0].Lines = append(docs[0].Lines, view.Line{ID: "x", SKU: "SKU-0", Quantity: 1, UnitPrice: docs[0].Totals.Grand, Total: docs[0].Totals.Grand})
			h := healthySink(t, openIn(t, dir), docs)
			if orders, figures := h.differing(t); len(orders)+len(figures) > 0 {
				t.Fatalf("before: %v, %v", orders, figures)
			}
			change(t, dir, c.sql)
			orders, figures := h.differing(t)
			if len(orders)+len(figures) == 0 {
				t.Fatal("nothing differs")
			}
			kept, differs := orders["o0"]
			words := strings.Join(kept.Rows, "; ")
			switch {
			case !differs:
				words = ""
			case !kept.Found:
				words = "missing"
			case kept.Unreadable != "":
				words = "unreadable: " + kept.Unreadable + " " + words
			case words == "" && len(kept.Contribution.Groups) != len(h.changes["o0"].Contribution.Groups) || kept.Contribution.Sums != h.changes["o0"].Contribution.Sums:
				words = "contribution"
			case words == "":
				words = "content"
			}
			if !strings.Contains(words, c.says) || differs != (c.says != "") && c.figure != "several" {
				t.Errorf("order o0: %q, should say %q", words, c.says)
			}
			if gone := c.says == "there is no document"; kept.NoDocument != gone {
				t.Errorf("no document: %v", kept.NoDocument)
			}
			if c.figure != "several" && len(orders) > 2 && c.figure != "facet" {
				t.Errorf("%d orders differ", len(orders))
			}
			if c.figure != "" && c.figure != "several" && !slices.ContainsFunc(figures, func(k projections.FigureKey) bool { return k.Of == c.figure }) {
				t.Errorf("figures that differ: %v, want one of %s", figures, c.figure)
			}
			if live { // the feeder does not wait for the repair
				h.write(t)
				orders, figures = h.differing(t)
			}
			h.repair(t, orders, figures)
			if orders, figures := h.differing(t); len(orders)+len(figures) > 0 {
				t.Fatalf("after the repair: %+v, %v", orders, figures)
			}
			if changed, err := h.sink.Recount(t.Context()); changed != 0 || err != nil {
				t.Errorf("another recount changed %d, %v", changed, err)
			}
			h.usable(t)
		}
		t.Run(c.name, func(t *testing.T) { damaged(t, false) })
		t.Run(c.name+", and events come", func(t *testing.T) { damaged(t, true) })
	}
}

// TestOtherBytesAreTheSame: JSON in another order, with other space, is what
// docket wrote.
func TestOtherBytesAreTheSame(t *testing.T) {
	dir := t.TempDir()
	h := healthySink(t, openIn(t, dir), projectionstest.Documents(52, 30))
	change(t, dir, `UPDATE docs SET document = CAST(' ' || json_set(json_remove(document, '$.city'), '$.city', document ->> '$.city') || char(10) AS BLOB),
		contribution = CAST(json_set(json_remove(contribution, '$.d'), '$.d', contribution ->> '$.d') AS BLOB)`)
	if orders, figures := h.differing(t); len(orders)+len(figures) > 0 {
		t.Errorf("%+v, %v", orders, figures)
	}
}

// TestFullTextOneByOne: few orders are asked about alone, with the same answer.
func TestFullTextOneByOne(t *testing.T) {
	dir := t.TempDir()
	docs := projectionstest.Documents(53, 10)
	h := healthySink(t, openIn(t, dir), docs)
	same := func(id string) bool {
		kept, err := h.sink.Inspect(t.Context(), []projections.Change{h.changes[id]})
		if err != nil {
			t.Fatal(err)
		}
		return kept[0].Same
	}
	for _, doc := range docs {
		if !same(doc.ID) {
			t.Errorf("%s differs", doc.ID)
		}
	}
	words := strings.Fields(h.changes["o0"].Words)
	for name, indexed := range map[string]string{
		"fewer": strings.Join(words[1:], " "),
		"more":  strings.Join(append(slices.Clone(words), "more"), " "),
		"other": strings.Join(append(slices.Clone(words[1:]), "other"), " "),
		"none":  "",
	} {
		change(t, dir, `DELETE FROM fts WHERE rowid = 1; INSERT INTO fts (rowid, words) VALUES (1, '`+strings.ReplaceAll(indexed, "'", "''")+`')`)
		if same("o0") {
			t.Errorf("%s words: the same", name)
		}
	}
	change(t, dir, `DELETE FROM fts WHERE rowid = 1; INSERT INTO fts (rowid, words) VALUES (1, '`+strings.Join(words, " ")+`')`)
	if !same("o0") {
		t.Error("the same words differ")
	}
}

// usable asks and writes as if nothing had happened.
func (h *healthy) usable(t *testing.T) {
	t.Helper()
	page, err := h.sink.Orders(t.Context(), query.Question{Sort: query.Sort{By: query.ByPlacedAt}, Limit: 1000, Facets: query.Facets})
	if err != nil || len(page.Items) != len(h.changes) || page.Total != int64(len(h.changes)) {
		t.Errorf("%d orders, total %d, %v", len(page.Items), page.Total, err)
	}
	if _, err := h.sink.Stats(t.Context(), query.StatsQuestion{Top: 10}); err != nil {
		t.Errorf("stats: %v", err)
	}
	if results := h.write(t); slices.ContainsFunc(results, func(r projections.Result) bool { return r != projections.Applied }) {
		t.Errorf("results %v", results)
	}
	if orders, figures := h.differing(t); len(orders)+len(figures) > 0 {
		t.Errorf("after more events: %+v, %v", orders, figures)
	}
}

// write brings the next event of every order, as if nothing had happened, and
// some new orders. What should be is then what it brings.
func (h *healthy) write(t *testing.T) (results []projections.Result) {
	t.Helper()
	ids := slices.Sorted(maps.Keys(h.changes))
	if _, err := h.sink.Documents(t.Context(), ids); err != nil {
		t.Errorf("documents: %v", err)
	}
	var batch projections.Batch
	for _, id := range ids {
		c := h.changes[id]
		c.Order.Revision++
		c.Order.Status += "X"
		batch.Changes = append(batch.Changes, projectionstest.ChangeTo(c.Order, c.Order.Revision))
	}
	first := len(h.changes)
	for _, doc := range projectionstest.Documents(51, first+10)[first:] {
		batch.Changes = append(batch.Changes, projectionstest.ChangeTo(doc, 0))
	}
	outcomes, err := h.sink.Write(t.Context(), batch)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	for i, c := range batch.Changes {
		h.changes[c.Order.ID] = c
		results = append(results, outcomes[i].Result)
	}
	h.figures = projectionstest.Figures(slices.Collect(maps.Values(h.changes)))
	return results
}

// TestUnsound: what no look at an order shows is told by Sound.
func TestUnsound(t *testing.T) {
	const leaf = ` WHERE id = (SELECT max(id) FROM fts_data WHERE id < 1 << 40)`
	for name, c := range map[string]struct{ sql, says string }{
		"text index emptied":        {`DELETE FROM fts_idx`, "full text: searches do not come to the words"},
		"text index leads astray":   {`UPDATE fts_idx SET pgno = pgno + 2`, "full text: "},
		"text noted as gone":        {`DELETE FROM fts_docsize`, "full text: "},
		"text noted wrongly":        {`UPDATE fts_docsize SET sz = x'05' WHERE id = 3`, "full text: 1 rows"},
		"words added":               {`INSERT INTO fts (rowid, words) VALUES (3, 'zz001 zz002')`, "full text: 1 rows"},
		"words of a row not there":  {`INSERT INTO fts (rowid, words) VALUES (464, 'zz001'); DELETE FROM fts_docsize WHERE id = 464`, "full text: 1 rows"},
		"text without a structure":  {`UPDATE fts_data SET block = zeroblob(10) WHERE id = 10`, "full text: "},
		"page of the text cut":      {`UPDATE fts_data SET block = substr(block, 1, 30)` + leaf, "full text: "},
		"index dropped":             {`DROP INDEX by_placed`, "indexes: by_placed is not there"},
		"another index of the name": {`DROP INDEX by_total; CREATE INDEX by_total ON orders (id, total)`, "indexes: by_total is another"},
		"order twice":               {`DROP INDEX by_id; INSERT INTO orders SELECT 7777, id, revision, shape, placed, updated, delivered, total, number, customer, words FROM orders WHERE n = 1`, `ids: 2 orders have the id "o0"`},
		"order without id":          {`UPDATE orders SET id = '' WHERE n = 1`, `ids: 1 orders have the id ""`},
		"no lanes":                  {`DELETE FROM checkpoints`, "checkpoints: lane 63 is not there"},
		"one lane less":             {`DELETE FROM checkpoints WHERE lane = 7`, "checkpoints: lane 7 is not there"},
		"lane 99":                   {`INSERT INTO checkpoints (lane) VALUES (99)`, "checkpoints: there is no lane 99"},
		"lane -1":                   {`UPDATE checkpoints SET lane = -1 WHERE lane = 0`, "checkpoints: there is no lane -1"},
		"position":                  {`UPDATE checkpoints SET position = 'X' WHERE lane = 5`, "checkpoints: lane 5: "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := healthySink(t, openIn(t, dir), projectionstest.Documents(54, 300))
			if wrong, err := h.sink.Sound(t.Context()); err != nil || len(wrong) > 0 {
				t.Fatalf("before: %q, %v", wrong, err)
			}
			change(t, dir, c.sql)
			wrong, err := h.sink.Sound(t.Context())
			if err != nil || !slices.ContainsFunc(wrong, func(s string) bool { return strings.HasPrefix(s, c.says) }) {
				t.Errorf("%q, %v; want %q", wrong, err, c.says)
			}
			if lanes, err := h.sink.Checkpoints(t.Context()); err != nil {
				t.Errorf("%d checkpoints: %v", len(lanes), err)
			}
		})
	}
}

// TestFlippedBit: one bit of an index, in the file, is told.
func TestFlippedBit(t *testing.T) {
	for _, index := range []string{"by_id", "by_placed", "by_updated", "by_total", "by_number", "by_delivered", "by_customer", "by_shape", "skus_of"} {
		t.Run(index, func(t *testing.T) {
			dir := t.TempDir()
			sink := openIn(t, dir)
			healthySink(t, sink, projectionstest.Documents(55, 300))
			if err := sink.Close(); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(fileIn(dir))
			if err != nil {
				t.Fatal(err)
			}
			page := rootPage(t, dir, index)
			for file[page*8192] != 10 { // down to a leaf, along the last child
				page = int(binary.BigEndian.Uint32(file[page*8192+8:])) - 1
			}
			cell := page*8192 + int(binary.BigEndian.Uint16(file[page*8192+8:]))
			size, header := int(file[cell]), int(file[cell+1])
			if size > 127 || header > 127 {
				t.Fatalf("a cell of %d bytes, %d of them header", size, header)
			}
			file[cell+size] ^= 1 // the last bit of the row's number
			if err := os.WriteFile(fileIn(dir), file, 0o600); err != nil {
				t.Fatal(err)
			}
			wrong, err := openIn(t, dir).Sound(t.Context())
			if err != nil || !strings.Contains(strings.Join(wrong, "\n"), index) {
				t.Errorf("%q, %v", wrong, err)
			}
		})
	}
}

// rootPage of an index, from 0.
func rootPage(t *testing.T, dir, index string) (page int) {
	t.Helper()
	conn, err := sqlite3.Open(fileIn(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stmt, _, err := conn.Prepare(`SELECT rootpage FROM sqlite_schema WHERE name = '` + index + `'`)
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	if !stmt.Step() {
		t.Fatal(stmt.Err())
	}
	return stmt.ColumnInt(0) - 1
}

// TestDroppedIndexes are there again after the next start.
func TestDroppedIndexes(t *testing.T) {
	dir := t.TempDir()
	sink := openIn(t, dir)
	healthySink(t, sink, projectionstest.Documents(56, 30))
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	change(t, dir, `DROP INDEX by_id; DROP INDEX by_placed; DROP INDEX by_customer; DROP INDEX skus_of`)
	sink = openIn(t, dir)
	if wrong, err := sink.Sound(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("%q, %v", wrong, err)
	}
	page, err := sink.CustomerOrders(t.Context(), "c1", 10, nil)
	if err != nil || len(page.Items) == 0 {
		t.Errorf("%d orders of the customer, %v", len(page.Items), err)
	}
}

// TestTextThatCannotBeRemoved: every look, at one order or at all, says the same
// as a search: wrong as long as it finds old words, and right after Replace.
// That some words are left is told until the views are made again.
func TestTextThatCannotBeRemoved(t *testing.T) {
	words := func(h *healthy) []string { return strings.Fields(h.changes["o0"].Words) }
	for name, damage := range map[string]func(h *healthy) string{
		"as many words added": func(h *healthy) string {
			return `INSERT INTO fts (rowid, words) VALUES (1, 'zz` + strings.Join(words(h), "zz zz") + `')`
		},
		"the same words again": func(h *healthy) string {
			return `INSERT INTO fts (rowid, words) VALUES (1, '` + strings.Join(words(h), " ") + `'); DELETE FROM fts_docsize WHERE id = 1`
		},
		"notes deleted": func(*healthy) string { return `DELETE FROM fts_docsize` },
	} {
		for _, orders := range []int{1, 60} { // the repaired one is the last one, or not
			for _, all := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %d, all %v", name, orders, all), func(t *testing.T) {
					dir := t.TempDir()
					docs := projectionstest.Documents(57, orders)
					docs[0].Tags = []string{"before"}
					h := healthySink(t, openIn(t, dir), docs)
					h.look(t, "o0", all)
					change(t, dir, damage(h))
					for round := range 3 {
						doc := h.changes["o0"].Order
						doc.Tags, doc.Revision = []string{fmt.Sprint("after", round)}, doc.Revision+1
						next := projectionstest.ChangeTo(doc, doc.Revision)
						var err error
						if round == 1 {
							err = h.sink.Replace(t.Context(), "o0", &next)
						} else {
							_, err = h.sink.Write(t.Context(), projections.Batch{Changes: []projections.Change{next}})
						}
						if err != nil {
							t.Fatal(err)
						}
						h.changes["o0"] = next
						page, err := h.sink.Orders(t.Context(), query.Question{Words: []string{"before"}, Sort: query.Sort{By: query.ByPlacedAt}, Limit: 10})
						if found := len(page.Items) > 0; err != nil || found != (round == 0) {
							t.Fatalf("round %d: %d orders are found, %v", round, len(page.Items), err)
						}
						if same := h.look(t, "o0", all && name != "notes deleted"); same != (round > 0) {
							t.Errorf("round %d: same is %v", round, same)
						}
						if wrong, err := h.sink.Sound(t.Context()); err != nil || len(wrong) == 0 {
							t.Errorf("round %d: %q, %v", round, wrong, err)
						}
					}
				})
			}
		}
	}
}

// TestTextNotedWrongly is cured by Replace, and every look sees both.
func TestTextNotedWrongly(t *testing.T) {
	for _, all := range []bool{false, true} {
		dir := t.TempDir()
		h := healthySink(t, openIn(t, dir), projectionstest.Documents(58, 60))
		h.look(t, "o0", true)
		change(t, dir, `UPDATE fts_docsize SET sz = x'05' WHERE id = 1`)
		if h.look(t, "o0", all) {
			t.Errorf("all %v: the same", all)
		}
		c := h.changes["o0"]
		if err := h.sink.Replace(t.Context(), "o0", &c); err != nil {
			t.Fatal(err)
		}
		if !h.look(t, "o0", all) {
			t.Errorf("all %v: not the same after Replace", all)
		}
		if wrong, err := h.sink.Sound(t.Context()); err != nil || len(wrong) > 0 {
			t.Errorf("%q, %v", wrong, err)
		}
	}
}

// look inspects an order, alone or among all.
func (h *healthy) look(t *testing.T, id string, all bool) (same bool) {
	t.Helper()
	changes := []projections.Change{h.changes[id]}
	if all {
		for other, c := range h.changes {
			if other != id {
				changes = append(changes, c)
			}
		}
	}
	kept, err := h.sink.Inspect(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	return kept[0].Same
}
