package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/query"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
)

var readsQuestion = question{
	name:  "reads",
	about: "questions over all imported orders of Olist, by the query service in this process, against the prepared SQL that answers the same, its rows stepped through and every document copied out as JSON",
	ask:   askReads,
}

// reading is one kind of question, asked with other arguments every time.
type reading struct {
	name   string
	times  int     // in a round
	within float64 // milliseconds: what the p99 aims at
	docket func(i int) error
	bare   func(i int) error
}

func askReads(ctx context.Context, e *env) error {
	olist, err := e.olist(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(e.folder("reads"), "data")
	if err := copyFolder(dir, olist); err != nil {
		return err
	}
	d, err := embedded.Open(ctx, dir, embedded.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return err
	}
	if err := d.Manager.CaughtUp(ctx); err != nil {
		return err
	}
	b, err := openBare(filepath.Join(dir, "views", "orders-1.db"))
	if err != nil {
		return err
	}
	all, err := readings(ctx, d.Queries, b)
	if err != nil {
		return err
	}
	if err := e.readAll(all, "bare SQL", atMost(1.5)); err != nil {
		return err
	}
	paths, err := readPaths(b)
	if err != nil {
		return err
	}
	// A server needs the folder for itself.
	if err := errors.Join(b.Close(), d.Close()); err != nil {
		return err
	}
	if err := e.readWhileWriting(ctx, dir, paths); err != nil {
		return err
	}
	e.note("both sides answer the same question one after the other on warm caches; docket decodes each document into a view.Order, says how far the views are behind, and makes a cursor; the bare SQL does not")
	e.note("list is status with state, a month with status, and newest of all in turns; text is one to three words of the orders; facets are all ten, of a status, a state and a month")
	return nil
}

// readAll asks every kind, in rounds, docket and what it is compared with in turns.
func (e *env) readAll(all []reading, against string, g goal) error {
	for _, r := range all {
		if e.quick {
			r.times = max(r.times/4, 20)
		}
		var docket50, docket99, bare50, bare99 []float64
		for round := range e.rounds {
			var docket, bare []float64
			for i := range r.times {
				for side := range 2 {
					if (i+side)%2 == 0 {
						seconds, err := timed(func() error { return r.docket(round*r.times + i) })
						if err != nil {
							return fmt.Errorf("%s: %w", r.name, err)
						}
						docket = append(docket, seconds*1e3)
						continue
					}
					seconds, err := timed(func() error { return r.bare(round*r.times + i) })
					if err != nil {
						return fmt.Errorf("%s, %s: %w", r.name, against, err)
					}
					bare = append(bare, seconds*1e3)
				}
			}
			docket, bare = sortedCopy(docket), sortedCopy(bare)
			docket50, docket99 = append(docket50, quantile(docket, 0.5)), append(docket99, quantile(docket, 0.99))
			bare50, bare99 = append(bare50, quantile(bare, 0.5)), append(bare99, quantile(bare, 0.99))
		}
		e.compare(r.name+", p50", "ms", docket50, against, bare50, g)
		e.compare(r.name+", p99", "ms", docket99, against, bare99, g)
		if r.within > 0 {
			e.measure(r.name+", p99 against the clock", "ms", docket99, atMost(r.within))
		}
	}
	return nil
}

func readings(ctx context.Context, service *query.Service, b *bare) ([]reading, error) {
	random := rand.New(rand.NewPCG(1, 2))
	ids, err := b.texts(`SELECT id FROM orders ORDER BY random() LIMIT 5000`)
	if err != nil {
		return nil, err
	}
	// The states by how many orders they have; cities are words of their own.
	states, err := b.texts(`SELECT state FROM shapes WHERE state <> '' GROUP BY state ORDER BY sum(orders) DESC LIMIT 12`)
	if err != nil {
		return nil, err
	}
	at := make([]int, 1<<12)
	for i := range at {
		at[i] = random.IntN(1 << 20)
	}
	state := func(i int) string { return states[at[i%len(at)]%len(states)] }
	list := func(q query.Question) error {
		_, err := service.List(ctx, q, "", query.Read{})
		return err
	}
	year, years := time.Date(2017, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2017, 12, 26, 0, 0, 0, 0, time.UTC)
	return []reading{
		{"by id", 4000, 2, func(i int) error {
			_, err := service.Order(ctx, ids[i%len(ids)], query.Read{})
			return err
		}, func(i int) error {
			return b.ask(`SELECT d.document FROM orders o JOIN docs d ON d.n = o.n WHERE o.id = ?`, ids[i%len(ids)])
		}},
		{"filtered list with total", 300, 10, func(i int) error {
			return list(listQuestion(i, state(i)))
		}, func(i int) error {
			switch from, to := month(i); i % 3 {
			case 0:
				return b.together(
					statement{`SELECT d.document FROM orders o INDEXED BY by_placed JOIN docs d ON d.n = o.n
						WHERE o.shape IN (SELECT id FROM shapes WHERE status = ? AND state = ?) ORDER BY o.placed DESC, o.id DESC LIMIT 51`, []any{"confirmed", state(i)}},
					statement{`SELECT sum(orders) FROM shapes WHERE status = ? AND state = ?`, []any{"confirmed", state(i)}})
			case 1:
				return b.together(
					statement{`SELECT d.document FROM orders o INDEXED BY by_placed JOIN docs d ON d.n = o.n
						WHERE o.placed >= ? AND o.placed < ? AND o.shape IN (SELECT id FROM shapes WHERE fulfilmentStatus = ?) ORDER BY o.placed DESC, o.id DESC LIMIT 51`, []any{from.UnixMicro(), to.UnixMicro(), "delivered"}},
					statement{`SELECT count(*) FROM orders o INDEXED BY by_placed
						WHERE o.placed >= ? AND o.placed < ? AND o.shape IN (SELECT id FROM shapes WHERE fulfilmentStatus = ?)`, []any{from.UnixMicro(), to.UnixMicro(), "delivered"}})
			}
			return b.together(
				statement{`SELECT d.document FROM orders o INDEXED BY by_placed JOIN docs d ON d.n = o.n ORDER BY o.placed DESC, o.id DESC LIMIT 51`, nil},
				statement{`SELECT sum(orders) FROM shapes`, nil})
		}},
		{"full text with total", 120, 60, func(i int) error {
			return list(textQuestion(i))
		}, func(i int) error {
			match := matching(textQuestion(i).Words)
			return b.together(
				statement{`SELECT d.document FROM (SELECT o.n FROM fts CROSS JOIN orders o ON o.n = fts.rowid WHERE fts MATCH ? ORDER BY o.placed DESC, o.id DESC LIMIT 51) p JOIN docs d ON d.n = p.n`, []any{match}},
				statement{`SELECT count(*) FROM fts WHERE fts MATCH ?`, []any{match}})
		}},
		{"facets", 120, 80, func(i int) error {
			return list(facetsQuestion(i, state(i)))
		}, func(i int) error {
			page := `SELECT d.document FROM orders o INDEXED BY by_placed JOIN docs d ON d.n = o.n WHERE `
			newest := ` ORDER BY o.placed DESC, o.id DESC LIMIT 51`
			facets := `SELECT orders, status, paymentStatus, fulfilmentStatus, kind, source, currency, country, state, tag, anomaly FROM shapes WHERE `
			switch from, to := month(i); i % 3 {
			case 0:
				return b.together(statement{page + `o.shape IN (SELECT id FROM shapes WHERE status = ?)` + newest, []any{"confirmed"}}, statement{facets + `status = ?`, []any{"confirmed"}})
			case 1:
				return b.together(statement{page + `o.shape IN (SELECT id FROM shapes WHERE state = ?)` + newest, []any{state(i)}}, statement{facets + `state = ?`, []any{state(i)}})
			default:
				placed := []any{from.UnixMicro(), to.UnixMicro()}
				return b.together(statement{page + `o.placed >= ? AND o.placed < ?` + newest, placed},
					statement{`SELECT matched, status, paymentStatus, fulfilmentStatus, kind, source, currency, country, state, tag, anomaly
						FROM (SELECT shape, count(*) AS matched FROM orders INDEXED BY by_placed WHERE placed >= ? AND placed < ? GROUP BY shape) JOIN shapes ON id = shape`, placed})
			}
		}},
		// Two that are known to be slow: few of many rows, in another order.
		{"list of a tag, by total", 40, 0, func(i int) error {
			return list(query.Question{Tag: []string{"olist:canceled"}, Currency: []string{"BRL"}, Sort: query.Sort{By: query.ByTotal}})
		}, func(i int) error {
			const tagged = `o.shape IN (SELECT id FROM shapes WHERE currency = ? AND EXISTS (SELECT 1 FROM json_each(tag) t WHERE t.value = ?))`
			return b.together(
				statement{`SELECT d.document FROM (SELECT o.n, o.total, o.id FROM orders o INDEXED BY by_shape WHERE ` + tagged + ` ORDER BY o.total, o.id LIMIT 51) p JOIN docs d ON d.n = p.n`, []any{string(money.Currency("BRL")), "olist:canceled"}},
				statement{`SELECT sum(orders) FROM shapes o WHERE currency = ? AND EXISTS (SELECT 1 FROM json_each(tag) t WHERE t.value = ?)`, []any{"BRL", "olist:canceled"}})
		}},
		{"list of 300 days of delivery with a status", 40, 0, func(i int) error {
			return list(query.Question{DeliveredFrom: &year, DeliveredTo: &years, PaymentStatus: []string{"partiallyPaid", "overpaid"}, Sort: newestFirst()})
		}, func(i int) error {
			const matching = ` o.delivered >= ? AND o.delivered < ? AND o.shape IN (SELECT id FROM shapes WHERE paymentStatus IN (?, ?))`
			args := []any{year.UnixMicro(), years.UnixMicro(), "partiallyPaid", "overpaid"}
			return b.together(
				statement{`SELECT d.document FROM (SELECT o.n, o.placed, o.id FROM orders o INDEXED BY by_delivered WHERE` + matching + ` ORDER BY o.placed DESC, o.id DESC LIMIT 51) p JOIN docs d ON d.n = p.n`, args},
				statement{`SELECT count(*) FROM orders o INDEXED BY by_delivered WHERE` + matching, args})
		}},
	}, nil
}

func newestFirst() query.Sort { return query.Sort{By: query.ByPlacedAt, Desc: true} }

// month is one of those that Olist is of, another with every i.
func month(i int) (from, to time.Time) {
	from = time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, i%18, 0)
	return from, from.AddDate(0, 1, 0)
}

func listQuestion(i int, state string) query.Question {
	switch from, to := month(i); i % 3 {
	case 0:
		return query.Question{Status: []string{"confirmed"}, State: []string{state}, Sort: newestFirst()}
	case 1:
		return query.Question{FulfilmentStatus: []string{"delivered"}, PlacedFrom: &from, PlacedTo: &to, Sort: newestFirst()}
	}
	return query.Question{Sort: newestFirst()}
}

func textQuestion(i int) query.Question {
	words := [...]string{"health beauty", "sao paulo", "watches", "rio janeiro toys", "curitiba", "bed bath campinas", "perfumery", "telephony salvador", "delivered books"}
	return query.Question{Words: strings.Fields(words[i%len(words)]), Sort: newestFirst()}
}

func facetsQuestion(i int, state string) query.Question {
	switch from, to := month(i); i % 3 {
	case 0:
		return query.Question{Status: []string{"confirmed"}, Facets: query.Facets, Sort: newestFirst()}
	case 1:
		return query.Question{State: []string{state}, Facets: query.Facets, Sort: newestFirst()}
	default:
		return query.Question{PlacedFrom: &from, PlacedTo: &to, Facets: query.Facets, Sort: newestFirst()}
	}
}

func matching(words []string) string {
	all := ""
	for i, w := range words {
		if i > 0 {
			all += " AND "
		}
		all += `"` + w + `"`
	}
	return all
}

// bare is a connection to the file of the views as a program would have it that
// knows the schema: prepared statements, nothing decoded.
type bare struct {
	*sqlite3.Conn
	statements map[string]*sqlite3.Stmt
	row        []byte // what was read last
}

type statement struct {
	sql  string
	args []any
}

func openBare(path string) (*bare, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	conn, err := sqlite3.Open("file:" + path)
	if err != nil {
		return nil, err
	}
	b := &bare{Conn: conn, statements: map[string]*sqlite3.Stmt{}}
	if err := fts5.Register(conn); err != nil {
		return nil, err
	}
	return b, conn.Exec(`PRAGMA query_only=1; PRAGMA cache_size=-8192`)
}

// Close ends the statements too.
func (b *bare) Close() error {
	for _, s := range b.statements {
		s.Close()
	}
	return b.Conn.Close()
}

// together asks in one transaction.
func (b *bare) together(all ...statement) error {
	if err := b.ask(`BEGIN`); err != nil {
		return err
	}
	for _, s := range all {
		if err := b.ask(s.sql, s.args...); err != nil {
			return err
		}
	}
	return b.ask(`COMMIT`)
}

// ask copies every column of every row.
func (b *bare) ask(sql string, args ...any) error {
	return b.each(sql, args, func(s *sqlite3.Stmt) {
		for i := range s.ColumnCount() {
			b.row = append(b.row[:0], s.ColumnRawBlob(i)...)
		}
	})
}

func (b *bare) texts(sql string) (out []string, err error) {
	err = b.each(sql, nil, func(s *sqlite3.Stmt) { out = append(out, s.ColumnText(0)) })
	return out, err
}

// number is the first column of the last row.
func (b *bare) number(sql string) (n int64, err error) {
	err = b.each(sql, nil, func(s *sqlite3.Stmt) { n = s.ColumnInt64(0) })
	return n, err
}

func (b *bare) each(sql string, args []any, row func(*sqlite3.Stmt)) error {
	s := b.statements[sql]
	if s == nil {
		var err error
		if s, _, err = b.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return fmt.Errorf("prepare %q: %w", sql, err)
		}
		b.statements[sql] = s
	}
	defer s.Reset()
	for i, arg := range args {
		var err error
		switch arg := arg.(type) {
		case int64:
			err = s.BindInt64(i+1, arg)
		case string:
			err = s.BindText(i+1, arg)
		default:
			err = fmt.Errorf("cannot bind %T", arg)
		}
		if err != nil {
			return err
		}
	}
	for s.Step() {
		row(s)
	}
	return s.Err()
}
