package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/docket-orders/docket/eventstore"
	eventsqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/projections"
	viewsqlite "github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
	"github.com/ncruces/go-sqlite3"
)

// writers append at the same time, as many as the import has commands in
// flight.
const writers = 128

// batch is how many documents the bulk insert writes in one transaction: about
// as many as a rebuild does.
const batch = 4600

var importQuestion = question{
	name:  "import",
	about: "docket import olist, from the start of the process to caught-up views, against appending the same events and inserting the same documents",
	ask:   askImport,
}

func askImport(ctx context.Context, e *env) error {
	dir, err := e.olist(ctx)
	if err != nil {
		return err
	}
	appends, events, err := readAppends(ctx, dir)
	if err != nil {
		return err
	}
	changes, err := readDocuments(ctx, dir)
	if err != nil {
		return err
	}
	appended, err := timed(func() error { return appendAll(ctx, e.folder("appended"), appends) })
	if err != nil {
		return err
	}
	inserted, err := timed(func() error { return insertAll(ctx, e.folder("inserted"), changes) })
	if err != nil {
		return err
	}
	plain, err := timed(func() error { return insertPlain(filepath.Join(e.folder("plain"), "plain.db"), changes) })
	if err != nil {
		return err
	}
	took := []float64{e.imported.seconds}
	e.compare(fmt.Sprintf("olist, %d orders, %d events", len(changes), events), "s", took, "append + insert, same schema", []float64{appended + inserted}, atMost(4))
	e.compare("olist", "s", took, "append + insert into a plain table", []float64{appended + plain}, noGoal)
	e.measure("peak resident", "MB", []float64{e.imported.peakMB}, noGoal)
	e.measure("log", "bytes/event", []float64{size(filepath.Join(dir, "events.db")) / float64(events)}, noGoal)
	e.measure("views", "bytes/document", []float64{size(filepath.Join(dir, "views", "orders-1.db")) / float64(len(changes))}, noGoal)
	if err := e.noteBytes("olist", dir); err != nil {
		return err
	}
	return e.importRetail(ctx)
}

// importRetail imports the other set: few events of many lines.
func (e *env) importRetail(ctx context.Context) error {
	retail, err := e.importSet(ctx, "online-retail", "--file", filepath.Join(e.data, "uci_online_retail.csv.gz"))
	if err != nil {
		return err
	}
	_, events, err := readAppends(ctx, retail.dir)
	if err != nil {
		return err
	}
	e.measure(fmt.Sprintf("online-retail, %d events", events), "s", []float64{retail.seconds}, noGoal)
	e.measure("online-retail, peak resident", "MB", []float64{retail.peakMB}, noGoal)
	e.measure("online-retail, log", "bytes/event", []float64{size(filepath.Join(retail.dir, "events.db")) / float64(events)}, noGoal)
	return e.noteBytes("online-retail", retail.dir)
}

// noteBytes says what the bytes of log and views are; SQLite as it is built here
// cannot tell how many pages a table has.
func (e *env) noteBytes(set, dir string) error {
	for _, file := range []struct{ path, rows, columns string }{
		{"events.db", "events", `'data ' || cast(avg(length(data)) AS INTEGER) || ', metadata ' || cast(avg(length(metadata)) AS INTEGER)
			|| ', type ' || cast(avg(length(type)) AS INTEGER) || ', id 16'`},
		{"views/orders-1.db", "docs", `'document ' || cast(avg(length(document)) AS INTEGER)
			|| ', what it adds to the counters ' || cast(avg(length(contribution)) AS INTEGER) || ', SKUs ' || cast(avg(length(skus)) AS INTEGER)`},
	} {
		b, err := openBare(filepath.Join(dir, file.path))
		if err != nil {
			return err
		}
		said, err := b.texts(`SELECT (page_count * page_size / count(*)) || ' bytes per row of ` + file.rows + `: ' || ` + file.columns + `
			|| '; the rest is numbers, indexes and the unused ends of pages' FROM ` + file.rows + `, pragma_page_count, pragma_page_size`)
		if err := errors.Join(err, b.Close()); err != nil {
			return err
		}
		e.note("%s, %s: %s", set, file.path, said[0])
	}
	return nil
}

// appended is one append of the import, as it was.
type appended struct {
	stream string
	events []eventstore.Event
	first  int // revision of the first of them
}

// expected is where the stream stands before.
func (a appended) expected() eventstore.Expected {
	if a.first == 0 {
		return eventstore.NoStream
	}
	return eventstore.At(eventstore.Revision(a.first - 1))
}

// readAppends cuts the log into the appends that made it: here, whole streams.
func readAppends(ctx context.Context, dir string) (out []appended, events int, err error) {
	store, err := eventsqlite.OpenReadOnly(ctx, dir)
	if err != nil {
		return nil, 0, err
	}
	defer store.Close()
	for rec, err := range store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{"order-"}}, 0) {
		if err != nil {
			return nil, 0, err
		}
		if rec.Revision == 0 {
			out = append(out, appended{stream: rec.Stream})
		}
		last := &out[len(out)-1]
		if last.stream != rec.Stream {
			return nil, 0, fmt.Errorf("stream %s is not in one piece", rec.Stream)
		}
		last.events = append(last.events, rec.Event)
		events++
	}
	return out, events, nil
}

// readDocuments takes the final documents out of the imported views.
func readDocuments(ctx context.Context, dir string) ([]projections.Change, error) {
	sink, err := viewsqlite.NewBackend(dir, viewsqlite.Options{}).Open(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer sink.Close()
	var changes []projections.Change
	q := query.Question{Limit: query.MaxLimit, Sort: query.Sort{By: query.ByNumber}, WithoutTotal: true}
	for {
		page, err := sink.(query.Views).Orders(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, doc := range page.Items {
			changes = append(changes, change(doc))
		}
		if q.After = page.Next; q.After == nil {
			return changes, nil
		}
	}
}

func change(doc view.Order) projections.Change {
	return projections.Change{First: 0, Order: doc, Contribution: projections.Contributions(doc), Words: projections.OrderWords(doc)}
}

func appendAll(ctx context.Context, dir string, appends []appended) error {
	store, err := eventsqlite.Open(ctx, dir, eventsqlite.Options{})
	if err != nil {
		return err
	}
	return errors.Join(appendConcurrently(ctx, store, writers, appends), store.Close())
}

func insertAll(ctx context.Context, dir string, changes []projections.Change) error {
	sink, err := viewsqlite.NewBackend(dir, viewsqlite.Options{}).Open(ctx, 1)
	if err != nil {
		return err
	}
	for len(changes) > 0 {
		n := min(batch, len(changes))
		if _, err := sink.Write(ctx, projections.Batch{Changes: changes[:n]}); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return sink.Close()
}

func insertPlain(file string, changes []projections.Change) error {
	db, err := sqlite3.Open(file)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Exec(`PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE orders (id TEXT PRIMARY KEY, doc BLOB)`); err != nil {
		return err
	}
	insert, _, err := db.Prepare(`INSERT INTO orders VALUES (?, ?)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for len(changes) > 0 {
		n := min(batch, len(changes))
		if err := db.Exec(`BEGIN`); err != nil {
			return err
		}
		for _, c := range changes[:n] {
			doc, err := json.Marshal(c.Order)
			if err != nil {
				return err
			}
			if err := insert.BindText(1, c.Order.ID); err != nil {
				return err
			}
			if err := insert.BindBlob(2, doc); err != nil {
				return err
			}
			if err := insert.Exec(); err != nil {
				return err
			}
		}
		if err := db.Exec(`COMMIT`); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}
