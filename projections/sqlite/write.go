package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	"github.com/ncruces/go-sqlite3"
)

// Write implements projections.Sink: the batch is one transaction. What would
// make SQLite refuse a document is looked for before it begins.
func (s *Store) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	rows := make([]row, len(batch.Changes))
	outcomes := make([]projections.Outcome, len(batch.Changes))
	for i := range batch.Changes {
		if err := rows[i].encode(&batch.Changes[i]); err != nil {
			outcomes[i] = projections.Outcome{Result: projections.Refused, Err: err}
		}
	}
	err := s.write(ctx, func(c *conn) error {
		for _, cp := range batch.Checkpoints {
			token, err := c.number(`SELECT token FROM checkpoints WHERE lane = ?`, cp.Lane)
			if err != nil {
				return err
			}
			if uint64(token) != cp.Token {
				return fmt.Errorf("lane %d: %w", cp.Lane, projections.ErrLaneLost)
			}
		}
		w := newWriting(c)
		complete := true
		for i := range rows {
			if outcomes[i].Result != projections.Refused {
				result, err := w.put(&rows[i])
				if err != nil {
					return fmt.Errorf("order %s: %w", rows[i].id, err)
				}
				outcomes[i].Result = result
			}
			complete = complete && outcomes[i].Result <= projections.Already
		}
		if err := w.flush(); err != nil {
			return fmt.Errorf("counters: %w", err)
		}
		if !complete {
			return nil
		}
		return settle(c, batch)
	})
	if err != nil {
		return nil, wrap(err, "write %d documents", len(batch.Changes))
	}
	return outcomes, nil
}

// BeginFill implements projections.Filler: indexes that only questions need are made
// at the end, each in one go. The more orders there are, the more of their pages every
// batch of a build would change.
func (s *Store) BeginFill(ctx context.Context) error {
	err := s.write(ctx, func(c *conn) error {
		if orders, err := c.number(`SELECT EXISTS (SELECT 1 FROM orders)`); err != nil || orders > 0 {
			return err
		}
		for _, i := range indexes {
			if i.isUnique() {
				continue
			}
			if err := c.Exec(`DROP INDEX IF EXISTS ` + i.name); err != nil {
				return err
			}
		}
		return nil
	})
	return wrap(err, "begin to fill")
}

// EndFill implements projections.Filler.
func (s *Store) EndFill(ctx context.Context, worked func(time.Duration) error) error {
	for _, i := range indexes {
		if i.isUnique() {
			continue
		}
		began := time.Now()
		err := s.write(ctx, func(c *conn) error { return c.Exec(i.sql("IF NOT EXISTS ")) })
		if err != nil {
			return wrap(err, "make index %s", i.name)
		}
		if err := worked(time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// settle records what may only be recorded after every change is in.
func settle(c *conn, batch projections.Batch) error {
	for _, p := range batch.Park {
		err := c.exec(`INSERT OR REPLACE INTO parked (id, revision, position, reason) VALUES (?, ?, ?, ?)`,
			p.OrderID, p.Revision, p.Position.String(), p.Reason)
		if err != nil {
			return fmt.Errorf("park %s: %w", p.OrderID, err)
		}
	}
	for _, id := range batch.Release {
		if err := c.exec(`DELETE FROM parked WHERE id = ?`, id); err != nil {
			return fmt.Errorf("release %s: %w", id, err)
		}
	}
	for _, cp := range batch.Checkpoints {
		err := c.exec(`UPDATE checkpoints SET position = ?, event = ?, beat = ?, log = ?, epoch = ? WHERE lane = ?`,
			cp.Position.String(), cp.EventID[:], int64(cp.Beat), cp.Log.ID[:], int64(cp.Log.Epoch), cp.Lane)
		if err != nil {
			return fmt.Errorf("move lane %d: %w", cp.Lane, err)
		}
	}
	return nil
}

// row is a change in the form it is stored in, made before the transaction.
type row struct {
	id                         string
	first, revision            int64
	shape                      shape
	placed, updated, delivered any // microseconds; delivered may be nil
	total                      int64
	number                     string
	customer                   any // nil for a guest
	words                      string
	wordsHash                  int64
	skus                       []string
	skusJSON                   string
	document, contribution     []byte
	counted                    projections.Contribution
}

// usualDocument is room, in bytes, for most documents: what is longer grows.
const usualDocument = 2048

func (r *row) encode(change *projections.Change) error {
	doc := change.Order // shallow; nothing below is changed
	doc.Degraded = nil
	if doc.ID == "" {
		return errors.New("document without an id")
	}
	if !doc.Totals.Grand.WholeMinor() && !doc.Totals.Grand.IsZero() {
		return fmt.Errorf("total %s is not in whole minor units", doc.Totals.Grand)
	}
	var err error
	if r.document, err = doc.AppendJSON(make([]byte, 0, usualDocument)); err != nil {
		return fmt.Errorf("encode document: %w", err)
	}
	if len(r.document) > projections.MaxDocument {
		return fmt.Errorf("document of %d bytes, at most %d are allowed", len(r.document), projections.MaxDocument)
	}
	if r.contribution, err = json.Marshal(change.Contribution); err != nil {
		return fmt.Errorf("encode contribution: %w", err)
	}
	r.counted = change.Contribution
	r.id, r.first, r.revision = doc.ID, change.First, doc.Revision
	r.shape = shapeOf(&doc)
	r.placed, r.updated = doc.PlacedAt.UnixMicro(), doc.UpdatedAt.UnixMicro()
	if doc.DeliveredAt != nil {
		r.delivered = doc.DeliveredAt.UnixMicro()
	}
	if !doc.Totals.Grand.IsZero() {
		r.total = doc.Totals.Grand.MinorUnits()
	}
	r.number = doc.Number
	if doc.Customer.ID != "" {
		r.customer = doc.Customer.ID
	}
	r.words = change.Words
	h := fnv.New64a()
	h.Write([]byte(change.Words))
	r.wordsHash = int64(h.Sum64())
	for i := range doc.Lines {
		r.skus = append(r.skus, doc.Lines[i].SKU)
	}
	r.skus = sortedSet(r.skus)
	r.skusJSON = list(r.skus)
	return nil
}

// shape is the values of a document that facets count.
type shape struct {
	status, paymentStatus, fulfilmentStatus, kind, source, currency, country, state string
	tags, anomalies                                                                 string // sorted JSON arrays
}

func shapeOf(doc *view.Order) shape {
	s := shape{
		status: doc.Status, paymentStatus: doc.PaymentStatus, fulfilmentStatus: doc.FulfilmentStatus,
		kind: doc.Kind, currency: string(doc.Currency), country: doc.Country, state: doc.State,
		tags: list(sortedSet(slices.Clone(doc.Tags))),
	}
	if doc.Source != nil {
		s.source = doc.Source.System
	}
	var kinds []string
	for _, a := range doc.Anomalies {
		kinds = append(kinds, a.Kind)
	}
	s.anomalies = list(sortedSet(kinds))
	return s
}

func sortedSet(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}

// list writes values as a JSON array; "[]" when there are none.
func list(values []string) string {
	if len(values) == 0 {
		return "[]"
	}
	data, err := json.Marshal(values)
	if err != nil {
		panic(err) // strings always encode
	}
	return string(data)
}

// writing is one transaction's work: changes of the counters are added up in
// memory and written once.
type writing struct {
	*conn
	shapes    map[shape]int64
	groupsets map[groupset]int64
	deltas    deltas
	cleared   bool
	used      int64 // the highest n of an order that was removed
}

func newWriting(c *conn) *writing {
	return &writing{conn: c, shapes: map[shape]int64{}, groupsets: map[groupset]int64{}}
}

// put writes one document, unless the stored one says otherwise.
func (w *writing) put(r *row) (projections.Result, error) {
	var (
		n, stored, oldShape, oldWords int64
		found                         bool
	)
	stored = -1
	err := w.each(`SELECT n, revision, shape, words FROM orders WHERE id = ?`, []any{r.id}, func(s *sqlite3.Stmt) error {
		found = true
		n, stored, oldShape, oldWords = s.ColumnInt64(0), s.ColumnInt64(1), s.ColumnInt64(2), s.ColumnInt64(3)
		return nil
	})
	switch {
	case err != nil:
		return 0, err
	case stored >= r.revision:
		return projections.Already, nil
	case stored < r.first-1:
		return projections.Gap, nil
	}
	shapeID, err := w.shapeID(r.shape)
	if err != nil {
		return 0, err
	}
	if !found {
		return projections.Applied, w.insert(r, shapeID)
	}
	return projections.Applied, w.update(r, n, shapeID, oldShape, oldWords)
}

func (w *writing) insert(r *row, shapeID int64) error {
	if err := w.clearAbove(); err != nil {
		return err
	}
	err := w.exec(`INSERT INTO orders (n, id, revision, shape, placed, updated, delivered, total, number, customer, words)
		VALUES (iif(?1 = 0, NULL, max(?1, (SELECT coalesce(max(n), 0) FROM orders)) + 1), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		w.used, r.id, r.revision, shapeID, r.placed, r.updated, r.delivered, r.total, r.number, r.customer, r.wordsHash)
	if err != nil {
		return err
	}
	n := w.LastInsertRowID()
	w.deltas.orders(shapeID, 1)
	w.deltas.count(r.counted, 1)
	return errors.Join(
		w.exec(`INSERT INTO docs (n, contribution, skus, document) VALUES (?, ?, ?, ?)`, n, r.contribution, r.skusJSON, r.document),
		w.exec(`INSERT INTO fts (rowid, words) VALUES (?, ?)`, n, r.words),
		w.putSKUs(n, r.skus))
}

// clearAbove removes, once, what stands beside rows of orders that another
// program deleted, where the next rows will be.
func (w *writing) clearAbove() error {
	if w.cleared {
		return nil
	}
	w.cleared = true
	last, err := w.number(`SELECT max(n) FROM orders`)
	return errors.Join(err,
		w.exec(`DELETE FROM docs WHERE n > ?`, last),
		w.exec(`DELETE FROM skus WHERE n > ?`, last),
		w.exec(`DELETE FROM fts WHERE rowid IN (SELECT id FROM fts_docsize WHERE id > ?)`, last))
}

func (w *writing) update(r *row, n, shapeID, oldShape, oldWords int64) error {
	var (
		oldContribution []byte
		oldSKUs         string
	)
	err := w.each(`SELECT contribution, skus FROM docs WHERE n = ?`, []any{n}, func(s *sqlite3.Stmt) error {
		oldContribution, oldSKUs = s.ColumnBlob(0, nil), s.ColumnText(1)
		return nil
	})
	if err != nil {
		return err
	}
	if !bytes.Equal(oldContribution, r.contribution) {
		w.takeOff(oldContribution)
		w.deltas.count(r.counted, 1)
	}
	if shapeID != oldShape {
		w.deltas.orders(oldShape, -1)
		w.deltas.orders(shapeID, 1)
	}
	err = errors.Join(
		w.exec(`UPDATE orders SET revision = ?, shape = ?, placed = ?, updated = ?, delivered = ?, total = ?, number = ?, customer = ?, words = ? WHERE n = ?`,
			r.revision, shapeID, r.placed, r.updated, r.delivered, r.total, r.number, r.customer, r.wordsHash, n),
		w.exec(`INSERT INTO docs (n, contribution, skus, document) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET contribution = excluded.contribution, skus = excluded.skus, document = excluded.document`,
			n, r.contribution, r.skusJSON, r.document))
	if err == nil && oldWords != r.wordsHash {
		err = errors.Join(w.exec(`DELETE FROM fts WHERE rowid = ?`, n), w.exec(`INSERT INTO fts (rowid, words) VALUES (?, ?)`, n, r.words))
	}
	if err == nil && oldSKUs != r.skusJSON {
		err = errors.Join(w.exec(`DELETE FROM skus WHERE n = ?`, n), w.putSKUs(n, r.skus))
	}
	return err
}

// takeOff stops counting a stored contribution. What cannot be read is not taken
// off: nobody knows what was counted for it, until a recount.
func (w *writing) takeOff(stored []byte) {
	var old projections.Contribution
	if json.Unmarshal(stored, &old) == nil {
		w.deltas.count(old, -1)
	}
}

func (w *writing) putSKUs(n int64, skus []string) error {
	for _, sku := range skus {
		if err := w.exec(`INSERT INTO skus (sku, n) VALUES (?, ?)`, sku, n); err != nil {
			return err
		}
	}
	return nil
}

// values of the shapeColumns.
func (s shape) values() []any {
	return []any{s.status, s.paymentStatus, s.fulfilmentStatus, s.kind, s.source, s.currency, s.country, s.state, s.tags, s.anomalies}
}

const shapeColumns = `status, paymentStatus, fulfilmentStatus, kind, source, currency, country, state, tag, anomaly`

const findShape = `SELECT id FROM shapes WHERE (` + shapeColumns + `) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// shapeID finds or makes the row of a shape.
func (w *writing) shapeID(s shape) (int64, error) {
	if id, ok := w.shapes[s]; ok {
		return id, nil
	}
	id, err := w.identify(findShape, `INSERT INTO shapes (`+shapeColumns+`, orders) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`, s.values()...)
	w.shapes[s] = id
	return id, err
}

// identify answers the id that find finds, or of the row that insert makes.
func (w *writing) identify(find, insert string, values ...any) (int64, error) {
	id, err := w.number(find, values...)
	if err != nil || id != 0 {
		return id, err
	}
	if err := w.exec(insert, values...); err != nil {
		return 0, err
	}
	return w.LastInsertRowID(), nil
}
