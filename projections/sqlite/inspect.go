package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	"github.com/ncruces/go-sqlite3"
)

// Inspect implements projections.Inspector. All answers are of one instant, but
// for what another program writes to the full text meanwhile: see textCheck.
//
// What is compared is bytes and columns; only where they differ is anything
// decoded. A document in other bytes that is equal as JSON is the same.
func (s *Store) Inspect(ctx context.Context, want []projections.Change) ([]projections.Kept, error) {
	all := make([]inspection, len(want))
	for k := range all {
		all[k].encode(&want[k])
	}
	out := make([]projections.Kept, len(want))
	at, err := s.now(ctx)
	if err == nil {
		err = s.read(ctx, func(c *conn) error {
			shapes, texts := map[shape]int64{}, make([]textOf, len(all))
			for k := range all {
				i := &all[k]
				if err := i.look(c, shapes); err != nil {
					return fmt.Errorf("order %s: %w", i.want.id, err)
				}
				texts[k] = textOf{i.found, i.n, i.want.words}
			}
			wrong, err := s.text.wrong(c, at, s.written.Load(), texts)
			if err != nil {
				return fmt.Errorf("full text: %w", err)
			}
			for k := range all {
				if wrong[k] {
					all[k].rows = append(all[k].rows, "full text: not the words of the order")
				}
				out[k] = all[k].kept(&want[k])
			}
			return nil
		})
	}
	if err != nil {
		return nil, wrap(err, "inspect %d orders", len(want))
	}
	return out, nil
}

// IDs implements projections.Inspector.
func (s *Store) IDs(ctx context.Context, after string, limit int) (ids []string, err error) {
	from := `>`
	if after == "" {
		from = `>=`
	}
	err = s.read(ctx, func(c *conn) error {
		return c.each(`SELECT id FROM orders WHERE id `+from+` ? ORDER BY id LIMIT ?`, []any{after, limit}, func(r *sqlite3.Stmt) error {
			ids = append(ids, r.ColumnText(0))
			return nil
		})
	})
	return ids, wrap(err, "list orders after %q", after)
}

// inspection holds what is kept of one order against what should be.
type inspection struct {
	want    row
	refused error // Write would keep nothing

	found bool
	n     int64    // of the row in orders
	shape int64    // that it points to
	rows  []string // as in projections.Kept
	// What is kept where it is not, byte for byte, what should be.
	document, contribution []byte
	torn                   bool     // there is no row in docs
	problems               []string // why what is kept cannot be read
}

func (i *inspection) encode(change *projections.Change) {
	if i.refused = i.want.encode(change); i.refused != nil {
		i.want = row{id: change.Order.ID}
	}
}

// look compares the rows of the order.
func (i *inspection) look(c *conn, shapes map[shape]int64) error {
	if err := i.columns(c); err != nil || !i.found {
		return err
	}
	return errors.Join(i.shapeRow(c, shapes), i.skuRows(c))
}

// kept is the answer.
func (i *inspection) kept(change *projections.Change) projections.Kept {
	if !i.found {
		return projections.Kept{Same: i.refused != nil}
	}
	k := projections.Kept{Found: true}
	if i.refused != nil {
		i.rows = append(i.rows, "document: kept, although it is refused: "+i.refused.Error())
	}
	if len(i.rows)+len(i.problems) == 0 && same(i.document, i.want.document, &view.Order{}) && same(i.contribution, i.want.contribution, &projections.Contribution{}) {
		k.Same = true
		return k
	}
	i.read(i.document, i.want.document, &k.Document, "document")
	i.read(i.contribution, i.want.contribution, &k.Contribution, "contribution")
	k.Unreadable, k.NoDocument = clean(strings.Join(i.problems, "; ")), i.torn
	if k.Document.Revision == change.Order.Revision {
		for _, row := range i.rows {
			k.Rows = append(k.Rows, clean(row))
		}
	}
	return k
}

// clean is text that JSON can carry: another program may have left other bytes.
func clean(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// compared names the columns that columns compares, in the order it asks for
// them.
var compared = [...]string{"revision", "placed", "updated", "delivered", "total", "number", "customer", "words", "skus"}

// columns compares the row in orders, and that of the same n in docs.
func (i *inspection) columns(c *conn) error {
	w := &i.want
	want := [len(compared)]any{w.revision, w.placed, w.updated, w.delivered, w.total, w.number, w.customer, w.wordsHash, w.skusJSON}
	return c.each(`SELECT o.revision, o.placed, o.updated, o.delivered, o.total, o.number, o.customer, o.words, d.skus,
			o.n, o.shape, d.contribution, d.document
		FROM orders o LEFT JOIN docs d ON d.n = o.n WHERE o.id = ?`, []any{w.id}, func(r *sqlite3.Stmt) error {
		if i.found { // the unique index was dropped
			i.rows = append(i.rows, "id: there is another row of the order")
			return nil
		}
		i.found, i.n, i.shape = true, r.ColumnInt64(9), r.ColumnInt64(10)
		for column, want := range want {
			if kept := value(r, column); kept != want {
				i.differs(compared[column], kept, want)
			}
		}
		if r.ColumnType(12) == sqlite3.NULL {
			i.torn = true
			i.problems = append(i.problems, "there is no document")
			return nil
		}
		if kept := r.ColumnRawBlob(11); !bytes.Equal(kept, w.contribution) {
			i.contribution = append([]byte{}, kept...)
		}
		if kept := r.ColumnRawBlob(12); !bytes.Equal(kept, w.document) {
			i.document = append([]byte{}, kept...)
		}
		return nil
	})
}

func (i *inspection) differs(name string, kept, want any) {
	show := func(v any) any {
		if n, ok := v.(int64); ok && (name == "placed" || name == "updated" || name == "delivered") {
			return micros(n).Format(time.RFC3339Nano)
		}
		if v == nil {
			return "nothing"
		}
		return v
	}
	i.rows = append(i.rows, fmt.Sprintf("%s: %v, not %v", name, show(kept), show(want)))
}

// value of a column; nil for NULL.
func value(r *sqlite3.Stmt, column int) any {
	switch r.ColumnType(column) {
	case sqlite3.INTEGER:
		return r.ColumnInt64(column)
	case sqlite3.NULL:
		return nil
	}
	return r.ColumnText(column)
}

// shapeRow compares the row in shapes that the order points to.
func (i *inspection) shapeRow(c *conn, shapes map[shape]int64) error {
	id, known := shapes[i.want.shape]
	if !known {
		var err error
		if id, err = c.number(findShape, i.want.shape.values()...); err != nil {
			return err
		}
		shapes[i.want.shape] = id
	}
	if id == i.shape && id != 0 {
		return nil
	}
	found := false
	err := c.each(`SELECT `+shapeColumns+` FROM shapes WHERE id = ?`, []any{i.shape}, func(r *sqlite3.Stmt) error {
		found = true
		names := strings.Split(shapeColumns, ", ")
		for column, want := range i.want.shape.values() {
			if kept := value(r, column); kept != want {
				i.differs(names[column]+" of its shape", kept, want)
			}
		}
		return nil
	})
	if !found {
		i.rows = append(i.rows, fmt.Sprintf("shape: %d, which is not there", i.shape))
	}
	return err
}

// skuRows compares the rows in skus.
func (i *inspection) skuRows(c *conn) error {
	var kept []string
	same, k := true, 0
	err := c.each(`SELECT sku FROM skus INDEXED BY skus_of WHERE n = ? ORDER BY sku`, []any{i.n}, func(r *sqlite3.Stmt) error {
		sku := r.ColumnText(0)
		same = same && k < len(i.want.skus) && sku == i.want.skus[k]
		kept, k = append(kept, sku), k+1
		return nil
	})
	if err != nil || same && k == len(i.want.skus) {
		return err
	}
	for _, sku := range i.want.skus {
		if !slices.Contains(kept, sku) {
			i.rows = append(i.rows, fmt.Sprintf("sku %s: not indexed", sku))
		}
	}
	for _, sku := range kept {
		if !slices.Contains(i.want.skus, sku) {
			i.rows = append(i.rows, fmt.Sprintf("sku %s: indexed, and not of the order", sku))
		}
	}
	return nil
}

// read decodes what is kept.
func (i *inspection) read(kept, want []byte, into any, name string) {
	switch {
	case i.torn:
		return
	case kept == nil:
		kept = want
	}
	if err := json.Unmarshal(kept, into); err != nil {
		reflect.ValueOf(into).Elem().SetZero()
		i.problems = append(i.problems, fmt.Sprintf("%s: %v", name, err))
		return
	}
	if reads(into, want) && !sameJSON(kept, want) {
		i.rows = append(i.rows, name+": JSON that docket does not write")
	}
}

// same is for what was noted as other bytes, if it was: the same JSON, and the
// same to who reads it into.
func same(kept, want []byte, into any) bool {
	return kept == nil || sameJSON(kept, want) && json.Unmarshal(kept, into) == nil && reads(into, want)
}

// reads reports whether a value is written as want.
func reads(value any, want []byte) bool {
	again, err := json.Marshal(value)
	return err == nil && bytes.Equal(again, want)
}

// sameJSON ignores the order of members, and space.
func sameJSON(a, b []byte) bool {
	read := func(data []byte) (v any, err error) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		err = d.Decode(&v)
		return v, err
	}
	x, errX := read(a)
	y, errY := read(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}
